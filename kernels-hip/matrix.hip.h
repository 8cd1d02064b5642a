// Products of matrices by waves, and tiles of operands in LDS.

#pragma once

#include "common.hip.h"

// CDNA3 ISA, 12.?: D[16, 16] = A[16, 16] B[16, 16] + D. Lane l has, of A, row l % 16 and k = 4 (l / 16) + j as
// element j; of B, column l % 16 and the same k; of D, column l % 16 and rows 4 (l / 16) + i.
typedef float Sums __attribute__((ext_vector_type(4)));
typedef uint32_t Pair __attribute__((ext_vector_type(2)));

template <typename T>
__device__ inline Sums multiply_16x16x16(Pair a, Pair b, Sums d);

template <>
__device__ inline Sums multiply_16x16x16<bf16>(Pair a, Pair b, Sums d) {
    typedef short Elements __attribute__((ext_vector_type(4)));
    return __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(Elements, a),
                                                     __builtin_bit_cast(Elements, b), d, 0, 0, 0);
}

template <>
__device__ inline Sums multiply_16x16x16<f16>(Pair a, Pair b, Sums d) {
    typedef _Float16 Elements __attribute__((ext_vector_type(4)));
    return __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Elements, a),
                                                 __builtin_bit_cast(Elements, b), d, 0, 0, 0);
}

// CDNA3 ISA, 12.?: D[32, 32] = A[32, 8] B[8, 32] + D. Lane l has, of A, row l % 32 and k = 4 (l / 32) + j as
// element j; of B, column l % 32 and the same k; of D, as sums[i], column l % 32 and row 8 (i / 4) +
// 4 (l / 32) + i % 4.
typedef float WideSums __attribute__((ext_vector_type(16)));

template <typename T>
__device__ inline WideSums multiply_32x32x8(Pair a, Pair b, WideSums d);

template <>
__device__ inline WideSums multiply_32x32x8<bf16>(Pair a, Pair b, WideSums d) {
    typedef short Elements __attribute__((ext_vector_type(4)));
    return __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(__builtin_bit_cast(Elements, a),
                                                    __builtin_bit_cast(Elements, b), d, 0, 0, 0);
}

template <>
__device__ inline WideSums multiply_32x32x8<f16>(Pair a, Pair b, WideSums d) {
    typedef _Float16 Elements __attribute__((ext_vector_type(4)));
    return __builtin_amdgcn_mfma_f32_32x32x8f16(__builtin_bit_cast(Elements, a),
                                                __builtin_bit_cast(Elements, b), d, 0, 0, 0);
}
