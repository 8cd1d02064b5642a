//! Patterns of correct kernels: none of them may be reported. Each is followed by the same pattern
//! with its order taken away, which must be.

use super::{ALL, Bench, lanes, weak};
use crate::memory::{Clocks, Fence, Now, Order, Region};

/// Each block writes a partial result, fences and counts itself; the last one reads them all.
fn last_block_done(fence: bool) -> usize {
    let (blocks, warps) = (40, 2);
    let mut bench = Bench::new(warps as u32);
    let (partial, counter) = (bench.zeros(4096), bench.zeros(4));
    for block in 0..blocks {
        bench.store(block * warps + 1, 1, 4, &[partial + 4 * block; 32], &[1; 512]).unwrap();
        bench.barrier(block, warps);
        if fence {
            bench.clocks.fence(block * warps);
        }
        let done = bench.add(block * warps, 0, counter, 1);
        if done + 1 == blocks as u32 {
            if fence {
                bench.clocks.fence(block * warps);
            }
            bench.barrier(block, warps);
            for warp in 0..warps {
                bench.load(block * warps + warp, ALL, 4, &lanes(partial, 4)).unwrap();
            }
            // As the sample does, without an atomic.
            bench.put(block * warps, 0, counter, 0);
        } else {
            bench.clocks.end_block(block);
        }
    }
    bench.findings.len()
}

#[test]
fn last_block_reduces() {
    assert_eq!(last_block_done(true), 0);
    assert_eq!(last_block_done(false), 2);
}

/// Each block waits for the flag of the one before and adds to its sum.
fn look_back(write: Order, read: Order, fences: bool) -> usize {
    let mut bench = Bench::new(1);
    let (sums, flags) = (bench.zeros(4096), bench.zeros(4096));
    for block in 0..20_u64 {
        if block > 0 {
            bench.with(read).get(block, 0, flags + 4 * (block - 1));
            if fences {
                bench.clocks.fence(block);
            }
            for before in 0..block {
                bench.get(block, 0, sums + 4 * before);
            }
        }
        bench.put(block, 0, sums + 4 * block, 1);
        if fences {
            bench.clocks.fence(block);
        }
        bench.with(write).put(block, 0, flags + 4 * block, 1);
    }
    bench.findings.len()
}

#[test]
fn decoupled_look_back() {
    assert_eq!(look_back(Order::Relaxed, Order::Relaxed, true), 0);
    assert_eq!(look_back(Order::Release, Order::Acquire, false), 0);
    assert_eq!(look_back(Order::Relaxed, Order::Relaxed, false), 190);
    assert_eq!(look_back(Order::Release, Order::Relaxed, false), 190);
    assert_eq!(look_back(Order::Relaxed, Order::Acquire, false), 190);
    // A plain read of the flag races itself.
    assert_eq!(look_back(Order::Release, Order::Weak, false), 190 + 19);
}

/// A flag taken back by whoever waited for it, by an ordinary write.
#[test]
fn consumer_resets_the_flag() {
    let mut bench = Bench::new(1);
    let flag = bench.zeros(4);
    bench.with(Order::Release).put(0, 0, flag, 1);
    bench.with(Order::Acquire).get(1, 0, flag);
    bench.put(1, 0, flag, 0);
    bench.silent();
    bench.with(Order::Release).put(0, 0, flag, 1);
    assert_eq!(bench.findings.len(), 1, "the other direction has no order");
    bench.findings.clear();
    bench.put(1, 0, flag, 0);
    bench.one(
        0,
        flag,
        "write by block 0 warp 0 lane 0 (another block, no release and acquire between)",
    );
}

fn spin_lock(fences: bool) -> usize {
    let mut bench = Bench::new(2);
    let (lock, data) = (bench.zeros(4), bench.zeros(64));
    // Two lanes of each of four warps in two blocks.
    for (turn, (warp, lane)) in (0..4).flat_map(|warp| [(warp, 3), (warp, 9)]).enumerate() {
        bench.add(warp, lane, lock, 1);
        if fences {
            bench.clocks.fence(warp);
        }
        assert_eq!(bench.get(warp, lane, data), turn as u32);
        bench.put(warp, lane, data, turn as u32 + 1);
        if fences {
            bench.clocks.fence(warp);
        }
        bench.add(warp, lane, lock, u32::MAX);
    }
    bench.findings.len()
}

#[test]
fn spin_locks() {
    assert_eq!(spin_lock(true), 0);
    assert_eq!(spin_lock(false), 14);
}

/// The barrier of a cooperative grid: the first thread of each block counts, and waits by a
/// volatile read.
fn grid_barrier(bench: &mut Bench, blocks: u64, warps: u64, counter: u64, fence: bool) {
    for block in 0..blocks {
        bench.barrier(block, warps);
        if fence {
            bench.clocks.fence(block * warps);
        }
        bench.add(block * warps, 0, counter, 1);
    }
    for block in 0..blocks {
        bench.with(Order::Relaxed).get(block * warps, 0, counter);
        if fence {
            bench.clocks.fence(block * warps);
        }
        bench.barrier(block, warps);
    }
}

#[test]
fn grid_barriers() {
    for (fence, expected) in [(true, 0), (false, 2 * 5 * 24)] {
        let (blocks, warps) = (6, 4);
        let mut bench = Bench::new(warps as u32);
        let (data, counter) = (bench.zeros(24 * 128), bench.zeros(4));
        for round in 0..6 {
            for warp in 0..blocks * warps {
                let other = (warp + round * warps) % (blocks * warps);
                bench.load(warp, ALL, 4, &lanes(data + 128 * other, 4)).unwrap();
                bench
                    .store(warp, ALL, 4, &lanes(data + 128 * other, 4), &[round as u8; 512])
                    .unwrap();
            }
            grid_barrier(&mut bench, blocks, warps, counter, fence);
        }
        assert_eq!(bench.findings.len(), expected);
    }
}

#[test]
fn shared_histogram() {
    let (mut region, mut clocks, mut findings) =
        (Region::new(4096), Clocks::new(Now::from(1), 4), Vec::new());
    for block in 0..3 {
        let barrier = |clocks: &mut Clocks| {
            let mut fence = Fence::default();
            (0..4).for_each(|warp| clocks.barrier_arrive(block * 4 + warp, &mut fence));
            (0..4).for_each(|warp| clocks.barrier_leave(block * 4 + warp, &fence));
        };
        clocks.start_block(block);
        let mut out = [0; 512];
        region
            .store(&mut clocks, &weak(&lanes(0, 4), 4, block * 4), &[0; 512], ALL, &mut findings)
            .unwrap();
        barrier(&mut clocks);
        for warp in 0..4 {
            let order: Vec<u32> = (0..32).collect();
            let mut update = |_: u32, bytes: &mut [u8]| bytes[0] += 1;
            let bins = std::array::from_fn(|lane| lane as u64 % 8 * 4);
            let written = region.atomic(
                &mut clocks,
                &weak(&bins, 4, block * 4 + warp),
                &order,
                &mut update,
                &mut findings,
            );
            assert_eq!(written, Ok(ALL));
        }
        barrier(&mut clocks);
        for warp in 0..4 {
            let written = region.load(
                &mut clocks,
                &weak(&lanes(0, 4), 4, block * 4 + warp),
                &mut out,
                &mut findings,
            );
            assert_eq!(written, Ok(ALL));
        }
        assert_eq!(out[..32], [16, 0, 0, 0].repeat(8));
        assert_eq!(out[32..128], [0; 96]);
        clocks.end_block(block);
        region.reset();
    }
    assert_eq!(findings, []);
}

#[test]
fn warp_exchange() {
    for (sync, expected) in [(true, 0), (false, 31 * 2)] {
        let mut bench = Bench::new(1);
        let x = bench.zeros(4096);
        for round in 0..32 {
            bench.store(0, ALL, 4, &lanes(x, 4), &[round; 512]).unwrap();
            if sync {
                bench.clocks.warp_sync(0, ALL);
            }
            let rotated = std::array::from_fn(|lane| x + (lane as u64 + 1) % 32 * 4);
            bench.load(0, ALL, 4, &rotated).unwrap();
            if sync {
                bench.clocks.warp_sync(0, ALL);
            }
        }
        // Without, each read and each write but the first of each races.
        assert_eq!(bench.findings.len(), expected + usize::from(!sync));
    }
}

/// Halves of a warp exchange with each other and synchronise apart.
#[test]
fn half_warps() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(4096);
    for (half, mask) in [(0, 0xFFFF), (1, 0xFFFF_0000)] {
        bench.store(0, mask, 4, &lanes(x, 4), &[1; 512]).unwrap();
        bench.clocks.warp_sync(0, mask);
        let swapped = std::array::from_fn(|lane| x + (lane as u64 ^ 1) * 4);
        bench.load(0, mask, 4, &swapped).unwrap();
        bench.silent();
        assert_eq!(bench.get(0, half * 16, x + 4 * u64::from(half * 16)), 0x0101_0101);
    }
    bench.get(0, 0, x + 4 * 31);
    bench.one(
        0,
        x + 4 * 31,
        "write by block 0 warp 0 lane 31 (the same warp, no __syncwarp between)",
    );
    // Lane 15 joins the lower half to the upper one: lane 0 knows nothing of it yet.
    bench.clocks.warp_sync(0, 0xFFFF_8000);
    bench.get(0, 15, x + 4 * 31);
    bench.silent();
    bench.get(0, 0, x + 4 * 31);
    assert_eq!(bench.findings.len(), 1);
    bench.findings.clear();
    bench.clocks.warp_sync(0, 0x8001);
    bench.get(0, 0, x + 4 * 31);
    bench.silent();
}

/// The last steps of an old reduction: volatile, without any synchronisation.
#[test]
fn warp_synchronous_volatile() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(4096);
    bench.store(0, ALL, 4, &lanes(x, 4), &[1; 512]).unwrap();
    bench.clocks.warp_sync(0, ALL);
    for step in [16, 8, 4, 2, 1] {
        bench.with(Order::Relaxed).load(0, ALL, 4, &lanes(x + 4 * step, 4)).unwrap();
        bench.with(Order::Relaxed).store(0, ALL, 4, &lanes(x, 4), &[step as u8; 512]).unwrap();
    }
    bench.get(0, 0, x);
    bench.silent();
}

#[test]
fn equal_values_from_many() {
    let mut bench = Bench::new(2);
    let x = bench.zeros(64);
    for warp in 0..6 {
        bench.store(warp, ALL, 4, &[x; 32], &[1; 512]).unwrap();
    }
    bench.silent();
}

#[test]
fn all_read_one_place() {
    let mut bench = Bench::new(2);
    let x = bench.zeros(64);
    for warp in 0..9 {
        bench.load(warp, ALL, 4, &[x; 32]).unwrap();
    }
    bench.silent();
    bench.next_launch(2);
    bench.store(3, ALL, 2, &[x; 32], &[1; 512]).unwrap();
    bench.silent();
}

/// What one thread learns in a block, others learn at the barrier, and may pass on.
#[test]
fn order_through_third_blocks() {
    let mut bench = Bench::new(2);
    let (x, flags) = (bench.zeros(64), bench.zeros(64));
    bench.put(0, 0, x, 1);
    bench.with(Order::Release).put(0, 0, flags, 1);
    bench.with(Order::Acquire).get(2, 0, flags);
    bench.barrier(1, 2);
    bench.with(Order::Release).put(3, 5, flags + 4, 1);
    bench.with(Order::Acquire).get(4, 0, flags + 4);
    assert_eq!(bench.get(4, 0, x), 1);
    bench.silent();
    bench.get(5, 0, x);
    assert_eq!(bench.findings.len(), 1);
}
