//! Sources and results of vector instructions: modifiers, sub-dword parts, lanes of others.

use super::instruction::{Dpp, Float, Form, Format, Instruction, NONE, Operand, Sdwa, VECTOR};
use super::wave::{Lanes, Wave, vector_index};

/// A source of 32 bits and the lanes of it that are defined.
#[inline(always)]
pub(super) fn source<'a>(
    wave: &'a Wave,
    i: &Instruction,
    at: usize,
    buffer: &'a mut Lanes,
) -> (&'a Lanes, u64) {
    let plain = i.form == Form::Plain && (i.neg | i.abs | i.op_sel) >> at & 1 == 0;
    if !plain {
        return modified(wave, i, at, buffer);
    }
    register(wave, i, i.src[at], buffer)
}

#[inline(always)]
fn register<'a>(
    wave: &'a Wave,
    i: &Instruction,
    operand: Operand,
    buffer: &'a mut Lanes,
) -> (&'a Lanes, u64) {
    if operand >= VECTOR {
        let at = usize::from(operand - VECTOR) % 512;
        return (&wave.vectors[at].0, wave.defined[at]);
    }
    let (value, undefined) = wave.scalar(i, operand);
    buffer.fill(value);
    (buffer, if undefined == 0 { u64::MAX } else { 0 })
}

/// A part of a dword (CDNA3 ISA, 13.3.7): its value in the low bits, and its width.
fn part(value: u32, select: u8, sext: bool) -> u32 {
    match select {
        0..=3 => {
            let byte = (value >> (8 * select)) as u8;
            if sext { byte as i8 as u32 } else { byte.into() }
        }
        4 | 5 => {
            let word = (value >> (16 * (select - 4))) as u16;
            if sext { word as i16 as u32 } else { word.into() }
        }
        _ => value,
    }
}

#[inline(never)]
fn modified<'a>(
    wave: &'a Wave,
    i: &Instruction,
    at: usize,
    buffer: &'a mut Lanes,
) -> (&'a Lanes, u64) {
    let mut other = [0; 64];
    let (values, defined) = match i.form {
        Form::Dpp(_) if at == 0 => (&wave.moved.0, wave.moved.1),
        _ => register(wave, i, i.src[at], &mut other),
    };
    *buffer = *values;
    if let Form::Sdwa(Sdwa { src, sext, .. }) = i.form
        && at < 2
    {
        for value in buffer.iter_mut() {
            *value = part(*value, src[at], sext[at]);
        }
    } else if i.op_sel >> at & 1 == 1 && i.format == Format::Vop3 {
        buffer.iter_mut().for_each(|value| *value >>= 16);
    }
    let sign = match i.float {
        Float::F32 => 1u32 << 31,
        Float::F16 => 1 << 15,
        Float::No => 0,
    };
    let keep = if i.abs >> at & 1 == 1 { !sign } else { u32::MAX };
    let flip = if i.neg >> at & 1 == 1 { sign } else { 0 };
    buffer.iter_mut().for_each(|value| *value = *value & keep ^ flip);
    (buffer, defined)
}

/// A source of 64 bits.
#[inline(always)]
pub(super) fn source64(wave: &Wave, i: &Instruction, at: usize) -> ([u64; 64], u64) {
    let operand = i.src[at];
    match vector_index(operand) {
        Some(at) => {
            let (low, high) = (&wave.vectors[at].0, &wave.vectors[(at + 1) % 512].0);
            let mut wide = [0; 64];
            for lane in 0..64 {
                wide[lane] = u64::from(low[lane]) | u64::from(high[lane]) << 32;
            }
            (wide, wave.defined[at] & wave.defined[(at + 1) % 512])
        }
        None => {
            let (value, undefined) = wave.scalar64(i, operand);
            ([value; 64], if undefined == 0 { u64::MAX } else { 0 })
        }
    }
}

/// The lanes in which the low half of a source of 64 bits is defined.
pub(super) fn known_low(wave: &Wave, i: &Instruction, at: usize) -> u64 {
    match vector_index(i.src[at]) {
        Some(at) => wave.defined[at],
        None => {
            let (_, undefined) = wave.scalar64(i, i.src[at]);
            if undefined as u32 == 0 { u64::MAX } else { 0 }
        }
    }
}

/// Writes a result of 32 bits into the enabled lanes.
#[inline(always)]
pub(super) fn write(wave: &mut Wave, i: &Instruction, values: &Lanes, defined: u64) {
    match i.form {
        Form::Sdwa(sdwa) if sdwa.dst != 6 => write_part(wave, i, &sdwa, values, defined),
        _ if i.op_sel & 8 != 0 && i.format == Format::Vop3 => {
            let sdwa = Sdwa { dst: 5, unused: 2, src: [6; 2], sext: [false; 2] };
            write_part(wave, i, &sdwa, values, defined);
        }
        _ => write_register(wave, i.dst, values, defined),
    }
}

/// Writes a vector register in the enabled lanes.
#[inline(always)]
pub(super) fn write_register(wave: &mut Wave, dst: Operand, values: &Lanes, defined: u64) {
    let at = usize::from(dst.wrapping_sub(VECTOR)) % 512;
    let enabled = wave.enabled;
    let register = &mut wave.vectors[at].0;
    if enabled == u64::MAX {
        *register = *values;
        wave.defined[at] = defined;
        return;
    }
    for lane in 0..64 {
        let takes = enabled >> lane & 1 == 1;
        register[lane] = if takes { values[lane] } else { register[lane] };
    }
    let known = &mut wave.defined[at];
    *known = *known & !enabled | defined & enabled;
}

#[inline(never)]
fn write_part(wave: &mut Wave, i: &Instruction, sdwa: &Sdwa, values: &Lanes, defined: u64) {
    let at = usize::from(i.dst - VECTOR) % 512;
    let (shift, width) = if sdwa.dst < 4 { (8 * sdwa.dst, 8) } else { (16 * (sdwa.dst - 4), 16) };
    let mask = ((1u32 << width) - 1) << shift;
    let mut out = wave.vectors[at].0;
    for (out, &value) in out.iter_mut().zip(values) {
        let placed = value << shift & mask;
        let sign = value >> (width - 1) & 1 == 1;
        let rest = match sdwa.unused {
            0 => 0,
            // The sign above, zeros below.
            1 => {
                if sign {
                    !(mask | ((1u32 << shift) - 1))
                } else {
                    0
                }
            }
            _ => *out & !mask,
        };
        *out = placed | rest;
    }
    let before = if sdwa.unused == 2 { wave.defined[at] } else { u64::MAX };
    write_register(wave, i.dst, &out, defined & before);
}

/// Writes a result of 64 bits.
#[inline(always)]
pub(super) fn write64(wave: &mut Wave, i: &Instruction, values: &[u64; 64], defined: u64) {
    write_halves(wave, i, values, defined, defined);
}

/// Writes 64 bits whose halves are not defined in the same lanes.
#[inline(always)]
pub(super) fn write_halves(
    wave: &mut Wave,
    i: &Instruction,
    values: &[u64; 64],
    defined_low: u64,
    defined_high: u64,
) {
    let (mut low, mut high) = ([0; 64], [0; 64]);
    for lane in 0..64 {
        low[lane] = values[lane] as u32;
        high[lane] = (values[lane] >> 32) as u32;
    }
    write_register(wave, i.dst, &low, defined_low);
    write_register(wave, i.dst + 1, &high, defined_high);
}

/// A mask of lanes: the bits, and the lanes whose bit is defined.
#[inline(always)]
pub(super) fn mask(wave: &Wave, i: &Instruction, operand: Operand) -> (u64, u64) {
    let (bits, undefined) = wave.scalar64(i, operand);
    (bits, !undefined)
}

/// Writes a mask: lanes that are not active get 0.
#[inline(always)]
pub(super) fn write_mask(wave: &mut Wave, dst: Operand, bits: u64, defined: u64) {
    if dst != NONE {
        let enabled = wave.enabled;
        wave.set_scalar64(dst, bits & enabled, !defined & enabled);
    }
}

/// Where a lane reads its first source (CDNA3 ISA, 13.3.9; LLVM, "DPP"); none beyond the row or wave.
pub(super) fn dpp_source(control: u16, lane: u32) -> Option<u32> {
    let row = lane & !15;
    let place = lane & 15;
    let by = u32::from(control & 15);
    let within = |place: Option<u32>| place.filter(|&place| place < 16).map(|place| row + place);
    match control {
        0..=0xFF => Some(lane & !3 | u32::from(control) >> (2 * (lane & 3)) & 3),
        0x101..=0x10F => within(Some(place + by)),
        0x111..=0x11F => within(place.checked_sub(by)),
        0x121..=0x12F => within(Some((place + 16 - by) % 16)),
        0x130 => Some(lane + 1).filter(|&lane| lane < 64),
        0x134 => Some((lane + 1) % 64),
        0x138 => lane.checked_sub(1),
        0x13C => Some((lane + 63) % 64),
        0x140 => Some(row + 15 - place),
        0x141 => Some(lane & !7 | (7 - (lane & 7))),
        0x142 => row.checked_sub(1),
        0x143 => (lane >= 32).then_some(31),
        0x150..=0x15F => Some(row + by),
        _ => None,
    }
}

/// Prepares the first source and the enabled lanes of an instruction with DPP.
#[inline(never)]
pub(super) fn prepare_dpp(wave: &mut Wave, i: &Instruction, dpp: &Dpp) {
    let mut buffer = [0; 64];
    let (values, defined) = register(wave, i, i.src[0], &mut buffer);
    let values = *values;
    let exec = wave.exec();
    let (mut moved, mut known, mut enabled) = ([0; 64], 0u64, exec);
    for lane in 0..64u32 {
        let bit = 1u64 << lane;
        // A lane that is not active is no source.
        let source = dpp_source(dpp.control, lane).filter(|&from| exec >> from & 1 == 1);
        match source {
            Some(from) => {
                moved[lane as usize] = values[from as usize];
                known |= if defined >> from & 1 == 1 { bit } else { 0 };
            }
            None if dpp.bound => known |= bit,
            None => enabled &= !bit,
        }
        let masked = dpp.rows >> (lane / 16) & 1 == 0 || dpp.banks >> (lane / 4 % 4) & 1 == 0;
        if masked {
            enabled &= !bit;
        }
    }
    wave.moved = (moved, known);
    wave.enabled = enabled;
}
