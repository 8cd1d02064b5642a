// Stages of operands in shared memory for the matrix products of sm_80: how they get there, and to registers.

#pragma once

#include "kernels.h"
#include "ptx_mma.cuh"

// 16 bytes: 8 elements.
constexpr uint32_t PIECE = 8;

// Where a piece of a row of PIECES lies. Eight rows have the same piece at eight different places of 128
// bytes, so that neither copies nor ldmatrix meet in a bank.
template <uint32_t PIECES>
__device__ inline uint32_t piece_at(uint32_t base, uint32_t row, uint32_t piece) {
    return base + (row * PIECES + (piece ^ row % 8)) * 16;
}

// Begins to copy ROWS rows of PIECES of a matrix. What lies outside of it is 0.
template <uint32_t ROWS, uint32_t PIECES, uint32_t THREADS>
__device__ inline void copy_rows(uint32_t to, const void *base, uint64_t stride, uint32_t first,
                                 uint32_t rows, uint32_t first_column, uint32_t columns) {
#pragma unroll
    for (uint32_t i = 0; i < ROWS * PIECES / THREADS; ++i) {
        uint32_t at = i * THREADS + threadIdx.x;
        uint64_t row = uint64_t(first) + at / PIECES;
        uint64_t column = uint64_t(first_column) + at % PIECES * PIECE;
        bool copies = row < rows && column < columns;
        const uint16_t *from = static_cast<const uint16_t *>(base);
        copy_async_16(piece_at<PIECES>(to, at / PIECES, at % PIECES),
                      copies ? from + row * stride + column : from, copies);
    }
}

// The weight's features by k: rows of K k, or (nn) rows of FEATURES features.
template <bool NN, uint32_t FEATURES, uint32_t K, uint32_t THREADS>
__device__ inline void copy_weight(uint32_t to, const LinearParams &p, uint32_t feature, uint32_t k) {
    if constexpr (NN) {
        copy_rows<K, FEATURES / PIECE, THREADS>(to, p.weight, p.weight_stride, k, p.in_features,
                                                feature, p.out_features);
    } else {
        copy_rows<FEATURES, K / PIECE, THREADS>(to, p.weight, p.weight_stride, feature,
                                                p.out_features, k, p.in_features);
    }
}

// 16 features by 16 k of a stage, as the product's A.
template <bool NN, uint32_t FEATURES, uint32_t K>
__device__ inline void load_weight(uint32_t (&words)[4], uint32_t stage, uint32_t feature, uint32_t k) {
    uint32_t matrix = threadIdx.x % WARP_THREADS / 8, row = threadIdx.x % 8;
    if constexpr (NN) {
        // Rows of k: the transposed matrices.
        ldmatrix_x4_trans(words,
                          piece_at<FEATURES / PIECE>(stage, k + matrix / 2 * 8 + row,
                                                     feature / PIECE + matrix % 2));
    } else {
        ldmatrix_x4(words, piece_at<K / PIECE>(stage, feature + matrix % 2 * 8 + row,
                                               k / PIECE + matrix / 2));
    }
}

// 16 tokens by 16 k of a stage, as two products' B: words 0 and 1, 2 and 3.
template <uint32_t K>
__device__ inline void load_x(uint32_t (&words)[4], uint32_t stage, uint32_t token, uint32_t k) {
    uint32_t matrix = threadIdx.x % WARP_THREADS / 8, row = threadIdx.x % 8;
    ldmatrix_x4(words, piece_at<K / PIECE>(stage, token + matrix / 2 * 8 + row,
                                           k / PIECE + matrix % 2));
}

// Puts 16 features by 8 tokens of sums into a tile of f32, [tokens, STRIDE].
template <uint32_t STRIDE>
__device__ inline void turn(float *turned, uint32_t token, uint32_t feature, const float (&sums)[4]) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        uint32_t row = token + lane % 4 * 2 + i % 2;
        turned[row * STRIDE + feature + lane / 4 + i / 2 * 8] = sums[i];
    }
}
