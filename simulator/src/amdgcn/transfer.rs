//! The bytes of one memory instruction.

use super::access::{Access as What, Action, Extend, Update};
use super::execute::Execution;
use super::instruction::{Format, Instruction};
use super::memory::{access_fault, half_of, report_races};
use super::pending::Pending;
use super::state::Fault;
use crate::memory::{Access, AccessFault, Order};
use crate::report::Kind;

/// Moves the data of one place of the instruction. `ds_read2` and the like have two.
pub(super) fn transfer(
    x: &mut Execution<'_>,
    i: &Instruction,
    what: &What,
    pending: &mut Pending,
    place: usize,
) -> Result<(), Fault> {
    let dwords = usize::from(what.bytes).div_ceil(4);
    let first = place * dwords;
    if let Action::Atomic(update) = what.action {
        return atomic(x, i, update, what.bytes, pending);
    }
    // Global memory takes vectors at any dword, LDS at multiples of their size (12 bytes: of 4);
    // memory is asked in pieces of a power of two.
    let mut low_bits = 0;
    for lane in (0..64).filter(|lane| pending.lanes >> lane & 1 == 1) {
        low_bits |= pending.addresses[lane];
    }
    let bytes = u32::from(what.bytes);
    let whole = bytes.is_power_of_two()
        && (i.format == Format::Ds || low_bits & (u64::from(bytes) - 1) == 0);
    let [within, ..] = pending.within;
    let partly = pending.within[..dwords].iter().any(|it| (it ^ within) & pending.lanes != 0);
    let piece = if bytes <= 4 || whole && !partly { bytes } else { 4 };
    let order = match what.action {
        // sc0 and sc1 past a cache: reads and writes that others may do at the same time.
        _ if i.format != Format::Ds && i.cache & 3 != 0 => Order::Relaxed,
        _ => Order::Weak,
    };
    if let Action::Store(_) = what.action {
        halves_agree(x, pending, first, dwords);
    }
    for start in (0..bytes).step_by(piece as usize) {
        let at = first + start as usize / 4;
        for half in 0..2 {
            let mask = ((pending.lanes & pending.within[at]) >> (32 * half)) as u32;
            if mask == 0 {
                continue;
            }
            let addresses =
                half_of(&pending.addresses, half).map(|address| address.wrapping_add(start.into()));
            let (warp, place) = (x.wave.place.wave, pending.instruction);
            let access = Access { addresses: &addresses, mask, bytes: piece, order, warp, place };
            match what.action {
                Action::Load(extend) => load(x, i, &access, pending, (at, half), extend)?,
                Action::Store(shift) => store(x, i, &access, pending, (at, half), shift)?,
                Action::Atomic(_) => {}
            }
            report_races(x, half, pending.instruction);
        }
    }
    Ok(())
}

/// Two lanes of one store that write different values to one place; within a half of the wave the
/// memory finds it.
fn halves_agree(x: &mut Execution<'_>, pending: &Pending, first: usize, dwords: usize) {
    for lane in 0..32 {
        let both = pending.lanes >> lane & pending.lanes >> (lane + 32) & 1 == 1;
        let same = pending.addresses[lane] == pending.addresses[lane + 32];
        let differ =
            (first..first + dwords).any(|at| pending.data[at][lane] != pending.data[at][lane + 32]);
        if both && same && differ {
            let address = pending.addresses[lane];
            let message = format!(
                "address {address:#x}: write by lane {} of the same instruction",
                lane + 32
            );
            let fault = Fault { kind: Kind::Race, lane: Some(lane as u32), message };
            x.state.report(x.function, pending.instruction, x.wave.place, fault);
        }
    }
}

fn load(
    x: &mut Execution<'_>,
    i: &Instruction,
    access: &Access<'_>,
    pending: &mut Pending,
    (at, half): (usize, usize),
    extend: Extend,
) -> Result<(), Fault> {
    let state = &mut *x.state;
    let (clocks, out, findings) = (&mut state.clocks, &mut *state.buffer, &mut state.findings);
    let outcome = match i.format {
        Format::Ds => x.local.load(clocks, access, out, findings),
        _ => x.memory.load(clocks, access, out, findings),
    };
    let written = outcome.map_err(|fault| access_fault(fault, half, access.bytes))?;
    let bytes = access.bytes as usize;
    for lane in (0..32).filter(|lane| access.mask >> lane & 1 == 1) {
        let bit = 1u64 << (lane + 32 * half);
        let raw = &out[lane * bytes..][..bytes];
        if bytes < 4 {
            let old = pending.data[at][lane + 32 * half];
            pending.data[at][lane + 32 * half] = extended(raw, extend, old);
        } else {
            for (dword, word) in raw.as_chunks::<4>().0.iter().enumerate() {
                pending.data[at + dword][lane + 32 * half] = u32::from_le_bytes(*word);
            }
        }
        let keeps = matches!(extend, Extend::Low { .. } | Extend::High { .. });
        for defined in &mut pending.defined[at..at + bytes.div_ceil(4)] {
            let before = !keeps || *defined & bit != 0;
            let known = written >> lane & 1 == 1 && before;
            *defined = *defined & !bit | if known { bit } else { 0 };
        }
    }
    Ok(())
}

fn extended(raw: &[u8], extend: Extend, old: u32) -> u32 {
    let mut word = [0; 4];
    word[..raw.len()].copy_from_slice(raw);
    let value = u32::from_le_bytes(word);
    let shift = 32 - 8 * raw.len() as u32;
    let signed = ((value << shift) as i32 >> shift) as u32;
    match extend {
        Extend::Zero => value,
        Extend::Sign => signed,
        Extend::Low { sign } => old & 0xFFFF_0000 | if sign { signed } else { value } & 0xFFFF,
        Extend::High { sign } => old & 0xFFFF | if sign { signed } else { value } << 16,
    }
}

fn store(
    x: &mut Execution<'_>,
    i: &Instruction,
    access: &Access<'_>,
    pending: &Pending,
    (at, half): (usize, usize),
    shift: u8,
) -> Result<(), Fault> {
    let state = &mut *x.state;
    let (clocks, data, findings) = (&mut state.clocks, &mut *state.buffer, &mut state.findings);
    let bytes = access.bytes as usize;
    let dwords = bytes.div_ceil(4);
    let mut defined = u64::MAX;
    for dword in 0..dwords {
        defined &= pending.defined[at + dword];
        for lane in 0..32 {
            let word = (pending.data[at + dword][lane + 32 * half] >> shift).to_le_bytes();
            let length = bytes.min(4);
            data[lane * bytes + 4 * dword..][..length].copy_from_slice(&word[..length]);
        }
    }
    let defined = (defined >> (32 * half)) as u32;
    let outcome = match i.format {
        Format::Ds => x.local.store(clocks, access, data, defined, findings),
        _ => x.memory.store(clocks, access, data, defined, findings),
    };
    outcome.map_err(|fault| access_fault(fault, half, access.bytes))
}

/// Lane after lane.
fn atomic(
    x: &mut Execution<'_>,
    i: &Instruction,
    update: Update,
    bytes: u8,
    pending: &mut Pending,
) -> Result<(), Fault> {
    let dwords = usize::from(bytes) / 4;
    let (data, known) = (pending.data, pending.defined);
    let word = |first: usize, lane: usize| {
        let high = if dwords == 2 { data[first + 1][lane] } else { 0 };
        u64::from(data[first][lane]) | u64::from(high) << 32
    };
    // Global memory takes the new value first, LDS what it is compared with (CDNA3 ISA, 12.12 and
    // 12.14).
    let compares = update == Update::CompareSwap;
    let (value, compare) = match (compares, i.format) {
        (true, Format::Ds) => (dwords, 0),
        (true, _) => (0, dwords),
        _ => (0, 0),
    };
    let mut old = [0u64; 64];
    for half in 0..2 {
        let mask = (pending.lanes >> (32 * half)) as u32;
        if mask == 0 {
            continue;
        }
        let addresses = half_of(&pending.addresses, half);
        let access = Access {
            addresses: &addresses,
            mask,
            bytes: bytes.into(),
            order: Order::Relaxed,
            warp: x.wave.place.wave,
            place: pending.instruction,
        };
        let lanes: Vec<u32> = (0..32).collect();
        let mut change = |lane: u32, memory: &mut [u8]| {
            let lane = lane as usize + 32 * half;
            let mut before = [0; 8];
            before[..memory.len()].copy_from_slice(memory);
            old[lane] = u64::from_le_bytes(before);
            let new = update.apply(old[lane], word(value, lane), word(compare, lane), bytes);
            memory.copy_from_slice(&new.to_le_bytes()[..memory.len()]);
        };
        let state = &mut *x.state;
        let (clocks, findings) = (&mut state.clocks, &mut state.findings);
        let outcome: Result<u32, AccessFault> = match i.format {
            Format::Ds => x.local.atomic(clocks, &access, &lanes, &mut change, findings),
            _ => x.memory.atomic(clocks, &access, &lanes, &mut change, findings),
        };
        let written = outcome.map_err(|fault| access_fault(fault, half, bytes.into()))?;
        let all = known[..dwords].iter().fold(u64::MAX, |all, defined| all & defined);
        for defined in &mut pending.defined[..dwords] {
            let window = u64::from(u32::MAX) << (32 * half);
            *defined = *defined & !window | u64::from(written) << (32 * half) & all;
        }
        report_races(x, half, pending.instruction);
    }
    pending.data[0] = old.map(|value| value as u32);
    if dwords == 2 {
        pending.data[1] = old.map(|value| (value >> 32) as u32);
    }
    Ok(())
}
