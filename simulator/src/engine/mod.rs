//! Executes kernels: one warp is 32 lanes, lanes are vectors, schedules are seeded.

use crate::memory::Memory;
use crate::report::Report;

/// A kernel's module made ready to execute on one device.
pub struct Program {}

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
    /// A line that says what is not modelled or does not fit.
    pub fn load(_module: crate::ptx::Module, _memory: &mut Memory) -> Result<Program, String> {
        todo!()
    }

    /// Frees the module's variables.
    pub fn unload(self, _memory: &mut Memory) {
        todo!()
    }

    /// The address and size of a `.global` or `.const` variable.
    pub fn variable(&self, _name: &str) -> Option<(u64, u64)> {
        todo!()
    }

    /// The module's kernels.
    pub fn kernels(&self) -> &[Kernel] {
        todo!()
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels().iter().find(|kernel| kernel.name == name)
    }

    /// Executes one launch to its end.
    pub fn launch(&self, _memory: &mut Memory, _launch: &Launch<'_>) -> Outcome {
        todo!()
    }
}
