//! Happens-before between pieces of work of streams: launches, copies, fills and frees.
//!
//! A piece of work is a ticket of its stream. What is ordered before it is a vector clock: by stream,
//! the last ticket that is ([`Known`]). The driver makes the clocks from stream order, events and the
//! host's waits; memory keeps who touched which bytes until everything to come is ordered behind it
//! ([`Timeline::settle`]), and compares.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// By stream: the last ticket that is ordered before something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<u64, u64>);

impl Known {
    /// Whether the work of that ticket of a stream, and so all before it there, is ordered before.
    pub fn knows(&self, stream: u64, ticket: u64) -> bool {
        self.0.get(&stream).is_some_and(|&known| ticket <= known)
    }

    /// The stream is known up to that ticket too.
    pub fn raise(&mut self, stream: u64, ticket: u64) {
        let known = self.0.entry(stream).or_default();
        *known = ticket.max(*known);
    }

    /// What another knows is known here too.
    pub fn join(&mut self, other: &Known) {
        other.0.iter().for_each(|(&stream, &ticket)| self.raise(stream, ticket));
    }

    /// What both know.
    pub fn meet(&mut self, other: &Known) {
        self.0.retain(|stream, ticket| match other.0.get(stream) {
            Some(&known) => {
                *ticket = known.min(*ticket);
                true
            }
            None => false,
        });
    }

    /// Drops what everybody knows anyway.
    pub fn forget(&mut self, settled: &Known) {
        self.0.retain(|&stream, &mut ticket| !settled.knows(stream, ticket));
    }
}

/// Names the instruction of a place, as a report does.
pub type Places = Arc<dyn Fn(u32) -> String + Send + Sync>;

/// A piece of work of a stream.
#[derive(Clone)]
pub struct Work {
    /// Its stream, as a number.
    pub stream: u64,
    /// Tickets of a stream grow.
    pub ticket: u64,
    /// What is ordered before it, itself included.
    pub known: Known,
    /// ``kernel `scale` in stream 3``.
    pub label: String,
    /// What the places of its accesses are, if they have any.
    pub places: Option<Places>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (ticket {} of {:#x})", self.label, self.ticket, self.stream)
    }
}

/// The work on one device that something to come may be unordered with, by the number that memory
/// gave it.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    works: HashMap<u32, Work>,
    /// The device has several streams, so that what all work of one is ordered before may still be
    /// unordered with another's.
    pub(super) several: bool,
}

impl Timeline {
    pub(super) fn begin(&mut self, number: u32, work: Work) {
        self.works.insert(number, work);
    }

    /// Drops the work that all to come is ordered behind.
    pub(super) fn settle(&mut self, known: &Known) {
        self.works.retain(|_, work| !known.knows(work.stream, work.ticket));
    }

    pub(super) fn clear(&mut self) {
        self.works.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Work> {
        self.works.get(&number)
    }

    /// Whether work is ordered before other work; what is settled is before everything.
    pub(super) fn is_before(&self, earlier: u32, later: u32) -> bool {
        match (self.works.get(&earlier), self.works.get(&later)) {
            (Some(earlier), Some(later)) => later.known.knows(earlier.stream, earlier.ticket),
            _ => true,
        }
    }

    pub(super) fn same_stream(&self, one: u32, other: u32) -> bool {
        match (self.works.get(&one), self.works.get(&other)) {
            (Some(one), Some(other)) => one.stream == other.stream,
            _ => false,
        }
    }

    /// In words, an access of work that another one is not ordered with.
    pub(super) fn describe(&self, number: u32, place: Option<u32>) -> String {
        let Some(work) = self.works.get(&number) else { return String::from("earlier work") };
        match (place, &work.places) {
            (Some(place), Some(places)) => format!("{}{}", work.label, places(place)),
            _ => work.label.clone(),
        }
    }
}

/// A launch, or other work, that goes on: its number, and what was before it.
#[derive(Clone, Debug)]
pub struct Now {
    pub(super) number: u32,
    pub(super) timeline: Arc<Timeline>,
}

impl From<u32> for Now {
    /// A launch of that number, ordered behind everything.
    fn from(number: u32) -> Now {
        Now { number, timeline: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pairs: &[(u64, u64)]) -> Known {
        Known(pairs.iter().copied().collect())
    }

    #[test]
    fn clocks_join_and_meet() {
        let mut all = known(&[(1, 5), (2, 3)]);
        assert!(all.knows(1, 5) && all.knows(1, 4) && !all.knows(1, 6) && !all.knows(3, 1));
        all.join(&known(&[(2, 9), (3, 1)]));
        assert_eq!(all, known(&[(1, 5), (2, 9), (3, 1)]));
        all.meet(&known(&[(1, 7), (2, 4)]));
        assert_eq!(all, known(&[(1, 5), (2, 4)]));
        all.forget(&known(&[(1, 5), (2, 3)]));
        assert_eq!(all, known(&[(2, 4)]));
    }

    #[test]
    fn what_is_settled_is_before_everything() {
        let work = |stream, ticket, known| Work {
            stream,
            ticket,
            known,
            label: String::from("a copy"),
            places: None,
        };
        let mut timeline = Timeline::default();
        timeline.begin(1, work(7, 10, known(&[(7, 10)])));
        timeline.begin(2, work(8, 11, known(&[(8, 11)])));
        timeline.begin(3, work(8, 12, known(&[(7, 10), (8, 12)])));
        assert!(!timeline.is_before(1, 2) && timeline.is_before(1, 3) && timeline.is_before(2, 3));
        assert!(timeline.same_stream(2, 3) && !timeline.same_stream(1, 2));
        timeline.settle(&known(&[(7, 10), (8, 11)]));
        assert!(timeline.is_before(1, 2), "settled");
        assert!(timeline.get(1).is_none() && timeline.get(3).is_some());
    }
}
