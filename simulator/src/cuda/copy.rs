//! Copies and fills.
//!
//! A copy from pageable host memory takes its bytes at the call, one to pageable host memory is done
//! at the call. Page-locked memory is read and written when the stream comes to it.

use super::driver::{Driver, Place, is_foreign};
use super::error::{Code, Result, refuse};
use super::ffi::call;
use super::queue::{Source, Work};
use super::table::Handle;

/// Whether a call returns before its copy or fill is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The host may go on at once.
    No,
    /// When it is done, if host memory takes part.
    ForHost,
}

/// Bytes of the caller's memory.
fn host_bytes<'a>(address: usize, bytes: usize) -> &'a [u8] {
    if bytes == 0 {
        return &[];
    }
    // SAFETY: the caller of the copy passed these addresses as readable until the copy is done, which
    // is no later than the caller's next synchronisation.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), bytes) }
}

/// Writes the caller's memory.
fn write_host(address: usize, bytes: &[u8]) {
    // SAFETY: as in `host_bytes`, for writing; device memory is never host memory, so the two do not
    // overlap, and `copy` allows it if host memory is copied to host memory.
    unsafe {
        std::ptr::copy(bytes.as_ptr(), std::ptr::with_exposed_provenance_mut(address), bytes.len());
    }
}

impl Driver {
    /// Refuses what lies outside of one allocation, as far as can be known at the call.
    fn check(&self, place: Place, bytes: u64) -> Result<()> {
        match place {
            Place::Host(0) => refuse(Code::INVALID_VALUE, "host address 0"),
            Place::Host(address) if is_foreign(address) => refuse(
                Code::INVALID_VALUE,
                format!("{address:#x} is of a device not of this driver"),
            ),
            Place::Host(_) => Ok(()),
            Place::Device(device, address) => match self.devices[device].memory.find(address) {
                Some((start, size)) if bytes <= size - (address - start) => Ok(()),
                Some((start, size)) => refuse(
                    Code::INVALID_VALUE,
                    format!("{bytes} bytes at {address:#x}: the allocation {start:#x} has {size}"),
                ),
                None => refuse(Code::INVALID_VALUE, format!("{address:#x} is in no allocation")),
            },
        }
    }

    pub(crate) fn copy(
        &mut self,
        stream: Handle,
        to: Place,
        from: Place,
        bytes: usize,
        wait: Wait,
    ) -> Result<()> {
        let stream = self.stream(stream)?;
        if wait == Wait::ForHost {
            self.refuse_synchronous(stream)?;
        }
        if bytes == 0 {
            return Ok(());
        }
        self.check(to, bytes as u64)?;
        self.check(from, bytes as u64)?;
        let captured = self.streams.get(stream)?.capture.is_some();
        let source = match from {
            // A node of a graph reads its source whenever the graph runs.
            Place::Host(address) if !captured && !self.is_pinned(address, bytes) => {
                Source::Staged(host_bytes(address, bytes).to_vec())
            }
            _ => Source::Place(from),
        };
        let to_pageable = matches!(to, Place::Host(address) if !self.is_pinned(address, bytes));
        let host = matches!(to, Place::Host(_)) || matches!(from, Place::Host(_));
        if wait == Wait::ForHost && host {
            self.refuse_captured(stream, "a copy that waits")?;
        }
        self.enqueue(stream, Work::Copy { to, from: source, bytes })?;
        if !captured && (to_pageable || (wait == Wait::ForHost && host)) {
            return self.synchronize(stream);
        }
        Ok(())
    }

    /// Does a copy.
    pub(crate) fn copy_now(&mut self, to: Place, from: &Source, bytes: usize) -> Result<()> {
        let taken;
        let data = match (from, to) {
            (Source::Staged(staged), _) => staged.as_slice(),
            (&Source::Place(Place::Host(address)), _) => host_bytes(address, bytes),
            (&Source::Place(Place::Device(source, address)), Place::Device(target, to))
                if source == target =>
            {
                let done = self.devices[target].memory.copy(to, address, bytes as u64);
                return done.or_else(|error| late(&format!("{error:?}")));
            }
            (&Source::Place(Place::Device(source, address)), _) => {
                let mut buffer = vec![0; bytes];
                if let Err(error) = self.devices[source].memory.read(address, &mut buffer) {
                    return late(&format!("{error:?}"));
                }
                taken = buffer;
                taken.as_slice()
            }
        };
        match to {
            Place::Host(address) => write_host(address, data),
            Place::Device(target, address) => {
                if let Err(error) = self.devices[target].memory.write(address, data) {
                    return late(&format!("{error:?}"));
                }
            }
        }
        Ok(())
    }

    /// A fill is done by the stream's device, which reaches its own memory only.
    fn fill(
        &mut self,
        stream: Handle,
        address: u64,
        pattern: &[u8],
        count: usize,
        wait: Wait,
    ) -> Result<()> {
        let stream = self.stream(stream)?;
        if wait == Wait::ForHost {
            self.refuse_synchronous(stream)?;
        }
        let Some(bytes) = (count as u64).checked_mul(pattern.len() as u64) else {
            return refuse(Code::INVALID_VALUE, format!("{count} elements"));
        };
        if bytes == 0 {
            return Ok(());
        }
        let place = self.place(address);
        let Place::Device(device, _) = place else {
            return refuse(Code::INVALID_VALUE, format!("{address:#x} is no device memory"));
        };
        let filling = self.device_of(self.streams.get(stream)?.context)?;
        if device != filling {
            let reason = format!("{address:#x} is of device {device}, the stream of {filling}");
            return refuse(Code::INVALID_VALUE, reason);
        }
        if !address.is_multiple_of(pattern.len() as u64) {
            let reason = format!("{address:#x} is not aligned to {} bytes", pattern.len());
            return refuse(Code::INVALID_VALUE, reason);
        }
        self.check(place, bytes)?;
        let (pattern, count) = (pattern.to_vec(), count as u64);
        self.enqueue(stream, Work::Fill { device, address, pattern, count })
    }

    fn device_place(&self, address: u64) -> Result<Place> {
        match self.place(address) {
            Place::Host(_) => {
                refuse(Code::INVALID_VALUE, format!("{address:#x} is no device memory"))
            }
            place => Ok(place),
        }
    }
}

fn late(text: &str) -> Result<()> {
    eprintln!("simulated driver: a copy in a stream: {text}");
    refuse(Code::ILLEGAL_ADDRESS, format!("a copy in a stream: {text}"))
}

fn to_device(symbol: &'static str, to: u64, from: usize, bytes: usize, s: Handle, w: Wait) -> u32 {
    call(symbol, |driver| {
        let to = driver.device_place(to)?;
        driver.copy(s, to, Place::Host(from), bytes, w)
    })
}

fn to_host(symbol: &'static str, to: usize, from: u64, bytes: usize, s: Handle, w: Wait) -> u32 {
    call(symbol, |driver| {
        let from = driver.device_place(from)?;
        driver.copy(s, Place::Host(to), from, bytes, w)
    })
}

fn on_device(symbol: &'static str, to: u64, from: u64, bytes: usize, s: Handle, w: Wait) -> u32 {
    call(symbol, |driver| {
        let (to, from) = (driver.device_place(to)?, driver.device_place(from)?);
        driver.copy(s, to, from, bytes, w)
    })
}

fn anywhere(symbol: &'static str, to: u64, from: u64, bytes: usize, s: Handle, w: Wait) -> u32 {
    call(symbol, |driver| {
        let (to, from) = (driver.place(to), driver.place(from));
        driver.copy(s, to, from, bytes, w)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyHtoD_v2(to: u64, from: usize, bytes: usize) -> u32 {
    to_device("cuMemcpyHtoD_v2", to, from, bytes, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: usize,
    bytes: usize,
    stream: Handle,
) -> u32 {
    to_device("cuMemcpyHtoDAsync_v2", to, from, bytes, stream, Wait::No)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoH_v2(to: usize, from: u64, bytes: usize) -> u32 {
    to_host("cuMemcpyDtoH_v2", to, from, bytes, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoHAsync_v2(
    to: usize,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> u32 {
    to_host("cuMemcpyDtoHAsync_v2", to, from, bytes, stream, Wait::No)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> u32 {
    on_device("cuMemcpyDtoD_v2", to, from, bytes, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemcpyDtoDAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> u32 {
    on_device("cuMemcpyDtoDAsync_v2", to, from, bytes, stream, Wait::No)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> u32 {
    anywhere("cuMemcpy", to, from, bytes, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    anywhere("cuMemcpyAsync", to, from, bytes, stream, Wait::No)
}

/// Addresses say already which device they belong to; the contexts must be of the same.
fn between(
    symbol: &'static str,
    to: u64,
    from: u64,
    contexts: [Handle; 2],
    bytes: usize,
    s: Handle,
    w: Wait,
) -> u32 {
    call(symbol, |driver| {
        for (context, address) in contexts.into_iter().zip([to, from]) {
            let named = driver.device_of(driver.living(context)?)?;
            match driver.device_place(address)? {
                Place::Device(device, _) if device != named => {
                    let reason = format!("{address:#x} is of device {device}, not of {named}");
                    return refuse(Code::INVALID_VALUE, reason);
                }
                _ => {}
            }
        }
        driver.copy(s, driver.place(to), driver.place(from), bytes, w)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeer(
    to: u64,
    to_context: Handle,
    from: u64,
    from_context: Handle,
    bytes: usize,
) -> u32 {
    between("cuMemcpyPeer", to, from, [to_context, from_context], bytes, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    to_context: Handle,
    from: u64,
    from_context: Handle,
    bytes: usize,
    stream: Handle,
) -> u32 {
    between("cuMemcpyPeerAsync", to, from, [to_context, from_context], bytes, stream, Wait::No)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD8_v2(address: u64, value: u8, count: usize) -> u32 {
    call("cuMemsetD8_v2", |driver| driver.fill(0, address, &[value], count, Wait::ForHost))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD16_v2(address: u64, value: u16, count: usize) -> u32 {
    call("cuMemsetD16_v2", |driver| {
        driver.fill(0, address, &value.to_le_bytes(), count, Wait::ForHost)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD32_v2(address: u64, value: u32, count: usize) -> u32 {
    call("cuMemsetD32_v2", |driver| {
        driver.fill(0, address, &value.to_le_bytes(), count, Wait::ForHost)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD8Async(
    address: u64,
    value: u8,
    count: usize,
    stream: Handle,
) -> u32 {
    call("cuMemsetD8Async", |driver| driver.fill(stream, address, &[value], count, Wait::No))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD16Async(
    address: u64,
    value: u16,
    count: usize,
    stream: Handle,
) -> u32 {
    call("cuMemsetD16Async", |driver| {
        driver.fill(stream, address, &value.to_le_bytes(), count, Wait::No)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuMemsetD32Async(
    address: u64,
    value: u32,
    count: usize,
    stream: Handle,
) -> u32 {
    call("cuMemsetD32Async", |driver| {
        driver.fill(stream, address, &value.to_le_bytes(), count, Wait::No)
    })
}
