use crate::data::{Random, assert_near, cases, gamma, wide};
use crate::{U32, everywhere, tensor, values};
use expertile_reference::arithmetic::Experts;
use expertile_reference::dispatch::{Dispatch, dispatch};
use expertile_reference::{Arithmetic, Fast, Plain, Rounding, Tensor};
use proptest::prelude::*;
use proptest::sample::select;

/// One block and its input.
struct Block {
    hidden: usize,
    ffn_hidden: usize,
    top_k: usize,
    h: Vec<f32>,
    residual: Vec<f32>,
    dispatch: Dispatch,
    weights: Vec<f64>,
    w1: Tensor,
    v1: Tensor,
    w2: Tensor,
}

impl Block {
    fn input<'a, V>(&'a self, h: &'a [V], residual: &'a [V]) -> Experts<'a, V> {
        let Block { hidden, ffn_hidden, top_k, ref dispatch, ref weights, .. } = *self;
        let (w1, v1, w2) = (&self.w1, &self.v1, &self.w2);
        Experts { h, residual, hidden, ffn_hidden, top_k, dispatch, weights, w1, v1, w2 }
    }

    fn fast(&self) -> Vec<f32> {
        Fast.experts(&self.input(&self.h, &self.residual)).unwrap()
    }

    fn plain(&self) -> Vec<f64> {
        let (h, residual) = (wide(&self.h), wide(&self.residual));
        Plain { rounding: Rounding::F64 }.experts(&self.input(&h, &residual)).unwrap()
    }

    /// The bound of each element: every step's own roundings, and the error of the step before
    /// carried through it.
    fn bounds(&self) -> Vec<f64> {
        let (hidden, ffn_hidden) = (self.hidden, self.ffn_hidden);
        let (w1, v1, w2) = (self.w1.to_f32(), self.v1.to_f32(), self.w2.to_f32());
        // The sum of products and its error, each product meeting at most as many roundings as
        // there are products.
        let dot = |x: &[f32], weight: &[f32]| {
            let products = || x.iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
            let magnitude: f64 = products().map(f64::abs).sum();
            (products().sum::<f64>(), gamma(hidden, U32) * magnitude)
        };
        let mut y_of_rows = vec![0.0; self.dispatch.pairs.len() * hidden];
        let mut errors = y_of_rows.clone();
        for (expert, ends) in self.dispatch.offsets.windows(2).enumerate() {
            for row in ends[0]..ends[1] {
                let pair = self.dispatch.pairs[row];
                let h = &self.h[pair / self.top_k * hidden..][..hidden];
                for f in 0..ffn_hidden {
                    let at = (expert * ffn_hidden + f) * hidden;
                    let (gate, gate_error) = dot(h, &w1[at..][..hidden]);
                    let (up, up_error) = dot(h, &v1[at..][..hidden]);
                    // The derivative of SiLU is at most 1.1. Its own roundings: four of the
                    // exponential, the sum, the quotient.
                    let silu = gate / (1.0 + (-gate).exp());
                    let silu_error = 1.1 * gate_error + gamma(6, U32) * silu.abs();
                    let x = silu * up;
                    let x_error = silu_error * (up.abs() + up_error)
                        + silu.abs() * up_error
                        + U32 * (silu.abs() + silu_error) * (up.abs() + up_error);
                    for i in 0..hidden {
                        let w2 = f64::from(w2[at + i]);
                        y_of_rows[row * hidden + i] += x * w2;
                        errors[row * hidden + i] +=
                            w2.abs() * (x_error + gamma(ffn_hidden, U32) * (x.abs() + x_error));
                    }
                }
                // The routing weight in f32, and the product with it.
                for i in row * hidden..(row + 1) * hidden {
                    let weight = self.weights[pair].abs();
                    errors[i] =
                        weight * (errors[i] + gamma(2, U32) * (y_of_rows[i].abs() + errors[i]));
                    y_of_rows[i] = y_of_rows[i].abs() * weight;
                }
            }
        }
        let mut out = Vec::new();
        for (token, rows) in self.dispatch.rows.chunks(self.top_k).enumerate() {
            for i in 0..hidden {
                let at = || rows.iter().flatten().map(|row| row * hidden + i);
                let error: f64 = at().map(|i| errors[i]).sum();
                let residual = f64::from(self.residual[token * hidden + i]).abs();
                let magnitude = at().map(|i| y_of_rows[i]).sum::<f64>() + residual;
                // The sum over the slots and the residual.
                out.push(error + gamma(self.top_k + 1, U32) * (magnitude + error));
            }
        }
        out
    }
}

/// Blocks whose experts have no rows, a few, or more than the 16 of a panel; weights of one stored
/// type or of several.
fn blocks() -> impl Strategy<Value = Block> {
    let extents = (
        select(vec![0usize, 1, 15, 16, 17, 40, 70]),
        select(vec![1usize, 6, 64, 130, 300]),
        select(vec![1usize, 5, 64, 65, 130]),
        select(vec![1usize, 3, 16]),
        1..5usize,
    );
    let kinds = (0..3usize, [0..3usize, 0..3, 0..3], any::<bool>());
    (extents, kinds, any::<u64>()).prop_map(|(extents, kinds, seed)| {
        let (tokens, hidden, ffn_hidden, experts, top_k) = extents;
        let (spread, mut stored, mixed) = kinds;
        if !mixed {
            stored = [stored[0]; 3];
        }
        let random = &mut Random::new(seed);
        let one = random.below(experts) as i32;
        let ids: Vec<i32> = (0..tokens * top_k)
            .map(|_| match spread {
                0 => one,
                1 => random.below(experts) as i32,
                _ => random.below(experts + 1) as i32 - 1,
            })
            .collect();
        let mut weight = |stored| {
            let scale = 2.0 / (hidden as f32).sqrt();
            let values = values(random, experts * ffn_hidden * hidden);
            tensor(&values.iter().map(|x| x * scale).collect::<Vec<_>>(), stored)
        };
        let [w1, v1, w2] = stored.map(&mut weight);
        Block {
            hidden,
            ffn_hidden,
            top_k,
            h: random.values(tokens * hidden),
            residual: random.values(tokens * hidden),
            dispatch: dispatch(&ids, top_k, 0..experts).unwrap(),
            weights: wide(&random.values(tokens * top_k)),
            w1,
            v1,
            w2,
        }
    })
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Block { hidden, ffn_hidden, top_k, dispatch, w1, v1, w2, .. } = self;
        let extents = (hidden, ffn_hidden, top_k, &dispatch.offsets);
        write!(
            f,
            "{extents:?} {} {} {}",
            w1.elements().dtype(),
            v1.elements().dtype(),
            w2.elements().dtype()
        )
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn near_the_operators(block in blocks()) {
        let bounds = block.bounds();
        let found = everywhere(|| block.fast());
        assert_near(&found, &block.plain(), |i| bounds[i]);
    }

    #[test]
    fn rows_do_not_see_each_other(mut block in blocks()) {
        let clean = block.fast();
        let hidden = block.hidden;
        if !block.h.is_empty() {
            block.h[..hidden].fill(f32::NAN);
            assert_eq!(block.fast()[hidden..], clean[hidden..]);
        }
        block.h.fill(0.0);
        assert_eq!(block.fast(), block.residual);
    }
}

/// SiLU closes for every gate far below zero, up to the largest negative ones.
#[test]
fn closed_gates() {
    for gate in [-88.0, -1e3, -1e20, -3e38, f32::NEG_INFINITY] {
        let one = |x: f32| tensor(&[x], 0);
        let block = Block {
            hidden: 1,
            ffn_hidden: 1,
            top_k: 1,
            h: vec![1.0],
            residual: vec![0.0],
            dispatch: dispatch(&[0], 1, 0..1).unwrap(),
            weights: vec![1.0],
            w1: one(gate),
            v1: one(1.0),
            w2: one(1.0),
        };
        assert_near(&block.fast(), &block.plain(), |_| 1e-35);
    }
    let block = |gate| Block {
        hidden: 1,
        ffn_hidden: 1,
        top_k: 1,
        h: vec![gate],
        residual: vec![0.0],
        dispatch: dispatch(&[0], 1, 0..1).unwrap(),
        weights: vec![1.0],
        w1: tensor(&[1.0], 0),
        v1: tensor(&[1.0], 0),
        w2: tensor(&[1.0], 0),
    };
    assert!(block(f32::NAN).fast()[0].is_nan());
    assert_eq!(block(30.0).fast(), [900.0]);
}

#[test]
fn refusals() {
    let dispatched = dispatch(&[1, 0, 1, 1], 2, 0..2).unwrap();
    let (weight, short) = (tensor(&[0.0; 12], 0), tensor(&[0.0; 11], 0));
    let good = Experts {
        h: &[0.0; 4],
        residual: &[0.0; 4],
        hidden: 2,
        ffn_hidden: 3,
        top_k: 2,
        dispatch: &dispatched,
        weights: &[0.5; 4],
        w1: &weight,
        v1: &weight,
        w2: &weight,
    };
    assert_eq!(Fast.experts(&good).unwrap(), [0.0; 4]);
    for bad in [
        Experts { hidden: 0, ..good },
        Experts { hidden: usize::MAX, ..good },
        Experts { ffn_hidden: 0, ..good },
        Experts { ffn_hidden: usize::MAX, ..good },
        Experts { top_k: 0, ..good },
        Experts { top_k: usize::MAX, ..good },
        Experts { h: &[0.0; 3], ..good },
        Experts { residual: &[0.0; 3], ..good },
        Experts { weights: &[0.5; 3], ..good },
        Experts { w1: &short, ..good },
        Experts { v1: &short, ..good },
        Experts { w2: &short, ..good },
    ] {
        assert!(Fast.experts(&bad).is_err());
    }
    let none = dispatch(&[], 2, 0..0).unwrap();
    let empty = tensor(&[], 0);
    for (hidden, top_k) in [(2, 2), (usize::MAX, usize::MAX)] {
        let nothing = Experts {
            h: &[],
            residual: &[],
            hidden,
            top_k,
            dispatch: &none,
            weights: &[],
            w1: &empty,
            v1: &empty,
            w2: &empty,
            ..good
        };
        assert!(Fast.experts(&nothing).unwrap().is_empty());
    }
}
