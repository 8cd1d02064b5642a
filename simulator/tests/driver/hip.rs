//! The stand-in `libamdhip64.so` by names and numbers.
#![allow(dead_code)] // each test file uses its part

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use libloading::Library;

pub(crate) use super::support::address;
use super::support::invoke;

/// Loaded once: the current device would be forgotten with it.
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let path = std::env::var_os("EXPERTILE_HIP_LIBRARY").unwrap();
    // SAFETY: the stand-in driver's initialisers do nothing.
    unsafe { Library::new(path) }.unwrap()
});

/// Calls a function of the library with numbers and addresses: at most 11.
pub(crate) fn result(name: &str, arguments: &[usize]) -> usize {
    invoke(&LIBRARY, name, arguments)
}

/// The code of a call.
pub(crate) fn hip(name: &str, arguments: &[usize]) -> u32 {
    result(name, arguments) as u32
}

/// A call must succeed.
pub(crate) fn ok(name: &str, arguments: &[usize]) {
    let code = hip(name, arguments);
    assert_eq!(code, 0, "{}", super::support::control::text("expertile_sim_last_refusal"));
}

/// What a call writes where its first argument points.
pub(crate) fn made<T: Default>(name: &str, rest: &[usize]) -> T {
    let mut value = T::default();
    let arguments: Vec<usize> =
        [address(&mut value)].into_iter().chain(rest.iter().copied()).collect();
    ok(name, &arguments);
    value
}

/// The text that a call returns.
pub(crate) fn returned_text(name: &str, code: u32) -> String {
    let text = std::ptr::with_exposed_provenance::<c_char>(result(name, &[code as usize]));
    // SAFETY: the call returns a text that lives as long as the library.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

/// The tests' kernel as a code object, with `clang-22`; none without it.
pub(crate) fn code_object(processor: &str) -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver/scale.hip");
    let name = format!("expertile-hip-test-{}-{processor}.co", std::process::id());
    let object = std::env::temp_dir().join(name);
    let compiled = Command::new("clang-22")
        .args(["-x", "hip", "--offload-device-only", "--no-gpu-bundle-output", "-nogpuinc"])
        .args(["-nogpulib", "-ffreestanding", "-mcode-object-version=5", "-O3", "-std=c++17"])
        .arg(format!("--offload-arch={processor}"))
        .arg(source)
        .arg("-o")
        .arg(&object)
        .output();
    let Ok(output) = compiled else {
        let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
        assert!(!required.contains("hip"), "no clang-22, and EXPERTILE_REQUIRE names hip");
        eprintln!("skipped: no clang-22");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&object).unwrap();
    std::fs::remove_file(&object).unwrap();
    Some(bytes)
}
