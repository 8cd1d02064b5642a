//! Asynchronous matrix instructions on their way: of a warpgroup, and of each of its warps.
//!
//! An operation begins when all four warps have issued it, and is done for a warp when that waits for
//! it. Its operands in shared memory are read at one of these two times; at both of them they must be
//! there, and be ordered. Until then the accumulators are kept here, and the registers are poison.

use std::collections::VecDeque;

use super::context::Fault;
use super::function::Function;
use super::instruction::Op;
use super::ops_warpgroup::Multiplication;
use super::products::{Columns, Row, Sums};
use super::random::Random;
use super::registers::{POISON, Registers, Vector};
use crate::report::Kind;

/// Warps of a warpgroup.
pub(super) const WARPS: u32 = 4;

/// What of shared memory an operation multiplies.
#[derive(Debug, Default)]
pub(super) struct Operands {
    /// Empty if the left matrix is in registers.
    pub(super) rows: Vec<Row>,
    pub(super) columns: Vec<Columns>,
    /// Bits of the rows that are defined, and by eight columns.
    pub(super) defined_rows: u64,
    pub(super) defined_columns: Vec<u8>,
}

/// What must be the same in all four warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Function and instruction.
    pub(super) function: u32,
    pub(super) source: u32,
    /// The descriptors; the left one is 0 if that matrix is in registers.
    pub(super) a: u64,
    pub(super) b: u64,
    /// Whether the accumulators are added to.
    pub(super) adds: bool,
}

/// One operation of a warpgroup.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) identity: Identity,
    pub(super) first: u32,
    /// Bits of the warps that issued it, and those it is done for.
    pub(super) issued: u32,
    done: u32,
    /// Set when they are read.
    pub(super) operands: Option<Operands>,
    /// The bytes of the first reading.
    pub(super) seen: Vec<u8>,
    /// A warp waited for it.
    pub(super) is_over: bool,
    /// The warps that read, and when.
    pub(super) readers: Vec<(u64, u32)>,
}

#[derive(Debug, Default)]
struct Warpgroup {
    operations: VecDeque<Operation>,
    /// The number of the first of them.
    base: u64,
    /// `setmaxnreg`: the values so far, and how many of them each warp has come to.
    registers: Vec<u32>,
    came: [usize; WARPS as usize],
}

/// The warpgroups of a block.
#[derive(Debug)]
pub(super) struct Warpgroups {
    all: Vec<Warpgroup>,
    warps: u32,
    /// Bits of those in which something was issued by all, so that waiters may go on.
    pub(super) changed: u32,
    /// When operands are read, in this block: early, late, or mixed.
    habit: Option<u32>,
}

impl Warpgroups {
    pub(super) fn new(threads: u32) -> Warpgroups {
        let warps = threads.div_ceil(32);
        let all = std::iter::repeat_with(Warpgroup::default).take(warps.div_ceil(WARPS) as usize);
        Warpgroups { all: all.collect(), warps, changed: 0, habit: None }
    }

    /// Whether the warp's warpgroup has four warps.
    pub(super) fn check(&self, warp: u32) -> Result<(), String> {
        let (group, there) = (warp / WARPS, self.warps - (warp - warp % WARPS));
        match there {
            0..WARPS => Err(format!("warpgroup {group} has {there} of {WARPS} warps")),
            _ => Ok(()),
        }
    }

    /// Whether operands are read as soon as all have issued the operation.
    pub(super) fn is_early(&mut self, random: &mut Random) -> bool {
        match *self.habit.get_or_insert_with(|| random.below(3)) {
            0 => true,
            1 => false,
            _ => random.below(2) == 0,
        }
    }

    /// The warp issues its operation of that number. True: it is the last of the four.
    pub(super) fn issue(
        &mut self,
        warp: u32,
        number: u64,
        identity: Identity,
    ) -> Result<bool, Fault> {
        let group = &mut self.all[(warp / WARPS) as usize];
        let at = (number - group.base) as usize;
        if at == group.operations.len() {
            group.operations.push_back(Operation {
                identity,
                first: warp,
                issued: 0,
                done: 0,
                operands: None,
                seen: Vec::new(),
                is_over: false,
                readers: Vec::new(),
            });
        }
        let operation = &mut group.operations[at];
        if operation.identity != identity {
            let message = disagreement(warp, &identity, operation);
            return Err(Fault { kind: Kind::Divergence, lane: Some(0), message });
        }
        operation.issued |= 1 << (warp % WARPS);
        let complete = operation.issued == (1 << WARPS) - 1;
        self.changed |= u32::from(complete) << (warp / WARPS);
        Ok(complete)
    }

    pub(super) fn operation(&mut self, warp: u32, number: u64) -> &mut Operation {
        let group = &mut self.all[(warp / WARPS) as usize];
        &mut group.operations[(number - group.base) as usize]
    }

    /// Whether all four warps have issued it.
    pub(super) fn has_begun(&self, warp: u32, number: u64) -> bool {
        let group = &self.all[(warp / WARPS) as usize];
        group.operations[(number - group.base) as usize].issued == (1 << WARPS) - 1
    }

    /// The operation is done for a warp.
    pub(super) fn finish(&mut self, warp: u32, number: u64) {
        let group = &mut self.all[(warp / WARPS) as usize];
        group.operations[(number - group.base) as usize].done |= 1 << (warp % WARPS);
        while group.operations.front().is_some_and(|first| first.done == (1 << WARPS) - 1) {
            group.operations.pop_front();
            group.base += 1;
        }
    }

    /// `setmaxnreg` of a warp: all four must give the same values in the same order.
    pub(super) fn set_registers(&mut self, warp: u32, count: u32) -> Result<(), String> {
        let group = &mut self.all[(warp / WARPS) as usize];
        let came = &mut group.came[(warp % WARPS) as usize];
        let known = group.registers.get(*came).copied();
        if known.is_none() {
            group.registers.push(count);
        }
        *came += 1;
        match known {
            Some(known) if known != count => {
                Err(format!("warp {warp} sets {count} registers where its warpgroup sets {known}"))
            }
            _ => Ok(()),
        }
    }

    /// For messages: whom a warp waits for.
    pub(super) fn describe(&self, warp: u32) -> String {
        let index = warp / WARPS;
        let missing = self.all[index as usize]
            .operations
            .iter()
            .find(|operation| operation.issued != (1 << WARPS) - 1)
            .map_or(0, |operation| !operation.issued & ((1 << WARPS) - 1));
        let missing = (0..WARPS).filter(|at| missing >> at & 1 == 1);
        let missing: Vec<String> = missing.map(|at| (WARPS * index + at).to_string()).collect();
        format!("warp(s) {} of warpgroup {index} to issue wgmma.mma_async", missing.join(", "))
    }
}

fn disagreement(warp: u32, identity: &Identity, operation: &Operation) -> String {
    let (mine, other, first) = (identity, &operation.identity, operation.first);
    if (mine.function, mine.source) != (other.function, other.source) {
        return format!("warp {warp} issues another wgmma.mma_async here than warp {first}");
    }
    let parts = [
        ("matrix a", mine.a, other.a),
        ("matrix b", mine.b, other.b),
        ("scale-d", mine.adds.into(), other.adds.into()),
    ];
    let (what, mine, other) = parts.into_iter().find(|part| part.1 != part.2).unwrap_or(parts[0]);
    format!("{what} is {mine:#x} in warp {warp} and {other:#x} in warp {first} of the warpgroup")
}

/// Accumulators on their way: the operations of one shape on the same registers.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) slots: Vec<u32>,
    pub(super) sums: Vec<Sums>,
    /// By register: the lanes that are defined.
    pub(super) valid: Vec<u32>,
    /// The number of the last operation.
    pub(super) last: u64,
}

/// One operation of a warp that it has not waited for.
#[derive(Debug)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) op: Op,
    /// The group, by the number of those committed before.
    pub(super) group: u64,
    /// The left matrix's registers, as they were.
    pub(super) a: Vec<(Vector, u32)>,
    pub(super) adds: bool,
}

/// The asynchronous matrix instructions of a warp.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) issued: u64,
    pub(super) committed: u64,
    pub(super) issues: VecDeque<Issue>,
    pub(super) chains: Vec<Chain>,
    /// The frame that the operations are of: function and start of its local memory.
    pub(super) frame: (u32, u32),
    /// The frame of the last fence, and its registers of [`Function::watched`] then, or as an operation
    /// left them.
    fenced_in: Option<(u32, u32)>,
    fenced: Vec<(Vector, u32)>,
}

impl Pending {
    /// `wgmma.fence`: what registers hold now may be worked on.
    pub(super) fn fence(&mut self, function: &Function, registers: &Registers) {
        let hold = |&slot: &u32| (registers.values[slot as usize], registers.valid(slot));
        self.fenced_in = Some(self.frame);
        self.fenced.clear();
        self.fenced.extend(function.watched.slots.iter().map(hold));
    }

    /// The registers that are not what the last fence saw: neither themselves nor copies of what was.
    pub(super) fn changed_since_fence(
        &self,
        function: &Function,
        registers: &Registers,
        slots: &[u32],
    ) -> Option<u32> {
        if self.fenced_in != Some(self.frame) {
            return None;
        }
        let watched = &function.watched;
        let held = |slot: u32| watched.place(slot).and_then(|place| self.fenced.get(place));
        slots.iter().copied().find(|&slot| {
            let now = (&registers.values[slot as usize].0, registers.valid(slot));
            let is_now = |slot: u32| held(slot).is_some_and(|(v, valid)| (&v.0, *valid) == now);
            !is_now(slot) && !watched.origins(slot).any(is_now)
        })
    }

    /// What an operation left in a register is as good as seen by a fence.
    pub(super) fn settle(&mut self, function: &Function, registers: &Registers, slot: u32) {
        let place = function.watched.place(slot).filter(|_| self.fenced_in == Some(self.frame));
        if let Some(held) = place.and_then(|place| self.fenced.get_mut(place)) {
            *held = (registers.values[slot as usize], registers.valid(slot));
        }
    }

    pub(super) fn has_fenced(&self) -> bool {
        self.fenced_in.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }

    /// The first of the accumulators that does not hold poison any more.
    pub(super) fn overwritten(chain: &Chain, registers: &Registers) -> Option<usize> {
        chain.slots.iter().position(|&slot| {
            registers.valid(slot) != 0 || registers.values[slot as usize].0 != POISON.0
        })
    }

    /// A register that is an accumulator on its way, other than among exactly these, or of both
    /// matrices.
    pub(super) fn taken(&self, a: &[u32], d: &[u32]) -> Option<u32> {
        let others = self.chains.iter().filter(|chain| chain.slots != d);
        let mut taken = others.flat_map(|chain| &chain.slots).copied();
        let both = || a.iter().copied().find(|slot| d.contains(slot));
        taken.find(|slot| a.contains(slot) || d.contains(slot)).or_else(both)
    }
}

/// The registers of a function that asynchronous matrix instructions work on, and those that they are
/// copied from by `mov`: compilers put copies behind the fence.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) slots: Vec<u32>,
    /// By slot of the function: its place in `slots`, plus 1.
    places: Vec<u32>,
    /// By place: the slots it is copied from, directly.
    copies: Vec<Vec<u32>>,
}

impl Watched {
    /// Of the multiplications' registers and `mov` instructions (to, from).
    pub(super) fn new(multiplications: &[Multiplication], copies: &[(u32, u32)]) -> Watched {
        let mut watched = Watched::default();
        for multiplication in multiplications {
            multiplication.d.iter().chain(&multiplication.a).for_each(|&slot| watched.add(slot));
        }
        if watched.slots.is_empty() {
            return watched;
        }
        let mut from = std::collections::HashMap::<u32, Vec<u32>>::new();
        copies.iter().for_each(|&(to, source)| from.entry(to).or_default().push(source));
        let mut at = 0;
        while at < watched.slots.len() {
            let sources = from.get(&watched.slots[at]).cloned().unwrap_or_default();
            sources.iter().for_each(|&source| watched.add(source));
            watched.copies[at] = sources;
            at += 1;
        }
        watched
    }

    fn add(&mut self, slot: u32) {
        if self.place(slot).is_none() {
            let size = self.places.len().max(slot as usize + 1);
            self.places.resize(size, 0);
            self.slots.push(slot);
            self.places[slot as usize] = self.slots.len() as u32;
            self.copies.push(Vec::new());
        }
    }

    fn place(&self, slot: u32) -> Option<usize> {
        let place = self.places.get(slot as usize).copied().unwrap_or(0);
        place.checked_sub(1).map(|place| place as usize)
    }

    /// The slots that a slot's value may have been copied from, by any number of copies.
    fn origins(&self, slot: u32) -> impl Iterator<Item = u32> {
        let mut found: Vec<u32> = Vec::new();
        let mut open = vec![slot];
        while let Some(slot) = open.pop() {
            for &source in self.place(slot).map_or(&[][..], |place| &self.copies[place][..]) {
                if !found.contains(&source) {
                    found.push(source);
                    open.push(source);
                }
            }
        }
        found.into_iter()
    }
}
