//! The address space: fenced allocations, host copies, a kernel's accesses by address.

use super::region::{Access, AccessFault, Finding};
use super::{Clocks, Traffic};

/// What the host's calls can get wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryError {
    /// Not enough left.
    OutOfMemory,
    /// Not within one allocation; the text has the numbers.
    Address(String),
}

/// The memory of one device.
#[derive(Debug)]
pub struct Memory {}

impl Memory {
    /// An empty address space from `base`, of `capacity` bytes.
    pub fn new(_base: u64, _capacity: u64) -> Memory {
        todo!()
    }

    /// A new allocation, aligned to 256 bytes, with unmapped addresses around it (at least 4 KiB,
    /// and never an address that an earlier, freed allocation had).
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn allocate(&mut self, _bytes: u64) -> Result<u64, MemoryError> {
        todo!()
    }

    /// Unmaps an allocation.
    ///
    /// # Errors
    ///
    /// `Address` if no allocation starts there.
    pub fn free(&mut self, _address: u64) -> Result<(), MemoryError> {
        todo!()
    }

    /// The allocation that holds the address: its start and size.
    pub fn find(&self, _address: u64) -> Option<(u64, u64)> {
        todo!()
    }

    /// The host writes.
    ///
    /// # Errors
    ///
    /// `Address`; nothing was written.
    pub fn write(&mut self, _address: u64, _bytes: &[u8]) -> Result<(), MemoryError> {
        todo!()
    }

    /// The host reads. Never-written bytes read as 0xFF.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn read(&self, _address: u64, _bytes: &mut [u8]) -> Result<(), MemoryError> {
        todo!()
    }

    /// The host fills with a repeated pattern of 1, 2 or 4 bytes.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn fill(&mut self, _address: u64, _pattern: &[u8], _count: u64) -> Result<(), MemoryError> {
        todo!()
    }

    /// Copies within the device; bytes that were never written stay so.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn copy(&mut self, _to: u64, _from: u64, _bytes: u64) -> Result<(), MemoryError> {
        todo!()
    }

    /// The number of the next launch, and traffic counts from zero.
    pub fn begin_launch(&mut self) -> u32 {
        todo!()
    }

    /// The traffic since [`Memory::begin_launch`], over all allocations.
    pub fn traffic(&self) -> Traffic {
        todo!()
    }

    /// The traffic of each allocation touched: its start, and the counts.
    pub fn traffic_by_allocation(&self) -> Vec<(u64, Traffic)> {
        todo!()
    }

    /// As [`Region::load`](super::Region::load), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
    pub fn load(
        &mut self,
        _clocks: &mut Clocks,
        _access: &Access<'_>,
        _out: &mut [u8; 512],
        _findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        todo!()
    }

    /// As [`Region::store`](super::Region::store), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
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

    /// As [`Region::atomic`](super::Region::atomic), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
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
