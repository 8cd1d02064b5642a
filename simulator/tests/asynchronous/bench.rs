//! Compiles a file of kernels, launches them, encodes tensor maps.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::nvcc;
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Schedules to try.
pub(crate) const SEEDS: u64 = 60;

const DEVICE: Device =
    Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };

/// A `.cu` file of this folder, compiled once.
pub(crate) struct Source {
    pub(crate) file: &'static str,
    module: OnceLock<Option<Module>>,
}

impl Source {
    pub(crate) const fn new(file: &'static str) -> Source {
        Source { file, module: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asynchronous").join(self.file)
    }

    /// None without a compiler, unless `EXPERTILE_REQUIRE` names cuda.
    pub(crate) fn load(&self) -> Option<Bench> {
        let module = self.module.get_or_init(|| {
            if let Err(message) = nvcc::find() {
                let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
                assert!(!required.contains("cuda"), "{message}");
                eprintln!("skipped: {message}");
                return None;
            }
            let text = nvcc::compile(&self.path(), "sm_90a", &[]);
            let text = text.unwrap_or_else(|error| panic!("{error}"));
            Some(Module::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", self.file)))
        });
        Some(Bench::new(module.clone()?))
    }
}

/// A device, a program, and the arguments of the next launch.
pub(crate) struct Bench {
    pub(crate) memory: Memory,
    program: Program,
    parameters: Vec<u8>,
}

/// How a kernel is launched.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) grid: u32,
    pub(crate) block: u32,
    pub(crate) shared: u32,
    pub(crate) cluster: Option<[u32; 3]>,
}

impl Geometry {
    pub(crate) fn new(grid: u32, block: u32, shared: u32) -> Geometry {
        Geometry { grid, block, shared, cluster: None }
    }
}

impl Bench {
    pub(crate) fn new(module: Module) -> Bench {
        let mut memory = Memory::new(1 << 33, 1 << 32);
        let program = Program::load(module, &mut memory).unwrap_or_else(|error| panic!("{error}"));
        Bench { memory, program, parameters: Vec::new() }
    }

    /// The next argument, as its bytes; aligned to `align`.
    pub(crate) fn argument(&mut self, bytes: &[u8], align: usize) -> &mut Bench {
        self.parameters.resize(self.parameters.len().next_multiple_of(align), 0);
        self.parameters.extend(bytes);
        self
    }

    pub(crate) fn word(&mut self, value: u32) -> &mut Bench {
        self.argument(&value.to_le_bytes(), 4)
    }

    pub(crate) fn address(&mut self, value: u64) -> &mut Bench {
        self.argument(&value.to_le_bytes(), 8)
    }

    pub(crate) fn map(&mut self, map: &Tensor) -> &mut Bench {
        self.argument(&map.encoded(), 64)
    }

    pub(crate) fn forget_arguments(&mut self) {
        self.parameters.clear();
    }

    pub(crate) fn buffer(&mut self, bytes: &[u8]) -> u64 {
        let address = self.room(bytes.len());
        self.memory.write(address, bytes).expect("its own allocation");
        address
    }

    pub(crate) fn room(&mut self, bytes: usize) -> u64 {
        self.memory.allocate(bytes as u64).expect("memory")
    }

    pub(crate) fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.memory.read(address, &mut out).expect("its own allocation");
        out
    }

    pub(crate) fn floats(&self, address: u64, count: usize) -> Vec<f32> {
        let bytes = self.read(address, 4 * count);
        bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    pub(crate) fn launch(&mut self, kernel: &str, geometry: Geometry, seed: u64) -> Outcome {
        self.launch_grid(kernel, [geometry.grid, 1, 1], geometry, seed)
    }

    pub(crate) fn launch_grid(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        geometry: Geometry,
        seed: u64,
    ) -> Outcome {
        let launch = Launch {
            kernel,
            grid,
            block: [geometry.block, 1, 1],
            dynamic_shared_bytes: geometry.shared,
            parameters: &self.parameters,
            seed,
            approximation_seed: seed,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &DEVICE,
        };
        self.program.launch_in_clusters(&mut self.memory, &launch, geometry.cluster)
    }

    #[track_caller]
    pub(crate) fn clean(&mut self, kernel: &str, geometry: Geometry, seed: u64) -> Outcome {
        let outcome = self.launch(kernel, geometry, seed);
        assert!(outcome.reports.is_empty(), "seed {seed}:\n{}", lines(&outcome));
        outcome
    }

    /// There is a report of one of these kinds that says one of these words.
    #[track_caller]
    pub(crate) fn finds(
        &mut self,
        kernel: &str,
        geometry: Geometry,
        seed: u64,
        expected: &[(Kind, &str)],
    ) {
        let outcome = self.launch(kernel, geometry, seed);
        let lines = lines(&outcome);
        let is_it = |report: &expertile_simulator::report::Report| {
            expected
                .iter()
                .any(|(kind, text)| report.kind == *kind && report.message.contains(text))
        };
        assert!(outcome.reports.iter().any(is_it), "{kernel} seed {seed}: {lines}");
    }
}

pub(crate) fn lines(outcome: &Outcome) -> String {
    outcome.reports.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A tensor and its boxes. Lists are innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) address: u64,
    pub(crate) extents: Vec<u64>,
    /// In bytes, from the second dimension on.
    pub(crate) strides: Vec<u64>,
    pub(crate) boxes: Vec<u64>,
    /// `CUtensorMapDataType`, and its size.
    pub(crate) data_type: u8,
    pub(crate) element: u64,
    /// 0, 32, 64 or 128 bytes.
    pub(crate) swizzle: u64,
    pub(crate) nan: bool,
}

impl Tensor {
    /// Of f32 without a swizzle, rows side by side.
    pub(crate) fn floats(address: u64, [x, y]: [u64; 2], boxes: [u64; 2]) -> Tensor {
        Tensor {
            address,
            extents: vec![x, y],
            strides: vec![4 * x],
            boxes: boxes.to_vec(),
            data_type: 7,
            element: 4,
            swizzle: 0,
            nan: false,
        }
    }

    /// As the page of `cuda::tensor_map` says.
    pub(crate) fn encoded(&self) -> [u8; 128] {
        let mut map = [0; 128];
        map[..8].copy_from_slice(b"exp-tmap");
        map[8..16].copy_from_slice(&self.address.to_le_bytes());
        for at in 0..self.extents.len() {
            let extent = (self.extents[at] - 1) as u32;
            map[16 + 4 * at..20 + 4 * at].copy_from_slice(&extent.to_le_bytes());
            map[56 + at] = (self.boxes[at] - 1) as u8;
            map[61 + at] = 1;
        }
        for (at, stride) in self.strides.iter().enumerate() {
            map[36 + 5 * at..41 + 5 * at].copy_from_slice(&(stride / 16).to_le_bytes()[..5]);
        }
        map[66] = self.extents.len() as u8;
        map[67] = self.data_type;
        map[69] = [0, 32, 64, 128].iter().position(|&bytes| bytes == self.swizzle).unwrap() as u8;
        map[71] = self.nan.into();
        map
    }

    pub(crate) fn box_bytes(&self) -> usize {
        (self.boxes.iter().product::<u64>() * self.element) as usize
    }
}

/// Bytes that look random.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}
