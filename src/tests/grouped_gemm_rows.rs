//! The experts' products: what a row depends on, and where tiles end.

use super::grouped_gemm::{Case, Operands, Packed, Product, able, plain, run};
use super::grouped_gemm_check::check;
use super::harness::same_bits;
use expertile::{Activation, Dtype};
use half::bf16;

const PRODUCTS: [Product; 4] = [
    Product::Up { packed: false },
    Product::Up { packed: true },
    Product::Down { is_nn: false },
    Product::Down { is_nn: true },
];

/// Whole numbers: every path, layout and device gives the bits of the exact sum. Experts end on both sides of every
/// number of rows at which a tile or a path ends.
#[test]
fn whole_numbers_are_exact_on_every_path() -> Result<(), String> {
    for (i, counts) in [
        &[1usize][..],
        &[8, 0, 9],
        &[64, 1, 0, 17],
        &[0, 65],
        &[127, 128, 129],
        &[0, 0, 257, 2],
        &[300],
        &[1; 40],
    ]
    .into_iter()
    .enumerate()
    {
        for (j, product) in PRODUCTS.into_iter().enumerate() {
            check(&Case {
                whole: true,
                biased: (i + j) % 2 == 0,
                spare: i % 3,
                dtype: [Dtype::Bf16, Dtype::F16][j % 2],
                activation: [Activation::Silu, Activation::GeluTanh][i / 2 % 2],
                gaps_8: [i % 2, j % 2, 1, i % 3],
                ..plain(product, counts, 3 + i, 36 - i)
            })?;
        }
    }
    Ok(())
}

/// A row has the same bits alone, among few and among many, of its expert and of others.
#[test]
fn a_row_does_not_depend_on_the_others() -> Result<(), String> {
    for product in PRODUCTS {
        let most = plain(product, &[150, 90], 9, 12);
        let Operands { x, weights, biases, pairs, pair_weights, offsets } = most.operands::<bf16>();
        let [k, n] = most.features();
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let packed = |w: &Packed<bf16>| Packed { values: w.values.clone(), ..*w };
            let of = |rows: &[Vec<usize>]| -> Result<Vec<bf16>, String> {
                let all: Vec<usize> = rows.concat();
                let from = |row: &usize| x.values[row * k..][..k].to_vec();
                let own = if most.is_up() {
                    packed(&x)
                } else {
                    let values = all.iter().flat_map(from).collect();
                    Packed { values, shape: [1, all.len() as u64, k as u64], strides: x.strides }
                };
                let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
                let mut ends = vec![0];
                counts.iter().for_each(|count| ends.push(ends[ends.len() - 1] + *count as i32));
                let case = Case { counts, ..most.clone() };
                let operands = Operands {
                    x: own,
                    weights: weights.iter().map(packed).collect(),
                    biases: biases.clone(),
                    pairs: all.iter().map(|row| pairs[*row]).collect(),
                    pair_weights: pair_weights.clone(),
                    offsets: ends,
                };
                run(&stream, &case, &operands)
            };
            let whole = of(&[(0..150).collect(), (150..240).collect()])?;
            assert_eq!(offsets, [0, 150, 240]);
            let mut random = fastrand::Rng::with_seed(7);
            for counts in [[1usize, 0], [0, 1], [8, 9], [16, 17], [64, 0], [65, 3], [129, 40]] {
                let rows = [0, 1].map(|expert| -> Vec<usize> {
                    let range = [0..150, 150..240][expert].clone();
                    (0..counts[expert]).map(|_| random.usize(range.clone())).collect()
                });
                let some = of(&rows)?;
                for (at, row) in rows.concat().into_iter().enumerate() {
                    let name =
                        format!("grouped_gemm {device}: {product:?} row {row} in {counts:?}");
                    same_bits(&name, &some[at * n..][..n], &whole[row * n..][..n])?;
                }
            }
        }
    }
    Ok(())
}

/// NaN and infinities stay in their rows, next to rows of any place in a tile; those of one expert's weights in its.
#[test]
fn what_is_not_a_number_stays_in_its_row() -> Result<(), String> {
    for product in PRODUCTS {
        for counts in [&[5usize, 3][..], &[70, 60]] {
            check(&Case { special: true, whole: true, ..plain(product, counts, 11, 13) })?;
        }
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            for counts in [&[4usize, 4, 3][..], &[50, 61, 40]] {
                // Neither k nor the features end with a tile.
                let case = plain(product, counts, 5, 7);
                let whole = case.operands::<bf16>();
                let mut broken = case.operands::<bf16>();
                for weight in &mut broken.weights {
                    let by_expert = weight.strides[0] as usize;
                    weight.values[by_expert..2 * by_expert].fill(bf16::NAN);
                }
                let n = case.features()[1];
                let (want, found) = (run(&stream, &case, &whole)?, run(&stream, &case, &broken)?);
                let own = counts[0] * n..(counts[0] + counts[1]) * n;
                let name = format!("grouped_gemm {device}: {product:?} beside NaN");
                same_bits(&name, &found[..own.start], &want[..own.start])?;
                same_bits(&name, &found[own.end..], &want[own.end..])?;
                assert!(found[own].iter().all(|x| x.is_nan()), "{name}");
            }
        }
    }
    Ok(())
}

/// Every end of k and of the features within a tile.
#[test]
fn tiles_end_anywhere() -> Result<(), String> {
    for i in 1..=36 {
        let counts = [&[3usize, 9][..], &[70, 1]][i % 2];
        let product = PRODUCTS[i / 2 % 4];
        check(&Case { whole: true, ..plain(product, counts, i, 37 - i) })?;
    }
    Ok(())
}
