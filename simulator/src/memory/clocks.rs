//! Happens-before between threads.
//!
//! # The rules
//!
//! Time is counted per warp, in epochs. An access is stamped with its launch, warp, lane and epoch.
//! An earlier access happens before a later one if
//!
//! - it belongs to an earlier launch or to the host,
//! - it was made by the same lane,
//! - both lanes took part in a `bar.warp.sync` (or a convergence of `__syncwarp`) in between,
//! - both warps passed the same block barrier in between, or
//! - it is ordered by a release (a fence, then a strong write) that an acquire (a strong read of
//!   that place, then a fence) saw, also through other threads. Fences work for the whole warp.

/// Who made an access and when: launch, warp in the grid, lane and epoch, packed. 0: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp(pub(super) u64);

/// What a barrier or a memory location carries from those who release to those who acquire.
#[derive(Clone, Debug, Default)]
pub struct Fence {}

/// The clocks of one launch. Warps are numbered through the grid: block * warps per block + warp.
#[derive(Debug)]
pub struct Clocks {}

impl Clocks {
    /// Clocks of a launch; its number comes from [`Memory::begin_launch`](super::Memory::begin_launch).
    pub fn new(_launch: u32, _warps_per_block: u32) -> Clocks {
        todo!()
    }

    /// The block's warps start; blocks that run at a time are started before their first access.
    pub fn start_block(&mut self, _block: u64) {
        todo!()
    }

    /// The block is done: what only its own warps need is dropped.
    pub fn end_block(&mut self, _block: u64) {
        todo!()
    }

    /// `bar.warp.sync` by these lanes.
    pub fn warp_sync(&mut self, _warp: u64, _lanes: u32) {
        todo!()
    }

    /// The warp arrives at a block barrier: what it did so far goes into `barrier`.
    pub fn barrier_arrive(&mut self, _warp: u64, _barrier: &mut Fence) {
        todo!()
    }

    /// The warp leaves a completed barrier, knowing what went into it.
    pub fn barrier_leave(&mut self, _warp: u64, _barrier: &Fence) {
        todo!()
    }

    /// `fence`, `membar` of device or system scope (block scope counts the same).
    pub fn fence(&mut self, _warp: u64) {
        todo!()
    }
}
