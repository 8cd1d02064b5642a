//! What an instruction's function works on.

use std::collections::{BTreeMap, HashSet};

use super::asynchronous::Copies;
use super::cluster_barrier::ClusterBarrier;
use super::copy_engine::CopyEngine;
use super::function::Function;
use super::instruction::{Flow, Op};
use super::local::Local;
use super::peers::Peers;
use super::random::Random;
use super::registers::Registers;
use super::warpgroup::{Pending, Warpgroups};
use super::{Counters, MatrixShape, Program};
use crate::memory::{AccessFault, Clocks, Finding, Memory, Region};
use crate::report::{Kind, Report};

/// Generic addresses from here are shared memory of the block.
pub(super) const SHARED_WINDOW: u64 = 1 << 48;
/// Generic addresses from here are local memory of the thread.
pub(super) const LOCAL_WINDOW: u64 = SHARED_WINDOW + (1 << 40);
/// Generic addresses from here are the kernel's parameters.
pub(super) const PARAMETER_WINDOW: u64 = LOCAL_WINDOW + (1 << 40);
/// Addresses of functions: this plus 16 times the function's index.
pub(super) const FUNCTION_BASE: u64 = PARAMETER_WINDOW + (1 << 40);

const MOST_REPORTS: usize = 16;

/// Why a launch ends.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) lane: Option<u32>,
    pub(super) message: String,
}

/// What a warp does at a barrier of the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BarrierUse {
    pub(super) id: u32,
    /// The threads named, if any.
    pub(super) count: Option<u32>,
    pub(super) lanes: u32,
    pub(super) waits: bool,
    /// Of `bar.red`: the lanes whose predicate is true.
    pub(super) reduction: Option<u32>,
}

/// What stops the plain sequence of instructions.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// The lanes go to the target, the group's others on.
    Branch {
        lanes: u32,
        target: u32,
    },
    /// Each lane to its own target.
    Scatter {
        lanes: u32,
        targets: Box<[u32; 32]>,
    },
    /// The lanes are done.
    Exit {
        lanes: u32,
    },
    /// The lanes call a function; those outside go on.
    Call {
        lanes: u32,
        function: u32,
        site: u32,
    },
    /// As `Call`; the rest call another function, and stay here until then.
    CallSome {
        lanes: u32,
        rest: u32,
        function: u32,
        site: u32,
    },
    /// The lanes return to their callers.
    Return {
        lanes: u32,
    },
    /// Some lanes wait here until others come: `Context::waits`.
    Converge,
    Barrier(BarrierUse),
    /// Waits here until the warpgroup's other warps have issued what this one waits for.
    AwaitWarpgroup,
    /// Waits here until the block's mbarrier at that offset completes a phase.
    AwaitPhase(u64),
    /// Waits here until the cluster's barrier completes.
    AwaitCluster,
    /// On with the next, after others had their turn.
    Yield,
    Fault(Fault),
}

/// What lanes that wait for others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meeting {
    /// The lanes that must come, unless they have exited.
    pub(super) members: u32,
    /// `bar.warp.sync`: others may come at other places.
    pub(super) anywhere: bool,
    /// An `.aligned` instruction.
    pub(super) aligned: bool,
}

/// What lives as long as a launch and belongs to no block.
pub(super) struct State {
    pub(super) clocks: Clocks,
    pub(super) random: Random,
    pub(super) counters: Counters,
    pub(super) matrix: BTreeMap<MatrixShape, u64>,
    pub(super) reports: Vec<Report>,
    seen: HashSet<(Kind, u32, u32)>,
    pub(super) kernel: String,
    pub(super) parameters: Vec<u8>,
    pub(super) approximation_seed: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) data: Box<[u8; 512]>,
    /// Readings of the clock, so that no two are equal.
    pub(super) ticks: u64,
}

/// The block that executes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) block: [u32; 3],
    pub(super) block_number: u64,
    /// The block's rank in its cluster.
    pub(super) rank: u32,
    /// The warp's number in the grid, as clocks count, and in its block.
    pub(super) warp: u64,
    pub(super) index: u32,
}

/// What an instruction's function works on.
pub(super) struct Context<'a> {
    pub(super) registers: &'a mut Registers,
    pub(super) function: &'a Function,
    pub(super) program: &'a Program,
    pub(super) memory: &'a mut Memory,
    pub(super) shared: &'a mut Region,
    pub(super) peers: Peers<'a>,
    pub(super) engine: &'a mut CopyEngine,
    pub(super) cluster: &'a mut ClusterBarrier,
    pub(super) state: &'a mut State,
    pub(super) local: &'a mut Local,
    pub(super) copies: &'a mut Copies,
    pub(super) matrix: &'a mut Pending,
    pub(super) warpgroups: &'a mut Warpgroups,
    pub(super) waits: &'a mut Vec<(u32, Meeting)>,
    /// Where the frame's part of local memory starts.
    pub(super) local_base: u32,
    pub(super) place: Place,
    /// The lanes of the group, and those of the warp that have not exited.
    pub(super) active: u32,
    pub(super) live: u32,
    pub(super) target: u32,
    pub(super) action: Action,
}

impl State {
    pub(super) fn new(
        clocks: Clocks,
        random: Random,
        kernel: &str,
        parameters: &[u8],
        approximation_seed: u64,
    ) -> State {
        State {
            clocks,
            random,
            counters: Counters::default(),
            matrix: BTreeMap::new(),
            reports: Vec::new(),
            seen: HashSet::new(),
            kernel: kernel.to_owned(),
            parameters: parameters.to_owned(),
            approximation_seed,
            findings: Vec::new(),
            data: Box::new([0; 512]),
            ticks: 0,
        }
    }

    /// Counts a matrix instruction of one warp.
    pub(super) fn count_matrix(&mut self, shape: MatrixShape) {
        *self.matrix.entry(shape).or_default() += 1;
    }

    /// Enters a report, unless the instruction has one of its kind, or there are many.
    pub(super) fn report(
        &mut self,
        program: &Program,
        function: &Function,
        source: u32,
        place: Place,
        fault: Fault,
    ) {
        let room = if fault.kind.is_fatal() { MOST_REPORTS } else { MOST_REPORTS - 1 };
        if self.reports.len() >= room || !self.seen.insert((fault.kind, function.index, source)) {
            return;
        }
        let (instruction, line, source) = program.place(function, source);
        self.reports.push(Report {
            kind: fault.kind,
            kernel: self.kernel.clone(),
            block: Some(place.block),
            thread: fault.lane.map(|lane| place.index * 32 + lane),
            lanes: 32,
            instruction,
            line,
            source,
            message: fault.message,
        });
    }
}

impl Context<'_> {
    pub(super) fn fault(&mut self, kind: Kind, lane: Option<u32>, message: String) -> Flow {
        self.stop(Action::Fault(Fault { kind, lane, message }))
    }

    pub(super) fn stop(&mut self, action: Action) -> Flow {
        self.action = action;
        Flow::Stop
    }

    /// A report that does not end the launch.
    #[cold]
    pub(super) fn note(&mut self, op: &Op, kind: Kind, lane: u32, message: String) {
        let fault = Fault { kind, lane: Some(lane), message };
        self.state.report(self.program, self.function, op.source, self.place, fault);
    }

    /// Reports lanes whose value was never written.
    #[cold]
    pub(super) fn note_undefined(&mut self, op: &Op, lanes: u32, what: &str) {
        let count = lanes.count_ones();
        let pending = if self.matrix.is_empty() {
            ""
        } else {
            ", or is on its way: there is a wgmma.mma_async that was not waited for"
        };
        let message = format!("{what} was never written in {count} lane(s){pending}");
        self.note(op, Kind::Uninitialized, lanes.trailing_zeros(), message);
    }

    /// Reports the races that memory found.
    #[cold]
    pub(super) fn note_races(&mut self, op: &Op) {
        for finding in std::mem::take(&mut self.state.findings) {
            let message = finding.text(|place| self.program.name_place(place));
            self.note(op, Kind::Race, finding.lane, message);
        }
    }

    #[cold]
    pub(super) fn access_fault(&mut self, fault: AccessFault, bytes: u32) -> Flow {
        match fault {
            AccessFault::OutOfBounds { lane, address, message } => {
                let message = format!("{bytes} bytes at {address:#x}: {message}");
                self.fault(Kind::OutOfBounds, Some(lane), message)
            }
            AccessFault::Misaligned { lane, address } => {
                let message = format!("{address:#x} is no multiple of {bytes}");
                self.fault(Kind::Misaligned, Some(lane), message)
            }
        }
    }
}
