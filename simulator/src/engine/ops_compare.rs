//! Comparison and selection (PTX ISA, "Comparison and Selection Instructions").

use std::marker::PhantomData;

use super::context::Context;
use super::instruction::{Execute, Flow, Op, Relation, relate};
use super::ops_bits::combine;
use super::registers::{Cell, Lane};

/// A relation as an operator's type.
pub(super) trait Operator {
    fn holds<T: PartialOrd>(a: T, b: T) -> bool;
}

macro_rules! operators {
    ($($name:ident |$a:ident, $b:ident| $body:expr;)*) => {$(
        pub(super) struct $name;
        // NaN tells these comparisons apart from their negated opposites.
        #[allow(clippy::double_comparisons, clippy::neg_cmp_op_on_partial_ord)]
        impl Operator for $name {
            #[inline(always)]
            fn holds<T: PartialOrd>($a: T, $b: T) -> bool {
                $body
            }
        }
    )*};
}

operators! {
    Equal |a, b| a == b;
    NotEqual |a, b| a < b || a > b;
    Less |a, b| a < b;
    LessEqual |a, b| a <= b;
    Greater |a, b| a > b;
    GreaterEqual |a, b| a >= b;
    // True also if an operand is NaN.
    EqualOrNan |a, b| !(a < b || a > b);
    NotEqualOrNan |a, b| a != b;
    LessOrNan |a, b| !(a >= b);
    LessEqualOrNan |a, b| !(a > b);
    GreaterOrNan |a, b| !(a <= b);
    GreaterEqualOrNan |a, b| !(a < b);
    Numbers |a, b| a <= b || a >= b;
    SomeNan |a, b| !(a <= b || a >= b);
}

/// An operator on a type.
pub(super) struct Compare<O, T>(PhantomData<(O, T)>);

impl<O: Operator, T: Lane + PartialOrd> Relation for Compare<O, T> {
    type A = T;
    #[inline(always)]
    fn holds(a: T, b: T) -> bool {
        O::holds(a, b)
    }
}

/// `setp`: predicate `d`. `c` packs the combining predicate (bits 0 to 23), its negation (24) and
/// how (bits 28 and 29: 0 and, 1 or, 2 xor); `extra`: the predicate of the opposite, or 0.
pub(super) struct SetPredicate<R>(PhantomData<R>);

pub(super) const COMBINE_NEGATED: u32 = 1 << 24;
pub(super) const COMBINE_SHIFT: u32 = 28;

impl<R: Relation> Execute for SetPredicate<R> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let (holds, valid) = relate::<R>(context, op.a, op.b);
        if op.c == 0 && op.extra == 0 {
            context.registers.write_predicate(op.d, mask, holds, valid);
            return Flow::Next;
        }
        let other = context.registers.predicate(op.c & (COMBINE_NEGATED - 1));
        let negate = if op.c & COMBINE_NEGATED != 0 { u32::MAX } else { 0 };
        let how = op.c >> COMBINE_SHIFT;
        let other = (other.value ^ negate, other.valid);
        let (value, defined) = combine(how, (holds, valid), other);
        context.registers.write_predicate(op.d, mask, value, defined);
        if op.extra != 0 {
            let (value, defined) = combine(how, (!holds, valid), other);
            context.registers.write_predicate(op.extra as u32, mask, value, defined);
        }
        Flow::Next
    }
}

/// `set`: from the predicate `a` to all ones or zeros, or (if `extra` is not 0) to that constant.
pub(super) struct FromPredicate;

impl Execute for FromPredicate {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let truth = context.registers.predicate(op.a);
        let yes = op.extra as u32;
        let out = std::array::from_fn(|lane| if truth.value >> lane & 1 == 1 { yes } else { 0u32 });
        context.registers.write(op.d, mask, &out, truth.valid);
        Flow::Next
    }
}

/// `selp`: `a` where the predicate `c` (flipped by `extra`) holds, else `b`.
pub(super) struct Select<C>(PhantomData<C>);

impl<C: Cell> Execute for Select<C> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let predicate = registers.predicate(op.c);
        let truth = predicate.value ^ op.extra as u32;
        let (a, b) = (C::lanes(registers, op.a), C::lanes(registers, op.b));
        let mut out = [C::default(); 32];
        for lane in 0..32 {
            out[lane] = if truth >> lane & 1 == 1 { a[lane] } else { b[lane] };
        }
        let chosen = registers.valid(op.a) & truth | registers.valid(op.b) & !truth;
        registers.write(op.d, mask, &out, chosen & predicate.valid);
        Flow::Next
    }
}
