//! The build script: its gate refuses what it must, its images are the same wherever they are
//! built, and prebuilt images are taken exactly when they fit the sources.

#[allow(dead_code)]
#[path = "../build/compile.rs"]
mod compile;
#[allow(dead_code)]
#[path = "../build/gate.rs"]
mod gate;
#[allow(dead_code)]
#[path = "../build/jobs.rs"]
mod jobs;
#[allow(dead_code)]
#[path = "../build/manifest.rs"]
mod manifest;
#[allow(dead_code)]
#[path = "../build/toolchain.rs"]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use expertile_kernels_cuda::{IMAGES, MANIFEST};
use jobs::Built;
use toolchain::Toolchain;

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn find_toolchain() -> Toolchain {
    toolchain::find(package()).unwrap().expect("no CUDA compiler: run `make toolchain`")
}

/// An empty folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn compile_one(name: &str, source: &str) -> Result<Vec<Built>, String> {
    let folder = folder(name);
    fs::write(folder.join("bad.cu"), source).unwrap();
    let out = folder.join("out");
    compile::compile_all(&folder, &out, &find_toolchain(), false, &[("bad", "sm_90a")], 1)
}

const COPY: &str = r#"
extern "C" __global__ void __launch_bounds__(256) copy(const float4 *from, float4 *to) {
    to[threadIdx.x] = from[threadIdx.x];
}
"#;

fn head(threads: u32, shared: u32, registers: u32) -> String {
    format!(
        "// Budget: {threads} threads; {shared} B shared; 0 B spilled; registers: {registers} sm_90a.\n\
         // Keeps: LDG.E.128, STG.E.128; in PTX: ld.global.v4, st.global.v4.\n"
    )
}

#[track_caller]
fn assert_refused(name: &str, source: &str, messages: &[&str]) {
    let error = compile_one(name, source).err().unwrap_or_default();
    for message in messages {
        assert!(error.contains(message), "no `{message}` in: {error}");
    }
}

#[test]
fn a_kernel_within_its_budget_passes() {
    assert_eq!(compile_one("good", &(head(256, 0, 16) + COPY)).map(|built| built.len()), Ok(1));
}

#[test]
fn spills_are_refused() {
    let source = head(1024, 0, 64)
        + r#"
extern "C" __global__ void __launch_bounds__(1024) greedy(float4 *x, unsigned n) {
    float4 held[32];
    for (unsigned i = 0; i < 32; ++i) held[i] = x[threadIdx.x + i * 1024];
    __syncthreads();
    for (unsigned i = 0; i < 32; ++i) x[threadIdx.x + (31 - i) * 1024] = held[i];
}
"#;
    assert_refused(
        "spills",
        &source,
        &["bad for sm_90a", "greedy: ", "B spill stores, Budget says 0"],
    );
}

#[test]
fn too_many_registers_are_refused() {
    assert_refused("registers", &(head(256, 0, 4) + COPY), &["copy: ", "registers, Budget says 4"]);
}

#[test]
fn too_much_shared_memory_is_refused() {
    let source = head(256, 1024, 32)
        + r#"
extern "C" __global__ void __launch_bounds__(256) stage(const float4 *from, float4 *to) {
    __shared__ float4 staged[256];
    staged[threadIdx.x] = from[threadIdx.x];
    __syncthreads();
    to[threadIdx.x] = staged[255 - threadIdx.x];
}
"#;
    assert_refused("shared", &source, &["stage: 4096 B shared, Budget says 1024"]);
}

#[test]
fn other_threads_are_refused() {
    assert_refused("threads", &(head(128, 0, 32) + COPY), &["copy: 256 threads, Budget says 128"]);
}

#[test]
fn scalar_accesses_are_refused() {
    let scalar = COPY.replace("float4", "float");
    let messages = [
        "copy: no LDG.E.128 in the machine code",
        "copy: no STG.E.128 in the machine code",
        "copy: no ld.global.v4 in the PTX",
        "copy: no st.global.v4 in the PTX",
    ];
    // The disassembler is optional for a build, and part of what `make toolchain` installs.
    assert!(find_toolchain().optional_tool("nvdisasm").is_some(), "nvdisasm is not installed");
    assert_refused("scalar", &(head(256, 0, 32) + &scalar), &messages);
}

#[test]
fn what_ptxas_undoes_is_refused() {
    // Without a minimum of blocks the registers of the launch are unknown, and it is ignored.
    let source = head(256, 0, 64)
        + &COPY.replace(
            "    to[",
            "    asm volatile(\"setmaxnreg.dec.sync.aligned.u32 24;\");\n    to[",
        );
    assert_refused("undone", &source, &["ptxas undid something", "C7508"]);
}

/// A kernel that is right, and waits for each of its matrix products.
fn one_by_one(products: &str) -> String {
    format!(
        r#"// Budget: 128 threads; 0 B shared; 0 B spilled; registers: 64 sm_90a.
// Keeps: HGMMA; in PTX: wgmma.mma_async.
// Products: {products}.
extern "C" __global__ void __launch_bounds__(128) slow(float4 *out, unsigned long long a, int k) {{
    float4 d = out[threadIdx.x];
    for (int i = 0; i < k; ++i) {{
        asm volatile(
            "wgmma.fence.sync.aligned;\n"
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%0, %1, %2, %3}}, %4, %4, 1, 1, 1, 0, 0;\n"
            "wgmma.commit_group.sync.aligned;\n"
            "wgmma.wait_group.sync.aligned 0;"
            : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w) : "l"(a + 2 * i) : "memory");
    }}
    out[threadIdx.x] = d;
}}
"#
    )
}

#[test]
fn products_that_wait_for_each_other_are_refused() {
    let built = compile_one("one-by-one", &one_by_one("HGMMA.64x8x16; 1 a group"));
    assert_eq!(built.map(|built| built.len()), Ok(1));
    let messages = ["slow: ", "at least 4 a group"];
    assert_refused("too-slow", &one_by_one("HGMMA.64x8x16; 4 a group"), &messages);
}

#[test]
fn products_of_other_shapes_are_refused() {
    let source = one_by_one("HGMMA.64x256x16, HGMMA.64x80x16; 1 a group");
    assert_refused("narrow", &source, &["products are none of HGMMA.64x256x16, HGMMA.64x80x16"]);
}

#[test]
fn a_kernel_without_budget_is_refused() {
    assert_refused("no-budget", COPY, &["no line `// Budget:` in the source"]);
}

#[test]
#[cfg_attr(feature = "lineinfo", ignore = "line information holds paths")]
fn images_are_the_same_wherever_they_are_built() {
    let copy = folder("copies").join("another/place");
    fs::create_dir_all(&copy).unwrap();
    let sources = manifest::sources(package()).unwrap();
    for source in &sources {
        fs::copy(package().join(&source.name), copy.join(&source.name)).unwrap();
    }
    let jobs: Vec<_> = IMAGES.iter().map(|image| (image.stem, image.architecture)).collect();
    let built =
        compile::compile_all(&copy, &copy.join("out"), &find_toolchain(), false, &jobs, 2).unwrap();
    assert_eq!(manifest::write(&sources, &built), MANIFEST);
}

#[test]
fn every_source_has_an_image_for_every_architecture() {
    let stems: Vec<String> = manifest::sources(package())
        .unwrap()
        .into_iter()
        .filter_map(|source| source.name.strip_suffix(".cu").map(str::to_owned))
        .collect();
    let all = ["sm_80", "sm_89", "sm_90a", "compute_80"];
    // Files whose name says an architecture are of it, or of it and those without one of their own.
    let of = |stem: &str| match stem.rsplit('_').next() {
        Some("sm90") => vec!["sm_90a"],
        Some("sm80") => vec!["sm_80", "sm_89", "compute_80"],
        _ => all.to_vec(),
    };
    let expected: Vec<_> =
        stems.iter().flat_map(|stem| of(stem).into_iter().map(|a| (stem.as_str(), a))).collect();
    let found: Vec<_> = IMAGES.iter().map(|image| (image.stem, image.architecture)).collect();
    assert_eq!(found, expected);
    for image in IMAGES {
        let bytes = image.decompress();
        assert_eq!(bytes.len(), image.bytes_len);
        assert_eq!(manifest::sha256(&bytes), image.sha256);
        assert_eq!(bytes[..4], 0xba55_ed50_u32.to_le_bytes(), "{} is no fatbin", image.stem);
    }
}

#[test]
fn prebuilt_images_are_taken_when_they_fit_the_sources() {
    let folder = folder("prebuilt");
    let sources = manifest::sources(package()).unwrap();
    let missing =
        manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY).err().unwrap();
    assert!(missing.contains("no prebuilt kernels: run `make toolchain`"), "{missing}");

    fs::write(folder.join("manifest"), MANIFEST).unwrap();
    for image in IMAGES {
        let name = format!("{}.{}.zst", image.stem, image.architecture);
        fs::write(folder.join(name), image.compressed).unwrap();
    }
    let built =
        manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY).unwrap();
    assert_eq!(manifest::write(&sources, &built), MANIFEST);
    assert!(built.iter().zip(IMAGES).all(|(built, image)| built.compressed == image.compressed));

    let stale = MANIFEST.replacen(&sources[0].sha256, &"0".repeat(64), 1);
    fs::write(folder.join("manifest"), stale).unwrap();
    let error =
        manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY).err().unwrap();
    assert!(error.contains(&format!("made from another {}", sources[0].name)), "{error}");

    let more = format!("source {} gone.h\n{MANIFEST}", "0".repeat(64));
    fs::write(folder.join("manifest"), more).unwrap();
    let error =
        manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY).err().unwrap();
    assert!(error.contains("made from another gone.h"), "{error}");

    // An image of another kernel under this one's name.
    fs::write(folder.join("manifest"), MANIFEST).unwrap();
    let name = format!("{}.{}.zst", IMAGES[0].stem, IMAGES[0].architecture);
    fs::write(folder.join(&name), IMAGES[1].compressed).unwrap();
    let error =
        manifest::prebuilt(&folder, &sources, toolchain::MISSING, toolchain::REMEDY).err().unwrap();
    assert!(error.contains(&format!("{name} is not the image of its manifest")), "{error}");
}
