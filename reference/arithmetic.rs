//! The seam between the model and the arithmetic that it runs in.

use crate::attention::{KvIndex, attention};
use crate::combine::{CombineOrder, combine};
use crate::dispatch::Dispatch;
use crate::error::{Error, Result, check_rows, check_shape};
use crate::grouped_gemm::{check_offsets, down, up};
use crate::layer_norm::layer_norm;
use crate::linear::linear;
use crate::rope::{Rotated, rope};
use crate::rounding::{Real, Rounding};
use crate::router::{Routing, router};
use crate::tensor::Tensor;

/// The type of the activations and the operators that take a model's time.
///
/// Every method is an operator of this crate on weights as they are stored; its result is rounded
/// to `Value`. [`Plain`] calls the operators themselves. Another arithmetic answers to the same
/// pages, up to its own rounding.
pub trait Arithmetic: Sync {
    /// A stored activation.
    type Value: Real + From<f32> + Send + Sync;

    /// Runs a whole forward pass; an arithmetic of many threads enters its pool here, once.
    fn run<R: Send>(&self, pass: impl FnOnce() -> R + Send) -> R {
        pass()
    }

    /// Rounds what an operator returned for storage.
    fn store(&self, x: Vec<f64>) -> Vec<Self::Value>;

    /// The rounding that `store` applies.
    fn rounding(&self) -> Rounding;

    /// [`layer_norm`]: the sum and the normalised rows.
    fn layer_norm(
        &self,
        x: &[Self::Value],
        residual: Option<&[Self::Value]>,
        weight: &Tensor,
        epsilon: f64,
    ) -> Result<[Vec<Self::Value>; 2]> {
        let out = layer_norm(x, residual, &weight.to_f32(), epsilon, self.rounding())?;
        Ok([out.sum, out.normalized].map(|x| self.store(x)))
    }

    /// [`rope`]: rotated queries, rotated keys, and values.
    fn rope(
        &self,
        qkv: &[Self::Value],
        positions: &[i32],
        inv_freq: &[f32],
        heads: (usize, usize),
        clip: Option<f64>,
    ) -> Result<[Vec<Self::Value>; 3]> {
        let (q_heads, kv_heads) = heads;
        let Rotated { q, k, v } =
            rope(qkv, positions, inv_freq, q_heads, kv_heads, clip, self.rounding())?;
        Ok([q, k, v].map(|x| self.store(x)))
    }

    /// [`linear`].
    fn linear(
        &self,
        x: &[Self::Value],
        weight: &Tensor,
        in_features: usize,
    ) -> Result<Vec<Self::Value>> {
        Ok(self.store(linear(x, &weight.to_f32(), in_features)?))
    }

    /// [`attention`] under the causal mask, without its `lse`.
    #[expect(clippy::too_many_arguments, reason = "those of the operator")]
    fn attention(
        &self,
        q: &[Self::Value],
        cu_q_lens: &[usize],
        q_heads: usize,
        k: &[Self::Value],
        v: &[Self::Value],
        kv: KvIndex<'_>,
        scale: f64,
    ) -> Result<Vec<Self::Value>> {
        let attention = attention(q, cu_q_lens, q_heads, k, v, kv, scale, true, self.rounding())?;
        Ok(self.store(attention.out))
    }

    /// [`router`].
    fn router(
        &self,
        logits: &[Self::Value],
        experts: usize,
        top_k: usize,
        p_norm: Option<f64>,
    ) -> Result<Routing> {
        router(logits, experts, top_k, p_norm, self.rounding())
    }

    /// [`up`], then [`down`], then [`combine`] with the residual.
    fn experts(&self, input: &Experts<'_, Self::Value>) -> Result<Vec<Self::Value>>;
}

/// What the experts of one block work on.
#[derive(Clone, Copy, Debug)]
pub struct Experts<'a, V> {
    /// The normalised rows, `[tokens, hidden]`.
    pub h: &'a [V],
    /// The residual stream, `[tokens, hidden]`.
    pub residual: &'a [V],
    /// The length of a row.
    pub hidden: usize,
    /// The inner width of an expert.
    pub ffn_hidden: usize,
    /// The experts of a token.
    pub top_k: usize,
    /// The rows sorted by expert.
    pub dispatch: &'a Dispatch,
    /// The routing weights, `[tokens, top_k]`.
    pub weights: &'a [f64],
    /// The gate's weight, `[experts * ffn_hidden, hidden]`.
    pub w1: &'a Tensor,
    /// The value's weight, `[experts * ffn_hidden, hidden]`.
    pub v1: &'a Tensor,
    /// The second product's weight, `[experts * ffn_hidden, hidden]`.
    pub w2: &'a Tensor,
}

impl<V> Experts<'_, V> {
    /// Checks that the extents agree and that every index is in its array.
    ///
    /// # Errors
    ///
    /// `Shape` or `Value` names the first field that is zero or at odds with another.
    pub fn check(&self) -> Result<()> {
        let Experts { hidden, ffn_hidden, top_k, dispatch, .. } = *self;
        for (field, extent) in [("hidden", hidden), ("ffn_hidden", ffn_hidden), ("top_k", top_k)] {
            if extent == 0 {
                return Err(Error::value("experts", field, extent, "at least 1"));
            }
        }
        let tokens = check_rows("experts", "h", self.h.len(), hidden)?;
        check_shape("experts", "residual", self.residual.len(), &[tokens, hidden])?;
        check_shape("experts", "weights", self.weights.len(), &[tokens, top_k])?;
        check_shape("experts", "dispatch.rows", dispatch.rows.len(), &[tokens, top_k])?;
        check_offsets("experts", &dispatch.offsets, dispatch.pairs.len())?;
        let experts = dispatch.offsets.len() - 1;
        for (argument, weight) in [("w1", self.w1), ("v1", self.v1), ("w2", self.w2)] {
            let elements = weight.elements().len();
            check_shape("experts", argument, elements, &[experts, ffn_hidden, hidden])?;
        }
        let (pairs, rows) = (self.weights.len(), dispatch.pairs.len());
        if let Some(pair) = dispatch.pairs.iter().find(|&&pair| pair >= pairs) {
            let expected = format!("less than {pairs}");
            return Err(Error::value("experts", "an entry of dispatch.pairs", pair, expected));
        }
        if let Some(row) = dispatch.rows.iter().flatten().find(|&&row| row >= rows) {
            let expected = format!("less than {rows}");
            return Err(Error::value("experts", "an entry of dispatch.rows", row, expected));
        }
        Ok(())
    }

    /// The token that each row gathers, `[rows]`.
    pub fn tokens_of_rows(&self) -> Vec<usize> {
        self.dispatch.pairs.iter().map(|pair| pair / self.top_k).collect()
    }

    /// The routing weight of each row, `[rows]`.
    pub fn weights_of_rows(&self) -> Vec<f64> {
        self.dispatch.pairs.iter().map(|&pair| self.weights[pair]).collect()
    }
}

/// The operators of this crate, rounded at the points that the published code has.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// The type that activations are rounded to.
    pub rounding: Rounding,
}

impl Arithmetic for Plain {
    type Value = f64;

    fn store(&self, x: Vec<f64>) -> Vec<f64> {
        self.rounding.round_all(x)
    }

    fn rounding(&self) -> Rounding {
        self.rounding
    }

    fn experts(&self, input: &Experts<'_, f64>) -> Result<Vec<f64>> {
        input.check()?;
        let Experts { h, residual, hidden, ffn_hidden, top_k, dispatch, w1, v1, w2, .. } = *input;
        let (w1, v1, w2) = (w1.to_f32(), v1.to_f32(), w2.to_f32());
        let (tokens_of_rows, weights) = (input.tokens_of_rows(), input.weights_of_rows());
        let offsets = &dispatch.offsets;
        let x = up(h, hidden, &tokens_of_rows, offsets, &w1, &v1, self.rounding)?;
        let y = down(&x, ffn_hidden, offsets, &w2, &weights, self.rounding)?;
        let order = CombineOrder::Expert;
        combine(&y, hidden, &dispatch.rows, top_k, residual, order, self.rounding)
    }
}
