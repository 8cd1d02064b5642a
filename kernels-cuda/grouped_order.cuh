// The tiles of several experts' products, as a block goes through them.

#pragma once

#include "kernels.h"
#include "ptx.cuh"

#ifndef EXPERTILE_DEVICE
#define EXPERTILE_DEVICE __device__
#endif
#include "grouped_tiles.h"

// The order of the experts, in shared memory: as expertile_grouped_tile wants it.
struct GroupedOrder {
    uint32_t starts[GROUPED_MAX_EXPERTS + 1];
    uint16_t experts[GROUPED_MAX_EXPERTS];
};
constexpr uint32_t GROUPED_ORDER_BYTES = 1544;
static_assert(sizeof(GroupedOrder) <= GROUPED_ORDER_BYTES, "what the host reserves");

// All threads of the block fill the order; `counts` is any other shared memory for a number an expert.
// Behind the barriers everybody may read it, and write what was in `counts`.
__device__ inline void order_experts(const GroupedGemmParams &p, GroupedOrder &order,
                                     uint32_t *counts) {
    for (uint32_t expert = threadIdx.x; expert < p.experts; expert += blockDim.x) {
        GroupedSpan span = expertile_grouped_span(p.offsets, expert, p.rows);
        counts[expert] = span.end - span.first;
    }
    __syncthreads();
    for (uint32_t expert = threadIdx.x; expert < p.experts; expert += blockDim.x) {
        GroupedPlace place = expertile_grouped_place(counts, p.experts, expert, p.tile_shift);
        order.starts[place.rank] = place.start;
        order.experts[place.rank] = static_cast<uint16_t>(expert);
        if (expert == 0) {
            order.starts[p.experts] = place.total;
        }
    }
    __syncthreads();
}

// A tile as kernels want it.
struct GroupedWork {
    uint32_t expert;
    uint32_t row;      // the first, of out
    uint32_t end;      // past the expert's last
    uint32_t feature;  // the first, of out
};

// The tiles in turn: a block's are blockIdx.x, + gridDim.x, ...
struct GroupedTurns {
    const GroupedGemmParams &p;
    const GroupedOrder &order;
    uint32_t columns;

    __device__ GroupedTurns(const GroupedGemmParams &p, const GroupedOrder &order)
        : p(p), order(order), columns((p.out_features + p.tile_features - 1) / p.tile_features) {}

    __device__ uint64_t count() const { return uint64_t(order.starts[p.experts]) * columns; }
    __device__ GroupedWork at(uint64_t number) const {
        GroupedTile tile = expertile_grouped_tile(order.starts, p.experts, columns, p.panel, number);
        GroupedWork work;
        work.expert = order.experts[tile.rank];
        GroupedSpan span = expertile_grouped_span(p.offsets, work.expert, p.rows);
        work.row = span.first + (tile.row << p.tile_shift);
        work.end = span.end;
        work.feature = tile.column * p.tile_features;
        return work;
    }
};

// The row of x of a row of out, if there is one. down: rows are their own.
template <bool UP>
__device__ inline bool source_row(const GroupedGemmParams &p, uint32_t row, uint32_t end,
                                  uint32_t &source) {
    source = row;
    if (row >= end) {
        return false;
    }
    if constexpr (UP) {
        // -1 and what else is negative becomes a token beyond all.
        source = static_cast<uint32_t>(p.pairs[row]) / p.top_k;
        return p.pairs[row] >= 0 && source < p.x_rows;
    }
    return true;
}

// down: what a row is multiplied by.
__device__ inline float pair_weight(const GroupedGemmParams &p, uint32_t row) {
    if (p.weights == nullptr) {
        return 1.0f;
    }
    uint32_t pair = static_cast<uint32_t>(p.pairs[row]);
    return pair < p.pair_count ? p.weights[pair] : 0.0f;
}
