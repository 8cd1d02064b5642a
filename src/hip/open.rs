//! Finding and opening devices, and loading the embedded kernels.

use super::probe::{Runtime, runtime};
use super::{Current, Hip, check, images, sys};
use crate::driver::{DeviceInfo, Platform, RawKernel};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr::null_mut;

fn attribute(runtime: &Runtime, device: c_int, attribute: u32) -> Result<u32> {
    let mut value: c_int = 0;
    // SAFETY: `value` is a place for an int.
    let code = unsafe { runtime.hipDeviceGetAttribute(&mut value, attribute as c_int, device) };
    check(runtime, code, || format!("hipDeviceGetAttribute({attribute})"))?;
    Ok(value.max(0) as u32)
}

/// The runtime's name of a device's architecture: `gfx90a:sramecc+:xnack-`.
fn architecture_name(runtime: &Runtime, device: c_int) -> Result<String> {
    let mut properties = sys::HipProperties { words: [0; 512] };
    // SAFETY: `properties` has room for more than any version of the struct; the probe found the one
    // of the two that is called.
    let (code, call, offset) = unsafe {
        if runtime.has_r0600() {
            let code = runtime.hipGetDevicePropertiesR0600(&mut properties, device);
            (code, "hipGetDevicePropertiesR0600", sys::HIP_PROPERTIES_R0600_ARCHITECTURE)
        } else {
            let code = runtime.hipGetDeviceProperties(&mut properties, device);
            (code, "hipGetDeviceProperties", sys::HIP_PROPERTIES_ARCHITECTURE)
        }
    };
    check(runtime, code, || format!("{call}({device})"))?;
    let bytes = properties.words.iter().flat_map(|word| word.to_ne_bytes());
    let name = bytes.skip(offset as usize).take(sys::HIP_ARCHITECTURE_BYTES as usize);
    let name: Vec<u8> = name.take_while(|&byte| byte != 0).collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

impl Hip {
    /// The number of devices.
    pub(crate) fn count() -> Result<u32> {
        let runtime = runtime()?;
        let mut count: c_int = 0;
        // SAFETY: `count` is a place for an int.
        let code = unsafe { runtime.hipGetDeviceCount(&mut count) };
        if code == sys::HIP_ERROR_NO_DEVICE as sys::hipError_t {
            return Ok(0);
        }
        check(runtime, code, || "hipGetDeviceCount".into())?;
        Ok(count.max(0) as u32)
    }

    pub(crate) fn open(ordinal: u32) -> Result<Hip> {
        let count = Hip::count()?;
        if ordinal >= count {
            let reason = format!("device {ordinal} was asked for, and the driver finds {count}");
            return Err(Error::Unavailable { platform: Platform::Hip, reason });
        }
        let runtime = runtime()?;
        let info = Hip::describe(runtime, ordinal)?;
        // From here on a failure drops `hip`, which gives back what it holds.
        let mut hip = Hip { runtime, info, modules: Vec::new(), kernels: HashMap::new() };
        hip.load()?;
        Ok(hip)
    }

    fn describe(runtime: &Runtime, ordinal: u32) -> Result<DeviceInfo> {
        let device = ordinal as c_int;
        let mut name = [0; 256];
        // SAFETY: `name` has room for as many bytes as are stated.
        let code =
            unsafe { runtime.hipDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device) };
        check(runtime, code, || format!("hipDeviceGetName({ordinal})"))?;
        let mut memory_bytes = 0;
        // SAFETY: `memory_bytes` is a place for a size.
        let code = unsafe { runtime.hipDeviceTotalMem(&mut memory_bytes, device) };
        check(runtime, code, || format!("hipDeviceTotalMem({ordinal})"))?;
        let mut version: c_int = 0;
        // SAFETY: `version` is a place for an int.
        let code = unsafe { runtime.hipRuntimeGetVersion(&mut version) };
        check(runtime, code, || "hipRuntimeGetVersion".into())?;

        let unavailable = |reason| Error::Unavailable { platform: Platform::Hip, reason };
        let full_name = architecture_name(runtime, device)?;
        let architecture = images::architecture(&full_name).to_owned();
        let (images, cache_bytes) = images::for_architecture(&architecture).ok_or_else(|| {
            unavailable(format!(
                "device {ordinal} is {architecture:?}; kernels are built for gfx90a, gfx942, gfx950"
            ))
        })?;
        let wave_threads = attribute(runtime, device, sys::HIP_DEVICE_ATTRIBUTE_WARP_SIZE)?;
        if wave_threads != 64 {
            return Err(unavailable(format!(
                "device {ordinal} has waves of {wave_threads} threads; kernels are built for 64"
            )));
        }
        let multiprocessors =
            attribute(runtime, device, sys::HIP_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let l2_bytes = attribute(runtime, device, sys::HIP_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?;
        // SAFETY: the runtime ended the text with a zero within the array, which was zeroed.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        Ok(DeviceInfo {
            platform: Platform::Hip,
            ordinal,
            name,
            architecture,
            images,
            multiprocessors,
            wave_threads,
            memory_bytes: memory_bytes as u64,
            l2_bytes: cache_bytes.max(l2_bytes.into()),
            driver_version: version.max(0) as u32,
        })
    }

    /// Loads every image of the device's architecture, so that no operator loads anything.
    fn load(&mut self) -> Result<()> {
        let _current = Current::enter(self.runtime, self.info.ordinal)?;
        for source in crate::KERNELS.iter().chain(crate::probes(Platform::Hip)) {
            if !source.is_for(self.info.images) {
                continue;
            }
            let module = self.load_image(source.stem, self.info.images)?;
            for &entry in source.entries {
                self.kernels.insert(entry, self.kernel_of(module, entry)?);
            }
        }
        Ok(())
    }

    /// Loads an image on the current device.
    fn load_image(&mut self, stem: &str, images: &str) -> Result<sys::hipModule_t> {
        let image = images::decompress(stem, images)?;
        let mut module = null_mut();
        // SAFETY: `image` is a whole code object, which is kept as long as the module; `module` is a
        // place for a handle.
        let code = unsafe { self.runtime.hipModuleLoadData(&mut module, image.as_ptr().cast()) };
        self.check(code, || format!("hipModuleLoadData({stem}, {images})"))?;
        self.modules.push((module, image));
        Ok(module)
    }

    /// Whether the runtime takes an image, down to one of its kernels: some load late.
    #[cfg(all(test, feature = "probes", feature = "cuda"))]
    pub(crate) fn try_image(mut self, stem: &str, images: &str, entry: &str) -> Result<()> {
        let _current = Current::enter(self.runtime, self.info.ordinal)?;
        let module = self.load_image(stem, images)?;
        self.kernel_of(module, entry).map(drop)
    }

    fn kernel_of(&self, module: sys::hipModule_t, entry: &str) -> Result<RawKernel> {
        let name = CString::new(entry)
            .map_err(|_| Error::value("hip", "entry", entry, "a name without zero bytes"))?;
        let mut function = null_mut();
        // SAFETY: `function` is a place for a handle; the module is loaded.
        let code =
            unsafe { self.runtime.hipModuleGetFunction(&mut function, module, name.as_ptr()) };
        self.check(code, || format!("hipModuleGetFunction({entry})"))?;
        Ok(function as RawKernel)
    }
}
