//! What accesses cost.

use super::{ALL, Bench, lanes, weak};
use crate::memory::{Clocks, Now, Region, SharedTraffic, Traffic};

fn reads(bytes: u64, sectors: u64, unique: u64) -> Traffic {
    Traffic {
        bytes_read: bytes,
        sectors_read: sectors,
        unique_sectors_read: unique,
        instructions: 1,
        ..Traffic::default()
    }
}

#[test]
fn sectors_of_one_read() {
    let x = super::BASE;
    let gather = std::array::from_fn(|lane| x + (lane as u64 * 7 % 32) * 64);
    for (at, mask, bytes, expected) in [
        (lanes(x, 4), ALL, 4, reads(128, 4, 4)),
        (lanes(x, 16), ALL, 16, reads(512, 16, 16)),
        (lanes(x + 4, 4), ALL, 4, reads(128, 5, 5)),
        (lanes(x + 16, 16), ALL, 16, reads(512, 17, 17)),
        (lanes(x + 4096 - 256, 16), ALL, 16, reads(512, 16, 16)),
        (lanes(x, 2), ALL, 2, reads(64, 2, 2)),
        (lanes(x, 0), ALL, 4, reads(128, 1, 1)),
        (lanes(x, 8), ALL, 4, reads(128, 8, 8)),
        (lanes(x, 32), ALL, 4, reads(128, 32, 32)),
        (lanes(x, 6144), ALL, 2, reads(64, 32, 32)),
        (gather, ALL, 8, reads(256, 32, 32)),
        (lanes(x, 4), 0x1FF, 4, reads(36, 2, 2)),
        (lanes(x, 4), 0x8000_0001, 4, reads(8, 2, 2)),
    ] {
        let mut bench = Bench::new(1);
        bench.zeros(1 << 20);
        bench.load(0, mask, bytes, &at).unwrap();
        assert_eq!(bench.memory.traffic(), expected, "{at:x?}");
        bench.load(0, mask, bytes, &at).unwrap();
        let twice = Traffic {
            unique_sectors_read: expected.unique_sectors_read,
            ..sum(expected, expected)
        };
        assert_eq!(bench.memory.traffic(), twice);
        bench.next_launch(1);
        assert_eq!(bench.memory.traffic(), Traffic::default());
        bench.load(0, mask, bytes, &at).unwrap();
        assert_eq!(bench.memory.traffic(), expected);
    }
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    let mut both = a;
    both.add(&b);
    both
}

#[test]
fn by_allocation() {
    let mut bench = Bench::new(1);
    let (x, y, z) = (bench.zeros(512), bench.zeros(4096), bench.zeros(64));
    bench.load(0, ALL, 16, &lanes(x, 16)).unwrap();
    bench.store(0, ALL, 16, &lanes(y + 512, 16), &[0; 512]).unwrap();
    bench.add(0, 4, y + 8, 1);
    let written = Traffic {
        bytes_written: 516,
        sectors_written: 17,
        unique_sectors_written: 17,
        instructions: 2,
        ..Traffic::default()
    };
    assert_eq!(bench.memory.traffic_by_allocation(), [(x, reads(512, 16, 16)), (y, written)]);
    assert_eq!(bench.memory.traffic(), sum(reads(512, 16, 16), written));
    // One instruction to two allocations is one, and one of each.
    let both = std::array::from_fn(|lane| if lane < 16 { x } else { z });
    bench.load(0, ALL, 1, &both).unwrap();
    let all = bench.memory.traffic();
    assert_eq!((all.instructions, all.sectors_read, all.unique_sectors_read), (4, 18, 18 - 1));
    let of: Vec<(u64, u64)> =
        bench.memory.traffic_by_allocation().iter().map(|(at, t)| (*at, t.instructions)).collect();
    assert_eq!(of, [(x, 2), (y, 2), (z, 1)]);
}

/// Passes and conflicts of one access.
fn passes(mask: u32, bytes: u32, at: impl Fn(u64) -> u64) -> (u64, u64) {
    let (mut region, mut clocks) = (Region::new(64 << 10), Clocks::new(Now::from(1), 1));
    let at = std::array::from_fn(|lane| at(lane as u64));
    let access = crate::memory::Access { mask, ..weak(&at, bytes, 0) };
    region.load(&mut clocks, &access, &mut [0; 512], &mut Vec::new()).unwrap();
    let loaded = region.shared_traffic();
    region.reset();
    region.store(&mut clocks, &access, &[0; 512], ALL, &mut Vec::new()).unwrap();
    let SharedTraffic { instructions, passes, conflicts } = region.shared_traffic();
    assert_eq!((loaded.instructions, instructions), (1, 2));
    assert_eq!((loaded.passes * 2, loaded.conflicts * 2), (passes, conflicts));
    (loaded.passes, loaded.conflicts)
}

#[test]
fn banks() {
    assert_eq!(passes(ALL, 4, |lane| lane * 4), (1, 0));
    assert_eq!(passes(ALL, 4, |_| 400), (1, 0), "one word for all");
    assert_eq!(passes(ALL, 4, |lane| lane * 128), (32, 31), "a column");
    assert_eq!(passes(ALL, 4, |lane| lane * 132), (1, 0), "a column of padded rows");
    assert_eq!(passes(ALL, 4, |lane| lane * 8), (2, 1));
    assert_eq!(passes(ALL, 4, |lane| (31 - lane) * 4), (1, 0));
    assert_eq!(passes(0xF, 4, |lane| lane * 128), (4, 3));
    assert_eq!(passes(ALL, 2, |lane| lane * 2), (1, 0), "two lanes of a word");
    assert_eq!(passes(ALL, 2, |lane| lane * 128), (32, 31));
    assert_eq!(passes(ALL, 1, |lane| lane), (1, 0));
    // By half-warps.
    assert_eq!(passes(ALL, 8, |lane| lane * 8), (2, 0));
    assert_eq!(passes(ALL, 8, |lane| lane * 16), (4, 2));
    assert_eq!(passes(0xFFFF, 8, |lane| lane * 8), (1, 0));
    // By quarter-warps: float4 rows, the column of unpadded and padded rows of 64 bf16.
    assert_eq!(passes(ALL, 16, |lane| lane * 16), (4, 0));
    assert_eq!(passes(ALL, 16, |lane| lane * 128), (32, 28));
    assert_eq!(passes(ALL, 16, |lane| lane * 144), (4, 0));
    assert_eq!(passes(ALL, 16, |lane| lane * 128 + (lane % 8) * 16), (4, 0), "swizzled");
}
