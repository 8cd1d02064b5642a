//! The stand-in `libcuda.so.1`.
//!
//! Every driver call has the documented name and C signature. What it does with the caller's pointers
//! is in [`ffi`]; handles are keys of tables ([`table`]); one lock guards the state ([`driver`]).
//!
//! | file | calls |
//! |---|---|
//! | `device`, `context` | `cuInit`, `cuDevice*`, `cuDevicePrimaryCtx*`, `cuCtx*` |
//! | `device_memory`, `host_memory`, `copy` | `cuMem*`, `cuMemcpy*`, `cuMemset*`, `cuPointer*` |
//! | `stream`, `event`, `queue` | `cuStream*`, `cuEvent*`; when queued work is done |
//! | `image`, `module`, `library`, `function` | `cuModule*`, `cuLibrary*`, `cuKernel*`, `cuFunc*` |
//! | `launch`, `record`, `occupancy` | `cuLaunch*`, `cuOccupancy*`; reports and counters |
//! | `capture`, `graph` | stream capture, `cuGraph*` |
//! | `tensor_map` | `cuTensorMap*` |
//! | `control` | `expertile_sim_*` |
//! | `unmodelled` | every other name, refused with `CUDA_ERROR_NOT_SUPPORTED` |

#![allow(non_snake_case)] // the interface's names
#![allow(clippy::too_many_arguments)] // and its signatures

mod architecture;
mod capture;
mod context;
mod control;
mod copy;
mod device;
mod device_memory;
mod driver;
mod error;
mod event;
mod ffi;
mod function;
mod graph;
mod host_memory;
mod image;
mod launch;
mod library;
mod module;
mod occupancy;
mod process;
mod queue;
mod record;
mod stream;
mod table;
mod tensor_map;
mod unmodelled;
