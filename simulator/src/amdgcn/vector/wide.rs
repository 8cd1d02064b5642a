//! Integers of 64 bits.

use super::super::instruction::Instruction;
use super::super::opcodes::Opcode::*;
use super::super::operands::{known_low, source, source64, write_halves, write_mask, write64};
use super::super::wave::Wave;

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    match i.opcode {
        v_mov_b64 => {
            let (a, defined) = source64(wave, i, 0);
            write64(wave, i, &a, defined);
            true
        }
        v_lshlrev_b64 => shift(wave, i, |a, b| b << (a & 63)),
        v_lshrrev_b64 => shift(wave, i, |a, b| b >> (a & 63)),
        v_ashrrev_i64 => shift(wave, i, |a, b| (b as i64 >> (a & 63)) as u64),
        v_lshl_add_u64 => {
            let mut buffer = [0; 64];
            let (a, known_a) = source64(wave, i, 0);
            let (b, known_b) = source(wave, i, 1, &mut buffer);
            let (c, known_c) = source64(wave, i, 2);
            let mut out = [0; 64];
            for lane in 0..64 {
                out[lane] = (a[lane] << (b[lane] & 7)).wrapping_add(c[lane]);
            }
            let defined = known_a & known_b & known_c;
            write64(wave, i, &out, defined);
            true
        }
        v_mad_u64_u32 => {
            multiply_add(wave, i, |a, b, c| (u64::from(a) * u64::from(b)).overflowing_add(c))
        }
        v_mad_i64_i32 => multiply_add(wave, i, |a, b, c| {
            let product = i64::from(a as i32) * i64::from(b as i32);
            let (sum, over) = product.overflowing_add(c as i64);
            (sum as u64, over)
        }),
        _ => false,
    }
}

#[inline(always)]
fn shift(wave: &mut Wave, i: &Instruction, f: impl Fn(u32, u64) -> u64) -> bool {
    let mut buffer = [0; 64];
    let (a, known_a) = source(wave, i, 0, &mut buffer);
    let (b, known_b) = source64(wave, i, 1);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = f(a[lane], b[lane]);
    }
    write64(wave, i, &out, known_a & known_b);
    true
}

#[inline(always)]
fn multiply_add(
    wave: &mut Wave,
    i: &Instruction,
    f: impl Fn(u32, u32, u64) -> (u64, bool),
) -> bool {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let (c, known_c) = source64(wave, i, 2);
    let (mut out, mut carries) = ([0; 64], 0u64);
    for lane in 0..64 {
        let (value, carried) = f(a[lane], b[lane], c[lane]);
        out[lane] = value;
        carries |= u64::from(carried) << lane;
    }
    // Nothing is carried downwards: the low half does not depend on what is added to the high one.
    let low = known_a & known_b & known_low(wave, i, 2);
    let high = known_a & known_b & known_c;
    write_halves(wave, i, &out, low, high);
    write_mask(wave, i.sdst, carries, high);
    true
}
