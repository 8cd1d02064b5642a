use super::operator::{check_pointer, read};
use super::panic::guard;
use super::registry;
use super::status::Failure;
use crate::device::Device;
use crate::driver::Platform;
use std::ffi::c_char;

/// NVIDIA CUDA.
pub const EXPERTILE_CUDA: i32 = 1;
/// AMD ROCm.
pub const EXPERTILE_HIP: i32 = 2;
/// The bytes of a name in `expertile_device_info`, NUL included; longer ones are cut.
pub const EXPERTILE_NAME_BYTES: usize = 64;

/// An open device with its kernels loaded; any thread may use it. Handles are numbers: one that was
/// closed is refused and never comes again.
pub struct expertile_device {
    _private: (),
}

/// What a device is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct expertile_device_info {
    /// sizeof(expertile_device_info)
    pub struct_size: u32,
    /// EXPERTILE_CUDA or EXPERTILE_HIP
    pub platform: i32,
    /// its number there
    pub ordinal: u32,
    /// its multiprocessors (compute units)
    pub multiprocessors: u32,
    /// the threads of a warp (wave)
    pub wave_threads: u32,
    /// as the driver (of HIP, the runtime) states it: 13000 is CUDA 13.0
    pub driver_version: u32,
    /// its memory
    pub memory_bytes: u64,
    /// its last level of cache
    pub l2_bytes: u64,
    /// its product name
    pub name: [c_char; EXPERTILE_NAME_BYTES],
    /// for example "sm_90" or "gfx942"
    pub architecture: [c_char; EXPERTILE_NAME_BYTES],
    /// the architecture whose kernels it runs, for example "sm_90a"
    pub kernels: [c_char; EXPERTILE_NAME_BYTES],
}

fn platform_of(call: &'static str, platform: i32) -> Result<Platform, Failure> {
    match platform {
        EXPERTILE_CUDA => Ok(Platform::Cuda),
        EXPERTILE_HIP => Ok(Platform::Hip),
        _ => Err(Failure::value(call, "platform", platform, "1 (CUDA) or 2 (HIP)")),
    }
}

fn name(text: &str) -> [c_char; EXPERTILE_NAME_BYTES] {
    let mut name = [0; EXPERTILE_NAME_BYTES];
    for (place, byte) in name[..EXPERTILE_NAME_BYTES - 1].iter_mut().zip(text.bytes()) {
        *place = byte as c_char;
    }
    name
}

/// Stores the number of devices of a platform; without a driver, EXPERTILE_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_device_count(platform: i32, count: *mut u32) -> i32 {
    guard(|| {
        check_pointer("device_count", "count", count)?;
        let found = Device::count(platform_of("device_count", platform)?)?;
        // SAFETY: not null and aligned; the caller vouches for the place.
        unsafe { count.write(found) };
        Ok(())
    })
}

/// Opens a device, on CUDA in its primary context, loads the kernels, and stores a handle. This is where
/// this library allocates.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_device_open(
    platform: i32,
    ordinal: u32,
    device: *mut *mut expertile_device,
) -> i32 {
    guard(|| {
        check_pointer("device_open", "device", device)?;
        let opened = Device::open(platform_of("device_open", platform)?, ordinal)?;
        // SAFETY: not null and aligned; the caller vouches for the place.
        unsafe { device.write(registry::add(opened)) };
        Ok(())
    })
}

/// Closes it: waits for the device and unloads the kernels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_device_close(device: *mut expertile_device) -> i32 {
    guard(|| registry::remove("device_close", device).map(drop))
}

/// Fills `info`, whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_device_get_info(
    device: *mut expertile_device,
    info: *mut expertile_device_info,
) -> i32 {
    guard(|| {
        let call = "device_get_info";
        let device = registry::find(call, device)?;
        // SAFETY: the caller vouches for as many bytes as `struct_size` says.
        let asked: expertile_device_info = unsafe { read(call, "info", info)? };
        let found = device.info();
        let filled = expertile_device_info {
            struct_size: asked.struct_size,
            platform: match found.platform {
                Platform::Cuda => EXPERTILE_CUDA,
                Platform::Hip => EXPERTILE_HIP,
            },
            ordinal: found.ordinal,
            multiprocessors: found.multiprocessors,
            wave_threads: found.wave_threads,
            driver_version: found.driver_version,
            memory_bytes: found.memory_bytes,
            l2_bytes: found.l2_bytes,
            name: name(&found.name),
            architecture: name(&found.architecture),
            kernels: name(found.images),
        };
        // SAFETY: not null, aligned and of that size, as `read` checked.
        unsafe { info.write(filled) };
        Ok(())
    })
}

// SAFETY: integers and arrays of them, `struct_size` first.
unsafe impl super::operator::Sized32 for expertile_device_info {}
