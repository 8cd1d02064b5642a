//! Residual addition and layer normalisation.

#[cfg(feature = "capi")]
use crate::driver::DeviceInfo;
use crate::error::Result;
use crate::norm::{Norm, norm};
use crate::stream::Stream;

/// Entries for bf16, f16 and f32.
pub(crate) const ENTRIES: [&str; 3] = ["layer_norm_bf16", "layer_norm_f16", "layer_norm_f32"];

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &Norm<'_>, device: &DeviceInfo) -> Result<()> {
    crate::norm::check("layer_norm", &ENTRIES, arguments, device)
}

/// Adds the residual to each row, then shifts the row to mean 0 and scales it to variance 1.
///
/// ```text
/// sum[t, i] = x[t, i] + residual[t, i]
/// mean[t]   = 1 / hidden * sum over i of sum[t, i]
/// var[t]    = 1 / hidden * sum over i of (sum[t, i] - mean[t])^2
/// out[t, i] = (sum[t, i] - mean[t]) / sqrt(var[t] + epsilon) * weight[i]
/// ```
///
/// | argument   | dtype          | shape              | note                                       |
/// |------------|----------------|--------------------|--------------------------------------------|
/// | `x`        | bf16, f16, f32 | `[tokens, hidden]` | `hidden` a multiple of 8 from 8 to 16384   |
/// | `residual` | as `x`         | `[tokens, hidden]` | see [`Residual`](crate::Residual)          |
/// | `weight`   | as `x`         | `[hidden]`         |                                            |
/// | `out`      | as `x`         | `[tokens, hidden]` |                                            |
/// | `epsilon`  | f32            |                    | DBRX: 1e-5                                 |
///
/// Rows may have strides, multiples of 8 elements; addresses are multiples of 16 bytes. The sum is
/// taken in f32 and rounded to the dtype of `x`; mean and variance are f32, in two passes over the
/// rounded sum, in an order that depends on `hidden` alone; each output is rounded once. A NaN or an
/// infinity spoils its own row. Zero tokens launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: Ba, Kiros, Hinton (arXiv:1607.06450), without bias as in DBRX.
pub fn layer_norm(stream: &Stream, arguments: &Norm<'_>) -> Result<()> {
    norm("layer_norm", &ENTRIES, stream, arguments)
}
