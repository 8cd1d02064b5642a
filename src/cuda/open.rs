//! Finding and opening devices, and loading the embedded kernels.

use super::{Cuda, Current, check, images, probe};
use crate::driver::{DeviceInfo, Platform, RawKernel};
use crate::error::{Error, Result};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr::null_mut;

fn attribute(device: sys::CUdevice, attribute: Attribute) -> Result<u32> {
    let mut value: c_int = 0;
    // SAFETY: `value` is a place for an int.
    let code = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) };
    check(code, || format!("cuDeviceGetAttribute({attribute:?})"))?;
    Ok(value.max(0) as u32)
}

impl Cuda {
    /// The number of devices.
    pub(crate) fn count() -> Result<u32> {
        probe::library()?;
        // SAFETY: the probe found the library and its symbols.
        let code = unsafe { sys::cuInit(0) };
        if code == CUresult::CUDA_ERROR_NO_DEVICE {
            return Ok(0);
        }
        check(code, || "cuInit(0)".into())?;
        let mut count: c_int = 0;
        // SAFETY: `count` is a place for an int.
        check(unsafe { sys::cuDeviceGetCount(&mut count) }, || "cuDeviceGetCount".into())?;
        Ok(count.max(0) as u32)
    }

    pub(crate) fn open(ordinal: u32) -> Result<Cuda> {
        let count = Cuda::count()?;
        if ordinal >= count {
            let reason = format!("device {ordinal} was asked for, and the driver finds {count}");
            return Err(Error::Unavailable { platform: Platform::Cuda, reason });
        }
        let mut device = 0;
        // SAFETY: `device` is a place for a device number.
        let code = unsafe { sys::cuDeviceGet(&mut device, ordinal as c_int) };
        check(code, || format!("cuDeviceGet({ordinal})"))?;
        let info = Cuda::describe(device, ordinal)?;

        let mut context = null_mut();
        // SAFETY: `context` is a place for a handle; released when the `Cuda` is dropped.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) };
        check(code, || format!("cuDevicePrimaryCtxRetain({ordinal})"))?;
        // From here on a failure drops `cuda`, which gives back what it holds.
        let mut cuda =
            Cuda { info, device, context, libraries: Vec::new(), kernels: HashMap::new() };
        cuda.load()?;
        Ok(cuda)
    }

    fn describe(device: sys::CUdevice, ordinal: u32) -> Result<DeviceInfo> {
        let mut name = [0; 256];
        // SAFETY: `name` has room for as many bytes as are stated.
        let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device) };
        check(code, || format!("cuDeviceGetName({ordinal})"))?;
        let mut memory_bytes = 0usize;
        // SAFETY: `memory_bytes` is a place for a size.
        let code = unsafe { sys::cuDeviceTotalMem_v2(&mut memory_bytes, device) };
        check(code, || format!("cuDeviceTotalMem({ordinal})"))?;
        let mut driver_version: c_int = 0;
        // SAFETY: `driver_version` is a place for an int.
        let code = unsafe { sys::cuDriverGetVersion(&mut driver_version) };
        check(code, || "cuDriverGetVersion".into())?;

        let major = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let architecture = format!("sm_{major}{minor}");
        let images = images::for_capability(major, minor).ok_or_else(|| Error::Unavailable {
            platform: Platform::Cuda,
            reason: format!("device {ordinal} is {architecture}; kernels need sm_80 or later"),
        })?;
        // SAFETY: the driver ended the text with a zero within the array, which was zeroed.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let multiprocessors =
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let wave_threads = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE)?;
        let l2_bytes = attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?;
        Ok(DeviceInfo {
            platform: Platform::Cuda,
            ordinal,
            name,
            architecture,
            images,
            multiprocessors,
            wave_threads,
            memory_bytes: memory_bytes as u64,
            l2_bytes: l2_bytes.into(),
            driver_version: driver_version.max(0) as u32,
        })
    }

    /// Loads every image of the device's architecture, so that no operator loads anything.
    fn load(&mut self) -> Result<()> {
        let _current = Current::enter(self.context)?;
        for source in crate::KERNELS.iter().chain(crate::probes(Platform::Cuda)) {
            if !source.is_for(self.info.images) {
                continue;
            }
            let library = self.load_image(source.stem, self.info.images)?;
            for &entry in source.entries {
                let kernel = kernel_of(library, entry)?;
                allow_shared(kernel, source.shared_bytes, entry)?;
                self.kernels.insert(entry, kernel);
            }
        }
        Ok(())
    }

    /// Loads an image in the current context.
    fn load_image(&mut self, stem: &str, images: &str) -> Result<sys::CUlibrary> {
        let image = images::decompress(stem, images)?;
        let mut library = null_mut();
        // SAFETY: `image` is a whole fatbin, which the driver copies; there are no options.
        let code = unsafe {
            let (options, values) = (null_mut(), null_mut());
            let data = image.as_ptr().cast();
            sys::cuLibraryLoadData(
                &mut library,
                data,
                options,
                values,
                0,
                null_mut(),
                null_mut(),
                0,
            )
        };
        check(code, || match code {
            CUresult::CUDA_ERROR_INVALID_IMAGE
            | CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
            | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                let version = self.info.driver_version;
                let (major, minor) = (version / 1000, version % 1000 / 10);
                format!(
                    "cuLibraryLoadData({stem}, {images}: built for CUDA 13.0, which needs driver 580 or \
                     later; this one supports CUDA {major}.{minor})"
                )
            }
            _ => format!("cuLibraryLoadData({stem}, {images})"),
        })?;
        self.libraries.push(library);
        Ok(library)
    }

    /// Whether the driver takes an image, down to one of its kernels: some load late.
    #[cfg(all(test, feature = "probes"))]
    pub(crate) fn try_image(mut self, stem: &str, images: &str, entry: &str) -> Result<()> {
        let _current = Current::enter(self.context)?;
        let library = self.load_image(stem, images)?;
        kernel_of(library, entry).map(drop)
    }
}

/// Lets launches of a kernel ask for more dynamic shared memory than 48 KiB.
fn allow_shared(kernel: RawKernel, bytes: u32, entry: &str) -> Result<()> {
    const WITHOUT_ASKING: u32 = 48 << 10;
    if bytes <= WITHOUT_ASKING {
        return Ok(());
    }
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    // SAFETY: the kernel is loaded.
    let code =
        unsafe { sys::cuFuncSetAttribute(kernel as sys::CUfunction, attribute, bytes as c_int) };
    check(code, || format!("cuFuncSetAttribute({entry}, {bytes} bytes of shared memory)"))
}

fn kernel_of(library: sys::CUlibrary, entry: &str) -> Result<RawKernel> {
    let name = CString::new(entry)
        .map_err(|_| Error::value("cuda", "entry", entry, "a name without zero bytes"))?;
    let (mut kernel, mut function) = (null_mut(), null_mut());
    // SAFETY: `kernel` is a place for a handle; the library is loaded.
    let code = unsafe { sys::cuLibraryGetKernel(&mut kernel, library, name.as_ptr()) };
    check(code, || format!("cuLibraryGetKernel({entry})"))?;
    // SAFETY: `function` is a place for a handle; the context of the function is current.
    let code = unsafe { sys::cuKernelGetFunction(&mut function, kernel) };
    check(code, || format!("cuKernelGetFunction({entry})"))?;
    Ok(function as RawKernel)
}
