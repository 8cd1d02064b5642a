//! Shared memory of the other blocks of a cluster (PTX ISA, "Shared State Space").
//!
//! An address of `.shared::cluster` is an offset in a block's shared memory, and above it that block's
//! rank plus one. Without a rank it is the executing block's own.

use super::Program;
use super::context::{Context, LOCAL_WINDOW, SHARED_WINDOW, State};
use super::copy_engine::CopyEngine;
use super::function::Window;
use super::instruction::Flow;
use crate::memory::{AccessFault, Memory, Region};

/// The bits of an address below the rank.
pub(super) const RANK_SHIFT: u32 = 24;
/// The most blocks of a cluster that every device must have.
pub(crate) const MOST_BLOCKS: u32 = 8;

/// The offset and the rank, if one is named.
pub(super) fn split(address: u64) -> (u64, Option<u32>) {
    let rank = (address >> RANK_SHIFT) as u32;
    (address & ((1 << RANK_SHIFT) - 1), rank.checked_sub(1))
}

/// A block's place in its cluster, and the others' shared memory.
#[derive(Debug)]
pub(super) struct Peers<'a> {
    pub(super) rank: u32,
    pub(super) before: &'a mut [Region],
    pub(super) after: &'a mut [Region],
    /// The blocks' numbers in the grid.
    pub(super) numbers: &'a [u64],
    /// Bits of the blocks that have exited.
    pub(super) exited: u32,
    /// Whether the launch or the kernel asks for clusters.
    pub(super) explicit: bool,
}

/// The shared memory of all blocks of a cluster.
pub(super) struct Regions<'a> {
    rank: usize,
    own: &'a mut Region,
    before: &'a mut [Region],
    after: &'a mut [Region],
}

impl<'a> Regions<'a> {
    pub(super) fn new(peers: &'a mut Peers<'_>, own: &'a mut Region) -> Regions<'a> {
        let Peers { rank, before, after, .. } = peers;
        Regions { rank: *rank as usize, own, before, after }
    }

    /// Of all blocks, none of which executes. There is one at least.
    pub(super) fn of_all(all: &'a mut [Region]) -> Option<Regions<'a>> {
        let (own, after) = all.split_first_mut()?;
        Some(Regions { rank: 0, own, before: &mut [], after })
    }

    pub(super) fn get(&mut self, rank: u32) -> &mut Region {
        let rank = rank as usize;
        match rank.cmp(&self.rank) {
            std::cmp::Ordering::Less => &mut self.before[rank],
            std::cmp::Ordering::Equal => self.own,
            std::cmp::Ordering::Greater => &mut self.after[rank - self.rank - 1],
        }
    }
}

impl Peers<'_> {
    /// The same for a shorter time.
    pub(super) fn again(&mut self) -> Peers<'_> {
        let Peers { rank, before, after, numbers, exited, explicit } = self;
        let (rank, exited, explicit) = (*rank, *exited, *explicit);
        Peers { rank, before, after, numbers, exited, explicit }
    }

    pub(super) fn blocks(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// The rank that an address names, which must be there.
    pub(super) fn locate(&self, lane: u32, address: u64) -> Result<(u32, u64), AccessFault> {
        let (offset, rank) = split(address);
        let rank = rank.unwrap_or(self.rank);
        let fault = |message| Err(AccessFault::OutOfBounds { lane, address, message });
        if rank >= self.blocks() {
            return fault(format!("block {rank} of a cluster of {}", self.blocks()));
        }
        if self.exited >> rank & 1 == 1 {
            return fault(format!("block {rank} of the cluster has exited"));
        }
        Ok((rank, offset))
    }
}

/// What asynchronous copies read and write.
pub(super) struct World<'a> {
    pub(super) program: &'a Program,
    pub(super) memory: &'a mut Memory,
    pub(super) state: &'a mut State,
    pub(super) regions: Regions<'a>,
}

impl Context<'_> {
    /// The asynchronous machinery, and what it works on.
    pub(super) fn world(&mut self) -> (&mut CopyEngine, World<'_>) {
        let world = World {
            program: self.program,
            memory: self.memory,
            state: self.state,
            regions: Regions::new(&mut self.peers, self.shared),
        };
        (self.engine, world)
    }

    /// The block's rank and the offset that a lane's address of shared memory means.
    pub(super) fn locate(
        &mut self,
        window: Window,
        lane: u32,
        address: u64,
        alignment: u32,
    ) -> Result<(u32, u64), Flow> {
        let message = String::from("it is no address of shared memory");
        let outside = AccessFault::OutOfBounds { lane, address, message };
        let place = match window {
            Window::Shared => Ok((self.peers.rank, address)),
            Window::Cluster => self.peers.locate(lane, address),
            Window::Generic if (SHARED_WINDOW..LOCAL_WINDOW).contains(&address) => {
                self.peers.locate(lane, address - SHARED_WINDOW)
            }
            _ => Err(outside),
        };
        let place = place.and_then(|(rank, offset)| {
            let size = self.shared.bytes();
            if !offset.is_multiple_of(alignment.into()) {
                return Err(AccessFault::Misaligned { lane, address });
            }
            if offset >= size {
                let message = format!("block {rank} has {size} bytes of shared memory");
                return Err(AccessFault::OutOfBounds { lane, address, message });
            }
            Ok((rank, offset))
        });
        place.map_err(|why| self.access_fault(why, alignment))
    }

    /// Calls `each` for the lanes of each block that addresses of the cluster's shared memory name.
    pub(super) fn by_rank(
        &mut self,
        addresses: &[u64; 32],
        mask: u32,
        mut each: impl FnMut(&mut Region, &mut State, &[u64; 32], u32) -> Result<(), AccessFault>,
    ) -> Result<(), AccessFault> {
        let mut rest = mask;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let (rank, _) = self.peers.locate(lane, addresses[lane as usize])?;
            let mut here = 0;
            for (lane, &address) in addresses.iter().enumerate() {
                let named = split(address).1.unwrap_or(self.peers.rank);
                here |= u32::from(named == rank) << lane;
            }
            here &= rest;
            rest &= !here;
            let offsets = addresses.map(|address| split(address).0);
            let mut regions = Regions::new(&mut self.peers, self.shared);
            each(regions.get(rank), self.state, &offsets, here)?;
        }
        Ok(())
    }
}
