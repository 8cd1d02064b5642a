//! Matrix instructions (CDNA3 ISA, chapter 7): `D = A * B + C` of all 64 lanes, whatever EXEC is.
//!
//! Lane `l` of A holds row `l % m`, of B column `l % m`; its elements follow each other along k. Four
//! registers of a lane of C and D hold four rows of column `l % m`. The lanes `l / m` are further k
//! first, then further blocks, for C and D further rows, then blocks (AMD's matrix instruction
//! calculator). How the products of an element are added is in `sum`, what must lie between such an
//! instruction and a use of its result in `waits`.

mod sum;
mod waits;

use super::decode::Architecture;
use super::execute::{Execution, Flow};
use super::instruction::{ACCUMULATION, Instruction, Operand, VECTOR};
use super::opcodes::Opcode;
use super::wave::{Vector, Wave, vector_index};
use sum::{Factors, Sum};
pub(super) use waits::{Recent, too_soon_after};

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    Bf16,
    F16,
    F32,
}

/// An instruction: blocks of `m` rows and columns, each element a sum of `k` products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) blocks: usize,
    pub(super) element: Element,
}

impl Shape {
    /// The shape that a matrix instruction's name says.
    pub(super) fn of(opcode: Opcode) -> Option<Shape> {
        use Element::{Bf16, F16, F32};
        use Opcode::*;
        let (m, k, blocks, element) = match opcode {
            v_mfma_f32_32x32x1f32 | v_mfma_f32_32x32x1_2b_f32 => (32, 1, 2, F32),
            v_mfma_f32_16x16x1f32 | v_mfma_f32_16x16x1_4b_f32 => (16, 1, 4, F32),
            v_mfma_f32_4x4x1f32 | v_mfma_f32_4x4x1_16b_f32 => (4, 1, 16, F32),
            v_mfma_f32_32x32x2f32 | v_mfma_f32_32x32x2_f32 => (32, 2, 1, F32),
            v_mfma_f32_16x16x4f32 | v_mfma_f32_16x16x4_f32 => (16, 4, 1, F32),
            v_mfma_f32_32x32x4f16 | v_mfma_f32_32x32x4_2b_f16 => (32, 4, 2, F16),
            v_mfma_f32_16x16x4f16 | v_mfma_f32_16x16x4_4b_f16 => (16, 4, 4, F16),
            v_mfma_f32_4x4x4f16 | v_mfma_f32_4x4x4_16b_f16 => (4, 4, 16, F16),
            v_mfma_f32_32x32x8f16 | v_mfma_f32_32x32x8_f16 => (32, 8, 1, F16),
            v_mfma_f32_16x16x16f16 | v_mfma_f32_16x16x16_f16 => (16, 16, 1, F16),
            v_mfma_f32_32x32x16_f16 => (32, 16, 1, F16),
            v_mfma_f32_16x16x32_f16 => (16, 32, 1, F16),
            v_mfma_f32_32x32x4bf16_1k | v_mfma_f32_32x32x4_2b_bf16 => (32, 4, 2, Bf16),
            v_mfma_f32_16x16x4bf16_1k | v_mfma_f32_16x16x4_4b_bf16 => (16, 4, 4, Bf16),
            v_mfma_f32_4x4x4bf16_1k | v_mfma_f32_4x4x4_16b_bf16 => (4, 4, 16, Bf16),
            v_mfma_f32_32x32x8bf16_1k | v_mfma_f32_32x32x8_bf16 => (32, 8, 1, Bf16),
            v_mfma_f32_16x16x16bf16_1k | v_mfma_f32_16x16x16_bf16 => (16, 16, 1, Bf16),
            v_mfma_f32_32x32x16_bf16 => (32, 16, 1, Bf16),
            v_mfma_f32_16x16x32_bf16 => (16, 32, 1, Bf16),
            _ => return None,
        };
        Some(Shape { m, k, blocks, element })
    }

    /// As counters name it.
    pub(super) fn name(&self) -> String {
        let Shape { m, k, blocks, element } = self;
        let element = match element {
            Element::Bf16 => "bf16",
            Element::F16 => "f16",
            Element::F32 => "f32",
        };
        match blocks {
            1 => format!("m{m}n{m}k{k}.{element}"),
            _ => format!("m{m}n{m}k{k}b{blocks}.{element}"),
        }
    }

    /// The registers of C and D.
    fn registers(&self) -> usize {
        self.m * self.m * self.blocks / 64
    }

    /// The groups of `m` lanes that hold further k of one block of A and B.
    fn groups(&self) -> usize {
        64 / self.m / self.blocks
    }

    /// The block and the first row of four registers of D in a group of `m` lanes.
    fn rows(&self, four: usize, group: usize) -> (usize, usize) {
        let fours = self.m / 4;
        let at = four * (64 / self.m) + group;
        (at / fours, 4 * (at % fours))
    }
}

/// Whether all that the fields of a matrix instruction ask for is modelled: no broadcasts (cbsz, abid,
/// blgp), and operands that exist.
pub(super) fn is_modelled(i: &Instruction) -> bool {
    let within = |operand: Operand, dwords: u8| {
        (VECTOR..ACCUMULATION + 256).contains(&operand)
            && (operand - VECTOR) % 256 + Operand::from(dwords) <= 256
    };
    let constant = matches!(i.src[2], 128..=208 | 240..=248);
    i.abs | i.op_sel | i.neg == 0
        && within(i.dst, i.dst_dwords)
        && within(i.src[0], i.src_dwords[0])
        && within(i.src[1], i.src_dwords[1])
        && (constant || within(i.src[2], i.src_dwords[2]))
}

pub(super) fn execute(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let Some(shape) = Shape::of(i.opcode) else { return x.unsupported(i) };
    *x.state.matrix.entry(shape).or_default() += 1;
    let sum = Sum::choose(x.state.approximation_seed, i.architecture, shape.element);
    let flushes = i.architecture == Architecture::Gfx90a && shape.element != Element::F32;
    let wave = &mut *x.wave;
    let (a, known_a) = factors(wave, shape, (i.src[0], i.src_dwords[0]), flushes);
    let (b, known_b) = factors(wave, shape, (i.src[1], i.src_dwords[1]), flushes);
    let mut c = [Vector([0; 64]); 32];
    let mut known_c = [u64::MAX; 32];
    let registers = shape.registers();
    match vector_index(i.src[2]) {
        Some(at) => {
            c[..registers].copy_from_slice(&wave.vectors[at..at + registers]);
            known_c[..registers].copy_from_slice(&wave.defined[at..at + registers]);
        }
        None => c[..registers].fill(Vector([wave.scalar(i, i.src[2]).0; 64])),
    }
    let c = &mut c[..registers];
    sum::multiply(shape, sum, flushes, &a, &b, c);
    let Some(at) = vector_index(i.dst) else { return x.unsupported(i) };
    wave.vectors[at..at + registers].copy_from_slice(c);
    for (register, &known) in known_c[..registers].iter().enumerate() {
        wave.defined[at + register] = if known_a & known_b == u64::MAX {
            known
        } else {
            known & known_products(shape, register, known_a, known_b)
        };
    }
    Flow::Next
}

/// The factors in A or B, by block, k, and row or column; and the lanes in which all are defined.
fn factors(
    wave: &Wave,
    shape: Shape,
    (operand, dwords): (Operand, u8),
    flushes: bool,
) -> (Factors, u64) {
    let mut out = Factors::new();
    let mut known = u64::MAX;
    let Some(first) = vector_index(operand) else { return (out, 0) };
    let (m, registers) = (shape.m, usize::from(dwords));
    let halves = if shape.element == Element::F32 { 1 } else { 2 };
    for register in 0..registers {
        known &= wave.defined[first + register];
        let words = &wave.vectors[first + register].0;
        for half in 0..halves {
            let values = sum::convert(words, half, shape.element, flushes);
            for group in 0..64 / m {
                let k = halves * (registers * group + register) + half;
                out.values[k * m..][..m].copy_from_slice(&values[group * m..][..m]);
            }
        }
    }
    (out, known)
}

/// The lanes of a register of D whose row of A and column of B are defined.
#[cold]
fn known_products(shape: Shape, register: usize, known_a: u64, known_b: u64) -> u64 {
    let Shape { m, .. } = shape;
    let groups = shape.groups();
    let all = |known: u64, block: usize, index: usize| {
        (block * groups..(block + 1) * groups).all(|group| known >> (group * m + index) & 1 == 1)
    };
    let mut out = 0;
    for lane in 0..64 {
        let (block, row) = shape.rows(register / 4, lane / m);
        let known = all(known_a, block, row + register % 4) && all(known_b, block, lane % m);
        out |= u64::from(known) << lane;
    }
    out
}
