//! The runtime as such, and its devices.

use std::cell::Cell;

use super::architecture::attribute;
use super::{call, call_without_device, hip, properties};
use crate::cuda::error::{Code, refuse};
use crate::cuda::ffi::{Out, Text};
use crate::cuda::{context, device};

/// `HIP_VERSION` of ROCm 7.0: major * 10^7 + minor * 10^5 + patch.
const VERSION: i32 = 70_000_000;

thread_local! {
    static DEVICE: Cell<usize> = const { Cell::new(0) };
}

/// The current device of the calling thread.
pub(crate) fn of_thread() -> usize {
    DEVICE.get()
}

#[unsafe(no_mangle)]
extern "C" fn hipInit(flags: u32) -> u32 {
    hip("hipInit", || device::cuInit(flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipDriverGetVersion(version: Out<i32>) -> u32 {
    call_without_device("hipDriverGetVersion", |_| version.set(VERSION))
}

#[unsafe(no_mangle)]
extern "C" fn hipRuntimeGetVersion(version: Out<i32>) -> u32 {
    call_without_device("hipRuntimeGetVersion", |_| version.set(VERSION))
}

#[unsafe(no_mangle)]
extern "C" fn hipGetDeviceCount(count: Out<i32>) -> u32 {
    call_without_device("hipGetDeviceCount", |driver| {
        count.set(driver.devices.len() as i32)?;
        driver.initialize()
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipSetDevice(device: i32) -> u32 {
    call_without_device("hipSetDevice", |driver| {
        driver.initialize()?;
        DEVICE.set(driver.device(device)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipGetDevice(device: Out<i32>) -> u32 {
    call("hipGetDevice", |_| device.set(of_thread() as i32))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGet(device: Out<i32>, ordinal: i32) -> u32 {
    hip("hipDeviceGet", || device::cuDeviceGet(device, ordinal))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetName(name: Out<u8>, capacity: i32, device: i32) -> u32 {
    hip("hipDeviceGetName", || device::cuDeviceGetName(name, capacity, device))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetUuid(out: Out<[u8; 16]>, device: i32) -> u32 {
    call("hipDeviceGetUuid", |driver| {
        let index = driver.device(device)?;
        out.set(properties::uuid(driver.devices[index].architecture, index))
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceTotalMem(bytes: Out<usize>, device: i32) -> u32 {
    hip("hipDeviceTotalMem", || device::cuDeviceTotalMem_v2(bytes, device))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) -> u32 {
    hip("hipDeviceComputeCapability", || device::cuDeviceComputeCapability(major, minor, device))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetAttribute(value: Out<i32>, number: u32, device: i32) -> u32 {
    call("hipDeviceGetAttribute", |driver| {
        let index = driver.device(device)?;
        match attribute(driver.devices[index].architecture, index, number) {
            Some(found) => value.set(found),
            None => refuse(Code::INVALID_VALUE, format!("no device attribute {number}")),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetPCIBusId(text: Out<u8>, capacity: i32, device: i32) -> u32 {
    hip("hipDeviceGetPCIBusId", || device::cuDeviceGetPCIBusId(text, capacity, device))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetByPCIBusId(device: Out<i32>, text: Text) -> u32 {
    hip("hipDeviceGetByPCIBusId", || device::cuDeviceGetByPCIBusId(device, text))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceCanAccessPeer(possible: Out<i32>, device: i32, peer: i32) -> u32 {
    hip("hipDeviceCanAccessPeer", || device::cuDeviceCanAccessPeer(possible, device, peer))
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceSynchronize() -> u32 {
    hip("hipDeviceSynchronize", || context::cuCtxSynchronize())
}
