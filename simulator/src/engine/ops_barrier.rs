//! Barriers of the block (PTX ISA, "bar, barrier").

use super::context::{Action, BarrierUse, Context, Meeting};
use super::instruction::{Execute, Flow, Op};
use super::registers::{Cell, Registers};
use crate::report::Kind;

pub(super) const ALIGNED: u64 = 1;
pub(super) const ARRIVES: u64 = 2;
pub(super) const COUNTED: u64 = 4;
/// `bar.red`, in bits 8 and 9: 1 popc, 2 and, 3 or. Its predicate is `c`, flipped by bit 10; its
/// result `d`.
pub(super) const REDUCES_SHIFT: u32 = 8;
pub(super) const NEGATED: u64 = 1 << 10;

/// `a`: the barrier, `b`: the threads if `COUNTED`.
pub(super) struct Barrier;

impl Execute for Barrier {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if op.extra & ALIGNED != 0 && context.live & !mask != 0 {
            let meeting = Meeting { members: u32::MAX, anywhere: false, aligned: true };
            context.waits.push((mask, meeting));
            return context.stop(Action::Converge);
        }
        let registers = &*context.registers;
        let first = mask.trailing_zeros() as usize;
        let (ids, counts) = (u32::lanes(registers, op.a), u32::lanes(registers, op.b));
        let (id, count) = (ids[first], counts[first]);
        let counted = op.extra & COUNTED != 0;
        let lanes = (0..32).filter(|lane| mask >> lane & 1 == 1);
        let same = |lane: usize| ids[lane] == id && (!counted || counts[lane] == count);
        if let Some(lane) = lanes.into_iter().find(|&lane| !same(lane)) {
            let message = format!("lanes {first} and {lane} name different barriers or counts");
            return context.fault(Kind::Barrier, Some(lane as u32), message);
        }
        let mut undefined = mask & !registers.valid(op.a);
        if counted {
            undefined |= mask & !registers.valid(op.b);
        }
        if undefined != 0 {
            context.note_undefined(op, undefined, "the barrier's number or count");
        }
        let reduction = (op.extra >> REDUCES_SHIFT & 3 != 0).then(|| {
            let truth = context.registers.predicate(op.c).value;
            if op.extra & NEGATED != 0 { !truth } else { truth }
        });
        context.stop(Action::Barrier(BarrierUse {
            id,
            count: counted.then_some(count),
            lanes: mask,
            waits: op.extra & ARRIVES == 0,
            reduction,
        }))
    }
}

/// Gives lanes that waited the result of `bar.red`.
pub(super) fn deliver(registers: &mut Registers, op: &Op, mask: u32, truths: u32, falsehoods: u32) {
    match op.extra >> REDUCES_SHIFT & 3 {
        1 => registers.write(op.d, mask, &[truths; 32], u32::MAX),
        2 => {
            let value = if falsehoods == 0 { u32::MAX } else { 0 };
            registers.write_predicate(op.d, mask, value, u32::MAX);
        }
        3 => {
            let value = if truths != 0 { u32::MAX } else { 0 };
            registers.write_predicate(op.d, mask, value, u32::MAX);
        }
        _ => {}
    }
}
