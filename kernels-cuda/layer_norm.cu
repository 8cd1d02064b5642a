// Budget: 1024 threads; 256 B shared; 0 B spilled; registers: 64 sm_80, 64 sm_89, 64 sm_90a.
// Keeps: LDG.E.128, STG.E.128; in PTX: ld.global.v4, st.global.v4.

#include "norm_row.cuh"

template <typename T>
__device__ inline void layer_norm(const NormParams &p) {
    __shared__ float sums[WARP_THREADS], squares[WARP_THREADS];
    normalize_rows<T>(p, [&](const RowPart<T> &part) {
        float hidden = static_cast<float>(p.hidden);
        float mean = row_sum(part, sums) / hidden;
        float variance = sum_of_squares(part, mean, p.hidden, squares) / hidden;
        return CenterAndScale{mean, 1.0f / sqrtf(variance + p.epsilon)};
    });
}

extern "C" __global__ void __launch_bounds__(NORM_MAX_THREADS)
    layer_norm_bf16(const __grid_constant__ NormParams p) {
    layer_norm<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(NORM_MAX_THREADS)
    layer_norm_f16(const __grid_constant__ NormParams p) {
    layer_norm<f16>(p);
}

extern "C" __global__ void __launch_bounds__(NORM_MAX_THREADS)
    layer_norm_f32(const __grid_constant__ NormParams p) {
    layer_norm<float>(p);
}
