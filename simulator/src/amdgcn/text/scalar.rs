//! Scalar instructions.

use super::super::instruction::{Format, Instruction};
use super::super::opcodes::Opcode;
use super::line;
use super::operand::{Kind, register, source};

pub(super) fn text(i: &Instruction) -> String {
    let name = format!("{:?}", i.opcode);
    let mut operands = Vec::new();
    if i.dst_dwords > 0 {
        operands.push(register(i.dst, i.dst_dwords));
    }
    for index in 0..i.sources as usize {
        let kind = if i.src_dwords[index] == 2 { Kind::Double } else { Kind::Word };
        operands.push(source(i, index, kind));
    }
    match i.format {
        Format::Sopk => operands.push(format!("{:#x}", i.offset as u16)),
        Format::Sopp => operands.extend(immediate(i)),
        _ => {}
    }
    line(&name, &operands, "")
}

/// The immediate of an instruction that has nothing else.
fn immediate(i: &Instruction) -> Option<String> {
    let value = i.offset as u16;
    match i.opcode {
        Opcode::s_barrier => None,
        Opcode::s_endpgm if value == 0 => None,
        Opcode::s_endpgm => Some(value.to_string()),
        Opcode::s_waitcnt => Some(counters(value)),
        Opcode::s_branch
        | Opcode::s_cbranch_scc0
        | Opcode::s_cbranch_scc1
        | Opcode::s_cbranch_vccz
        | Opcode::s_cbranch_vccnz
        | Opcode::s_cbranch_execz
        | Opcode::s_cbranch_execnz => Some(value.to_string()),
        _ if value <= 64 => Some(value.to_string()),
        _ => Some(format!("{value:#x}")),
    }
}

/// What is waited for: counters at their maximum are not, and are left out unless all are.
fn counters(value: u16) -> String {
    let fields = [
        ("vmcnt", value & 15 | value >> 10 & 0x30, 63),
        ("expcnt", value >> 4 & 7, 7),
        ("lgkmcnt", value >> 8 & 15, 15),
    ];
    let all = fields.iter().all(|(_, count, most)| count == most);
    let waited = fields.iter().filter(|(_, count, most)| all || count != most);
    let text: Vec<String> = waited.map(|(name, count, _)| format!("{name}({count})")).collect();
    text.join(" ")
}
