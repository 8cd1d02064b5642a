//! Residual addition and root-mean-square normalisation (Zhang, Sennrich, arXiv:1910.07467).

use crate::error::{Result, check_rows, check_shape};
use crate::rounding::{Real, Rounding};

/// What [`rms_norm`] returns, both `[tokens, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// `x + residual`: the new residual stream.
    pub sum: Vec<f64>,
    /// The normalised rows of `sum`.
    pub normalized: Vec<f64>,
}

/// Adds the residual to each row, then scales the row to a mean square of 1.
///
/// ```text
/// sum[t, i]        = x[t, i] + residual[t, i]
/// mean_square[t]   = 1 / hidden * sum over i of sum[t, i]^2
/// normalized[t, i] = sum[t, i] / sqrt(mean_square[t] + epsilon) * weight[i]
/// ```
///
/// | argument   | dtype    | shape              | note                                     |
/// |------------|----------|--------------------|------------------------------------------|
/// | `x`        | f32, f64 | `[tokens, hidden]` |                                          |
/// | `residual` | f32, f64 | `[tokens, hidden]` | `None` adds nothing                      |
/// | `weight`   | f32      | `[hidden]`         |                                          |
/// | `epsilon`  | f64      |                    |                                          |
/// | `rounding` |          |                    | the type in which `sum` is stored        |
///
/// `sum` is rounded before the statistics are taken, since that is what the next operator reads.
/// The statistics are f64. `normalized` is not rounded. Zero tokens give empty results. DBRX has no
/// such norm; models that share its other operators do.
///
/// # Errors
///
/// `Value` if `x` is no whole number of rows, `Shape` if `residual` is not as long as `x`.
///
/// Source: arXiv:1910.07467, equation 4.
pub fn rms_norm<T: Real>(
    x: &[T],
    residual: Option<&[T]>,
    weight: &[f32],
    epsilon: f64,
    rounding: Rounding,
) -> Result<RmsNorm> {
    let hidden = weight.len();
    let tokens = check_rows("rms_norm", "x", x.len(), hidden)?;
    let mut sum: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    if let Some(residual) = residual {
        check_shape("rms_norm", "residual", residual.len(), &[tokens, hidden])?;
        for (sum, &residual) in sum.iter_mut().zip(residual) {
            *sum = rounding.round(*sum + residual.into());
        }
    }

    let mut normalized = Vec::with_capacity(sum.len());
    for token in 0..tokens {
        let row = &sum[token * hidden..][..hidden];
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / hidden as f64;
        let scale = 1.0 / (mean_square + epsilon).sqrt();
        normalized.extend(row.iter().zip(weight).map(|(x, &weight)| x * scale * f64::from(weight)));
    }
    Ok(RmsNorm { sum, normalized })
}
