//! A loaded module, whichever engine executes it.

use crate::card::Card;
use crate::cuda::image::{ptx_fits, split};
use crate::engine::{Kernel, Launch, Outcome};
use crate::memory::Memory;
use crate::{amdgcn, engine, fatbin, ptx};

/// What a driver takes of a file.
pub enum Image {
    /// One of the file's PTX texts.
    Ptx(ptx::Module),
    /// All of it.
    CodeObject(Vec<u8>),
}

/// `e_machine` of AMD's code objects.
const MACHINE_AMDGPU: [u8; 2] = [224, 0];

impl Image {
    /// As a driver chooses for a card: of the PTX that fits, that for the latest target; a code object
    /// only if it is of the card's processor.
    ///
    /// # Errors
    ///
    /// A line that says what there is.
    pub fn choose(bytes: Vec<u8>, card: Card) -> Result<Image, String> {
        if bytes.starts_with(b"__CLANG_OFFLOAD_BUNDLE__") || bytes.starts_with(b"CCOB") {
            return Err("a bundle of code objects: compile with --no-gpu-bundle-output".to_owned());
        }
        let name = card.name();
        if bytes.starts_with(b"\x7fELF") && bytes.get(18..20) == Some(&MACHINE_AMDGPU) {
            return match amdgcn::processor(&bytes) {
                Some(other) if other != name => {
                    Err(format!("a code object of {other}, the device is {name}"))
                }
                _ => Ok(Image::CodeObject(bytes)),
            };
        }
        let texts = fatbin::ptx_texts(&bytes)?;
        if card.is_amd() {
            return Err(format!("PTX, the device is {name}"));
        }
        let modules = texts.iter().map(|part| ptx::Module::parse(&part.text));
        let mut modules = modules.collect::<Result<Vec<ptx::Module>, String>>()?;
        let fitting = (0..modules.len()).filter(|&at| ptx_fits(&modules[at].target, card.0));
        match fitting.max_by_key(|&at| split(&modules[at].target)) {
            Some(at) => Ok(Image::Ptx(modules.swap_remove(at))),
            None => {
                let targets: Vec<&str> = modules.iter().map(|it| it.target.as_str()).collect();
                Err(format!("{name} runs none of: {}", targets.join(", ")))
            }
        }
    }

    /// Makes it ready to execute.
    ///
    /// # Errors
    ///
    /// A line that says what is not modelled or broken.
    pub fn load(&self, memory: &mut Memory) -> Result<Program, String> {
        match self {
            Image::Ptx(module) => engine::Program::load(module.clone(), memory).map(Program::Ptx),
            Image::CodeObject(bytes) => amdgcn::Program::load(bytes, memory).map(Program::Amdgcn),
        }
    }
}

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
        self.launch_in_clusters(memory, launch, None)
    }

    /// The same in clusters of so many blocks in x, y, z, which AMD's devices do not have.
    pub fn launch_in_clusters(
        &self,
        memory: &mut Memory,
        launch: &Launch<'_>,
        cluster: Option<[u32; 3]>,
    ) -> Outcome {
        match self {
            Program::Ptx(program) => program.launch_in_clusters(memory, launch, cluster),
            Program::Amdgcn(program) => program.launch(memory, launch),
        }
    }
}
