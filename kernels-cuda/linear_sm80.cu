// A dense layer by the matrix products of sm_80. Reference: reference/linear.rs. Contract: LinearParams.
//
// Math, for every token t and feature n, in f32, k ascending in steps of 16:
//   out[t, n] = clip(sum over k of x[t, k] weight[n, k]) + residual[t, n]
// rounded once. _nn: weight[k, n]. Neither the other tokens nor the tile of an element change its bits: each
// has one accumulator, and what a tile lacks is filled with zeros, which add nothing.
//
// Mapping: a block has a tile of 128 tokens x 128 features, a warp 64 x 64 of it: 4 x 8 products of m16n8k16.
//
//                 features 0 .. 63   64 .. 127
//   tokens 0..63       warp 0          warp 1
//   64..127            warp 2          warp 3
//
// Shared memory holds STAGES parts of DEPTH elements of k, of x and weight each, in the order of tile_offset.
// While one is multiplied the next two are on their way. A barrier a stage: behind it all copies of the stage
// are there, and nobody reads any more the stage that is filled next. At the end a warp turns its sums by
// way of shared memory, 16 tokens at a time, so that a row of out is written by vectors.
//
// Budget: 128 threads; 0 B shared; 0 B spilled; registers: 216 sm_80, 216 sm_89.
// Keeps: LDGSTS.E.BYPASS.128, LDSM.16.M, HMMA.16816.F32, STS.64, LDS.128, STG.E.128; in PTX: cp.async.cg, ldmatrix.sync.aligned.m8n8.x4, mma.sync.aligned.m16n8k16, st.global.v4.
// Products: HMMA.16816; 1 a group.
// Bound: tensor cores. Two blocks fit a multiprocessor by registers and shared memory, so that one multiplies
// while the other starts, ends or waits. A stage is 16 KiB for 2^19 multiplications.

#include "linear_store.cuh"
#include "linear_tile_sm80.cuh"

#define EXPERTILE_DEVICE __device__
#include "linear_tiles.h"

static_assert(STAGES * STAGE_BYTES == LINEAR_SM80_SHARED_BYTES, "what the planner asks for");

// Writes 16 tokens of the warp's sums.
template <typename Out>
__device__ inline void store_rows(const LinearParams &p, const float (&sums)[WARP_TILE / 8][4],
                                  uint32_t turned, uint32_t token, uint32_t feature) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    __syncwarp();
#pragma unroll
    for (uint32_t j = 0; j < WARP_TILE / 8; ++j) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint32_t at = sums_offset(lane / 4 + 8 * half, 2 * j + lane % 4 / 2) + lane % 2 * 8;
            st_shared_v2_f32(turned + at, sums[j][2 * half], sums[j][2 * half + 1]);
        }
    }
    __syncwarp();
    constexpr uint32_t LANES = WARP_TILE / WIDEST<Out>;  // of a row
    constexpr uint32_t CHUNKS = WIDEST<Out> / 4;
    uint32_t column = lane % LANES * WIDEST<Out>;
#pragma unroll
    for (uint32_t first = 0; first < 16; first += WARP_THREADS / LANES) {
        uint32_t row = first + lane / LANES;
        float vector[WIDEST<Out>];
#pragma unroll
        for (uint32_t i = 0; i < CHUNKS; ++i) {
            // Of two chunks, half of the lanes read the second first, so that eight lanes meet all banks.
            uint32_t odd = CHUNKS == 2 ? lane / 4 % 2 : 0;
            float4 four = ld_shared_v4_f32(turned + sums_offset(row, column / 4 + (i ^ odd)));
            float *to = vector + 4 * i;
            to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
        }
        if constexpr (CHUNKS == 2) {
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
                float one = vector[i];
                float other = vector[i + 4];
                vector[i] = lane / 4 % 2 == 0 ? one : other;
                vector[i + 4] = lane / 4 % 2 == 0 ? other : one;
            }
        }
        if (token + row < p.tokens && feature + column < p.out_features) {
            store_sums<Out>(p, vector, token + row, feature + column);
        }
    }
}

template <typename T, typename Out, typename Weight>
__device__ inline void linear(const LinearParams &p) {
    LinearTile tile = expertile_linear_tile(
        expertile_linear_tiles(p.tokens, p.out_features, TILE, TILE, p.panel), blockIdx.x);
    uint32_t token = tile.row * TILE;
    uint32_t feature = tile.column * TILE;
    Along x(p.x, p.x_stride, token, p.tokens);
    Weight weight(p.weight, p.weight_stride, feature, p.out_features);
    uint32_t first_stage = shared_address(shared);
    uint32_t warp = threadIdx.x / WARP_THREADS;
    uint32_t warp_token = warp / 2 * WARP_TILE;
    uint32_t warp_feature = warp % 2 * WARP_TILE;
    Sums sums = {};
    multiply_all<T>(x, weight, p.in_features, first_stage, warp_token, warp_feature, sums);
    __syncthreads();
    uint32_t turned = first_stage + warp * 16 * WARP_TILE * 4;
#pragma unroll
    for (uint32_t i = 0; i < WARP_TILE / 16; ++i) {
        store_rows<Out>(p, sums[i], turned, token + warp_token + 16 * i, feature + warp_feature);
    }
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_bf16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, bf16, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_bf16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, bf16, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_bf16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, float, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_bf16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, float, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_f16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, f16, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_f16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, f16, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_f16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, float, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS, 2)
    linear_f16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, float, Across>(p);
}
