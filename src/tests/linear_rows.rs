//! `linear`: what a row depends on, and where tiles end.

use super::harness::{same_bits, values};
use super::linear::{Case, Operands, able, check, plain, run};
use expertile::{Dtype, Result};
use half::bf16;

/// On both sides of every number of tokens at which another kernel or another tile begins.
const TOKENS: [usize; 14] = [1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 257];

/// Whole numbers: every path, layout and device gives the bits of the exact sum.
#[test]
fn whole_numbers_are_exact_on_every_path() -> Result<(), String> {
    for (i, tokens) in TOKENS.into_iter().enumerate() {
        for is_nn in [false, true] {
            check(&Case {
                is_nn,
                whole: true,
                residual: (i % 3) as u8,
                widens: i % 2 == 0,
                dtype: [Dtype::Bf16, Dtype::F16][i / 2 % 2],
                clamp: [None, Some(64.0)][i / 4 % 2],
                ..plain(tokens, 3 + i, 36 - i)
            })?;
        }
    }
    Ok(())
}

/// A row has the same bits alone, among few and among many, and whatever the others are.
#[test]
fn a_row_does_not_depend_on_the_batch() -> Result<(), String> {
    for is_nn in [false, true] {
        let most = Case { is_nn, ..plain(300, 25, 40) };
        let Operands { x, weight, residual } = most.operands::<bf16, f32>();
        let (k, n) = (8 * most.in_8, 8 * most.out_8);
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let of = |rows: &[usize]| -> Result<Vec<f32>, String> {
                let x = rows.iter().flat_map(|row| x[row * k..][..k].iter().copied()).collect();
                let residual = residual[..rows.len() * n].to_vec();
                let case = Case { tokens: rows.len(), ..most.clone() };
                run(&stream, &case, &Operands { x, weight: weight.clone(), residual })
            };
            let all = of(&(0..most.tokens).collect::<Vec<_>>())?;
            let mut random = fastrand::Rng::with_seed(7);
            for tokens in TOKENS {
                let rows: Vec<usize> = (0..tokens).map(|_| random.usize(..most.tokens)).collect();
                let some = of(&rows)?;
                for (at, row) in rows.into_iter().enumerate() {
                    let name = format!("linear {device}: row {row} among {tokens}");
                    same_bits(&name, &some[at * n..][..n], &all[row * n..][..n])?;
                }
            }
        }
    }
    Ok(())
}

/// NaN and infinities stay in their rows, next to rows of any place in a tile.
#[test]
fn what_is_not_a_number_stays_in_its_row() -> Result<(), String> {
    for tokens in [5, 40, 200] {
        for is_nn in [false, true] {
            check(&Case { is_nn, special: true, whole: true, ..plain(tokens, 11, 35) })?;
        }
    }
    Ok(())
}

/// Every end of k and of the features within a tile.
#[test]
fn tiles_end_anywhere() -> Result<(), String> {
    for i in 1..=40 {
        let (tokens, is_nn) = ([3, 70][i % 2], i % 3 == 0);
        check(&Case { is_nn, whole: true, residual: 1, ..plain(tokens, i, 41 - i) })?;
    }
    Ok(())
}

/// Subnormal sums, and ones that overflow the result's type.
#[test]
fn results_may_be_small_or_infinite() -> Result<(), String> {
    for (scale, tokens) in [(1e-20f32, 9), (3e18, 70)] {
        let case = plain(tokens, 8, 12);
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let mut random = fastrand::Rng::with_seed(5);
            let operands = Operands {
                x: values::<bf16>(&mut random, tokens * 64, scale),
                weight: values::<bf16>(&mut random, 64 * 96, scale),
                residual: vec![0.0f32; tokens * 96],
            };
            let got = run(&stream, &case, &operands)?;
            assert_eq!(got.len(), tokens * 96);
            assert!(got.iter().all(|value| !value.is_nan()), "{device}: scale {scale}");
        }
    }
    Ok(())
}

/// Few tokens by so many features that a multiprocessor has more than one warp's: blocks of two warps to eight.
#[test]
fn many_features_share_a_block() -> Result<(), String> {
    let multiprocessors = able().map(|device| device.info().multiprocessors as usize).max();
    for (i, warps) in (2..=8).enumerate() {
        for is_nn in [false, true] {
            let eighths = 2 * multiprocessors.unwrap_or(1) * warps - 1;
            check(&Case { is_nn, whole: true, ..plain(1 + 9 * i, 9, eighths) })?;
        }
    }
    Ok(())
}
