// A dense layer's sums on their way out: clamped, with the residual, rounded once.

#pragma once

#include "common.cuh"
#include "kernels.h"

// Neither bound replaces a NaN.
__device__ inline float clamped(float sum, float clamp) {
    return max_nan_f32(min_nan_f32(sum, clamp), -clamp);
}

// The first of a vector of sums is out[row, column]: WIDEST of them to where they belong.
template <typename Out>
__device__ inline void store_sums(const LinearParams &p, float (&sums)[WIDEST<Out>], uint64_t row,
                                  uint64_t column) {
#pragma unroll
    for (uint32_t i = 0; i < WIDEST<Out>; ++i) {
        sums[i] = clamped(sums[i], p.clamp);
    }
    if (p.residual != nullptr) {
        float added[WIDEST<Out>];
        unpack(load<Out, WIDEST<Out>>(p.residual, row * p.residual_stride + column), added);
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<Out>; ++i) {
            sums[i] += added[i];
        }
    }
    Packed<Out, WIDEST<Out>> packed;
    pack(sums, packed);
    store<Out, WIDEST<Out>>(p.out, row * p.out_stride + column, packed);
}

// A tile of f32 sums in shared memory, [tokens, STRIDE], to out: 8 features of a token at a time.
template <typename Out, uint32_t STRIDE>
__device__ inline void store_turned(const LinearParams &p, const float *turned, uint32_t token,
                                    uint32_t tokens, uint32_t feature, uint32_t features,
                                    uint32_t thread, uint32_t threads) {
    constexpr uint32_t VECTOR = 8;
    constexpr uint32_t PARTS = VECTOR / WIDEST<Out>;
    uint32_t vectors = features / VECTOR;
    for (uint32_t at = thread; at < tokens * vectors; at += threads) {
        uint32_t offset = at % vectors * VECTOR;
        uint64_t row = uint64_t(token) + at / vectors, column = uint64_t(feature) + offset;
        if (row >= p.tokens || column >= p.out_features) {
            continue;
        }
        const float *sums = turned + at / vectors * STRIDE + offset;
#pragma unroll
        for (uint32_t part = 0; part < PARTS; ++part) {
            float values[WIDEST<Out>];
#pragma unroll
            for (uint32_t i = 0; i < WIDEST<Out>; ++i) {
                values[i] = sums[part * WIDEST<Out> + i];
            }
            store_sums<Out>(p, values, row, column + part * WIDEST<Out>);
        }
    }
}
