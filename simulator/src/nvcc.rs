//! Finds and runs nvcc, for tools and tests that start from CUDA C++.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where nvcc is: `$NVCC`, `.toolchain/cuda/nvidia/cu13/bin` in this or a parent folder, the path,
/// `$CUDA_HOME/bin`, `/usr/local/cuda/bin`.
///
/// # Errors
///
/// One line that says what to install.
pub fn find() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("NVCC") {
        return Ok(given.into());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        here.ancestors().map(|folder| folder.join(".toolchain/cuda/nvidia/cu13/bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.extend(std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin")));
    folders.push("/usr/local/cuda/bin".into());
    let found = folders.into_iter().map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file());
    found.ok_or_else(|| {
        "nvcc not found: install CUDA 13.0 or set NVCC to the path of its nvcc".to_string()
    })
}

/// Compiles a `.cu` file to PTX for an architecture such as `sm_90a`, with line information.
///
/// # Errors
///
/// The compiler is missing, or what it said.
pub fn compile(source: &Path, architecture: &str, options: &[&str]) -> Result<String, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("simulator-{}-{number}.ptx", std::process::id());
    let output = std::env::temp_dir().join(name);
    let run = Command::new(find()?)
        .args(["-ptx", "-std=c++17", "-lineinfo", &format!("-arch={architecture}"), "-o"])
        .arg(&output)
        .args(options)
        .arg(source)
        .output()
        .map_err(|error| format!("nvcc: {error}"))?;
    let text = std::fs::read_to_string(&output);
    // Absent if the compiler failed.
    let _ = std::fs::remove_file(&output);
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    text.map_err(|error| format!("{}: {error}", output.display()))
}
