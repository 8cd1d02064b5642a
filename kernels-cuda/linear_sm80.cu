// A dense layer by the matrix products of sm_80. Reference: reference/linear.rs. Contract: LinearParams.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a block of 8 warps computes a tile of 128 tokens by 128 features, 64 of k at a time. Three stages
// of shared memory: one is multiplied while the next two are on their way.
//
//   stage     x [128, 64], weight [128, 64] or (nn) [64, 128]; pieces of 16 bytes swapped by row % 8
//   warp w    features 64 (w % 2) .. + 64, tokens 32 (w / 2) .. + 32: 4 by 4 products of 16x8x16
//   then      [128, 128] f32 in shared memory, turned; rows of 8 features to out
//
// The weight's rows are the product's, here and where tokens are few (linear_rows_sm80.cu): the same
// instruction, k ascending in steps of 16, so that a row's bits do not depend on others.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 128 sm_80, 128 sm_89.
// Keeps: HMMA.16816, LDGSTS.E.BYPASS.128, LDSM.16; in PTX: mma.sync, cp.async.cg, ldmatrix.
// Products: HMMA.16816; 1 a group.
// Bound: arithmetic, from about 200 tokens. A step of 64 k reads 32 KiB and has 2 * 128 * 128 * 64 operations.

#include "linear_stage.cuh"
#include "linear_store.cuh"

#define EXPERTILE_DEVICE __device__
#include "linear_tiles.h"

constexpr uint32_t TILE = LINEAR_SM80_TILE;
constexpr uint32_t TILE_K = 64;
constexpr uint32_t STAGES = 3;
constexpr uint32_t THREADS = LINEAR_SM80_THREADS;
constexpr uint32_t WARP_FEATURES = 64, WARP_TOKENS = 32;
constexpr uint32_t ROWS = WARP_FEATURES / 16, COLUMNS = WARP_TOKENS / 8;
constexpr uint32_t OPERAND_BYTES = TILE * TILE_K * 2;
constexpr uint32_t STAGE_BYTES = 2 * OPERAND_BYTES;
// Four more, so that the lanes that turn a tile write to 32 banks.
constexpr uint32_t TURNED_STRIDE = TILE + 4;
static_assert(STAGES * STAGE_BYTES == LINEAR_SM80_SHARED_BYTES, "what the host reserves");
static_assert(TILE * TURNED_STRIDE * sizeof(float) <= LINEAR_SM80_SHARED_BYTES, "the turned tile");

template <typename T, bool NN>
__device__ inline void multiply(uint32_t stage, uint32_t token, uint32_t feature,
                                float (&sums)[ROWS][COLUMNS][4]) {
#pragma unroll
    for (uint32_t k = 0; k < TILE_K; k += 16) {
        uint32_t a[ROWS][4], b[COLUMNS / 2][4];
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS / 2; ++j) {
            load_x<TILE_K>(b[j], stage, token + j * 16, k);
        }
#pragma unroll
        for (uint32_t i = 0; i < ROWS; ++i) {
            load_weight<NN, TILE, TILE_K>(a[i], stage + OPERAND_BYTES, feature + i * 16, k);
        }
#pragma unroll
        for (uint32_t i = 0; i < ROWS; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < COLUMNS; ++j) {
                mma_16x8x16<T>(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

template <typename T, typename Out, bool NN>
__device__ inline void linear(const LinearParams &p) {
    extern __shared__ __align__(128) uint8_t shared[];
    uint32_t base = shared_address(shared);
    LinearTile tile = expertile_linear_tile(
        expertile_linear_tiles(p.tokens, p.out_features, TILE, TILE, p.panel), blockIdx.x);
    uint32_t token = tile.row * TILE, feature = tile.column * TILE;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    uint32_t warp_token = warp / 2 * WARP_TOKENS, warp_feature = warp % 2 * WARP_FEATURES;

    // A group for every step, empty past the end: so the groups that may be left are as many always.
    uint32_t steps = (p.in_features + TILE_K - 1) / TILE_K;
    auto fetch = [&](uint32_t step) {
        if (step < steps) {
            uint32_t stage = base + step % STAGES * STAGE_BYTES;
            copy_rows<TILE, TILE_K / PIECE, THREADS>(stage, p.x, p.x_stride, token, p.tokens,
                                                     step * TILE_K, p.in_features);
            copy_weight<NN, TILE, TILE_K, THREADS>(stage + OPERAND_BYTES, p, feature, step * TILE_K);
        }
        copy_async_commit();
    };
    for (uint32_t step = 0; step + 1 < STAGES; ++step) {
        fetch(step);
    }
    float sums[ROWS][COLUMNS][4] = {};
    for (uint32_t step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // All copies of the stage are there, and nobody multiplies the one that is fetched over.
        __syncthreads();
        fetch(step + STAGES - 1);
        multiply<T, NN>(base + step % STAGES * STAGE_BYTES, warp_token, warp_feature, sums);
    }
    copy_async_wait<0>();
    __syncthreads();

    float *turned = reinterpret_cast<float *>(shared);
#pragma unroll
    for (uint32_t i = 0; i < ROWS; ++i) {
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS; ++j) {
            turn<TURNED_STRIDE>(turned, warp_token + j * 8, warp_feature + i * 16, sums[i][j]);
        }
    }
    __syncthreads();
    store_turned<Out, TURNED_STRIDE>(p, turned, token, TILE, feature, TILE, threadIdx.x, THREADS);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_bf16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, bf16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_bf16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, bf16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_bf16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_bf16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<bf16, float, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_f16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, f16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_f16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, f16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_f16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM80_THREADS)
    linear_f16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear<f16, float, true>(p);
}
