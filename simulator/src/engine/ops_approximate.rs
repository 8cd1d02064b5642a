//! Approximate instructions: results within their documented error (PTX ISA, each instruction's
//! "Implements an approximation"), where in it the seed decides. Exact results stay exact.

use std::marker::PhantomData;

use super::context::Context;
use super::instruction::{Execute, Flow, Op};
use super::ops_float::NAN32;
use super::registers::Cell;

/// An approximate function of one or two operands.
pub(super) trait Approximate {
    const NUMBER: u64;
    /// Relative error, and absolute.
    const RELATIVE: f64;
    const ABSOLUTE: f64 = 0.0;
    fn exact(a: f64, b: f64) -> f64;
}

macro_rules! approximations {
    ($($name:ident $number:literal, $relative:expr, $absolute:expr, |$a:ident, $b:ident| $body:expr;)*) => {$(
        pub(super) struct $name;
        impl Approximate for $name {
            const NUMBER: u64 = $number;
            const RELATIVE: f64 = $relative;
            const ABSOLUTE: f64 = $absolute;
            fn exact($a: f64, $b: f64) -> f64 {
                $body
            }
        }
    )*};
}

const ULP: f64 = 1.0 / (1 << 23) as f64;

approximations! {
    // 1 ulp is at least 2^-24 of the value.
    Reciprocal 1, ULP / 2.0, 0.0, |a, _b| 1.0 / a;
    SquareRoot 2, ULP, 0.0, |a, _b| a.sqrt();
    // 2^-22.9
    ReciprocalRoot 3, 1.07 * ULP, 0.0, |a, _b| 1.0 / a.sqrt();
    // 2^-20.5 absolute within a period around 0
    Sine 4, 0.0, 6.7e-7, |a, _b| a.sin();
    Cosine 5, 0.0, 6.7e-7, |a, _b| a.cos();
    // 2^-22.6 absolute, or relative outside (0.5, 2)
    Logarithm 6, 0.0, 1.5e-7, |a, _b| a.log2();
    // 2^-22.5
    Exponential 7, 1.4 * ULP, 0.0, |a, _b| a.exp2();
    // 2^-11
    Tangent 8, 4.8e-4, 0.0, |a, _b| a.tanh();
    // 2 ulp
    Quotient 9, ULP, 0.0, |a, b| a / b;
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

fn approximate<F: Approximate>([a, b]: [f32; 2], seed: u64) -> f32 {
    let exact = F::exact(a.into(), b.into());
    let rounded = exact as f32;
    if exact.is_nan() {
        return NAN32;
    }
    if f64::from(rounded) == exact || rounded.is_infinite() {
        return rounded;
    }
    let mut mixed = seed ^ F::NUMBER << 56 ^ u64::from(a.to_bits()) ^ u64::from(b.to_bits()) << 32;
    for _ in 0..2 {
        mixed = (mixed ^ mixed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    let share = (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
    // The final rounding adds half an ulp of its own.
    let room = (F::RELATIVE - ULP / 4.0).max(0.0);
    let error = exact.abs() * room + F::ABSOLUTE.max(0.0) * 0.9;
    (exact + error * share) as f32
}
