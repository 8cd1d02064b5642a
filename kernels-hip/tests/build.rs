//! The build script: its images are the same wherever they are built, prebuilt images are taken
//! exactly when they fit the sources, and a clang that will not do is refused.

#[allow(dead_code)]
#[path = "../build/code_object.rs"]
mod code_object;
#[allow(dead_code)]
#[path = "../build/compile.rs"]
mod compile;
#[allow(dead_code)]
#[path = "../build/gate.rs"]
mod gate;
#[allow(dead_code)]
#[path = "../build/jobs.rs"]
mod jobs;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/kernels.rs"]
mod kernels;
#[allow(dead_code)]
#[path = "../build/manifest.rs"]
mod manifest;
#[allow(dead_code)]
#[path = "../build/products.rs"]
mod products;
#[allow(dead_code)]
#[path = "../build/toolchain.rs"]
mod toolchain;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use expertile_kernels_hip::{IMAGES, MANIFEST};
use toolchain::ARCHITECTURES;

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn images_are_the_same_wherever_they_are_built() {
    let copy = folder("copies").join("another/place");
    fs::create_dir_all(&copy).unwrap();
    let sources = manifest::sources(package()).unwrap();
    for source in &sources {
        fs::copy(package().join(&source.name), copy.join(&source.name)).unwrap();
    }
    let jobs: Vec<_> = IMAGES.iter().map(|image| (image.stem, image.architecture)).collect();
    let toolchain = toolchain::find().unwrap().expect("no HIP compiler: run `make toolchain`");
    let lines = cfg!(feature = "lineinfo");
    let built =
        compile::compile_all(&copy, &copy.join("out"), &toolchain, lines, &jobs, 2).unwrap();
    assert_eq!(manifest::write(&sources, &built), MANIFEST);
}

#[test]
fn every_source_has_an_image_for_every_architecture() {
    let stems: Vec<String> = manifest::sources(package())
        .unwrap()
        .into_iter()
        .filter_map(|source| source.name.strip_suffix(".hip").map(str::to_owned))
        .collect();
    let expected: Vec<_> =
        stems.iter().flat_map(|stem| ARCHITECTURES.map(|a| (stem.as_str(), a))).collect();
    let found: Vec<_> = IMAGES.iter().map(|image| (image.stem, image.architecture)).collect();
    assert_eq!(found, expected);
    for image in IMAGES {
        let bytes = image.decompress();
        assert_eq!(bytes.len(), image.bytes_len);
        assert_eq!(manifest::sha256(&bytes), image.sha256);
        assert_eq!(bytes[..4], *b"\x7fELF", "{} is no ELF file", image.stem);
        let target = format!("amdgcn-amd-amdhsa--{}", image.architecture);
        assert!(bytes.windows(target.len()).any(|window| window == target.as_bytes()), "{target}");
        let elf = object::read::elf::ElfFile64::<object::LittleEndian>::parse(&*bytes).unwrap();
        let has_lines = object::Object::section_by_name(&elf, ".debug_line").is_some();
        assert_eq!(has_lines, cfg!(feature = "lineinfo"), "{}", image.stem);
    }
}

#[test]
fn every_entry_takes_its_params_struct() {
    for image in IMAGES {
        let expected = |entry: &str| match (image.stem, entry) {
            ("rope", _) => size_of::<kernels::RopeParams>(),
            ("layer_norm" | "rms_norm", _) => size_of::<kernels::NormParams>(),
            ("router" | "router_select", _) => size_of::<kernels::RouterParams>(),
            ("router_loss" | "router_loss_reduce", _) => size_of::<kernels::RouterLossParams>(),
            ("dispatch", _) => size_of::<kernels::DispatchParams>(),
            ("combine", _) => size_of::<kernels::CombineParams>(),
            ("linear" | "linear_rows", _) => size_of::<kernels::LinearParams>(),
            ("grouped_gemm" | "grouped_gemm_rows", _) => size_of::<kernels::GroupedGemmParams>(),
            (_, "packet_any_pack") => size_of::<kernels::PacketPackParams>(),
            (_, "packet_any_unpack") => size_of::<kernels::PacketUnpackParams>(),
            (stem, _) => panic!("no params struct is known for {stem}"),
        };
        for kernel in code_object::kernels(&image.decompress()).unwrap() {
            let expected = expected(&kernel.name) as u64;
            assert_eq!(kernel.argument_bytes(), Some(expected), "{}", kernel.name);
            assert!(kernel.name.starts_with(image.stem), "{}", kernel.name);
        }
    }
}

#[test]
fn prebuilt_images_are_taken_when_they_fit_the_sources() {
    let folder = folder("prebuilt");
    let sources = manifest::sources(package()).unwrap();
    let take = || manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY);
    let missing = take().err().unwrap();
    assert!(
        missing.contains("no HIP compiler and no prebuilt kernels: run `make toolchain`"),
        "{missing}"
    );

    fs::write(folder.join("manifest"), MANIFEST).unwrap();
    for image in IMAGES {
        let name = format!("{}.{}.zst", image.stem, image.architecture);
        fs::write(folder.join(name), image.compressed).unwrap();
    }
    let built = take().unwrap();
    assert_eq!(manifest::write(&sources, &built), MANIFEST);
    assert!(built.iter().zip(IMAGES).all(|(built, image)| built.compressed == image.compressed));

    let stale = MANIFEST.replacen(&sources[0].sha256, &"0".repeat(64), 1);
    fs::write(folder.join("manifest"), stale).unwrap();
    let error = take().err().unwrap();
    assert!(error.contains(&format!("made from another {}", sources[0].name)), "{error}");

    let more = format!("source {} gone.h\n{MANIFEST}", "0".repeat(64));
    fs::write(folder.join("manifest"), more).unwrap();
    let error = take().err().unwrap();
    assert!(error.contains("made from another gone.h"), "{error}");

    // An image of another kernel under this one's name.
    fs::write(folder.join("manifest"), MANIFEST).unwrap();
    let name = format!("{}.{}.zst", IMAGES[0].stem, IMAGES[0].architecture);
    fs::write(folder.join(&name), IMAGES[1].compressed).unwrap();
    let error = take().err().unwrap();
    assert!(error.contains(&format!("{name} is not the image of its manifest")), "{error}");
}

/// A program that answers the questions of `toolchain::open`.
fn clang_that_says(name: &str, version: &str, processors: &str, linker: &Path) -> PathBuf {
    let path = folder(name).join("clang");
    let script = format!(
        "#!/bin/sh\ncase $1 in\n--version) echo '{version}' ;;\n\
         --target=*) printf '\\t{processors}\\n' >&2 ;;\n*) echo '{}' ;;\nesac\n",
        linker.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_clang_that_will_not_do_is_refused() {
    let all = "gfx90a\\n\\tgfx942\\n\\tgfx950";
    let linker = package().join("Cargo.toml");
    let debian = "Debian clang version 22.1.8 (1~deb12u1)";
    let cases = [
        ("old", "clang version 14.0.6", all, &*linker, "is of release 14.0.6, 19 or later"),
        ("few", debian, "gfx90a\\n\\tgfx942", &linker, "22.1.8 does not compile for gfx950"),
        ("alone", debian, all, Path::new("ld.lld"), "has no ld.lld: install lld of release 22.1.8"),
        ("gcc", "gcc (Debian 12.2.0) 12.2.0", all, &linker, "--version names no release"),
    ];
    for (name, version, processors, linker, message) in cases {
        let clang = clang_that_says(name, version, processors, linker);
        let error = toolchain::open(&clang).unwrap_err();
        assert!(error.contains(message), "no `{message}` in: {error}");
    }

    let cases = [
        ("good", debian, "22.1.8", true),
        ("next", "clang version 23.0.0git (https://example.org)", "23.0.0", false),
        ("rocm", "AMD clang version 22.0.0git (https://example.org)", "AMD 22.0.0", false),
    ];
    for (name, version, release, is_of_budget) in cases {
        let clang = clang_that_says(name, version, all, &linker);
        let toolchain = toolchain::open(&clang).unwrap();
        assert_eq!(toolchain.release, release);
        assert_eq!(toolchain.is_of_budget(), is_of_budget, "{release}");
    }
}
