//! Whether the driver is there, asked before any call that would panic without it.

use crate::driver::Platform;
use crate::error::{Error, Result};
use cudarc::driver::sys::{CUevent, CUresult};
use libloading::Library;
use std::sync::OnceLock;

/// The first of these that loads is the one that cudarc takes.
const NAMES: [&str; 2] = ["libcuda.so", "libcuda.so.1"];

/// Every symbol that this crate calls. All are there since CUDA 12.0.
const SYMBOLS: [&str; 44] = [
    "cuCtxGetCurrent",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuKernelGetFunction",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cuLibraryGetKernel",
    "cuLibraryLoadData",
    "cuLibraryUnload",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamGetCtx",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuTensorMapEncodeTiled",
];

/// The driver library, once it was found whole.
pub(super) fn library() -> Result<&'static Library> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    LIBRARY
        .get_or_init(open)
        .as_ref()
        .map_err(|reason| Error::Unavailable { platform: Platform::Cuda, reason: reason.clone() })
}

fn open() -> Result<Library, String> {
    let mut reasons = Vec::new();
    for name in NAMES {
        // SAFETY: loading the driver runs its initialisers, which is what every CUDA program does.
        match unsafe { Library::new(name) } {
            Ok(library) => return complete(library, name),
            Err(error) => reasons.push(reason(&error)),
        }
    }
    Err(format!("no NVIDIA driver: {}", reasons.join("; ")))
}

/// The loader's own words: `libcuda.so: cannot open shared object file: ...`.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| source.to_string())
}

fn complete(library: Library, name: &str) -> Result<Library, String> {
    for symbol in SYMBOLS {
        // SAFETY: the address is only compared with null.
        if unsafe { library.get::<unsafe extern "C" fn()>(symbol) }.is_err() {
            return Err(format!("{name} lacks {symbol}: the driver is older than CUDA 12.0"));
        }
    }
    Ok(library)
}

/// The time between two events, by the old symbol: cudarc's bindings for CUDA 13 call
/// `cuEventElapsedTime_v2`, which drivers before 12.8 lack.
pub(super) fn elapsed_ms(start: CUevent, end: CUevent) -> Result<f32> {
    type Elapsed = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;
    let library = library()?;
    // SAFETY: the type is that of the driver's documentation.
    let elapsed = unsafe { library.get::<Elapsed>("cuEventElapsedTime") };
    let elapsed = elapsed.map_err(|error| Error::Unavailable {
        platform: Platform::Cuda,
        reason: error.to_string(),
    })?;
    let mut milliseconds = 0.0;
    // SAFETY: `milliseconds` is a place for a float; the caller's events are live.
    let code = unsafe { elapsed(&mut milliseconds, start, end) };
    super::check(code, || "cuEventElapsedTime".into())?;
    Ok(milliseconds)
}
