//! The NVIDIA cards that are simulated, by their published numbers and what `deviceQuery` shows of them.

/// A card, NVIDIA's or AMD's.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// As in `EXPERTILE_SIM_ARCH`.
    pub(crate) name: &'static str,
    /// Compute capability.
    pub(crate) major: i32,
    pub(crate) minor: i32,
    /// Bytes of device memory that a program sees.
    pub(crate) memory_bytes: u64,
    pub(crate) multiprocessors: i32,
    pub(crate) clock_khz: i32,
    pub(crate) memory_clock_khz: i32,
    pub(crate) memory_bus_bits: i32,
    pub(crate) l2_bytes: i32,
    pub(crate) persisting_l2_bytes: i32,
    pub(crate) threads_per_multiprocessor: i32,
    pub(crate) blocks_per_multiprocessor: i32,
    pub(crate) shared_bytes_per_multiprocessor: i32,
    /// Single to double precision throughput.
    pub(crate) double_ratio: i32,
    pub(crate) copy_engines: i32,
    pub(crate) pci_device_id: i32,
    /// Bytes of a kernel's parameters.
    pub(crate) parameter_bytes: usize,
    pub(crate) limits: Limits,
}

/// What the cards of a family have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) warp_threads: u32,
    /// The most threads of a block in x, y, z.
    pub(crate) block: [u32; 3],
    /// The most blocks of a grid in x, y, z.
    pub(crate) grid: [u32; 3],
    /// The most threads of a grid in each dimension.
    pub(crate) grid_threads: u64,
    pub(crate) registers_per_multiprocessor: u32,
    /// A warp gets registers in multiples of this.
    pub(crate) register_granule: u32,
    /// A block gets shared memory in multiples of this.
    pub(crate) shared_granule: u32,
    /// Shared memory that the driver keeps of every block.
    pub(crate) reserved_shared_bytes: i32,
    /// Shared memory of a block without opt-in, where all of it needs that.
    pub(crate) default_shared_bytes: i32,
}

pub(crate) const THREADS_PER_BLOCK: u32 = 1024;
pub(crate) const CONSTANT_BYTES: i32 = 65536;

/// Granules as in the CUDA occupancy calculator for compute capability 8 and 9.
const NVIDIA: Limits = Limits {
    warp_threads: 32,
    block: [1024, 1024, 64],
    grid: [i32::MAX as u32, 65535, 65535],
    grid_threads: u64::MAX,
    registers_per_multiprocessor: 65536,
    register_granule: 256,
    shared_granule: 128,
    reserved_shared_bytes: 1024,
    default_shared_bytes: 49152,
};

impl Architecture {
    /// For example 90.
    pub(crate) fn compute_capability(&self) -> u32 {
        (self.major * 10 + self.minor) as u32
    }

    /// The most shared memory that a block may use without opt-in.
    pub(crate) fn default_shared_bytes(&self) -> i32 {
        self.limits.default_shared_bytes.min(self.shared_bytes_per_block())
    }

    /// The most shared memory that a block may use, with opt-in.
    pub(crate) fn shared_bytes_per_block(&self) -> i32 {
        self.shared_bytes_per_multiprocessor - self.limits.reserved_shared_bytes
    }
}

/// A100-SXM4-80GB, A10, L40S and H100-SXM5-80GB.
pub(crate) static ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        name: "sm_80",
        major: 8,
        minor: 0,
        memory_bytes: 85_198_045_184,
        multiprocessors: 108,
        clock_khz: 1_410_000,
        memory_clock_khz: 1_593_000,
        memory_bus_bits: 5120,
        l2_bytes: 40 << 20,
        persisting_l2_bytes: 25 << 20,
        threads_per_multiprocessor: 2048,
        blocks_per_multiprocessor: 32,
        shared_bytes_per_multiprocessor: 164 << 10,
        double_ratio: 2,
        copy_engines: 3,
        pci_device_id: 0x20B2_10DE,
        parameter_bytes: 32764,
        limits: NVIDIA,
    },
    Architecture {
        name: "sm_86",
        major: 8,
        minor: 6,
        memory_bytes: 23_836_033_024,
        multiprocessors: 72,
        clock_khz: 1_695_000,
        memory_clock_khz: 6_251_000,
        memory_bus_bits: 384,
        l2_bytes: 6 << 20,
        persisting_l2_bytes: (6 << 20) / 16 * 11,
        threads_per_multiprocessor: 1536,
        blocks_per_multiprocessor: 16,
        shared_bytes_per_multiprocessor: 100 << 10,
        double_ratio: 64,
        copy_engines: 2,
        pci_device_id: 0x2236_10DE,
        parameter_bytes: 32764,
        limits: NVIDIA,
    },
    Architecture {
        name: "sm_89",
        major: 8,
        minor: 9,
        memory_bytes: 47_697_362_944,
        multiprocessors: 142,
        clock_khz: 2_520_000,
        memory_clock_khz: 9_001_000,
        memory_bus_bits: 384,
        l2_bytes: 96 << 20,
        persisting_l2_bytes: (96 << 20) / 16 * 11,
        threads_per_multiprocessor: 1536,
        blocks_per_multiprocessor: 24,
        shared_bytes_per_multiprocessor: 100 << 10,
        double_ratio: 64,
        copy_engines: 2,
        pci_device_id: 0x26B9_10DE,
        parameter_bytes: 32764,
        limits: NVIDIA,
    },
    Architecture {
        name: "sm_90a",
        major: 9,
        minor: 0,
        memory_bytes: 85_029_158_912,
        multiprocessors: 132,
        clock_khz: 1_980_000,
        memory_clock_khz: 2_619_000,
        memory_bus_bits: 5120,
        l2_bytes: 50 << 20,
        persisting_l2_bytes: (50 << 20) / 8 * 5,
        threads_per_multiprocessor: 2048,
        blocks_per_multiprocessor: 32,
        shared_bytes_per_multiprocessor: 228 << 10,
        double_ratio: 2,
        copy_engines: 3,
        pci_device_id: 0x2330_10DE,
        parameter_bytes: 32764,
        limits: NVIDIA,
    },
];

/// `CUdevice_attribute` by number; none for a number that the interface does not have.
///
/// `ordinal` is the device's place in the list, from which its PCI address is made.
pub(crate) fn attribute(card: &Architecture, ordinal: usize, number: u32) -> Option<i32> {
    let hopper = i32::from(card.major >= 9);
    Some(match number {
        1 => THREADS_PER_BLOCK as i32,
        2..=4 => NVIDIA.block[number as usize - 2] as i32,
        5..=7 => NVIDIA.grid[number as usize - 5] as i32,
        8 => NVIDIA.default_shared_bytes,
        9 => CONSTANT_BYTES,
        10 => 32,                                              // warp size
        11 => i32::MAX,                                        // pitch
        12 | 82 => NVIDIA.registers_per_multiprocessor as i32, // of a block, of a multiprocessor
        13 => card.clock_khz,
        14 => 512, // texture alignment
        15 => 1,   // copies overlap kernels
        16 => card.multiprocessors,
        17 | 18 => 0, // execution timeout, integrated
        19 => 0,      // mapped host memory: not modelled
        20 => 0,      // compute mode: default
        21 => 131_072,
        22 => 131_072,
        23 => 65_536,
        24..=26 => 16_384,
        27 | 28 => 32_768,
        29 => 2048,
        30 => 512, // surface alignment
        31 => 1,   // concurrent kernels
        32 => 1,   // ECC
        33 => ordinal as i32 + 1,
        34 => 0,
        35 => 0, // TCC is a mode of Windows drivers
        36 => card.memory_clock_khz,
        37 => card.memory_bus_bits,
        38 => card.l2_bytes,
        39 => card.threads_per_multiprocessor,
        40 => card.copy_engines,
        41 => 1, // unified addressing
        42 => 32_768,
        43 => 2048,
        44 => 1,
        45 | 46 => 32_768,
        47 | 48 => 8192,
        49 => 32_768,
        50 => 0,  // PCI domain
        51 => 32, // texture pitch alignment
        52 | 53 | 55 | 61 => 32_768,
        54 | 68 => 2046,
        56 => 131_072,
        57 => 65_536,
        58..=60 => 16_384,
        62 | 65 => 2048,
        63 | 64 | 66 | 67 | 73 | 74 | 77 => 32_768,
        69 => 268_435_456,
        70 => 131_072,
        71 => 65_000,
        72 => 2_097_120,
        75 => card.major,
        76 => card.minor,
        78..=80 => 1, // stream priorities, L1 for global and local memory
        81 => card.shared_bytes_per_multiprocessor,
        83 | 88 | 89 => 0, // managed and pageable memory on the device: not modelled
        84 => 0,
        85 => ordinal as i32,
        86 => 0, // host atomics
        87 => card.double_ratio,
        90 => 1,                  // compute preemption
        91 => 0,                  // host pointers on the device: not modelled
        92..=94 | 122 | 123 => 0, // stream memory operations: not modelled
        95 => 1,                  // cooperative launch
        96 => 0,
        97 => card.shared_bytes_per_block(),
        98 => 0,
        99 => 1, // host memory can be registered
        100 | 101 => 0,
        102..=105 => 0, // virtual memory management: not modelled
        106 => card.blocks_per_multiprocessor,
        107 => 0,
        108 => card.persisting_l2_bytes,
        109 => 134_213_632,
        110 => 0,
        111 => NVIDIA.reserved_shared_bytes,
        112..=114 => 0,
        115 => 1, // stream-ordered allocation
        116 => 0,
        117 | 118 => 0,
        119 => 0,      // memory pools share no handles
        120 => hopper, // clusters
        121 | 124 | 125 => 0,
        126 => {
            if hopper == 1 {
                4
            } else {
                1
            }
        } // memory synchronisation domains
        127 => hopper, // tensor maps
        128..=130 => 0,
        131 | 134 => -1, // NUMA nodes
        132 | 133 | 135..=138 => 0,
        139 => card.pci_device_id,
        140 => 0,
        141..=147 => 0,
        _ => return None,
    })
}
