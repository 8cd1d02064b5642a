//! Matrix instructions of a warp (PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions").

use super::context::{Action, Context, Meeting};
use super::fragments::{self, ROWS};
use super::function::{Access, Window};
use super::instruction::{Execute, Flow, Op};
use super::ops_memory::{addresses, by_window, lanes, outside, read, write};
use super::products::{self, Columns, Element, Model, Row, WIDTH};
use super::registers::Cell;
use super::{MatrixElement, MatrixShape};
use crate::memory::AccessFault;
use crate::report::Kind;

/// Where the fragments of a matrix instruction lie.
#[derive(Clone, Debug)]
pub(super) struct Fragments {
    pub(super) shape: MatrixShape,
    pub(super) d: Vec<u32>,
    pub(super) a: Vec<u32>,
    pub(super) b: Vec<u32>,
    pub(super) c: Vec<u32>,
}

impl MatrixElement {
    pub(super) fn element(self) -> Element {
        match self {
            MatrixElement::Bf16 => Element::Bf16,
            MatrixElement::F16 => Element::F16,
        }
    }
}

/// Whether the whole warp is here. If not, it is waited for, or the launch ends.
pub(super) fn whole_warp(context: &mut Context<'_>, mask: u32) -> Result<(), Flow> {
    if mask == u32::MAX {
        return Ok(());
    }
    if context.live & !mask != 0 {
        let meeting = Meeting { members: u32::MAX, anywhere: false, aligned: true };
        context.waits.push((mask, meeting));
        return Err(context.stop(Action::Converge));
    }
    let message = format!("it needs all 32 lanes, and lanes {:#010x} have exited", !mask);
    Err(context.fault(Kind::Divergence, Some(mask.trailing_zeros()), message))
}

/// `ldmatrix`, `stmatrix`: `extra` is the access, whose elements are the registers of the matrices.
pub(super) struct LoadMatrices<const TRANSPOSED: bool>;
pub(super) struct StoreMatrices<const TRANSPOSED: bool>;

/// The half of an element: word and half of it, of row and column of a matrix in a register. In lane
/// `4 * row + column / 2`, or, transposed, `4 * column + row / 2`.
#[inline(always)]
fn place<const TRANSPOSED: bool>(row: usize, column: usize) -> (usize, usize) {
    if TRANSPOSED { (4 * column + row / 2, row % 2) } else { (4 * row + column / 2, column % 2) }
}

/// The lanes whose addresses count.
fn rows(access: &Access) -> u32 {
    match access.elements.len() {
        1 => 0xFF,
        2 => 0xFFFF,
        _ => u32::MAX,
    }
}

/// Calls `each` with addresses that count from the start of shared memory.
fn in_shared(
    access: &Access,
    base: &[u64; 32],
    mut each: impl FnMut(&[u64; 32], u32) -> Result<(), AccessFault>,
) -> Result<(), AccessFault> {
    by_window(access.window, base, rows(access), |window, addresses, mask| {
        if window == Window::Shared {
            return each(addresses, mask);
        }
        let lane = mask.trailing_zeros();
        Err(outside(lane, addresses[lane as usize], "address lies outside shared memory, which", 0))
    })
}

impl<const TRANSPOSED: bool> Execute for LoadMatrices<TRANSPOSED> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warp(context, mask) {
            return flow;
        }
        let function = context.function;
        let access = &function.accesses[op.extra as usize];
        let base = addresses(context, op, access, rows(access));
        let mut written = 0;
        let how = (access.order, function.place(op));
        let result = in_shared(access, &base, |addresses, mask| {
            written |= read(context, Window::Shared, addresses, mask, 16, how)?;
            Ok(())
        });
        if let Err(fault) = result {
            return context.access_fault(fault, 16);
        }
        for (number, element) in access.elements.iter().enumerate() {
            let data = &context.state.data[128 * number..][..128];
            let mut out = [[0_u16; 2]; 32];
            for row in 0..8 {
                for column in 0..8 {
                    let at = 16 * row + 2 * column;
                    let (lane, half) = place::<TRANSPOSED>(row, column);
                    out[lane][half] = u16::from_le_bytes([data[at], data[at + 1]]);
                }
            }
            let out = out.map(|[low, high]| u32::from(low) | u32::from(high) << 16);
            if let Some(slot) = element.slot {
                context.registers.write(slot, u32::MAX, &out, u32::MAX);
            }
        }
        if rows(access) & !written != 0
            && let Err(fault) = find_undefined::<TRANSPOSED>(context, op, access, &base)
        {
            return context.access_fault(fault, 2);
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

/// Reads element by element, to tell which of them were written.
#[cold]
fn find_undefined<const TRANSPOSED: bool>(
    context: &mut Context<'_>,
    op: &Op,
    access: &Access,
    base: &[u64; 32],
) -> Result<(), AccessFault> {
    let how = (access.order, context.function.place(op));
    let mut valid = [u32::MAX; 4];
    for column in 0..8 {
        let at = base.map(|address| address.wrapping_add(2 * column as u64));
        let mut written = 0;
        in_shared(access, &at, |addresses, mask| {
            written |= read(context, Window::Shared, addresses, mask, 2, how)?;
            Ok(())
        })?;
        for row in lanes(rows(access) & !written) {
            let lane = place::<TRANSPOSED>(row as usize % 8, column).0;
            valid[row as usize / 8] &= !(1 << lane);
        }
    }
    for (element, valid) in access.elements.iter().zip(valid) {
        if let Some(slot) = element.slot {
            context.registers.set_valid(slot, u32::MAX, valid);
        }
    }
    Ok(())
}

impl<const TRANSPOSED: bool> Execute for StoreMatrices<TRANSPOSED> {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warp(context, mask) {
            return flow;
        }
        let function = context.function;
        let access = &function.accesses[op.extra as usize];
        let base = addresses(context, op, access, rows(access));
        let mut defined = u32::MAX;
        for (number, element) in access.elements.iter().enumerate() {
            let Some(slot) = element.slot else { continue };
            defined &= context.registers.valid(slot);
            let words = u32::lanes(context.registers, slot);
            let data = &mut context.state.data[128 * number..][..128];
            for row in 0..8 {
                for column in 0..8 {
                    let at = 16 * row + 2 * column;
                    let (lane, half) = place::<TRANSPOSED>(row, column);
                    let value = (words[lane] >> (16 * half)) as u16;
                    data[at..at + 2].copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        let result = if defined == u32::MAX {
            in_shared(access, &base, |addresses, mask| {
                let how = (access.order, function.place(op));
                write(context, Window::Shared, addresses, mask, 16, how, u32::MAX)
            })
        } else {
            store_undefined::<TRANSPOSED>(context, op, access, &base)
        };
        if let Err(fault) = result {
            return context.access_fault(fault, 16);
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

/// Stores element by element, those that are not defined as such.
#[cold]
fn store_undefined<const TRANSPOSED: bool>(
    context: &mut Context<'_>,
    op: &Op,
    access: &Access,
    base: &[u64; 32],
) -> Result<(), AccessFault> {
    let whole = *context.state.data;
    let how = (access.order, context.function.place(op));
    for column in 0..8 {
        let at = base.map(|address| address.wrapping_add(2 * column as u64));
        let mut defined = u32::MAX;
        for row in 0..8 * access.elements.len() {
            let from = 16 * row + 2 * column;
            context.state.data[2 * row..2 * row + 2].copy_from_slice(&whole[from..from + 2]);
            let lane = place::<TRANSPOSED>(row % 8, column).0;
            let slot = access.elements[row / 8].slot;
            let valid = slot.map_or(0, |slot| context.registers.valid(slot));
            defined &= !((!valid >> lane & 1) << row);
        }
        in_shared(access, &at, |addresses, mask| {
            write(context, Window::Shared, addresses, mask, 2, how, defined)
        })?;
    }
    Ok(())
}

/// `movmatrix.trans`: `a` transposed to `d`.
pub(super) struct TransposeMatrix;

impl Execute for TransposeMatrix {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warp(context, mask) {
            return flow;
        }
        let words = *u32::lanes(context.registers, op.a);
        let valid = context.registers.valid(op.a);
        let (mut out, mut defined) = ([0; 32], u32::MAX);
        for row in 0..8 {
            for column in 0..8 {
                let (from, half) = place::<false>(row, column);
                let (to, high) = place::<true>(row, column);
                out[to] |= (words[from] >> (16 * half) & 0xFFFF) << (16 * high);
                defined &= !((!valid >> from & 1) << to);
            }
        }
        context.registers.write(op.d, u32::MAX, &out, defined);
        Flow::Next
    }
}

/// `mma.sync` of f32 accumulators: `extra` is the index of the fragments.
pub(super) struct Multiply;

impl Execute for Multiply {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        if let Err(flow) = whole_warp(context, mask) {
            return flow;
        }
        let fragments = &context.function.fragments[op.extra as usize];
        let element = fragments.shape.element.element();
        let registers = &mut *context.registers;
        let (mut rows, mut columns) = ([Row::ZERO; ROWS], [Columns::ZERO]);
        let mut sums = [[0.0; WIDTH]; ROWS];
        let defined_rows = fragments::left(registers, &fragments.a, element, &mut rows);
        let defined_columns = fragments::right(registers, &fragments.b, element, &mut columns[0]);
        let four = |slots: &[u32]| std::array::from_fn(|i| slots[i]);
        let (c, d): ([u32; 4], [u32; 4]) = (four(&fragments.c), four(&fragments.d));
        let valid = c.map(|slot| registers.valid(slot));
        fragments::take_sums(registers, &c, &mut sums);
        let model = Model::of(context.state.approximation_seed);
        products::accumulate(model, &rows, &columns, &mut sums);
        let defined = (defined_rows, defined_columns);
        fragments::put_sums(registers, &d, &sums, defined, valid);
        context.state.count_matrix(fragments.shape);
        Flow::Next
    }
}
