//! The stand-in `libamdhip64.so` by names and numbers.
#![allow(dead_code)] // each test file uses its part

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use libloading::Library;

type Function = unsafe extern "C" fn(
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> usize;

/// Loaded once: the current device would be forgotten with it.
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let path = std::env::var_os("EXPERTILE_HIP_LIBRARY").unwrap();
    // SAFETY: the stand-in driver's initialisers do nothing.
    unsafe { Library::new(path) }.unwrap()
});

/// Calls a function of the library with numbers and addresses, see [`address`]: at most 11.
pub(crate) fn result(name: &str, arguments: &[usize]) -> usize {
    assert!(arguments.len() <= 11);
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: on the 64-bit Linux machines that this is for, integers and addresses are passed in the
    // same places whatever their width, and a function does not look at arguments that it does not have.
    // The tests pass addresses of values that outlive the call, or mean to be refused.
    unsafe {
        let function = LIBRARY.get::<Function>(name.as_bytes()).unwrap();
        function(
            argument(0),
            argument(1),
            argument(2),
            argument(3),
            argument(4),
            argument(5),
            argument(6),
            argument(7),
            argument(8),
            argument(9),
            argument(10),
        )
    }
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

/// Where a value is.
pub(crate) fn address<T: ?Sized>(value: &mut T) -> usize {
    (&raw mut *value).expose_provenance()
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
