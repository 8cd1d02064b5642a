//! Matrix products of f32 rows with weights in their stored type.
//!
//! A product is cut into panels of the weight. Each panel is one task: it widens its part of the
//! weight to f32 and multiplies. Few rows (decode) are bound by reading the weight and use plain
//! loops over one weight row at a time, which the compiler vectorises for the machine at hand; many
//! rows (prefill) are bound by arithmetic and go through the `gemm` crate.

use crate::tensor::{Elements, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use pulp::Arch;
use rayon::prelude::*;

/// Up to this many rows, a product reads each weight row once and takes its dot products.
const FEW_ROWS: usize = 4;

/// The elements of a widened panel: 1 MB of f32, which the caches hold beside the rows.
const PANEL_ELEMENTS: usize = 256 * 1024;

/// Products of fewer multiplications than this stay on the calling thread.
const SMALL_PRODUCT: usize = 64 * 1024;

/// A stored element type that widens to f32 exactly.
pub(super) trait Stored: Copy + Sync {
    /// Widens `from` into `to`, which are equally long.
    fn widen(from: &[Self], to: &mut [f32]);
}

impl Stored for f32 {
    #[inline(always)]
    fn widen(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn widen(from: &[f16], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widen(from: &[bf16], to: &mut [f32]) {
        // The bits moved up; `bf16::to_f32` would also quieten NaNs, a branch for each element.
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    }
}

/// `x weight^T`, `[rows, out_features]`: x is `[rows, in_features]`, weight
/// `[out_features, in_features]`. `extents` are rows, in_features, out_features.
pub(super) fn linear(x: &[f32], weight: &Tensor, extents: [usize; 3]) -> Vec<f32> {
    match weight.elements() {
        Elements::F32(weight) => linear_stored(x, weight, extents),
        Elements::F16(weight) => linear_stored(x, weight, extents),
        Elements::Bf16(weight) => linear_stored(x, weight, extents),
    }
}

fn linear_stored<W: Stored>(x: &[f32], weight: &[W], extents: [usize; 3]) -> Vec<f32> {
    let [rows, in_features, out_features] = extents;
    let mut out = vec![0.0; rows * out_features];
    if out.is_empty() || in_features == 0 {
        return out;
    }
    let panel = panel_extent(in_features);
    let product = |weight: &[W]| {
        let mut out = vec![0.0; rows * (weight.len() / in_features)];
        rows_by_transpose(x, weight, in_features, &mut out);
        out
    };
    let panels: Vec<Vec<f32>> = if rows * in_features * out_features < SMALL_PRODUCT {
        weight.chunks(panel * in_features).map(product).collect()
    } else {
        weight.par_chunks(panel * in_features).map(product).collect()
    };
    for (index, part) in panels.iter().enumerate() {
        put_columns(part, &mut out, out_features, index * panel);
    }
    out
}

/// How many rows of `length` elements make a panel: enough tasks for every core, few enough that
/// packing the rows for each costs little.
pub(super) fn panel_extent(length: usize) -> usize {
    (PANEL_ELEMENTS / length.max(1)).clamp(32, 256)
}

/// Writes `part`, `[rows, columns]`, over the columns of `out`, `[rows, width]`, from `first` on.
pub(super) fn put_columns(part: &[f32], out: &mut [f32], width: usize, first: usize) {
    let rows = out.len() / width;
    let columns = part.len() / rows;
    for (out, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(columns)) {
        out[first..first + columns].copy_from_slice(part);
    }
}

/// `out = x weight^T` on this thread: x `[rows, k]`, weight `[n, k]`, out `[rows, n]`.
pub(super) fn rows_by_transpose<W: Stored>(x: &[f32], weight: &[W], k: usize, out: &mut [f32]) {
    let (rows, n) = (x.len() / k, weight.len() / k);
    if rows > FEW_ROWS {
        let mut panel = vec![0.0; weight.len()];
        widen(weight, &mut panel);
        return matmul(Matrix::rows(x, k), Matrix::rows(&panel, k).transposed(), out, false);
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut wide = vec![0.0; k];
            for (feature, weight) in weight.chunks_exact(k).enumerate() {
                W::widen(weight, &mut wide);
                for (row, x) in x.chunks_exact(k).enumerate() {
                    out[row * n + feature] = dot(x, &wide);
                }
            }
        },
    );
}

/// `out += x weight[:, first..first + columns]` on this thread: x `[rows, k]`, weight `[k, width]`,
/// out `[rows, columns]`.
pub(super) fn rows_by_columns<W: Stored>(
    x: &[f32],
    weight: &[W],
    width: usize,
    first: usize,
    out: &mut [f32],
) {
    let k = weight.len() / width;
    let rows = x.len() / k;
    let columns = out.len() / rows;
    let slice = |row: usize| &weight[row * width + first..][..columns];
    if rows > FEW_ROWS {
        let depth = (PANEL_ELEMENTS / columns).max(1);
        let mut panel = vec![0.0; depth.min(k) * columns];
        for start in (0..k).step_by(depth) {
            let depth = depth.min(k - start);
            let panel = &mut panel[..depth * columns];
            for (row, wide) in panel.chunks_exact_mut(columns).enumerate() {
                widen(slice(start + row), wide);
            }
            let x = Matrix { elements: &x[start..], rows, columns: depth, strides: [k, 1] };
            matmul(x, Matrix::rows(panel, columns), out, true);
        }
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut wide = vec![0.0; columns];
            for row in 0..k {
                W::widen(slice(row), &mut wide);
                for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(columns)) {
                    let x = x[row];
                    for (out, &wide) in out.iter_mut().zip(&wide) {
                        *out += x * wide;
                    }
                }
            }
        },
    );
}

fn widen<W: Stored>(from: &[W], to: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || W::widen(from, to),
    );
}

/// The dot product in 64 partial sums, which are added pairwise. A product is rounded before it is
/// added, so that the sum is the same on machines with and without fused multiply-add.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut sums = [0.0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut lanes = LANES / 2;
    while lanes > 0 {
        for lane in 0..lanes {
            sums[lane] += sums[lane + lanes];
        }
        lanes /= 2;
    }
    sums[0] + tail
}

/// A strided view of `elements`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) elements: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// From one row to the next, from one column to the next.
    pub(super) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Adjacent rows of `columns` elements.
    pub(super) fn rows(elements: &'a [f32], columns: usize) -> Matrix<'a> {
        Matrix { elements, rows: elements.len() / columns, columns, strides: [columns, 1] }
    }

    pub(super) fn transposed(self) -> Matrix<'a> {
        let [row, column] = self.strides;
        Matrix { rows: self.columns, columns: self.rows, strides: [column, row], ..self }
    }

    /// Whether every element of the view is one of `elements`.
    fn fits(&self) -> bool {
        let last = |extent: usize, stride: usize| extent.checked_sub(1)?.checked_mul(stride);
        match (last(self.rows, self.strides[0]), last(self.columns, self.strides[1])) {
            (Some(row), Some(column)) => {
                row.checked_add(column).is_some_and(|last| last < self.elements.len())
            }
            // No rows or no columns: nothing is read. Overflow: `checked_sub` passed, so not empty.
            _ => self.rows == 0 || self.columns == 0,
        }
    }
}

/// `out = a b`, or `out += a b`, on this thread; `out` is `[a.rows, b.columns]` without gaps.
///
/// # Panics
///
/// When the extents disagree, a view leaves its slice, or `out` has another length: a fault of this
/// crate, since callers' extents have been checked before.
pub(super) fn matmul(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], add: bool) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert!(depth == b.rows && a.fits() && b.fits(), "matmul: views and extents disagree");
    assert_eq!(out.len(), rows * columns, "matmul: out is not [{rows}, {columns}]");
    // SAFETY: `fits` holds for both views, so every element that gemm reads through them is in the
    // borrowed slices, and `out` is exactly the rows x columns elements that it writes, exclusively
    // borrowed. The strides are below the slices' lengths, so they are below isize::MAX. The call
    // is synchronous: no access outlives the borrows.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            out.as_mut_ptr(),
            1,
            columns as isize,
            add,
            a.elements.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.elements.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
