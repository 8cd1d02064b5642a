//! Runs a test in a process of its own, on simulated devices.
#![allow(dead_code)] // each test file uses its part

use std::ffi::{CString, c_void};
use std::process::Command;

use cudarc::driver::sys::{self, CUresult};
use libloading::Library;

/// Names the test that a process runs alone.
const INSIDE: &str = "EXPERTILE_DRIVER_TEST";

/// Whether this process was made to run that test alone.
pub(crate) fn inside(name: &str) -> bool {
    std::env::var(INSIDE).is_ok_and(|inside| inside == name)
}

/// Runs `test` under `simulate sm_90a`, alone in its process.
///
/// The test calls this with its own name; the process made here runs the same test again, and there
/// the body.
pub(crate) fn simulated(name: &str, body: impl FnOnce()) {
    simulated_on("sm_90a", name, body);
}

/// As [`simulated`], with other devices.
pub(crate) fn simulated_on(architectures: &str, name: &str, body: impl FnOnce()) {
    if inside(name) {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
        .arg(architectures)
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "{name} did not run\n{text}");
}

/// The PTX of the tests, as the driver wants it.
pub(crate) fn ptx() -> CString {
    CString::new(include_str!("kernels.ptx")).unwrap()
}

/// The code of a driver call.
pub(crate) fn code(result: CUresult) -> u32 {
    result as u32
}

/// A driver call must succeed.
pub(crate) fn ok(result: CUresult) {
    assert_eq!(result, CUresult::CUDA_SUCCESS, "{}", control::text("expertile_sim_last_refusal"));
}

/// Loads the tests' kernels and gives the handle of one.
pub(crate) fn kernel(name: &str) -> sys::CUfunction {
    let (image, name) = (ptx(), CString::new(name).unwrap());
    let (mut module, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the image and the name end with a NUL and live during the calls.
    unsafe {
        ok(sys::cuModuleLoadData(&mut module, image.as_ptr().cast()));
        ok(sys::cuModuleGetFunction(&mut function, module, name.as_ptr()));
    }
    function
}

/// Launches with raw parameters: the address of each value.
pub(crate) fn launch(
    function: sys::CUfunction,
    blocks: u32,
    threads: u32,
    shared: u32,
    stream: sys::CUstream,
    values: &mut [*mut c_void],
) -> CUresult {
    // SAFETY: the tests pass as many addresses as the kernel has parameters, or mean to fail.
    unsafe {
        sys::cuLaunchKernel(
            function,
            blocks,
            1,
            1,
            threads,
            1,
            1,
            shared,
            stream,
            if values.is_empty() { std::ptr::null_mut() } else { values.as_mut_ptr() },
            std::ptr::null_mut(),
        )
    }
}

/// The address of a kernel parameter.
pub(crate) fn value<T>(value: &mut T) -> *mut c_void {
    (&raw mut *value).cast()
}

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

/// Calls a function of a library with numbers and addresses: at most 11.
pub(crate) fn invoke(library: &Library, name: &str, arguments: &[usize]) -> usize {
    assert!(arguments.len() <= 11);
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: on the 64-bit Linux machines that this is for, integers and addresses are passed in the
    // same places whatever their width, and a function does not look at arguments that it does not have.
    // The tests pass addresses of values that outlive the call, or mean to be refused.
    unsafe {
        let function = library.get::<Function>(name.as_bytes()).unwrap();
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

/// Where a value is.
pub(crate) fn address<T: ?Sized>(value: &mut T) -> usize {
    (&raw mut *value).expose_provenance()
}

/// The control symbols of the loaded driver.
pub(crate) mod control {
    use std::ffi::CString;

    fn library() -> libloading::Library {
        // SAFETY: the stand-in driver's initialisers do nothing.
        unsafe { libloading::Library::new("libcuda.so.1") }.unwrap()
    }

    /// A text that a symbol writes.
    pub(crate) fn text(symbol: &str) -> String {
        let library = library();
        // SAFETY: these symbols have this signature (README of the simulator).
        unsafe {
            type Read = unsafe extern "C" fn(*mut u8, usize) -> usize;
            let read = library.get::<Read>(symbol.as_bytes()).unwrap();
            let mut buffer = vec![0; read(std::ptr::null_mut(), 0)];
            assert_eq!(read(buffer.as_mut_ptr(), buffer.len()), buffer.len());
            assert_eq!(buffer.pop(), Some(0));
            String::from_utf8(buffer).unwrap()
        }
    }

    /// A number of the last launch's counters.
    pub(crate) fn counter(key: &str) -> u64 {
        find(&text("expertile_sim_counters"), key)
    }

    /// A number among `key value` lines.
    pub(crate) fn find(text: &str, key: &str) -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {key} in\n{text}")).parse().unwrap()
    }

    /// How often a driver call was made.
    pub(crate) fn calls(name: &str) -> u64 {
        let (library, name) = (library(), CString::new(name).unwrap());
        // SAFETY: as in `text`.
        unsafe {
            type Calls = unsafe extern "C" fn(*const std::ffi::c_char) -> u64;
            library.get::<Calls>(b"expertile_sim_calls").unwrap()(name.as_ptr())
        }
    }

    /// The number that a symbol returns.
    pub(crate) fn number(symbol: &str) -> u64 {
        let library = library();
        // SAFETY: as in `text`.
        unsafe { library.get::<unsafe extern "C" fn() -> u64>(symbol.as_bytes()).unwrap()() }
    }

    /// Plans failures of this thread's calls.
    pub(crate) fn fail(name: &str, skip: u64, count: u64, code: u32) {
        let (library, name) = (library(), CString::new(name).unwrap());
        // SAFETY: as in `text`.
        unsafe {
            type Fail = unsafe extern "C" fn(*const std::ffi::c_char, u64, u64, u32);
            let fail = library.get::<Fail>(b"expertile_sim_fail").unwrap();
            fail(name.as_ptr(), skip, count, code);
        }
    }

    /// Plans that the device is lost at a call of this thread.
    pub(crate) fn lose_device(name: &str, skip: u64, code: u32) {
        let (library, name) = (library(), CString::new(name).unwrap());
        // SAFETY: as in `text`.
        unsafe {
            type Lose = unsafe extern "C" fn(*const std::ffi::c_char, u64, u32);
            let lose = library.get::<Lose>(b"expertile_sim_lose_device").unwrap();
            lose(name.as_ptr(), skip, code);
        }
    }

    /// Calls a symbol that takes a number.
    pub(crate) fn set(symbol: &str, number: u64) {
        let library = library();
        // SAFETY: as in `text`; a smaller number is passed in the same register.
        unsafe {
            type Set = unsafe extern "C" fn(u64);
            library.get::<Set>(symbol.as_bytes()).unwrap()(number);
        }
    }
}
