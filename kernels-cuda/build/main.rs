//! Compiles every kernel for every architecture, checks the results, and embeds them.
//!
//! Without a CUDA compiler the images of `prebuilt/` are embedded, if they were made from these
//! very sources. On docs.rs nothing is. Feature `probes` adds the kernels of `probes/`.

mod compile;
mod gate;
#[cfg(feature = "probes")]
mod host;
mod jobs;
mod manifest;
mod toolchain;

use std::path::{Path, PathBuf};
use std::{env, fs};

use jobs::Built;
use toolchain::Toolchain;

const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_89", "sm_90a", "compute_80"];

#[cfg(feature = "probes")]
const PROBES: [&str; 5] = [
    "probes/probe_instructions",
    "probes/probe_matrix",
    "probes/probe_matrix_sm90",
    "probes/probe_stream",
    "probes/probe_wgmma",
];

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
    for source in &sources {
        // The common headers are links: what they point to is what changes.
        let path = package.join(&source.name).canonicalize().map_err(|e| e.to_string())?;
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let toolchain = toolchain::find(&package)?;
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
        host::headers(&package);
        let toolchain = toolchain.ok_or("feature probes needs a CUDA compiler: set NVCC to it")?;
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
    let stem = |source: &manifest::Source| source.name.strip_suffix(".cu").map(str::to_owned);
    sources.iter().filter_map(stem).collect()
}

fn build(
    package: &Path,
    out: &Path,
    toolchain: &Toolchain,
    stems: &[String],
) -> Result<Vec<Built>, String> {
    let mut jobs = Vec::new();
    for stem in stems {
        let path = package.join(format!("{stem}.cu"));
        let source = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let budget = gate::Budget::parse(&source).map_err(|error| format!("{stem}: {error}"))?;
        let named = ARCHITECTURES.into_iter().filter(|architecture| budget.names(architecture));
        jobs.extend(named.map(|architecture| (stem.as_str(), architecture)));
    }
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
