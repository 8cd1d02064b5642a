//! Kernels that clang compiled for AMD's processors, executed: results by independent formulas, and
//! planted faults that must be reported.

use expertile_simulator::report::Kind;
use half::{bf16, f16};

#[path = "amdgcn/common.rs"]
mod common;

use common::{PROCESSORS, Run, random};

/// Runs a kernel over arrays of that many words, with workgroups of 256 threads.
fn run(processor: &str, kernel: &str, a: &[u32], b: &[u32], seed: u64) -> Option<Run> {
    let groups = a.len().div_ceil(256) as u32;
    common::run(("kernels.hip", processor, kernel), (groups, 256), &[a, b], a.len(), seed)
}

/// Numbers of every kind, NaN and subnormal ones among them, and many near each other.
fn inputs(seed: u64) -> (Vec<u32>, Vec<u32>) {
    let edges = [0.0f32, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX];
    let edges = edges.into_iter().chain([f32::MIN_POSITIVE, 1e-45, -1e-40, 65519.9, 65520.0, 3.0]);
    let edges: Vec<u32> = edges.map(f32::to_bits).collect();
    let (mut a, mut b) = (random(1000, seed), random(1000, seed + 1));
    for (at, value) in edges.iter().enumerate() {
        for (other, factor) in edges.iter().enumerate() {
            a[at * edges.len() + other] = *value;
            b[at * edges.len() + other] = *factor;
        }
    }
    // Of moderate size.
    for at in 400..800 {
        let moderate = |bits: u32| ((bits % 2_000_001) as f32 / 1e5 - 10.0).to_bits();
        (a[at], b[at]) = (moderate(a[at]), moderate(b[at]));
    }
    (a, b)
}

fn check(kernel: &str, expected: impl Fn(u32, u32) -> Option<u32>) {
    for processor in PROCESSORS {
        for seed in 0..4 {
            let (a, b) = inputs(seed);
            let Some(run) = run(processor, kernel, &a, &b, seed) else { return };
            assert_eq!(run.reports(), Vec::<String>::new(), "{processor} {kernel}");
            for (at, &found) in run.out.iter().enumerate() {
                let Some(expected) = expected(a[at], b[at]) else { continue };
                let nan = |bits: u32| f32::from_bits(bits).is_nan();
                let same = found == expected || nan(found) && nan(expected);
                assert!(
                    same,
                    "{processor} {kernel} of {:#x}, {:#x}: {found:#x}, expected {expected:#x}",
                    a[at], b[at]
                );
            }
        }
    }
}

fn floats(kernel: &str, expected: impl Fn(f32, f32) -> f32) {
    check(kernel, |a, b| Some(expected(f32::from_bits(a), f32::from_bits(b)).to_bits()));
}

#[test]
fn arithmetic_of_floats_is_correctly_rounded() {
    floats("add_f32", |a, b| a + b);
    floats("multiply_f32", |a, b| a * b);
    floats("divide_f32", |a, b| a / b);
    floats("root_f32", |a, _| a.sqrt());
    floats("fma_f32", |a, b| a.mul_add(b, 1.5));
    floats("floor_f32", |a, _| a.floor());
    floats("even_f32", |a, _| a.round_ties_even());
}

#[test]
fn a_number_beats_a_nan() {
    let signaling = |a: u32| f32::from_bits(a).is_nan() && a >> 22 & 1 == 0;
    let choose = |less: bool| {
        move |a: u32, b: u32| {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            let zeros = x == 0.0 && y == 0.0;
            let number = if less { x.min(y) } else { x.max(y) };
            (!zeros && !signaling(a) && !signaling(b)).then(|| number.to_bits())
        }
    };
    check("min_f32", choose(true));
    check("max_f32", choose(false));
}

#[test]
fn comparisons_know_nan() {
    check("less_f32", |a, b| {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        Some(match a.partial_cmp(&b) {
            Some(std::cmp::Ordering::Less) => 1,
            Some(std::cmp::Ordering::Equal) => 2,
            _ if a.is_nan() => 3,
            _ => 4,
        })
    });
}

#[test]
fn conversions_round_to_nearest_even() {
    let nan = |a: u32| f32::from_bits(a).is_nan();
    check("bf16", |a, b| {
        let round = |bits: u32| u32::from(bf16::from_f32(f32::from_bits(bits)).to_bits());
        (!nan(a) && !nan(b)).then(|| round(a) | round(b) << 16)
    });
    check("f16", |a, b| {
        let round = |bits: u32| u32::from(f16::from_f32(f32::from_bits(bits)).to_bits());
        (!nan(a) && !nan(b)).then(|| round(a) | round(b) << 16)
    });
    check("from_f16", |a, _| Some(f16::from_bits(a as u16).to_f32().to_bits()));
    check("from_u64", |a, b| Some(((u64::from(a) << 32 | u64::from(b)) as f32).to_bits()));
    check("to_i32", |a, _| {
        let product = f32::from_bits(a) * 0.001;
        let fits = product.abs() < 2e9;
        fits.then_some(product as i32 as u32)
    });
}

#[test]
fn integers() {
    check("divide_u32", |a, b| Some(a.checked_div(b).unwrap_or(0)));
    check("remainder_i32", |a, b| {
        let value = (a as i32).wrapping_rem((b | 1) as i32) as u32;
        Some(if b == 0 { 0 } else { value })
    });
    check("divide_u64", |a, b| {
        Some(((u64::from(a) << 20 | u64::from(b)) / (u64::from(b) + 1)) as u32)
    });
    check("multiply_u64", |a, b| {
        let sum = (u64::from(a) * u64::from(b)).wrapping_add(u64::from(b) << 17);
        Some((sum >> 23) as u32)
    });
    check("packed_low", |a, b| Some(4 * ((a & 0xFFFF) + (b & 0xFFFF))));
    check("multiply_low", |a, b| Some(a.wrapping_mul(b).wrapping_add(b)));
    check("shifts", |a, b| Some(a << (b & 31) ^ a >> (b & 31) ^ (a as i32 >> (b & 31)) as u32));
    check("three_bits", |a, b| {
        let c = a.wrapping_mul(0x9E37_79B9);
        // The second is the majority of three.
        let by_bit = |f: fn(u32, u32, u32) -> u32| -> u32 {
            (0..32).map(|at| f(a >> at & 1, b >> at & 1, c >> at & 1) << at).sum()
        };
        let chosen = by_bit(|a, b, c| if a == 1 { b } else { c });
        let majority = by_bit(|a, b, c| (a + b + c) / 2);
        let odd = by_bit(|a, b, c| (1 - a * b + c) % 2);
        let sum = chosen.wrapping_add(majority.wrapping_mul(3));
        Some(sum.wrapping_add(odd.wrapping_mul(5)))
    });
    check("bits", |a, b| {
        let rest = if b == 0 { 7 } else { b.leading_zeros() + 100 * b.trailing_zeros() };
        Some(a.count_ones() + rest)
    });
}

/// Every seed's run of a kernel on every processor.
fn all_runs(kernel: &str, count: usize, mut each: impl FnMut(&str, u64, Run, &[u32])) {
    for processor in PROCESSORS {
        for seed in 0..20 {
            let a = random(count, seed);
            let Some(run) = run(processor, kernel, &a, &a, seed) else { return };
            each(processor, seed, run, &a);
        }
    }
}

#[test]
fn sums_by_lds() {
    all_runs("sum", 1000, |processor, seed, run, a| {
        assert!(run.outcome.reports.is_empty(), "{processor} {seed}: {:?}", run.outcome.reports);
        for (block, values) in a.chunks(256).enumerate() {
            let sum = values.iter().fold(0u32, |sum, value| sum.wrapping_add(*value));
            assert_eq!(run.out[block], sum, "{processor} {seed}");
        }
        assert_eq!(run.outcome.counters.barriers % 4, 0);
    });
}

#[test]
fn words_of_an_access_are_counted_together() {
    all_runs("pairs", 1024, |processor, seed, run, a| {
        assert!(run.outcome.reports.is_empty(), "{processor} {seed}: {:?}", run.outcome.reports);
        assert_eq!(run.out, a, "{processor} {seed}");
        let traffic = run.outcome.counters.traffic;
        let written = (traffic.bytes_written, traffic.sectors_written);
        assert_eq!(written, (4096, 4096 / 32), "{processor} {seed}");
    });
}

#[test]
fn atomics_count() {
    all_runs("atomics", 1000, |processor, seed, run, a| {
        assert!(run.outcome.reports.is_empty(), "{processor} {seed}: {:?}", run.outcome.reports);
        for bin in 0..64 {
            let count = a.iter().filter(|value| **value % 64 == bin).count() as u32;
            assert_eq!(run.out[bin as usize], count, "{processor} {seed}");
        }
    });
}

#[test]
fn lanes_read_others() {
    all_runs("lanes", 512, |processor, seed, run, a| {
        assert!(run.outcome.reports.is_empty(), "{processor} {seed}: {:?}", run.outcome.reports);
        for (at, &found) in run.out.iter().enumerate() {
            let wave = at / 64 * 64;
            let expected = a[at ^ 1] ^ a[wave + (at + 5) % 64] << 3 ^ a[wave];
            assert_eq!(found, expected, "{processor} {seed} {at}");
        }
    });
}

/// The fault is found by every seed that can, at least one, and by its kind and words.
fn planted(kernel: &str, kind: Kind, words: &str, at_least: usize) {
    let (mut found, mut runs) = (0, 0);
    all_runs(kernel, 512, |processor, seed, run, _| {
        runs += 1;
        let text: Vec<String> = run.outcome.reports.iter().map(ToString::to_string).collect();
        let hit = run.outcome.reports.iter().any(|report| report.kind == kind);
        found += usize::from(hit);
        if hit {
            assert!(text.iter().any(|text| text.contains(words)), "{processor} {seed}: {text:?}");
        }
    });
    assert!(runs == 0 || found >= at_least * runs / 60, "{kernel}: {found} of {runs} runs");
}

#[test]
fn planted_faults_are_reported() {
    planted("race", Kind::Race, "no barrier between", 60);
    planted("out_of_bounds", Kind::OutOfBounds, "starts 0 bytes past the end", 60);
    planted("uninitialized", Kind::Uninitialized, "thread 70 (warp 1 lane 6)", 60);
    planted("same_place", Kind::Race, "write by", 60);
    planted("early_use", Kind::Hazard, "before the load into it is waited for", 60);
    planted("unmodelled", Kind::Unsupported, "s_getreg_b32 (B8", 60);
    planted("unmodelled_form", Kind::Unsupported, "v_add_f32 (D1", 60);
    // Only where LDS is late.
    planted("early_barrier", Kind::Race, "no barrier between", 20);
}
