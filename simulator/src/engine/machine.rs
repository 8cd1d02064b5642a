//! The PTX engine as the schedule sees it.

use super::block::{Block, Common};
use super::cluster::Cluster;
use super::context::{Fault, State};
use super::random::Random;
use super::schedule::{Machine, Pause};
use crate::memory::Memory;
use crate::report::Kind;

/// A launch on its way.
pub(super) struct Ptx<'a> {
    pub(super) common: Common<'a>,
    pub(super) memory: &'a mut Memory,
    pub(super) state: State,
}

impl Ptx<'_> {
    fn end(&mut self, block: &Block, message: String) {
        let program = self.common.program;
        let function = &program.functions[self.common.function as usize];
        let fault = Fault { kind: Kind::Launch, lane: None, message };
        self.state.report(program, function, u32::MAX, block.warps[0].place, fault);
    }
}

impl Machine for Ptx<'_> {
    type Block = Cluster;

    fn grid(&self) -> [u32; 3] {
        [0, 1, 2].map(|axis| self.common.launch.grid[axis] / self.common.cluster[axis])
    }

    fn most_resident(&self) -> u64 {
        let Common { launch, static_shared, threads, .. } = self.common;
        let device = launch.device;
        let shared = static_shared + launch.dynamic_shared_bytes;
        let by_threads = (2048 / threads.next_multiple_of(32)).max(1);
        let by_shared =
            device.max_shared_bytes.checked_div(shared.next_multiple_of(1024)).unwrap_or(32);
        let blocks = u64::from(by_threads.min(by_shared.max(1)).min(32))
            * u64::from(device.multiprocessors.max(1));
        (blocks / u64::from(self.common.cluster.iter().product::<u32>())).max(1)
    }

    fn instruction_limit(&self) -> u64 {
        self.common.launch.instruction_limit
    }

    fn issued(&self) -> u64 {
        self.state.counters.warp_instructions
    }

    fn set_seed(&mut self, seed: u64) {
        self.state.random = Random::new(seed);
    }

    fn new_block(&self) -> Cluster {
        Cluster::new(&self.common)
    }

    fn start(&mut self, cluster: &mut Cluster, number: u64) -> bool {
        let started = cluster.start(&self.common, &mut self.state, number);
        if !started {
            let message = String::from("local memory is larger than a thread may have");
            self.end(&cluster.blocks[0], message);
        }
        started
    }

    fn turn(&mut self, cluster: &mut Cluster, random: &mut Random) {
        cluster.turn(random);
    }

    fn ready(cluster: &Cluster) -> u32 {
        cluster.ready()
    }

    fn is_stuck(cluster: &Cluster) -> bool {
        cluster.is_stuck()
    }

    fn settle(&mut self, cluster: &mut Cluster) -> Option<bool> {
        cluster.settle(&self.common, self.memory, &mut self.state)
    }

    fn is_done(cluster: &Cluster) -> bool {
        cluster.is_done()
    }

    fn run(&mut self, cluster: &mut Cluster, warp: u32, quantum: u32, stray: bool) -> Pause {
        cluster.run(&self.common, self.memory, &mut self.state, warp, (quantum, stray))
    }

    fn finish(&mut self, cluster: &mut Cluster) {
        cluster.finish(&mut self.state);
    }

    fn stuck(&mut self, cluster: &Cluster) {
        let program = self.common.program;
        let waits = |block: &&Block| !block.is_done();
        let Some(block) = cluster.blocks.iter().find(waits) else { return };
        let (fault, place, source) = block.stuck(program, cluster);
        let (function, source) = source.unwrap_or((self.common.function, u32::MAX));
        let function = &program.functions[function as usize];
        self.state.report(program, function, source, place, fault);
    }

    fn give_up(&mut self, cluster: &Cluster, message: String) {
        self.end(&cluster.blocks[0], message);
    }

    fn retire(&mut self, cluster: &Cluster) {
        cluster.retire(&mut self.state);
    }
}
