//! Machine words into instructions (CDNA3 ISA, chapter 13).

mod memory;
mod scalar;
mod vector;

use super::instruction::{Float, Format, Instruction, LITERAL};
use super::opcodes::{Opcode, Row, Where};

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

    pub(super) fn has(self, place: Where) -> bool {
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
        _ if first >> 26 == 0b11_1000 => decoder.buffer(),
        _ => Instruction::blank(Format::Other, words, if first >> 30 == 0b11 { 2 } else { 1 }),
    };
    // Longer encodings have no literal, or have taken it.
    if instruction.dwords == 1 && instruction.src.contains(&LITERAL) {
        instruction.literal = words[1];
        instruction.dwords = 2;
    }
    instruction.architecture = architecture;
    instruction
}

struct Decoder<'a> {
    words: [u32; 3],
    find: &'a dyn Fn(&'static [Row], u32) -> Option<Row>,
}

/// The sizes of a row's operands.
fn sizes(instruction: &mut Instruction, shape: &str) {
    let size = |c: char| c.to_digit(33).unwrap_or(0) as u8;
    let mut sizes = shape.chars().map(size);
    instruction.dst_dwords = sizes.next().unwrap_or(0);
    for (at, size) in sizes.enumerate() {
        instruction.src_dwords[at] = size;
        instruction.sources = at as u8 + 1;
    }
}

/// What the sources are, from the name's end; a conversion's source comes last in it. A bf16 has its
/// sign where an f16 has it.
fn float_of(opcode: Opcode) -> Float {
    let name = format!("{opcode:?}");
    if name.ends_with("f16") {
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
}
