//! The second arithmetic: f32 on all cores.
//!
//! It answers to the same pages as the operators, with f32 activations. Weights stay in their
//! stored type and are widened to f32 on the way, a panel at a time. What takes no time (embedding,
//! router, dispatch) is the operators themselves.
//!
//! Results depend neither on the number of threads nor on the run. They do depend on the number of
//! rows in a product, which chooses between two ways to add up (`product.rs`); the operators do not
//! have that dependence.

mod attention;
mod experts;
mod exponential;
mod product;
mod rows;

use crate::arithmetic::{Arithmetic, Experts};
use crate::attention::KvIndex;
use crate::error::{Result, check_rows};
use crate::rounding::Rounding;
use crate::router::Routing;
use crate::tensor::Tensor;

/// f32 arithmetic through the `gemm` crate, on rayon's current thread pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast;

impl Arithmetic for Fast {
    type Value = f32;

    fn run<R: Send>(&self, pass: impl FnOnce() -> R + Send) -> R {
        rayon::scope(|_| pass())
    }

    fn store(&self, x: Vec<f64>) -> Vec<f32> {
        x.into_iter().map(|x| x as f32).collect()
    }

    fn rounding(&self) -> Rounding {
        Rounding::F32
    }

    fn layer_norm(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        weight: &Tensor,
        epsilon: f64,
    ) -> Result<[Vec<f32>; 2]> {
        rows::layer_norm(x, residual, &weight.to_f32(), epsilon)
    }

    fn rope(
        &self,
        qkv: &[f32],
        positions: &[i32],
        inv_freq: &[f32],
        heads: (usize, usize),
        clip: Option<f64>,
    ) -> Result<[Vec<f32>; 3]> {
        rows::rope(qkv, positions, inv_freq, heads, clip)
    }

    fn linear(&self, x: &[f32], weight: &Tensor, in_features: usize) -> Result<Vec<f32>> {
        let rows = check_rows("linear", "x", x.len(), in_features)?;
        let elements = weight.elements().len();
        let out_features = check_rows("linear", "weight", elements, in_features)?;
        Ok(product::linear(x, weight, [rows, in_features, out_features]))
    }

    fn attention(
        &self,
        q: &[f32],
        cu_q_lens: &[usize],
        q_heads: usize,
        k: &[f32],
        v: &[f32],
        kv: KvIndex<'_>,
        scale: f64,
    ) -> Result<Vec<f32>> {
        kv.check_queries(q.len(), cu_q_lens, q_heads, k.len(), v.len())?;
        if q.is_empty() {
            return Ok(Vec::new());
        }
        Ok(attention::causal(q, cu_q_lens, q_heads, [k, v], kv, scale as f32))
    }

    fn router(
        &self,
        logits: &[f32],
        experts: usize,
        top_k: usize,
        p_norm: Option<f64>,
    ) -> Result<Routing> {
        rows::router(logits, experts, top_k, p_norm)
    }

    fn experts(&self, input: &Experts<'_, f32>) -> Result<Vec<f32>> {
        input.check()?;
        if input.h.is_empty() {
            return Ok(Vec::new());
        }
        Ok(experts::experts(input))
    }
}
