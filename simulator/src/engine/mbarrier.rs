//! The mbarrier object (PTX ISA, "mbarrier"): phases, pending arrivals, transaction bytes.

use crate::memory::{Clocks, Fence, Mark};

/// The most arrivals, and the most bytes outstanding, of a phase.
const MOST: i64 = (1 << 20) - 1;

/// An mbarrier that was initialised.
#[derive(Debug)]
pub(super) struct Mbarrier {
    /// Arrivals that complete the next phase.
    count: u32,
    /// Arrivals that the phase still waits for, and bytes: less than 0 if they came before they were
    /// expected.
    pending: u32,
    bytes: i64,
    phase: u64,
    /// What those who arrived have done, and what those of the last phase had.
    fence: Fence,
    passed: Fence,
    /// The thread that initialised it, and the instruction.
    pub(super) init: Mark,
    pub(super) place: u32,
}

impl Mbarrier {
    pub(super) fn new(count: u32, init: Mark, place: u32) -> Result<Mbarrier, String> {
        if !(1..=MOST).contains(&count.into()) {
            return Err(format!("an mbarrier for {count} arrivals, from 1 to {MOST}"));
        }
        let (fence, passed) = (Fence::default(), Fence::default());
        Ok(Mbarrier { count, pending: count, bytes: 0, phase: 0, fence, passed, init, place })
    }

    /// The opaque state that an arrival gives: the phase, and the arrivals pending before it.
    pub(super) fn state(&self) -> u64 {
        self.phase & u64::from(u32::MAX) | u64::from(self.pending) << 32
    }

    /// `mbarrier.pending_count` of a state.
    pub(super) fn pending_of(state: u64) -> u32 {
        (state >> 32) as u32
    }

    /// More bytes complete the phase.
    pub(super) fn expect(&mut self, bytes: u32) -> Result<(), String> {
        self.bytes += i64::from(bytes);
        self.check_bytes()
    }

    /// Bytes have come. True: the phase is complete.
    pub(super) fn receive(&mut self, bytes: u32) -> Result<bool, String> {
        self.bytes -= i64::from(bytes);
        self.check_bytes()?;
        self.complete()
    }

    fn check_bytes(&self) -> Result<(), String> {
        if self.bytes.abs() > MOST {
            return Err(format!("{} bytes are outstanding, at most {MOST}", self.bytes));
        }
        Ok(())
    }

    /// Arrivals; with `drops`, the phases to come do without them. True: the phase is complete.
    pub(super) fn arrive(&mut self, arrivals: u32, drops: bool) -> Result<bool, String> {
        if arrivals == 0 || arrivals > self.pending {
            return Err(format!(
                "{arrivals} arrive where {} of {} arrivals are pending in phase {}",
                self.pending, self.count, self.phase
            ));
        }
        if drops {
            self.count -= arrivals;
        }
        self.pending -= arrivals;
        self.complete()
    }

    /// One arrival more is pending: of an asynchronous operation that will arrive.
    pub(super) fn add_pending(&mut self) -> Result<(), String> {
        self.pending += 1;
        if i64::from(self.pending) > MOST {
            return Err(format!("{} arrivals are pending, at most {MOST}", self.pending));
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<bool, String> {
        if self.pending > 0 || self.bytes > 0 {
            return Ok(false);
        }
        if self.bytes < 0 {
            return Err(format!(
                "{} bytes more have come than were expected in phase {}",
                -self.bytes, self.phase
            ));
        }
        self.phase += 1;
        self.pending = self.count;
        self.passed = std::mem::take(&mut self.fence);
        Ok(true)
    }

    /// Whether the phase of a state is over.
    pub(super) fn is_over(&self, state: u64) -> Result<bool, String> {
        match (self.phase as u32).wrapping_sub(state as u32) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(format!(
                "a state of phase {}, the mbarrier is in phase {}",
                state as u32, self.phase
            )),
        }
    }

    /// Whether the phase of that parity, the one now or the one before, is over.
    pub(super) fn is_over_by_parity(&self, parity: u32) -> bool {
        self.phase & 1 != u64::from(parity)
    }

    /// What the warp did goes to those who wait for the phase.
    pub(super) fn release(&mut self, clocks: &mut Clocks, warp: u64) {
        clocks.barrier_arrive(warp, &mut self.fence);
    }

    /// The warp has seen that the last phase is over.
    pub(super) fn acquire(&self, clocks: &mut Clocks, warp: u64) {
        clocks.barrier_leave(warp, &self.passed);
    }

    /// For messages: what the phase waits for.
    pub(super) fn describe(&self) -> String {
        format!(
            "phase {}: {} of {} arrivals and {} bytes pending",
            self.phase, self.pending, self.count, self.bytes
        )
    }
}
