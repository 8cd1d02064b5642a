//! Loads from global memory to LDS (CDNA3 ISA, 9.1.9 and 10.3): lane `l` writes its bytes at M0, the
//! instruction's offset and `l` times their count. LDS has them when `s_waitcnt` waits for the load; until
//! then it counts as never written.

use super::execute::Execution;
use super::instruction::{Instruction, Operand};
use super::memory::{access_fault, half_of, report_races};
use super::pending::Pending;
use super::state::Fault;
use crate::memory::{Access, Order};
use crate::report::Kind;

const M0: Operand = 124;

/// Marks the bytes that the load will write.
pub(super) fn begin(
    x: &mut Execution<'_>,
    i: &Instruction,
    bytes: u8,
    pending: &mut Pending,
) -> Result<(), Fault> {
    let (base, undefined) = x.wave.scalar(i, M0);
    if undefined != 0 {
        x.note(Kind::Uninitialized, None, "M0, the address in LDS, was never written".into());
    }
    pending.local = Some(base.wrapping_add_signed(i.offset).into());
    pending.local_dwords = bytes / 4;
    write(x, pending, false)
}

/// Writes what was loaded, or what counts as never written.
pub(super) fn write(x: &mut Execution<'_>, pending: &Pending, arrived: bool) -> Result<(), Fault> {
    let Some(base) = pending.local else { return Ok(()) };
    let dwords = usize::from(pending.local_dwords);
    x.state.clocks.warp_sync(x.wave.place.wave, u32::MAX);
    for at in 0..dwords {
        let addresses: [u64; 64] =
            std::array::from_fn(|lane| base + 4 * (lane * dwords + at) as u64);
        for half in 0..2 {
            let mask = (pending.lanes >> (32 * half)) as u32;
            if mask == 0 {
                continue;
            }
            let addresses = half_of(&addresses, half);
            let (warp, place) = (x.wave.place.wave, pending.instruction);
            let access =
                Access { addresses: &addresses, mask, bytes: 4, order: Order::Weak, warp, place };
            let state = &mut *x.state;
            let data = &mut *state.buffer;
            for (lane, bytes) in data.as_chunks_mut::<4>().0.iter_mut().take(32).enumerate() {
                *bytes = pending.data[at][lane + 32 * half].to_le_bytes();
            }
            let defined = if arrived { (pending.defined[at] >> (32 * half)) as u32 } else { 0 };
            let outcome =
                x.local.store(&mut state.clocks, &access, data, defined, &mut state.findings);
            outcome.map_err(|fault| access_fault(fault, half, 4))?;
            report_races(x, half, pending.instruction);
        }
    }
    Ok(())
}
