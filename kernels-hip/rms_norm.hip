// Residual addition and root mean square normalisation. Reference: reference/rms_norm.rs. Contract:
// NormParams.
//
// Math, in f32, for every row t:
//   s[i] = x[t, i] + residual[t, i], rounded to the element type; stored if `sum` is given
//   out[t, i] = s[i] * (1 / sqrt((s[0]^2 + ...) / hidden + epsilon)) * weight[i], rounded once
//
// Mapping: norm_row.hip.h. One workgroup per row, rows g, g + workgroups, ... for workgroup g; a
// thread keeps its 16 elements of the row and of the weight in registers.
//
// Budget: 1024 threads; 128 B LDS; 0 B scratch; registers: 62 gfx90a, 62 gfx942, 62 gfx950.
// Keeps: global_load_dwordx4, global_store_dwordx4.
// Bound: memory, as in layer_norm.hip.
// Two sets of partial sums, in turn: one barrier a row is then enough (workgroup_sum).

#include "norm_row.hip.h"

template <typename T>
__device__ inline void rms_norm(const NormParams &p) {
    __shared__ float squares[2][MAX_WAVES];
    uint32_t turn = 0;
    normalize_rows<T>(p, [&](const RowPart<T> &part) {
        float hidden = static_cast<float>(p.hidden);
        float mean_square = sum_of_squares(part, 0.0f, p.hidden, squares[turn]) / hidden;
        turn ^= 1;
        return CenterAndScale{0.0f, 1.0f / __builtin_sqrtf(mean_square + p.epsilon)};
    });
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
rms_norm_bf16(const NormParams p) {
    rms_norm<bf16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
rms_norm_f16(const NormParams p) {
    rms_norm<f16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, NORM_MAX_THREADS))) void
rms_norm_f32(const NormParams p) {
    rms_norm<float>(p);
}
