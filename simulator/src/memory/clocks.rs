//! Happens-before between threads.
//!
//! # The rules
//!
//! Time is counted per warp, in epochs. An access is stamped with its launch, warp, lane and epoch.
//! An earlier access happens before a later one if
//!
//! - it belongs to the host, or to an earlier launch that is ordered before (`streams`),
//! - it was made by the same lane,
//! - both lanes took part in a `bar.warp.sync` (or a convergence of `__syncwarp`) in between,
//! - both warps passed the same block barrier in between, or
//! - it is ordered by a release (a fence, then a strong write) that an acquire (a strong read of
//!   that place, then a fence) saw, also through other threads. Fences work for the whole warp.
//!
//! # How
//!
//! The warps of a block draw their epochs from one counter, so that after a barrier one number, the
//! floor, tells of nearly all stamps of the block that they are known. A warp knows the epochs of
//! its block's warps as a row of numbers, those of other blocks as [`Knowledge`].

mod engines;

use std::collections::HashMap;

use super::knowledge::Knowledge;
use super::stamp::{self, LAST_EPOCH, Sight};
use super::streams::Now;
pub use engines::{ENGINES, Mark};

/// What a barrier carries from those who arrive to those who leave. Each phase of a barrier starts
/// with an empty one.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    /// The block that `known` is of.
    block: Option<u64>,
    known: Vec<u32>,
    far: Knowledge,
}

#[derive(Debug)]
struct Warp {
    epoch: u32,
    /// Warps of the block, without its engines.
    peers: usize,
    /// The least of what the warp knows of its block's warps.
    floor: u32,
    /// By warp of the block: the epoch known. Of itself: what all its lanes know.
    known: Vec<u32>,
    far: Knowledge,
    /// Seen by strong reads, known from the next fence on.
    pending: Knowledge,
    /// What was known at the last fence: strong writes carry it.
    released: Option<Knowledge>,
    /// By knowing lane and known lane: the epoch. Empty until a part of the warp synchronises.
    lanes: Option<Box<[[u32; 32]; 32]>>,
    /// By lane: the epoch of the last `fence.proxy.async`. Empty until the first.
    proxied: Option<Box<[u32; 32]>>,
}

#[derive(Debug)]
struct Block {
    number: u64,
    /// The newest epoch of any of its warps.
    counter: u32,
    warps: Vec<Warp>,
}

/// The clocks of one launch. Warps are numbered through the grid: block * warps per block + warp. Engines,
/// which make asynchronous copies, count as further warps of their block.
///
/// The accesses of warps from 2^32 on are not told apart from those 2^32 before.
#[derive(Debug)]
pub struct Clocks {
    now: Now,
    /// With the engines.
    warps_per_block: u32,
    engines: u32,
    blocks: Vec<Block>,
    by_number: HashMap<u64, usize>,
    /// The block last asked for, and its place in `blocks`.
    last: (u64, usize),
    random: u64,
    places: u64,
    first_epoch: u32,
    /// Warps are waves of 64 lanes: a lane's number is that within its half.
    halves: bool,
}

impl Clocks {
    /// Clocks of a launch, which [`Memory::begin_launch`](super::Memory::begin_launch) began.
    pub fn new(now: Now, warps_per_block: u32) -> Clocks {
        let launch = now.number;
        Clocks {
            now,
            warps_per_block: warps_per_block.max(1),
            engines: 0,
            blocks: Vec::new(),
            by_number: HashMap::new(),
            last: (u64::MAX, 0),
            random: u64::from(launch) << 32 | 0x9E37_79B9,
            places: 0,
            first_epoch: 1,
            halves: false,
        }
    }

    /// Clocks of waves of 64 lanes, whose accesses come in halves of 32.
    pub fn of_waves(now: Now, waves_per_block: u32) -> Clocks {
        Clocks { halves: true, ..Clocks::new(now, waves_per_block) }
    }

    /// The block's warps start; blocks that run at a time are started before their first access.
    pub fn start_block(&mut self, block: u64) {
        let count = self.warps_per_block as usize;
        let peers = count - self.engines as usize;
        let warps = (0..count)
            .map(|_| Warp {
                epoch: self.first_epoch,
                peers,
                floor: 0,
                known: vec![0; count],
                far: Knowledge::default(),
                pending: Knowledge::default(),
                released: None,
                lanes: None,
                proxied: None,
            })
            .collect();
        let fresh = Block { number: block, counter: self.first_epoch, warps };
        match self.by_number.get(&block) {
            Some(&place) => self.blocks[place] = fresh,
            None => {
                self.by_number.insert(block, self.blocks.len());
                self.blocks.push(fresh);
            }
        }
    }

    /// The block is done: what only its own warps need is dropped.
    pub fn end_block(&mut self, block: u64) {
        let Some(place) = self.by_number.remove(&block) else { return };
        self.blocks.swap_remove(place);
        if let Some(moved) = self.blocks.get(place) {
            self.by_number.insert(moved.number, place);
        }
        self.last = (u64::MAX, 0);
    }

    /// `bar.warp.sync` by these lanes. Lanes that do not exist may be among them.
    pub fn warp_sync(&mut self, warp: u64, lanes: u32) {
        let (place, index) = self.place(warp);
        let block = &mut self.blocks[place];
        let published = block.advance(index);
        let warp = &mut block.warps[index];
        if lanes == !0 {
            warp.known[index] = warp.known[index].max(published);
            warp.lanes = None;
            warp.refresh();
            return;
        }
        let rows = warp.lanes.get_or_insert_with(|| Box::new([[0; 32]; 32]));
        let members = || (0..32).filter(|lane| lanes >> lane & 1 == 1);
        let mut joined = [0; 32];
        for lane in members() {
            for (joined, &known) in joined.iter_mut().zip(&rows[lane]) {
                *joined = known.max(*joined);
            }
        }
        for lane in members() {
            joined[lane] = published;
        }
        for lane in members() {
            rows[lane] = joined;
        }
    }

    /// The warp arrives at a block barrier: what it did so far goes into `barrier`.
    pub fn barrier_arrive(&mut self, warp: u64, barrier: &mut Fence) {
        let (place, index) = self.place(warp);
        let block = &mut self.blocks[place];
        let published = block.advance(index);
        let number = block.number;
        let warp = &block.warps[index];
        if *barrier.block.get_or_insert(number) != number {
            barrier.far.merge(&warp.snapshot(number, index, published));
            return;
        }
        barrier.known.resize(warp.known.len(), 0);
        for (joined, &known) in barrier.known.iter_mut().zip(&warp.known) {
            *joined = known.max(*joined);
        }
        barrier.known[index] = barrier.known[index].max(published);
        barrier.far.merge(&warp.far);
    }

    /// The warp leaves a completed barrier, knowing what went into it.
    pub fn barrier_leave(&mut self, warp: u64, barrier: &Fence) {
        let (place, index) = self.place(warp);
        let block = &mut self.blocks[place];
        let number = block.number;
        let warp = &mut block.warps[index];
        warp.learn(number, &barrier.far);
        if barrier.block == Some(number) {
            warp.raise(&barrier.known);
        } else if let Some(other) = barrier.block {
            warp.far.blocks.raise(other, &barrier.known);
        }
    }

    /// What the warp did so far ends an epoch: its number, for [`Clocks::learn_of`].
    pub fn publish(&mut self, warp: u64) -> u32 {
        let (place, index) = self.place(warp);
        self.blocks[place].advance(index)
    }

    /// The warp knows what another of its block did up to an epoch that it published, or what all its own
    /// lanes did.
    pub fn learn_of(&mut self, warp: u64, other: u64, epoch: u32) {
        let (place, index) = self.place(warp);
        let per_block = u64::from(self.warps_per_block);
        debug_assert_eq!(warp / per_block, other / per_block);
        let own = &mut self.blocks[place].warps[index];
        let known = &mut own.known[(other % per_block) as usize];
        *known = epoch.max(*known);
        own.refresh();
    }

    /// `fence`, `membar` of device or system scope (block scope counts the same).
    pub fn fence(&mut self, warp: u64) {
        let (place, index) = self.place(warp);
        self.acquire(place, index);
        self.release(place, index);
    }

    pub(super) fn launch(&self) -> u32 {
        self.now.number
    }

    /// The launch among other work.
    pub(super) fn now(&self) -> &Now {
        &self.now
    }

    pub(super) fn sight(&mut self, warp: u64) -> Sight {
        let (place, index) = self.place(warp);
        let block = &self.blocks[place];
        let own = &block.warps[index];
        Sight {
            me: warp << stamp::WARP_SHIFT | u64::from(own.epoch) << stamp::EPOCH_SHIFT,
            own: own.known[index].into(),
            floor: own.floor.into(),
            first_warp: (warp - index as u64) & u64::from(u32::MAX),
            warps: (self.warps_per_block - self.engines).into(),
        }
    }

    /// As if each block that starts had had this many epochs.
    #[cfg(test)]
    pub(super) fn start_late(&mut self, epochs: u32) {
        self.first_epoch = epochs;
    }

    /// A random bit, the same in every run.
    pub(super) fn coin(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 63 == 1
    }

    /// A number for a new place of strong writes.
    pub(super) fn new_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// Whether the access of that stamp happened before an access of this warp's lane now.
    pub(super) fn is_before(&mut self, stamp: u64, warp: u64, lane: u32) -> bool {
        let epoch = stamp::epoch_of(stamp);
        if epoch == 0 || epoch == LAST_EPOCH {
            return true;
        }
        let (place, index) = self.place(warp);
        let block = &self.blocks[place];
        let me = &block.warps[index];
        let other = warp & !u64::from(u32::MAX) | stamp::warp_of(stamp);
        if other != warp {
            let (other_block, other_index) =
                (other / u64::from(self.warps_per_block), other % u64::from(self.warps_per_block));
            let known = if other_block == block.number {
                Some(&me.known[..])
            } else {
                me.far.blocks.get(other_block)
            };
            let known = known.and_then(|known| known.get(other_index as usize));
            return known.is_some_and(|&known| epoch <= known);
        }
        if epoch <= me.known[index] {
            return true;
        }
        let knows = |of: u32| {
            of == lane || me.lanes.as_ref().is_some_and(|l| epoch <= l[lane as usize][of as usize])
        };
        if stamp & stamp::SEVERAL == 0 {
            return knows(stamp::lane_of(stamp));
        }
        // Which lanes they are is not kept, but they are two at least.
        (0..32).filter(|&of| knows(of)).count() >= 2 && knows(stamp::lane_of(stamp))
    }

    /// In words, for an access of `warp`: another one that it is not ordered with, and what was missing.
    pub(super) fn describe(&self, stamp: u64, what: &str, warp: u64) -> (String, &'static str) {
        let per_block = u64::from(self.warps_per_block);
        let other = warp & !u64::from(u32::MAX) | stamp::warp_of(stamp);
        let (block, lane) = (other / per_block, stamp::lane_of(stamp));
        let several = if stamp & stamp::SEVERAL == 0 { "" } else { " and others" };
        let lane = if self.halves { format!("{lane} or {}", lane + 32) } else { lane.to_string() };
        if let Some(words) = self.engine_words(other % per_block, block, what, warp) {
            return words;
        }
        let missing = if other == warp {
            "the same warp, no __syncwarp between"
        } else if block == warp / per_block {
            "another warp of the block, no barrier between"
        } else {
            "another block, no release and acquire between"
        };
        let index = other % per_block;
        (format!("{what} by block {block} warp {index} lane {lane}{several}"), missing)
    }

    /// Whether the warp knows of this many writes of the place.
    pub(super) fn knows_place(&mut self, warp: u64, id: u64, version: u32) -> bool {
        let (place, index) = self.place(warp);
        let known = self.blocks[place].warps[index].far.places.get(id);
        known.is_some_and(|known| known[0] >= version)
    }

    /// A strong read saw what the place carries; if it acquires by itself, no fence is needed.
    pub(super) fn observe(&mut self, warp: u64, carried: &Knowledge, acquire: bool) {
        let (place, index) = self.place(warp);
        let block = &mut self.blocks[place];
        if acquire {
            block.warps[index].learn(block.number, carried);
        } else {
            block.warps[index].pending.merge(carried);
        }
    }

    /// What a strong write carries: nothing without a fence before it.
    pub(super) fn carried(&mut self, warp: u64, release: bool) -> Option<&Knowledge> {
        let (place, index) = self.place(warp);
        if release {
            self.release(place, index);
        }
        self.blocks[place].warps[index].released.as_ref()
    }

    fn acquire(&mut self, place: usize, index: usize) {
        let block = &mut self.blocks[place];
        let pending = std::mem::take(&mut block.warps[index].pending);
        if !pending.is_empty() {
            block.warps[index].learn(block.number, &pending);
        }
    }

    fn release(&mut self, place: usize, index: usize) {
        let block = &mut self.blocks[place];
        let published = block.advance(index);
        let warp = &mut block.warps[index];
        warp.released = Some(warp.snapshot(block.number, index, published));
    }

    /// Where the warp is kept: its block's place, and its number in the block.
    fn place(&mut self, warp: u64) -> (usize, usize) {
        let per_block = u64::from(self.warps_per_block);
        let (number, index) = (warp / per_block, (warp % per_block) as usize);
        if self.last.0 != number {
            if !self.by_number.contains_key(&number) {
                self.start_block(number);
            }
            self.last = (number, self.by_number[&number]);
        }
        (self.last.1, index)
    }
}

impl Block {
    /// Gives the warp its next epoch. All it did so far is in the epochs up to the one returned.
    fn advance(&mut self, index: usize) -> u32 {
        if self.counter >= LAST_EPOCH - 1 {
            // Out of epochs: the block's accesses count as ordered among each other from here.
            self.counter = LAST_EPOCH;
            for warp in &mut self.warps {
                warp.epoch = LAST_EPOCH;
                warp.known.fill(LAST_EPOCH);
                warp.refresh();
            }
            return LAST_EPOCH;
        }
        self.counter += 1;
        self.warps[index].epoch = self.counter;
        self.counter - 1
    }
}

impl Warp {
    /// What it knows, for others.
    fn snapshot(&self, block: u64, index: usize, published: u32) -> Knowledge {
        let mut known = self.known.clone();
        known[index] = known[index].max(published);
        let mut all = self.far.clone();
        all.blocks.raise(block, &known);
        all
    }

    fn learn(&mut self, block: u64, news: &Knowledge) {
        self.far.merge(news);
        if let Some(known) = news.blocks.get(block) {
            self.raise(known);
        }
    }

    fn raise(&mut self, known: &[u32]) {
        for (mine, &known) in self.known.iter_mut().zip(known) {
            *mine = known.max(*mine);
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.floor = self.known[..self.peers].iter().copied().min().unwrap_or(0);
    }
}
