//! NVIDIA devices, through cudarc's raw bindings.
//!
//! Nothing is linked: cudarc loads `libcuda` at the first call, and panics if the library or a
//! symbol is missing. So [`probe`] looks first, and no call of `sys` happens unless it succeeded.

mod graph;
mod images;
mod launch;
mod open;
mod probe;
mod tensor_map;

use crate::driver::{
    DeviceInfo, Driver, Geometry, Matrix, Platform, RawEvent, RawGraph, RawKernel, RawStream,
};
use crate::error::{Error, Result};
use crate::kernels::TensorMap;
use cudarc::driver::sys::{self, CUresult};
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

/// An NVIDIA device in its primary context.
#[derive(Debug)]
pub(crate) struct Cuda {
    info: DeviceInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    libraries: Vec<sys::CUlibrary>,
    kernels: HashMap<&'static str, RawKernel>,
}

// SAFETY: the handles name objects of the driver, which may be used from any thread; the fields are
// only read after `open`.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

/// Turns a code into an error that names the call.
fn check(code: CUresult, call: impl FnOnce() -> String) -> Result<()> {
    if code == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut name = std::ptr::null();
    // SAFETY: `name` is a place for a pointer to a static text; the probe found the symbol.
    let named = unsafe { sys::cuGetErrorName(code, &mut name) };
    let name = if named == CUresult::CUDA_SUCCESS && !name.is_null() {
        // SAFETY: on success the driver stored a text that lives for ever.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    } else {
        "an unknown code".to_owned()
    };
    Err(Error::driver(Platform::Cuda, call(), code as i32, name))
}

/// Makes a context current for a scope, and the thread's own one current again after it.
struct Current {
    /// The context, if it is to be popped.
    pushed: Option<sys::CUcontext>,
}

impl Current {
    fn enter(context: sys::CUcontext) -> Result<Current> {
        let mut current = null_mut();
        // SAFETY: `current` is a place for a handle.
        check(unsafe { sys::cuCtxGetCurrent(&mut current) }, || "cuCtxGetCurrent".into())?;
        if current == context {
            return Ok(Current { pushed: None });
        }
        // SAFETY: the primary context is retained as long as its `Cuda` lives.
        check(unsafe { sys::cuCtxPushCurrent_v2(context) }, || "cuCtxPushCurrent".into())?;
        Ok(Current { pushed: Some(context) })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let Some(context) = self.pushed else { return };
        let (mut popped, mut current) = (null_mut(), null_mut());
        // SAFETY: pops what `enter` pushed on this thread; both are places for a handle. The code may
        // be that of an earlier launch, so what is current says whether to pop again.
        unsafe {
            if sys::cuCtxPopCurrent_v2(&mut popped) != CUresult::CUDA_SUCCESS
                && sys::cuCtxGetCurrent(&mut current) == CUresult::CUDA_SUCCESS
                && current == context
            {
                let _ = sys::cuCtxPopCurrent_v2(&mut popped);
            }
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // While something is captured nothing may wait: then the kernels stay loaded.
        let captures = crate::graph::captures();
        if captures.allow_waiting()
            && let Ok(_current) = Current::enter(self.context)
        {
            // SAFETY: nothing holds this device any more: streams, buffers and events share it.
            // Launches on streams that were borrowed may still run, hence the wait; failures leave
            // nothing to do.
            unsafe {
                let _ = sys::cuCtxSynchronize();
                for &library in &self.libraries {
                    let _ = sys::cuLibraryUnload(library);
                }
            }
        }
        // SAFETY: releases what `open` retained.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// A stream's handle for the driver.
fn stream_of(stream: RawStream) -> sys::CUstream {
    stream as sys::CUstream
}

fn event_of(event: RawEvent) -> sys::CUevent {
    event as sys::CUevent
}

impl Driver for Cuda {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        let _current = Current::enter(self.context)?;
        let mut address = 0;
        // SAFETY: `address` is a place for a device pointer.
        let code = unsafe { sys::cuMemAlloc_v2(&mut address, bytes as usize) };
        check(code, || format!("cuMemAlloc({bytes} bytes)"))?;
        Ok(address)
    }

    unsafe fn free(&self, address: u64) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // The driver's documentation allows, but does not promise, that a free waits.
        // SAFETY: no arguments.
        let waited = check(unsafe { sys::cuCtxSynchronize() }, || "cuCtxSynchronize".into());
        // SAFETY: the caller passes an address of `allocate` that nothing uses any more.
        check(unsafe { sys::cuMemFree_v2(address) }, || format!("cuMemFree({address:#x})"))?;
        waited
    }

    unsafe fn copy_to_device(
        &self,
        to: u64,
        from: *const c_void,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both places until the stream is done.
        let code =
            unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes as usize, stream_of(stream)) };
        check(code, || format!("cuMemcpyHtoDAsync({bytes} bytes to {to:#x})"))
    }

    unsafe fn copy_from_device(
        &self,
        to: *mut c_void,
        from: u64,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both places until the stream is done.
        let code =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to, from, bytes as usize, stream_of(stream)) };
        check(code, || format!("cuMemcpyDtoHAsync({bytes} bytes from {from:#x})"))
    }

    unsafe fn fill(&self, address: u64, value: u8, bytes: u64, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for the bytes.
        let code =
            unsafe { sys::cuMemsetD8Async(address, value, bytes as usize, stream_of(stream)) };
        check(code, || format!("cuMemsetD8Async({bytes} bytes at {address:#x})"))
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: u64, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both places.
        let code =
            unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes as usize, stream_of(stream)) };
        check(code, || format!("cuMemcpyDtoDAsync({bytes} bytes from {from:#x} to {to:#x})"))
    }

    fn create_stream(&self) -> Result<RawStream> {
        let _current = Current::enter(self.context)?;
        let mut stream = null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: `stream` is a place for a handle.
        check(unsafe { sys::cuStreamCreate(&mut stream, flags) }, || "cuStreamCreate".into())?;
        Ok(stream as RawStream)
    }

    unsafe fn check_stream(&self, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        let mut context = null_mut();
        // SAFETY: the caller vouches for the stream; `context` is a place for a handle.
        let code = unsafe { sys::cuStreamGetCtx(stream_of(stream), &mut context) };
        check(code, || format!("cuStreamGetCtx({stream:#x})"))?;
        if context != self.context {
            let found = format!("{stream:#x} of context {context:?}");
            let expected = format!("one of device {}'s primary context", self.info.ordinal);
            return Err(Error::value("cuda", "stream", found, expected));
        }
        Ok(())
    }

    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller gives the stream up.
        check(unsafe { sys::cuStreamDestroy_v2(stream_of(stream)) }, || "cuStreamDestroy".into())
    }

    unsafe fn synchronize(&self, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller's stream is live.
        let code = unsafe { sys::cuStreamSynchronize(stream_of(stream)) };
        check(code, || format!("cuStreamSynchronize({stream:#x})"))
    }

    fn create_event(&self) -> Result<RawEvent> {
        let _current = Current::enter(self.context)?;
        let mut event = null_mut();
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT as u32;
        // SAFETY: `event` is a place for a handle.
        check(unsafe { sys::cuEventCreate(&mut event, flags) }, || "cuEventCreate".into())?;
        Ok(event as RawEvent)
    }

    unsafe fn destroy_event(&self, event: RawEvent) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller gives the event up.
        check(unsafe { sys::cuEventDestroy_v2(event_of(event)) }, || "cuEventDestroy".into())
    }

    unsafe fn record(&self, event: RawEvent, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both.
        let code = unsafe { sys::cuEventRecord(event_of(event), stream_of(stream)) };
        check(code, || format!("cuEventRecord on stream {stream:#x}"))
    }

    unsafe fn wait(&self, stream: RawStream, event: RawEvent) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both; the flags are 0 as documented.
        let code = unsafe { sys::cuStreamWaitEvent(stream_of(stream), event_of(event), 0) };
        check(code, || format!("cuStreamWaitEvent on stream {stream:#x}"))
    }

    unsafe fn elapsed_ms(&self, start: RawEvent, end: RawEvent) -> Result<f32> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for the event.
        let code = unsafe { sys::cuEventSynchronize(event_of(end)) };
        check(code, || "cuEventSynchronize".into())?;
        probe::elapsed_ms(event_of(start), event_of(end))
    }

    unsafe fn begin_capture(&self, stream: RawStream) -> Result<()> {
        // SAFETY: the caller's contract is the same.
        unsafe { self.begin(stream) }
    }

    unsafe fn end_capture(&self, stream: RawStream) -> Result<RawGraph> {
        // SAFETY: the caller's contract is the same.
        unsafe { self.end(stream) }
    }

    unsafe fn launch_graph(&self, graph: RawGraph, stream: RawStream) -> Result<()> {
        // SAFETY: the caller's contract is the same.
        unsafe { self.replay(graph, stream) }
    }

    unsafe fn destroy_graph(&self, graph: RawGraph) -> Result<()> {
        // SAFETY: the caller's contract is the same.
        unsafe { self.discard(graph) }
    }

    fn kernel(&self, entry: &'static str) -> Result<RawKernel> {
        self.kernels
            .get(entry)
            .copied()
            .ok_or_else(|| Error::unsupported("cuda", entry, "the entries of the embedded images"))
    }

    fn tensor_map(&self, matrix: &Matrix) -> Result<TensorMap> {
        let _current = Current::enter(self.context)?;
        tensor_map::encode(matrix)
    }

    unsafe fn launch(
        &self,
        kernel: RawKernel,
        geometry: &Geometry,
        params: *const c_void,
        stream: RawStream,
    ) -> Result<()> {
        if geometry.cluster_blocks > 1 {
            // SAFETY: the caller's contract is the same.
            return unsafe { self.launch_clusters(kernel, geometry, params, stream) };
        }
        let _current = Current::enter(self.context)?;
        let [x, y, z] = geometry.grid;
        let mut arguments = [params.cast_mut()];
        // SAFETY: the kernel takes exactly one argument, by value, which the driver copies from
        // `params` before it returns and does not write; the caller vouches for what it points to.
        let code = unsafe {
            sys::cuLaunchKernel(
                kernel as sys::CUfunction,
                x,
                y,
                z,
                geometry.threads,
                1,
                1,
                geometry.shared_bytes,
                stream_of(stream),
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        check(code, || {
            let (grid, threads) = (geometry.grid, geometry.threads);
            format!("cuLaunchKernel(grid {grid:?}, {threads} threads)")
        })
    }
}
