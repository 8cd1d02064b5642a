//! What a caller cannot cause: panics, texts too long; and what holds for every export.

use super::panic::{guard, or};
use super::status::{EXPERTILE_INTERNAL, EXPERTILE_INVALID_VALUE, Failure};
use super::text::{EXPERTILE_ERROR_BYTES, expertile_last_error, expertile_last_error_copy};
use super::{expertile_status_text, expertile_version};
use std::ffi::{CStr, c_char};

fn text(pointer: *const c_char) -> String {
    // SAFETY: the texts of this library end with a NUL and live long enough to be copied.
    unsafe { CStr::from_ptr(pointer) }.to_str().expect("texts are UTF-8").to_owned()
}

/// A payload whose drop panics as well.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_panic_is_a_status_with_a_text() {
    assert_eq!(guard(|| panic!("planned {}", 7)), EXPERTILE_INTERNAL);
    assert_eq!(text(expertile_last_error()), "expertile: internal error: planned 7");
    assert_eq!(guard(|| std::panic::panic_any(Bomb)), EXPERTILE_INTERNAL);
    assert_eq!(text(expertile_last_error()), "expertile: internal error: a panic without a text");
    assert_eq!(or(5, || std::panic::panic_any(Bomb)), 5);
}

#[test]
fn a_text_that_is_too_long_is_cut_between_characters() {
    let long = "\u{e9}".repeat(EXPERTILE_ERROR_BYTES);
    let failed = guard(|| Err(Failure::value("call", "argument", &long, "short")));
    assert_eq!(failed, EXPERTILE_INVALID_VALUE);
    let kept = text(expertile_last_error());
    assert_eq!(kept.len(), EXPERTILE_ERROR_BYTES - 2, "one byte of a character did not fit");

    // SAFETY: there is as much room as stated.
    unsafe {
        assert_eq!(expertile_last_error_copy(std::ptr::null_mut(), 0), kept.len() + 1);
        let mut room = [1; 9];
        assert_eq!(expertile_last_error_copy(room.as_mut_ptr(), 8), kept.len() + 1);
        assert_eq!(text(room.as_ptr()), "call: a");
        assert_eq!(room[8], 1);
        assert_eq!(expertile_last_error_copy(room.as_mut_ptr(), 0), kept.len() + 1);
        assert_eq!(text(room.as_ptr()), "call: a");
    }
}

#[test]
fn threads_have_errors_of_their_own() {
    assert_ne!(guard(|| Err(Failure::Null { call: "here", argument: "x" })), 0);
    let other = std::thread::spawn(|| text(expertile_last_error())).join();
    assert_eq!(other.expect("no panic"), "");
    assert_eq!(text(expertile_last_error()), "here: x is null");
}

#[test]
fn every_status_has_a_text_of_its_own() {
    let texts: Vec<String> = (0..=10).map(|status| text(expertile_status_text(status))).collect();
    for (status, one) in texts.iter().enumerate() {
        assert!(!one.is_empty() && !texts[..status].contains(one), "{status}: {one}");
    }
    for status in [i32::MIN, -1, 11, i32::MAX] {
        assert_eq!(text(expertile_status_text(status)), "unknown status");
    }
    assert_eq!(text(expertile_version()), env!("CARGO_PKG_VERSION"));
}

/// By the source: the next thing in an export's body, but for a safety comment, is a guard.
#[test]
fn every_export_ends_panics() {
    let sources = [
        include_str!("combine.rs"),
        include_str!("device.rs"),
        include_str!("dispatch.rs"),
        include_str!("grouped_gemm.rs"),
        include_str!("layer_norm.rs"),
        include_str!("linear.rs"),
        include_str!("moe.rs"),
        include_str!("packet_pack.rs"),
        include_str!("packet_unpack.rs"),
        include_str!("rms_norm.rs"),
        include_str!("rope.rs"),
        include_str!("router.rs"),
        include_str!("router_loss.rs"),
        include_str!("status.rs"),
        include_str!("text.rs"),
        include_str!("version.rs"),
    ];
    let header = include_str!("../../include/expertile.h");
    let mut exports = 0;
    for export in sources.iter().flat_map(|source| source.split("#[unsafe(no_mangle)]").skip(1)) {
        let end = export.find("\n}\n").expect("a body");
        let signature = &export[..export.find('{').expect("a body")];
        let name = signature.split(['(', ' ']).find(|word| word.starts_with("expertile_"));
        let name = name.expect("a name");
        let body = &export[..end];
        assert!(body.contains("    guard(|| ") || body.contains("    or("), "{name}");
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
        exports += 1;
    }
    let declared = header.lines().filter(|line| line.starts_with("int32_t expertile_")).count();
    assert!(exports > declared && declared >= 40, "{exports} exports, {declared} with a status");
}
