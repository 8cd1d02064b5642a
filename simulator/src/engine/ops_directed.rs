//! Arithmetic in f32 rounded toward zero, down or up (PTX ISA, "Rounding Modifiers"): computed in
//! f64 so that a last rounding is right, then rounded once.

use std::marker::PhantomData;

use super::instruction::{Binary, Ternary, Unary};
use super::ops_float::NAN32;
use super::ops_half::Half;
use super::registers::Lane;

/// A direction of rounding.
pub(super) trait Direction {
    /// Whether an exact zero from summands of opposite sign is negative.
    const NEGATIVE_ZERO: bool = false;
    /// Where the wanted neighbour lies, given the nearest value and what is to be rounded.
    fn step(nearest: f64, value: f64) -> Step;
}

/// From the nearest value to its neighbour.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Step {
    Stay,
    Lower,
    Higher,
}

pub(super) struct TowardZero;
pub(super) struct Down;
pub(super) struct Up;

impl Direction for TowardZero {
    #[inline(always)]
    fn step(nearest: f64, value: f64) -> Step {
        if value > 0.0 { Down::step(nearest, value) } else { Up::step(nearest, value) }
    }
}

impl Direction for Down {
    const NEGATIVE_ZERO: bool = true;

    #[inline(always)]
    fn step(nearest: f64, value: f64) -> Step {
        if nearest > value { Step::Lower } else { Step::Stay }
    }
}

impl Direction for Up {
    #[inline(always)]
    fn step(nearest: f64, value: f64) -> Step {
        if nearest < value { Step::Higher } else { Step::Stay }
    }
}

fn rounded<R: Direction>(value: f64) -> f32 {
    let nearest = value as f32;
    match R::step(nearest.into(), value) {
        _ if value.is_nan() => NAN32,
        // Rounding toward zero keeps the sign of what it drops.
        Step::Lower if value > 0.0 => f32::from_bits(nearest.to_bits() - 1),
        Step::Higher if value < 0.0 => f32::from_bits(nearest.to_bits() - 1),
        Step::Lower => nearest.next_down(),
        Step::Higher => nearest.next_up(),
        Step::Stay => nearest,
    }
}

/// `value` with its last bit set if the exact result differs from it by `error`.
fn odd(value: f64, error: f64) -> f64 {
    if !value.is_finite() || error == 0.0 || error.is_nan() || value.to_bits() & 1 == 1 {
        return value;
    }
    if value == 0.0 {
        return f64::from_bits(1).copysign(error);
    }
    let away = (error > 0.0) == (value > 0.0);
    f64::from_bits(if away { value.to_bits() + 1 } else { value.to_bits() - 1 })
}

/// `a * b + c`.
fn fused<R: Direction>(a: f32, b: f32, c: f32) -> f32 {
    // 48 bits at most: exact.
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    if sum == 0.0 && R::NEGATIVE_ZERO && product.is_sign_negative() != c.is_sign_negative() {
        return -0.0;
    }
    // The error of the sum, exactly (Knuth's two-sum).
    let part = sum - product;
    let error = (product - (sum - part)) + (c - part);
    rounded::<R>(odd(sum, error))
}

pub(super) struct Add<R>(PhantomData<R>);
pub(super) struct Sub<R>(PhantomData<R>);
pub(super) struct Mul<R>(PhantomData<R>);
pub(super) struct Fma<R>(PhantomData<R>);
pub(super) struct Div<R>(PhantomData<R>);
pub(super) struct Rcp<R>(PhantomData<R>);
pub(super) struct Sqrt<R>(PhantomData<R>);

impl<R: Direction> Binary for Add<R> {
    type A = f32;
    type B = f32;
    type D = f32;
    fn apply(a: f32, b: f32) -> f32 {
        fused::<R>(a, 1.0, b)
    }
}

impl<R: Direction> Binary for Sub<R> {
    type A = f32;
    type B = f32;
    type D = f32;
    fn apply(a: f32, b: f32) -> f32 {
        fused::<R>(a, 1.0, -b)
    }
}

impl<R: Direction> Binary for Mul<R> {
    type A = f32;
    type B = f32;
    type D = f32;
    fn apply(a: f32, b: f32) -> f32 {
        rounded::<R>(f64::from(a) * f64::from(b))
    }
}

impl<R: Direction> Ternary for Fma<R> {
    type A = f32;
    type B = f32;
    type C = f32;
    type D = f32;
    fn apply(a: f32, b: f32, c: f32) -> f32 {
        fused::<R>(a, b, c)
    }
}

impl<R: Direction> Binary for Div<R> {
    type A = f32;
    type B = f32;
    type D = f32;
    fn apply(a: f32, b: f32) -> f32 {
        let (a, b) = (f64::from(a), f64::from(b));
        let quotient = a / b;
        // The remainder is exact: an f64 holds it.
        let remainder = (-quotient).mul_add(b, a);
        let sign = if b < 0.0 { -1.0 } else { 1.0 };
        rounded::<R>(odd(quotient, remainder * sign))
    }
}

impl<R: Direction> Unary for Rcp<R> {
    type A = f32;
    type D = f32;
    fn apply(a: f32) -> f32 {
        Div::<R>::apply(1.0, a)
    }
}

impl<R: Direction> Unary for Sqrt<R> {
    type A = f32;
    type D = f32;
    fn apply(a: f32) -> f32 {
        let a = f64::from(a);
        let root = a.sqrt();
        rounded::<R>(odd(root, (-root).mul_add(root, a)))
    }
}

/// Conversions to f32.
pub(super) struct From<T, R>(PhantomData<(T, R)>);

/// A number that may need rounding to be an f32.
pub(super) trait Source: Lane {
    /// In f64, rounded to odd where it does not fit.
    fn wide(self) -> f64;
}

impl Source for i32 {
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Source for u32 {
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Source for i64 {
    fn wide(self) -> f64 {
        let nearest = self as f64;
        odd(nearest, (i128::from(self) - nearest as i128) as f64)
    }
}

impl Source for u64 {
    fn wide(self) -> f64 {
        let nearest = self as f64;
        odd(nearest, (i128::from(self) - nearest as i128) as f64)
    }
}

impl Source for f64 {
    fn wide(self) -> f64 {
        self
    }
}

impl<T: Source, R: Direction> Unary for From<T, R> {
    type A = T;
    type D = f32;
    fn apply(a: T) -> f32 {
        rounded::<R>(a.wide())
    }
}

/// Conversions of f32 to a 16-bit format.
pub(super) struct ToHalf<H, R>(PhantomData<(H, R)>);

impl<H: Half, R: Direction> Unary for ToHalf<H, R> {
    type A = f32;
    type D = u16;
    fn apply(a: f32) -> u16 {
        let nearest = H::narrow(a);
        if a.is_nan() {
            return nearest;
        }
        // The steps of directed rounding never cross zero but from it.
        match R::step(H::widen(nearest).into(), a.into()) {
            Step::Stay => nearest,
            Step::Lower if a > 0.0 => nearest - 1,
            Step::Higher if a < 0.0 => nearest - 1,
            Step::Lower | Step::Higher => nearest + 1,
        }
    }
}

/// Conversions of two f32 to a 16-bit format, the first to the upper half.
pub(super) struct ToHalfPair<H, R>(PhantomData<(H, R)>);

impl<H: Half, R: Direction> Binary for ToHalfPair<H, R> {
    type A = f32;
    type B = f32;
    type D = u32;
    fn apply(a: f32, b: f32) -> u32 {
        u32::from(ToHalf::<H, R>::apply(a)) << 16 | u32::from(ToHalf::<H, R>::apply(b))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ops_half::{Bf16, F16};
    use super::*;
    use std::cmp::Ordering;

    /// Integer and exponent of a finite value.
    fn parts(value: f32) -> (i128, i32) {
        let bits = value.to_bits();
        let field = (bits >> 23 & 0xFF) as i32;
        let mantissa = i128::from(bits & 0x7F_FFFF) + (i128::from(field > 0) << 23);
        (if value < 0.0 { -mantissa } else { mantissa }, field.max(1) - 150)
    }

    /// `a * b + c` against `value`, in integers; none where 128 bits do not hold it.
    fn compare(a: f32, b: f32, c: f32, value: f32) -> Option<Ordering> {
        let ((a, i), (b, j), (c, k), (v, l)) = (parts(a), parts(b), parts(c), parts(value));
        let low = (i + j).min(k).min(l);
        if [i + j + 24, k, l].iter().any(|&exponent| exponent + 26 - low > 120) {
            return None;
        }
        let sum = ((a * b) << (i + j - low)) + (c << (k - low));
        Some(sum.cmp(&(v << (l - low))))
    }

    fn values() -> impl FnMut() -> f32 {
        let mut state = 3u64;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bits = (state >> 32) as u32;
            // Exponents near each other, and few fraction bits in a third of the values.
            let bits = bits & 0x807F_FFFF | ((bits >> 23 & 0x1F) + 112) << 23;
            f32::from_bits(if bits.is_multiple_of(3) { bits & !0xFFFF } else { bits })
        }
    }

    #[test]
    fn sums_and_products_enclose_the_exact_value() {
        let mut next = values();
        let mut checked = 0;
        for _ in 0..300_000 {
            let [a, b, c] = [next(), next(), next()];
            let down = fused::<Down>(a, b, c);
            let up = fused::<Up>(a, b, c);
            let zero = fused::<TowardZero>(a, b, c);
            let (Some(low), Some(high)) = (compare(a, b, c, down), compare(a, b, c, up)) else {
                continue;
            };
            assert!(low.is_ge() && high.is_le(), "{a:e} * {b:e} + {c:e}: {down:e}, {up:e}");
            let adjacent = if low.is_eq() { up == down } else { up == down.next_up() };
            assert!(adjacent, "{a:e} * {b:e} + {c:e}: {down:e}, {up:e}");
            assert_eq!(zero, if zero > 0.0 { down } else { up });
            assert!((down..=up).contains(&a.mul_add(b, c)));
            assert_eq!(Mul::<Down>::apply(a, b), fused::<Down>(a, b, 0.0));
            checked += 1;
        }
        assert!(checked > 100_000, "{checked}");
    }

    #[test]
    fn quotients_and_roots_enclose_the_exact_value() {
        let mut next = values();
        for _ in 0..300_000 {
            let [a, b] = [next(), next()];
            let (down, up) = (Div::<Down>::apply(a, b), Div::<Up>::apply(a, b));
            // down * b against a, with the direction of b.
            let (low, high) = (compare(down, b, 0.0, a), compare(up, b, 0.0, a));
            let (Some(low), Some(high)) = (low, high) else { continue };
            let (low, high) = if b < 0.0 { (high, low) } else { (low, high) };
            assert!(low.is_le() && high.is_ge(), "{a:e} / {b:e}: {down:e}, {up:e}");
            assert!(up == down || up == down.next_up());
            let root = a.abs();
            let (down, up) = (Sqrt::<Down>::apply(root), Sqrt::<Up>::apply(root));
            assert!(compare(down, down, 0.0, root).is_none_or(Ordering::is_le), "{root:e}");
            assert!(compare(up, up, 0.0, root).is_none_or(Ordering::is_ge), "{root:e}");
            assert!(up == down || up == down.next_up());
            assert_eq!(Sqrt::<TowardZero>::apply(root), down);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(Add::<Down>::apply(1.0, -1.0).to_bits(), (-0f32).to_bits());
        assert_eq!(Add::<Up>::apply(1.0, -1.0).to_bits(), 0);
        assert_eq!(Add::<TowardZero>::apply(-0.0, -0.0).to_bits(), (-0f32).to_bits());
        assert_eq!(Mul::<TowardZero>::apply(f32::MAX, 2.0), f32::MAX);
        assert_eq!(Mul::<Down>::apply(f32::MAX, 2.0), f32::MAX);
        assert_eq!(Mul::<Up>::apply(f32::MAX, 2.0), f32::INFINITY);
        assert_eq!(Mul::<Down>::apply(f32::MAX, -2.0), f32::NEG_INFINITY);
        assert_eq!(Mul::<Up>::apply(1e-30, 1e-30), f32::from_bits(1));
        assert_eq!(Mul::<Down>::apply(1e-30, 1e-30), 0.0);
        assert_eq!(Add::<Down>::apply(1.0, 1e-30), 1.0);
        assert_eq!(Add::<Up>::apply(1.0, 1e-30), 1.0 + f32::EPSILON);
        assert_eq!(Sub::<TowardZero>::apply(1.0, 1e-30), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(Rcp::<Up>::apply(0.0), f32::INFINITY);
        assert_eq!(Div::<Down>::apply(0.0, 0.0).to_bits(), 0x7FFF_FFFF);
        assert_eq!(Sqrt::<Up>::apply(-1.0).to_bits(), 0x7FFF_FFFF);
        assert_eq!(Fma::<Down>::apply(f32::INFINITY, 0.0, 1.0).to_bits(), 0x7FFF_FFFF);
    }

    #[test]
    fn conversions_enclose_the_exact_value() {
        let mut next = values();
        for _ in 0..100_000 {
            let bits = u64::from(next().to_bits()) << 32 | u64::from(next().to_bits());
            let (down, up) = (From::<u64, Down>::apply(bits), From::<u64, Up>::apply(bits));
            assert!(down as u128 <= u128::from(bits) && u128::from(bits) <= up as u128, "{bits}");
            assert!(up == down || up == down.next_up());
            let signed = bits as i64;
            let zero = From::<i64, TowardZero>::apply(signed);
            assert!((zero as i128).unsigned_abs() <= i128::from(signed).unsigned_abs());
            assert!((zero as i128 - i128::from(signed)).unsigned_abs() < 1 << 40);
            let half = next();
            let (down, up) = (ToHalf::<F16, Down>::apply(half), ToHalf::<F16, Up>::apply(half));
            assert!(F16::widen(down) <= half && half <= F16::widen(up), "{half:e}");
            assert!(up.abs_diff(down) <= 1 || half.abs() < 1e-7);
            assert_eq!(ToHalf::<Bf16, TowardZero>::apply(half), (half.to_bits() >> 16) as u16);
        }
        assert_eq!(From::<f64, Down>::apply(0.1), 0.1f32.next_down());
        assert_eq!(From::<f64, Up>::apply(0.1), 0.1f32);
        assert_eq!(From::<u32, Down>::apply(u32::MAX), 4294967040.0);
        assert_eq!(From::<f64, Up>::apply(1e300), f32::INFINITY);
        assert_eq!(From::<f64, TowardZero>::apply(-1e300), -f32::MAX);
        assert_eq!(From::<f64, TowardZero>::apply(-1e-300).to_bits(), 1 << 31);
        assert_eq!(ToHalf::<F16, TowardZero>::apply(1e9), 0x7BFF);
        assert_eq!(ToHalfPair::<Bf16, TowardZero>::apply(-1.999, 1.0), 0xBFFF_3F80);
        assert_eq!(ToHalf::<F16, Up>::apply(1e-30), 1);
        assert_eq!(ToHalf::<F16, Down>::apply(-1e-30), 0x8001);
    }
}
