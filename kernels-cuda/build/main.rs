//! Compiles every kernel for every architecture, checks the results, and embeds them.
//!
//! Without a CUDA compiler the images of `prebuilt/` are embedded, if they were made from these
//! very sources. On docs.rs nothing is.

mod compile;
mod gate;
mod manifest;
mod toolchain;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use compile::Built;
use toolchain::Toolchain;

const ARCHITECTURES: [&str; 4] = ["sm_80", "sm_89", "sm_90a", "compute_80"];

fn main() {
    if let Err(message) = run() {
        println!("cargo::error={}", message.trim().replace('\n', "; "));
    }
}

fn run() -> Result<(), String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    if env::var_os("DOCS_RS").is_some() {
        return embed(&out, &[], "");
    }
    let sources = manifest::sources(&package)?;
    println!("cargo::rerun-if-changed=.");
    for source in &sources {
        // The common headers are links: what they point to is what changes.
        let path = package.join(&source.name).canonicalize().map_err(|e| e.to_string())?;
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let built = match toolchain::find(&package)? {
        Some(toolchain) => build(&package, &out, &toolchain, &sources)?,
        None => manifest::prebuilt(&package.join("prebuilt"), &sources)?,
    };
    for image in &built {
        fs::write(out.join(image.file_name()), &image.compressed).map_err(|e| e.to_string())?;
    }
    embed(&out, &built, &manifest::write(&sources, &built))
}

fn build(
    package: &Path,
    out: &Path,
    toolchain: &Toolchain,
    sources: &[manifest::Source],
) -> Result<Vec<Built>, String> {
    let stems: Vec<&str> =
        sources.iter().filter_map(|source| source.name.strip_suffix(".cu")).collect();
    let jobs: Vec<(&str, &str)> = stems
        .iter()
        .flat_map(|stem| ARCHITECTURES.map(|architecture| (*stem, architecture)))
        .collect();
    let line_info = env::var_os("CARGO_FEATURE_LINEINFO").is_some();
    let workers = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    compile::compile_all(package, out, toolchain, line_info, &jobs, workers)
}

/// Writes the Rust that embeds the images.
fn embed(out: &Path, built: &[Built], manifest: &str) -> Result<(), String> {
    let mut rust =
        String::from("/// Every image, sorted by stem.\npub static IMAGES: &[Image] = &[\n");
    for image in built {
        writeln!(
            rust,
            "Image {{ stem: {:?}, architecture: {:?}, bytes_len: {}, sha256: {:?}, \
             compressed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{}\")) }},",
            image.stem,
            image.architecture,
            image.bytes_len,
            image.sha256,
            image.file_name(),
        )
        .unwrap();
    }
    rust +=
        "];\n/// The hashes of the sources and of the images, as `prebuilt/manifest` holds them.\n";
    writeln!(rust, "pub static MANIFEST: &str = {manifest:?};").unwrap();
    fs::write(out.join("images.rs"), rust).map_err(|e| e.to_string())
}
