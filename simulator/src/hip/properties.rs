//! `hipDeviceProp_t`: one layout up to ROCm 5, another since, under another symbol.
//!
//! Offsets are those of `hip_runtime_api.h` of ROCm 5.2 and 7. What is not written is 0: textures,
//! surfaces, and what is not modelled.

use super::architecture::{WALL_CLOCK_KHZ, target};
use super::call;
use crate::cuda::architecture::{Architecture, CONSTANT_BYTES, Limits, THREADS_PER_BLOCK};
use crate::cuda::ffi::Out;

const BYTES_BEFORE_6: usize = 792;
const BYTES: usize = 1472;

/// The bytes of a structure.
struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Fields<N> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Integers beside each other.
    fn ints(&mut self, at: usize, values: &[i32]) {
        for (index, value) in values.iter().enumerate() {
            self.put(at + 4 * index, &value.to_le_bytes());
        }
    }

    fn size(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

/// `hipDeviceArch_t`: 32- and 64-bit atomics, doubles, votes, shuffles, fences, grids in 3D.
const FEATURES: i32 = 0b0_1001_0111_1111_1111;

fn before_6(card: &Architecture, ordinal: usize) -> [u8; BYTES_BEFORE_6] {
    let Limits { block, grid, registers_per_multiprocessor, warp_threads, .. } = card.limits;
    let shared = card.shared_bytes_per_block();
    let mut fields = Fields([0; BYTES_BEFORE_6]);
    fields.put(0, format!("simulated {}", card.name).as_bytes());
    fields.size(256, card.memory_bytes);
    fields.size(264, shared as u64);
    let registers = registers_per_multiprocessor as i32;
    fields.ints(272, &[registers, warp_threads as i32, THREADS_PER_BLOCK as i32]);
    fields.ints(284, &block.map(|limit| limit as i32));
    fields.ints(296, &grid.map(|limit| limit as i32));
    fields.ints(308, &[card.clock_khz, card.memory_clock_khz, card.memory_bus_bits]);
    fields.size(320, CONSTANT_BYTES as u64);
    fields.ints(328, &[card.major, card.minor, card.multiprocessors, card.l2_bytes]);
    fields.ints(344, &[card.threads_per_multiprocessor, 0, WALL_CLOCK_KHZ, FEATURES]);
    fields.ints(360, &[1, 0, ordinal as i32 + 1, 0]); // concurrent kernels; PCI domain, bus, device
    fields.size(376, card.shared_bytes_per_multiprocessor as u64);
    fields.put(396, target(card).as_bytes());
    fields.0
}

fn since_6(card: &Architecture, ordinal: usize) -> [u8; BYTES] {
    let Limits { block, grid, registers_per_multiprocessor, warp_threads, .. } = card.limits;
    let shared = card.shared_bytes_per_block() as u64;
    let mut fields = Fields([0; BYTES]);
    fields.put(0, format!("simulated {}", card.name).as_bytes());
    fields.put(256, &uuid(card, ordinal));
    fields.size(288, card.memory_bytes);
    fields.size(296, shared);
    let registers = registers_per_multiprocessor as i32;
    fields.ints(304, &[registers, warp_threads as i32]);
    fields.size(312, i32::MAX as u64); // pitch
    fields.ints(320, &[THREADS_PER_BLOCK as i32]);
    fields.ints(324, &block.map(|limit| limit as i32));
    fields.ints(336, &grid.map(|limit| limit as i32));
    fields.ints(348, &[card.clock_khz]);
    fields.size(352, CONSTANT_BYTES as u64);
    fields.ints(360, &[card.major, card.minor]);
    fields.ints(384, &[1, card.multiprocessors]); // copies overlap kernels
    fields.ints(576, &[1, 1, ordinal as i32 + 1]); // concurrent kernels, ECC, PCI bus
    fields.ints(600, &[card.copy_engines, 1]); // unified addressing
    fields.ints(608, &[card.memory_clock_khz, card.memory_bus_bits, card.l2_bytes]);
    fields.ints(624, &[card.threads_per_multiprocessor, 1, 1, 1]); // priorities, L1
    fields.size(640, card.shared_bytes_per_multiprocessor as u64);
    fields.ints(648, &[registers]);
    fields.ints(668, &[card.double_ratio]);
    fields.size(696, shared);
    fields.ints(712, &[card.blocks_per_multiprocessor]);
    fields.ints(728, &[1]); // host memory can be registered
    fields.ints(744, &[1]); // stream-ordered allocation
    fields.put(1160, target(card).as_bytes());
    fields.size(1416, card.shared_bytes_per_multiprocessor as u64);
    fields.ints(1424, &[WALL_CLOCK_KHZ, FEATURES]);
    fields.ints(1464, &[1]); // large BAR
    fields.0
}

/// As `hipDeviceGetUuid` gives it.
pub(crate) fn uuid(card: &Architecture, ordinal: usize) -> [u8; 16] {
    let mut bytes = *b"expertile hip\0\0\0";
    bytes[14] = card.compute_capability() as u8;
    bytes[15] = ordinal as u8;
    bytes
}

/// The layout of ROCm 5 and before.
#[unsafe(no_mangle)]
extern "C" fn hipGetDeviceProperties(properties: Out<[u8; BYTES_BEFORE_6]>, device: i32) -> u32 {
    call("hipGetDeviceProperties", |driver| {
        let index = driver.device(device)?;
        properties.set(before_6(driver.devices[index].architecture, index))
    })
}

/// The layout of ROCm 6 and later.
#[unsafe(no_mangle)]
extern "C" fn hipGetDevicePropertiesR0600(properties: Out<[u8; BYTES]>, device: i32) -> u32 {
    call("hipGetDevicePropertiesR0600", |driver| {
        let index = driver.device(device)?;
        properties.set(since_6(driver.devices[index].architecture, index))
    })
}
