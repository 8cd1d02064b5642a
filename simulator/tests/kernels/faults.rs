//! `faults.cu`: each kernel has one fault, on the lines marked with its name.

use super::bench::{Bench, Source, seeds};
use expertile_simulator::report::Kind;

static FAULTS: Source = Source::new("faults.cu");

/// Every schedule must report this kind, and nothing on lines that are not marked. A race may also
/// show what it lets through: values that were not written yet.
fn reported(kernel: &str, kind: Kind, grid: u32, block: u32, prepare: impl Fn(&mut Bench)) {
    let text = std::fs::read_to_string(FAULTS.path()).expect("the source");
    let mark = format!("// fault: {kernel}");
    let marked: Vec<u32> =
        (1..).zip(text.lines()).filter(|(_, line)| line.ends_with(&mark)).map(|(n, _)| n).collect();
    assert!(!marked.is_empty(), "{mark}");
    for seed in 0..seeds() {
        let Some(mut bench) = FAULTS.load() else { return };
        prepare(&mut bench);
        let outcome = bench.launch(kernel, [grid, 1, 1], [block, 1, 1], 128, seed);
        let found = outcome.reports.iter().any(|report| report.kind == kind);
        assert!(found, "seed {seed}: {kernel} gave {:?}", outcome.reports);
        for report in &outcome.reports {
            let follows = kind == Kind::Race && report.kind == Kind::Uninitialized;
            assert!(report.kind == kind || follows, "seed {seed}: {report}");
            let Some((file, line)) = &report.source else {
                panic!("seed {seed}: no source line: {report}")
            };
            assert!(file.ends_with("faults.cu") && marked.contains(line), "seed {seed}: {report}");
        }
    }
}

fn numbers(bench: &mut Bench) {
    bench.buffer(&[7i32; 128]);
}

#[test]
fn a_removed_barrier_is_a_race() {
    reported("barrier_removed", Kind::Race, 1, 128, numbers);
}

#[test]
fn a_tree_without_barriers_is_a_race() {
    reported("barrier_misplaced", Kind::Race, 1, 128, numbers);
}

#[test]
fn blocks_that_write_one_cell_race() {
    reported("blocks_share_a_cell", Kind::Race, 4, 32, numbers);
}

#[test]
fn one_element_too_many_is_out_of_bounds() {
    reported("off_by_one", Kind::OutOfBounds, 1, 128, |bench| {
        bench.room::<i32>(100);
        bench.argument(100i32);
    });
}

#[test]
fn shared_memory_has_an_end() {
    reported("shared_overrun", Kind::OutOfBounds, 1, 32, numbers);
}

#[test]
fn a_gap_in_shared_memory_is_uninitialised() {
    reported("uninitialised_shared", Kind::Uninitialized, 1, 128, numbers);
}

#[test]
fn a_barrier_for_half_a_warp_is_reported() {
    reported("barrier_in_divergence", Kind::Divergence, 1, 32, numbers);
}

#[test]
fn vectors_are_aligned() {
    reported("misaligned_vector", Kind::Misaligned, 1, 1, |bench| {
        bench.buffer(&[1f32; 8]);
        bench.room::<f32>(4);
    });
}

#[test]
fn warps_at_different_barriers_are_deadlocked() {
    reported("different_barriers", Kind::Deadlock, 1, 64, numbers);
}
