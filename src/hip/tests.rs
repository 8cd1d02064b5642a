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
