//! Executes AMD's machine code: waves of 64 lanes of gfx90a, gfx942 and gfx950.
//!
//! | file | what |
//! |---|---|
//! | `object`, `lines` | the ELF file: code, descriptors, metadata, source lines |
//! | `opcodes`, `instruction`, `decode`, `text`, `names` | machine words, what they mean, as text |
//! | `function`, `execute`, `scalar`, `vector` | the loop and what instructions do |
//! | `wave`, `operands` | registers and how operands are read and written |
//! | `matrix` | matrix instructions, and how soon their results may be used |
//! | `access`, `memory`, `transfer`, `pending`, `lane_exchange` | memory, late until waited for |
//! | `buffer`, `direct`, `banks` | buffer instructions, loads to LDS, LDS's banks |
//! | `block`, `state` | workgroups, barriers, reports |
//!
//! A register holds whether it was ever written, by lane; a scalar register by bit. Not modelled, and
//! refused by name: scratch, calls, 64-bit floating point, matrices of integers and of 8 bits, modes
//! other than those of `object`. Of the wait states that `s_nop` gives between some instructions (CDNA3
//! ISA, 4.5) those of matrix instructions are checked.

mod access;
mod banks;
mod block;
mod buffer;
mod decode;
mod direct;
mod execute;
mod function;
mod instruction;
mod lane_exchange;
mod lines;
mod matrix;
mod memory;
mod names;
mod object;
mod opcodes;
mod operands;
mod pending;
mod scalar;
mod state;
mod text;
mod transfer;
mod vector;
mod wave;

pub use object::{image_bytes, processor};

#[cfg(test)]
mod tests;

use crate::engine::random::Random;
use crate::engine::{Kernel, Launch, Outcome, schedule};
use crate::memory::{Clocks, Memory};
use crate::report::{Kind, Report};
use function::Function;
use object::Description;

/// A code object made ready to execute.
pub struct Program {
    kernels: Vec<Kernel>,
    descriptions: Vec<Description>,
    functions: Vec<Function>,
}

impl Program {
    /// Decodes every kernel of an ELF code object.
    ///
    /// # Errors
    ///
    /// A line that says what is not modelled or broken.
    pub fn load(image: &[u8], _memory: &mut Memory) -> Result<Program, String> {
        let (architecture, descriptions) = object::read(image)?;
        let function = |it: &Description| Function::new(it, architecture);
        Ok(Program {
            kernels: descriptions.iter().map(|it| it.kernel.clone()).collect(),
            functions: descriptions.iter().map(function).collect(),
            descriptions,
        })
    }

    /// Nothing of it is in the device's memory.
    pub fn unload(self, _memory: &mut Memory) {}

    /// Variables in device memory are not modelled.
    pub fn variable(&self, _name: &str) -> Option<(u64, u64)> {
        None
    }

    /// The object's kernels. Parameters are the explicit ones.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// In words, with a space before: the instruction of a memory access of a kernel.
    pub fn name_place(&self, kernel: &str, place: u32) -> String {
        let function = self.functions.iter().find(|function| function.name == kernel);
        function.map_or(String::new(), |function| function.name_place(place))
    }

    /// Executes one launch to its end.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch<'_>) -> Outcome {
        let number = memory.begin_launch();
        let at = self.kernels.iter().position(|kernel| kernel.name == launch.kernel);
        let prepared = at
            .ok_or_else(|| format!("no kernel of that name among {}", self.kernels.len()))
            .and_then(|at| Ok((at, arguments(&self.descriptions[at], launch)?)));
        let (at, kernarg) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => return refused(launch.kernel, message),
        };
        let waves = launch.block.iter().product::<u32>().div_ceil(64);
        let clocks = Clocks::of_waves(number, waves);
        let mut state = state::State::new(clocks, launch.kernel, launch.approximation_seed);
        (state.kernarg, state.packet) = (kernarg, packet(launch));
        let mut machine = block::Amdgcn {
            launch,
            description: &self.descriptions[at],
            function: &self.functions[at],
            memory,
            state,
        };
        schedule::run(&mut machine, Random::new(launch.seed));
        let block::Amdgcn { memory, state, .. } = machine;
        let mut counters = state.counters;
        counters.matrix = state.matrix.iter().map(|(shape, &n)| (shape.name(), n)).collect();
        counters.traffic = memory.traffic();
        counters.traffic_by_allocation = memory.traffic_by_allocation();
        Outcome { reports: state.reports, counters }
    }
}

fn refused(kernel: &str, message: String) -> Outcome {
    let report = Report {
        kind: Kind::Launch,
        kernel: kernel.to_owned(),
        block: None,
        thread: None,
        lanes: 64,
        instruction: String::new(),
        line: 0,
        source: None,
        message,
    };
    Outcome { reports: vec![report], ..Outcome::default() }
}

/// The argument segment: what the caller gives, then what the runtime adds (LLVM, "Code Object V5
/// Kernel Argument Metadata").
fn arguments(description: &Description, launch: &Launch<'_>) -> Result<Vec<u8>, String> {
    let Launch { grid, block, parameters, .. } = launch;
    let given = description.kernel.parameter_bytes as usize;
    if parameters.len() != given {
        return Err(format!("{} bytes of arguments, expected {given}", parameters.len()));
    }
    let threads: u64 = block.iter().map(|&n| u64::from(n)).product();
    if threads == 0 || threads > u64::from(description.kernel.max_threads) {
        let most = description.kernel.max_threads;
        return Err(format!("{threads} threads in a workgroup, from 1 to {most}"));
    }
    let local =
        u64::from(description.kernel.static_shared_bytes) + u64::from(launch.dynamic_shared_bytes);
    if local > launch.device.max_shared_bytes.into() {
        let most = launch.device.max_shared_bytes;
        return Err(format!("{local} bytes of LDS where {most} are the most"));
    }
    if grid[0] > i32::MAX as u32 || grid[1] > 65536 || grid[2] > 65536 {
        return Err(format!("grid {grid:?} is larger than [2147483647, 65536, 65536]"));
    }
    if grid.iter().zip(block).any(|(&g, &b)| g == 0 || (u64::from(g) * u64::from(b)) >> 32 != 0) {
        return Err(format!("{grid:?} workgroups of {block:?} threads: 1 to 2^32 - 1 by axis"));
    }
    let mut bytes = vec![0; description.kernarg_bytes as usize];
    if let Some(place) = bytes.get_mut(..given) {
        place.copy_from_slice(parameters);
    }
    for (kind, offset, size) in &description.hidden {
        let value: u64 = match kind.as_str() {
            "hidden_block_count_x" => grid[0].into(),
            "hidden_block_count_y" => grid[1].into(),
            "hidden_block_count_z" => grid[2].into(),
            "hidden_group_size_x" => block[0].into(),
            "hidden_group_size_y" => block[1].into(),
            "hidden_group_size_z" => block[2].into(),
            "hidden_grid_dims" => match (grid, block) {
                ([_, _, z], _) | (_, [_, _, z]) if *z > 1 => 3,
                ([_, y, _], _) | (_, [_, y, _]) if *y > 1 => 2,
                _ => 1,
            },
            "hidden_dynamic_lds_size" => launch.dynamic_shared_bytes.into(),
            "hidden_remainder_x"
            | "hidden_remainder_y"
            | "hidden_remainder_z"
            | "hidden_global_offset_x"
            | "hidden_global_offset_y"
            | "hidden_global_offset_z"
            | "hidden_none" => 0,
            // Buffers of printf, of calls to the host and the like: null.
            _ => 0,
        };
        let (start, size) = (*offset as usize, *size as usize);
        if let Some(place) = bytes.get_mut(start..start + size) {
            let value = value.to_le_bytes();
            let length = place.len().min(8);
            place[..length].copy_from_slice(&value[..length]);
        }
    }
    Ok(bytes)
}

/// The dispatch packet (HSA Platform System Architecture Specification, "AQL kernel dispatch
/// packet"): sizes of the workgroup and the grid.
fn packet(launch: &Launch<'_>) -> [u8; 64] {
    let mut packet = [0; 64];
    for axis in 0..3 {
        let (group, count) = (launch.block[axis], launch.grid[axis]);
        packet[4 + 2 * axis..][..2].copy_from_slice(&(group as u16).to_le_bytes());
        let threads = group.wrapping_mul(count);
        packet[12 + 4 * axis..][..4].copy_from_slice(&threads.to_le_bytes());
    }
    packet
}
