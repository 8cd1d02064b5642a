// Dispatch: pairs sorted by expert. Reference: reference/dispatch.rs. Contract: DispatchParams.
//
// Math, for every pair i with a local expert e(i):
//   row(i) = pairs of the experts before e(i) + pairs before i with e(i)
//   pairs[row(i)] = i, rows[i] = row(i)
//
// Mapping: workgroup b has chunk b of the pairs, and each of its waves a piece of it, 64 pairs at a
// time:
//
//   pairs   0 ..                    chunk_pairs ..
//           |wave 0 |wave 1 | ...   |wave 0 |wave 1 | ...
//           workgroup 0             workgroup 1
//
// A row is four numbers added: the experts before (a scan over the experts), the chunks before (the
// sum of their histograms), the waves before (a scan over the workgroup's waves), the lanes before.
// The last is a mask of the lanes with the same expert, made of one ballot for each bit of the
// expert: no atomics, so nothing depends on who comes first.
//
// Few pairs are one workgroup and one launch: a second launch costs more than the pairs. Many are
// two: dispatch_i32_count writes the histogram of each chunk, and each workgroup of dispatch_i32_place
// reads all.
//
// Budget: 1024 threads; 29704 B LDS; 0 B scratch; registers: 45 gfx90a, 45 gfx942, 45 gfx950.
// Keeps: v_mbcnt_hi_u32_b32, ds_read_b32.
// Bound: latency below some thousand pairs. Then memory: 8 B read (ids, in both launches) and 8 B
// written for each pair, and chunks^2 * experts * 4 B of histograms from L2.

#include "common.hip.h"
#include "kernels.h"

#define EXPERTILE_DEVICE __device__
#include "routing.h"

static_assert(MAX_WAVES * WAVE_THREADS == DISPATCH_MAX_THREADS, "a wave has a row of WaveCounts");

// Each wave's pairs of each expert; then those of the waves before it, and the wave counts on.
using WaveCounts = uint32_t[MAX_WAVES][DISPATCH_MAX_EXPERTS];

typedef int32_t int2 __attribute__((ext_vector_type(2)));

struct Experts {
    uint32_t totals[DISPATCH_MAX_EXPERTS];  // rows
    uint32_t before[DISPATCH_MAX_EXPERTS];  // rows of the chunks before
    uint32_t next[DISPATCH_MAX_EXPERTS];    // the first row in this chunk
    uint32_t offsets[DISPATCH_MAX_EXPERTS + 1];
    uint32_t tile_starts[DISPATCH_MAX_EXPERTS + 1];
};

// The lanes of the wave that have the lane's expert. All lanes call it.
__device__ inline uint64_t peers_of(uint32_t expert, uint32_t expert_bits) {
    uint64_t peers = ballot(expert != EXPERTILE_NO_EXPERT);
    for (uint32_t bit = 0; bit < expert_bits; ++bit) {
        bool set = (expert >> bit & 1) != 0;
        uint64_t with = ballot(set);
        peers &= set ? with : ~with;
    }
    return peers;
}

// Calls visit(pair, in_range, expert, peers) for the pairs of the thread, in step with its wave.
template <typename Visit>
__device__ inline void each_pair(const DispatchParams &p, Visit visit) {
    uint32_t lane = workitem_id_x() % WAVE_THREADS;
    uint32_t wave = workitem_id_x() / WAVE_THREADS;
    // Below 2^31 and a chunk.
    uint32_t share = p.chunk_pairs / (workgroup_size_x() / WAVE_THREADS);
    uint32_t begin = workgroup_id_x() * p.chunk_pairs + wave * share;
    uint32_t end = min(begin + share, p.pair_count);

    // The next id is asked for before the present one is used.
    auto fetch = [&](uint32_t pair) { return pair < end ? p.ids[pair] : -1; };
    int32_t next = fetch(begin + lane);
    for (uint32_t first = begin; first < end; first += WAVE_THREADS) {
        int32_t id = next;
        next = fetch(first + WAVE_THREADS + lane);
        uint32_t pair = first + lane;
        uint32_t expert = expertile_local_expert(id, p.first_expert, p.experts);
        visit(pair, pair < end, expert, peers_of(expert, p.expert_bits));
    }
}

// The wave's pairs of each expert.
__device__ inline void count_pairs(const DispatchParams &p, uint32_t *counts) {
    for (uint32_t e = workitem_id_x() % WAVE_THREADS; e < p.experts; e += WAVE_THREADS) {
        counts[e] = 0;
    }
    wave_barrier();
    each_pair(p, [&](uint32_t, bool, uint32_t expert, uint64_t peers) {
        if (expert != EXPERTILE_NO_EXPERT && lanes_before(peers) == 0) {
            counts[expert] += popcount(peers);
        }
        wave_barrier();
    });
}

// Each wave's counts become those of the waves before it; the sum of all.
__device__ inline uint32_t scan_waves(WaveCounts &counts, uint32_t expert) {
    uint32_t sum = 0;
    for (uint32_t wave = 0; wave < workgroup_size_x() / WAVE_THREADS; ++wave) {
        uint32_t count = counts[wave][expert];
        counts[wave][expert] = sum;
        sum += count;
    }
    return sum;
}

// Of each expert, the pairs in all chunks and in those before this one. Every thread adds up some
// of the chunks.
__device__ inline void add_histograms(const DispatchParams &p, Experts &experts) {
    __shared__ uint32_t sums[2][DISPATCH_MAX_THREADS];
    uint32_t parts = workgroup_size_x() / p.experts;
    uint32_t part = workitem_id_x() / p.experts;
    uint32_t expert = workitem_id_x() - part * p.experts;
    uint32_t before = 0, all = 0;
    if (part < parts) {
        for (uint32_t chunk = part; chunk < p.chunks; chunk += parts) {
            uint32_t count = p.histograms[uint64_t(chunk) * p.experts + expert];
            all += count;
            before += chunk < workgroup_id_x() ? count : 0;
        }
    }
    sums[0][workitem_id_x()] = before;
    sums[1][workitem_id_x()] = all;
    workgroup_barrier();
    if (workitem_id_x() < p.experts) {
        before = all = 0;
        for (uint32_t i = workitem_id_x(); i < min(parts, p.chunks) * p.experts; i += p.experts) {
            before += sums[0][i];
            all += sums[1][i];
        }
        experts.before[workitem_id_x()] = before;
        experts.totals[workitem_id_x()] = all;
    }
}

// One wave: where each expert's rows and tiles begin. A lane has some adjacent experts.
__device__ inline void scan_experts(const DispatchParams &p, Experts &experts) {
    uint32_t lane = workitem_id_x() % WAVE_THREADS;
    uint32_t width = (p.experts + WAVE_THREADS - 1) / WAVE_THREADS;
    uint32_t begin = min(lane * width, p.experts), end = min(begin + width, p.experts);
    uint32_t rows = 0, tiles = 0;
    for (uint32_t e = begin; e < end; ++e) {
        rows += experts.totals[e];
        tiles += expertile_tiles_of(experts.totals[e], p.tile_shift);
    }
    uint32_t own_rows = rows, own_tiles = tiles;
    rows = wave_inclusive_sum(rows);
    tiles = wave_inclusive_sum(tiles);
    if (lane == WAVE_THREADS - 1) {
        experts.offsets[p.experts] = rows;
        experts.tile_starts[p.experts] = tiles;
    }
    rows -= own_rows;
    tiles -= own_tiles;
    for (uint32_t e = begin; e < end; ++e) {
        experts.offsets[e] = rows;
        experts.tile_starts[e] = tiles;
        experts.next[e] = rows + experts.before[e];
        rows += experts.totals[e];
        tiles += expertile_tiles_of(experts.totals[e], p.tile_shift);
    }
}

// What is not of a single pair: the blocks share it.
__device__ inline void store_layout(const DispatchParams &p, const Experts &experts) {
    if (workgroup_id_x() == 0) {
        for (uint32_t e = workitem_id_x(); e < p.experts; e += workgroup_size_x()) {
            p.offsets[e] = static_cast<int32_t>(experts.offsets[e]);
            p.counts[e] = static_cast<int32_t>(experts.totals[e]);
        }
        if (workitem_id_x() == 0) {
            p.offsets[p.experts] = static_cast<int32_t>(experts.offsets[p.experts]);
            p.tile_count[0] = static_cast<int32_t>(experts.tile_starts[p.experts]);
        }
    }
    uint32_t thread = workgroup_id_x() * workgroup_size_x() + workitem_id_x();
    uint32_t threads = workgroup_count_x() * workgroup_size_x();
    for (uint32_t i = experts.offsets[p.experts] + thread; i < p.pair_count; i += threads) {
        p.pairs[i] = -1;
    }
    for (uint32_t tile = thread; tile < p.max_tiles; tile += threads) {
        int2 entry = {-1, -1};
        if (tile < experts.tile_starts[p.experts]) {
            uint32_t e = expertile_expert_of_tile(experts.tile_starts, p.experts, tile);
            uint32_t first = (tile - experts.tile_starts[e]) << p.tile_shift;
            entry = int2{static_cast<int32_t>(e), static_cast<int32_t>(experts.offsets[e] + first)};
        }
        reinterpret_cast<int2 *>(p.tiles)[tile] = entry;
    }
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, DISPATCH_MAX_THREADS))) void
dispatch_i32_count(const DispatchParams p) {
    __shared__ WaveCounts counts;
    count_pairs(p, counts[workitem_id_x() / WAVE_THREADS]);
    workgroup_barrier();
    for (uint32_t e = workitem_id_x(); e < p.experts; e += workgroup_size_x()) {
        p.histograms[uint64_t(workgroup_id_x()) * p.experts + e] = scan_waves(counts, e);
    }
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, DISPATCH_MAX_THREADS))) void
dispatch_i32_place(const DispatchParams p) {
    __shared__ WaveCounts counts;
    __shared__ Experts experts;
    uint32_t wave = workitem_id_x() / WAVE_THREADS;
    count_pairs(p, counts[wave]);
    if (p.histograms != nullptr) {
        add_histograms(p, experts);
    }
    workgroup_barrier();
    for (uint32_t e = workitem_id_x(); e < p.experts; e += workgroup_size_x()) {
        uint32_t own = scan_waves(counts, e);
        if (p.histograms == nullptr) {
            experts.totals[e] = own;
            experts.before[e] = 0;
        }
    }
    workgroup_barrier();
    if (wave == 0) {
        scan_experts(p, experts);
    }
    workgroup_barrier();

    store_layout(p, experts);
    each_pair(p, [&](uint32_t pair, bool in_range, uint32_t expert, uint64_t peers) {
        bool local = expert != EXPERTILE_NO_EXPERT;
        uint32_t rank = lanes_before(peers);
        uint32_t row = local ? experts.next[expert] + counts[wave][expert] + rank : 0xffffffff;
        wave_barrier();
        if (local && rank == 0) {
            counts[wave][expert] += popcount(peers);
        }
        wave_barrier();
        if (in_range) {
            p.rows[pair] = static_cast<int32_t>(row);
        }
        if (local) {
            p.pairs[row] = static_cast<int32_t>(pair);
        }
    });
}
