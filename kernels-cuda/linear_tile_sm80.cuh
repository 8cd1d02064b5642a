// What kernels of sm_80 that multiply tiles of 128 by 128 share: operands on their way to shared memory, the
// products of a stage, and where sums lie to be turned.

#pragma once

#include "common.cuh"
#include "linear_stage.cuh"

constexpr uint32_t TILE = LINEAR_SM80_TILE;
constexpr uint32_t DEPTH = 32;
constexpr uint32_t STAGES = 3;
constexpr uint32_t OPERAND_BYTES = TILE * DEPTH * 2;
constexpr uint32_t STAGE_BYTES = 2 * OPERAND_BYTES;

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

// Adds all products of a tile to the warp's sums. Behind a barrier, the stages are free.
template <typename T, typename X, typename Weight>
__device__ inline void multiply_all(X &x, Weight &weight, uint32_t in_features, uint32_t first_stage,
                                    uint32_t warp_token, uint32_t warp_feature, Sums &sums) {
    auto copy = [&](uint32_t stage, uint32_t k) {
        if (k < in_features) {
            x.copy(first_stage + stage * STAGE_BYTES, k, in_features);
            weight.copy(first_stage + stage * STAGE_BYTES + OPERAND_BYTES, k, in_features);
        }
        // A group a stage, without copies too, so that the number of those to wait for is fixed.
        copy_async_commit();
    };
#pragma unroll
    for (uint32_t stage = 0; stage < STAGES - 1; ++stage) {
        copy(stage, stage * DEPTH);
    }
    uint32_t stage = 0;
    for (uint32_t k = 0; k < in_features; k += DEPTH) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        copy(stage == 0 ? STAGES - 1 : stage - 1, k + (STAGES - 1) * DEPTH);
        multiply<T, Weight>(first_stage + stage * STAGE_BYTES, warp_token, warp_feature, sums);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
}

// Where four sums of a row of 64 lie in the warp's 16 rows, in bytes. Four neighbouring rows have
// their pairs of chunks in different banks, as mma's rows are stored.
__device__ inline uint32_t sums_offset(uint32_t row, uint32_t chunk) {
    return (row * WARP_TILE / 4 + (chunk ^ row % 4 * 2)) * 16;
}
