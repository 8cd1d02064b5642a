//! One job for each source and architecture: nvcc makes PTX, ptxas makes machine code of that very
//! PTX, fatbinary puts both into one image.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use crate::gate;
use crate::manifest::sha256;
use crate::toolchain::Toolchain;

/// -fmad=false: nothing is fused that the source does not write as fmaf, so that a kernel, its HIP
/// twin and the simulator round at the same places. Kernels that wait for memory lose nothing.
const NVCC_FLAGS: [&str; 4] = ["-ptx", "-std=c++17", "-O3", "-fmad=false"];
const PTXAS_FLAGS: [&str; 2] = ["-O3", "--verbose"];

/// A finished image.
pub(crate) struct Built {
    pub(crate) stem: String,
    pub(crate) architecture: String,
    pub(crate) bytes_len: usize,
    pub(crate) sha256: String,
    pub(crate) compressed: Vec<u8>,
}

impl Built {
    /// The name of the compressed image's file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.{}.zst", self.stem, self.architecture)
    }
}

/// Runs the jobs, several at a time. The images come in the order of the jobs.
pub(crate) fn compile_all(
    package: &Path,
    out: &Path,
    toolchain: &Toolchain,
    line_info: bool,
    jobs: &[(&str, &str)],
    workers: usize,
) -> Result<Vec<Built>, String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(&(stem, architecture)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let folder = out.join(format!("{}.{architecture}", name_of(stem)));
                    let job = Job { package, folder, toolchain, line_info, stem, architecture };
                    let built =
                        job.run().map_err(|error| format!("{stem} for {architecture}: {error}"));
                    results.lock().unwrap().push(built);
                }
            });
        }
    });
    let results: Result<Vec<Built>, String> = results.into_inner().unwrap().into_iter().collect();
    let mut built = results?;
    built.sort_by_key(|image| {
        let of = |&(stem, architecture): &(&str, &str)| {
            (name_of(stem), architecture) == (&image.stem, &image.architecture)
        };
        jobs.iter().position(of)
    });
    Ok(built)
}

/// A stem without its folder.
fn name_of(stem: &str) -> &str {
    stem.rsplit('/').next().unwrap_or(stem)
}

struct Job<'a> {
    package: &'a Path,
    folder: PathBuf,
    toolchain: &'a Toolchain,
    line_info: bool,
    stem: &'a str,
    architecture: &'a str,
}

impl Job<'_> {
    fn run(&self) -> Result<Built, String> {
        let image = self.folder.join("image");
        if !image.is_file()
            || self.stamp().ok() != fs::read_to_string(self.folder.join("stamp")).ok()
        {
            fs::create_dir_all(&self.folder).map_err(|e| e.to_string())?;
            let _ = fs::remove_file(self.folder.join("stamp"));
            self.compile()?;
            fs::write(self.folder.join("stamp"), self.stamp()?).map_err(|e| e.to_string())?;
        }
        let image = fs::read(image).map_err(|e| e.to_string())?;
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        Ok(Built {
            stem: self.name().to_owned(),
            architecture: self.architecture.to_owned(),
            bytes_len: image.len(),
            sha256: sha256(&image),
            compressed: ruzstd::encoding::compress_to_vec(image.as_slice(), level),
        })
    }

    fn compile(&self) -> Result<(), String> {
        // Relative names, so that the machine's folders leave no trace in the image.
        let source = format!("{}.cu", self.stem);
        let mut nvcc = Command::new(self.toolchain.tool("nvcc"));
        nvcc.current_dir(self.package).args(self.nvcc_arguments()).arg("-MD").arg("-MF");
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
        let compiled = gate::Compiled { architecture: self.architecture, ptx: &ptx, log, sass };
        let budget = gate::Budget::parse(&source)?;
        for warning in gate::check(&budget, &compiled, &self.toolchain.release)? {
            println!("cargo::warning={}: {warning}", self.stem);
        }
        Ok(())
    }

    fn name(&self) -> &str {
        name_of(self.stem)
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

    /// What the image was made with and from: it is out of date when this differs.
    fn stamp(&self) -> Result<String, String> {
        let depfile = fs::read_to_string(self.folder.join("depfile")).map_err(|e| e.to_string())?;
        let mut stamp = format!(
            "{} {}\n{:?} {:?}\n",
            self.toolchain.tool("nvcc").display(),
            self.toolchain.release,
            self.nvcc_arguments(),
            self.ptxas_arguments()
        );
        // The toolchain's own headers go by its release.
        let own = depfile.split_whitespace().filter(|word| {
            let path = Path::new(word);
            path.is_relative()
                && path.extension().is_some_and(|e| e == "cu" || e == "cuh" || e == "h")
        });
        for name in own {
            let contents = fs::read(self.package.join(name)).map_err(|e| format!("{name}: {e}"))?;
            stamp += &format!("{} {name}\n", sha256(&contents));
        }
        Ok(stamp)
    }
}

/// Runs a tool; what it printed, or the last lines of it as the error.
fn execute(command: &mut Command) -> Result<String, String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{tool}: {error}"))?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("error")).take(5).collect();
    Err(format!("{tool} failed: {}", lines.join("; ")))
}
