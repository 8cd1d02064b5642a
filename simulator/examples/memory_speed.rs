//! Nanoseconds that the memory takes for one access of a warp, by kind:
//! `cargo run --release -p expertile-simulator --example memory_speed`.

use std::hint::black_box;
use std::time::Instant;

use expertile_simulator::memory::{Access, Clocks, Fence, Memory, Now, Order, Region};

const WARPS: u64 = 8;
const ROW: u64 = 12288;

fn main() {
    println!("{:<52}{:>8}", "one access of a warp", "ns");
    for bytes in [2, 4, 8, 16] {
        global(bytes);
    }
    shared();
}

fn lanes(start: u64, step: u64) -> [u64; 32] {
    std::array::from_fn(|lane| start + lane as u64 * step)
}

fn weak(addresses: &[u64; 32], bytes: u32, warp: u64) -> Access<'_> {
    Access { addresses, mask: !0, bytes, order: Order::Weak, warp, place: 0 }
}

fn print(name: &str, since: Instant, count: u64) {
    println!("{name:<52}{:>8.1}", since.elapsed().as_nanos() as f64 / count as f64);
}

/// Blocks of eight warps; each reads a row, a row that all blocks read, and writes a row.
fn global(bytes: u32) {
    let rows = 512;
    let mut memory = Memory::new(1 << 32, 1 << 34);
    let mut allocate = |size| {
        let start = memory.allocate(size).expect("enough memory");
        memory.fill(start, &[0], size).expect("within");
        start
    };
    let (input, weight, output) = (allocate(rows * ROW), allocate(ROW), allocate(rows * ROW));
    let step = u64::from(bytes) * 32;
    let per_row = ROW / step;
    for launch in ["first launch", "second launch"] {
        let mut clocks = Clocks::new(memory.begin_launch(), WARPS as u32);
        let (mut out, mut findings) = ([0; 512], Vec::new());
        let mut time = [0; 3];
        for row in 0..rows {
            clocks.start_block(row);
            for (kind, base) in
                [input + row * ROW, weight, output + row * ROW].into_iter().enumerate()
            {
                let since = Instant::now();
                for piece in 0..per_row {
                    let access = Access {
                        addresses: &lanes(base + piece * step, bytes.into()),
                        mask: !0,
                        bytes,
                        order: Order::Weak,
                        warp: row * WARPS + piece % WARPS,
                        place: 0,
                    };
                    if kind < 2 {
                        let read = memory.load(&mut clocks, &access, &mut out, &mut findings);
                        black_box(read.expect("within"));
                    } else {
                        memory
                            .store(&mut clocks, &access, &out, !0, &mut findings)
                            .expect("within");
                    }
                }
                time[kind] += since.elapsed().as_nanos();
            }
            clocks.end_block(row);
        }
        assert!(findings.is_empty());
        for (kind, name) in ["read", "read what all blocks read", "write"].into_iter().enumerate() {
            let name = format!("{bytes}-byte {name}, {launch}");
            println!("{name:<52}{:>8.1}", time[kind] as f64 / (rows * per_row) as f64);
        }
    }
}

/// Exchanges through shared memory, with a barrier between.
fn shared() {
    let mut region = Region::new(32 << 10);
    let mut clocks = Clocks::new(Now::from(1), WARPS as u32);
    let (mut out, mut findings) = ([0; 512], Vec::new());
    for bytes in [4, 16] {
        let step = 32 * u64::from(bytes);
        let mut time = [0; 4];
        let turns = 20_000;
        for _ in 0..turns {
            let mut since = Instant::now();
            let mut lap = |kind: usize| {
                time[kind] += since.elapsed().as_nanos();
                since = Instant::now();
            };
            for warp in 0..WARPS {
                let at = lanes(warp * step, bytes.into());
                region
                    .store(&mut clocks, &weak(&at, bytes, warp), &out, !0, &mut findings)
                    .expect("within");
            }
            lap(0);
            let mut barrier = Fence::default();
            (0..WARPS).for_each(|warp| clocks.barrier_arrive(warp, &mut barrier));
            (0..WARPS).for_each(|warp| clocks.barrier_leave(warp, &barrier));
            lap(1);
            for warp in 0..WARPS {
                let at = lanes((warp + 1) % WARPS * step, bytes.into());
                region
                    .load(&mut clocks, &weak(&at, bytes, warp), &mut out, &mut findings)
                    .expect("within");
            }
            for warp in 0..WARPS {
                clocks.warp_sync(warp, !0);
            }
            lap(2);
            for warp in 0..WARPS {
                let at = [warp * step; 32];
                region
                    .load(&mut clocks, &weak(&at, bytes, warp), &mut out, &mut findings)
                    .expect("within");
            }
            lap(3);
            let mut barrier = Fence::default();
            (0..WARPS).for_each(|warp| clocks.barrier_arrive(warp, &mut barrier));
            (0..WARPS).for_each(|warp| clocks.barrier_leave(warp, &barrier));
        }
        assert!(findings.is_empty(), "{findings:?}");
        let names = ["write", "barrier, per warp", "read of another warp's", "read of one place"];
        for (kind, name) in names.into_iter().enumerate() {
            let name = format!("{bytes}-byte shared {name}");
            println!("{name:<52}{:>8.1}", time[kind] as f64 / (turns * WARPS) as f64);
        }
    }
    let (since, count) = (Instant::now(), 100_000);
    for turn in 0..count {
        let at = std::array::from_fn(|lane| (lane as u64 * 132 + turn % 8 * 4) % 8192);
        region.load(&mut clocks, &weak(&at, 4, 0), &mut out, &mut findings).expect("within");
    }
    print("4-byte shared read, one lane every 132 bytes", since, count);
    let (since, count) = (Instant::now(), 10_000);
    for turn in 0..count {
        region.reset();
        clocks.start_block(turn + 1);
        let at = lanes(0, 4);
        region
            .store(&mut clocks, &weak(&at, 4, (turn + 1) * WARPS), &out, !0, &mut findings)
            .expect("within");
        clocks.end_block(turn + 1);
    }
    print("a block's start, reset and first shared write", since, count);
}
