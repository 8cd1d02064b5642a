//! Exchanges between lanes by way of LDS's crossbar: no memory is touched (CDNA3 ISA, 12.12).

use super::execute::Execution;
use super::instruction::Instruction;
use super::opcodes::Opcode;
use super::wave::{Lanes, vector_index};

/// `ds_read_b64_tr_b16`: of 16 lanes with four halves each, lane `l` gets half `l % 4` of the lanes
/// `l / 4`, `l / 4 + 4`, `+ 8` and `+ 12` (as a chip was seen to do, ROCm/rocm-systems#10175).
pub(super) fn transpose(data: &mut [Lanes; 4], defined: &mut [u64; 4]) {
    let (read, known) = (*data, *defined);
    for (at, words) in data.iter_mut().enumerate().take(2) {
        defined[at] = u64::MAX;
        for (lane, word) in words.iter_mut().enumerate() {
            *word = 0;
            for half in 0..2 {
                let from = lane / 16 * 16 + lane % 16 / 4 + 4 * (2 * at + half);
                let (register, shift) = (lane % 4 / 2, 16 * (lane % 2));
                *word |= (read[register][from] >> shift & 0xFFFF) << (16 * half);
                let is_known = known[register] >> from & 1;
                defined[at] &= !((is_known ^ 1) << lane);
            }
        }
    }
}

/// The result of such an instruction and its defined lanes; none if it is another.
pub(super) fn execute(x: &Execution<'_>, i: &Instruction) -> Option<(Lanes, u64)> {
    let wave = &*x.wave;
    let exec = wave.exec();
    let read = |operand| {
        let at = vector_index(operand)?;
        Some((&wave.vectors[at].0, wave.defined[at]))
    };
    let (mut out, mut defined) = ([0; 64], 0u64);
    let mut take = |to: usize, from: usize, values: &Lanes, known: u64| {
        // A lane that is not active gives 0, which no program should go by.
        let active = exec >> from & 1 == 1;
        out[to] = if active { values[from] } else { 0 };
        let known = active && known >> from & 1 == 1;
        defined = defined & !(1 << to) | u64::from(known) << to;
    };
    match i.opcode {
        Opcode::ds_bpermute_b32 => {
            let ((index, known_index), (values, known)) = (read(i.src[0])?, read(i.src[1])?);
            for (lane, index) in index.iter().enumerate() {
                let from = index.wrapping_add(i.offset as u32) / 4 % 64;
                take(lane, from as usize, values, known);
            }
            defined &= known_index;
        }
        Opcode::ds_permute_b32 => {
            let ((index, known_index), (values, known)) = (read(i.src[0])?, read(i.src[1])?);
            (0..64).for_each(|lane| defined |= 1 << lane);
            for lane in (0..64).filter(|lane| exec >> lane & 1 == 1) {
                let to = (index[lane].wrapping_add(i.offset as u32) / 4 % 64) as usize;
                out[to] = values[lane];
                let known = (known & known_index) >> lane & 1 == 1;
                defined = defined & !(1 << to) | u64::from(known) << to;
            }
        }
        Opcode::ds_swizzle_b32 => {
            let (values, known) = read(i.src[0])?;
            let pattern = i.offset as u32;
            for lane in 0..64u32 {
                let from = if pattern >> 15 & 1 == 1 {
                    lane & !3 | pattern >> (2 * (lane & 3)) & 3
                } else {
                    let (and, or, xor) = (pattern & 31, pattern >> 5 & 31, pattern >> 10 & 31);
                    lane & !31 | ((lane & 31 & and | or) ^ xor)
                };
                take(lane as usize, from as usize, values, known);
            }
        }
        _ => return None,
    }
    Some((out, defined))
}
