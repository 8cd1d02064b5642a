//! `router`: the bits of `reference/router_f32.rs`, within 8 ulp of `reference/router.rs`.

use super::harness::{
    Fenced, Float, cases, close, count_case, devices, poison, report, ulp_f32, values,
};
use expertile::{Dtype, ExpertGroups, Router, RouterInput, Scoring, Stream, router};
use expertile_reference::Rounding;
use expertile_reference::router::{Groups, Rule, Scoring as ReferenceScoring, route};
use expertile_reference::router_f32::{logits_f32, router_f32};
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `router`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) experts: usize,
    pub(crate) top_k: usize,
    /// `hidden / 8`; 0: logits are given.
    pub(crate) hidden_8: usize,
    /// Elements between rows, divided by 8 for hidden states.
    pub(crate) gap: usize,
    pub(crate) dtype: Dtype,
    /// As in `scoring`.
    pub(crate) scoring: u8,
    pub(crate) groups: Option<(usize, usize)>,
    /// Of the logits, 0: smooth, 1: many ties, 2: all equal, 3: NaN and infinities.
    pub(crate) kind: u8,
    pub(crate) forced: bool,
    pub(crate) scale: f32,
    pub(crate) round_logits: bool,
    /// Whether logits, probabilities and counts are asked for.
    pub(crate) more: bool,
    pub(crate) seed: u64,
}

/// How many scorings there are.
pub(crate) const SCORINGS: u8 = 10;

/// A scoring by number, of the reference.
fn scoring(number: u8, bias: &[f32]) -> ReferenceScoring<'_> {
    let softmax = |p| ReferenceScoring::Softmax { p_norm: Some(p) };
    match number {
        0 => ReferenceScoring::Softmax { p_norm: None },
        1 => softmax(1.0),
        2 => softmax(2.0),
        3 => softmax(0.75),
        4 => softmax(f64::INFINITY),
        5 => ReferenceScoring::TopKSoftmax,
        6 => ReferenceScoring::Sigmoid { bias: None, normalize: false },
        7 => ReferenceScoring::Sigmoid { bias: None, normalize: true },
        8 => ReferenceScoring::Sigmoid { bias: Some(bias), normalize: false },
        _ => ReferenceScoring::Sigmoid { bias: Some(bias), normalize: true },
    }
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let tokens =
        prop_oneof![1 => Just(0), 2 => Just(1), 4 => 2..12usize, 1 => Just(70), 1 => Just(300)];
    let plain = prop_oneof![3 => Just(16usize), 3 => 1..40usize, 1 => Just(256), 1 => 40..257usize]
        .prop_map(|experts| (experts, None));
    let grouped = (1..=32usize, 1..=8usize, any::<u64>())
        .prop_map(|(count, size, seed)| (count * size, Some((count, 1 + seed as usize % count))));
    let experts = prop_oneof![3 => plain, 1 => grouped];
    let hidden_8 = prop_oneof![2 => Just(0), 3 => 1..80usize, 1 => Just(768), 1 => 80..800usize];
    let dtype = prop_oneof![2 => Just(Dtype::Bf16), 1 => Just(Dtype::F16), 1 => Just(Dtype::F32)];
    let rows = (tokens, experts, hidden_8, 0..3usize, dtype);
    let how = (0..SCORINGS, 0..4u8, prop::bool::weighted(0.2), any::<bool>(), any::<bool>());
    (rows, how, prop_oneof![3 => Just(1.0f32), 1 => Just(2.5)], any::<u64>()).prop_map(
        |((tokens, (experts, groups), hidden_8, gap, dtype), how, scale, seed)| {
            let (scoring, kind, forced, round_logits, more) = how;
            let most = groups.map_or(experts, |(count, chosen)| chosen * (experts / count));
            let top_k = 1 + (seed >> 32) as usize % most.min(16);
            // Many tokens only with short rows, for time.
            let tokens = if hidden_8 * experts > 1000 { tokens.min(9) } else { tokens };
            Case {
                tokens,
                experts,
                top_k,
                hidden_8,
                gap,
                dtype,
                scoring,
                groups,
                kind,
                forced,
                scale,
                round_logits,
                more,
                seed,
            }
        },
    )
}

/// What the operator is given.
#[derive(Clone)]
pub(crate) struct Inputs<T> {
    /// `[tokens, hidden + gap]`, or the logits likewise.
    pub(crate) rows: Vec<T>,
    /// `[experts, hidden + gap]`.
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<f32>,
    pub(crate) forced: Vec<i32>,
}

/// What it leaves. Empty where it was not asked for.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) ids: Vec<i32>,
    pub(crate) weights: Vec<f32>,
    logits: Vec<f32>,
    probabilities: Vec<f32>,
    counts: Vec<i32>,
}

impl Case {
    fn columns(&self) -> usize {
        if self.hidden_8 == 0 { self.experts } else { 8 * self.hidden_8 }
    }

    pub(crate) fn stride(&self) -> usize {
        self.columns() + if self.hidden_8 == 0 { self.gap } else { 8 * self.gap }
    }

    pub(crate) fn inputs<T: Float>(&self) -> Inputs<T> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let few = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, 1e-40, 0.0, 3.0];
        let columns = self.columns();
        let rows = |random: &mut fastrand::Rng, count: usize, special: bool| {
            let mut rows = vec![poison::<T>(); count * self.stride()];
            for row in rows.chunks_mut(self.stride().max(1)).take(count) {
                let data: Vec<T> = match self.kind {
                    0 => values(random, columns, 2.0),
                    1 | 3 => (0..columns).map(|_| T::new(random.i32(-4..5) as f32 / 4.0)).collect(),
                    _ => vec![T::new(0.5); columns],
                };
                for (to, from) in row.iter_mut().zip(data) {
                    // A few special hidden states spoil all logits of their token.
                    let chance = if self.hidden_8 == 0 { 3 } else { 2 * columns };
                    let spoil = special && self.kind == 3 && random.usize(..chance) == 0;
                    *to = if spoil { T::new(few[random.usize(..few.len())]) } else { from };
                }
            }
            rows
        };
        let weight = if self.hidden_8 == 0 { 0 } else { self.experts };
        Inputs {
            rows: rows(&mut random, self.tokens, true),
            weight: rows(&mut random, weight, false),
            bias: values(&mut random, self.experts, 0.5),
            forced: (0..self.tokens * self.top_k)
                .map(|_| match random.u32(..8) {
                    0 => [-1, self.experts as i32, i32::MIN, i32::MAX][random.usize(..4)],
                    _ => random.i32(0..self.experts as i32),
                })
                .collect(),
        }
    }
}

/// Runs the case on a device; what is not asked for is poison or empty.
pub(crate) fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    inputs: &Inputs<T>,
) -> Result<Outputs, String> {
    let text = |error: expertile::Error| error.to_string();
    let (tokens, experts, top_k) = (case.tokens as u64, case.experts as u64, case.top_k as u64);
    let (columns, stride) = (case.columns() as u64, case.stride() as u64);
    let slots = case.tokens * case.top_k;
    let fence = poison::<T>();
    let rows = Fenced::new(stream, &inputs.rows, fence).map_err(text)?;
    let weight = Fenced::new(stream, &inputs.weight, fence).map_err(text)?;
    let bias = Fenced::new(stream, &inputs.bias, 7.5f32).map_err(text)?;
    let forced = Fenced::new(stream, &inputs.forced, 3).map_err(text)?;
    let wanted = if case.more { case.tokens * case.experts } else { 0 };
    let floats = |count| Fenced::new(stream, &vec![poison::<f32>(); count], poison::<f32>());
    let kept = case.more && case.hidden_8 > 0;
    let mut logits = floats(if kept { wanted } else { 0 }).map_err(text)?;
    let mut probabilities = floats(wanted).map_err(text)?;
    let mut weights = floats(slots).map_err(text)?;
    let mut ids = Fenced::new(stream, &vec![-77; slots], -77).map_err(text)?;
    let before = vec![1000; if case.more { case.experts } else { 0 }];
    let mut counts = Fenced::new(stream, &before, -77).map_err(text)?;
    {
        let shape = [tokens, columns];
        let rows = rows.tensor(&shape, &[stride, 1]).map_err(text)?;
        let input = match case.hidden_8 {
            0 => RouterInput::Logits(rows),
            _ => RouterInput::Hidden {
                h: rows,
                weight: weight.tensor(&[experts, columns], &[stride, 1]).map_err(text)?,
                round_logits: case.round_logits,
            },
        };
        let scoring = match scoring(case.scoring, &inputs.bias) {
            ReferenceScoring::Softmax { p_norm } => {
                Scoring::Softmax { p_norm: p_norm.map(|p| p as f32) }
            }
            ReferenceScoring::TopKSoftmax => Scoring::TopKSoftmax,
            ReferenceScoring::Sigmoid { bias: given, normalize } => {
                let bias = given.map(|_| bias.tensor(&[experts], &[1]));
                Scoring::Sigmoid { bias: bias.transpose().map_err(text)?, normalize }
            }
        };
        let groups = case
            .groups
            .map(|(count, chosen)| ExpertGroups { count: count as u32, chosen: chosen as u32 });
        let (by_slot, by_expert) = ([top_k, 1], [experts, 1]);
        let full = [tokens, experts];
        let forced = case.forced.then(|| forced.tensor(&[tokens, top_k], &by_slot));
        let logits = kept.then(|| logits.tensor_mut(&full, &by_expert));
        let probabilities = case.more.then(|| probabilities.tensor_mut(&full, &by_expert));
        let counts = case.more.then(|| counts.tensor_mut(&[experts], &[1]));
        let arguments = Router {
            input,
            scoring,
            groups,
            scale: case.scale,
            forced: forced.transpose().map_err(text)?,
            ids: ids.tensor_mut(&[tokens, top_k], &by_slot).map_err(text)?,
            weights: weights.tensor_mut(&[tokens, top_k], &by_slot).map_err(text)?,
            logits: logits.transpose().map_err(text)?,
            counts: counts.transpose().map_err(text)?,
            probabilities: probabilities.transpose().map_err(text)?,
        };
        router(stream, &arguments).map_err(text)?;
    }
    rows.read(stream)?;
    weight.read(stream)?;
    Ok(Outputs {
        ids: ids.read(stream)?,
        weights: weights.read(stream)?,
        logits: logits.read(stream)?,
        probabilities: probabilities.read(stream)?,
        counts: counts.read(stream)?.iter().map(|count| count - 1000).collect(),
    })
}

/// Bit for bit, but that a NaN is a NaN.
pub(crate) fn same(name: &str, what: &str, got: &[f32], want: &[f32]) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{name}: {} {what}, not {}", got.len(), want.len()));
    }
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        if got.to_bits() != want.to_bits() && !(got.is_nan() && want.is_nan()) {
            return Err(format!("{name}: {what}[{i}] is {got:e}, not {want:e}"));
        }
    }
    Ok(())
}

pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        Dtype::F16 => check_as::<f16>(case),
        _ => check_as::<f32>(case),
    }
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let inputs = case.inputs::<T>();
    let text = |error: expertile_reference::Error| error.to_string();
    let dense = |rows: &[T]| -> Vec<f32> {
        let rows = rows.chunks(case.stride());
        rows.flat_map(|row| row[..case.columns()].iter().map(|x| x.value() as f32)).collect()
    };
    let mut logits = dense(&inputs.rows);
    if case.hidden_8 > 0 {
        let weight = dense(&inputs.weight);
        logits = logits_f32(&logits, &weight, case.columns(), size_of::<T>()).map_err(text)?;
        if case.round_logits {
            logits.iter_mut().for_each(|logit| *logit = T::new(*logit).value() as f32);
        }
    }
    let rule = Rule {
        top_k: case.top_k,
        scoring: scoring(case.scoring, &inputs.bias),
        groups: case.groups.map(|(count, chosen)| Groups { count, chosen }),
        scale: case.scale.into(),
        forced: case.forced.then_some(&inputs.forced),
    };
    let want = router_f32(&logits, case.experts, &rule).map_err(text)?;
    let again = Rule { groups: None, forced: Some(&want.ids), ..rule };
    let oracle = route(&logits, case.experts, &again, Rounding::F64).map_err(text)?;
    let counts: Vec<i32> = want.counts.iter().map(|&count| count as i32).collect();

    // The image that chooses; the second of two launches starts from f32.
    let twice = case.more && case.experts > 64 && case.hidden_8 > 0;
    let (stem, dtype) = match case.hidden_8 {
        0 => ("router_select", T::DTYPE),
        _ if twice => ("router_select", Dtype::F32),
        _ => ("router", T::DTYPE),
    };
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("{stem} {dtype} {}", device.info().images);
        let got = run(&stream, case, &inputs)?;
        if case.more {
            if case.hidden_8 > 0 {
                same(&name, "logits", &got.logits, &logits)?;
            }
            same(&name, "probabilities", &got.probabilities, &want.probabilities)?;
            if got.counts != counts {
                return Err(format!("{name}: counts are {:?}, not {counts:?}", got.counts));
            }
        }
        if got.ids != want.ids {
            let at = got.ids.iter().zip(&want.ids).position(|(got, want)| got != want);
            return Err(format!("{name}: ids[{at:?}]: {:?}, not {:?}", got.ids, want.ids));
        }
        same(&name, "weights", &got.weights, &want.weights)?;
        let p = if case.scoring == 3 { 0.75 } else { 1.0 };
        for (i, (&got, &want)) in got.weights.iter().zip(&oracle.weights).enumerate() {
            let ulps = 8.0 / p + if case.scale == 1.0 { 0.0 } else { 1.0 };
            close(&name, got, want, ulps * ulp_f32(want), || format!("weights[{i}]"))?;
        }
        count_case(&name, stem, dtype, device);
        if twice {
            let products = format!("router {} {}", T::DTYPE, device.info().images);
            count_case(&products, "router", T::DTYPE, device);
        }
    }
    Ok(())
}

#[test]
fn router_matches_reference() {
    let config = Config { cases: 2 * cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("router");
    report("router_select");
}
