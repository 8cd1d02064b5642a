//! Integer arithmetic (PTX ISA, "Integer Arithmetic Instructions").

use super::context::Context;
use super::instruction::{Execute, Flow, Op, operations};
use super::registers::Cell;

operations! {
    Binary Add16 [A: u16, B: u16] -> u16 { |a, b| a.wrapping_add(b) }
    Binary Add32 [A: u32, B: u32] -> u32 { |a, b| a.wrapping_add(b) }
    Binary Add64 [A: u64, B: u64] -> u64 { |a, b| a.wrapping_add(b) }
    Binary Sub16 [A: u16, B: u16] -> u16 { |a, b| a.wrapping_sub(b) }
    Binary Sub32 [A: u32, B: u32] -> u32 { |a, b| a.wrapping_sub(b) }
    Binary Sub64 [A: u64, B: u64] -> u64 { |a, b| a.wrapping_sub(b) }
    Binary AddSaturated [A: i32, B: i32] -> i32 { |a, b| a.saturating_add(b) }
    Binary SubSaturated [A: i32, B: i32] -> i32 { |a, b| a.saturating_sub(b) }
    Binary Mul16 [A: u16, B: u16] -> u16 { |a, b| a.wrapping_mul(b) }
    Binary Mul32 [A: u32, B: u32] -> u32 { |a, b| a.wrapping_mul(b) }
    Binary Mul64 [A: u64, B: u64] -> u64 { |a, b| a.wrapping_mul(b) }
    Binary MulHighU16 [A: u16, B: u16] -> u16 { |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16 }
    Binary MulHighS16 [A: i16, B: i16] -> i16 { |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16 }
    Binary MulHighU32 [A: u32, B: u32] -> u32 { |a, b| (u64::from(a).wrapping_mul(u64::from(b)) >> 32) as u32 }
    Binary MulHighS32 [A: i32, B: i32] -> i32 { |a, b| (i64::from(a).wrapping_mul(i64::from(b)) >> 32) as i32 }
    Binary MulHighU64 [A: u64, B: u64] -> u64 { |a, b| (u128::from(a).wrapping_mul(u128::from(b)) >> 64) as u64 }
    Binary MulHighS64 [A: i64, B: i64] -> i64 { |a, b| (i128::from(a).wrapping_mul(i128::from(b)) >> 64) as i64 }
    Binary MulWideU16 [A: u16, B: u16] -> u32 { |a, b| u32::from(a).wrapping_mul(u32::from(b)) }
    Binary MulWideS16 [A: i16, B: i16] -> i32 { |a, b| i32::from(a).wrapping_mul(i32::from(b)) }
    Binary MulWideU32 [A: u32, B: u32] -> u64 { |a, b| u64::from(a).wrapping_mul(u64::from(b)) }
    Binary MulWideS32 [A: i32, B: i32] -> i64 { |a, b| i64::from(a).wrapping_mul(i64::from(b)) }
    Binary Mul24LowU [A: u32, B: u32] -> u32 { |a, b| (a & 0xFF_FFFF).wrapping_mul(b & 0xFF_FFFF) }
    Binary Mul24LowS [A: i32, B: i32] -> i32 { |a, b| (a << 8 >> 8).wrapping_mul(b << 8 >> 8) }
    Binary Mul24HighU [A: u32, B: u32] -> u32 { |a, b| (u64::from(a & 0xFF_FFFF).wrapping_mul(u64::from(b & 0xFF_FFFF)) >> 16) as u32 }
    Binary Mul24HighS [A: i32, B: i32] -> i32 { |a, b| (i64::from(a << 8 >> 8).wrapping_mul(i64::from(b << 8 >> 8)) >> 16) as i32 }
    Ternary MulAdd16 [A: u16, B: u16, C: u16] -> u16 { |a, b, c| a.wrapping_mul(b).wrapping_add(c) }
    Ternary MulAdd32 [A: u32, B: u32, C: u32] -> u32 { |a, b, c| a.wrapping_mul(b).wrapping_add(c) }
    Ternary MulAdd64 [A: u64, B: u64, C: u64] -> u64 { |a, b, c| a.wrapping_mul(b).wrapping_add(c) }
    Ternary MulAddWideU16 [A: u16, B: u16, C: u32] -> u32 { |a, b, c| u32::from(a).wrapping_mul(u32::from(b)).wrapping_add(c) }
    Ternary MulAddWideS16 [A: i16, B: i16, C: i32] -> i32 { |a, b, c| i32::from(a).wrapping_mul(i32::from(b)).wrapping_add(c) }
    Ternary MulAddWideU32 [A: u32, B: u32, C: u64] -> u64 { |a, b, c| u64::from(a).wrapping_mul(u64::from(b)).wrapping_add(c) }
    Ternary MulAddWideS32 [A: i32, B: i32, C: i64] -> i64 { |a, b, c| i64::from(a).wrapping_mul(i64::from(b)).wrapping_add(c) }
    // Division by zero is unspecified; the machine gives all ones.
    Binary DivU16 [A: u16, B: u16] -> u16 { |a, b| a.checked_div(b).unwrap_or(u16::MAX) }
    Binary DivS16 [A: i16, B: i16] -> i16 { |a, b| if b == 0 { -1 } else { a.wrapping_div(b) } }
    Binary DivU32 [A: u32, B: u32] -> u32 { |a, b| a.checked_div(b).unwrap_or(u32::MAX) }
    Binary DivS32 [A: i32, B: i32] -> i32 { |a, b| if b == 0 { -1 } else { a.wrapping_div(b) } }
    Binary DivU64 [A: u64, B: u64] -> u64 { |a, b| a.checked_div(b).unwrap_or(u64::MAX) }
    Binary DivS64 [A: i64, B: i64] -> i64 { |a, b| if b == 0 { -1 } else { a.wrapping_div(b) } }
    Binary RemU16 [A: u16, B: u16] -> u16 { |a, b| a.checked_rem(b).unwrap_or(a) }
    Binary RemS16 [A: i16, B: i16] -> i16 { |a, b| if b == 0 { a } else { a.wrapping_rem(b) } }
    Binary RemU32 [A: u32, B: u32] -> u32 { |a, b| a.checked_rem(b).unwrap_or(a) }
    Binary RemS32 [A: i32, B: i32] -> i32 { |a, b| if b == 0 { a } else { a.wrapping_rem(b) } }
    Binary RemU64 [A: u64, B: u64] -> u64 { |a, b| a.checked_rem(b).unwrap_or(a) }
    Binary RemS64 [A: i64, B: i64] -> i64 { |a, b| if b == 0 { a } else { a.wrapping_rem(b) } }
    Binary MinU16 [A: u16, B: u16] -> u16 { |a, b| a.min(b) }
    Binary MinS16 [A: i16, B: i16] -> i16 { |a, b| a.min(b) }
    Binary MinU32 [A: u32, B: u32] -> u32 { |a, b| a.min(b) }
    Binary MinS32 [A: i32, B: i32] -> i32 { |a, b| a.min(b) }
    Binary MinU64 [A: u64, B: u64] -> u64 { |a, b| a.min(b) }
    Binary MinS64 [A: i64, B: i64] -> i64 { |a, b| a.min(b) }
    Binary MaxU16 [A: u16, B: u16] -> u16 { |a, b| a.max(b) }
    Binary MaxS16 [A: i16, B: i16] -> i16 { |a, b| a.max(b) }
    Binary MaxU32 [A: u32, B: u32] -> u32 { |a, b| a.max(b) }
    Binary MaxS32 [A: i32, B: i32] -> i32 { |a, b| a.max(b) }
    Binary MaxU64 [A: u64, B: u64] -> u64 { |a, b| a.max(b) }
    Binary MaxS64 [A: i64, B: i64] -> i64 { |a, b| a.max(b) }
    Unary Abs16 [A: i16] -> i16 { |a| a.wrapping_abs() }
    Unary Abs32 [A: i32] -> i32 { |a| a.wrapping_abs() }
    Unary Abs64 [A: i64] -> i64 { |a| a.wrapping_abs() }
    Unary Neg16 [A: i16] -> i16 { |a| a.wrapping_neg() }
    Unary Neg32 [A: i32] -> i32 { |a| a.wrapping_neg() }
    Unary Neg64 [A: i64] -> i64 { |a| a.wrapping_neg() }
    Ternary SadU16 [A: u16, B: u16, C: u16] -> u16 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary SadS16 [A: i16, B: i16, C: u16] -> u16 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary SadU32 [A: u32, B: u32, C: u32] -> u32 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary SadS32 [A: i32, B: i32, C: u32] -> u32 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary SadU64 [A: u64, B: u64, C: u64] -> u64 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary SadS64 [A: i64, B: i64, C: u64] -> u64 { |a, b, c| a.abs_diff(b).wrapping_add(c) }
    Ternary Dot4UU [A: u32, B: u32, C: u32] -> u32 { |a, b, c| dot4(a, b, false, false).wrapping_add(c as i32) as u32 }
    Ternary Dot4US [A: u32, B: u32, C: u32] -> u32 { |a, b, c| dot4(a, b, false, true).wrapping_add(c as i32) as u32 }
    Ternary Dot4SU [A: u32, B: u32, C: u32] -> u32 { |a, b, c| dot4(a, b, true, false).wrapping_add(c as i32) as u32 }
    Ternary Dot4SS [A: u32, B: u32, C: u32] -> u32 { |a, b, c| dot4(a, b, true, true).wrapping_add(c as i32) as u32 }
}

fn part(value: u32, shift: u32, bits: u32, signed: bool) -> i32 {
    let high = value << (32 - bits - shift);
    if signed { high as i32 >> (32 - bits) } else { (high >> (32 - bits)) as i32 }
}

fn dot4(a: u32, b: u32, signed_a: bool, signed_b: bool) -> i32 {
    (0..4).fold(0i32, |sum, at| {
        sum.wrapping_add(part(a, 8 * at, 8, signed_a).wrapping_mul(part(b, 8 * at, 8, signed_b)))
    })
}

/// `dp2a`: halves of `a` times bytes of `b`. Bits of `extra`: a is signed, b is signed, high half.
pub(super) struct Dot2;

impl Execute for Dot2 {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let lanes = |slot| *u32::lanes(registers, slot);
        let (a, b, c) = (lanes(op.a), lanes(op.b), lanes(op.c));
        let (signed_a, signed_b) = (op.extra & 1 != 0, op.extra & 2 != 0);
        let first = if op.extra & 4 != 0 { 2 } else { 0 };
        let out: [u32; 32] = std::array::from_fn(|lane| {
            (0..2).fold(c[lane] as i32, |sum, at| {
                let left = part(a[lane], 16 * at, 16, signed_a);
                let right = part(b[lane], 8 * (first + at), 8, signed_b);
                sum.wrapping_add(left.wrapping_mul(right))
            }) as u32
        });
        let valid = registers.valid(op.a) & registers.valid(op.b) & registers.valid(op.c);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

/// `add`, `sub` and `mad` with carry (`CC.CF` is a predicate: `extra`'s low word).
/// Bits of `extra` from 32: reads the carry, writes it, subtracts.
pub(super) struct Carry<T>(std::marker::PhantomData<T>);

pub(super) const CARRY_IN: u64 = 1 << 32;
pub(super) const CARRY_OUT: u64 = 1 << 33;
pub(super) const CARRY_SUBTRACTS: u64 = 1 << 34;

pub(super) trait Word: Cell {
    fn with_carry(a: Self, b: Self, carry: bool, subtract: bool) -> (Self, bool);
}

macro_rules! word {
    ($($ty:ty)*) => {$(
        impl Word for $ty {
            fn with_carry(a: $ty, b: $ty, carry: bool, subtract: bool) -> ($ty, bool) {
                let (first, second) = if subtract {
                    let (partial, one) = a.overflowing_sub(b);
                    let (all, two) = partial.overflowing_sub(carry.into());
                    (all, one | two)
                } else {
                    let (partial, one) = a.overflowing_add(b);
                    let (all, two) = partial.overflowing_add(carry.into());
                    (all, one | two)
                };
                (first, second)
            }
        }
    )*};
}

word! { u32 u64 }

impl<T: Word> Execute for Carry<T> {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let flag = op.extra as u32;
        let carry = registers.predicate(flag);
        let (reads, writes) = (op.extra & CARRY_IN != 0, op.extra & CARRY_OUT != 0);
        let (a, b) = (T::lanes(registers, op.a), T::lanes(registers, op.b));
        let mut out = [T::default(); 32];
        let mut carried = 0;
        for lane in 0..32 {
            let carry = reads && carry.value >> lane & 1 == 1;
            let subtract = op.extra & CARRY_SUBTRACTS != 0;
            let (value, over) = T::with_carry(a[lane], b[lane], carry, subtract);
            out[lane] = value;
            carried |= u32::from(over) << lane;
        }
        let mut valid = registers.valid(op.a) & registers.valid(op.b);
        if reads {
            valid &= carry.valid;
        }
        registers.write(op.d, mask, &out, valid);
        if writes {
            registers.write_predicate(flag, mask, carried, valid);
        }
        Flow::Next
    }
}
