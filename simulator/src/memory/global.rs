//! The address space: fenced allocations, host copies, a kernel's accesses by address.

use std::sync::Arc;

use super::region::{Access, AccessFault, Finding, Region, where_outside};
use super::shape::Shape;
use super::streams::{Known, Now, Timeline, Work};
use super::window::other_device;
use super::{Clocks, Traffic};

/// What the host's calls can get wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryError {
    /// Not enough left.
    OutOfMemory,
    /// Not within one allocation; the text has the numbers.
    Address(String),
}

const ALIGNMENT: u64 = 256;
/// Unmapped bytes after an allocation, at least.
const GAP: u64 = 4096;
/// Bytes that a copy within the device moves at a time.
const COPY: u64 = 1 << 20;
/// Device addresses have 47 bits.
const END: u64 = 1 << 47;

#[derive(Debug)]
struct Allocation {
    start: u64,
    region: Region,
}

/// The memory of one device.
#[derive(Debug)]
pub struct Memory {
    /// By address.
    allocations: Vec<Allocation>,
    /// Freed allocations by address: start and size.
    freed: Vec<(u64, u64)>,
    /// Where the next allocation goes. Addresses are not given twice.
    next: u64,
    used: u64,
    capacity: u64,
    /// The number of the last work.
    launch: u32,
    /// Whether the driver told of it, so that the next launch is it.
    announced: bool,
    timeline: Arc<Timeline>,
    instructions: u64,
    /// The allocation last accessed.
    last: usize,
}

impl Memory {
    /// An empty address space from `base`, of `capacity` bytes.
    pub fn new(base: u64, capacity: u64) -> Memory {
        Memory {
            allocations: Vec::new(),
            freed: Vec::new(),
            next: base.next_multiple_of(ALIGNMENT),
            used: 0,
            capacity,
            launch: 0,
            announced: false,
            timeline: Arc::default(),
            instructions: 0,
            last: 0,
        }
    }

    /// A new allocation, aligned to 256 bytes, with unmapped addresses around it (at least 4 KiB,
    /// and never an address that an earlier, freed allocation had).
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn allocate(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        let start = self.next;
        if bytes > self.capacity - self.used || bytes > END.saturating_sub(start) {
            return Err(MemoryError::OutOfMemory);
        }
        let region = Region::global(bytes).ok_or(MemoryError::OutOfMemory)?;
        self.next = (start + bytes + GAP).next_multiple_of(ALIGNMENT);
        self.used += bytes;
        self.allocations.push(Allocation { start, region });
        Ok(start)
    }

    /// Unmaps an allocation.
    ///
    /// # Errors
    ///
    /// `Address` if no allocation starts there.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let found = self.allocations.binary_search_by_key(&address, |a| a.start);
        let Ok(index) = found else {
            let message = match self.find(address) {
                Some((start, bytes)) => format!(
                    "{address:#x} is inside the {bytes}-byte allocation at {start:#x}, not its start"
                ),
                None => format!("{address:#x} {}", self.describe(address, 1)),
            };
            return Err(MemoryError::Address(message));
        };
        let Allocation { start, region } = self.allocations.remove(index);
        self.used -= region.bytes();
        self.last = 0;
        let place = self.freed.partition_point(|&(other, _)| other < start);
        self.freed.insert(place, (start, region.bytes()));
        Ok(())
    }

    /// The allocation that holds the address: its start and size.
    pub fn find(&self, address: u64) -> Option<(u64, u64)> {
        let index = self.index(address)?;
        let Allocation { start, region } = &self.allocations[index];
        Some((*start, region.bytes()))
    }

    /// The host writes.
    ///
    /// # Errors
    ///
    /// `Address`; nothing was written.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let (index, offset) = self.range(address, bytes.len() as u64)?;
        self.allocations[index].region.host_write(offset, bytes);
        Ok(())
    }

    /// The host reads. Never-written bytes read as 0xFF.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let (index, offset) = self.range(address, bytes.len() as u64)?;
        self.allocations[index].region.host_read(offset, bytes);
        Ok(())
    }

    /// The host fills with a repeated pattern of 1, 2 or 4 bytes.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let bytes = count.saturating_mul(pattern.len() as u64);
        let (index, offset) = self.range(address, bytes)?;
        let block = pattern.repeat((COPY as usize).min(count as usize));
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let now = (end - at).min(block.len() as u64);
            self.allocations[index].region.host_write(at, &block[..now as usize]);
            at += now;
        }
        Ok(())
    }

    /// Copies within the device; bytes that were never written stay so.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        let (target, target_offset) = self.range(to, bytes)?;
        let (source, source_offset) = self.range(from, bytes)?;
        let mut block = vec![0; COPY.min(bytes) as usize];
        let mut done = 0;
        while done < bytes {
            let now = COPY.min(bytes - done);
            // Overlapping ranges come out as if copied through elsewhere.
            let at = if to > from { bytes - done - now } else { done };
            let block = &mut block[..now as usize];
            let start = source_offset + at;
            let region = &self.allocations[source].region;
            region.host_read(start, block);
            let runs = region.runs(start, start + now);
            for (run_start, run_end, written) in runs {
                let place = target_offset + (run_start - source_offset);
                let region = &mut self.allocations[target].region;
                if written {
                    let part = (run_start - start) as usize..(run_end - start) as usize;
                    region.host_write(place, &block[part]);
                } else {
                    region.host_forget(place, run_end - run_start);
                }
            }
            done += now;
        }
        Ok(())
    }

    /// Begins a launch. Traffic counts from zero. Without [`Memory::begin_work`] before it, it is
    /// ordered behind everything.
    pub fn begin_launch(&mut self) -> Now {
        if !std::mem::take(&mut self.announced) {
            self.next_number();
        }
        self.now()
    }

    /// Begins a launch, copy or fill of a stream: the next that is called. With `several`, the device
    /// has other streams.
    pub fn begin_work(&mut self, work: Work, several: bool) {
        self.next_number();
        self.announced = true;
        let timeline = Arc::make_mut(&mut self.timeline);
        timeline.several = several;
        timeline.begin(self.launch, work);
    }

    /// The work goes on that was begun last; it touches a range as a whole. Gives the earlier access
    /// that it is not ordered with.
    ///
    /// # Errors
    ///
    /// `Address`.
    pub fn touch(
        &mut self,
        address: u64,
        bytes: u64,
        write: bool,
    ) -> Result<Option<Finding>, MemoryError> {
        let (index, offset) = self.range(address, bytes)?;
        let now = self.now();
        let Allocation { start, region } = &mut self.allocations[index];
        let found = region.touch(&now, offset, offset + bytes, write);
        Ok(found.map(|(at, conflict)| conflict.finding(&now, 0, *start + at)))
    }

    /// All that is known so is ordered before everything to come.
    pub fn settle(&mut self, known: &Known) {
        if !self.timeline.is_empty() {
            Arc::make_mut(&mut self.timeline).settle(known);
        }
    }

    fn now(&self) -> Now {
        Now { number: self.launch, timeline: self.timeline.clone() }
    }

    fn next_number(&mut self) {
        if self.launch == u32::MAX {
            for allocation in &mut self.allocations {
                allocation.region.settle();
            }
            Arc::make_mut(&mut self.timeline).clear();
            self.launch = 0;
        }
        self.launch += 1;
        self.instructions = 0;
    }

    /// As if there had been this many launches.
    #[cfg(test)]
    pub(super) fn skip_launches(&mut self, count: u32) {
        self.launch = count;
    }

    /// The traffic since [`Memory::begin_launch`], over all allocations.
    pub fn traffic(&self) -> Traffic {
        let mut all = Traffic::default();
        for allocation in &self.allocations {
            all.add(&allocation.region.counts.of_launch(self.launch));
        }
        Traffic { instructions: self.instructions, ..all }
    }

    /// The traffic of each allocation touched: its start, and the counts.
    pub fn traffic_by_allocation(&self) -> Vec<(u64, Traffic)> {
        let counts = |a: &Allocation| (a.start, a.region.counts.of_launch(self.launch));
        let touched = |(_, traffic): &(u64, Traffic)| traffic.instructions > 0;
        self.allocations.iter().map(counts).filter(touched).collect()
    }

    /// As [`Region::load`](super::Region::load), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
    pub fn load(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        out: &mut [u8; 512],
        findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        let mut written = 0;
        self.split(access, |region, place, access| {
            written |= region.load_within(place, clocks, access, out, findings);
        })?;
        Ok(written)
    }

    /// As [`Region::store`](super::Region::store), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
    pub fn store(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        data: &[u8; 512],
        defined: u32,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AccessFault> {
        self.split(access, |region, place, access| {
            region.store_within(place, clocks, access, data, defined, findings);
        })
    }

    /// As [`Region::atomic`](super::Region::atomic), by device address.
    ///
    /// # Errors
    ///
    /// A fault.
    pub fn atomic(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        lanes: &[u32],
        update: &mut dyn FnMut(u32, &mut [u8]),
        findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        let mut written = 0;
        self.split(access, |region, place, access| {
            written |= region.atomic_within(place, clocks, access, lanes, update, findings);
        })?;
        Ok(written)
    }

    /// Calls `each` with the allocations that the access touches and its lanes there, unless one of
    /// its lanes is at fault.
    fn split(
        &mut self,
        access: &Access<'_>,
        mut each: impl FnMut(&mut Region, (u64, Shape), &Access<'_>),
    ) -> Result<(), AccessFault> {
        if access.mask == 0 {
            return Ok(());
        }
        let first = access.addresses[access.mask.trailing_zeros() as usize];
        if let Some(index) = self.index(first) {
            let Allocation { start, region } = &mut self.allocations[index];
            if let Some(shape) = access.survey(*start, region.bytes()) {
                self.last = index;
                self.instructions += 1;
                each(region, (*start, shape), access);
                return Ok(());
            }
        }
        let mut by_lane = [0; 32];
        for lane in access.lanes() {
            let address = access.addresses[lane as usize];
            let bytes = u64::from(access.bytes);
            if address & (bytes - 1) != 0 {
                return Err(AccessFault::Misaligned { lane, address });
            }
            match self.range_index(address, bytes) {
                Some(index) => by_lane[lane as usize] = index,
                None => {
                    let message = self.describe(address, bytes);
                    return Err(AccessFault::OutOfBounds { lane, address, message });
                }
            }
        }
        self.instructions += 1;
        let mut rest = access.mask;
        while rest != 0 {
            let index = by_lane[rest.trailing_zeros() as usize];
            let here = |&lane: &u32| rest >> lane & 1 == 1 && by_lane[lane as usize] == index;
            let mask = (0..32).filter(here).fold(0, |mask, lane| mask | 1 << lane);
            let Allocation { start, region } = &mut self.allocations[index];
            each(region, (*start, Shape::Other), &Access { mask, ..access.clone() });
            rest &= !mask;
        }
        Ok(())
    }

    /// The allocation that holds the address.
    fn index(&self, address: u64) -> Option<usize> {
        let holds = |index: usize| {
            let allocation = self.allocations.get(index)?;
            let offset = address.checked_sub(allocation.start)?;
            (offset < allocation.region.bytes()).then_some(index)
        };
        holds(self.last).or_else(|| {
            let after = self.allocations.partition_point(|a| a.start <= address);
            holds(after.checked_sub(1)?)
        })
    }

    fn range_index(&self, address: u64, bytes: u64) -> Option<usize> {
        let index = self.index(address)?;
        let Allocation { start, region } = &self.allocations[index];
        (bytes <= region.bytes() - (address - start)).then_some(index)
    }

    /// The allocation that holds these bytes, and where in it.
    fn range(&self, address: u64, bytes: u64) -> Result<(usize, u64), MemoryError> {
        // No bytes may be at the end too.
        let found = if bytes == 0 {
            let at = |a: &Allocation| (a.start..=a.start + a.region.bytes()).contains(&address);
            self.allocations.iter().position(at)
        } else {
            self.range_index(address, bytes)
        };
        let error = || {
            let place = self.describe(address, bytes);
            MemoryError::Address(format!("{bytes} bytes at {address:#x}: {place}"))
        };
        let index = found.ok_or_else(error)?;
        Ok((index, address - self.allocations[index].start))
    }

    /// Where an address lies that is not, or not with all these bytes, in an allocation.
    fn describe(&self, address: u64, bytes: u64) -> String {
        if let Some(device) = other_device(address, self.next) {
            return format!("lies in the memory of {device}");
        }
        let before = self.freed.partition_point(|&(start, _)| start <= address);
        if let Some(&(start, size)) = before.checked_sub(1).map(|i| &self.freed[i])
            && address - start < size
        {
            return format!("lies in the {size}-byte allocation at {start:#x}, which was freed");
        }
        let distance = |a: &&Allocation| {
            let end = a.start + a.region.bytes();
            if address < a.start { a.start - address } else { address.saturating_sub(end) }
        };
        match self.allocations.iter().min_by_key(distance) {
            Some(Allocation { start, region }) => {
                let size = region.bytes();
                let place = where_outside(address, bytes, *start, size);
                format!("{place} the {size}-byte allocation at {start:#x}")
            }
            None => "lies outside: nothing is allocated".to_owned(),
        }
    }
}
