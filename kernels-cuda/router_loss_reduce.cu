// Load histogram and auxiliary losses of the router, second half: from the sums of chunks to means
// and losses. Reference: reference/router_loss.rs. Contract: RouterLossParams.
//
// Math, with tokens, P[e], Q[e], z and counts[e] summed over the chunks:
//   mean_probabilities[e] = P[e] / tokens
//   losses[0] = experts / (tokens * top_k) * sum over e of counts[e] * P[e] / tokens    MegaBlocks
//   losses[1] = experts / tokens * sum over e of counts[e] * Q[e] / tokens              published DBRX
//   losses[2] = z / tokens
//
// Mapping: one block. A thread owns a column of the sums, up to 3 of 770, and adds it over the chunks
// from first to last; then one thread adds up the experts. So the order of every sum depends on the
// extents alone.
//
// Budget: 256 threads; 3080 B shared; 0 B spilled; registers: 40 sm_80, 40 sm_89, 40 sm_90a.
// Keeps: LDG.E, STG.E; in PTX: ld.global, st.global.
// Bound: latency: chunks of 256 tokens are added one after the other, several loads at a time; 128
// chunks for 32768 tokens.

#include "common.cuh"
#include "kernels.h"

// Those of the sums that are floats come first.
__device__ inline uint32_t sum_column(const RouterLossParams &p, uint32_t column) {
    uint64_t columns = 3 * p.experts + 2;
    bool is_float = column <= 2 * p.experts;
    float sum = 0.0f;
    uint32_t count = 0;
#pragma unroll 8
    for (uint32_t chunk = 0; chunk < p.chunks; ++chunk) {
        uint32_t word = p.partials[chunk * columns + column];
        sum += is_float ? __uint_as_float(word) : 0.0f;
        count += word;
    }
    return is_float ? __float_as_uint(sum) : count;
}

extern "C" __global__ void __launch_bounds__(ROUTER_LOSS_THREADS)
    router_loss_reduce_f32(const __grid_constant__ RouterLossParams p) {
    __shared__ uint32_t sums[3 * ROUTER_MAX_EXPERTS + 2];
    for (uint32_t column = threadIdx.x; column < 3 * p.experts + 2; column += ROUTER_LOSS_THREADS) {
        sums[column] = sum_column(p, column);
    }
    __syncthreads();

    const uint32_t *counts = sums + 2 * p.experts + 1;
    uint32_t counted = sums[3 * p.experts + 1];
    // Without tokens every sum is 0, and so is every mean.
    float tokens = counted == 0 ? 1.0f : static_cast<float>(counted);
    for (uint32_t expert = threadIdx.x; expert < p.experts; expert += ROUTER_LOSS_THREADS) {
        p.counts[expert] = static_cast<int32_t>(counts[expert]);
        p.mean_probabilities[expert] = __uint_as_float(sums[expert]) / tokens;
    }
    if (threadIdx.x == 0) {
        float megablocks = 0.0f, transformers = 0.0f;
        for (uint32_t expert = 0; expert < p.experts; ++expert) {
            float count = static_cast<float>(counts[expert]);
            megablocks += count * (__uint_as_float(sums[expert]) / tokens);
            transformers += count * (__uint_as_float(sums[p.experts + expert]) / tokens);
        }
        float experts = static_cast<float>(p.experts);
        p.losses[0] = megablocks * experts / tokens / static_cast<float>(p.top_k);
        p.losses[1] = transformers * experts / tokens;
        p.losses[2] = __uint_as_float(sums[2 * p.experts]) / tokens;
    }
}
