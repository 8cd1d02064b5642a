//! What the reference says of `moe`, and how far a device may be from it.

use super::grouped_gemm::able;
use super::grouped_gemm_check::{Sum, activated, reference};
use super::harness::{Float, UNIT_F32, close};
use super::linear::{accumulated, rounded};
use super::moe::{Case, Operands, run};
use expertile::{Dtype, Platform, Stream};
use expertile_reference::router::Rule;
use expertile_reference::router_f32::{logits_f32, router_f32};
use half::{bf16, f16};
use std::collections::BTreeMap;

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_with(case, &case.operands::<bf16>()),
        _ => check_with(case, &case.operands::<f16>()),
    }
}

/// The ids and weights of a case: the bits that the device's router gives.
fn route<T: Float>(case: &Case, operands: &Operands<T>) -> Result<(Vec<i32>, Vec<f32>), String> {
    if case.given {
        return Ok((operands.ids.clone(), operands.weights.clone()));
    }
    let text = |error: expertile_reference::Error| error.to_string();
    let f32s = |of: &[T]| -> Vec<f32> { of.iter().map(|value| value.value() as f32).collect() };
    let (x, weight) = (f32s(&operands.x), f32s(&operands.router));
    let logits = logits_f32(&x, &weight, case.features()[0], size_of::<T>()).map_err(text)?;
    let rule = Rule::softmax(case.top_k, Some(1.0));
    let routing = router_f32(&logits, case.experts, &rule).map_err(text)?;
    Ok((routing.ids, routing.weights))
}

/// The steps of one token, on devices of one kind.
struct Chain<'a, T> {
    case: &'a Case,
    operands: &'a Operands<T>,
    platform: Platform,
    /// Operands of products below it count as zero.
    least: f64,
}

impl<T: Float> Chain<'_, T> {
    /// A row of products with an expert's weight, `[features, x]`, and its bias: the sums of x that may be off.
    fn products(&self, x: &[Sum], weight: &[T], bias: Option<&[T]>, expert: usize) -> Vec<Sum> {
        let features = weight.len() / x.len() / self.case.experts;
        let magnitudes: Vec<f32> =
            x.iter().map(|x| ((x.value.abs() + x.error) * (1.0 + 1e-6)) as f32).collect();
        let product = |feature: usize| {
            let row = &weight[(expert * features + feature) * x.len()..][..x.len()];
            let mut sum = Sum { value: 0.0, error: 0.0 };
            for (x, w) in x.iter().zip(row) {
                sum.value += x.value * w.value();
                // What is off, and what may be taken as zero.
                sum.error += (x.error + self.least) * w.value().abs();
            }
            let sizes: Vec<f32> = row.iter().map(|w| w.value().abs() as f32).collect();
            sum.error += accumulated(&magnitudes, &sizes, self.platform);
            if let Some(bias) = bias {
                sum.value += bias[expert * features + feature].value();
                sum.error += UNIT_F32 * (sum.value.abs() + sum.error);
            }
            sum
        };
        (0..features).map(product).collect()
    }

    /// What an expert makes of a token.
    fn expert(&self, token: usize, expert: usize, weight: f32) -> Vec<Sum> {
        let (case, operands) = (self.case, self.operands);
        let [hidden, _] = case.features();
        let exact = |x: &T| Sum { value: x.value(), error: 0.0 };
        let x: Vec<Sum> = operands.x[token * hidden..][..hidden].iter().map(exact).collect();
        let [gate_bias, up_bias, down_bias] =
            [0, 1, 2].map(|i| case.biased.then_some(&operands.biases[i][..]));
        let gate = self.products(&x, &operands.gate, gate_bias, expert);
        let up = self.products(&x, &operands.up, up_bias, expert);
        let activation = reference(case.activation);
        let joined = |(gate, up): (&Sum, &Sum)| {
            if case.whole {
                let value = activation.apply_f32(gate.value as f32, up.value as f32);
                return exact(&T::new(value));
            }
            let value = activation.apply(gate.value, up.value);
            Sum { value, error: rounded::<T>(value, 0.0, activated(*gate, *up, value)) }
        };
        let middle: Vec<Sum> = gate.iter().zip(&up).map(joined).collect();
        let weighted = |y: Sum| {
            if case.whole {
                return exact(&T::new(y.value as f32 * weight));
            }
            let (value, error) = (y.value * f64::from(weight), y.error * f64::from(weight).abs());
            let error = error + UNIT_F32 * (value.abs() + error);
            Sum { value, error: rounded::<T>(value, 0.0, error) }
        };
        let out = self.products(&middle, &operands.down, down_bias, expert);
        out.into_iter().map(weighted).collect()
    }

    /// The row of the result before its last rounding.
    fn token(&self, token: usize, ids: &[i32], weights: &[f32]) -> Vec<Sum> {
        let hidden = self.case.features()[0];
        let mut sums = vec![Sum { value: 0.0, error: 0.0 }; hidden];
        let mut sizes = vec![0.0; hidden];
        let mut terms = 0.0;
        let mut add = |term: &[Sum]| {
            terms += 1.0;
            for ((sum, size), term) in sums.iter_mut().zip(&mut sizes).zip(term) {
                sum.value += term.value;
                sum.error += term.error;
                *size += term.value.abs() + term.error;
            }
        };
        for (id, weight) in ids.iter().zip(weights) {
            let expert = usize::try_from(*id).ok();
            if let Some(expert) = expert.filter(|expert| self.case.local().contains(expert)) {
                add(&self.expert(token, expert, *weight));
            }
        }
        if self.case.residual > 0 {
            let row = &self.operands.residual[token * hidden..][..hidden];
            add(&row.iter().map(|x| Sum { value: x.value(), error: 0.0 }).collect::<Vec<_>>());
        }
        for (sum, size) in sums.iter_mut().zip(sizes) {
            sum.error += terms * UNIT_F32 * size;
        }
        sums
    }
}

/// The rows of a case before their last rounding, by kind of device.
type Wanted = BTreeMap<(String, bool), Vec<Vec<Sum>>>;

/// The case with other operands than its own.
pub(crate) fn check_with<T: Float>(case: &Case, operands: &Operands<T>) -> Result<(), String> {
    let mut wanted = Wanted::new();
    for device in able() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        check_on(&stream, case, operands, &mut wanted)?;
    }
    Ok(())
}

/// The same on one device; its result.
pub(crate) fn check_on<T: Float>(
    stream: &Stream,
    case: &Case,
    operands: &Operands<T>,
    wanted: &mut Wanted,
) -> Result<Vec<T>, String> {
    let device = stream.device();
    let (hidden, k) = (case.features()[0], case.top_k);
    let name = format!("moe {} {}", T::DTYPE, device.info().images);
    let got = run(stream, case, operands)?;
    let (platform, flushes) = (device.info().platform, device.info().images == "gfx90a");
    let kind = (platform.to_string(), flushes);
    if !wanted.contains_key(&kind) {
        let (ids, weights) = route(case, operands)?;
        let least = if flushes { T::TINY / T::UNIT } else { 0.0 };
        let chain = Chain { case, operands, platform, least };
        let row = |t: usize| chain.token(t, &ids[t * k..][..k], &weights[t * k..][..k]);
        wanted.insert(kind.clone(), (0..case.tokens).map(row).collect());
    }
    let rows = &wanted[&kind];
    for (at, out) in got.iter().enumerate() {
        let Sum { value, error } = rows[at / hidden][at % hidden];
        let place = || format!("out[{}, {}]", at / hidden, at % hidden);
        if case.whole {
            if out.bits() != T::new(value as f32).bits() {
                return Err(format!("{name}: {} is {out:?}, not {value}", place()));
            }
            continue;
        }
        close(&name, *out, value, rounded::<T>(value, 0.0, error), place)?;
    }
    Ok(got)
}
