//! Executes kernels: one warp is 32 lanes, lanes are vectors, schedules are seeded.

mod asynchronous;
mod barrier;
mod block;
mod call;
mod cluster;
mod cluster_barrier;
mod context;
mod copy_engine;
mod decode;
mod descriptor;
mod fragments;
mod function;
mod instruction;
mod load;
mod local;
mod machine;
mod matrix_operands;
mod mbarrier;
mod ops_approximate;
mod ops_atomic;
mod ops_barrier;
mod ops_bits;
mod ops_bulk;
mod ops_cluster;
mod ops_compare;
mod ops_control;
mod ops_convert;
mod ops_copy;
mod ops_directed;
mod ops_float;
mod ops_half;
mod ops_integer;
mod ops_matrix;
mod ops_mbarrier;
mod ops_memory;
mod ops_round;
mod ops_warp;
mod ops_warpgroup;
mod peers;
mod products;
pub(crate) mod random;
mod registers;
pub(crate) mod schedule;
mod special;
mod step;
mod stuck;
mod tensor;
mod transfer;
mod warp;
mod warpgroup;

pub(crate) use ops_approximate::perturbed;
pub(crate) use peers::MOST_BLOCKS;
use std::collections::BTreeMap;
use std::fmt;

use crate::memory::{Clocks, ENGINES, Memory, SharedTraffic, Traffic};
use crate::report::{Kind, Report, Site};

/// A kernel's module made ready to execute on one device.
pub struct Program {
    functions: Vec<function::Function>,
    kernels: Vec<Kernel>,
    entries: Vec<load::Entry>,
    variables: BTreeMap<String, (u64, u64)>,
    files: BTreeMap<u32, String>,
}

/// What to launch.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of `.extern .shared`.
    pub dynamic_shared_bytes: u32,
    /// The bytes of the `.param` space, each parameter at its aligned offset in order.
    pub parameters: &'a [u8],
    /// Decides every random choice of the schedule.
    pub seed: u64,
    /// Decides the results of approximate instructions within their documented error, whatever the
    /// schedule.
    pub approximation_seed: u64,
    /// Warp instructions without any block finishing after which the launch is given up;
    /// [`INSTRUCTION_LIMIT`] is ample.
    pub instruction_limit: u64,
    /// The device's limits and identity.
    pub device: &'a Device,
}

/// An ample [`Launch::instruction_limit`].
pub const INSTRUCTION_LIMIT: u64 = 1 << 28;

/// What a kernel can see of its device.
#[derive(Clone, Debug)]
pub struct Device {
    /// For example 90 for sm_90a.
    pub compute_capability: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// The most shared memory a block may use, with opt-in.
    pub max_shared_bytes: u32,
}

/// What a launch did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// At most 16 reports, the fatal one (if any) last.
    pub reports: Vec<Report>,
    /// Counted over the whole launch.
    pub counters: Counters,
}

/// Counted per launch.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Instructions issued, one per warp, whatever its active lanes.
    pub warp_instructions: u64,
    /// Blocks that finished.
    pub blocks: u64,
    /// Barriers of blocks that completed.
    pub barriers: u64,
    /// Global memory, all of it.
    pub traffic: Traffic,
    /// Global memory, by the start of each allocation.
    pub traffic_by_allocation: Vec<(u64, Traffic)>,
    /// Shared memory.
    pub shared: SharedTraffic,
    /// Matrix instructions by shape, one for each warp or wave: `m16n8k16.bf16`.
    pub matrix: BTreeMap<String, u64>,
}

/// The shape of a matrix instruction. Written `m16n8k16.bf16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MatrixShape {
    /// Rows of the left matrix.
    pub(crate) rows: u32,
    /// Columns of the right matrix.
    pub(crate) columns: u32,
    /// Products of each element.
    pub(crate) depth: u32,
    /// What is multiplied.
    pub(crate) element: MatrixElement,
}

/// The type of the factors of a matrix instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MatrixElement {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl fmt::Display for MatrixShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = match self.element {
            MatrixElement::Bf16 => "bf16",
            MatrixElement::F16 => "f16",
        };
        let MatrixShape { rows, columns, depth, .. } = self;
        write!(f, "m{rows}n{columns}k{depth}.{element}")
    }
}

/// What the host can ask about a kernel.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Its parameters in order.
    pub parameters: Vec<ParameterLayout>,
    /// Bytes of all parameters with the padding between them.
    pub parameter_bytes: u32,
    /// `.shared` variables of fixed size.
    pub static_shared_bytes: u32,
    /// `.local` bytes of a thread.
    pub local_bytes: u32,
    /// An estimate: the registers that a 32-bit machine needs at the fullest place.
    pub registers: u32,
    /// The most threads of a block.
    pub max_threads: u32,
    /// `.const` bytes of the module.
    pub const_bytes: u32,
    /// Blocks of a cluster in x, y, z, if the kernel requires clusters.
    pub cluster: Option<[u32; 3]>,
}

/// Where a parameter lies in [`Launch::parameters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterLayout {
    /// From the start.
    pub offset: u32,
    /// Size.
    pub bytes: u32,
    /// Alignment.
    pub align: u32,
}

impl Program {
    /// Lays out the module's variables in `memory` and decodes every function.
    ///
    /// # Errors
    ///
    /// A line that says what does not fit.
    pub fn load(module: crate::ptx::Module, memory: &mut Memory) -> Result<Program, String> {
        load::load(&module, memory)
    }

    /// Frees the module's variables.
    pub fn unload(self, memory: &mut Memory) {
        for (address, _) in self.variables.into_values() {
            // The driver may have freed the whole memory before.
            let _ = memory.free(address);
        }
    }

    /// The address and size of a `.global` or `.const` variable.
    pub fn variable(&self, name: &str) -> Option<(u64, u64)> {
        self.variables.get(name).copied()
    }

    /// The module's kernels.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels().iter().find(|kernel| kernel.name == name)
    }

    /// In words, with a space before: the instruction of a memory access.
    pub fn name_place(&self, place: u32) -> String {
        let after = self.functions.partition_point(|function| function.first_place <= place);
        let Some(function) = after.checked_sub(1).map(|index| &self.functions[index]) else {
            return String::new();
        };
        let (instruction, line, source) = self.place(function, place - function.first_place);
        Site(&instruction, line, &source).to_string()
    }

    /// Executes one launch to its end; in clusters if the kernel requires them.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch<'_>) -> Outcome {
        self.launch_in_clusters(memory, launch, None)
    }

    /// The same in clusters of so many blocks in x, y, z.
    pub fn launch_in_clusters(
        &self,
        memory: &mut Memory,
        launch: &Launch<'_>,
        cluster: Option<[u32; 3]>,
    ) -> Outcome {
        let at = self.kernels.iter().position(|kernel| kernel.name == launch.kernel);
        let refusal = match at {
            None => Some(format!("no kernel of that name among {}", self.kernels.len())),
            Some(at) => load::refusal(&self.kernels[at], &self.entries[at], launch, cluster),
        };
        let number = memory.begin_launch();
        if let Some(message) = refusal {
            let report = Report {
                kind: Kind::Launch,
                kernel: launch.kernel.to_owned(),
                block: None,
                thread: None,
                lanes: 32,
                instruction: String::new(),
                line: 0,
                source: None,
                message,
            };
            return Outcome { reports: vec![report], ..Outcome::default() };
        }
        let entry = &self.entries[at.unwrap_or(0)];
        let threads = launch.block.iter().product::<u32>();
        let cluster = cluster.or(self.kernels[at.unwrap_or(0)].cluster);
        let is_asynchronous = self.functions.iter().any(|function| function.is_asynchronous);
        let warps = threads.div_ceil(32);
        let engines = if is_asynchronous { ENGINES } else { 0 };
        let common = block::Common {
            program: self,
            launch,
            function: entry.function,
            static_shared: entry.dynamic_start,
            threads,
            cluster: cluster.unwrap_or([1; 3]),
            explicit_cluster: cluster.is_some(),
            stride: u64::from(warps + engines),
        };
        let clocks = match is_asynchronous {
            true => Clocks::with_engines(number, warps),
            false => Clocks::new(number, warps),
        };
        let random = random::Random::new(launch.seed);
        let state = context::State::new(
            clocks,
            random.clone(),
            launch.kernel,
            launch.parameters,
            launch.approximation_seed,
        );
        let mut machine = machine::Ptx { common, memory, state };
        schedule::run(&mut machine, random);
        let machine::Ptx { memory, state, .. } = machine;
        let mut counters = state.counters;
        counters.matrix =
            state.matrix.iter().map(|(shape, &count)| (shape.to_string(), count)).collect();
        counters.traffic = memory.traffic();
        counters.traffic_by_allocation = memory.traffic_by_allocation();
        Outcome { reports: state.reports, counters }
    }
}
