//! Reports of AMD's machine code name the line of the source, where the object has line information.

use expertile_simulator::amdgcn::Program;
use expertile_simulator::clang;
use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch};
use expertile_simulator::memory::Memory;
use expertile_simulator::report::{Kind, Report};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/source_lines")
}

/// What a kernel of `faults.hip` reports over 64 numbers; none without a compiler.
fn reports(processor: &str, kernel: &str, options: &[&str], seed: u64) -> Option<Vec<Report>> {
    if let Err(message) = clang::find() {
        let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
        assert!(!required.contains("hip"), "{message}");
        eprintln!("skipped: {message}");
        return None;
    }
    let object = clang::compile(&folder().join("faults.hip"), processor, options);
    let object = object.unwrap_or_else(|message| panic!("{message}"));
    let mut memory = Memory::new(1 << 42, 1 << 30);
    let program = Program::load(&object, &mut memory).expect("the object loads");
    let address = memory.allocate(256).expect("there is room");
    memory.write(address, &[7; 256]).expect("it was allocated");
    let launch = Launch {
        kernel,
        grid: [1; 3],
        block: [64, 1, 1],
        dynamic_shared_bytes: 0,
        parameters: &address.to_le_bytes(),
        seed,
        approximation_seed: seed,
        instruction_limit: INSTRUCTION_LIMIT,
        device: &Device { compute_capability: 0, multiprocessors: 8, max_shared_bytes: 65536 },
    };
    Some(program.launch(&mut memory, &launch).reports)
}

/// Every schedule reports this kind, and the marked line of the file.
fn reported(kernel: &str, kind: Kind, file: &str) {
    let path = folder().join(file);
    let text = std::fs::read_to_string(&path).expect("the source");
    let mark = format!("// fault: {kernel}");
    let line = text.lines().position(|line| line.ends_with(&mark)).expect("a marked line") + 1;
    for (processor, seed) in [("gfx90a", 0), ("gfx90a", 1), ("gfx942", 0), ("gfx942", 1)] {
        let Some(reports) = reports(processor, kernel, &[], seed) else { return };
        assert!(!reports.is_empty(), "{processor} {kernel}");
        for report in reports {
            assert_eq!(report.kind, kind, "{processor}: {report}");
            let expected = Some((path.display().to_string(), line as u32));
            assert_eq!(report.source, expected, "{processor}: {report}");
        }
    }
}

#[test]
fn a_store_past_the_end_has_its_line() {
    reported("off_by_one", Kind::OutOfBounds, "faults.hip");
}

#[test]
fn an_uninitialised_value_has_its_line() {
    reported("uninitialised_lds", Kind::Uninitialized, "faults.hip");
}

#[test]
fn an_inlined_function_has_its_own_line() {
    reported("in_a_header", Kind::OutOfBounds, "helper.hip.h");
}

#[test]
fn an_object_without_lines_names_none() {
    let Some(found) = reports("gfx942", "off_by_one", &["-g0"], 0) else { return };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].source, None);
}

/// A compilation that hides its folder leaves no trace of it.
#[test]
fn relative_names_stay_relative() {
    let hidden = format!("-ffile-prefix-map={}=.", folder().display());
    let options = [&hidden[..], "-ffile-compilation-dir=."];
    let Some(found) = reports("gfx942", "in_a_header", &options, 0) else { return };
    assert_eq!(found[0].source, Some(("helper.hip.h".to_string(), 2)));
}
