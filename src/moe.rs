//! A layer of experts in one call: router, dispatch, both products, combine.

use crate::combine::{self, Combine, CombineOut};
use crate::device::Device;
use crate::dispatch::{self, Dispatch, dispatch_workspace_bytes, max_tiles};
use crate::driver::DeviceInfo;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::grouped_gemm::{self, Activation, Gated, GroupedDown, GroupedUp, PairWeights};
use crate::linear::WeightLayout;
use crate::router::{self, ExpertGroups, Router, RouterInput, Scoring};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};
use std::ops::Range;

/// Which experts a token goes to.
#[derive(Clone, Copy, Debug)]
pub enum Route<'a> {
    /// The router's choice.
    Router {
        /// `[experts, hidden]`: all experts, local or not.
        weight: Tensor<'a>,
        /// As in [`RouterInput::Hidden`].
        round_logits: bool,
        /// How logits become weights.
        scoring: Scoring<'a>,
        /// Restricts the choice.
        groups: Option<ExpertGroups>,
        /// The weights are multiplied by it.
        scale: f32,
        /// Experts of a token.
        top_k: u32,
    },
    /// One that was made before, or on another device.
    Given {
        /// `[tokens, top_k]`, i32: any value.
        ids: Tensor<'a>,
        /// `[tokens, top_k]`, f32.
        weights: Tensor<'a>,
    },
}

/// The local experts.
#[derive(Clone, Debug)]
pub struct Experts<'a> {
    /// Which they are, as the router numbers them.
    pub local: Range<u32>,
    /// `[local experts, ffn_hidden, hidden]` each.
    pub weights: Gated<'a>,
    /// `[local experts, ffn_hidden]` each.
    pub biases: Option<Gated<'a>>,
    /// What joins both products.
    pub activation: Activation,
    /// `[local experts, ffn_hidden, hidden]` or `[local experts, hidden, ffn_hidden]`.
    pub down: Tensor<'a>,
    /// How each expert's lies; DBRX's `w2` is [`WeightLayout::InOut`].
    pub down_layout: WeightLayout,
    /// `[local experts, hidden]`.
    pub down_bias: Option<Tensor<'a>>,
}

/// The arguments of [`moe`](crate::moe()).
#[derive(Debug)]
pub struct Moe<'a> {
    /// `[tokens, hidden]`.
    pub x: Tensor<'a>,
    /// Which experts a token goes to.
    pub route: Route<'a>,
    /// The experts.
    pub experts: Experts<'a>,
    /// `[tokens, hidden]`, each of them.
    pub out: CombineOut<'a>,
    /// `[elements]`, i32, of at least [`moe_workspace_bytes`](crate::moe_workspace_bytes()) together. What is
    /// in it does not matter, before or after.
    pub workspace: TensorMut<'a>,
}

/// What the workspace of [`moe`](crate::moe()) depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoeExtents {
    /// Rows of `x`.
    pub tokens: u64,
    /// Features of `x`.
    pub hidden: u64,
    /// Features between both products.
    pub ffn_hidden: u64,
    /// Experts that the router chooses from; with a given route, the local ones.
    pub experts: u64,
    /// Those on this device.
    pub local_experts: u64,
    /// Experts of a token.
    pub top_k: u64,
    /// Of `x`.
    pub dtype: Dtype,
}

/// Rows of the tiles that dispatch lists, which nobody reads here: the fewest tiles.
const TILE_ROWS: u32 = 256;

/// Bytes to which parts of the workspace are aligned, counted from its beginning.
const ALIGNMENT: u64 = 256;

/// Tokens up to which a second launch for the logits of many experts would take longer.
const ONE_LAUNCH_TOKENS: u64 = 16;

/// Parts of the workspace, each the bytes before it and its own.
struct Parts {
    ids: u64,
    weights: u64,
    pairs: u64,
    rows: u64,
    offsets: u64,
    counts: u64,
    tiles: u64,
    tile_count: u64,
    dispatch: u64,
    logits: u64,
    middle: u64,
    expert_out: u64,
    end: u64,
}

/// Whether logits are kept, so that a launch of their own spreads many experts over all multiprocessors.
fn keeps_logits(extents: &MoeExtents) -> bool {
    extents.experts > 64 && extents.tokens > ONE_LAUNCH_TOKENS
}

/// Extents that the operators refuse saturate.
fn parts(device: &DeviceInfo, extents: &MoeExtents) -> Parts {
    let MoeExtents { tokens, hidden, ffn_hidden, experts, local_experts, top_k, dtype } = *extents;
    let pairs = tokens.saturating_mul(top_k);
    let mut end = 0u64;
    let mut part = |elements: u64, bytes: u64| {
        let first = end;
        let own = elements.saturating_mul(bytes).saturating_add(ALIGNMENT - 1);
        end = end.saturating_add(own / ALIGNMENT * ALIGNMENT);
        first
    };
    let tiles = max_tiles(pairs, local_experts, TILE_ROWS).saturating_mul(2);
    let logits = if keeps_logits(extents) { tokens.saturating_mul(experts) } else { 0 };
    Parts {
        ids: part(pairs, 4),
        weights: part(pairs, 4),
        pairs: part(pairs, 4),
        rows: part(pairs, 4),
        offsets: part(local_experts.saturating_add(1), 4),
        counts: part(local_experts, 4),
        tiles: part(tiles, 4),
        tile_count: part(1, 4),
        dispatch: part(dispatch_workspace_bytes(device, tokens, top_k, local_experts), 1),
        logits: part(logits, 4),
        middle: part(pairs.saturating_mul(ffn_hidden), dtype.bytes()),
        expert_out: part(pairs.saturating_mul(hidden), dtype.bytes()),
        end,
    }
}

/// The bytes of workspace that [`moe`](crate::moe()) asks for on a device: about `tokens * top_k * (ffn_hidden +
/// hidden)` elements. Extents that `moe` refuses give a number without meaning.
pub fn moe_workspace_bytes(device: &DeviceInfo, extents: &MoeExtents) -> u64 {
    parts(device, extents).end
}

/// The extents of a call.
fn extents(arguments: &Moe<'_>) -> Result<MoeExtents> {
    let shape = |argument, tensor: &Layout, expected: &str| {
        let found = format!("{:?}", &*tensor.shape);
        Error::value("moe", argument, found, format!("of shape {expected}"))
    };
    let x = &arguments.x.layout;
    let [tokens, hidden] = *x.shape else {
        return Err(shape("x", x, "[tokens, hidden]"));
    };
    let local = &arguments.experts.local;
    if local.start > local.end {
        let found = format!("{}..{}", local.start, local.end);
        return Err(Error::value("moe", "local", found, "an ascending range"));
    }
    let (experts, top_k) = match &arguments.route {
        Route::Router { weight, top_k, .. } => {
            let [experts, _] = *weight.layout.shape else {
                return Err(shape("weight", &weight.layout, "[experts, hidden]"));
            };
            if u64::from(local.end) > experts {
                let found = format!("{}..{}", local.start, local.end);
                let expected = format!("within 0..{experts}, the router's experts");
                return Err(Error::value("moe", "local", found, expected));
            }
            (experts, u64::from(*top_k))
        }
        Route::Given { ids, .. } => {
            let [_, top_k] = *ids.layout.shape else {
                return Err(shape("ids", &ids.layout, "[tokens, top_k]"));
            };
            (local.len() as u64, top_k)
        }
    };
    let (gate, halves) = match &arguments.experts.weights {
        Gated::Separate { gate, .. } => (&gate.layout, 1),
        Gated::Packed(both) => (&both.layout, 2),
    };
    let [_, ffn_hidden, _] = *gate.shape else {
        return Err(shape("weights", gate, "[experts, ffn_hidden, hidden]"));
    };
    Ok(MoeExtents {
        tokens,
        hidden,
        ffn_hidden: ffn_hidden / halves,
        experts,
        local_experts: local.len() as u64,
        top_k,
        dtype: x.dtype,
    })
}

/// The workspace, cut into parts that do not overlap.
struct Workspace<'d> {
    device: &'d Device,
    base: u64,
}

impl Workspace<'_> {
    fn layout(&self, at: u64, dtype: Dtype, shape: &[u64]) -> Result<Layout> {
        Layout::new(self.device, self.base + at, dtype, shape, None)
    }

    fn tensor<'a>(&self, at: u64, dtype: Dtype, shape: &[u64]) -> Result<Tensor<'a>> {
        Ok(Tensor::new(self.layout(at, dtype, shape)?))
    }

    fn tensor_mut<'a>(&self, at: u64, dtype: Dtype, shape: &[u64]) -> Result<TensorMut<'a>> {
        TensorMut::new(self.layout(at, dtype, shape)?)
    }
}

/// Checks what the parts of the call do not check themselves.
fn prepare(arguments: &Moe<'_>, device: &DeviceInfo) -> Result<(MoeExtents, Parts)> {
    let extents = extents(arguments)?;
    let parts = parts(device, &extents);
    if let Route::Router { weight, .. } = &arguments.route {
        weight.layout.check_shape("moe", "weight", &[extents.experts, extents.hidden])?;
    }
    if parts.end >= 1 << 62 {
        let found = format!("a workspace of {} bytes", parts.end);
        return Err(Error::unsupported("moe", found, "less than 2^62"));
    }
    if let Route::Given { ids, weights } = &arguments.route {
        let shape = [extents.tokens, extents.top_k];
        ids.layout.check_shape("moe", "ids", &shape)?;
        weights.layout.check_shape("moe", "weights", &shape)?;
    }
    let workspace = &arguments.workspace.layout;
    let kept = workspace.shape.first().copied().unwrap_or(0);
    workspace.check_device("moe", "workspace", (device.platform, device.ordinal))?;
    workspace.check_shape("moe", "workspace", &[kept])?;
    workspace.check_dtype("moe", "workspace", Dtype::I32)?;
    workspace.check_dense("moe", "workspace")?;
    if kept.saturating_mul(4) < parts.end {
        let expected = format!("at least {}, moe_workspace_bytes / 4", parts.end.div_ceil(4));
        return Err(Error::value("moe", "workspace", format!("of {kept} elements"), expected));
    }
    if extents.tokens > 0 && !workspace.address.is_multiple_of(16) {
        let found = format!("at address {:#x}", workspace.address);
        return Err(Error::value("moe", "workspace", found, "a multiple of 16 bytes"));
    }
    Ok((extents, parts))
}

/// The calls that it is, in their order.
struct Chain<'a> {
    router: Option<Router<'a>>,
    dispatch: Dispatch<'a>,
    up: GroupedUp<'a>,
    down: GroupedDown<'a>,
    combine: Combine<'a>,
}

impl<'a> Chain<'a> {
    /// With every check of every call; nothing is launched.
    fn new(arguments: &Moe<'a>, device: &Device) -> Result<Chain<'a>> {
        let (extents, at) = prepare(arguments, device.info())?;
        let MoeExtents { tokens, hidden, ffn_hidden, experts, local_experts, top_k, dtype } =
            extents;
        // Without tokens nothing is used, wherever it is.
        let base = if tokens == 0 { 0 } else { arguments.workspace.layout.address };
        let workspace = Workspace { device, base };
        let pair_count = tokens.saturating_mul(top_k);
        let (integers, floats) = (Dtype::I32, Dtype::F32);
        let of_pairs = [tokens, top_k];
        let (router, ids, weights) = match arguments.route {
            Route::Given { ids, weights } => (None, ids, weights),
            Route::Router { weight, round_logits, scoring, groups, scale, .. } => {
                let logits = || workspace.tensor_mut(at.logits, floats, &[tokens, experts]);
                let routed = Router {
                    input: RouterInput::Hidden { h: arguments.x, weight, round_logits },
                    scoring,
                    groups,
                    scale,
                    forced: None,
                    ids: workspace.tensor_mut(at.ids, integers, &of_pairs)?,
                    weights: workspace.tensor_mut(at.weights, floats, &of_pairs)?,
                    logits: if keeps_logits(&extents) { Some(logits()?) } else { None },
                    counts: None,
                    probabilities: None,
                };
                let ids = workspace.tensor(at.ids, integers, &of_pairs)?;
                (Some(routed), ids, workspace.tensor(at.weights, floats, &of_pairs)?)
            }
        };
        let tiles = max_tiles(pair_count, local_experts, TILE_ROWS);
        let kept = dispatch_workspace_bytes(device.info(), tokens, top_k, local_experts) / 4;
        let dispatch = Dispatch {
            ids,
            experts: arguments.experts.local.clone(),
            tile_rows: TILE_ROWS,
            pairs: workspace.tensor_mut(at.pairs, integers, &[pair_count])?,
            rows: workspace.tensor_mut(at.rows, integers, &of_pairs)?,
            offsets: workspace.tensor_mut(at.offsets, integers, &[local_experts + 1])?,
            counts: workspace.tensor_mut(at.counts, integers, &[local_experts])?,
            tiles: workspace.tensor_mut(at.tiles, integers, &[tiles, 2])?,
            tile_count: workspace.tensor_mut(at.tile_count, integers, &[1])?,
            workspace: workspace.tensor_mut(at.dispatch, integers, &[kept])?,
        };
        let Experts { weights: gates, biases, activation, down, down_layout, down_bias, .. } =
            arguments.experts.clone();
        let pairs = workspace.tensor(at.pairs, integers, &[pair_count])?;
        let offsets = workspace.tensor(at.offsets, integers, &[local_experts + 1])?;
        let again = |out: &TensorMut<'a>| TensorMut::new(out.layout);
        let chain = Chain {
            router,
            dispatch,
            up: GroupedUp {
                x: arguments.x,
                pairs,
                top_k: top_k as u32,
                offsets,
                weights: gates,
                biases,
                activation,
                out: workspace.tensor_mut(at.middle, dtype, &[pair_count, ffn_hidden])?,
            },
            down: GroupedDown {
                x: workspace.tensor(at.middle, dtype, &[pair_count, ffn_hidden])?,
                offsets,
                weight: down,
                layout: down_layout,
                bias: down_bias,
                pair_weights: Some(PairWeights { weights, pairs }),
                out: workspace.tensor_mut(at.expert_out, dtype, &[pair_count, hidden])?,
            },
            combine: Combine {
                expert_out: workspace.tensor(at.expert_out, dtype, &[pair_count, hidden])?,
                rows: workspace.tensor(at.rows, integers, &of_pairs)?,
                out: match &arguments.out {
                    CombineOut::Sum(out) => CombineOut::Sum(again(out)?),
                    CombineOut::Add(residual, out) => CombineOut::Add(*residual, again(out)?),
                    CombineOut::Update(out) => CombineOut::Update(again(out)?),
                },
            },
        };
        chain.check(device.info())?;
        Ok(chain)
    }

    fn check(&self, device: &DeviceInfo) -> Result<()> {
        self.router.as_ref().map_or(Ok(()), |routed| router::check(routed, device))?;
        dispatch::check(&self.dispatch, device)?;
        grouped_gemm::check_up(&self.up, device)?;
        grouped_gemm::check_down(&self.down, device)?;
        combine::check(&self.combine, device)
    }

    fn launch(&self, stream: &Stream) -> Result<()> {
        self.router.as_ref().map_or(Ok(()), |routed| router::router(stream, routed))?;
        dispatch::dispatch(stream, &self.dispatch)?;
        grouped_gemm::grouped_gemm_up(stream, &self.up)?;
        grouped_gemm::grouped_gemm_down(stream, &self.down)?;
        combine::combine(stream, &self.combine)
    }
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &Moe<'_>, device: &Device) -> Result<()> {
    Chain::new(arguments, device).map(drop)
}

/// The bytes of workspace that a call asks for, whatever it has; 0 if its tensors have no extents.
#[cfg(feature = "capi")]
pub(crate) fn needed(arguments: &Moe<'_>, device: &DeviceInfo) -> u64 {
    extents(arguments).map_or(0, |extents| parts(device, &extents).end)
}

/// Routes each token to its experts and adds up what they make of it.
///
/// ```text
/// ids, weights = router(x)
/// y[t, s] = down_e(activation(gate_e(x[t]), up_e(x[t]))) * weights[t, s]      with e = ids[t, s], if it is local
/// out[t]  = y[t, 0] + y[t, 1] + ... + residual[t]
/// ```
///
/// | argument    | dtype     | shape              | note                                                      |
/// |-------------|-----------|--------------------|-----------------------------------------------------------|
/// | `x`         | bf16, f16 | `[tokens, hidden]` |                                                           |
/// | `route`     |           |                    | [`router`](crate::router())'s choice, or ids and weights  |
/// | `experts`   | as `x`    |                    | of [`grouped_gemm_up`](crate::grouped_gemm_up()) and [`grouped_gemm_down`](crate::grouped_gemm_down()) |
/// | `out`       | as `x`    | `[tokens, hidden]` | as in [`combine`](crate::combine())                       |
/// | `workspace` | i32       | `[elements]`       | [`moe_workspace_bytes`](crate::moe_workspace_bytes()); at a multiple of 16 bytes |
///
/// It is [`router`](crate::router()), [`dispatch`](crate::dispatch()), both products and
/// [`combine`](crate::combine()) after each other, with their roundings: the activation's result, each expert's and the sum.
/// Five launches; beyond 4096 pairs dispatch is two, and beyond 64 experts and 16 tokens the router. Nothing is
/// allocated, nothing waits, nothing is read back; it may be recorded in a graph. A token's bits do not depend on
/// other tokens. An id outside `local`, such as -1, adds nothing: with experts spread over devices the results of all
/// add up to the whole. Zero tokens launch nothing.
///
/// # Errors
///
/// Those of its parts, under their names, all checked before the first launch. The output is unchanged in each
/// case; the workspace too, unless it is a launch that fails.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxFFN.forward`.
pub fn moe(stream: &Stream, arguments: &Moe<'_>) -> Result<()> {
    let chain = Chain::new(arguments, stream.device())?;
    if arguments.x.layout.shape[0] == 0 {
        return Ok(());
    }
    chain.launch(stream)
}
