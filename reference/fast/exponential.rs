//! What is made of exponentials: SiLU and softmax, in vectors.

use pulp::{Arch, Simd, WithSimd};

/// `gate <- SiLU(gate) * up`, element by element.
pub(super) fn swiglu(gate: &mut [f32], up: &[f32]) {
    Arch::new().dispatch(SwiGlu { gate, up });
}

/// Replaces a row's first `visible` scores by their softmax and the others by 0.
pub(super) fn softmax(scores: &mut [f32], visible: usize) {
    let (seen, unseen) = scores.split_at_mut(visible);
    Arch::new().dispatch(Softmax { scores: seen });
    unseen.fill(0.0);
}

struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            // Below this `exp` no longer outgrows the gate. A NaN is not below.
            let open = if *gate < -88.3 { -88.3 } else { *gate };
            *gate = open / (1.0 + exp(-open)) * up;
        }
    }
}

struct Softmax<'a> {
    scores: &'a mut [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const LANES: usize = 16;
        let largest = self.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        let (blocks, tail) = self.scores.as_chunks_mut::<LANES>();
        for block in blocks {
            for (score, sum) in block.iter_mut().zip(&mut sums) {
                *score = exp(*score - largest);
                *sum += *score;
            }
        }
        for (score, sum) in tail.iter_mut().zip(&mut sums) {
            *score = exp(*score - largest);
            *sum += *score;
        }
        let scale = 1.0 / sums.iter().sum::<f32>();
        self.scores.iter_mut().for_each(|score| *score *= scale);
    }
}

/// The exponential within 2 ulp in -87.3..88.3, that of the nearer end outside, and of NaN a NaN.
///
/// `x = n ln 2 + r` with `n` the nearest integer, so that `|r| <= 0.35`: `exp(r)` is a polynomial
/// (the minimax coefficients of Cephes' `expf`) and `2^n` an exponent field. There is no branch and
/// no conversion, so loops over it become vector instructions, which the C library's is not.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the low bits: 1.5 * 2^23.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; a product of the first with an integer below 2^9 is exact.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

    let x = x.clamp(-87.3, 88.3);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let polynomial = COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * r + coefficient);
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (polynomial * r * r + r + 1.0) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for step in 0..=1_756_000 {
            let x = -87.3 + step as f32 * 1e-4;
            let want = f64::from(x).exp();
            let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
            worst = worst.max((f64::from(exp(x)) - want).abs() / ulp);
        }
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(f32::INFINITY) > 2.2e38);
    }

    #[test]
    fn softmax_of_equal_scores_is_uniform_and_hides_the_rest() {
        let mut scores = [3.0, 3.0, 3.0, 3.0, f32::NAN];
        softmax(&mut scores, 4);
        assert_eq!(scores, [0.25, 0.25, 0.25, 0.25, 0.0]);
    }
}
