//! One job for each source and architecture: nvcc makes PTX, ptxas makes machine code of that very
//! PTX, fatbinary puts both into one image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gate;
use crate::jobs::{self, Built, execute};
use crate::toolchain::Toolchain;

/// -fmad=false: nothing is fused that the source does not write as fmaf, so that a kernel, its HIP
/// twin and the simulator round at the same places. Kernels that wait for memory lose nothing.
const NVCC_FLAGS: [&str; 4] = ["-ptx", "-std=c++17", "-O3", "-fmad=false"];
const PTXAS_FLAGS: [&str; 2] = ["-O3", "--verbose"];

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
        let source = format!("{}.cu", self.stem);
        let mut nvcc = Command::new(self.toolchain.tool("nvcc"));
        nvcc.current_dir(&self.package).args(self.nvcc_arguments()).arg("-MD").arg("-MF");
        nvcc.arg(self.folder.join("depfile")).arg("-o").arg(self.folder.join("ptx")).arg(&source);
        execute(&mut nvcc)?;

        let mut fatbinary = Command::new(self.toolchain.tool("fatbinary"));
        fatbinary.current_dir(&self.folder).args(["--create=image", "--compress=false", "-64"]);
        let mut log = String::new();
        let version = self.architecture.split_once('_').map_or("", |(_, version)| version);
        if self.is_machine_code() {
            let mut ptxas = Command::new(self.toolchain.tool("ptxas"));
            ptxas
                .current_dir(&self.folder)
                .args(self.ptxas_arguments())
                .args(["-o", "cubin", "ptx"]);
            log = execute(&mut ptxas)?;
            fatbinary.arg(format!("--image3=kind=elf,sm={version},file=cubin"));
        }
        fatbinary.arg(format!("--image3=kind=ptx,sm={version},file=ptx"));
        self.check(&log)?;
        execute(&mut fatbinary).map(drop)
    }

    fn stamp(&self) -> Result<String, String> {
        let own = jobs::dependencies(&self.package, &self.folder.join("depfile"))?;
        Ok(format!(
            "{} {}\n{:?} {:?}\n{own}",
            self.toolchain.tool("nvcc").display(),
            self.toolchain.release,
            self.nvcc_arguments(),
            self.ptxas_arguments()
        ))
    }
}

impl Job<'_> {
    fn check(&self, log: &str) -> Result<(), String> {
        let read = |path: PathBuf| fs::read_to_string(path).map_err(|e| e.to_string());
        let source = read(self.package.join(format!("{}.cu", self.stem)))?;
        let ptx = read(self.folder.join("ptx"))?;
        let sass = match self.toolchain.optional_tool("nvdisasm") {
            Some(nvdisasm) if self.is_machine_code() => {
                let mut nvdisasm = Command::new(nvdisasm);
                Some(execute(nvdisasm.current_dir(&self.folder).args(["-c", "cubin"]))?)
            }
            _ => None,
        };
        let compiled = gate::Compiled { architecture: &self.architecture, ptx: &ptx, log, sass };
        let budget = gate::Budget::parse(&source)?;
        for warning in gate::check(&budget, &compiled, &self.toolchain.release)? {
            println!("cargo::warning={}: {warning}", self.stem);
        }
        Ok(())
    }

    fn is_machine_code(&self) -> bool {
        self.architecture.starts_with("sm_")
    }

    fn nvcc_arguments(&self) -> Vec<String> {
        let mut arguments = NVCC_FLAGS.map(String::from).to_vec();
        arguments.push(format!("-arch={}", self.architecture));
        arguments.extend(self.line_info.then(|| "-lineinfo".to_owned()));
        arguments
    }

    fn ptxas_arguments(&self) -> Vec<String> {
        let mut arguments = PTXAS_FLAGS.map(String::from).to_vec();
        arguments.push(format!("-arch={}", self.architecture));
        arguments.extend(self.line_info.then(|| "-lineinfo".to_owned()));
        arguments
    }
}
