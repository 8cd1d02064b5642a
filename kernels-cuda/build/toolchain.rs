//! Where the compilers are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first release whose PTX and flags are those expected here.
const MAJOR_RELEASE: u32 = 13;

/// The release that the registers of the Budget lines were counted with.
pub(crate) const BUDGET_RELEASE: &str = "13.0";

/// What an error calls it.
pub(crate) const MISSING: &str = "CUDA compiler";

/// What an error advises.
pub(crate) const REMEDY: &str =
    "run `make toolchain` in the repository, or install nvcc 13 and set NVCC to its path";

/// The folder of nvcc, ptxas and fatbinary.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    bin: PathBuf,
    /// For example `13.0`.
    pub(crate) release: String,
}

impl Toolchain {
    /// The path of a tool beside nvcc.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A tool that only some installations have.
    pub(crate) fn optional_tool(&self, name: &str) -> Option<PathBuf> {
        Some(self.tool(name)).filter(|path| path.is_file())
    }
}

/// Looks for nvcc: `$NVCC`, what `make toolchain` installed, `PATH`, `$CUDA_HOME`, the usual place.
/// An empty `$NVCC` is none, whatever there is.
pub(crate) fn find(package: &Path) -> Result<Option<Toolchain>, String> {
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if let Some(nvcc) = env::var_os("NVCC").map(PathBuf::from) {
        return if nvcc.as_os_str().is_empty() { Ok(None) } else { open(&nvcc).map(Some) };
    }
    let installed = package.join("../.toolchain/cuda/nvidia/cu13/bin");
    let on_path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(installed)
        .chain(env::split_paths(&on_path))
        .chain(env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin")))
        .chain(std::iter::once(PathBuf::from("/usr/local/cuda/bin")));
    let mut refused = None;
    for nvcc in folders.map(|folder| folder.join("nvcc")).filter(|nvcc| nvcc.is_file()) {
        match open(&nvcc) {
            Ok(toolchain) => return Ok(Some(toolchain)),
            Err(message) => refused = Some(message),
        }
    }
    refused.map_or(Ok(None), |message| {
        println!("cargo::warning={message}");
        Ok(None)
    })
}

fn open(nvcc: &Path) -> Result<Toolchain, String> {
    let nvcc = nvcc.canonicalize().map_err(|error| format!("{}: {error}", nvcc.display()))?;
    let output = Command::new(&nvcc)
        .arg("--version")
        .output()
        .map_err(|error| format!("{}: {error}", nvcc.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let release = text
        .split_once("release ")
        .and_then(|(_, rest)| rest.split(',').next())
        .ok_or_else(|| format!("{} --version names no release", nvcc.display()))?;
    let major: u32 = release.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < MAJOR_RELEASE {
        let nvcc = nvcc.display();
        return Err(format!(
            "{nvcc} is of release {release}, {MAJOR_RELEASE}.0 or later is needed"
        ));
    }
    let bin = nvcc.parent().map(Path::to_path_buf).unwrap_or_default();
    println!("cargo::rerun-if-changed={}", nvcc.display());
    Ok(Toolchain { bin, release: release.to_owned() })
}
