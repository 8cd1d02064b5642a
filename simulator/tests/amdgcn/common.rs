//! Kernels compiled for AMD's processors, and random words.

use expertile_simulator::amdgcn::Program;
use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome};
use expertile_simulator::memory::Memory;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

/// The processors whose code is executed.
pub(crate) const PROCESSORS: [&str; 3] = ["gfx90a", "gfx942", "gfx950"];

/// The code object of a file beside this one; none without a compiler.
pub(crate) fn image(file: &str, processor: &str) -> Option<&'static [u8]> {
    type Images = HashMap<(String, String), Option<&'static [u8]>>;
    static IMAGES: LazyLock<Mutex<Images>> = LazyLock::new(Mutex::default);
    let mut images = IMAGES.lock().expect("no test panics here");
    let key = (file.to_owned(), processor.to_owned());
    let image = *images.entry(key).or_insert_with(|| compile(file, processor));
    drop(images);
    if image.is_none() {
        let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
        assert!(!required.contains("hip"), "no clang for AMD's processors");
        eprintln!("skipped: no clang");
    }
    image
}

fn compile(file: &str, processor: &str) -> Option<&'static [u8]> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = folder.join(format!("{file}.{processor}"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/amdgcn").join(file);
    let compilers = ["clang-22", "clang-21", "clang-20", "clang-19", "clang"];
    let compiler = compilers.into_iter().find(|compiler| {
        Command::new(compiler).arg("--version").output().is_ok_and(|run| run.status.success())
    })?;
    let run = Command::new(compiler)
        .args(["-x", "hip", "--offload-device-only", "--no-gpu-bundle-output", "-nogpuinc"])
        .arg(format!("--offload-arch={processor}"))
        .args(["-nogpulib", "-ffreestanding", "-mcode-object-version=5", "-O3"])
        .args(["-std=c++17", "-ffp-contract=off", "-o"])
        .args([&out, &source])
        .output()
        .expect("the compiler starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(Vec::leak(std::fs::read(out).expect("the compiler wrote it")))
}

/// Words from a seed.
pub(crate) fn random(count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (state ^ state >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 32) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// What a launch left in its last array.
pub(crate) struct Run {
    pub(crate) out: Vec<u32>,
    pub(crate) outcome: Outcome,
}

impl Run {
    pub(crate) fn reports(&self) -> Vec<String> {
        self.outcome.reports.iter().map(ToString::to_string).collect()
    }
}

/// Bytes of an array that was never written.
const UNWRITTEN: u64 = 1 << 16;

/// Runs a kernel of a file. Its parameters: the addresses of the inputs, of which those without words
/// were never written, of an array of so many words that is zero, and the number of words.
pub(crate) fn run(
    (file, processor, kernel): (&str, &str, &str),
    (groups, threads): (u32, u32),
    inputs: &[&[u32]],
    words: usize,
    seed: u64,
) -> Option<Run> {
    let mut memory = Memory::new(1 << 42, 1 << 30);
    let program = Program::load(image(file, processor)?, &mut memory).expect("the object loads");
    let out = vec![0; words];
    let mut place = |values: &[u32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let size = if values.is_empty() { UNWRITTEN } else { bytes.len() as u64 };
        let address = memory.allocate(size).expect("there is room");
        memory.write(address, &bytes).expect("it was allocated");
        address
    };
    let mut parameters: Vec<u64> = inputs.iter().map(|values| place(values)).collect();
    let at = place(&out);
    parameters.extend([at, words as u64]);
    let parameters: Vec<u8> = parameters.iter().flat_map(|value| value.to_le_bytes()).collect();
    let device = Device { compute_capability: 0, multiprocessors: 8, max_shared_bytes: 65536 };
    let launch = Launch {
        kernel,
        grid: [groups, 1, 1],
        block: [threads, 1, 1],
        dynamic_shared_bytes: 0,
        parameters: &parameters,
        seed,
        approximation_seed: seed,
        instruction_limit: INSTRUCTION_LIMIT,
        device: &device,
    };
    let outcome = program.launch(&mut memory, &launch);
    let mut raw = vec![0; 4 * words];
    memory.read(at, &mut raw).expect("it was allocated");
    let words = raw.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Some(Run { out: words, outcome })
}
