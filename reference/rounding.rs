//! Where the model rounds: the one place that knows the storage formats of activations.

use half::{bf16, f16};

/// A number that an operator can read: f32 and f64 here, f16 and bf16 by the `half` crate.
pub trait Real: Copy + Into<f64> {}

impl<T: Copy + Into<f64>> Real for T {}

/// The precision of stored activations.
///
/// Operators compute in f64. Those with a rounding point inside (an angle's cosine, the scores
/// before a softmax) take a `Rounding` for it; between operators the model rounds. Each page names
/// its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// No rounding: f64 throughout, the truth that bounds are measured from.
    F64,
    /// Each point is rounded to the nearest f32, ties to even.
    F32,
    /// Each point is rounded to f32 and then to f16, both to nearest even.
    F16,
    /// Each point is rounded to f32 and then to bf16, both to nearest even, as hardware does that
    /// holds a result in f32 before it is stored.
    Bf16,
}

impl Rounding {
    /// Rounds one value. NaN stays NaN; what passes the largest finite value becomes infinite.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Rounding::F64 => x,
            Rounding::F32 => f64::from(x as f32),
            Rounding::F16 => f64::from(f16::from_f32(x as f32)),
            Rounding::Bf16 => f64::from(bf16::from_f32(x as f32)),
        }
    }

    /// Rounds every value of `x` in place.
    pub fn round_all(self, mut x: Vec<f64>) -> Vec<f64> {
        if self != Rounding::F64 {
            x.iter_mut().for_each(|x| *x = self.round(*x));
        }
        x
    }
}
