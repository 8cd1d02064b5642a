//! Kernels as nvcc makes them, against plain formulas, under many schedules.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

fn nvcc() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut places: Vec<PathBuf> =
        std::env::var_os("NVCC").map(PathBuf::from).into_iter().collect();
    places.push(root.join(".toolchain/cuda/nvidia/cu13/bin/nvcc"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).map(|folder| folder.join("nvcc")));
    places.extend(std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc")));
    places.push(PathBuf::from("/usr/local/cuda/bin/nvcc"));
    places.into_iter().find(|place| place.is_file())
}

/// The kernels' PTX; none without a compiler.
fn text() -> Option<&'static str> {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let Some(nvcc) = nvcc() else {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("cuda"), "no nvcc, and EXPERTILE_REQUIRE names cuda");
            eprintln!("no nvcc: skipped");
            return None;
        };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/kernels.cu");
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("engine_kernels.ptx");
        let made = Command::new(nvcc)
            .args(["-O3", "-arch=sm_90a", "-lineinfo", "-ptx", source, "-o"])
            .arg(&out)
            .status()
            .expect("nvcc starts");
        assert!(made.success(), "nvcc: {made}");
        Some(std::fs::read_to_string(out).expect("the PTX"))
    });
    text.as_deref()
}

struct Bench {
    memory: Memory,
    program: Program,
    parameters: Vec<u8>,
}

impl Bench {
    fn new() -> Option<Bench> {
        let module = Module::parse(text()?).expect("PTX");
        let mut memory = Memory::new(1 << 33, 1 << 30);
        let program = Program::load(module, &mut memory).expect("a program");
        Some(Bench { memory, program, parameters: Vec::new() })
    }

    fn buffer<T: Copy>(&mut self, data: &[T]) -> u64 {
        let bytes = bytes(data);
        let at = self.memory.allocate(bytes.len() as u64).expect("memory");
        self.memory.write(at, &bytes).expect("memory");
        self.argument(at);
        at
    }

    fn room(&mut self, bytes: u64) -> u64 {
        let at = self.memory.allocate(bytes).expect("memory");
        self.argument(at);
        at
    }

    fn argument<T: Copy>(&mut self, value: T) {
        let bytes = bytes(&[value]);
        let at = self.parameters.len().next_multiple_of(bytes.len());
        self.parameters.resize(at, 0);
        self.parameters.extend(bytes);
    }

    fn read<T: Copy + Default>(&self, at: u64, count: usize) -> Vec<T> {
        let size = size_of::<T>();
        let mut raw = vec![0; size * count];
        self.memory.read(at, &mut raw).expect("memory");
        // SAFETY: the tests' types are plain numbers, any bits of which are a value.
        (0..count)
            .map(|i| unsafe { raw[i * size..].as_ptr().cast::<T>().read_unaligned() })
            .collect()
    }

    fn run(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        seed: u64,
    ) -> Outcome {
        let device =
            Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };
        let launch = Launch {
            kernel,
            grid,
            block,
            dynamic_shared_bytes: shared,
            parameters: &self.parameters,
            seed,
            approximation_seed: 7,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &device,
        };
        self.program.launch(&mut self.memory, &launch)
    }

    fn clean(&mut self, kernel: &str, grid: u32, block: u32, shared: u32, seed: u64) {
        let outcome = self.run(kernel, [grid, 1, 1], [block, 1, 1], shared, seed);
        for report in &outcome.reports {
            eprintln!("seed {seed}: {report}");
        }
        assert!(outcome.reports.is_empty(), "seed {seed}: {}", outcome.reports[0]);
    }
}

fn bytes<T: Copy>(data: &[T]) -> Vec<u8> {
    // SAFETY: the tests' types are plain numbers without padding.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) }.to_vec()
}

const SEEDS: u64 = 40;

/// Numbers that look random.
fn numbers(count: usize) -> impl Iterator<Item = u32> {
    (0..count as u32).map(|i| {
        (i.wrapping_mul(2_654_435_761) ^ 0x5bd1_e995).rotate_left(13).wrapping_mul(0x27d4_eb2f)
    })
}

#[test]
fn reductions() {
    let Some(mut bench) = Bench::new() else { return };
    let n = 5000;
    let input: Vec<f32> = numbers(n).map(|x| (x % 1000) as f32).collect();
    bench.buffer(&input);
    let out = bench.room(4 * 10);
    bench.argument(n as i32);
    for seed in 0..SEEDS {
        bench.clean("reduce", 10, 256, 256 * 4, seed);
        for (block, sum) in bench.read::<f32>(out, 10).into_iter().enumerate() {
            let expected: f32 = input.iter().skip(block * 512).take(512).sum();
            assert_eq!(sum, expected);
        }
    }
}

#[test]
fn scans() {
    let Some(mut bench) = Bench::new() else { return };
    let n = 1000;
    let input: Vec<i32> = numbers(n).map(|x| (x % 100) as i32 - 50).collect();
    bench.buffer(&input);
    let out = bench.room(4 * n as u64);
    bench.argument(n as i32);
    for seed in 0..SEEDS {
        bench.clean("scan", 4, 256, 0, seed);
        let got = bench.read::<i32>(out, n);
        for block in 0..4 {
            let mut sum = 0;
            for i in block * 256..(block * 256 + 256).min(n) {
                sum += input[i];
                assert_eq!(got[i], sum);
            }
        }
    }
}

#[test]
fn transposes() {
    let Some(mut bench) = Bench::new() else { return };
    let (width, height) = (100usize, 70usize);
    let input: Vec<u32> = numbers(width * height).collect();
    bench.buffer(&input);
    let out = bench.room((4 * width * height) as u64);
    bench.argument(width as i32);
    bench.argument(height as i32);
    for seed in 0..SEEDS {
        let outcome = bench.run("transpose", [4, 3, 1], [32, 8, 1], 0, seed);
        assert!(outcome.reports.is_empty(), "{}", outcome.reports[0]);
        assert_eq!(outcome.counters.shared.conflicts, 0);
        let got = bench.read::<u32>(out, width * height);
        for x in 0..width {
            for y in 0..height {
                assert_eq!(got[x * height + y], input[y * width + x]);
            }
        }
    }
}

#[test]
fn bitonic_sorts() {
    let Some(mut bench) = Bench::new() else { return };
    let mut input: Vec<u32> = numbers(1024).collect();
    let data = bench.buffer(&input);
    for seed in 0..SEEDS {
        bench.memory.write(data, &bytes(&input)).expect("memory");
        bench.clean("bitonic", 2, 256, 0, seed);
        let got = bench.read::<u32>(data, 1024);
        let mut expected = input.clone();
        expected[..512].sort_unstable();
        expected[512..].sort_unstable();
        assert_eq!(got, expected);
        input.rotate_left(3);
    }
}

#[test]
fn histograms() {
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<u8> = numbers(3000).map(|x| (x >> 20) as u8 & 0x3F).collect();
    bench.buffer(&input);
    let out = bench.room(1024);
    bench.argument(3000i32);
    for seed in 0..SEEDS {
        bench.memory.fill(out, &[0], 1024).expect("memory");
        bench.clean("histogram", 3, 128, 0, seed);
        let mut expected = vec![0u32; 256];
        input.iter().for_each(|&x| expected[usize::from(x)] += 1);
        assert_eq!(bench.read::<u32>(out, 256), expected);
    }
}

#[test]
fn last_block_sums() {
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<f32> = numbers(2000).map(|x| (x % 64) as f32).collect();
    bench.buffer(&input);
    bench.room(4 * 7);
    let out = bench.room(4);
    bench.argument(2000i32);
    for seed in 0..SEEDS {
        bench.clean("sum_last_block", 7, 96, 0, seed);
        assert_eq!(bench.read::<f32>(out, 1)[0], input.iter().sum::<f32>());
    }
}

#[test]
fn blocks_that_wait_for_blocks() {
    let Some(mut bench) = Bench::new() else { return };
    let blocks = 40;
    let input: Vec<i32> = numbers(32 * blocks).map(|x| (x % 100) as i32).collect();
    bench.buffer(&input);
    let out = bench.room(128 * blocks as u64);
    let flags = bench.room(4 * blocks as u64);
    bench.room(4 * blocks as u64);
    for seed in 0..SEEDS {
        bench.memory.fill(flags, &[0], 4 * blocks as u64).expect("memory");
        bench.clean("chained_scan", blocks as u32, 32, 0, seed);
        let mut sum = 0;
        for (got, x) in bench.read::<i32>(out, 32 * blocks).into_iter().zip(&input) {
            sum += x;
            assert_eq!(got, sum);
        }
    }
}

#[test]
fn locks_between_lanes() {
    for kernel in ["spin_lock", "spin_lock_inner"] {
        let Some(mut bench) = Bench::new() else { return };
        bench.buffer(&[0i32]);
        let count = bench.buffer(&[0i32]);
        for seed in 0..SEEDS {
            bench.clean(kernel, 2, 64, 0, seed);
            assert_eq!(bench.read::<i32>(count, 1)[0], 128 * (seed as i32 + 1), "{kernel}");
        }
    }
}

#[test]
fn filters() {
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<i32> = numbers(300).map(|x| x as i32).collect();
    bench.buffer(&input);
    let out = bench.room(1200);
    let count = bench.buffer(&[0i32]);
    bench.argument(300i32);
    for seed in 0..SEEDS {
        bench.memory.fill(count, &[0], 4).expect("memory");
        bench.clean("filter", 3, 128, 0, seed);
        let mut expected: Vec<i32> = input.iter().copied().filter(|&x| x > 0).collect();
        assert_eq!(bench.read::<i32>(count, 1)[0] as usize, expected.len());
        let mut got = bench.read::<i32>(out, expected.len());
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected);
    }
}

#[test]
fn calls() {
    let Some(mut bench) = Bench::new() else { return };
    let out = bench.room(4 * 64);
    for seed in 0..SEEDS / 4 {
        bench.clean("recursive", 1, 64, 0, seed);
        let fibonacci = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55];
        for (t, got) in bench.read::<i32>(out, 64).into_iter().enumerate() {
            assert_eq!(got, fibonacci[t % 11]);
        }
        bench.clean("indirect", 1, 64, 0, seed);
        for (t, got) in bench.read::<i32>(out, 64).into_iter().enumerate() {
            let t = t as i32;
            assert_eq!(got, [2 * t, t * t, -t][t as usize % 3]);
        }
    }
}

#[test]
fn structures_as_arguments() {
    let Some(mut bench) = Bench::new() else { return };
    let mut input: Vec<f64> = numbers(128).map(f64::from).collect();
    input[77] = 1e12;
    bench.buffer(&input);
    let out = bench.room(4);
    for seed in 0..SEEDS {
        bench.clean("arg_max", 1, 32, 0, seed);
        assert_eq!(bench.read::<i32>(out, 1)[0], 77);
    }
}

#[test]
fn branches_to_many_places() {
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<i32> = (0..96).map(|t| t * 5 % 9).collect();
    bench.buffer(&input);
    let out = bench.room(4 * 96);
    for seed in 0..SEEDS {
        bench.clean("choose", 1, 96, 0, seed);
        for (t, got) in bench.read::<i32>(out, 96).into_iter().enumerate() {
            let (u, t) = (t as u32, t as i32);
            let expected = match input[t as usize] {
                0 => 17,
                1 => 31 + t,
                2 => u.count_ones() as i32,
                3 => u.leading_zeros() as i32,
                4 => t % 7,
                5 => t / 3,
                6 => !t,
                7 => -5,
                _ => 99,
            };
            assert_eq!(got, expected, "thread {t}");
        }
    }
}

#[test]
fn private_arrays() {
    let Some(mut bench) = Bench::new() else { return };
    let index: Vec<i32> = numbers(64 * 8).map(|x| (x >> 7) as i32).collect();
    bench.buffer(&index);
    let out = bench.room(256);
    for seed in 0..SEEDS {
        bench.clean("private_array", 1, 64, 0, seed);
        for (t, got) in bench.read::<i32>(out, 64).into_iter().enumerate() {
            let mut a: Vec<i32> = (0..16).map(|i| i * i + t as i32).collect();
            let mut sum = 0i32;
            for i in 0..8 {
                let k = (index[t * 8 + i] & 15) as usize;
                sum = sum.wrapping_add(a[k]);
                a[k] = sum;
            }
            assert_eq!(got, sum);
        }
    }
}

#[test]
fn asynchronous_copies() {
    let Some(mut bench) = Bench::new() else { return };
    let tiles = 5;
    let input: Vec<[u32; 4]> = (0..64 * tiles).map(|i| [i, i + 1, i * 3, !i]).collect();
    bench.buffer(&input);
    let out = bench.room(16 * 64 * u64::from(tiles));
    bench.argument(tiles as i32);
    for seed in 0..SEEDS {
        bench.clean("pipeline", 1, 64, 0, seed);
        let got = bench.read::<[u32; 4]>(out, 64 * tiles as usize);
        for (at, got) in got.into_iter().enumerate() {
            assert_eq!(got, input[at / 64 * 64 + 63 - at % 64]);
        }
    }
}

#[test]
fn barriers() {
    let Some(mut bench) = Bench::new() else { return };
    let rounds = 6;
    let out = bench.room(64 * 4 * rounds);
    bench.argument(rounds as i32);
    for seed in 0..SEEDS {
        bench.clean("produce_consume", 1, 128, 0, seed);
        let got = bench.read::<u32>(out, 64 * rounds as usize);
        for (at, got) in got.into_iter().enumerate() {
            assert_eq!(got as usize, at / 64 * 64 + 63 - at % 64);
        }
    }
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<i32> = (0..100).map(|x| x % 3 - 1).collect();
    bench.buffer(&input);
    let out = bench.room(400);
    for seed in 0..SEEDS {
        bench.clean("barrier_votes", 1, 100, 0, seed);
        assert_eq!(bench.read::<i32>(out, 100), vec![33; 100]);
    }
}

#[test]
fn votes() {
    let Some(mut bench) = Bench::new() else { return };
    let input: Vec<u32> = numbers(64).map(|x| x >> 8).collect();
    bench.buffer(&input);
    let out = bench.room(256);
    for seed in 0..SEEDS {
        bench.clean("votes", 1, 64, 0, seed);
        for (t, got) in bench.read::<u32>(out, 64).into_iter().enumerate() {
            let warp = &input[t / 32 * 32..][..32];
            let x = input[t];
            let bits = |holds: &dyn Fn(u32) -> bool| {
                warp.iter().enumerate().fold(0, |m, (l, &v)| m | u32::from(holds(v)) << l)
            };
            let (b, m) = (bits(&|v| v & 1 == 1), bits(&|v| v % 4 == x % 4));
            let r = warp.iter().fold(0u32, |sum, &v| sum.wrapping_add(v));
            let q = warp[if t % 32 < 16 { 3 } else { 19 }];
            let any = if warp.contains(&5) { 1 << 31 } else { 0 };
            let expected = b ^ m.wrapping_mul(3) ^ r.wrapping_mul(5) ^ q.wrapping_mul(7) ^ any;
            assert_eq!(got, expected, "thread {t}");
        }
    }
}

#[test]
fn half_precision() {
    use half::{bf16, f16};
    let Some(mut bench) = Bench::new() else { return };
    let a: Vec<f16> = numbers(64).map(|x| f16::from_f32((x % 2000) as f32 / 64.0 - 10.0)).collect();
    let b: Vec<bf16> = numbers(64).map(|x| bf16::from_f32((x % 999) as f32 / 32.0 - 9.0)).collect();
    bench.buffer(&a);
    bench.buffer(&b);
    let (c, d) = (bench.room(128), bench.room(128));
    bench.clean("halves", 1, 32, 0, 3);
    for (i, got) in bench.read::<u16>(c, 64).into_iter().enumerate() {
        let x = f64::from(a[i]);
        let sum = f64::from(f16::from_f64(x + 0.5));
        assert_eq!(got, f16::from_f64(x * x + sum).to_bits());
    }
    for (i, got) in bench.read::<u16>(d, 64).into_iter().enumerate() {
        let x = f64::from(b[i]);
        let sum = f64::from(bf16::from_f64(x + x));
        assert_eq!(got, bf16::from_f64(sum * x.max(1.0)).to_bits());
    }
}

#[test]
fn wide_integers() {
    let Some(mut bench) = Bench::new() else { return };
    let wide = |x: u32, y: u32| (u64::from(x) << 32 | u64::from(y)) as i64;
    let a: Vec<i64> = numbers(65).zip(numbers(65).skip(1)).map(|(x, y)| wide(x, y)).collect();
    let b: Vec<i64> = numbers(64).map(|x| i64::from(x as i32) | 1).collect();
    bench.buffer(&a);
    bench.buffer(&b);
    let out = bench.room(512);
    bench.clean("wide", 1, 64, 0, 3);
    for (i, got) in bench.read::<i64>(out, 64).into_iter().enumerate() {
        let (a, b) = (a[i], b[i]);
        let high = ((i128::from(a) * i128::from(b)) >> 64) as i64;
        let double = (a as f64 * 0.37) as i64;
        let rest = (a % b).wrapping_mul(3);
        assert_eq!(got, (a / b).wrapping_add(rest).wrapping_add(high).wrapping_add(double));
    }
}

fn fault(kernel: &str, data: &[i32], threads: u32, seed: u64) -> Option<Outcome> {
    let mut bench = Bench::new()?;
    if !data.is_empty() {
        bench.buffer(data);
    }
    if kernel != "asserting" {
        bench.room(256);
    }
    Some(bench.run(kernel, [1, 1, 1], [threads, 1, 1], 0, seed))
}

#[test]
fn failed_assertions_are_told() {
    let mut data = vec![1; 32];
    assert!(fault("asserting", &data, 32, 1).is_none_or(|outcome| outcome.reports.is_empty()));
    data[9] = -1;
    let Some(outcome) = fault("asserting", &data, 32, 1) else { return };
    let last = outcome.reports.last().expect("a report");
    assert_eq!((last.kind, last.thread), (Kind::Trap, Some(9)), "{last}");
    assert!(last.message.contains("in[threadIdx.x] >= 0"), "{last}");
}

#[test]
fn planted_faults_are_found_under_every_schedule() {
    for seed in 0..SEEDS {
        let Some(outcome) = fault("uninitialised_branch", &[5; 64], 64, seed) else { return };
        let found = &outcome.reports[0];
        assert_eq!((found.kind, found.thread), (Kind::Uninitialized, Some(32)), "{found}");
        assert!(found.source.as_ref().is_some_and(|(file, _)| file.ends_with("kernels.cu")));
        let Some(outcome) = fault("missing_barrier", &[], 64, seed) else { return };
        assert!(
            outcome.reports.iter().any(|report| report.kind == Kind::Race),
            "seed {seed}: {:?}",
            outcome.reports
        );
        let Some(outcome) = fault("lonely_barrier", &[], 64, seed) else { return };
        assert_eq!(outcome.reports.last().expect("a report").kind, Kind::Deadlock);
        let Some(outcome) = fault("divergent_barrier", &[], 64, seed) else { return };
        let found = outcome.reports.last().expect("a report");
        assert_eq!(found.kind, Kind::Divergence, "{found}");
    }
}

#[test]
fn a_seed_settles_everything() {
    let Some(mut bench) = Bench::new() else { return };
    bench.buffer(&[0i32]);
    bench.buffer(&[0i32]);
    let mut counts = Vec::new();
    for seed in 0..12 {
        let mut once =
            || bench.run("spin_lock", [4, 1, 1], [64, 1, 1], 0, seed).counters.warp_instructions;
        let count = once();
        assert_eq!(count, once(), "seed {seed}");
        counts.push(count);
    }
    counts.sort_unstable();
    counts.dedup();
    assert!(counts.len() > 3, "schedules differ: {counts:?}");
}
