//! Runs a command on simulated devices.
//!
//! ```text
//! simulate ARCH[,ARCH] COMMAND [ARGUMENT...]
//! ```
//!
//! The stand-in drivers are one library beside this program. It gets its drivers' names only in a folder
//! of its own that exists while the command runs: a library called `libcuda.so` in `target/` would be
//! found by programs that nobody meant to simulate.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const LIBRARY: &str = "libexpertile_simulator.so";
/// The copy, and other names for it: loaded under any of them, it is one library with one state.
const NAME: &str = "libcuda.so.1";
const ALIASES: [&str; 5] =
    ["libcuda.so", HIP_NAME, "libamdhip64.so.5", "libamdhip64.so.6", "libamdhip64.so.7"];
const HIP_NAME: &str = "libamdhip64.so";
const USAGE: &str = "usage: simulate ARCH[,ARCH] COMMAND [ARGUMENT...], for example: \
                     simulate sm_90a,gfx942 cargo test";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            eprintln!("simulate: {message}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let mut arguments = std::env::args_os().skip(1);
    let architectures = arguments.next().ok_or(USAGE)?;
    let program = arguments.next().ok_or(USAGE)?;
    let library = find_library()?;
    let folder = Folder::new()?;
    // A copy: the command may be a build that writes the library anew.
    let driver = folder.0.join(NAME);
    let failed = |error| format!("{}: {error}", folder.0.display());
    std::fs::copy(&library, &driver).map_err(failed)?;
    for alias in ALIASES {
        symlink(&driver, folder.0.join(alias)).map_err(failed)?;
    }
    let status = Command::new(&program)
        .args(arguments)
        .env("EXPERTILE_SIM_ARCH", architectures)
        .env("EXPERTILE_HIP_LIBRARY", folder.0.join(HIP_NAME))
        .env("LD_LIBRARY_PATH", library_path(&folder.0))
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.unwrap_or(1) as u8))
}

/// The stand-in driver: beside this program, where `cargo build` puts it, or in `deps`, where cargo
/// leaves one that it builds for a test or a run. The newer one belongs to this program.
fn find_library() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().ok_or("this program lies in no folder")?;
    let places = [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)];
    let made = |place: &PathBuf| place.metadata().and_then(|metadata| metadata.modified()).ok();
    let newest = places.into_iter().filter(|place| made(place).is_some()).max_by_key(made);
    newest.ok_or_else(|| {
        format!(
            "{LIBRARY} is not in {} nor in its deps: cargo build -p expertile-simulator",
            folder.display()
        )
    })
}

fn library_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(before) = std::env::var_os("LD_LIBRARY_PATH").filter(|before| !before.is_empty()) {
        path.push(":");
        path.push(before);
    }
    path
}

/// A folder that only this user can write to, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let parent = std::env::temp_dir();
        for attempt in 0..1000 {
            let path = parent.join(format!("expertile-simulate-{}-{attempt}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        Err(format!("no free name for a folder in {}", parent.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("simulate: {}: {error}", self.0.display());
        }
    }
}
