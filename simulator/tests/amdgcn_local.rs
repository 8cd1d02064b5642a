//! Buffers with bounds, loads to LDS, transposing reads and the banks of LDS.

use expertile_simulator::report::Kind;

#[path = "amdgcn/common.rs"]
mod common;

use common::{PROCESSORS, Run, random};

fn run(processor: &str, kernel: &str, threads: u32, a: &[u32], seed: u64) -> Option<Run> {
    common::run(("local.hip", processor, kernel), (1, threads), &[a], 1024, seed)
}

/// Every seed's result of a kernel, without reports.
fn check(kernel: &str, threads: u32, processors: &[&str], expected: impl Fn(&[u32]) -> Vec<u32>) {
    for processor in processors {
        for seed in 0..16 {
            let a = random(1024, seed);
            let Some(run) = run(processor, kernel, threads, &a, seed) else { return };
            assert_eq!(run.reports(), Vec::<String>::new(), "{processor} {kernel} {seed}");
            assert_eq!(run.out, expected(&a), "{processor} {kernel} {seed}");
        }
    }
}

/// An array of 1024 words: some are given, the rest is zero.
fn words(given: impl Fn(usize) -> Option<u32>) -> Vec<u32> {
    (0..1024).map(|at| given(at).unwrap_or(0)).collect()
}

#[test]
fn what_is_out_of_range_reads_as_zero_and_is_not_written() {
    check("buffer_words", 256, &PROCESSORS, |a| {
        words(|at| (at < 250).then(|| a[at].wrapping_add(1)))
    });
    // Dword by dword.
    check("buffer_vectors", 256, &PROCESSORS, |a| {
        let read = |at: usize| if at < 301 { a[at] } else { 0 };
        words(|at| (at < 502).then(|| read(at).wrapping_add(1)))
    });
    check("buffer_parts", 256, &PROCESSORS, |a| {
        let half = |at: usize| if at < 201 { a[at / 2] >> (16 * (at % 2)) & 0xFFFF } else { 0 };
        words(|at| {
            Some(match at {
                0..128 => half(2 * at) | half(2 * at + 1) << 16,
                128..192 => (0..4).map(|b| (half(4 * (at - 128) + b) & 0xFF) << (8 * b)).sum(),
                // The word that is half in range is not.
                256..356 => a[at - 256],
                _ => 0,
            })
        })
    });
    check("buffer_high", 256, &PROCESSORS, |a| {
        words(|at| {
            let high = if at < 128 { a[at / 2] >> (16 * (at % 2)) << 16 } else { 0 };
            (at < 256).then_some(high | 0x1234)
        })
    });
}

#[test]
fn loads_to_lds() {
    check("direct", 256, &PROCESSORS, |a| words(|at| (at < 256).then(|| a[255 - at])));
    check("direct_wide", 256, &["gfx950"], |a| words(|at| Some(a[1020 - at / 4 * 4 + at % 4])));
    check("direct_offset", 256, &PROCESSORS, |a| words(|at| (at < 256).then(|| a[at + 8])));
    check("direct_buffer", 256, &PROCESSORS, |a| words(|at| (at < 200).then(|| a[at])));
}

#[test]
fn what_was_never_written_is_so_in_lds_too() {
    for processor in PROCESSORS {
        let Some(run) = run(processor, "direct", 256, &[], 0) else { return };
        let kinds: Vec<Kind> = run.outcome.reports.iter().map(|report| report.kind).collect();
        assert_eq!(kinds, [Kind::Uninitialized], "{processor}: {:?}", run.reports());
    }
}

#[test]
fn transposing_reads() {
    check("transposed", 64, &["gfx950"], |a| {
        // Rows of 16 halves, four of them to 16 lanes; a lane gets a column.
        let half =
            |row: usize, column: usize| a[8 * row + column / 2] >> (16 * (column % 2)) & 0xFFFF;
        words(|at| {
            let (lane, pair) = (at / 2, at % 2);
            let (row, column) = (lane / 16 * 4 + 2 * pair, lane % 16);
            (lane < 64).then(|| half(row, column) | half(row + 1, column) << 16)
        })
    });
}

/// The fault is found by that many of 48 runs, and said in these words.
fn planted(kernel: &str, kind: Kind, said: &str, at_least: usize) {
    let mut found = 0;
    for processor in PROCESSORS {
        for seed in 0..16 {
            let a = random(512, seed);
            let Some(run) = run(processor, kernel, 256, &a, seed) else { return };
            let hit = run.outcome.reports.iter().any(|report| report.kind == kind);
            found += usize::from(hit);
            let reports = run.reports();
            assert!(!hit || reports.iter().any(|it| it.contains(said)), "{processor}: {reports:?}");
        }
    }
    assert!(found >= at_least, "{kernel}: {found} of 48 runs");
}

#[test]
fn planted_faults_are_reported() {
    planted("direct_early", Kind::Uninitialized, "what is stored was never written", 48);
    planted("direct_race", Kind::Race, "no barrier between", 48);
    planted("buffer_past_allocation", Kind::OutOfBounds, "past the end of the 2048-byte", 48);
    let differ = "documents differ on whether that is checked";
    planted("buffer_scalar_past_end", Kind::OutOfBounds, differ, 48);
    planted("buffer_with_stride", Kind::Unsupported, "stride 4, swizzle 0", 48);
}

/// LDS's instructions, passes and conflicts of what reads columns of a stride after rows of words.
#[test]
fn passes_are_those_of_the_chips_banks() {
    let counts = |processor: &str, kernel: &str| -> Option<[u64; 2]> {
        let run = run(processor, kernel, 64, &random(512, 0), 0)?;
        assert_eq!(run.reports(), Vec::<String>::new(), "{processor} {kernel}");
        let shared = run.outcome.counters.shared;
        // What is written has no conflicts.
        Some([shared.conflicts, shared.passes])
    };
    for processor in PROCESSORS {
        let wide = processor == "gfx950";
        let Some(two) = run(processor, "two_places", 64, &random(512, 0), 0) else { return };
        let shared = two.outcome.counters.shared;
        let passes = if wide { 4 + 2 } else { 4 + 4 };
        assert_eq!((shared.instructions, shared.passes), (2, passes), "{processor}");
        let Some(narrow) = counts(processor, "column_32") else { return };
        assert_eq!(narrow, if wide { [31, 64 + 32] } else { [62, 64 + 64] }, "{processor}");
        let padded = counts(processor, "column_33");
        assert_eq!(padded, Some(if wide { [0, 66 + 1] } else { [0, 66 + 2] }), "{processor}");
        let padded = counts(processor, "column_wide_36");
        assert_eq!(padded, Some(if wide { [0, 72 + 4] } else { [0, 72 + 8] }), "{processor}");
        let unpadded = counts(processor, "column_wide_32");
        assert_eq!(unpadded, Some(if wide { [28, 64 + 32] } else { [56, 64 + 64] }), "{processor}");
    }
}
