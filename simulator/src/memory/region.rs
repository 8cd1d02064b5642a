//! Bytes with their history.

use memmap2::{MmapMut, MmapOptions};

use super::page::{PAGE, PAGE_SHIFT, Page};
use super::past::Conflict;
use super::places::Places;
use super::shape::Shape;
use super::streams::Now;
use super::traffic::Counts;
use super::{Clocks, SharedTraffic};

/// The order that a memory instruction asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// An ordinary access.
    Weak,
    /// Volatile, relaxed, and atomics without an order: never races with another strong access.
    Relaxed,
    /// Strong, and what the location carries is known afterwards.
    Acquire,
    /// Strong, and the location carries what was done before.
    Release,
    /// Both.
    AcquireRelease,
}

/// One memory instruction of one warp.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// By lane; shared memory counts from the start of the block's window.
    pub addresses: &'a [u64; 32],
    /// The lanes that take part.
    pub mask: u32,
    /// Bytes of each lane: 1, 2, 4, 8 or 16.
    pub bytes: u32,
    /// Its order.
    pub order: Order,
    /// The warp's number in the grid.
    pub warp: u64,
    /// Which instruction it is, for findings; below 2^31 - 1.
    pub place: u32,
}

/// Why an access did not happen.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessFault {
    /// Outside, with a text that says where the nearest memory lies.
    OutOfBounds {
        /// The first lane outside.
        lane: u32,
        /// Its address.
        address: u64,
        /// `starts 4 bytes past the end of the 4096-byte allocation at 0x10000`.
        message: String,
    },
    /// No multiple of its size.
    Misaligned {
        /// The first such lane.
        lane: u32,
        /// Its address.
        address: u64,
    },
}

/// A race that an access took part in: at most one for each instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The lane of the access: the first that races.
    pub lane: u32,
    /// The first such byte.
    pub address: u64,
    /// The earlier access it is not ordered with, in words: `write by block 3 warp 2 lane 5`.
    pub earlier: String,
    /// Its instruction, if it belongs to this launch.
    pub place: Option<u32>,
    /// What was missing between them.
    pub missing: String,
}

impl Finding {
    /// In words; `name` says what an instruction of this launch is, with a space before.
    pub fn text(&self, name: impl FnOnce(u32) -> String) -> String {
        let Finding { address, earlier, missing, .. } = self;
        let place = self.place.map_or(String::new(), name);
        format!("address {address:#x}: {earlier}{place} ({missing})")
    }
}

/// From this size on the memory is mapped, so that only what is touched is taken.
const MAPPED: u64 = 1 << 16;
/// Pages whose records are made together.
const CHUNK: usize = 64;

#[derive(Debug)]
enum Backing {
    Owned(Vec<u8>),
    Mapped(MmapMut),
}

/// A run of bytes with stamps: an allocation, or a block's shared memory.
#[derive(Debug)]
pub struct Region {
    pub(super) bytes: u64,
    backing: Backing,
    pages: Vec<Option<Box<[Page; CHUNK]>>>,
    pub(super) generation: u32,
    pub(super) places: Places,
    pub(super) counts: Counts,
}

impl Region {
    /// A block's shared memory: bytes that were never written.
    pub fn new(bytes: u64) -> Region {
        let backing = Backing::Owned(vec![0; (bytes as usize).next_multiple_of(PAGE)]);
        Region::with(bytes, backing, Counts::shared())
    }

    /// Global memory. Physical memory is taken as it is touched. `None` if there is not enough.
    pub(super) fn global(bytes: u64) -> Option<Region> {
        let size = usize::try_from(bytes).ok()?.checked_next_multiple_of(PAGE)?;
        let backing = if bytes < MAPPED {
            Backing::Owned(vec![0; size])
        } else {
            // Without a reservation it need not fit the machine: allocations are as large as a card's,
            // and mostly untouched.
            Backing::Mapped(MmapOptions::new().len(size).no_reserve_swap().map_anon().ok()?)
        };
        Some(Region::with(bytes, backing, Counts::global()))
    }

    fn with(bytes: u64, backing: Backing, counts: Counts) -> Region {
        let chunks = (bytes as usize).div_ceil(PAGE * CHUNK);
        Region {
            bytes,
            backing,
            pages: std::iter::repeat_with(|| None).take(chunks).collect(),
            generation: 0,
            places: Places::default(),
            counts,
        }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets contents and history: the next block's shared memory. Counts go on.
    pub fn reset(&mut self) {
        self.places.clear();
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.pages.iter_mut().for_each(|chunk| *chunk = None);
        }
    }

    /// Bank traffic since the region was made.
    pub fn shared_traffic(&self) -> SharedTraffic {
        self.counts.shared
    }

    /// Reads; lane `l` comes to `out[l * bytes..]`. Never-written bytes read as 0xFF.
    ///
    /// Returns the lanes (of the mask) all of whose bytes were written. Lanes outside the mask are
    /// left as they are.
    ///
    /// # Errors
    ///
    /// A fault; nothing was read.
    pub fn load(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        out: &mut [u8; 512],
        findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        let shape = self.check(access)?;
        Ok(self.load_within((0, shape), clocks, access, out, findings))
    }

    /// Writes `data[l * bytes..]` of each lane. Lanes not in `defined` leave their bytes as good as
    /// never written.
    ///
    /// # Errors
    ///
    /// A fault; nothing was written.
    pub fn store(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        data: &[u8; 512],
        defined: u32,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AccessFault> {
        let shape = self.check(access)?;
        self.store_within((0, shape), clocks, access, data, defined, findings);
        Ok(())
    }

    /// One atomic for each lane in `lanes` order: `update(lane, bytes)` sees the old bytes and
    /// changes them in place. Returns the lanes whose old bytes were written before.
    ///
    /// # Errors
    ///
    /// A fault; nothing was changed.
    pub fn atomic(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        lanes: &[u32],
        update: &mut dyn FnMut(u32, &mut [u8]),
        findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        let shape = self.check(access)?;
        Ok(self.atomic_within((0, shape), clocks, access, lanes, update, findings))
    }

    fn check(&self, access: &Access<'_>) -> Result<Shape, AccessFault> {
        access.survey(0, self.bytes).ok_or_else(|| self.fault(access))
    }

    /// The fault of the first lane that has one.
    #[cold]
    fn fault(&self, access: &Access<'_>) -> AccessFault {
        let bytes = u64::from(access.bytes);
        let misaligned = |address: u64| address & (bytes - 1) != 0;
        let outside = |address: u64| address >= self.bytes || self.bytes - address < bytes;
        let at = |lane: u32| access.addresses[lane as usize];
        let lane = access.lanes().find(|&lane| misaligned(at(lane)) || outside(at(lane)));
        let lane = lane.expect("a lane is at fault");
        let address = at(lane);
        if misaligned(address) {
            return AccessFault::Misaligned { lane, address };
        }
        let place = where_outside(address, bytes, 0, self.bytes);
        let message = format!("{place} the block's {} bytes of shared memory", self.bytes);
        AccessFault::OutOfBounds { lane, address, message }
    }

    /// The memory and the history of one page.
    #[inline(always)]
    pub(super) fn page(&mut self, page: usize) -> (&mut [u8], &mut Page, &mut Places, &mut Counts) {
        let all = match &mut self.backing {
            Backing::Owned(bytes) => &mut bytes[..],
            Backing::Mapped(bytes) => &mut bytes[..],
        };
        let chunk = self.pages[page / CHUNK].get_or_insert_with(new_chunk);
        (
            &mut all[page << PAGE_SHIFT..][..PAGE],
            &mut chunk[page % CHUNK],
            &mut self.places,
            &mut self.counts,
        )
    }

    fn page_now(&self, page: usize) -> (&[u8], Option<&Page>) {
        let all = match &self.backing {
            Backing::Owned(bytes) => &bytes[..],
            Backing::Mapped(bytes) => &bytes[..],
        };
        let chunk = self.pages[page / CHUNK].as_ref();
        (&all[page << PAGE_SHIFT..][..PAGE], chunk.map(|chunk| &chunk[page % CHUNK]))
    }

    /// The pieces of `start..end` by page: page, start and end in it.
    fn pieces(start: u64, end: u64) -> impl Iterator<Item = (usize, usize, usize)> {
        let (mut at, size) = (start, PAGE as u64);
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let page = at / size;
                let from = at - page * size;
                at = end.min((page + 1) * size);
                (page as usize, from as usize, (at - page * size) as usize)
            })
        })
    }

    fn limit(&self, page: usize) -> usize {
        (self.bytes as usize - (page << PAGE_SHIFT)).min(PAGE)
    }

    /// The host, or a copy or fill, writes; within bounds.
    pub(super) fn host_write(&mut self, start: u64, data: &[u8]) {
        let mut rest = data;
        for (page, from, to) in Region::pieces(start, start + data.len() as u64) {
            let limit = self.limit(page);
            let (bytes, history, ..) = self.page(page);
            history.host_mark(bytes, limit, (from, to), true);
            let (now, later) = rest.split_at(to - from);
            bytes[from..to].copy_from_slice(now);
            rest = later;
        }
    }

    /// Makes bytes as good as never written.
    pub(super) fn host_forget(&mut self, start: u64, count: u64) {
        for (page, from, to) in Region::pieces(start, start + count) {
            let limit = self.limit(page);
            let (bytes, history, ..) = self.page(page);
            history.host_mark(bytes, limit, (from, to), false);
        }
    }

    /// The work now touches `start..end` as a whole. Gives the earlier access it is not ordered with,
    /// and where.
    pub(super) fn touch(
        &mut self,
        now: &Now,
        start: u64,
        end: u64,
        write: bool,
    ) -> Option<(u64, Conflict)> {
        let generation = self.generation;
        let mut found = None;
        for (page, from, to) in Region::pieces(start, end) {
            let base = (page << PAGE_SHIFT) as u64;
            let (_, history, ..) = self.page(page);
            history.enter(now, generation);
            if history.has_rivals && found.is_none() {
                let conflict = history.conflict((from, to), write, false);
                found = conflict.map(|conflict| (base + conflict.at as u64, conflict));
            }
            history.touch(now, (from, to), write);
        }
        found
    }

    /// The host, or a copy, reads; within bounds.
    pub(super) fn host_read(&self, start: u64, out: &mut [u8]) {
        let mut rest = out;
        for (page, from, to) in Region::pieces(start, start + rest.len() as u64) {
            let (now, later) = rest.split_at_mut(to - from);
            rest = later;
            match self.page_now(page) {
                (bytes, Some(history)) if !history.is_untouched(self.generation) => {
                    now.copy_from_slice(&bytes[from..to]);
                }
                _ => now.fill(0xFF),
            }
        }
    }

    /// The runs of written and never-written bytes of `start..end`: start, end, written.
    pub(super) fn runs(&self, start: u64, end: u64) -> Vec<(u64, u64, bool)> {
        let mut runs: Vec<(u64, u64, bool)> = Vec::new();
        for (page, from, to) in Region::pieces(start, end) {
            let base = (page << PAGE_SHIFT) as u64;
            let mut each = |from: usize, to: usize, written: bool| match runs.last_mut() {
                Some((_, end, kind)) if *kind == written => *end = base + to as u64,
                _ => runs.push((base + from as u64, base + to as u64, written)),
            };
            match self.page_now(page).1 {
                Some(history) => history.runs(self.generation, (from, to), each),
                None => each(from, to, false),
            }
        }
        runs
    }

    /// Makes all that happened ordered before everything to come.
    pub(super) fn settle(&mut self) {
        for page in self.pages.iter_mut().flatten().flat_map(|chunk| chunk.iter_mut()) {
            page.settle();
            page.forget_launch();
        }
        self.places.clear();
    }
}

#[cold]
fn new_chunk() -> Box<[Page; CHUNK]> {
    Box::new(std::array::from_fn(|_| Page::default()))
}

/// Where an access lies that is not within `start..start + size`; a thing's name follows.
pub(super) fn where_outside(address: u64, bytes: u64, start: u64, size: u64) -> String {
    let end = start + size;
    if address >= end {
        format!("starts {} bytes past the end of", address - end)
    } else if address < start {
        format!("starts {} bytes before", start - address)
    } else {
        format!("ends {} bytes past the end of", address + bytes - end)
    }
}
