//! A loaded module, whichever engine executes it.

use crate::engine::{Kernel, Launch, Outcome};
use crate::memory::Memory;
use crate::{amdgcn, engine};

/// What a module of the driver holds.
pub enum Program {
    /// Of PTX.
    Ptx(engine::Program),
    /// Of an AMD code object.
    Amdgcn(amdgcn::Program),
}

impl Program {
    /// Frees the module's variables.
    pub fn unload(self, memory: &mut Memory) {
        match self {
            Program::Ptx(program) => program.unload(memory),
            Program::Amdgcn(program) => program.unload(memory),
        }
    }

    /// The address and size of a variable.
    pub fn variable(&self, name: &str) -> Option<(u64, u64)> {
        match self {
            Program::Ptx(program) => program.variable(name),
            Program::Amdgcn(program) => program.variable(name),
        }
    }

    /// The module's kernels.
    pub fn kernels(&self) -> &[Kernel] {
        match self {
            Program::Ptx(program) => program.kernels(),
            Program::Amdgcn(program) => program.kernels(),
        }
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        match self {
            Program::Ptx(program) => program.kernel(name),
            Program::Amdgcn(program) => program.kernel(name),
        }
    }

    /// In words, with a space before: the instruction of a memory access of a kernel.
    pub fn name_place(&self, kernel: &str, place: u32) -> String {
        match self {
            Program::Ptx(program) => program.name_place(place),
            Program::Amdgcn(program) => program.name_place(kernel, place),
        }
    }

    /// Executes one launch to its end.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch<'_>) -> Outcome {
        match self {
            Program::Ptx(program) => program.launch(memory, launch),
            Program::Amdgcn(program) => program.launch(memory, launch),
        }
    }
}
