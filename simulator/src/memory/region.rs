//! Bytes with their history.

use super::{Clocks, Stamp};

/// The order that a memory instruction asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// An ordinary access.
    Weak,
    /// Volatile, relaxed, and atomics without an order: never races with another strong access.
    Relaxed,
    /// Strong, and what the location carries is known afterwards.
    Acquire,
    /// Strong, and the location carries what was done before.
    Release,
    /// Both.
    AcquireRelease,
}

/// One memory instruction of one warp.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// By lane; shared memory counts from the start of the block's window.
    pub addresses: &'a [u64; 32],
    /// The lanes that take part.
    pub mask: u32,
    /// Bytes of each lane: 1, 2, 4, 8 or 16.
    pub bytes: u32,
    /// Its order.
    pub order: Order,
    /// The warp's number in the grid.
    pub warp: u64,
}

/// Why an access did not happen.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessFault {
    /// Outside, with a text that says where the nearest memory lies.
    OutOfBounds { lane: u32, address: u64, message: String },
    /// No multiple of its size.
    Misaligned { lane: u32, address: u64 },
}

/// A race that an access took part in.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The lane of the access.
    pub lane: u32,
    /// The place.
    pub address: u64,
    /// The earlier access it is not ordered with, in words: `write by block 3 warp 2 lane 5`.
    pub message: String,
}

/// A run of bytes with stamps: an allocation, or a block's shared memory.
#[derive(Debug)]
pub struct Region {
    _stamp: Stamp,
}

impl Region {
    /// Bytes that were never written. Physical memory is taken as it is touched.
    pub fn new(_bytes: u64) -> Region {
        todo!()
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// Forgets contents and history: the next block's shared memory.
    pub fn reset(&mut self) {
        todo!()
    }

    /// Reads; lane `l` comes to `out[l * bytes..]`. Never-written bytes read as 0xFF.
    ///
    /// Returns the lanes (of the mask) all of whose bytes were written. Lanes outside the mask are
    /// left as they are.
    ///
    /// # Errors
    ///
    /// A fault; nothing was read.
    pub fn load(
        &mut self,
        _clocks: &mut Clocks,
        _access: &Access<'_>,
        _out: &mut [u8; 512],
        _findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        todo!()
    }

    /// Writes `data[l * bytes..]` of each lane. Lanes not in `defined` leave their bytes as good as
    /// never written.
    ///
    /// # Errors
    ///
    /// A fault; nothing was written.
    pub fn store(
        &mut self,
        _clocks: &mut Clocks,
        _access: &Access<'_>,
        _data: &[u8; 512],
        _defined: u32,
        _findings: &mut Vec<Finding>,
    ) -> Result<(), AccessFault> {
        todo!()
    }

    /// One atomic for each lane in `lanes` order: `update(lane, bytes)` sees the old bytes and
    /// changes them in place. Returns the lanes whose old bytes were written before.
    ///
    /// # Errors
    ///
    /// A fault; nothing was changed.
    pub fn atomic(
        &mut self,
        _clocks: &mut Clocks,
        _access: &Access<'_>,
        _lanes: &[u32],
        _update: &mut dyn FnMut(u32, &mut [u8]),
        _findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        todo!()
    }
}
