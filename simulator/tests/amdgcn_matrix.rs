//! Matrix instructions of AMD's processors: where elements lie and how products are added.

use half::{bf16, f16};

#[path = "amdgcn/common.rs"]
mod common;
#[path = "amdgcn/waits.rs"]
mod waits;

use common::{PROCESSORS, Run, image, random};

/// Shapes: rows and columns, products of an element, blocks, type.
const SHAPES: [(usize, usize, usize, &str); 19] = [
    (32, 1, 2, "f32"),
    (16, 1, 4, "f32"),
    (4, 1, 16, "f32"),
    (32, 2, 1, "f32"),
    (16, 4, 1, "f32"),
    (32, 4, 2, "f16"),
    (16, 4, 4, "f16"),
    (4, 4, 16, "f16"),
    (32, 8, 1, "f16"),
    (16, 16, 1, "f16"),
    (32, 4, 2, "bf16"),
    (16, 4, 4, "bf16"),
    (4, 4, 16, "bf16"),
    (32, 8, 1, "bf16"),
    (16, 16, 1, "bf16"),
    (32, 16, 1, "f16"),
    (16, 32, 1, "f16"),
    (32, 16, 1, "bf16"),
    (16, 32, 1, "bf16"),
];

/// What gfx950 alone has.
fn is_wide(m: usize, k: usize) -> bool {
    m * k == 512
}

fn name(m: usize, k: usize, blocks: usize, element: &str) -> String {
    let blocks = if blocks > 1 { format!("b{blocks}") } else { String::new() };
    format!("m{m}n{m}k{k}{blocks}_{element}")
}

/// Runs a kernel in one workgroup on three arrays, for one of so many words.
fn run(
    processor: &str,
    kernel: &str,
    threads: u32,
    inputs: [&[u32]; 3],
    words: usize,
    seed: u64,
) -> Option<Run> {
    common::run(("matrix.hip", processor, kernel), (1, threads), &inputs, words, seed)
}

/// The bits of a number in the type, which has it.
fn encode(value: f32, element: &str) -> u32 {
    match element {
        "f16" => f16::from_f32(value).to_bits().into(),
        "bf16" => bf16::from_f32(value).to_bits().into(),
        _ => value.to_bits(),
    }
}

fn round(value: f32, element: &str) -> f32 {
    match element {
        "f16" => f16::from_f32(value).to_f32(),
        "bf16" => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// One instruction's matrices: `a[block][row][k]`, `b[block][column][k]`, `c[block][row][column]`.
struct Case {
    m: usize,
    k: usize,
    blocks: usize,
    element: &'static str,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Case {
    fn new(
        (m, k, blocks, element): (usize, usize, usize, &'static str),
        mut value: impl FnMut() -> f32,
    ) -> Case {
        let mut take =
            |count: usize| (0..count).map(|_| round(value(), element)).collect::<Vec<f32>>();
        let (a, b) = (take(blocks * m * k), take(blocks * m * k));
        let c = take(blocks * m * m);
        Case { m, k, blocks, element, a, b, c }
    }

    /// The lane of a factor, and its place among the lane's (AMD's matrix instruction calculator).
    fn factor_place(&self, block: usize, row: usize, k: usize) -> (usize, usize) {
        let per_lane = match self.element {
            "f32" => 1,
            _ if is_wide(self.m, self.k) => 8,
            _ => 4,
        };
        match self.blocks {
            1 => (self.m * (k / per_lane) + row, k % per_lane),
            _ => (self.m * block + row, k),
        }
    }

    /// The lane and register of a sum.
    fn sum_place(&self, block: usize, row: usize, column: usize) -> (usize, usize) {
        match self.m {
            4 => (4 * block + column, row),
            16 => (16 * (row / 4) + column, 4 * block + row % 4),
            _ => (32 * (row / 4 % 2) + column, 16 * block + 4 * (row / 8) + row % 4),
        }
    }

    fn factors(&self, values: &[f32]) -> Vec<u32> {
        let is_word = self.element == "f32";
        let per_lane = self.blocks * self.m * self.k / 64;
        let mut words = vec![0; if is_word { 64 * per_lane } else { 32 * per_lane }];
        for (at, &value) in values.iter().enumerate() {
            let (block, row, k) = (at / self.k / self.m, at / self.k % self.m, at % self.k);
            let (lane, place) = self.factor_place(block, row, k);
            let index = lane * per_lane + place;
            let bits = encode(value, self.element);
            if is_word {
                words[index] = bits;
            } else {
                words[index / 2] |= bits << (16 * (index % 2));
            }
        }
        words
    }

    fn registers(&self) -> usize {
        self.blocks * self.m * self.m / 64
    }

    /// The index of each sum in the registers.
    fn sum_indices(&self) -> Vec<usize> {
        let place = |at: usize| {
            let m = self.m;
            let (lane, register) = self.sum_place(at / m / m, at / m % m, at % m);
            lane * self.registers() + register
        };
        (0..self.c.len()).map(place).collect()
    }

    fn sums(&self) -> Vec<u32> {
        let mut words = vec![0; self.c.len()];
        for (index, value) in self.sum_indices().into_iter().zip(&self.c) {
            words[index] = value.to_bits();
        }
        words
    }

    /// The instruction's result; no reports.
    fn run(&self, processor: &str, kernel: &str, seed: u64) -> Option<Vec<f32>> {
        let (a, b, c) = (self.factors(&self.a), self.factors(&self.b), self.sums());
        let run = run(processor, kernel, 64, [&a, &b, &c], self.c.len(), seed)?;
        assert_eq!(run.reports(), Vec::<String>::new(), "{processor} {kernel} seed {seed}");
        if kernel == self.name() {
            let counted: Vec<(String, u64)> = run.outcome.counters.matrix.into_iter().collect();
            assert_eq!(counted, [(kernel.replace('_', "."), 1)], "{processor}");
        }
        Some(self.sum_indices().into_iter().map(|index| f32::from_bits(run.out[index])).collect())
    }

    fn name(&self) -> String {
        name(self.m, self.k, self.blocks, self.element)
    }

    /// The products of a sum.
    fn products(&self, at: usize) -> impl Iterator<Item = f64> + '_ {
        let Case { m, k, .. } = *self;
        let (block, row, column) = (at / m / m, at / m % m, at % m);
        let a = &self.a[(block * m + row) * k..][..k];
        let b = &self.b[(block * m + column) * k..][..k];
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b))
    }

    /// Compares with f64, within the bound that the README states.
    fn check(&self, found: &[f32], what: &str) {
        for (at, &found) in found.iter().enumerate() {
            let c = f64::from(self.c[at]);
            let expected = self.products(at).sum::<f64>() + c;
            let size = self.products(at).map(f64::abs).sum::<f64>() + c.abs();
            let bound = self.k as f64 * (size / f64::from(1 << 23) + f64::from(f32::MIN_POSITIVE));
            let error = (f64::from(found) - expected).abs();
            assert!(error <= bound, "{what} {} {at}: {found}, {expected} +- {bound}", self.name());
        }
    }
}

/// Every processor's shapes with a seed's random numbers.
fn each_shape(mut check: impl FnMut(&str, (usize, usize, usize, &'static str))) {
    for processor in PROCESSORS {
        for shape in SHAPES {
            if processor == "gfx950" || !is_wide(shape.0, shape.1) {
                check(processor, shape);
            }
        }
    }
}

/// Random numbers of both signs and moderate size, none of them subnormal in any type.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let words = random(8192, seed);
    let mut at = 0;
    move || {
        at += 1;
        let word = words[at % words.len()];
        let scale = f32::from_bits((120 + (word >> 28)) << 23);
        let number = (word as i32 as f32) / 2e9 * scale;
        if number.abs() < 1e-3 { 1.0 } else { number }
    }
}

#[test]
fn elements_lie_where_the_calculator_says() {
    each_shape(|processor, shape| {
        // A single product at a time, whose place in the result says which it is.
        for seed in 0..12 {
            let mut case = Case::new(shape, || 0.0);
            let (m, k, blocks, _) = shape;
            let words: Vec<usize> = random(4, seed).iter().map(|&word| word as usize).collect();
            let pick = [words[0] % blocks, words[1] % m, words[2] % m, words[3] % k];
            let [block, row, column, at] = pick;
            case.a[(block * m + row) * k + at] = 3.0;
            case.b[(block * m + column) * k + at] = 5.0;
            case.c[(block * m + row) * m + column] = 0.5;
            let Some(found) = case.run(processor, &case.name(), seed) else { return };
            for (index, &found) in found.iter().enumerate() {
                let expected = if index == (block * m + row) * m + column { 15.5 } else { 0.0 };
                assert_eq!(found, expected, "{processor} {} {pick:?} {index}", case.name());
            }
        }
    });
}

#[test]
fn products_are_added_within_the_bound() {
    each_shape(|processor, shape| {
        for seed in 0..16 {
            let case = Case::new(shape, numbers(seed));
            let Some(found) = case.run(processor, &case.name(), seed) else { return };
            case.check(&found, processor);
        }
    });
}

#[test]
fn sums_of_integers_are_exact() {
    each_shape(|processor, shape| {
        for seed in 0..8 {
            let mut words = random(8192, seed).into_iter().cycle();
            let case = Case::new(shape, || (words.next().unwrap_or(0) % 201) as f32 - 100.0);
            let Some(found) = case.run(processor, &case.name(), seed) else { return };
            for (at, found) in found.into_iter().enumerate() {
                let expected = case.products(at).sum::<f64>() + f64::from(case.c[at]);
                assert_eq!(f64::from(found), expected, "{processor} {} seed {seed}", case.name());
            }
        }
    });
}

#[test]
fn accumulation_registers_constants_and_exec() {
    for processor in PROCESSORS {
        for seed in 0..4 {
            let case = Case::new((32, 8, 1, "f16"), numbers(seed));
            let Some(found) = case.run(processor, "accumulation", seed) else { return };
            case.check(&found, processor);
            let mut case = Case::new((16, 16, 1, "f16"), numbers(seed));
            for kernel in ["accumulation_in_place", "half_of_exec", "constant"] {
                if kernel == "constant" {
                    case.c.fill(-2.0);
                }
                let found = case.run(processor, kernel, seed).expect("the compiler is there");
                case.check(&found, processor);
            }
        }
    }
}

/// One sum of the shape's products with these factors and this addend, by processor and seed.
fn single(processor: &str, element: &'static str, a: &[f32], b: &[f32], c: f32, seed: u64) -> f32 {
    let mut case = Case::new((16, 16, 1, element), || 0.0);
    case.a[..a.len()].copy_from_slice(a);
    case.b[..b.len()].copy_from_slice(b);
    case.c[0] = c;
    case.run(processor, &case.name(), seed).map_or(f32::NAN, |found| found[0])
}

#[test]
fn infinities_and_nan_are_those_of_ieee() {
    if image("matrix.hip", "gfx90a").is_none() {
        return;
    }
    const INF: f32 = f32::INFINITY;
    for processor in PROCESSORS {
        for (element, seed) in [("f16", 0), ("bf16", 0), ("f16", 1), ("bf16", 2), ("bf16", 3)] {
            let sum = |a: &[f32], b: &[f32], c| single(processor, element, a, b, c, seed);
            assert_eq!(sum(&[INF, 1.0], &[2.0, 1.0], 1.0), INF, "{processor} {seed}");
            assert_eq!(sum(&[1.0], &[1.0], -INF), -INF);
            assert!(sum(&[INF], &[0.0], 1.0).is_nan());
            assert!(sum(&[INF, -INF], &[1.0, 1.0], 1.0).is_nan());
            assert!(sum(&[INF], &[1.0], -INF).is_nan());
            assert!(sum(&[f32::NAN], &[1.0], 1.0).is_nan());
            assert!(sum(&[1.0], &[1.0], f32::NAN).is_nan());
        }
    }
}

/// gfx90a flushes subnormal factors, addends and results of f16 and bf16.
#[test]
fn gfx90a_flushes_subnormal_numbers() {
    if image("matrix.hip", "gfx90a").is_none() {
        return;
    }
    for processor in PROCESSORS {
        for seed in 0..4 {
            let kept = |value: f32| if processor == "gfx90a" { 0.0 } else { value };
            let small = f16::from_bits(0x3FF).to_f32();
            let found = single(processor, "f16", &[small], &[1024.0], 0.0, seed);
            assert_eq!(found, kept(small * 1024.0), "{processor} {seed}");
            let small = f32::from_bits(0x40_0000);
            let found = single(processor, "bf16", &[small], &[1024.0], 0.0, seed);
            assert_eq!(found, kept(small * 1024.0), "{processor} {seed}");
            let found = single(processor, "bf16", &[0.0], &[0.0], small, seed);
            assert_eq!(found, kept(small), "{processor} {seed}");
            let least = f32::MIN_POSITIVE;
            let found = single(processor, "bf16", &[least], &[0.5], 0.0, seed);
            assert_eq!(found, kept(least / 2.0), "{processor} {seed}");
            let found = single(processor, "bf16", &[least], &[1.0], small, seed);
            assert_eq!(found, least + kept(small), "{processor} {seed}");
        }
    }
}

/// The sums that tell how products are added, for the seeds 0 to 3.
#[test]
fn the_seed_decides_how_products_are_added() {
    if image("matrix.hip", "gfx90a").is_none() {
        return;
    }
    let big = 16_777_216.0;
    let check = |processors: &[&str], a: &[f32], b: &[f32], c: f32, expected: [f32; 4]| {
        for processor in processors {
            let seeds = [0, 1, 2, 3];
            let found = seeds.map(|seed| single(processor, "bf16", a, b, c, seed));
            assert_eq!(found, expected, "{processor} {a:?} {b:?} {c}");
        }
    };
    let ones = [1.0; 5];
    // Pairs lose both ones, sums in turn lose the first.
    let a = [big, 1.0, -big, 1.0];
    check(&["gfx90a"], &a, &ones[..4], 0.0, [1.0, 2.0, 2.0, 1.0]);
    check(&["gfx942", "gfx950"], &a, &ones[..4], 0.0, [2.0, 2.0, 2.0, 1.0]);
    // Four at a time lose what the fifth would keep.
    let a = [big, 1.0, 0.0, 0.0, -big];
    check(&["gfx90a"], &a, &ones, 0.0, [0.0, 1.0, 0.0, 0.0]);
    check(&["gfx942", "gfx950"], &a, &ones, 0.0, [1.0, 1.0, 0.0, 0.0]);
    // Cut off towards minus infinity: a small negative addend counts more than a positive one.
    let small = 1.0 / 1_073_741_824.0;
    let below = 1.0f32.next_down();
    check(&["gfx942", "gfx950"], &[1.0], &[1.0], -small, [below, 1.0, 1.0, 1.0]);
    check(&["gfx942", "gfx950"], &[1.0], &[1.0], small, [1.0; 4]);
    check(&["gfx90a"], &[1.0], &[1.0], -small, [1.0; 4]);
    // Cut off towards zero 24 bits below the largest product.
    let a = [1.0, small, small, small, small, small];
    let b = [1.0, 63.0, 63.0, 63.0, 63.0, 63.0];
    let up = 1.0 + 2.0 * f32::EPSILON;
    check(&["gfx942", "gfx950"], &a, &b, 0.0, [1.0, up, up, 1.0]);
}

#[test]
fn products_of_tiles_by_way_of_lds() {
    for processor in PROCESSORS {
        for (m, k, blocks, element) in SHAPES {
            let missing = is_wide(m, k) && processor != "gfx950";
            if blocks != 1 || element == "f32" || missing {
                continue;
            }
            for seed in 0..16 {
                let mut number = numbers(seed);
                let mut values =
                    || (0..4096).map(|_| round(number(), element)).collect::<Vec<f32>>();
                let (a, b) = (values(), values());
                let words = |values: &[f32]| -> Vec<u32> {
                    let bits = |value: &f32| encode(*value, element);
                    values.chunks(2).map(|pair| bits(&pair[0]) | bits(&pair[1]) << 16).collect()
                };
                let kernel = format!("product_{}", name(m, k, 1, element));
                let inputs = [&words(&a)[..], &words(&b)[..], &[0]];
                let Some(run) = run(processor, &kernel, 256, inputs, 4096, seed) else { return };
                assert_eq!(run.reports(), Vec::<String>::new(), "{processor} {kernel} {seed}");
                let count = 4 * (32 / m) * (32 / m) * 64 / k;
                let shape = name(m, k, 1, element).replace('_', ".");
                assert_eq!(run.outcome.counters.matrix.get(&shape), Some(&(count as u64)));
                for at in 0..4096 {
                    let pairs = a[at / 64 * 64..][..64].iter().zip(&b[at % 64 * 64..][..64]);
                    let products: Vec<f64> =
                        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).collect();
                    let expected: f64 = products.iter().sum();
                    let size: f64 = products.iter().map(|product| product.abs()).sum();
                    let error = (f64::from(f32::from_bits(run.out[at])) - expected).abs();
                    let bound = 64.0 * size / f64::from(1 << 23);
                    assert!(error <= bound, "{processor} {kernel} {at}: {error} > {bound}");
                }
            }
        }
    }
}
