use super::panic::or;
use std::ffi::{CStr, c_char};

/// The version of this header. It grows by one when something is added; what is there stays as it is
/// for as long as the library's soname does.
pub const EXPERTILE_ABI_VERSION: u32 = 1;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The EXPERTILE_ABI_VERSION that the library was built with: at least the header's, if they fit.
#[unsafe(no_mangle)]
pub extern "C" fn expertile_abi_version() -> u32 {
    or(0, || EXPERTILE_ABI_VERSION)
}

/// The library's release, for example "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn expertile_version() -> *const c_char {
    or(c"".as_ptr(), || VERSION.as_ptr())
}
