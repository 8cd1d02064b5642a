//! Allocations on a device.

use super::driver::{Allocation, Driver, Place};
use super::error::{Code, Result, refuse};
use super::ffi::{Out, call};
use super::queue::Work;
use super::table::Handle;

impl Driver {
    fn allocate(&mut self, context: Handle, bytes: usize) -> Result<u64> {
        let device = self.device_of(context)?;
        if bytes == 0 {
            return refuse(Code::INVALID_VALUE, "an allocation of 0 bytes");
        }
        let bytes = bytes as u64;
        match self.devices[device].memory.allocate(bytes) {
            Ok(address) => {
                let allocation = Allocation { context, bytes, freeing: false };
                self.devices[device].allocations.insert(address, allocation);
                Ok(address)
            }
            Err(_) => {
                let (free, total) = self.free_and_total(device);
                let reason = format!("{bytes} bytes of {free} free, {total} in all");
                refuse(Code::OUT_OF_MEMORY, reason)
            }
        }
    }

    fn free_and_total(&self, device: usize) -> (u64, u64) {
        let card = &self.devices[device];
        let used: u64 = card.allocations.values().map(|allocation| allocation.bytes).sum();
        let total = card.architecture.memory_bytes;
        (total.saturating_sub(used), total)
    }

    /// The device whose allocation starts at the address, if no free of it is queued.
    fn owner(&self, address: u64) -> Result<usize> {
        let Place::Device(device, _) = self.place(address) else {
            return refuse(Code::INVALID_VALUE, format!("{address:#x} is no device memory"));
        };
        match self.devices[device].allocations.get(&address) {
            Some(allocation) if !allocation.freeing => Ok(device),
            Some(_) => refuse(Code::INVALID_VALUE, format!("{address:#x} is freed already")),
            None => refuse(Code::INVALID_VALUE, format!("no allocation starts at {address:#x}")),
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) -> u32 {
    call("cuMemAlloc_v2", |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if address.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the address");
        }
        address.set(driver.allocate(context, bytes)?)
    })
}

/// Rows are padded to 512 bytes.
#[unsafe(no_mangle)]
extern "C" fn cuMemAllocPitch_v2(
    address: Out<u64>,
    pitch: Out<usize>,
    row_bytes: usize,
    rows: usize,
    element_bytes: u32,
) -> u32 {
    call("cuMemAllocPitch_v2", |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if address.is_null() || pitch.is_null() || ![4, 8, 16].contains(&element_bytes) {
            let reason = format!("no place for a result, or elements of {element_bytes} bytes");
            return refuse(Code::INVALID_VALUE, reason);
        }
        let padded = row_bytes.next_multiple_of(512);
        let Some(bytes) = padded.checked_mul(rows) else {
            return refuse(Code::OUT_OF_MEMORY, format!("{rows} rows of {padded} bytes"));
        };
        pitch.set(padded)?;
        address.set(driver.allocate(context, bytes)?)
    })
}

/// Waits for the device, as the driver does, and leaves errors for a synchronising call.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    call("cuMemFree_v2", |driver| {
        driver.current()?;
        driver.refuse_unsafe()?;
        if address == 0 {
            return Ok(());
        }
        let device = driver.owner(address)?;
        driver.wait_for_device(device);
        driver.devices[device].allocations.remove(&address);
        match driver.devices[device].memory.free(address) {
            Ok(()) => Ok(()),
            Err(error) => refuse(Code::INVALID_VALUE, format!("{error:?}")),
        }
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) -> u32 {
    call("cuMemAllocAsync", |driver| {
        let stream = driver.stream(stream)?;
        driver.refuse_captured(stream, "an allocation in a graph, which is not modelled")?;
        let context = driver.streams.get(stream)?.context;
        if address.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the address");
        }
        address.set(driver.allocate(context, bytes)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> u32 {
    call("cuMemFreeAsync", |driver| {
        let stream = driver.stream(stream)?;
        driver.refuse_captured(stream, "a free in a graph, which is not modelled")?;
        if address == 0 {
            return Ok(());
        }
        let device = driver.owner(address)?;
        if let Some(allocation) = driver.devices[device].allocations.get_mut(&address) {
            allocation.freeing = true;
        }
        driver.enqueue(stream, Work::Free { device, address })
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> u32 {
    call("cuMemGetInfo_v2", |driver| {
        let context = driver.current()?;
        let (free_bytes, total_bytes) = driver.free_and_total(driver.device_of(context)?);
        free.set(free_bytes as usize)?;
        total.set(total_bytes as usize)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemGetAddressRange_v2(
    start: Out<u64>,
    bytes: Out<usize>,
    address: u64,
) -> u32 {
    call("cuMemGetAddressRange_v2", |driver| {
        driver.current()?;
        let found = match driver.place(address) {
            Place::Device(device, address) => driver.devices[device].memory.find(address),
            Place::Host(_) => None,
        };
        match found {
            Some((first, size)) => {
                start.set_if_given(first);
                bytes.set_if_given(size as usize);
                Ok(())
            }
            None => refuse(Code::NOT_FOUND, format!("{address:#x} is in no allocation")),
        }
    })
}
