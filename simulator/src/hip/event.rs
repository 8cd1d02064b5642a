//! Events.

use super::hip;
use crate::cuda::event;
use crate::cuda::ffi::Out;
use crate::cuda::table::Handle;

/// `hipEventDisableSystemFence`, `ReleaseToDevice` and `ReleaseToSystem`: the simulator's host sees
/// nothing before it waits, whatever is released.
const FENCE_PREFERENCES: u32 = 0xE000_0000;

#[unsafe(no_mangle)]
extern "C" fn hipEventCreate(created: Out<Handle>) -> u32 {
    hip("hipEventCreate", || event::cuEventCreate(created, 0))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventCreateWithFlags(created: Out<Handle>, flags: u32) -> u32 {
    hip("hipEventCreateWithFlags", || event::cuEventCreate(created, flags & !FENCE_PREFERENCES))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventDestroy(event: Handle) -> u32 {
    hip("hipEventDestroy", || event::cuEventDestroy_v2(event))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventRecord(event: Handle, stream: Handle) -> u32 {
    hip("hipEventRecord", || event::cuEventRecord(event, stream))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) -> u32 {
    hip("hipEventRecordWithFlags", || event::cuEventRecordWithFlags(event, stream, flags))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventQuery(event: Handle) -> u32 {
    hip("hipEventQuery", || event::cuEventQuery(event))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventSynchronize(event: Handle) -> u32 {
    hip("hipEventSynchronize", || event::cuEventSynchronize(event))
}

#[unsafe(no_mangle)]
extern "C" fn hipEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) -> u32 {
    hip("hipEventElapsedTime", || event::cuEventElapsedTime(milliseconds, start, end))
}
