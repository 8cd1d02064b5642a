//! Simulated GPU drivers: they execute the compiled kernel on a CPU and try to break it.
//!
//! | module | what it is |
//! |---|---|
//! | [`ptx`] | the text that nvcc makes, parsed |
//! | [`fatbin`] | the PTX inside a fat binary |
//! | [`nvcc`], [`clang`] | the compilers, found and run |
//! | [`engine`] | executes a kernel: warps of 32 lanes, divergence, barriers, seeded schedules |
//! | [`memory`] | the device's address space, with fences, poison, race clocks and traffic counts |
//! | [`report`] | what went wrong, where |
//! | [`program`], [`card`] | a kernel of either engine, and what it is launched on |
//! | [`tensor_map`] | the tensor maps that driver and tool make and the engine reads |
//! | [`amdgcn`] | executes a kernel of an AMD code object: waves of 64 lanes |
//! | `cuda` | the stand-in `libcuda.so.1`: the driver calls, exported from the cdylib |
//! | `hip` | the stand-in `libamdhip64.so`, by means of `cuda` |

pub mod amdgcn;
pub mod card;
pub mod clang;
mod cuda;
pub mod engine;
pub mod fatbin;
mod hip;
pub mod memory;
pub mod nvcc;
pub mod program;
pub mod ptx;
pub mod report;
pub mod tensor_map;
