//! Bulk copies (PTX ISA, "cp.async.bulk", "cp.async.bulk.tensor"): what the issuing thread does.

use super::context::Context;
use super::copy_engine::Then;
use super::function::{Access, Window};
use super::instruction::{Execute, Flow, Op};
use super::ops_memory::{addresses, by_window, lanes, read};
use super::registers::Cell;
use super::tensor::TensorMap;
use super::transfer::{CHUNK, Piece, Side, Transfer};
use crate::memory::Order;
use crate::report::Kind;
use crate::tensor_map;

/// Which way a bulk copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From global memory to shared memory, and an mbarrier.
    Load,
    /// From shared memory to global memory, in a group.
    Store,
    /// From the block's shared memory to another block's, and an mbarrier there.
    Share,
    /// Global memory to the L2 cache: no effect.
    Prefetch,
}

/// A bulk copy as it is written.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    pub(super) direction: Direction,
    /// In shared memory; of `Share`, the destination.
    pub(super) near: Option<Access>,
    /// In global memory, or the tensor map; of `Share`, the source.
    pub(super) far: Access,
    /// Of a tensor: slots.
    pub(super) coordinates: Option<Vec<u32>>,
    /// Otherwise, the slot of the bytes.
    pub(super) bytes: Option<u32>,
    pub(super) barrier: Option<Access>,
    /// `.multicast::cluster`: the slot of the blocks' ranks.
    pub(super) multicast: Option<u32>,
}

/// Alignment of a box in shared memory, and of a tensor map.
const BOX_ALIGNMENT: u32 = 128;
const MAP_ALIGNMENT: u64 = 64;

/// `extra`: the bulk copy.
pub(super) struct BulkCopy;

impl Execute for BulkCopy {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let bulk = &function.bulks[op.extra as usize];
        let mut undefined = 0;
        let operands = bulk.coordinates.iter().flatten().chain(&bulk.bytes).chain(&bulk.multicast);
        for &slot in operands {
            undefined |= mask & !context.registers.valid(slot);
        }
        if undefined != 0 {
            context.note_undefined(op, undefined, "an operand of the copy");
        }
        let mut named = |access: Option<&Access>| match access {
            Some(access) => addresses(context, op, access, mask),
            None => [0; 32],
        };
        let all = [named(bulk.near.as_ref()), named(Some(&bulk.far)), named(bulk.barrier.as_ref())];
        for lane in lanes(mask) {
            let one = all.map(|addresses| addresses[lane as usize]);
            if let Err(flow) = copy(context, op, bulk, lane, one) {
                return flow;
            }
        }
        Flow::Next
    }
}

fn copy(
    context: &mut Context<'_>,
    op: &Op,
    bulk: &Bulk,
    lane: u32,
    [near, far, barrier]: [u64; 3],
) -> Result<(), Flow> {
    let map = match &bulk.coordinates {
        Some(_) => Some(tensor_map(context, op, bulk, lane, far)?),
        None => None,
    };
    let bytes = match (&map, bulk.bytes) {
        (Some(map), _) => map.box_bytes() as u32,
        (None, Some(slot)) => u32::lanes(context.registers, slot)[lane as usize],
        (None, None) => 0,
    };
    if !(bytes as usize).is_multiple_of(CHUNK) {
        let message = format!("{bytes} bytes are copied, no multiple of {CHUNK}");
        return Err(context.fault(Kind::Copy, Some(lane), message));
    }
    let pieces = match (&map, bulk.direction) {
        (_, Direction::Share) => Vec::new(),
        (Some(map), _) => map.pieces(&coordinates(context, bulk, lane)),
        (None, _) => vec![whole(context, bulk, lane, far, bytes)?],
    };
    let Some(access) = bulk.near.as_ref().filter(|_| bulk.direction != Direction::Prefetch) else {
        return Ok(());
    };
    let alignment = if map.is_some() { BOX_ALIGNMENT } else { CHUNK as u32 };
    let (rank, offset) = context.locate(access.window, lane, near, alignment)?;
    let offsets = match &map {
        Some(map) => map.chunks(offset),
        None => (0..bytes as usize / CHUNK).map(|at| offset + (at * CHUNK) as u64).collect(),
    };
    let data = map.map_or_else(|| vec![0; bytes as usize], |map| map.filled());
    let global = Side::Global(pieces);
    let (from, to, then) = match (bulk.direction, &bulk.barrier) {
        (Direction::Load | Direction::Share, Some(access)) => {
            let place = context.locate(access.window, lane, barrier, 8)?;
            let ranks = ranks(context, bulk, lane, rank, place.0)?;
            let barriers: Vec<_> = ranks.iter().map(|&rank| (rank, place.1)).collect();
            for &place in &barriers {
                context.use_mbarrier(op, lane, place)?;
            }
            let from = match bulk.direction {
                Direction::Share => own_chunks(context, bulk, lane, far, bytes)?,
                _ => global,
            };
            (from, Side::Shared { ranks, offsets }, Then::Barriers(barriers))
        }
        _ => {
            let group = context.engine.group(context.place.warp, lane);
            (Side::Shared { ranks: vec![rank], offsets }, global, Then::Group(group))
        }
    };
    if bytes == 0 {
        return Ok(());
    }
    let origin = context.origin(op, lane);
    let turn = context.engine.next_turn();
    let copier = context.state.clocks.copier(context.place.block_number, turn);
    context.state.clocks.employ(copier, context.place.warp);
    let transfer = Transfer::new(copier, from, to, data, then);
    let (engine, mut world) = context.world();
    let issued = engine.issue(&mut world, origin, transfer);
    issued.map_err(|fault| context.stop(super::context::Action::Fault(fault)))
}

fn coordinates(context: &Context<'_>, bulk: &Bulk, lane: u32) -> Vec<i32> {
    let slots = bulk.coordinates.iter().flatten();
    slots.map(|&slot| u32::lanes(context.registers, slot)[lane as usize] as i32).collect()
}

/// The run of global memory that a copy without a tensor is of.
fn whole(
    context: &mut Context<'_>,
    bulk: &Bulk,
    lane: u32,
    address: u64,
    bytes: u32,
) -> Result<Piece, Flow> {
    let room = context.memory.find(address).map_or(0, |(start, size)| start + size - address);
    if !address.is_multiple_of(CHUNK as u64) {
        let message = format!("{address:#x} is no multiple of {CHUNK}");
        return Err(context.fault(Kind::Misaligned, Some(lane), message));
    }
    if bulk.direction == Direction::Prefetch && room < bytes.into() {
        let message = format!("{bytes} bytes at {address:#x}: {room} are there");
        return Err(context.fault(Kind::OutOfBounds, Some(lane), message));
    }
    Ok(Piece { address, at: 0, bytes })
}

/// The source of a copy between blocks.
fn own_chunks(
    context: &mut Context<'_>,
    bulk: &Bulk,
    lane: u32,
    address: u64,
    bytes: u32,
) -> Result<Side, Flow> {
    let (rank, offset) = context.locate(bulk.far.window, lane, address, CHUNK as u32)?;
    let offsets = (0..bytes as usize / CHUNK).map(|at| offset + (at * CHUNK) as u64);
    Ok(Side::Shared { ranks: vec![rank], offsets: offsets.collect() })
}

/// The blocks a copy goes to.
fn ranks(
    context: &mut Context<'_>,
    bulk: &Bulk,
    lane: u32,
    rank: u32,
    barrier_rank: u32,
) -> Result<Vec<u32>, Flow> {
    if barrier_rank != rank {
        let message =
            format!("the mbarrier is of block {barrier_rank}, the destination of block {rank}");
        return Err(context.fault(Kind::Copy, Some(lane), message));
    }
    let Some(slot) = bulk.multicast else { return Ok(vec![rank]) };
    let mask = u32::lanes(context.registers, slot)[lane as usize] & 0xFFFF;
    let blocks = context.peers.blocks();
    if mask == 0 || mask >> blocks != 0 {
        let message = format!("multicast to the blocks {mask:#b} of a cluster of {blocks}");
        return Err(context.fault(Kind::Copy, Some(lane), message));
    }
    let ranks: Vec<u32> = lanes(mask).collect();
    if let Some(&gone) = ranks.iter().find(|&&rank| context.peers.exited >> rank & 1 == 1) {
        let message = format!("block {gone} of the cluster has exited");
        return Err(context.fault(Kind::OutOfBounds, Some(lane), message));
    }
    Ok(ranks)
}

/// The tensor map at a generic address.
fn tensor_map(
    context: &mut Context<'_>,
    op: &Op,
    bulk: &Bulk,
    lane: u32,
    address: u64,
) -> Result<TensorMap, Flow> {
    if !address.is_multiple_of(MAP_ALIGNMENT) {
        let message = format!("the tensor map at {address:#x} is no multiple of {MAP_ALIGNMENT}");
        return Err(context.fault(Kind::Misaligned, Some(lane), message));
    }
    // As eight lanes read 16 bytes each.
    const LANES: u32 = (tensor_map::BYTES / CHUNK) as u32;
    let addresses = std::array::from_fn(|at| address.wrapping_add((at % 8 * CHUNK) as u64));
    let how = (Order::Weak, context.function.place(op));
    let mut written = 0;
    let mask = (1 << LANES) - 1;
    let done = by_window(Window::Generic, &addresses, mask, |window, addresses, mask| {
        written |= read(context, window, addresses, mask, CHUNK as u32, how)?;
        Ok(())
    });
    done.map_err(|why| context.access_fault(why, CHUNK as u32))?;
    if written != mask {
        context.note_undefined(op, 1 << lane, "the tensor map");
    }
    let mut bytes = [0; tensor_map::BYTES];
    bytes.copy_from_slice(&context.state.data[..tensor_map::BYTES]);
    let rank = bulk.coordinates.as_ref().map_or(0, Vec::len);
    let map = TensorMap::decode(&bytes).and_then(|map| match map.rank == rank || rank == 0 {
        true => Ok(map),
        false => Err(format!("the tensor map has rank {}, the copy {rank}", map.rank)),
    });
    map.map_err(|why| {
        context.fault(Kind::Copy, Some(lane), format!("tensor map at {address:#x}: {why}"))
    })
}

/// `cp.async.bulk.commit_group`.
pub(super) struct CommitBulk;

impl Execute for CommitBulk {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        lanes(mask).for_each(|lane| context.engine.commit(context.place.warp, lane));
        Flow::Next
    }
}

/// `cp.async.bulk.wait_group`: `extra` groups may be left; with `a` 1, it is enough that they were read.
pub(super) struct WaitBulk;

impl Execute for WaitBulk {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let warp = context.place.warp;
        for lane in lanes(mask) {
            let (engine, mut world) = context.world();
            let (left, reading) = (op.extra as u32, op.a == 1);
            let waited = engine.wait_groups(&mut world, (warp, lane), left, reading);
            if let Err(fault) = waited {
                return context.stop(super::context::Action::Fault(fault));
            }
        }
        Flow::Next
    }
}

/// `fence.proxy.async`.
pub(super) struct ProxyFence;

impl Execute for ProxyFence {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        context.state.clocks.proxy_fence(context.place.warp, mask);
        Flow::Next
    }
}
