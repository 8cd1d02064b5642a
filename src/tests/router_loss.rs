//! `router_loss` against the reference.

use super::harness::{
    Fenced, Float, UNIT_F32, cases, close, count_case, devices, poison, report, values,
};
use expertile::{Dtype, RouterLoss, Stream, router_loss, router_loss_workspace_bytes};
use expertile_reference::router_loss as reference;
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `router_loss`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) experts: usize,
    pub(crate) top_k: usize,
    /// Elements between rows.
    pub(crate) gap: usize,
    pub(crate) dtype: Dtype,
    pub(crate) scale: f32,
    /// Puts NaN and infinities among the logits.
    pub(crate) special: bool,
    /// Of 16 tokens, those that are padding.
    pub(crate) padding: u32,
    pub(crate) seed: u64,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![
        1 => Just(0), 2 => Just(1), 4 => 2..40usize, 2 => 250..260usize, 1 => 500..1200usize
    ];
    let experts = prop_oneof![3 => Just(16usize), 3 => 1..70usize, 1 => Just(256)];
    let dtype = prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)];
    let scale = prop_oneof![Just(1.0f32), Just(1e-3), Just(40.0)];
    let padding = prop_oneof![3 => Just(0u32), 1 => Just(5), 1 => Just(16)];
    let rows = (tokens, experts, 1..=16usize, 0..3usize, dtype);
    (rows, scale, prop::bool::weighted(0.2), padding, any::<u64>()).prop_map(
        |((tokens, experts, top_k, gap, dtype), scale, special, padding, seed)| {
            // Many tokens only with short rows, for time.
            let tokens = if experts > 64 { tokens.min(300) } else { tokens };
            Case { tokens, experts, top_k, gap, dtype, scale, special, padding, seed }
        },
    )
}

#[derive(Debug)]
struct Outputs {
    losses: Vec<f32>,
    counts: Vec<i32>,
    means: Vec<f32>,
}

fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    logits: &[T],
    ids: &[i32],
    dirt: i32,
) -> Result<Outputs, String> {
    let text = |error: expertile::Error| error.to_string();
    let (tokens, experts) = (case.tokens as u64, case.experts as u64);
    let floats = |count| Fenced::new(stream, &vec![poison::<f32>(); count], poison::<f32>());
    let words = (router_loss_workspace_bytes(tokens, experts) / 4) as usize;
    let logits = Fenced::new(stream, logits, poison::<T>()).map_err(text)?;
    let ids = Fenced::new(stream, ids, 1).map_err(text)?;
    let mut losses = floats(3).map_err(text)?;
    let mut means = floats(case.experts).map_err(text)?;
    let mut counts = Fenced::new(stream, &vec![-77; case.experts], -77).map_err(text)?;
    let mut workspace = Fenced::new(stream, &vec![dirt; words], -77).map_err(text)?;
    {
        let strides = [(case.experts + case.gap) as u64, 1];
        let top_k = case.top_k as u64;
        let arguments = RouterLoss {
            logits: logits.tensor(&[tokens, experts], &strides).map_err(text)?,
            ids: ids.tensor(&[tokens, top_k], &[top_k, 1]).map_err(text)?,
            losses: losses.tensor_mut(&[3], &[1]).map_err(text)?,
            counts: counts.tensor_mut(&[experts], &[1]).map_err(text)?,
            mean_probabilities: means.tensor_mut(&[experts], &[1]).map_err(text)?,
            workspace: workspace.tensor_mut(&[words as u64], &[1]).map_err(text)?,
        };
        router_loss(stream, &arguments).map_err(text)?;
    }
    logits.read(stream)?;
    ids.read(stream)?;
    workspace.read(stream)?;
    let (losses, means) = (losses.read(stream)?, means.read(stream)?);
    Ok(Outputs { losses, counts: counts.read(stream)?, means })
}

pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        Dtype::F16 => check_as::<f16>(case),
        _ => check_as::<f32>(case),
    }
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(case.seed);
    let few = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
    let stride = case.experts + case.gap;
    let mut logits = vec![poison::<T>(); case.tokens * stride];
    for row in logits.chunks_mut(stride) {
        let data: Vec<T> = values(&mut random, case.experts, case.scale);
        row.iter_mut().zip(data).for_each(|(to, from)| *to = from);
        if case.special && random.u32(..3) == 0 {
            row[random.usize(..case.experts)] = T::new(few[random.usize(..few.len())]);
        }
    }
    let outside = [-1, case.experts as i32, i32::MIN, i32::MAX];
    let mut ids = Vec::with_capacity(case.tokens * case.top_k);
    for _ in 0..case.tokens {
        let padding = random.u32(..16) < case.padding;
        ids.extend((0..case.top_k).map(|_| match random.u32(..8) {
            0 => outside[random.usize(..4)],
            _ if padding => outside[random.usize(..4)],
            _ => random.i32(0..case.experts as i32),
        }));
    }
    let rows = logits.chunks(stride);
    let dense: Vec<f64> =
        rows.flat_map(|row| row[..case.experts].iter().map(|x| x.value())).collect();
    let want = reference::router_loss(&dense, case.experts, &ids, case.top_k)
        .map_err(|error| error.to_string())?;
    let counts: Vec<i32> = want.counts.iter().map(|&count| count as i32).collect();

    // What rounds, at most, in units of UNIT_F32. A probability: exponential, sum and quotient, 4.4, of
    // which every sum of positive numbers keeps the share. A sum over tokens: a warp's, the 8 warps', the
    // chunks'; the first addition of each is to 0. A loss: a mean, a product and an addition for each
    // expert that was chosen, three factors.
    let fewer = |count: usize| count.saturating_sub(1) as f64;
    let chunk = case.tokens.min(256);
    let sum = fewer(chunk.div_ceil(8)) + fewer(chunk.min(8)) + fewer(case.tokens.div_ceil(256));
    let mean = 4.4 + sum + 1.0;
    let loss = mean + 1.0 + fewer(case.experts.min(ids.len())) + 3.0;
    // A second softmax is of numbers up to 1, each off by 4.4 units of itself, twice in its quotient.
    let second = loss + 2.0 * 4.4;
    // log(sum): off by 2^-25 by itself, by what it is of, and by its last rounding. `size` is an upper
    // bound of the logarithms' magnitudes.
    let finite = dense.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
    let size = finite + (case.experts as f64).ln();
    let z_error = 2.0 * size * (0.5 + 2.0 + size) + (sum + 3.0) * want.z;

    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("router_loss {} {}", T::DTYPE, device.info().images);
        let got = run(&stream, case, &logits, &ids, -1)?;
        if got.counts != counts {
            return Err(format!("{name}: counts are {:?}, not {counts:?}", got.counts));
        }
        for (expert, (&got, &want)) in got.means.iter().zip(&want.mean_probabilities).enumerate() {
            let bound = mean * UNIT_F32 * want + f64::from(f32::MIN_POSITIVE);
            close(&name, got, want, bound, || format!("mean_probabilities[{expert}]"))?;
        }
        let bounds = [
            loss * want.load_balancing_megablocks,
            second * want.load_balancing_transformers,
            z_error,
        ];
        let wants = [want.load_balancing_megablocks, want.load_balancing_transformers, want.z];
        for i in 0..3 {
            // Nothing is within a bound of an infinity but itself.
            let bound = if wants[i].is_finite() { bounds[i] * UNIT_F32 } else { 0.0 };
            let bound = bound + f64::from(f32::MIN_POSITIVE);
            close(&name, got.losses[i], wants[i], bound, || format!("losses[{i}]"))?;
        }
        // What was in the workspace is nothing to the result.
        let again = run(&stream, case, &logits, &ids, 0x7f80_0001)?;
        let bits = |outputs: &Outputs| -> Vec<u32> {
            outputs.losses.iter().chain(&outputs.means).map(|x| x.to_bits()).collect()
        };
        if bits(&again) != bits(&got) || again.counts != got.counts {
            return Err(format!("{name}: {again:?} after {got:?}"));
        }
        count_case(&name, "router_loss", T::DTYPE, device);
        let name = format!("router_loss_reduce f32 {}", device.info().images);
        count_case(&name, "router_loss_reduce", Dtype::F32, device);
    }
    Ok(())
}

#[test]
fn router_loss_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("router_loss");
    report("router_loss_reduce");
}
