//! The seam between the operators and a vendor's driver.

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::TensorMap;
use std::ffi::c_void;
use std::fmt;

/// A vendor's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Platform {
    /// NVIDIA CUDA.
    Cuda,
    /// AMD ROCm.
    Hip,
}

impl Platform {
    /// Every platform, whether this build has its feature or not.
    pub const ALL: [Platform; 2] = [Platform::Cuda, Platform::Hip];

    /// The first number of blocks of so many threads that is too large for a grid's x extent. CUDA
    /// counts blocks, in 31 bits; AMD's launch packets count threads, in 32.
    pub(crate) fn grid_end(self, threads: u32) -> u64 {
        match self {
            Platform::Cuda => 1 << 31,
            Platform::Hip => (1u64 << 32).div_ceil(u64::from(threads.max(1))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Platform::Cuda => "cuda",
            Platform::Hip => "hip",
        })
    }
}

/// What a device is, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its driver.
    pub platform: Platform,
    /// Its number there.
    pub ordinal: u32,
    /// Its product name.
    pub name: String,
    /// Its architecture, for example `sm_90` or `gfx942`.
    pub architecture: String,
    /// The architecture whose embedded images it runs, for example `sm_90a`.
    pub images: &'static str,
    /// Its multiprocessors (compute units).
    pub multiprocessors: u32,
    /// The threads of a warp (wave).
    pub wave_threads: u32,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Its last level of cache in bytes.
    pub l2_bytes: u64,
    /// The version of the driver (of HIP, the runtime), as it states it: `13000` is CUDA 13.0,
    /// `60342134` is HIP 6.3.
    pub driver_version: u32,
}

/// The blocks and threads of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block, in x.
    pub threads: u32,
    /// Dynamic shared memory of a block in bytes.
    pub shared_bytes: u32,
    /// Blocks, in x, that run together and reach each other's shared memory; 1 if none do.
    pub cluster_blocks: u32,
}

/// A matrix of which a kernel copies boxes of rows of 128 bytes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "CUDA alone copies boxes"))]
pub(crate) struct Matrix {
    pub(crate) address: u64,
    pub(crate) dtype: Dtype,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// From one row to the next, in elements.
    pub(crate) stride: u64,
    /// Rows of a box.
    pub(crate) box_rows: u32,
    /// If there are several of it, each of which ends by itself.
    pub(crate) experts: Option<MatrixExperts>,
}

/// The third dimension of matrices of several experts.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "CUDA alone copies boxes"))]
pub(crate) struct MatrixExperts {
    pub(crate) count: u64,
    /// From one expert to the next, in elements.
    pub(crate) stride: u64,
}

/// A stream as the driver names it; 0 is the driver's default stream.
pub(crate) type RawStream = u64;

/// A kernel as the driver names it.
pub(crate) type RawKernel = u64;

/// An event as the driver names it.
pub(crate) type RawEvent = u64;

/// Recorded work as the driver names it.
pub(crate) type RawGraph = u64;

/// One device through its driver. Every call may come from any thread and leaves the thread's
/// current context or device as it was.
pub(crate) trait Driver: Send + Sync + fmt::Debug {
    fn info(&self) -> &DeviceInfo;

    fn allocate(&self, bytes: u64) -> Result<u64>;

    /// # Safety
    ///
    /// `address` came from [`Driver::allocate`] and is used by nothing that is submitted later.
    unsafe fn free(&self, address: u64) -> Result<()>;

    /// Copies, in stream order.
    ///
    /// # Safety
    ///
    /// `bytes` bytes are valid at both places until the stream is done, and nothing writes `from` or
    /// uses `to` meanwhile.
    unsafe fn copy_to_device(
        &self,
        to: u64,
        from: *const c_void,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()>;

    /// Copies, in stream order.
    ///
    /// # Safety
    ///
    /// `bytes` bytes are valid at both places until the stream is done, and nothing writes `from` or
    /// uses `to` meanwhile.
    unsafe fn copy_from_device(
        &self,
        to: *mut c_void,
        from: u64,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()>;

    /// Sets each byte, in stream order.
    ///
    /// # Safety
    ///
    /// `bytes` bytes are valid at `address`.
    unsafe fn fill(&self, address: u64, value: u8, bytes: u64, stream: RawStream) -> Result<()>;

    /// Copies within the device, in stream order.
    ///
    /// # Safety
    ///
    /// `bytes` bytes are valid at both places, which do not overlap.
    unsafe fn copy(&self, to: u64, from: u64, bytes: u64, stream: RawStream) -> Result<()>;

    fn create_stream(&self) -> Result<RawStream>;

    /// Whether `stream` may be launched on from here.
    ///
    /// # Safety
    ///
    /// `stream` is a live stream of this driver.
    unsafe fn check_stream(&self, stream: RawStream) -> Result<()>;

    /// # Safety
    ///
    /// `stream` came from [`Driver::create_stream`] and is not used again.
    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<()>;

    /// # Safety
    ///
    /// `stream` is live.
    unsafe fn synchronize(&self, stream: RawStream) -> Result<()>;

    fn create_event(&self) -> Result<RawEvent>;

    /// # Safety
    ///
    /// `event` came from [`Driver::create_event`] and is not used again.
    unsafe fn destroy_event(&self, event: RawEvent) -> Result<()>;

    /// # Safety
    ///
    /// Both are live.
    unsafe fn record(&self, event: RawEvent, stream: RawStream) -> Result<()>;

    /// Makes later work of `stream` wait for `event`.
    ///
    /// # Safety
    ///
    /// Both are live.
    unsafe fn wait(&self, stream: RawStream, event: RawEvent) -> Result<()>;

    /// Waits for `end` and returns the milliseconds since `start`.
    ///
    /// # Safety
    ///
    /// Both are live and were recorded.
    unsafe fn elapsed_ms(&self, start: RawEvent, end: RawEvent) -> Result<f32>;

    /// From here on what this thread submits to `stream` is recorded instead of done.
    ///
    /// # Safety
    ///
    /// `stream` is live, and this thread ends the capture.
    unsafe fn begin_capture(&self, stream: RawStream) -> Result<()>;

    /// Ends the capture. A failure may leave it going on.
    ///
    /// # Safety
    ///
    /// This thread began a capture on `stream`.
    unsafe fn end_capture(&self, stream: RawStream) -> Result<RawGraph>;

    /// Submits all that was recorded.
    ///
    /// # Safety
    ///
    /// Both are live, and so is all memory that the recorded work uses, as for its first submission.
    unsafe fn launch_graph(&self, graph: RawGraph, stream: RawStream) -> Result<()>;

    /// # Safety
    ///
    /// `graph` came from [`Driver::end_capture`] and is not used again.
    unsafe fn destroy_graph(&self, graph: RawGraph) -> Result<()>;

    /// A kernel of the embedded images by its entry name.
    fn kernel(&self, entry: &'static str) -> Result<RawKernel>;

    /// What a kernel needs to copy boxes of a matrix.
    fn tensor_map(&self, matrix: &Matrix) -> Result<TensorMap> {
        let found = format!("a map of a {:?} matrix", matrix.dtype);
        Err(Error::unsupported("driver", found, "none on this platform"))
    }

    /// Launches without waiting; neither allocates nor blocks.
    ///
    /// # Safety
    ///
    /// `params` is the kernel's params struct, and all memory that it points to stays valid for what
    /// the kernel does with it until the launch is done.
    unsafe fn launch(
        &self,
        kernel: RawKernel,
        geometry: &Geometry,
        params: *const c_void,
        stream: RawStream,
    ) -> Result<()>;
}
