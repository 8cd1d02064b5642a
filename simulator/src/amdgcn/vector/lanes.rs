//! From lane to lane and between lanes and scalars (CDNA3 ISA, 12.7 and 12.10).

use super::super::instruction::{Instruction, VECTOR};
use super::super::opcodes::Opcode::*;
use super::super::operands::{source, write};
use super::super::wave::{Wave, vector_index};

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    match i.opcode {
        // Whatever EXEC says.
        v_readlane_b32 => {
            let (lane, undefined) = wave.scalar(i, i.src[1]);
            read(wave, i, (lane & 63) as usize, undefined == 0);
        }
        // The first lane, if none is active.
        v_readfirstlane_b32 => {
            let exec = wave.exec();
            let lane = if exec == 0 { 0 } else { exec.trailing_zeros() };
            read(wave, i, lane as usize, true);
        }
        v_writelane_b32 => {
            let (value, value_undefined) = wave.scalar(i, i.src[0]);
            let (lane, lane_undefined) = wave.scalar(i, i.src[1]);
            let at = usize::from(i.dst - VECTOR) % 512;
            wave.vectors[at].0[(lane & 63) as usize] = value;
            let bit = 1u64 << (lane & 63);
            let known = value_undefined | lane_undefined == 0;
            let defined = &mut wave.defined[at];
            *defined = *defined & !bit | if known { bit } else { 0 };
        }
        // Counts the bits below the lane's own.
        v_mbcnt_lo_u32_b32 => below(wave, i, |lane| ((1u64 << lane.min(32)) - 1) as u32),
        v_mbcnt_hi_u32_b32 => {
            below(wave, i, |lane| ((1u64 << lane.saturating_sub(32)) - 1) as u32);
        }
        v_swap_b32 => {
            let (Some(a), Some(b)) = (vector_index(i.dst), vector_index(i.src[0])) else {
                return false;
            };
            let (first, second) = (wave.vectors[a].0, wave.vectors[b].0);
            let (known_first, known_second) = (wave.defined[a], wave.defined[b]);
            super::super::operands::write_register(wave, i.dst, &second, known_second);
            super::super::operands::write_register(wave, i.src[0], &first, known_first);
        }
        _ => return false,
    }
    true
}

fn read(wave: &mut Wave, i: &Instruction, lane: usize, known: bool) {
    let mut buffer = [0; 64];
    let (values, defined) = source(wave, i, 0, &mut buffer);
    let value = values[lane];
    let known = known && defined >> lane & 1 == 1;
    wave.set_scalar(i.dst, value, if known { 0 } else { u32::MAX });
}

fn below(wave: &mut Wave, i: &Instruction, mask: impl Fn(u32) -> u32) {
    let (mut first, mut second) = ([0; 64], [0; 64]);
    let (a, known_a) = source(wave, i, 0, &mut first);
    let (b, known_b) = source(wave, i, 1, &mut second);
    let mut out = [0; 64];
    for lane in 0..64 {
        out[lane] = (a[lane] & mask(lane as u32)).count_ones().wrapping_add(b[lane]);
    }
    write(wave, i, &out, known_a & known_b);
}
