//! The two matrix products of experts: each expert multiplies its own rows.

use crate::driver::DeviceInfo;
use crate::error::Result;
use crate::grouped_gemm_call::{prepare_down, prepare_up};
use crate::linear::WeightLayout;
use crate::stream::Stream;
use crate::tensor::{Tensor, TensorMut};

/// What joins the gate and what it lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `gate * sigmoid(gate) * up`. DBRX, Mixtral, DeepSeek.
    Silu,
    /// `gelu(gate) * up` with the approximation by the hyperbolic tangent.
    GeluTanh,
    /// `g * sigmoid(alpha * g) * (u + 1)` with `g = min(gate, limit)` and `u` = `up` clamped to `-limit..limit`.
    /// GPT-OSS: 7 and 1.702.
    ClampedSwiglu {
        /// Positive; may be infinite.
        limit: f32,
        /// Finite.
        alpha: f32,
    },
}

/// A gate's tensor and that of what it lets through.
#[derive(Clone, Copy, Debug)]
pub enum Gated<'a> {
    /// Two tensors, each `[experts, ffn_hidden, ...]`.
    Separate {
        /// The gate's: DBRX's `w1`.
        gate: Tensor<'a>,
        /// The other's: DBRX's `v1`.
        up: Tensor<'a>,
    },
    /// One, `[experts, 2 * ffn_hidden, ...]`, the gate's half first.
    Packed(Tensor<'a>),
}

/// The arguments of [`grouped_gemm_up`](crate::grouped_gemm_up()).
#[derive(Debug)]
pub struct GroupedUp<'a> {
    /// `[tokens, hidden]`.
    pub x: Tensor<'a>,
    /// `[rows]`, i32, of [`dispatch`](crate::dispatch()).
    pub pairs: Tensor<'a>,
    /// Pairs of a token.
    pub top_k: u32,
    /// `[experts + 1]`, i32, of [`dispatch`](crate::dispatch()).
    pub offsets: Tensor<'a>,
    /// `[experts, ffn_hidden, hidden]` each.
    pub weights: Gated<'a>,
    /// `[experts, ffn_hidden]` each.
    pub biases: Option<Gated<'a>>,
    /// What joins both products.
    pub activation: Activation,
    /// `[rows, ffn_hidden]`.
    pub out: TensorMut<'a>,
}

/// The weights of pairs, and the pairs of rows.
#[derive(Clone, Copy, Debug)]
pub struct PairWeights<'a> {
    /// `[tokens, top_k]`, f32, of [`router`](crate::router()).
    pub weights: Tensor<'a>,
    /// `[rows]`, i32, of [`dispatch`](crate::dispatch()).
    pub pairs: Tensor<'a>,
}

/// The arguments of [`grouped_gemm_down`](crate::grouped_gemm_down()).
#[derive(Debug)]
pub struct GroupedDown<'a> {
    /// `[rows, ffn_hidden]`.
    pub x: Tensor<'a>,
    /// `[experts + 1]`, i32, of [`dispatch`](crate::dispatch()).
    pub offsets: Tensor<'a>,
    /// `[experts, ffn_hidden, hidden]` or `[experts, hidden, ffn_hidden]`.
    pub weight: Tensor<'a>,
    /// How each expert's lies; DBRX's `w2` is [`WeightLayout::InOut`].
    pub layout: WeightLayout,
    /// `[experts, hidden]`.
    pub bias: Option<Tensor<'a>>,
    /// What rows are multiplied by; none: nothing.
    pub pair_weights: Option<PairWeights<'a>>,
    /// `[rows, hidden]`.
    pub out: TensorMut<'a>,
}

/// What a call checks, without the call.
pub(crate) fn check_up(arguments: &GroupedUp<'_>, device: &DeviceInfo) -> Result<()> {
    prepare_up(arguments, device).map(drop)
}

/// What a call checks, without the call.
pub(crate) fn check_down(arguments: &GroupedDown<'_>, device: &DeviceInfo) -> Result<()> {
    prepare_down(arguments, device).map(drop)
}

/// The first product of every expert, with the gate applied.
///
/// For each row `r` of expert `e`, with the token `t = pairs[r] / top_k`:
///
/// ```text
/// gate[r, f] = sum over i of x[t, i] * gate[e, f, i] + gate_bias[e, f]
/// up[r, f]   = sum over i of x[t, i] * up[e, f, i]   + up_bias[e, f]
/// out[r, f]  = activation(gate[r, f], up[r, f])
/// ```
///
/// | argument  | dtype     | shape                                                          | note                               |
/// |-----------|-----------|----------------------------------------------------------------|------------------------------------|
/// | `x`       | bf16, f16 | `[tokens, hidden]`                                             | `hidden` a multiple of 8           |
/// | `pairs`   | i32       | `[rows]`                                                       | of [`dispatch`](crate::dispatch()) |
/// | `offsets` | i32       | `[experts + 1]`                                                | of [`dispatch`](crate::dispatch()); 1 to 256 experts |
/// | `weights` | as `x`    | `[experts, ffn_hidden, hidden]` twice, or `[experts, 2 ffn_hidden, hidden]` | `ffn_hidden` a multiple of 8 |
/// | `biases`  | as `x`    | `[experts, ffn_hidden]` twice, or `[experts, 2 ffn_hidden]`    | none, or added to the sums         |
/// | `out`     | as `x`    | `[rows, ffn_hidden]`                                           |                                    |
///
/// Products are exact, sums f32 by the chip's matrix instruction with k ascending; biases and activation are f32;
/// the result is rounded once. A row's bits do not depend on other rows, nor on how many there are. Rows beyond the
/// last offset are left as they are; a row whose pair is of no token, such as -1, has an `x` of zeros. Offsets
/// outside `0..rows` count as the nearer end. Addresses are multiples of 16 bytes, strides of 8 elements. It is one
/// launch; zero rows launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExpertGLU.forward`.
pub fn grouped_gemm_up(stream: &Stream, arguments: &GroupedUp<'_>) -> Result<()> {
    let call = prepare_up(arguments, stream.device().info())?;
    call.map_or(Ok(()), |call| call.launch(stream))
}

/// The second product of every expert, scaled by the routing weight.
///
/// For each row `r` of expert `e`:
///
/// ```text
/// out[r, n] = (sum over f of x[r, f] * weight[e, f, n] + bias[e, n]) * weights[pairs[r]]
/// ```
///
/// | argument  | dtype     | shape                                                        | note                               |
/// |-----------|-----------|--------------------------------------------------------------|------------------------------------|
/// | `x`       | bf16, f16 | `[rows, ffn_hidden]`                                         | of [`grouped_gemm_up`](crate::grouped_gemm_up()); `ffn_hidden` a multiple of 8 |
/// | `offsets` | i32       | `[experts + 1]`                                              | of [`dispatch`](crate::dispatch()); 1 to 256 experts |
/// | `weight`  | as `x`    | `[experts, ffn_hidden, hidden]` or `[experts, hidden, ffn_hidden]` | by `layout`; `hidden` a multiple of 8 |
/// | `bias`    | as `x`    | `[experts, hidden]`                                          | none, or added to the sum          |
/// | `weights` | f32       | `[tokens, top_k]`                                            | none, or of [`router`](crate::router()) |
/// | `pairs`   | i32       | `[rows]`                                                     | with `weights`; of [`dispatch`](crate::dispatch()) |
/// | `out`     | as `x`    | `[rows, hidden]`                                             |                                    |
///
/// Products are exact, sums f32 by the chip's matrix instruction with k ascending; bias and weight are f32; the result
/// is rounded once. A row's bits do not depend on other rows, nor on how many there are. Rows beyond the last offset
/// are left as they are; a pair outside `weights` has the weight 0. Offsets outside `0..rows` count as the nearer end.
/// Addresses are multiples of 16 bytes, strides of 8 elements; `weights` is dense. It is one launch; zero rows launch
/// nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExpertGLU.forward` and `DbrxExperts.forward`.
pub fn grouped_gemm_down(stream: &Stream, arguments: &GroupedDown<'_>) -> Result<()> {
    let call = prepare_down(arguments, stream.device().info())?;
    call.map_or(Ok(()), |call| call.launch(stream))
}
