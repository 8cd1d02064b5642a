//! Blocks that are on the device together.

use super::bench::{Bench, Geometry, SEEDS, Source, Tensor};
use expertile_simulator::report::Kind;

static KERNELS: Source = Source::new("clusters.cu");

fn clusters(grid: u32, block: u32, shared: u32, blocks: u32) -> Geometry {
    Geometry { cluster: Some([blocks, 1, 1]), ..Geometry::new(grid, block, shared) }
}

fn words(bench: &Bench, address: u64, count: usize) -> Vec<u32> {
    let bytes = bench.read(address, 4 * count);
    bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

const ROUNDS: u64 = 3;

/// Two clusters of so many blocks.
fn multicast(blocks: u64, fault: u32) -> Option<(Bench, u64, Geometry)> {
    let mut bench = KERNELS.load()?;
    let rows = 2 * blocks * ROUNDS * 8;
    let input: Vec<u8> = (0..rows * 32).flat_map(|at| ((at % 61) as f32).to_le_bytes()).collect();
    let (from, out) = (bench.buffer(&input), bench.room(4 * 64 * 2 * blocks as usize));
    bench.map(&Tensor::floats(from, [32, rows], [32, 8]));
    bench.word(ROUNDS as u32).word(fault).address(out);
    let blocks = blocks as u32;
    Some((bench, out, clusters(2 * blocks, 64, blocks * 1024, blocks)))
}

#[test]
fn a_copy_lands_in_every_block() {
    for seed in 0..120 {
        let blocks = [1, 2, 4, 8][seed as usize % 4];
        let Some((mut bench, out, geometry)) = multicast(blocks, 0) else { return };
        let outcome = bench.clean("multicast", geometry, seed);
        let of_round = 256 * blocks;
        let sum = |cluster: u64, thread: u64| -> f32 {
            let start = cluster * ROUNDS * of_round;
            (0..ROUNDS * of_round / 64).map(|at| ((start + 64 * at + thread) % 61) as f32).sum()
        };
        let expected = (0..2 * blocks * 64).map(|at| sum(at / 64 / blocks, at % 64));
        assert_eq!(
            bench.floats(out, 64 * 2 * blocks as usize),
            expected.collect::<Vec<f32>>(),
            "seed {seed}"
        );
        // Read once for all blocks of a cluster.
        let bytes = 2 * ROUNDS * of_round * 4;
        assert_eq!(outcome.counters.traffic.bytes_read, bytes);
        assert_eq!(outcome.counters.blocks, 2 * blocks);
    }
}

fn planted(fault: u32, expected: &[(Kind, &str)]) {
    for seed in 0..SEEDS {
        let Some((mut bench, _, geometry)) = multicast(4, fault) else { return };
        bench.finds("multicast", geometry, seed, expected);
    }
}

#[test]
fn faults_of_multicast() {
    let missing = (Kind::Barrier, "no mbarrier was initialised at");
    let exited = (Kind::OutOfBounds, "of the cluster has exited");
    planted(1, &[missing, (Kind::Race, "init by block"), exited]);
    planted(2, &[(Kind::Race, ""), exited]);
    planted(4, &[(Kind::Copy, "multicast to the blocks 0b10000 of a cluster of 4")]);
    planted(5, &[(Kind::Deadlock, "arrivals and 0 bytes pending")]);
}

#[test]
fn blocks_write_each_others_memory() {
    for seed in 0..SEEDS {
        let blocks = [2, 3, 8][seed as usize % 3];
        let Some(mut bench) = KERNELS.load() else { return };
        let count = 64 * 2 * blocks;
        let out = bench.room(4 * count as usize);
        bench.word(0).address(out);
        bench.clean("exchange", clusters(2 * blocks, 64, 0, blocks), seed);
        let expected = (0..count).map(|at| {
            let (block, thread) = (at / 64, at % 64);
            let before = block / blocks * blocks + (block % blocks + blocks - 1) % blocks;
            before * 64 + thread + ((63 * blocks) << 16)
        });
        assert_eq!(words(&bench, out, count as usize), expected.collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn faults_of_exchange() {
    let exited = (Kind::OutOfBounds, "of the cluster has exited");
    let race = (Kind::Race, "no ");
    let expected: [(u32, &[(Kind, &str)]); 2] = [
        (1, &[race, exited, (Kind::Uninitialized, "was never written")]),
        (2, &[race, exited, (Kind::Uninitialized, "was never written")]),
    ];
    for (fault, expected) in expected {
        for seed in 0..SEEDS {
            let Some(mut bench) = KERNELS.load() else { return };
            let out = bench.room(4 * 64 * 4);
            bench.word(fault).address(out);
            bench.finds("exchange", clusters(4, 64, 0, 4), seed, expected);
        }
    }
    // A block that leaves early is found where another comes too late, and not always is one.
    let mut found = 0;
    for seed in 0..SEEDS {
        let Some(mut bench) = KERNELS.load() else { return };
        let out = bench.room(4 * 64 * 4);
        bench.word(3).address(out);
        let outcome = bench.launch("exchange", clusters(4, 64, 0, 4), seed);
        let is_it =
            |report: &expertile_simulator::report::Report| report.message.contains(exited.1);
        found += u32::from(outcome.reports.iter().any(is_it));
    }
    assert!(found > 20, "{found} of {SEEDS}");
}

#[test]
fn special_registers_and_addresses() {
    let grid = [4, 6, 2];
    for (seed, cluster) in [[2, 3, 1], [1, 1, 2], [4, 2, 1], [1, 1, 1]].into_iter().enumerate() {
        let Some(mut bench) = KERNELS.load() else { return };
        let out = bench.room(4 * 20 * 48);
        bench.address(out);
        let geometry = Geometry { cluster: Some(cluster), ..Geometry::new(1, 1, 0) };
        let outcome = bench.launch_grid("places", grid, geometry, seed as u64);
        assert!(outcome.reports.is_empty(), "{}", super::bench::lines(&outcome));
        let all = words(&bench, out, 20 * 48);
        for (number, values) in all.chunks(20).enumerate() {
            let number = number as u32;
            let block = [number % 4, number / 4 % 6, number / 24];
            let within = [0, 1, 2].map(|axis| block[axis] % cluster[axis]);
            let of = [0, 1, 2].map(|axis| block[axis] / cluster[axis]);
            let count = [0, 1, 2].map(|axis| grid[axis] / cluster[axis]);
            let rank = within[0] + cluster[0] * (within[1] + cluster[1] * within[2]);
            let ranks: u32 = cluster.iter().product();
            let own = u32::from(rank == ranks - 1);
            let mut expected = vec![rank, ranks];
            expected.extend(within.iter().chain(&cluster).chain(&of).chain(&count));
            expected.extend([1, ranks - 1, rank, own, 1, 0]);
            assert_eq!(values, expected, "block {number} in clusters of {cluster:?}");
        }
    }
}

#[test]
fn a_block_hands_over() {
    for seed in 0..SEEDS {
        for (fault, expected) in [
            (0, None),
            (2, Some((Kind::Race, "no fence.proxy.async by the writing thread between"))),
        ] {
            let Some(mut bench) = KERNELS.load() else { return };
            let out = bench.room(4 * 64);
            bench.word(fault).address(out);
            let geometry = Geometry::new(2, 64, 0);
            match expected {
                None => {
                    bench.clean("hand_over", geometry, seed);
                    assert_eq!(words(&bench, out, 64), (0..64).collect::<Vec<u32>>());
                }
                Some(expected) => bench.finds("hand_over", geometry, seed, &[expected]),
            }
        }
    }
}

#[test]
fn sizes_that_no_device_has() {
    let Some(mut bench) = KERNELS.load() else { return };
    let out = bench.room(4 * 20 * 48);
    bench.address(out);
    for (grid, cluster) in [(6, 4), (16, 16), (4, 0)] {
        let text = "divisors, at most 8 blocks";
        bench.finds("places", clusters(grid, 1, 0, cluster), 0, &[(Kind::Launch, text)]);
    }
    let mut bench = KERNELS.load().expect("it was loaded");
    let out = bench.room(256);
    bench.word(0).address(out);
    let required = (Kind::Launch, "clusters of [4, 1, 1] where [2, 1, 1] are required");
    bench.finds("hand_over", clusters(4, 64, 0, 4), 0, &[required]);
}
