//! A workgroup: its waves, LDS and barrier; and a launch as the schedule sees it.

use super::execute::Execution;
use super::function::Function;
use super::instruction::Operand;
use super::memory::{KERNARG, PACKET};
use super::object::Description;
use super::state::{Fault, State};
use super::wave::{Place, Status, Wave};
use crate::engine::Launch;
use crate::engine::schedule::{Machine, Pause};
use crate::memory::{Fence, Memory, Region};
use crate::report::Kind;

/// A workgroup on the device.
pub(super) struct Block {
    number: u64,
    waves: Vec<Wave>,
    local: Region,
    /// What the waves that came to the barrier did before.
    fence: Fence,
    ready: u32,
}

/// A launch on its way.
pub(super) struct Amdgcn<'a> {
    pub(super) launch: &'a Launch<'a>,
    pub(super) description: &'a Description,
    pub(super) function: &'a Function,
    pub(super) memory: &'a mut Memory,
    pub(super) state: State,
}

impl Amdgcn<'_> {
    fn threads(&self) -> u32 {
        self.launch.block.iter().product()
    }

    fn local_bytes(&self) -> u32 {
        self.description.kernel.static_shared_bytes + self.launch.dynamic_shared_bytes
    }

    /// The registers that a wave starts with (LLVM, "Initial Kernel Execution State").
    fn set_up(&self, wave: &mut Wave) {
        let descriptor = self.description.descriptor;
        let mut next: Operand = 0;
        // Bit, registers, value: none is for what nothing here uses, it stays undefined.
        let user: [(u16, Operand, Option<u64>); 7] = [
            (0, 4, None),          // private segment buffer
            (1, 2, Some(PACKET)),  // dispatch packet
            (2, 2, None),          // queue
            (3, 2, Some(KERNARG)), // arguments
            (4, 2, Some(0)),       // dispatch number
            (5, 2, None),          // scratch
            (6, 1, Some(0)),       // bytes of scratch
        ];
        for (bit, registers, value) in user {
            if descriptor.properties >> bit & 1 == 0 {
                continue;
            }
            match value {
                Some(value) if registers == 1 => wave.set_scalar(next, value as u32, 0),
                Some(value) => wave.set_scalar64(next, value, 0),
                None => {}
            }
            next += registers;
        }
        next = next.max(descriptor.user_sgprs as Operand);
        for (axis, wanted) in descriptor.group_ids.into_iter().take(3).enumerate() {
            if wanted {
                wave.set_scalar(next, wave.place.block[axis], 0);
                next += 1;
            }
        }
        // The thread's three numbers, ten bits each.
        let [x, y, _] = self.launch.block;
        for lane in 0..64 {
            let thread = wave.place.index * 64 + lane;
            let packed = (thread % x) | (thread / x % y) << 10 | (thread / x / y) << 20;
            wave.vectors[0].0[lane as usize] = packed;
        }
        wave.defined[0] = wave.exec();
    }

    fn end(&mut self, block: &Block, fault: Fault) {
        let wave = block.waves.iter().find(|wave| wave.status == Status::Waiting);
        let wave = wave.unwrap_or(&block.waves[0]);
        self.state.report(self.function, wave.pc.saturating_sub(1), wave.place, fault);
    }
}

impl Block {
    fn update_ready(&mut self) {
        let is_ready = |wave: &Wave| wave.status == Status::Ready;
        let bits = self.waves.iter().enumerate();
        self.ready = bits.fold(0, |ready, (at, wave)| ready | u32::from(is_ready(wave)) << at);
    }

    /// Lets the waves go on when all that have not ended are at the barrier.
    fn check_barrier(&mut self, state: &mut State) {
        let waiting = self.waves.iter().any(|wave| wave.status == Status::Waiting);
        if !waiting || self.waves.iter().any(|wave| wave.status == Status::Ready) {
            return;
        }
        for wave in self.waves.iter_mut().filter(|wave| wave.status == Status::Waiting) {
            state.clocks.barrier_leave(wave.place.wave, &self.fence);
            wave.status = Status::Ready;
        }
        self.fence = Fence::default();
        state.counters.barriers += 1;
    }
}

impl Machine for Amdgcn<'_> {
    type Block = Block;

    fn grid(&self) -> [u32; 3] {
        self.launch.grid
    }

    /// By threads, 2048 of a compute unit, and by LDS.
    fn most_resident(&self) -> u64 {
        let by_threads = (2048 / self.threads().next_multiple_of(64)).max(1);
        let device = self.launch.device;
        let by_local =
            device.max_shared_bytes.checked_div(self.local_bytes().next_multiple_of(512));
        let at_once = by_threads.min(by_local.unwrap_or(32).max(1));
        u64::from(at_once) * u64::from(device.multiprocessors.max(1))
    }

    fn instruction_limit(&self) -> u64 {
        self.launch.instruction_limit
    }

    fn issued(&self) -> u64 {
        self.state.counters.warp_instructions
    }

    fn set_seed(&mut self, seed: u64) {
        self.state.set_seed(seed);
    }

    fn new_block(&self) -> Block {
        Block {
            number: 0,
            waves: (0..self.threads().div_ceil(64)).map(|_| Wave::new()).collect(),
            local: Region::new(self.local_bytes().into()),
            fence: Fence::default(),
            ready: 0,
        }
    }

    fn start(&mut self, block: &mut Block, number: u64) -> bool {
        let grid = self.launch.grid.map(u64::from);
        let index = [number % grid[0], number / grid[0] % grid[1], number / grid[0] / grid[1]];
        block.number = number;
        block.local.reset();
        block.fence = Fence::default();
        self.state.clocks.start_block(number);
        let count = block.waves.len() as u64;
        for (at, wave) in block.waves.iter_mut().enumerate() {
            let threads = (self.threads() - 64 * at as u32).min(64);
            let place = Place {
                block: index.map(|index| index as u32),
                wave: number * count + at as u64,
                index: at as u32,
            };
            wave.start(place, u64::MAX >> (64 - threads), 0);
            self.set_up(wave);
        }
        block.update_ready();
        true
    }

    fn ready(block: &Block) -> u32 {
        block.ready
    }

    fn is_done(block: &Block) -> bool {
        block.waves.iter().all(|wave| wave.status == Status::Done)
    }

    fn run(&mut self, block: &mut Block, warp: u32, quantum: u32, _stray: bool) -> Pause {
        let wave = &mut block.waves[warp as usize];
        let mut execution = Execution {
            wave,
            function: self.function,
            memory: self.memory,
            local: &mut block.local,
            state: &mut self.state,
        };
        let pause = execution.run(quantum);
        if pause == Pause::Blocked {
            let wave = &block.waves[warp as usize];
            if wave.status == Status::Waiting {
                self.state.clocks.barrier_arrive(wave.place.wave, &mut block.fence);
            }
            block.check_barrier(&mut self.state);
        }
        block.update_ready();
        pause
    }

    fn finish(&mut self, block: &mut Block) {
        self.state.clocks.end_block(block.number);
        self.state.counters.blocks += 1;
    }

    fn stuck(&mut self, block: &Block) {
        let message = "nothing can go on".to_owned();
        self.end(block, Fault { kind: Kind::Deadlock, lane: None, message });
    }

    fn give_up(&mut self, block: &Block, message: String) {
        self.end(block, Fault { kind: Kind::Launch, lane: None, message });
    }

    /// What LDS counted is not looked at: the chips' banks are counted by `banks`.
    fn retire(&mut self, _block: &Block) {}
}
