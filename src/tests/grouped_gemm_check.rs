//! What the reference says of the experts' products, and how far a device may be from it.

use super::grouped_gemm::{Case, Operands, Product, able, run};
use super::harness::{Float, UNIT_F32, close, count_case, poison};
use super::linear::{accumulated, rounded};
use expertile::{Activation, Device, DeviceInfo, Dtype, Platform};
use expertile_reference::activation::Activation as Reference;
use half::{bf16, f16};

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        _ => check_as::<f16>(case),
    }
}

/// The image that runs a case on a device.
pub(crate) fn stem(case: &Case, device: &Device) -> &'static str {
    let DeviceInfo { platform, images, .. } = device.info();
    match (platform, *images, case.rows() <= 32 * case.counts.len()) {
        (Platform::Hip, _, false) => "grouped_gemm",
        (Platform::Hip, _, true) => "grouped_gemm_rows",
        (_, "sm_90a", false) => "grouped_gemm_sm90",
        (_, "sm_90a", true) => "grouped_gemm_rows_sm90",
        (_, _, false) => "grouped_gemm_sm80",
        (_, _, true) => "grouped_gemm_rows_sm80",
    }
}

pub(crate) fn reference(activation: Activation) -> Reference {
    match activation {
        Activation::Silu => Reference::Silu,
        Activation::GeluTanh => Reference::GeluTanh,
        Activation::ClampedSwiglu { limit, alpha } => Reference::ClampedSwiglu { limit, alpha },
    }
}

/// A sum and what a device may be off by.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

/// The operands as the matrix units take them: those of gfx90a take a subnormal one as zero.
struct Wanted<'a, T> {
    case: &'a Case,
    operands: &'a Operands<T>,
    platform: Platform,
    least: f64,
}

impl<T: Float> Wanted<'_, T> {
    fn operand(&self, value: T) -> f32 {
        let value = value.value();
        if value.abs() < self.least { 0.0 } else { value as f32 }
    }

    /// A row of x, zeros without a token.
    fn x(&self, row: usize) -> Vec<f32> {
        let [k, _] = self.case.features();
        let from =
            if self.case.is_up() { self.case.token(self.operands.pairs[row]) } else { Some(row) };
        match from {
            Some(from) => (0..k).map(|i| self.operand(self.operands.x.at(0, from, i))).collect(),
            None => vec![0.0; k],
        }
    }

    /// The sum over k, with the bias: `part` 0 is the gate's or the only one, 1 the other.
    fn sum(&self, x: &[f32], expert: usize, feature: usize, part: usize) -> Sum {
        let (weights, [_, n]) = (&self.operands.weights, self.case.features());
        let (from, row) = match self.case.product {
            Product::Up { packed: true } => (0, feature + part * n),
            _ => (part, feature),
        };
        let is_nn = self.case.product == Product::Down { is_nn: true };
        let at = |k| {
            if is_nn { weights[from].at(expert, k, row) } else { weights[from].at(expert, row, k) }
        };
        let weight: Vec<f32> = (0..x.len()).map(|k| self.operand(at(k))).collect();
        let products = x.iter().zip(&weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
        // From +0 on: zeros of a negative sign add up to that.
        let mut sum = Sum { value: products.fold(0.0, |sum, product| sum + product), error: 0.0 };
        if sum.value.is_finite() {
            sum.error = accumulated(x, &weight, self.platform);
        }
        if self.case.biased {
            let biases = &self.operands.biases[from];
            let features = biases.len() / self.case.counts.len();
            sum.value += biases[expert * features + row].value();
            sum.error += UNIT_F32 * (sum.value.abs() + sum.error);
        }
        if sum.value.is_finite() { sum } else { Sum { error: 0.0, ..sum } }
    }

    /// The weight of a row's pair.
    fn pair_weight(&self, row: usize) -> f32 {
        let pair = usize::try_from(self.operands.pairs[row]).ok();
        pair.and_then(|pair| self.operands.pair_weights.get(pair)).copied().unwrap_or(0.0)
    }

    /// The result before its last rounding, in f64 and what it may be off by; or, of whole numbers, in f32 exactly.
    fn result(&self, x: &[f32], expert: usize, row: usize, feature: usize) -> (f64, f64) {
        let whole = self.case.whole;
        let one = self.sum(x, expert, feature, 0);
        if self.case.is_up() {
            let (activation, up) =
                (reference(self.case.activation), self.sum(x, expert, feature, 1));
            if whole {
                return (activation.apply_f32(one.value as f32, up.value as f32).into(), 0.0);
            }
            let want = activation.apply(one.value, up.value);
            let [gate, up] = clamped(self.case.activation, one, up);
            return (want, if want.is_finite() { activated(gate, up, want) } else { 0.0 });
        }
        if !self.case.weighted {
            return (one.value, if whole { 0.0 } else { one.error });
        }
        let weight = self.pair_weight(row);
        if whole {
            return ((one.value as f32 * weight).into(), 0.0);
        }
        let want = one.value * f64::from(weight);
        let error = one.error * f64::from(weight).abs();
        (want, if want.is_finite() { error + UNIT_F32 * (want.abs() + error) } else { 0.0 })
    }
}

/// The sums that go on from the clamps of an activation: infinite ones become finite.
fn clamped(activation: Activation, gate: Sum, up: Sum) -> [Sum; 2] {
    let limit = match activation {
        Activation::ClampedSwiglu { limit, .. } => f64::from(limit),
        _ => f64::INFINITY,
    };
    [
        Sum { value: gate.value.min(limit), ..gate },
        Sum { value: up.value.clamp(-limit, limit), ..up },
    ]
}

/// What the f32 activation of sums that may be off leaves.
///
/// `g sigmoid(g)`, GELU and `g sigmoid(alpha g)` have slopes of at most 1.13, a clamp one of 1, and `up + 1` is off by as
/// much as `up` and a rounding. Of the f32 steps (`activation.h`) the exponential is right to 0.6 ulp, the rest is seven
/// roundings, one of which counts twice: 9 units. An argument of the sigmoid that is off by c units of itself moves
/// `g sigmoid(z)` by at most `0.224 c |g|`, since `|z| sigmoid(z) (1 - sigmoid(z))` is at most 0.224; c is 5 in GELU.
/// Below exp(-104) the sigmoid is 0.
pub(crate) fn activated(gate: Sum, up: Sum, want: f64) -> f64 {
    let (g, u) = (gate.value.abs() + gate.error, up.value.abs() + up.error + 1.0);
    let slopes = 1.13 * gate.error * u + (up.error + UNIT_F32 * u) * g;
    let steps = 9.0 * UNIT_F32 * (want.abs() + slopes) + 0.224 * 5.0 * UNIT_F32 * g * u;
    slopes + steps + (g + 1.0) * u * 1e-44
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let operands = case.operands::<T>();
    let ([k, n], stride) = (case.features(), case.out_stride());
    let kind = if case.is_up() { "up" } else { "down" };
    for device in able() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("grouped_gemm {kind} {} {}", T::DTYPE, device.info().images);
        let got = run(&stream, case, &operands)?;
        let flushes = device.info().images == "gfx90a";
        let wanted = Wanted {
            case,
            operands: &operands,
            platform: device.info().platform,
            least: if flushes { T::TINY / T::UNIT } else { 0.0 },
        };
        let mut row = 0;
        for (expert, &count) in case.counts.iter().enumerate() {
            for _ in 0..count {
                let x = wanted.x(row);
                debug_assert_eq!(x.len(), k);
                for feature in 0..n {
                    let out = got[row * stride + feature];
                    let place = || format!("out[{row}, {feature}] of expert {expert}");
                    let (want, error) = wanted.result(&x, expert, row, feature);
                    if case.whole && !want.is_nan() {
                        if out.bits() != T::new(want as f32).bits() {
                            return Err(format!("{name}: {} is {out:?}, not {want}", place()));
                        }
                        continue;
                    }
                    close(&name, out, want, rounded::<T>(want, 0.0, error), place)?;
                }
                row += 1;
            }
        }
        let expected = poison::<T>().bits();
        for (at, out) in got.iter().enumerate() {
            let is_gap = at % stride >= n || at / stride >= row;
            if is_gap && out.bits() != expected {
                let (row, feature) = (at / stride, at % stride);
                return Err(format!("{name}: a gap was written: out[{row}, {feature}] is {out:?}"));
            }
        }
        count_case(&name, stem(case, device), T::DTYPE, device);
    }
    Ok(())
}
