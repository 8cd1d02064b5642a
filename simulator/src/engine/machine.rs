//! The PTX engine as the schedule sees it.

use super::block::{Block, Common};
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
    type Block = Block;

    fn grid(&self) -> [u32; 3] {
        self.common.launch.grid
    }

    fn most_resident(&self) -> u64 {
        let Common { launch, static_shared, threads, .. } = self.common;
        let device = launch.device;
        let shared = static_shared + launch.dynamic_shared_bytes;
        let by_threads = (2048 / threads.next_multiple_of(32)).max(1);
        let by_shared =
            device.max_shared_bytes.checked_div(shared.next_multiple_of(1024)).unwrap_or(32);
        u64::from(by_threads.min(by_shared.max(1)).min(32))
            * u64::from(device.multiprocessors.max(1))
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

    fn new_block(&self) -> Block {
        Block::new(&self.common)
    }

    fn start(&mut self, block: &mut Block, number: u64) -> bool {
        let started = block.start(&self.common, &mut self.state, number);
        if !started {
            self.end(block, String::from("local memory is larger than a thread may have"));
        }
        started
    }

    fn ready(block: &Block) -> u32 {
        block.ready
    }

    fn is_done(block: &Block) -> bool {
        block.is_done()
    }

    fn run(&mut self, block: &mut Block, warp: u32, quantum: u32, stray: bool) -> Pause {
        let program = self.common.program;
        block.run(program, self.memory, &mut self.state, warp, quantum, stray)
    }

    fn finish(&mut self, block: &mut Block) {
        block.finish(&mut self.state);
        self.state.counters.blocks += 1;
    }

    fn stuck(&mut self, block: &Block) {
        let program = self.common.program;
        let (fault, place, source) = block.stuck(program);
        let (function, source) = source.unwrap_or((self.common.function, u32::MAX));
        let function = &program.functions[function as usize];
        self.state.report(program, function, source, place, fault);
    }

    fn give_up(&mut self, block: &Block, message: String) {
        self.end(block, message);
    }

    fn retire(&mut self, block: &Block) {
        self.state.counters.shared.add(&block.shared_traffic());
    }
}
