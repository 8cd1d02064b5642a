// Products of matrices by warps, and what feeds them, one instruction for each kernel: probe_each.cuh.
//
// mma_*: a lane's words are of A (4), B (2) and C (4), its results of D. ldmatrix*: a lane's words are a
// row of 16 bytes, its results what the instruction gives.
//
// Budget: 256 threads; 4096 B shared; 0 B spilled; registers: 18 sm_80, 18 sm_89, 18 sm_90a.
// Keeps: STG.E; in PTX: .sync.aligned.m.
// Bound: none that matters; a launch does a few thousand elements.

#include "../ptx_mma.cuh"
#include "probe_each.cuh"

template <typename T>
__device__ inline void multiply(const ProbeParams &p) {
    each<10, 4>(p, [](const uint32_t *in, uint32_t *out) {
        uint32_t a[4] = {in[0], in[1], in[2], in[3]};
        float sums[4] = {number(in[6]), number(in[7]), number(in[8]), number(in[9])};
        mma_16x8x16<T>(sums, a, in[4], in[5]);
        for (uint32_t i = 0; i < 4; ++i) {
            out[i] = bits(sums[i]);
        }
    });
}

template <bool TRANS>
__device__ inline void load_matrices(const ProbeParams &p) {
    __shared__ uint4 rows[PROBE_THREADS];
    each<4, 4>(p, [](const uint32_t *in, uint32_t *out) {
        rows[threadIdx.x] = {in[0], in[1], in[2], in[3]};
        __syncwarp();
        uint32_t words[4];
        uint32_t row = shared_address(&rows[threadIdx.x]);
        if constexpr (TRANS) {
            ldmatrix_x4_trans(words, row);
        } else {
            ldmatrix_x4(words, row);
        }
        for (uint32_t i = 0; i < 4; ++i) {
            out[i] = words[i];
        }
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_mma_bf16(const __grid_constant__ ProbeParams p) {
    multiply<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_mma_f16(const __grid_constant__ ProbeParams p) {
    multiply<f16>(p);
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_ldmatrix(const __grid_constant__ ProbeParams p) {
    load_matrices<false>(p);
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_ldmatrix_trans(const __grid_constant__ ProbeParams p) {
    load_matrices<true>(p);
}
