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
    /// Decides every random choice.
    pub seed: u64,
    /// The device's limits and identity.
    pub device: &'a Device,
}

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

impl Program {
    /// Lays out the module's variables in `memory` and decodes every function.
    ///
    /// # Errors
    ///
    /// A line that says what is not modelled or does not fit.
    pub fn load(_module: crate::ptx::Module, _memory: &mut Memory) -> Result<Program, String> {
        todo!()
    }

    /// Executes one launch to its end.
    pub fn launch(&self, _memory: &mut Memory, _launch: &Launch<'_>) -> Outcome {
        todo!()
    }
}
