//! The activations of gated experts: what joins the gate and what it lets through.

use crate::router_f32::{divisor, exp};

/// An activation of two arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `gate * sigmoid(gate) * up`.
    Silu,
    /// `gate * sigmoid(2 sqrt(2 / pi) (gate + 0.044715 gate^3)) * up`: GELU by the hyperbolic tangent.
    GeluTanh,
    /// `g * sigmoid(alpha * g) * (u + 1)`, where `g` is `min(gate, limit)` and `u` is `up` clamped to
    /// `-limit..limit`.
    ClampedSwiglu {
        /// Positive; may be infinite.
        limit: f32,
        /// Finite.
        alpha: f32,
    },
}

/// `2 sqrt(2 / pi)`, and it times 0.044715.
const SLOPE: [f64; 2] = [1.595_769_121_605_731, 0.071_354_816_272_600_2];

impl Activation {
    /// The formula in f64. A NaN is kept; where the sigmoid is 0, so is its product with an infinity.
    pub fn apply(self, gate: f64, up: f64) -> f64 {
        match self {
            Activation::Silu => gated(gate, gate) * up,
            Activation::GeluTanh => {
                let [linear, cubic] = SLOPE;
                gated(gate, gate * (linear + cubic * gate * gate)) * up
            }
            Activation::ClampedSwiglu { limit, alpha } => {
                let (limit, alpha) = (f64::from(limit), f64::from(alpha));
                let gate = if gate > limit { limit } else { gate };
                let up = if up.is_nan() { up } else { up.clamp(-limit, limit) };
                gated(gate, alpha * gate) * (up + 1.0)
            }
        }
    }

    /// The f32 steps of the device kernels (`src/activation.h`, which it shares no code with): their bits.
    pub fn apply_f32(self, gate: f32, up: f32) -> f32 {
        match self {
            Activation::Silu => gated_f32(gate, gate) * up,
            Activation::GeluTanh => {
                let [linear, cubic] = SLOPE.map(|slope| slope as f32);
                let slope = (gate * gate).mul_add(cubic, linear);
                gated_f32(gate, gate * slope) * up
            }
            Activation::ClampedSwiglu { limit, alpha } => {
                let gate = if gate > limit { limit } else { gate };
                let up = if up.is_nan() { up } else { up.clamp(-limit, limit) };
                gated_f32(gate, alpha * gate) * (up + 1.0)
            }
        }
    }
}

/// `g * sigmoid(z)`.
fn gated(g: f64, z: f64) -> f64 {
    let power = (-z.abs()).exp();
    let share = if z < 0.0 { power } else { 1.0 };
    if share == 0.0 && !g.is_nan() { 0.0 } else { g * share / (1.0 + power) }
}

fn gated_f32(g: f32, z: f32) -> f32 {
    if z.is_nan() {
        return z;
    }
    let power = exp((-z.abs(), 0.0));
    let share = if z < 0.0 { power } else { 1.0 };
    if share == 0.0 && !g.is_nan() { 0.0 } else { g * share / divisor(1.0 + power) }
}
