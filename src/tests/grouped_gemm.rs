//! `grouped_gemm_up` and `grouped_gemm_down` against the reference: cases, and how they run.

use super::grouped_gemm_check::check;
use super::harness::{Fenced, Float, cases, poison, report, values};
use expertile::{
    Activation, Buffer, Device, Dtype, Error, Gated, GroupedDown, GroupedUp, PairWeights, Result,
    Stream, Tensor, WeightLayout, grouped_gemm_down, grouped_gemm_up,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One of the two products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Up { packed: bool },
    Down { is_nn: bool },
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) product: Product,
    /// Rows of each expert.
    pub(crate) counts: Vec<usize>,
    /// Rows that no expert has, behind the others.
    pub(crate) spare: usize,
    pub(crate) tokens: usize,
    pub(crate) top_k: usize,
    /// Features divided by 8.
    pub(crate) in_8: usize,
    pub(crate) out_8: usize,
    /// Elements between rows of x, of weights and of out, and between experts, divided by 8.
    pub(crate) gaps_8: [usize; 4],
    pub(crate) dtype: Dtype,
    pub(crate) biased: bool,
    pub(crate) weighted: bool,
    pub(crate) activation: Activation,
    /// Whole numbers, of which every sum is exact.
    pub(crate) whole: bool,
    /// Puts NaN and infinities into some rows of x.
    pub(crate) special: bool,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let rows = prop_oneof![2 => Just(0usize), 3 => 1..9usize, 2 => 9..70usize, 1 => 70..150usize];
    let some = prop::collection::vec(rows, 1..7);
    let many = prop::collection::vec(prop_oneof![2 => Just(0usize), 1 => 1..4usize], 7..70);
    let one = (0..5usize, 0..5usize, 1..300usize)
        .prop_map(|(before, after, rows)| [vec![0; before], vec![rows], vec![0; after]].concat());
    let counts = prop_oneof![5 => some, 1 => many, 2 => one];
    let product = prop_oneof![
        2 => any::<bool>().prop_map(|packed| Product::Up { packed }),
        2 => any::<bool>().prop_map(|is_nn| Product::Down { is_nn }),
    ];
    let in_8 = prop_oneof![2 => 1..9usize, 2 => 9..24usize, 1 => Just(16)];
    let out_8 = prop_oneof![2 => 1..9usize, 2 => 9..40usize, 1 => Just(32)];
    let activation = prop_oneof![
        2 => Just(Activation::Silu),
        1 => Just(Activation::GeluTanh),
        1 => Just(Activation::ClampedSwiglu { limit: 1.5, alpha: 1.702 }),
        1 => Just(Activation::ClampedSwiglu { limit: f32::INFINITY, alpha: -0.5 }),
    ];
    let shape = (prop_oneof![Just(0usize), 1..4usize], 1..40usize, 1..5usize, in_8, out_8);
    let gaps = [0..2usize, 0..2, 0..2, 0..3];
    let flags = (any::<bool>(), prop::bool::weighted(0.4), prop::bool::weighted(0.8));
    let kinds = (prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    (product, counts, shape, gaps, flags, kinds, activation, any::<u64>()).prop_map(
        |(product, counts, shape, gaps_8, flags, (whole, special), activation, seed)| {
            let (spare, tokens, top_k, in_8, out_8) = shape;
            let (is_f16, biased, weighted) = flags;
            Case {
                product,
                counts,
                spare,
                tokens,
                top_k,
                in_8,
                out_8,
                gaps_8,
                dtype: if is_f16 { Dtype::F16 } else { Dtype::Bf16 },
                biased,
                weighted,
                activation,
                whole,
                special,
                seed,
            }
        },
    )
}

/// Elements with a layout: rows of features in experts, gaps of poison.
pub(crate) struct Packed<T> {
    pub(crate) values: Vec<T>,
    pub(crate) shape: [u64; 3],
    pub(crate) strides: [u64; 3],
}

impl<T: Float> Packed<T> {
    /// The element of an expert, a row and a column.
    pub(crate) fn at(&self, expert: usize, row: usize, column: usize) -> T {
        let [by_expert, by_row, _] = self.strides.map(|stride| stride as usize);
        self.values[expert * by_expert + row * by_row + column]
    }
}

/// What a case multiplies. Biases are dense.
pub(crate) struct Operands<T> {
    pub(crate) x: Packed<T>,
    pub(crate) weights: Vec<Packed<T>>,
    pub(crate) biases: Vec<Vec<T>>,
    pub(crate) pairs: Vec<i32>,
    pub(crate) pair_weights: Vec<f32>,
    pub(crate) offsets: Vec<i32>,
}

impl Case {
    pub(crate) fn rows(&self) -> usize {
        self.counts.iter().sum::<usize>() + self.spare
    }

    pub(crate) fn features(&self) -> [usize; 2] {
        [8 * self.in_8, 8 * self.out_8]
    }

    /// Rows of x: up gathers them.
    pub(crate) fn x_rows(&self) -> usize {
        if self.is_up() { self.tokens } else { self.rows() }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.product, Product::Up { .. })
    }

    /// From one row of the result to the next.
    pub(crate) fn out_stride(&self) -> usize {
        8 * (self.out_8 + self.gaps_8[2])
    }

    /// The token of a row, if its pair names one.
    pub(crate) fn token(&self, pair: i32) -> Option<usize> {
        let token = usize::try_from(pair).ok()? / self.top_k;
        (token < self.tokens).then_some(token)
    }

    pub(crate) fn operands<T: Float>(&self) -> Operands<T> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let [k, n] = self.features();
        let experts = self.counts.len();
        let [x_gap, weight_gap, _, expert_gap] = self.gaps_8.map(|gap| 8 * gap);
        let mut x = self.packed(&mut random, [1, self.x_rows(), k], [0, x_gap]);
        if self.special {
            let stride = x.strides[1] as usize;
            for row in x.values.chunks_mut(stride).step_by(3) {
                row[random.usize(..k)] =
                    T::new([f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.usize(..3)]);
            }
        }
        let shapes: &[[usize; 3]] = match self.product {
            Product::Up { packed: false } => &[[experts, n, k]; 2],
            Product::Up { packed: true } => &[[experts, 2 * n, k]],
            Product::Down { is_nn: false } => &[[experts, n, k]],
            Product::Down { is_nn: true } => &[[experts, k, n]],
        };
        let gaps = [expert_gap, weight_gap];
        let weights: Vec<Packed<T>> =
            shapes.iter().map(|&shape| self.packed(&mut random, shape, gaps)).collect();
        let bias_len = shapes[0][1].max(n) * experts;
        let bias_len = if self.is_up() { bias_len } else { n * experts };
        let biases = (0..shapes.len()).map(|_| self.numbers(&mut random, bias_len)).collect();
        let most = (self.tokens * self.top_k) as i32;
        let pair = |random: &mut fastrand::Rng| match random.u32(..12) {
            0 => [-1, i32::MIN, most, i32::MAX][random.usize(..4)],
            _ => random.i32(0..most),
        };
        let mut offsets = vec![0];
        for &count in &self.counts {
            offsets.push(offsets[offsets.len() - 1] + count as i32);
        }
        Operands {
            x,
            weights,
            biases,
            pairs: (0..self.rows()).map(|_| pair(&mut random)).collect(),
            pair_weights: (0..most).map(|_| random.f32() * 2.0 - 0.5).collect(),
            offsets,
        }
    }

    fn numbers<T: Float>(&self, random: &mut fastrand::Rng, count: usize) -> Vec<T> {
        if self.whole {
            return (0..count).map(|_| T::new(random.i32(-3..=3) as f32)).collect();
        }
        values(random, count, 1.0)
    }

    fn packed<T: Float>(
        &self,
        random: &mut fastrand::Rng,
        [experts, rows, columns]: [usize; 3],
        [expert_gap, gap]: [usize; 2],
    ) -> Packed<T> {
        let by_row = columns + gap;
        let by_expert = rows * by_row + expert_gap;
        let mut all = vec![poison::<T>(); experts * by_expert];
        for expert in all.chunks_mut(by_expert.max(1)) {
            for row in expert.chunks_mut(by_row).take(rows) {
                row[..columns].copy_from_slice(&self.numbers(random, columns));
            }
        }
        Packed {
            values: all,
            shape: [experts, rows, columns].map(|extent| extent as u64),
            strides: [by_expert as u64, by_row as u64, 1],
        }
    }
}

/// One tensor or two.
pub(crate) fn gated<'a>(
    packed: bool,
    of: impl Fn(usize) -> Result<Tensor<'a>, String>,
) -> Result<Gated<'a>, String> {
    Ok(if packed { Gated::Packed(of(0)?) } else { Gated::Separate { gate: of(0)?, up: of(1)? } })
}

/// Runs the case on a device; what is written, with the gaps between its rows and the rows that nobody has.
pub(crate) fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    operands: &Operands<T>,
) -> Result<Vec<T>, String> {
    let text = |error: Error| error.to_string();
    let [_, n] = case.features().map(|extent| extent as u64);
    let (rows, experts) = (operands.pairs.len() as u64, case.counts.len() as u64);
    let new = |values: &[T]| Fenced::new(stream, values, poison()).map_err(text);
    let x = new(&operands.x.values)?;
    let weights: Vec<_> =
        operands.weights.iter().map(|w| new(&w.values)).collect::<Result<_, _>>()?;
    let biases: Vec<_> = operands.biases.iter().map(|b| new(b)).collect::<Result<_, _>>()?;
    let pairs = Fenced::new(stream, &operands.pairs, -7).map_err(text)?;
    let pair_weights = Fenced::new(stream, &operands.pair_weights, f32::NAN).map_err(text)?;
    let offsets = Fenced::new(stream, &operands.offsets, -9).map_err(text)?;
    let mut out = new(&vec![poison::<T>(); operands.pairs.len() * case.out_stride()])?;
    {
        let strides = &operands.x.strides[1..];
        let x = x.tensor(&operands.x.shape[1..], strides).map_err(text)?;
        let weight = |i: usize| {
            let w: &Packed<T> = &operands.weights[i];
            weights[i].tensor(&w.shape, &w.strides).map_err(text)
        };
        let bias = |i: usize| {
            let features = operands.biases[i].len() as u64 / experts;
            biases[i].tensor(&[experts, features], &[features, 1]).map_err(text)
        };
        let out = out.tensor_mut(&[rows, n], &[case.out_stride() as u64, 1]).map_err(text)?;
        let pairs = pairs.tensor(&[rows], &[1]).map_err(text)?;
        let offsets = offsets.tensor(&[experts + 1], &[1]).map_err(text)?;
        match case.product {
            Product::Up { packed } => {
                let arguments = GroupedUp {
                    x,
                    pairs,
                    top_k: case.top_k as u32,
                    offsets,
                    weights: gated(packed, weight)?,
                    biases: if case.biased { Some(gated(packed, bias)?) } else { None },
                    activation: case.activation,
                    out,
                };
                grouped_gemm_up(stream, &arguments).map_err(text)?;
            }
            Product::Down { is_nn } => {
                let shape = [case.tokens as u64, case.top_k as u64];
                let weights = pair_weights.tensor(&shape, &[shape[1], 1]).map_err(text)?;
                let arguments = GroupedDown {
                    x,
                    offsets,
                    weight: weight(0)?,
                    layout: if is_nn { WeightLayout::InOut } else { WeightLayout::OutIn },
                    bias: if case.biased { Some(bias(0)?) } else { None },
                    pair_weights: case.weighted.then_some(PairWeights { weights, pairs }),
                    out,
                };
                grouped_gemm_down(stream, &arguments).map_err(text)?;
            }
        }
    }
    x.read(stream)?;
    weights.iter().chain(&biases).try_for_each(|weight| weight.read(stream).map(drop))?;
    out.read(stream)
}

/// The devices that have kernels for it: one without refuses a call that has no work, too.
pub(crate) fn able() -> impl Iterator<Item = &'static Device> {
    super::harness::devices().iter().filter(|device| {
        let ask = || -> Result<()> {
            let stream = device.stream()?;
            let mut buffer = Buffer::new(device, Dtype::Bf16, 0)?;
            let weight = Buffer::new(device, Dtype::Bf16, 64)?;
            let offsets = Buffer::from_slice(&stream, &[0i32; 2])?;
            let arguments = GroupedDown {
                x: weight.tensor(&[0, 8])?,
                offsets: offsets.tensor(&[2])?,
                weight: weight.tensor(&[1, 8, 8])?,
                layout: WeightLayout::InOut,
                bias: None,
                pair_weights: None,
                out: buffer.tensor_mut(&[0, 8])?,
            };
            grouped_gemm_down(&stream, &arguments)
        };
        match ask() {
            Ok(()) => true,
            Err(error @ Error::Unsupported { .. }) => {
                eprintln!("skipped on {device}: {error}");
                false
            }
            Err(error) => panic!("{device}: {error}"),
        }
    })
}

#[test]
fn grouped_gemm_matches_reference() {
    // Whatever is drawn, each image has a case.
    for counts in [&[3, 0, 2][..], &[70]] {
        let case = plain(Product::Down { is_nn: true }, counts, 9, 10);
        check(&case).unwrap_or_else(|error| panic!("{error}"));
    }
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("grouped_gemm");
}

pub(crate) fn plain(product: Product, counts: &[usize], in_8: usize, out_8: usize) -> Case {
    Case {
        product,
        counts: counts.to_vec(),
        spare: 0,
        tokens: 23,
        top_k: 3,
        in_8,
        out_8,
        gaps_8: [0; 4],
        dtype: Dtype::Bf16,
        biased: false,
        weighted: true,
        activation: Activation::Silu,
        whole: false,
        special: false,
        seed: counts.iter().sum::<usize>() as u64,
    }
}
