// What kernels of sm_90a that multiply tiles of 128 by 256 share: a ring of stages in shared memory, and the
// products of a tile.

#pragma once

#include "common.cuh"
#include "ptx_sm90.cuh"
#include "ptx_wgmma.cuh"

constexpr uint32_t TILE_TOKENS = LINEAR_SM90_TILE_TOKENS;
constexpr uint32_t TILE_FEATURES = LINEAR_SM90_TILE_FEATURES;
constexpr uint32_t TILE_K = 64;
constexpr uint32_t STAGES = 4;

constexpr uint32_t GROUP_THREADS = 128;
constexpr uint32_t GROUP_TOKENS = TILE_TOKENS / 2;
// Products of one stage, each of 16 k.
constexpr uint32_t STEPS = TILE_K / 16;
// Rows of shared memory have 128 bytes: 64 elements.
constexpr uint32_t ROW_BYTES = 128;
// From one product's k to the next: along a row, or 16 rows; descriptors count 16 bytes.
constexpr uint32_t X_STEP = 32 / 16;
constexpr uint32_t NN_STEP = 16 * ROW_BYTES / 16;
constexpr uint32_t X_BYTES = TILE_TOKENS * ROW_BYTES;
constexpr uint32_t WEIGHT_BYTES = TILE_FEATURES * ROW_BYTES;
constexpr uint32_t STAGE_BYTES = X_BYTES + WEIGHT_BYTES;

constexpr uint32_t COPYING_REGISTERS = 40;
constexpr uint32_t MULTIPLYING_REGISTERS = 232;

// Places in shared memory, and where a warp group stands in the ring of stages.
template <uint32_t BARRIERS_AT>
struct TileRing {
    uint32_t base;
    uint32_t stage;
    uint32_t parity;

    __device__ explicit TileRing(uint32_t base) : base(base), stage(0), parity(0) {}

    __device__ void next() {
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        parity ^= stage == 0;
    }
    __device__ uint32_t x() const { return base + stage * STAGE_BYTES; }
    __device__ uint32_t weight() const { return x() + X_BYTES; }
    __device__ uint32_t full() const { return base + BARRIERS_AT + 8 * stage; }
    __device__ uint32_t empty() const { return full() + 8 * STAGES; }
};

// A warp leaves a stage, in every block that copies to it.
__device__ inline void leave(uint32_t empty, uint32_t blocks) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    if (lane < blocks) {
        mbarrier_arrive_cluster(empty, lane);
    }
}

// The products of a tile. The accumulators are complete when it returns.
template <typename T, bool NN, typename Ring>
__device__ inline void multiply(uint32_t in_features, Ring &ring, uint32_t group, uint32_t blocks,
                                float (&sums)[TILE_FEATURES / 2]) {
    uint32_t left = 0;
    for (uint32_t k = 0; k < in_features; k += TILE_K) {
        mbarrier_wait_parity(ring.full(), ring.parity);
        uint64_t a = matrix_descriptor(ring.x() + group * GROUP_TOKENS * ROW_BYTES, 0);
        uint64_t b = matrix_descriptor(ring.weight(), NN ? 64 * ROW_BYTES : 0);
        wgmma_fence();
#pragma unroll
        for (uint32_t step = 0; step < STEPS; ++step) {
            Wgmma<T, TILE_FEATURES>::template run<false, NN>(
                sums, a + step * X_STEP, b + step * (NN ? NN_STEP : X_STEP), k + step != 0);
        }
        wgmma_commit_group();
        // The products of the stage before are done, those of this one run on.
        wgmma_wait_group<1>();
        if (k != 0) {
            leave(left, blocks);
        }
        left = ring.empty();
        ring.next();
    }
    wgmma_wait_group<0>();
    leave(left, blocks);
}

template <typename T>
__device__ inline uint32_t pack_pair(float2 pair) {
    Packed<T, 4> packed;
    float values[4] = {pair.x, pair.y, 0, 0};
    pack(values, packed);
    return packed.words[0];
}

template <typename T>
__device__ inline float2 unpack_pair(uint32_t word) {
    Packed<T, 4> packed{{word, 0}};
    float values[4];
    unpack(packed, values);
    return {values[0], values[1]};
}
