//! What the builds of both vendors share: jobs that run several at a time, are skipped where nothing
//! changed, and leave compressed images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use crate::manifest::sha256;

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

/// One source for one architecture.
pub(crate) trait Job: Sync {
    /// The source's name without its folder and extension.
    fn name(&self) -> &str;
    fn architecture(&self) -> &str;
    /// Where the job leaves what it makes; its result is the file `image`.
    fn folder(&self) -> &Path;
    fn compile(&self) -> Result<(), String>;
    /// What the image was made with and from: it is out of date when this differs.
    fn stamp(&self) -> Result<String, String>;
}

/// Runs the jobs, several at a time. The images come in the order of the jobs.
pub(crate) fn run_all<J: Job>(jobs: &[J], workers: usize) -> Result<Vec<Built>, String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let built = run(job).map_err(|error| {
                        format!("{} for {}: {error}", job.name(), job.architecture())
                    });
                    results.lock().unwrap().push((index, built));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, built)| built).collect()
}

fn run(job: &impl Job) -> Result<Built, String> {
    let image = job.folder().join("image");
    let stamp = job.folder().join("stamp");
    if !image.is_file() || job.stamp().ok() != fs::read_to_string(&stamp).ok() {
        fs::create_dir_all(job.folder()).map_err(|e| e.to_string())?;
        let _ = fs::remove_file(&stamp);
        job.compile()?;
        fs::write(&stamp, job.stamp()?).map_err(|e| e.to_string())?;
    }
    let image = fs::read(image).map_err(|e| e.to_string())?;
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    Ok(Built {
        stem: job.name().to_owned(),
        architecture: job.architecture().to_owned(),
        bytes_len: image.len(),
        sha256: sha256(&image),
        compressed: ruzstd::encoding::compress_to_vec(image.as_slice(), level),
    })
}

/// The hashes of the package's own files in a depfile; the toolchain's go by its release.
pub(crate) fn dependencies(package: &Path, depfile: &Path) -> Result<String, String> {
    let depfile = fs::read_to_string(depfile).map_err(|e| e.to_string())?;
    let extensions = ["cu", "cuh", "hip", "h"];
    let own = depfile.split_whitespace().filter(|word| {
        let path = Path::new(word);
        let extension = path.extension().and_then(|extension| extension.to_str());
        path.is_relative() && extension.is_some_and(|extension| extensions.contains(&extension))
    });
    let mut stamp = String::new();
    for name in own {
        let contents = fs::read(package.join(name)).map_err(|e| format!("{name}: {e}"))?;
        stamp += &format!("{} {name}\n", sha256(&contents));
    }
    Ok(stamp)
}

/// Runs a tool; what it printed, or the last lines of it as the error.
pub(crate) fn execute(command: &mut Command) -> Result<String, String> {
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

/// Writes the Rust of a table of images.
pub(crate) fn table(doc: &str, name: &str, images: &[Built]) -> String {
    let mut rust = format!("/// {doc}\npub static {name}: &[Image] = &[\n");
    for image in images {
        let Built { stem, architecture, bytes_len, sha256, .. } = image;
        let file = image.file_name();
        rust += &format!(
            "Image {{ stem: {stem:?}, architecture: {architecture:?}, bytes_len: {bytes_len}, \
             sha256: {sha256:?}, compressed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")) }},\n"
        );
    }
    rust + "];\n"
}

/// The compressed images as files beside the Rust that embeds them.
pub(crate) fn write(out: &Path, images: &[Built]) -> Result<(), String> {
    for image in images {
        let path: PathBuf = out.join(image.file_name());
        fs::write(&path, &image.compressed).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
