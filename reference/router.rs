//! The top-k router: which experts a token visits, and with which weights.

use crate::error::{Error, Result, check_rows};
use crate::rounding::{Real, Rounding};

/// What [`router`] returns. Rows are in the order of the choice, the best expert first.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// The chosen experts, `[tokens, top_k]`: distinct, each less than `experts`.
    pub ids: Vec<i32>,
    /// Their weights, `[tokens, top_k]`.
    pub weights: Vec<f64>,
    /// The softmax over all experts, `[tokens, experts]`, before any renormalisation.
    pub probabilities: Vec<f64>,
    /// How many tokens chose each expert, `[experts]`.
    pub counts: Vec<u32>,
}

/// Turns each token's logits into `top_k` experts and their weights.
///
/// ```text
/// P[t, e]    = exp(logits[t, e]) / sum over e' of exp(logits[t, e'])
/// ids[t, :]  = the top_k experts of largest P[t, :], ties to the lower id
/// w[t, j]    = P[t, ids[t, j]]
/// weights    = w / (sum over j of w[t, j]^p)^(1 / p)       or w itself without a p-norm
/// ```
///
/// | argument   | dtype    | shape               | note                                          |
/// |------------|----------|---------------------|-----------------------------------------------|
/// | `logits`   | f32, f64 | `[tokens, experts]` | of [`linear`](crate::linear::linear)          |
/// | `experts`  |          |                     |                                               |
/// | `top_k`    |          |                     | at most `experts`                             |
/// | `p_norm`   | f64      |                     | above 0, may be infinite; `None`: no division |
/// | `rounding` |          |                     | of `weights`                                  |
///
/// The choice is a total order over any input. The order of P is the order of the logits, so those
/// are compared: rounded probabilities can tie where logits do not. A NaN logit counts as -inf.
/// Where some logits are +inf, they share the probability equally and every other logit counts as
/// -inf. A row of nothing but NaN and -inf counts as a row of equal logits. Experts of probability 0
/// fill up the choice, with weight 0, by their order and then by id.
///
/// Softmax and norm are f64; the weights are rounded once. Zero tokens give empty results.
///
/// # Errors
///
/// `Value` if `logits` is no whole number of rows, `top_k` is 0 or above `experts`, `experts`
/// passes `i32`, or `p_norm` is not above 0.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxRouter.forward`: softmax, top-k, then the norm.
pub fn router(
    logits: &[impl Real],
    experts: usize,
    top_k: usize,
    p_norm: Option<f64>,
    rounding: Rounding,
) -> Result<Routing> {
    let tokens = check_rows("router", "logits", logits.len(), experts)?;
    if top_k == 0 || top_k > experts {
        let expected = format!("at least 1 and at most experts = {experts}");
        return Err(Error::value("router", "top_k", top_k, expected));
    }
    if i32::try_from(experts).is_err() {
        return Err(Error::value("router", "experts", experts, "at most 2147483647"));
    }
    if let Some(p) = p_norm.filter(|p| p.is_nan() || *p <= 0.0) {
        return Err(Error::value("router", "p_norm", p, "above 0"));
    }

    let mut ids = Vec::with_capacity(tokens * top_k);
    let mut weights = Vec::with_capacity(tokens * top_k);
    let mut probabilities = Vec::with_capacity(tokens * experts);
    let mut counts = vec![0; experts];
    for token in 0..tokens {
        let row = ordered(&logits[token * experts..][..experts]);
        let p = softmax(&row);

        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let chosen = &order[..top_k];

        let norm = match p_norm {
            None => 1.0,
            Some(f64::INFINITY) => p[chosen[0]],
            Some(norm) => {
                // The largest is taken out: its own power may be below the smallest number.
                let powers = chosen.iter().map(|&expert| (p[expert] / p[chosen[0]]).powf(norm));
                p[chosen[0]] * powers.sum::<f64>().powf(1.0 / norm)
            }
        };
        for &expert in chosen {
            ids.push(expert as i32);
            weights.push(rounding.round(p[expert] / norm));
            counts[expert] += 1;
        }
        probabilities.extend(p);
    }
    Ok(Routing { ids, weights, probabilities, counts })
}

/// Replaces what has no place in an order: the result has no NaN, no +inf, and not only -inf. Both
/// zeros become +0, which `total_cmp` tells apart.
fn ordered(logits: &[impl Real]) -> Vec<f64> {
    let row: Vec<f64> = logits
        .iter()
        .map(|&logit| logit.into())
        .map(|logit| if logit.is_nan() { f64::NEG_INFINITY } else { logit + 0.0 })
        .collect();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_finite() {
        return row;
    }
    row.iter().map(|&logit| if logit == largest { 0.0 } else { f64::NEG_INFINITY }).collect()
}

/// The softmax of a row that [`ordered`] made.
fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| exponential / sum).collect()
}
