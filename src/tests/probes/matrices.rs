//! Where the elements of matrices lie in registers, and what their products are.
//!
//! By NVIDIA's "PTX ISA", 9.7.14.5.8 (mma.m16n8k16), 9.7.14.5.15 (ldmatrix) and 9.7.14.5.16 (stmatrix), and
//! by AMD's matrix instruction calculator for CDNA2 and CDNA3.

type Bits = fn(u16) -> f32;

/// Half `i` of some words.
fn half(words: &[u32], i: usize) -> u16 {
    (words[i / 2] >> (16 * (i % 2))) as u16
}

/// The warp of a lane among 64, and the lane's number in it; a lane has `words` words.
fn warp(x: &[u32], lane: usize, words: usize) -> (&[u32], usize) {
    (&x[lane / 32 * 32 * words..][..32 * words], lane % 32)
}

fn pack(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

/// Lane 8 i + r gave row r of matrix i; a lane gets two elements of each matrix.
pub(super) fn load(x: &[u32], lane: usize) -> Vec<u32> {
    let (x, lane) = warp(x, lane, 4);
    (0..4).map(|matrix| x[4 * (8 * matrix + lane / 4) + lane % 4]).collect()
}

pub(super) fn load_transposed(x: &[u32], lane: usize) -> Vec<u32> {
    let (x, lane) = warp(x, lane, 4);
    let element =
        |matrix: usize, row: usize, column| half(&x[4 * (8 * matrix + row)..][..4], column);
    let pair = |matrix| {
        let [low, high] = [0, 1].map(|i| element(matrix, 2 * (lane % 4) + i, lane / 4));
        pack(low, high)
    };
    (0..4).map(pair).collect()
}

/// A lane gets the row whose address it gave: four words, each of another lane.
pub(super) fn store(x: &[u32], lane: usize) -> Vec<u32> {
    let (x, lane) = warp(x, lane, 4);
    let (matrix, row) = (lane / 8, lane % 8);
    (0..4).map(|column| x[4 * (4 * row + column) + matrix]).collect()
}

/// D[16, 8] = A[16, 16] B[16, 8] + C: a lane has 4 words of A, 2 of B, 4 of C.
pub(super) fn of_warp(x: &[u32], lane: usize, number: Bits) -> Vec<u32> {
    let (x, lane) = warp(x, lane, 10);
    let words = |group: usize, k: usize| &x[10 * (4 * group + k % 8 / 2)..][..10];
    // Group g of four lanes has rows g and g + 8; its lanes have two k of the lower eight, two of the upper.
    let a =
        |row: usize, k: usize| number(half(words(row % 8, k), 4 * (k / 8) + row / 8 * 2 + k % 2));
    let b = |k: usize, column: usize| number(half(words(column, k), 8 + 2 * (k / 8) + k % 2));
    let own = &x[10 * lane + 6..][..4];
    let sum = |i: usize| {
        let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
        let products = (0..16).map(|k| f64::from(a(row, k)) * f64::from(b(k, column)));
        ((f64::from(f32::from_bits(own[i])) + products.sum::<f64>()) as f32).to_bits()
    };
    (0..4).map(sum).collect()
}

/// D[M, M] = A[M, K] B[K, M] + C, K = 256 / M: a lane has 4 elements of A and of B, then M M / 64 words of C.
pub(super) fn of_wave<const M: usize>(x: &[u32], lane: usize, number: Bits) -> Vec<u32> {
    let (k_all, sums) = (256 / M, M * M / 64);
    let stride = 4 + sums;
    let words = |row: usize, k: usize| &x[stride * (row + k / 4 * M)..][..4];
    let a = |row: usize, k: usize| number(half(words(row, k), k % 4));
    let b = |k: usize, column: usize| number(half(words(column, k), 4 + k % 4));
    let own = &x[stride * lane + 4..][..sums];
    let sum = |i: usize| {
        // Four rows of each group of lanes, then the next group's.
        let (row, column) = (i / 4 * 256 / M + lane / M * 4 + i % 4, lane % M);
        let products = (0..k_all).map(|k| f64::from(a(row, k)) * f64::from(b(k, column)));
        ((f64::from(f32::from_bits(own[i])) + products.sum::<f64>()) as f32).to_bits()
    };
    (0..sums).map(sum).collect()
}
