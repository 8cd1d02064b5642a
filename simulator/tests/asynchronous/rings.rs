//! A ring of stages between a producer and consumers.

use super::bench::{Bench, Geometry, SEEDS, Source, Tensor};
use expertile_simulator::report::Kind;

static KERNELS: Source = Source::new("kernels.cu");
const TILES: u32 = 11;
const TILE: [u64; 2] = [32, 16];
/// A producer, two consumers, and a warp that does nothing.
const GEOMETRY: fn() -> Geometry = || Geometry::new(1, 128, 3 * 2048);

fn values(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| ((at % 97) as f32).to_le_bytes()).collect()
}

/// The ring with a fault, its output behind it.
fn ring(fault: u32) -> Option<(Bench, u64)> {
    let mut bench = KERNELS.load()?;
    let rows = u64::from(TILES) * TILE[1];
    let input = bench.buffer(&values((rows * TILE[0]) as usize));
    let out = bench.room(4 * 64);
    let map = Tensor::floats(input, [TILE[0], rows], TILE);
    bench.map(&map).word(TILES).word(fault).address(out);
    Some((bench, out))
}

fn sums() -> Vec<f32> {
    let rows = TILES as usize * 16;
    let at = |row: usize, x: usize| ((row * 32 + x) % 97) as f32;
    let sum = |half, x| (half..rows).step_by(2).map(move |row| at(row, x));
    (0..64).map(|place| sum(place / 32, place % 32).sum()).collect()
}

#[test]
fn a_right_ring_is_silent() {
    for seed in 0..200 {
        let Some((mut bench, out)) = ring(0) else { return };
        let outcome = bench.clean("ring", GEOMETRY(), seed);
        assert_eq!(bench.floats(out, 64), sums(), "seed {seed}");
        // Each byte once.
        let bytes = u64::from(TILES) * 2048;
        let traffic = outcome.counters.traffic;
        assert_eq!((traffic.bytes_read, traffic.sectors_read), (bytes, bytes / 32));
        assert_eq!(traffic.unique_sectors_read, bytes / 32);
    }
}

fn planted(fault: u32, expected: &[(Kind, &str)]) {
    for seed in 0..SEEDS {
        let Some((mut bench, _)) = ring(fault) else { return };
        bench.finds("ring", GEOMETRY(), seed, expected);
    }
}

/// Whichever of two comes second finds it.
const RACE: (Kind, &str) = (Kind::Race, "");

#[test]
fn a_missing_wait() {
    planted(1, &[RACE, (Kind::Uninitialized, "was never written")]);
}

#[test]
fn a_wrong_parity() {
    planted(2, &[RACE, (Kind::Deadlock, "")]);
}

#[test]
fn half_of_the_bytes_expected() {
    let more = (Kind::Barrier, "1024 bytes more have come than were expected in phase 0");
    planted(3, &[more]);
}

#[test]
fn more_arrivals_than_expected() {
    planted(4, &[RACE, (Kind::Deadlock, "2 of 2 arrivals and 0 bytes pending")]);
}

#[test]
fn a_stage_filled_while_it_is_read() {
    planted(5, &[RACE, (Kind::Barrier, "1 arrive where 0 of 1 arrivals are pending in phase")]);
}

#[test]
fn coordinates_exchanged() {
    for seed in 0..SEEDS {
        let Some((mut bench, out)) = ring(6) else { return };
        bench.launch("ring", GEOMETRY(), seed);
        assert_ne!(bench.floats(out, 64), sums());
    }
}

#[test]
fn an_mbarrier_that_was_not_initialised() {
    planted(10, &[(Kind::Barrier, "no mbarrier was initialised at")]);
}

#[test]
fn no_barrier_after_the_initialisation() {
    planted(11, &[(Kind::Race, "init by block 0"), (Kind::Barrier, "no mbarrier was initialised")]);
}

#[test]
fn a_plain_load_of_an_mbarrier() {
    planted(12, &[(Kind::Race, "an mbarrier of block 0")]);
}

#[test]
fn bytes_that_never_come() {
    planted(13, &[(Kind::Deadlock, "phase 0: 0 of 1 arrivals and 2048 bytes pending")]);
}

#[test]
fn copies_of_threads_arrive() {
    for seed in 0..SEEDS {
        let Some(mut bench) = KERNELS.load() else { return };
        let data = values(4 * 128);
        let (input, out) = (bench.buffer(&data), bench.room(data.len()));
        bench.address(input).address(out).word(0);
        bench.clean("arrivals_of_copies", Geometry::new(1, 64, 2048), seed);
        let reversed: Vec<u8> = data
            .chunks(1024)
            .flat_map(|half| half.chunks(16).rev().flatten().copied().collect::<Vec<u8>>())
            .collect();
        assert_eq!(bench.read(out, data.len()), reversed, "seed {seed}");
        bench.forget_arguments();
        bench.address(input).address(out).word(1);
        let expected = [(Kind::Race, ""), (Kind::Uninitialized, "was never written")];
        bench.finds("arrivals_of_copies", Geometry::new(1, 64, 2048), seed, &expected);
    }
}

#[test]
fn a_loop_that_does_not_sleep() {
    for seed in 0..SEEDS {
        let Some(mut bench) = KERNELS.load() else { return };
        let (input, out) = (bench.buffer(&values(64)), bench.room(256));
        bench.address(input).address(out);
        bench.clean("spin", Geometry::new(1, 96, 0), seed);
        assert_eq!(bench.read(out, 256), values(64), "seed {seed}");
    }
}
