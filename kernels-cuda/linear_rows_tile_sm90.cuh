// What kernels of sm_90a for few tokens share: a ring of stages in shared memory, the products of a tile with
// swapped operands, and the tile turned.

#pragma once

#include "common.cuh"
#include "ptx_sm90.cuh"
#include "ptx_wgmma.cuh"

constexpr uint32_t TILE_FEATURES = LINEAR_ROWS_TILE_FEATURES;
constexpr uint32_t MOST_TOKENS = LINEAR_ROWS_MAX_TOKENS;
constexpr uint32_t STAGES = 6;

constexpr uint32_t MULTIPLYING_WARPS = 4;
constexpr uint32_t MULTIPLYING_THREADS = MULTIPLYING_WARPS * WARP_THREADS;
// Rows of shared memory have 128 bytes: 64 elements. A stage is two boxes of 64 k of each operand.
constexpr uint32_t ROW_BYTES = 128;
constexpr uint32_t BOX_K = 64;
constexpr uint32_t BOXES = 2;
constexpr uint32_t STAGE_K = BOXES * BOX_K;
constexpr uint32_t WEIGHT_BOX_BYTES = TILE_FEATURES * ROW_BYTES;
constexpr uint32_t X_BOX_BYTES = MOST_TOKENS * ROW_BYTES;
constexpr uint32_t STAGE_BYTES = BOXES * (WEIGHT_BOX_BYTES + X_BOX_BYTES);
// From one product's k to the next: along a row, or 16 rows; descriptors count 16 bytes.
constexpr uint32_t ALONG_ROW = 32 / 16;
constexpr uint32_t ALONG_ROWS = 16 * ROW_BYTES / 16;
// Four more, so that the lanes that turn a matrix write to 32 banks.
constexpr uint32_t TURNED_STRIDE = TILE_FEATURES + 4;
constexpr uint32_t TURNED_AT = STAGES * STAGE_BYTES;
constexpr uint32_t BARRIERS_AT = TURNED_AT + MOST_TOKENS * TURNED_STRIDE * sizeof(float);
static_assert(BARRIERS_AT + 16 * STAGES == LINEAR_ROWS_SM90_SHARED_BYTES, "what the host reserves");

// Where a warp stands in the ring of stages.
struct Ring {
    uint32_t base;
    uint32_t stage;
    uint32_t parity;

    __device__ explicit Ring(uint32_t base) : base(base), stage(0), parity(0) {}

    __device__ void next() {
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        parity ^= stage == 0;
    }
    __device__ uint32_t weight(uint32_t box) const {
        return base + stage * STAGE_BYTES + box * WEIGHT_BOX_BYTES;
    }
    __device__ uint32_t x(uint32_t box) const { return weight(BOXES) + box * X_BOX_BYTES; }
    __device__ uint32_t full() const { return base + BARRIERS_AT + 8 * stage; }
    __device__ uint32_t empty() const { return full() + 8 * STAGES; }
};

template <typename T, bool NN, uint32_t COLUMNS>
__device__ inline void multiply(uint32_t in_features, Ring &ring, float (&sums)[COLUMNS / 2]) {
    for (uint32_t k = 0; k < in_features; k += STAGE_K) {
        mbarrier_wait_parity(ring.full(), ring.parity);
        wgmma_fence();
#pragma unroll
        for (uint32_t box = 0; box < BOXES; ++box) {
            uint64_t a = matrix_descriptor(ring.weight(box), 0);
            uint64_t b = matrix_descriptor(ring.x(box), 0);
#pragma unroll
            for (uint32_t step = 0; step < BOX_K / 16; ++step) {
                Wgmma<T, COLUMNS>::template run<NN, false>(
                    sums, a + step * (NN ? ALONG_ROWS : ALONG_ROW), b + step * ALONG_ROW,
                    k + box + step != 0);
            }
        }
        wgmma_commit_group();
        wgmma_wait_group<0>();
        if (threadIdx.x % WARP_THREADS == 0) {
            mbarrier_arrive(ring.empty());
        }
        ring.next();
    }
}

// Turns the tile: thread t holds feature 16 (t / 32) + t % 32 / 4 + 8 (i / 2 % 2) of token 8 (i / 4) +
// 2 (t % 4) + i % 2.
template <uint32_t COLUMNS>
__device__ inline void turn(float *turned, const float (&sums)[COLUMNS / 2]) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t feature = threadIdx.x / WARP_THREADS * 16 + lane / 4;
    uint32_t token = lane % 4 * 2;
    named_barrier(1, MULTIPLYING_THREADS);
#pragma unroll
    for (uint32_t i = 0; i < COLUMNS / 2; ++i) {
        turned[(token + i / 4 * 8 + i % 2) * TURNED_STRIDE + feature + i / 2 % 2 * 8] = sums[i];
    }
    named_barrier(1, MULTIPLYING_THREADS);
}
