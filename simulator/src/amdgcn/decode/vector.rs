//! Vector instructions.

use super::super::instruction::{
    ACCUMULATION, Dpp, EXEC, Float, Form, Format, Instruction, LITERAL, NONE, Operand, Sdwa, Type,
    VCC, VECTOR,
};
use super::super::matrix::Shape;
use super::super::opcodes::{self, Opcode};
use super::{DPP, Decoder, SDWA, bits, flag};

impl Decoder<'_> {
    /// The first source of a short vector instruction, which may announce a second word.
    pub(super) fn first_source(&self, i: &mut Instruction) {
        let source = bits(self.words[0], 8, 0);
        i.src[0] = source as Operand;
        if source == SDWA {
            self.sdwa(i);
        } else if source == DPP {
            self.dpp(i);
        }
        if !has_form(i) {
            i.opcode = Opcode::unknown;
        }
    }

    pub(super) fn sdwa(&self, i: &mut Instruction) {
        let word = self.words[1];
        i.dwords = 2;
        let operand =
            |number: u32, scalar: bool| number as Operand + if scalar { 0 } else { VECTOR };
        i.src[0] = operand(bits(word, 7, 0), flag(word, 23));
        if i.format != Format::Vop1 {
            let number = i.src[1] - VECTOR;
            i.src[1] = operand(number.into(), flag(word, 31));
        }
        let mut sdwa = Sdwa {
            dst: 6,
            unused: 0,
            src: [bits(word, 18, 16) as u8, bits(word, 26, 24) as u8],
            sext: [flag(word, 19), flag(word, 27)],
        };
        if i.format == Format::Vopc {
            i.sdst = if flag(word, 15) { bits(word, 14, 8) as Operand } else { VCC };
        } else {
            sdwa.dst = bits(word, 10, 8) as u8;
            sdwa.unused = bits(word, 12, 11) as u8;
            i.clamp = flag(word, 13);
            i.omod = bits(word, 15, 14) as u8;
        }
        i.neg = flag(word, 20) as u8 | (flag(word, 28) as u8) << 1;
        i.abs = flag(word, 21) as u8 | (flag(word, 29) as u8) << 1;
        i.form = Form::Sdwa(sdwa);
    }

    pub(super) fn dpp(&self, i: &mut Instruction) {
        let word = self.words[1];
        i.dwords = 2;
        i.src[0] = bits(word, 7, 0) as Operand + VECTOR;
        i.neg = flag(word, 20) as u8 | (flag(word, 22) as u8) << 1;
        i.abs = flag(word, 21) as u8 | (flag(word, 23) as u8) << 1;
        i.form = Form::Dpp(Dpp {
            control: bits(word, 16, 8) as u16,
            bound: flag(word, 19),
            banks: bits(word, 27, 24) as u8,
            rows: bits(word, 31, 28) as u8,
        });
    }

    pub(super) fn vop1(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Vop1, opcodes::VOP1, bits(word, 16, 9), 1);
        let vector = if i.opcode == Opcode::v_readfirstlane_b32 { 0 } else { VECTOR };
        i.dst = bits(word, 24, 17) as Operand + vector;
        self.first_source(&mut i);
        if i.opcode == Opcode::v_accvgpr_mov_b32 {
            i.dst += ACCUMULATION - VECTOR;
            i.src[0] += ACCUMULATION - VECTOR;
        }
        i
    }

    pub(super) fn vop2(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Vop2, opcodes::VOP2, bits(word, 30, 25), 1);
        i.dst = bits(word, 24, 17) as Operand + VECTOR;
        i.src[1] = bits(word, 16, 9) as Operand + VECTOR;
        self.first_source(&mut i);
        implied(&mut i);
        // These take a constant as their second or third factor.
        if matches!(i.code, 0x17 | 0x18 | 0x24 | 0x25) {
            i.literal = self.words[1];
            i.dwords = 2;
            let register = i.src[1];
            if i.code & 1 == 1 {
                (i.src[1], i.src[2]) = (LITERAL, register);
            } else {
                i.src[2] = LITERAL;
            }
            (i.sources, i.src_dwords[2]) = (3, 1);
        }
        i
    }

    pub(super) fn vopc(&self) -> Instruction {
        let word = self.words[0];
        let mut i = Instruction::blank(Format::Vopc, self.words, 1);
        compare(&mut i, bits(word, 24, 17));
        i.sdst = VCC;
        i.src[1] = bits(word, 16, 9) as Operand + VECTOR;
        self.first_source(&mut i);
        i
    }

    pub(super) fn vop3(&self) -> Instruction {
        let [word, second, _] = self.words;
        let code = bits(word, 25, 16);
        let mut i = match code {
            0..0x100 => {
                let mut i = Instruction::blank(Format::Vop3, self.words, 2);
                compare(&mut i, code);
                i
            }
            0x100..0x140 => self.row(Format::Vop3, opcodes::VOP2, code - 0x100, 2),
            0x140..0x1C0 => self.row(Format::Vop3, opcodes::VOP1, code - 0x140, 2),
            _ => self.row(Format::Vop3, opcodes::VOP3, code, 2),
        };
        i.code = code as u16;
        if !has_form(&i) {
            i.opcode = Opcode::unknown;
        }
        let scalar = i.opcode == Opcode::v_readlane_b32;
        let dst = bits(word, 7, 0) as Operand;
        i.src = [bits(second, 8, 0), bits(second, 17, 9), bits(second, 26, 18)].map(|s| s as u16);
        i.neg = bits(second, 31, 29) as u8;
        i.omod = bits(second, 28, 27) as u8;
        i.clamp = flag(word, 15);
        if code < 0x100 {
            i.sdst = dst;
            i.abs = bits(word, 10, 8) as u8;
        } else {
            i.dst = if scalar { dst } else { dst + VECTOR };
            let has_mask = matches!(
                i.opcode,
                Opcode::v_div_scale_f32
                    | Opcode::v_mad_u64_u32
                    | Opcode::v_mad_i64_i32
                    | Opcode::v_add_co_u32
                    | Opcode::v_sub_co_u32
                    | Opcode::v_subrev_co_u32
                    | Opcode::v_addc_co_u32
                    | Opcode::v_subb_co_u32
                    | Opcode::v_subbrev_co_u32
            );
            if has_mask {
                i.sdst = bits(word, 14, 8) as Operand;
            } else {
                i.op_sel = bits(word, 14, 11) as u8;
                i.abs = bits(word, 10, 8) as u8;
            }
            if i.opcode == Opcode::v_bitop3_b32 {
                i.offset = (i.omod << 6 | i.abs << 3 | i.neg).into();
                (i.omod, i.abs, i.neg) = (0, 0, 0);
            }
            let (sdst, mask) = (i.sdst, i.src[2]);
            implied(&mut i);
            if i.sdst != NONE && has_mask {
                i.sdst = sdst;
            }
            if i.sources == 3 && i.src[2] == VCC && !matches!(i.opcode, Opcode::v_div_fmas_f32) {
                i.src[2] = mask;
            }
        }
        i
    }

    pub(super) fn vop3p(&self) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Vop3p, opcodes::VOP3P, bits(word, 22, 16), 2);
        i.dst = bits(word, 7, 0) as Operand + VECTOR;
        i.src = [bits(second, 8, 0), bits(second, 17, 9), bits(second, 26, 18)].map(|s| s as u16);
        i.neg = bits(second, 31, 29) as u8;
        i.abs = bits(word, 10, 8) as u8;
        if Shape::of(i.opcode).is_some() {
            self.matrix(&mut i);
            return i;
        }
        i.op_sel = bits(word, 13, 11) as u8;
        i.op_sel_hi = (bits(second, 28, 27) | bits(word, 14, 14) << 2) as u8;
        i.clamp = flag(word, 15);
        match i.opcode {
            Opcode::v_accvgpr_read_b32 if i.src[0] >= VECTOR => i.src[0] += ACCUMULATION - VECTOR,
            Opcode::v_accvgpr_write_b32 => i.dst += ACCUMULATION - VECTOR,
            _ => {}
        }
        i
    }

    /// Matrix instructions say of each operand whether it is in accumulation registers; of C and D
    /// together.
    fn matrix(&self, i: &mut Instruction) {
        let [word, second, _] = self.words;
        i.format = Format::Matrix;
        // A constant that is added is an f32.
        i.float = Float::No;
        i.op_sel = bits(word, 14, 11) as u8;
        let moved = [flag(second, 27), flag(second, 28), flag(word, 15)];
        for (source, moved) in i.src.iter_mut().zip(moved) {
            if moved && *source >= VECTOR {
                *source += ACCUMULATION - VECTOR;
            }
        }
        if moved[2] {
            i.dst += ACCUMULATION - VECTOR;
        }
    }
}

/// Instructions without the forms that others of their format have.
fn has_form(i: &Instruction) -> bool {
    let sdwa = matches!(i.form, Form::Sdwa(_));
    match i.opcode {
        _ if i.form == Form::Plain && i.format != Format::Vop3 => true,
        Opcode::v_readfirstlane_b32
        | Opcode::v_swap_b32
        | Opcode::v_accvgpr_mov_b32
        | Opcode::v_madmk_f32
        | Opcode::v_madak_f32
        | Opcode::v_fmamk_f32
        | Opcode::v_fmaak_f32 => false,
        Opcode::v_mov_b64 | Opcode::v_mac_f32 | Opcode::v_fmac_f32 => !sdwa,
        Opcode::v_cmp => !(sdwa && i.src_dwords[0] == 2),
        _ => true,
    }
}

/// Operands that the short encodings do not name.
fn implied(i: &mut Instruction) {
    match i.opcode {
        Opcode::v_cndmask_b32 => {
            (i.src[2], i.src_dwords[2], i.sources) = (VCC, 2, 3);
        }
        Opcode::v_div_fmas_f32 => {}
        Opcode::v_add_co_u32 | Opcode::v_sub_co_u32 | Opcode::v_subrev_co_u32 => i.sdst = VCC,
        Opcode::v_addc_co_u32 | Opcode::v_subb_co_u32 | Opcode::v_subbrev_co_u32 => {
            i.sdst = VCC;
            (i.src[2], i.src_dwords[2], i.sources) = (VCC, 2, 3);
        }
        _ => {}
    }
}

/// Fields of a comparison.
fn compare(i: &mut Instruction, code: u32) {
    i.code = code as u16;
    i.opcode = Opcode::v_cmp;
    let Some(comparison) = i.comparison() else {
        i.opcode = Opcode::unknown;
        return;
    };
    i.float = match comparison.ty {
        Type::F16 | Type::ClassF16 => Float::F16,
        Type::F32 | Type::ClassF32 => Float::F32,
        _ => Float::No,
    };
    let dwords = if matches!(comparison.ty, Type::I64 | Type::U64) { 2 } else { 1 };
    (i.sources, i.src_dwords) = (2, [dwords, dwords, 0]);
    i.sdst = EXEC;
}
