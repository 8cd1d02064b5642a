//! Allocations of devices and of page-locked host memory.

use super::{call, hip};
use crate::cuda::ffi::Out;
use crate::cuda::table::Handle;
use crate::cuda::{device_memory, host_memory};

/// No bytes are no error: the address is null.
#[unsafe(no_mangle)]
extern "C" fn hipMalloc(address: Out<u64>, bytes: usize) -> u32 {
    match bytes {
        0 => call("hipMalloc", |driver| {
            driver.refuse_unsafe()?;
            address.set(0)
        }),
        _ => hip("hipMalloc", || device_memory::cuMemAlloc_v2(address, bytes)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn hipFree(address: u64) -> u32 {
    hip("hipFree", || device_memory::cuMemFree_v2(address))
}

#[unsafe(no_mangle)]
extern "C" fn hipMallocAsync(address: Out<u64>, bytes: usize, stream: Handle) -> u32 {
    match bytes {
        0 => call("hipMallocAsync", |_| address.set(0)),
        _ => hip("hipMallocAsync", || device_memory::cuMemAllocAsync(address, bytes, stream)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn hipFreeAsync(address: u64, stream: Handle) -> u32 {
    hip("hipFreeAsync", || device_memory::cuMemFreeAsync(address, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemGetInfo(free: Out<usize>, total: Out<usize>) -> u32 {
    hip("hipMemGetInfo", || device_memory::cuMemGetInfo_v2(free, total))
}

#[unsafe(no_mangle)]
extern "C" fn hipMemGetAddressRange(start: Out<u64>, bytes: Out<usize>, address: u64) -> u32 {
    hip("hipMemGetAddressRange", || device_memory::cuMemGetAddressRange_v2(start, bytes, address))
}

/// `hipHostMallocNumaUser`, `Coherent` and `NonCoherent`: nothing that is modelled depends on them.
const HOST_PREFERENCES: u32 = 0xE000_0000;

#[unsafe(no_mangle)]
extern "C" fn hipHostMalloc(address: Out<usize>, bytes: usize, flags: u32) -> u32 {
    match bytes {
        0 => call("hipHostMalloc", |driver| {
            driver.refuse_unsafe()?;
            address.set(0)
        }),
        _ => hip("hipHostMalloc", || {
            host_memory::cuMemHostAlloc(address, bytes, flags & !HOST_PREFERENCES)
        }),
    }
}

#[unsafe(no_mangle)]
extern "C" fn hipHostFree(address: usize) -> u32 {
    match address {
        0 => call("hipHostFree", |driver| driver.refuse_unsafe()),
        _ => hip("hipHostFree", || host_memory::cuMemFreeHost(address)),
    }
}

#[unsafe(no_mangle)]
extern "C" fn hipHostRegister(address: usize, bytes: usize, flags: u32) -> u32 {
    hip("hipHostRegister", || host_memory::cuMemHostRegister_v2(address, bytes, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipHostUnregister(address: usize) -> u32 {
    hip("hipHostUnregister", || host_memory::cuMemHostUnregister(address))
}

#[unsafe(no_mangle)]
extern "C" fn hipHostGetFlags(flags: Out<u32>, address: usize) -> u32 {
    hip("hipHostGetFlags", || host_memory::cuMemHostGetFlags(flags, address))
}
