// What kernels that multiply tiles of 256 by 256 share: the stage in LDS, its products, and the order of tiles.

#pragma once

#include "linear_tile.hip.h"

constexpr uint32_t TILE = LINEAR_TILE;
constexpr uint32_t TILE_K = 64;
constexpr uint32_t THREADS = LINEAR_THREADS;
constexpr uint32_t WAVE_TOKENS = 128, WAVE_FEATURES = 64;
constexpr uint32_t ROWS = WAVE_TOKENS / 16, COLUMNS = WAVE_FEATURES / 16;

// TURNED: both operands lie alike, which takes fewer instructions; else the places of x take fewer registers.
template <bool TURNED = true>
struct Stage {
    Rows<TILE, TILE_K, TURNED> x;
    Rows<TILE, TILE_K> weight;
};

template <typename T, bool TURNED>
__device__ inline void multiply(const Stage<TURNED> &stage, uint32_t token, uint32_t feature,
                                Sums (&sums)[ROWS][COLUMNS], uint32_t thread = workitem_id_x()) {
    uint32_t lane = thread % WAVE_THREADS;
#pragma unroll
    for (uint32_t step = 0; step < TILE_K / 32; ++step) {
        uint32_t piece = step * 4 + lane / 16;
        Words weight[COLUMNS];
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS; ++j) {
            weight[j] = stage.weight.read(feature + j * 16 + lane % 16, piece);
        }
#pragma unroll
        for (uint32_t i = 0; i < ROWS; ++i) {
            Words x = stage.x.read(token + i * 16 + lane % 16, piece);
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
                for (uint32_t j = 0; j < COLUMNS; ++j) {
                    sums[i][j] = multiply_half<T>(weight[j], x, half, sums[i][j]);
                }
            }
        }
    }
}

// Workgroups go round the XCDs in turn, each with an L2 of its own: every XCD gets tiles that are neighbours.
__device__ inline uint64_t tile_of(uint32_t xcds, uint64_t tiles) {
    uint64_t id = workgroup_id_x();
    uint64_t each = tiles / xcds, rest = tiles % xcds;
    uint64_t xcd = id % xcds;
    return xcd * each + (xcd < rest ? xcd : rest) + id / xcds;
}
