//! Copies and fills.

use super::{call, hip};
use crate::cuda::copy::{self, Wait};
use crate::cuda::driver::Place;
use crate::cuda::error::{Code, refuse};
use crate::cuda::table::Handle;

/// A copy whose direction the caller states, `hipMemcpyKind`: host to host, host to device, device to
/// host, device to device, or as the addresses say.
fn directed(
    symbol: &'static str,
    to: u64,
    from: u64,
    bytes: usize,
    kind: u32,
    stream: Handle,
    wait: Wait,
) -> u32 {
    const DEFAULT: u32 = 4;
    call(symbol, |driver| {
        let (to, from) = (driver.place(to), driver.place(from));
        let found = match (from, to) {
            (Place::Host(_), Place::Host(_)) => 0,
            (Place::Host(_), Place::Device(..)) => 1,
            (Place::Device(..), Place::Host(_)) => 2,
            (Place::Device(..), Place::Device(..)) => 3,
        };
        // The real runtime goes by the addresses, some versions by the kind: neither is to be relied on.
        if kind != DEFAULT && kind != found {
            let reason = format!("kind {kind}, the addresses say {found}");
            return refuse(Code::INVALID_MEMCPY_DIRECTION, reason);
        }
        driver.copy(stream, to, from, bytes, wait)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpy(to: u64, from: u64, bytes: usize, kind: u32) -> u32 {
    directed("hipMemcpy", to, from, bytes, kind, 0, Wait::ForHost)
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyAsync(to: u64, from: u64, bytes: usize, kind: u32, stream: Handle) -> u32 {
    directed("hipMemcpyAsync", to, from, bytes, kind, stream, Wait::No)
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyWithStream(
    to: u64,
    from: u64,
    bytes: usize,
    kind: u32,
    stream: Handle,
) -> u32 {
    directed("hipMemcpyWithStream", to, from, bytes, kind, stream, Wait::ForHost)
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyHtoD(to: u64, from: usize, bytes: usize) -> u32 {
    hip("hipMemcpyHtoD", || copy::cuMemcpyHtoD_v2(to, from, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyHtoDAsync(to: u64, from: usize, bytes: usize, stream: Handle) -> u32 {
    hip("hipMemcpyHtoDAsync", || copy::cuMemcpyHtoDAsync_v2(to, from, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyDtoH(to: usize, from: u64, bytes: usize) -> u32 {
    hip("hipMemcpyDtoH", || copy::cuMemcpyDtoH_v2(to, from, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyDtoHAsync(to: usize, from: u64, bytes: usize, stream: Handle) -> u32 {
    hip("hipMemcpyDtoHAsync", || copy::cuMemcpyDtoHAsync_v2(to, from, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyDtoD(to: u64, from: u64, bytes: usize) -> u32 {
    hip("hipMemcpyDtoD", || copy::cuMemcpyDtoD_v2(to, from, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemcpyDtoDAsync(to: u64, from: u64, bytes: usize, stream: Handle) -> u32 {
    hip("hipMemcpyDtoDAsync", || copy::cuMemcpyDtoDAsync_v2(to, from, bytes, stream))
}

/// The value is the low byte of an int.
#[unsafe(no_mangle)]
extern "C" fn hipMemset(address: u64, value: i32, bytes: usize) -> u32 {
    hip("hipMemset", || copy::cuMemsetD8_v2(address, value as u8, bytes))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetAsync(address: u64, value: i32, bytes: usize, stream: Handle) -> u32 {
    hip("hipMemsetAsync", || copy::cuMemsetD8Async(address, value as u8, bytes, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD8(address: u64, value: u8, count: usize) -> u32 {
    hip("hipMemsetD8", || copy::cuMemsetD8_v2(address, value, count))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD16(address: u64, value: u16, count: usize) -> u32 {
    hip("hipMemsetD16", || copy::cuMemsetD16_v2(address, value, count))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD32(address: u64, value: u32, count: usize) -> u32 {
    hip("hipMemsetD32", || copy::cuMemsetD32_v2(address, value, count))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD8Async(address: u64, value: u8, count: usize, stream: Handle) -> u32 {
    hip("hipMemsetD8Async", || copy::cuMemsetD8Async(address, value, count, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD16Async(address: u64, value: u16, count: usize, stream: Handle) -> u32 {
    hip("hipMemsetD16Async", || copy::cuMemsetD16Async(address, value, count, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemsetD32Async(address: u64, value: u32, count: usize, stream: Handle) -> u32 {
    hip("hipMemsetD32Async", || copy::cuMemsetD32Async(address, value, count, stream))
}
