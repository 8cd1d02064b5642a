//! Instructions of mbarriers (PTX ISA, "Parallel Synchronization and Communication: mbarrier").

use super::context::{Action, Context};
use super::copy_engine::{Origin, fault};
use super::function::Access;
use super::instruction::{Execute, Flow, Op};
use super::mbarrier::Mbarrier;
use super::ops_memory::{addresses, lanes};
use super::registers::Cell;
use crate::memory::{self, Order};
use crate::report::Kind;

/// Its size and alignment in bytes.
const BYTES: u32 = 8;
/// Threads that wait look again without having slept, once in so many times.
const RESTLESS: u32 = 8;

/// What an arrival does beside arriving. In bits 32 and up of `extra`, whose low half is the access.
pub(super) const EXPECTS: u64 = 1 << 32;
pub(super) const DROPS: u64 = 1 << 33;
pub(super) const INCOMPLETE: u64 = 1 << 34;
pub(super) const RELAXED: u64 = 1 << 35;
pub(super) const COUNTED: u64 = 1 << 36;
pub(super) const ARRIVES: u64 = 1 << 37;
/// Of a wait: it may sleep; it names a parity.
pub(super) const SLEEPS: u64 = 1 << 38;
pub(super) const BY_PARITY: u64 = 1 << 39;
/// `cp.async.mbarrier.arrive.noinc`.
pub(super) const WITHOUT_INCREMENT: u64 = 1 << 40;

/// The rank of a block, and an offset in its shared memory.
type Spot = (u32, u64);

pub(super) fn access<'a>(context: &Context<'a>, op: &Op) -> &'a Access {
    &context.function.accesses[(op.extra & u64::from(u32::MAX)) as usize]
}

impl Context<'_> {
    pub(super) fn origin(&self, op: &Op, lane: u32) -> Origin {
        Origin {
            function: self.function.index,
            source: op.source,
            place: self.place,
            lane,
            access: self.function.place(op),
        }
    }

    /// The mbarriers that lanes name: each lane with a rank and an offset.
    fn mbarriers(&mut self, op: &Op, mask: u32) -> Result<Vec<(u32, Spot)>, Flow> {
        let named = access(self, op);
        let all = addresses(self, op, named, mask);
        let mut found = Vec::new();
        for lane in lanes(mask) {
            let place = self.locate(named.window, lane, all[lane as usize], BYTES)?;
            found.push((lane, place));
        }
        Ok(found)
    }

    /// A thread uses an mbarrier: it must be there, and known to be.
    pub(super) fn use_mbarrier(
        &mut self,
        op: &Op,
        lane: u32,
        (rank, offset): Spot,
    ) -> Result<(), Flow> {
        let (init, place) = match self.engine.barrier((rank, offset)) {
            Ok(barrier) => (barrier.init, barrier.place),
            Err(message) => return Err(self.fault(Kind::Barrier, Some(lane), message)),
        };
        let warp = self.place.warp;
        if !self.state.clocks.knows(init, warp, lane) {
            let (earlier, missing) = self.state.clocks.describe_mark(init, "init", warp);
            let name = self.program.name_place(place);
            let message = format!("mbarrier at {offset:#x}: {earlier}{name} ({missing})");
            self.note(op, Kind::Race, lane, message);
        }
        Ok(())
    }

    /// An mbarrier's rules were broken, by a lane.
    fn broken(&mut self, lane: u32, (rank, offset): Spot, why: &str) -> Flow {
        let message = format!("mbarrier at {offset:#x} of block {rank}: {why}");
        self.fault(Kind::Barrier, Some(lane), message)
    }
}

/// The flow of an instruction whose steps may stop it.
fn flow(done: Result<(), Flow>) -> Flow {
    done.err().unwrap_or(Flow::Next)
}

/// `b`: the slot of the arrivals.
pub(super) struct Init;

impl Execute for Init {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        flow(init(context, op, mask))
    }
}

fn init(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    let counts = *u32::lanes(context.registers, op.b);
    let undefined = mask & !context.registers.valid(op.b);
    if undefined != 0 {
        context.note_undefined(op, undefined, "the number of arrivals");
    }
    for (lane, (rank, offset)) in context.mbarriers(op, mask)? {
        if let Some(known) = context.engine.barrier_now(rank, offset) {
            let why = format!("initialised again, without mbarrier.inval ({})", known.describe());
            return Err(context.broken(lane, (rank, offset), &why));
        }
        let (warp, place) = (context.place.warp, context.function.place(op));
        let init = context.state.clocks.mark(warp, lane);
        let barrier = Mbarrier::new(counts[lane as usize], init, place);
        let barrier = barrier.map_err(|why| context.broken(lane, (rank, offset), &why))?;
        own_bytes(context, op, lane, offset)?;
        context.engine.enter_barrier(rank, offset, barrier);
    }
    Ok(())
}

/// From here on, whoever touches the bytes by other instructions races with their keeper.
fn own_bytes(context: &mut Context<'_>, op: &Op, lane: u32, offset: u64) -> Result<(), Flow> {
    let place = context.function.place(op);
    let state = &mut *context.state;
    let keeper = state.clocks.keeper(context.place.block_number);
    state.clocks.employ(keeper, context.place.warp);
    let addresses = [offset; 32];
    let (order, bytes) = (Order::Weak, BYTES);
    let access =
        memory::Access { addresses: &addresses, mask: 1, bytes, order, warp: keeper, place };
    state.data[..BYTES as usize].fill(0xB5);
    let findings = &mut state.findings;
    let written = context
        .shared
        .async_proxy_write(&mut state.clocks, &access, &state.data, 1, findings)
        .and_then(|()| {
            // A write of the same value is found by this read.
            state.clocks.warp_sync(keeper, !0);
            context.shared.async_proxy_read(&mut state.clocks, &access, &mut state.data, findings)
        });
    for finding in findings.iter_mut() {
        finding.lane = lane;
    }
    if !context.state.findings.is_empty() {
        context.note_races(op);
    }
    written.map(|_| ()).map_err(|why| context.access_fault(why, BYTES))
}

/// `mbarrier.inval`.
pub(super) struct Invalidate;

impl Execute for Invalidate {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        flow(invalidate(context, op, mask))
    }
}

fn invalidate(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    for (lane, (rank, offset)) in context.mbarriers(op, mask)? {
        context.use_mbarrier(op, lane, (rank, offset))?;
        context.engine.remove_barrier(rank, offset);
        context.shared.forget(offset, BYTES.into());
    }
    Ok(())
}

/// `mbarrier.arrive`, `arrive_drop`, `expect_tx`, `complete_tx`: `b` is the slot of arrivals or bytes,
/// `d` that of the state.
pub(super) struct Arrive;

impl Execute for Arrive {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        flow(arrive(context, op, mask))
    }
}

fn arrive(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    let has = |what: u64| op.extra & what != 0;
    let numbers = *u32::lanes(context.registers, op.b);
    let undefined = mask & !context.registers.valid(op.b);
    if undefined != 0 {
        context.note_undefined(op, undefined, "the number of arrivals or bytes");
    }
    let mut states = [0; 32];
    for (lane, place) in context.mbarriers(op, mask)? {
        context.use_mbarrier(op, lane, place)?;
        let (number, warp) = (numbers[lane as usize], context.place.warp);
        let clocks = &mut context.state.clocks;
        let done = context.engine.barrier(place).and_then(|barrier| {
            states[lane as usize] = barrier.state();
            if !has(RELAXED) {
                barrier.release(clocks, warp);
            }
            if has(EXPECTS) {
                barrier.expect(number)?;
            }
            if !has(ARRIVES) {
                return if has(EXPECTS) { Ok(false) } else { barrier.receive(number) };
            }
            let complete = barrier.arrive(if has(COUNTED) { number } else { 1 }, has(DROPS))?;
            match complete && has(INCOMPLETE) {
                true => Err("the phase completes by .noComplete".to_owned()),
                false => Ok(complete),
            }
        });
        match done {
            Ok(true) => context.engine.woken.push(place),
            Ok(false) => {}
            Err(why) => return Err(context.broken(lane, place, &why)),
        }
    }
    context.registers.write(op.d, mask, &states, u32::MAX);
    Ok(())
}

/// `mbarrier.test_wait`, `try_wait`: `d` is the predicate, `b` the slot of the state or parity.
pub(super) struct Wait;

impl Execute for Wait {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        flow(wait(context, op, mask))
    }
}

fn wait(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    let by_parity = op.extra & BY_PARITY != 0;
    let registers = &*context.registers;
    let phases = match by_parity {
        true => u32::lanes(registers, op.b).map(u64::from),
        false => *u64::lanes(registers, op.b),
    };
    let undefined = mask & !registers.valid(op.b);
    if undefined != 0 {
        context.note_undefined(op, undefined, "the phase");
    }
    let mut over = 0;
    let mut places = Vec::new();
    for (lane, place) in context.mbarriers(op, mask)? {
        context.use_mbarrier(op, lane, place)?;
        let (phase, warp) = (phases[lane as usize], context.place.warp);
        let clocks = &mut context.state.clocks;
        let found = context.engine.barrier(place).and_then(|barrier| {
            let is_over = match by_parity {
                true if phase > 1 => return Err(format!("parity {phase}, 0 or 1")),
                true => barrier.is_over_by_parity(phase as u32),
                false => barrier.is_over(phase)?,
            };
            if is_over && op.extra & RELAXED == 0 {
                barrier.acquire(clocks, warp);
            }
            Ok(is_over)
        });
        match found {
            Ok(is_over) => over |= u32::from(is_over) << lane,
            Err(why) => return Err(context.broken(lane, place, &why)),
        }
        places.push(place);
    }
    let one = places.iter().all(|place| *place == places[0]);
    let sleeps = op.extra & SLEEPS != 0 && over == 0 && one;
    if sleeps && !context.engine.one_in(RESTLESS) {
        return Err(context.stop(Action::AwaitPhase(places[0].1)));
    }
    context.registers.write_predicate(op.d, mask, over, u32::MAX);
    if over == mask {
        return Ok(());
    }
    context.engine.note_look();
    Err(context.stop(Action::Yield))
}

/// `mbarrier.pending_count`: of the state in `a`.
pub(super) struct PendingCount;

impl Execute for PendingCount {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let counts = u64::lanes(context.registers, op.a).map(Mbarrier::pending_of);
        let valid = context.registers.valid(op.a);
        context.registers.write(op.d, mask, &counts, valid);
        Flow::Next
    }
}

/// `cp.async.mbarrier.arrive`.
pub(super) struct ArriveAfterCopies;

impl Execute for ArriveAfterCopies {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        flow(arrive_after_copies(context, op, mask))
    }
}

fn arrive_after_copies(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    for (lane, place) in context.mbarriers(op, mask)? {
        context.use_mbarrier(op, lane, place)?;
        let origin = context.origin(op, lane);
        let mut done = Ok(());
        if op.extra & WITHOUT_INCREMENT == 0 {
            done = context.engine.barrier(place).and_then(Mbarrier::add_pending);
        }
        if let Err(why) = done {
            return Err(context.stop(Action::Fault(fault(&origin, why))));
        }
        let copies = context.copies.take(1 << lane, None).into_iter().map(|(_, copy)| copy);
        context.engine.arrive_after(origin, copies.collect(), place);
    }
    Ok(())
}
