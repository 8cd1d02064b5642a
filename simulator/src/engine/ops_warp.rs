//! Instructions in which lanes of a warp meet (PTX ISA, "Parallel Synchronization and Communication
//! Instructions").

use super::context::{Action, Context, Meeting};
use super::instruction::{Execute, Flow, Op};
use super::registers::Cell;
use crate::report::Kind;

/// The lanes that execute together now: those of each member mask whose members have all come. The
/// others wait, or the launch is over.
pub(super) fn together(
    context: &mut Context<'_>,
    members: Option<u32>,
    mask: u32,
) -> Result<Vec<u32>, Flow> {
    let Some(members) = members else { return Ok(vec![mask]) };
    let lanes = *u32::lanes(context.registers, members);
    let mut ready = Vec::with_capacity(1);
    let mut rest = mask;
    while rest != 0 {
        let first = rest.trailing_zeros();
        let named = lanes[first as usize];
        let mut here = 0;
        for (lane, &other) in lanes.iter().enumerate() {
            here |= u32::from(other == named) << lane;
        }
        here &= rest;
        rest &= !here;
        if here & !named != 0 {
            let lane = (here & !named).trailing_zeros();
            let message = format!("the member mask {named:#010x} does not name lane {lane}");
            return Err(context.fault(Kind::Divergence, Some(lane), message));
        }
        if named & context.live & !here == 0 {
            ready.push(here);
        } else {
            let meeting = Meeting { members: named, anywhere: false, aligned: false };
            context.waits.push((here, meeting));
        }
    }
    Ok(ready)
}

/// On, or for the lanes that came too early, not yet.
fn finish(context: &mut Context<'_>) -> Flow {
    if context.waits.is_empty() { Flow::Next } else { context.stop(Action::Converge) }
}

/// `shfl.sync`: `a` is moved by `b` within the segments that `c` tells; `extra`: slot of the members
/// (bits 0 to 23), mode (bits 24 and 25), predicate (from bit 32).
pub(super) struct Shuffle;

impl Execute for Shuffle {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let members = op.extra as u32 & 0xFF_FFFF;
        let all = *u32::lanes(context.registers, members);
        let whole = mask == u32::MAX && all.iter().fold(true, |all, &m| all & (m == u32::MAX));
        if whole {
            shuffle(context, op, mask);
            return Flow::Next;
        }
        match together(context, Some(members), mask) {
            Err(flow) => flow,
            Ok(ready) => {
                for lanes in ready {
                    shuffle(context, op, lanes);
                }
                finish(context)
            }
        }
    }
}

#[inline(always)]
fn shuffle(context: &mut Context<'_>, op: &Op, mask: u32) {
    let registers = &mut *context.registers;
    let values = *u32::lanes(registers, op.a);
    let (moves, shapes) = (u32::lanes(registers, op.b), u32::lanes(registers, op.c));
    let mode = op.extra >> 24 & 3;
    let mut from = [0u32; 32];
    let mut within = [0u32; 32];
    for lane in 0..32u32 {
        let (moved, shape) = (moves[lane as usize] & 31, shapes[lane as usize]);
        let (clamp, segment) = (shape & 31, shape >> 8 & 31);
        let last = lane & segment | clamp & !segment;
        let first = lane & segment;
        let (source, is_within) = match mode {
            0 => (lane.wrapping_sub(moved), lane as i32 - moved as i32 >= last as i32),
            1 => (lane + moved, lane + moved <= last),
            2 => (lane ^ moved, lane ^ moved <= last),
            _ => (first | moved & !segment, first | moved & !segment <= last),
        };
        from[lane as usize] = if is_within { source } else { lane };
        within[lane as usize] = u32::from(is_within) << lane;
    }
    let valid = registers.valid(op.a) & mask;
    let settled = registers.valid(op.b) & registers.valid(op.c);
    let mut out = [0; 32];
    let mut defined = 0;
    for lane in 0..32 {
        out[lane] = values[from[lane] as usize & 31];
        defined |= (valid >> (from[lane] & 31) & 1) << lane;
    }
    // What a lane that does not take part holds is not known.
    for lane in 0..32 {
        out[lane] |= if mask >> (from[lane] & 31) & 1 == 1 { 0 } else { u32::MAX };
    }
    registers.write(op.d, mask, &out, defined & settled);
    let predicate = (op.extra >> 32) as u32;
    if predicate != 0 {
        let within = within.iter().fold(0, |all, bit| all | bit);
        registers.write_predicate(predicate, mask, within, settled);
    }
}

/// `vote`: predicate `a`, flipped by `b`; `c` is the slot of the members, if `extra` has bit 8;
/// `extra`: 0 all, 1 any, 2 uniform, 3 ballot.
pub(super) struct Vote;

impl Execute for Vote {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let ready = match together(context, Some(op.c), mask) {
            Err(flow) => return flow,
            Ok(ready) => ready,
        };
        let predicate = context.registers.predicate(op.a);
        let truth = predicate.value ^ op.b;
        for lanes in ready {
            let valid = if lanes & !predicate.valid == 0 { u32::MAX } else { 0 };
            let outcome = match op.extra & 3 {
                0 => truth & lanes == lanes,
                1 => truth & lanes != 0,
                2 => truth & lanes == lanes || truth & lanes == 0,
                _ => {
                    context.registers.write(op.d, lanes, &[truth & lanes; 32], valid);
                    continue;
                }
            };
            let value = if outcome { u32::MAX } else { 0 };
            context.registers.write_predicate(op.d, lanes, value, valid);
        }
        finish(context)
    }
}

/// `match.sync`: `a` compared by the members `c`; `extra`: bit 0: all; bit 1: 64 bits; the predicate
/// from bit 32.
pub(super) struct Match;

impl Execute for Match {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let ready = match together(context, Some(op.c), mask) {
            Err(flow) => return flow,
            Ok(ready) => ready,
        };
        let registers = &mut *context.registers;
        let values: [u64; 32] = if op.extra & 2 != 0 {
            *u64::lanes(registers, op.a)
        } else {
            u32::lanes(registers, op.a).map(u64::from)
        };
        for lanes in ready {
            let members = || (0..32).filter(|lane| lanes >> lane & 1 == 1);
            let equals = |value: u64| {
                members().filter(|&l| values[l as usize] == value).fold(0u32, |m, l| m | 1 << l)
            };
            let valid = if lanes & !registers.valid(op.a) == 0 { u32::MAX } else { 0 };
            let mut out = [0; 32];
            let mut same = 0;
            for lane in members() {
                let equal = equals(values[lane as usize]);
                let all = equal == lanes;
                same |= u32::from(all) << lane;
                let wanted = op.extra & 1 == 0 || all;
                out[lane as usize] = if wanted { equal } else { 0 };
            }
            registers.write(op.d, lanes, &out, valid);
            let predicate = (op.extra >> 32) as u32;
            if predicate != 0 {
                registers.write_predicate(predicate, lanes, same, valid);
            }
        }
        finish(context)
    }
}

/// `redux.sync`: `extra`: the operation by its place in [`REDUCTIONS`]; `c`: the members.
pub(super) struct Reduce;

pub(super) const REDUCTIONS: [&str; 8] = ["add", "min", "max", "and", "or", "xor", "smin", "smax"];

impl Execute for Reduce {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let ready = match together(context, Some(op.c), mask) {
            Err(flow) => return flow,
            Ok(ready) => ready,
        };
        let registers = &mut *context.registers;
        let values = *u32::lanes(registers, op.a);
        for lanes in ready {
            let valid = if lanes & !registers.valid(op.a) == 0 { u32::MAX } else { 0 };
            let members = (0..32).filter(|lane| lanes >> lane & 1 == 1).map(|lane| values[lane]);
            let combine = |a: u32, b: u32| match op.extra {
                0 => a.wrapping_add(b),
                1 => a.min(b),
                2 => a.max(b),
                3 => a & b,
                4 => a | b,
                5 => a ^ b,
                6 => (a as i32).min(b as i32) as u32,
                _ => (a as i32).max(b as i32) as u32,
            };
            let out = members.reduce(combine).unwrap_or(0);
            registers.write(op.d, lanes, &[out; 32], valid);
        }
        finish(context)
    }
}

/// `activemask`.
pub(super) struct ActiveMask;

impl Execute for ActiveMask {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        context.registers.write(op.d, mask, &[mask; 32], u32::MAX);
        Flow::Next
    }
}

/// `elect.sync`: the leader's lane to `d`, whether it is this lane to the predicate `extra`.
pub(super) struct Elect;

impl Execute for Elect {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let ready = match together(context, Some(op.c), mask) {
            Err(flow) => return flow,
            Ok(ready) => ready,
        };
        for lanes in ready {
            let leader = lanes.trailing_zeros();
            context.registers.write(op.d, lanes, &[leader; 32], u32::MAX);
            context.registers.write_predicate(op.extra as u32, lanes, 1 << leader, u32::MAX);
        }
        finish(context)
    }
}

/// `bar.warp.sync`: `a`: the members. Lanes may come from different places.
pub(super) struct WarpBarrier;

impl Execute for WarpBarrier {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let ready = match together(context, Some(op.a), mask) {
            Err(flow) => return flow,
            Ok(ready) => ready,
        };
        for lanes in ready {
            context.state.clocks.warp_sync(context.place.warp, lanes);
        }
        for (_, meeting) in context.waits.iter_mut() {
            meeting.anywhere = true;
        }
        finish(context)
    }
}
