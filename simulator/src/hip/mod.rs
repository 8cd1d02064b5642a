//! The stand-in `libamdhip64.so`: HIP's calls, by means of the CUDA calls of the same effect.
//!
//! Almost every call of HIP has a twin in CUDA's driver interface. [`as_hip`](crate::cuda::ffi::as_hip)
//! makes the twin work on HIP's driver: devices, handles and addresses of its own, the same code.
//!
//! | file | calls |
//! |---|---|
//! | `architecture`, `properties`, `device` | the cards; `hipInit`, `hipDevice*`, `hipGetDevice*`, `hipSetDevice` |
//! | `error` | `hipGetError*`, `hipGetLastError`, `hipPeekAtLastError` |
//! | `memory`, `copy` | `hipMalloc*`, `hipFree*`, `hipHost*`, `hipMem*` |
//! | `stream`, `event`, `graph` | `hipStream*`, `hipEvent*`, `hipGraph*` |
//! | `module` | `hipModule*`, `hipFunc*`, `hipOccupancy*` |
//! | `unmodelled` | every other name, refused with `hipErrorNotSupported` |

#![allow(non_snake_case)] // the interface's names
#![allow(clippy::too_many_arguments)] // and its signatures

pub(crate) mod architecture;
mod copy;
pub(crate) mod device;
pub(crate) mod error;
mod event;
mod graph;
mod memory;
mod module;
mod properties;
mod stream;
mod unmodelled;

use crate::cuda::driver::Driver;
use crate::cuda::error::Result;
use crate::cuda::ffi;

/// Runs the CUDA twin of a HIP call, and remembers its error.
fn hip(symbol: &'static str, twin: impl FnOnce() -> u32) -> u32 {
    let code = ffi::as_hip(symbol, twin);
    if code != 0 {
        error::remember(code);
    }
    code
}

/// Runs the body of a HIP call that has no twin.
fn call(symbol: &'static str, body: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    hip(symbol, || ffi::call(symbol, body))
}

/// As [`call`], where it is allowed without a device.
fn call_without_device(symbol: &'static str, body: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    hip(symbol, || ffi::call_before_init(symbol, body))
}
