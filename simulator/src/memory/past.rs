//! What earlier work did in a page, as long as later work may be unordered with it.

use super::page::PAGE;
use super::region::Finding;
use super::streams::{Now, Timeline};

/// Marks of a cell: 0, or the place of the access plus one, with `STRONG` if it was.
type Mark = u32;
pub(super) const STRONG: Mark = 1 << 31;

/// The bytes of a page that one piece of work touched.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Touched {
    /// A copy, a fill, or a free.
    Range { start: usize, end: usize, write: bool },
    /// A kernel: by cell of `1 << shift` bytes, the last write and a read.
    Cells { shift: u32, write: Box<[Mark]>, read: Box<[Mark]> },
}

#[derive(Clone, Debug)]
struct Past {
    work: u32,
    touched: Touched,
    /// The work that goes on is not ordered with it.
    rival: bool,
}

/// Of one page, the oldest work first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    past: Vec<Past>,
}

/// An access of earlier work that one now conflicts with.
pub(super) struct Conflict {
    pub(super) work: u32,
    pub(super) write: bool,
    /// None for all of the work.
    pub(super) place: Option<u32>,
    /// The first byte of the page that both touch.
    pub(super) at: usize,
}

impl Conflict {
    /// What a lane of the work now finds.
    pub(super) fn finding(&self, now: &Now, lane: u32, address: u64) -> Finding {
        let what = if self.write { "write" } else { "read" };
        let earlier = now.timeline.describe(self.work, self.place);
        Finding {
            lane,
            address,
            earlier: format!("{what} by {earlier}"),
            place: None,
            missing: String::from("another stream, no event or wait between"),
        }
    }
}

/// More are not kept of one page: the oldest goes, and with it what it could tell.
const MOST: usize = 64;

impl History {
    /// Drops what is ordered before everything, and marks what is not ordered before the work now.
    /// Whether there is any of the latter.
    pub(super) fn look(&mut self, now: &Now) -> bool {
        let timeline = &*now.timeline;
        self.past.retain(|past| timeline.get(past.work).is_some());
        for past in &mut self.past {
            past.rival = !timeline.is_before(past.work, now.number);
        }
        self.past.iter().any(|past| past.rival)
    }

    /// Adds what a piece of work did. What it covers of earlier work of its stream is forgotten:
    /// whoever is unordered with the earlier is so with the later one.
    pub(super) fn push(&mut self, work: u32, touched: Touched, timeline: &Timeline) {
        for past in self.past.iter_mut().filter(|past| timeline.same_stream(past.work, work)) {
            past.touched.cover(&touched);
        }
        self.past.retain(|past| !past.touched.is_empty());
        if self.past.len() == MOST {
            self.past.remove(0);
        }
        self.past.push(Past { work, touched, rival: false });
    }

    /// The first conflict of an access to `start..end` with work that is not ordered before.
    pub(super) fn conflict(
        &self,
        (start, end): (usize, usize),
        write: bool,
        strong: bool,
    ) -> Option<Conflict> {
        self.past.iter().filter(|past| past.rival).find_map(|past| {
            let (at, was_write, place) = past.touched.conflict((start, end), write, strong)?;
            Some(Conflict { work: past.work, write: was_write, place, at })
        })
    }
}

impl Touched {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Touched::Range { start, end, .. } => start >= end,
            Touched::Cells { write, read, .. } => {
                write.iter().chain(read.iter()).all(|&mark| mark == 0)
            }
        }
    }

    /// Whether all bytes of a range were touched so that whoever conflicts with the earlier access
    /// there does so with this: a write hides what a read does, and not strong what strong does.
    fn covers(&self, (start, end): (usize, usize), earlier: Mark, was_write: bool) -> bool {
        let hides = |mark: Mark| mark != 0 && mark & STRONG & !earlier == 0;
        match self {
            Touched::Range { start: from, end: to, write } => {
                *from <= start && end <= *to && (*write || !was_write)
            }
            Touched::Cells { shift, write, read } => {
                let mut cells = start >> shift..end.div_ceil(1 << shift);
                cells.all(|at| hides(write[at]) || (!was_write && hides(read[at])))
            }
        }
    }

    /// Forgets what later work of the same stream covers.
    fn cover(&mut self, later: &Touched) {
        match self {
            Touched::Range { start, end, write } => {
                if later.covers((*start, *end), 0, *write) {
                    *end = *start;
                }
            }
            Touched::Cells { shift, write, read } => {
                let bytes = 1usize << *shift;
                for at in 0..PAGE >> *shift {
                    let range = (at * bytes, (at + 1) * bytes);
                    if write[at] != 0 && later.covers(range, write[at], true) {
                        write[at] = 0;
                    }
                    if read[at] != 0 && later.covers(range, read[at], false) {
                        read[at] = 0;
                    }
                }
            }
        }
    }

    /// The first byte of `start..end` that was written, or (if now it is) read; whether it was
    /// written, and the place.
    fn conflict(
        &self,
        (start, end): (usize, usize),
        write_now: bool,
        strong_now: bool,
    ) -> Option<(usize, bool, Option<u32>)> {
        match self {
            Touched::Range { start: from, end: to, write } => {
                let at = start.max(*from);
                (at < end.min(*to) && (*write || write_now)).then_some((at, *write, None))
            }
            Touched::Cells { shift, write, read } => {
                let conflicts = |mark: Mark| mark != 0 && !(strong_now && mark & STRONG != 0);
                let place = |mark: Mark| Some((mark & !STRONG) - 1);
                (start >> shift..end.div_ceil(1 << shift)).find_map(|at| {
                    let first = (at << shift).max(start);
                    if conflicts(write[at]) {
                        Some((first, true, place(write[at])))
                    } else if write_now && conflicts(read[at]) {
                        Some((first, false, place(read[at])))
                    } else {
                        None
                    }
                })
            }
        }
    }
}
