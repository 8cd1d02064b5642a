//! Matrix instructions of a warpgroup (PTX ISA, "Asynchronous Warpgroup Level Matrix
//! Multiply-Accumulate Instructions"), and `setmaxnreg`.

use super::MatrixShape;
use super::context::{Action, Context};
use super::descriptor::Descriptor;
use super::fragments::{self, ROWS};
use super::function::Function;
use super::instruction::{Execute, Flow, Op};
use super::matrix_operands::read;
use super::ops_matrix::whole_warp;
use super::products::{self, Element, Model, Row, Sums, WIDTH};
use super::registers::{Cell, POISON, Registers, Vector};
use super::warpgroup::{Chain, Identity, Issue, Pending, WARPS};
use crate::report::Kind;

/// A `wgmma.mma_async`.
#[derive(Clone, Debug)]
pub(super) struct Multiplication {
    pub(super) shape: MatrixShape,
    pub(super) d: Vec<u32>,
    /// The left matrix: registers, or if there are none a descriptor.
    pub(super) a: Vec<u32>,
    pub(super) a_descriptor: u32,
    pub(super) b_descriptor: u32,
    /// MN-major.
    pub(super) a_transposed: bool,
    pub(super) b_transposed: bool,
    /// `scale-d`: a predicate, and whether it is negated.
    pub(super) adds: (u32, bool),
    /// The product counts with the other sign.
    pub(super) negates: bool,
}

/// `wgmma.fence`.
pub(super) struct FenceRegisters;

impl Execute for FenceRegisters {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warpgroup(context, mask) {
            return flow;
        }
        context.matrix.fence(context.function, context.registers);
        Flow::Next
    }
}

/// `wgmma.commit_group`.
pub(super) struct CommitMultiplications;

impl Execute for CommitMultiplications {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warpgroup(context, mask) {
            return flow;
        }
        context.matrix.committed += 1;
        Flow::Next
    }
}

/// The whole warp, of a warpgroup of four, in the frame where the operations were issued.
fn whole_warpgroup(context: &mut Context<'_>, mask: u32) -> Result<(), Flow> {
    whole_warp(context, mask)?;
    if let Err(message) = context.warpgroups.check(context.place.index) {
        return Err(context.fault(Kind::Divergence, Some(0), message));
    }
    let frame = (context.function.index, context.local_base);
    if context.matrix.is_empty() {
        context.matrix.frame = frame;
    } else if context.matrix.frame != frame {
        let message = String::from("wgmma.mma_async on its way across a call is not modelled");
        return Err(context.fault(Kind::Unsupported, Some(0), message));
    }
    Ok(())
}

/// The value that all lanes have.
fn uniform(context: &mut Context<'_>, op: &Op, slot: u32, what: &str) -> Result<u64, Flow> {
    let undefined = !context.registers.valid(slot);
    if undefined != 0 {
        context.note_undefined(op, undefined, what);
    }
    let lanes = u64::lanes(context.registers, slot);
    let first = lanes[0];
    match lanes.iter().position(|&value| value != first) {
        None => Ok(first),
        Some(lane) => {
            let message = format!("{what} is {first:#x} in lane 0, {:#x} in {lane}", lanes[lane]);
            Err(context.fault(Kind::Divergence, Some(lane as u32), message))
        }
    }
}

/// `wgmma.mma_async`: `extra` is the index of the multiplication.
pub(super) struct MultiplyAsync;

impl Execute for MultiplyAsync {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        issue(context, op, mask).err().unwrap_or(Flow::Next)
    }
}

fn issue(context: &mut Context<'_>, op: &Op, mask: u32) -> Result<(), Flow> {
    whole_warpgroup(context, mask)?;
    let function = context.function;
    let multiplication = &function.multiplications[op.extra as usize];
    let identity = identify(context, op, multiplication)?;
    let number = context.matrix.issued;
    check_registers(context, op, multiplication);
    let hold =
        |&slot: &u32| (context.registers.values[slot as usize], context.registers.valid(slot));
    let a = multiplication.a.iter().map(hold).collect();
    let matrix = &mut *context.matrix;
    matrix.issued += 1;
    let group = matrix.committed;
    matrix.issues.push_back(Issue { number, op: *op, group, a, adds: identity.adds });
    match matrix.chains.iter_mut().find(|chain| chain.slots == multiplication.d) {
        Some(chain) => chain.last = number,
        None => matrix.chains.push(begin_chain(context.registers, multiplication, number)),
    }
    context.state.count_matrix(multiplication.shape);
    let warp = context.place.index;
    match context.warpgroups.issue(warp, number, identity) {
        Err(fault) => return Err(context.fault(fault.kind, fault.lane, fault.message)),
        Ok(false) => return Ok(()),
        Ok(true) => {}
    }
    let early = context.warpgroups.is_early(&mut context.state.random);
    read(context, op, number, early)
}

fn identify(
    context: &mut Context<'_>,
    op: &Op,
    multiplication: &Multiplication,
) -> Result<Identity, Flow> {
    let a = match multiplication.a[..] {
        [] => uniform(context, op, multiplication.a_descriptor, "the descriptor of matrix a")?,
        _ => 0,
    };
    let b = uniform(context, op, multiplication.b_descriptor, "the descriptor of matrix b")?;
    for bits in [a, b] {
        if let Err(message) = Descriptor::decode(bits) {
            return Err(context.fault(Kind::Unsupported, Some(0), message));
        }
    }
    let (predicate, negated) = multiplication.adds;
    let predicate = context.registers.predicate(predicate);
    if predicate.valid != u32::MAX {
        context.note_undefined(op, !predicate.valid, "scale-d");
    }
    let truth = if negated { !predicate.value } else { predicate.value };
    if truth != 0 && truth != u32::MAX {
        let message = format!("scale-d is true in the lanes {truth:#010x} alone");
        return Err(context.fault(Kind::Divergence, Some(truth.trailing_zeros()), message));
    }
    let adds = truth != 0;
    Ok(Identity { function: context.function.index, source: op.source, a, b, adds })
}

/// Reports registers that the operation may not touch yet.
fn check_registers(context: &mut Context<'_>, op: &Op, multiplication: &Multiplication) {
    let function = context.function;
    if !context.matrix.has_fenced() {
        let message = String::from("there was no wgmma.fence before the first wgmma.mma_async");
        return context.note(op, Kind::Hazard, 0, message);
    }
    let Multiplication { a, d, .. } = multiplication;
    let matrix = &*context.matrix;
    let is_chained = matrix.chains.iter().any(|chain| chain.slots == *d);
    let of = |slots: &[u32]| matrix.changed_since_fence(function, context.registers, slots);
    let place = |slots: &[u32], slot| slots.iter().position(|&other| other == slot).unwrap_or(0);
    let message = if let Some(slot) = matrix.taken(a, d) {
        let what = if d.contains(&slot) { "an accumulator" } else { "a register of matrix a" };
        format!("{what} is on its way in another wgmma.mma_async")
    } else {
        let what = match (if is_chained { None } else { of(d) }, of(a)) {
            (Some(slot), _) => format!("accumulator {}", place(d, slot)),
            (None, Some(slot)) => format!("register {} of matrix a", place(a, slot)),
            (None, None) => return,
        };
        format!("{what} was written after the last wgmma.fence")
    };
    context.note(op, Kind::Hazard, 0, message);
}

/// Takes the accumulators; until they come back, their registers hold poison.
fn begin_chain(registers: &mut Registers, multiplication: &Multiplication, last: u64) -> Chain {
    let slots = multiplication.d.clone();
    let mut sums = vec![[0.0; WIDTH]; ROWS * slots.len() / 4];
    for (four, sums) in slots.chunks_exact(4).zip(sums.chunks_exact_mut(ROWS)) {
        fragments::take_sums(registers, &std::array::from_fn(|i| four[i]), sums);
    }
    let valid = slots.iter().map(|&slot| registers.valid(slot)).collect();
    for &slot in &slots {
        registers.write(slot, u32::MAX, &POISON.0, 0);
    }
    Chain { slots, sums, valid, last }
}

/// `wgmma.wait_group`: `extra` groups may be left.
pub(super) struct WaitMultiplications;

impl Execute for WaitMultiplications {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warpgroup(context, mask) {
            return flow;
        }
        let (matrix, warp) = (&*context.matrix, context.place.index);
        let is_waited = |issue: &&Issue| issue.group + op.extra < matrix.committed;
        let count = matrix.issues.iter().take_while(is_waited).count();
        let last = count.checked_sub(1).map(|last| matrix.issues[last].number);
        if last.is_some_and(|last| !context.warpgroups.has_begun(warp, last)) {
            return context.stop(Action::AwaitWarpgroup);
        }
        for _ in 0..count {
            let Some(issue) = context.matrix.issues.pop_front() else { break };
            if let Err(flow) = complete(context, &issue) {
                return flow;
            }
        }
        Flow::Next
    }
}

/// The warp's part of an operation that all four have issued.
fn complete(context: &mut Context<'_>, issue: &Issue) -> Result<(), Flow> {
    let (op, number, warp) = (&issue.op, issue.number, context.place.index);
    let operation = context.warpgroups.operation(warp, number);
    if !std::mem::replace(&mut operation.is_over, true) {
        let keep = operation.operands.is_none();
        read(context, op, number, keep)?;
    }
    let function: &Function = context.function;
    let multiplication = &function.multiplications[op.extra as usize];
    check_in_flight(context, issue, multiplication);
    let operation = context.warpgroups.operation(warp, number);
    for &(reader, epoch) in &operation.readers {
        context.state.clocks.learn_of(context.place.warp, reader, epoch);
    }
    let found = context.matrix.chains.iter().position(|chain| chain.slots == multiplication.d);
    let (Some(at), Some(operands)) = (found, &operation.operands) else { return Ok(()) };
    let chain = &mut context.matrix.chains[at];
    if !issue.adds {
        chain.sums.fill([0.0; WIDTH]);
        chain.valid.fill(u32::MAX);
    }
    let model = Model::of(context.state.approximation_seed);
    let mut rows = [Row::ZERO; ROWS];
    let defined_rows = match issue.a[..] {
        [] => {
            let first = ROWS * (warp % WARPS) as usize;
            rows.copy_from_slice(&operands.rows[first..first + ROWS]);
            (operands.defined_rows >> first) as u32 & 0xFFFF
        }
        _ => left(issue, multiplication, &mut rows),
    };
    products::accumulate(model, &rows, &operands.columns, &mut chain.sums);
    fragments::mark(&mut chain.valid, defined_rows, &operands.defined_columns);
    if chain.last == number {
        let chain = context.matrix.chains.swap_remove(at);
        let sums: &[Sums] = &chain.sums;
        for (block, four) in chain.slots.chunks_exact(4).enumerate() {
            let slots = std::array::from_fn(|i| four[i]);
            let valid = std::array::from_fn(|i| chain.valid[4 * block + i]);
            let sums = &sums[ROWS * block..][..ROWS];
            fragments::put_sums(context.registers, &slots, sums, (0xFFFF, 0xFF), valid);
        }
        for &slot in &chain.slots {
            context.matrix.settle(function, context.registers, slot);
        }
    }
    context.warpgroups.finish(warp, number);
    Ok(())
}

/// The left matrix from registers as they were when the operation was issued.
fn left(issue: &Issue, multiplication: &Multiplication, rows: &mut [Row]) -> u32 {
    let mut registers = Registers::default();
    for &(values, valid) in &issue.a {
        registers.values.push(values);
        registers.valid.push(valid);
    }
    let element: Element = multiplication.shape.element.element();
    let defined = fragments::left(&registers, &[0, 1, 2, 3], element, rows);
    if multiplication.negates {
        rows.iter_mut().for_each(Row::negate);
    }
    defined
}

/// Reports registers that were written while the operation was on its way.
fn check_in_flight(context: &mut Context<'_>, issue: &Issue, multiplication: &Multiplication) {
    let registers = &*context.registers;
    let chain = context.matrix.chains.iter().find(|chain| chain.slots == multiplication.d);
    let accumulator = chain
        .filter(|chain| chain.last == issue.number)
        .and_then(|chain| Pending::overwritten(chain, registers))
        .map(|at| format!("accumulator {at}"));
    let differs = |(&slot, held): (&u32, &(Vector, u32))| {
        registers.values[slot as usize].0 != held.0.0 || registers.valid(slot) != held.1
    };
    let of_a = multiplication.a.iter().zip(&issue.a).position(differs);
    let of_a = of_a.map(|at| format!("register {at} of matrix a"));
    if let Some(what) = accumulator.or(of_a) {
        let message = format!("{what} was written before wgmma.wait_group");
        context.note(&issue.op, Kind::Hazard, 0, message);
    }
}

/// `setmaxnreg`: `extra` registers.
pub(super) struct SetRegisters;

impl Execute for SetRegisters {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warp(context, mask) {
            return flow;
        }
        let warp = context.place.index;
        let result = context.warpgroups.check(warp);
        let result = result.and_then(|()| context.warpgroups.set_registers(warp, op.extra as u32));
        match result {
            Ok(()) => Flow::Next,
            Err(message) => context.fault(Kind::Divergence, Some(0), message),
        }
    }
}
