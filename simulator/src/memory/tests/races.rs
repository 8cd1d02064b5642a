//! Patterns that race.

use super::{ALL, Bench, lanes};
use crate::memory::Order;

#[test]
fn blocks_write_different_values() {
    let mut bench = Bench::new(4);
    let x = bench.zeros(64);
    bench.put(5, 3, x + 8, 1);
    bench.silent();
    bench.put(9, 0, x + 8, 2);
    bench.one(
        0,
        x + 8,
        "write by block 1 warp 1 lane 3 (another block, no release and acquire between)",
    );
    bench.next_launch(4);
    bench.put(3, 7, x + 8, 3);
    bench.silent();
}

#[test]
fn read_after_unordered_write() {
    let mut bench = Bench::new(2);
    let x = bench.zeros(4096);
    bench.store(0, ALL, 16, &lanes(x, 16), &[1; 512]).unwrap();
    bench.load(0, ALL, 16, &lanes(x, 16)).unwrap();
    bench.silent();
    bench.load(1, ALL, 16, &lanes(x, 16)).unwrap();
    bench.one(
        0,
        x,
        "write by block 0 warp 0 lane 0 (another warp of the block, no barrier between)",
    );
    bench.barrier(0, 2);
    bench.load(1, ALL, 16, &lanes(x, 16)).unwrap();
    bench.silent();
}

#[test]
fn write_after_unordered_read() {
    let mut bench = Bench::new(2);
    let x = bench.zeros(4096);
    bench.load(0, ALL, 8, &lanes(x, 8)).unwrap();
    bench.put(1, 2, x + 20, 0);
    bench.one(
        2,
        x + 20,
        "read by block 0 warp 0 lane 2 (another warp of the block, no barrier between)",
    );
}

#[test]
fn lanes_of_a_warp_without_syncwarp() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(128);
    bench.store(0, ALL, 4, &lanes(x, 4), &[1; 512]).unwrap();
    bench.get(0, 0, x + 4);
    bench.one(0, x + 4, "write by block 0 warp 0 lane 1 (the same warp, no __syncwarp between)");
    bench.clocks.warp_sync(0, ALL);
    bench.get(0, 0, x + 4);
    bench.silent();
}

#[test]
fn message_without_fence() {
    for fences in 0..4 {
        let mut bench = Bench::new(1);
        let x = bench.zeros(64);
        bench.put(0, 0, x, 7);
        if fences & 1 != 0 {
            bench.clocks.fence(0);
        }
        bench.with(Order::Relaxed).put(0, 0, x + 4, 1);
        bench.with(Order::Relaxed).get(1, 0, x + 4);
        if fences & 2 != 0 {
            bench.clocks.fence(1);
        }
        bench.get(1, 0, x);
        assert_eq!(bench.findings.len(), usize::from(fences != 3), "{fences}");
    }
}
