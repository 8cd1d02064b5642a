//! Instructions in LLVM's assembly syntax, as its disassembler prints them.

mod memory;
mod operand;
mod scalar;
mod vector;

use super::instruction::{Format, Instruction};
use super::opcodes::Opcode;

/// The instruction as text; words where it is not modelled.
pub(super) fn text(instruction: &Instruction) -> String {
    if instruction.opcode == Opcode::unknown {
        let words = &instruction.words[..instruction.dwords as usize];
        let words: Vec<String> = words.iter().map(|word| format!("{word:#010x}")).collect();
        return format!(".long {}", words.join(", "));
    }
    match instruction.format {
        Format::Sop1 | Format::Sop2 | Format::Sopc | Format::Sopk | Format::Sopp => {
            scalar::text(instruction)
        }
        Format::Smem => memory::scalar(instruction),
        Format::Ds => memory::local(instruction),
        Format::Flat => memory::global(instruction),
        Format::Buffer => memory::buffer(instruction),
        Format::Vop1 | Format::Vop2 | Format::Vopc | Format::Vop3 => vector::text(instruction),
        Format::Vop3p => vector::packed(instruction),
        Format::Matrix => vector::matrix(instruction),
        Format::Other => super::names::name_of(instruction),
    }
}

/// A name, its operands, and what follows them.
fn line(name: &str, operands: &[String], modifiers: &str) -> String {
    let separator = if operands.is_empty() { "" } else { " " };
    format!("{name}{separator}{}{modifiers}", operands.join(", "))
}
