//! Finding the runtime's library, and every function of it that is called.

use super::sys;
use crate::driver::Platform;
use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The library of one ROCm release after the other, newest first; the last comes with its headers.
const NAMES: [&str; 5] = [
    "libamdhip64.so.8",
    "libamdhip64.so.7",
    "libamdhip64.so.6",
    "libamdhip64.so.5",
    "libamdhip64.so",
];

/// The runtime's functions, each of which was found, but for one of the two that describe a device:
/// [`Runtime::has_r0600`] says which.
pub(super) struct Runtime(sys::Runtime);

impl Deref for Runtime {
    type Target = sys::Runtime;

    fn deref(&self) -> &sys::Runtime {
        &self.0
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl Runtime {
    /// Whether devices are described by `hipGetDevicePropertiesR0600`, else by
    /// `hipGetDeviceProperties`.
    pub(super) fn has_r0600(&self) -> bool {
        self.hipGetDevicePropertiesR0600.is_ok()
    }
}

/// The runtime, once its library was found whole.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| find(|variable| std::env::var_os(variable)))
        .as_ref()
        .map_err(|reason| Error::Unavailable { platform: Platform::Hip, reason: reason.clone() })
}

/// Tries the library that `EXPERTILE_HIP_LIBRARY` names and no other; or those of `HIP_PATH` and
/// `ROCM_PATH`, those that the loader finds, and those of `/opt/rocm`.
fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Runtime, String> {
    let mut reasons = Vec::new();
    if let Some(library) = variable("EXPERTILE_HIP_LIBRARY") {
        return open(&library).map_err(|reason| format!("EXPERTILE_HIP_LIBRARY: {reason}"));
    }
    let folders = ["HIP_PATH", "ROCM_PATH"].into_iter().filter_map(variable);
    let folders = folders.map(|root| Path::new(&root).join("lib"));
    let by_loader = NAMES.map(PathBuf::from);
    for candidate in folders.chain(by_loader).chain([PathBuf::from("/opt/rocm/lib")]) {
        // A folder's path is absolute or has several parts; a bare name is the loader's to find.
        let libraries = if candidate.components().count() > 1 {
            let present = NAMES.map(|name| candidate.join(name)).into_iter();
            let present: Vec<PathBuf> = present.filter(|path| path.exists()).collect();
            if present.is_empty() {
                reasons.push(format!("{}: no libamdhip64.so", candidate.display()));
            }
            present
        } else {
            vec![candidate]
        };
        for library in libraries {
            match open(library.as_os_str()) {
                Ok(runtime) => return Ok(runtime),
                Err(reason) => reasons.push(reason),
            }
        }
    }
    Err(format!("no HIP runtime: {}", reasons.join("; ")))
}

/// Loads one library; the reason why not is one line.
fn open(library: &OsStr) -> Result<Runtime, String> {
    // SAFETY: loading the runtime runs its initialisers, which is what every HIP program does.
    let table = unsafe { sys::Runtime::new(library) };
    let table = table.map_err(|error| reason(&error))?;
    complete(table).map_err(|function| format!("{} lacks {function}", library.display()))
}

/// The loader's own words: `libamdhip64.so.7: cannot open shared object file: ...`.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| source.to_string()).replace('\n', " ")
}

/// A table whose functions can all be called, or the name of the first that is missing.
fn complete(table: sys::Runtime) -> Result<Runtime, &'static str> {
    let described =
        table.hipGetDevicePropertiesR0600.is_ok() || table.hipGetDeviceProperties.is_ok();
    let functions = [
        ("hipRuntimeGetVersion", table.hipRuntimeGetVersion.is_ok()),
        ("hipGetErrorName", table.hipGetErrorName.is_ok()),
        ("hipGetDeviceCount", table.hipGetDeviceCount.is_ok()),
        ("hipGetDevice", table.hipGetDevice.is_ok()),
        ("hipSetDevice", table.hipSetDevice.is_ok()),
        ("hipDeviceSynchronize", table.hipDeviceSynchronize.is_ok()),
        ("hipDeviceGetAttribute", table.hipDeviceGetAttribute.is_ok()),
        ("hipDeviceGetName", table.hipDeviceGetName.is_ok()),
        ("hipDeviceTotalMem", table.hipDeviceTotalMem.is_ok()),
        ("hipGetDevicePropertiesR0600 and hipGetDeviceProperties", described),
        ("hipMalloc", table.hipMalloc.is_ok()),
        ("hipFree", table.hipFree.is_ok()),
        ("hipMemcpyHtoDAsync", table.hipMemcpyHtoDAsync.is_ok()),
        ("hipMemcpyDtoHAsync", table.hipMemcpyDtoHAsync.is_ok()),
        ("hipMemcpyDtoDAsync", table.hipMemcpyDtoDAsync.is_ok()),
        ("hipMemsetD8Async", table.hipMemsetD8Async.is_ok()),
        ("hipStreamCreateWithFlags", table.hipStreamCreateWithFlags.is_ok()),
        ("hipStreamDestroy", table.hipStreamDestroy.is_ok()),
        ("hipStreamSynchronize", table.hipStreamSynchronize.is_ok()),
        ("hipStreamWaitEvent", table.hipStreamWaitEvent.is_ok()),
        ("hipGetStreamDeviceId", table.hipGetStreamDeviceId.is_ok()),
        ("hipEventCreateWithFlags", table.hipEventCreateWithFlags.is_ok()),
        ("hipEventDestroy", table.hipEventDestroy.is_ok()),
        ("hipEventRecord", table.hipEventRecord.is_ok()),
        ("hipEventSynchronize", table.hipEventSynchronize.is_ok()),
        ("hipEventElapsedTime", table.hipEventElapsedTime.is_ok()),
        ("hipStreamBeginCapture", table.hipStreamBeginCapture.is_ok()),
        ("hipStreamEndCapture", table.hipStreamEndCapture.is_ok()),
        ("hipGraphInstantiateWithFlags", table.hipGraphInstantiateWithFlags.is_ok()),
        ("hipGraphLaunch", table.hipGraphLaunch.is_ok()),
        ("hipGraphDestroy", table.hipGraphDestroy.is_ok()),
        ("hipGraphExecDestroy", table.hipGraphExecDestroy.is_ok()),
        ("hipModuleLoadData", table.hipModuleLoadData.is_ok()),
        ("hipModuleUnload", table.hipModuleUnload.is_ok()),
        ("hipModuleGetFunction", table.hipModuleGetFunction.is_ok()),
        ("hipModuleLaunchKernel", table.hipModuleLaunchKernel.is_ok()),
    ];
    match functions.into_iter().find(|(_, found)| !found) {
        Some((function, _)) => Err(function),
        None => Ok(Runtime(table)),
    }
}

#[cfg(test)]
mod tests {
    use super::{complete, find, sys};

    /// What is found with one variable set.
    fn find_with(name: &str, value: &str) -> String {
        let found = find(|variable| (variable == name).then(|| value.into()));
        found.map_or_else(|reason| reason, |_| "found".to_owned())
    }

    #[test]
    fn what_was_tried_is_said_in_one_line() {
        let reason = find_with("EXPERTILE_HIP_LIBRARY", "/nonexistent/lib.so");
        assert!(reason.starts_with("EXPERTILE_HIP_LIBRARY: /nonexistent/lib.so: "), "{reason}");
        let reason = find_with("ROCM_PATH", "/nonexistent");
        assert!(
            reason == "found"
                || reason.starts_with("no HIP runtime: /nonexistent/lib: no libamdhip64.so; ")
                    && reason.contains("; libamdhip64.so.5: ")
                    && reason.contains("; /opt/rocm/lib"),
            "{reason}"
        );
        assert!(!reason.contains('\n'), "{reason}");
    }

    #[test]
    fn a_library_without_a_function_is_refused_by_its_name() {
        let reason = find_with("EXPERTILE_HIP_LIBRARY", "libc.so.6");
        let expected = "EXPERTILE_HIP_LIBRARY: libc.so.6 lacks hipRuntimeGetVersion";
        assert_eq!(reason, expected);
    }

    /// Every function of the table is asked for: a wrapper panics if its own is missing.
    #[test]
    fn every_function_is_required() {
        let source = include_str!("probe.rs");
        let header = include_str!("hip.h");
        let declared = header.split(['*', ' ', '\n']).filter_map(|word| word.split_once('('));
        let mut functions = 0;
        for (function, _) in declared.filter(|(word, _)| word.starts_with("hip")) {
            assert!(source.contains(&format!("table.{function}.is_ok()")), "{function}");
            functions += 1;
        }
        assert_eq!(functions, 37);
        let _: fn(sys::Runtime) -> Result<super::Runtime, &'static str> = complete;
    }
}
