//! 16-bit floating point. Sums and products of two are exact enough in f32 that the second rounding
//! changes nothing (24 >= 2 * 11 + 2); fused ones are rounded to odd in f64 first.

use super::instruction::operations;
use half::{bf16, f16};

/// A 16-bit format.
pub(super) trait Half {
    fn widen(bits: u16) -> f32;
    /// Rounded to nearest even; NaN becomes 0x7FFF.
    fn narrow(value: f32) -> u16;
    fn narrow64(value: f64) -> u16;
}

pub(super) struct F16;
pub(super) struct Bf16;

impl Half for F16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        // The bits of a normal number, with the exponent moved; subnormals by an exact product.
        let magnitude = u32::from(bits & 0x7FFF) << 13;
        let value = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23);
        let special = u32::from(bits & 0x7FFF) >= 0x7C00;
        let bits32 = if special { magnitude | 0xFF << 23 } else { value.to_bits() };
        f32::from_bits(bits32 | u32::from(bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        if value.is_nan() { 0x7FFF } else { f16::from_f32(value).to_bits() }
    }

    fn narrow64(value: f64) -> u16 {
        if value.is_nan() { 0x7FFF } else { f16::from_f64(value).to_bits() }
    }
}

impl Half for Bf16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        if value.is_nan() { 0x7FFF } else { rounded as u16 }
    }

    fn narrow64(value: f64) -> u16 {
        if value.is_nan() { 0x7FFF } else { bf16::from_f64(value).to_bits() }
    }
}

/// `a * b + c` with the last bit of an inexact result set, so that a later rounding is right.
fn fused(a: f32, b: f32, c: f32) -> f64 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    // The error of the sum, exactly (Knuth's two-sum).
    let part = sum - product;
    let error = (product - (sum - part)) + (c - part);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

pub(super) fn fma<H: Half>(a: u16, b: u16, c: u16) -> u16 {
    H::narrow64(fused(H::widen(a), H::widen(b), H::widen(c)))
}

fn pair(a: u32, b: u32, each: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(each(a as u16, b as u16)) | u32::from(each((a >> 16) as u16, (b >> 16) as u16)) << 16
}

fn triple(a: u32, b: u32, c: u32, each: impl Fn(u16, u16, u16) -> u16) -> u32 {
    u32::from(each(a as u16, b as u16, c as u16))
        | u32::from(each((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16)) << 16
}

#[inline(always)]
fn add<H: Half>(a: u16, b: u16) -> u16 {
    H::narrow(H::widen(a) + H::widen(b))
}

#[inline(always)]
fn sub<H: Half>(a: u16, b: u16) -> u16 {
    H::narrow(H::widen(a) - H::widen(b))
}

#[inline(always)]
fn mul<H: Half>(a: u16, b: u16) -> u16 {
    H::narrow(H::widen(a) * H::widen(b))
}

fn least<H: Half>(a: u16, b: u16, nan: bool) -> u16 {
    let (x, y) = (H::widen(a), H::widen(b));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => 0x7FFF,
        (true, _) | (_, true) if nan => 0x7FFF,
        (true, false) => b,
        (false, true) => a,
        _ if x < y => a,
        _ if y < x => b,
        _ => a | b,
    }
}

fn most<H: Half>(a: u16, b: u16, nan: bool) -> u16 {
    let (x, y) = (H::widen(a), H::widen(b));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => 0x7FFF,
        (true, _) | (_, true) if nan => 0x7FFF,
        (true, false) => b,
        (false, true) => a,
        _ if x > y => a,
        _ if y > x => b,
        _ => a & b,
    }
}

macro_rules! half {
    ($($format:ident: $($add:ident $sub:ident $mul:ident $fma:ident $relu:ident $min:ident $max:ident $min_nan:ident $max_nan:ident)*;)*) => {
        operations! {$($(
            Binary $add [A: u16, B: u16] -> u16 { |a, b| add::<$format>(a, b) }
            Binary $sub [A: u16, B: u16] -> u16 { |a, b| sub::<$format>(a, b) }
            Binary $mul [A: u16, B: u16] -> u16 { |a, b| mul::<$format>(a, b) }
            Ternary $fma [A: u16, B: u16, C: u16] -> u16 { |a, b, c| fma::<$format>(a, b, c) }
            Unary $relu [A: u16] -> u16 { |a| most::<$format>(a, 0, true) }
            Binary $min [A: u16, B: u16] -> u16 { |a, b| least::<$format>(a, b, false) }
            Binary $max [A: u16, B: u16] -> u16 { |a, b| most::<$format>(a, b, false) }
            Binary $min_nan [A: u16, B: u16] -> u16 { |a, b| least::<$format>(a, b, true) }
            Binary $max_nan [A: u16, B: u16] -> u16 { |a, b| most::<$format>(a, b, true) }
        )*)*}
    };
}

half! {
    F16: AddF16 SubF16 MulF16 FmaF16 ReluF16 MinF16 MaxF16 MinNanF16 MaxNanF16;
    Bf16: AddBf16 SubBf16 MulBf16 FmaBf16 ReluBf16 MinBf16 MaxBf16 MinNanBf16 MaxNanBf16;
}

macro_rules! halves {
    ($($format:ident: $($add:ident $sub:ident $mul:ident $fma:ident $relu:ident $min:ident $max:ident $min_nan:ident $max_nan:ident)*;)*) => {
        operations! {$($(
            Binary $add [A: u32, B: u32] -> u32 { |a, b| pair(a, b, add::<$format>) }
            Binary $sub [A: u32, B: u32] -> u32 { |a, b| pair(a, b, sub::<$format>) }
            Binary $mul [A: u32, B: u32] -> u32 { |a, b| pair(a, b, mul::<$format>) }
            Ternary $fma [A: u32, B: u32, C: u32] -> u32 { |a, b, c| triple(a, b, c, fma::<$format>) }
            Unary $relu [A: u32] -> u32 { |a| pair(a, 0, |a, b| most::<$format>(a, b, true)) }
            Binary $min [A: u32, B: u32] -> u32 { |a, b| pair(a, b, |a, b| least::<$format>(a, b, false)) }
            Binary $max [A: u32, B: u32] -> u32 { |a, b| pair(a, b, |a, b| most::<$format>(a, b, false)) }
            Binary $min_nan [A: u32, B: u32] -> u32 { |a, b| pair(a, b, |a, b| least::<$format>(a, b, true)) }
            Binary $max_nan [A: u32, B: u32] -> u32 { |a, b| pair(a, b, |a, b| most::<$format>(a, b, true)) }
        )*)*}
    };
}

halves! {
    F16: AddF16x2 SubF16x2 MulF16x2 FmaF16x2 ReluF16x2 MinF16x2 MaxF16x2 MinNanF16x2 MaxNanF16x2;
    Bf16: AddBf16x2 SubBf16x2 MulBf16x2 FmaBf16x2 ReluBf16x2 MinBf16x2 MaxBf16x2 MinNanBf16x2 MaxNanBf16x2;
}

operations! {
    Unary F16ToF32 [A: u16] -> f32 { |a| F16::widen(a) }
    Unary Bf16ToF32 [A: u16] -> f32 { |a| Bf16::widen(a) }
    Unary F32ToF16 [A: f32] -> u16 { |a| F16::narrow(a) }
    Unary F32ToBf16 [A: f32] -> u16 { |a| Bf16::narrow(a) }
    Unary F64ToF16 [A: f64] -> u16 { |a| F16::narrow64(a) }
    Unary F64ToBf16 [A: f64] -> u16 { |a| Bf16::narrow64(a) }
    // The first operand goes to the upper half.
    Binary F32ToF16x2 [A: f32, B: f32] -> u32 { |a, b| u32::from(F16::narrow(a)) << 16 | u32::from(F16::narrow(b)) }
    Binary F32ToBf16x2 [A: f32, B: f32] -> u32 { |a, b| u32::from(Bf16::narrow(a)) << 16 | u32::from(Bf16::narrow(b)) }
}
