//! Names of instructions that are not modelled.

use super::instruction::Instruction;
use super::opcodes::Opcode;

/// For a refusal: the instruction's name, or its number in its format.
pub(super) fn name_of(i: &Instruction) -> String {
    match i.opcode {
        Opcode::unknown => format!("{:?} instruction {:#x}", i.format, i.code),
        opcode => format!("a form of {opcode:?}"),
    }
}
