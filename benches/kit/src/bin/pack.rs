//! `pack [FOLDER]`: builds the kit and gathers it in a folder, and beside it in FOLDER.tar.gz.

use expertile_kit::images::{Embedded, embedded};
use expertile_kit::manifest::{Image, Manifest};
use expertile_kit::program;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The kit is no larger.
const LIMIT_BYTES: u64 = 16_000_000;

/// The oldest C library that the kit must run with: Ubuntu 22.04's.
const GLIBC: (u32, u32) = (2, 35);

/// All that a binary may be linked to.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

/// What candle's is linked to beside: CUDA's libraries, which the machine has or that part is skipped.
const CUDA_LIBRARIES: [&str; 3] = ["libcuda.so.1", "libcublas.so.13", "libcurand.so.10"];

const FEATURES: &str = "expertile/cuda,expertile/hip,expertile/probes,\
                        expertile-reference/checkpoint,expertile-reference/fast";

/// Each binary with the cargo arguments that build it and the target's kind and name.
const BINARIES: [(&str, &[&str], &str, &str); 4] = [
    ("suite", &["test", "--no-run", "--lib"], "lib", "expertile"),
    ("operators", &["test", "--no-run", "--bench", "operators"], "bench", "operators"),
    ("info", &["build", "--example", "info"], "example", "info"),
    ("kit", &["build", "--bin", "kit"], "bin", "kit"),
];

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pack: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|error| error.to_string())?;
    let folder = env::args_os().nth(1).unwrap_or_else(|| root.join("target/gpu-kit").into());
    let folder = PathBuf::from(folder);
    let text = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(text)?;
    }
    fs::create_dir_all(folder.join("bin")).map_err(text)?;
    fs::create_dir_all(folder.join("peers")).map_err(text)?;
    let images: Vec<&[u8]> = embedded().iter().map(Embedded::compressed).collect();
    fs::write(folder.join("images"), images.concat()).map_err(text)?;
    for (name, arguments, kind, target) in BINARIES {
        let built = build(&root, name, arguments, kind, target)?;
        add(&built, &images, &folder.join("bin").join(name), &[])?;
    }
    output(Command::new(root.join("examples/candle/cuda.sh")).arg("build"))?;
    let built = root.join("target/candle/kit/expertile-candle");
    add(&built, &images, &folder.join("bin/expertile-candle"), &CUDA_LIBRARIES)?;
    let copy = |from: PathBuf, to: PathBuf| {
        fs::copy(&from, &to).map(drop).map_err(|error| format!("{}: {error}", from.display()))
    };
    copy(root.join("benches/kit/run.sh"), folder.join("run.sh"))?;
    copy(root.join("benches/kit/README.md"), folder.join("README.md"))?;
    let peers = fs::read_dir(root.join("benches/peers")).map_err(text)?;
    for entry in peers.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("gpu") {
            copy(entry.path(), folder.join("peers").join(name))?;
        }
    }
    let manifest = manifest(&root)?;
    let json = format!("{:#}\n", manifest.json());
    fs::write(folder.join("kit.json"), json).map_err(text)?;

    let bytes = size(&folder).map_err(text)?;
    if bytes > LIMIT_BYTES {
        return Err(format!("the kit has {bytes} bytes, more than {LIMIT_BYTES}"));
    }
    let mut packed = OsString::from(&folder);
    packed.push(".tar.gz");
    // Executable bits matter: tar keeps them.
    let parent = folder.parent().unwrap_or(Path::new("."));
    let name = folder.file_name().unwrap_or_default();
    output(Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(parent).arg(name))?;
    println!("{}: {:.1} MB", folder.display(), bytes as f64 * 1e-6);
    Ok(())
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds a target and returns where its executable is.
fn build(
    root: &Path,
    name: &str,
    arguments: &[&str],
    kind: &str,
    target: &str,
) -> Result<PathBuf, String> {
    let package = if name == "kit" { "expertile-kit" } else { "expertile" };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).arg(arguments[0]).args(["--release", "--message-format=json"]);
    cargo.args(["-p", package]).args(&arguments[1..]);
    if name != "kit" {
        cargo.args(["--features", FEATURES]);
    }
    let messages = output(&mut cargo)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.filter(|message| {
        let found = &message["target"];
        found["name"] == target
            && found["kind"].as_array().is_some_and(|k| k.contains(&kind.into()))
    });
    let mut executable =
        built.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.next_back().ok_or_else(|| format!("cargo built no {kind} {target}"))
}

/// Puts a binary, which may be linked to `libraries` too, into the kit; all but the runner are packed.
fn add(built: &Path, images: &[&[u8]], to: &Path, libraries: &[&str]) -> Result<(), String> {
    output(Command::new("strip").arg("-s").arg("-o").arg(to).arg(built))?;
    check_links(to, libraries)?;
    if to.ends_with("kit") {
        return Ok(());
    }
    program::pack(to, images, &to.with_extension("gz"))
        .and_then(|()| fs::remove_file(to))
        .map_err(|error| format!("{}: {error}", to.display()))
}

/// That the binary starts on other machines: what it links, and the C library it needs.
fn check_links(binary: &Path, libraries: &[&str]) -> Result<(), String> {
    let dynamic = output(Command::new("objdump").arg("-p").arg(binary))?;
    let needed = dynamic.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
    for library in needed.map(str::trim) {
        if !LIBRARIES.contains(&library) && !libraries.contains(&library) {
            return Err(format!("{} is linked to {library}", binary.display()));
        }
    }
    let symbols = output(Command::new("objdump").arg("-T").arg(binary))?;
    for version in symbols.split("GLIBC_").skip(1) {
        let version: String =
            version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if number > GLIBC {
            return Err(format!("{} needs glibc {version}", binary.display()));
        }
    }
    Ok(())
}

fn manifest(root: &Path) -> Result<Manifest, String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(root).args(arguments));
    // Outside of a repository there is no commit to name.
    let commit =
        git(&["rev-parse", "HEAD"]).map_or("unknown".into(), |text| text.trim().to_owned());
    let dirty = git(&["status", "--porcelain"]).map_or(true, |text| !text.is_empty());
    let image = |image: Embedded| Image {
        stem: image.stem.to_owned(),
        architecture: image.architecture.to_owned(),
        sha256: image.sha256.to_owned(),
    };
    Ok(Manifest { commit, dirty, images: embedded().into_iter().map(image).collect() })
}

fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
