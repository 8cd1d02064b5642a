//! Router, dispatch, both products and combine, together.

use crate::data::{
    Random, U64, assert_near, cases, gamma, gather, magnitudes, same_bits, tokens, wide,
};
use expertile_reference::arithmetic::{Arithmetic, Experts};
use expertile_reference::combine::{CombineOrder, combine};
use expertile_reference::dispatch::dispatch;
use expertile_reference::grouped_gemm::{down, up};
use expertile_reference::linear::linear;
use expertile_reference::router::{Routing, router};
use expertile_reference::{Elements, Plain, Rounding, Tensor};
use proptest::prelude::*;
use std::ops::Range;

const HIDDEN: usize = 6;
const FFN_HIDDEN: usize = 5;
const SIZE: usize = FFN_HIDDEN * HIDDEN;

/// The weights of one block.
#[derive(Clone)]
struct Block {
    router: Vec<f32>,
    w1: Vec<f32>,
    v1: Vec<f32>,
    w2: Vec<f32>,
}

impl Block {
    fn random(random: &mut Random, experts: usize) -> Block {
        let router = random.values(experts * HIDDEN).iter().map(|x| x * 4.0).collect();
        let [w1, v1, w2] = [(); 3].map(|()| random.values(experts * SIZE));
        Block { router, w1, v1, w2 }
    }

    fn experts(&self) -> usize {
        self.router.len() / HIDDEN
    }

    fn route(&self, h: &[f64], top_k: usize) -> Routing {
        let logits = linear(h, &self.router, HIDDEN).unwrap();
        router(&logits, self.experts(), top_k, Some(1.0), Rounding::F64).unwrap()
    }

    /// The part of the output that the experts in `local` have in it, and the residual.
    fn run(&self, h: &[f64], residual: &[f64], top_k: usize, local: Range<usize>) -> Vec<f64> {
        let routing = self.route(h, top_k);
        let dispatch = dispatch(&routing.ids, top_k, local.clone()).unwrap();
        let tokens: Vec<usize> = dispatch.pairs.iter().map(|pair| pair / top_k).collect();
        let weights: Vec<f64> = dispatch.pairs.iter().map(|&pair| routing.weights[pair]).collect();
        let part = |weight: &[f32]| weight[local.start * SIZE..local.end * SIZE].to_vec();
        let (w1, v1, w2) = (part(&self.w1), part(&self.v1), part(&self.w2));
        let x = up(h, HIDDEN, &tokens, &dispatch.offsets, &w1, &v1, Rounding::F64).unwrap();
        let y = down(&x, FFN_HIDDEN, &dispatch.offsets, &w2, &weights, Rounding::F64).unwrap();
        let order = CombineOrder::Slot;
        combine(&y, HIDDEN, &dispatch.rows, top_k, residual, order, Rounding::F64).unwrap()
    }

    fn run_whole(&self, h: &[f64], residual: &[f64], top_k: usize) -> Vec<f64> {
        self.run(h, residual, top_k, 0..self.experts())
    }
}

fn shapes() -> impl Strategy<Value = (usize, usize, usize, u64)> {
    let experts = prop_oneof![1..9usize, Just(16)];
    experts.prop_flat_map(|experts| (tokens(), Just(experts), 1..=experts.min(4), any::<u64>()))
}

fn inputs(random: &mut Random, tokens: usize) -> [Vec<f64>; 2] {
    [(); 2].map(|()| wide(&random.values(tokens * HIDDEN)))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn tokens_do_not_see_each_other((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let block = Block::random(&mut random, experts);
        let [mut h, residual] = inputs(&mut random, tokens);
        let whole = block.run_whole(&h, &residual, top_k);
        let order = random.permutation(tokens);
        let [h_permuted, residual_permuted] = [&h, &residual].map(|x| gather(x, HIDDEN, &order));
        let permuted = block.run_whole(&h_permuted, &residual_permuted, top_k);
        assert!(same_bits(&permuted, &gather(&whole, HIDDEN, &order)));
        if tokens > 0 {
            h[..HIDDEN].fill(f64::NAN);
            let poisoned = block.run_whole(&h, &residual, top_k);
            assert!(same_bits(&poisoned[HIDDEN..], &whole[HIDDEN..]));
        }
    }

    #[test]
    fn experts_may_be_renamed((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let block = Block::random(&mut random, experts);
        let [h, residual] = inputs(&mut random, tokens);
        let order = random.permutation(experts);
        let renamed = Block {
            router: gather(&block.router, HIDDEN, &order),
            w1: gather(&block.w1, SIZE, &order),
            v1: gather(&block.v1, SIZE, &order),
            w2: gather(&block.w2, SIZE, &order),
        };
        let (found, want) =
            (renamed.run_whole(&h, &residual, top_k), block.run_whole(&h, &residual, top_k));
        // The softmax adds its denominator in another order, which every weight inherits; ties,
        // which renaming would turn, do not occur.
        assert_near(&found, &want, |_| 1e-13);
    }

    /// The weights of a token sum to 1, so experts that agree are one dense layer.
    #[test]
    fn equal_experts_are_one_dense_layer((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let mut block = Block::random(&mut random, experts);
        for weight in [&mut block.w1, &mut block.v1, &mut block.w2] {
            *weight = weight[..SIZE].repeat(experts);
        }
        let [h, residual] = inputs(&mut random, tokens);
        let gate = linear(&h, &block.w1[..SIZE], HIDDEN).unwrap();
        let value = linear(&h, &block.v1[..SIZE], HIDDEN).unwrap();
        let x: Vec<f64> =
            gate.iter().zip(&value).map(|(g, v)| g / (1.0 + (-g).exp()) * v).collect();
        let mut transposed = vec![0.0; SIZE];
        for (at, &w2) in block.w2[..SIZE].iter().enumerate() {
            transposed[at % HIDDEN * FFN_HIDDEN + at / HIDDEN] = w2;
        }
        let y = linear(&x, &transposed, FFN_HIDDEN).unwrap();
        let magnitude: Vec<f64> = x.iter().map(|x| x.abs()).collect();
        let magnitude = linear(&magnitude, &magnitudes(&transposed), FFN_HIDDEN).unwrap();
        let want: Vec<f64> = y.iter().zip(&residual).map(|(y, residual)| y + residual).collect();
        let found = block.run_whole(&h, &residual, top_k);
        // Both sum FFN_HIDDEN products; then come weight, product with it, top_k sums and the
        // residual.
        let roundings = FFN_HIDDEN + top_k + 6;
        assert_near(&found, &want, |i| 2.0 * gamma(roundings, U64) * (magnitude[i] + residual[i].abs()));
    }

    #[test]
    fn shards_sum_to_the_whole((tokens, experts, top_k, seed) in shapes(), cut in 0..17usize) {
        let mut random = Random::new(seed);
        let block = Block::random(&mut random, experts);
        let [h, residual] = inputs(&mut random, tokens);
        let cut = cut.min(experts);
        let zeros = vec![0.0; residual.len()];
        let low = block.run(&h, &residual, top_k, 0..cut);
        let high = block.run(&h, &zeros, top_k, cut..experts);
        let sum: Vec<f64> = low.iter().zip(&high).map(|(low, high)| low + high).collect();
        assert_near(&sum, &block.run_whole(&h, &residual, top_k), |_| 1e-13);
    }

    #[test]
    fn nothing_in_nothing_out((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let block = Block::random(&mut random, experts);
        let [_, residual] = inputs(&mut random, tokens);
        let found = block.run_whole(&vec![0.0; residual.len()], &residual, top_k);
        assert_eq!(found, residual);
    }

    /// [`Plain`] is these operators with the experts in the order of the published code.
    #[test]
    fn the_arithmetic_is_the_operators((tokens, experts, top_k, seed) in shapes()) {
        let mut random = Random::new(seed);
        let block = Block::random(&mut random, experts);
        let [h, residual] = inputs(&mut random, tokens);
        let routing = block.route(&h, top_k);
        let dispatch = dispatch(&routing.ids, top_k, 0..experts).unwrap();
        let tensor = |x: &[f32]| Tensor::new([x.len()], Elements::F32(x.to_vec())).unwrap();
        let (w1, v1, w2) = (&tensor(&block.w1), &tensor(&block.v1), &tensor(&block.w2));
        let input = Experts {
            h: &h[..],
            residual: &residual[..],
            hidden: HIDDEN,
            ffn_hidden: FFN_HIDDEN,
            top_k,
            dispatch: &dispatch,
            weights: &routing.weights,
            w1,
            v1,
            w2,
        };
        let found = Plain { rounding: Rounding::F64 }.experts(&input).unwrap();
        assert_near(&found, &block.run_whole(&h, &residual, top_k), |_| 1e-13);
    }
}

#[test]
fn refusals() {
    let dispatch = dispatch(&[1, 0, 1, 1], 2, 0..2).unwrap();
    let weight = Tensor::new([12], Elements::F32(vec![0.0; 12])).unwrap();
    let short = Tensor::new([11], Elements::F32(vec![0.0; 11])).unwrap();
    let good = Experts {
        h: &[0.0; 4],
        residual: &[0.0; 4],
        hidden: 2,
        ffn_hidden: 3,
        top_k: 2,
        dispatch: &dispatch,
        weights: &[0.5; 4],
        w1: &weight,
        v1: &weight,
        w2: &weight,
    };
    let run = |input: Experts<'_, f64>| {
        Plain { rounding: Rounding::F64 }.experts(&input).unwrap_err().to_string()
    };
    good.check().unwrap();
    for (field, bad) in [
        ("hidden", Experts { hidden: 0, ..good }),
        ("ffn_hidden", Experts { ffn_hidden: 0, ..good }),
        ("top_k", Experts { top_k: 0, ..good }),
    ] {
        assert_eq!(run(bad), format!("experts: {field} is 0, expected at least 1"));
    }
    assert_eq!(
        run(Experts { residual: &[0.0; 2], ..good }),
        "experts: residual has 2 elements, expected [2, 2]"
    );
    for (field, bad) in [
        ("w1", Experts { w1: &short, ..good }),
        ("v1", Experts { v1: &short, ..good }),
        ("w2", Experts { w2: &short, ..good }),
    ] {
        assert_eq!(run(bad), format!("experts: {field} has 11 elements, expected [2, 3, 2]"));
    }
    run(Experts { h: &[0.0; 3], ..good });
    run(Experts { weights: &[0.5; 3], ..good });
    for extent in [1, 3, usize::MAX] {
        run(Experts { hidden: extent, ..good });
        run(Experts { ffn_hidden: extent.saturating_add(1), ..good });
        run(Experts { top_k: extent, ..good });
    }
    let mut bad = dispatch.clone();
    bad.pairs[2] = 4;
    assert_eq!(
        run(Experts { dispatch: &bad, ..good }),
        "experts: an entry of dispatch.pairs is 4, expected less than 4"
    );
    let mut bad = dispatch.clone();
    bad.rows[2] = Some(4);
    assert_eq!(
        run(Experts { dispatch: &bad, ..good }),
        "experts: an entry of dispatch.rows is 4, expected less than 4"
    );
    let mut bad = dispatch.clone();
    bad.offsets[1] = 9;
    run(Experts { dispatch: &bad, ..good });
}
