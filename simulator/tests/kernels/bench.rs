//! Compiles a file of kernels, launches them, reads results.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::nvcc;
use expertile_simulator::ptx::Module;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How many schedules to try.
pub(crate) fn seeds() -> u64 {
    match std::env::var("EXPERTILE_SIM_SEEDS") {
        Ok(text) => text.parse().expect("EXPERTILE_SIM_SEEDS is a number"),
        Err(_) => 100,
    }
}

/// A plain number in device memory.
pub(crate) trait Number: Copy {
    fn put(self, bytes: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Number for $ty {
            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("the size of an element"))
            }
        }
    )*};
}

numbers! { u8 u16 i32 u32 f32 u64 f64 }

/// A `.cu` file in this folder, compiled once.
pub(crate) struct Source {
    pub(crate) file: &'static str,
    module: OnceLock<Option<Module>>,
}

impl Source {
    pub(crate) const fn new(file: &'static str) -> Source {
        Source { file, module: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(self.file)
    }

    /// None without a compiler, unless `EXPERTILE_REQUIRE` names cuda.
    fn module(&self) -> Option<&Module> {
        let module = self.module.get_or_init(|| {
            if let Err(message) = nvcc::find() {
                let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
                assert!(!required.contains("cuda"), "{message}");
                eprintln!("skipped: {message}");
                return None;
            }
            let text = nvcc::compile(&self.path(), "sm_90a", &[]).unwrap_or_else(|e| panic!("{e}"));
            Some(Module::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", self.file)))
        });
        module.as_ref()
    }

    /// A device of its own with this module loaded.
    pub(crate) fn load(&self) -> Option<Bench> {
        let mut memory = Memory::new(1 << 33, 1 << 32);
        let program = Program::load(self.module()?.clone(), &mut memory);
        let program = program.unwrap_or_else(|error| panic!("{}: {error}", self.file));
        Some(Bench { memory, program, parameters: Vec::new() })
    }
}

/// A device, a program, and the arguments of the next launch.
pub(crate) struct Bench {
    memory: Memory,
    program: Program,
    parameters: Vec<u8>,
}

impl Bench {
    pub(crate) fn argument<T: Number>(&mut self, value: T) -> &mut Bench {
        self.parameters.resize(self.parameters.len().next_multiple_of(size_of::<T>()), 0);
        value.put(&mut self.parameters);
        self
    }

    /// A buffer with this content, as the next argument.
    pub(crate) fn buffer<T: Number>(&mut self, content: &[T]) -> u64 {
        let mut bytes = Vec::new();
        content.iter().for_each(|value| value.put(&mut bytes));
        let address = self.memory.allocate(bytes.len() as u64).expect("memory");
        self.memory.write(address, &bytes).expect("its own allocation");
        self.argument(address);
        address
    }

    /// A buffer that was never written, as the next argument.
    pub(crate) fn room<T: Number>(&mut self, count: usize) -> u64 {
        let bytes = (count * size_of::<T>()) as u64;
        let address = self.memory.allocate(bytes).expect("memory");
        self.argument(address);
        address
    }

    pub(crate) fn read<T: Number>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * size_of::<T>()];
        self.memory.read(address, &mut bytes).expect("its own allocation");
        bytes.chunks_exact(size_of::<T>()).map(T::get).collect()
    }

    pub(crate) fn launch(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        seed: u64,
    ) -> Outcome {
        let device =
            Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };
        let launch = Launch {
            kernel,
            grid,
            block,
            dynamic_shared_bytes: shared,
            parameters: &self.parameters,
            seed,
            approximation_seed: seed,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &device,
        };
        self.program.launch(&mut self.memory, &launch)
    }

    /// A launch that must not give a report.
    pub(crate) fn clean(&mut self, kernel: &str, grid: u32, block: u32, shared: u32, seed: u64) {
        self.clean_in(kernel, [grid, 1, 1], [block, 1, 1], shared, seed);
    }

    pub(crate) fn clean_in(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        seed: u64,
    ) {
        let outcome = self.launch(kernel, grid, block, shared, seed);
        let reports: Vec<String> = outcome.reports.iter().map(ToString::to_string).collect();
        assert!(reports.is_empty(), "seed {seed}:\n{}", reports.join("\n"));
    }
}

/// Integers below `limit` from a seed.
pub(crate) fn random(seed: u64, count: usize, limit: u32) -> Vec<u32> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u32 % limit
    };
    (0..count).map(|_| next()).collect()
}
