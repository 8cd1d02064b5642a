//! Compiles every kernel for every architecture, checks the results, and embeds them.
//!
//! Without a HIP compiler the images of `prebuilt/` are embedded, if they were made from these very
//! sources. On docs.rs nothing is. Feature `probes` adds the kernels of `probes/`.

mod code_object;
mod compile;
mod gate;
mod jobs;
mod manifest;
mod products;
mod toolchain;

use std::path::{Path, PathBuf};
use std::{env, fs};

use jobs::Built;
use toolchain::{ARCHITECTURES, Toolchain};

#[cfg(feature = "probes")]
const PROBES: [&str; 3] =
    ["probes/probe_instructions", "probes/probe_matrix", "probes/probe_stream"];

fn main() {
    if let Err(message) = run() {
        println!("cargo::error={}", message.trim().replace('\n', "; "));
    }
}

fn run() -> Result<(), String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        return embed(&out, &[], &[], "");
    }
    let sources = manifest::sources(&package)?;
    println!("cargo::rerun-if-changed=.");
    // The common headers and the shared files of this script are links: what they point to is what
    // changes.
    let names = sources.iter().map(|source| source.name.as_str());
    for name in names.chain(["build/jobs.rs", "build/manifest.rs"]) {
        let path = package.join(name).canonicalize().map_err(|e| format!("{name}: {e}"))?;
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let toolchain = toolchain::find()?;
    let built = match &toolchain {
        Some(toolchain) => build(&package, &out, toolchain, &stems(&sources))?,
        None => manifest::prebuilt(
            &package.join("prebuilt"),
            &sources,
            toolchain::MISSING,
            toolchain::REMEDY,
        )?,
    };
    #[cfg(feature = "probes")]
    let probes = {
        let toolchain = toolchain
            .ok_or_else(|| format!("feature probes needs a HIP compiler: {}", toolchain::REMEDY))?;
        build(&package, &out, &toolchain, &PROBES.map(String::from))?
    };
    #[cfg(not(feature = "probes"))]
    let probes = Vec::new();
    jobs::write(&out, &built)?;
    jobs::write(&out, &probes)?;
    embed(&out, &built, &probes, &manifest::write(&sources, &built))
}

/// The kernels among the sources.
fn stems(sources: &[manifest::Source]) -> Vec<String> {
    let stem = |source: &manifest::Source| source.name.strip_suffix(".hip").map(str::to_owned);
    sources.iter().filter_map(stem).collect()
}

fn build(
    package: &Path,
    out: &Path,
    toolchain: &Toolchain,
    stems: &[String],
) -> Result<Vec<Built>, String> {
    let jobs: Vec<(&str, &str)> = stems
        .iter()
        .flat_map(|stem| ARCHITECTURES.map(|architecture| (stem.as_str(), architecture)))
        .collect();
    let line_info = env::var_os("CARGO_FEATURE_LINEINFO").is_some();
    let workers = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    compile::compile_all(package, out, toolchain, line_info, &jobs, workers)
}

/// Writes the Rust that embeds the images.
fn embed(out: &Path, built: &[Built], probes: &[Built], manifest: &str) -> Result<(), String> {
    let rust = [
        jobs::table("Every image, sorted by stem.", "IMAGES", built),
        jobs::table("The images of the probes: none without the feature.", "PROBES", probes),
        manifest::rust(manifest),
    ];
    fs::write(out.join("images.rs"), rust.concat()).map_err(|e| e.to_string())
}
