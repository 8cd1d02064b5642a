//! All of it together with `wgmma`: a warp-specialised product with multicast, swizzled tiles, and copies out.

use super::bench::{Bench, Geometry, Source, Tensor, noise};
use expertile_simulator::report::Kind;
use half::bf16;

static KERNELS: Source = Source::new("gemm.cu");
const ROWS: usize = 500;
const COLUMNS: usize = 120;
const DEPTH: usize = 320;

/// Whole numbers from -3 to 3.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    noise(count, seed).into_iter().map(|byte| f32::from(byte % 7) - 3.0).collect()
}

fn halves(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|&it| bf16::from_f32(it).to_bits().to_le_bytes()).collect()
}

/// A matrix of bf16 with boxes of 64 along the depth.
fn tiles(address: u64, rows: usize, side: u64) -> Tensor {
    Tensor {
        address,
        extents: vec![DEPTH as u64, rows as u64],
        strides: vec![2 * DEPTH as u64],
        boxes: vec![64, side],
        data_type: 9,
        element: 2,
        swizzle: 128,
        nan: false,
    }
}

struct Product {
    bench: Bench,
    a: Vec<f32>,
    b: Vec<f32>,
    out: u64,
}

/// Two blocks in columns, four in rows, of which the last is cut.
const GEOMETRY: fn() -> Geometry = || Geometry::new(2, 384, 3 * 24576 + 32768);

impl Product {
    fn new(fault: u32, seed: u64, change: impl Fn(&mut Tensor)) -> Option<Product> {
        let mut bench = KERNELS.load()?;
        let (a, b) = (numbers(ROWS * DEPTH, seed), numbers(COLUMNS * DEPTH, seed + 1000));
        let (left, right) = (bench.buffer(&halves(&a)), bench.buffer(&halves(&b)));
        let out = bench.room(4 * ROWS * COLUMNS);
        let mut map = tiles(left, ROWS, 128);
        change(&mut map);
        bench.map(&map).map(&tiles(right, COLUMNS, 32));
        bench.map(&Tensor::floats(out, [COLUMNS as u64, ROWS as u64], [32, 64]));
        bench.word(DEPTH as u32).word(fault);
        Some(Product { bench, a, b, out })
    }

    fn is_right(&self) -> bool {
        let got = self.bench.floats(self.out, ROWS * COLUMNS);
        let row = |from: &[f32], at: usize| from[at * DEPTH..][..DEPTH].to_vec();
        (0..ROWS * COLUMNS).all(|at| {
            let (x, y) = (row(&self.a, at / COLUMNS), row(&self.b, at % COLUMNS));
            got[at] == x.iter().zip(&y).map(|(x, y)| x * y).sum::<f32>()
        })
    }
}

#[test]
fn a_warp_specialised_product() {
    for seed in 0..50 {
        let Some(mut product) = Product::new(0, seed, |_| ()) else { return };
        let outcome = product.bench.launch_grid("gemm", [2, 4, 1], GEOMETRY(), seed);
        assert!(outcome.reports.is_empty(), "seed {seed}: {}", super::bench::lines(&outcome));
        assert!(product.is_right(), "seed {seed}");
        // Each of two columns of blocks reads a, each of two clusters on top of another b, without what is
        // outside; all is written once.
        let traffic = outcome.counters.traffic;
        let bytes = 2 * (2 * DEPTH * (ROWS + COLUMNS)) as u64;
        assert_eq!((traffic.bytes_read, traffic.sectors_read), (bytes, bytes / 32));
        let written = 4 * (ROWS * COLUMNS) as u64;
        assert_eq!((traffic.bytes_written, traffic.sectors_written), (written, written / 32));
    }
}

#[test]
fn faults_of_the_product() {
    // A stage that is given back before it was read, and a missing proxy fence.
    for (fault, text) in [(1, ""), (2, "no fence.proxy.async by the writing thread between")] {
        for seed in 0..50 {
            let Some(mut product) = Product::new(fault, seed, |_| ()) else { return };
            let outcome = product.bench.launch_grid("gemm", [2, 4, 1], GEOMETRY(), seed);
            let races = outcome.reports.iter().filter(|report| report.kind == Kind::Race);
            let found = races.filter(|report| report.message.contains(text)).count();
            let lines = super::bench::lines(&outcome);
            assert!(found > 0, "fault {fault} seed {seed}: {lines}");
        }
    }
    // Another swizzle than the descriptors say.
    let Some(mut product) = Product::new(0, 7, |map| map.swizzle = 0) else { return };
    product.bench.launch_grid("gemm", [2, 4, 1], GEOMETRY(), 7);
    assert!(!product.is_right());
}
