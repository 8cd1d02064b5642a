//! Approximate instructions: results within their documented error (PTX ISA, each instruction's
//! "Implements an approximation"), where in it the seed decides. Exact results stay exact.

use std::marker::PhantomData;

use super::context::Context;
use super::instruction::{Execute, Flow, Op};
use super::ops_float::{NAN32, NAN64};
use super::registers::Cell;

/// An approximate function of one or two operands.
pub(super) trait Approximate {
    const NUMBER: u64;
    /// Its error: relative, absolute, and in ulps; one of them is not 0.
    const RELATIVE: f64;
    const ABSOLUTE: f64;
    const ULPS: f64;
    fn exact(a: f64, b: f64) -> f64;
}

macro_rules! approximations {
    ($($name:ident $number:literal, $relative:expr, $absolute:expr, $ulps:expr, |$a:ident, $b:ident| $body:expr;)*) => {$(
        pub(super) struct $name;
        impl Approximate for $name {
            const NUMBER: u64 = $number;
            const RELATIVE: f64 = $relative;
            const ABSOLUTE: f64 = $absolute;
            const ULPS: f64 = $ulps;
            fn exact($a: f64, $b: f64) -> f64 {
                $body
            }
        }
    )*};
}

const ULP: f64 = 1.0 / (1 << 23) as f64;

approximations! {
    // 1 ulp
    Reciprocal 1, 0.0, 0.0, 1.0, |a, _b| 1.0 / a;
    // 2^-23
    SquareRoot 2, ULP, 0.0, 0.0, |a, _b| a.sqrt();
    // 2^-22.9
    ReciprocalRoot 3, 1.07 * ULP, 0.0, 0.0, |a, _b| 1.0 / a.sqrt();
    // 2^-20.5 absolute within a period around 0
    Sine 4, 0.0, 6.7e-7, 0.0, |a, _b| a.sin();
    Cosine 5, 0.0, 6.7e-7, 0.0, |a, _b| a.cos();
    // 2^-22.6 absolute, or relative outside (0.5, 2)
    Logarithm 6, 0.0, 1.5e-7, 0.0, |a, _b| a.log2();
    // 2^-22.5
    Exponential 7, 1.4 * ULP, 0.0, 0.0, |a, _b| a.exp2();
    // 2^-11
    Tangent 8, 4.8e-4, 0.0, 0.0, |a, _b| a.tanh();
    // 2 ulp
    Quotient 9, 0.0, 0.0, 2.0, |a, b| a / b;
    FastQuotient 10, 0.0, 0.0, 2.0, |a, b| fast_quotient(a, b);
}

/// `div.approx.f32` multiplies by a reciprocal that is 0 for 2^126 < |b| < 2^128 (PTX ISA, "div").
fn fast_quotient(a: f64, b: f64) -> f64 {
    let vanishes = b.abs() > 2f64.powi(126) && b.is_finite();
    if vanishes { a * 0f64.copysign(b) } else { a / b }
}

/// `op.extra`: 1 flushes subnormals.
pub(super) struct Approximation<F>(PhantomData<F>);

fn flush(value: f32, flush: bool) -> f32 {
    if flush && value.is_subnormal() { 0f32.copysign(value) } else { value }
}

impl<F: Approximate> Execute for Approximation<F> {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let seed = context.state.approximation_seed;
        let registers = &mut *context.registers;
        let (a, b) = (u32::lanes(registers, op.a), u32::lanes(registers, op.b));
        let flushes = op.extra & 1 == 1;
        let mut out = [0; 32];
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            let inputs = [a[lane], b[lane]].map(|bits| flush(f32::from_bits(bits), flushes));
            out[lane] = flush(approximate::<F>(inputs, seed), flushes).to_bits();
        }
        let valid = registers.valid(op.a) & registers.valid(op.b);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

/// The `.approx.ftz.f64` forms: only the upper 32 bits of operand and result count, subnormals are
/// zero (PTX ISA, "rcp.approx.ftz.f64" and "rsqrt.approx.ftz.f64", which state no error; the result
/// is one of the two such values around the exact one).
pub(super) struct Gross<F>(PhantomData<F>);

impl<F: Approximate> Execute for Gross<F> {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let seed = context.state.approximation_seed;
        let registers = &mut *context.registers;
        let a = u64::lanes(registers, op.a);
        let mut out = [0; 32];
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            out[lane] = gross::<F>(a[lane], seed);
        }
        let valid = registers.valid(op.a);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

const LOW_WORD: u64 = 0xFFFF_FFFF;

fn gross<F: Approximate>(bits: u64, seed: u64) -> u64 {
    let flush = |value: f64| if value.is_subnormal() { 0f64.copysign(value) } else { value };
    let a = flush(f64::from_bits(bits));
    if a.is_nan() {
        return NAN64.to_bits();
    }
    let a = f64::from_bits(a.to_bits() & !LOW_WORD);
    let exact = F::exact(a, a);
    if exact.is_nan() {
        return NAN64.to_bits();
    }
    let exact = flush(exact).to_bits();
    let up = exact & LOW_WORD != 0 && share(seed, F::NUMBER, bits) > 0.0;
    let result = (exact & !LOW_WORD) + if up { LOW_WORD + 1 } else { 0 };
    flush(f64::from_bits(result)).to_bits()
}

/// A number from -1 to 1 that the seed, the operation and its operands decide.
fn share(seed: u64, operation: u64, operands: u64) -> f64 {
    let mut mixed = seed ^ operation << 56 ^ operands;
    for _ in 0..2 {
        mixed = (mixed ^ mixed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The f32 of an exact result, off by as much as so many ulps; the seed, the operation and its operands
/// decide. Exact results stay exact.
pub(crate) fn perturbed(exact: f64, ulps: f64, seed: u64, operation: u64, operands: u64) -> f32 {
    let rounded = exact as f32;
    if exact.is_nan() || f64::from(rounded) == exact || rounded.is_infinite() {
        return rounded;
    }
    let spacing = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
    // The final rounding adds at most half an ulp.
    (exact + spacing * (ulps - 0.5).max(0.0) * share(seed, operation, operands)) as f32
}

fn approximate<F: Approximate>([a, b]: [f32; 2], seed: u64) -> f32 {
    let exact = F::exact(a.into(), b.into());
    let rounded = exact as f32;
    if exact.is_nan() {
        return NAN32;
    }
    if f64::from(rounded) == exact || rounded.is_infinite() {
        return rounded;
    }
    let share = share(seed, F::NUMBER, u64::from(a.to_bits()) ^ u64::from(b.to_bits()) << 32);
    // The final rounding adds at most half an ulp, which is at most this share of the value.
    let relative = exact.abs() * (F::RELATIVE - ULP / 2.0).max(0.0);
    let spacing = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
    let error = relative + spacing * (F::ULPS - 0.5).max(0.0) + F::ABSOLUTE * 0.9;
    (exact + error * share) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of every magnitude and sign, and what lies at the edges.
    fn inputs() -> Vec<f32> {
        let edges = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0, -1.0, f32::MAX];
        let spread = (0..40_000u32).map(|index| f32::from_bits(index.wrapping_mul(107_377)));
        edges.into_iter().chain(spread).collect()
    }

    /// Within the bounds for several seeds, not the same for all of them, a function of its inputs.
    fn bounded<F: Approximate>(inputs: &[f32], relative: f64, absolute: f64) {
        let mut moved = 0;
        for &a in inputs {
            let exact = F::exact(a.into(), a.into());
            let results = [1, 2, 3].map(|seed| approximate::<F>([a, a], seed));
            assert_eq!(results[0].to_bits(), approximate::<F>([a, a], 1).to_bits());
            moved += u32::from(results[0].to_bits() != results[1].to_bits());
            for result in results {
                if exact.is_nan() {
                    assert_eq!(result.to_bits(), 0x7FFF_FFFF, "{a:e}");
                    continue;
                }
                if result.is_infinite() || exact.is_infinite() {
                    assert!(exact.abs() >= f64::from(f32::MAX) * 0.999999, "{a:e}: {result:e}");
                    continue;
                }
                // Subnormal results have an absolute spacing.
                let bound = exact.abs() * relative + absolute + 1.5e-45;
                let error = (f64::from(result) - exact).abs();
                assert!(error <= bound, "{a:e}: {result:e}, not {exact:e}, {}", error / bound);
            }
        }
        assert!(moved as usize > inputs.len() / 20, "the seed moved {moved} of {}", inputs.len());
    }

    #[test]
    fn errors_are_within_the_documented_bounds() {
        let all = inputs();
        let angles: Vec<f32> = (-3141..3141).map(|i| i as f32 / 1000.0).collect();
        bounded::<Reciprocal>(&all, ULP, 0.0);
        bounded::<SquareRoot>(&all, 2.0 * ULP, 0.0);
        bounded::<ReciprocalRoot>(&all, 2f64.powf(-22.9), 0.0);
        bounded::<Sine>(&angles, 0.0, 2f64.powf(-20.5));
        bounded::<Cosine>(&angles, 0.0, 2f64.powf(-20.5));
        bounded::<Logarithm>(&angles, 2f64.powi(-22), 2f64.powi(-22));
        bounded::<Exponential>(&angles, 2f64.powf(-22.5) + ULP / 2.0, 0.0);
        bounded::<Tangent>(&angles, 2f64.powi(-11), 0.0);
    }

    #[test]
    fn special_values_are_exact() {
        let inf = f32::INFINITY;
        let one = |value: f32| [value, value];
        for seed in 0..20 {
            assert_eq!(approximate::<Reciprocal>(one(-0.0), seed), -inf);
            assert_eq!(approximate::<Reciprocal>(one(-inf), seed).to_bits(), 1 << 31);
            assert_eq!(approximate::<ReciprocalRoot>(one(-0.0), seed), -inf);
            assert_eq!(approximate::<ReciprocalRoot>(one(inf), seed), 0.0);
            assert_eq!(approximate::<ReciprocalRoot>(one(-1.0), seed).to_bits(), 0x7FFF_FFFF);
            assert_eq!(approximate::<SquareRoot>(one(-0.0), seed).to_bits(), 1 << 31);
            assert_eq!(approximate::<Exponential>(one(-inf), seed), 0.0);
            assert_eq!(approximate::<Exponential>(one(3.0), seed), 8.0);
            assert_eq!(approximate::<Exponential>(one(200.0), seed), inf);
            assert_eq!(approximate::<Logarithm>(one(-0.0), seed), -inf);
            assert_eq!(approximate::<Logarithm>(one(0.25), seed), -2.0);
            assert_eq!(approximate::<Cosine>(one(0.0), seed), 1.0);
            assert_eq!(approximate::<Sine>(one(inf), seed).to_bits(), 0x7FFF_FFFF);
            assert_eq!(approximate::<Tangent>(one(-inf), seed), -1.0);
            assert_eq!(approximate::<Quotient>([-3.0, 0.0], seed), -inf);
            assert_eq!(approximate::<Quotient>([6.0, -2.0], seed), -3.0);
            assert_eq!(approximate::<FastQuotient>([6.0, -2.0], seed), -3.0);
            assert_eq!(approximate::<FastQuotient>([1e38, 2e38], seed), 0.0);
            assert_eq!(approximate::<FastQuotient>([-inf, 2e38], seed).to_bits(), 0x7FFF_FFFF);
            assert_eq!(approximate::<FastQuotient>([1.0, inf], seed), 0.0);
        }
    }

    #[test]
    fn gross_reciprocals_of_doubles() {
        let gross = |value: f64, seed| f64::from_bits(gross::<Reciprocal>(value.to_bits(), seed));
        for seed in 0..20 {
            assert_eq!(gross(4.0, seed), 0.25);
            assert_eq!(gross(-0.0, seed), f64::NEG_INFINITY);
            assert_eq!(gross(1e-310, seed), f64::INFINITY);
            assert_eq!(gross(f64::INFINITY, seed), 0.0);
            for index in 1..1000 {
                let value = f64::from(index) * 1.23456789;
                let result = gross(value, seed);
                assert!((result * value - 1.0).abs() < 2f64.powi(-18), "{value}: {result}");
                assert_eq!(result.to_bits() & LOW_WORD, 0);
            }
        }
    }
}
