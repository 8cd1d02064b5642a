//! LLVM's tools, found and run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// Releases before 22 print literals without `lit`.
const OLDEST: u32 = 22;
const NEWEST: u32 = 24;

/// A tool by the name with its release, or the plain one if it is new enough. None if there is none,
/// unless `EXPERTILE_REQUIRE` names llvm.
pub(super) fn find(tool: &str) -> Option<String> {
    let names = (OLDEST..=NEWEST).rev().map(|release| format!("{tool}-{release}"));
    for name in names.chain([tool.to_string()]) {
        let Ok(output) = Command::new(&name).arg("--version").output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = text.split("version ").nth(1).and_then(|rest| rest.split('.').next());
        if release.and_then(|release| release.parse().ok()).is_some_and(|n: u32| n >= OLDEST) {
            return Some(name);
        }
    }
    let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
    assert!(!required.contains("llvm"), "no {tool} of LLVM {OLDEST} or later");
    eprintln!(
        "skipped: no {tool} of LLVM {OLDEST} or later (EXPERTILE_REQUIRE=llvm makes this a failure)"
    );
    None
}

/// What a tool prints for an input; complaints about single lines are no failure.
pub(super) fn run(tool: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("{tool}: {error}"));
    String::from_utf8(output.stdout).unwrap_or_else(|error| panic!("{tool}: {error}"))
}

/// What llvm-mc says of an instruction: its text, and how it would encode that.
pub(super) type Answer = Option<(String, Vec<u32>)>;

/// Between two instructions stands `s_mov_b32 s0, MARK + n`, so that a bad one does not shift the rest.
const MARK: usize = 0x6A5_0000;

/// The instructions at the start of these words, by one process.
pub(super) fn disassemble(tool: &str, cpu: &str, words: &[[u32; 3]]) -> Vec<Answer> {
    let hex = |words: &[u32]| -> String {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        bytes.map(|byte| format!("{byte:#04x},")).collect()
    };
    let mut input = String::new();
    for (at, words) in words.iter().enumerate() {
        // Brackets hold what is skipped as a whole if it does not begin with an instruction.
        let mark = hex(&[0xBE80_00FF, (MARK + at) as u32]);
        input += &format!("[{}]\n{mark}\n", hex(words));
    }
    let arguments = ["--disassemble", "--show-encoding", TRIPLE, &cpu_flag(cpu)];
    let answers = answers(&run(tool, &arguments, &input));
    assert_eq!(answers.len(), words.len(), "{tool} lost a marker: it crashed");
    answers
}

/// These lines of assembly, by one process.
pub(super) fn assemble(tool: &str, cpu: &str, lines: &[String]) -> Vec<Answer> {
    let mut input = String::new();
    for (at, line) in lines.iter().enumerate() {
        input += &format!("{line}\ns_mov_b32 s0, {:#x}\n", MARK + at);
    }
    let answers = answers(&run(tool, &["--show-encoding", TRIPLE, &cpu_flag(cpu)], &input));
    assert_eq!(answers.len(), lines.len(), "{tool} lost a marker");
    answers
}

const TRIPLE: &str = "-triple=amdgcn-amd-amdhsa";

fn cpu_flag(cpu: &str) -> String {
    format!("-mcpu={cpu}")
}

fn answers(output: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut first = None;
    for line in output.lines() {
        let Some((text, encoding)) = line.split_once("; encoding: [") else { continue };
        let text = text.trim();
        let byte = |byte: &str| u8::from_str_radix(byte.strip_prefix("0x")?, 16).ok();
        let bytes: Vec<u8> = encoding.trim_end_matches(']').split(',').filter_map(byte).collect();
        let word =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
        let words = bytes.chunks(4).map(word).collect();
        if text == format!("s_mov_b32 s0, {:#x}", MARK + answers.len()) {
            answers.push(first.take().flatten());
        } else if first.is_none() {
            // Reserved encodings are printed with such a comment.
            let refused = text.contains("/*Invalid");
            first = Some((!refused).then(|| (text.to_string(), words)));
        }
    }
    answers
}
