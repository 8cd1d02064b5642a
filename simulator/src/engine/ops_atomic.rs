//! What atomics do with the old value (PTX ISA, "atom", "red").

use super::context::Context;
use super::function::{Element, Window};
use super::instruction::{Execute, Flow, Op};
use super::ops_half::{Bf16, F16, Half};
use super::ops_memory::{addresses, by_window, outside};
use super::registers::Cell;
use crate::memory;
use crate::report::Kind;

/// An atomic: `extra`: index of the access; its elements are the destination and the operands.
pub(super) struct Atomic<O>(std::marker::PhantomData<O>);

/// What an atomic does with the old bits and its operands.
pub(super) trait Update {
    fn update(old: u64, b: u64, c: u64) -> u64;
}

impl<O: Update> Execute for Atomic<O> {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let access = &function.accesses[op.extra as usize];
        let base = addresses(context, op, access, mask);
        let operand = |context: &Context<'_>, slot: u32| -> [u64; 32] {
            if access.bytes == 8 {
                *u64::lanes(context.registers, slot)
            } else {
                u32::lanes(context.registers, slot).map(u64::from)
            }
        };
        let (b, c) = (operand(context, op.b), operand(context, op.c));
        let undefined = mask & !(context.registers.valid(op.b) & context.registers.valid(op.c));
        if undefined != 0 {
            context.note_undefined(op, undefined, "the operand of an atomic");
        }
        let mut old = [0u64; 32];
        let mut written = 0;
        let result = by_window(access.window, &base, mask, |window, addresses, mask| {
            let (order, count) = context.state.random.order(mask);
            let mut update = |lane: u32, bytes: &mut [u8]| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let before = u64::from_le_bytes(word);
                old[lane as usize] = before;
                let after = O::update(before, b[lane as usize], c[lane as usize]);
                bytes.copy_from_slice(&after.to_le_bytes()[..bytes.len()]);
            };
            let shape = memory::Access {
                addresses,
                mask,
                bytes: access.bytes,
                order: access.order,
                warp: context.place.warp,
                place: function.place(op),
            };
            let lanes = &order[..count];
            if window == Window::Cluster {
                return context.by_rank(addresses, mask, |region, state, addresses, mask| {
                    let shape = memory::Access { addresses, mask, ..shape.clone() };
                    let (clocks, findings) = (&mut state.clocks, &mut state.findings);
                    written |= region.atomic(clocks, &shape, lanes, &mut update, findings)?;
                    Ok(())
                });
            }
            let state = &mut *context.state;
            let (clocks, findings) = (&mut state.clocks, &mut state.findings);
            written |= match window {
                Window::Global => {
                    context.memory.atomic(clocks, &shape, lanes, &mut update, findings)?
                }
                Window::Shared => {
                    context.shared.atomic(clocks, &shape, lanes, &mut update, findings)?
                }
                _ => {
                    let lane = mask.trailing_zeros();
                    let what = "space has no atomics; it";
                    return Err(outside(lane, addresses[lane as usize], what, 0));
                }
            };
            Ok(())
        });
        if let Err(fault) = result {
            return context.access_fault(fault, access.bytes);
        }
        if let Some(Element { slot: Some(slot), .. }) = access.elements.first() {
            if access.bytes == 8 {
                context.registers.write(*slot, mask, &old, written);
            } else {
                context.registers.write(*slot, mask, &old.map(|v| v as u32), written);
            }
        }
        if mask & !written != 0 {
            context.note(
                op,
                Kind::Uninitialized,
                (mask & !written).trailing_zeros(),
                String::from("the atomic's memory was never written"),
            );
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

macro_rules! updates {
    ($($name:ident |$old:ident, $b:ident, $c:ident| $body:expr;)*) => {$(
        pub(super) struct $name;
        impl Update for $name {
            fn update($old: u64, $b: u64, $c: u64) -> u64 {
                $body
            }
        }
    )*};
}

updates! {
    Exchange |_old, b, _c| b;
    CompareAndSwap16 |old, b, c| if old as u16 == b as u16 { c } else { old };
    CompareAndSwap32 |old, b, c| if old as u32 == b as u32 { c } else { old };
    CompareAndSwap64 |old, b, c| if old == b { c } else { old };
    Add |old, b, _c| old.wrapping_add(b);
    And |old, b, _c| old & b;
    Or |old, b, _c| old | b;
    Xor |old, b, _c| old ^ b;
    MinU32 |old, b, _c| u64::from((old as u32).min(b as u32));
    MaxU32 |old, b, _c| u64::from((old as u32).max(b as u32));
    MinS32 |old, b, _c| (old as i32).min(b as i32) as u64;
    MaxS32 |old, b, _c| (old as i32).max(b as i32) as u64;
    MinU64 |old, b, _c| old.min(b);
    MaxU64 |old, b, _c| old.max(b);
    MinS64 |old, b, _c| (old as i64).min(b as i64) as u64;
    MaxS64 |old, b, _c| (old as i64).max(b as i64) as u64;
    Increment |old, b, _c| if old as u32 >= b as u32 { 0 } else { old + 1 };
    Decrement |old, b, _c| if old as u32 == 0 || old as u32 > b as u32 { b } else { old - 1 };
    AddF32 |old, b, _c| {
        let sum = f32::from_bits(old as u32) + f32::from_bits(b as u32);
        if sum.is_nan() { 0x7FFF_FFFF } else { sum.to_bits().into() }
    };
    AddF64 |old, b, _c| (f64::from_bits(old) + f64::from_bits(b)).to_bits();
    AddF16 |old, b, _c| add::<F16>(old, b, 1);
    AddBf16 |old, b, _c| add::<Bf16>(old, b, 1);
    AddF16x2 |old, b, _c| add::<F16>(old, b, 2);
    AddBf16x2 |old, b, _c| add::<Bf16>(old, b, 2);
}

fn add<H: Half>(old: u64, b: u64, count: u32) -> u64 {
    (0..count).fold(0, |all, at| {
        let part = |from: u64| H::widen((from >> (16 * at)) as u16);
        all | u64::from(H::narrow(part(old) + part(b))) << (16 * at)
    })
}
