//! Integers of 32 and 16 bits, bits, and selections.

use super::super::instruction::Instruction;
use super::super::opcodes::Opcode::*;
use super::super::operands::{mask, source, write, write_mask};
use super::super::wave::Wave;
use super::{binary, ternary, unary};

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    let signed = |a: u32| a as i32;
    let low = |a: u32| a & 0xFFFF;
    let half = |a: u32| a as u16 as i16;
    match i.opcode {
        v_mov_b32 | v_accvgpr_mov_b32 | v_accvgpr_read_b32 | v_accvgpr_write_b32 => {
            unary(wave, i, |a| a)
        }
        v_cndmask_b32 => select(wave, i),
        v_add_u32 | v_add_i32 => binary(wave, i, u32::wrapping_add),
        v_sub_u32 | v_sub_i32 => binary(wave, i, u32::wrapping_sub),
        v_subrev_u32 => binary(wave, i, |a, b| b.wrapping_sub(a)),
        v_mul_lo_u32 => binary(wave, i, u32::wrapping_mul),
        v_mul_hi_u32 => binary(wave, i, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        v_mul_hi_i32 => {
            binary(wave, i, |a, b| ((i64::from(signed(a)) * i64::from(signed(b))) >> 32) as u32)
        }
        v_mul_i32_i24 => binary(wave, i, |a, b| extend24(a).wrapping_mul(extend24(b)) as u32),
        v_mul_hi_i32_i24 => {
            binary(wave, i, |a, b| ((i64::from(extend24(a)) * i64::from(extend24(b))) >> 32) as u32)
        }
        v_mul_u32_u24 => binary(wave, i, |a, b| low24(a).wrapping_mul(low24(b))),
        v_mul_hi_u32_u24 => {
            binary(wave, i, |a, b| ((u64::from(low24(a)) * u64::from(low24(b))) >> 32) as u32)
        }
        v_min_i32 => binary(wave, i, |a, b| signed(a).min(signed(b)) as u32),
        v_max_i32 => binary(wave, i, |a, b| signed(a).max(signed(b)) as u32),
        v_min_u32 => binary(wave, i, u32::min),
        v_max_u32 => binary(wave, i, u32::max),
        v_lshrrev_b32 => binary(wave, i, |a, b| b >> (a & 31)),
        v_ashrrev_i32 => binary(wave, i, |a, b| (signed(b) >> (a & 31)) as u32),
        v_lshlrev_b32 => binary(wave, i, |a, b| b << (a & 31)),
        v_and_b32 => binary(wave, i, |a, b| a & b),
        v_or_b32 => binary(wave, i, |a, b| a | b),
        v_xor_b32 => binary(wave, i, |a, b| a ^ b),
        v_xnor_b32 => binary(wave, i, |a, b| !(a ^ b)),
        v_not_b32 => unary(wave, i, |a| !a),
        v_bfrev_b32 => unary(wave, i, u32::reverse_bits),
        v_ffbh_u32 => unary(wave, i, |a| if a == 0 { u32::MAX } else { a.leading_zeros() }),
        v_ffbl_b32 => unary(wave, i, |a| if a == 0 { u32::MAX } else { a.trailing_zeros() }),
        v_ffbh_i32 => unary(wave, i, |a| {
            let varied = a ^ (signed(a) >> 31) as u32;
            if varied == 0 { u32::MAX } else { varied.leading_zeros() }
        }),
        v_add_co_u32 => carry(wave, i, false, |a, b, _| a.overflowing_add(b)),
        v_sub_co_u32 => carry(wave, i, false, |a, b, _| a.overflowing_sub(b)),
        v_subrev_co_u32 => carry(wave, i, false, |a, b, _| b.overflowing_sub(a)),
        v_addc_co_u32 => carry(wave, i, true, |a, b, c| {
            let sum = u64::from(a) + u64::from(b) + u64::from(c);
            (sum as u32, sum >> 32 != 0)
        }),
        v_subb_co_u32 => carry(wave, i, true, borrow),
        v_subbrev_co_u32 => carry(wave, i, true, |a, b, c| borrow(b, a, c)),
        v_add_u16 => binary(wave, i, |a, b| low(a.wrapping_add(b))),
        v_sub_u16 => binary(wave, i, |a, b| low(a.wrapping_sub(b))),
        v_subrev_u16 => binary(wave, i, |a, b| low(b.wrapping_sub(a))),
        v_mul_lo_u16 => binary(wave, i, |a, b| low(low(a).wrapping_mul(low(b)))),
        v_lshlrev_b16 => binary(wave, i, |a, b| low(b << (a & 15))),
        v_lshrrev_b16 => binary(wave, i, |a, b| low(b) >> (a & 15)),
        v_ashrrev_i16 => binary(wave, i, |a, b| low((half(b) >> (a & 15)) as u32)),
        v_max_u16 => binary(wave, i, |a, b| low(a).max(low(b))),
        v_min_u16 => binary(wave, i, |a, b| low(a).min(low(b))),
        v_max_i16 => binary(wave, i, |a, b| low(half(a).max(half(b)) as u32)),
        v_min_i16 => binary(wave, i, |a, b| low(half(a).min(half(b)) as u32)),
        v_mad_i32_i24 => ternary(wave, i, |a, b, c| {
            (extend24(a).wrapping_mul(extend24(b)) as u32).wrapping_add(c)
        }),
        v_mad_u32_u24 => {
            ternary(wave, i, |a, b, c| low24(a).wrapping_mul(low24(b)).wrapping_add(c))
        }
        v_bfe_u32 => ternary(wave, i, |a, b, c| {
            let width = c & 31;
            a >> (b & 31) & ((1u32 << width) - 1)
        }),
        v_bfe_i32 => ternary(wave, i, |a, b, c| {
            let width = c & 31;
            let field = a >> (b & 31) & ((1u32 << width) - 1);
            let shift = (32 - width) & 31;
            if width == 0 { 0 } else { (signed(field << shift) >> shift) as u32 }
        }),
        v_bfi_b32 => ternary(wave, i, |a, b, c| a & b | !a & c),
        v_bfm_b32 => binary(wave, i, |a, b| ((1u32 << (a & 31)) - 1) << (b & 31)),
        v_alignbit_b32 => {
            ternary(wave, i, |a, b, c| ((u64::from(a) << 32 | u64::from(b)) >> (c & 31)) as u32)
        }
        v_alignbyte_b32 => ternary(wave, i, |a, b, c| {
            ((u64::from(a) << 32 | u64::from(b)) >> (8 * (c & 3))) as u32
        }),
        v_min3_i32 => ternary(wave, i, |a, b, c| signed(a).min(signed(b)).min(signed(c)) as u32),
        v_min3_u32 => ternary(wave, i, |a, b, c| a.min(b).min(c)),
        v_max3_i32 => ternary(wave, i, |a, b, c| signed(a).max(signed(b)).max(signed(c)) as u32),
        v_max3_u32 => ternary(wave, i, |a, b, c| a.max(b).max(c)),
        v_med3_i32 => ternary(wave, i, |a, b, c| {
            let (a, b, c) = (signed(a), signed(b), signed(c));
            a.min(b).max(a.max(b).min(c)) as u32
        }),
        v_med3_u32 => ternary(wave, i, |a, b, c| a.min(b).max(a.max(b).min(c))),
        v_perm_b32 => ternary(wave, i, permute_bytes),
        v_xad_u32 => ternary(wave, i, |a, b, c| (a ^ b).wrapping_add(c)),
        v_lshl_add_u32 => ternary(wave, i, |a, b, c| (a << (b & 31)).wrapping_add(c)),
        v_add_lshl_u32 => ternary(wave, i, |a, b, c| a.wrapping_add(b) << (c & 31)),
        v_add3_u32 => ternary(wave, i, |a, b, c| a.wrapping_add(b).wrapping_add(c)),
        v_lshl_or_b32 => ternary(wave, i, |a, b, c| a << (b & 31) | c),
        v_and_or_b32 => ternary(wave, i, |a, b, c| a & b | c),
        v_bitop3_b32 => ternary(wave, i, |a, b, c| by_table(i.offset, a, b, c)),
        v_or3_b32 => ternary(wave, i, |a, b, c| a | b | c),
        v_bcnt_u32_b32 => binary(wave, i, |a, b| a.count_ones().wrapping_add(b)),
        v_cvt_pk_u16_u32 => binary(wave, i, |a, b| a.min(0xFFFF) | b.min(0xFFFF) << 16),
        v_cvt_pk_i16_i32 => binary(wave, i, |a, b| {
            let clamp = |value: u32| signed(value).clamp(-0x8000, 0x7FFF) as u32 & 0xFFFF;
            clamp(a) | clamp(b) << 16
        }),
        v_pack_b32_f16 => binary(wave, i, |a, b| a & 0xFFFF | b << 16),
        _ => false,
    }
}

fn low24(a: u32) -> u32 {
    a & 0x00FF_FFFF
}

fn extend24(a: u32) -> i32 {
    (a << 8) as i32 >> 8
}

fn borrow(a: u32, b: u32, c: u32) -> (u32, bool) {
    let difference = i64::from(a) - i64::from(b) - i64::from(c);
    (difference as u32, difference < 0)
}

/// CDNA3 ISA, V_PERM_B32: a selector's byte names one of eight bytes, a sign or a constant.
fn permute_bytes(a: u32, b: u32, selector: u32) -> u32 {
    let all = u64::from(a) << 32 | u64::from(b);
    let byte = |select: u32| match select {
        0..=7 => (all >> (8 * select)) as u8,
        8..=11 => {
            let sign = all >> (16 * (select - 8) + 15) & 1 == 1;
            if sign { 0xFF } else { 0 }
        }
        12 => 0,
        _ => 0xFF,
    };
    u32::from_le_bytes(selector.to_le_bytes().map(|select| byte(select.into())))
}

/// CDNA4 ISA, V_BITOP3_B32: three bits, the first source's the highest, name the bit of the table
/// that a result's bit is.
fn by_table(table: i32, a: u32, b: u32, c: u32) -> u32 {
    let mut out = 0;
    for entry in (0..8).filter(|entry| table >> entry & 1 == 1) {
        let matching = |bits: u32, at: i32| if entry >> at & 1 == 1 { bits } else { !bits };
        out |= matching(a, 2) & matching(b, 1) & matching(c, 0);
    }
    out
}

/// `v_cndmask_b32`: only the source that is taken must be defined.
#[inline(always)]
fn select(wave: &mut Wave, i: &Instruction) -> bool {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (bits, known) = mask(wave, i, i.src[2]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = if bits >> lane & 1 == 1 { b[lane] } else { a[lane] };
    }
    write(wave, i, &out, known & (bits & known_b | !bits & known_a));
    true
}

/// Additions and subtractions with a mask of carries, which `takes` it too or not.
#[inline(always)]
fn carry(
    wave: &mut Wave,
    i: &Instruction,
    takes: bool,
    f: impl Fn(u32, u32, u32) -> (u32, bool),
) -> bool {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (bits, known) = if takes { mask(wave, i, i.src[2]) } else { (0, u64::MAX) };
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let (mut out, mut carries) = ([0; 64], 0u64);
    for lane in 0..64 {
        let (value, carried) = f(a[lane], b[lane], (bits >> lane & 1) as u32);
        out[lane] = value;
        carries |= u64::from(carried) << lane;
    }
    let defined = known & known_a & known_b;
    write(wave, i, &out, defined);
    write_mask(wave, i.sdst, carries, defined);
    true
}
