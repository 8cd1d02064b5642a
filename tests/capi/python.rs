//! The example in Python on the installed library.

use crate::install::{Installed, output, root, run, text};
use crate::simulator::Simulator;
use expertile::{Device, Platform};
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Python with the binding, the installed library, and NumPy if `make c-toolchain` installed it.
fn python(installed: &Installed) -> Command {
    let folders = [root().join("examples/python"), root().join(".toolchain/numpy")];
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", env::join_paths(folders).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("EXPERTILE_LIBRARY", installed.library());
    command
}

/// Whether there are Python and NumPy; `EXPERTILE_REQUIRE=numpy` makes it a failure that there are not.
fn has_numpy(installed: &Installed) -> bool {
    let mut command = python(installed);
    let reason = match command.args(["-c", "import numpy"]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("python3: {error}"),
    };
    let required = env::var("EXPERTILE_REQUIRE").unwrap_or_default();
    assert!(!required.contains("numpy"), "no python3 with NumPy: {reason}");
    eprintln!("skipped: no python3 with NumPy: {reason}");
    false
}

fn script(name: &str) -> PathBuf {
    root().join("examples/python").join(name)
}

#[test]
fn python_uses_the_installed_library() {
    // Where it is required, there is a device of each platform.
    let simulator = Simulator::find();
    let installed = Installed::find();
    if !has_numpy(installed) {
        return;
    }
    let example = || {
        let mut command = python(installed);
        command.arg(script("rope.py"));
        command
    };
    run(example, "");
    let usage = output(&mut example());
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    let mut missing = example();
    let missing = output(missing.arg("cuda").env("EXPERTILE_LIBRARY", "/nonexistent.so"));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent.so"), "{missing:?}");

    if simulator.is_none() {
        return;
    }
    for platform in Platform::ALL.into_iter().filter(|&platform| Device::count(platform).is_ok()) {
        let mut binding = python(installed);
        binding.arg(root().join("tests/capi/binding.py")).arg(platform.to_string());
        assert_eq!(text(&mut binding), "");
    }
}

/// Its constants are those of the header, by their names.
#[test]
fn the_binding_has_the_headers_numbers() {
    let header = fs::read_to_string(root().join("include/expertile.h")).unwrap();
    let binding = fs::read_to_string(script("expertile.py")).unwrap();
    let number = |name: &str| -> u32 {
        let line = format!("#define EXPERTILE_{name} ");
        let line = header.lines().find_map(|other| other.strip_prefix(&line));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    for name in ["MAX_RANK", "NAME_BYTES"] {
        assert!(binding.contains(&format!("\n{name} = {}\n", number(name))), "{name}");
    }
    for (key, name) in [
        ("cuda", "CUDA"),
        ("hip", "HIP"),
        ("halves", "PAIRING_HALVES"),
        ("interleaved", "PAIRING_INTERLEAVED"),
        ("bf16", "BF16"),
        ("f16", "F16"),
        ("f32", "F32"),
        ("i32", "I32"),
        ("i64", "I64"),
    ] {
        assert!(binding.contains(&format!("\"{key}\": {}", number(name))), "{key}");
    }
}
