// The tiles of several experts' products, as a workgroup goes through them.

#pragma once

#include "common.hip.h"
#include "kernels.h"

#define EXPERTILE_DEVICE __device__
#include "grouped_tiles.h"

constexpr uint32_t CHUNKS = GROUPED_MAX_EXPERTS / WAVE_THREADS;

// The experts that have rows, in LDS while their order is made: first by number, then by rank.
struct OrderRoom {
    uint32_t counts[GROUPED_MAX_EXPERTS];
    uint32_t numbers[GROUPED_MAX_EXPERTS];
    uint32_t starts[GROUPED_MAX_EXPERTS];
    uint32_t experts[GROUPED_MAX_EXPERTS];
    uint32_t total;
};

// The order of the experts that have rows, in registers: lane l of each wave has the ranks l, l + 64, ...
struct GroupedOrder {
    uint32_t starts[CHUNKS];  // tiles of rows before the expert; all ones where there is none
    uint32_t experts;         // a byte each
    uint32_t total;           // tiles of rows of all
};
static_assert(GROUPED_MAX_EXPERTS <= 256 && CHUNKS <= 4, "an expert is a byte");

// All threads of the workgroup, a wave or more for each chunk, make the order. Behind the last barrier the room
// is free.
//
// Experts without rows have no tiles and stand before none, so the places of the others among themselves are
// those among all.
__device__ inline GroupedOrder order_experts(const GroupedGemmParams &p, OrderRoom &room) {
    uint32_t thread = workitem_id_x();
    uint32_t wave = thread / WAVE_THREADS, lane = thread % WAVE_THREADS;
    uint32_t active = 0;
#pragma unroll
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        uint32_t expert = chunk * WAVE_THREADS + lane, rows = 0;
        if (expert < p.experts) {
            GroupedSpan span = expertile_grouped_span(p.offsets, expert, p.rows);
            rows = span.end - span.first;
        }
        uint64_t mask = ballot(rows != 0);
        if (wave == chunk && rows != 0) {
            uint32_t place = active + lanes_before(mask);
            room.counts[place] = rows;
            room.numbers[place] = expert;
        }
        active += popcount(mask);
    }
    if (thread == 0) {
        room.total = 0;
    }
    workgroup_barrier();
    if (thread < active) {
        GroupedPlace place = expertile_grouped_place(room.counts, active, thread, p.tile_shift);
        room.starts[place.rank] = place.start;
        room.experts[place.rank] = room.numbers[thread];
        if (thread == 0) {
            room.total = place.total;
        }
    }
    workgroup_barrier();
    GroupedOrder order;
    order.experts = 0;
#pragma unroll
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        uint32_t rank = chunk * WAVE_THREADS + lane;
        order.starts[chunk] = ~0u;
        if (rank < active) {
            order.starts[chunk] = room.starts[rank];
            order.experts |= room.experts[rank] << 8 * chunk;
        }
    }
    // anew: else the compiler sees that all lanes have it, and leaves it in a vector register.
    order.total = readlane_u32(anew(room.total), 0);
    workgroup_barrier();
    return order;
}

// A tile as kernels want it.
struct GroupedWork {
    uint32_t expert;
    uint32_t row;      // the first, of out
    uint32_t end;      // past the tile's last
    uint32_t feature;  // the first, of out
};

// The tiles of features of out.
__device__ inline uint32_t tile_columns(const GroupedGemmParams &p) {
    return (p.out_features + p.tile_features - 1) / p.tile_features;
}

// The tile of a number below order.total * tile_columns. All lanes of the wave take part, and have the same number.
__device__ inline GroupedWork work_of(const GroupedGemmParams &p, const GroupedOrder &order, uint64_t number) {
    uint32_t columns = tile_columns(p);
    uint32_t row_tile = static_cast<uint32_t>(number / columns);
    uint32_t rank = 0;
#pragma unroll
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        rank += popcount(ballot(order.starts[chunk] <= row_tile));
    }
    rank -= 1;
    uint32_t lane = rank % WAVE_THREADS, start = 0;
#pragma unroll
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        uint32_t own = readlane_u32(order.starts[chunk], lane);
        start = rank / WAVE_THREADS == chunk ? own : start;
    }
    GroupedWork work;
    work.expert = readlane_u32(order.experts, lane) >> rank / WAVE_THREADS * 8 & 0xff;
    GroupedSpan span = expertile_grouped_span(p.offsets, work.expert, p.rows);
    LinearTiles tiles;
    tiles.rows = expertile_tiles_of(span.end - span.first, p.tile_shift);
    tiles.columns = columns;
    tiles.panel = p.panel;
    tiles.count = uint64_t(tiles.rows) * columns;
    LinearTile tile = expertile_linear_tile(tiles, number - uint64_t(start) * columns);
    work.row = span.first + (tile.row << p.tile_shift);
    work.end = min(span.end, work.row + (1u << p.tile_shift));
    work.feature = tile.column * p.tile_features;
    return work;
}

// Where a workgroup begins: workgroups go round the XCDs in turn, each with an L2 of its own, and those of one
// XCD get tiles that are neighbours. The others follow at distances of all workgroups.
__device__ inline uint64_t first_turn(uint32_t xcds) {
    uint32_t id = workgroup_id_x(), count = workgroup_count_x();
    uint32_t each = count / xcds, rest = count % xcds;
    uint32_t xcd = id % xcds;
    return xcd * each + min(xcd, rest) + id / xcds;
}
