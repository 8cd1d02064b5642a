//! One planted fault of each class, on both drivers: found under every schedule, as a report that names
//! the source lines, or as the code of the call.

#[path = "driver/face.rs"]
mod face;
#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use std::path::{Path, PathBuf};

use expertile_simulator::{clang, nvcc};
use face::{Face, on_both};
use support::{address, control};

const SEEDS: u64 = 60;
const THREADS: usize = 256;
/// Bytes of the kernels' memory.
const BYTES: usize = 4 * THREADS;

/// The kernels of `planted/faults.*`.
struct Kernels<'a> {
    face: &'a Face,
    source: PathBuf,
    module: usize,
}

impl<'a> Kernels<'a> {
    /// None without a compiler, unless `EXPERTILE_REQUIRE` names the platform.
    fn new(face: &'a Face) -> Option<Kernels<'a>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted");
        let (source, image, platform) = if face.is_hip {
            let source = folder.join("faults.hip");
            let image = clang::compile(&source, "gfx942", &[]);
            (source, image, "hip")
        } else {
            let source = folder.join("faults.cu");
            let image =
                nvcc::compile(&source, "sm_90a", &[]).map(|text| (text + "\0").into_bytes());
            (source, image, "cuda")
        };
        match image {
            Ok(mut image) => {
                let module = face.made("cuModuleLoadData", &[address(&mut image[..])]);
                Some(Kernels { face, source, module })
            }
            Err(error) => {
                let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
                assert!(!required.contains(platform), "{error}");
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn kernel(&self, name: &str) -> usize {
        let mut name = format!("{name}\0").into_bytes();
        self.face.made("cuModuleGetFunction", &[self.module, address(&mut name[..])])
    }

    /// The lines that are marked for a kernel, as reports name them.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.source).unwrap();
        let mark = format!("// fault: {name}");
        let file = self.source.file_name().unwrap().to_str().unwrap();
        let marked = (1..).zip(text.lines()).filter(|(_, line)| line.ends_with(&mark));
        marked.map(|(number, _)| format!("{file}:{number}")).collect()
    }

    fn launch(&self, kernel: usize, memory: usize, geometry: [usize; 3]) -> u32 {
        self.launch_in(0, kernel, memory, geometry)
    }

    fn launch_in(
        &self,
        stream: usize,
        kernel: usize,
        memory: usize,
        [grid, block, shared]: [usize; 3],
    ) -> u32 {
        let (mut memory, mut bytes) = (memory, BYTES as u32);
        let mut values = [address(&mut memory), address(&mut bytes)];
        let values = address(&mut values);
        let arguments = [kernel, grid, 1, 1, block, 1, 1, shared, stream, values, 0];
        self.face.code("cuLaunchKernel", &arguments)
    }

    /// What a kernel's schedules report and return, each with the seed in front.
    fn run(&self, name: &str, blocks: usize) -> Vec<(u64, u32, Vec<String>)> {
        let kernel = self.kernel(name);
        let with_seed = |seed| {
            control::set("expertile_sim_set_seed", seed);
            let memory = self.face.zeros(THREADS);
            assert_eq!(self.launch(kernel, memory, [blocks, THREADS, 0]), 0);
            let code = self.face.code("cuCtxSynchronize", &[]);
            self.face.ok("cuMemFree_v2", &[memory]);
            let text = control::text("expertile_sim_reports");
            control::set("expertile_sim_clear_reports", 0);
            (seed, code, text.lines().map(str::to_owned).collect())
        };
        (0..SEEDS).map(with_seed).collect()
    }
}

/// Every schedule must return the code and report the words, on the lines that are marked.
fn planted(test: &str, name: &str, blocks: usize, words: &[&str], codes: [u32; 2]) {
    on_both(test, |face| {
        let Some(kernels) = Kernels::new(face) else { return };
        let lines = kernels.lines(name);
        for (seed, code, reports) in kernels.run(name, blocks) {
            assert_eq!(code, codes[usize::from(face.is_hip)], "seed {seed}: {reports:?}");
            let says = |report: &String| words.iter().all(|word| report.contains(word));
            assert!(reports.iter().any(says), "seed {seed}: {reports:?}");
            for report in &reports {
                let named = lines.iter().any(|line| report.ends_with(line));
                assert!(named, "seed {seed}: none of {lines:?} in {report}");
            }
        }
    });
}

#[test]
fn a_missing_barrier() {
    on_both("a_missing_barrier", |face| {
        let Some(kernels) = Kernels::new(face) else { return };
        let lines = kernels.lines("missing_barrier");
        let mut seen = 0;
        for (seed, code, reports) in kernels.run("missing_barrier", 1) {
            assert_eq!(code, 719, "seed {seed}");
            let races = reports.iter().filter(|report| report.contains("Race"));
            let mut kinds = 0;
            for race in races {
                // Both accesses are named, with their lines, whichever came first.
                let (earlier, now) = race.split_once("between)").unwrap();
                let of = |text: &str| lines.iter().position(|line| text.contains(line));
                assert!(of(earlier).is_some() && of(now).is_some(), "{race}");
                assert_ne!(of(earlier), of(now), "{race}");
                let [write, read] = match face.is_hip {
                    true => ["ds_write", "ds_read"],
                    false => ["st.shared", "ld.shared"],
                };
                let pair = |one: &str, other: &str| one.contains(write) && other.contains(read);
                assert!(pair(earlier, now) || pair(now, earlier), "{race}");
                kinds |= if pair(earlier, now) { 1 } else { 2 };
            }
            seen |= kinds;
            assert_ne!(kinds, 0, "seed {seed}: {reports:?}");
        }
        assert_eq!(seen, 3, "a read after a write, and a write after a read");
        for (seed, code, reports) in kernels.run("correct", 1) {
            assert_eq!((code, &reports[..]), (0, &[][..]), "seed {seed}");
        }
    });
}

#[test]
fn one_byte_out_of_bounds() {
    let words = ["OutOfBounds: 1 bytes", "starts 0 bytes past the end of the 1024-byte allocation"];
    planted("one_byte_out_of_bounds", "one_byte_past", 1, &words, [700, 700]);
}

#[test]
fn a_read_of_unwritten_shared_memory() {
    let words = ["Uninitialized", "stored", "was never written"];
    let test = "a_read_of_unwritten_shared_memory";
    planted(test, "unwritten_shared", 1, &words, [719, 719]);
}

#[test]
fn a_register_that_was_never_written() {
    let words = ["Uninitialized", "stored", "was never written"];
    let test = "a_register_that_was_never_written";
    planted(test, "unwritten_register", 1, &words, [719, 719]);
}

#[test]
fn a_shuffle_from_a_lane_that_is_elsewhere() {
    let words = ["Uninitialized", "stored", "was never written"];
    let test = "a_shuffle_from_a_lane_that_is_elsewhere";
    planted(test, "divergent_shuffle", 1, &words, [719, 719]);
}

#[test]
fn two_blocks_write_one_address() {
    let words = ["Race", "write by block", "another block, no release and acquire between"];
    planted("two_blocks_write_one_address", "two_blocks", 3, &words, [719, 719]);
}

#[test]
fn a_wrong_stream_order() {
    on_both("a_wrong_stream_order", |face| {
        let Some(kernels) = Kernels::new(face) else { return };
        let [first, second] = [(); 2].map(|()| face.non_blocking());
        let memory = face.zeros(THREADS);
        let [writes, reads] = ["two_blocks", "correct"].map(|name| kernels.kernel(name));
        let of = |name: &str, text: &str| kernels.lines(name).iter().any(|l| text.contains(l));
        for seed in 0..SEEDS {
            control::set("expertile_sim_set_seed", seed);
            assert_eq!(kernels.launch_in(first, writes, memory, [1, THREADS, 0]), 0);
            assert_eq!(kernels.launch_in(second, reads, memory, [1, THREADS, 0]), 0);
            assert_eq!(face.code("cuCtxSynchronize", &[]), 719, "seed {seed}");
            let reports = control::text("expertile_sim_reports");
            control::set("expertile_sim_clear_reports", 0);
            for report in reports.lines() {
                // Either may come first; both accesses are named with their lines.
                let (earlier, now) = report.split_once("no event or wait between)").unwrap();
                let either = of("two_blocks", earlier) && of("correct", now)
                    || of("correct", earlier) && of("two_blocks", now);
                assert!(either, "seed {seed}: {report}");
            }
            assert!(!reports.is_empty(), "seed {seed}");
        }
    });
}

#[test]
fn use_after_free() {
    on_both("use_after_free", |face| {
        let Some(kernels) = Kernels::new(face) else { return };
        let (kernel, memory) = (kernels.kernel("correct"), face.zeros(THREADS));
        face.ok("cuMemFree_v2", &[memory]);
        assert_eq!(kernels.launch(kernel, memory, [1, THREADS, 0]), 0);
        assert_eq!(face.code("cuCtxSynchronize", &[]), 700);
        let reports = control::text("expertile_sim_reports");
        assert!(reports.contains("1024-byte allocation at"), "{reports}");
        assert!(reports.contains("which was freed"), "{reports}");
        assert!(reports.contains(&kernels.lines("correct")[0]), "{reports}");
        // Copies and fills are refused.
        let mut word = 0u32;
        assert_eq!(face.code("cuMemcpyDtoH_v2", &[address(&mut word), memory, 4]), 1);
        assert_eq!(face.code("cuMemsetD32_v2", &[memory, 0, 1]), 1);
    });
}

#[test]
fn double_free() {
    on_both("double_free", |face| {
        let memory = face.zeros(4);
        face.ok("cuMemFree_v2", &[memory]);
        assert_eq!(face.code("cuMemFree_v2", &[memory]), 1);
        assert!(control::text("expertile_sim_last_refusal").contains("no allocation starts at"));
        let memory = face.made::<usize>("cuMemAllocAsync", &[64, 0]);
        face.ok("cuMemFreeAsync", &[memory, 0]);
        assert_eq!(face.code("cuMemFreeAsync", &[memory, 0]), 1);
        assert_eq!(face.code("cuMemFree_v2", &[memory]), 1);
        face.ok("cuCtxSynchronize", &[]);
    });
}

#[test]
fn an_allocation_in_a_capture() {
    on_both("an_allocation_in_a_capture", |face| {
        let stream = face.non_blocking();
        for mode in 0..2 {
            assert_eq!(face.begin(stream, mode), 0);
            let mut memory = 0usize;
            assert_eq!(face.code("cuMemAlloc_v2", &[address(&mut memory), 64]), 900);
            assert_eq!((memory, face.end(stream).0), (0, 901), "mode {mode}");
        }
    });
}

#[test]
fn a_launch_past_a_limit() {
    on_both("a_launch_past_a_limit", |face| {
        let Some(kernels) = Kernels::new(face) else { return };
        let (kernel, memory) = (kernels.kernel("correct"), face.zeros(THREADS));
        // Threads of a block, blocks, and shared memory; of HIP's kernel, the threads it was made for.
        let refused = |geometry| kernels.launch(kernel, memory, geometry);
        let extents = if face.is_hip { 9 } else { 1 };
        assert_eq!(refused([1, 1025, 0]), extents);
        assert_eq!(refused([1, 0, 0]), extents);
        assert_eq!(refused([1 << 31, THREADS, 0]), extents);
        assert_eq!(refused([1, THREADS, 1 << 20]), 1);
        if face.is_hip {
            assert_eq!(refused([1, 257, 0]), 719);
        }
        assert_eq!(refused([1, THREADS, 0]), 0);
        face.ok("cuCtxSynchronize", &[]);
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}
