//! Copies from shared to global memory.

use super::bench::{Geometry, SEEDS, Source, Tensor};
use expertile_simulator::report::Kind;

static KERNELS: Source = Source::new("kernels.cu");
const TILES: u32 = 17;
const WARPS: u32 = 3;

/// A store of tiles; what it left.
fn store(fault: u32, seed: u64, expected: &[(Kind, &str)]) -> Option<(Vec<f32>, u64)> {
    let mut bench = KERNELS.load()?;
    let rows = u64::from(TILES) * 8 - 3;
    let count = rows as usize * 32;
    let out = bench.room(4 * count);
    bench.map(&Tensor::floats(out, [32, rows], [32, 8])).word(TILES).word(fault);
    let geometry = Geometry::new(1, 32 * WARPS, WARPS * 2 * 1024);
    if !expected.is_empty() {
        bench.finds("store", geometry, seed, expected);
        return Some((Vec::new(), 0));
    }
    let outcome = bench.clean("store", geometry, seed);
    Some((bench.floats(out, count), outcome.counters.traffic.sectors_written))
}

#[test]
fn tiles_are_stored() {
    for seed in 0..SEEDS {
        let Some((out, sectors)) = store(0, seed, &[]) else { return };
        let expected: Vec<f32> = (0..out.len()).map(|at| at as f32).collect();
        assert_eq!(out, expected, "seed {seed}");
        assert_eq!(sectors, out.len() as u64 / 8);
    }
}

fn planted(fault: u32, expected: &[(Kind, &str)]) {
    for seed in 0..SEEDS {
        store(fault, seed, expected);
    }
}

const NO_FENCE: &str = "no fence.proxy.async by the writing thread between";

#[test]
fn a_missing_proxy_fence() {
    planted(7, &[(Kind::Race, NO_FENCE)]);
}

#[test]
fn a_proxy_fence_of_one_thread() {
    // The others' writes are not covered by it.
    planted(14, &[(Kind::Race, NO_FENCE)]);
}

#[test]
fn a_wait_that_leaves_the_latest_copy() {
    planted(15, &[(Kind::Race, "of an asynchronous copy"), (Kind::Race, "write by block 0")]);
}

#[test]
fn a_buffer_filled_while_it_is_copied() {
    planted(8, &[(Kind::Race, "of an asynchronous copy"), (Kind::Race, "write by block 0")]);
}

#[test]
fn copies_that_no_group_holds() {
    planted(9, &[(Kind::Race, "")]);
}

#[test]
fn runs_without_tensors() {
    let bulk = |fault: u32, seed: u64, expected: &[(Kind, &str)]| {
        let Some(mut bench) = KERNELS.load() else { return };
        let input: Vec<u8> = (0..4 * 256u32).flat_map(|at| (at as f32).to_le_bytes()).collect();
        let (from, to) = (bench.buffer(&input), bench.room(input.len()));
        bench.address(from).address(to).word(1024).word(fault);
        let geometry = Geometry::new(4, 96, 1024);
        if expected.is_empty() {
            bench.clean("bulk", geometry, seed);
            let doubled: Vec<f32> = (0..4 * 256).map(|at| 2.0 * at as f32).collect();
            assert_eq!(bench.floats(to, 4 * 256), doubled, "seed {seed}");
        } else {
            bench.finds("bulk", geometry, seed, expected);
        }
    };
    for seed in 0..SEEDS {
        bulk(0, seed, &[]);
        bulk(7, seed, &[(Kind::Race, NO_FENCE)]);
        bulk(8, seed, &[(Kind::Race, "no cp.async.bulk.wait_group says")]);
    }
}
