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

#include "linear_stage.cuh"
#include "linear_store.cuh"

#define EXPERTILE_DEVICE __device__
#include "linear_tiles.h"

constexpr uint32_t TILE = LINEAR_SM80_TILE;
constexpr uint32_t DEPTH = 32;
constexpr uint32_t STAGES = 3;
constexpr uint32_t OPERAND_BYTES = TILE * DEPTH * 2;
constexpr uint32_t STAGE_BYTES = 2 * OPERAND_BYTES;
static_assert(STAGES * STAGE_BYTES == LINEAR_SM80_SHARED_BYTES, "what the planner asks for");

constexpr uint32_t WARP_TILE = 64;
// Chunks that a thread copies of each operand.
constexpr uint32_t COPIES = TILE * DEPTH / CHUNK / LINEAR_SM80_THREADS;

extern __shared__ __align__(128) unsigned char shared[];

// An operand whose rows go along k: x, and the weight of _nt.
struct Along {
    static constexpr uint32_t CHUNKS = DEPTH / CHUNK;
    static constexpr uint32_t ROWS_APART = LINEAR_SM80_THREADS / CHUNKS;

    const unsigned char *at;
    uint64_t step;  // bytes from one of the thread's rows to the next
    uint32_t rows;  // from the thread's first row on, those that there are
    uint32_t to;

    __device__ Along(const void *base, uint64_t stride, uint32_t first, uint32_t end) {
        uint32_t row = threadIdx.x / CHUNKS;
        at = static_cast<const unsigned char *>(base) +
             ((first + row) * stride + threadIdx.x % CHUNKS * CHUNK) * 2;
        step = ROWS_APART * stride * 2;
        rows = first + row < end ? end - first - row : 0;
        to = tile_offset<CHUNKS>(row, threadIdx.x % CHUNKS);
    }

    // Copies the next DEPTH of in_features, which begin at k.
    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
        bool inside = k + threadIdx.x % CHUNKS * CHUNK < in_features;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            // The distance of the rows is a multiple of those after which places repeat.
            uint32_t place = to + i * ROWS_APART * CHUNKS * CHUNK * 2;
            bool exists = inside && i * ROWS_APART < rows;
            copy_async_16(stage + place, at + i * step, exists);
        }
        at += DEPTH * 2;
    }

    // The fragments of 16 rows, left operand: rows, k + 8 in the order of mma's a.
    __device__ static void left(uint32_t (&fragment)[4], uint32_t stage, uint32_t row, uint32_t k) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4(fragment,
                    stage + tile_offset<CHUNKS>(row + lane % 16, k / CHUNK + lane / 16));
    }

    // Of 16 rows, right operand: b0 and b1 of the first eight, then of the others.
    __device__ static void right(uint32_t (&fragment)[4], uint32_t stage, uint32_t row, uint32_t k) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4(fragment, stage + tile_offset<CHUNKS>(row + lane % 8 + lane / 16 * 8,
                                                          k / CHUNK + lane / 8 % 2));
    }
};

// An operand whose rows are those of k: the weight of _nn.
struct Across {
    static constexpr uint32_t CHUNKS = TILE / CHUNK;
    static constexpr uint32_t ROWS_APART = LINEAR_SM80_THREADS / CHUNKS;

    const unsigned char *at;
    uint64_t stride;  // in bytes
    bool inside;
    uint32_t to;

    __device__ Across(const void *base, uint64_t elements, uint32_t first, uint32_t end) {
        uint32_t row = threadIdx.x / CHUNKS;
        uint32_t chunk = threadIdx.x % CHUNKS;
        at = static_cast<const unsigned char *>(base) +
             (row * elements + first + chunk * CHUNK) * 2;
        stride = elements * 2;
        inside = first + chunk * CHUNK < end;
        to = tile_offset<CHUNKS>(row, chunk);
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
        uint32_t row = threadIdx.x / CHUNKS;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t place = to + i * ROWS_APART * CHUNKS * CHUNK * 2;
            bool exists = inside && k + row + i * ROWS_APART < in_features;
            copy_async_16(stage + place, at + i * ROWS_APART * stride, exists);
        }
        at += DEPTH * stride;
    }

    __device__ static void right(uint32_t (&fragment)[4], uint32_t stage, uint32_t column, uint32_t k) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4_trans(fragment,
                          stage + tile_offset<CHUNKS>(k + lane % 16, column / CHUNK + lane / 16));
    }
};
static_assert(Along::ROWS_APART % 8 == 0 && Across::ROWS_APART % 8 == 0, "places repeat");

using Sums = float[WARP_TILE / 16][WARP_TILE / 8][4];

// Adds the products of a stage to the warp's sums.
template <typename T, typename Weight>
__device__ inline void multiply(uint32_t stage, uint32_t token, uint32_t feature, Sums &sums) {
#pragma unroll
    for (uint32_t k = 0; k < DEPTH; k += 16) {
        uint32_t x[WARP_TILE / 16][4];
        uint32_t weight[WARP_TILE / 16][4];
#pragma unroll
        for (uint32_t i = 0; i < WARP_TILE / 16; ++i) {
            Along::left(x[i], stage, token + 16 * i, k);
            Weight::right(weight[i], stage + OPERAND_BYTES, feature + 16 * i, k);
        }
#pragma unroll
        for (uint32_t i = 0; i < WARP_TILE / 16; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < WARP_TILE / 8; ++j) {
                mma_16x8x16<T>(sums[i][j], x[i], weight[j / 2][2 * (j % 2)],
                                weight[j / 2][2 * (j % 2) + 1]);
            }
        }
    }
}

// Where four sums of a row of 64 lie in the warp's 16 rows, in bytes. Four neighbouring rows have
// their pairs of chunks in different banks, as mma's rows are stored.
__device__ inline uint32_t sums_offset(uint32_t row, uint32_t chunk) {
    return (row * WARP_TILE / 4 + (chunk ^ row % 4 * 2)) * 16;
}

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
    auto copy = [&](uint32_t stage, uint32_t k) {
        if (k < p.in_features) {
            x.copy(first_stage + stage * STAGE_BYTES, k, p.in_features);
            weight.copy(first_stage + stage * STAGE_BYTES + OPERAND_BYTES, k, p.in_features);
        }
        // A group a stage, without copies too, so that the number of those to wait for is fixed.
        copy_async_commit();
    };
#pragma unroll
    for (uint32_t stage = 0; stage < STAGES - 1; ++stage) {
        copy(stage, stage * DEPTH);
    }

    uint32_t warp = threadIdx.x / WARP_THREADS;
    uint32_t warp_token = warp / 2 * WARP_TILE;
    uint32_t warp_feature = warp % 2 * WARP_TILE;
    Sums sums = {};
    uint32_t stage = 0;
    for (uint32_t k = 0; k < p.in_features; k += DEPTH) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        copy(stage == 0 ? STAGES - 1 : stage - 1, k + (STAGES - 1) * DEPTH);
        multiply<T, Weight>(first_stage + stage * STAGE_BYTES, warp_token, warp_feature, sums);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
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
