//! What lies where, what was written, and what the faults say.

use super::{ALL, BASE, Bench, lanes, weak};
use crate::memory::{AccessFault, Clocks, Memory, MemoryError, Now, Region};

fn outside(lane: u32, address: u64, message: &str) -> AccessFault {
    AccessFault::OutOfBounds { lane, address, message: message.to_owned() }
}

#[test]
fn addresses_are_apart_and_not_reused() {
    let mut memory = Memory::new(BASE + 1, 10_000);
    let mut seen = Vec::new();
    for size in [1, 4096, 5, 256, 0, 3000] {
        let start = memory.allocate(size).unwrap();
        assert_eq!(start % 256, 0);
        assert!(seen.iter().all(|&(other, bytes)| start >= other + bytes + 4096));
        seen.push((start, size));
        assert_eq!(memory.find(start), (size > 0).then_some((start, size)));
        assert_eq!(memory.find(start + size), None);
        if size > 3000 {
            memory.free(start).unwrap();
            assert_eq!(memory.find(start), None);
        }
    }
    // 3262 are used.
    assert_eq!(memory.allocate(6739), Err(MemoryError::OutOfMemory));
    memory.allocate(6738).unwrap();
    assert_eq!(memory.allocate(1), Err(MemoryError::OutOfMemory));
    let mut vast = Memory::new(BASE, u64::MAX);
    assert_eq!(vast.allocate(1 << 48), Err(MemoryError::OutOfMemory));
}

#[test]
fn untouched_gigabytes_cost_nothing() {
    let mut memory = Memory::new(BASE, 1 << 40);
    let start = memory.allocate(12 << 30).unwrap();
    let far = start + (11 << 30) + 5;
    memory.write(far, &[7]).unwrap();
    let mut bytes = [0; 3];
    memory.read(far - 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0xFF, 7, 0xFF]);
}

#[test]
fn kernel_out_of_bounds() {
    let mut bench = Bench::new(1);
    let first = bench.zeros(4096);
    let second = bench.zeros(100);
    assert_eq!((first, second), (0x7000_0000, 0x7000_2000));
    let mut load = |bytes, at: &[u64; 32]| bench.load(0, ALL, bytes, at).map(drop);
    assert_eq!(load(4, &lanes(first + 4096 - 128, 4)), Ok(()));
    assert_eq!(
        load(4, &lanes(first + 4096 - 124, 4)),
        Err(outside(
            31,
            first + 4096,
            "starts 0 bytes past the end of the 4096-byte allocation at 0x70000000"
        ))
    );
    assert_eq!(
        load(4, &[first + 4100; 32]),
        Err(outside(
            0,
            first + 4100,
            "starts 4 bytes past the end of the 4096-byte allocation at 0x70000000"
        ))
    );
    assert_eq!(
        load(8, &lanes(second - 8, 0)),
        Err(outside(0, second - 8, "starts 8 bytes before the 100-byte allocation at 0x70002000"))
    );
    assert_eq!(
        load(16, &[second + 96; 32]),
        Err(outside(
            0,
            second + 96,
            "ends 12 bytes past the end of the 100-byte allocation at 0x70002000"
        ))
    );
    assert_eq!(
        load(4, &[16; 32]),
        Err(outside(
            0,
            16,
            "starts 1879048176 bytes before the 4096-byte allocation at 0x70000000"
        ))
    );
    assert_eq!(
        load(8, &[u64::MAX - 7; 32]),
        Err(outside(
            0,
            u64::MAX - 7,
            "starts 18446744071830495124 bytes past the end of the 100-byte allocation at 0x70002000"
        ))
    );
    // Lanes of one instruction may be in two allocations.
    let both = std::array::from_fn(|lane| if lane % 2 == 0 { first + 4 } else { second + 8 });
    bench.put(0, 0, first + 4, 11);
    bench.put(0, 1, second + 8, 22);
    let (written, out) = bench.load(0, ALL, 4, &both).unwrap();
    assert_eq!(written, ALL);
    assert_eq!(out[..8], [11, 0, 0, 0, 22, 0, 0, 0]);
    let mut third = both;
    third[9] = second + 101;
    assert_eq!(
        bench.load(0, ALL, 4, &third).unwrap_err(),
        AccessFault::Misaligned { lane: 9, address: second + 101 }
    );
    assert_eq!(bench.load(0, ALL & !(1 << 9), 4, &third).unwrap().0, ALL & !(1 << 9));
}

#[test]
fn faulty_stores_change_nothing() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(64);
    let fault = bench.store(0, ALL, 4, &lanes(x, 4), &[1; 512]).unwrap_err();
    assert_eq!(
        fault,
        outside(16, x + 64, "starts 0 bytes past the end of the 64-byte allocation at 0x70000000")
    );
    let mut bytes = [9; 64];
    bench.memory.read(x, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 64]);
    assert_eq!(bench.memory.traffic().instructions, 0);
}

#[test]
fn use_after_free() {
    let mut bench = Bench::new(1);
    let (first, second) = (bench.zeros(512), bench.zeros(512));
    bench.memory.free(first).unwrap();
    let message = "lies in the 512-byte allocation at 0x70000000, which was freed";
    assert_eq!(
        bench.load(0, 2, 4, &[first + 508; 32]).unwrap_err(),
        outside(1, first + 508, message)
    );
    let error = |message: String| Err(MemoryError::Address(message));
    assert_eq!(bench.memory.free(first), error(format!("0x70000000 {message}")));
    assert_eq!(
        bench.memory.read(first, &mut [0; 4]),
        error(format!("4 bytes at 0x70000000: {message}"))
    );
    assert_eq!(
        bench.memory.free(second + 256),
        error(
            "0x70001300 is inside the 512-byte allocation at 0x70001200, not its start".to_owned()
        )
    );
    bench.memory.free(second).unwrap();
    assert_eq!(
        bench.memory.write(second + 512, &[0; 2]),
        error("2 bytes at 0x70001400: lies outside: nothing is allocated".to_owned())
    );
}

#[test]
fn host_bounds() {
    let mut memory = Memory::new(BASE, 1 << 20);
    let start = memory.allocate(5000).unwrap();
    let past = |bytes: u64, at: u64, place: &str| {
        Err(MemoryError::Address(format!(
            "{bytes} bytes at {at:#x}: {place} the 5000-byte allocation at 0x70000000"
        )))
    };
    assert_eq!(memory.write(start + 4990, &[1; 10]), Ok(()));
    assert_eq!(
        memory.write(start + 4990, &[2; 11]),
        past(11, start + 4990, "ends 1 bytes past the end of")
    );
    assert_eq!(
        memory.fill(start + 4, &[1, 2, 3, 4], 1250),
        past(5000, start + 4, "ends 4 bytes past the end of")
    );
    assert_eq!(
        memory.copy(start, start + 4000, 1001),
        past(1001, start + 4000, "ends 1 bytes past the end of")
    );
    assert_eq!(
        memory.copy(start + 6000, start, 1),
        past(1, start + 6000, "starts 1000 bytes past the end of")
    );
    assert_eq!(memory.write(start + 5000, &[]), Ok(()));
    let mut bytes = [0; 12];
    memory.read(start + 4988, &mut bytes).unwrap();
    assert_eq!(bytes, [0xFF, 0xFF, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn shared_bounds() {
    let (mut region, mut clocks, mut findings) =
        (Region::new(1000), Clocks::new(Now::from(1), 1), Vec::new());
    assert_eq!(region.bytes(), 1000);
    let mut load = |at: u64, bytes| {
        region.load(&mut clocks, &weak(&[at; 32], bytes, 0), &mut [0; 512], &mut findings)
    };
    assert_eq!(load(992, 8), Ok(0));
    let message = "starts 0 bytes past the end of the block's 1000 bytes of shared memory";
    assert_eq!(load(1000, 8), Err(outside(0, 1000, message)));
    let message = "ends 8 bytes past the end of the block's 1000 bytes of shared memory";
    assert_eq!(load(992, 16), Err(outside(0, 992, message)));
    assert_eq!(load(6, 4), Err(AccessFault::Misaligned { lane: 0, address: 6 }));
}

#[test]
fn reset_forgets() {
    let (mut region, mut clocks, mut findings) =
        (Region::new(9000), Clocks::new(Now::from(1), 1), Vec::new());
    for warp in 0..3 {
        let mut out = [0; 512];
        for start in [0, 4096, 8192] {
            let (whole, one) = (lanes(start, 2), [start + 6; 32]);
            assert_eq!(
                region.load(&mut clocks, &weak(&whole, 2, warp), &mut out, &mut findings),
                Ok(0)
            );
            assert_eq!(out[..64], [0xFF; 64]);
            region.store(&mut clocks, &weak(&one, 2, warp), &[3; 512], ALL, &mut findings).unwrap();
            let written = region.load(&mut clocks, &weak(&whole, 2, warp), &mut out, &mut findings);
            assert_eq!(written, Ok(8));
            assert_eq!(out[..9], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 3, 3, 0xFF]);
        }
        findings.clear();
        region.reset();
    }
}

#[test]
fn undefined_lanes_stay_unwritten() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(512);
    let access = weak(&[0; 32], 8, 0);
    let at = lanes(x, 8);
    let access = crate::memory::Access { addresses: &at, ..access };
    let (memory, clocks) = (&mut bench.memory, &mut bench.clocks);
    memory.store(clocks, &access, &[5; 512], 0xF0F0_F0F0, &mut bench.findings).unwrap();
    let (written, out) = bench.load(0, ALL, 8, &at).unwrap();
    assert_eq!(written, 0xF0F0_F0F0);
    assert_eq!((&out[..32], &out[32..64]), (&[0xFF; 32][..], &[5; 32][..]));
    bench.clocks.warp_sync(0, ALL);
    // A lane that sees half of a written cell sees something never written.
    assert_eq!(bench.load(0, 2, 16, &lanes(x + 16, 16)).unwrap().0, 2);
    assert_eq!(bench.load(0, 2, 16, &lanes(x + 40 - 24 - 16, 16)).unwrap().0, 0);
    bench.next_launch(1);
    assert_eq!(bench.load(0, ALL, 8, &at).unwrap().0, 0xF0F0_F0F0);
    bench.silent();
}

#[test]
fn launch_numbers_start_again() {
    let mut bench = Bench::new(1);
    let x = bench.zeros(5000);
    bench.memory.skip_launches(u32::MAX - 2);
    for _ in 0..4 {
        bench.next_launch(1);
        bench.put(3, 1, x + 4, 1);
        bench.put(4, 1, x + 8, 1);
        bench.silent();
        assert_eq!(bench.memory.traffic().unique_sectors_written, 1);
    }
    bench.get(4, 1, x + 4);
    assert_eq!(bench.findings.len(), 1);
}
