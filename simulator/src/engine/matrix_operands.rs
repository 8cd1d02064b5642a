//! Reading the matrices of wgmma from shared memory.

use super::MatrixShape;
use super::context::Context;
use super::descriptor::{Chunk, Descriptor};
use super::fragments::ROWS;
use super::instruction::{Flow, Op};
use super::products::{Columns, Row, WIDTH};
use super::warpgroup::{Identity, Operands, WARPS};
use crate::memory::{self, AccessFault, Order};
use crate::report::Kind;

/// What an operation's two readings saw, in the order of their chunks: what was written between them is
/// found also where barriers order it.
struct Seen {
    bytes: Vec<u8>,
    is_first: bool,
    /// How much was compared.
    compared: usize,
    changed: Option<u64>,
}

impl Seen {
    /// After a reading that saw these bytes; after none, if there are none.
    fn after(bytes: Vec<u8>) -> Seen {
        Seen { is_first: bytes.is_empty(), bytes, compared: 0, changed: None }
    }

    fn compare(&mut self, chunks: &[Chunk], now: &[u8]) {
        if self.is_first {
            return self.bytes.extend(now);
        }
        let before = &self.bytes[self.compared..][..now.len()];
        self.compared += now.len();
        if let Some(at) = before.iter().zip(now).position(|(before, now)| before != now) {
            let address = chunks[at / 16].address + at as u64 % 16;
            self.changed.get_or_insert(address);
        }
    }
}

/// Reads the operation's matrices in shared memory; to `keep` them, or only to see that they could be.
pub(super) fn read(
    context: &mut Context<'_>,
    op: &Op,
    number: u64,
    keep: bool,
) -> Result<(), Flow> {
    let multiplication = &context.function.multiplications[op.extra as usize];
    let operation = context.warpgroups.operation(context.place.index, number);
    let Identity { a, b, .. } = operation.identity;
    let mut seen = Seen::after(std::mem::take(&mut operation.seen));
    let MatrixShape { columns, element, .. } = multiplication.shape;
    let (columns, element) = (columns as usize, element.element());
    let mut operands = Operands { defined_rows: u64::MAX, ..Operands::default() };
    if multiplication.a.is_empty() {
        let transposed = multiplication.a_transposed;
        let mut rows = vec![Row::ZERO; if keep { ROWS * WARPS as usize } else { 0 }];
        let undefined =
            fetch(context, op, a, (64, transposed), keep, &mut seen, |row, k, word| {
                rows[row].set(k, element.pair(word)[0]);
            })?;
        if multiplication.negates {
            rows.iter_mut().for_each(Row::negate);
        }
        undefined.into_iter().for_each(|row| operands.defined_rows &= !(1 << row));
        operands.rows = rows;
    }
    let transposed = multiplication.b_transposed;
    let mut right = vec![Columns::ZERO; if keep { columns / WIDTH } else { 0 }];
    let undefined =
        fetch(context, op, b, (columns, transposed), keep, &mut seen, |column, k, word| {
            right[column / WIDTH].set(k, column % WIDTH, element.pair(word)[0]);
        })?;
    operands.defined_columns = vec![u8::MAX; columns / WIDTH];
    for column in undefined {
        operands.defined_columns[column / WIDTH] &= !(1 << (column % WIDTH));
    }
    operands.columns = right;
    let reader = (context.place.warp, context.state.clocks.publish(context.place.warp));
    let operation = context.warpgroups.operation(context.place.index, number);
    operation.readers.push(reader);
    if keep {
        operation.operands = Some(operands);
    }
    if seen.is_first {
        operation.seen = seen.bytes;
    } else if let Some(address) = seen.changed {
        let message = format!("address {address:#x}: written before wgmma.wait_group");
        context.note(op, Kind::Race, 0, message);
    }
    Ok(())
}

/// Reads a matrix; to keep it, calls `each` with row, place along K, and a word whose low half is the
/// element. Gives the rows of elements that were never written.
fn fetch(
    context: &mut Context<'_>,
    op: &Op,
    bits: u64,
    (extent, transposed): (usize, bool),
    keep: bool,
    seen: &mut Seen,
    mut each: impl FnMut(usize, usize, u32),
) -> Result<Vec<usize>, Flow> {
    let descriptor = match Descriptor::decode(bits) {
        Ok(descriptor) => descriptor,
        Err(message) => return Err(context.fault(Kind::Unsupported, Some(0), message)),
    };
    let mut undefined = Vec::new();
    let mut chunks = descriptor.chunks(extent, transposed);
    loop {
        let some: Vec<Chunk> = chunks.by_ref().take(32).collect();
        let Some(last) = some.last() else { break };
        let mut addresses = [last.address; 32];
        some.iter().zip(&mut addresses).for_each(|(chunk, address)| *address = chunk.address);
        let mask = u32::MAX >> (32 - some.len());
        let written = read_chunks(context, op, &addresses, mask, 16)?;
        seen.compare(&some, &context.state.data[..16 * some.len()]);
        let kept = if keep { &some[..] } else { &[] };
        for (chunk, data) in kept.iter().zip(context.state.data.chunks_exact(16)) {
            for (at, half) in data.chunks_exact(2).enumerate() {
                let word = u16::from_le_bytes([half[0], half[1]]).into();
                let (row, k) =
                    if transposed { (chunk.row + at, chunk.k) } else { (chunk.row, chunk.k + at) };
                each(row, k, word);
            }
        }
        let missing = mask & !written;
        if missing != 0 && !transposed {
            let lanes = (0..some.len()).filter(|lane| missing >> lane & 1 == 1);
            undefined.extend(lanes.map(|lane| some[lane].row));
        } else if missing != 0 {
            for at in 0..8 {
                let addresses = addresses.map(|address| address + 2 * at as u64);
                let missing = mask & !read_chunks(context, op, &addresses, mask, 2)?;
                let lanes = (0..some.len()).filter(|lane| missing >> lane & 1 == 1);
                undefined.extend(lanes.map(|lane| some[lane].row + at));
            }
        }
    }
    Ok(undefined)
}

fn read_chunks(
    context: &mut Context<'_>,
    op: &Op,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
) -> Result<u32, Flow> {
    let place = context.function.place(op);
    let (warp, order) = (context.place.warp, Order::Weak);
    let access = memory::Access { addresses, mask, bytes, order, warp, place };
    let state = &mut *context.state;
    let (clocks, out, findings) = (&mut state.clocks, &mut *state.data, &mut state.findings);
    let result: Result<u32, AccessFault> =
        context.shared.async_proxy_read(clocks, &access, out, findings);
    if !context.state.findings.is_empty() {
        context.note_races(op);
    }
    result.map_err(|fault| context.access_fault(fault, bytes))
}
