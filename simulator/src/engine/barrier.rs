//! The sixteen barriers of a block (PTX ISA, "bar, barrier").

use super::context::{BarrierUse, Fault};
use crate::memory::{Clocks, Fence};
use crate::report::Kind;

pub(super) const BARRIERS: usize = 16;

#[derive(Debug, Default)]
struct Barrier {
    /// The threads expected, rounded up to whole warps; none while nobody has arrived.
    expected: Option<u32>,
    /// Nobody named a count: all threads that have not exited.
    everyone: bool,
    /// Threads that arrived, in whole warps where whole warps did.
    arrived: u32,
    /// The same, lane by lane.
    threads: u32,
    /// `bar.red`: lanes with a true and with a false predicate.
    reduces: Option<bool>,
    reduced: (u32, u32),
    fence: Fence,
    /// What the completed phase gives to those who waited.
    outcome: (u32, u32),
    passed: Fence,
}

/// The barriers of one block.
#[derive(Debug)]
pub(super) struct Barriers {
    all: [Barrier; BARRIERS],
    /// Threads of the block, and those that have not exited.
    threads: u32,
    pub(super) live: u32,
    /// Bits of the barriers that completed and whose waiters are still to be woken.
    pub(super) completed: u32,
    pub(super) count: u64,
}

impl Barriers {
    pub(super) fn new(threads: u32) -> Barriers {
        Barriers {
            all: std::array::from_fn(|_| Barrier::default()),
            threads,
            live: threads,
            completed: 0,
            count: 0,
        }
    }

    /// Lanes of a warp arrive. `whole`: they are all of the warp that has not exited.
    pub(super) fn arrive(
        &mut self,
        clocks: &mut Clocks,
        warp: u64,
        whole: bool,
        how: &BarrierUse,
    ) -> Result<(), Fault> {
        let fault = |message: String| {
            let lane = Some(how.lanes.trailing_zeros());
            Err(Fault { kind: Kind::Barrier, lane, message })
        };
        let id = how.id;
        if id as usize >= BARRIERS {
            return fault(format!("barrier {id} is none of 0 to 15"));
        }
        let all = self.threads.next_multiple_of(32);
        let count = how.count.unwrap_or(all);
        if count == 0 || !count.is_multiple_of(32) {
            return fault(format!("barrier {id}: {count} threads are no whole number of warps"));
        }
        if count > all {
            return fault(format!("barrier {id}: {count} threads of a block of {}", self.threads));
        }
        let barrier = &mut self.all[id as usize];
        let everyone = how.count.is_none();
        match barrier.expected {
            None => {
                barrier.everyone = everyone;
                barrier.expected = Some(count);
                barrier.reduces = Some(how.reduction.is_some());
            }
            Some(expected) if expected != count => {
                return fault(format!(
                    "barrier {id}: expects {count} threads, others here expect {expected}"
                ));
            }
            Some(_) => barrier.everyone &= everyone,
        }
        if barrier.reduces != Some(how.reduction.is_some()) {
            return fault(format!("barrier {id}: bar.red meets bar.sync or bar.arrive"));
        }
        let lanes = how.lanes.count_ones();
        barrier.arrived += if whole { 32 } else { lanes };
        barrier.threads += lanes;
        if let Some(truths) = how.reduction {
            barrier.reduced.0 += (truths & how.lanes).count_ones();
            barrier.reduced.1 += (!truths & how.lanes).count_ones();
        }
        if barrier.arrived > count {
            let arrived = barrier.arrived;
            return fault(format!(
                "barrier {id}: {arrived} threads arrive where {count} are expected"
            ));
        }
        clocks.barrier_arrive(warp, &mut barrier.fence);
        self.complete(id);
        Ok(())
    }

    fn complete(&mut self, id: u32) {
        let live = self.live;
        let barrier = &mut self.all[id as usize];
        let Some(expected) = barrier.expected else { return };
        let done = barrier.arrived == expected || barrier.everyone && barrier.threads == live;
        if done {
            let outcome = barrier.reduced;
            let passed = std::mem::take(&mut barrier.fence);
            *barrier = Barrier { outcome, passed, ..Barrier::default() };
            self.completed |= 1 << id;
            self.count += 1;
        }
    }

    /// Threads have exited.
    pub(super) fn exit(&mut self, lanes: u32) {
        self.live -= lanes.count_ones();
        (0..BARRIERS as u32).for_each(|id| self.complete(id));
    }

    /// What those who waited take along: true and false predicates of `bar.red`, and the order.
    pub(super) fn outcome(&self, id: u32) -> ((u32, u32), &Fence) {
        let barrier = &self.all[id as usize];
        (barrier.outcome, &barrier.passed)
    }

    /// For messages: who is missing.
    pub(super) fn describe(&self, id: u32) -> String {
        let barrier = &self.all[id as usize];
        let expected = if barrier.everyone { self.live } else { barrier.expected.unwrap_or(0) };
        let arrived = if barrier.everyone { barrier.threads } else { barrier.arrived };
        format!("barrier {id} ({arrived} of {expected} threads arrived)")
    }
}
