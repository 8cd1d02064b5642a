// Sums of an expert's product on their way out: eight neighbours of a row at a time, rounded once.

#pragma once

#include "common.cuh"
#include "grouped_order.cuh"

#include "activation.h"

constexpr uint32_t FINISHED = 8;

// What sums[i] of row `row` of a bias gets, unless there is none.
template <typename T>
__device__ inline void add_bias(const void *bias, uint64_t at, float (&sums)[FINISHED]) {
    if (bias != nullptr) {
        float added[FINISHED];
        unpack(load<T, FINISHED>(bias, at), added);
#pragma unroll
        for (uint32_t i = 0; i < FINISHED; ++i) {
            sums[i] += added[i];
        }
    }
}

template <typename T>
__device__ inline void store_finished(const GroupedGemmParams &p, const float (&values)[FINISHED],
                                      uint32_t row, uint32_t feature) {
    Packed<T, FINISHED> packed;
    pack(values, packed);
    store<T, FINISHED>(p.out, row * p.out_stride + feature, packed);
}

// up: gates and what they let through.
template <typename T>
__device__ inline void finish_up(const GroupedGemmParams &p, float (&gates)[FINISHED],
                                 float (&ups)[FINISHED], uint32_t expert, uint32_t row,
                                 uint32_t feature) {
    add_bias<T>(p.bias, expert * p.bias_stride + feature, gates);
    add_bias<T>(p.up_bias, expert * p.up_bias_stride + feature, ups);
#pragma unroll
    for (uint32_t i = 0; i < FINISHED; ++i) {
        gates[i] = expertile_activation(p.activation, gates[i], ups[i], p.limit, p.alpha);
    }
    store_finished<T>(p, gates, row, feature);
}

// down: times the weight of the row's pair.
template <typename T>
__device__ inline void finish_down(const GroupedGemmParams &p, float (&sums)[FINISHED],
                                   uint32_t expert, uint32_t row, uint32_t feature) {
    add_bias<T>(p.bias, expert * p.bias_stride + feature, sums);
    float weight = pair_weight(p, row);
#pragma unroll
    for (uint32_t i = 0; i < FINISHED; ++i) {
        sums[i] *= weight;
    }
    store_finished<T>(p, sums, row, feature);
}
