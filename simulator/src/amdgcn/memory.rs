//! Memory instructions: issued, performed at once or late, waited for (`pending.rs`).

use super::access::{Access as What, Action, Extend, describe};
use super::execute::{Execution, Flow};
use super::instruction::{Format, Instruction, NONE};
use super::opcodes::Opcode;
use super::pending::{Item, Pending, ScalarLoad};
use super::state::Fault;
use super::wave::vector_index;
use super::{banks, buffer, direct, lane_exchange};
use crate::memory::{Access, AccessFault, Order};
use crate::report::Kind;

/// Where a launch's arguments are, and its dispatch packet: addresses of no allocation.
pub(super) const KERNARG: u64 = 0x7A00_0000_0000;
pub(super) const PACKET: u64 = 0x7B00_0000_0000;

/// Scalar loads (CDNA3 ISA, 8.2): the address is cut down to whole dwords.
pub(super) fn scalar_load(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let (base, base_undefined) = x.wave.scalar64(i, i.src[0]);
    let (register, register_undefined) =
        if i.sources > 1 { x.wave.scalar(i, i.src[1]) } else { (0, 0) };
    if i.dst_dwords == 0 {
        return x.unsupported(i);
    }
    if base_undefined != 0 || register_undefined != 0 {
        x.note(Kind::Uninitialized, None, "the address was never written".into());
    }
    let address = base.wrapping_add(register.into()).wrapping_add_signed(i.offset.into()) & !3;
    let mut load = ScalarLoad { dst: i.dst, dwords: i.dst_dwords, values: [0; 16], defined: 0 };
    for at in 0..usize::from(i.dst_dwords) {
        let place = address + 4 * at as u64;
        let window = |start: u64, bytes: &[u8]| {
            let offset = usize::try_from(place.checked_sub(start)?).ok()?;
            let word = bytes.get(offset..offset + 4)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*word))
        };
        let own = window(KERNARG, &x.state.kernarg).or_else(|| window(PACKET, &x.state.packet));
        let (value, known) = match own {
            Some(value) => (value, true),
            None => match global_word(x, place) {
                Ok(found) => found,
                Err(fault) => return Flow::Fault(access_fault(fault, 0, 4)),
            },
        };
        load.values[at] = value;
        load.defined |= u16::from(known) << at;
    }
    report_races(x, 0, x.wave.pc);
    x.wave.begin_load(i.dst, i.dst_dwords, 0);
    x.wave.local_memory.push_back(Item::Scalar(load));
    Flow::Next
}

fn global_word(x: &mut Execution<'_>, address: u64) -> Result<(u32, bool), AccessFault> {
    let addresses = [address; 32];
    let warp = x.wave.place.wave;
    let (order, place) = (Order::Weak, x.wave.pc);
    let access = Access { addresses: &addresses, mask: 1, bytes: 4, order, warp, place };
    let state = &mut *x.state;
    let (out, findings) = (&mut *state.buffer, &mut state.findings);
    state.clocks.warp_sync(warp, u32::MAX);
    let written = x.memory.load(&mut state.clocks, &access, out, findings)?;
    let word = out.first_chunk().copied().unwrap_or_default();
    Ok((u32::from_le_bytes(word), written & 1 == 1))
}

/// Issues an instruction of local or global memory.
pub(super) fn issue(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let lanes = x.wave.exec();
    if let Some((values, defined)) = lane_exchange::execute(x, i) {
        let mut pending = blank(x.wave.pc, lanes);
        (pending.dst, pending.dwords, pending.performed) = (i.dst, 1, true);
        (pending.data[0], pending.defined[0]) = (values, defined);
        x.wave.begin_load(i.dst, 1, lanes);
        x.wave.local_memory.push_back(Item::Vector(pending));
        return Flow::Next;
    }
    let Some(what) = describe(i.opcode) else { return x.unsupported(i) };
    let mut pending = blank(x.wave.pc, lanes);
    let known = match i.format {
        Format::Buffer => match buffer::addresses(x, i, &what, &mut pending) {
            Ok(known) => known,
            Err(flow) => return flow,
        },
        _ => addresses(x, i, &mut pending.addresses),
    };
    if lanes & !known != 0 {
        let lane = (lanes & !known).trailing_zeros();
        x.note(Kind::Uninitialized, Some(lane), "the address was never written".into());
    }
    if let Err(flow) = gather_data(x, i, &what, &mut pending) {
        return flow;
    }
    if i.opcode == Opcode::ds_read_b64_tr_b16 && lanes != u64::MAX {
        let message = format!("{:?} with lanes that are not active is not modelled", i.opcode);
        return Flow::Fault(Fault { kind: Kind::Unsupported, lane: None, message });
    }
    if i.dst != NONE {
        (pending.dst, pending.dwords) = (i.dst, i.dst_dwords);
        keep_other_halves(x, i, &what, &mut pending);
        x.wave.begin_load(i.dst, i.dst_dwords, lanes);
    }
    if i.format == Format::Buffer {
        buffer::clear_out_of_range(&what, &mut pending);
    }
    if i.to_local
        && let Err(fault) = direct::begin(x, i, what.bytes, &mut pending)
    {
        return Flow::Fault(fault);
    }
    let local = i.format == Format::Ds;
    let queue = if local { &mut x.wave.local_memory } else { &mut x.wave.vector_memory };
    queue.push_back(Item::Vector(pending));
    if x.state.performs_early()
        && let Err(fault) = perform_all(x, local)
    {
        return Flow::Fault(fault);
    }
    Flow::Next
}

fn blank(instruction: u32, lanes: u64) -> Box<Pending> {
    Box::new(Pending {
        instruction,
        lanes,
        addresses: [0; 64],
        data: [[0; 64]; 4],
        defined: [0; 4],
        performed: false,
        within: [u64::MAX; 4],
        local: None,
        local_dwords: 0,
        dst: NONE,
        dwords: 0,
    })
}

/// The address of each lane, without the offsets of two places; the lanes where it is defined.
fn addresses(x: &Execution<'_>, i: &Instruction, out: &mut [u64; 64]) -> u64 {
    let wave = &*x.wave;
    let Some(at) = vector_index(i.src[0]) else { return 0 };
    let low = &wave.vectors[at].0;
    if i.format == Format::Ds {
        for lane in 0..64 {
            out[lane] = low[lane].into();
        }
        return wave.defined[at];
    }
    if i.src[2] != NONE {
        let (base, undefined) = wave.scalar64(i, i.src[2]);
        for lane in 0..64 {
            out[lane] = base.wrapping_add(low[lane].into()).wrapping_add_signed(i.offset.into());
        }
        return if undefined == 0 { wave.defined[at] } else { 0 };
    }
    let high = &wave.vectors[(at + 1) % 512].0;
    for lane in 0..64 {
        let address = u64::from(low[lane]) | u64::from(high[lane]) << 32;
        out[lane] = address.wrapping_add_signed(i.offset.into());
    }
    wave.defined[at] & wave.defined[(at + 1) % 512]
}

/// Takes what is stored from the registers.
fn gather_data(
    x: &mut Execution<'_>,
    i: &Instruction,
    what: &What,
    pending: &mut Pending,
) -> Result<(), Flow> {
    if matches!(what.action, Action::Load(_)) {
        return Ok(());
    }
    let mut at = 0;
    for source in 1..3 {
        let is_data = i.format == Format::Ds || source == 1;
        if !is_data || i.src[source] == NONE || usize::from(i.sources) <= source {
            continue;
        }
        for dword in 0..i.src_dwords[source] {
            let Some(register) = vector_index(i.src[source] + u16::from(dword)) else {
                return Err(x.unsupported(i));
            };
            pending.data[at] = x.wave.vectors[register].0;
            pending.defined[at] = x.wave.defined[register];
            at += 1;
        }
    }
    // Poison in global memory is found by whoever reads it; storing it is a fault of the kernel.
    let stored = pending.defined[..at].iter().fold(u64::MAX, |all, defined| all & defined);
    if i.format != Format::Ds && pending.lanes & !stored != 0 {
        let lane = (pending.lanes & !stored).trailing_zeros();
        x.note(Kind::Uninitialized, Some(lane), "what is stored was never written".into());
    }
    Ok(())
}

/// A load into half of a register keeps the other half: it starts from the register's value.
fn keep_other_halves(x: &Execution<'_>, i: &Instruction, what: &What, pending: &mut Pending) {
    if let Action::Load(Extend::Low { .. } | Extend::High { .. }) = what.action
        && let Some(register) = vector_index(i.dst)
    {
        pending.data[0] = x.wave.vectors[register].0;
        pending.defined[0] = x.wave.defined[register];
    }
}

/// Performs what is queued, in order.
fn perform_all(x: &mut Execution<'_>, local: bool) -> Result<(), Fault> {
    let count = if local { x.wave.local_memory.len() } else { x.wave.vector_memory.len() };
    for at in 0..count {
        let queue = if local { &mut x.wave.local_memory } else { &mut x.wave.vector_memory };
        let is_due = matches!(&queue[at], Item::Vector(pending) if !pending.performed);
        if is_due {
            let taken = std::mem::replace(&mut queue[at], Item::Scalar(NOTHING));
            let Item::Vector(mut pending) = taken else { continue };
            let outcome = perform(x, &mut pending);
            let queue = if local { &mut x.wave.local_memory } else { &mut x.wave.vector_memory };
            queue[at] = Item::Vector(pending);
            outcome?;
        }
    }
    Ok(())
}

const NOTHING: ScalarLoad = ScalarLoad { dst: NONE, dwords: 0, values: [0; 16], defined: 0 };

/// Waits until at most so many of each kind are outstanding.
pub(super) fn wait(x: &mut Execution<'_>, vector: usize, local: usize) -> Result<(), Fault> {
    // LDS first, so that what is read before a load to LDS is waited for is never what it loads.
    // Scalar loads come in any order: with one among them only 0 says which are done.
    let scalar = x.wave.local_memory.iter().any(|item| matches!(item, Item::Scalar(_)));
    while x.wave.local_memory.len() > local && (local == 0 || !scalar) {
        finish_oldest(x, true)?;
    }
    while x.wave.vector_memory.len() > vector {
        finish_oldest(x, false)?;
    }
    Ok(())
}

fn finish_oldest(x: &mut Execution<'_>, local: bool) -> Result<(), Fault> {
    let queue = if local { &mut x.wave.local_memory } else { &mut x.wave.vector_memory };
    let Some(mut item) = queue.pop_front() else { return Ok(()) };
    if let Item::Vector(pending) = &mut item {
        if !pending.performed {
            perform(x, pending)?;
        }
        if let Err(fault) = direct::write(x, pending, true) {
            x.wave.pc = pending.instruction;
            return Err(fault);
        }
    }
    x.wave.retire(&item);
    Ok(())
}

/// The wave ends: stores that nobody waited for are performed.
pub(super) fn drain(x: &mut Execution<'_>) -> Result<(), Fault> {
    wait(x, 0, 0)
}

/// A fault of a half of the wave.
#[cold]
pub(super) fn access_fault(fault: AccessFault, half: usize, bytes: u32) -> Fault {
    let half = half as u32;
    match fault {
        AccessFault::OutOfBounds { lane, address, message } => Fault {
            kind: Kind::OutOfBounds,
            lane: Some(lane + 32 * half),
            message: format!("{bytes} bytes at {address:#x}: {message}"),
        },
        AccessFault::Misaligned { lane, address } => Fault {
            kind: Kind::Misaligned,
            lane: Some(lane + 32 * half),
            message: format!("{address:#x} is no multiple of {bytes}"),
        },
    }
}

/// Reports what memory found about a half of the wave.
pub(super) fn report_races(x: &mut Execution<'_>, half: usize, instruction: u32) {
    if x.state.findings.is_empty() {
        return;
    }
    let half = half as u32;
    for finding in std::mem::take(&mut x.state.findings) {
        let message = finding.text(|place| x.function.name_place(place));
        let fault = Fault { kind: Kind::Race, lane: Some(finding.lane + 32 * half), message };
        x.state.report(x.function, instruction, x.wave.place, fault);
    }
}

/// Reads or writes memory. Lanes of a wave are in step: what it did before is before this.
fn perform(x: &mut Execution<'_>, pending: &mut Pending) -> Result<(), Fault> {
    pending.performed = true;
    let function = x.function;
    let i = &function.instructions[pending.instruction as usize];
    let Some(what) = describe(i.opcode) else { return Ok(()) };
    if pending.lanes == 0 {
        return Ok(());
    }
    x.state.clocks.warp_sync(x.wave.place.wave, u32::MAX);
    let base = pending.addresses;
    for place in 0..usize::from(what.places) {
        if i.format == Format::Ds {
            let offset = if place == 0 { i.offset } else { i.offset2 };
            let offset = u64::from(offset as u32) * u64::from(what.unit);
            pending.addresses = base.map(|address| address.wrapping_add(offset));
            count_passes(x, i, &what, pending, place);
        }
        if let Err(fault) = super::transfer::transfer(x, i, &what, pending, place) {
            // The launch ends: what is at fault is this instruction, not the wait for it.
            x.wave.pc = pending.instruction;
            return Err(fault);
        }
    }
    if i.opcode == Opcode::ds_read_b64_tr_b16 {
        lane_exchange::transpose(&mut pending.data, &mut pending.defined);
    }
    Ok(())
}

/// Counts an access of LDS: an instruction with two places is one.
fn count_passes(
    x: &mut Execution<'_>,
    i: &Instruction,
    what: &What,
    pending: &Pending,
    place: usize,
) {
    let reads = matches!(what.action, Action::Load(_));
    let (bytes, lanes) = (what.bytes.into(), pending.lanes);
    let (passes, conflicts) =
        banks::passes(i.architecture, reads, bytes, lanes, &pending.addresses);
    let shared = &mut x.state.counters.shared;
    shared.instructions += u64::from(place == 0);
    shared.passes += passes;
    shared.conflicts += conflicts;
}

/// A half of the wave's addresses.
pub(super) fn half_of(values: &[u64; 64], half: usize) -> [u64; 32] {
    std::array::from_fn(|lane| values[32 * half + lane])
}
