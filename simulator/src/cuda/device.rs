//! The driver as such, its devices and their primary contexts.

use super::architecture::{CONSTANT_BYTES, THREADS_PER_BLOCK, attribute};
use super::error::{Code, refuse};
use super::ffi::{Out, Text, call, call_before_init, put_text};
use super::table::Handle;

/// What `cuDriverGetVersion` says: CUDA 13.0.
pub(crate) const DRIVER_VERSION: i32 = 13000;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuInit(flags: u32) -> u32 {
    call_before_init("cuInit", |driver| {
        if flags != 0 {
            return refuse(Code::INVALID_VALUE, format!("flags {flags}, must be 0"));
        }
        driver.initialize()
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<i32>) -> u32 {
    call_before_init("cuDriverGetVersion", |_| version.set(DRIVER_VERSION))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Out<i32>) -> u32 {
    call("cuDeviceGetCount", |driver| count.set(driver.devices.len() as i32))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGet(device: Out<i32>, ordinal: i32) -> u32 {
    call("cuDeviceGet", |driver| device.set(driver.device(ordinal)? as i32))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetName(name: Out<u8>, capacity: i32, device: i32) -> u32 {
    call("cuDeviceGetName", |driver| {
        let card = driver.devices[driver.device(device)?].architecture;
        if name.is_null() || capacity <= 0 {
            return refuse(Code::INVALID_VALUE, format!("no room for the name: {capacity} bytes"));
        }
        put_text(&format!("simulated {}", card.name), name, capacity as usize);
        Ok(())
    })
}

fn uuid(symbol: &'static str, out: Out<[u8; 16]>, device: i32) -> u32 {
    call(symbol, |driver| {
        let index = driver.device(device)?;
        let card = driver.devices[index].architecture;
        let mut bytes = *b"expertile sim\0\0\0";
        bytes[14] = card.compute_capability() as u8;
        bytes[15] = index as u8;
        out.set(bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(out: Out<[u8; 16]>, device: i32) -> u32 {
    uuid("cuDeviceGetUuid", out, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, device: i32) -> u32 {
    uuid("cuDeviceGetUuid_v2", out, device)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) -> u32 {
    call("cuDeviceTotalMem_v2", |driver| {
        bytes.set(driver.devices[driver.device(device)?].architecture.memory_bytes as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Out<i32>, number: u32, device: i32) -> u32 {
    call("cuDeviceGetAttribute", |driver| {
        let index = driver.device(device)?;
        match attribute(driver.devices[index].architecture, index, number) {
            Some(found) => value.set(found),
            None => refuse(Code::INVALID_VALUE, format!("no device attribute {number}")),
        }
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceComputeCapability(
    major: Out<i32>,
    minor: Out<i32>,
    device: i32,
) -> u32 {
    call("cuDeviceComputeCapability", |driver| {
        let card = driver.devices[driver.device(device)?].architecture;
        major.set(card.major)?;
        minor.set(card.minor)
    })
}

/// `CUdevprop`: threads per block, block and grid limits, and so on.
#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetProperties(properties: Out<[i32; 14]>, device: i32) -> u32 {
    call("cuDeviceGetProperties", |driver| {
        let card = driver.devices[driver.device(device)?].architecture;
        let [block_x, block_y, block_z] = card.limits.block.map(|limit| limit as i32);
        let [grid_x, grid_y, grid_z] = card.limits.grid.map(|limit| limit as i32);
        properties.set([
            THREADS_PER_BLOCK as i32,
            block_x,
            block_y,
            block_z,
            grid_x,
            grid_y,
            grid_z,
            card.default_shared_bytes(),
            CONSTANT_BYTES,
            card.limits.warp_threads as i32,
            i32::MAX,
            card.limits.registers_per_multiprocessor as i32,
            card.clock_khz,
            512,
        ])
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetPCIBusId(text: Out<u8>, capacity: i32, device: i32) -> u32 {
    call("cuDeviceGetPCIBusId", |driver| {
        let index = driver.device(device)?;
        if text.is_null() || capacity < 13 {
            return refuse(Code::INVALID_VALUE, format!("{capacity} bytes, 13 are needed"));
        }
        put_text(&format!("0000:{:02x}:00.0", index + 1), text, capacity as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceGetByPCIBusId(device: Out<i32>, text: Text) -> u32 {
    call("cuDeviceGetByPCIBusId", |driver| {
        let text = text.text()?;
        let bus = text.split(':').rev().nth(1).and_then(|bus| i32::from_str_radix(bus, 16).ok());
        match bus.map(|bus| driver.device(bus - 1)) {
            Some(Ok(index)) => device.set(index as i32),
            _ => refuse(Code::INVALID_DEVICE, format!("no device at {text}")),
        }
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuDeviceCanAccessPeer(possible: Out<i32>, device: i32, peer: i32) -> u32 {
    call("cuDeviceCanAccessPeer", |driver| {
        driver.device(device)?;
        driver.device(peer)?;
        // Kernels see the memory of their own device only.
        possible.set(0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: i32) -> u32 {
    call("cuDevicePrimaryCtxRetain", |driver| {
        let device = driver.device(device)?;
        if context.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the context");
        }
        let handle = driver.primary_context(device);
        driver.devices[device].primary.retained += 1;
        context.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> u32 {
    call("cuDevicePrimaryCtxRelease_v2", |driver| {
        let device = driver.device(device)?;
        let primary = &mut driver.devices[device].primary;
        if primary.retained == 0 {
            return refuse(Code::INVALID_CONTEXT, "the primary context is not retained");
        }
        primary.retained -= 1;
        match primary.context.take_if(|_| primary.retained == 0) {
            Some(context) => driver.remove_context(context),
            None => Ok(()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(device: i32) -> u32 {
    call("cuDevicePrimaryCtxReset_v2", |driver| {
        let device = driver.device(device)?;
        driver.devices[device].primary.retained = 0;
        match driver.devices[device].primary.context.take() {
            Some(context) => driver.remove_context(context),
            None => Ok(()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) -> u32 {
    call("cuDevicePrimaryCtxSetFlags_v2", |driver| {
        let device = driver.device(device)?;
        driver.devices[device].primary.flags = flags;
        if let Some(context) = driver.devices[device].primary.context {
            driver.contexts.get_mut(context)?.flags = flags;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) -> u32 {
    call("cuDevicePrimaryCtxGetState", |driver| {
        let primary = &driver.devices[driver.device(device)?].primary;
        flags.set(primary.flags)?;
        active.set(i32::from(primary.context.is_some()))
    })
}
