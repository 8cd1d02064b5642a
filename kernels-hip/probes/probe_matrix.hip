// A product of matrices by a wave for each kernel: probe_each.hip.h. A lane's words are of A (2), B (2) and
// C, its results of D.
//
// Budget: 256 threads; 0 B LDS; 0 B scratch; registers: 24 gfx90a, 24 gfx942, 24 gfx950.
// Keeps: v_mfma_f32_*.
// Bound: none that matters; a launch does a few thousand elements.

#include "../matrix.hip.h"
#include "probe_each.hip.h"

template <typename T>
__device__ inline void multiply(const ProbeParams &p) {
    each<8, 4>(p, [](const uint32_t *in, uint32_t *out) {
        Sums sums;
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            sums[i] = number(in[4 + i]);
        }
        sums = multiply_16x16x16<T>(Pair{in[0], in[1]}, Pair{in[2], in[3]}, sums);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            out[i] = bits(sums[i]);
        }
    });
}

template <typename T>
__device__ inline void multiply_wide(const ProbeParams &p) {
    each<20, 16>(p, [](const uint32_t *in, uint32_t *out) {
        WideSums sums;
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            sums[i] = number(in[4 + i]);
        }
        sums = multiply_32x32x8<T>(Pair{in[0], in[1]}, Pair{in[2], in[3]}, sums);
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            out[i] = bits(sums[i]);
        }
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_mfma_16x16x16_bf16(const ProbeParams p) {
    multiply<bf16>(p);
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_mfma_16x16x16_f16(const ProbeParams p) {
    multiply<f16>(p);
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_mfma_32x32x8_bf16(const ProbeParams p) {
    multiply_wide<bf16>(p);
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_mfma_32x32x8_f16(const ProbeParams p) {
    multiply_wide<f16>(p);
}
