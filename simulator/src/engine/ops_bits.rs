//! Logic, shifts and bit fields (PTX ISA, "Logic and Shift Instructions").

use super::context::Context;
use super::instruction::{Execute, Flow, Op, operations};
use super::registers::Cell;

/// `szext` (PTX ISA, "szext"): the low `bits` of `a`, extended by their sign where `signed`.
fn extend(a: u32, bits: u32, clamp: bool, signed: bool) -> u32 {
    let low = bits & 31;
    if clamp && bits >= 32 {
        return a;
    }
    let mask = u32::MAX << low;
    let negative = signed && low > 0 && a >> (low - 1) & 1 == 1;
    (a & !mask) | if negative { mask } else { 0 }
}

operations! {
    Binary ExtendSignedWrap [A: u32, B: u32] -> u32 { |a, b| extend(a, b, false, true) }
    Binary ExtendSignedClamp [A: u32, B: u32] -> u32 { |a, b| extend(a, b, true, true) }
    Binary ExtendUnsignedWrap [A: u32, B: u32] -> u32 { |a, b| extend(a, b, false, false) }
    Binary ExtendUnsignedClamp [A: u32, B: u32] -> u32 { |a, b| extend(a, b, true, false) }
}

operations! {
    Binary And32 [A: u32, B: u32] -> u32 { |a, b| a & b }
    Binary And64 [A: u64, B: u64] -> u64 { |a, b| a & b }
    Binary Or32 [A: u32, B: u32] -> u32 { |a, b| a | b }
    Binary Or64 [A: u64, B: u64] -> u64 { |a, b| a | b }
    Binary Xor32 [A: u32, B: u32] -> u32 { |a, b| a ^ b }
    Binary Xor64 [A: u64, B: u64] -> u64 { |a, b| a ^ b }
    Unary Not32 [A: u32] -> u32 { |a| !a }
    Unary Not64 [A: u64] -> u64 { |a| !a }
    Unary IsZero16 [A: u16] -> u16 { |a| u16::from(a == 0) }
    Unary IsZero32 [A: u32] -> u32 { |a| u32::from(a == 0) }
    Unary IsZero64 [A: u64] -> u64 { |a| u64::from(a == 0) }
    // Shifts by the width or more give zeros, or copies of the sign.
    Binary ShiftLeft16 [A: u16, B: u32] -> u16 { |a, b| if b < 16 { a << b } else { 0 } }
    Binary ShiftLeft32 [A: u32, B: u32] -> u32 { |a, b| if b < 32 { a << (b & 31) } else { 0 } }
    Binary ShiftLeft64 [A: u64, B: u32] -> u64 { |a, b| if b < 64 { a << (b & 63) } else { 0 } }
    Binary ShiftRightU16 [A: u16, B: u32] -> u16 { |a, b| if b < 16 { a >> b } else { 0 } }
    Binary ShiftRightU32 [A: u32, B: u32] -> u32 { |a, b| if b < 32 { a >> (b & 31) } else { 0 } }
    Binary ShiftRightU64 [A: u64, B: u32] -> u64 { |a, b| if b < 64 { a >> (b & 63) } else { 0 } }
    Binary ShiftRightS16 [A: i16, B: u32] -> i16 { |a, b| a >> b.min(15) }
    Binary ShiftRightS32 [A: i32, B: u32] -> i32 { |a, b| a >> b.min(31) }
    Binary ShiftRightS64 [A: i64, B: u32] -> i64 { |a, b| a >> b.min(63) }
    Ternary FunnelLeftWrap [A: u32, B: u32, C: u32] -> u32 { |a, b, c| (join(a, b) << (c & 31) >> 32) as u32 }
    Ternary FunnelLeftClamp [A: u32, B: u32, C: u32] -> u32 { |a, b, c| (join(a, b) << c.min(32) >> 32) as u32 }
    Ternary FunnelRightWrap [A: u32, B: u32, C: u32] -> u32 { |a, b, c| (join(a, b) >> (c & 31)) as u32 }
    Ternary FunnelRightClamp [A: u32, B: u32, C: u32] -> u32 { |a, b, c| (join(a, b) >> c.min(32)) as u32 }
    Unary Ones32 [A: u32] -> u32 { |a| a.count_ones() }
    Unary Ones64 [A: u64] -> u32 { |a| a.count_ones() }
    Unary LeadingZeros32 [A: u32] -> u32 { |a| a.leading_zeros() }
    Unary LeadingZeros64 [A: u64] -> u32 { |a| a.leading_zeros() }
    Unary HighestU32 [A: u32] -> u32 { |a| 31u32.wrapping_sub(a.leading_zeros()) }
    Unary HighestU64 [A: u64] -> u32 { |a| 63u32.wrapping_sub(a.leading_zeros()) }
    Unary HighestS32 [A: i32] -> u32 { |a| 31u32.wrapping_sub((a ^ a >> 31).leading_zeros()) }
    Unary HighestS64 [A: i64] -> u32 { |a| 63u32.wrapping_sub((a ^ a >> 63).leading_zeros()) }
    Unary ShiftForU32 [A: u32] -> u32 { |a| if a == 0 { u32::MAX } else { a.leading_zeros() } }
    Unary ShiftForU64 [A: u64] -> u32 { |a| if a == 0 { u32::MAX } else { a.leading_zeros() } }
    Unary ShiftForS32 [A: i32] -> u32 { |a| if a ^ a >> 31 == 0 { u32::MAX } else { (a ^ a >> 31).leading_zeros() } }
    Unary ShiftForS64 [A: i64] -> u32 { |a| if a ^ a >> 63 == 0 { u32::MAX } else { (a ^ a >> 63).leading_zeros() } }
    Unary Reverse32 [A: u32] -> u32 { |a| a.reverse_bits() }
    Unary Reverse64 [A: u64] -> u64 { |a| a.reverse_bits() }
    Ternary ExtractU32 [A: u32, B: u32, C: u32] -> u32 { |a, b, c| extract(a.into(), b, c, 32, false) as u32 }
    Ternary ExtractS32 [A: i32, B: u32, C: u32] -> u32 { |a, b, c| extract(a.into(), b, c, 32, true) as u32 }
    Ternary ExtractU64 [A: u64, B: u32, C: u32] -> u64 { |a, b, c| extract(a.into(), b, c, 64, false) as u64 }
    Ternary ExtractS64 [A: i64, B: u32, C: u32] -> u64 { |a, b, c| extract(a.into(), b, c, 64, true) as u64 }
    Binary MaskClamp [A: u32, B: u32] -> u32 { |a, b| bit_mask(a.min(32), b.min(32)) }
    Binary MaskWrap [A: u32, B: u32] -> u32 { |a, b| bit_mask(a & 31, b & 31) }
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn bit_mask(start: u32, bits: u32) -> u32 {
    (((1u64 << bits) - 1) << start) as u32
}

/// `bfe`: bits from a place (low 8 bits of the operands count); past the top, the sign or 0.
fn extract(a: i128, position: u32, length: u32, width: u32, signed: bool) -> i128 {
    let (position, length) = (position & 255, length & 255);
    if length == 0 {
        return 0;
    }
    let all = if signed { a } else { a & ((1 << width) - 1) };
    let moved = all >> position.min(127);
    let top = length.min(100);
    if signed {
        // The sign is the field's highest bit that exists.
        let highest = (position + length - 1).min(width - 1);
        let negative = a >> highest & 1 == 1;
        let kept = moved & ((1 << top) - 1);
        let have = (highest + 1).saturating_sub(position).min(top);
        let low = kept & ((1i128 << have) - 1);
        if negative { low | -1i128 << have } else { low }
    } else {
        moved & ((1 << top) - 1)
    }
}

/// `lop3`: `extra` is the truth table.
pub(super) struct Logic3;

impl Execute for Logic3 {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let mut out = [0; 32];
        let (a, b) = (u32::lanes(registers, op.a), u32::lanes(registers, op.b));
        let c = u32::lanes(registers, op.c);
        let table: [u32; 8] =
            std::array::from_fn(|bit| if op.extra >> bit & 1 == 1 { u32::MAX } else { 0 });
        for lane in 0..32 {
            let (a, b, c) = (a[lane], b[lane], c[lane]);
            out[lane] = table[0] & !a & !b & !c
                | table[1] & !a & !b & c
                | table[2] & !a & b & !c
                | table[3] & !a & b & c
                | table[4] & a & !b & !c
                | table[5] & a & !b & c
                | table[6] & a & b & !c
                | table[7] & a & b & c;
        }
        let valid = registers.valid(op.a) & registers.valid(op.b) & registers.valid(op.c);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

/// `bfi`: `a` into `b` at the place `c`, of the length in slot `extra`.
pub(super) struct Insert<T>(std::marker::PhantomData<T>);

pub(super) trait Field: Cell {
    const BITS: u32;
    fn wide(self) -> u128;
    fn narrow(value: u128) -> Self;
}

impl Field for u32 {
    const BITS: u32 = 32;
    fn wide(self) -> u128 {
        self.into()
    }
    fn narrow(value: u128) -> u32 {
        value as u32
    }
}

impl Field for u64 {
    const BITS: u32 = 64;
    fn wide(self) -> u128 {
        self.into()
    }
    fn narrow(value: u128) -> u64 {
        value as u64
    }
}

impl<T: Field> Execute for Insert<T> {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let (a, b) = (T::lanes(registers, op.a), T::lanes(registers, op.b));
        let positions = u32::lanes(registers, op.c);
        let lengths = u32::lanes(registers, op.extra as u32);
        let out: [T; 32] = std::array::from_fn(|lane| {
            let position = (positions[lane] & 255).min(T::BITS);
            let length = (lengths[lane] & 255).min(T::BITS - position);
            let field = ((1u128 << length) - 1) << position;
            T::narrow(b[lane].wide() & !field | a[lane].wide() << position & field)
        });
        let valid = registers.valid(op.a)
            & registers.valid(op.b)
            & registers.valid(op.c)
            & registers.valid(op.extra as u32);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

/// `prmt`: `extra` is the mode.
pub(super) struct Permute;

pub(super) const PERMUTE_MODES: [&str; 6] = ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"];

impl Execute for Permute {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let registers = &mut *context.registers;
        let (a, b) = (u32::lanes(registers, op.a), u32::lanes(registers, op.b));
        let c = u32::lanes(registers, op.c);
        let mut out = [0; 32];
        for lane in 0..32 {
            let bytes = join(a[lane], b[lane]).to_le_bytes();
            out[lane] = permute(bytes, c[lane], op.extra);
        }
        let valid = registers.valid(op.a) & registers.valid(op.b) & registers.valid(op.c);
        registers.write(op.d, mask, &out, valid);
        Flow::Next
    }
}

fn permute(bytes: [u8; 8], control: u32, mode: u64) -> u32 {
    let low = control & 3;
    u32::from_le_bytes(std::array::from_fn(|at| {
        let to = at as u32;
        let from = match mode {
            1 => low + to,
            2 => low.wrapping_sub(to) & 7,
            3 => low,
            4 => low.max(to),
            5 => low.min(to),
            6 => (control & 1) * 2 + (to & 1),
            _ => {
                let pick = control >> (4 * to);
                let byte = bytes[pick as usize & 7];
                return if pick & 8 != 0 { (byte as i8 >> 7) as u8 } else { byte };
            }
        };
        bytes[from as usize]
    }))
}

/// Logic of predicates: `extra` is 0 for and, 1 for or, 2 for xor; bits 8 and 9 negate `a` and `b`.
pub(super) struct PredicateLogic;

impl Execute for PredicateLogic {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let (a, b) = (context.registers.predicate(op.a), context.registers.predicate(op.b));
        let negate = |bit: u32| if op.c >> bit & 1 == 1 { u32::MAX } else { 0 };
        let (left, right) = (a.value ^ negate(8), b.value ^ negate(9));
        let (value, valid) = combine(op.c & 3, (left, a.valid), (right, b.valid));
        context.registers.write_predicate(op.d, mask, value, valid);
        Flow::Next
    }
}

/// Two truth values and their validity. What one side settles alone is defined.
#[inline(always)]
pub(super) fn combine(how: u32, (a, va): (u32, u32), (b, vb): (u32, u32)) -> (u32, u32) {
    match how {
        0 => (a & b, va & vb | va & !a | vb & !b),
        1 => (a | b, va & vb | va & a | vb & b),
        _ => (a ^ b, va & vb),
    }
}
