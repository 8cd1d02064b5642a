//! STUB: one known kernel stands for every code object.

use crate::engine::{Kernel, Launch, Outcome, ParameterLayout};
use crate::memory::Memory;

/// A code object made ready.
pub struct Program {
    kernels: Vec<Kernel>,
}

impl Program {
    /// Takes any image for one with the kernel `scale(float *data, float factor, uint32_t count)`.
    ///
    /// # Errors
    ///
    /// An image that is too short.
    pub fn load(image: &[u8], _memory: &mut Memory) -> Result<Program, String> {
        if image.len() < 64 {
            return Err(format!("a code object of {} bytes", image.len()));
        }
        let layout = |offset, bytes| ParameterLayout { offset, bytes, align: bytes };
        let kernel = Kernel {
            name: "scale".to_owned(),
            parameters: vec![layout(0, 8), layout(8, 4), layout(12, 4)],
            parameter_bytes: 16,
            max_threads: 256,
            registers: 8,
            ..Kernel::default()
        };
        Ok(Program { kernels: vec![kernel] })
    }

    /// Frees the module's variables.
    pub fn unload(self, _memory: &mut Memory) {}

    /// The address and size of a variable.
    pub fn variable(&self, _name: &str) -> Option<(u64, u64)> {
        None
    }

    /// The module's kernels.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// Does what `scale` does.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch<'_>) -> Outcome {
        let word = |at: usize| {
            let bytes = launch.parameters[at..].first_chunk().copied().unwrap_or_default();
            u32::from_le_bytes(bytes)
        };
        let data = u64::from(word(0)) | u64::from(word(4)) << 32;
        for index in 0..u64::from(word(12)) {
            let mut bytes = [0; 4];
            let address = data + 4 * index;
            let _ = memory.read(address, &mut bytes);
            let scaled = f32::from_le_bytes(bytes) * f32::from_bits(word(8));
            let _ = memory.write(address, &scaled.to_le_bytes());
        }
        Outcome::default()
    }
}

/// The processor of a code object ("gfx942"), from its ELF header.
pub fn processor(image: &[u8]) -> Option<&'static str> {
    let machine = image.get(18..20)?;
    let flags = image.get(48..52)?;
    match (machine, flags[0]) {
        ([224, 0], 0x3F) => Some("gfx90a"),
        ([224, 0], 0x4C) => Some("gfx942"),
        ([224, 0], 0x4F) => Some("gfx950"),
        _ => None,
    }
}

/// The bytes of the ELF image at the start of a header whose length is unknown.
pub fn image_bytes(header: &[u8; 64]) -> Option<u64> {
    let number = |at: usize, width: usize| {
        header[at..at + width].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
    };
    number(40, 8).checked_add(number(58, 2) * number(60, 2))
}
