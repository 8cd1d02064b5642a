//! The AMD cards that are simulated, by their published numbers and what HIP shows of them.

use crate::cuda::architecture::{Architecture, CONSTANT_BYTES, Limits, THREADS_PER_BLOCK};

/// CDNA 2 and 3: four SIMDs of 512 registers for 64 lanes, given to a wave by eights; LDS by 128 words.
const CDNA: Limits = Limits {
    warp_threads: 64,
    block: [1024; 3],
    grid: [i32::MAX as u32, 65536, 65536],
    grid_threads: u32::MAX as u64,
    registers_per_multiprocessor: 4 * 512 * 64,
    register_granule: 8 * 64,
    shared_granule: 512,
    reserved_shared_bytes: 0,
    default_shared_bytes: i32::MAX,
};

/// What the cards have in common, and CUDA alone asks for.
const COMMON: Architecture = Architecture {
    name: "",
    major: 9,
    minor: 0,
    memory_bytes: 0,
    multiprocessors: 0,
    clock_khz: 0,
    memory_clock_khz: 0,
    memory_bus_bits: 0,
    l2_bytes: 0,
    persisting_l2_bytes: 0,
    threads_per_multiprocessor: 2048,
    blocks_per_multiprocessor: 32,
    shared_bytes_per_multiprocessor: 64 << 10,
    double_ratio: 1,
    copy_engines: 2,
    pci_device_id: 0,
    parameter_bytes: 1 << 16,
    limits: CDNA,
};

/// MI210, MI300X and MI355X. L2 is that of one die of an MI300X or MI355X, as HIP counts.
pub(crate) static ARCHITECTURES: [Architecture; 3] = [
    Architecture {
        name: "gfx90a",
        memory_bytes: (64 << 30) - (16 << 20),
        multiprocessors: 104,
        clock_khz: 1_700_000,
        memory_clock_khz: 1_600_000,
        memory_bus_bits: 4096,
        l2_bytes: 8 << 20,
        ..COMMON
    },
    Architecture {
        name: "gfx942",
        minor: 4,
        memory_bytes: (192 << 30) - (16 << 20),
        multiprocessors: 304,
        clock_khz: 2_100_000,
        memory_clock_khz: 1_300_000,
        memory_bus_bits: 8192,
        l2_bytes: 4 << 20,
        ..COMMON
    },
    Architecture {
        name: "gfx950",
        minor: 5,
        memory_bytes: (288 << 30) - (16 << 20),
        multiprocessors: 256,
        clock_khz: 2_400_000,
        memory_clock_khz: 2_000_000,
        memory_bus_bits: 8192,
        l2_bytes: 4 << 20,
        shared_bytes_per_multiprocessor: 160 << 10,
        limits: Limits { shared_granule: 1280, ..CDNA },
        ..COMMON
    },
];

/// Kilohertz of the counter behind `wall_clock64`.
pub(crate) const WALL_CLOCK_KHZ: i32 = 100_000;

/// As in `gcnArchName`: with the features that a code object may name.
pub(crate) fn target(card: &Architecture) -> String {
    format!("{}:sramecc+:xnack-", card.name)
}

/// `hipDeviceAttribute_t` by number; none for a number that the interface does not have, or whose value
/// is no number.
pub(crate) fn attribute(card: &Architecture, ordinal: usize, number: u32) -> Option<i32> {
    let Limits { block, grid, registers_per_multiprocessor, warp_threads, .. } = card.limits;
    Some(match number {
        0 => 1, // ECC
        1 => 0,
        2 => card.copy_engines,
        3 | 4 => 0, // mapped host memory: not modelled
        5 => card.clock_khz,
        6 => 0, // compute mode: default
        7 => 1, // compute preemption
        8 => 1, // concurrent kernels
        9 => 0,
        10 | 11 => 0, // cooperative launches: not modelled
        12 => 1,      // copies overlap kernels
        13 => 0,
        14 | 20 => 1, // L1 for global and local memory
        15..=18 => 0,
        19 => card.l2_bytes,
        23 => card.major,
        24 => 0, // managed memory: not modelled
        25 => card.blocks_per_multiprocessor,
        26..=28 => block[number as usize - 26] as i32,
        29..=31 => grid[number as usize - 29] as i32,
        32..=54 => 0, // textures and surfaces: not modelled
        55 => block[0] as i32,
        56 => THREADS_PER_BLOCK as i32,
        57 => card.threads_per_multiprocessor,
        58 => i32::MAX, // pitch
        59 => card.memory_bus_bits,
        60 => card.memory_clock_khz,
        61 => card.minor,
        62 => 0,
        63 | 10015 => card.multiprocessors,
        65 | 66 => 0, // pageable memory on the device: not modelled
        67 => ordinal as i32 + 1,
        68..=70 => 0, // PCI device and domain, persisting L2
        71 | 72 => registers_per_multiprocessor as i32,
        73 => 0,
        74 | 75 => card.shared_bytes_per_block(),
        76 | 10002 => card.shared_bytes_per_multiprocessor,
        77 => card.double_ratio,
        78 => 1, // stream priorities
        79 | 81 | 82 => 256,
        80 => 0,
        83 => CONSTANT_BYTES,
        // More than an int holds.
        84 => i32::try_from(card.memory_bytes).unwrap_or(i32::MAX),
        85 => 1, // unified addressing
        87 => warp_threads as i32,
        88 => 1, // stream-ordered allocation
        89 => 0, // virtual memory management: not modelled
        90 => 1, // host memory can be registered
        91 => 0,
        10000 | 10017 => WALL_CLOCK_KHZ,
        10007..=10010 | 10012 | 10013 | 10014 | 10016 => 0,
        10011 => 1, // large BAR
        _ => return None,
    })
}
