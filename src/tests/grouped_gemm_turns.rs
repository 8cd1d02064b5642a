//! The experts' products where each compute unit of a large device has several tiles.

use super::grouped_gemm::{Case, Product, able, plain};
use super::grouped_gemm_check::check;
use expertile::{Dtype, Platform};

/// Rows of so many experts in so many tiles of features, and no more rows than show which tile went where.
fn turns(product: Product, counts: &[usize], [in_8, out_8]: [usize; 2]) {
    if able().all(|device| device.info().platform != Platform::Hip) {
        return;
    }
    let case = Case {
        spare: 1,
        dtype: [Dtype::Bf16, Dtype::F16][in_8 % 2],
        biased: true,
        whole: true,
        ..plain(product, counts, in_8, out_8)
    };
    check(&case).unwrap_or_else(|error| panic!("{error}"));
}

/// 256 experts of a few rows, some of none: more than 608 tiles of 32 or 64 features. The next tile has another
/// expert, another column and another number of rows.
#[test]
fn few_rows_take_turns() {
    let counts: Vec<usize> = (0..256).map(|expert| [1, 2, 0, 17, 3, 1, 1][expert % 7]).collect();
    turns(Product::Up { packed: false }, &counts, [1, 13]);
    turns(Product::Down { is_nn: false }, &counts, [17, 25]);
    turns(Product::Down { is_nn: true }, &counts, [18, 25]);
}

/// 256 experts, of whom most have rows for the wide tiles and two have more than a tile: more than 304 tiles of 128
/// or 256 features.
#[test]
fn many_rows_take_turns() {
    let mut counts: Vec<usize> = (0..256).map(|expert| [44, 30, 40, 0, 48][expert % 5]).collect();
    (counts[7], counts[200]) = (700, 300);
    turns(Product::Up { packed: true }, &counts, [1, 17]);
    turns(Product::Down { is_nn: true }, &counts, [9, 33]);
    turns(Product::Down { is_nn: false }, &counts, [2, 33]);
}
