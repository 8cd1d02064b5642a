// Residual addition and layer normalisation. Reference: reference/layer_norm.rs. Contract:
// NormParams.
//
// Math, in f32, for every row t:
//   s[i] = x[t, i] + residual[t, i], rounded to the element type; stored if `sum` is given
//   mean = (s[0] + ...) / hidden
//   variance = ((s[0] - mean)^2 + ...) / hidden
//   out[t, i] = (s[i] - mean) * (1 / sqrt(variance + epsilon)) * weight[i], rounded once
//
// Mapping: norm_row.hip.h. One workgroup per row, rows g, g + workgroups, ... for workgroup g; a
// thread keeps its 16 elements of the row and of the weight in registers.
//
// Budget: 1024 threads; 128 B LDS; 0 B scratch; registers: 63 gfx90a, 63 gfx942, 63 gfx950.
// Keeps: global_load_dwordx4, global_store_dwordx4.
// Bound: memory. tokens * hidden elements for each of x, residual, out and sum that is given, and
// the weight once per workgroup. In flight at hidden = 6144 in 2-byte elements, where a workgroup
// is 6 waves, with 2 workgroups to a compute unit: 24 KiB, or 48 KiB with a residual. Registers
// are given out by eight, and up to 64 of a SIMD's 512 leave room for 8 waves, the most it holds:
// 32 on the 4 SIMDs of a compute unit, or 2 workgroups of 1024 threads.
// Two passes over registers: the mean of squares less the square of the mean cancels.
// Correctly rounded division and square root, by a dozen instructions each: once a row, so their
// cost does not show. The kernel starts with denormals kept, so the division changes no mode.

#include "norm_row.hip.h"

template <typename T>
__device__ inline void layer_norm(const NormParams &p) {
    __shared__ float sums[MAX_WAVES], squares[MAX_WAVES];
    normalize_rows<T>(p, [&](const RowPart<T> &part) {
        float hidden = static_cast<float>(p.hidden);
        float mean = row_sum(part, sums) / hidden;
        float variance = sum_of_squares(part, mean, p.hidden, squares) / hidden;
        return CenterAndScale{mean, 1.0f / __builtin_sqrtf(variance + p.epsilon)};
    });
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
layer_norm_bf16(const NormParams p) {
    layer_norm<bf16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
layer_norm_f16(const NormParams p) {
    layer_norm<f16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
layer_norm_f32(const NormParams p) {
    layer_norm<float>(p);
}
