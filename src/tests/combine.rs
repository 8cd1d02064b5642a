//! `combine` against the reference.

use super::harness::{
    Fenced, Float, UNIT_F32, cases, close, count_case, devices, poison, report, same_bits, values,
};
use expertile::{Combine, CombineOut, Dtype, Result, Stream, combine};
use expertile_reference::Rounding;
use expertile_reference::combine::{CombineOrder, combine as reference};
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `combine`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) top_k: usize,
    pub(crate) expert_rows: usize,
    /// `hidden / 8`.
    pub(crate) hidden_8: usize,
    /// Elements between rows, divided by 8.
    pub(crate) gap_8: usize,
    pub(crate) dtype: Dtype,
    /// 0: none, 1: added, 2: added in place.
    pub(crate) residual: u8,
    pub(crate) scale: f32,
    /// Puts NaN and infinities among the values.
    pub(crate) special: bool,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![1 => Just(0usize), 1 => Just(1), 4 => 2..20usize, 1 => Just(150)];
    let top_k = prop_oneof![2 => Just(1usize), 3 => Just(4), 4 => 1..17usize];
    let expert_rows = prop_oneof![Just(0usize), Just(1), 2..60usize];
    let hidden_8 = prop_oneof![
        4 => 1..20usize, 2 => 20..140usize, 1 => Just(768), 1 => Just(256), 1 => 140..1100usize
    ];
    let dtype = prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)];
    let scale = prop_oneof![Just(1.0f32), Just(1e-3), Just(300.0)];
    let extents = (tokens, top_k, expert_rows, hidden_8, 0..3usize);
    (extents, dtype, 0..3u8, scale, prop::bool::weighted(0.2), any::<u64>()).prop_map(
        |(extents, dtype, residual, scale, special, seed)| {
            let (tokens, top_k, expert_rows, hidden_8, gap_8) = extents;
            // Many tokens only with short rows, for time.
            let tokens = if hidden_8 > 64 { tokens.min(9) } else { tokens };
            Case {
                tokens,
                top_k,
                expert_rows,
                hidden_8,
                gap_8,
                dtype,
                residual,
                scale,
                special,
                seed,
            }
        },
    )
}

impl Case {
    pub(crate) fn hidden(&self) -> usize {
        8 * self.hidden_8
    }

    pub(crate) fn stride(&self) -> usize {
        self.hidden() + 8 * self.gap_8
    }
}

/// Runs rows of the inputs on a device; what is written, with the gaps between its rows.
pub(crate) fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    rows: &[i32],
    [expert_out, residual]: [&[T]; 2],
) -> Result<Vec<T>, String> {
    let text = |error: expertile::Error| error.to_string();
    let (fence, stride) = (poison::<T>(), case.stride() as u64);
    let tokens = (rows.len() / case.top_k) as u64;
    let hidden = case.hidden() as u64;
    let (shape, strides) = ([tokens, hidden], [stride, 1]);
    let rows = Fenced::new(stream, rows, 0).map_err(text)?;
    let expert_out = Fenced::new(stream, expert_out, fence).map_err(text)?;
    let mut residual = Fenced::new(stream, residual, fence).map_err(text)?;
    let blank = vec![fence; (tokens * stride) as usize];
    let mut out = Fenced::new(stream, &blank, fence).map_err(text)?;
    {
        let arguments = Combine {
            expert_out: expert_out
                .tensor(&[case.expert_rows as u64, hidden], &strides)
                .map_err(text)?,
            rows: rows
                .tensor(&[tokens, case.top_k as u64], &[case.top_k as u64, 1])
                .map_err(text)?,
            out: match case.residual {
                0 => CombineOut::Sum(out.tensor_mut(&shape, &strides).map_err(text)?),
                1 => CombineOut::Add(
                    residual.tensor(&shape, &strides).map_err(text)?,
                    out.tensor_mut(&shape, &strides).map_err(text)?,
                ),
                _ => CombineOut::Update(residual.tensor_mut(&shape, &strides).map_err(text)?),
            },
        };
        combine(stream, &arguments).map_err(text)?;
    }
    rows.read(stream)?;
    expert_out.read(stream)?;
    let (out, residual) = (out.read(stream)?, residual.read(stream)?);
    Ok(if case.residual == 2 { residual } else { out })
}

/// Rows of experts: most there are, some not.
pub(crate) fn rows(case: &Case, random: &mut fastrand::Rng) -> Vec<i32> {
    let end = case.expert_rows as i32;
    let none = [-1, end, end + 1, i32::MIN, i32::MAX];
    let lonely = random.u32(..4) == 0;
    let row = |_| {
        let missing = if lonely { random.u32(..4) > 0 } else { random.u32(..8) == 0 };
        if missing || end == 0 { none[random.usize(..5)] } else { random.i32(0..end) }
    };
    (0..case.tokens * case.top_k).map(row).collect()
}

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        Dtype::F16 => check_as::<f16>(case),
        _ => check_as::<f32>(case),
    }
}

/// Rows with gaps of poison.
fn rows_of<T: Float>(case: &Case, count: usize, random: &mut fastrand::Rng) -> Vec<T> {
    let (hidden, stride) = (case.hidden(), case.stride());
    let mut rows = vec![poison::<T>(); count * stride];
    for row in rows.chunks_mut(stride) {
        row[..hidden].copy_from_slice(&values(random, hidden, case.scale));
        if case.special {
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0] {
                row[random.usize(..hidden)] = T::new(special);
            }
            row[random.usize(..hidden)] = poison();
            // One that arithmetic would quieten.
            row[random.usize(..hidden)] = T::new(f32::from_bits(0x7fa0_0001));
        }
    }
    rows
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let (hidden, stride) = (case.hidden(), case.stride());
    let mut random = fastrand::Rng::with_seed(case.seed);
    let expert_out = rows_of::<T>(case, case.expert_rows, &mut random);
    let residual = rows_of::<T>(case, case.tokens, &mut random);
    let rows = rows(case, &mut random);
    let dense = |rows: &[T]| -> Vec<f64> {
        rows.chunks(stride).flat_map(|row| row[..hidden].iter().map(|x| x.value())).collect()
    };
    let of_expert = dense(&expert_out);
    let added = if case.residual > 0 { dense(&residual) } else { vec![0.0; case.tokens * hidden] };
    let known = |&row: &i32| usize::try_from(row).ok().filter(|&row| row < case.expert_rows);
    let known: Vec<Option<usize>> = rows.iter().map(known).collect();
    let order = CombineOrder::Slot;
    let want = reference(&of_expert, hidden, &known, case.top_k, &added, order, Rounding::F64)
        .map_err(|error| error.to_string())?;

    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("combine {} {}", T::DTYPE, device.info().images);
        let got = run(&stream, case, &rows, [&expert_out, &residual])?;
        for token in 0..case.tokens {
            let own: Vec<usize> =
                known[token * case.top_k..][..case.top_k].iter().flatten().copied().collect();
            for i in 0..stride {
                let out = got[token * stride + i];
                let place = || format!("out[{token}, {i}]");
                if i >= hidden {
                    // In place, the gap is what the residual had there: the same poison.
                    if out.bits() != poison::<T>().bits() {
                        return Err(format!("{name}: a gap was written: {} is {out:?}", place()));
                    }
                    continue;
                }
                // A single term keeps its bits, and nothing is a 0.
                let single = match (&own[..], case.residual > 0) {
                    ([], false) => Some(T::new(0.0)),
                    ([], true) => Some(residual[token * stride + i]),
                    ([row], false) => Some(expert_out[row * stride + i]),
                    _ => None,
                };
                if let Some(single) = single {
                    if out.bits() != single.bits() {
                        return Err(format!("{name}: {} is {out:?}, not {single:?}", place()));
                    }
                    continue;
                }
                let terms = own.iter().map(|row| of_expert[row * hidden + i]);
                let bound = bound::<T>(terms.chain([added[token * hidden + i]]));
                let want = want[token * hidden + i];
                // f32 is out of range where f64 is not.
                if want.abs() + bound < limit::<T>() || !want.is_finite() {
                    close(&name, out, want, bound, place)?;
                }
            }
        }
        // A token alone gives the same bits, among rows of NaN: nothing depends on the batch.
        if case.tokens > 1 {
            let token = case.seed as usize % case.tokens;
            let own = &rows[token * case.top_k..][..case.top_k];
            let row = token * stride..(token + 1) * stride;
            let mut alone = vec![poison::<T>(); expert_out.len()];
            for &row in known[token * case.top_k..][..case.top_k].iter().flatten() {
                let row = row * stride..(row + 1) * stride;
                alone[row.clone()].copy_from_slice(&expert_out[row]);
            }
            let alone = run(&stream, case, own, [&alone, &residual[row.clone()]])?;
            same_bits(&format!("{name}: token {token} alone"), &alone, &got[row])?;
        }
        count_case(&name, "combine", T::DTYPE, device);
    }
    Ok(())
}

/// What f32 additions and the last rounding may leave.
///
/// The first term is exact; each addition after it rounds the partial sum by at most `UNIT_F32` of
/// it, which is at most the sum of magnitudes so far. Then the result is rounded to the dtype, but for
/// f32, where that is the last addition's.
fn bound<T: Float>(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut magnitude, mut sum, mut error) = (0.0, 0.0, 0.0);
    for (i, term) in terms.enumerate() {
        magnitude += term.abs();
        sum += term;
        if i > 0 {
            error += UNIT_F32 * (magnitude + error);
        }
    }
    let last = if T::UNIT == UNIT_F32 { 0.0 } else { T::UNIT };
    error + last * (sum.abs() + error) + T::TINY
}

/// Where rounding to the type gives infinity.
fn limit<T: Float>() -> f64 {
    match T::ROUNDING {
        Rounding::F16 => 65_504.0,
        _ => f64::from(f32::MAX),
    }
}

#[test]
fn combine_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("combine");
}

fn plain(tokens: usize, top_k: usize, hidden_8: usize) -> Case {
    let dtype = [Dtype::Bf16, Dtype::F16, Dtype::F32][tokens % 3];
    Case {
        tokens,
        top_k,
        expert_rows: tokens * top_k,
        hidden_8,
        gap_8: 0,
        dtype,
        residual: (tokens / 3 % 3) as u8,
        scale: 1.0,
        special: tokens.is_multiple_of(4),
        seed: tokens as u64,
    }
}

#[test]
fn every_number_of_tokens_and_slots_is_combined() -> Result<(), String> {
    (1..=512).try_for_each(|tokens| check(&plain(tokens, 1 + tokens % 16, 1 + tokens % 5)))
}

/// In f32 1e8 + 1 is 1e8: the order of the slots is seen, and that the residual comes last.
#[test]
fn the_order_is_that_of_the_slots() -> Result<(), String> {
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        for top_k in 3..=16 {
            let case = Case { dtype: Dtype::F32, residual: 1, ..plain(1, top_k, 1) };
            // The last two slots are 1e8 and 1; 1 - 1e8 before them leaves 1 of them.
            let mut of_slot = vec![0.0f32; top_k];
            (of_slot[0], of_slot[top_k - 2], of_slot[top_k - 1]) = (-1e8, 1e8, 1.0);
            let expert_out: Vec<f32> = of_slot.iter().flat_map(|&value| [value; 8]).collect();
            let rows: Vec<i32> = (0..top_k as i32).collect();
            let sum = |residual: f32| run(&stream, &case, &rows, [&expert_out, &[residual; 8]]);
            assert_eq!(sum(0.0)?, [1.0; 8], "{device}: top_k {top_k}");
            assert_eq!(sum(-1e8)?, [-1e8; 8], "{device}: top_k {top_k}");
            let reversed: Vec<i32> = rows.iter().rev().copied().collect();
            let reversed = run(&stream, &case, &reversed, [&expert_out, &[0.0; 8]])?;
            assert_eq!(reversed, [0.0; 8], "{device}: top_k {top_k}");
        }
    }
    Ok(())
}
