//! Buffer instructions: memory by a resource that has its bounds (CDNA3 ISA, 9.1).
//!
//! Resources are plain ones: no stride, no swizzle. What is out of range is not written, and reads 0,
//! dword by dword (LLVM, "Relaxed Buffer OOB Mode").

use super::access::{Access as What, Action, Extend};
use super::execute::{Execution, Flow};
use super::instruction::{Instruction, Operand};
use super::pending::Pending;
use super::state::Fault;
use super::wave::{lanes_of, vector_index};
use crate::report::Kind;

/// The offset of each lane is in a register.
pub(super) const OFFSETS: u8 = 1;
/// The index of each lane is in a register.
pub(super) const INDICES: u8 = 2;

/// The addresses, and the lanes in which each dword is within range; the lanes in which all this is
/// defined.
pub(super) fn addresses(
    x: &mut Execution<'_>,
    i: &Instruction,
    what: &What,
    pending: &mut Pending,
) -> Result<u64, Flow> {
    let resource = |at: Operand| x.wave.scalar(i, i.src[2] + at);
    let words = [0, 1, 2, 3].map(|at| resource(at).0);
    let mut known = if [0, 1, 2, 3].iter().any(|&at| resource(at).1 != 0) { 0 } else { u64::MAX };
    let has = |word: usize, low: u32, bits: u32| words[word] >> low & ((1 << bits) - 1);
    let (stride, swizzle, adds_lane, kind) =
        (has(1, 16, 14), has(1, 31, 1), has(3, 23, 1), has(3, 30, 2));
    let format = has(3, 15, 4);
    if known != 0 && ([stride, swizzle, adds_lane, kind] != [0; 4] || format == 0) {
        let message = format!(
            "a buffer of {words:08x?} is not modelled: stride {stride}, swizzle {swizzle}, adds the \
             lane {adds_lane}, type {kind}, data format {format} (others than 0 are)"
        );
        return Err(Flow::Fault(Fault { kind: Kind::Unsupported, lane: None, message }));
    }
    let base = u64::from(words[0]) | u64::from(words[1] & 0xFFFF) << 32;
    let records = u64::from(words[2]);
    let (scalar, scalar_undefined) = x.wave.scalar(i, i.offset2 as Operand);
    if scalar_undefined != 0 {
        known = 0;
    }
    let scalar = u64::from(scalar);
    let mut offsets = [i.offset as u64; 64];
    if i.segment & OFFSETS != 0
        && let Some(at) = vector_index(i.src[0])
    {
        let values = &x.wave.vectors[at].0;
        for (offset, &value) in offsets.iter_mut().zip(values) {
            *offset += u64::from(value);
        }
        known &= x.wave.defined[at];
    }
    let bytes = u64::from(what.bytes);
    pending.within = [0; 4];
    for (lane, &offset) in offsets.iter().enumerate() {
        pending.addresses[lane] = base + scalar + offset;
        for (at, within) in pending.within.iter_mut().enumerate() {
            let end = offset + (4 * at as u64 + 4).min(bytes);
            *within |= u64::from(end <= records) << lane;
            let is_active = (pending.lanes & known) >> lane & 1 == 1;
            if is_active && 4 * (at as u64) < bytes && end <= records && end + scalar > records {
                return Err(Flow::Fault(uncertain(lane, end, scalar, records)));
            }
        }
    }
    Ok(known)
}

/// AMD's documents check the scalar offset too, LLVM's say that it is not.
#[cold]
fn uncertain(lane: usize, end: u64, scalar: u64, records: u64) -> Fault {
    let message = format!(
        "bytes up to {end} at the scalar offset {scalar} pass the end of a buffer of {records}, and \
         documents differ on whether that is checked"
    );
    Fault { kind: Kind::OutOfBounds, lane: Some(lane as u32), message }
}

/// What is read out of range is 0; of a half of a register, that half.
pub(super) fn clear_out_of_range(what: &What, pending: &mut Pending) {
    let Action::Load(extend) = what.action else { return };
    let keep = match extend {
        Extend::Low { .. } => 0xFFFF_0000,
        Extend::High { .. } => 0xFFFF,
        _ => 0,
    };
    for (at, within) in pending.within.into_iter().enumerate() {
        for lane in lanes_of(!within) {
            pending.data[at][lane] &= keep;
        }
        if keep == 0 {
            pending.defined[at] |= !within;
        }
    }
}
