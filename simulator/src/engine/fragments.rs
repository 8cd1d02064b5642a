//! Which element of a matrix lies in which register of which lane (PTX ISA, "Matrix Fragments for
//! mma.m16n8k16", "mma.m16n8k8" and "Register Fragments" of wgmma, whose rows are those of four warps).

use super::products::{Columns, Element, Row, Sums, WIDTH};
use super::registers::{Cell, Registers};

/// Rows of a warp.
pub(super) const ROWS: usize = 16;

/// The left fragment: 16 rows, and the rows that are defined. Register `i` holds of row
/// `lane / 4 + 8 * (i % 2)` the columns `2 * (lane % 4) + 8 * (i / 2)` and the next.
#[inline(always)]
pub(super) fn left(
    registers: &Registers,
    slots: &[u32],
    element: Element,
    rows: &mut [Row],
) -> u32 {
    let mut defined = 0xFFFF;
    for (i, &slot) in slots.iter().enumerate() {
        let pairs = u32::lanes(registers, slot).map(|word| element.pair(word));
        let undefined = !registers.valid(slot);
        for (lane, pair) in pairs.into_iter().enumerate() {
            let row = lane / 4 + 8 * (i % 2);
            let k = 2 * (lane % 4) + 8 * (i / 2);
            rows[row].set(k, pair[0]);
            rows[row].set(k + 1, pair[1]);
            defined &= !((undefined >> lane & 1) << row);
        }
    }
    defined
}

/// The right fragment: 8 columns, and those that are defined. Register `i` holds of column `lane / 4`
/// the rows `2 * (lane % 4) + 8 * i` and the next.
#[inline(always)]
pub(super) fn right(
    registers: &Registers,
    slots: &[u32],
    element: Element,
    columns: &mut Columns,
) -> u32 {
    let mut defined = 0xFF;
    for (i, &slot) in slots.iter().enumerate() {
        let pairs = u32::lanes(registers, slot).map(|word| element.pair(word));
        let undefined = !registers.valid(slot);
        for (lane, pair) in pairs.into_iter().enumerate() {
            let (column, k) = (lane / 4, 2 * (lane % 4) + 8 * i);
            columns.set(k, column, pair[0]);
            columns.set(k + 1, column, pair[1]);
            defined &= !((undefined >> lane & 1) << column);
        }
    }
    defined
}

/// Where an accumulator lies: register `4 * block + i` holds of eight columns' block the row
/// `lane / 4 + 8 * (i / 2)` and the column `2 * (lane % 4) + i % 2`.
#[inline(always)]
fn place(i: usize, lane: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2)
}

/// The accumulators of one block of eight columns, 16 rows.
#[inline(always)]
pub(super) fn take_sums(registers: &Registers, slots: &[u32; 4], sums: &mut [Sums]) {
    for (i, &slot) in slots.iter().enumerate() {
        for (lane, &bits) in u32::lanes(registers, slot).iter().enumerate() {
            let (row, column) = place(i, lane);
            sums[row][column] = f32::from_bits(bits);
        }
    }
}

/// Takes rows and columns that are not defined, the columns by blocks of eight, out of `valid`, by
/// register.
pub(super) fn mark(valid: &mut [u32], rows: u32, columns: &[u8]) {
    if rows == 0xFFFF && columns.iter().all(|&columns| columns == u8::MAX) {
        return;
    }
    for (block, &columns) in columns.iter().enumerate() {
        for i in 0..4 {
            for lane in 0..32 {
                let (row, column) = place(i, lane);
                let undefined = !(rows >> row & u32::from(columns) >> column) & 1;
                valid[4 * block + i] &= !(undefined << lane);
            }
        }
    }
}

/// The results of one block to their registers. Those of rows and columns that are not defined are
/// not, nor are those whose accumulator was not: `valid`, by register.
#[inline(always)]
pub(super) fn put_sums(
    registers: &mut Registers,
    slots: &[u32; 4],
    sums: &[Sums],
    (rows, columns): (u32, u32),
    valid: [u32; 4],
) {
    debug_assert_eq!(sums.len(), ROWS);
    let whole = rows == 0xFFFF && columns == (1 << WIDTH) - 1;
    for (i, &slot) in slots.iter().enumerate() {
        let mut out = [0; 32];
        let mut defined = u32::MAX;
        for (lane, out) in out.iter_mut().enumerate() {
            let (row, column) = place(i, lane);
            *out = sums[row][column].to_bits();
            if !whole {
                defined &= !((!(rows >> row & columns >> column) & 1) << lane);
            }
        }
        registers.write(slot, u32::MAX, &out, defined & valid[i]);
    }
}
