//! Choosing the next token from a row of logits.

use crate::error::{Error, Result};
use crate::rounding::Real;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Draws tokens by temperature and top-p from a seeded generator.
///
/// ```text
/// P[i] = exp(logits[i] / temperature) / sum over j of exp(logits[j] / temperature)
/// kept = the smallest set of tokens of largest P whose mass is at least top_p, ties to the lower id
/// ```
///
/// A token of `kept` is drawn with probability proportional to P. Temperature 0 is [`greedy`] and
/// leaves the generator alone. All arithmetic is f64. The generator is ChaCha8, one draw of 53 bits
/// for each token, so a seed gives the same tokens on every platform whose `exp` agrees.
///
/// Source: Holtzman et al. (arXiv:1904.09751), section 3.1.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    generator: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the start of its sequence.
    ///
    /// # Errors
    ///
    /// `Value` unless `temperature` is finite and at least 0, and `top_p` above 0 and at most 1.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Sampler> {
        if !temperature.is_finite() || temperature < 0.0 {
            let expected = "finite and at least 0";
            return Err(Error::value("sampling", "temperature", temperature, expected));
        }
        if top_p.is_nan() || top_p <= 0.0 || top_p > 1.0 {
            return Err(Error::value("sampling", "top_p", top_p, "above 0 and at most 1"));
        }
        Ok(Sampler { temperature, top_p, generator: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// Draws one token.
    ///
    /// # Errors
    ///
    /// As [`greedy`]. Nothing is drawn then.
    pub fn sample(&mut self, logits: &[impl Real]) -> Result<u32> {
        if self.temperature == 0.0 {
            return greedy(logits);
        }
        let largest = check(logits)?;
        let logits: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Adding 0 makes one of both zeros, which `total_cmp` tells apart.
        order.sort_unstable_by(|&a, &b| {
            (logits[b] + 0.0).total_cmp(&(logits[a] + 0.0)).then(a.cmp(&b))
        });

        // masses[i]: of the i + 1 most probable tokens, up to a common factor.
        let mut mass = 0.0;
        let masses: Vec<f64> = order
            .iter()
            .map(|&id| {
                mass += ((logits[id] - largest) / self.temperature).exp();
                mass
            })
            .collect();
        let enough = self.top_p * mass;
        let last = masses.partition_point(|&mass| mass < enough);

        let unit = (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let drawn = unit * masses[last];
        Ok(order[masses.partition_point(|&mass| mass <= drawn)] as u32)
    }
}

/// The token of the largest logit, of several the one of the lowest id.
///
/// # Errors
///
/// `Value` if a logit is NaN or +inf, or none is above -inf.
pub fn greedy(logits: &[impl Real]) -> Result<u32> {
    let largest = check(logits)?;
    let token = logits.iter().position(|&logit| logit.into() == largest);
    Ok(token.unwrap_or_default() as u32)
}

/// The logarithm of the probability that the softmax of `logits` gives to `token`, in f64.
///
/// # Errors
///
/// As [`greedy`], and `Value` if there is no such token.
pub fn log_probability(logits: &[impl Real], token: u32) -> Result<f64> {
    let largest = check(logits)?;
    let Some(&logit) = logits.get(token as usize) else {
        let expected = format!("less than {}", logits.len());
        return Err(Error::value("sampling", "token", token, expected));
    };
    let sum: f64 = logits.iter().map(|&logit| (logit.into() - largest).exp()).sum();
    Ok(logit.into() - largest - sum.ln())
}

/// The largest logit, which is finite.
fn check(logits: &[impl Real]) -> Result<f64> {
    let mut largest = f64::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        let logit = logit.into();
        if logit.is_nan() || logit == f64::INFINITY {
            let expected = "a number below infinity";
            return Err(Error::value("sampling", format!("logits[{id}]"), logit, expected));
        }
        largest = largest.max(logit);
    }
    if largest == f64::NEG_INFINITY {
        let argument = format!("the largest of {} logits", logits.len());
        return Err(Error::value("sampling", argument, largest, "finite"));
    }
    Ok(largest)
}
