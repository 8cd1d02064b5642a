//! A block: its warps and barriers.

use super::barrier::Barriers;
use super::cluster::Cluster;
use super::cluster_barrier::ClusterBarrier;
use super::context::{Fault, Place, State};
use super::copy_engine::CopyEngine;
use super::peers::Peers;
use super::schedule::Pause;
use super::special::Identity;
use super::warp::{Surroundings, Wait, Warp};
use super::warpgroup::{WARPS, Warpgroups};
use super::{Launch, Program};
use crate::memory::{Memory, Region};

/// A block on the device.
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) warps: Vec<Warp>,
    barriers: Barriers,
    warpgroups: Warpgroups,
    /// Bits of the warps that can go on.
    pub(super) ready: u32,
}

/// What all blocks of a launch have in common.
pub(super) struct Common<'a> {
    pub(super) program: &'a Program,
    pub(super) launch: &'a Launch<'a>,
    pub(super) function: u32,
    pub(super) static_shared: u32,
    pub(super) threads: u32,
    /// Blocks of a cluster, and whether the launch or the kernel asks for clusters.
    pub(super) cluster: [u32; 3],
    pub(super) explicit_cluster: bool,
    /// Warps of a block, with the engines that count as such.
    pub(super) stride: u64,
}

impl Block {
    pub(super) fn new(common: &Common<'_>, rank: u32) -> Block {
        let launch = common.launch;
        let warps = (0..common.threads.div_ceil(32)).map(|index| {
            let place = Place { block: [0; 3], block_number: 0, rank, warp: 0, index };
            let identity = Identity {
                block: [0; 3],
                grid: launch.grid,
                cluster: common.cluster,
                rank,
                threads: launch.block,
                warp: index,
                multiprocessor: 0,
                multiprocessors: launch.device.multiprocessors,
                static_shared: common.static_shared,
                dynamic_shared: launch.dynamic_shared_bytes,
            };
            Warp::new(place, identity, 0)
        });
        Block {
            number: 0,
            warps: warps.collect(),
            barriers: Barriers::new(common.threads),
            warpgroups: Warpgroups::new(common.threads),
            ready: 0,
        }
    }

    /// Begins the block of that number. False: local memory does not suffice.
    pub(super) fn start(
        &mut self,
        common: &Common<'_>,
        state: &mut State,
        number: u64,
        index: [u32; 3],
    ) -> bool {
        self.number = number;
        self.barriers = Barriers::new(common.threads);
        self.warpgroups = Warpgroups::new(common.threads);
        self.ready = 0;
        state.clocks.start_block(number);
        for (at, warp) in self.warps.iter_mut().enumerate() {
            let threads = (common.threads - at as u32 * 32).min(32);
            warp.live = u32::MAX >> (32 - threads);
            warp.place = Place {
                block: index,
                block_number: number,
                warp: number * common.stride + at as u64,
                ..warp.place
            };
            warp.identity.block = index;
            let multiprocessors = u64::from(common.launch.device.multiprocessors.max(1));
            warp.identity.multiprocessor = (number % multiprocessors) as u32;
            if !warp.start(common.program, common.function) {
                return false;
            }
            self.ready |= 1 << at;
        }
        true
    }

    pub(super) fn is_done(&self) -> bool {
        self.barriers.live == 0
    }

    /// Gives a warp its turn.
    pub(super) fn run(
        &mut self,
        (program, memory, state): (&Program, &mut Memory, &mut State),
        (shared, peers): (&mut Region, Peers<'_>),
        (engine, cluster): (&mut CopyEngine, &mut ClusterBarrier),
        warp: u32,
        (quantum, stray): (u32, bool),
    ) -> Pause {
        let mut around = Surroundings {
            program,
            memory,
            shared,
            peers,
            engine,
            cluster,
            barriers: &mut self.barriers,
            warpgroups: &mut self.warpgroups,
            state: &mut *state,
        };
        let pause = self.warps[warp as usize].run(&mut around, quantum, stray);
        if pause == Pause::Fault {
            return pause;
        }
        while self.barriers.completed != 0 {
            let id = self.barriers.completed.trailing_zeros();
            self.barriers.completed &= self.barriers.completed - 1;
            for (at, warp) in self.warps.iter_mut().enumerate() {
                warp.wake(program, &self.barriers, state, id);
                self.ready = self.ready & !(1 << at) | u32::from(warp.is_ready()) << at;
            }
        }
        self.wake_warpgroups();
        let ready = u32::from(self.warps[warp as usize].is_ready());
        self.ready = self.ready & !(1 << warp) | ready << warp;
        pause
    }

    /// Lets those look again who wait so.
    pub(super) fn wake(&mut self, wait: Wait) {
        for (at, warp) in self.warps.iter_mut().enumerate() {
            for group in warp.groups.iter_mut().filter(|group| group.wait == wait) {
                group.wait = Wait::Ready;
                self.ready |= 1 << at;
            }
        }
    }

    /// Lets those look again who waited for others of their warpgroup.
    fn wake_warpgroups(&mut self) {
        let changed = std::mem::take(&mut self.warpgroups.changed);
        if changed == 0 {
            return;
        }
        for (at, warp) in self.warps.iter_mut().enumerate() {
            if changed >> (at as u32 / WARPS) & 1 == 0 {
                continue;
            }
            for group in warp.groups.iter_mut().filter(|group| group.wait == Wait::Warpgroup) {
                group.wait = Wait::Ready;
                self.ready |= 1 << at;
            }
        }
    }

    /// The report for a block in which nothing can go on.
    pub(super) fn stuck(
        &self,
        program: &Program,
        cluster: &Cluster,
    ) -> (Fault, Place, Option<(u32, u32)>) {
        let waits: Vec<String> = self
            .warps
            .iter()
            .flat_map(|warp| warp.describe(program, &self.barriers, &self.warpgroups, cluster))
            .collect();
        let blamed =
            self.warps.iter().find(|warp| warp.blame().is_fatal() && !warp.groups.is_empty());
        let kinds = self.warps.iter().map(Warp::blame);
        let kind = kinds
            .into_iter()
            .find(|kind| *kind == crate::report::Kind::Divergence)
            .unwrap_or(crate::report::Kind::Deadlock);
        let blamed = self
            .warps
            .iter()
            .find(|warp| warp.blame() == kind && !warp.groups.is_empty())
            .or(blamed);
        let place = blamed.map_or(self.warps[0].place, |warp| warp.place);
        let group = blamed.and_then(|warp| {
            let group = warp.groups.first()?;
            let frame = &warp.frames[group.frame as usize];
            let function = &program.functions[frame.function as usize];
            Some((frame.function, function.ops[group.pc as usize].source, group.mask))
        });
        let lane = group.map(|(_, _, mask)| mask.trailing_zeros());
        let mut message = format!("nothing can go on: {}", waits[..waits.len().min(8)].join("; "));
        if waits.len() > 8 {
            message += &format!("; and {} more", waits.len() - 8);
        }
        (Fault { kind, lane, message }, place, group.map(|(f, s, _)| (f, s)))
    }

    pub(super) fn finish(&mut self, state: &mut State) {
        state.counters.barriers += std::mem::take(&mut self.barriers.count);
        state.clocks.end_block(self.number);
    }
}
