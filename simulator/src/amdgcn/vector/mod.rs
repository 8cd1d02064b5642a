//! Vector instructions (CDNA3 ISA, 12.5 to 12.11).
//!
//! Every function here is inlined into the loop of `execute`, which is compiled for more than one
//! set of the host's instructions.

mod compare;
mod convert;
mod float;
mod half;
mod integer;
mod lanes;
mod packed;
mod wide;

use super::execute::{Execution, Flow};
use super::instruction::{Form, Instruction};
use super::opcodes::Opcode;
use super::operands::{prepare_dpp, source, write};
use super::wave::Wave;

#[inline(always)]
pub(super) fn execute(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let wave = &mut *x.wave;
    wave.enabled = wave.exec();
    if let Form::Dpp(dpp) = &i.form {
        prepare_dpp(wave, i, dpp);
    }
    let done = integer::execute(wave, i)
        || float::execute(wave, i, x.state.approximation_seed)
        || packed::execute(wave, i)
        || wide::execute(wave, i)
        || convert::execute(wave, i)
        || half::execute(wave, i)
        || lanes::execute(wave, i);
    if done {
        return Flow::Next;
    }
    if i.opcode == Opcode::v_cmp {
        return compare::execute(x, i);
    }
    x.unsupported(i)
}

/// A result of one source, by lane.
#[inline(always)]
fn unary(wave: &mut Wave, i: &Instruction, f: impl Fn(u32) -> u32) -> bool {
    let mut buffer = [0; 64];
    let (a, defined) = source(wave, i, 0, &mut buffer);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = f(a[lane]);
    }
    write(wave, i, &out, defined);
    true
}

/// A result of two sources, by lane.
#[inline(always)]
fn binary(wave: &mut Wave, i: &Instruction, f: impl Fn(u32, u32) -> u32) -> bool {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = f(a[lane], b[lane]);
    }
    write(wave, i, &out, known_a & known_b);
    true
}

/// A result of three sources, by lane.
#[inline(always)]
fn ternary(wave: &mut Wave, i: &Instruction, f: impl Fn(u32, u32, u32) -> u32) -> bool {
    let (mut first, mut second, mut third) = ([0; 64], [0; 64], [0; 64]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let (c, known_c) = source(wave, i, 2, &mut third);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = f(a[lane], b[lane], c[lane]);
    }
    write(wave, i, &out, known_a & known_b & known_c);
    true
}

/// A result of two sources and the destination, by lane.
#[inline(always)]
fn accumulate(wave: &mut Wave, i: &Instruction, f: impl Fn(u32, u32, u32) -> u32) -> bool {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let at = usize::from(i.dst - super::instruction::VECTOR);
    let (old, known) = (wave.vectors[at].0, wave.defined[at]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = f(a[lane], b[lane], old[lane]);
    }
    write(wave, i, &out, known & known_a & known_b);
    true
}
