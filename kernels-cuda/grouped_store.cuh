// The sums of experts' products on their way out: biases, the weight of a pair, rounded once.

#pragma once

#include "common.cuh"
#include "kernels.h"

#ifndef EXPERTILE_DEVICE
#define EXPERTILE_DEVICE __device__
#endif
#include "activation.h"

// The biases of a feature, which is even, and the next: zeros without any, or beyond the features.
template <typename T>
__device__ inline float2 bias_pair(const void *bias, uint64_t first, uint32_t feature,
                                   uint32_t features) {
    if (bias == nullptr || feature >= features) {
        return {0.0f, 0.0f};
    }
    uint64_t at = first + feature;
    return {load_one<T>(bias, at), load_one<T>(bias, at + 1)};
}

// Without biases a sum stays as it is, -0 too.
__device__ inline float biased(const void *bias, float sum, float own) {
    return bias == nullptr ? sum : sum + own;
}

__device__ inline float weighted(const GroupedGemmParams &p, float sum, float weight) {
    return p.weights == nullptr ? sum : sum * weight;
}

// Eight neighbours to out[row, feature].
template <typename T>
__device__ inline void store_results(const GroupedGemmParams &p, const float (&values)[WIDEST<T>],
                                     uint64_t row, uint64_t feature) {
    Packed<T, WIDEST<T>> packed;
    pack(values, packed);
    store<T, WIDEST<T>>(p.out, row * p.out_stride + feature, packed);
}
