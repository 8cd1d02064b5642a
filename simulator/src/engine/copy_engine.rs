//! What goes on beside the warps of a cluster: bulk copies on their way, and the mbarriers they complete.
//!
//! A copy lands at a time that the seed draws: soon, late, or only when nothing else can go on. Its
//! destination is undefined until then. Global memory, or what a copy takes from shared memory, is read
//! when the copy is issued or when it lands.

use std::collections::{BTreeMap, HashMap};

use super::asynchronous::Copy;
use super::context::{Fault, Place};
use super::mbarrier::Mbarrier;
use super::peers::World;
use super::random::Random;
use super::transfer::Transfer;
use crate::memory::{self, Order};
use crate::report::Kind;

/// The instruction that began something, and its thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) function: u32,
    pub(super) source: u32,
    pub(super) place: Place,
    pub(super) lane: u32,
    /// The instruction among all of the program.
    pub(super) access: u32,
}

/// Something on its way.
#[derive(Debug)]
struct Pending {
    origin: Origin,
    /// Turns of warps until it happens; `ONLY_STUCK`: when nothing else can go on.
    delay: u32,
    work: Work,
}

const ONLY_STUCK: u32 = u32::MAX;
/// Looks at mbarriers in vain, and turns of warps, after which something lands: somebody may wait for
/// it in a loop.
const LOOKS: u32 = 32;
const TURNS: u32 = 512;

#[derive(Debug)]
enum Work {
    Copy(Box<Transfer>),
    /// `cp.async.mbarrier.arrive`: copies of a thread, then an arrival.
    Arrival {
        copies: Vec<Copy>,
        barrier: (u32, u64),
    },
}

/// What a copy completes.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Mbarriers: rank and offset.
    Barriers(Vec<(u32, u64)>),
    /// The issuing thread's bulk group of that number.
    Group(u32),
}

/// A copy of a bulk group that was done, until it is waited for.
#[derive(Debug)]
struct Done {
    origin: Origin,
    group: u32,
    engine: u64,
    epoch: u32,
    read_awaited: bool,
}

/// When things land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Soon,
    Mixed,
    OnlyStuck,
}

/// The asynchronous machinery of one cluster.
#[derive(Debug)]
pub(super) struct CopyEngine {
    random: Random,
    habit: Habit,
    /// By rank, by offset in shared memory.
    barriers: Vec<BTreeMap<u64, Mbarrier>>,
    pending: Vec<Pending>,
    done: Vec<Done>,
    /// Bulk groups that were committed, by warp and lane.
    committed: HashMap<(u64, u32), u32>,
    turn: u32,
    /// Since something landed.
    looks: u32,
    turns: u32,
    /// Bits of the blocks that have exited.
    pub(super) exited: u32,
    /// Mbarriers that completed a phase and whose waiters are still to be woken: rank and offset.
    pub(super) woken: Vec<(u32, u64)>,
}

impl CopyEngine {
    pub(super) fn new(blocks: usize, seed: u64) -> CopyEngine {
        let mut random = Random::new(seed);
        let habits = [Habit::Soon, Habit::Mixed, Habit::Mixed, Habit::OnlyStuck];
        CopyEngine {
            habit: habits[random.below(4) as usize],
            random,
            barriers: (0..blocks).map(|_| BTreeMap::new()).collect(),
            pending: Vec::new(),
            done: Vec::new(),
            committed: HashMap::new(),
            turn: 0,
            looks: 0,
            turns: 0,
            exited: 0,
            woken: Vec::new(),
        }
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u32) -> bool {
        self.random.below(times) == 0
    }

    /// The next engine for a copy of a block.
    pub(super) fn next_turn(&mut self) -> u32 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    pub(super) fn barrier(&mut self, (rank, offset): (u32, u64)) -> Result<&mut Mbarrier, String> {
        let found = self.barriers[rank as usize].get_mut(&offset);
        found.ok_or_else(|| format!("no mbarrier was initialised at {offset:#x} of block {rank}"))
    }

    pub(super) fn barrier_now(&self, rank: u32, offset: u64) -> Option<&Mbarrier> {
        self.barriers[rank as usize].get(&offset)
    }

    pub(super) fn enter_barrier(&mut self, rank: u32, offset: u64, barrier: Mbarrier) {
        self.barriers[rank as usize].insert(offset, barrier);
    }

    pub(super) fn remove_barrier(&mut self, rank: u32, offset: u64) {
        self.barriers[rank as usize].remove(&offset);
    }

    /// A thread looked at a phase in vain.
    pub(super) fn note_look(&mut self) {
        self.looks += 1;
    }

    fn delay(&mut self) -> u32 {
        match self.habit {
            Habit::Soon => self.random.below(2),
            Habit::OnlyStuck => ONLY_STUCK,
            Habit::Mixed => match self.random.below(4) {
                0 => ONLY_STUCK,
                1 => self.random.below(64),
                _ => self.random.below(8),
            },
        }
    }

    fn push(&mut self, origin: Origin, work: Work) {
        let delay = self.delay();
        self.pending.push(Pending { origin, delay, work });
    }

    /// Begins a copy.
    pub(super) fn issue(
        &mut self,
        world: &mut World<'_>,
        origin: Origin,
        mut transfer: Transfer,
    ) -> Result<(), Fault> {
        transfer.begin(world, &origin)?;
        if self.random.below(2) == 0 {
            transfer.fetch(world, &origin)?;
        }
        self.push(origin, Work::Copy(Box::new(transfer)));
        Ok(())
    }

    /// The group of the thread's copies that are issued now.
    pub(super) fn group(&self, warp: u64, lane: u32) -> u32 {
        self.committed.get(&(warp, lane)).copied().unwrap_or(0)
    }

    pub(super) fn commit(&mut self, warp: u64, lane: u32) {
        *self.committed.entry((warp, lane)).or_default() += 1;
    }

    /// `cp.async.bulk.wait_group`: all but the thread's `left` latest groups are done, or, with
    /// `reading`, have at least been read.
    pub(super) fn wait_groups(
        &mut self,
        world: &mut World<'_>,
        (warp, lane): (u64, u32),
        left: u32,
        reading: bool,
    ) -> Result<(), Fault> {
        let committed = self.group(warp, lane);
        let awaited = |origin: &Origin, group: u32| {
            let mine = (origin.place.warp, origin.lane) == (warp, lane);
            mine && u64::from(group) + u64::from(left) < u64::from(committed)
        };
        let mut at = 0;
        while at < self.pending.len() {
            let Pending { origin, work, .. } = &mut self.pending[at];
            let found = match work {
                Work::Copy(transfer) => transfer.group().filter(|&group| awaited(origin, group)),
                Work::Arrival { .. } => None,
            };
            match (found, work) {
                (Some(_), Work::Copy(transfer)) if reading => {
                    transfer.fetch(world, origin)?;
                    transfer.read_awaited = true;
                    if let Some(epoch) = transfer.fetched {
                        world.state.clocks.learn_of(warp, transfer.engine, epoch);
                    }
                    at += 1;
                }
                (Some(_), _) => self.land(at, world)?,
                (None, _) => at += 1,
            }
        }
        for done in self.done.iter_mut().filter(|done| awaited(&done.origin, done.group)) {
            world.state.clocks.learn_of(warp, done.engine, done.epoch);
            done.read_awaited = true;
        }
        if !reading {
            self.done.retain(|done| !awaited(&done.origin, done.group));
        }
        Ok(())
    }

    /// `cp.async.mbarrier.arrive`: arrives when the thread's copies are there.
    pub(super) fn arrive_after(&mut self, origin: Origin, copies: Vec<Copy>, barrier: (u32, u64)) {
        self.push(origin, Work::Arrival { copies, barrier });
    }

    /// Completes the arrivals of a warp's copies: they are waited for.
    pub(super) fn finish_arrivals(
        &mut self,
        world: &mut World<'_>,
        warp: u64,
        lanes: u32,
    ) -> Result<(), Fault> {
        let mut at = 0;
        while at < self.pending.len() {
            let Pending { origin, work, .. } = &self.pending[at];
            let mine = origin.place.warp == warp && lanes >> origin.lane & 1 == 1;
            if mine && matches!(work, Work::Arrival { .. }) {
                self.land(at, world)?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// A turn of a warp has ended: lets land what is due. False: a fault, which was reported.
    pub(super) fn tick(&mut self, world: &mut World<'_>) -> bool {
        self.turns += 1;
        if self.pending.is_empty() {
            (self.looks, self.turns) = (0, 0);
            return true;
        }
        if self.looks > LOOKS || self.turns > TURNS {
            return self.land_one(world);
        }
        let mut due = 0;
        for pending in self.pending.iter_mut().filter(|pending| pending.delay != ONLY_STUCK) {
            pending.delay = pending.delay.saturating_sub(1);
            due += u32::from(pending.delay == 0);
        }
        while due > 0 {
            let skip = self.random.below(due) as usize;
            let is_due = |at: &usize| self.pending[*at].delay == 0;
            let Some(at) = (0..self.pending.len()).filter(is_due).nth(skip) else { break };
            if !self.land_reported(at, world) {
                return false;
            }
            due -= 1;
        }
        true
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Lets one of those on their way land; there is one. False: a fault, which was reported.
    pub(super) fn land_one(&mut self, world: &mut World<'_>) -> bool {
        let at = self.random.below(self.pending.len() as u32) as usize;
        self.land_reported(at, world)
    }

    fn land_reported(&mut self, at: usize, world: &mut World<'_>) -> bool {
        let origin = self.pending[at].origin;
        match self.land(at, world) {
            Ok(()) => true,
            Err(fault) => {
                world.report(&origin, fault);
                false
            }
        }
    }

    fn land(&mut self, at: usize, world: &mut World<'_>) -> Result<(), Fault> {
        (self.looks, self.turns) = (0, 0);
        let Pending { origin, work, .. } = self.pending.swap_remove(at);
        match work {
            Work::Copy(mut transfer) => {
                transfer.fetch(world, &origin)?;
                let epoch = transfer.put(world, &origin)?;
                match &transfer.then {
                    Then::Barriers(barriers) => {
                        let gone = barriers.iter().find(|(rank, _)| self.exited >> rank & 1 == 1);
                        if let Some((rank, _)) = gone {
                            let message = format!("block {rank} of the cluster has exited");
                            let (kind, lane) = (Kind::OutOfBounds, Some(origin.lane));
                            return Err(Fault { kind, lane, message });
                        }
                        let bytes = transfer.bytes();
                        for &place in barriers {
                            self.receive(world, &origin, transfer.engine, place, bytes)?;
                        }
                    }
                    &Then::Group(group) => {
                        let (engine, read_awaited) = (transfer.engine, transfer.read_awaited);
                        self.done.push(Done { origin, group, engine, epoch, read_awaited });
                    }
                }
            }
            Work::Arrival { copies, barrier } => {
                for copy in copies {
                    write_copy(world, &origin, &copy)?;
                }
                let found = self.barrier(barrier).map_err(|why| fault(&origin, why))?;
                found.release(&mut world.state.clocks, origin.place.warp);
                if found.arrive(1, false).map_err(|why| fault(&origin, why))? {
                    self.woken.push(barrier);
                }
            }
        }
        Ok(())
    }

    /// Bytes of a copy have come to an mbarrier.
    fn receive(
        &mut self,
        world: &mut World<'_>,
        origin: &Origin,
        engine: u64,
        place: (u32, u64),
        bytes: u32,
    ) -> Result<(), Fault> {
        let barrier = self.barrier(place).map_err(|why| fault(origin, why))?;
        barrier.release(&mut world.state.clocks, engine);
        let complete = barrier.receive(bytes).map_err(|why| {
            fault(origin, format!("mbarrier at {:#x} of block {}: {why}", place.1, place.0))
        })?;
        if complete {
            self.woken.push(place);
        }
        Ok(())
    }

    /// Ends what a block left behind: nothing may still read its shared memory. False: a fault, which
    /// was reported.
    pub(super) fn end_block(&mut self, world: &mut World<'_>, block: [u32; 3]) -> bool {
        let unread = self.pending.iter().filter_map(|pending| match &pending.work {
            Work::Copy(transfer) if transfer.group().is_some() && !transfer.read_awaited => {
                Some(pending.origin)
            }
            _ => None,
        });
        let unread = unread
            .chain(self.done.iter().filter(|done| !done.read_awaited).map(|done| done.origin));
        for origin in unread.filter(|origin| origin.place.block == block).collect::<Vec<_>>() {
            let message = String::from(
                "the block has exited, and no cp.async.bulk.wait_group says that its shared memory was read",
            );
            world.report(&origin, Fault { kind: Kind::Race, lane: Some(origin.lane), message });
        }
        while let Some(at) =
            self.pending.iter().position(|pending| pending.origin.place.block == block)
        {
            if !self.land_reported(at, world) {
                return false;
            }
        }
        self.done.retain(|done| done.origin.place.block != block);
        true
    }
}

pub(super) fn fault(origin: &Origin, message: String) -> Fault {
    Fault { kind: Kind::Barrier, lane: Some(origin.lane), message }
}

/// A copy of `cp.async` lands.
fn write_copy(world: &mut World<'_>, origin: &Origin, copy: &Copy) -> Result<(), Fault> {
    let mut addresses = [0; 32];
    addresses[origin.lane as usize] = copy.to;
    let (at, bytes) = ((origin.lane * copy.bytes) as usize, copy.bytes as usize);
    let state = &mut *world.state;
    state.data[at..at + bytes].copy_from_slice(&copy.data[..bytes]);
    let access = memory::Access {
        addresses: &addresses,
        mask: 1 << origin.lane,
        bytes: copy.bytes,
        order: Order::Weak,
        warp: origin.place.warp,
        place: copy.place,
    };
    let defined = if copy.defined { u32::MAX } else { 0 };
    let region = world.regions.get(origin.place.rank);
    let written =
        region.store(&mut state.clocks, &access, &state.data, defined, &mut state.findings);
    written.map_err(|why| world.access_fault(origin, why, copy.bytes))?;
    world.note_races(origin);
    Ok(())
}
