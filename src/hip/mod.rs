//! AMD devices, through the HIP runtime.
//!
//! Nothing is linked: [`probe`] loads the library, and a table of its functions exists only if every
//! one of them was found.

mod graph;
mod images;
mod open;
mod probe;
#[cfg(feature = "rocm-rs")]
mod rocm_rs;
mod sys;
#[cfg(test)]
mod tests;

use crate::driver::{
    DeviceInfo, Driver, Geometry, Platform, RawEvent, RawGraph, RawKernel, RawStream,
};
use crate::error::{Error, Result};
use probe::Runtime;
use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::null_mut;

/// An AMD device.
#[derive(Debug)]
pub(crate) struct Hip {
    runtime: &'static Runtime,
    info: DeviceInfo,
    /// With their images, which the runtime does not promise to copy.
    modules: Vec<(sys::hipModule_t, Vec<u8>)>,
    kernels: HashMap<&'static str, RawKernel>,
}

// SAFETY: the handles name objects of the runtime, which may be used from any thread; the fields are
// only read after `open`.
unsafe impl Send for Hip {}
// SAFETY: as above.
unsafe impl Sync for Hip {}

/// Turns a code into an error that names the call.
fn check(runtime: &Runtime, code: sys::hipError_t, call: impl FnOnce() -> String) -> Result<()> {
    if code == sys::HIP_SUCCESS as sys::hipError_t {
        return Ok(());
    }
    // SAFETY: takes any code.
    let name = unsafe { runtime.hipGetErrorName(code) };
    let name = if name.is_null() {
        "an unknown code".to_owned()
    } else {
        // SAFETY: the runtime returned a text that lives for ever.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    };
    Err(Error::driver(Platform::Hip, call(), code, name))
}

/// Makes a device the thread's current one for a scope, and the thread's own one again after it.
struct Current {
    runtime: &'static Runtime,
    /// The thread's own device, if it is another one.
    own: Option<c_int>,
}

impl Current {
    fn enter(runtime: &'static Runtime, ordinal: u32) -> Result<Current> {
        let (device, mut own) = (ordinal as c_int, 0);
        // SAFETY: `own` is a place for an int.
        check(runtime, unsafe { runtime.hipGetDevice(&mut own) }, || "hipGetDevice".into())?;
        if own == device {
            return Ok(Current { runtime, own: None });
        }
        // SAFETY: takes any number.
        let code = unsafe { runtime.hipSetDevice(device) };
        check(runtime, code, || format!("hipSetDevice({device})"))?;
        Ok(Current { runtime, own: Some(own) })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(own) = self.own {
            // SAFETY: takes any number. The code may be that of an earlier launch; setting the same
            // device twice does no harm.
            unsafe {
                if self.runtime.hipSetDevice(own) != sys::HIP_SUCCESS as sys::hipError_t {
                    let _ = self.runtime.hipSetDevice(own);
                }
            }
        }
    }
}

impl Hip {
    fn enter(&self) -> Result<Current> {
        Current::enter(self.runtime, self.info.ordinal)
    }

    fn check(&self, code: sys::hipError_t, call: impl FnOnce() -> String) -> Result<()> {
        check(self.runtime, code, call)
    }
}

impl Drop for Hip {
    fn drop(&mut self) {
        let modules = std::mem::take(&mut self.modules);
        // While something is captured nothing may wait: then the kernels stay loaded, images and all.
        let captures = crate::graph::captures();
        let current = captures.allow_waiting().then(|| self.enter());
        let Some(Ok(_current)) = current else {
            std::mem::forget(modules);
            return;
        };
        // SAFETY: no arguments. Nothing holds this device any more: streams, buffers and events share
        // it. Launches on streams that were borrowed may still run, hence the wait; a failure leaves
        // nothing to do.
        let _ = unsafe { self.runtime.hipDeviceSynchronize() };
        for (module, image) in modules {
            // SAFETY: the module is used by nothing any more.
            let code = unsafe { self.runtime.hipModuleUnload(module) };
            if code != sys::HIP_SUCCESS as sys::hipError_t {
                std::mem::forget(image);
            }
        }
    }
}

/// A stream's handle for the runtime.
fn stream_of(stream: RawStream) -> sys::hipStream_t {
    stream as sys::hipStream_t
}

fn event_of(event: RawEvent) -> sys::hipEvent_t {
    event as sys::hipEvent_t
}

fn pointer_of(address: u64) -> *mut c_void {
    address as *mut c_void
}

impl Driver for Hip {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn allocate(&self, bytes: u64) -> Result<u64> {
        let _current = self.enter()?;
        let mut address = null_mut();
        // SAFETY: `address` is a place for a pointer.
        let code = unsafe { self.runtime.hipMalloc(&mut address, bytes as usize) };
        self.check(code, || format!("hipMalloc({bytes} bytes)"))?;
        Ok(address as u64)
    }

    unsafe fn free(&self, address: u64) -> Result<()> {
        let _current = self.enter()?;
        // A free waits only for the streams that the runtime knows to use the memory.
        // SAFETY: no arguments.
        let code = unsafe { self.runtime.hipDeviceSynchronize() };
        let waited = self.check(code, || "hipDeviceSynchronize".into());
        // SAFETY: the caller passes an address of `allocate` that nothing uses any more.
        let code = unsafe { self.runtime.hipFree(pointer_of(address)) };
        self.check(code, || format!("hipFree({address:#x})"))?;
        waited
    }

    unsafe fn copy_to_device(
        &self,
        to: u64,
        from: *const c_void,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()> {
        let _current = self.enter()?;
        let (place, handle) = (pointer_of(to), stream_of(stream));
        // SAFETY: the caller vouches for both places until the stream is done.
        let code = unsafe { self.runtime.hipMemcpyHtoDAsync(place, from, bytes as usize, handle) };
        self.check(code, || format!("hipMemcpyHtoDAsync({bytes} bytes to {to:#x})"))
    }

    unsafe fn copy_from_device(
        &self,
        to: *mut c_void,
        from: u64,
        bytes: u64,
        stream: RawStream,
    ) -> Result<()> {
        let _current = self.enter()?;
        let (place, handle) = (pointer_of(from), stream_of(stream));
        // SAFETY: the caller vouches for both places until the stream is done.
        let code = unsafe { self.runtime.hipMemcpyDtoHAsync(to, place, bytes as usize, handle) };
        self.check(code, || format!("hipMemcpyDtoHAsync({bytes} bytes from {from:#x})"))
    }

    unsafe fn fill(&self, address: u64, value: u8, bytes: u64, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        let (place, handle) = (pointer_of(address), stream_of(stream));
        // SAFETY: the caller vouches for the bytes.
        let code = unsafe { self.runtime.hipMemsetD8Async(place, value, bytes as usize, handle) };
        self.check(code, || format!("hipMemsetD8Async({bytes} bytes at {address:#x})"))
    }

    unsafe fn copy(&self, to: u64, from: u64, bytes: u64, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        let (target, source) = (pointer_of(to), pointer_of(from));
        let handle = stream_of(stream);
        // SAFETY: the caller vouches for both places.
        let code =
            unsafe { self.runtime.hipMemcpyDtoDAsync(target, source, bytes as usize, handle) };
        self.check(code, || format!("hipMemcpyDtoDAsync({bytes} bytes from {from:#x} to {to:#x})"))
    }

    fn create_stream(&self) -> Result<RawStream> {
        let _current = self.enter()?;
        let mut stream = null_mut();
        let flags = sys::HIP_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: `stream` is a place for a handle.
        let code = unsafe { self.runtime.hipStreamCreateWithFlags(&mut stream, flags) };
        self.check(code, || "hipStreamCreateWithFlags".into())?;
        Ok(stream as RawStream)
    }

    unsafe fn check_stream(&self, stream: RawStream) -> Result<()> {
        // 1 and 2 name the legacy and the thread's own default stream: those of the current device,
        // which every call sets. Old runtimes would follow them as pointers.
        if stream <= 2 {
            return Ok(());
        }
        let _current = self.enter()?;
        // SAFETY: the caller vouches for the stream.
        let device = unsafe { self.runtime.hipGetStreamDeviceId(stream_of(stream)) };
        // The only call without a code: a refusal is the number -1.
        if device < 0 {
            let found = format!("{stream:#x}, which hipGetStreamDeviceId finds on no device");
            return Err(Error::value("hip", "stream", found, "a stream of the HIP runtime"));
        }
        if i64::from(device) != i64::from(self.info.ordinal) {
            let found = format!("{stream:#x} of device {device}");
            let expected = format!("one of device {}", self.info.ordinal);
            return Err(Error::value("hip", "stream", found, expected));
        }
        Ok(())
    }

    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller gives the stream up.
        let code = unsafe { self.runtime.hipStreamDestroy(stream_of(stream)) };
        self.check(code, || "hipStreamDestroy".into())
    }

    unsafe fn synchronize(&self, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller's stream is live.
        let code = unsafe { self.runtime.hipStreamSynchronize(stream_of(stream)) };
        self.check(code, || format!("hipStreamSynchronize({stream:#x})"))
    }

    fn create_event(&self) -> Result<RawEvent> {
        let _current = self.enter()?;
        let mut event = null_mut();
        let flags = sys::HIP_EVENT_DEFAULT as c_uint;
        // SAFETY: `event` is a place for a handle.
        let code = unsafe { self.runtime.hipEventCreateWithFlags(&mut event, flags) };
        self.check(code, || "hipEventCreateWithFlags".into())?;
        Ok(event as RawEvent)
    }

    unsafe fn destroy_event(&self, event: RawEvent) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller gives the event up.
        let code = unsafe { self.runtime.hipEventDestroy(event_of(event)) };
        self.check(code, || "hipEventDestroy".into())
    }

    unsafe fn record(&self, event: RawEvent, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller vouches for both.
        let code = unsafe { self.runtime.hipEventRecord(event_of(event), stream_of(stream)) };
        self.check(code, || format!("hipEventRecord on stream {stream:#x}"))
    }

    unsafe fn wait(&self, stream: RawStream, event: RawEvent) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller vouches for both; the flags are 0 as documented.
        let code =
            unsafe { self.runtime.hipStreamWaitEvent(stream_of(stream), event_of(event), 0) };
        self.check(code, || format!("hipStreamWaitEvent on stream {stream:#x}"))
    }

    unsafe fn elapsed_ms(&self, start: RawEvent, end: RawEvent) -> Result<f32> {
        let _current = self.enter()?;
        // SAFETY: the caller vouches for the event.
        let code = unsafe { self.runtime.hipEventSynchronize(event_of(end)) };
        self.check(code, || "hipEventSynchronize".into())?;
        let (start, end, mut milliseconds) = (event_of(start), event_of(end), 0.0);
        // SAFETY: `milliseconds` is a place for a float; the caller vouches for both events.
        let code = unsafe { self.runtime.hipEventElapsedTime(&mut milliseconds, start, end) };
        self.check(code, || "hipEventElapsedTime".into())?;
        Ok(milliseconds)
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
            .ok_or_else(|| Error::unsupported("hip", entry, "the entries of the embedded images"))
    }

    unsafe fn launch(
        &self,
        kernel: RawKernel,
        geometry: &Geometry,
        params: *const c_void,
        stream: RawStream,
    ) -> Result<()> {
        let (grid, threads) = (geometry.grid, geometry.threads);
        let [x, y, z] = grid;
        let end = Platform::Hip.grid_end(threads);
        if u64::from(x) >= end {
            let found = format!("{grid:?} of {threads} threads");
            let expected = format!("less than {end} blocks in x");
            return Err(Error::value("hip", "grid", found, expected));
        }
        let _current = self.enter()?;
        let mut arguments = [params.cast_mut()];
        // SAFETY: the kernel takes exactly one argument, by value, which the runtime copies from
        // `params` before it returns and does not write; the caller vouches for what it points to.
        let code = unsafe {
            self.runtime.hipModuleLaunchKernel(
                kernel as sys::hipFunction_t,
                x,
                y,
                z,
                threads,
                1,
                1,
                geometry.shared_bytes,
                stream_of(stream),
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        self.check(code, || format!("hipModuleLaunchKernel(grid {grid:?}, {threads} threads)"))
    }
}
