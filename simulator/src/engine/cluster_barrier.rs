//! The barrier of a cluster (PTX ISA, "barrier.cluster").

use std::collections::HashMap;

use super::context::{Action, Context, Meeting};
use super::instruction::{Execute, Flow, Op};
use super::ops_memory::lanes;
use crate::memory::{Clocks, Fence};
use crate::report::Kind;

/// Of one cluster, while it executes.
#[derive(Debug, Default)]
pub(super) struct ClusterBarrier {
    /// Threads that have not exited, and those of them that arrived.
    live: u32,
    arrived: u32,
    phase: u64,
    fence: Fence,
    passed: Fence,
    /// By warp: the lanes that arrived and have not waited yet, and in which phase.
    waiting: HashMap<u64, (u32, [u64; 32])>,
    /// A phase completed, and its waiters are still to be woken.
    pub(super) completed: bool,
    pub(super) count: u64,
}

impl ClusterBarrier {
    pub(super) fn new(threads: u32) -> ClusterBarrier {
        ClusterBarrier { live: threads, ..ClusterBarrier::default() }
    }

    fn arrive(
        &mut self,
        clocks: &mut Clocks,
        warp: u64,
        mask: u32,
        relaxed: bool,
    ) -> Result<(), (u32, String)> {
        let (waiting, phases) = self.waiting.entry(warp).or_insert((0, [0; 32]));
        if *waiting & mask != 0 {
            let lane = (*waiting & mask).trailing_zeros();
            return Err((lane, String::from("arrives again without having waited")));
        }
        *waiting |= mask;
        lanes(mask).for_each(|lane| phases[lane as usize] = self.phase);
        if !relaxed {
            clocks.barrier_arrive(warp, &mut self.fence);
        }
        self.arrived += mask.count_ones();
        self.complete();
        Ok(())
    }

    /// Whether the phase that these lanes arrived in is over; then they have waited.
    fn wait(&mut self, clocks: &mut Clocks, warp: u64, mask: u32) -> Result<bool, (u32, String)> {
        let (waiting, phases) = self.waiting.entry(warp).or_insert((0, [0; 32]));
        if mask & !*waiting != 0 {
            let lane = (mask & !*waiting).trailing_zeros();
            return Err((lane, String::from("waits without having arrived")));
        }
        if lanes(mask).any(|lane| phases[lane as usize] == self.phase) {
            return Ok(false);
        }
        *waiting &= !mask;
        clocks.barrier_leave(warp, &self.passed);
        Ok(true)
    }

    /// Threads have exited; they count as having arrived.
    pub(super) fn exit(&mut self, warp: u64, mask: u32) {
        self.live -= mask.count_ones();
        if let Some((waiting, phases)) = self.waiting.get_mut(&warp) {
            let now = lanes(*waiting & mask).filter(|&lane| phases[lane as usize] == self.phase);
            self.arrived -= now.count() as u32;
            *waiting &= !mask;
        }
        self.complete();
    }

    fn complete(&mut self) {
        if self.arrived == 0 || self.arrived < self.live {
            return;
        }
        self.phase += 1;
        self.arrived = 0;
        self.passed = std::mem::take(&mut self.fence);
        self.completed = true;
        self.count += 1;
    }

    /// For messages: who is missing.
    pub(super) fn describe(&self) -> String {
        format!("the cluster's barrier ({} of {} threads arrived)", self.arrived, self.live)
    }
}

pub(super) const ALIGNED: u64 = 1;
pub(super) const RELAXED: u64 = 2;

/// `barrier.cluster.arrive`.
pub(super) struct ArriveCluster;
/// `barrier.cluster.wait`.
pub(super) struct WaitCluster;

/// Whether the lanes must meet first.
fn diverges(context: &mut Context<'_>, op: &Op, mask: u32) -> bool {
    let apart = op.extra & ALIGNED != 0 && context.live & !mask != 0;
    if apart {
        let meeting = Meeting { members: u32::MAX, anywhere: false, aligned: true };
        context.waits.push((mask, meeting));
    }
    apart
}

impl Execute for ArriveCluster {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if diverges(context, op, mask) {
            return context.stop(Action::Converge);
        }
        let (warp, relaxed) = (context.place.warp, op.extra & RELAXED != 0);
        let clocks = &mut context.state.clocks;
        match context.cluster.arrive(clocks, warp, mask, relaxed) {
            Ok(()) => Flow::Next,
            Err((lane, why)) => context.fault(Kind::Barrier, Some(lane), why),
        }
    }
}

impl Execute for WaitCluster {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if diverges(context, op, mask) {
            return context.stop(Action::Converge);
        }
        let (warp, clocks) = (context.place.warp, &mut context.state.clocks);
        match context.cluster.wait(clocks, warp, mask) {
            Ok(true) => Flow::Next,
            Ok(false) => context.stop(Action::AwaitCluster),
            Err((lane, why)) => context.fault(Kind::Barrier, Some(lane), why),
        }
    }
}
