//! Local and global memory.

use super::super::instruction::{ACCUMULATION, Format, Instruction, NONE, Operand, VECTOR};
use super::super::opcodes::{self, Opcode};
use super::{Architecture, Decoder, bits, flag};

impl Decoder<'_> {
    pub(super) fn ds(&self) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Ds, opcodes::DS, bits(word, 24, 17), 2);
        if flag(word, 16) {
            // Global data share.
            i.opcode = Opcode::unknown;
        }
        let data = if flag(word, 25) { ACCUMULATION } else { VECTOR };
        i.offset = bits(word, 15, 0) as i32;
        let name = format!("{:?}", i.opcode);
        let is_two = name.contains("read2") || name.contains("write2");
        if is_two {
            i.offset = bits(word, 7, 0) as i32;
            i.offset2 = bits(word, 15, 8) as i32;
        }
        let size = i.dst_dwords;
        let returns = ["read", "rtn", "permute", "swizzle"].iter().any(|part| name.contains(part));
        i.src[0] = bits(second, 7, 0) as Operand + VECTOR;
        (i.src_dwords, i.sources) = ([1, 0, 0], 1);
        if !name.contains("read") && !name.contains("swizzle") {
            i.src[1] = bits(second, 15, 8) as Operand + data;
            (i.src_dwords[1], i.sources) = (size, 2);
            if name.contains("write2") || name.contains("cmpst") {
                i.src[2] = bits(second, 23, 16) as Operand + data;
                (i.src_dwords[2], i.sources) = (size, 3);
            }
        }
        i.dst_dwords = 0;
        if returns {
            i.dst = bits(second, 31, 24) as Operand + data;
            i.dst_dwords = if name.contains("read2") { 2 * size } else { size };
        }
        i
    }

    pub(super) fn flat(&self, architecture: Architecture) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Flat, opcodes::GLOBAL, bits(word, 24, 18), 2);
        i.segment = bits(word, 15, 14) as u8;
        if i.segment == 1 || i.segment == 3 {
            i.opcode = Opcode::unknown;
        }
        i.cache = (bits(word, 16, 16) | bits(word, 25, 25) << 1 | bits(word, 17, 17) << 2) as u8;
        let name = format!("{:?}", i.opcode);
        // gfx90a has a bit for it, later ones have instructions.
        i.to_local = name.contains("_lds_");
        if i.to_local && i.segment == 0 {
            i.opcode = Opcode::unknown;
        }
        if architecture == Architecture::Gfx90a && flag(word, 13) {
            i.to_local = true;
            if i.opcode != Opcode::global_load_dword || i.segment != 2 {
                i.opcode = Opcode::unknown;
            }
        }
        // 13 bits with a sign; flat instructions have 12 without.
        i.offset = match i.segment {
            0 => bits(word, 11, 0) as i32,
            _ => (word << 19) as i32 >> 19,
        };
        let data = if flag(second, 23) { ACCUMULATION } else { VECTOR };
        let size = i.dst_dwords.max(i.src_dwords[0]);
        let base = bits(second, 22, 16);
        i.src[0] = bits(second, 7, 0) as Operand + VECTOR;
        i.src[2] = if base == 0x7F { NONE } else { base as Operand };
        let wide = i.segment == 0 || base == 0x7F;
        if i.segment == 0 {
            i.src[2] = NONE;
        }
        i.src_dwords = [if wide { 2 } else { 1 }, size, 2];
        i.sources = 3;
        i.dst_dwords = 0;
        let loads = name.contains("load");
        let returns = loads || name.contains("atomic") && i.cache & 1 == 1;
        if loads {
            (i.src[1], i.src_dwords[1]) = (NONE, 0);
        } else {
            i.src[1] = bits(second, 15, 8) as Operand + data;
        }
        if returns && !i.to_local {
            i.dst = bits(second, 31, 24) as Operand + data;
            i.dst_dwords = if name.contains("cmpswap") { size / 2 } else { size };
        }
        i
    }

    pub(super) fn buffer(&self) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Buffer, opcodes::BUFFER, bits(word, 24, 18), 2);
        i.cache = bits(word, 15, 14) as u8 | (flag(word, 17) as u8) << 2;
        i.offset = bits(word, 11, 0) as i32;
        i.offset2 = bits(second, 31, 24) as i32;
        i.segment = bits(word, 13, 12) as u8;
        i.to_local = flag(word, 16);
        let data =
            bits(second, 15, 8) as Operand + if flag(second, 23) { ACCUMULATION } else { VECTOR };
        let size = i.dst_dwords;
        let places = i.segment.count_ones() as u8;
        i.src = [NONE, NONE, bits(second, 20, 16) as Operand * 4];
        (i.src_dwords, i.sources, i.dst_dwords) = ([places, 0, 4], 3, 0);
        if places > 0 {
            i.src[0] = bits(second, 7, 0) as Operand + VECTOR;
        }
        if format!("{:?}", i.opcode).contains("store") {
            (i.src[1], i.src_dwords[1]) = (data, size);
        } else if !i.to_local {
            (i.dst, i.dst_dwords) = (data, size);
        }
        i
    }
}
