//! An instruction as text.

use super::instruction::Instruction;

pub(super) fn text(i: &Instruction) -> String {
    format!("{:?}", i.opcode)
}
