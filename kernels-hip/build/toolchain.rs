//! Where the compilers are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What there are images for.
pub(crate) const ARCHITECTURES: [&str; 3] = ["gfx90a", "gfx942", "gfx950"];

/// The first release whose flags are those expected here.
const FIRST_RELEASE: u32 = 19;

/// The release that the registers of the Budget lines were counted with.
pub(crate) const BUDGET_RELEASE: &str = "22";

/// What an error calls it.
pub(crate) const MISSING: &str = "HIP compiler";

/// What an error advises.
pub(crate) const REMEDY: &str = "run `make toolchain` in the repository, or install clang 22 and lld 22 and set HIP_CLANG to \
     clang's path";

const NAMES_ON_PATH: [&str; 5] = ["clang-22", "clang-21", "clang-20", "clang-19", "clang"];

/// A clang that compiles for every architecture, and what is beside it.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) clang: PathBuf,
    /// The disassembler, which only some installations have.
    pub(crate) objdump: Option<PathBuf>,
    /// For example `22.1.8`; `AMD 22.0.0` is a release of ROCm's own branch.
    pub(crate) release: String,
}

impl Toolchain {
    /// Whether the Budget lines were counted with this release.
    pub(crate) fn is_of_budget(&self) -> bool {
        self.release.split('.').next() == Some(BUDGET_RELEASE)
    }
}

/// Looks for clang: `$HIP_CLANG`, ROCm's in `$ROCM_PATH` and the usual place, `PATH`. An empty
/// `$HIP_CLANG` is none, whatever there is.
pub(crate) fn find() -> Result<Option<Toolchain>, String> {
    println!("cargo::rerun-if-env-changed=HIP_CLANG");
    println!("cargo::rerun-if-env-changed=ROCM_PATH");
    if let Some(clang) = env::var_os("HIP_CLANG").map(PathBuf::from) {
        return if clang.as_os_str().is_empty() { Ok(None) } else { open(&clang).map(Some) };
    }
    let roots = env::var_os("ROCM_PATH").map(PathBuf::from).into_iter();
    let of_rocm = roots.chain([PathBuf::from("/opt/rocm")]).map(|r| r.join("llvm/bin/clang++"));
    let on_path = NAMES_ON_PATH.iter().flat_map(|name| all_on_path(name));
    let mut refused = None;
    for clang in of_rocm.chain(on_path).filter(|clang| clang.is_file()) {
        match open(&clang) {
            Ok(toolchain) => return Ok(Some(toolchain)),
            Err(message) => refused = Some(message),
        }
    }
    refused.map_or(Ok(None), |message| {
        println!("cargo::warning={message}");
        Ok(None)
    })
}

/// A program in each folder of `PATH` that has it.
fn all_on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).filter(|file| file.is_file()).collect()
}

/// Asks a clang what it is, what it compiles for, and whether it has a linker.
pub(crate) fn open(clang: &Path) -> Result<Toolchain, String> {
    let error = |error| format!("{}: {error}", clang.display());
    let real = clang.canonicalize().map_err(error)?;
    // Not the real one: a wrapper goes by the name it is called by.
    let clang = std::path::absolute(clang).map_err(error)?;
    let name = clang.display();
    let ask = |arguments: &[&str]| {
        let output = Command::new(&clang).args(arguments).output();
        let output = output.map_err(|error| format!("{name}: {error}"))?;
        let text = [output.stdout, output.stderr].concat();
        Ok::<_, String>(String::from_utf8_lossy(&text).into_owned())
    };

    let version = ask(&["--version"])?;
    let release = release(&version).ok_or_else(|| format!("{name} --version names no release"))?;
    let number = release.trim_start_matches("AMD ").split('.').next().unwrap_or_default();
    if number.parse().is_ok_and(|number: u32| number < FIRST_RELEASE) {
        return Err(format!("{name} is of release {release}, {FIRST_RELEASE} or later is needed"));
    }
    let known = ask(&["--target=amdgcn-amd-amdhsa", "--print-supported-cpus"])?;
    let known: Vec<&str> = known.lines().map(str::trim).collect();
    if let Some(missing) = ARCHITECTURES.iter().find(|architecture| !known.contains(architecture)) {
        return Err(format!("{name} of release {release} does not compile for {missing}"));
    }
    if !Path::new(ask(&["-print-prog-name=ld.lld"])?.trim()).is_file() {
        return Err(format!("{name} has no ld.lld: install lld of release {release}"));
    }

    let beside = real.with_file_name("llvm-objdump");
    let objdump = [beside].into_iter().filter(|path| path.is_file());
    let objdump = objdump.chain(all_on_path(&format!("llvm-objdump-{number}"))).next();
    println!("cargo::rerun-if-changed={name}");
    Ok(Toolchain { objdump, release, clang })
}

/// What follows `clang version` in the first line.
fn release(version: &str) -> Option<String> {
    let (before, after) = version.lines().next()?.split_once("clang version ")?;
    let number = after.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
    let branch = if before.contains("AMD") { "AMD " } else { "" };
    Some(format!("{branch}{number}")).filter(|_| !number.is_empty())
}
