//! The load of the experts, and the router's auxiliary losses.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::rounding::Real;
use crate::router::scores_of_row;

/// What [`router_loss`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterLoss {
    /// MegaBlocks' load-balancing loss with weight 1: 1 where the load is even.
    pub load_balancing_megablocks: f64,
    /// The published DBRX's: `top_k` where the load is even.
    pub load_balancing_transformers: f64,
    /// The z-loss with weight 1.
    pub z: f64,
    /// The load histogram: how many tokens chose each expert, `[experts]`.
    pub counts: Vec<u32>,
    /// The mean of the softmax over the tokens, `[experts]`.
    pub mean_probabilities: Vec<f64>,
}

/// The load histogram of a routing, two load-balancing losses and the z-loss.
///
/// ```text
/// P[t, :]     = softmax(logits[t, :])
/// Q[t, :]     = softmax(P[t, :])
/// counts[e]   = how many of ids are e
/// megablocks   = experts / (tokens * top_k) * sum over e of counts[e] * mean over t of P[t, e]
/// transformers = experts / tokens * sum over e of counts[e] * mean over t of Q[t, e]
/// z            = mean over t of log(sum over e of exp(logits[t, e]))^2
/// ```
///
/// | argument  | dtype    | shape               | note                                    |
/// |-----------|----------|---------------------|-----------------------------------------|
/// | `logits`  | f32, f64 | `[tokens, experts]` | before the softmax                      |
/// | `experts` |          |                     |                                         |
/// | `ids`     | i32      | `[tokens, top_k]`   | of [`router`](crate::router::router)    |
/// | `top_k`   |          |                     |                                         |
///
/// A token none of whose ids is an expert is padding: it counts as no token. Without tokens all
/// losses and means are 0. P follows the router's order: NaN counts as -inf, +inf shares.
///
/// The two losses differ by the factor `top_k`, and by a second softmax: the published DBRX hands its
/// loss the router's probabilities where it expects logits. For several layers, MegaBlocks takes the
/// mean of the layers' losses; the published DBRX takes the rows of all layers as one call's.
///
/// # Errors
///
/// `Value` or `Shape` if `logits` or `ids` are no whole rows of one number of tokens.
///
/// Source: databricks/megablocks `layers/moe.py`, `batched_load_balancing_loss`, and
/// `layers/router.py` (z-loss; ST-MoE, arXiv:2202.08906, equation 5); databricks/dbrx
/// `modeling_dbrx.py`, `load_balancing_loss_func`.
pub fn router_loss(
    logits: &[impl Real],
    experts: usize,
    ids: &[i32],
    top_k: usize,
) -> Result<RouterLoss> {
    let rows = check_rows("router_loss", "logits", logits.len(), experts)?;
    if top_k == 0 {
        return Err(Error::value("router_loss", "top_k", top_k, "at least 1"));
    }
    check_shape("router_loss", "ids", ids.len(), &[rows, top_k])?;
    let mut counts = vec![0u32; experts];
    let (mut p_sum, mut q_sum) = (vec![0.0; experts], vec![0.0; experts]);
    let (mut z_sum, mut tokens) = (0.0, 0u32);
    for (row, ids) in logits.chunks(experts).zip(ids.chunks(top_k)) {
        let mut padding = true;
        for expert in ids.iter().filter_map(|&id| usize::try_from(id).ok()) {
            if expert < experts {
                counts[expert] += 1;
                padding = false;
            }
        }
        if padding {
            continue;
        }
        tokens += 1;
        let p = scores_of_row(row);
        let q = scores_of_row(&p);
        p_sum.iter_mut().zip(&p).for_each(|(sum, p)| *sum += p);
        q_sum.iter_mut().zip(&q).for_each(|(sum, q)| *sum += q);
        z_sum += log_sum_exp(row).powi(2);
    }
    if tokens == 0 {
        let mean_probabilities = p_sum;
        return Ok(RouterLoss {
            load_balancing_megablocks: 0.0,
            load_balancing_transformers: 0.0,
            z: 0.0,
            counts,
            mean_probabilities,
        });
    }
    let tokens = f64::from(tokens);
    let loss = |sums: &[f64]| -> f64 {
        let terms = counts.iter().zip(sums).map(|(&count, sum)| f64::from(count) * (sum / tokens));
        experts as f64 / tokens * terms.sum::<f64>()
    };
    Ok(RouterLoss {
        load_balancing_megablocks: loss(&p_sum) / top_k as f64,
        load_balancing_transformers: loss(&q_sum),
        z: z_sum / tokens,
        mean_probabilities: p_sum.iter().map(|sum| sum / tokens).collect(),
        counts,
    })
}

/// `log(sum of exp(row))`; NaN counts as -inf.
fn log_sum_exp(row: &[impl Real]) -> f64 {
    let row: Vec<f64> = row
        .iter()
        .map(|&x| x.into())
        .map(|x: f64| if x.is_nan() { f64::NEG_INFINITY } else { x })
        .collect();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}
