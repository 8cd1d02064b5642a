//! `ledger`: which images have no proof yet, and the README's support table.
//! `ledger --take ARCHIVE`: adds an archive's proofs, records and fixtures to the repository.

use expertile_kit::{archive, ledger, support};
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::{env, fs};

const USAGE: &str = "usage: ledger [--take ARCHIVE.tar.gz]";

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ledger: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("benches/record/ledger.csv");
    let text = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut lines = ledger::read(&text(&path)?)?;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().map_err(|error| error.to_string())? {
        match argument {
            Long("take") => {
                let archive: PathBuf =
                    arguments.value().map_err(|error| format!("{error}; {USAGE}"))?.into();
                let files = archive::read(&archive).map_err(|error| error.to_string())?;
                take(&root, files, &mut lines)?;
                fs::write(&path, ledger::write(&lines)).map_err(|error| error.to_string())?;
            }
            Long("help") => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("{}; {USAGE}", other.unexpected())),
        }
    }

    for (stem, architecture, dtypes) in support::without_proof(&lines) {
        println!("without proof: {stem} {architecture} ({})", dtypes.join(", "));
    }
    let readme = root.join("README.md");
    let now = text(&readme)?;
    let wanted = support::insert(&now, &support::table(&lines))
        .ok_or("README.md has no place for the support table")?;
    if now == wanted {
        return Ok(());
    }
    if env::var_os("EXPERTILE_BLESS").is_none() {
        return Err("README.md's support table is stale: run with EXPERTILE_BLESS=1".into());
    }
    fs::write(readme, wanted).map_err(|error| error.to_string())
}

fn take(
    root: &Path,
    files: Vec<(PathBuf, Vec<u8>)>,
    lines: &mut Vec<ledger::Line>,
) -> Result<(), String> {
    let content =
        |name: &str| files.iter().find(|(path, _)| path == Path::new(name)).map(|(_, bytes)| bytes);
    let own = content("ledger.csv").ok_or("the archive has no ledger.csv")?;
    let own = ledger::read(&String::from_utf8_lossy(own))?;
    let Some(first) = own.first() else { return Err("the archive proves nothing".into()) };
    if own.iter().any(|line| !line.is_of_a_machine()) {
        return Err(format!("{} is no machine: its results stay out", first.device));
    }
    lines.extend(own.iter().filter(|line| !lines.contains(line)).cloned().collect::<Vec<_>>());
    let gpu = content("gpu").map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    let gpu = gpu.ok_or("the archive does not name its GPU")?;
    if gpu.is_empty() || !gpu.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(format!("the GPU's name is {gpu:?}"));
    }
    for (path, bytes) in &files {
        let to = match path.strip_prefix("record") {
            Ok(name) => root.join("benches/record").join(name),
            Err(_) => match path.strip_prefix("probes") {
                Ok(name) => root.join("simulator/tests/fixtures/probes").join(&gpu).join(name),
                Err(_) => continue,
            },
        };
        if path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(format!("{} leaves its folder", path.display()));
        }
        let write = || {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::write(&to, bytes)
        };
        write().map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}
