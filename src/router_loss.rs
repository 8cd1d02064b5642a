//! The load of the experts, and the router's auxiliary losses.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{
    ROUTER_LOSS_CHUNK, ROUTER_LOSS_THREADS, ROUTER_MAX_EXPERTS, ROUTER_MAX_TOP_K, RouterLossParams,
};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// The entries of the two images.
pub(crate) const ENTRIES: [&str; 3] = ["router_loss_bf16", "router_loss_f16", "router_loss_f32"];
pub(crate) const REDUCE_ENTRIES: [&str; 1] = ["router_loss_reduce_f32"];

/// The arguments of [`router_loss`](crate::router_loss()).
#[derive(Debug)]
pub struct RouterLoss<'a> {
    /// `[tokens, experts]`, before the softmax.
    pub logits: Tensor<'a>,
    /// `[tokens, top_k]`, i32.
    pub ids: Tensor<'a>,
    /// `[3]`, f32: MegaBlocks' load-balancing loss, the published DBRX's, the z-loss.
    pub losses: TensorMut<'a>,
    /// `[experts]`, i32: how many tokens chose each expert.
    pub counts: TensorMut<'a>,
    /// `[experts]`, f32: the mean of the softmax.
    pub mean_probabilities: TensorMut<'a>,
    /// `[elements]`, i32, of at least
    /// [`router_loss_workspace_bytes`](crate::router_loss_workspace_bytes()) together. What is in it
    /// does not matter, before or after.
    pub workspace: TensorMut<'a>,
}

/// The bytes of workspace that [`router_loss`](crate::router_loss()) asks for.
pub fn router_loss_workspace_bytes(tokens: u64, experts: u64) -> u64 {
    let columns = experts.saturating_mul(3).saturating_add(2);
    tokens.div_ceil(ROUTER_LOSS_CHUNK.into()).saturating_mul(columns).saturating_mul(4)
}

/// The two launches: a block for each chunk of tokens, of which there is none without tokens, then
/// one block.
pub(crate) fn plan(tokens: u32) -> [Geometry; 2] {
    let geometry = |blocks| Geometry {
        grid: [blocks, 1, 1],
        threads: ROUTER_LOSS_THREADS,
        shared_bytes: 0,
        cluster_blocks: 1,
    };
    [geometry(tokens.div_ceil(ROUTER_LOSS_CHUNK)), geometry(1)]
}

/// Checks the arguments against each other and the kernels.
fn prepare(
    arguments: &RouterLoss<'_>,
    device: &DeviceInfo,
) -> Result<(RouterLossParams, [Geometry; 2])> {
    let (logits, ids) = (&arguments.logits.layout, &arguments.ids.layout);
    let [tokens, experts] = *logits.shape else {
        let found = format!("{:?}", &*logits.shape);
        return Err(Error::value("router_loss", "logits", found, "of shape [tokens, experts]"));
    };
    let top_k = ids.shape.get(1).copied().unwrap_or(0);
    let workspace = &arguments.workspace.layout;
    let kept = workspace.shape.first().copied().unwrap_or(0);
    let identity = (device.platform, device.ordinal);
    for (argument, layout, dtype, shape) in [
        ("logits", logits, logits.dtype, &[tokens, experts][..]),
        ("ids", ids, Dtype::I32, &[tokens, top_k]),
        ("losses", &arguments.losses.layout, Dtype::F32, &[3]),
        ("counts", &arguments.counts.layout, Dtype::I32, &[experts]),
        ("mean_probabilities", &arguments.mean_probabilities.layout, Dtype::F32, &[experts]),
        ("workspace", workspace, Dtype::I32, &[kept]),
    ] {
        layout.check_device("router_loss", argument, identity)?;
        layout.check_shape("router_loss", argument, shape)?;
        layout.check_dtype("router_loss", argument, dtype)?;
        match argument {
            "logits" => layout.check_rows("router_loss", argument)?,
            _ => layout.check_dense("router_loss", argument)?,
        }
    }
    crate::norm::entry("router_loss", &ENTRIES, logits.dtype)?;
    let limit = |argument, extent: u64, least: u64, most: u64| {
        u32::try_from(extent).ok().filter(|_| (least..=most).contains(&extent)).ok_or_else(|| {
            let supported = format!("{least} to {most}");
            Error::unsupported("router_loss", format!("{argument} {extent}"), supported)
        })
    };
    let counted = limit("tokens", tokens, 0, (1 << 31) - 1)?;
    let (experts, top_k) = (
        limit("experts", experts, 1, ROUTER_MAX_EXPERTS.into())?,
        limit("top_k", top_k, 1, ROUTER_MAX_TOP_K.into())?,
    );
    let needed = router_loss_workspace_bytes(tokens, experts.into()) / 4;
    if kept < needed {
        let expected = format!("at least {needed}, router_loss_workspace_bytes / 4");
        let found = format!("of {kept} elements");
        return Err(Error::value("router_loss", "workspace", found, expected));
    }
    let address = |layout: &Layout| layout.address as usize;
    let params = RouterLossParams {
        logits: address(logits) as *const _,
        ids: address(ids) as *const _,
        partials: address(workspace) as *mut _,
        losses: address(&arguments.losses.layout) as *mut _,
        counts: address(&arguments.counts.layout) as *mut _,
        mean_probabilities: address(&arguments.mean_probabilities.layout) as *mut _,
        logits_stride: logits.strides[0],
        tokens: counted,
        experts,
        top_k,
        chunks: counted.div_ceil(ROUTER_LOSS_CHUNK),
    };
    Ok((params, plan(counted)))
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check(arguments: &RouterLoss<'_>, device: &DeviceInfo) -> Result<()> {
    prepare(arguments, device).map(drop)
}

/// The load histogram of a routing, two load-balancing losses and the z-loss, each with weight 1.
///
/// ```text
/// P[t, :]               = softmax(logits[t, :])
/// Q[t, :]               = softmax(P[t, :])
/// counts[e]             = how many of ids are e
/// mean_probabilities[e] = mean over t of P[t, e]
/// losses[0] = experts / (tokens * top_k) * sum over e of counts[e] * mean over t of P[t, e]
/// losses[1] = experts / tokens * sum over e of counts[e] * mean over t of Q[t, e]
/// losses[2] = mean over t of log(sum over e of exp(logits[t, e]))^2
/// ```
///
/// | argument             | dtype          | shape               | note                                   |
/// |----------------------|----------------|---------------------|----------------------------------------|
/// | `logits`             | bf16, f16, f32 | `[tokens, experts]` | 1 to 256 experts; rows of any distance |
/// | `ids`                | i32            | `[tokens, top_k]`   | of [`router`](crate::router()); `top_k` 1 to 16 |
/// | `losses`             | f32            | `[3]`               |                                        |
/// | `counts`             | i32            | `[experts]`         |                                        |
/// | `mean_probabilities` | f32            | `[experts]`         |                                        |
/// | `workspace`          | i32            | `[elements]`        | [`router_loss_workspace_bytes`](crate::router_loss_workspace_bytes()) |
///
/// `losses[0]` is MegaBlocks', 1 where the load is even. `losses[1]` is the published DBRX's, `top_k`
/// there: it differs by that factor and by the second softmax. For several layers, MegaBlocks takes the
/// mean of the layers' losses; the published DBRX takes the rows of all layers as one call's.
///
/// A token none of whose ids is an expert is padding: it counts as no token. A NaN logit counts as
/// -inf, +inf shares the softmax. Sums are f32, in an order that depends on the extents alone; all arrays
/// but `logits` are dense. Two launches, or one without tokens, for which all results are 0.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if a
/// launch fails. The outputs are unchanged in each case.
///
/// Source: databricks/megablocks `layers/moe.py` and `layers/router.py`; databricks/dbrx
/// `modeling_dbrx.py`, `load_balancing_loss_func`; ST-MoE (arXiv:2202.08906), equation 5.
pub fn router_loss(stream: &Stream, arguments: &RouterLoss<'_>) -> Result<()> {
    let (params, [chunks, reduce]) = prepare(arguments, stream.device().info())?;
    let entry = crate::norm::entry("router_loss", &ENTRIES, arguments.logits.dtype())?;
    // SAFETY: every array has as many elements as `prepare` checked, the workspace those of each chunk;
    // the kernels count by ids only within the experts. What is written is borrowed mutably, so nothing
    // else is given it unless ordered by the stream; all stay allocated until the launches are done: a
    // buffer's free waits for the device, and owners of raw tensors vouch for theirs.
    unsafe {
        if params.chunks > 0 {
            stream.launch(entry, &chunks, &params)?;
        }
        stream.launch(REDUCE_ENTRIES[0], &reduce, &params)
    }
}
