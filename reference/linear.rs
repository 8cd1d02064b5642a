//! A dense layer without bias.

use crate::error::{Result, check_rows};
use crate::rounding::Real;

/// Multiplies each row by the transpose of the weight.
///
/// ```text
/// out[t, n] = sum over k of x[t, k] * weight[n, k]
/// ```
///
/// | argument      | dtype    | shape                         | note                         |
/// |---------------|----------|-------------------------------|------------------------------|
/// | `x`           | f32, f64 | `[tokens, in_features]`       |                              |
/// | `weight`      | f32      | `[out_features, in_features]` | as PyTorch's `Linear` stores |
/// | `in_features` |          |                               |                              |
/// | returns       | f64      | `[tokens, out_features]`      |                              |
///
/// Products and sums are f64, k ascending; the result is not rounded. Zero tokens give an empty
/// result, zero `out_features` too.
///
/// # Errors
///
/// `Value` if `x` or `weight` is no whole number of rows of `in_features`.
///
/// Source: databricks/dbrx `modeling_dbrx.py`: `Wqkv`, `out_proj`, `router.layer` and `lm_head`.
pub fn linear(x: &[impl Real], weight: &[f32], in_features: usize) -> Result<Vec<f64>> {
    let tokens = check_rows("linear", "x", x.len(), in_features)?;
    let out_features = check_rows("linear", "weight", weight.len(), in_features)?;
    let mut out = Vec::with_capacity(tokens * out_features);
    for token in 0..tokens {
        let x = &x[token * in_features..][..in_features];
        for feature in 0..out_features {
            let weight = &weight[feature * in_features..][..in_features];
            let mut sum = 0.0;
            for (&x, &weight) in x.iter().zip(weight) {
                sum += x.into() * f64::from(weight);
            }
            out.push(sum);
        }
    }
    Ok(out)
}
