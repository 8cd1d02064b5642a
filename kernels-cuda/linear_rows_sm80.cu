// A dense layer for few tokens by the matrix products of sm_80. Reference: reference/linear.rs. Contract:
// LinearParams.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a block of 4 warps computes 64 features of all tokens, 128 of k at a time. Three stages of shared
// memory: one is multiplied while the next two are on their way.
//
//   stage     weight [64, 128] or (nn) [128, 64], x [64, 128]; pieces of 16 bytes swapped by row % 8
//   warp w    features 16 w .. + 16: a product of 16x8x16 for each 8 tokens
//   then      [64, 64] f32 in shared memory, turned; rows of 8 features to out
//
// The sum of each element is that of linear_sm80.cu: the same instruction, k ascending in steps of 16.
//
// Budget: 128 threads; 0 B shared; 0 B spilled; registers: 128 sm_80, 128 sm_89.
// Keeps: HMMA.16816, LDGSTS.E.BYPASS.128, LDSM.16; in PTX: mma.sync, cp.async.cg, ldmatrix.
// Products: HMMA.16816; 1 a group.
// Bound: memory. The weight is read once; 32 KiB of it a block are on their way.

#include "linear_stage.cuh"
#include "linear_store.cuh"

constexpr uint32_t TILE = LINEAR_ROWS_TILE_FEATURES;
constexpr uint32_t MOST_TOKENS = LINEAR_ROWS_MAX_TOKENS;
constexpr uint32_t TILE_K = 128;
constexpr uint32_t STAGES = 3;
constexpr uint32_t THREADS = LINEAR_ROWS_SM80_THREADS;
constexpr uint32_t WEIGHT_BYTES = TILE * TILE_K * 2;
constexpr uint32_t STAGE_BYTES = WEIGHT_BYTES + MOST_TOKENS * TILE_K * 2;
// Four more, so that the lanes that turn a tile write to 32 banks.
constexpr uint32_t TURNED_STRIDE = TILE + 4;
static_assert(STAGES * STAGE_BYTES == LINEAR_ROWS_SM80_SHARED_BYTES, "what the host reserves");

// PAIRS: of products, each of 8 tokens.
template <typename T, typename Out, bool NN, uint32_t PAIRS>
__device__ inline void run(const LinearParams &p, uint8_t *shared) {
    constexpr uint32_t TOKENS = 16 * PAIRS;
    uint32_t base = shared_address(shared);
    uint32_t feature = blockIdx.x * TILE;
    uint32_t warp_feature = threadIdx.x / WARP_THREADS * 16;

    // A group for every step, empty past the end: so the groups that may be left are as many always.
    uint32_t steps = (p.in_features + TILE_K - 1) / TILE_K;
    auto fetch = [&](uint32_t step) {
        if (step < steps) {
            uint32_t stage = base + step % STAGES * STAGE_BYTES;
            copy_weight<NN, TILE, TILE_K, THREADS>(stage, p, feature, step * TILE_K);
            copy_rows<TOKENS, TILE_K / PIECE, THREADS>(stage + WEIGHT_BYTES, p.x, p.x_stride, 0,
                                                       p.tokens, step * TILE_K, p.in_features);
        }
        copy_async_commit();
    };
    for (uint32_t step = 0; step + 1 < STAGES; ++step) {
        fetch(step);
    }
    float sums[2 * PAIRS][4] = {};
    for (uint32_t step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // All copies of the stage are there, and nobody multiplies the one that is fetched over.
        __syncthreads();
        fetch(step + STAGES - 1);
        uint32_t stage = base + step % STAGES * STAGE_BYTES;
#pragma unroll
        for (uint32_t k = 0; k < TILE_K; k += 16) {
            uint32_t a[4];
            load_weight<NN, TILE, TILE_K>(a, stage, warp_feature, k);
#pragma unroll
            for (uint32_t pair = 0; pair < PAIRS; ++pair) {
                uint32_t b[4];
                load_x<TILE_K>(b, stage + WEIGHT_BYTES, pair * 16, k);
                mma_16x8x16<T>(sums[2 * pair], a, b[0], b[1]);
                mma_16x8x16<T>(sums[2 * pair + 1], a, b[2], b[3]);
            }
        }
    }
    copy_async_wait<0>();
    __syncthreads();

    float *turned = reinterpret_cast<float *>(shared);
#pragma unroll
    for (uint32_t column = 0; column < 2 * PAIRS; ++column) {
        turn<TURNED_STRIDE>(turned, column * 8, warp_feature, sums[column]);
    }
    __syncthreads();
    store_turned<Out, TURNED_STRIDE>(p, turned, 0, TOKENS, feature, TILE, threadIdx.x, THREADS);
}

template <typename T, typename Out, bool NN>
__device__ inline void linear_rows(const LinearParams &p) {
    extern __shared__ __align__(128) uint8_t shared[];
    switch ((p.tokens + 15) / 16) {
        case 1: run<T, Out, NN, 1>(p, shared); break;
        case 2: run<T, Out, NN, 2>(p, shared); break;
        case 3: run<T, Out, NN, 3>(p, shared); break;
        default: run<T, Out, NN, 4>(p, shared); break;
    }
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, bf16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, bf16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, float, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, f16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, f16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, float, true>(p);
}
