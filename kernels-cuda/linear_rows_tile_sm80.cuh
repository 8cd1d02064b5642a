// What kernels of sm_80 for few rows share: the weight on its way to shared memory, and the products of a stage.

#pragma once

#include "common.cuh"
#include "linear_stage.cuh"

constexpr uint32_t DEPTH = 64;
constexpr uint32_t STAGES = 4;
constexpr uint32_t WARP_FEATURES = 16;
constexpr uint32_t MAX_FEATURES = LINEAR_ROWS_SM80_THREADS / WARP_THREADS * WARP_FEATURES;
constexpr uint32_t MAX_COLUMNS = LINEAR_ROWS_MAX_TOKENS / 8;  // of tokens, eight each
// Chunks of the weight that a thread copies.
constexpr uint32_t COPIES = WARP_FEATURES * DEPTH / CHUNK / WARP_THREADS;
// Chunks of a row of DEPTH.
constexpr uint32_t CHUNKS = DEPTH / CHUNK;
// Floats from one token to the next where sums are turned: mma's lanes write different banks.
constexpr uint32_t TURNED = WARP_FEATURES + 4;

extern __shared__ __align__(128) unsigned char shared[];

// The chunks of the weight that a thread copies in each stage.
struct Weight {
    const unsigned char *at[COPIES];
    uint32_t to[COPIES];
    // Where in DEPTH they begin; beyond every k if they are past the last feature.
    uint32_t begin[COPIES];
    uint64_t step;

    __device__ void set(uint32_t i, uint64_t element, const void *weight, bool exists, uint32_t k) {
        at[i] = static_cast<const unsigned char *>(weight) + element * 2;
        begin[i] = exists ? k : 1u << 31;
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            copy_async_16(stage + to[i], at[i], k + begin[i] < in_features);
            at[i] += step;
        }
    }
};

// Rows go along k: _nt. A warp copies the rows that it multiplies.
struct Along : Weight {
    __device__ Along(const void *weight, uint64_t stride, uint32_t first, uint32_t end) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        uint32_t warp = threadIdx.x / WARP_THREADS;
        step = DEPTH * 2;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t row = warp * WARP_FEATURES + lane / CHUNKS + i * (WARP_THREADS / CHUNKS);
            uint32_t k = lane % CHUNKS * CHUNK;
            set(i, (first + row) * stride + k, weight, first + row < end, k);
            to[i] = tile_offset<CHUNKS>(row, lane % CHUNKS);
        }
    }

    // The fragment of a warp's features at k, as mma's left operand.
    __device__ void load(uint32_t (&fragment)[4], uint32_t stage, uint32_t feature, uint32_t k) const {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4(fragment,
                    stage + tile_offset<CHUNKS>(feature + lane % 16, k / CHUNK + lane / 16));
    }
};

// Rows are those of k: _nn. The block copies a row as one; tile_features is a power of two.
struct Across : Weight {
    // Of a row: chunks that there are, chunks that there is room for.
    uint32_t wide;
    uint32_t pitch;

    __device__ Across(const void *weight, uint64_t stride, uint32_t first, uint32_t end) {
        wide = blockDim.x / WARP_THREADS * WARP_FEATURES / CHUNK;
        pitch = max(wide, 8);
        step = DEPTH * stride * 2;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t index = threadIdx.x + i * blockDim.x;
            uint32_t row = index / wide;
            uint32_t feature = first + index % wide * CHUNK;
            set(i, row * stride + feature, weight, feature < end, row);
            to[i] = offset(row, index % wide);
        }
    }

    // As tile_offset; the few chunks of a short row are spread, so that eight of several rows meet all banks.
    __device__ uint32_t offset(uint32_t row, uint32_t chunk) const {
        return (row * pitch + (chunk * (pitch / wide) ^ row % 8)) * (CHUNK * 2);
    }

    __device__ void load(uint32_t (&fragment)[4], uint32_t stage, uint32_t feature, uint32_t k) const {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4_trans(fragment, stage + offset(k + lane % 8 + lane / 16 * 8,
                                                   feature / CHUNK + lane / 8 % 2));
    }
};

using Sums = float[MAX_COLUMNS][4];

// Adds the products of a stage to the warp's sums.
template <typename T, typename Weight>
__device__ inline void multiply(const Weight &weight, uint32_t stage, uint32_t x, uint32_t feature,
                                uint32_t columns, Sums &sums) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll
    for (uint32_t k = 0; k < DEPTH; k += 32) {
        uint32_t left[2][4];
        weight.load(left[0], stage, feature, k);
        weight.load(left[1], stage, feature, k + 16);
#pragma unroll
        for (uint32_t j = 0; j < MAX_COLUMNS; ++j) {
            if (j < columns) {
                // Of eight tokens, four chunks of k: b0 and b1 of both steps.
                uint32_t right[4];
                ldmatrix_x4(right, x + tile_offset<CHUNKS>(8 * j + lane % 8, k / CHUNK + lane / 8));
                mma_16x8x16<T>(sums[j], left[0], right[0], right[1]);
                mma_16x8x16<T>(sums[j], left[1], right[2], right[3]);
            }
        }
    }
}

// Where stages lie: the weight's part, then that of x.
struct Stages {
    uint32_t first;
    uint32_t x_part;
    uint32_t bytes;
};

// Adds all products of a tile to the warp's sums. When it returns, the stages are free.
template <typename T, typename Weight, typename X>
__device__ inline void multiply_all(Weight &weight, X &x, uint32_t in_features, const Stages &stages,
                                    uint32_t columns, Sums &sums) {
    auto copy = [&](uint32_t stage, uint32_t k) {
        if (k < in_features) {
            weight.copy(stages.first + stage * stages.bytes, k, in_features);
            x.copy(stages.first + stage * stages.bytes + stages.x_part, k, in_features);
        }
        // A group a stage, without copies too, so that the number of those to wait for is fixed.
        copy_async_commit();
    };
#pragma unroll
    for (uint32_t stage = 0; stage < STAGES - 1; ++stage) {
        copy(stage, stage * DEPTH);
    }
    uint32_t feature = threadIdx.x / WARP_THREADS * WARP_FEATURES;
    uint32_t stage = 0;
    for (uint32_t k = 0; k < in_features; k += DEPTH) {
        copy_async_wait<STAGES - 2>();
        // All copies of the stage are there, and nobody reads any more the one that is filled next.
        __syncthreads();
        copy((stage + STAGES - 1) % STAGES, k + (STAGES - 1) * DEPTH);
        uint32_t part = stages.first + stage * stages.bytes;
        multiply<T>(weight, part, part + stages.x_part, feature, columns, sums);
        stage = (stage + 1) % STAGES;
    }
    __syncthreads();
}
