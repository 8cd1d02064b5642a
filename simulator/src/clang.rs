//! Finds and runs clang, for tools and tests that start from HIP C++.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const NAMES: [&str; 5] = ["clang-22", "clang-21", "clang-20", "clang-19", "clang"];

/// Neither HIP's headers nor the device library are used, so no ROCm is needed.
const FLAGS: [&str; 10] = [
    "-xhip",
    "--offload-device-only",
    "--no-gpu-bundle-output",
    "-nogpuinc",
    "-nogpulib",
    "-ffreestanding",
    "-mcode-object-version=5",
    "-O3",
    "-std=c++17",
    "-gline-tables-only",
];

/// Where clang is: `$HIP_CLANG`, ROCm's in `$ROCM_PATH` and `/opt/rocm`, the path.
///
/// # Errors
///
/// One line that says what to install.
pub fn find() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("HIP_CLANG") {
        return Ok(given.into());
    }
    let roots = std::env::var_os("ROCM_PATH").map(PathBuf::from).into_iter();
    let of_rocm = roots.chain([PathBuf::from("/opt/rocm")]).map(|r| r.join("llvm/bin/clang++"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let on_path = NAMES.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    let found = of_rocm.chain(on_path).find(|clang| clang.is_file());
    found.ok_or_else(|| {
        "clang not found: install clang and lld of release 19 or later, or set HIP_CLANG to the path \
         of its clang"
            .to_string()
    })
}

/// Compiles a `.hip` file to a code object for a processor such as `gfx942`, with line information.
///
/// # Errors
///
/// The compiler is missing, or what it said.
pub fn compile(source: &Path, processor: &str, options: &[&str]) -> Result<Vec<u8>, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("simulator-{}-{number}.o", std::process::id());
    let output = std::env::temp_dir().join(name);
    let run = Command::new(find()?)
        .args(FLAGS)
        .arg(format!("--offload-arch={processor}"))
        .args(options)
        .arg("-o")
        .args([output.as_path(), source])
        .output()
        .map_err(|error| format!("clang: {error}"))?;
    let object = std::fs::read(&output);
    // Absent if the compiler failed.
    let _ = std::fs::remove_file(&output);
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    object.map_err(|error| format!("{}: {error}", output.display()))
}
