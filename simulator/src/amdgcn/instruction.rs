//! A decoded instruction.

use super::decode::Architecture;
use super::opcodes::Opcode;

/// How an instruction is encoded (CDNA3 ISA, chapter 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Sop2,
    Sopk,
    Sop1,
    Sopc,
    Sopp,
    Smem,
    Vop1,
    Vop2,
    Vopc,
    Vop3,
    Vop3p,
    /// Matrix instructions, of the same encoding as packed ones.
    Matrix,
    Ds,
    Flat,
    Buffer,
    Other,
}

/// Where an operand is: 0 to 255 as encoded, then vector and accumulation registers.
pub(super) type Operand = u16;

pub(super) const VCC: Operand = 106;
pub(super) const EXEC: Operand = 126;
pub(super) const SCC: Operand = 253;
pub(super) const LITERAL: Operand = 255;
/// The first vector register.
pub(super) const VECTOR: Operand = 256;
/// The first accumulation register.
pub(super) const ACCUMULATION: Operand = 512;
pub(super) const NONE: Operand = u16::MAX;

/// What the sign bits of a source mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    No,
    F16,
    F32,
}

/// The second word of an instruction with sub-dword addressing (CDNA3 ISA, 13.3.7 and 13.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sdwa {
    /// Which bytes: 0 to 3 a byte, 4 and 5 a word, 6 all.
    pub(super) dst: u8,
    /// The other bytes: 0 zero, 1 the sign, 2 as they were.
    pub(super) unused: u8,
    pub(super) src: [u8; 2],
    pub(super) sext: [bool; 2],
}

/// Data-parallel primitives: lanes read others' first source (CDNA3 ISA, 13.3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dpp {
    pub(super) control: u16,
    /// A lane without a source reads 0; otherwise it is not written.
    pub(super) bound: bool,
    pub(super) rows: u8,
    pub(super) banks: u8,
}

/// A form of an instruction that is not the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Sdwa(Sdwa),
    Dpp(Dpp),
}

/// An instruction with its fields.
#[derive(Clone, Debug)]
pub(super) struct Instruction {
    pub(super) architecture: Architecture,
    pub(super) format: Format,
    pub(super) opcode: Opcode,
    /// Its number in its format.
    pub(super) code: u16,
    /// Its length.
    pub(super) dwords: u8,
    pub(super) words: [u32; 3],
    pub(super) dst: Operand,
    /// A mask that is written too, or that the comparison writes.
    pub(super) sdst: Operand,
    pub(super) src: [Operand; 3],
    /// Sizes in dwords, and how many sources there are.
    pub(super) dst_dwords: u8,
    pub(super) src_dwords: [u8; 3],
    pub(super) sources: u8,
    pub(super) literal: u32,
    pub(super) float: Float,
    /// By source. Packed instructions: of the low half. Matrix instructions: blgp.
    pub(super) neg: u8,
    /// By source. Packed instructions: the signs of the high half. Matrix instructions: cbsz.
    pub(super) abs: u8,
    /// Matrix instructions: abid.
    pub(super) op_sel: u8,
    pub(super) op_sel_hi: u8,
    pub(super) clamp: bool,
    pub(super) omod: u8,
    pub(super) form: Form,
    /// Of memory instructions, in bytes; of branches, in dwords; of `v_bitop3_b32` the table; else
    /// the immediate. `ds_read2` and the like have a second one; of buffer instructions that is the
    /// operand of the scalar offset.
    pub(super) offset: i32,
    pub(super) offset2: i32,
    /// Of global, flat and buffer instructions: sc0 (glc on gfx90a), sc1 (scc), nt (slc), as bits.
    pub(super) cache: u8,
    /// Of those: 0 flat, 1 scratch, 2 global; of buffer instructions `buffer::OFFSETS` and `INDICES`.
    pub(super) segment: u8,
    /// What is loaded goes to LDS.
    pub(super) to_local: bool,
    /// Branches: the index of the instruction that follows if it is taken.
    pub(super) target: u32,
}

impl Instruction {
    /// One without operands.
    pub(super) fn blank(format: Format, words: [u32; 3], dwords: u8) -> Instruction {
        Instruction {
            architecture: Architecture::Gfx90a,
            format,
            opcode: Opcode::unknown,
            code: 0,
            dwords,
            words,
            dst: NONE,
            sdst: NONE,
            src: [NONE; 3],
            dst_dwords: 0,
            src_dwords: [0; 3],
            sources: 0,
            literal: 0,
            float: Float::No,
            neg: 0,
            abs: 0,
            op_sel: 0,
            op_sel_hi: 0,
            clamp: false,
            omod: 0,
            form: Form::Plain,
            offset: 0,
            offset2: 0,
            cache: 0,
            segment: 0,
            to_local: false,
            target: u32::MAX,
        }
    }

    /// The comparison's condition and type (CDNA3 ISA, 12.9): number modulo 16 or 8, and the rest.
    pub(super) fn comparison(&self) -> Option<Comparison> {
        if self.opcode != Opcode::v_cmp {
            return None;
        }
        let code = self.code;
        let (ty, condition, exec) = match code {
            0x10..=0x11 => (Type::ClassF32, 0, code & 1 == 1),
            0x14..=0x15 => (Type::ClassF16, 0, code & 1 == 1),
            0x20..=0x3F => (Type::F16, code & 15, code & 0x10 != 0),
            0x40..=0x5F => (Type::F32, code & 15, code & 0x10 != 0),
            0xA0..=0xBF if code & 8 == 0 => (Type::I16, code & 7, code & 0x10 != 0),
            0xA0..=0xBF => (Type::U16, code & 7, code & 0x10 != 0),
            0xC0..=0xDF if code & 8 == 0 => (Type::I32, code & 7, code & 0x10 != 0),
            0xC0..=0xDF => (Type::U32, code & 7, code & 0x10 != 0),
            0xE0..=0xFF if code & 8 == 0 => (Type::I64, code & 7, code & 0x10 != 0),
            0xE0..=0xFF => (Type::U64, code & 7, code & 0x10 != 0),
            _ => return None,
        };
        Some(Comparison { ty, condition: condition as u8, exec })
    }
}

/// What a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    ClassF32,
    ClassF16,
    F16,
    F32,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) ty: Type,
    pub(super) condition: u8,
    /// It also writes EXEC.
    pub(super) exec: bool,
}
