//! Matrix products of f32 rows with weights in their stored type.
//!
//! A product is cut into panels of the weight. Each panel is one task: it widens its part of the
//! weight to f32 and multiplies. Few rows (decode) are bound by reading the weight and use plain
//! loops over one weight row at a time, which the compiler vectorises for the machine at hand; many
//! rows (prefill) are bound by arithmetic and go through the `gemm` crate.

use crate::tensor::{Elements, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::cell::RefCell;

/// Up to this many rows, a product takes dot products one row after another, the panel staying in
/// the cache. `gemm` packs both operands first, which pays from about here on.
pub(super) const FEW_ROWS: usize = 16;

/// The elements that are widened at a time on the way to a few rows, in registers and the nearest
/// cache: twice as fast as whole weight rows, which spill out of both (AMD EPYC 9004, 2026-11-23).
const BLOCK: usize = 128;

/// The elements of a widened panel: 1 MB of f32, which the caches hold beside the rows.
const PANEL_ELEMENTS: usize = 256 * 1024;

/// The largest buffer that a thread keeps: 32 MB of f32.
const KEPT_ELEMENTS: usize = 8 * 1024 * 1024;

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
    let panel = panel_extent(in_features, out_features, 16);
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

/// How many of `count` weight rows or columns of `length` elements make a panel, so that there are
/// `tasks` of them where they stay large enough: packing the rows for each should cost little, and
/// reading a part of each weight row should not be slow.
pub(super) fn panel_extent(length: usize, count: usize, tasks: usize) -> usize {
    let most = (PANEL_ELEMENTS / length.max(1)).clamp(256, 512);
    count.div_ceil(tasks).next_multiple_of(32).clamp(64, most)
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
    if x.len() / k > FEW_ROWS {
        return with_scratch(weight.len(), |panel| {
            widen(weight, panel);
            matmul(Matrix::rows(x, k), Matrix::rows(panel, k).transposed(), out, false);
        });
    }
    let n = weight.len() / k;
    for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        Arch::new().dispatch(Dots { x, weight, out });
    }
}

/// The dot product of one row with every row of the weight.
struct Dots<'a, W> {
    x: &'a [f32],
    weight: &'a [W],
    out: &'a mut [f32],
}

impl<W: Stored> WithSimd for Dots<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dots { x, weight, out } = self;
        let (x_blocks, x_tail) = x.as_chunks::<BLOCK>();
        let mut wide = [0.0; BLOCK];
        for (out, weight) in out.iter_mut().zip(weight.chunks_exact(x.len())) {
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (blocks, tail) = weight.as_chunks::<BLOCK>();
            for (x, weight) in x_blocks.iter().zip(blocks) {
                W::widen(weight, &mut wide);
                sums = add_products(simd, x, &wide, sums);
            }
            let wide = &mut wide[..tail.len()];
            W::widen(tail, wide);
            let [a, b, c, d] = add_products(simd, x_tail, wide, sums);
            let sum = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            *out = simd.reduce_sum_f32s(sum);
        }
    }
}

/// `out = x weight[:, first..first + columns]` for many rows, on this thread: x `[rows, k]`, weight
/// `[k, width]`, out `[rows, columns]`.
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
    let depth = (PANEL_ELEMENTS / columns).max(1);
    for start in (0..k).step_by(depth) {
        let depth = depth.min(k - start);
        with_scratch(depth * columns, |panel| {
            for (row, wide) in panel.chunks_exact_mut(columns).enumerate() {
                widen(&weight[(start + row) * width + first..][..columns], wide);
            }
            let x = Matrix { elements: &x[start..], rows, columns: depth, strides: [k, 1] };
            matmul(x, Matrix::rows(panel, columns), out, start > 0);
        });
    }
}

/// `out = x weight` for few rows, on all threads: x `[rows, k]`, weight `[k, width]`, out
/// `[rows, width]`.
///
/// The panels are ranges of whole weight rows, so that each thread reads memory in one stream;
/// ranges of columns took twice as long (AMD EPYC 9004, 2026-11-23). The partial sums of the panels
/// are added in their order.
pub(super) fn few_rows_by_columns<W: Stored>(
    x: &[f32],
    weight: &[W],
    width: usize,
    tasks: usize,
    out: &mut [f32],
) {
    let k = weight.len() / width;
    let depth = k.div_ceil(tasks).max(64);
    let product = |(panel, weight): (usize, &[W])| {
        let mut part = vec![0.0; out.len()];
        for (x, out) in x.chunks_exact(k).zip(part.chunks_exact_mut(width)) {
            let x = &x[panel * depth..][..weight.len() / width];
            Arch::new().dispatch(Axpys { x, weight, out });
        }
        part
    };
    let parts: Vec<Vec<f32>> = weight.par_chunks(depth * width).enumerate().map(product).collect();
    out.fill(0.0);
    for part in parts {
        out.iter_mut().zip(part).for_each(|(out, part)| *out += part);
    }
}

/// Adds every weight row, scaled by its element of x, to the output row.
struct Axpys<'a, W> {
    x: &'a [f32],
    weight: &'a [W],
    out: &'a mut [f32],
}

impl<W: Stored> WithSimd for Axpys<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Axpys { x, weight, out } = self;
        let mut wide = [0.0; BLOCK];
        for (&x, weight) in x.iter().zip(weight.chunks_exact(out.len())) {
            let (blocks, tail) = weight.as_chunks::<BLOCK>();
            let (out_blocks, out_tail) = out.as_chunks_mut::<BLOCK>();
            for (weight, out) in blocks.iter().zip(out_blocks) {
                W::widen(weight, &mut wide);
                axpy(simd, x, &wide, out);
            }
            let wide = &mut wide[..tail.len()];
            W::widen(tail, wide);
            axpy(simd, x, wide, out_tail);
        }
    }
}

/// Runs `work` with a buffer that this thread keeps up to [`KEPT_ELEMENTS`]: a fresh one would be a
/// megabyte of pages to map and clear for each task. Its contents are arbitrary.
pub(super) fn with_scratch(elements: usize, work: impl FnOnce(&mut [f32])) {
    thread_local! {
        static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < elements {
        buffer.resize(elements, 0.0);
    }
    work(&mut buffer[..elements]);
    if buffer.len() <= KEPT_ELEMENTS {
        BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    }
}

/// [`Stored::widen`] with this machine's vectors.
struct Widen<'a, W>(&'a [W], &'a mut [f32]);

impl<W: Stored> WithSimd for Widen<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        W::widen(self.0, self.1);
    }
}

fn widen<W: Stored>(from: &[W], to: &mut [f32]) {
    Arch::new().dispatch(Widen(from, to));
}

/// Adds the products of equally long slices to four vectors of partial sums; elements after the
/// last whole vector are padded with zeros.
#[inline(always)]
fn add_products<S: Simd>(simd: S, a: &[f32], b: &[f32], mut sums: [S::f32s; 4]) -> [S::f32s; 4] {
    let (a, a_tail) = S::as_simd_f32s(a);
    let (b, b_tail) = S::as_simd_f32s(b);
    let (a_blocks, a_rest) = pulp::as_arrays::<4, _>(a);
    let (b_blocks, b_rest) = pulp::as_arrays::<4, _>(b);
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..4 {
            sums[lane] = simd.mul_add_e_f32s(a[lane], b[lane], sums[lane]);
        }
    }
    for ((&a, &b), sum) in a_rest.iter().zip(b_rest).zip(&mut sums) {
        *sum = simd.mul_add_e_f32s(a, b, *sum);
    }
    if !a_tail.is_empty() {
        let (a, b) = (simd.partial_load_f32s(a_tail), simd.partial_load_f32s(b_tail));
        sums[0] = simd.mul_add_e_f32s(a, b, sums[0]);
    }
    sums
}

/// `y += scale * x`.
#[inline(always)]
fn axpy<S: Simd>(simd: S, scale: f32, x: &[f32], y: &mut [f32]) {
    let (x, x_tail) = S::as_simd_f32s(x);
    let (y, y_tail) = S::as_mut_simd_f32s(y);
    let scales = simd.splat_f32s(scale);
    for (x, y) in x.iter().zip(y) {
        *y = simd.mul_add_e_f32s(scales, *x, *y);
    }
    x_tail.iter().zip(y_tail).for_each(|(x, y)| *y += scale * x);
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
