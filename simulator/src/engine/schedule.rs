//! Which block and which warp goes on: seeded orders that try to break what is not ordered.

use super::random::Random;

/// What executes blocks: the PTX engine, or that of AMD's machine code.
pub(crate) trait Machine {
    type Block;

    fn grid(&self) -> [u32; 3];
    /// Blocks that the device holds at a time, by its threads and shared memory.
    fn most_resident(&self) -> u64;
    fn instruction_limit(&self) -> u64;
    /// Warp instructions so far.
    fn issued(&self) -> u64;
    /// The seed of what the blocks choose.
    fn set_seed(&mut self, seed: u64);

    fn new_block(&self) -> Self::Block;
    /// Begins the block of that number. False: it cannot, which was reported.
    fn start(&mut self, block: &mut Self::Block, number: u64) -> bool;
    /// Chooses, where a block is several that run together, which of them is next.
    fn turn(&mut self, _block: &mut Self::Block, _random: &mut Random) {}
    /// Bits of the block's warps that can go on.
    fn ready(block: &Self::Block) -> u32;
    /// No warp can go on.
    fn is_stuck(block: &Self::Block) -> bool {
        Self::ready(block) == 0
    }
    /// No warp can go on: lets something happen that was on its way. None: there is nothing. False: a
    /// fault, which was reported.
    fn settle(&mut self, _block: &mut Self::Block) -> Option<bool> {
        None
    }
    fn is_done(block: &Self::Block) -> bool;
    /// Gives a warp its turn; `stray` lets another group than the lowest go first.
    fn run(&mut self, block: &mut Self::Block, warp: u32, quantum: u32, stray: bool) -> Pause;
    fn finish(&mut self, block: &mut Self::Block);
    /// Reports a block in which nothing can go on.
    fn stuck(&mut self, block: &Self::Block);
    /// Reports why the launch ends.
    fn give_up(&mut self, block: &Self::Block, message: String);
    /// Adds what a block that is not used again has counted.
    fn retire(&mut self, block: &Self::Block);
}

/// Why a warp's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It could go on.
    Turn,
    /// All its lanes wait or are done.
    Blocked,
    /// The launch is over.
    Fault,
}

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
struct Schedule {
    order: Order,
    turns: Turns,
    /// Blocks on the device at a time, to begin with.
    residents: usize,
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
    fn new(random: &mut Random) -> Schedule {
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

/// Executes the whole grid. What went wrong is in the machine's reports.
pub(crate) fn run<M: Machine>(machine: &mut M, mut random: Random) {
    let mut schedule = Schedule::new(&mut random);
    let blocks = machine.grid().iter().map(|&n| u64::from(n)).product::<u64>();
    let most = machine.most_resident().min(blocks);
    let mut waiting = starting_order(blocks, &mut random).peekable();
    let mut spare: Vec<M::Block> = Vec::new();
    let mut resident: Vec<M::Block> = Vec::new();
    let mut wanted = (schedule.residents as u64).min(most) as usize;
    let mut since_progress = 0u64;
    let mut patience = 1u64 << 20;
    machine.set_seed(random.next());
    loop {
        while resident.len() < wanted {
            let Some(number) = waiting.next() else { break };
            let mut block = spare.pop().unwrap_or_else(|| machine.new_block());
            if !machine.start(&mut block, number) {
                return;
            }
            resident.push(block);
        }
        if resident.is_empty() {
            break;
        }
        let at = random.below(resident.len() as u32) as usize;
        let block = &mut resident[at];
        machine.turn(block, &mut random);
        let warp = schedule.pick(M::ready(block), &mut random);
        let stray = schedule.is_stray(&mut random);
        let quantum = schedule.quantum(&mut random);
        let before = machine.issued();
        let pause = machine.run(block, warp, quantum, stray);
        if pause == Pause::Fault {
            break;
        }
        schedule.note(pause);
        since_progress += machine.issued() - before;
        if M::is_done(block) {
            let mut block = resident.swap_remove(at);
            machine.finish(&mut block);
            spare.push(block);
            since_progress = 0;
        } else if M::is_stuck(block) {
            let mut settled = Some(true);
            while settled == Some(true) && M::is_stuck(block) {
                settled = machine.settle(block);
            }
            if settled != Some(true) {
                if settled.is_none() {
                    machine.stuck(block);
                }
                break;
            }
        }
        if since_progress > patience && (wanted as u64) < most && waiting.peek().is_some() {
            // What is in flight may wait for a block that is not.
            wanted = (2 * wanted).min(most as usize);
            patience = since_progress + (1 << 20);
        }
        if since_progress > machine.instruction_limit() {
            let message = format!(
                "{since_progress} warp instructions without a block finishing; {} blocks in flight",
                resident.len()
            );
            machine.give_up(&resident[at.min(resident.len() - 1)], message);
            break;
        }
    }
    for block in resident.iter().chain(&spare) {
        machine.retire(block);
    }
}
