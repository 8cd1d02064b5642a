//! `cp.async` and its waits (PTX ISA, "Data Movement and Conversion Instructions: Asynchronous copy").

use super::asynchronous::Copy;
use super::context::{Action, Context};
use super::function::Window;
use super::instruction::{Execute, Flow, Op};
use super::ops_memory::{addresses, lanes, read, write};
use super::registers::Cell;
use crate::memory::Order;

/// `cp.async`: `b` is the slot of the bytes to read; `extra` the access of the source, after which
/// comes that of the destination.
pub(super) struct CopyAsync;

impl Execute for CopyAsync {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let (from, to) = (&function.accesses[op.extra as usize], op.extra as usize + 1);
        let to = &function.accesses[to];
        let bytes = from.bytes;
        let place = function.place(op);
        let how = (from.order, place);
        let (source, target) =
            (addresses(context, op, from, mask), addresses(context, op, to, mask));
        let lengths = *u32::lanes(context.registers, op.b);
        let undefined = mask & !context.registers.valid(op.b);
        if undefined != 0 {
            context.note_undefined(op, undefined, "the number of bytes");
        }
        let whole = lanes(mask).filter(|&lane| lengths[lane as usize] >= bytes);
        let whole = whole.fold(0, |mask, lane| mask | 1 << lane);
        let mut copies: Vec<(u32, [u8; 16], bool)> = Vec::new();
        for lane in lanes(mask & !whole) {
            copies.push((lane, [0; 16], true));
        }
        if whole != 0 {
            match read(context, Window::Global, &source, whole, bytes, how) {
                Err(fault) => return context.access_fault(fault, bytes),
                Ok(written) => {
                    for lane in lanes(whole) {
                        let mut data = [0; 16];
                        let at = (lane * bytes) as usize;
                        let part = &context.state.data[at..at + bytes as usize];
                        data[..bytes as usize].copy_from_slice(part);
                        copies.push((lane, data, written >> lane & 1 == 1));
                    }
                }
            }
        }
        for (lane, data, _) in copies.iter_mut().filter(|c| whole >> c.0 & 1 == 0) {
            // Part of the bytes: the rest is zero.
            for at in 0..lengths[*lane as usize] {
                let one = source.map(|address| address.wrapping_add(at.into()));
                match read(context, Window::Global, &one, 1 << *lane, 1, how) {
                    Err(fault) => return context.access_fault(fault, 1),
                    Ok(_) => data[at as usize] = context.state.data[*lane as usize],
                }
            }
        }
        // Until it is waited for, nothing defined is there.
        let poisoned =
            write(context, Window::Shared, &target, mask, bytes, (Order::Weak, place), 0);
        if let Err(fault) = poisoned {
            return context.access_fault(fault, bytes);
        }
        for (lane, data, defined) in copies {
            let to = target[lane as usize];
            context.copies.push(lane, Copy { to, bytes, data, defined, place });
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

pub(super) struct CommitCopies;

impl Execute for CommitCopies {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        context.copies.commit(mask);
        Flow::Next
    }
}

/// `cp.async.wait_group`: `extra` groups may be left, or u64::MAX for `wait_all`.
pub(super) struct WaitCopies;

impl Execute for WaitCopies {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let left = if op.extra == u64::MAX { None } else { Some(op.extra as u32) };
        let warp = context.place.warp;
        let (engine, mut world) = context.world();
        if let Err(fault) = engine.finish_arrivals(&mut world, warp, mask) {
            return context.stop(Action::Fault(fault));
        }
        for (lane, copy) in context.copies.take(mask, left) {
            let mut target = [0; 32];
            target[lane as usize] = copy.to;
            let at = (lane * copy.bytes) as usize;
            let bytes = copy.bytes as usize;
            context.state.data[at..at + bytes].copy_from_slice(&copy.data[..bytes]);
            let (lane, defined) = (1 << lane, if copy.defined { u32::MAX } else { 0 });
            let how = (Order::Weak, copy.place);
            let written = write(context, Window::Shared, &target, lane, copy.bytes, how, defined);
            if let Err(fault) = written {
                return context.access_fault(fault, copy.bytes);
            }
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}
