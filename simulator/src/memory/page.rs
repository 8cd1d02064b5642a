//! 4 KiB of bytes with the history of each.

use super::past::{Conflict, History, STRONG, Touched};
use super::stamp::{self, HOST, NEVER, Slots};
use super::streams::Now;

pub(super) const PAGE_SHIFT: u32 = 12;
pub(super) const PAGE: usize = 1 << PAGE_SHIFT;
/// Sectors of 32 bytes in a page: one bit each in a `u128`.
pub(super) const SECTOR_SHIFT: u32 = 5;
/// A cell covers 16 bytes at most, as an access does.
pub(super) const LARGEST_SHIFT: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    /// Never written. The bytes are not to be looked at; they read as 0xFF.
    #[default]
    Untouched,
    /// All written, and whoever did is ordered before everything. No cells.
    Written,
    /// Each cell has its stamps. Never-written bytes hold 0xFF.
    Cells,
}

/// The history of one page.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    state: State,
    /// A cell covers `1 << shift` bytes. Before `Cells`: what the last one had.
    shift: u8,
    /// The launch that the stamps and the sectors are of.
    launch: u32,
    /// How often the region had been reset.
    generation: u32,
    /// Sectors read and written in this launch.
    pub(super) sectors: [u128; 2],
    /// The stamps: of the last write to each cell, then of two readers since.
    cells: Vec<u64>,
    /// The places of those accesses in the code.
    places: Vec<u32>,
    /// What work before this launch did, as long as other work may be unordered with it.
    history: Option<Box<History>>,
    /// Some of it is not ordered before this launch.
    pub(super) has_rivals: bool,
}

/// The stamps of a run of cells, and the places of the accesses.
pub(super) struct Cells<'a> {
    pub(super) shift: u32,
    pub(super) write: Slots<'a>,
    pub(super) reads: [Slots<'a>; 2],
}

impl Page {
    /// Forgets what an earlier generation held, and who accessed in an earlier launch.
    #[inline]
    pub(super) fn enter(&mut self, now: &Now, generation: u32) {
        if self.launch != now.number || self.generation != generation {
            self.enter_anew(now, generation);
        }
    }

    #[cold]
    fn enter_anew(&mut self, now: &Now, generation: u32) {
        if self.generation != generation {
            self.state = State::Untouched;
            self.history = None;
        } else {
            self.remember(now);
            self.settle();
        }
        self.launch = now.number;
        self.generation = generation;
        self.sectors = [0; 2];
        self.has_rivals = match &mut self.history {
            Some(history) => history.look(now),
            None => false,
        };
    }

    /// Keeps what the launch before this one did, if this one or others may be unordered with it.
    fn remember(&mut self, now: &Now) {
        let timeline = &*now.timeline;
        let is_settled = timeline.get(self.launch).is_none();
        let matters = timeline.several || !timeline.is_before(self.launch, now.number);
        if is_settled || !matters || self.state != State::Cells {
            return;
        }
        let count = PAGE >> self.shift;
        let mark = |at: usize| match self.cells[at] {
            stamp if stamp::epoch_of(stamp) == 0 => 0,
            stamp if stamp & stamp::STRONG != 0 => (self.places[at] + 1) | STRONG,
            _ => self.places[at] + 1,
        };
        let write: Box<[u32]> = (0..count).map(mark).collect();
        // Of two readers, one that is not strong conflicts with more.
        let read = (count..2 * count).map(|at| match (mark(at), mark(at + count)) {
            (0, other) | (other, 0) => other,
            (one, other) => one.min(other),
        });
        let touched = Touched::Cells { shift: self.shift.into(), write, read: read.collect() };
        if !touched.is_empty() {
            self.history.get_or_insert_default().push(self.launch, touched, timeline);
        }
    }

    /// The work now touches a range as a whole: a copy, a fill, or a free, entered before.
    pub(super) fn touch(&mut self, now: &Now, (start, end): (usize, usize), write: bool) {
        if now.timeline.get(now.number).is_some() {
            let touched = Touched::Range { start, end, write };
            self.history.get_or_insert_default().push(now.number, touched, &now.timeline);
        }
    }

    /// An earlier access that is not ordered with one now to `start..end`.
    #[cold]
    pub(super) fn conflict(
        &self,
        range: (usize, usize),
        write: bool,
        strong: bool,
    ) -> Option<Conflict> {
        self.history.as_ref()?.conflict(range, write, strong)
    }

    /// Everything that happened is ordered before everything to come.
    pub(super) fn settle(&mut self) {
        if self.state != State::Cells {
            return;
        }
        let (write, reads) = self.cells.split_at_mut(PAGE >> self.shift);
        if write.iter().all(|&stamp| stamp::is_written(stamp)) {
            self.state = State::Written;
            self.shift = LARGEST_SHIFT as u8;
            return;
        }
        for stamp in write {
            *stamp = if stamp::is_written(*stamp) { HOST } else { NEVER };
        }
        reads.fill(NEVER);
    }

    /// Launch numbers start again.
    pub(super) fn forget_launch(&mut self) {
        self.launch = 0;
        self.history = None;
        self.has_rivals = false;
    }

    pub(super) fn is_untouched(&self, generation: u32) -> bool {
        self.state == State::Untouched || self.generation != generation
    }

    /// The cells of `start..start + length`, none larger than `1 << shift`. Both are multiples of
    /// that; `bytes` is the page's memory.
    #[inline(always)]
    pub(super) fn cells<'a>(
        &'a mut self,
        bytes: &mut [u8],
        shift: u32,
        start: usize,
        length: usize,
    ) -> Cells<'a> {
        if self.state != State::Cells || u32::from(self.shift) > shift {
            self.make_cells(bytes, shift);
        }
        let shift = u32::from(self.shift);
        let (stamps, reads) = self.cells.split_at_mut(PAGE >> shift);
        let (stamps0, stamps1) = reads.split_at_mut(PAGE >> shift);
        let (places, reads) = self.places.split_at_mut(PAGE >> shift);
        let (places0, places1) = reads.split_at_mut(PAGE >> shift);
        let range = start >> shift..(start + length) >> shift;
        let part = |stamps: &'a mut [u64], places: &'a mut [u32]| Slots {
            stamps: &mut stamps[range.clone()],
            places: &mut places[range.clone()],
        };
        Cells {
            shift,
            write: part(stamps, places),
            reads: [part(stamps0, places0), part(stamps1, places1)],
        }
    }

    #[cold]
    fn make_cells(&mut self, bytes: &mut [u8], shift: u32) {
        if self.state == State::Cells {
            self.refine(shift);
            return;
        }
        let first = if self.state == State::Written { HOST } else { NEVER };
        if self.state == State::Untouched {
            bytes.fill(0xFF);
        }
        // What had finer cells in an earlier generation will need them again.
        let finest = if self.cells.is_empty() { LARGEST_SHIFT } else { self.shift.into() };
        let shift = shift.min(finest);
        let count = PAGE >> shift;
        self.cells.clear();
        self.cells.resize(count, first);
        self.cells.resize(3 * count, NEVER);
        self.places.resize(3 * count, 0);
        self.shift = shift as u8;
        self.state = State::Cells;
    }

    /// Splits the cells; each part has the history of the whole.
    fn refine(&mut self, shift: u32) {
        let parts = 1 << (u32::from(self.shift) - shift);
        self.cells = split(&self.cells, parts);
        self.places = split(&self.places, parts);
        self.shift = shift as u8;
    }

    /// Notes that the host wrote `start..end`, or (if not `written`) made it as good as never
    /// written. `limit` is where the region ends in this page. The bytes are the caller's to change,
    /// afterwards.
    pub(super) fn host_mark(
        &mut self,
        bytes: &mut [u8],
        limit: usize,
        (start, end): (usize, usize),
        written: bool,
    ) {
        if start == 0 && end >= limit {
            self.state = if written { State::Written } else { State::Untouched };
            return;
        }
        if self.state == State::Written && written {
            return;
        }
        if self.state == State::Untouched && !written {
            return;
        }
        let shift = ((start | end) as u32 | 1 << LARGEST_SHIFT).trailing_zeros();
        let cells = self.cells(bytes, shift, start, end - start);
        cells.write.stamps.fill(if written { HOST } else { NEVER });
        cells.reads.into_iter().for_each(|reads| reads.stamps.fill(NEVER));
        if !written {
            bytes[start..end].fill(0xFF);
        }
    }

    /// Calls `each(start, end, written)` for the runs of `start..end`.
    pub(super) fn runs(
        &self,
        generation: u32,
        (start, end): (usize, usize),
        mut each: impl FnMut(usize, usize, bool),
    ) {
        if self.is_untouched(generation) || self.state == State::Written {
            each(start, end, !self.is_untouched(generation));
            return;
        }
        let written = |at: usize| stamp::is_written(self.cells[at >> self.shift]);
        let mut from = start;
        while from < end {
            let kind = written(from);
            let mut to = from;
            while to < end && written(to) == kind {
                to = ((to >> self.shift) + 1) << self.shift;
            }
            each(from, to.min(end), kind);
            from = to;
        }
    }
}

fn split<T: Copy>(cells: &[T], parts: usize) -> Vec<T> {
    cells.iter().flat_map(|&cell| std::iter::repeat_n(cell, parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    /// Written bytes of the page, as runs.
    fn written(page: &Page, generation: u32) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        page.runs(generation, (0, PAGE), |start, end, written| {
            if written {
                runs.push((start, end));
            }
        });
        runs
    }

    #[test]
    fn states_follow_each_other() {
        let (mut page, mut bytes) = (Page::default(), vec![0; PAGE]);
        page.enter(&Now::from(1), 0);
        assert_eq!((page.state, page.is_untouched(0)), (State::Untouched, true));
        // Cells begin with the size of the first access, with 0xFF below, and get finer.
        assert_eq!(page.cells(&mut bytes, 4, 32, 64).write.stamps, [NEVER; 4]);
        assert_eq!((page.state, page.shift, bytes[4095]), (State::Cells, 4, 0xFF));
        page.cells(&mut bytes, 4, 32, 64).write.stamps.fill(77 << 8);
        let cells = page.cells(&mut bytes, 1, 62, 4);
        assert_eq!((cells.shift, &*cells.write.stamps), (1, &[77 << 8; 2][..]));
        assert_eq!(page.cells(&mut bytes, 4, 16, 32).write.stamps[..8], [NEVER; 8]);
        assert_eq!(written(&page, 0), [(32, 96)]);
        // A new launch keeps what was written, of nobody.
        page.enter(&Now::from(2), 0);
        assert_eq!((page.state, page.shift), (State::Cells, 1));
        assert_eq!(page.cells(&mut bytes, 1, 30, 4).write.stamps, [NEVER, HOST]);
        // The host completes the page bit by bit; the next launch finds it whole.
        page.host_mark(&mut bytes, PAGE, (0, 33), true);
        assert_eq!(page.shift, 0);
        page.host_mark(&mut bytes, PAGE, (96, PAGE), true);
        page.enter(&Now::from(3), 0);
        assert_eq!(page.state, State::Written);
        assert_eq!(page.cells(&mut bytes, 3, 0, 16).write.stamps, [HOST; 2]);
        assert_eq!(page.shift, 3, "what was fine is coarse again");
        // Whole at once.
        page.host_mark(&mut bytes, PAGE, (0, PAGE), false);
        assert!(page.is_untouched(0));
        page.host_mark(&mut bytes, 100, (0, 100), true);
        assert_eq!(page.state, State::Written);
        page.host_mark(&mut bytes, PAGE, (8, 10), false);
        assert_eq!((page.state, bytes[8], bytes[9]), (State::Cells, 0xFF, 0xFF));
        assert_eq!(written(&page, 0), [(0, 8), (10, PAGE)]);
        // Another generation knows nothing, but keeps the size of the cells.
        assert!(page.is_untouched(1));
        assert_eq!(written(&page, 1), []);
        page.enter(&Now::from(3), 1);
        assert_eq!(page.cells(&mut bytes, 4, 0, 16).write.stamps, [NEVER; 8]);
    }

    #[test]
    fn readers_are_forgotten_with_their_launch() {
        let (mut page, mut bytes) = (Page::default(), vec![0; PAGE]);
        page.host_mark(&mut bytes, PAGE, (0, 4), true);
        page.enter(&Now::from(1), 0);
        page.cells(&mut bytes, 2, 0, 4)
            .reads
            .into_iter()
            .for_each(|reads| reads.stamps.fill(9 << 8));
        page.sectors = [3, 4];
        page.enter(&Now::from(2), 0);
        let reads = page.cells(&mut bytes, 2, 0, 4).reads;
        assert!(reads.iter().all(|reads| *reads.stamps == [NEVER]));
        assert_eq!(page.sectors, [0, 0]);
    }
}
