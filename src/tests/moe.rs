//! `moe` against the reference: the derived bound through the whole chain, and its bits.

use super::grouped_gemm::gated;
use super::harness::{Fenced, Float, cases, poison, report, values};
use super::moe_check::check;
use expertile::{
    Activation, CombineOut, Dtype, Element, Experts, Moe, MoeExtents, Route, Scoring, Stream,
    Tensor, WeightLayout, moe, moe_workspace_bytes,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::ops::Range;

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) hidden_8: usize,
    pub(crate) ffn_8: usize,
    pub(crate) experts: usize,
    pub(crate) top_k: usize,
    /// The first local expert, and how many more are left out at the end.
    pub(crate) others: [usize; 2],
    /// Ids of any value in place of the router's choice.
    pub(crate) given: bool,
    pub(crate) is_nn: bool,
    pub(crate) packed: bool,
    pub(crate) biased: bool,
    /// 0: none, 1: added, 2: added in place.
    pub(crate) residual: u8,
    pub(crate) dtype: Dtype,
    pub(crate) activation: Activation,
    /// Whole numbers and an activation of which every step is exact.
    pub(crate) whole: bool,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![1 => Just(0usize), 2 => Just(1), 3 => 2..30usize, 2 => 30..140usize];
    let experts = prop_oneof![3 => 1..7usize, 2 => 7..20usize, 1 => 60..80usize];
    let shape = (tokens, 1..12usize, 1..20usize, experts, 1..5usize, [0..3usize, 0..3]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    let kinds = (prop::bool::weighted(0.3), any::<bool>(), 0..3u8);
    let activation = prop_oneof![
        2 => Just(Activation::Silu),
        1 => Just(Activation::GeluTanh),
        1 => Just(Activation::ClampedSwiglu { limit: 7.0, alpha: 1.702 }),
    ];
    (shape, flags, kinds, activation, any::<u64>()).prop_map(
        |(shape, flags, (whole, is_f16, residual), activation, seed)| {
            let (tokens, hidden_8, ffn_8, experts, top_k, others) = shape;
            let (given, is_nn, packed, biased) = flags;
            let top_k = top_k.min(experts);
            let first = others[0].min(experts - 1);
            let case = Case {
                tokens,
                hidden_8,
                ffn_8,
                experts,
                top_k,
                others: [first, others[1].min(experts - 1 - first)],
                given,
                is_nn,
                packed,
                biased,
                residual,
                dtype: if is_f16 { Dtype::F16 } else { Dtype::Bf16 },
                activation,
                whole,
                seed,
            };
            if whole { case.exact() } else { case }
        },
    )
}

/// Tensors of a case; weights of all experts, gate and up apart, down as `[experts, hidden, ffn_hidden]`.
#[derive(Clone)]
pub(crate) struct Operands<T> {
    pub(crate) x: Vec<T>,
    pub(crate) router: Vec<T>,
    pub(crate) ids: Vec<i32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) gate: Vec<T>,
    pub(crate) up: Vec<T>,
    pub(crate) down: Vec<T>,
    pub(crate) biases: [Vec<T>; 3],
    pub(crate) residual: Vec<T>,
}

impl Case {
    /// `g (u + 1) / 2` in place of the activation, weights that are powers of two.
    pub(crate) fn exact(self) -> Case {
        let activation = Activation::ClampedSwiglu { limit: f32::INFINITY, alpha: 0.0 };
        Case { whole: true, given: true, activation, ..self }
    }

    pub(crate) fn features(&self) -> [usize; 2] {
        [8 * self.hidden_8, 8 * self.ffn_8]
    }

    pub(crate) fn local(&self) -> Range<usize> {
        self.others[0]..self.experts - self.others[1]
    }

    pub(crate) fn operands<T: Float>(&self) -> Operands<T> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let [hidden, ffn] = self.features();
        let pairs = self.tokens * self.top_k;
        // Few ones among zeros, so that every sum is a small number.
        let mut numbers = |count: usize, ones: u32, scale: f32| -> Vec<T> {
            if self.whole {
                let number = |random: &mut fastrand::Rng| match random.u32(..ones) {
                    0 => [1.0, -1.0][random.usize(..2)],
                    _ => 0.0,
                };
                return (0..count).map(|_| T::new(number(&mut random))).collect();
            }
            // No subnormals, which gfx90a takes as zero.
            let least = (T::TINY / T::UNIT) as f32;
            let all: Vec<T> = values(&mut random, count, scale);
            let keep = |v: T| if v.value().abs() < least.into() { T::new(0.0) } else { v };
            all.into_iter().map(keep).collect()
        };
        let width = |features: usize| 2.0 / (features as f32).sqrt();
        let x = numbers(self.tokens * hidden, 2, 1.0);
        let router = numbers(self.experts * hidden, 1, width(hidden));
        let gate = numbers(self.experts * ffn * hidden, hidden as u32, width(hidden));
        let up = numbers(self.experts * ffn * hidden, hidden as u32, width(hidden));
        let down = numbers(self.experts * ffn * hidden, 8, width(ffn));
        let biases = [ffn, ffn, hidden].map(|features| numbers(self.experts * features, 3, 0.5));
        let residual = numbers(self.tokens * hidden, 2, 1.0);
        let id = |random: &mut fastrand::Rng| match random.u32(..10) {
            0 => [-1, i32::MIN, self.experts as i32, i32::MAX][random.usize(..4)],
            _ => random.i32(0..self.experts as i32),
        };
        Operands {
            x,
            router,
            ids: (0..pairs).map(|_| id(&mut random)).collect(),
            weights: (0..pairs).map(|_| [0.5, 0.25, 1.0][random.usize(..3)]).collect(),
            gate,
            up,
            down,
            biases,
            residual,
        }
    }
}

fn dense<'a, E: Element + PartialEq + std::fmt::Debug>(
    of: &'a Fenced<E>,
    shape: &[u64],
) -> Result<Tensor<'a>, String> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    of.tensor(shape, &strides).map_err(|error| error.to_string())
}

/// The local experts' part of a tensor, and the halves of packed ones beside each other.
fn packed<T: Float>(case: &Case, parts: &[&[T]]) -> Vec<T> {
    let size = parts[0].len() / case.experts;
    let expert = |e: usize| parts.iter().flat_map(move |part| part[e * size..][..size].to_vec());
    case.local().flat_map(expert).collect()
}

/// Runs the case on a device; the result.
pub(crate) fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    operands: &Operands<T>,
) -> Result<Vec<T>, String> {
    let text = |error: expertile::Error| error.to_string();
    let [hidden, ffn] = case.features().map(|extent| extent as u64);
    let local = case.local();
    let (tokens, top_k, experts) =
        (operands.x.len() as u64 / hidden, case.top_k as u64, local.len() as u64);
    let new = |values: &[T]| Fenced::new(stream, values, poison()).map_err(text);
    let (x, router) = (new(&operands.x)?, new(&operands.router)?);
    let ids = Fenced::new(stream, &operands.ids, -7).map_err(text)?;
    let weights = Fenced::new(stream, &operands.weights, f32::NAN).map_err(text)?;
    let both = [&operands.gate[..], &operands.up];
    let [gate_bias, up_bias, down_bias] = &operands.biases;
    let both_biases = [&gate_bias[..], up_bias];
    let (gates, biases): (Vec<_>, Vec<_>) = if case.packed {
        (vec![new(&packed(case, &both))?], vec![new(&packed(case, &both_biases))?])
    } else {
        let one = |part| new(&packed(case, &[part]));
        (vec![one(both[0])?, one(both[1])?], vec![one(both_biases[0])?, one(both_biases[1])?])
    };
    let down = packed(case, &[&operands.down]);
    let (h, f) = (hidden as usize, ffn as usize);
    let turned: Vec<T> = if case.is_nn {
        let at = |i: usize| i / (h * f) * h * f + i % h * f + i / h % f;
        (0..down.len()).map(|i| down[at(i)]).collect()
    } else {
        down
    };
    let (down, down_bias) = (new(&turned)?, new(&packed(case, &[down_bias]))?);
    let mut residual = new(&operands.residual)?;
    let mut out = new(&vec![poison::<T>(); operands.residual.len()])?;
    let extents = MoeExtents {
        tokens,
        hidden,
        ffn_hidden: ffn,
        experts: case.experts as u64,
        local_experts: experts,
        top_k,
        dtype: T::DTYPE,
    };
    let bytes = moe_workspace_bytes(stream.device().info(), &extents);
    // What is in the workspace does not matter.
    let mut workspace = Fenced::new(stream, &vec![-3i32; bytes as usize / 4], -5).map_err(text)?;
    {
        let shape = [tokens, hidden];
        let rows = if case.packed { 2 * ffn } else { ffn };
        let gate = |i: usize| dense(&gates[i], &[experts, rows, hidden]);
        let bias = |i: usize| dense(&biases[i], &[experts, rows]);
        let down_shape = if case.is_nn { [experts, ffn, hidden] } else { [experts, hidden, ffn] };
        let pairs = [tokens, top_k];
        let route = if case.given {
            Route::Given { ids: dense(&ids, &pairs)?, weights: dense(&weights, &pairs)? }
        } else {
            Route::Router {
                weight: dense(&router, &[case.experts as u64, hidden])?,
                round_logits: false,
                scoring: Scoring::Softmax { p_norm: Some(1.0) },
                groups: None,
                scale: 1.0,
                top_k: case.top_k as u32,
            }
        };
        let strides = [hidden, 1];
        let arguments = Moe {
            x: dense(&x, &shape)?,
            route,
            experts: Experts {
                local: local.start as u32..local.end as u32,
                weights: gated(case.packed, gate)?,
                biases: if case.biased { Some(gated(case.packed, bias)?) } else { None },
                activation: case.activation,
                down: dense(&down, &down_shape)?,
                down_layout: if case.is_nn { WeightLayout::InOut } else { WeightLayout::OutIn },
                down_bias: if case.biased {
                    Some(dense(&down_bias, &[experts, hidden])?)
                } else {
                    None
                },
            },
            out: match case.residual {
                0 => CombineOut::Sum(out.tensor_mut(&shape, &strides).map_err(text)?),
                1 => CombineOut::Add(
                    residual.tensor(&shape, &strides).map_err(text)?,
                    out.tensor_mut(&shape, &strides).map_err(text)?,
                ),
                _ => CombineOut::Update(residual.tensor_mut(&shape, &strides).map_err(text)?),
            },
            workspace: workspace.tensor_mut(&[bytes / 4], &[1]).map_err(text)?,
        };
        moe(stream, &arguments).map_err(text)?;
    }
    for read in [&x, &router, &down, &down_bias].into_iter().chain(&gates).chain(&biases) {
        read.read(stream)?;
    }
    workspace.read(stream)?;
    let (out, residual) = (out.read(stream)?, residual.read(stream)?);
    Ok(if case.residual == 2 { residual } else { out })
}

#[test]
fn moe_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("moe");
}

pub(crate) fn plain(tokens: usize, experts: usize, top_k: usize) -> Case {
    Case {
        tokens,
        hidden_8: 5,
        ffn_8: 9,
        experts,
        top_k,
        others: [0; 2],
        given: false,
        is_nn: true,
        packed: false,
        biased: false,
        residual: 0,
        dtype: Dtype::Bf16,
        activation: Activation::Silu,
        whole: false,
        seed: (tokens + 1000 * experts) as u64,
    }
}
