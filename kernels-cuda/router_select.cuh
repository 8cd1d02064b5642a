// From a token's logits to its experts and weights, by one warp.
//
// Lane l owns the experts l, l + 32, ...; slot j of the choice belongs to lane j. The arithmetic is
// that of router.h, the same on the host; what warps add up are integers, so no result depends on
// how the experts are spread.

#pragma once

#include "common.cuh"
#include "kernels.h"

#define EXPERTILE_DEVICE __device__
#include "router.h"

static_assert(ROUTER_MAX_TOP_K <= WARP_THREADS && ROUTER_MAX_GROUPS <= WARP_THREADS,
              "a lane for each slot and each group");

// One token's row in shared memory. Experts are reached by number there, and no result of the compiler
// depends on how many there may be.
struct RouterRow {
    float logits[ROUTER_MAX_EXPERTS];
    uint32_t keys[ROUTER_MAX_EXPERTS];  // of the choice; 0: not to be chosen, or no more
};

// The sum over the warp of what is below 2^44, in every lane.
__device__ inline uint64_t warp_sum_fixed(uint64_t value) {
    uint32_t low = warp_sum_u32(static_cast<uint32_t>(value) & 0xffffff);
    uint32_t high = warp_sum_u32(static_cast<uint32_t>(value >> 24));
    return (static_cast<uint64_t>(high) << 24) + low;
}

// The sum over the warp of floats from 0 to 2.
__device__ inline float warp_total(float power) {
    return expertile_router_from_fixed(warp_sum_fixed(expertile_router_fixed(power)));
}

// The place of the largest key, the lowest of several.
__device__ inline uint32_t warp_best(uint32_t key, uint32_t place) {
    return warp_min_u32(key == warp_max_u32(key) ? place : ~0u);
}

// Runs body(expert) for the experts that this lane owns.
template <typename Body>
__device__ inline void for_experts(uint32_t experts, Body body) {
#pragma unroll 1
    for (uint32_t expert = threadIdx.x % WARP_THREADS; expert < experts; expert += WARP_THREADS) {
        body(expert);
    }
}

// What a group is ranked by: its best expert under a softmax, the sum of its best two under sigmoids.
__device__ inline uint32_t key_of_group(const RouterParams &p, const RouterRow &row,
                                        uint32_t group, uint32_t size) {
    bool sigmoid = p.scoring == ROUTER_SIGMOID;
    uint32_t first = 0, second = 0;
    for (uint32_t member = group * size; member < (group + 1) * size; ++member) {
        uint32_t key = row.keys[member];
        if (sigmoid && p.bias == nullptr) {
            // The choice is by logits, which have no meaning as a sum.
            key = expertile_router_key(expertile_router_sigmoid(row.logits[member]));
        }
        second = max(second, min(first, key));
        first = max(first, key);
    }
    if (!sigmoid || size == 1) {
        return first;
    }
    return expertile_router_key(expertile_router_value(first) + expertile_router_value(second));
}

// Takes the keys of experts outside the best groups away.
__device__ inline void keep_groups(const RouterParams &p, RouterRow &row) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t size = p.experts / p.groups;
    uint32_t key = lane < p.groups ? key_of_group(p, row, lane, size) : 0;
    uint32_t admitted = 0;
    for (uint32_t round = 0; round < p.top_groups; ++round) {
        uint32_t best = warp_best(key, lane);
        admitted |= 1u << best;
        if (lane == best) {
            key = 0;
        }
    }
    // The keys were read by other lanes than those that change them.
    __syncwarp();
    for_experts(p.experts, [&](uint32_t expert) {
        if ((admitted >> (expert / size) & 1) == 0) {
            row.keys[expert] = 0;
        }
    });
}

// The expert of this lane's slot.
__device__ inline uint32_t choose(const RouterParams &p, RouterRow &row) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t chosen = ~0u;
    for (uint32_t slot = 0; slot < p.top_k; ++slot) {
        uint32_t key = 0, expert = ~0u;
        for_experts(p.experts, [&](uint32_t other) {
            uint32_t other_key = row.keys[other];
            if (other_key > key) {
                key = other_key;
                expert = other;
            }
        });
        uint32_t best = warp_best(key, expert);
        if (lane == best % WARP_THREADS) {
            row.keys[best] = 0;
        }
        if (lane == slot) {
            chosen = best;
        }
    }
    return chosen;
}

// The score of a logit: its sigmoid, or its part of the softmax.
__device__ inline float score_of(const RouterParams &p, float logit, float largest, float sum) {
    if (p.scoring == ROUTER_SIGMOID) {
        return expertile_router_sigmoid(logit);
    }
    return expertile_router_exp(expertile_router_difference(logit, largest)) / sum;
}

// The weight of this lane's slot, from the logit of its expert; every lane calls it. Slots that are
// not valid count for nothing.
__device__ inline float weigh(const RouterParams &p, float logit, bool valid, float row_largest,
                              float row_sum) {
    if (p.norm == ROUTER_NORM_NONE) {
        return score_of(p, logit, row_largest, row_sum);
    }
    uint32_t largest_key = warp_max_u32(valid ? expertile_router_key(logit) : 0);
    float largest = expertile_router_value(largest_key);
    if (p.scoring == ROUTER_SIGMOID) {
        float score = largest > 0.0f ? expertile_router_sigmoid(logit)
                                     : expertile_router_sigmoid_in_row(logit, largest);
        return score / warp_total(valid ? score : 0.0f);
    }
    // Two minus infinities are equal.
    RouterSum relative = {0.0f, 0.0f};
    if (logit != largest) {
        relative = expertile_router_difference(logit, largest);
    }
    float power = expertile_router_exp(relative);
    if (p.norm == ROUTER_NORM_LARGEST) {
        return power;
    }
    if (p.norm == ROUTER_NORM_SUM) {
        return power / warp_total(valid ? power : 0.0f);
    }
    RouterSum exponent = {p.p_norm, 0.0f};
    RouterSum inverse = {p.inverse_p_high, p.inverse_p_low};
    float of_p = expertile_router_exp(expertile_router_times(relative, exponent));
    RouterSum norm = expertile_router_log(warp_total(valid ? of_p : 0.0f));
    norm = expertile_router_times(norm, inverse);
    RouterSum divided = expertile_router_difference(relative.high, norm.high);
    divided.low = (relative.low + divided.low) - norm.low;
    return expertile_router_exp(divided);
}

// Replaces the logits by those that count, and sets the keys; the result is the largest logit.
__device__ inline float order_logits(const RouterParams &p, RouterRow &row) {
    uint32_t largest = 0;
    for_experts(p.experts, [&](uint32_t expert) {
        row.keys[expert] = expertile_router_key(row.logits[expert]);
        largest = max(largest, row.keys[expert]);
    });
    largest = warp_max_u32(largest);
    for_experts(p.experts, [&](uint32_t expert) {
        uint32_t key = row.keys[expert];
        if (p.scoring == ROUTER_SOFTMAX) {
            key = expertile_router_in_row(key, largest);
        }
        row.keys[expert] = key;
        row.logits[expert] = expertile_router_value(key);
    });
    return expertile_router_value(expertile_router_in_row(largest, largest));
}

// The sum of the softmax of a row.
__device__ inline float sum_of_powers(const RouterParams &p, const RouterRow &row, float largest) {
    uint64_t sum = 0;
    for_experts(p.experts, [&](uint32_t expert) {
        RouterSum exponent = expertile_router_difference(row.logits[expert], largest);
        sum += expertile_router_fixed(expertile_router_exp(exponent));
    });
    return expertile_router_from_fixed(warp_sum_fixed(sum));
}

// Routes one token, whose logits are in the row; every lane of the warp calls it.
__device__ inline void select_experts(const RouterParams &p, uint64_t token, RouterRow &row) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    float largest = order_logits(p, row);
    float sum = 1.0f;
    if (p.scoring == ROUTER_SOFTMAX && (p.norm == ROUTER_NORM_NONE || p.probabilities != nullptr)) {
        sum = sum_of_powers(p, row, largest);
    }
    if (p.probabilities != nullptr) {
        for_experts(p.experts, [&](uint32_t expert) {
            float score = score_of(p, row.logits[expert], largest, sum);
            p.probabilities[token * p.experts + expert] = score;
        });
    }
    if (p.bias != nullptr) {
        for_experts(p.experts, [&](uint32_t expert) {
            float score = score_of(p, row.logits[expert], largest, sum);
            row.keys[expert] = expertile_router_key(score + p.bias[expert]);
        });
    }
    __syncwarp();

    uint32_t id = ~0u;
    if (p.forced != nullptr) {
        if (lane < p.top_k) {
            id = static_cast<uint32_t>(p.forced[token * p.top_k + lane]);
        }
    } else {
        if (p.top_groups < p.groups) {
            keep_groups(p, row);
        }
        id = choose(p, row);
    }
    bool valid = lane < p.top_k && id < p.experts;
    float weight = weigh(p, valid ? row.logits[id] : 0.0f, valid, largest, sum);
    if (lane < p.top_k) {
        p.ids[token * p.top_k + lane] = static_cast<int32_t>(id);
        p.weights[token * p.top_k + lane] = valid ? weight * p.scale : 0.0f;
    }
    if (p.counts != nullptr && valid) {
        atomicAdd(p.counts + id, 1u);
    }
}
