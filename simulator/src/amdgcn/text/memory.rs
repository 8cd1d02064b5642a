//! Instructions that access memory.

use super::super::buffer;
use super::super::decode::Architecture;
use super::super::instruction::{Instruction, NONE, Operand};
use super::super::opcodes::Opcode;
use super::line;
use super::operand::{Kind, operand, register, source};

/// Loads of scalars.
pub(super) fn scalar(i: &Instruction) -> String {
    let mut operands = vec![register(i.dst, i.dst_dwords), source(i, 0, Kind::Word)];
    let mut modifiers = String::new();
    let offset = hexadecimal(i.offset);
    let has_offset = i.words[0] >> 17 & 1 == 1;
    if i.sources == 2 {
        operands.push(source(i, 1, Kind::Word));
        if has_offset {
            modifiers = format!(" offset:{offset}");
        }
    } else {
        operands.push(offset);
    }
    if i.cache & 1 == 1 {
        modifiers += " glc";
    }
    line(&format!("{:?}", i.opcode), &operands, &modifiers)
}

fn hexadecimal(value: i32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:#x}", value.unsigned_abs())
}

/// Local memory.
pub(super) fn local(i: &Instruction) -> String {
    let name = format!("{:?}", i.opcode);
    let mut operands = Vec::new();
    if i.dst_dwords > 0 {
        operands.push(register(i.dst, i.dst_dwords));
    }
    operands.extend((0..i.sources as usize).map(|index| source(i, index, Kind::Word)));
    let mut modifiers = String::new();
    if i.opcode == Opcode::ds_swizzle_b32 {
        modifiers = swizzle(i.offset as u16);
    } else if name.contains("read2") || name.contains("write2") {
        for (index, offset) in [i.offset, i.offset2].into_iter().enumerate() {
            if offset != 0 {
                modifiers += &format!(" offset{index}:{offset}");
            }
        }
    } else if i.offset != 0 {
        modifiers = format!(" offset:{}", i.offset);
    }
    line(&name, &operands, &modifiers)
}

/// The pattern of `ds_swizzle_b32` (CDNA3 ISA, 12.13.1).
fn swizzle(pattern: u16) -> String {
    if pattern == 0 {
        return String::new();
    }
    if pattern & 0xFF00 == 0x8000 {
        let lanes: Vec<String> = (0..4).map(|at| (pattern >> (2 * at) & 3).to_string()).collect();
        return format!(" offset:swizzle(QUAD_PERM,{})", lanes.join(","));
    }
    if pattern & 0x8000 == 0 {
        let (and, or, xor) = (pattern & 31, pattern >> 5 & 31, pattern >> 10);
        if and == 31 && or == 0 && xor.is_power_of_two() {
            return format!(" offset:swizzle(SWAP,{xor})");
        }
        if and == 31 && or == 0 && xor > 0 && (xor + 1).is_power_of_two() {
            return format!(" offset:swizzle(REVERSE,{})", xor + 1);
        }
        let group = 32 - and;
        if group > 1 && group.is_power_of_two() && or < group && xor == 0 {
            return format!(" offset:swizzle(BROADCAST,{group},{or})");
        }
        let bit = |at: u16| {
            let (and, or, xor) = (and >> at & 1, or >> at & 1, xor >> at & 1);
            match (and, or, xor) {
                (0, 0, 0) | (0, 1, 1) => '0',
                (0, ..) => '1',
                (_, 0, 0) => 'p',
                (_, 0, _) => 'i',
                (_, 1, 0) => '1',
                _ => '0',
            }
        };
        let mask: String = (0..5).rev().map(bit).collect();
        return format!(" offset:swizzle(BITMASK_PERM,\"{mask}\")");
    }
    if pattern >= 0xE000 {
        return format!(" offset:swizzle(FFT,{})", pattern & 31);
    }
    if pattern >= 0xC000 {
        let (direction, lanes) = (pattern >> 10 & 1, pattern >> 5 & 31);
        return format!(" offset:swizzle(ROTATE,{direction},{lanes})");
    }
    format!(" offset:{pattern}")
}

/// Global memory, and any by a flat address.
pub(super) fn global(i: &Instruction) -> String {
    let mut name = format!("{:?}", i.opcode);
    if i.segment == 0 {
        name = name.replace("global_", "flat_");
    }
    let mut operands = Vec::new();
    if i.dst_dwords > 0 {
        operands.push(register(i.dst, i.dst_dwords));
    }
    operands.push(source(i, 0, Kind::Word));
    if i.src[1] != NONE {
        operands.push(source(i, 1, Kind::Word));
    }
    if i.segment != 0 {
        let base = i.src[2];
        operands.push(if base == NONE { "off".into() } else { source(i, 2, Kind::Word) });
    }
    let mut modifiers = String::new();
    if i.offset != 0 {
        modifiers = format!(" offset:{}", i.offset);
    }
    modifiers += &cache(i);
    if i.to_local && i.architecture == Architecture::Gfx90a {
        modifiers += " lds";
    }
    line(&name, &operands, &modifiers)
}

/// Which caches an instruction passes.
fn cache(i: &Instruction) -> String {
    let names = match i.architecture {
        Architecture::Gfx90a => ["glc", "scc", "slc"],
        _ => ["sc0", "sc1", "nt"],
    };
    let set = [0, 2, 1].into_iter().filter(|bit| i.cache >> bit & 1 == 1);
    set.map(|bit| format!(" {}", names[bit])).collect()
}

/// Memory by a resource.
pub(super) fn buffer(i: &Instruction) -> String {
    let mut operands = Vec::new();
    if i.dst_dwords > 0 {
        operands.push(register(i.dst, i.dst_dwords));
    }
    if i.src[1] != NONE {
        operands.push(source(i, 1, Kind::Word));
    }
    operands.push(if i.src[0] == NONE { "off".into() } else { source(i, 0, Kind::Word) });
    operands.push(source(i, 2, Kind::Word));
    operands.push(operand(i, i.offset2 as Operand, 1, Kind::Word));
    let mut modifiers = String::new();
    for (bit, name) in [(buffer::INDICES, " idxen"), (buffer::OFFSETS, " offen")] {
        if i.segment & bit != 0 {
            modifiers += name;
        }
    }
    if i.offset != 0 {
        modifiers += &format!(" offset:{}", i.offset);
    }
    modifiers += &cache(i);
    if i.to_local {
        modifiers += " lds";
    }
    line(&format!("{:?}", i.opcode), &operands, &modifiers)
}
