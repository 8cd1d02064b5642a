//! The stand-in `libcuda.so.1`.
//!
//! The driver behind it also serves `libamdhip64.so`, whose calls ([`hip`](crate::hip)) are made of these.
//!
//! Every driver call has the documented name and C signature. What it does with the caller's pointers
//! is in [`ffi`]; handles are keys of tables ([`table`]); one lock guards the state ([`driver`]).
//!
//! | file | calls |
//! |---|---|
//! | `device`, `context` | `cuInit`, `cuDevice*`, `cuDevicePrimaryCtx*`, `cuCtx*` |
//! | `device_memory`, `host_memory`, `copy` | `cuMem*`, `cuMemcpy*`, `cuMemset*`, `cuPointer*` |
//! | `stream`, `event` | `cuStream*`, `cuEvent*` |
//! | `queue`, `ordering`, `schedule`, `perform`, `progress` | queued work: what is before what, when it is done, how, and without the host |
//! | `image`, `module`, `library`, `function` | `cuModule*`, `cuLibrary*`, `cuKernel*`, `cuFunc*` |
//! | `launch`, `record`, `occupancy` | `cuLaunch*`, `cuOccupancy*`; reports and counters |
//! | `capture`, `capture_rules`, `graph` | stream capture, what it forbids, `cuGraph*` |
//! | `tensor_map` | `cuTensorMap*` |
//! | `control`, `injection`, `live` | `expertile_sim_*`; planned failures; what exists |
//! | `unmodelled` | every other name, refused with `CUDA_ERROR_NOT_SUPPORTED` |

#![allow(non_snake_case)] // the interface's names
#![allow(clippy::too_many_arguments)] // and its signatures

pub(crate) mod architecture;
pub(crate) mod capture;
pub(crate) mod capture_rules;
pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod copy;
pub(crate) mod device;
pub(crate) mod device_memory;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod ffi;
pub(crate) mod function;
pub(crate) mod graph;
pub(crate) mod host_memory;
pub(crate) mod image;
pub(crate) mod injection;
pub(crate) mod launch;
pub(crate) mod library;
pub(crate) mod live;
pub(crate) mod module;
pub(crate) mod occupancy;
pub(crate) mod ordering;
pub(crate) mod perform;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod schedule;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod tensor_map;
pub(crate) mod unmodelled;
