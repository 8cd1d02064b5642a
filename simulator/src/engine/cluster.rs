//! A cluster: blocks that are on the device together, and what goes on between them. Without clusters,
//! a block alone.

use super::block::{Block, Common};
use super::cluster_barrier::ClusterBarrier;
use super::context::State;
use super::copy_engine::CopyEngine;
use super::peers::{Peers, Regions, World};
use super::random::Random;
use super::schedule::Pause;
use super::warp::Wait;
use crate::memory::{Memory, Region};

/// What the blocks of a cluster share.
pub(super) struct Cluster {
    pub(super) blocks: Vec<Block>,
    /// By rank.
    shared: Vec<Region>,
    numbers: Vec<u64>,
    engine: CopyEngine,
    barrier: ClusterBarrier,
    /// Bits of the blocks that have exited.
    exited: u32,
    /// The rank of the block that has its turn.
    current: usize,
}

impl Cluster {
    pub(super) fn new(common: &Common<'_>) -> Cluster {
        let count = common.cluster.iter().product::<u32>();
        let launch = common.launch;
        let bytes = u64::from(common.static_shared) + u64::from(launch.dynamic_shared_bytes);
        Cluster {
            blocks: (0..count).map(|rank| Block::new(common, rank)).collect(),
            shared: (0..count).map(|_| Region::new(bytes)).collect(),
            numbers: vec![0; count as usize],
            engine: CopyEngine::new(0, 0),
            barrier: ClusterBarrier::default(),
            exited: 0,
            current: 0,
        }
    }

    /// Begins the cluster of that number. False: local memory does not suffice.
    pub(super) fn start(&mut self, common: &Common<'_>, state: &mut State, number: u64) -> bool {
        let grid = common.launch.grid.map(u64::from);
        let size = common.cluster.map(u64::from);
        let [x, y, _] = [0, 1, 2].map(|axis| grid[axis] / size[axis]);
        let place = [number % x, number / x % y, number / x / y];
        for (rank, block) in self.blocks.iter_mut().enumerate() {
            let rank = rank as u64;
            let within = [rank % size[0], rank / size[0] % size[1], rank / size[0] / size[1]];
            let index = [0, 1, 2].map(|axis| place[axis] * size[axis] + within[axis]);
            self.numbers[rank as usize] = index[0] + grid[0] * (index[1] + grid[1] * index[2]);
            self.shared[rank as usize].reset();
            let number = self.numbers[rank as usize];
            if !block.start(common, state, number, index.map(|at| at as u32)) {
                return false;
            }
        }
        let seed = common.launch.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.engine = CopyEngine::new(self.blocks.len(), seed);
        self.barrier = ClusterBarrier::new(common.threads * self.blocks.len() as u32);
        (self.exited, self.current) = (0, 0);
        true
    }

    /// Chooses the block that goes next, of those that can.
    pub(super) fn turn(&mut self, random: &mut Random) {
        if self.blocks.len() == 1 {
            return;
        }
        let can = |block: &&Block| block.ready != 0;
        let count = self.blocks.iter().filter(can).count() as u32;
        let skip = random.below(count.max(1)) as usize;
        let mut ranks = (0..self.blocks.len()).filter(|&rank| self.blocks[rank].ready != 0);
        self.current = ranks.nth(skip).unwrap_or(0);
    }

    /// Bits of the warps that can go on, of the block that has its turn.
    pub(super) fn ready(&self) -> u32 {
        self.blocks[self.current].ready
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.blocks.iter().all(|block| block.ready == 0)
    }

    pub(super) fn is_done(&self) -> bool {
        self.blocks.iter().all(Block::is_done)
    }

    /// Gives a warp of the block its turn.
    pub(super) fn run(
        &mut self,
        common: &Common<'_>,
        memory: &mut Memory,
        state: &mut State,
        warp: u32,
        (quantum, stray): (u32, bool),
    ) -> Pause {
        let rank = self.current;
        let (before, rest) = self.shared.split_at_mut(rank);
        let Some((own, after)) = rest.split_first_mut() else { return Pause::Blocked };
        let peers = Peers {
            rank: rank as u32,
            before,
            after,
            numbers: &self.numbers,
            exited: self.exited,
            explicit: common.explicit_cluster,
        };
        let block = &mut self.blocks[rank];
        let (engine, barrier) = (&mut self.engine, &mut self.barrier);
        let around = (common.program, &mut *memory, &mut *state);
        let pause = block.run(around, (own, peers), (engine, barrier), warp, (quantum, stray));
        if pause == Pause::Fault {
            return pause;
        }
        if !self.go_on(common, memory, state) {
            return Pause::Fault;
        }
        pause
    }

    /// What follows a turn: copies land, waiters wake, blocks end. False: a fault, which was reported.
    fn go_on(&mut self, common: &Common<'_>, memory: &mut Memory, state: &mut State) -> bool {
        let quiet =
            self.engine.is_idle() && self.engine.woken.is_empty() && !self.barrier.completed;
        if quiet && !self.blocks[self.current].is_done() {
            return true;
        }
        let Some(regions) = Regions::of_all(&mut self.shared) else { return true };
        let mut world = World { program: common.program, memory, state, regions };
        if !self.engine.tick(&mut world) {
            return false;
        }
        for (rank, block) in self.blocks.iter().enumerate() {
            if block.is_done() && self.exited >> rank & 1 == 0 {
                if !self.engine.end_block(&mut world, block.warps[0].place.block) {
                    return false;
                }
                self.exited |= 1 << rank;
                self.engine.exited = self.exited;
            }
        }
        self.wake();
        true
    }

    /// Lets one copy land, since nothing else can go on. False: there is none, or a fault, which then
    /// was reported.
    pub(super) fn settle(
        &mut self,
        common: &Common<'_>,
        memory: &mut Memory,
        state: &mut State,
    ) -> Option<bool> {
        if self.engine.is_idle() {
            return None;
        }
        let regions = Regions::of_all(&mut self.shared)?;
        let mut world = World { program: common.program, memory, state, regions };
        let landed = self.engine.land_one(&mut world);
        self.wake();
        Some(landed)
    }

    fn wake(&mut self) {
        for (rank, offset) in std::mem::take(&mut self.engine.woken) {
            self.blocks[rank as usize].wake(Wait::Phase(offset));
        }
        if std::mem::take(&mut self.barrier.completed) {
            self.blocks.iter_mut().for_each(|block| block.wake(Wait::Cluster));
        }
    }

    /// For messages: what a group of lanes of a block waits for.
    pub(super) fn describe(&self, rank: u32, wait: Wait) -> String {
        match wait {
            Wait::Phase(offset) => {
                let found = self.engine.barrier_now(rank, offset);
                let state = found.map_or(String::from("it is gone"), |it| it.describe());
                format!("the mbarrier at {offset:#x} ({state})")
            }
            _ => self.barrier.describe(),
        }
    }

    pub(super) fn finish(&mut self, state: &mut State) {
        for block in &mut self.blocks {
            block.finish(state);
            state.counters.blocks += 1;
        }
        state.counters.barriers += self.barrier.count;
    }

    pub(super) fn retire(&self, state: &mut State) {
        for shared in &self.shared {
            state.counters.shared.add(&shared.shared_traffic());
        }
    }
}
