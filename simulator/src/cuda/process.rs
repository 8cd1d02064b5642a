//! `cuGetProcAddress`: the address of a driver call by its name and version.

use std::ffi::{CString, c_char, c_int, c_void};

use super::error::{Code, refuse};
use super::ffi::{Out, Text, call_before_init};

/// Names whose later form has a suffix, and the CUDA version that brought it.
const VERSIONED: &[(&str, &str, i32)] = &[
    ("cuCtxCreate", "_v2", 3020),
    ("cuCtxCreate", "_v3", 11040),
    ("cuCtxCreate", "_v4", 12050),
    ("cuCtxDestroy", "_v2", 4000),
    ("cuCtxGetDevice", "_v2", 13000),
    ("cuCtxPopCurrent", "_v2", 4000),
    ("cuCtxPushCurrent", "_v2", 4000),
    ("cuCtxSynchronize", "_v2", 13000),
    ("cuDeviceGetUuid", "_v2", 11040),
    ("cuDevicePrimaryCtxRelease", "_v2", 11000),
    ("cuDevicePrimaryCtxReset", "_v2", 11000),
    ("cuDevicePrimaryCtxSetFlags", "_v2", 11000),
    ("cuDeviceTotalMem", "_v2", 3020),
    ("cuEventDestroy", "_v2", 4000),
    ("cuEventElapsedTime", "_v2", 12080),
    ("cuGetProcAddress", "_v2", 12000),
    ("cuGraphInstantiate", "WithFlags", 12000),
    ("cuMemAlloc", "_v2", 3020),
    ("cuMemAllocHost", "_v2", 3020),
    ("cuMemAllocPitch", "_v2", 3020),
    ("cuMemFree", "_v2", 3020),
    ("cuMemGetAddressRange", "_v2", 3020),
    ("cuMemGetInfo", "_v2", 3020),
    ("cuMemHostRegister", "_v2", 4000),
    ("cuMemcpyDtoD", "_v2", 3020),
    ("cuMemcpyDtoDAsync", "_v2", 3020),
    ("cuMemcpyDtoH", "_v2", 3020),
    ("cuMemcpyDtoHAsync", "_v2", 3020),
    ("cuMemcpyHtoD", "_v2", 3020),
    ("cuMemcpyHtoDAsync", "_v2", 3020),
    ("cuMemsetD16", "_v2", 3020),
    ("cuMemsetD32", "_v2", 3020),
    ("cuMemsetD8", "_v2", 3020),
    ("cuModuleGetGlobal", "_v2", 3020),
    ("cuStreamBeginCapture", "_v2", 10010),
    ("cuStreamDestroy", "_v2", 4000),
    ("cuStreamGetCaptureInfo", "_v2", 11030),
    ("cuStreamGetCaptureInfo", "_v3", 12030),
    ("cuStreamGetCtx", "_v2", 12050),
];

/// `Dl_info` of `dladdr`.
#[repr(C)]
struct Location {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

const RTLD_LAZY: c_int = 1;
const RTLD_NOLOAD: c_int = 4;
const RTLD_NODELETE: c_int = 0x1000;

unsafe extern "C" {
    fn dladdr(address: *const c_void, location: *mut Location) -> c_int;
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// The very library that this code is in, whatever its name; null if it cannot be told.
fn own_library(mode: c_int) -> *mut c_void {
    let here = own_library as *const c_void;
    let mut location = Location {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: the address is of this function, the result is written to `location`; the file's name
    // stays valid while the library is loaded, which it is; without it dlopen finds the program.
    unsafe {
        if dladdr(here, &raw mut location) == 0 {
            return std::ptr::null_mut();
        }
        dlopen(location.file, RTLD_LAZY | RTLD_NOLOAD | mode)
    }
}

fn own_symbol(name: &str) -> usize {
    let Ok(name) = CString::new(name) else { return 0 };
    let library = own_library(0);
    // SAFETY: the library is loaded, the name ends with a NUL.
    if library.is_null() { 0 } else { unsafe { dlsym(library, name.as_ptr()).addr() } }
}

/// Whoever closes the library does not unload it: a thread of it runs.
pub(crate) fn keep_loaded() {
    own_library(RTLD_NODELETE);
}

fn find(
    symbol: &'static str,
    name: Text,
    address: Out<usize>,
    version: i32,
    found: Out<u32>,
) -> u32 {
    const FOUND: u32 = 0;
    const NOT_FOUND: u32 = 1;
    call_before_init(symbol, |_| {
        let name = name.text()?;
        let latest = VERSIONED.iter().rev().find(|row| row.0 == name && row.2 <= version);
        let suffix = latest.map_or("", |row| row.1);
        let start = match own_symbol(&format!("{name}{suffix}")) {
            0 if !suffix.is_empty() => own_symbol(&name),
            start => start,
        };
        address.set(start)?;
        found.set_if_given(if start == 0 { NOT_FOUND } else { FOUND });
        match start {
            0 => refuse(Code::NOT_FOUND, format!("no driver call {name}")),
            _ => Ok(()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress_v2(
    name: Text,
    address: Out<usize>,
    version: i32,
    _flags: u64,
    found: Out<u32>,
) -> u32 {
    find("cuGetProcAddress_v2", name, address, version, found)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress(name: Text, address: Out<usize>, version: i32, _flags: u64) -> u32 {
    find("cuGetProcAddress", name, address, version, super::ffi::out(0))
}

/// Profilers that watch the process see nothing special.
#[unsafe(no_mangle)]
extern "C" fn cuProfilerStart() -> u32 {
    super::ffi::call("cuProfilerStart", |_| Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn cuProfilerStop() -> u32 {
    super::ffi::call("cuProfilerStop", |_| Ok(()))
}
