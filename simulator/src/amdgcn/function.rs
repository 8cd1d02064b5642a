//! A kernel's code, decoded.

use super::buffer;
use super::decode::{Architecture, decode};
use super::instruction::{Form, Format, Instruction, NONE, Operand, Sdwa, Type, VECTOR};
use super::lines::Line;
use super::matrix;
use super::object::Description;
use super::opcodes::Opcode;
use super::text::text;
use crate::report::Site;

/// A kernel.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) instructions: Vec<Instruction>,
    /// By instruction: its place from the start, in bytes.
    pub(super) offsets: Vec<u32>,
    lines: Vec<Option<Line>>,
}

impl Function {
    /// Decodes the code of a function.
    pub(super) fn new(description: &Description, architecture: Architecture) -> Function {
        let Description { kernel, code, lines, .. } = description;
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &b| word << 8 | u32::from(b));
        let words: Vec<u32> = code.chunks_exact(4).map(word).collect();
        let mut instructions = Vec::new();
        let mut offsets = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let mut instruction = decode(&words[at..], architecture);
            if !is_modelled(&instruction) {
                // Executing it is refused, with the name that it has.
                instruction.format = Format::Other;
            }
            offsets.push(4 * at as u32);
            at += usize::from(instruction.dwords);
            instructions.push(instruction);
        }
        for (index, instruction) in instructions.iter_mut().enumerate() {
            let next = offsets[index] + 4;
            let target = i64::from(next) + 4 * i64::from(instruction.offset);
            let found = u32::try_from(target).ok().and_then(|t| offsets.binary_search(&t).ok());
            if instruction.format == Format::Sopp {
                instruction.target = found.map_or(u32::MAX, |found| found as u32);
            }
        }
        let line = |&offset: &u32| lines.get(offset as usize / 4).cloned().flatten();
        let lines = offsets.iter().map(line).collect();
        Function { name: kernel.name.clone(), instructions, offsets, lines }
    }

    /// What a report says of an instruction: its text with its place, and file and line.
    pub(super) fn place(&self, at: u32) -> (String, Option<(String, u32)>) {
        let Some(instruction) = self.instructions.get(at as usize) else {
            return (String::new(), None);
        };
        let offset = self.offsets[at as usize];
        let source = self.lines[at as usize].as_ref();
        (
            format!("{} at {}+{offset:#x}", text(instruction), self.name),
            source.map(|(file, line)| (file.to_string(), *line)),
        )
    }

    /// As a report names it, with a space before.
    pub(super) fn name_place(&self, at: u32) -> String {
        let (instruction, source) = self.place(at);
        Site(&instruction, 0, &source).to_string()
    }
}

/// Whether all that the fields ask for is modelled.
fn is_modelled(i: &Instruction) -> bool {
    let sources = &i.src[..usize::from(i.sources)];
    // Apertures, LDS as an operand, and numbers that name nothing.
    let strange = |&operand: &Operand| matches!(operand, 209..=239 | 249 | 250 | 254 | 102..=105);
    let wide_constant = |at: usize| {
        i.format == Format::Vop3p && i.src_dwords[at] == 2 && matches!(sources[at], 129..=255)
    };
    let half_constant = |at: usize| {
        i.format == Format::Vop3p && i.src_dwords[at] == 1 && matches!(sources[at], 129..=255)
    };
    let vector = matches!(i.format, Format::Vop1 | Format::Vop2 | Format::Vop3 | Format::Vop3p);
    let name = format!("{:?}", i.opcode);
    let clamps = i.clamp && (i.format == Format::Vop3p || !name.contains("f32"));
    let wide_form = i.form != Form::Plain
        && (i.dst_dwords == 2 || (0..sources.len()).any(|at| i.src_dwords[at] == 2 && at < 2));
    let sdwa_scalar = match i.form {
        Form::Sdwa(Sdwa { dst, .. }) => dst != 6 && i.dst != NONE && i.dst < VECTOR,
        _ => false,
    };
    // What these would read is not certain: constants of 16 bits that are not of f16, signs of an
    // integer beside a number, halves of sources outside packed instructions.
    let short = ["_u16", "_i16", "_b16", "_bf16"].iter().any(|end| name.ends_with(end));
    let short_constant = short && sources.iter().any(|&operand| matches!(operand, 240..=248));
    let integer_beside = i.opcode == Opcode::v_ldexp_f32
        || i.comparison().is_some_and(|it| matches!(it.ty, Type::ClassF32 | Type::ClassF16));
    let integer_signs = integer_beside && (i.neg | i.abs) & 2 != 0;
    let halves = i.format == Format::Vop3
        && i.op_sel != 0
        && !matches!(i.opcode, Opcode::v_pack_b32_f16 | Opcode::v_fma_f16);
    let strange_matrix = i.format == Format::Matrix && !matrix::is_modelled(i);
    let strange_buffer = i.format == Format::Buffer && i.segment & buffer::INDICES != 0;
    // What fewer or three dwords do is not certain.
    let fours = i.architecture == Architecture::Gfx950 && name.ends_with("_dwordx4");
    let strange_load = i.to_local && !name.ends_with("_dword") && !fours;
    !(short_constant
        || strange_buffer
        || strange_load
        || strange_matrix
        || integer_signs
        || halves
        || sources.iter().any(strange)
        || (0..sources.len()).any(|at| wide_constant(at) || half_constant(at))
        || vector && (i.omod != 0 || clamps || wide_form || sdwa_scalar))
}
