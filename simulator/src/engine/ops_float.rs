//! Floating point arithmetic rounded to nearest even (PTX ISA, "Floating Point Instructions").

use super::instruction::operations;

/// Results that are NaN are this one.
pub(super) const NAN32: f32 = f32::from_bits(0x7FFF_FFFF);
pub(super) const NAN64: f64 = f64::from_bits(0x7FF8_0000_0000_0000);

// By bits: to the optimiser one NaN is as good as another.
#[inline(always)]
pub(super) fn canonical(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & !(1 << 31) > 0x7F80_0000 { NAN32.to_bits() } else { bits })
}

#[inline(always)]
pub(super) fn canonical64(value: f64) -> f64 {
    let bits = value.to_bits();
    f64::from_bits(if bits & !(1 << 63) > 0x7FF << 52 { NAN64.to_bits() } else { bits })
}

operations! {
    Binary AddF32 [A: f32, B: f32] -> f32 { |a, b| canonical(a + b) }
    Binary SubF32 [A: f32, B: f32] -> f32 { |a, b| canonical(a - b) }
    Binary MulF32 [A: f32, B: f32] -> f32 { |a, b| canonical(a * b) }
    Binary DivF32 [A: f32, B: f32] -> f32 { |a, b| canonical(a / b) }
    Ternary FmaF32 [A: f32, B: f32, C: f32] -> f32 { |a, b, c| canonical(a.mul_add(b, c)) }
    Unary SqrtF32 [A: f32] -> f32 { |a| canonical(a.sqrt()) }
    Unary RcpF32 [A: f32] -> f32 { |a| canonical(1.0 / a) }
    Unary AbsF32 [A: f32] -> f32 { |a| a.abs() }
    Unary NegF32 [A: f32] -> f32 { |a| -a }
    Binary MinF32 [A: f32, B: f32] -> f32 { |a, b| minimum(a, b) }
    Binary MaxF32 [A: f32, B: f32] -> f32 { |a, b| maximum(a, b) }
    Binary MinNanF32 [A: f32, B: f32] -> f32 { |a, b| if a.is_nan() | b.is_nan() { NAN32 } else { minimum(a, b) } }
    Binary MaxNanF32 [A: f32, B: f32] -> f32 { |a, b| if a.is_nan() | b.is_nan() { NAN32 } else { maximum(a, b) } }
    Unary SaturateF32 [A: f32] -> f32 { |a| if a > 0.0 { a.min(1.0) } else { 0.0 } }
    Unary FlushF32 [A: f32] -> f32 { |a| if a.is_subnormal() { f32::from_bits(a.to_bits() & 1 << 31) } else { a } }
    Binary CopySignF32 [A: f32, B: f32] -> f32 { |a, b| b.copysign(a) }
    Binary AddF64 [A: f64, B: f64] -> f64 { |a, b| canonical64(a + b) }
    Binary SubF64 [A: f64, B: f64] -> f64 { |a, b| canonical64(a - b) }
    Binary MulF64 [A: f64, B: f64] -> f64 { |a, b| canonical64(a * b) }
    Binary DivF64 [A: f64, B: f64] -> f64 { |a, b| canonical64(a / b) }
    Ternary FmaF64 [A: f64, B: f64, C: f64] -> f64 { |a, b, c| canonical64(a.mul_add(b, c)) }
    Unary SqrtF64 [A: f64] -> f64 { |a| canonical64(a.sqrt()) }
    Unary RcpF64 [A: f64] -> f64 { |a| canonical64(1.0 / a) }
    // `rsqrt.approx.f64` is a long emulation on devices; here within an ulp.
    Unary RsqrtF64 [A: f64] -> f64 { |a| canonical64(1.0 / a.sqrt()) }
    Unary AbsF64 [A: f64] -> f64 { |a| a.abs() }
    Unary NegF64 [A: f64] -> f64 { |a| -a }
    Binary MinF64 [A: f64, B: f64] -> f64 { |a, b| minimum64(a, b) }
    Binary MaxF64 [A: f64, B: f64] -> f64 { |a, b| maximum64(a, b) }
    Binary CopySignF64 [A: f64, B: f64] -> f64 { |a, b| b.copysign(a) }
    Unary AbsHalf [A: u16] -> u16 { |a| a & 0x7FFF }
    Unary NegHalf [A: u16] -> u16 { |a| a ^ 0x8000 }
    Unary AbsHalves [A: u32] -> u32 { |a| a & 0x7FFF_7FFF }
    Unary NegHalves [A: u32] -> u32 { |a| a ^ 0x8000_8000 }
}

/// -0 is below +0; a number wins over NaN.
#[inline(always)]
fn minimum(a: f32, b: f32) -> f32 {
    let tie = f32::from_bits(a.to_bits() | b.to_bits());
    let least = if a < b {
        a
    } else if b < a {
        b
    } else {
        tie
    };
    if a.is_nan() {
        canonical(b)
    } else if b.is_nan() {
        a
    } else {
        least
    }
}

#[inline(always)]
fn maximum(a: f32, b: f32) -> f32 {
    let tie = f32::from_bits(a.to_bits() & b.to_bits());
    let most = if a > b {
        a
    } else if b > a {
        b
    } else {
        tie
    };
    if a.is_nan() {
        canonical(b)
    } else if b.is_nan() {
        a
    } else {
        most
    }
}

fn minimum64(a: f64, b: f64) -> f64 {
    let tie = f64::from_bits(a.to_bits() | b.to_bits());
    let least = if a < b {
        a
    } else if b < a {
        b
    } else {
        tie
    };
    if a.is_nan() {
        canonical64(b)
    } else if b.is_nan() {
        a
    } else {
        least
    }
}

fn maximum64(a: f64, b: f64) -> f64 {
    let tie = f64::from_bits(a.to_bits() & b.to_bits());
    let most = if a > b {
        a
    } else if b > a {
        b
    } else {
        tie
    };
    if a.is_nan() {
        canonical64(b)
    } else if b.is_nan() {
        a
    } else {
        most
    }
}
