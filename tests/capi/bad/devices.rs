//! The calls that are about devices.

use super::Seen;
use super::operators::out_of;
use crate::call::Pointer;
use crate::scene::{Handle, last_error, platform_number};
use expertile::Device;
use expertile::capi::*;
use std::ffi::c_char;
use std::ptr::{null_mut, without_provenance_mut};

struct Refusals<'a> {
    device: &'a Device,
    seen: &'a mut Seen,
}

impl Refusals<'_> {
    fn expect(
        &mut self,
        export: &str,
        argument: &str,
        class: &str,
        value: impl ToString,
        expected: i32,
        status: i32,
    ) {
        let value = value.to_string();
        let text = format!("{export}: {argument}, {class}: {value}: {}", last_error());
        assert_eq!(status, expected, "{text}");
        assert!(!last_error().is_empty(), "{text}");
        self.seen.add(self.device.info().platform, export, argument, class, &value);
    }

    fn count(&mut self) {
        let platform = platform_number(self.device.info().platform);
        let mut counts = [77u32; 3];
        let place = &raw mut counts[1];
        // SAFETY: a place for a count, or a pointer that is refused.
        let call = |platform, pointer: Pointer| unsafe {
            expertile_device_count(platform, pointer.to(place))
        };
        for wrong in out_of(1, 2) {
            let status = call(wrong, Pointer::Right);
            self.expect("device_count", "platform", "enum", wrong, EXPERTILE_INVALID_VALUE, status);
        }
        let status = call(platform, Pointer::Null);
        self.expect("device_count", "count", "null", 0, EXPERTILE_NULL_POINTER, status);
        for off in 1..4 {
            let status = call(platform, Pointer::Off(off));
            let expected = EXPERTILE_INVALID_VALUE;
            self.expect("device_count", "count", "misaligned", off, expected, status);
        }
        assert_eq!(counts, [77; 3]);
    }

    fn open(&mut self) {
        let info = self.device.info();
        let platform = platform_number(info.platform);
        let end = Device::count(info.platform).unwrap();
        let mut handles = [without_provenance_mut::<expertile_device>(77); 3];
        let place = &raw mut handles[1];
        // SAFETY: a place for a handle, or a pointer that is refused.
        let call = |platform, ordinal, pointer: Pointer| unsafe {
            expertile_device_open(platform, ordinal, pointer.to(place))
        };
        for wrong in out_of(1, 2) {
            let status = call(wrong, 0, Pointer::Right);
            self.expect("device_open", "platform", "enum", wrong, EXPERTILE_INVALID_VALUE, status);
        }
        for ordinal in [end, end + 1, 1 << 31, u32::MAX] {
            let status = call(platform, ordinal, Pointer::Right);
            let expected = EXPERTILE_UNAVAILABLE;
            self.expect("device_open", "ordinal", "wrong device", ordinal, expected, status);
        }
        let status = call(platform, 0, Pointer::Null);
        self.expect("device_open", "device", "null", 0, EXPERTILE_NULL_POINTER, status);
        for off in 1..8 {
            let status = call(platform, 0, Pointer::Off(off));
            let expected = EXPERTILE_INVALID_VALUE;
            self.expect("device_open", "device", "misaligned", off, expected, status);
        }
        assert!(handles.iter().all(|handle| handle.addr() == 77));
    }

    /// A handle that was closed is refused by every call, and so is one that never was.
    fn closed(&mut self) {
        let info = self.device.info();
        let closed = {
            let handle = Handle::open(info.platform, info.ordinal);
            handle.0.addr()
        };
        for (class, value, expected) in [
            ("null", 0, EXPERTILE_NULL_POINTER),
            ("closed", closed, EXPERTILE_INVALID_VALUE),
            ("never open", 1 << 40, EXPERTILE_INVALID_VALUE),
            ("never open", usize::MAX, EXPERTILE_INVALID_VALUE),
        ] {
            let handle = without_provenance_mut(value);
            let name = if class == "closed" { "a closed one".into() } else { value.to_string() };
            let mut found = fresh_info();
            // SAFETY: these take any handle, and the struct has the size that it states.
            let statuses = unsafe {
                [
                    ("device_close", expertile_device_close(handle)),
                    ("device_get_info", expertile_device_get_info(handle, &mut found)),
                ]
            };
            for (export, status) in statuses {
                self.expect(export, "device", class, &name, expected, status);
            }
            assert_eq!(found.ordinal, 77);
        }
    }

    fn info(&mut self) {
        let known = self.device.info();
        let handle = Handle::open(known.platform, known.ordinal);
        let mut found = [fresh_info(), fresh_info()];
        let place = &raw mut found[0];
        let size = size_of::<expertile_device_info>() as u32;
        for wrong in [0, 1, 4, size - 64, size - 8, size - 1, size + 1, size + 8, u32::MAX] {
            // SAFETY: `place` leads to a struct.
            let status = unsafe {
                (*place).struct_size = wrong;
                expertile_device_get_info(handle.0, place)
            };
            let expected = EXPERTILE_STRUCT_SIZE;
            self.expect("device_get_info", "struct_size", "stale", wrong, expected, status);
        }
        // SAFETY: `place` leads to a struct; what does not is refused.
        unsafe {
            (*place).struct_size = size;
            let status = expertile_device_get_info(handle.0, null_mut());
            self.expect("device_get_info", "info", "null", 0, EXPERTILE_NULL_POINTER, status);
            for off in 1..8 {
                let status = expertile_device_get_info(handle.0, Pointer::Off(off).to(place));
                let expected = EXPERTILE_INVALID_VALUE;
                self.expect("device_get_info", "info", "misaligned", off, expected, status);
            }
            assert!(found.iter().all(|info| info.ordinal == 77 && info.memory_bytes == 77));
            assert_eq!(expertile_device_get_info(handle.0, &mut found[0]), EXPERTILE_OK);
        }
        let [first, second] = found;
        assert_eq!(second.ordinal, 77);
        assert_eq!(first.platform, platform_number(known.platform));
        assert_eq!((first.ordinal, first.memory_bytes), (known.ordinal, known.memory_bytes));
        let text = |name: [c_char; EXPERTILE_NAME_BYTES]| {
            let bytes = name.into_iter().take_while(|&byte| byte != 0).map(|byte| byte as u8);
            String::from_utf8(bytes.collect()).unwrap()
        };
        assert_eq!(text(first.architecture), known.architecture);
        assert_eq!(text(first.kernels), known.images);
        assert_eq!(text(first.name), known.name);
    }
}

fn fresh_info() -> expertile_device_info {
    expertile_device_info {
        struct_size: size_of::<expertile_device_info>() as u32,
        platform: 77,
        ordinal: 77,
        multiprocessors: 77,
        wave_threads: 77,
        driver_version: 77,
        memory_bytes: 77,
        l2_bytes: 77,
        name: [77; EXPERTILE_NAME_BYTES],
        architecture: [77; EXPERTILE_NAME_BYTES],
        kernels: [77; EXPERTILE_NAME_BYTES],
    }
}

pub(super) fn refuse(device: &Device, seen: &mut Seen) {
    let mut refusals = Refusals { device, seen };
    refusals.count();
    refusals.open();
    refusals.closed();
    refusals.info();
}
