//! Numbers of 32 bits. Subnormals are kept, results round to nearest even, and NaNs are quiet, as the
//! kernels' descriptors ask for (`object.rs`); which NaN a result is, is not modelled.

use super::super::instruction::Instruction;
use super::super::opcodes::Opcode::*;
use super::super::operands::{mask, source, write, write_mask};
use super::super::wave::Wave;
use super::{accumulate, binary, ternary, unary};
use crate::engine::perturbed;

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction, seed: u64) -> bool {
    let clamp = i.clamp;
    let f = f32::from_bits;
    let out = |value: f32| if clamp { clamped(value) } else { value }.to_bits();
    match i.opcode {
        v_add_f32 => binary(wave, i, |a, b| out(f(a) + f(b))),
        v_sub_f32 => binary(wave, i, |a, b| out(f(a) - f(b))),
        v_subrev_f32 => binary(wave, i, |a, b| out(f(b) - f(a))),
        v_mul_f32 => binary(wave, i, |a, b| out(f(a) * f(b))),
        v_min_f32 => binary(wave, i, |a, b| out(f(min(a, b)))),
        v_max_f32 => binary(wave, i, |a, b| out(f(max(a, b)))),
        v_fmac_f32 => accumulate(wave, i, |a, b, c| out(f(a).mul_add(f(b), f(c)))),
        v_fma_f32 | v_fmamk_f32 | v_fmaak_f32 => {
            ternary(wave, i, |a, b, c| out(f(a).mul_add(f(b), f(c))))
        }
        v_mac_f32 => accumulate(wave, i, |a, b, c| out(multiply_add(f(a), f(b), f(c)))),
        v_mad_f32 | v_madmk_f32 | v_madak_f32 => {
            ternary(wave, i, |a, b, c| out(multiply_add(f(a), f(b), f(c))))
        }
        v_min3_f32 => ternary(wave, i, |a, b, c| out(f(min(min(a, b), c)))),
        v_max3_f32 => ternary(wave, i, |a, b, c| out(f(max(max(a, b), c)))),
        v_med3_f32 => ternary(wave, i, |a, b, c| out(f(median(a, b, c)))),
        v_trunc_f32 => unary(wave, i, |a| out(quiet(f(a)).trunc())),
        v_ceil_f32 => unary(wave, i, |a| out(quiet(f(a)).ceil())),
        v_floor_f32 => unary(wave, i, |a| out(quiet(f(a)).floor())),
        v_rndne_f32 => unary(wave, i, |a| out(quiet(f(a)).round_ties_even())),
        v_fract_f32 => unary(wave, i, |a| {
            let below_one = f32::from_bits(0x3F7F_FFFF);
            let fraction = f(a) - f(a).floor();
            out(if fraction > below_one { below_one } else { fraction })
        }),
        // 1 ulp (CDNA3 ISA, 12.7 "VOP1 Instructions"; LLVM's expansion of division and roots relies on
        // no more, and on nothing where operand or result is subnormal).
        v_rcp_f32 | v_rcp_iflag_f32 => approximate(wave, i, seed, 1, |a| 1.0 / a),
        v_rsq_f32 => approximate(wave, i, seed, 2, |a| 1.0 / a.sqrt()),
        v_sqrt_f32 => approximate(wave, i, seed, 3, f64::sqrt),
        v_exp_f32 => approximate(wave, i, seed, 4, f64::exp2),
        v_log_f32 => approximate(wave, i, seed, 5, f64::log2),
        v_ldexp_f32 => binary(wave, i, |a, b| {
            // Exact in f64: 2^-400 of any f32 is 0 there too after rounding.
            let power = (b as i32).clamp(-400, 400);
            out((f64::from(quiet(f(a))) * 2f64.powi(power)) as f32)
        }),
        v_frexp_mant_f32 => unary(wave, i, |a| out(mantissa(f(a)))),
        v_frexp_exp_i32_f32 => unary(wave, i, |a| exponent(f(a)) as u32),
        v_div_scale_f32 => divide_scale(wave, i),
        v_div_fmas_f32 => divide_fma(wave, i),
        v_div_fixup_f32 => ternary(wave, i, |a, b, c| out(divide_fixup(f(a), f(b), f(c)))),
        _ => false,
    }
}

/// To 0..=1; NaN to 0 (DX10_CLAMP).
pub(super) fn clamped(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

const QUIET: u32 = 1 << 22;

fn is_nan(a: u32) -> bool {
    a & 0x7FFF_FFFF > 0x7F80_0000
}

fn quiet(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(value.to_bits() | QUIET) } else { value }
}

/// A number beats a quiet NaN; a signaling NaN beats a number (IEEE 754-2008, minNum).
#[inline(always)]
fn choose(a: u32, b: u32, first: bool) -> u32 {
    let signaling = |x: u32| is_nan(x) && x & QUIET == 0;
    if signaling(a) {
        a | QUIET
    } else if signaling(b) {
        b | QUIET
    } else if is_nan(a) {
        b
    } else if is_nan(b) || first {
        a
    } else {
        b
    }
}

/// Orders numbers, -0 before +0.
fn key(a: u32) -> i32 {
    let a = a as i32;
    a ^ ((a >> 31) as u32 >> 1) as i32
}

#[inline(always)]
pub(super) fn min(a: u32, b: u32) -> u32 {
    choose(a, b, key(a) < key(b))
}

#[inline(always)]
pub(super) fn max(a: u32, b: u32) -> u32 {
    choose(a, b, key(a) >= key(b))
}

/// Of a NaN and two numbers, the least number.
fn median(a: u32, b: u32, c: u32) -> u32 {
    if is_nan(a) || is_nan(b) || is_nan(c) {
        return min(min(a, b), c);
    }
    max(min(a, b), min(max(a, b), c))
}

/// `v_mad_f32`: two roundings, subnormals are zero.
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    flush(flush(flush(a) * flush(b)) + flush(c))
}

/// A result within 1 ulp. Where the operand or the result is subnormal the instruction may flush it:
/// the seed decides.
#[inline(always)]
fn approximate(
    wave: &mut Wave,
    i: &Instruction,
    seed: u64,
    number: u64,
    exact: impl Fn(f64) -> f64,
) -> bool {
    let flushes = seed >> number & 1 == 1;
    let flush = |x: f32| if flushes && x.is_subnormal() { 0f32.copysign(x) } else { x };
    let clamp = i.clamp;
    unary(wave, i, |a| {
        let input = flush(f32::from_bits(a));
        let result = quiet(flush(perturbed(exact(input.into()), 1.0, seed, number, a.into())));
        if clamp { clamped(result) } else { result }.to_bits()
    })
}

fn mantissa(value: f32) -> f32 {
    if value == 0.0 || !value.is_finite() {
        return quiet(value);
    }
    (f64::from(value) * 2f64.powi(-exponent(value))) as f32
}

/// The exponent of a mantissa in 0.5..1; 0 of what has none.
fn exponent(value: f32) -> i32 {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    let bits = f64::from(value).to_bits();
    (bits >> 52 & 0x7FF) as i32 - 1022
}

/// The exponent as it is stored.
fn stored_exponent(value: f32) -> i32 {
    (value.to_bits() >> 23 & 0xFF) as i32
}

/// CDNA3 ISA, V_DIV_SCALE_F32: the first source, which is one of the others, scaled so that no step
/// of the division leaves the range, and whether the quotient must be scaled back. Where reciprocal
/// and quotient would be subnormal the denominator is huge, so it is scaled down.
fn scale(value: f32, denominator: f32, numerator: f32) -> (f32, bool) {
    let times = |x: f32, power: i32| (f64::from(x) * 2f64.powi(power)) as f32;
    if numerator == 0.0 || denominator == 0.0 {
        return (f32::NAN, false);
    }
    let is_denominator = value == denominator;
    let tiny = |x: f64| x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE);
    let reciprocal = 1.0 / f64::from(denominator);
    let quotient = f64::from(numerator) / f64::from(denominator);
    if stored_exponent(numerator) - stored_exponent(denominator) >= 96 {
        (if is_denominator { times(value, 64) } else { value }, true)
    } else if denominator.is_subnormal() {
        (times(value, 64), false)
    } else if tiny(reciprocal) && tiny(quotient) {
        (if is_denominator { times(value, -64) } else { value }, true)
    } else if tiny(reciprocal) {
        (times(value, -64), false)
    } else if tiny(quotient) {
        (if value == numerator { times(value, 64) } else { value }, true)
    } else if stored_exponent(numerator) <= 23 {
        (times(value, 64), false)
    } else {
        (value, false)
    }
}

#[inline(never)]
fn divide_scale(wave: &mut Wave, i: &Instruction) -> bool {
    let mut buffers = [[0; 64]; 3];
    let [first, second, third] = &mut buffers;
    let (a, known_a) = source(wave, i, 0, first);
    let (b, known_b) = source(wave, i, 1, second);
    let (c, known_c) = source(wave, i, 2, third);
    let (mut out, mut flags) = ([0; 64], 0u64);
    for lane in 0..64 {
        let f = f32::from_bits;
        let (value, scaled) = scale(f(a[lane]), f(b[lane]), f(c[lane]));
        out[lane] = value.to_bits();
        flags |= u64::from(scaled) << lane;
    }
    let defined = known_a & known_b & known_c;
    write(wave, i, &out, defined);
    write_mask(wave, i.sdst, flags, defined);
    true
}

/// CDNA3 ISA, V_DIV_FMAS_F32: a fused multiply-add, scaled by 2^64 or 2^-64 in the lanes that VCC
/// names, rounded once.
#[inline(never)]
fn divide_fma(wave: &mut Wave, i: &Instruction) -> bool {
    let (bits, known) = mask(wave, i, super::super::instruction::VCC);
    let mut buffers = [[0; 64]; 3];
    let [first, second, third] = &mut buffers;
    let (a, known_a) = source(wave, i, 0, first);
    let (b, known_b) = source(wave, i, 1, second);
    let (c, known_c) = source(wave, i, 2, third);
    let mut out = [0; 64];
    for lane in 0..64 {
        let f = f32::from_bits;
        let (a, b, c) = (f(a[lane]), f(b[lane]), f(c[lane]));
        let power = if stored_exponent(c) > 127 { 64 } else { -64 };
        let value = if bits >> lane & 1 == 1 {
            (fused_odd(a, b, c) * 2f64.powi(power)) as f32
        } else {
            a.mul_add(b, c)
        };
        out[lane] = value.to_bits();
    }
    write(wave, i, &out, known & known_a & known_b & known_c);
    true
}

/// `a * b + c` in f64, its last bit set if it is not exact: rounding it again to f32 rounds once.
fn fused_odd(a: f32, b: f32, c: f32) -> f64 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    if error == 0.0 || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // Towards the exact value, which lies between two neighbours; the one with an odd last bit.
    if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() + 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    }
}

/// CDNA3 ISA, V_DIV_FIXUP_F32: the special cases of a quotient. A quotient that is no finite number
/// here has overflowed on the way.
fn divide_fixup(quotient: f32, denominator: f32, numerator: f32) -> f32 {
    let negative = denominator.is_sign_negative() != numerator.is_sign_negative();
    let signed = |value: f32| if negative { -value } else { value };
    if numerator.is_nan() {
        quiet(numerator)
    } else if denominator.is_nan() {
        quiet(denominator)
    } else if denominator == 0.0 && numerator == 0.0
        || denominator.is_infinite() && numerator.is_infinite()
    {
        f32::from_bits(0xFFC0_0000)
    } else if denominator == 0.0 || numerator.is_infinite() {
        signed(f32::INFINITY)
    } else if denominator.is_infinite()
        || numerator == 0.0
        || stored_exponent(numerator) - stored_exponent(denominator) < -150
    {
        signed(0.0)
    } else if !quotient.is_finite() {
        signed(f32::INFINITY)
    } else {
        signed(quotient.abs())
    }
}
