//! The top-k router: which experts a token visits, and with which weights.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::rounding::{Real, Rounding};

/// What [`router`] returns. Rows are in the order of the choice, the best expert first.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// The chosen experts, `[tokens, top_k]`: distinct, each less than `experts`.
    pub ids: Vec<i32>,
    /// Their weights, `[tokens, top_k]`.
    pub weights: Vec<f64>,
    /// The scores of all experts, `[tokens, experts]`: the softmax, before any renormalisation, or
    /// the sigmoids.
    pub probabilities: Vec<f64>,
    /// How many tokens chose each expert, `[experts]`.
    pub counts: Vec<u32>,
}

/// How logits become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scoring<'a> {
    /// Softmax over all experts, then the choice, then the division by the p-norm of the chosen; no
    /// division without one. DBRX, Mixtral and DeepSeek-V2.
    Softmax {
        /// Above 0, may be infinite.
        p_norm: Option<f64>,
    },
    /// The choice, then the softmax over the chosen. GPT-OSS; it equals a p-norm of 1.
    TopKSoftmax,
    /// Sigmoids; the choice is by sigmoid plus `bias` of shape `[experts]`, the weights are the
    /// sigmoids alone, divided by their sum if `normalize`. DeepSeek-V3.
    Sigmoid {
        /// Added to the sigmoids for the choice.
        bias: Option<&'a [f32]>,
        /// Whether the weights are divided by their sum.
        normalize: bool,
    },
}

/// A choice among some groups of experts only. Each has `experts / count` consecutive experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How many groups there are.
    pub count: usize,
    /// How many of them are admitted: those with the best expert under a softmax, those with the
    /// greatest sum of their two best choices under sigmoids; ties to the lower group.
    pub chosen: usize,
}

/// What a router does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule<'a> {
    /// Experts of each token.
    pub top_k: usize,
    /// How logits become weights.
    pub scoring: Scoring<'a>,
    /// Restricts the choice.
    pub groups: Option<Groups>,
    /// The weights are multiplied by it.
    pub scale: f64,
    /// Ids to take instead of a choice, `[tokens, top_k]`, for benchmarks.
    pub forced: Option<&'a [i32]>,
}

impl Rule<'_> {
    /// Softmax, top-k, p-norm.
    pub fn softmax(top_k: usize, p_norm: Option<f64>) -> Self {
        let scoring = Scoring::Softmax { p_norm };
        Self { top_k, scoring, groups: None, scale: 1.0, forced: None }
    }

    /// Checks the rule against a number of experts and tokens.
    pub(crate) fn check(&self, tokens: usize, experts: usize) -> Result<()> {
        if self.top_k == 0 || self.top_k > experts {
            let expected = format!("at least 1 and at most experts = {experts}");
            return Err(Error::value("router", "top_k", self.top_k, expected));
        }
        if i32::try_from(experts).is_err() {
            return Err(Error::value("router", "experts", experts, "at most 2147483647"));
        }
        if let Scoring::Softmax { p_norm: Some(p) } = self.scoring
            && (p.is_nan() || p <= 0.0)
        {
            return Err(Error::value("router", "p_norm", p, "above 0"));
        }
        if let Scoring::Sigmoid { bias: Some(bias), .. } = self.scoring {
            check_shape("router", "bias", bias.len(), &[experts])?;
        }
        if let Some(forced) = self.forced {
            check_shape("router", "forced", forced.len(), &[tokens, self.top_k])?;
        }
        let Some(Groups { count, chosen }) = self.groups else { return Ok(()) };
        if count == 0 || !experts.is_multiple_of(count) {
            let expected = format!("a divisor of experts = {experts}");
            return Err(Error::value("router", "groups.count", count, expected));
        }
        if chosen > count || chosen * (experts / count) < self.top_k {
            let expected = format!("at most {count}, and {} experts in them", self.top_k);
            return Err(Error::value("router", "groups.chosen", chosen, expected));
        }
        Ok(())
    }
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
/// [`route`] takes other rules.
pub fn router(
    logits: &[impl Real],
    experts: usize,
    top_k: usize,
    p_norm: Option<f64>,
    rounding: Rounding,
) -> Result<Routing> {
    route(logits, experts, &Rule::softmax(top_k, p_norm), rounding)
}

/// Turns each token's logits into experts and weights by any [`Rule`].
///
/// ```text
/// score[t, e]  = softmax or sigmoid of logits[t, :]
/// choice[t, e] = logits[t, e]                    or score[t, e] + bias[e] with a bias
/// ids[t, :]    = the top_k experts of largest choice[t, :] in the chosen groups, ties to the lower id
/// w[t, j]      = score[t, ids[t, j]], divided as the rule says
/// weights      = scale * w
/// ```
///
/// The order is total as that of [`router`]: a NaN choice counts as -inf, +inf among the logits of a
/// softmax shares. A sigmoid of NaN is 0; where all the chosen are of -inf, those count as equal.
///
/// Forced ids are returned as given. One outside `0..experts` gets weight 0, is in no norm and is
/// not counted; one that is named twice counts twice.
///
/// # Errors
///
/// `Value` or `Shape` if the rule does not fit `experts` or `logits`.
///
/// Source: databricks/dbrx `modeling_dbrx.py`; openai/gpt-oss `model.py` (top-k, then softmax);
/// deepseek-ai/DeepSeek-V3 `inference/model.py`, `Gate.forward` (sigmoid, bias, groups, scale).
pub fn route(
    logits: &[impl Real],
    experts: usize,
    rule: &Rule<'_>,
    rounding: Rounding,
) -> Result<Routing> {
    let tokens = check_rows("router", "logits", logits.len(), experts)?;
    rule.check(tokens, experts)?;
    let top_k = rule.top_k;
    let mut ids = Vec::with_capacity(tokens * top_k);
    let mut weights = Vec::with_capacity(tokens * top_k);
    let mut probabilities = Vec::with_capacity(tokens * experts);
    let mut counts = vec![0; experts];
    for token in 0..tokens {
        let given = &logits[token * experts..][..experts];
        let (row, scores, choice) = match rule.scoring {
            Scoring::Softmax { .. } | Scoring::TopKSoftmax => {
                let row = ordered(given);
                (row.clone(), softmax(&row), row)
            }
            Scoring::Sigmoid { bias, .. } => {
                let row: Vec<f64> = given.iter().map(|&logit| no_nan(logit.into())).collect();
                let scores: Vec<f64> = row.iter().map(|logit| sigmoid(*logit)).collect();
                let choice = match bias {
                    None => row.clone(),
                    Some(bias) => {
                        let biased = scores.iter().zip(bias);
                        biased.map(|(score, &bias)| no_nan(score + f64::from(bias))).collect()
                    }
                };
                (row, scores, choice)
            }
        };

        let chosen: Vec<i32> = match rule.forced {
            Some(forced) => forced[token * top_k..][..top_k].to_vec(),
            None => choose(&choice, &scores, rule),
        };
        let valid: Vec<Option<usize>> =
            chosen.iter().map(|&id| usize::try_from(id).ok().filter(|&id| id < experts)).collect();
        for &expert in valid.iter().flatten() {
            counts[expert] += 1;
        }
        let of_chosen: Vec<Option<(f64, f64)>> =
            valid.iter().map(|id| id.map(|id| (row[id], scores[id]))).collect();
        for weight in divided(&of_chosen, rule.scoring) {
            weights.push(rounding.round(weight * rule.scale));
        }
        ids.extend(chosen);
        probabilities.extend(scores);
    }
    Ok(Routing { ids, weights, probabilities, counts })
}

/// The best `top_k` experts in the chosen groups.
fn choose(choice: &[f64], scores: &[f64], rule: &Rule<'_>) -> Vec<i32> {
    let best = |values: &[f64], among: Vec<usize>, count: usize| -> Vec<usize> {
        let mut order = among;
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
        order.truncate(count);
        order
    };
    let mut among: Vec<usize> = (0..choice.len()).collect();
    if let Some(Groups { count, chosen }) = rule.groups {
        let size = choice.len() / count;
        let of_group = |group: usize| {
            let members: Vec<usize> = (group * size..(group + 1) * size).collect();
            match rule.scoring {
                Scoring::Sigmoid { bias, .. } => {
                    // Without a bias the choice is by logits, which have no meaning as a sum.
                    let values = if bias.is_some() { choice } else { scores };
                    best(values, members, 2).iter().map(|&expert| values[expert]).sum()
                }
                _ => choice[best(choice, members, 1)[0]],
            }
        };
        let groups: Vec<f64> = (0..count).map(of_group).collect();
        let admitted = best(&groups, (0..count).collect(), chosen);
        among.retain(|expert| admitted.contains(&(expert / size)));
    }
    best(choice, among, rule.top_k).into_iter().map(|expert| expert as i32).collect()
}

/// The weights of the chosen, from their logits and scores; 0 for an id that is none.
fn divided(chosen: &[Option<(f64, f64)>], scoring: Scoring<'_>) -> Vec<f64> {
    let largest =
        chosen.iter().flatten().map(|(logit, _)| *logit).fold(f64::NEG_INFINITY, f64::max);
    // Relative to the largest, whose own power may be below the smallest number.
    let relative = |logit: f64| if logit == largest { 1.0 } else { (logit - largest).exp() };
    let norm = |p: f64| match p {
        f64::INFINITY => 1.0,
        p => {
            let power =
                |logit: f64| if logit == largest { 1.0 } else { (p * (logit - largest)).exp() };
            chosen.iter().flatten().map(|(logit, _)| power(*logit)).sum::<f64>().powf(1.0 / p)
        }
    };
    let weights = |weight: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        chosen.iter().map(|of| of.map_or(0.0, |(logit, score)| weight(logit, score))).collect()
    };
    match scoring {
        Scoring::Softmax { p_norm: None } | Scoring::Sigmoid { normalize: false, .. } => {
            weights(&|_, score| score)
        }
        Scoring::Softmax { p_norm: Some(p) } => {
            let norm = norm(p);
            weights(&|logit, _| relative(logit) / norm)
        }
        Scoring::Sigmoid { normalize: true, .. } => {
            // Relative to the largest, as above.
            let of = |logit: f64| match largest > 0.0 {
                true => sigmoid(logit),
                false => relative(logit) / (1.0 + logit.exp()),
            };
            let sum: f64 = chosen.iter().flatten().map(|(logit, _)| of(*logit)).sum();
            weights(&|logit, _| of(logit) / sum)
        }
        Scoring::TopKSoftmax => {
            let norm = norm(1.0);
            weights(&|logit, _| relative(logit) / norm)
        }
    }
}

/// NaN as -inf, and both zeros as +0, which `total_cmp` tells apart.
fn no_nan(x: f64) -> f64 {
    if x.is_nan() { f64::NEG_INFINITY } else { x + 0.0 }
}

/// Replaces what has no place in an order: the result has no NaN, no +inf, and not only -inf.
fn ordered(logits: &[impl Real]) -> Vec<f64> {
    let row: Vec<f64> = logits.iter().map(|&logit| no_nan(logit.into())).collect();
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest.is_finite() {
        return row;
    }
    row.iter().map(|&logit| if logit == largest { 0.0 } else { f64::NEG_INFINITY }).collect()
}

/// The softmax of any row.
pub(crate) fn scores_of_row(logits: &[impl Real]) -> Vec<f64> {
    softmax(&ordered(logits))
}

/// The softmax of a row that [`ordered`] made.
fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| exponential / sum).collect()
}

/// `1 / (1 + exp(-x))`.
fn sigmoid(x: f64) -> f64 {
    let power = (-x.abs()).exp();
    if x > 0.0 { 1.0 / (1.0 + power) } else { power / (1.0 + power) }
}
