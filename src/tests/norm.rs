//! What the tests of both norms share: a case, its arguments, its bound, its check.

use super::harness::{
    Fenced, Float, UNIT_F32, close, count_case, devices, poison, same_bits, values,
};
use expertile::{Dtype, Norm, Residual, Result, Stream};
use half::{bf16, f16};
use proptest::prelude::*;

/// One call of a norm.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    /// `hidden / 8`.
    pub(crate) hidden_8: usize,
    /// Elements between rows, divided by 8.
    pub(crate) gap_8: usize,
    pub(crate) dtype: Dtype,
    /// 0: none, 1: added, 2: added to another, 3: updated in place.
    pub(crate) residual: u8,
    pub(crate) epsilon: f32,
    pub(crate) scale: f32,
    /// Added to every value: a mean far from 0.
    pub(crate) offset: f32,
    /// Puts NaN and infinity into the first row.
    pub(crate) special: bool,
    pub(crate) seed: u64,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![Just(0), Just(1), 2..9usize, Just(300)];
    let hidden_8 = prop_oneof![
        4 => 1..40usize, 2 => 40..300usize, 1 => Just(768), 1 => Just(2048), 1 => 2..2049usize
    ];
    let dtype = prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)];
    let epsilon = prop_oneof![Just(1e-5f32), Just(0.0), Just(1.0)];
    let scale = prop_oneof![Just(1.0f32), Just(1e-3), Just(30.0)];
    let offset = prop_oneof![3 => Just(0.0f32), 1 => Just(20.0)];
    let rows = (tokens, hidden_8, 0..3usize, dtype);
    (rows, 0..4u8, epsilon, scale, offset, prop::bool::weighted(0.2), any::<u64>()).prop_map(
        |((tokens, hidden_8, gap_8, dtype), residual, epsilon, scale, offset, special, seed)| {
            // Many tokens only with short rows, for time.
            let tokens = if hidden_8 > 64 { tokens.min(9) } else { tokens };
            Case { tokens, hidden_8, gap_8, dtype, residual, epsilon, scale, offset, special, seed }
        },
    )
}

/// The reference: `(sum, normalized)`.
pub(crate) type Reference = fn(
    &[f64],
    Option<&[f64]>,
    &[f32],
    f64,
    expertile_reference::Rounding,
) -> expertile_reference::Result<(Vec<f64>, Vec<f64>)>;

/// The operator under test.
pub(crate) struct Operator {
    pub(crate) name: &'static str,
    pub(crate) launch: fn(&Stream, &Norm<'_>) -> Result<()>,
    pub(crate) reference: Reference,
    /// Whether the mean is subtracted.
    pub(crate) centered: bool,
}

/// What a launch leaves: the outputs with the gaps between their rows.
#[derive(Debug)]
pub(crate) struct Outputs<T> {
    pub(crate) out: Vec<T>,
    pub(crate) sum: Vec<T>,
}

/// Runs `rows` of the inputs on a device; all arrays have rows of `stride`.
pub(crate) fn run<T: Float>(
    operator: &Operator,
    stream: &Stream,
    case: &Case,
    [x, residual, weight]: [&[T]; 3],
) -> Result<Outputs<T>, String> {
    let hidden = 8 * case.hidden_8;
    let stride = hidden + 8 * case.gap_8;
    let tokens = x.len() / stride;
    let (shape, strides) = ([tokens as u64, hidden as u64], [stride as u64, 1]);
    let fence = poison::<T>();
    let text = |error: expertile::Error| error.to_string();
    let x = Fenced::new(stream, x, fence).map_err(text)?;
    let weight = Fenced::new(stream, weight, fence).map_err(text)?;
    let mut out = Fenced::new(stream, &vec![fence; tokens * stride], fence).map_err(text)?;
    let mut sum = Fenced::new(stream, &vec![fence; tokens * stride], fence).map_err(text)?;
    let mut added = Fenced::new(stream, residual, fence).map_err(text)?;
    let updated = case.residual == 3;
    {
        let residual = match case.residual {
            0 => Residual::None,
            1 => Residual::Add(added.tensor(&shape, &strides).map_err(text)?),
            2 => Residual::AddTo(
                added.tensor(&shape, &strides).map_err(text)?,
                sum.tensor_mut(&shape, &strides).map_err(text)?,
            ),
            _ => Residual::Update(added.tensor_mut(&shape, &strides).map_err(text)?),
        };
        let arguments = Norm {
            x: x.tensor(&shape, &strides).map_err(text)?,
            residual,
            weight: weight.tensor(&[hidden as u64], &[1]).map_err(text)?,
            out: out.tensor_mut(&shape, &strides).map_err(text)?,
            epsilon: case.epsilon,
        };
        (operator.launch)(stream, &arguments).map_err(text)?;
    }
    x.read(stream)?;
    weight.read(stream)?;
    let added = added.read(stream)?;
    let sum = sum.read(stream)?;
    Ok(Outputs { out: out.read(stream)?, sum: if updated { added } else { sum } })
}

/// The error that f32 arithmetic may leave in each element of a row, before it is rounded to the
/// dtype.
///
/// A thread adds at most 16 values one after the other, then the partial sums are added pairwise;
/// each addition rounds by at most `UNIT_F32` of what it adds up. So a sum of `n` values is off by at
/// most `depth * UNIT_F32 * sum of magnitudes`, with `depth` additions on the longest way.
fn bounds(row: &[f64], weight: &[f32], epsilon: f64, centered: bool) -> Vec<f64> {
    let n = row.len() as f64;
    let depth = row.len().min(16) as f64 + (n / 4.0).log2().ceil().max(0.0);
    let mean = if centered { row.iter().sum::<f64>() / n } else { 0.0 };
    let magnitude = row.iter().map(|x| x.abs()).sum::<f64>() / n;
    // The sum, and its division by n.
    let mean_error = if centered { (depth * magnitude + mean.abs()) * UNIT_F32 } else { 0.0 };
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    // Each deviation is off by the mean's error, which shifts the mean of squares only by its
    // square, and by its own rounding; the square and its addition are one rounding.
    let deviation_error: f64 =
        row.iter().map(|x| 2.0 * (x - mean).powi(2) * UNIT_F32).sum::<f64>() / n;
    let variance_error =
        mean_error * mean_error + deviation_error + (depth + 1.0) * UNIT_F32 * variance;
    // The addition of epsilon, under the root: half; the root; the quotient.
    let scale = 1.0 / (variance + epsilon).sqrt();
    let scale_error = 0.5 * variance_error / (variance + epsilon) + 2.5 * UNIT_F32;
    row.iter()
        .zip(weight)
        .map(|(x, &weight)| {
            let factor = (scale * f64::from(weight)).abs();
            let deviation = (x - mean).abs();
            let off = mean_error + if centered { deviation * UNIT_F32 } else { 0.0 };
            // Two products follow.
            factor * off + deviation * factor * (scale_error + 2.0 * UNIT_F32)
        })
        .collect()
}

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(operator: &Operator, case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(operator, case),
        Dtype::F16 => check_as::<f16>(operator, case),
        _ => check_as::<f32>(operator, case),
    }
}

fn check_as<T: Float>(operator: &Operator, case: &Case) -> Result<(), String> {
    let hidden = 8 * case.hidden_8;
    let stride = hidden + 8 * case.gap_8;
    let mut random = fastrand::Rng::with_seed(case.seed);
    let mut rows = || {
        let mut rows = vec![poison::<T>(); case.tokens * stride];
        for row in rows.chunks_mut(stride) {
            let data: Vec<T> = values(&mut random, hidden, case.scale);
            for (to, from) in row.iter_mut().zip(data) {
                *to = T::new(from.value() as f32 + case.offset * case.scale);
            }
        }
        rows
    };
    let (mut x, residual) = (rows(), rows());
    let weight: Vec<T> = values(&mut random, hidden, 2.0);
    if case.special && case.tokens > 0 {
        x[random.usize(..hidden)] = T::new(if random.bool() { f32::NAN } else { f32::INFINITY });
    }

    let dense = |rows: &[T]| -> Vec<f64> {
        rows.chunks(stride).flat_map(|row| row[..hidden].iter().map(|x| x.value())).collect()
    };
    let added = (case.residual > 0).then(|| dense(&residual));
    let weights: Vec<f32> = weight.iter().map(|w| w.value() as f32).collect();
    let epsilon = f64::from(case.epsilon);
    let (want_sum, want) =
        (operator.reference)(&dense(&x), added.as_deref(), &weights, epsilon, T::ROUNDING)
            .map_err(|error| error.to_string())?;

    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("{} {} {}", operator.name, T::DTYPE, device.info().images);
        let got = run(operator, &stream, case, [&x, &residual, &weight])?;
        for token in 0..case.tokens {
            let row = &want_sum[token * hidden..][..hidden];
            let bounds = bounds(row, &weights, epsilon, operator.centered);
            for i in 0..stride {
                let place = || format!("out[{token}, {i}]");
                let (out, sum) = (got.out[token * stride + i], got.sum[token * stride + i]);
                if i >= hidden {
                    // In place, the gap is what the residual had there: the same poison.
                    if out.bits() != poison::<T>().bits() || sum.bits() != poison::<T>().bits() {
                        return Err(format!("{name}: a gap was written: {} is {out:?}", place()));
                    }
                    continue;
                }
                let want = want[token * hidden + i];
                // The last rounding, to the dtype; for f32 it is one of those in `bounds`.
                let last = if T::UNIT == UNIT_F32 { 0.0 } else { T::UNIT };
                let bound = bounds[i] + last * (want.abs() + bounds[i]) + T::TINY;
                // A row without variance and epsilon divides by 0; f32 and f64 agree on that only
                // where the variance is exactly 0 in both.
                let degenerate = case.epsilon == 0.0 && !bound.is_finite();
                let overflow = want.abs() * (1.0 + last) >= limit::<T>();
                if !degenerate && !overflow {
                    close(&name, out, want, bound, place)?;
                }
                let want_sum = T::new(row[i] as f32);
                let kept = case.residual >= 2;
                let expected = if kept { want_sum } else { poison() };
                let both_nan = kept && want_sum.value().is_nan() && sum.value().is_nan();
                if sum.bits() != expected.bits() && !both_nan {
                    return Err(format!("{name}: sum[{token}, {i}] is {sum:?}, not {expected:?}"));
                }
            }
        }
        // A row alone gives the same bits: nothing depends on the batch.
        if case.tokens > 1 {
            let token = case.seed as usize % case.tokens;
            let row = |rows: &[T]| rows[token * stride..][..stride].to_vec();
            let (x, residual) = (row(&x), row(&residual));
            let alone = run(operator, &stream, case, [&x, &residual, &weight])?;
            same_bits(&format!("{name}: row {token} alone"), &alone.out, &row(&got.out))?;
        }
        count_case(&name, operator.name, T::DTYPE, device);
    }
    Ok(())
}

/// Where rounding to the type gives infinity.
fn limit<T: Float>() -> f64 {
    match T::ROUNDING {
        expertile_reference::Rounding::F16 => 65_520.0,
        _ => f64::from(f32::MAX),
    }
}
