//! Which block and which warp goes on: seeded orders that try to break what is not ordered.

use super::block::{Block, Common};
use super::context::{Fault, State};
use super::random::Random;
use super::warp::Pause;
use crate::memory::Memory;
use crate::report::Kind;

/// How the next warp is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Random,
    RoundRobin,
    /// Always the first that can go on, or the last.
    First,
    Last,
}

/// How long a turn may be, in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turns {
    /// As far as it goes.
    Long,
    Medium,
    /// Short and long ones mixed.
    Mixed,
}

/// The choices of one launch.
pub(super) struct Schedule {
    order: Order,
    turns: Turns,
    /// Blocks on the device at a time, to begin with.
    pub(super) residents: usize,
    /// One turn in this many lets another group of lanes than the lowest go first.
    stray: u32,
    last: u32,
    /// Turns one after another that nothing but their length ended: perhaps lanes, warps or blocks
    /// wait in loops for others. Then turns get short and fair.
    endless: u32,
}

const LONG_TURN: u32 = 1 << 13;
const PATIENCE: u32 = 16;

impl Schedule {
    pub(super) fn new(random: &mut Random) -> Schedule {
        let orders = [Order::Random, Order::Random, Order::RoundRobin, Order::First, Order::Last];
        let turns = [Turns::Long, Turns::Long, Turns::Long, Turns::Medium, Turns::Mixed];
        Schedule {
            order: orders[random.below(5) as usize],
            turns: turns[random.below(5) as usize],
            residents: [1, 1, 2, 3, 5][random.below(5) as usize],
            stray: [8, 32][random.below(2) as usize],
            last: 0,
            endless: 0,
        }
    }

    /// A turn has ended.
    fn note(&mut self, pause: Pause) {
        self.endless = if pause == Pause::Turn { self.endless.saturating_add(1) } else { 0 };
    }

    fn is_endless(&self) -> bool {
        self.endless > PATIENCE
    }

    fn is_stray(&self, random: &mut Random) -> bool {
        random.below(if self.is_endless() { 2 } else { self.stray }) == 0
    }

    fn quantum(&self, random: &mut Random) -> u32 {
        match self.turns {
            _ if self.is_endless() => 32 + random.below(256),
            Turns::Long => LONG_TURN,
            Turns::Medium => 64 + random.below(2048),
            Turns::Mixed => match random.below(4) {
                0 => 1 + random.below(8),
                1 => 1 + random.below(128),
                _ => 1 + random.below(4096),
            },
        }
    }

    /// One of the bits, of which there are some.
    fn pick(&mut self, ready: u32, random: &mut Random) -> u32 {
        let picked = match self.order {
            _ if self.is_endless() => random_bit(ready, random),
            Order::Random => random_bit(ready, random),
            Order::RoundRobin => {
                let above = ready & u32::MAX.checked_shl(self.last + 1).unwrap_or(0);
                if above != 0 { above.trailing_zeros() } else { ready.trailing_zeros() }
            }
            Order::First => ready.trailing_zeros(),
            Order::Last => 31 - ready.leading_zeros(),
        };
        self.last = picked;
        picked
    }
}

fn random_bit(mut bits: u32, random: &mut Random) -> u32 {
    for _ in 0..random.below(bits.count_ones()) {
        bits &= bits - 1;
    }
    bits.trailing_zeros()
}

/// The numbers of the blocks in the order they start: upwards, downwards, or from anywhere in steps.
fn starting_order(blocks: u64, random: &mut Random) -> impl Iterator<Item = u64> + use<> {
    let step = match random.below(3) {
        0 => 1,
        1 => blocks - 1,
        _ => (0..64)
            .map(|_| random.next() % blocks)
            .find(|&step| common_divisor(step, blocks) == 1)
            .unwrap_or(1),
    };
    let step = if step == 0 { 1 } else { step };
    let first = if step == 1 { 0 } else { random.next() % blocks };
    let place =
        move |at: u64| (u128::from(at) * u128::from(step) + u128::from(first)) % u128::from(blocks);
    (0..blocks).map(move |at| place(at) as u64)
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Executes the whole grid. What went wrong is in the state's reports.
pub(super) fn run(common: &Common<'_>, memory: &mut Memory, state: &mut State) {
    let launch = common.launch;
    let mut random = state.random.clone();
    let mut schedule = Schedule::new(&mut random);
    let blocks = launch.grid.iter().map(|&n| u64::from(n)).product::<u64>();
    let most = most_resident(common).min(blocks);
    let mut waiting = starting_order(blocks, &mut random).peekable();
    let mut spare: Vec<Block> = Vec::new();
    let mut resident: Vec<Block> = Vec::new();
    let mut wanted = (schedule.residents as u64).min(most) as usize;
    let mut since_progress = 0u64;
    let mut patience = 1u64 << 20;
    state.random = Random::new(random.next());
    loop {
        while resident.len() < wanted {
            let Some(number) = waiting.next() else { break };
            let mut block = spare.pop().unwrap_or_else(|| Block::new(common));
            if !block.start(common, state, number) {
                let message = String::from("local memory is larger than a thread may have");
                return end(
                    common,
                    state,
                    &block,
                    Fault { kind: Kind::Launch, lane: None, message },
                );
            }
            resident.push(block);
        }
        if resident.is_empty() {
            break;
        }
        let at = random.below(resident.len() as u32) as usize;
        let block = &mut resident[at];
        let warp = schedule.pick(block.ready, &mut random);
        let stray = schedule.is_stray(&mut random);
        let quantum = schedule.quantum(&mut random);
        let before = state.counters.warp_instructions;
        let pause = block.run(common.program, memory, state, warp, quantum, stray);
        if pause == Pause::Fault {
            break;
        }
        schedule.note(pause);
        since_progress += state.counters.warp_instructions - before;
        if block.is_done() {
            let mut block = resident.swap_remove(at);
            block.finish(state);
            state.counters.blocks += 1;
            spare.push(block);
            since_progress = 0;
        } else if block.ready == 0 {
            let (fault, place, source) = block.stuck(common.program);
            let (function, source) = source.unwrap_or((common.function, u32::MAX));
            let function = &common.program.functions[function as usize];
            state.report(common.program, function, source, place, fault);
            break;
        }
        if since_progress > patience && (wanted as u64) < most && waiting.peek().is_some() {
            // What is in flight may wait for a block that is not.
            wanted = (2 * wanted).min(most as usize);
            patience = since_progress + (1 << 20);
        }
        if since_progress > launch.instruction_limit {
            let message = format!(
                "{since_progress} warp instructions without a block finishing; {} blocks in flight",
                resident.len()
            );
            let fault = Fault { kind: Kind::Launch, lane: None, message };
            end(common, state, &resident[at.min(resident.len() - 1)], fault);
            break;
        }
    }
    for block in resident.iter().chain(&spare) {
        let traffic = block.shared_traffic();
        let total = &mut state.counters.shared;
        total.instructions += traffic.instructions;
        total.passes += traffic.passes;
        total.conflicts += traffic.conflicts;
    }
}

fn end(common: &Common<'_>, state: &mut State, block: &Block, fault: Fault) {
    let function = &common.program.functions[common.function as usize];
    state.report(common.program, function, u32::MAX, block.warps[0].place, fault);
}

/// Blocks that the device holds at a time, by its threads and shared memory.
fn most_resident(common: &Common<'_>) -> u64 {
    let device = common.launch.device;
    let shared = common.static_shared + common.launch.dynamic_shared_bytes;
    let by_threads = (2048 / common.threads.next_multiple_of(32)).max(1);
    let by_shared =
        device.max_shared_bytes.checked_div(shared.next_multiple_of(1024)).unwrap_or(32);
    u64::from(by_threads.min(by_shared.max(1)).min(32)) * u64::from(device.multiprocessors.max(1))
}
