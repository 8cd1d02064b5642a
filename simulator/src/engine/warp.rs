//! A warp: groups of lanes at places of the code, the lowest place first.

use super::Program;
use super::asynchronous::Copies;
use super::barrier::Barriers;
use super::cluster_barrier::ClusterBarrier;
use super::context::{Action, BarrierUse, Context, Fault, Meeting, Place, State};
use super::copy_engine::CopyEngine;
use super::function::Function;
use super::instruction::{Op, Result as Destination};
use super::local::Local;
use super::peers::Peers;
use super::registers::Registers;
use super::schedule::Pause;
use super::special::{self, Identity};
use super::step::execute;
use super::warpgroup::{Pending, Warpgroups};
use crate::memory::{Memory, Region};

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Ready,
    Meeting(Meeting),
    /// The barrier's number.
    Barrier(u32),
    /// For the warpgroup's other warps.
    Warpgroup,
    /// For the phase of the block's mbarrier at that offset.
    Phase(u64),
    /// For the cluster's barrier.
    Cluster,
}

/// Lanes at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) frame: u32,
    pub(super) pc: u32,
    pub(super) mask: u32,
    pub(super) wait: Wait,
}

/// One call of a function, by lanes that came from one frame, perhaps from several places in it.
pub(super) struct Frame {
    pub(super) function: u32,
    pub(super) parent: u32,
    /// By lane: the place of the call, and which call of the caller's it is.
    pub(super) returns: [(u32, u32); 32],
    /// 0: free.
    pub(super) lanes: u32,
    pub(super) local_base: u32,
    pub(super) registers: Registers,
}

/// 32 threads.
pub(super) struct Warp {
    pub(super) place: Place,
    pub(super) frames: Vec<Frame>,
    pub(super) groups: Vec<Group>,
    pub(super) live: u32,
    pub(super) local: Local,
    pub(super) copies: Copies,
    pub(super) matrix: Pending,
    pub(super) identity: Identity,
}

/// What a warp executes in.
pub(super) struct Surroundings<'a> {
    pub(super) program: &'a Program,
    pub(super) memory: &'a mut Memory,
    pub(super) shared: &'a mut Region,
    pub(super) peers: Peers<'a>,
    pub(super) engine: &'a mut CopyEngine,
    pub(super) cluster: &'a mut ClusterBarrier,
    pub(super) barriers: &'a mut Barriers,
    pub(super) warpgroups: &'a mut Warpgroups,
    pub(super) state: &'a mut State,
}

impl Warp {
    pub(super) fn new(place: Place, identity: Identity, mask: u32) -> Warp {
        Warp {
            place,
            frames: Vec::new(),
            groups: Vec::new(),
            live: mask,
            local: Local::default(),
            copies: Copies::default(),
            matrix: Pending::default(),
            identity,
        }
    }

    /// Starts the kernel; frames and memory of an earlier block are used again.
    pub(super) fn start(&mut self, program: &Program, function: u32) -> bool {
        self.copies = Copies::default();
        self.matrix = Pending::default();
        self.groups.clear();
        let bytes = self.local.bytes();
        self.local.clear(u32::MAX, 0, bytes);
        for frame in &mut self.frames {
            frame.lanes = 0;
        }
        if self.live == 0 {
            return true;
        }
        let Some(frame) = self.new_frame(program, function, u32::MAX, 0, self.live) else {
            return false;
        };
        self.groups.push(Group { frame, pc: 0, mask: self.live, wait: Wait::Ready });
        true
    }

    /// A frame for a function; none if local memory runs out.
    pub(super) fn new_frame(
        &mut self,
        program: &Program,
        function: u32,
        parent: u32,
        local_base: u32,
        lanes: u32,
    ) -> Option<u32> {
        let code = &program.functions[function as usize];
        if !self.local.reserve(local_base as usize + code.local_bytes as usize) {
            return None;
        }
        let free = self.frames.iter().position(|f| f.lanes == 0 && f.function == function);
        let at = free.unwrap_or_else(|| {
            self.frames.push(Frame {
                function,
                parent,
                returns: [(0, 0); 32],
                lanes,
                local_base,
                registers: code.template.clone(),
            });
            self.frames.len() - 1
        });
        let frame = &mut self.frames[at];
        (frame.parent, frame.local_base, frame.lanes) = (parent, local_base, lanes);
        let (registers, template) = (&mut frame.registers, &code.template);
        // Constants are never overwritten. Registers keep what an earlier frame left: none of it is
        // valid, and a use that matters is reported.
        registers.valid.copy_from_slice(&template.valid);
        registers.predicates.copy_from_slice(&template.predicates);
        for &item in &code.specials {
            special::fill(registers, item, &self.identity, local_base);
        }
        Some(at as u32)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.groups.iter().any(|group| group.wait == Wait::Ready)
    }

    /// Executes up to `quantum` instructions; `stray` lets another group than the lowest go first.
    pub(super) fn run(
        &mut self,
        around: &mut Surroundings<'_>,
        quantum: u32,
        stray: bool,
    ) -> Pause {
        let mut budget = quantum;
        let mut stray = stray;
        let mut waits = Vec::new();
        while budget > 0 {
            let Some(at) = self.choose(around, std::mem::take(&mut stray)) else {
                return Pause::Blocked;
            };
            let group = self.groups.swap_remove(at);
            let limit = self.next_place(&group);
            let frame = &mut self.frames[group.frame as usize];
            let function = &around.program.functions[frame.function as usize];
            let mut context = Context {
                registers: &mut frame.registers,
                function,
                program: around.program,
                memory: around.memory,
                shared: around.shared,
                peers: around.peers.again(),
                engine: around.engine,
                cluster: around.cluster,
                state: around.state,
                local: &mut self.local,
                copies: &mut self.copies,
                matrix: &mut self.matrix,
                warpgroups: around.warpgroups,
                waits: &mut waits,
                local_base: frame.local_base,
                place: self.place,
                active: group.mask,
                live: self.live,
                target: 0,
                action: Action::Yield,
            };
            let (pc, stopped) = execute(&mut context, function, group.pc, limit, &mut budget);
            let group = Group { pc, ..group };
            if !stopped {
                self.groups.push(group);
                continue;
            }
            let action = std::mem::replace(&mut context.action, Action::Yield);
            let op = function.ops[pc as usize];
            match self.act(around, group, action, &op, &mut waits) {
                Ok(true) => {}
                Ok(false) => return Pause::Turn,
                Err(fault) => {
                    around.state.report(around.program, function, op.source, self.place, fault);
                    return Pause::Fault;
                }
            }
        }
        Pause::Turn
    }

    /// The group to go on with: deepest calls first, then the lowest place.
    fn choose(&mut self, around: &mut Surroundings<'_>, stray: bool) -> Option<usize> {
        if let [only] = &self.groups[..] {
            return (only.wait == Wait::Ready).then_some(0);
        }
        self.merge();
        let ready = |group: &Group| group.wait == Wait::Ready;
        if stray {
            let count = self.groups.iter().filter(|group| ready(group)).count() as u32;
            if count > 0 {
                let skip = around.state.random.below(count) as usize;
                let mut ready = (0..self.groups.len()).filter(|&at| ready(&self.groups[at]));
                return ready.nth(skip);
            }
        }
        let depth = |group: &Group| self.frames[group.frame as usize].local_base;
        (0..self.groups.len())
            .filter(|&at| ready(&self.groups[at]))
            .min_by_key(|&at| (u32::MAX - depth(&self.groups[at]), self.groups[at].pc))
    }

    /// Makes one of ready groups at one place.
    fn merge(&mut self) {
        let mut at = 0;
        while at < self.groups.len() {
            let group = self.groups[at];
            let into = self.groups[..at].iter_mut().find(|other| {
                (other.frame, other.pc, other.wait) == (group.frame, group.pc, Wait::Ready)
                    && group.wait == Wait::Ready
            });
            if let Some(into) = into {
                into.mask |= group.mask;
                self.groups.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// The next place above the group's at which others of its frame are.
    fn next_place(&self, group: &Group) -> u32 {
        self.groups
            .iter()
            .filter(|other| other.frame == group.frame && other.pc > group.pc)
            .filter(|other| {
                !matches!(other.wait, Wait::Barrier(_) | Wait::Phase(_) | Wait::Cluster)
            })
            .map(|other| other.pc)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Does what stopped the group. False: others should have their turn.
    fn act(
        &mut self,
        around: &mut Surroundings<'_>,
        group: Group,
        action: Action,
        op: &Op,
        waits: &mut Vec<(u32, Meeting)>,
    ) -> Result<bool, Fault> {
        let next = Group { pc: group.pc + 1, ..group };
        match action {
            Action::Branch { lanes, target } => {
                self.place_group(Group { mask: lanes, pc: target, ..group });
                self.place_group(Group { mask: group.mask & !lanes, ..next });
            }
            Action::Scatter { lanes, targets } => {
                self.scatter(group, lanes, |lane| targets[lane as usize]);
                self.place_group(Group { mask: group.mask & !lanes, ..next });
            }
            Action::Exit { lanes } => {
                self.live &= !lanes;
                self.place_group(Group { mask: group.mask & !lanes, ..next });
                around.barriers.exit(lanes);
                around.cluster.exit(self.place.warp, lanes);
                self.recheck_meetings(around);
            }
            Action::Call { lanes, function, site } => {
                self.place_group(Group { mask: group.mask & !lanes, ..next });
                self.call(around.program, group, lanes, function, site)?;
            }
            Action::CallSome { lanes, rest, function, site } => {
                self.place_group(Group { mask: group.mask & !(lanes | rest), ..next });
                self.place_group(Group { mask: rest, ..group });
                self.call(around.program, group, lanes, function, site)?;
            }
            Action::Return { lanes } => {
                self.place_group(Group { mask: group.mask & !lanes, ..next });
                self.return_from(around.program, group, lanes);
            }
            Action::Converge => {
                let mut rest = group.mask;
                for (lanes, meeting) in waits.drain(..) {
                    rest &= !lanes;
                    self.wait_for(around, Group { mask: lanes, ..group }, meeting);
                }
                self.place_group(Group { mask: rest, ..next });
            }
            Action::Barrier(how) => {
                self.place_group(Group { mask: group.mask & !how.lanes, ..next });
                self.arrive(around, group, op, how)?;
            }
            Action::AwaitPhase(offset) => {
                // It is issued again, and counted then.
                around.state.counters.warp_instructions -= u64::from(op.counts);
                self.place_group(Group { wait: Wait::Phase(offset), ..group });
            }
            Action::AwaitCluster => {
                around.state.counters.warp_instructions -= u64::from(op.counts);
                self.place_group(Group { wait: Wait::Cluster, ..group });
            }
            Action::AwaitWarpgroup => {
                self.place_group(Group { wait: Wait::Warpgroup, ..group });
            }
            Action::Yield => {
                self.place_group(next);
                return Ok(false);
            }
            Action::Fault(fault) => return Err(fault),
        }
        Ok(around.barriers.completed == 0)
    }

    pub(super) fn place_group(&mut self, group: Group) {
        if group.mask != 0 {
            self.groups.push(group);
        }
    }

    /// Sends each lane to its place.
    pub(super) fn scatter(&mut self, group: Group, lanes: u32, place: impl Fn(u32) -> u32) {
        let mut rest = lanes;
        while rest != 0 {
            let pc = place(rest.trailing_zeros());
            let same = (0..32).filter(|&lane| rest >> lane & 1 == 1 && place(lane) == pc);
            let mask = same.fold(0, |mask, lane| mask | 1 << lane);
            rest &= !mask;
            self.place_group(Group { pc, mask, ..group });
        }
    }

    /// Lanes wait where they are until the members came.
    fn wait_for(&mut self, around: &mut Surroundings<'_>, group: Group, meeting: Meeting) {
        let waiting = Wait::Meeting(meeting);
        let same =
            |other: &Group| (other.frame, other.pc, other.wait) == (group.frame, group.pc, waiting);
        match self.groups.iter_mut().find(|other| same(other)) {
            Some(other) => other.mask |= group.mask,
            None => self.groups.push(Group { wait: waiting, ..group }),
        }
        self.recheck_meetings(around);
    }

    /// Lets those go on whose members have come or exited.
    fn recheck_meetings(&mut self, around: &mut Surroundings<'_>) {
        for at in 0..self.groups.len() {
            let group = self.groups[at];
            let Wait::Meeting(meeting) = group.wait else { continue };
            let together = self
                .groups
                .iter()
                .filter(|other| other.wait == group.wait)
                .filter(|other| {
                    meeting.anywhere || (other.frame, other.pc) == (group.frame, group.pc)
                })
                .fold(0, |mask, other| mask | other.mask);
            if meeting.members & self.live & !together != 0 {
                continue;
            }
            for other in self.groups.iter_mut().filter(|other| other.wait == group.wait) {
                if meeting.anywhere {
                    (other.wait, other.pc) = (Wait::Ready, other.pc + 1);
                } else if (other.frame, other.pc) == (group.frame, group.pc) {
                    other.wait = Wait::Ready;
                }
            }
            if meeting.anywhere {
                around.state.clocks.warp_sync(self.place.warp, together);
            }
        }
    }

    fn arrive(
        &mut self,
        around: &mut Surroundings<'_>,
        group: Group,
        op: &Op,
        how: BarrierUse,
    ) -> Result<(), Fault> {
        let whole = how.lanes == self.live;
        let pc = group.pc + u32::from(!how.waits);
        let wait = if how.waits { Wait::Barrier(how.id) } else { Wait::Ready };
        self.groups.push(Group { pc, mask: how.lanes, wait, ..group });
        debug_assert_eq!(op.result, Destination::Effect);
        around.barriers.arrive(&mut around.state.clocks, self.place.warp, whole, &how)
    }

    /// Wakes the groups that wait at a completed barrier.
    pub(super) fn wake(
        &mut self,
        program: &Program,
        barriers: &Barriers,
        state: &mut State,
        id: u32,
    ) {
        let mut woken = false;
        for group in self.groups.iter_mut().filter(|group| group.wait == Wait::Barrier(id)) {
            let ((truths, falsehoods), fence) = barriers.outcome(id);
            let frame = &mut self.frames[group.frame as usize];
            let function: &Function = &program.functions[frame.function as usize];
            let op = &function.ops[group.pc as usize];
            super::ops_barrier::deliver(&mut frame.registers, op, group.mask, truths, falsehoods);
            if !woken {
                state.clocks.barrier_leave(self.place.warp, fence);
            }
            woken = true;
            (group.wait, group.pc) = (Wait::Ready, group.pc + 1);
        }
    }
}
