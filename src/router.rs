//! The top-k router: logits, softmax or sigmoid, the choice, the weights.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{
    ROUTER_EXPERTS_AT_ONCE, ROUTER_MAX_EXPERTS, ROUTER_MAX_GROUPS, ROUTER_MAX_TOP_K,
    ROUTER_NORM_LARGEST, ROUTER_NORM_NONE, ROUTER_NORM_POWER, ROUTER_NORM_SUM,
    ROUTER_SELECTED_AT_ONCE, ROUTER_SIGMOID, ROUTER_SOFTMAX, ROUTER_THREADS, RouterParams,
};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// Entries for bf16, f16 and f32.
const WHOLE: [&str; 3] = ["router_bf16", "router_f16", "router_f32"];
const LOGITS: [&str; 3] = ["router_bf16_logits", "router_f16_logits", "router_f32_logits"];

/// The entries of the two images.
pub(crate) const ENTRIES: [&str; 6] =
    [WHOLE[0], WHOLE[1], WHOLE[2], LOGITS[0], LOGITS[1], LOGITS[2]];
pub(crate) const SELECT_ENTRIES: [&str; 3] =
    ["router_select_bf16", "router_select_f16", "router_select_f32"];

/// What a [`Router`] starts from.
#[derive(Debug)]
pub enum RouterInput<'a> {
    /// Hidden states, whose products with the router's weight are the logits.
    Hidden {
        /// `[tokens, hidden]`.
        h: Tensor<'a>,
        /// `[experts, hidden]`.
        weight: Tensor<'a>,
        /// Whether the logits are rounded to the dtype of `h`, as the published DBRX does.
        round_logits: bool,
    },
    /// Logits, `[tokens, experts]`.
    Logits(Tensor<'a>),
}

/// How logits become weights.
#[derive(Clone, Copy, Debug)]
pub enum Scoring<'a> {
    /// Softmax over all experts, then the choice, then the division by the p-norm of the chosen; no
    /// division without one. DBRX has 1, Mixtral 1, DeepSeek-V2 none.
    Softmax {
        /// From 2^-10, may be infinite.
        p_norm: Option<f32>,
    },
    /// The choice, then the softmax over the chosen. GPT-OSS.
    TopKSoftmax,
    /// Sigmoids; the choice is by sigmoid plus bias, the weights are sigmoids. DeepSeek-V3.
    Sigmoid {
        /// `[experts]`, f32.
        bias: Option<Tensor<'a>>,
        /// Whether the weights are divided by their sum.
        normalize: bool,
    },
}

/// A choice among some groups of consecutive experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertGroups {
    /// How many groups there are.
    pub count: u32,
    /// How many of them are admitted: those with the best expert under a softmax, those with the
    /// greatest sum of their two best under sigmoids; ties to the lower group.
    pub chosen: u32,
}

/// The arguments of [`router`](crate::router()).
#[derive(Debug)]
pub struct Router<'a> {
    /// Hidden states or logits.
    pub input: RouterInput<'a>,
    /// How logits become weights.
    pub scoring: Scoring<'a>,
    /// Restricts the choice.
    pub groups: Option<ExpertGroups>,
    /// The weights are multiplied by it.
    pub scale: f32,
    /// `[tokens, top_k]`, i32: ids to take instead of a choice, for benchmarks.
    pub forced: Option<Tensor<'a>>,
    /// `[tokens, top_k]`, i32: the chosen experts, the best first.
    pub ids: TensorMut<'a>,
    /// `[tokens, top_k]`, f32.
    pub weights: TensorMut<'a>,
    /// `[tokens, experts]`, f32: where logits of hidden states are kept.
    pub logits: Option<TensorMut<'a>>,
    /// `[experts]`, i32: to which the number of tokens of each expert is added.
    pub counts: Option<TensorMut<'a>>,
    /// `[tokens, experts]`, f32: the scores of all experts.
    pub probabilities: Option<TensorMut<'a>>,
}

/// How many experts a block goes through by itself, if the logits could be stored in between.
const EXPERTS_OF_ONE_LAUNCH: u32 = 64;

fn entry(entries: &[&'static str; 3], dtype: Dtype) -> Result<&'static str> {
    crate::norm::entry("router", entries, dtype)
}

/// The tokens that a block multiplies at a time: more of them share each vector of the weight, once
/// there are enough for all multiprocessors. No result depends on it.
pub(crate) fn tokens_per_block(tokens: u32, multiprocessors: u32) -> u32 {
    if tokens > multiprocessors.saturating_mul(2).max(4) { 4 } else { 1 }
}

/// The geometry of a choice from given logits.
pub(crate) fn plan_select(tokens: u32, multiprocessors: u32) -> Geometry {
    let tiles = tokens.div_ceil(ROUTER_SELECTED_AT_ONCE);
    let blocks = multiprocessors.saturating_mul(8).max(1);
    Geometry {
        grid: [tiles.min(blocks), 1, 1],
        threads: ROUTER_THREADS,
        shared_bytes: 0,
        cluster_blocks: 1,
    }
}

/// The launches from hidden states; `store` says whether there is a place for logits. Of two, the first
/// stores logits that the second starts from.
///
/// Blocks go through many tiles of tokens with the weight in their cache; two fit a
/// multiprocessor. With more experts than a block should multiply one after the other, a launch for
/// the logits spreads them over blocks too.
pub(crate) fn plan(
    tokens: u32,
    experts: u32,
    store: bool,
    multiprocessors: u32,
) -> (Geometry, Option<Geometry>) {
    let tiles = tokens.div_ceil(tokens_per_block(tokens, multiprocessors));
    let blocks = multiprocessors.saturating_mul(2).max(1);
    let geometry = |x, y| Geometry {
        grid: [x, y, 1],
        threads: ROUTER_THREADS,
        shared_bytes: 0,
        cluster_blocks: 1,
    };
    if experts <= EXPERTS_OF_ONE_LAUNCH || !store {
        return (geometry(tiles.min(blocks), 1), None);
    }
    let columns = experts.div_ceil(ROUTER_EXPERTS_AT_ONCE);
    let products = geometry(tiles.min(blocks.div_ceil(columns)), columns);
    (products, Some(plan_select(tokens, multiprocessors)))
}

/// A launch, and one after it that starts from its logits.
type Launches = [Option<(&'static str, Geometry)>; 2];

/// The numbers of a scoring, checked.
struct Score {
    scoring: u32,
    norm: u32,
    p_norm: f32,
}

impl Score {
    fn new(scoring: &Scoring<'_>) -> Result<Score> {
        let score = |scoring, norm| Ok(Score { scoring, norm, p_norm: 1.0 });
        match *scoring {
            Scoring::Softmax { p_norm: None } => score(ROUTER_SOFTMAX, ROUTER_NORM_NONE),
            Scoring::Softmax { p_norm: Some(p) } => {
                if p.is_nan() || p <= 0.0 {
                    return Err(Error::value("router", "p_norm", p, "above 0"));
                }
                if p < 1.0 / 1024.0 {
                    return Err(Error::unsupported("router", format!("p_norm {p}"), "from 2^-10"));
                }
                let norm = match p {
                    1.0 => ROUTER_NORM_SUM,
                    f32::INFINITY => ROUTER_NORM_LARGEST,
                    _ => ROUTER_NORM_POWER,
                };
                Ok(Score { scoring: ROUTER_SOFTMAX, norm, p_norm: p })
            }
            Scoring::TopKSoftmax => score(ROUTER_SOFTMAX, ROUTER_NORM_SUM),
            Scoring::Sigmoid { normalize: true, .. } => score(ROUTER_SIGMOID, ROUTER_NORM_SUM),
            Scoring::Sigmoid { normalize: false, .. } => score(ROUTER_SIGMOID, ROUTER_NORM_NONE),
        }
    }
}

/// The groups, checked: how many, and how many are admitted.
fn groups(groups: Option<ExpertGroups>, experts: u64, top_k: u64) -> Result<(u32, u32)> {
    let Some(ExpertGroups { count, chosen }) = groups else { return Ok((1, 1)) };
    if count == 0 || !experts.is_multiple_of(count.into()) {
        let expected = format!("a divisor of experts = {experts}");
        return Err(Error::value("router", "groups.count", count, expected));
    }
    if chosen > count || u64::from(chosen) * (experts / u64::from(count)) < top_k {
        let expected = format!("at most {count}, and top_k = {top_k} experts in them");
        return Err(Error::value("router", "groups.chosen", chosen, expected));
    }
    if count > ROUTER_MAX_GROUPS {
        let supported = format!("at most {ROUTER_MAX_GROUPS}");
        return Err(Error::unsupported("router", format!("{count} groups"), supported));
    }
    Ok((count, chosen))
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare(
    arguments: &Router<'_>,
    device: &DeviceInfo,
) -> Result<Option<(RouterParams, Launches)>> {
    let shape_of = |argument: &'static str, layout: &Layout, expected: &'static str| {
        let [rows, columns] = *layout.shape else {
            let found = format!("{:?}", &*layout.shape);
            return Err(Error::value("router", argument, found, expected));
        };
        Ok((rows, columns))
    };
    let ids = &arguments.ids.layout;
    let (tokens, top_k) = shape_of("ids", ids, "of shape [tokens, top_k]")?;
    let (h, weight, given) = match &arguments.input {
        RouterInput::Hidden { h, weight, .. } => (Some(&h.layout), Some(&weight.layout), None),
        RouterInput::Logits(given) => (None, None, Some(&given.layout)),
    };
    let (experts, hidden) = match (h, weight, given) {
        (_, _, Some(given)) => (shape_of("logits", given, "of shape [tokens, experts]")?.1, 0),
        (_, Some(weight), _) => shape_of("weight", weight, "of shape [experts, hidden]")?,
        _ => (0, 0),
    };
    let bias = match &arguments.scoring {
        Scoring::Sigmoid { bias, .. } => bias.as_ref().map(|bias| &bias.layout),
        _ => None,
    };
    let forced = arguments.forced.as_ref().map(|forced| &forced.layout);
    let logits = arguments.logits.as_ref().map(|logits| &logits.layout);
    let counts = arguments.counts.as_ref().map(|counts| &counts.layout);
    let probabilities = arguments.probabilities.as_ref().map(|p| &p.layout);
    let weights = &arguments.weights.layout;

    let identity = (device.platform, device.ordinal);
    // What is read by vectors, then what may have distant rows, then what is dense.
    let input_dtype = h.or(given).map_or(Dtype::F32, |layout| layout.dtype);
    let tensors: [(&'static str, Option<&Layout>, Dtype, &[u64]); 10] = [
        ("h", h, input_dtype, &[tokens, hidden]),
        ("weight", weight, input_dtype, &[experts, hidden]),
        ("logits", given, input_dtype, &[tokens, experts]),
        ("logits", logits, Dtype::F32, &[tokens, experts]),
        ("bias", bias, Dtype::F32, &[experts]),
        ("forced", forced, Dtype::I32, &[tokens, top_k]),
        ("ids", Some(ids), Dtype::I32, &[tokens, top_k]),
        ("weights", Some(weights), Dtype::F32, &[tokens, top_k]),
        ("counts", counts, Dtype::I32, &[experts]),
        ("probabilities", probabilities, Dtype::F32, &[tokens, experts]),
    ];
    for (argument, layout, dtype, shape) in &tensors {
        let Some(layout) = layout else { continue };
        layout.check_device("router", argument, identity)?;
        layout.check_shape("router", argument, shape)?;
        layout.check_dtype("router", argument, *dtype)?;
    }
    entry(&WHOLE, input_dtype)?;
    if given.is_some() && logits.is_some() {
        return Err(Error::value("router", "logits", "given and to be kept", "one of both"));
    }
    if top_k == 0 || top_k > experts {
        let expected = format!("of 1 to experts = {experts} slots");
        return Err(Error::value("router", "ids", format!("of {top_k} slots"), expected));
    }
    let score = Score::new(&arguments.scoring)?;
    let (groups, top_groups) = groups(arguments.groups, experts, top_k)?;

    let limit = |argument, extent: u64, most: u64| {
        u32::try_from(extent).ok().filter(|_| extent <= most).ok_or_else(|| {
            let supported = format!("at most {most}");
            Error::unsupported("router", format!("{argument} {extent}"), supported)
        })
    };
    let experts = limit("experts", experts, ROUTER_MAX_EXPERTS.into())?;
    let top_k = limit("top_k", top_k, ROUTER_MAX_TOP_K.into())?;
    let tokens = limit("tokens", tokens, (1 << 31) - 1)?;
    if h.is_some() && (hidden == 0 || !hidden.is_multiple_of(8)) {
        let supported = "multiples of 8 from 8";
        return Err(Error::unsupported("router", format!("hidden {hidden}"), supported));
    }
    let hidden = limit("hidden", hidden, 1 << 24)?;
    if tokens == 0 {
        return Ok(None);
    }
    for (i, (argument, layout, ..)) in tensors.iter().enumerate() {
        let Some(layout) = layout else { continue };
        match i {
            0 | 1 => layout.check_vectors("router", argument)?,
            2 => layout.check_rows("router", argument)?,
            _ => layout.check_dense("router", argument)?,
        }
    }

    let launches: Launches = match &arguments.input {
        RouterInput::Hidden { .. } => {
            let store = logits.is_some();
            match plan(tokens, experts, store, device.multiprocessors) {
                (whole, None) => [Some((entry(&WHOLE, input_dtype)?, whole)), None],
                (products, Some(select)) => {
                    let products = (entry(&LOGITS, input_dtype)?, products);
                    [Some(products), Some((SELECT_ENTRIES[2], select))]
                }
            }
        }
        RouterInput::Logits(_) => {
            let geometry = plan_select(tokens, device.multiprocessors);
            [Some((entry(&SELECT_ENTRIES, input_dtype)?, geometry)), None]
        }
    };
    let address = |layout: Option<&Layout>| layout.map_or(0, |layout| layout.address as usize);
    let stride = |layout: Option<&Layout>| layout.map_or(0, |layout| layout.strides[0]);
    // In two launches the second one's input lies where the first one's output does.
    let given = if launches[1].is_some() { logits } else { given };
    let inverse_p = 1.0 / f64::from(score.p_norm);
    let inverse_p_high = inverse_p as f32;
    let round = matches!(arguments.input, RouterInput::Hidden { round_logits: true, .. });
    let params = RouterParams {
        h: address(h) as *const _,
        weight: address(weight) as *const _,
        given: address(given) as *const _,
        bias: address(bias) as *const _,
        forced: address(forced) as *const _,
        logits: address(logits) as *mut _,
        ids: ids.address as usize as *mut _,
        weights: weights.address as usize as *mut _,
        probabilities: address(probabilities) as *mut _,
        counts: address(counts) as *mut _,
        h_stride: stride(h),
        weight_stride: stride(weight),
        given_stride: stride(given),
        tokens,
        hidden,
        experts,
        top_k,
        groups,
        top_groups,
        tokens_per_block: tokens_per_block(tokens, device.multiprocessors),
        scoring: score.scoring,
        norm: score.norm,
        round_logits: round.into(),
        p_norm: score.p_norm,
        inverse_p_high,
        inverse_p_low: (inverse_p - f64::from(inverse_p_high)) as f32,
        scale: arguments.scale,
    };
    Ok(Some((params, launches)))
}

/// What a call checks, without the call.
pub(crate) fn check(arguments: &Router<'_>, device: &DeviceInfo) -> Result<()> {
    prepare(arguments, device).map(drop)
}

/// Turns each token's hidden state or logits into experts and their weights.
///
/// ```text
/// logits[t, e] = sum over i of h[t, i] * weight[e, i]
/// score[t, e]  = exp(logits[t, e]) / sum over e' of exp(logits[t, e'])     or 1 / (1 + exp(-logits[t, e]))
/// choice[t, e] = logits[t, e]                                             or score[t, e] + bias[e]
/// ids[t, :]    = the top_k experts of largest choice[t, :], ties to the lower id
/// w[t, j]      = score[t, ids[t, j]]
/// weights      = scale * w / (sum over j of w[t, j]^p)^(1 / p)             or scale * w without a norm
/// ```
///
/// | argument        | dtype          | shape               | note                                        |
/// |-----------------|----------------|---------------------|---------------------------------------------|
/// | `h`             | bf16, f16, f32 | `[tokens, hidden]`  | `hidden` a multiple of 8                    |
/// | `weight`        | as `h`         | `[experts, hidden]` | 1 to 256 experts                            |
/// | `logits`        | f32            | `[tokens, experts]` | kept if given; as an input bf16, f16 or f32 |
/// | `bias`          | f32            | `[experts]`         |                                             |
/// | `forced`        | i32            | `[tokens, top_k]`   | returned as they are; one that is no expert has weight 0 |
/// | `ids`           | i32            | `[tokens, top_k]`   | `top_k` 1 to 16, at most `experts`          |
/// | `weights`       | f32            | `[tokens, top_k]`   |                                             |
/// | `counts`        | i32            | `[experts]`         | added to: fill it with 0 first              |
/// | `probabilities` | f32            | `[tokens, experts]` | the scores                                  |
///
/// Rows of `h` and `weight` may have strides, multiples of 8 elements, at addresses that are multiples
/// of 16 bytes; rows of given logits any; all else is dense. Products and sums are f32, in an order that
/// depends on `hidden` alone. Softmax, norm and weights are f32, right to 8 ulp of what the logits give
/// (8 / p for a norm of p below 1), and have the bits of `expertile_reference::router_f32`, whatever the
/// device.
///
/// The choice is a total order over any input: a NaN logit counts as -inf; where some logits are +inf,
/// they share a softmax and every other counts as -inf; a row with nothing else counts as equal logits.
/// There are always `top_k` distinct valid ids.
///
/// One launch; two where there are more than 64 experts and a place for logits, which spread over more
/// of the device then. The results are the same. Zero tokens launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if a
/// launch fails. The outputs are unchanged in each case, but for `logits` if the second launch fails.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxRouter`; openai/gpt-oss `model.py` (top-k, then
/// softmax); deepseek-ai/DeepSeek-V3 `inference/model.py`, `Gate` (sigmoid, bias, groups, scale).
pub fn router(stream: &Stream, arguments: &Router<'_>) -> Result<()> {
    launch(stream, arguments, stream.device().info())
}

/// The call, planned as for a device.
pub(crate) fn launch(stream: &Stream, arguments: &Router<'_>, device: &DeviceInfo) -> Result<()> {
    let Some((params, launches)) = prepare(arguments, device)? else { return Ok(()) };
    let [first, second] = &launches;
    let Some((entry, geometry)) = first else { return Ok(()) };
    // SAFETY: `prepare` checked every extent against its tensor; a kernel ignores forced ids outside of
    // the experts. What is written is borrowed mutably, so nothing else is given it unless ordered by
    // the stream; all stay allocated until the launches are done: a buffer's free waits for the device,
    // and owners of raw tensors vouch for theirs.
    unsafe { stream.launch(entry, geometry, &params)? };
    let Some((entry, geometry)) = second else { return Ok(()) };
    let params = RouterParams { logits: std::ptr::null_mut(), ..params };
    // SAFETY: as above; what it reads, the launch before it has written in this stream.
    unsafe { stream.launch(entry, geometry, &params) }
}
