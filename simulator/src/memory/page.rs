//! 4 KiB of bytes with the history of each.

use super::stamp::{self, HOST, NEVER};

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
}

/// The stamps of a run of cells.
pub(super) struct Cells<'a> {
    pub(super) shift: u32,
    pub(super) write: &'a mut [u64],
    pub(super) reads: [&'a mut [u64]; 2],
}

impl Page {
    /// Forgets what an earlier generation held, and who accessed in an earlier launch.
    #[inline]
    pub(super) fn enter(&mut self, launch: u32, generation: u32) {
        if self.launch != launch || self.generation != generation {
            self.enter_anew(launch, generation);
        }
    }

    #[cold]
    fn enter_anew(&mut self, launch: u32, generation: u32) {
        if self.generation != generation {
            self.state = State::Untouched;
        } else {
            self.settle();
        }
        self.launch = launch;
        self.generation = generation;
        self.sectors = [0; 2];
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
    }

    pub(super) fn is_untouched(&self, generation: u32) -> bool {
        self.state == State::Untouched || self.generation != generation
    }

    /// The cells of `start..start + length`, none larger than `1 << shift`. Both are multiples of
    /// that; `bytes` is the page's memory.
    #[inline(always)]
    pub(super) fn cells(
        &mut self,
        bytes: &mut [u8],
        shift: u32,
        start: usize,
        length: usize,
    ) -> Cells<'_> {
        if self.state != State::Cells || u32::from(self.shift) > shift {
            self.make_cells(bytes, shift);
        }
        let shift = u32::from(self.shift);
        let (write, reads) = self.cells.split_at_mut(PAGE >> shift);
        let (read0, read1) = reads.split_at_mut(PAGE >> shift);
        let range = start >> shift..(start + length) >> shift;
        Cells {
            shift,
            write: &mut write[range.clone()],
            reads: [&mut read0[range.clone()], &mut read1[range]],
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
        self.shift = shift as u8;
        self.state = State::Cells;
    }

    /// Splits the cells; each part has the history of the whole.
    fn refine(&mut self, shift: u32) {
        let parts = 1 << (u32::from(self.shift) - shift);
        let fine = self.cells.iter().flat_map(|&stamp| std::iter::repeat_n(stamp, parts)).collect();
        self.cells = fine;
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
        cells.write.fill(if written { HOST } else { NEVER });
        cells.reads.into_iter().for_each(|reads| reads.fill(NEVER));
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
        page.enter(1, 0);
        assert_eq!((page.state, page.is_untouched(0)), (State::Untouched, true));
        // Cells begin with the size of the first access, with 0xFF below, and get finer.
        assert_eq!(page.cells(&mut bytes, 4, 32, 64).write, [NEVER; 4]);
        assert_eq!((page.state, page.shift, bytes[4095]), (State::Cells, 4, 0xFF));
        page.cells(&mut bytes, 4, 32, 64).write.fill(77 << 8);
        let cells = page.cells(&mut bytes, 1, 62, 4);
        assert_eq!((cells.shift, cells.write), (1, &mut [77 << 8; 2][..]));
        assert_eq!(page.cells(&mut bytes, 4, 16, 32).write[..8], [NEVER; 8]);
        assert_eq!(written(&page, 0), [(32, 96)]);
        // A new launch keeps what was written, of nobody.
        page.enter(2, 0);
        assert_eq!((page.state, page.shift), (State::Cells, 1));
        assert_eq!(page.cells(&mut bytes, 1, 30, 4).write, [NEVER, HOST]);
        // The host completes the page bit by bit; the next launch finds it whole.
        page.host_mark(&mut bytes, PAGE, (0, 33), true);
        assert_eq!(page.shift, 0);
        page.host_mark(&mut bytes, PAGE, (96, PAGE), true);
        page.enter(3, 0);
        assert_eq!(page.state, State::Written);
        assert_eq!(page.cells(&mut bytes, 3, 0, 16).write, [HOST; 2]);
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
        page.enter(3, 1);
        assert_eq!(page.cells(&mut bytes, 4, 0, 16).write, [NEVER; 8]);
    }

    #[test]
    fn readers_are_forgotten_with_their_launch() {
        let (mut page, mut bytes) = (Page::default(), vec![0; PAGE]);
        page.host_mark(&mut bytes, PAGE, (0, 4), true);
        page.enter(1, 0);
        page.cells(&mut bytes, 2, 0, 4).reads.into_iter().for_each(|reads| reads.fill(9 << 8));
        page.sectors = [3, 4];
        page.enter(2, 0);
        assert_eq!(page.cells(&mut bytes, 2, 0, 4).reads, [&mut [NEVER], &mut [NEVER]]);
        assert_eq!(page.sectors, [0, 0]);
    }
}
