//! What lives as long as a launch and belongs to no workgroup.

use std::collections::{BTreeMap, HashSet};

use super::function::Function;
use super::matrix::Shape;
use super::wave::Place;
use crate::engine::Counters;
use crate::engine::random::Random;
use crate::memory::{Clocks, Finding};
use crate::report::{Kind, Report};

const MOST_REPORTS: usize = 16;

/// When memory instructions are performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latency {
    Early,
    /// When they are waited for, or the wave ends.
    Late,
    Mixed,
}

/// Why a launch ends, or a report that does not end it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) lane: Option<u32>,
    pub(super) message: String,
}

pub(super) struct State {
    pub(super) clocks: Clocks,
    pub(super) random: Random,
    pub(super) latency: Latency,
    pub(super) counters: Counters,
    /// Matrix instructions by shape.
    pub(super) matrix: BTreeMap<Shape, u64>,
    pub(super) reports: Vec<Report>,
    seen: HashSet<(Kind, u32)>,
    kernel: String,
    pub(super) kernarg: Vec<u8>,
    pub(super) packet: [u8; 64],
    pub(super) approximation_seed: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) buffer: Box<[u8; 512]>,
}

impl State {
    pub(super) fn new(clocks: Clocks, kernel: &str, approximation_seed: u64) -> State {
        State {
            clocks,
            random: Random::new(0),
            latency: Latency::Mixed,
            counters: Counters::default(),
            matrix: BTreeMap::new(),
            reports: Vec::new(),
            seen: HashSet::new(),
            kernel: kernel.to_owned(),
            kernarg: Vec::new(),
            packet: [0; 64],
            approximation_seed,
            findings: Vec::new(),
            buffer: Box::new([0; 512]),
        }
    }

    /// The choices of the launch follow from the seed.
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
        let latencies = [Latency::Early, Latency::Late, Latency::Mixed];
        self.latency = latencies[self.random.below(3) as usize];
    }

    /// Whether the next memory instruction is performed when it is issued.
    pub(super) fn performs_early(&mut self) -> bool {
        match self.latency {
            Latency::Early => true,
            Latency::Late => false,
            Latency::Mixed => self.random.below(2) == 0,
        }
    }

    /// Enters a report, unless the instruction has one of its kind, or there are many.
    #[cold]
    pub(super) fn report(&mut self, function: &Function, at: u32, place: Place, fault: Fault) {
        let room = if fault.kind.is_fatal() { MOST_REPORTS } else { MOST_REPORTS - 1 };
        if self.reports.len() >= room || !self.seen.insert((fault.kind, at)) {
            return;
        }
        let (instruction, source) = function.place(at);
        self.reports.push(Report {
            kind: fault.kind,
            kernel: self.kernel.clone(),
            block: Some(place.block),
            thread: fault.lane.map(|lane| place.index * 64 + lane),
            lanes: 64,
            instruction,
            line: 0,
            source,
            message: fault.message,
        });
    }
}
