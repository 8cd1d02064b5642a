//! Scalar instructions.

use super::super::instruction::{Format, Instruction, Operand};
use super::super::opcodes;
use super::{Decoder, bits, flag};

impl Decoder<'_> {
    pub(super) fn sop1(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sop1, opcodes::SOP1, bits(word, 15, 8), 1);
        i.dst = bits(word, 22, 16) as Operand;
        i.src[0] = bits(word, 7, 0) as Operand;
        i
    }

    pub(super) fn sop2(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sop2, opcodes::SOP2, bits(word, 29, 23), 1);
        i.dst = bits(word, 22, 16) as Operand;
        i.src[0] = bits(word, 7, 0) as Operand;
        i.src[1] = bits(word, 15, 8) as Operand;
        i
    }

    pub(super) fn sopc(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sopc, opcodes::SOPC, bits(word, 22, 16), 1);
        i.src[0] = bits(word, 7, 0) as Operand;
        i.src[1] = bits(word, 15, 8) as Operand;
        i
    }

    pub(super) fn sopk(&self) -> Instruction {
        let word = self.words[0];
        let code = bits(word, 27, 23);
        // s_setreg_imm32_b32 has a second word.
        let mut i = self.row(Format::Sopk, opcodes::SOPK, code, if code == 20 { 2 } else { 1 });
        i.dst = bits(word, 22, 16) as Operand;
        i.offset = i32::from(word as u16 as i16);
        i
    }

    pub(super) fn sopp(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sopp, opcodes::SOPP, bits(word, 22, 16), 1);
        i.offset = i32::from(word as u16 as i16);
        i
    }

    pub(super) fn smem(&self) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Smem, opcodes::SMEM, bits(word, 25, 18), 2);
        i.dst = bits(word, 12, 6) as Operand;
        i.src[0] = 2 * bits(word, 5, 0) as Operand;
        (i.src_dwords[0], i.sources) = (2, 1);
        if flag(word, 17) {
            i.offset = (second << 11) as i32 >> 11;
        }
        if flag(word, 14) || !flag(word, 17) {
            let register = if flag(word, 14) { bits(second, 31, 25) } else { bits(second, 6, 0) };
            i.src[1] = register as Operand;
            (i.src_dwords[1], i.sources) = (1, 2);
        }
        i.cache = flag(word, 16) as u8;
        i
    }
}
