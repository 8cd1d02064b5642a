//! Streams and their capture.

use super::device::of_thread;
use super::{call, hip};
use crate::cuda::context::cuCtxGetStreamPriorityRange;
use crate::cuda::ffi::{InOut, Out};
use crate::cuda::table::Handle;
use crate::cuda::{capture, capture_rules, stream};

#[unsafe(no_mangle)]
extern "C" fn hipStreamCreate(created: Out<Handle>) -> u32 {
    hip("hipStreamCreate", || stream::cuStreamCreate(created, 0))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamCreateWithFlags(created: Out<Handle>, flags: u32) -> u32 {
    hip("hipStreamCreateWithFlags", || stream::cuStreamCreate(created, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamCreateWithPriority(created: Out<Handle>, flags: u32, priority: i32) -> u32 {
    hip("hipStreamCreateWithPriority", || {
        stream::cuStreamCreateWithPriority(created, flags, priority)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipDeviceGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) -> u32 {
    hip("hipDeviceGetStreamPriorityRange", || cuCtxGetStreamPriorityRange(least, greatest))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamDestroy(stream: Handle) -> u32 {
    hip("hipStreamDestroy", || stream::cuStreamDestroy_v2(stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamSynchronize(stream: Handle) -> u32 {
    hip("hipStreamSynchronize", || stream::cuStreamSynchronize(stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamQuery(stream: Handle) -> u32 {
    hip("hipStreamQuery", || stream::cuStreamQuery(stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamWaitEvent(stream: Handle, event: Handle, flags: u32) -> u32 {
    hip("hipStreamWaitEvent", || stream::cuStreamWaitEvent(stream, event, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamGetDevice(stream: Handle, device: Out<i32>) -> u32 {
    hip("hipStreamGetDevice", || stream::cuStreamGetDevice(stream, device))
}

/// The device's number is the result; -1 if there is none. A lost device has its number still.
#[unsafe(no_mangle)]
extern "C" fn hipGetStreamDeviceId(stream: Handle) -> i32 {
    let mut found = -1;
    call("hipGetStreamDeviceId", |driver| {
        let device = match stream {
            0..=2 => of_thread(),
            _ => driver.device_of(driver.streams.get(stream)?.context)?,
        };
        found = device as i32;
        Ok(())
    });
    found
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamGetFlags(stream: Handle, flags: Out<u32>) -> u32 {
    hip("hipStreamGetFlags", || stream::cuStreamGetFlags(stream, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamGetPriority(stream: Handle, priority: Out<i32>) -> u32 {
    hip("hipStreamGetPriority", || stream::cuStreamGetPriority(stream, priority))
}

#[unsafe(no_mangle)]
extern "C" fn hipLaunchHostFunc(
    stream: Handle,
    function: Option<unsafe extern "C" fn(usize)>,
    argument: usize,
) -> u32 {
    hip("hipLaunchHostFunc", || stream::cuLaunchHostFunc(stream, function, argument))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamAddCallback(
    stream: Handle,
    function: Option<unsafe extern "C" fn(usize, u32, usize)>,
    argument: usize,
    flags: u32,
) -> u32 {
    hip("hipStreamAddCallback", || stream::cuStreamAddCallback(stream, function, argument, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipThreadExchangeStreamCaptureMode(mode: InOut<u32>) -> u32 {
    hip("hipThreadExchangeStreamCaptureMode", || {
        capture_rules::cuThreadExchangeStreamCaptureMode(mode)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamBeginCapture(stream: Handle, mode: u32) -> u32 {
    hip("hipStreamBeginCapture", || capture::cuStreamBeginCapture_v2(stream, mode))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamEndCapture(stream: Handle, graph: Out<Handle>) -> u32 {
    hip("hipStreamEndCapture", || capture::cuStreamEndCapture(stream, graph))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamIsCapturing(stream: Handle, found: Out<u32>) -> u32 {
    hip("hipStreamIsCapturing", || capture::cuStreamIsCapturing(stream, found))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamGetCaptureInfo(stream: Handle, found: Out<u32>, id: Out<u64>) -> u32 {
    hip("hipStreamGetCaptureInfo", || capture::cuStreamGetCaptureInfo(stream, found, id))
}

#[unsafe(no_mangle)]
extern "C" fn hipStreamGetCaptureInfo_v2(
    stream: Handle,
    found: Out<u32>,
    id: Out<u64>,
    graph: usize,
    nodes: usize,
    count: usize,
) -> u32 {
    hip("hipStreamGetCaptureInfo_v2", || {
        capture::cuStreamGetCaptureInfo_v2(stream, found, id, graph, nodes, count)
    })
}
