//! Numbers of 16 bits. A result leaves zeros above it (gfx9), but for those of `v_fma_f16`.
//!
//! Sums and products of f16 are exact or correctly rounded to f32's 24 bits, which are more than
//! twice the 11 of f16 and two: rounding once more to f16 is as rounding once.

use half::f16;

use super::super::instruction::{Instruction, VECTOR};
use super::super::opcodes::Opcode::*;
use super::super::wave::Wave;
use super::float;
use super::{binary, ternary, unary};

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    let clamp = i.clamp;
    let h = |a: u32| f16::from_bits(a as u16).to_f32();
    let out = |value: f32| {
        let value = if clamp { float::clamped(value) } else { value };
        u32::from(f16::from_f32(value).to_bits())
    };
    match i.opcode {
        v_add_f16 => binary(wave, i, |a, b| out(h(a) + h(b))),
        v_sub_f16 => binary(wave, i, |a, b| out(h(a) - h(b))),
        v_subrev_f16 => binary(wave, i, |a, b| out(h(b) - h(a))),
        v_mul_f16 => binary(wave, i, |a, b| out(h(a) * h(b))),
        v_min_f16 => binary(wave, i, |a, b| out(minimum(h(a), h(b)))),
        v_max_f16 => binary(wave, i, |a, b| out(maximum(h(a), h(b)))),
        v_trunc_f16 => unary(wave, i, |a| out(h(a).trunc())),
        v_ceil_f16 => unary(wave, i, |a| out(h(a).ceil())),
        v_floor_f16 => unary(wave, i, |a| out(h(a).floor())),
        v_rndne_f16 => unary(wave, i, |a| out(h(a).round_ties_even())),
        v_fract_f16 => unary(wave, i, |a| {
            let below_one = f16::from_bits(0x3BFF).to_f32();
            out((h(a) - h(a).floor()).min(below_one))
        }),
        v_fma_f16 => fused(wave, i),
        _ => false,
    }
}

pub(super) fn minimum(a: f32, b: f32) -> f32 {
    f32::from_bits(float::min(a.to_bits(), b.to_bits()))
}

pub(super) fn maximum(a: f32, b: f32) -> f32 {
    f32::from_bits(float::max(a.to_bits(), b.to_bits()))
}

/// `a * b + c`, rounded once: the product is exact in f64, and so is the sum but for a term so small
/// that it only tells on which side of a tie the rest lies, which its sign keeps.
pub(super) fn fused_multiply_add(a: f32, b: f32, c: f32) -> u16 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    let mut bits = sum.to_bits();
    if error != 0.0 && sum.is_finite() && bits & 1 == 0 {
        bits = if (error > 0.0) == (sum > 0.0) { bits + 1 } else { bits - 1 };
    }
    round_f64(f64::from_bits(bits))
}

/// To nearest even. Through f32 with its last bit set where that is not exact, which no tie of f16
/// has.
fn round_f64(value: f64) -> u16 {
    let near = value as f32;
    let exact = f64::from(near) == value || value.is_nan() || near.is_infinite();
    let bits = near.to_bits();
    let odd = if exact || bits & 1 == 1 {
        bits
    } else if f64::from(near).abs() < value.abs() {
        bits + 1
    } else {
        bits - 1
    };
    f16::from_f32(f32::from_bits(odd)).to_bits()
}

/// Keeps the other half of the register.
#[inline(never)]
fn fused(wave: &mut Wave, i: &Instruction) -> bool {
    let at = usize::from(i.dst - VECTOR) % 512;
    let old = wave.vectors[at].0;
    let high = i.op_sel & 8 != 0;
    let h = |a: u32| f16::from_bits(a as u16).to_f32();
    let clamp = i.clamp;
    ternary(wave, i, |a, b, c| {
        let bits = fused_multiply_add(h(a), h(b), h(c));
        let value = f16::from_bits(bits).to_f32();
        if clamp { f16::from_f32(float::clamped(value)).to_bits() } else { bits }.into()
    });
    if !high {
        let enabled = wave.enabled;
        let register = &mut wave.vectors[at].0;
        for lane in (0..64).filter(|lane| enabled >> lane & 1 == 1) {
            register[lane] = register[lane] & 0xFFFF | old[lane] & 0xFFFF_0000;
        }
    }
    true
}
