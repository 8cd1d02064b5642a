//! Open devices by handle. A handle is a number that never comes again, not an address: one that was
//! closed or never was is refused.

use super::device::expertile_device;
use super::status::Failure;
use crate::device::Device;
use std::sync::{PoisonError, RwLock};

struct Registry {
    next: usize,
    open: Vec<(usize, Device)>,
}

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { next: 1, open: Vec::new() });

pub(super) fn add(device: Device) -> *mut expertile_device {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let handle = registry.next;
    registry.next += 1;
    registry.open.push((handle, device));
    std::ptr::without_provenance_mut(handle)
}

fn closed(call: &'static str, handle: *mut expertile_device) -> Failure {
    if handle.is_null() {
        return Failure::Null { call, argument: "device" };
    }
    Failure::value(call, "device", format!("{handle:?}"), "a handle that is open")
}

/// The device, which stays open for as long as the result lives.
pub(super) fn find(call: &'static str, handle: *mut expertile_device) -> Result<Device, Failure> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let open = registry.open.iter().find(|(number, _)| *number == handle.addr());
    open.map(|(_, device)| device.clone()).ok_or_else(|| closed(call, handle))
}

/// The device, whose handle is no more.
pub(super) fn remove(call: &'static str, handle: *mut expertile_device) -> Result<Device, Failure> {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let place = registry.open.iter().position(|(number, _)| *number == handle.addr());
    let place = place.ok_or_else(|| closed(call, handle))?;
    Ok(registry.open.swap_remove(place).1)
}
