// Sums of an expert's product on their way out: eight neighbours of a row at a time, rounded once.

#pragma once

#include "grouped_order.cuh"
#include "grouped_store.cuh"

constexpr uint32_t FINISHED = 8;

// Those of a bias at `at`, unless there is none.
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
    store_results<T>(p, gates, row, feature);
}

// down: times the weight of the row's pair.
template <typename T>
__device__ inline void finish_down(const GroupedGemmParams &p, float (&sums)[FINISHED],
                                   uint32_t expert, uint32_t row, uint32_t feature) {
    add_bias<T>(p.bias, expert * p.bias_stride + feature, sums);
    float weight = pair_weight(p, row);
#pragma unroll
    for (uint32_t i = 0; i < FINISHED; ++i) {
        sums[i] = weighted(p, sums[i], weight);
    }
    store_results<T>(p, sums, row, feature);
}
