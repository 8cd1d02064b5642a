//! The router in the f32 arithmetic of the device kernels, step by step: the bits that they give.
//!
//! [`router`](crate::router) is what the kernels approximate; this is what they compute. It follows
//! the same formulas as `src/router.h`, which it shares no code with. Every operation is an f32 one
//! that rounds to nearest even, so any machine gives the same bits.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::router::{Groups, Rule, Scoring};

/// What [`router_f32`] returns, as [`Routing`](crate::router::Routing).
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingF32 {
    /// `[tokens, top_k]`.
    pub ids: Vec<i32>,
    /// `[tokens, top_k]`.
    pub weights: Vec<f32>,
    /// `[tokens, experts]`.
    pub probabilities: Vec<f32>,
    /// `[experts]`.
    pub counts: Vec<u32>,
}

/// Threads that share a dot product.
const THREADS: usize = 256;

/// The logits as the kernels add them up, `[tokens, experts]`.
///
/// Thread `i` of 256 takes the vectors `i`, `i + 256`, ... of `16 bytes / size of an element`
/// elements, each product by an fma; then neighbours are added pairwise, eight times.
///
/// # Errors
///
/// `Value` or `Shape` if `h` and `weight` are no whole rows.
pub fn logits_f32(
    h: &[f32],
    weight: &[f32],
    hidden: usize,
    element_bytes: usize,
) -> Result<Vec<f32>> {
    let tokens = check_rows("router", "h", h.len(), hidden)?;
    let experts = check_rows("router", "weight", weight.len(), hidden)?;
    if !matches!(element_bytes, 2 | 4) {
        return Err(Error::value("router", "element_bytes", element_bytes, "2 or 4"));
    }
    let width = 16 / element_bytes;
    let mut logits = Vec::with_capacity(tokens * experts);
    for token in 0..tokens {
        for expert in 0..experts {
            let (h, w) = (&h[token * hidden..][..hidden], &weight[expert * hidden..][..hidden]);
            let mut sums = vec![0f32; THREADS];
            for (vector, (h, w)) in h.chunks(width).zip(w.chunks(width)).enumerate() {
                let sum = &mut sums[vector % THREADS];
                for (h, w) in h.iter().zip(w) {
                    *sum = h.mul_add(*w, *sum);
                }
            }
            while sums.len() > 1 {
                sums = sums.chunks(2).map(|pair| pair[0] + pair[1]).collect();
            }
            logits.push(sums[0]);
        }
    }
    Ok(logits)
}

/// [`route`](crate::router::route) in f32. `p_norm` and `scale` are rounded to f32.
///
/// # Errors
///
/// As `route`.
pub fn router_f32(logits: &[f32], experts: usize, rule: &Rule<'_>) -> Result<RoutingF32> {
    let tokens = check_rows("router", "logits", logits.len(), experts)?;
    rule.check(tokens, experts)?;
    let top_k = rule.top_k;
    let mut result = RoutingF32 {
        ids: Vec::new(),
        weights: Vec::new(),
        probabilities: Vec::new(),
        counts: vec![0; experts],
    };
    for token in 0..tokens {
        let (row, scores) = scored(&logits[token * experts..][..experts], rule.scoring);
        let choice = match rule.scoring {
            Scoring::Sigmoid { bias: Some(bias), .. } => {
                check_shape("router", "bias", bias.len(), &[experts])?;
                scores.iter().zip(bias).map(|(score, bias)| plain(score + bias)).collect()
            }
            _ => row.clone(),
        };
        let ids = match rule.forced {
            Some(forced) => forced[token * top_k..][..top_k].to_vec(),
            None => choose(&choice, &scores, rule),
        };
        let valid: Vec<Option<usize>> =
            ids.iter().map(|&id| usize::try_from(id).ok().filter(|&id| id < experts)).collect();
        for &expert in valid.iter().flatten() {
            result.counts[expert] += 1;
        }
        let of_chosen: Vec<Option<(f32, f32)>> =
            valid.iter().map(|id| id.map(|id| (row[id], scores[id]))).collect();
        let scale = rule.scale as f32;
        result.weights.extend(divided(&of_chosen, rule.scoring).iter().map(|w| w * scale));
        result.ids.extend(ids);
        result.probabilities.extend(scores);
    }
    Ok(result)
}

/// The logits as they count, and the score of each.
fn scored(logits: &[f32], scoring: Scoring<'_>) -> (Vec<f32>, Vec<f32>) {
    let mut row: Vec<f32> = logits.iter().map(|&logit| plain(logit)).collect();
    if let Scoring::Sigmoid { .. } = scoring {
        let scores = row.iter().map(|&logit| sigmoid(logit)).collect();
        return (row, scores);
    }
    let mut largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if largest.is_infinite() {
        let share = |&x: &f32| if x == largest { 0.0 } else { f32::NEG_INFINITY };
        row = row.iter().map(share).collect();
        largest = 0.0;
    }
    let powers: Vec<f32> = row.iter().map(|&logit| exp(difference(logit, largest))).collect();
    let sum = total(powers.iter().copied());
    let scores = powers.iter().map(|power| power / sum).collect();
    (row, scores)
}

/// The best `top_k` experts in the chosen groups.
fn choose(choice: &[f32], scores: &[f32], rule: &Rule<'_>) -> Vec<i32> {
    let mut admitted = vec![true; choice.len()];
    if let Some(Groups { count, chosen }) = rule.groups {
        let size = choice.len() / count;
        let groups: Vec<f32> = (0..count)
            .map(|group| {
                let members = group * size..(group + 1) * size;
                let biased = matches!(rule.scoring, Scoring::Sigmoid { bias: Some(_), .. });
                let sigmoids = matches!(rule.scoring, Scoring::Sigmoid { .. });
                let values = if sigmoids && !biased { scores } else { choice };
                let mut best: Vec<f32> = values[members].to_vec();
                best.sort_by(|a, b| b.total_cmp(a));
                if sigmoids && size > 1 { best[0] + best[1] } else { best[0] }
            })
            .collect();
        let taken = first(&groups, &vec![true; count], chosen);
        (0..choice.len()).for_each(|expert| admitted[expert] = taken.contains(&(expert / size)));
    }
    first(choice, &admitted, rule.top_k).into_iter().map(|expert| expert as i32).collect()
}

/// The places of the `count` largest values among those admitted, ties to the lower place.
fn first(values: &[f32], admitted: &[bool], count: usize) -> Vec<usize> {
    let mut left = admitted.to_vec();
    let mut places = Vec::new();
    for _ in 0..count {
        let mut best: Option<usize> = None;
        for place in (0..values.len()).filter(|&place| left[place]) {
            if best.is_none_or(|best| values[place] > values[best]) {
                best = Some(place);
            }
        }
        let Some(best) = best else { break };
        left[best] = false;
        places.push(best);
    }
    places
}

/// The weights of the chosen, from their logits and scores; 0 for an id that is none.
fn divided(chosen: &[Option<(f32, f32)>], scoring: Scoring<'_>) -> Vec<f32> {
    let valid: Vec<(f32, f32)> = chosen.iter().copied().flatten().collect();
    let mut weights = divided_valid(&valid, scoring).into_iter();
    chosen.iter().map(|of| of.and_then(|_| weights.next()).unwrap_or(0.0)).collect()
}

fn divided_valid(chosen: &[(f32, f32)], scoring: Scoring<'_>) -> Vec<f32> {
    let largest = chosen.iter().map(|of| of.0).fold(f32::NEG_INFINITY, f32::max);
    // Two of -inf are equal.
    let relative = |x: f32| if x == largest { (0.0, 0.0) } else { difference(x, largest) };
    let over_sum = |powers: Vec<f32>| -> Vec<f32> {
        let sum = total(powers.iter().copied());
        powers.iter().map(|power| power / sum).collect()
    };
    let p_norm = match scoring {
        Scoring::Softmax { p_norm: None } | Scoring::Sigmoid { normalize: false, .. } => {
            return chosen.iter().map(|of| of.1).collect();
        }
        Scoring::Sigmoid { normalize: true, .. } if largest > 0.0 => {
            return over_sum(chosen.iter().map(|of| of.1).collect());
        }
        Scoring::Sigmoid { normalize: true, .. } => {
            let in_row = |x: f32| exp(relative(x)) / divisor(1.0 + exp((x, 0.0)));
            return over_sum(chosen.iter().map(|of| in_row(of.0)).collect());
        }
        Scoring::Softmax { p_norm: Some(p) } => p as f32,
        Scoring::TopKSoftmax => 1.0,
    };
    let relative: Vec<Sum> = chosen.iter().map(|of| relative(of.0)).collect();
    let powers: Vec<f32> = relative.iter().map(|&x| exp(x)).collect();
    if p_norm.is_infinite() {
        return powers;
    }
    if p_norm == 1.0 {
        return over_sum(powers);
    }
    // w = exp(x - ln(sum of exp(p x)) / p).
    let norm = log(total(relative.iter().map(|&x| exp(times(x, (p_norm, 0.0))))));
    let inverse = 1.0 / f64::from(p_norm);
    let inverse = (inverse as f32, (inverse - f64::from(inverse as f32)) as f32);
    let norm = times(norm, inverse);
    let divided = |x: &Sum| {
        let (high, error) = difference(x.0, norm.0);
        exp((high, (x.1 + error) - norm.1))
    };
    relative.iter().map(divided).collect()
}

/// NaN as -inf, and both zeros as +0.
fn plain(x: f32) -> f32 {
    if x.is_nan() { f32::NEG_INFINITY } else { x + 0.0 }
}

/// An unrounded sum of two floats.
type Sum = (f32, f32);

/// `a - b`, exactly if both are finite.
fn difference(a: f32, b: f32) -> Sum {
    let high = a - b;
    let other = high - a;
    (high, (a - (high - other)) - (b + other))
}

/// `x * factor`.
fn times(x: Sum, factor: Sum) -> Sum {
    let high = x.0 * factor.0;
    let error = x.0.mul_add(factor.0, -high);
    (high, error + x.0.mul_add(factor.1, x.1 * factor.0))
}

/// `ln 2` in two parts, the first of 16 bits.
const LN_2: Sum = (45_426.0 / 65_536.0, 1.428_606_8e-6);

/// `exp(x)` for `x <= 0`.
pub(crate) fn exp(x: Sum) -> f32 {
    if x.0.is_nan() || x.0 < -104.0 {
        return 0.0;
    }
    let to_integer = 12_582_912.0;
    let n = x.0.mul_add(std::f32::consts::LOG2_E, to_integer) - to_integer;
    let rest = (-n).mul_add(LN_2.0, x.0);
    let low = (-n).mul_add(LN_2.1, x.1);
    let r = rest + low;
    let r_error = (rest - r) + low;
    let mut tail = 1.0 / 40_320.0;
    for factorial in [5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0] {
        tail = r.mul_add(tail, 1.0 / factorial);
    }
    let power = 1.0 + (r + (r * r).mul_add(tail, r_error));
    let (whole, half) = (n as i32, n as i32 / 2);
    let two_to = |n: i32| f32::from_bits(((127 + n) as u32) << 23);
    power * two_to(half) * two_to(whole - half)
}

/// `ln(x)` for `x >= 1`.
fn log(x: f32) -> Sum {
    let mut n = (x.to_bits() >> 23) as i32 - 127;
    let mut mantissa = f32::from_bits(x.to_bits() & 0x7f_ffff | 127 << 23);
    if mantissa > std::f32::consts::SQRT_2 {
        mantissa *= 0.5;
        n += 1;
    }
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let square = s * s;
    let mut tail = 2.0 / 9.0f32;
    for odd in [7.0, 5.0, 3.0] {
        tail = tail.mul_add(square, 2.0 / odd);
    }
    let half_square = 0.5 * f * f;
    let small = s.mul_add(square.mul_add(tail, half_square), -half_square);
    let (high, error) = difference(n as f32 * LN_2.0, -f);
    let low = error + (n as f32).mul_add(LN_2.1, small);
    let sum = high + low;
    (sum, (high - sum) + low)
}

/// `0 <= x < 2` in units of 2^-40, rounded down: the sum of such does not depend on its order.
fn fixed(x: f32) -> u64 {
    if x < f32::MIN_POSITIVE { 0 } else { (f64::from(x) * 2f64.powi(40)) as u64 }
}

/// The sum of what is from 0 to 1: as integers, of which the upper bits are taken exactly and the
/// lower 24 are added.
fn total(powers: impl Iterator<Item = f32>) -> f32 {
    let sum: u64 = powers.map(fixed).sum();
    let (high, low) = ((sum >> 24) as f32, (sum & 0xff_ffff) as f32);
    divisor(high.mul_add(2f32.powi(-16), low * 2f32.powi(-40)))
}

/// The last float below a power of two as that: not every machine rounds a division by it to nearest.
pub(crate) fn divisor(d: f32) -> f32 {
    let next = f32::from_bits(d.to_bits() + 1);
    if next.to_bits() & 0x7f_ffff == 0 { next } else { d }
}

/// `1 / (1 + exp(-x))`.
fn sigmoid(x: f32) -> f32 {
    let power = exp((-x.abs(), 0.0));
    (if x > 0.0 { 1.0 } else { power }) / divisor(1.0 + power)
}
