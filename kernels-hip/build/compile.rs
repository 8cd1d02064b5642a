//! One job for each source and architecture: clang makes a code object, which is the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gate;
use crate::jobs::{self, Built, execute};
use crate::toolchain::Toolchain;

/// Neither HIP's headers nor the device library are used, so no ROCm is needed.
///
/// -ffp-contract=off: nothing is fused that the source does not write as fmaf, so that a kernel,
/// its CUDA twin and the simulator round at the same places. Code object version 5: version 6 needs
/// ROCm 6.3 and gives nothing here. -fuse-cuid=none: the identifier that tells the objects of one
/// program apart is a hash of the source's path.
const FLAGS: [&str; 14] = [
    "-xhip",
    "--offload-device-only",
    "--no-gpu-bundle-output",
    "-nogpuinc",
    "-nogpulib",
    "-ffreestanding",
    "-mcode-object-version=5",
    "-fuse-cuid=none",
    "-O3",
    "-std=c++17",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Werror",
];

/// Runs the jobs, several at a time. The images come in the order of the jobs.
pub(crate) fn compile_all(
    package: &Path,
    out: &Path,
    toolchain: &Toolchain,
    line_info: bool,
    jobs: &[(&str, &str)],
    workers: usize,
) -> Result<Vec<Built>, String> {
    let job = |&(stem, architecture): &(&'_ str, &'_ str)| Job {
        package: package.to_owned(),
        folder: out.join(format!("{}.{architecture}", name_of(stem))),
        toolchain,
        line_info,
        stem: stem.to_owned(),
        architecture: architecture.to_owned(),
    };
    let jobs: Vec<Job<'_>> = jobs.iter().map(job).collect();
    jobs::run_all(&jobs, workers)
}

/// A stem without its folder.
fn name_of(stem: &str) -> &str {
    stem.rsplit('/').next().unwrap_or(stem)
}

struct Job<'a> {
    package: PathBuf,
    folder: PathBuf,
    toolchain: &'a Toolchain,
    line_info: bool,
    /// With its folder in the package.
    stem: String,
    architecture: String,
}

impl jobs::Job for Job<'_> {
    fn name(&self) -> &str {
        name_of(&self.stem)
    }

    fn architecture(&self) -> &str {
        &self.architecture
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn compile(&self) -> Result<(), String> {
        // Relative names, so that the machine's folders leave no trace in the image.
        let mut clang = Command::new(&self.toolchain.clang);
        clang.current_dir(&self.package).args(self.arguments());
        // What -MD and -MF ask for; clang heeds those only where it compiles for the host.
        let depfile = self.folder.join("depfile");
        for argument in ["-dependency-file".as_ref(), depfile.as_os_str()] {
            clang.arg("-Xclang").arg(argument);
        }
        clang.args(["-Xclang", "-MT", "-Xclang", "image"]);
        clang.arg("-o").arg(self.folder.join("image")).arg(format!("{}.hip", self.stem));
        execute(&mut clang)?;
        self.check()
    }

    fn stamp(&self) -> Result<String, String> {
        let own = jobs::dependencies(&self.package, &self.folder.join("depfile"))?;
        let Toolchain { clang, release, .. } = self.toolchain;
        Ok(format!("{} {release}\n{:?}\n{own}", clang.display(), self.arguments()))
    }
}

impl Job<'_> {
    fn check(&self) -> Result<(), String> {
        let source = self.package.join(format!("{}.hip", self.stem));
        let source = fs::read_to_string(source).map_err(|e| e.to_string())?;
        let image = fs::read(self.folder.join("image")).map_err(|e| e.to_string())?;
        let disassembly = match &self.toolchain.objdump {
            Some(objdump) => {
                let mut objdump = Command::new(objdump);
                objdump.current_dir(&self.folder).args(["-d", "--no-show-raw-insn", "image"]);
                Some(execute(&mut objdump)?)
            }
            None => None,
        };
        let compiled = gate::Compiled {
            architecture: &self.architecture,
            image: &image,
            disassembly: disassembly.as_deref(),
        };
        let budget = gate::Budget::parse(&source)?;
        for warning in gate::check(&budget, &compiled, self.toolchain.is_of_budget())? {
            println!("cargo::warning={}: {warning}", self.stem);
        }
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = FLAGS.map(String::from).to_vec();
        arguments.push(format!("--offload-arch={}", self.architecture));
        if self.line_info {
            // The names of sources stay relative, as they are given.
            arguments.extend(["-gline-tables-only", "-ffile-compilation-dir=."].map(String::from));
        }
        arguments
    }
}
