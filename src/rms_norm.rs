//! Residual addition and root-mean-square normalisation.

#[cfg(feature = "capi")]
use crate::driver::DeviceInfo;
use crate::error::Result;
use crate::norm::{Norm, norm};
use crate::stream::Stream;

/// Entries for bf16, f16 and f32.
pub(crate) const ENTRIES: [&str; 3] = ["rms_norm_bf16", "rms_norm_f16", "rms_norm_f32"];

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &Norm<'_>, device: &DeviceInfo) -> Result<()> {
    crate::norm::check("rms_norm", &ENTRIES, arguments, device)
}

/// Adds the residual to each row, then scales the row to a mean square of 1.
///
/// ```text
/// sum[t, i]      = x[t, i] + residual[t, i]
/// mean_square[t] = 1 / hidden * sum over i of sum[t, i]^2
/// out[t, i]      = sum[t, i] / sqrt(mean_square[t] + epsilon) * weight[i]
/// ```
///
/// | argument   | dtype          | shape              | note                                       |
/// |------------|----------------|--------------------|--------------------------------------------|
/// | `x`        | bf16, f16, f32 | `[tokens, hidden]` | `hidden` a multiple of 8 from 8 to 16384   |
/// | `residual` | as `x`         | `[tokens, hidden]` | see [`Residual`](crate::Residual)          |
/// | `weight`   | as `x`         | `[hidden]`         |                                            |
/// | `out`      | as `x`         | `[tokens, hidden]` |                                            |
/// | `epsilon`  | f32            |                    |                                            |
///
/// Rows may have strides, multiples of 8 elements; addresses are multiples of 16 bytes. The sum is
/// taken in f32 and rounded to the dtype of `x`; the mean square is f32, in an order that depends on
/// `hidden` alone; each output is rounded once. A NaN or an infinity spoils its own row. Zero tokens
/// launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: Zhang, Sennrich (arXiv:1910.07467), equation 4.
pub fn rms_norm(stream: &Stream, arguments: &Norm<'_>) -> Result<()> {
    norm("rms_norm", &ENTRIES, stream, arguments)
}
