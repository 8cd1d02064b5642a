//! Kernels as nvcc makes them.

use super::bench::{Half, Numbers, SEEDS, STEP_ERROR};
use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::nvcc;
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;
use std::path::Path;

/// None without a compiler, unless `EXPERTILE_REQUIRE` names cuda.
pub(crate) fn compile(file: &str, architecture: &str, options: &[&str]) -> Option<Module> {
    if let Err(message) = nvcc::find() {
        let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
        assert!(!required.contains("cuda"), "{message}");
        eprintln!("skipped: {message}");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tensor_cores").join(file);
    let text = nvcc::compile(&path, architecture, options).unwrap_or_else(|e| panic!("{e}"));
    Some(Module::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}")))
}

/// `c = a b^T`, one launch.
pub(crate) struct Gemm {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    /// b is [depth, columns].
    pub(crate) transposed: bool,
    pub(crate) a: Vec<u16>,
    pub(crate) b: Vec<u16>,
}

impl Gemm {
    pub(crate) fn new(extents: [usize; 3], mut next: impl FnMut() -> f64) -> Gemm {
        let [rows, columns, depth] = extents;
        let mut matrix = |count: usize| (0..count).map(|_| Half::Bf16.bits(next())).collect();
        Gemm {
            rows,
            columns,
            depth,
            transposed: false,
            a: matrix(rows * depth),
            b: matrix(columns * depth),
        }
    }

    /// The kernel `gemm`, whose block has a tile of 64 x `width`.
    pub(crate) fn run(
        &self,
        module: &Module,
        (width, threads, shared): (usize, u32, u32),
        seed: u64,
    ) -> (Outcome, Vec<f32>) {
        let mut memory = Memory::new(1 << 33, 1 << 28);
        let program = Program::load(module.clone(), &mut memory).expect("a program");
        let mut parameters = Vec::new();
        for operand in [&self.a, &self.b] {
            let bytes: Vec<u8> = operand.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let at = memory.allocate(bytes.len() as u64).expect("memory");
            memory.write(at, &bytes).expect("memory");
            parameters.extend(at.to_le_bytes());
        }
        let c = memory.allocate((4 * self.rows * self.columns) as u64).expect("memory");
        parameters.extend(c.to_le_bytes());
        parameters.extend((self.columns as u32).to_le_bytes());
        parameters.extend((self.depth as u32).to_le_bytes());
        let device =
            Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };
        let launch = Launch {
            kernel: "gemm",
            grid: [(self.columns / width) as u32, (self.rows / 64) as u32, 1],
            block: [threads, 1, 1],
            dynamic_shared_bytes: shared,
            parameters: &parameters,
            seed,
            approximation_seed: seed,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &device,
        };
        let outcome = program.launch(&mut memory, &launch);
        let mut out = vec![0; 4 * self.rows * self.columns];
        memory.read(c, &mut out).expect("memory");
        let words = out.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4")));
        (outcome, words.collect())
    }

    #[track_caller]
    pub(crate) fn check(&self, (outcome, out): &(Outcome, Vec<f32>), exact: bool) {
        let reports: Vec<String> = outcome.reports.iter().map(ToString::to_string).collect();
        assert!(reports.is_empty(), "{}", reports.join("\n"));
        for (at, &got) in out.iter().enumerate() {
            let (row, column) = (at / self.columns, at % self.columns);
            let (mut want, mut size) = (0.0, 0.0);
            for k in 0..self.depth {
                let b = match self.transposed {
                    false => self.b[column * self.depth + k],
                    true => self.b[k * self.columns + column],
                };
                let product = Half::Bf16.value(self.a[row * self.depth + k]) * Half::Bf16.value(b);
                want += product;
                size += f64::abs(product);
            }
            // A step adds at most its error of all that was accumulated.
            let steps = (self.depth / 16) as f64;
            let bound = if exact { 0.0 } else { STEP_ERROR * steps * size };
            let off = (f64::from(got) - want).abs();
            assert!(off <= bound, "[{row}, {column}]: {got}, not {want}");
        }
    }
}

#[test]
fn a_gemm_of_ldmatrix_and_mma() {
    for architecture in ["sm_80", "sm_90a"] {
        let Some(module) = compile("gemm_mma.cu", architecture, &[]) else { return };
        for seed in 0..SEEDS {
            let mut numbers = Numbers(seed);
            let exact = seed % 2 == 0;
            let gemm = Gemm::new([64, 128, 96], || match exact {
                true => numbers.whole(),
                false => numbers.fraction(),
            });
            let run = gemm.run(&module, (64, 128, 0), seed);
            gemm.check(&run, exact);
            let counters = &run.0.counters;
            // Two tiles, four warps, six steps, eight blocks of columns.
            let counted: Vec<(String, u64)> = counters.matrix.clone().into_iter().collect();
            assert_eq!(counted, [(String::from("m16n8k16.bf16"), 2 * 4 * 6 * 8)]);
            assert_eq!(counters.shared.conflicts, 0);
        }
    }
}

#[test]
fn a_gemm_without_its_second_barrier_races() {
    let Some(module) = compile("gemm_mma.cu", "sm_80", &["-DMISSING_BARRIER"]) else { return };
    for seed in 0..SEEDS {
        let mut numbers = Numbers(seed);
        let gemm = Gemm::new([64, 64, 96], || numbers.whole());
        let (outcome, _) = gemm.run(&module, (64, 128, 0), seed);
        assert!(outcome.reports.iter().any(|report| report.kind == Kind::Race), "seed {seed}");
    }
}

/// Bytes of shared memory of `gemm_wgmma.cu`.
const TILES: u32 = 4 * 8192;

#[test]
fn a_gemm_of_wgmma() {
    for transposed in [false, true] {
        let options: &[&str] = if transposed { &["-DTRANSPOSED"] } else { &[] };
        let Some(module) = compile("gemm_wgmma.cu", "sm_90a", options) else { return };
        for seed in 0..SEEDS {
            let mut numbers = Numbers(seed);
            let exact = seed % 2 == 0;
            let mut gemm = Gemm::new([64, 128, 192], || match exact {
                true => numbers.whole(),
                false => numbers.fraction(),
            });
            gemm.transposed = transposed;
            let run = gemm.run(&module, (64, 128, TILES), seed);
            gemm.check(&run, exact);
            let counters = &run.0.counters;
            // Two tiles, four warps, three times four steps. Matrices are read past the counted banks.
            let counted: Vec<(String, u64)> = counters.matrix.clone().into_iter().collect();
            assert_eq!(counted, [(String::from("m64n64k16.bf16"), 2 * 4 * 3 * 4)]);
            assert_eq!(counters.shared.conflicts, 0);
        }
    }
}

#[test]
fn a_gemm_of_wgmma_without_its_barrier_or_wait_races() {
    for fault in ["-DMISSING_BARRIER", "-DLATE_WAIT"] {
        let Some(module) = compile("gemm_wgmma.cu", "sm_90a", &[fault]) else { return };
        for seed in 0..SEEDS {
            let mut numbers = Numbers(seed);
            let gemm = Gemm::new([64, 64, 256], || numbers.whole());
            let (outcome, _) = gemm.run(&module, (64, 128, TILES), seed);
            let races = outcome.reports.iter().filter(|report| report.kind == Kind::Race);
            assert!(races.count() > 0, "{fault} seed {seed}");
        }
    }
}
