//! What must lie between a matrix instruction and a use of its operands (CDNA3 ISA, 4.5 "Manually
//! Inserted Wait States"; numbers by LLVM's hazard recognizer). The chip does not wait by itself.

use super::super::decode::Architecture;
use super::super::function::Function;
use super::super::instruction::{Format, Instruction, NONE, Operand, VECTOR};
use super::super::opcodes::Opcode;
use super::super::wave::Wave;
use super::{Element, Shape};

/// A matrix instruction that may be on its way.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Recent {
    dst: Registers,
    addend: Registers,
    /// Passes of four cycles.
    passes: u32,
    /// All but those of f32 on gfx942 and gfx950.
    is_xdl: bool,
    /// Wait states since.
    age: u32,
}

/// The most wait states that any use needs.
const LONGEST: u32 = 20;

type Registers = (Operand, Operand);

fn registers(first: Operand, dwords: u8) -> Registers {
    if first == NONE || first < VECTOR { (0, 0) } else { (first, first + Operand::from(dwords)) }
}

fn overlap(a: Registers, b: Registers) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// Passes, as AMD's calculator and LLVM's schedules have them.
fn passes(shape: Shape, architecture: Architecture) -> u32 {
    let slow = architecture == Architecture::Gfx90a;
    let whole = shape.element == Element::F32 || shape.blocks > 1;
    shape.m as u32 / if slow || whole { 2 } else { 4 }
}

fn is_xdl(shape: Shape, architecture: Architecture) -> bool {
    architecture == Architecture::Gfx90a || shape.element != Element::F32
}

impl Recent {
    fn new(i: &Instruction, shape: Shape) -> Recent {
        Recent {
            dst: registers(i.dst, i.dst_dwords),
            addend: registers(i.src[2], i.src_dwords[2]),
            passes: passes(shape, i.architecture),
            is_xdl: is_xdl(shape, i.architecture),
            age: 0,
        }
    }

    /// Until the result may be read, or written by another kind of instruction.
    fn until_result(&self, architecture: Architecture) -> u32 {
        let later = architecture == Architecture::Gfx950 && self.passes != 2;
        self.passes + if self.is_xdl { 3 + u32::from(later) } else { 2 }
    }

    /// Until the result may be the addend of a matrix instruction.
    fn until_addend(&self, use_: Registers, is_xdl: bool, architecture: Architecture) -> u32 {
        let old = architecture == Architecture::Gfx90a;
        match architecture {
            // It is passed on inside.
            _ if use_ == self.dst => {
                if self.passes == 2 && !old {
                    2
                } else {
                    0
                }
            }
            Architecture::Gfx90a => self.passes,
            _ if is_xdl && !self.is_xdl => 0,
            _ if !self.is_xdl => self.passes,
            Architecture::Gfx942 => self.passes + 1,
            Architecture::Gfx950 => self.passes + 2,
        }
    }
}

/// The wait states that an instruction is.
fn wait_states(i: &Instruction) -> u32 {
    if i.opcode == Opcode::s_nop { (i.offset as u32 & 15) + 1 } else { 1 }
}

/// A use that comes too early, in words.
fn too_early(name: Operand, what: &str, by: &str, age: u32, needed: u32) -> Option<String> {
    let kind = if name < VECTOR + 256 { 'v' } else { 'a' };
    (age < needed).then(|| {
        format!(
            "{kind}{} is {what} {age} wait states after the {by}: it needs {needed}",
            (name - VECTOR) % 256
        )
    })
}

impl Wave {
    /// What an instruction does too early, and what it makes of the wait states of those before.
    pub(in super::super) fn look_at_waits(&mut self, i: &Instruction) -> Option<String> {
        let shape = if i.format == Format::Matrix { Shape::of(i.opcode) } else { None };
        let vector = is_vector(i) || matches!(i.format, Format::Ds | Format::Flat | Format::Buffer);
        let found = self.recent.iter().find_map(|recent| match shape {
            Some(shape) => matrix_after(recent, i, shape),
            None if vector => vector_after(recent, i),
            None => None,
        });
        let states = wait_states(i);
        for recent in &mut self.recent {
            recent.age += states;
        }
        self.recent.retain(|recent| recent.age < LONGEST);
        if let Some(shape) = shape {
            let new = Recent::new(i, shape);
            // Of two that write the same registers the last counts.
            self.recent.retain(|recent| recent.dst != new.dst);
            self.recent.push(new);
        }
        found
    }
}

fn is_vector(i: &Instruction) -> bool {
    use Format::{Vop1, Vop2, Vop3, Vop3p, Vopc};
    matches!(i.format, Vop1 | Vop2 | Vopc | Vop3 | Vop3p)
}

/// Wait states between a vector instruction and a matrix instruction that reads its result.
const BEFORE: u32 = 2;

/// The register that a matrix instruction reads too soon after a vector instruction, in words.
pub(in super::super) fn too_soon_after(
    wave: &Wave,
    function: &Function,
    i: &Instruction,
) -> Option<String> {
    if i.format != Format::Matrix {
        return None;
    }
    let mut age = 0;
    for at in wave.trail {
        let before = function.instructions.get(at as usize)?;
        let written = registers(before.dst, before.dst_dwords);
        let read = uses(i).find(|&(_, registers)| overlap(registers, written));
        if let (true, Some((_, (first, _)))) = (is_vector(before), read) {
            return too_early(first, "read", "vector instruction that writes it", age, BEFORE);
        }
        age += wait_states(before);
    }
    None
}

fn uses(i: &Instruction) -> impl Iterator<Item = (usize, Registers)> + '_ {
    (0..usize::from(i.sources)).map(|at| (at, registers(i.src[at], i.src_dwords[at])))
}

const MATRIX: &str = "matrix instruction that writes it";

fn vector_after(recent: &Recent, i: &Instruction) -> Option<String> {
    let Recent { dst, addend, age, .. } = *recent;
    let until = recent.until_result(i.architecture);
    let read = uses(i).find(|&(_, registers)| overlap(registers, dst));
    let read = read.and_then(|(_, (first, _))| too_early(first, "read", MATRIX, age, until));
    let own = registers(i.dst, i.dst_dwords);
    let written = || {
        if overlap(own, dst) {
            too_early(i.dst, "written", MATRIX, age, until)
        } else if recent.is_xdl && overlap(own, addend) {
            too_early(i.dst, "written", "matrix instruction that adds it", age, recent.passes - 1)
        } else {
            None
        }
    };
    read.or_else(written)
}

fn matrix_after(recent: &Recent, i: &Instruction, shape: Shape) -> Option<String> {
    let architecture = i.architecture;
    uses(i).filter(|&(_, registers)| overlap(registers, recent.dst)).find_map(|(at, registers)| {
        let needed = match at {
            2 => recent.until_addend(registers, is_xdl(shape, architecture), architecture),
            _ => recent.until_result(architecture),
        };
        too_early(registers.0, "read", MATRIX, recent.age, needed)
    })
}
