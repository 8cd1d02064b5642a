//! Races between pieces of work of streams, against a model that keeps every access of every byte.

use super::{ALL, BASE, lanes};
use crate::memory::{Access, Clocks, Finding, Known, Memory, Order, Work};

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// An access to one byte by the work of a stream.
#[derive(Clone, Copy)]
struct Touch {
    stream: u64,
    ticket: u64,
    write: bool,
    strong: bool,
}

const STREAMS: u64 = 3;
const BYTES: u64 = 3 * 4096;

/// A memory of three pages, and what the model knows of each byte.
struct Pair {
    random: Random,
    memory: Memory,
    start: u64,
    bytes: Vec<Vec<Touch>>,
    /// What the next work of each stream is ordered behind.
    known: Vec<Known>,
    /// Work since everything was settled.
    recent: u32,
    ticket: u64,
    conflicts: u32,
    quiet: u32,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut memory = Memory::new(BASE, 1 << 30);
        let start = memory.allocate(BYTES).unwrap();
        memory.fill(start, &[0], BYTES).unwrap();
        Pair {
            random: Random(seed | 1),
            memory,
            start,
            bytes: vec![Vec::new(); BYTES as usize],
            known: vec![Known::default(); STREAMS as usize],
            recent: 0,
            ticket: 0,
            conflicts: 0,
            quiet: 0,
        }
    }

    /// Whether an access conflicts with one that its work is not ordered behind.
    fn conflicts(&self, known: &Known, range: (u64, u64), write: bool, strong: bool) -> bool {
        let unordered = |touch: &Touch| {
            (write || touch.write)
                && !(strong && touch.strong)
                && !known.knows(touch.stream, touch.ticket)
        };
        self.bytes[range.0 as usize..range.1 as usize].iter().flatten().any(unordered)
    }

    fn check(&mut self, found: &[Finding], expected: bool, what: &str) {
        let between = |finding: &Finding| finding.missing.contains("another stream");
        assert!(found.iter().all(between), "{what}: {found:?}");
        assert_eq!(!found.is_empty(), expected, "{what}: {found:?}");
        *if expected { &mut self.conflicts } else { &mut self.quiet } += 1;
    }

    fn work(&mut self) {
        let stream = self.random.below(STREAMS);
        self.ticket += 1;
        let (ticket, at) = (self.ticket, stream as usize);
        if self.random.below(3) == 0 {
            // An event of another stream.
            let other = self.known[self.random.below(STREAMS) as usize].clone();
            self.known[at].join(&other);
        }
        let mut known = self.known[at].clone();
        known.raise(stream, ticket);
        let label = format!("work {ticket}");
        let work = Work { stream, ticket, known: known.clone(), label, places: None };
        self.memory.begin_work(work, true);
        self.recent += 1;
        let mut done = Vec::new();
        if self.random.below(3) == 0 {
            // A copy reads one range and writes another.
            for write in [false, true] {
                let first = self.random.below(BYTES - 1);
                let end = first + 1 + self.random.below((BYTES - first).min(6000));
                let expected = self.conflicts(&known, (first, end), write, false);
                let found = self.memory.touch(self.start + first, end - first, write).unwrap();
                self.check(found.as_slice(), expected, &format!("{first}..{end}, {write}"));
                done.extend((first..end).map(|byte| (byte, write, false)));
            }
        } else {
            self.launch(&known, &mut done);
        }
        for (byte, write, strong) in done {
            self.bytes[byte as usize].push(Touch { stream, ticket, write, strong });
        }
        self.known[at] = known;
    }

    /// Three accesses of one warp, side by side or apart.
    fn launch(&mut self, known: &Known, done: &mut Vec<(u64, bool, bool)>) {
        let mut clocks = Clocks::new(self.memory.begin_launch(), 1);
        // Of one launch, a cell keeps the last access of a kind.
        let strong = self.random.below(4) == 0;
        for _ in 0..3 {
            let bytes = 1 << self.random.below(5);
            let step = bytes * [1, 1, 3][self.random.below(3) as usize];
            let first = self.random.below((BYTES - 32 * step) / bytes) * bytes;
            let addresses = lanes(self.start + first, step);
            let mask = if self.random.below(2) == 0 { ALL } else { self.random.0 as u32 | 1 };
            let write = self.random.below(2) == 0;
            let order = if strong { Order::Relaxed } else { Order::Weak };
            let access = Access {
                addresses: &addresses,
                mask,
                bytes: bytes as u32,
                order,
                warp: 0,
                place: 3,
            };
            let places = (0..32).filter(|lane| mask >> lane & 1 == 1);
            let ranges: Vec<(u64, u64)> =
                places.map(|lane| (first + lane * step, first + lane * step + bytes)).collect();
            let expected = ranges.iter().any(|&range| self.conflicts(known, range, write, strong));
            let mut found = Vec::new();
            // The accesses of this launch are in order among each other.
            clocks.warp_sync(0, ALL);
            match write {
                true => {
                    let (data, clocks) = ([1; 512], &mut clocks);
                    self.memory.store(clocks, &access, &data, ALL, &mut found).unwrap();
                }
                false => {
                    let (mut out, clocks) = ([0; 512], &mut clocks);
                    self.memory.load(clocks, &access, &mut out, &mut found).unwrap();
                }
            }
            self.check(&found, expected, &format!("{bytes} bytes from {first}, {write}"));
            done.extend(
                ranges.iter().flat_map(|&(from, to)| from..to).map(|byte| (byte, write, strong)),
            );
        }
    }

    /// The host waits for some streams; what all streams know then is settled.
    fn wait(&mut self) {
        let mut host = Known::default();
        for known in &self.known {
            host.join(known);
        }
        if self.random.below(2) == 0 {
            self.known.iter_mut().for_each(|known| known.join(&host));
            self.recent = 0;
        }
        let mut settled = host;
        self.known.iter().for_each(|known| settled.meet(known));
        self.memory.settle(&settled);
        for touches in &mut self.bytes {
            touches.retain(|touch| !settled.knows(touch.stream, touch.ticket));
        }
    }
}

#[test]
fn work_of_streams_races_as_the_model_says() {
    let (mut conflicts, mut quiet) = (0, 0);
    for seed in 1..=300u64 {
        let mut pair = Pair::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..60 {
            pair.work();
            // A page keeps 64 pieces of work; the model keeps all.
            if pair.recent > 40 || pair.random.below(12) == 0 {
                pair.wait();
            }
            if pair.recent > 55 {
                break;
            }
        }
        conflicts += pair.conflicts;
        quiet += pair.quiet;
    }
    assert!(conflicts > 3000 && quiet > 3000, "{conflicts} conflicts, {quiet} without");
}

/// A page remembers the latest 64 pieces of work that nothing has settled, and goes on.
#[test]
fn a_page_keeps_a_bounded_past() {
    let mut memory = Memory::new(BASE, 1 << 30);
    let start = memory.allocate(4096).unwrap();
    let begin = |memory: &mut Memory, stream: u64, ticket: u64| {
        let mut known = Known::default();
        known.raise(stream, ticket);
        let label = format!("work {ticket}");
        memory.begin_work(Work { stream, ticket, known, label, places: None }, true);
    };
    for ticket in 1..=100 {
        begin(&mut memory, ticket, ticket);
        assert_eq!(memory.touch(start + ticket, 1, true).unwrap(), None);
    }
    begin(&mut memory, 101, 101);
    let by = |found: Option<Finding>| found.map(|found| found.earlier);
    assert_eq!(by(memory.touch(start + 1, 1, false).unwrap()), None, "the oldest are gone");
    begin(&mut memory, 102, 102);
    let found = by(memory.touch(start + 90, 1, false).unwrap());
    assert_eq!(found.as_deref(), Some("write by work 90"));
}
