//! Comparisons: a mask with a bit for each active lane, 0 for the others.

use super::super::execute::{Execution, Flow};
use super::super::instruction::{EXEC, Instruction, Type};
use super::super::operands::{source, source64, write_mask};
use super::super::wave::Wave;
use crate::report::Kind;

/// The lanes where the condition holds, and those where that is defined.
type Truth = (u64, u64);

#[inline(always)]
pub(super) fn execute(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let Some(comparison) = i.comparison() else { return x.unsupported(i) };
    let wave = &*x.wave;
    let condition = comparison.condition;
    let f = f32::from_bits;
    let h = |a: u32| half::f16::from_bits(a as u16).to_f32();
    let s = |a: u32| i64::from(a as i32);
    let (bits, defined) = match comparison.ty {
        Type::F32 => floats(wave, i, condition, f),
        Type::F16 => floats(wave, i, condition, h),
        Type::I32 => integers(wave, i, condition, s),
        Type::U32 => integers(wave, i, condition, i64::from),
        Type::I16 => integers(wave, i, condition, |a| i64::from(a as u16 as i16)),
        Type::U16 => integers(wave, i, condition, |a| i64::from(a as u16)),
        Type::I64 => wide(wave, i, condition, |a| a ^ 1 << 63),
        Type::U64 => wide(wave, i, condition, |a| a),
        Type::ClassF32 => pairs(wave, i, |a, b| b >> class32(a) & 1 == 1),
        Type::ClassF16 => pairs(wave, i, |a, b| b >> class16(a as u16) & 1 == 1),
    };
    write_mask(x.wave, i.sdst, bits, defined);
    if comparison.exec {
        let exec = x.wave.exec();
        if exec & !defined != 0 {
            x.note(Kind::Uninitialized, None, "EXEC gets bits that were never written".into());
        }
        x.wave.set_scalar64(EXEC, bits & exec, 0);
    }
    Flow::Next
}

#[inline(always)]
fn pairs(wave: &Wave, i: &Instruction, holds: impl Fn(u32, u32) -> bool) -> Truth {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let mut bits = 0u64;
    for lane in 0..64 {
        bits |= u64::from(holds(a[lane], b[lane])) << lane;
    }
    (bits, known_a & known_b)
}

/// CDNA3 ISA, 12.9: conditions 8 to 15 are the negations of the first eight, so that NaN holds.
#[inline(always)]
fn floats(wave: &Wave, i: &Instruction, condition: u8, value: impl Fn(u32) -> f32) -> Truth {
    let base = if condition < 8 { condition } else { 15 - condition };
    let (bits, defined) = match base {
        0 => pairs(wave, i, |_, _| false),
        1 => pairs(wave, i, |a, b| value(a) < value(b)),
        2 => pairs(wave, i, |a, b| value(a) == value(b)),
        3 => pairs(wave, i, |a, b| value(a) <= value(b)),
        4 => pairs(wave, i, |a, b| value(a) > value(b)),
        5 => pairs(wave, i, |a, b| value(a) < value(b) || value(a) > value(b)),
        6 => pairs(wave, i, |a, b| value(a) >= value(b)),
        _ => pairs(wave, i, |a, b| !value(a).is_nan() && !value(b).is_nan()),
    };
    (if condition < 8 { bits } else { !bits }, defined)
}

#[inline(always)]
fn integers(wave: &Wave, i: &Instruction, condition: u8, value: impl Fn(u32) -> i64) -> Truth {
    match condition {
        0 => pairs(wave, i, |_, _| false),
        1 => pairs(wave, i, |a, b| value(a) < value(b)),
        2 => pairs(wave, i, |a, b| value(a) == value(b)),
        3 => pairs(wave, i, |a, b| value(a) <= value(b)),
        4 => pairs(wave, i, |a, b| value(a) > value(b)),
        5 => pairs(wave, i, |a, b| value(a) != value(b)),
        6 => pairs(wave, i, |a, b| value(a) >= value(b)),
        _ => pairs(wave, i, |_, _| true),
    }
}

#[inline(never)]
fn wide(wave: &Wave, i: &Instruction, condition: u8, value: fn(u64) -> u64) -> Truth {
    let (a, known_a) = source64(wave, i, 0);
    let (b, known_b) = source64(wave, i, 1);
    let mut bits = 0u64;
    for lane in 0..64 {
        let (a, b) = (value(a[lane]), value(b[lane]));
        let holds = match condition {
            0 => false,
            1 => a < b,
            2 => a == b,
            3 => a <= b,
            4 => a > b,
            5 => a != b,
            6 => a >= b,
            _ => true,
        };
        bits |= u64::from(holds) << lane;
    }
    (bits, known_a & known_b)
}

/// CDNA3 ISA, V_CMP_CLASS_F32: which bit of the second source a number asks for.
fn class(
    nan: bool,
    quiet: bool,
    infinite: bool,
    subnormal: bool,
    zero: bool,
    negative: bool,
) -> u32 {
    let of_sign = |minus: u32, plus: u32| if negative { minus } else { plus };
    match () {
        () if nan => u32::from(quiet),
        () if infinite => of_sign(2, 9),
        () if zero => of_sign(5, 6),
        () if subnormal => of_sign(4, 7),
        () => of_sign(3, 8),
    }
}

fn class32(bits: u32) -> u32 {
    let x = f32::from_bits(bits);
    let quiet = bits >> 22 & 1 == 1;
    class(x.is_nan(), quiet, x.is_infinite(), x.is_subnormal(), x == 0.0, bits >> 31 == 1)
}

fn class16(bits: u16) -> u32 {
    let (exponent, fraction) = (bits >> 10 & 31, bits & 0x3FF);
    let special = exponent == 31;
    let (nan, infinite) = (special && fraction != 0, special && fraction == 0);
    let (zero, subnormal) = (exponent == 0 && fraction == 0, exponent == 0 && fraction != 0);
    class(nan, fraction >> 9 == 1, infinite, subnormal, zero, bits >> 15 == 1)
}
