//! What only the runtime itself can tell.

use super::probe::runtime;
use crate::{Buffer, Device, Platform, Result};
use std::ffi::c_int;

/// The thread's current device.
fn current() -> Result<c_int> {
    let mut device = -1;
    // SAFETY: `device` is a place for an int.
    let code = unsafe { runtime()?.hipGetDevice(&mut device) };
    assert_eq!(code, 0);
    Ok(device)
}

/// An engine's thread has a current device of its own, and the next launches of the engine go there.
#[test]
fn a_thread_keeps_its_own_device() -> Result<()> {
    let count = Device::count(Platform::Hip).unwrap_or(0);
    if count < 2 {
        eprintln!("skipped: {count} HIP devices, and two are needed");
        return Ok(());
    }
    for own in [0, 1] {
        // SAFETY: takes any number.
        let code = unsafe { runtime()?.hipSetDevice(own) };
        assert_eq!(code, 0);
        let device = Device::hip(1 - own as u32)?;
        assert_eq!(current()?, own, "after open");
        let stream = device.stream()?;
        let buffer = Buffer::from_slice(&stream, &[1.5f32, -2.0])?;
        assert_eq!(buffer.read::<f32>(&stream)?, [1.5, -2.0]);
        assert_eq!(current()?, own, "after copies");
        drop((buffer, stream, device));
        assert_eq!(current()?, own, "after drop");
    }
    Ok(())
}

/// The stream is a handle of the same runtime; whoever made it keeps it.
#[cfg(feature = "rocm-rs")]
#[test]
fn a_stream_of_rocm_rs_is_borrowed() -> Result<()> {
    for ordinal in 0..Device::count(Platform::Hip).unwrap_or(0) {
        let device = Device::hip(ordinal)?;
        let owner = device.stream()?;
        let theirs = ::rocm_rs::hip::Stream::from_raw(owner.raw() as *mut _);
        let theirs = std::mem::ManuallyDrop::new(theirs);
        // SAFETY: the owner outlives the borrow.
        let stream = unsafe { crate::Stream::from_rocm_rs(&device, &theirs) }?;
        assert_eq!(stream.raw(), owner.raw());
        let buffer = Buffer::from_slice(&stream, &[1.5f32, -2.0])?;
        assert_eq!(buffer.read::<f32>(&stream)?, [1.5, -2.0]);
        drop(stream);
        owner.synchronize()?;
    }
    Ok(())
}
