//! 16-bit floating point. Sums and products of two are exact enough in f32 that the second rounding
//! changes nothing (24 >= 2 * 11 + 2); fused ones are rounded to odd in f64 first.

use super::instruction::operations;
use half::f16;

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
        Self::narrow(odd(value))
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
        Self::narrow(odd(value))
    }
}

/// `value` in f32, with the last bit of an inexact result set, so that a later rounding to 16 bits
/// is right (`half` drops the lower 32 bits of an f64 before it rounds).
fn odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || nearest.is_nan() {
        return nearest;
    }
    let outside = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(outside)) | 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest value of a format to `(-1)^negative * integer * 2^exponent`, ties to even, found
    /// by search over all its values: independent of any floating-point conversion.
    fn nearest(negative: bool, integer: u128, exponent: i32, fraction_bits: u32) -> u16 {
        let sign = u16::from(negative) << 15;
        let bias = if fraction_bits == 10 { 15 } else { 127 };
        // A finite pattern `p` is `mantissa * 2^place`; patterns grow with their values.
        let infinity = if fraction_bits == 10 { 0x7C00u16 } else { 0x7F80 };
        let at = |pattern: u16| {
            let field = i32::from(pattern >> fraction_bits);
            let hidden = u128::from(field > 0) << fraction_bits;
            let mantissa = hidden | u128::from(pattern & ((1 << fraction_bits) - 1));
            (mantissa, field.max(1) - bias - fraction_bits as i32)
        };
        let compare = |(a, i): (u128, i32), (b, j): (u128, i32)| {
            let bits = |m: u128| 128 - m.leading_zeros() as i32;
            match (a, b) {
                (0, _) | (_, 0) => a.cmp(&b),
                _ if bits(a) + i != bits(b) + j => (bits(a) + i).cmp(&(bits(b) + j)),
                _ => (a << a.leading_zeros()).cmp(&(b << b.leading_zeros())),
            }
        };
        let (mut low, mut high) = (0u16, infinity);
        // The last pattern not above the value.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if compare(at(middle), (integer, exponent)).is_gt() {
                high = middle
            } else {
                low = middle
            }
        }
        let (mantissa, place) = at(low);
        let half_way = (2 * mantissa + 1, place - 1);
        sign | match compare((integer, exponent), half_way) {
            std::cmp::Ordering::Less => low,
            std::cmp::Ordering::Greater => low + 1,
            std::cmp::Ordering::Equal => low + (low & 1),
        }
    }

    /// Sign, integer and exponent of a finite pattern.
    fn parts(pattern: u16, fraction_bits: u32) -> (bool, i128, i32) {
        let field = i32::from(pattern & 0x7FFF) >> fraction_bits;
        let bias = if fraction_bits == 10 { 15 } else { 127 };
        let hidden = i128::from(field > 0) << fraction_bits;
        let mantissa = hidden | i128::from(pattern & ((1 << fraction_bits) - 1));
        (pattern >> 15 == 1, mantissa, field.max(1) - bias - fraction_bits as i32)
    }

    /// `a * b + c` in integers. None where the exponents lie too far apart for 128 bits.
    fn exact(a: u16, b: u16, c: u16, fraction_bits: u32) -> Option<u16> {
        let ((s, a, i), (t, b, j), (u, c, k)) =
            (parts(a, fraction_bits), parts(b, fraction_bits), parts(c, fraction_bits));
        let low = (i + j).min(k);
        if (i + j).max(k) - low > 90 {
            return None;
        }
        let product = (if s != t { -(a * b) } else { a * b }) << (i + j - low);
        let sum = product + ((if u { -c } else { c }) << (k - low));
        // A sum of zeros keeps a common sign.
        let negative = if sum == 0 { a * b == 0 && c == 0 && (s != t) && u } else { sum < 0 };
        Some(nearest(negative, sum.unsigned_abs(), low, fraction_bits))
    }

    fn random() -> impl FnMut() -> u16 {
        let mut state = 1u64;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 47) as u16
        }
    }

    fn fused_is_exact<H: Half>(fraction_bits: u32, infinity: u16) {
        let mut random = random();
        let (mut checked, mut ties) = (0, 0);
        while checked < 300_000 {
            let [a, b, mut c] = [random(), random(), random()];
            // Half of the sums get an addend that decides a tie from far below.
            if checked % 2 == 0 {
                c = c & 0x8000 | c & 0x3F;
                ties += 1;
            }
            if [a, b, c].iter().any(|x| x & 0x7FFF >= infinity) {
                continue;
            }
            let Some(want) = exact(a, b, c, fraction_bits) else { continue };
            let got = fma::<H>(a, b, c);
            assert_eq!(got, want, "{a:04x} * {b:04x} + {c:04x}: {got:04x}, not {want:04x}");
            checked += 1;
        }
        assert!(ties > 1000);
    }

    #[test]
    fn fused_f16_is_exact() {
        fused_is_exact::<F16>(10, 0x7C00);
    }

    #[test]
    fn fused_bf16_is_exact() {
        fused_is_exact::<Bf16>(7, 0x7F80);
    }

    #[test]
    fn a_far_addend_decides_a_tie() {
        // (1 + 2^-5)(1 + 2^-6) = 1 + 2^-5 + 2^-6 + 2^-11, half-way between two values.
        let (a, b) = (f16::from_f32(1.03125).to_bits(), f16::from_f32(1.015625).to_bits());
        let down = fma::<F16>(a, b, 0x8001);
        let up = fma::<F16>(a, b, 0x0001);
        assert_eq!(up, down + 1);
    }

    /// Products and sums of all pairs of a coarse set, and of random pairs.
    #[test]
    fn sums_and_products_are_exact() {
        let mut random = random();
        for _ in 0..300_000 {
            let [a, b] = [random(), random()];
            for (bits, infinity, sum, product) in [
                (10, 0x7C00, add::<F16> as fn(u16, u16) -> u16, mul::<F16> as fn(u16, u16) -> u16),
                (7, 0x7F80, add::<Bf16>, mul::<Bf16>),
            ] {
                if a & 0x7FFF >= infinity || b & 0x7FFF >= infinity {
                    continue;
                }
                let one = if bits == 10 { 0x3C00 } else { 0x3F80 };
                if let Some(want) = exact(a, one, b, bits) {
                    assert_eq!(sum(a, b), want, "{a:04x} + {b:04x}, {bits}");
                }
                // The zero has the product's sign, so that it changes nothing.
                if let Some(want) = exact(a, b, (a ^ b) & 0x8000, bits) {
                    assert_eq!(product(a, b), want, "{a:04x} * {b:04x}, {bits}");
                }
            }
        }
    }

    #[test]
    fn conversions_agree_with_the_formula() {
        for pattern in (0..=u16::MAX).filter(|bits| bits & 0x7FFF < 0x7C00) {
            let (negative, integer, exponent) = parts(pattern, 10);
            let value = integer as f64 * f64::from(exponent).exp2();
            let value = if negative { -value } else { value };
            assert_eq!(F16::widen(pattern).to_bits(), (value as f32).to_bits(), "{pattern:04x}");
            assert_eq!(F16::narrow(value as f32), pattern);
            assert_eq!(F16::narrow64(value), pattern);
        }
        let mut random = random();
        for _ in 0..300_000 {
            let bits = u64::from(random()) << 48 | u64::from(random()) << 32 | u64::from(random());
            // Exponents around those of f16, fractions with far-off last bits.
            let bits = bits & !(0x7FF << 52) | (u64::from(random()) % 46 + 1023 - 28) << 52;
            let value = f64::from_bits(bits);
            let integer = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
            let exponent = (bits >> 52 & 0x7FF) as i32 - 1075;
            for (fraction_bits, got) in [(10, F16::narrow64(value)), (7, Bf16::narrow64(value))] {
                assert_eq!(
                    got,
                    nearest(value < 0.0, integer, exponent, fraction_bits),
                    "{value:e}"
                );
            }
        }
        assert_eq!(F16::narrow(f32::NAN), 0x7FFF);
        assert_eq!(Bf16::narrow64(-f64::NAN), 0x7FFF);
        assert_eq!(F16::narrow64(f64::INFINITY), 0x7C00);
        assert_eq!(F16::narrow(65520.0), 0x7C00);
        assert_eq!(F16::narrow(65519.996), 0x7BFF);
        assert_eq!(Bf16::narrow(f32::MAX), 0x7F80);
    }
}
