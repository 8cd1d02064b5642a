//! Residual addition and layer normalisation (Ba, Kiros, Hinton, arXiv:1607.06450), without bias.

use crate::error::{Result, check_rows, check_shape};
use crate::rounding::{Real, Rounding};

/// What [`layer_norm`] returns, both `[tokens, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `x + residual`: the new residual stream.
    pub sum: Vec<f64>,
    /// The normalised rows of `sum`.
    pub normalized: Vec<f64>,
}

/// Adds the residual to each row, then shifts the row to mean 0 and scales it to variance 1.
///
/// ```text
/// sum[t, i]        = x[t, i] + residual[t, i]
/// mean[t]          = 1 / hidden * sum over i of sum[t, i]
/// variance[t]      = 1 / hidden * sum over i of (sum[t, i] - mean[t])^2
/// normalized[t, i] = (sum[t, i] - mean[t]) / sqrt(variance[t] + epsilon) * weight[i]
/// ```
///
/// | argument   | dtype    | shape              | note                                     |
/// |------------|----------|--------------------|------------------------------------------|
/// | `x`        | f32, f64 | `[tokens, hidden]` |                                          |
/// | `residual` | f32, f64 | `[tokens, hidden]` | `None` adds nothing                      |
/// | `weight`   | f32      | `[hidden]`         |                                          |
/// | `epsilon`  | f64      |                    | DBRX: 1e-5                               |
/// | `rounding` |          |                    | the type in which `sum` is stored        |
///
/// `sum` is rounded before the statistics are taken, since that is what the next operator reads.
/// The statistics are f64, in two passes: the mean of squares less the square of the mean cancels.
/// `normalized` is not rounded. Zero tokens give empty results.
///
/// # Errors
///
/// `Value` if `x` is no whole number of rows, `Shape` if `residual` is not as long as `x`.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxNormAttentionNorm`: PyTorch's `LayerNorm` with
/// `bias=False` and its default epsilon, the residual taken before `norm_2`.
pub fn layer_norm<T: Real>(
    x: &[T],
    residual: Option<&[T]>,
    weight: &[f32],
    epsilon: f64,
    rounding: Rounding,
) -> Result<LayerNorm> {
    let hidden = weight.len();
    let tokens = check_rows("layer_norm", "x", x.len(), hidden)?;
    let mut sum: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    if let Some(residual) = residual {
        check_shape("layer_norm", "residual", residual.len(), &[tokens, hidden])?;
        for (sum, &residual) in sum.iter_mut().zip(residual) {
            *sum = rounding.round(*sum + residual.into());
        }
    }

    let mut normalized = Vec::with_capacity(sum.len());
    for token in 0..tokens {
        let row = &sum[token * hidden..][..hidden];
        let mean = row.iter().sum::<f64>() / hidden as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / hidden as f64;
        let scale = 1.0 / (variance + epsilon).sqrt();
        normalized.extend(
            row.iter().zip(weight).map(|(x, &weight)| (x - mean) * scale * f64::from(weight)),
        );
    }
    Ok(LayerNorm { sum, normalized })
}
