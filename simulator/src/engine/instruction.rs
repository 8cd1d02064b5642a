//! A decoded instruction: a function and where its operands lie.

use std::marker::PhantomData;

use super::context::Context;
use super::registers::{Cell, Lane};

/// What an instruction's function says to the loop that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// On with the next.
    Next,
    /// All lanes of the group go to `Context::target`.
    Jump,
    /// `Context::action` says what.
    Stop,
}

/// Executes an instruction for the lanes of the mask, which is not empty.
///
/// # Safety
///
/// The processor has the features the function was made for; [`handler`] gives no other.
pub(super) type Handler = unsafe fn(&mut Context<'_>, &Op, u32) -> Flow;

/// Where the result of an instruction without other effects goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    /// It has effects: an undefined guard is reported.
    Effect,
    /// To the register `d`.
    Register,
    /// To the predicate `d`, and `c` if [`Op::second`].
    Predicate,
}

/// A decoded instruction; some instructions of PTX become several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) run: Handler,
    /// The predicate that guards it, flipped by `flip`.
    pub(super) guard: u32,
    pub(super) flip: u32,
    /// Destination and sources: slots of registers, or indices of predicates.
    pub(super) d: u32,
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) c: u32,
    /// A constant, or the index of an entry in a table of the function.
    pub(super) extra: u64,
    /// 1 for the first of the ops of an instruction, 0 for the others.
    pub(super) counts: u32,
    /// The instruction's index in the function's code.
    pub(super) source: u32,
    pub(super) result: Result,
}

/// The body of an instruction's function.
pub(super) trait Execute {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow;
}

/// The instruction's function, made for this processor.
pub(super) fn handler<E: Execute>() -> Handler {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
    {
        return vectorised::<E>;
    }
    plain::<E>
}

fn plain<E: Execute>(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
    E::execute(context, op, mask)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,popcnt,lzcnt")]
fn vectorised<E: Execute>(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
    E::execute(context, op, mask)
}

/// A function of one operand, lane by lane.
pub(super) trait Unary {
    type A: Lane;
    type D: Lane;
    fn apply(a: Self::A) -> Self::D;
}

/// A function of two operands.
pub(super) trait Binary {
    type A: Lane;
    type B: Lane;
    type D: Lane;
    fn apply(a: Self::A, b: Self::B) -> Self::D;
}

/// A function of three operands.
pub(super) trait Ternary {
    type A: Lane;
    type B: Lane;
    type C: Lane;
    type D: Lane;
    fn apply(a: Self::A, b: Self::B, c: Self::C) -> Self::D;
}

/// A relation of two operands.
pub(super) trait Relation {
    type A: Lane;
    fn holds(a: Self::A, b: Self::A) -> bool;
}

/// Operations as instructions.
pub(super) struct Map1<O>(PhantomData<O>);
pub(super) struct Map2<O>(PhantomData<O>);
pub(super) struct Map3<O>(PhantomData<O>);

impl<O: Unary> Execute for Map1<O> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let mut out = [<O::D as Lane>::Cell::default(); 32];
        let a = <O::A as Lane>::Cell::lanes(registers, op.a);
        for lane in 0..32 {
            out[lane] = O::apply(O::A::from_cell(a[lane])).to_cell();
        }
        registers.write(op.d, mask, &out, registers.valid(op.a));
        Flow::Next
    }
}

impl<O: Binary> Execute for Map2<O> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let mut out = [<O::D as Lane>::Cell::default(); 32];
        let a = <O::A as Lane>::Cell::lanes(registers, op.a);
        let b = <O::B as Lane>::Cell::lanes(registers, op.b);
        for lane in 0..32 {
            out[lane] = O::apply(O::A::from_cell(a[lane]), O::B::from_cell(b[lane])).to_cell();
        }
        let valid = registers.valid(op.a) & registers.valid(op.b);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

impl<O: Ternary> Execute for Map3<O> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let mut out = [<O::D as Lane>::Cell::default(); 32];
        let a = <O::A as Lane>::Cell::lanes(registers, op.a);
        let b = <O::B as Lane>::Cell::lanes(registers, op.b);
        let c = <O::C as Lane>::Cell::lanes(registers, op.c);
        for lane in 0..32 {
            let (a, b, c) = (a[lane], b[lane], c[lane]);
            let (a, b, c) = (O::A::from_cell(a), O::B::from_cell(b), O::C::from_cell(c));
            out[lane] = O::apply(a, b, c).to_cell();
        }
        let valid = registers.valid(op.a) & registers.valid(op.b) & registers.valid(op.c);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

/// The lanes for which a relation holds.
#[inline(always)]
pub(super) fn relate<O: Relation>(context: &Context<'_>, a: u32, b: u32) -> (u32, u32) {
    let registers = &*context.registers;
    let left = <O::A as Lane>::Cell::lanes(registers, a);
    let right = <O::A as Lane>::Cell::lanes(registers, b);
    let mut bits = [0u32; 32];
    for lane in 0..32 {
        let holds = O::holds(O::A::from_cell(left[lane]), O::A::from_cell(right[lane]));
        bits[lane] = u32::from(holds) << lane;
    }
    (bits.iter().fold(0, |all, bit| all | bit), registers.valid(a) & registers.valid(b))
}

/// Declares operations: a type for each, with its function.
macro_rules! operations {
    ($($kind:ident $name:ident [$($role:ident: $ty:ty),*] -> $out:ty { |$($arg:ident),*| $body:expr })*) => {$(
        pub(super) struct $name;
        impl $crate::engine::instruction::$kind for $name {
            $(type $role = $ty;)*
            type D = $out;
            #[inline(always)]
            fn apply($($arg: $ty),*) -> $out {
                $body
            }
        }
    )*};
}
pub(super) use operations;
