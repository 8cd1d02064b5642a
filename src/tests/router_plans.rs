//! `router`: no plan shows in its results, rows may lie so far apart that 32-bit offsets would wrap, and
//! no division depends on the machine.

use super::harness::{devices, values};
use super::large::{FarRows, ROWS};
use super::router::{Case, check};
use crate::driver::DeviceInfo;
use crate::router::launch;
use expertile::{Buffer, Dtype, Result, Router, RouterInput, Scoring, Stream};
use expertile_reference::router::{Rule, Scoring as ReferenceScoring};
use expertile_reference::router_f32::router_f32;
use half::bf16;

const SOFTMAX: Scoring<'static> = Scoring::Softmax { p_norm: Some(2.0) };

/// What a call leaves.
#[derive(Clone, Debug, PartialEq)]
struct Outputs {
    ids: Vec<i32>,
    /// In bits, as all that follow.
    weights: Vec<u32>,
    logits: Vec<u32>,
    counts: Vec<i32>,
}

/// Routes to `top_k` experts, on the stream's device, planned as for another.
fn route(
    stream: &Stream,
    input: RouterInput<'_>,
    scoring: Scoring<'_>,
    [tokens, experts, top_k]: [u64; 3],
    store: bool,
    planned: &DeviceInfo,
) -> Result<Outputs> {
    let new = |dtype, elements| -> Result<Buffer> {
        let mut buffer = Buffer::new(stream.device(), dtype, elements)?;
        buffer.fill_bytes(stream, 0)?;
        Ok(buffer)
    };
    let (mut ids, mut weights) =
        (new(Dtype::I32, tokens * top_k)?, new(Dtype::F32, tokens * top_k)?);
    let (mut logits, mut counts) = (new(Dtype::F32, tokens * experts)?, new(Dtype::I32, experts)?);
    let arguments = Router {
        input,
        scoring,
        groups: None,
        scale: 1.0,
        forced: None,
        ids: ids.tensor_mut(&[tokens, top_k])?,
        weights: weights.tensor_mut(&[tokens, top_k])?,
        logits: if store { Some(logits.tensor_mut(&[tokens, experts])?) } else { None },
        counts: Some(counts.tensor_mut(&[experts])?),
        probabilities: None,
    };
    launch(stream, &arguments, planned)?;
    let bits = |buffer: &Buffer| -> Result<Vec<u32>> {
        Ok(buffer.read::<f32>(stream)?.into_iter().map(f32::to_bits).collect())
    };
    Ok(Outputs {
        ids: ids.read(stream)?,
        weights: bits(&weights)?,
        logits: bits(&logits)?,
        counts: counts.read(stream)?,
    })
}

#[test]
fn no_plan_shows_in_the_result() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        for (tokens, hidden, experts) in [(1, 64, 16), (23, 40, 5), (23, 24, 100), (70, 8, 256)] {
            let mut random = fastrand::Rng::with_seed(tokens);
            let rows = values::<bf16>(&mut random, (tokens * hidden) as usize, 1.0);
            let weight = values::<bf16>(&mut random, (experts * hidden) as usize, 1.0);
            let (rows, weight) =
                (Buffer::from_slice(&stream, &rows)?, Buffer::from_slice(&stream, &weight)?);
            let extents = [tokens, experts, 4];
            let mut seen: Option<Outputs> = None;
            // From one block for all to one for each token; in one launch and, of many experts, in two.
            for multiprocessors in [0, 1, 2, 5, 132, 1 << 20] {
                let mut planned = device.info().clone();
                planned.multiprocessors = multiprocessors;
                for store in [true, false] {
                    let input = RouterInput::Hidden {
                        h: rows.tensor(&[tokens, hidden])?,
                        weight: weight.tensor(&[experts, hidden])?,
                        round_logits: true,
                    };
                    let mut found = route(&stream, input, SOFTMAX, extents, store, &planned)?;
                    if let Some(seen) = &seen {
                        found.logits.clone_from(&seen.logits);
                    }
                    let seen = seen.get_or_insert_with(|| found.clone());
                    assert_eq!(
                        found, *seen,
                        "{device}: {multiprocessors} multiprocessors, {store}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// More tokens than blocks take at once, so that they go on to others.
#[test]
fn blocks_go_on_to_other_tokens() -> Result<(), String> {
    let most = devices().iter().map(|device| device.info().multiprocessors).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    // Two blocks of 4 tokens a multiprocessor from hidden states, eight of 8 from logits.
    for (tokens, hidden_8, experts) in [(8 * most + 5, 1, 9), (64 * most + 5, 0, 3)] {
        check(&Case {
            tokens: tokens as usize,
            experts,
            top_k: 2,
            hidden_8,
            gap: 1,
            dtype: Dtype::F16,
            scoring: 1,
            groups: None,
            kind: 0,
            forced: false,
            scale: 1.0,
            round_logits: false,
            more: true,
            seed: 13,
        })?;
    }
    Ok(())
}

#[test]
fn rows_may_be_gibibytes_apart() -> Result<()> {
    let hidden = 264;
    let mut random = fastrand::Rng::with_seed(14);
    let [h, weight] = [(); 2].map(|()| values::<bf16>(&mut random, (ROWS * hidden) as usize, 1.0));
    for device in devices() {
        let (stream, info) = (device.stream()?, device.info());
        let mut far = [(); 2].map(|()| FarRows::new(device, ROWS, hidden));
        let [Ok(far_h), Ok(far_weight)] = &mut far else {
            println!("skipped on {device}: no room for two buffers of 8 GiB");
            continue;
        };
        far_h.write(stream.raw(), &h)?;
        far_weight.write(stream.raw(), &weight)?;
        let near = [&h, &weight].map(|values| Buffer::from_slice(&stream, values));
        let [near_h, near_weight] = near.map(|buffer| buffer.unwrap());
        let shape = [ROWS, hidden];
        let products = |h, weight| RouterInput::Hidden { h, weight, round_logits: false };
        let run = |input, experts| route(&stream, input, SOFTMAX, [ROWS, experts, 2], false, info);
        let want = run(products(near_h.tensor(&shape)?, near_weight.tensor(&shape)?), ROWS)?;
        let found = run(products(far_h.tensor(&shape)?, far_weight.tensor(&shape)?), ROWS)?;
        assert_eq!(found, want, "{device}");
        assert!(want.ids[0] != want.ids[1], "{device}: {want:?}");
        // As logits, of as many experts as there may be.
        let near = near_h.strided(&[ROWS, 256], &[hidden, 1], 0)?;
        let want = run(RouterInput::Logits(near), 256)?;
        let found = run(RouterInput::Logits(far_h.tensor(&[ROWS, 256])?), 256)?;
        assert_eq!(found, want, "{device}");
        assert!(want.ids[0] != want.ids[2], "{device}: {want:?}");
    }
    Ok(())
}

/// 1 divided by the last floats below powers of two, which AMD's division may round away from the nearest:
/// sums of sigmoids of which all but one are 1.
#[test]
fn no_division_depends_on_the_machine() -> Result<()> {
    for experts in [2u64, 4, 8, 16] {
        let tokens = 400;
        // From 1 - 2^-19 to 1 - 2^-24.
        let logit = |i: u64| match i % experts {
            0 => 13.0 + (i / experts) as f32 * 0.01,
            _ => 30.0,
        };
        let logits: Vec<f32> = (0..tokens * experts).map(logit).collect();
        let rule = Rule {
            top_k: experts as usize,
            scoring: ReferenceScoring::Sigmoid { bias: None, normalize: true },
            groups: None,
            scale: 1.0,
            forced: None,
        };
        let want = router_f32(&logits, experts as usize, &rule).unwrap();
        let last = f32::from_bits((experts as f32).to_bits() - 1);
        let mut rows = want.probabilities.chunks(experts as usize);
        let is_hard = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() as f32 == last;
        assert!(rows.any(is_hard), "no sum of {experts} sigmoids is just below {experts}");
        let want: Vec<u32> = want.weights.iter().map(|weight| weight.to_bits()).collect();
        for device in devices() {
            let (stream, info) = (device.stream()?, device.info());
            let logits = Buffer::from_slice(&stream, &logits)?;
            let input = RouterInput::Logits(logits.tensor(&[tokens, experts])?);
            let scoring = Scoring::Sigmoid { bias: None, normalize: true };
            let extents = [tokens, experts, experts];
            let found = route(&stream, input, scoring, extents, false, info)?;
            let place = found.weights.iter().zip(&want).position(|(found, want)| found != want);
            assert_eq!(place, None, "{device}, {experts} experts");
        }
    }
    Ok(())
}
