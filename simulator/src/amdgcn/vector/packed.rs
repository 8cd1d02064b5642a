//! Two results at a time (CDNA3 ISA, 12.11 and 6.5 "Packed Math"): `op_sel` chooses the half of each
//! source for the low result, `op_sel_hi` for the high one.

use half::f16;

use super::super::instruction::Instruction;
use super::super::opcodes::Opcode::*;
use super::super::operands::{source64, write_halves, write_register};
use super::super::wave::{Lanes, Wave, vector_index};
use super::half::{fused_multiply_add, maximum, minimum};

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    let h = |a: u32| f16::from_bits(a as u16).to_f32();
    let round = |value: f32| u32::from(f16::from_f32(value).to_bits());
    let low = |a: u32| a & 0xFFFF;
    let int = |a: u32| a as u16 as i16;
    match i.opcode {
        v_pk_fma_f32 => pair(wave, i, |a, b, c| a.mul_add(b, c)),
        v_pk_mul_f32 => pair(wave, i, |a, b, _| a * b),
        v_pk_add_f32 => pair(wave, i, |a, b, _| a + b),
        v_pk_mov_b32 => move_pair(wave, i),
        v_fma_mix_f32 => mixed(wave, i),
        v_pk_fma_f16 => {
            halves(wave, i, true, |a, b, c| fused_multiply_add(h(a), h(b), h(c)).into())
        }
        v_pk_add_f16 => halves(wave, i, true, |a, b, _| round(h(a) + h(b))),
        v_pk_mul_f16 => halves(wave, i, true, |a, b, _| round(h(a) * h(b))),
        v_pk_min_f16 => halves(wave, i, true, |a, b, _| round(minimum(h(a), h(b)))),
        v_pk_max_f16 => halves(wave, i, true, |a, b, _| round(maximum(h(a), h(b)))),
        v_pk_add_u16 | v_pk_add_i16 => halves(wave, i, false, |a, b, _| low(a.wrapping_add(b))),
        v_pk_sub_u16 | v_pk_sub_i16 => halves(wave, i, false, |a, b, _| low(a.wrapping_sub(b))),
        v_pk_mul_lo_u16 => halves(wave, i, false, |a, b, _| low(a.wrapping_mul(b))),
        v_pk_mad_u16 => halves(wave, i, false, |a, b, c| low(a.wrapping_mul(b).wrapping_add(c))),
        v_pk_max_u16 => halves(wave, i, false, |a, b, _| a.max(b)),
        v_pk_min_u16 => halves(wave, i, false, |a, b, _| a.min(b)),
        v_pk_max_i16 => halves(wave, i, false, |a, b, _| low(int(a).max(int(b)) as u32)),
        v_pk_min_i16 => halves(wave, i, false, |a, b, _| low(int(a).min(int(b)) as u32)),
        v_pk_lshlrev_b16 => halves(wave, i, false, |a, b, _| low(b << (a & 15))),
        v_pk_lshrrev_b16 => halves(wave, i, false, |a, b, _| b >> (a & 15)),
        v_pk_ashrrev_i16 => halves(wave, i, false, |a, b, _| low((int(b) >> (a & 15)) as u32)),
        _ => false,
    }
}

/// The halves of a source for the low and the high result, with their signs.
#[inline(always)]
fn parts(i: &Instruction, at: usize, wide: &[u64; 64]) -> [Lanes; 2] {
    let mut parts = [[0; 64]; 2];
    let selects = [i.op_sel, i.op_sel_hi];
    let signs = [i.neg, i.abs];
    for (which, part) in parts.iter_mut().enumerate() {
        let shift = if selects[which] >> at & 1 == 1 { 32 } else { 0 };
        let flip = u32::from(signs[which] >> at & 1) << 31;
        for lane in 0..64 {
            part[lane] = (wide[lane] >> shift) as u32 ^ flip;
        }
    }
    parts
}

#[inline(always)]
fn pair(wave: &mut Wave, i: &Instruction, f: impl Fn(f32, f32, f32) -> f32) -> bool {
    let mut sources = [[[0; 64]; 2]; 3];
    let mut known = [u64::MAX; 2];
    for (at, source) in sources.iter_mut().enumerate().take(usize::from(i.sources)) {
        *source = parts(i, at, &source64(wave, i, at).0);
        known[0] &= known_half(wave, i, at, i.op_sel);
        known[1] &= known_half(wave, i, at, i.op_sel_hi);
    }
    let [a, b, c] = &sources;
    let mut out = [[0; 64]; 2];
    for (which, out) in out.iter_mut().enumerate() {
        for lane in 0..64 {
            let at = |parts: &[Lanes; 2]| f32::from_bits(parts[which][lane]);
            out[lane] = f(at(a), at(b), at(c)).to_bits();
        }
    }
    write_register(wave, i.dst, &out[0], known[0]);
    write_register(wave, i.dst + 1, &out[1], known[1]);
    true
}

/// The lanes in which the half of a source that `select` chooses is defined: the other one, which is
/// not read, need not be.
fn known_half(wave: &Wave, i: &Instruction, at: usize, select: u8) -> u64 {
    match vector_index(i.src[at]) {
        Some(register) => wave.defined[register + usize::from(select >> at & 1)],
        None => source64(wave, i, at).1,
    }
}

/// `v_pk_mov_b32`: the low result is of the first source, the high one of the second. Each half has
/// its own lanes that are defined.
#[inline(always)]
fn move_pair(wave: &mut Wave, i: &Instruction) -> bool {
    let mut out = [0; 64];
    let mut known = [0; 2];
    for (at, known) in known.iter_mut().enumerate() {
        let high = i.op_sel >> at & 1 == 1;
        let wide = source64(wave, i, at).0;
        *known = known_half(wave, i, at, i.op_sel);
        for lane in 0..64 {
            let part = (wide[lane] >> if high { 32 } else { 0 }) as u32;
            out[lane] |= u64::from(part) << (32 * at);
        }
    }
    write_halves(wave, i, &out, known[0], known[1]);
    true
}

/// The 16-bit halves of a source for the low and the high result.
#[inline(always)]
fn halves_of(wave: &Wave, i: &Instruction, at: usize, float: bool) -> ([Lanes; 2], u64) {
    let (values, defined) = match vector_index(i.src[at]) {
        Some(register) => (wave.vectors[register].0, wave.defined[register]),
        None => {
            let (value, undefined) = wave.scalar(i, i.src[at]);
            ([value; 64], if undefined == 0 { u64::MAX } else { 0 })
        }
    };
    let mut parts = [[0; 64]; 2];
    let selects = [i.op_sel, i.op_sel_hi];
    let signs = [i.neg, i.abs];
    for (which, part) in parts.iter_mut().enumerate() {
        let shift = if selects[which] >> at & 1 == 1 { 16 } else { 0 };
        let flip = if float { u32::from(signs[which] >> at & 1) << 15 } else { 0 };
        for lane in 0..64 {
            part[lane] = values[lane] >> shift & 0xFFFF ^ flip;
        }
    }
    (parts, defined)
}

#[inline(always)]
fn halves(wave: &mut Wave, i: &Instruction, float: bool, f: impl Fn(u32, u32, u32) -> u32) -> bool {
    let (a, known_a) = halves_of(wave, i, 0, float);
    let (b, known_b) = halves_of(wave, i, 1, float);
    let (c, known_c) =
        if i.sources > 2 { halves_of(wave, i, 2, float) } else { ([[0; 64]; 2], u64::MAX) };
    let mut out = [0; 64];
    for lane in 0..64 {
        let low = f(a[0][lane], b[0][lane], c[0][lane]);
        let high = f(a[1][lane], b[1][lane], c[1][lane]);
        out[lane] = low & 0xFFFF | high << 16;
    }
    write_register(wave, i.dst, &out, known_a & known_b & known_c);
    true
}

/// `v_fma_mix_f32`: each source is an f32, or by `op_sel_hi` the half of a register that `op_sel`
/// names. Here `neg_hi` is the absolute value.
#[inline(always)]
fn mixed(wave: &mut Wave, i: &Instruction) -> bool {
    let mut values = [[0f32; 64]; 3];
    let mut defined = u64::MAX;
    for (at, values) in values.iter_mut().enumerate() {
        let (bits, known) = match vector_index(i.src[at]) {
            Some(register) => (wave.vectors[register].0, wave.defined[register]),
            None => {
                let (value, undefined) = wave.scalar(i, i.src[at]);
                ([value; 64], if undefined == 0 { u64::MAX } else { 0 })
            }
        };
        defined &= known;
        let is_half = i.op_sel_hi >> at & 1 == 1;
        let shift = if i.op_sel >> at & 1 == 1 { 16 } else { 0 };
        for lane in 0..64 {
            let half = f16::from_bits((bits[lane] >> shift) as u16);
            let value = if is_half { half.to_f32() } else { f32::from_bits(bits[lane]) };
            let value = if i.abs >> at & 1 == 1 { value.abs() } else { value };
            values[lane] = if i.neg >> at & 1 == 1 { -value } else { value };
        }
    }
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = values[0][lane].mul_add(values[1][lane], values[2][lane]).to_bits();
    }
    write_register(wave, i.dst, &out, defined);
    true
}
