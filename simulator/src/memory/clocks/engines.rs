//! Clocks of what is no warp: engines that copy on a warp's behalf, and marks of single moments.

use super::super::stamp::{self, LAST_EPOCH};
use super::{Clocks, Now};

/// A moment of one lane.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// Engines of a block that copy; one more keeps what no thread may access itself.
const COPIERS: u32 = 64;
/// What a block with asynchronous copies has beside its warps.
pub const ENGINES: u32 = COPIERS + 1;

impl Clocks {
    /// Clocks of a launch whose blocks have engines.
    pub fn with_engines(now: Now, warps_per_block: u32) -> Clocks {
        let mut clocks = Clocks::new(now, warps_per_block.max(1) + ENGINES);
        clocks.engines = ENGINES;
        clocks
    }

    /// The number of a block's copying engine, as a warp has one. They take turns.
    pub fn copier(&self, block: u64, turn: u32) -> u64 {
        let per_block = u64::from(self.warps_per_block);
        (block + 1) * per_block - u64::from(ENGINES) + u64::from(turn % COPIERS)
    }

    /// The engine whose accesses nobody is ordered with.
    pub fn keeper(&self, block: u64) -> u64 {
        (block + 1) * u64::from(self.warps_per_block) - 1
    }

    /// The engine begins to work for a warp of its block: it knows what that knows, and no more.
    pub fn employ(&mut self, engine: u64, warp: u64) {
        let (place, index) = self.place(warp);
        let block = &mut self.blocks[place];
        let published = block.advance(index);
        let issuer = &block.warps[index];
        let (mut known, far) = (issuer.known.clone(), issuer.far.clone());
        known[index] = known[index].max(published);
        let index = (engine % u64::from(self.warps_per_block)) as usize;
        block.advance(index);
        let engine = &mut block.warps[index];
        (engine.known, engine.far, engine.lanes) = (known, far, None);
        engine.refresh();
    }

    /// The lane's moment now.
    pub fn mark(&mut self, warp: u64, lane: u32) -> Mark {
        Mark(self.sight(warp).me | u64::from(lane))
    }

    /// Whether a lane now is ordered behind a moment.
    pub fn knows(&mut self, mark: Mark, warp: u64, lane: u32) -> bool {
        self.is_before(mark.0, warp, lane)
    }

    /// The thread of a moment, in words, for a lane that is not ordered behind it.
    pub fn describe_mark(&self, mark: Mark, what: &str, warp: u64) -> (String, &'static str) {
        self.describe(mark.0, what, warp)
    }

    /// `fence.proxy.async` by these lanes.
    pub fn proxy_fence(&mut self, warp: u64, lanes: u32) {
        let (place, index) = self.place(warp);
        let published = self.blocks[place].advance(index);
        let epochs = self.blocks[place].warps[index].proxied.get_or_insert_default();
        for (lane, epoch) in epochs.iter_mut().enumerate() {
            if lanes >> lane & 1 == 1 {
                *epoch = published;
            }
        }
    }

    /// Whether the asynchronous proxy may see a write: it made it itself, or the writing lane has passed
    /// a proxy fence since. `warp` is one of the grid.
    pub(in super::super) fn is_proxied(&mut self, stamp: u64, warp: u64) -> bool {
        let (epoch, per_block) = (stamp::epoch_of(stamp), u64::from(self.warps_per_block));
        let writer = warp & !u64::from(u32::MAX) | stamp::warp_of(stamp);
        let is_engine = writer % per_block >= per_block - u64::from(self.engines);
        if epoch == 0 || epoch == LAST_EPOCH || is_engine {
            return true;
        }
        if !self.by_number.contains_key(&(writer / per_block)) {
            return true;
        }
        let (place, index) = self.place(writer);
        let proxied = self.blocks[place].warps[index].proxied.as_ref();
        proxied.is_some_and(|epochs| epoch <= epochs[stamp::lane_of(stamp) as usize])
    }

    /// As [`Clocks::describe`], for what an engine did.
    pub(super) fn engine_words(
        &self,
        index: u64,
        block: u64,
        what: &str,
        warp: u64,
    ) -> Option<(String, &'static str)> {
        let first = u64::from(self.warps_per_block - self.engines);
        let turn = index.checked_sub(first)?;
        if turn == u64::from(COPIERS) {
            let missing = "only mbarrier instructions may touch its bytes";
            return Some((format!("an mbarrier of block {block}"), missing));
        }
        let own = warp % u64::from(self.warps_per_block) >= first;
        let missing = match (what, own) {
            (_, true) => "another asynchronous copy, nothing that waits for it between",
            ("read", _) => "asynchronous, no cp.async.bulk.wait_group between",
            _ => "asynchronous, no wait for its mbarrier between",
        };
        Some((format!("{what} of an asynchronous copy of block {block}"), missing))
    }
}
