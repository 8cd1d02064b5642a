//! Addresses of the shared memory of a cluster's blocks (PTX ISA, "mapa", "getctarank").

use super::context::{Context, LOCAL_WINDOW, SHARED_WINDOW};
use super::instruction::{Execute, Flow, Op};
use super::ops_memory::lanes;
use super::peers::{RANK_SHIFT, split};
use super::registers::Cell;
use crate::report::Kind;

fn values(context: &Context<'_>, slot: u32, wide: bool) -> [u64; 32] {
    match wide {
        true => *u64::lanes(context.registers, slot),
        false => u32::lanes(context.registers, slot).map(u64::from),
    }
}

/// The lanes' addresses within the cluster's shared memory, without a generic address's window.
fn within(
    context: &mut Context<'_>,
    addresses: [u64; 32],
    mask: u32,
    generic: bool,
) -> Result<[u64; 32], Flow> {
    if !generic {
        return Ok(addresses);
    }
    let outside = |address: &u64| !(SHARED_WINDOW..LOCAL_WINDOW).contains(address);
    if let Some(lane) = lanes(mask).find(|&lane| outside(&addresses[lane as usize])) {
        let message = format!("{:#x} is no address of shared memory", addresses[lane as usize]);
        return Err(context.fault(Kind::OutOfBounds, Some(lane), message));
    }
    Ok(addresses.map(|address| address.wrapping_sub(SHARED_WINDOW)))
}

/// `mapa`: `a` is the address, `b` the rank; `c` 1: of 64 bits; `extra` 1: generic.
pub(super) struct MapAddress;

impl Execute for MapAddress {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let (wide, generic) = (op.c == 1, op.extra == 1);
        let addresses = values(context, op.a, wide);
        let addresses = match within(context, addresses, mask, generic) {
            Ok(addresses) => addresses,
            Err(flow) => return flow,
        };
        let ranks = *u32::lanes(context.registers, op.b);
        let blocks = context.peers.blocks();
        if let Some(lane) = lanes(mask).find(|&lane| ranks[lane as usize] >= blocks) {
            let message = format!("block {} of a cluster of {blocks}", ranks[lane as usize]);
            return context.fault(Kind::OutOfBounds, Some(lane), message);
        }
        let base = if generic { SHARED_WINDOW } else { 0 };
        let mapped: [u64; 32] = std::array::from_fn(|lane| {
            let rank = u64::from(ranks[lane].wrapping_add(1) & 0xFF);
            base + (split(addresses[lane]).0 | rank << RANK_SHIFT)
        });
        let valid = context.registers.valid(op.a) & context.registers.valid(op.b);
        match wide {
            true => context.registers.write(op.d, mask, &mapped, valid),
            false => context.registers.write(op.d, mask, &mapped.map(|at| at as u32), valid),
        }
        Flow::Next
    }
}

/// `getctarank`: `a` is the address; `b` 1: of 64 bits; `c` 1: generic.
pub(super) struct RankOf;

impl Execute for RankOf {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let addresses = values(context, op.a, op.b == 1);
        let addresses = match within(context, addresses, mask, op.c == 1) {
            Ok(addresses) => addresses,
            Err(flow) => return flow,
        };
        let own = context.peers.rank;
        let ranks = addresses.map(|address| split(address).1.unwrap_or(own));
        let valid = context.registers.valid(op.a);
        context.registers.write(op.d, mask, &ranks, valid);
        Flow::Next
    }
}

/// `%is_explicit_cluster`, to the predicate `d`.
pub(super) struct IsExplicit;

impl Execute for IsExplicit {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let value = if context.peers.explicit { u32::MAX } else { 0 };
        context.registers.write_predicate(op.d, mask, value, u32::MAX);
        Flow::Next
    }
}
