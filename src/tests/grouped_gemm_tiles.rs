//! The experts' products in whole numbers, of which every sum is exact: each path, its tails, blocks with several tiles.

use super::grouped_gemm::{Case, Product, plain};
use super::grouped_gemm_check::check;
use expertile::{Activation, Dtype};

const PRODUCTS: [Product; 4] = [
    Product::Up { packed: false },
    Product::Up { packed: true },
    Product::Down { is_nn: false },
    Product::Down { is_nn: true },
];

const ACTIVATIONS: [Activation; 3] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::ClampedSwiglu { limit: 7.0, alpha: 1.702 },
];

/// A product of so many rows an expert, with rows and gaps that nobody may touch.
fn exact(product: Product, dtype: Dtype, counts: &[usize], [in_8, out_8]: [usize; 2]) {
    let case = Case {
        spare: 2,
        gaps_8: [1, 1, 1, 2],
        dtype,
        biased: true,
        activation: ACTIVATIONS[in_8 % ACTIVATIONS.len()],
        whole: true,
        ..plain(product, counts, in_8, out_8)
    };
    check(&case).unwrap_or_else(|error| panic!("{error}"));
}

fn all_exact(counts: &[usize], features_8: [usize; 2]) {
    for (i, product) in PRODUCTS.into_iter().enumerate() {
        let dtype = if i % 2 == 0 { Dtype::Bf16 } else { Dtype::F16 };
        exact(product, dtype, counts, features_8);
    }
}

#[test]
fn many_rows_of_whole_numbers_are_exact() {
    all_exact(&[130, 0, 17, 1], [9, 17]);
    all_exact(&[300, 40], [41, 33]);
}

#[test]
fn few_rows_of_whole_numbers_are_exact() {
    all_exact(&[1, 9, 0, 17, 33, 65], [25, 9]);
    all_exact(&[64, 8, 16, 32, 3], [129, 5]);
}

/// More tiles than an H100 has multiprocessors.
#[test]
fn blocks_go_through_several_tiles() {
    let few: Vec<usize> = (0..70).map(|expert| 1 + expert % 3).collect();
    for product in [PRODUCTS[1], PRODUCTS[2]] {
        exact(product, Dtype::Bf16, &[33; 134], [9, 1]);
        exact(product, Dtype::Bf16, &few, [33, 10]);
    }
}
