//! Loads and stores.

use super::context::{Context, LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use super::function::{Access, Element, Window};
use super::instruction::{Execute, Flow, Op};
use super::peers::RANK_SHIFT;
use super::registers::{Cell, Registers};
use crate::memory::{self, AccessFault, Order};

/// `extra`: index of the access.
pub(super) struct Load;
pub(super) struct Store;

/// The lanes' addresses; those of lanes outside the mask mean nothing.
#[inline(always)]
pub(super) fn addresses(
    context: &mut Context<'_>,
    op: &Op,
    access: &Access,
    mask: u32,
) -> [u64; 32] {
    let Some(base) = access.base else { return [access.offset; 32] };
    let undefined = mask & !context.registers.valid(base);
    if undefined != 0 {
        context.note_undefined(op, undefined, "the address");
    }
    let registers = &*context.registers;
    let mut out = [0; 32];
    if access.wide_address {
        let from = u64::lanes(registers, base);
        for lane in 0..32 {
            out[lane] = from[lane].wrapping_add(access.offset);
        }
    } else {
        let from = u32::lanes(registers, base);
        for lane in 0..32 {
            out[lane] = from[lane].wrapping_add(access.offset as u32).into();
        }
    }
    out
}

/// Generic addresses of shared memory that name a block of the cluster.
const FIRST_PEER: u64 = SHARED_WINDOW + (1 << RANK_SHIFT);

/// The window that an address lies in, and where it starts.
fn window_of(address: u64) -> (Window, u64) {
    match address {
        ..SHARED_WINDOW => (Window::Global, 0),
        SHARED_WINDOW..FIRST_PEER => (Window::Shared, SHARED_WINDOW),
        FIRST_PEER..LOCAL_WINDOW => (Window::Cluster, SHARED_WINDOW),
        LOCAL_WINDOW..PARAMETER_WINDOW => (Window::Local, LOCAL_WINDOW),
        _ => (Window::Parameter, 0),
    }
}

/// Calls `each` for the lanes of each window, with addresses that count from its start.
pub(super) fn by_window(
    window: Window,
    addresses: &[u64; 32],
    mask: u32,
    mut each: impl FnMut(Window, &[u64; 32], u32) -> Result<(), AccessFault>,
) -> Result<(), AccessFault> {
    if window != Window::Generic {
        return each(window, addresses, mask);
    }
    let mut rest = mask;
    while rest != 0 {
        let (window, start) = window_of(addresses[rest.trailing_zeros() as usize]);
        let mut here = 0;
        for (lane, &address) in addresses.iter().enumerate() {
            here |= u32::from(window_of(address).0 == window) << lane;
        }
        here &= rest;
        rest &= !here;
        if start == 0 {
            each(window, addresses, here)?;
        } else {
            each(window, &addresses.map(|address| address.wrapping_sub(start)), here)?;
        }
    }
    Ok(())
}

pub(super) fn outside(lane: u32, address: u64, what: &str, bytes: usize) -> AccessFault {
    AccessFault::OutOfBounds { lane, address, message: format!("the {what} has {bytes} bytes") }
}

pub(super) fn lanes(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

/// Checks private addresses of the lanes.
fn check(
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    size: usize,
    what: &str,
) -> Result<(), AccessFault> {
    for lane in lanes(mask) {
        let address = addresses[lane as usize];
        if !address.is_multiple_of(bytes.into()) {
            return Err(AccessFault::Misaligned { lane, address });
        }
        if address.saturating_add(bytes.into()) > size as u64 {
            return Err(outside(lane, address, what, size));
        }
    }
    Ok(())
}

/// Reads `bytes` of each lane; gives the lanes all of whose bytes were written.
pub(super) fn read(
    context: &mut Context<'_>,
    window: Window,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    (order, place): (Order, u32),
) -> Result<u32, AccessFault> {
    let state = &mut *context.state;
    let warp = context.place.warp;
    let access = memory::Access { addresses, mask, bytes, order, warp, place };
    let (clocks, out, findings) = (&mut state.clocks, &mut *state.data, &mut state.findings);
    let range = |lane: u32| (lane * bytes) as usize..((lane + 1) * bytes) as usize;
    match window {
        Window::Global | Window::Generic => context.memory.load(clocks, &access, out, findings),
        Window::Shared => context.shared.load(clocks, &access, out, findings),
        Window::Cluster => {
            let mut written = 0;
            context.by_rank(addresses, mask, |region, state, addresses, mask| {
                let access = memory::Access { addresses, mask, bytes, order, warp, place };
                let (clocks, out) = (&mut state.clocks, &mut *state.data);
                written |= region.load(clocks, &access, out, &mut state.findings)?;
                Ok(())
            })?;
            Ok(written)
        }
        Window::Local => {
            check(addresses, mask, bytes, context.local.bytes(), "thread's local memory")?;
            let mut written = 0;
            for lane in lanes(mask) {
                let at = addresses[lane as usize] as usize;
                let whole = context.local.load(lane, at, &mut out[range(lane)]);
                written |= u32::from(whole) << lane;
            }
            Ok(written)
        }
        Window::Parameter => {
            let from = addresses.map(|address| address.wrapping_sub(PARAMETER_WINDOW));
            check(&from, mask, bytes, state.parameters.len(), "kernel's parameters")?;
            for lane in lanes(mask) {
                let at = from[lane as usize] as usize;
                out[range(lane)].copy_from_slice(&state.parameters[at..at + bytes as usize]);
            }
            Ok(mask)
        }
    }
}

pub(super) fn write(
    context: &mut Context<'_>,
    window: Window,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    (order, place): (Order, u32),
    defined: u32,
) -> Result<(), AccessFault> {
    let state = &mut *context.state;
    let warp = context.place.warp;
    let access = memory::Access { addresses, mask, bytes, order, warp, place };
    let (clocks, data, findings) = (&mut state.clocks, &*state.data, &mut state.findings);
    match window {
        Window::Global | Window::Generic => {
            context.memory.store(clocks, &access, data, defined, findings)
        }
        Window::Shared => context.shared.store(clocks, &access, data, defined, findings),
        Window::Cluster => context.by_rank(addresses, mask, |region, state, addresses, mask| {
            let access = memory::Access { addresses, mask, bytes, order, warp, place };
            let (clocks, data) = (&mut state.clocks, &*state.data);
            region.store(clocks, &access, data, defined, &mut state.findings)
        }),
        Window::Local => {
            check(addresses, mask, bytes, context.local.bytes(), "thread's local memory")?;
            for lane in lanes(mask) {
                let range = (lane * bytes) as usize..((lane + 1) * bytes) as usize;
                let at = addresses[lane as usize] as usize;
                context.local.store(lane, at, &data[range], defined >> lane & 1 == 1);
            }
            Ok(())
        }
        Window::Parameter => {
            let lane = mask.trailing_zeros();
            Err(outside(
                lane,
                addresses[lane as usize],
                "kernel's parameter space is constant and",
                0,
            ))
        }
    }
}

/// The lanes' values of one element from the data, `stride` bytes apart, from `at` in each.
#[inline(always)]
fn gather<const BYTES: usize>(data: &[u8; 512], stride: usize, at: usize) -> [[u8; BYTES]; 32] {
    let mut out = [[0; BYTES]; 32];
    for lane in 0..32 {
        let from = &data[lane * stride + at..][..BYTES];
        out[lane].copy_from_slice(from);
    }
    out
}

#[inline(always)]
fn put_element(
    registers: &mut Registers,
    element: Element,
    (bytes, signed): (u32, bool),
    data: &[u8; 512],
    (stride, at): (usize, usize),
    mask: u32,
    valid: u32,
) {
    let Some(slot) = element.slot else { return };
    let narrow: [u32; 32] = match (bytes, signed) {
        (8, _) => {
            let wide = match stride {
                8 => gather::<8>(data, 8, 0),
                _ => gather::<8>(data, 16, at),
            };
            registers.write(slot, mask, &wide.map(u64::from_le_bytes), valid);
            return;
        }
        (4, _) => match stride {
            4 => gather::<4>(data, 4, 0),
            8 => gather::<4>(data, 8, at),
            _ => gather::<4>(data, 16, at),
        }
        .map(u32::from_le_bytes),
        (2, false) => gather::<2>(data, stride, at).map(|b| u16::from_le_bytes(b).into()),
        (2, true) => gather::<2>(data, stride, at).map(|b| i16::from_le_bytes(b) as u32),
        (_, false) => gather::<1>(data, stride, at).map(|[b]| b.into()),
        (_, true) => gather::<1>(data, stride, at).map(|[b]| b as i8 as u32),
    };
    if element.wide {
        let wide = match signed {
            true => narrow.map(|value| i64::from(value as i32) as u64),
            false => narrow.map(u64::from),
        };
        registers.write(slot, mask, &wide, valid);
    } else {
        registers.write(slot, mask, &narrow, valid);
    }
}

impl Execute for Load {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let access = &function.accesses[op.extra as usize];
        let bytes = access.bytes;
        let total = bytes * access.elements.len() as u32;
        let base = addresses(context, op, access, mask);
        let mut written = 0;
        let how = (access.order, function.place(op));
        let result = by_window(access.window, &base, mask, |window, addresses, mask| {
            written |= read(context, window, addresses, mask, total, how)?;
            Ok(())
        });
        if let Err(fault) = result {
            return context.access_fault(fault, total);
        }
        let shape = (bytes, access.signed);
        for (number, &element) in access.elements.iter().enumerate() {
            let place = (total as usize, number * bytes as usize);
            let data = &*context.state.data;
            put_element(context.registers, element, shape, data, place, mask, written);
        }
        if access.elements.len() > 1
            && written & mask != mask
            && let Err(fault) = reload(context, op, access, &base, mask & !written)
        {
            return context.access_fault(fault, total);
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

/// Reads element by element, to tell which of them were written.
#[cold]
fn reload(
    context: &mut Context<'_>,
    op: &Op,
    access: &Access,
    base: &[u64; 32],
    mask: u32,
) -> Result<(), AccessFault> {
    let bytes = access.bytes;
    for (number, &element) in access.elements.iter().enumerate() {
        let at = base.map(|address| address.wrapping_add(number as u64 * u64::from(bytes)));
        by_window(access.window, &at, mask, |window, addresses, mask| {
            let how = (access.order, context.function.place(op));
            let written = read(context, window, addresses, mask, bytes, how)?;
            let data = &*context.state.data;
            let (shape, place) = ((bytes, access.signed), (bytes as usize, 0));
            put_element(context.registers, element, shape, data, place, mask, written);
            Ok(())
        })?;
    }
    Ok(())
}

#[inline(always)]
fn scatter<const BYTES: usize>(
    data: &mut [u8; 512],
    values: [[u8; BYTES]; 32],
    stride: usize,
    at: usize,
) {
    for lane in 0..32 {
        data[lane * stride + at..][..BYTES].copy_from_slice(&values[lane]);
    }
}

#[inline(always)]
fn take_element(
    registers: &Registers,
    element: Element,
    bytes: u32,
    data: &mut [u8; 512],
    (stride, at): (usize, usize),
) {
    let Some(slot) = element.slot else { return };
    if element.wide {
        let wide = u64::lanes(registers, slot);
        match stride {
            8 => scatter(data, wide.map(u64::to_le_bytes), 8, 0),
            _ => scatter(data, wide.map(u64::to_le_bytes), 16, at),
        }
        return;
    }
    let narrow = u32::lanes(registers, slot);
    match (bytes, stride) {
        (4, 4) => scatter(data, narrow.map(u32::to_le_bytes), 4, 0),
        (4, 8) => scatter(data, narrow.map(u32::to_le_bytes), 8, at),
        (4, _) => scatter(data, narrow.map(u32::to_le_bytes), 16, at),
        (2, _) => scatter(data, narrow.map(|v| (v as u16).to_le_bytes()), stride, at),
        _ => scatter(data, narrow.map(|v| [v as u8]), stride, at),
    }
}

impl Execute for Store {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let access = &function.accesses[op.extra as usize];
        let bytes = access.bytes;
        let total = bytes * access.elements.len() as u32;
        let base = addresses(context, op, access, mask);
        let mut defined = u32::MAX;
        for (number, &element) in access.elements.iter().enumerate() {
            let place = (total as usize, number * bytes as usize);
            take_element(context.registers, element, bytes, &mut context.state.data, place);
            defined &= element.slot.map_or(0, |slot| context.registers.valid(slot));
        }
        let result = if mask & !defined != 0 {
            store_undefined(context, op, access, &base, mask)
        } else {
            by_window(access.window, &base, mask, |window, addresses, mask| {
                let how = (access.order, function.place(op));
                write(context, window, addresses, mask, total, how, u32::MAX)
            })
        };
        if let Err(fault) = result {
            return context.access_fault(fault, total);
        }
        if !context.state.findings.is_empty() {
            context.note_races(op);
        }
        Flow::Next
    }
}

/// Stores element by element, those that are not defined as such.
#[cold]
fn store_undefined(
    context: &mut Context<'_>,
    op: &Op,
    access: &Access,
    base: &[u64; 32],
    mask: u32,
) -> Result<(), AccessFault> {
    let bytes = access.bytes;
    for (number, &element) in access.elements.iter().enumerate() {
        let at = base.map(|address| address.wrapping_add(number as u64 * u64::from(bytes)));
        let defined = element.slot.map_or(0, |slot| context.registers.valid(slot));
        by_window(access.window, &at, mask, |window, addresses, mask| {
            if window == Window::Global && mask & !defined != 0 {
                context.note_undefined(op, mask & !defined, "the value stored to global memory");
            }
            let data = &mut context.state.data;
            take_element(context.registers, element, bytes, data, (bytes as usize, 0));
            let how = (access.order, context.function.place(op));
            write(context, window, addresses, mask, bytes, how, defined)
        })?;
    }
    Ok(())
}

/// `fence`, `membar`.
pub(super) struct Fence;

impl Execute for Fence {
    fn execute(context: &mut Context<'_>, _: &Op, _: u32) -> Flow {
        context.state.clocks.fence(context.place.warp);
        Flow::Next
    }
}

/// What has no effect that could be seen: prefetches, hints.
pub(super) struct Nothing;

impl Execute for Nothing {
    fn execute(_: &mut Context<'_>, _: &Op, _: u32) -> Flow {
        Flow::Next
    }
}
