//! Page-locked host memory, and what a pointer is.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use super::driver::{Driver, Place};
use super::error::{Code, Result, refuse};
use super::ffi::{In, Out, call};
use super::table::Handle;

/// Host memory that the device may read and write late.
pub(crate) struct Pinned {
    pub(crate) context: Handle,
    bytes: usize,
    flags: u32,
    /// Whether the driver allocated it; it gives it back when this is dropped.
    storage: Option<Storage>,
}

struct Storage {
    address: usize,
    layout: Layout,
}

impl Drop for Storage {
    fn drop(&mut self) {
        // SAFETY: `allocate` made this block with this layout, and nothing else frees it. Queued work
        // that names it is done before it is dropped.
        unsafe { dealloc(std::ptr::with_exposed_provenance_mut(self.address), self.layout) }
    }
}

const PAGE: usize = 4096;

impl Driver {
    /// Whether all these bytes of the host are page-locked.
    pub(crate) fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let before = self.pinned.range(..=address).next_back();
        before.is_some_and(|(&start, pinned)| address + bytes <= start + pinned.bytes)
    }

    fn finish_all(&mut self) {
        for device in 0..self.devices.len() {
            self.wait_for_device(device);
        }
    }
}

fn allocate(symbol: &'static str, address: Out<usize>, bytes: usize, flags: u32) -> u32 {
    call(symbol, |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if address.is_null() || bytes == 0 || flags > 7 {
            let reason = format!("no place for the address, {bytes} bytes, or flags {flags}");
            return refuse(Code::INVALID_VALUE, reason);
        }
        let Ok(layout) = Layout::from_size_align(bytes, PAGE) else {
            return refuse(Code::OUT_OF_MEMORY, format!("{bytes} bytes of host memory"));
        };
        // SAFETY: the size is not zero.
        let block = unsafe { alloc_zeroed(layout) };
        if block.is_null() {
            return refuse(Code::OUT_OF_MEMORY, format!("{bytes} bytes of host memory"));
        }
        let start = block.expose_provenance();
        let storage = Some(Storage { address: start, layout });
        driver.pinned.insert(start, Pinned { context, bytes, flags, storage });
        address.set(start)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostAlloc(address: Out<usize>, bytes: usize, flags: u32) -> u32 {
    allocate("cuMemHostAlloc", address, bytes, flags)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(address: Out<usize>, bytes: usize) -> u32 {
    allocate("cuMemAllocHost_v2", address, bytes, 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemFreeHost(address: usize) -> u32 {
    call("cuMemFreeHost", |driver| {
        driver.current()?;
        driver.refuse_unsafe()?;
        match driver.pinned.get(&address) {
            Some(pinned) if pinned.storage.is_some() => {}
            _ => return refuse(Code::INVALID_VALUE, format!("{address:#x} was not allocated")),
        }
        driver.finish_all();
        driver.pinned.remove(&address);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostRegister_v2(address: usize, bytes: usize, flags: u32) -> u32 {
    call("cuMemHostRegister_v2", |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if address == 0 || bytes == 0 {
            return refuse(Code::INVALID_VALUE, format!("{bytes} bytes at {address:#x}"));
        }
        let next = driver.pinned.range(..address + bytes).next_back();
        if next.is_some_and(|(&start, pinned)| start + pinned.bytes > address) {
            return refuse(Code::HOST_MEMORY_ALREADY_REGISTERED, format!("{address:#x}"));
        }
        driver.pinned.insert(address, Pinned { context, bytes, flags, storage: None });
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostUnregister(address: usize) -> u32 {
    call("cuMemHostUnregister", |driver| {
        driver.current()?;
        driver.refuse_unsafe()?;
        match driver.pinned.get(&address) {
            Some(pinned) if pinned.storage.is_none() => {}
            _ => {
                let reason = format!("{address:#x} was not registered");
                return refuse(Code::HOST_MEMORY_NOT_REGISTERED, reason);
            }
        }
        driver.finish_all();
        driver.pinned.remove(&address);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemHostGetFlags(flags: Out<u32>, address: usize) -> u32 {
    call("cuMemHostGetFlags", |driver| match driver.pinned.get(&address) {
        Some(pinned) => flags.set(pinned.flags),
        None => refuse(Code::INVALID_VALUE, format!("{address:#x} is not page-locked")),
    })
}

/// `CUpointer_attribute` values of a pointer, written in their own widths.
fn pointer_attribute(driver: &Driver, value: usize, attribute: u32, address: u64) -> Result<()> {
    const HOST_MEMORY: u32 = 1;
    const DEVICE_MEMORY: u32 = 2;
    let place = driver.place(address);
    let (context, device, range) = match place {
        Place::Device(device, address) => {
            let Some((start, bytes)) = driver.devices[device].memory.find(address) else {
                return refuse(Code::INVALID_VALUE, format!("{address:#x} is in no allocation"));
            };
            let owner = driver.devices[device].allocations.get(&start);
            (owner.map_or(0, |allocation| allocation.context), device, (start, bytes))
        }
        Place::Host(address) => {
            let before = driver.pinned.range(..=address).next_back();
            match before {
                Some((&start, pinned)) if address < start + pinned.bytes => {
                    let device = driver.device_of(pinned.context)?;
                    (pinned.context, device, (start as u64, pinned.bytes as u64))
                }
                _ => return refuse(Code::INVALID_VALUE, format!("{address:#x} is not known")),
            }
        }
    };
    let on_device = matches!(place, Place::Device(..));
    let out_u64 = |number: u64| super::ffi::out::<u64>(value).set(number);
    let out_u32 = |number: u32| super::ffi::out::<u32>(value).set(number);
    let out_flag = |flag: bool| super::ffi::out::<u8>(value).set(u8::from(flag));
    match attribute {
        1 => out_u64(context as u64),
        2 => out_u32(if on_device { DEVICE_MEMORY } else { HOST_MEMORY }),
        3 if on_device => out_u64(address),
        4 if !on_device => out_u64(address),
        3 | 4 => refuse(Code::INVALID_VALUE, "the memory is on one side only"),
        6 | 8 | 10 | 16 => out_flag(false),
        7 => out_u64(range.0),
        9 => out_u32(device as u32),
        11 => out_u64(range.0),
        12 => out_u64(range.1),
        13 => out_flag(true),
        14 => out_u64(0),
        _ => refuse(Code::NOT_SUPPORTED, format!("pointer attribute {attribute}")),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(value: usize, attribute: u32, address: u64) -> u32 {
    call("cuPointerGetAttribute", |driver| pointer_attribute(driver, value, attribute, address))
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttributes(
    count: u32,
    attributes: In<u32>,
    values: In<usize>,
    address: u64,
) -> u32 {
    call("cuPointerGetAttributes", |driver| {
        for index in 0..count as usize {
            let (attribute, value) = (attributes.at(index)?, values.at(index)?);
            if pointer_attribute(driver, value, attribute, address).is_err() {
                // What an unknown pointer has instead: null, or no device (-2).
                match attribute {
                    2 | 9 => {
                        super::ffi::out::<i32>(value).set(if attribute == 9 { -2 } else { 0 })?
                    }
                    6 | 8 | 10 | 13 | 16 => super::ffi::out::<u8>(value).set(0)?,
                    _ => super::ffi::out::<u64>(value).set(0)?,
                }
            }
        }
        Ok(())
    })
}
