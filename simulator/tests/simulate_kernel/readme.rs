//! The example of README.md, "In your own CI": its files, its commands, and what they print.

use std::path::Path;
use std::process::Command;

use expertile_simulator::{clang, nvcc};

use super::bench::{TOOL, compilers, folder, is_there};

/// What is between a fence of this language and the next, for each in the section.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).expect("the README");
    let (_, section) = text.split_once("\n## In your own CI\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let fence = format!("\n```{language}\n");
    let ends = |block: &str| block.split_once("\n```").expect("it ends").0.to_owned();
    section.split(&fence).skip(1).map(ends).collect()
}

/// Whether a line is as expected; `...` is anything.
fn matches(line: &str, expected: &str) -> bool {
    let Some((first, others)) = expected.split_once("...") else { return line == expected };
    let (middle, last) = others.rsplit_once("...").unwrap_or(("", others));
    let inner = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let Some(mut rest) = inner else { return false };
    for part in middle.split("...") {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Runs each command of a console and compares what it prints.
fn run(name: &str, source: &str, console: &str) {
    let folder = folder("readme");
    std::fs::write(folder.join(name), source).expect("the folder is ours");
    let tools = Path::new(TOOL).parent().expect("a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([tools].into_iter().chain(std::env::split_paths(&path)));
    let path = path.expect("no colon in it");
    let (mut commands, mut status) = (0, 0);
    for part in format!("\n{console}").split("\n$ ").skip(1) {
        let (command, expected) = part.split_once('\n').unwrap_or((part, ""));
        let run = Command::new("sh")
            .current_dir(&folder)
            .env("PATH", &path)
            .envs(compilers())
            .args(["-c", &format!("(exit {status})\n{command}")])
            .output()
            .expect("sh starts");
        let (out, error) =
            (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        let as_expected = out.lines().count() == expected.lines().count()
            && out.lines().zip(expected.lines()).all(|(line, expected)| matches(line, expected));
        assert!(as_expected, "$ {command}\n{out}{error}\nis not\n{expected}");
        status = run.status.code().expect("an exit status");
        commands += 1;
    }
    assert_eq!(commands, 5, "{console}");
}

#[test]
fn the_example_does_what_it_says() {
    let consoles = blocks("console");
    assert_eq!(consoles.len(), 2);
    let (cuda, hip) = (blocks("cuda"), blocks("hip"));
    if is_there(nvcc::find(), "cuda") {
        run("scale.cu", &cuda[0], &consoles[0]);
    }
    if is_there(clang::find(), "hip") {
        run("scale.hip", &hip[0], &consoles[1]);
    }
}

#[test]
fn dots_stand_for_anything() {
    for (line, expected) in
        [("a b c", "a ... c"), ("abc", "..."), ("abc", "ab..."), ("abc", "...c")]
    {
        assert!(matches(line, expected), "{line} {expected}");
    }
    for (line, expected) in [("a b c", "a ... d"), ("abc", "ab"), ("abcd", "...c"), ("abc", "b...")]
    {
        assert!(!matches(line, expected), "{line} {expected}");
    }
}
