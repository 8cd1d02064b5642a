// What kernels for few rows share: the stage in LDS and its products.

#pragma once

#include "linear_tile.hip.h"

constexpr uint32_t TILE = LINEAR_ROWS_TILE_FEATURES;
constexpr uint32_t TILE_K = 128;
constexpr uint32_t THREADS = LINEAR_ROWS_THREADS;

struct Stage {
    Rows<TILE, TILE_K> x, weight;
};

template <typename T, uint32_t COLUMNS>
__device__ inline void multiply(const Stage &stage, uint32_t feature, Sums (&sums)[COLUMNS],
                                uint32_t thread = workitem_id_x()) {
    uint32_t lane = thread % WAVE_THREADS;
#pragma unroll
    for (uint32_t step = 0; step < TILE_K / 32; ++step) {
        uint32_t piece = step * 4 + lane / 16;
        Words weight = stage.weight.read(feature + lane % 16, piece);
        Words x[COLUMNS];
#pragma unroll
        for (uint32_t i = 0; i < COLUMNS; ++i) {
            x[i] = stage.x.read(i * 16 + lane % 16, piece);
        }
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
#pragma unroll
            for (uint32_t i = 0; i < COLUMNS; ++i) {
                sums[i] = multiply_half<T>(weight, x[i], half, sums[i]);
            }
        }
    }
}
