//! Machine words into instructions (CDNA3 ISA, chapter 13).

use super::instruction::{
    ACCUMULATION, Dpp, EXEC, Float, Form, Format, Instruction, LITERAL, NONE, Operand, Sdwa, Type,
    VCC, VECTOR,
};
use super::opcodes::{self, Opcode, Row, Where};

/// The architectures whose code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Gfx90a,
    Gfx942,
    Gfx950,
}

impl Architecture {
    /// By its name in `--offload-arch`.
    pub(crate) fn from_name(name: &str) -> Option<Architecture> {
        match name {
            "gfx90a" => Some(Architecture::Gfx90a),
            "gfx942" => Some(Architecture::Gfx942),
            "gfx950" => Some(Architecture::Gfx950),
            _ => None,
        }
    }

    fn has(self, place: Where) -> bool {
        match place {
            Where::All => true,
            Where::Gfx90a => self == Architecture::Gfx90a,
            Where::Gfx940 => self != Architecture::Gfx90a,
            Where::Gfx950 => self == Architecture::Gfx950,
        }
    }
}

const SDWA: u32 = 249;
const DPP: u32 = 250;

fn bits(word: u32, high: u32, low: u32) -> u32 {
    word >> low & (u32::MAX >> (31 - (high - low)))
}

fn flag(word: u32, bit: u32) -> bool {
    word >> bit & 1 == 1
}

/// Decodes the instruction at the start of `code`, of which three words at most are needed.
pub(super) fn decode(code: &[u32], architecture: Architecture) -> Instruction {
    let word = |index: usize| code.get(index).copied().unwrap_or(0);
    let words = [word(0), word(1), word(2)];
    let first = words[0];
    let find = |table: &'static [Row], code: u32| {
        let row = |row: &&Row| u32::from(row.code) == code && architecture.has(row.place);
        table.iter().find(row).copied()
    };
    let decoder = Decoder { words, find: &find };
    let mut instruction = match first >> 23 {
        0b1_0111_1101 => decoder.sop1(),
        0b1_0111_1110 => decoder.sopc(),
        0b1_0111_1111 => decoder.sopp(),
        _ if first >> 28 == 0b1011 => decoder.sopk(),
        _ if first >> 30 == 0b10 => decoder.sop2(),
        _ if first >> 25 == 0b011_1110 => decoder.vopc(),
        _ if first >> 25 == 0b011_1111 => decoder.vop1(),
        _ if first >> 31 == 0 => decoder.vop2(),
        0b1_1010_0111 => decoder.vop3p(),
        _ if first >> 26 == 0b11_0100 => decoder.vop3(),
        _ if first >> 26 == 0b11_0000 => decoder.smem(),
        _ if first >> 26 == 0b11_0110 => decoder.ds(),
        _ if first >> 26 == 0b11_0111 => decoder.flat(architecture),
        _ => Instruction::blank(Format::Other, words, if first >> 30 == 0b11 { 2 } else { 1 }),
    };
    let used = &instruction.src[..instruction.sources as usize];
    if matches!(instruction.format, Format::Sop1 | Format::Sop2 | Format::Sopc)
        || instruction.dwords == 1
    {
        if used.contains(&LITERAL) {
            instruction.literal = words[1];
            instruction.dwords = 2;
        }
    }
    instruction
}

struct Decoder<'a> {
    words: [u32; 3],
    find: &'a dyn Fn(&'static [Row], u32) -> Option<Row>,
}

/// The sizes of a row's operands.
fn sizes(instruction: &mut Instruction, shape: &str) {
    let size = |c: char| c.to_digit(17).unwrap_or(0) as u8;
    let mut sizes = shape.chars().map(size);
    instruction.dst_dwords = sizes.next().unwrap_or(0);
    for (at, size) in sizes.enumerate() {
        instruction.src_dwords[at] = size;
        instruction.sources = at as u8 + 1;
    }
}

/// What the sources are, from the name's end; a conversion's source comes last in it.
fn float_of(opcode: Opcode) -> Float {
    let name = format!("{opcode:?}");
    if name.ends_with("_f16") {
        Float::F16
    } else if name.ends_with("_f32") || opcode == Opcode::v_cndmask_b32 {
        Float::F32
    } else {
        Float::No
    }
}

impl Decoder<'_> {
    /// An instruction of a table, with its sizes; `unknown` where the table has none.
    fn row(&self, format: Format, table: &'static [Row], code: u32, dwords: u8) -> Instruction {
        let mut instruction = Instruction::blank(format, self.words, dwords);
        instruction.code = code as u16;
        if let Some(row) = (self.find)(table, code) {
            instruction.opcode = row.opcode;
            sizes(&mut instruction, row.shape);
            instruction.float = float_of(row.opcode);
        }
        instruction
    }

    fn sop1(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sop1, opcodes::SOP1, bits(word, 15, 8), 1);
        i.dst = bits(word, 22, 16) as Operand;
        i.src[0] = bits(word, 7, 0) as Operand;
        i
    }

    fn sop2(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sop2, opcodes::SOP2, bits(word, 29, 23), 1);
        i.dst = bits(word, 22, 16) as Operand;
        i.src[0] = bits(word, 7, 0) as Operand;
        i.src[1] = bits(word, 15, 8) as Operand;
        i
    }

    fn sopc(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sopc, opcodes::SOPC, bits(word, 22, 16), 1);
        i.src[0] = bits(word, 7, 0) as Operand;
        i.src[1] = bits(word, 15, 8) as Operand;
        i
    }

    fn sopk(&self) -> Instruction {
        let word = self.words[0];
        let code = bits(word, 27, 23);
        // s_setreg_imm32_b32 has a second word.
        let mut i = self.row(Format::Sopk, opcodes::SOPK, code, if code == 20 { 2 } else { 1 });
        i.dst = bits(word, 22, 16) as Operand;
        i.offset = i32::from(word as u16 as i16);
        i
    }

    fn sopp(&self) -> Instruction {
        let word = self.words[0];
        let mut i = self.row(Format::Sopp, opcodes::SOPP, bits(word, 22, 16), 1);
        i.offset = i32::from(word as u16 as i16);
        i
    }

    fn smem(&self) -> Instruction {
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

    /// The first source of a short vector instruction, which may announce a second word.
    fn first_source(&self, i: &mut Instruction) {
        let source = bits(self.words[0], 8, 0);
        i.src[0] = source as Operand;
        if source == SDWA {
            self.sdwa(i);
        } else if source == DPP {
            self.dpp(i);
        }
    }

    fn sdwa(&self, i: &mut Instruction) {
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

    fn dpp(&self, i: &mut Instruction) {
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

    fn vop1(&self) -> Instruction {
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

    fn vop2(&self) -> Instruction {
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

    fn vopc(&self) -> Instruction {
        let word = self.words[0];
        let mut i = Instruction::blank(Format::Vopc, self.words, 1);
        compare(&mut i, bits(word, 24, 17));
        i.sdst = VCC;
        i.src[1] = bits(word, 16, 9) as Operand + VECTOR;
        self.first_source(&mut i);
        i
    }

    fn vop3(&self) -> Instruction {
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
        let scalar = matches!(i.opcode, Opcode::v_readlane_b32 | Opcode::v_readfirstlane_b32);
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

    fn vop3p(&self) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Vop3p, opcodes::VOP3P, bits(word, 22, 16), 2);
        i.dst = bits(word, 7, 0) as Operand + VECTOR;
        i.src = [bits(second, 8, 0), bits(second, 17, 9), bits(second, 26, 18)].map(|s| s as u16);
        i.neg = bits(second, 31, 29) as u8;
        i.abs = bits(word, 10, 8) as u8;
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

    fn ds(&self) -> Instruction {
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

    fn flat(&self, architecture: Architecture) -> Instruction {
        let [word, second, _] = self.words;
        let mut i = self.row(Format::Flat, opcodes::GLOBAL, bits(word, 24, 18), 2);
        i.segment = bits(word, 15, 14) as u8;
        if i.segment == 1 || i.segment == 3 {
            i.opcode = Opcode::unknown;
        }
        i.cache = (bits(word, 16, 16) | bits(word, 25, 25) << 1 | bits(word, 17, 17) << 2) as u8;
        if architecture == Architecture::Gfx90a {
            // No sc1 there; into LDS is another instruction.
            i.cache &= 5;
            if flag(word, 13) {
                i.opcode = Opcode::unknown;
            }
        }
        // 13 bits with a sign; flat instructions have 12 without.
        i.offset = match i.segment {
            0 => bits(word, 11, 0) as i32,
            _ => (word << 19) as i32 >> 19,
        };
        let data = if flag(second, 23) { ACCUMULATION } else { VECTOR };
        let name = format!("{:?}", i.opcode);
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
        if returns {
            i.dst = bits(second, 31, 24) as Operand + data;
            i.dst_dwords = if name.contains("cmpswap") { size / 2 } else { size };
        }
        i
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
