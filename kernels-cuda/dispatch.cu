// Dispatch: pairs sorted by expert. Reference: reference/dispatch.rs. Contract: DispatchParams.
//
// Math, for every pair i with a local expert e(i):
//   row(i) = pairs of the experts before e(i) + pairs before i with e(i)
//   pairs[row(i)] = i, rows[i] = row(i)
//
// Mapping: block b has chunk b of the pairs, and each of its warps a piece of it, 32 pairs at a
// time:
//
//   pairs   0 ..                    chunk_pairs ..
//           |warp 0 |warp 1 | ...   |warp 0 |warp 1 | ...
//           block 0                 block 1
//
// A row is four numbers added: the experts before (a scan over the experts), the chunks before (the
// sum of their histograms), the warps before (a scan over the block's warps), the lanes before. The
// last is a mask of the lanes with the same expert, made of one ballot for each bit of the expert:
// no atomics, so nothing depends on who comes first.
//
// Few pairs are one block and one launch: a second launch costs more than the pairs. Many are two:
// dispatch_i32_count writes the histogram of each chunk, and each block of dispatch_i32_place reads all.
//
// Budget: 1024 threads; 46088 B shared; 0 B spilled; registers: 32 sm_80, 42 sm_89, 32 sm_90a.
// Keeps: VOTE, POPC; in PTX: vote.sync.ballot, popc.b32.
// Bound: latency below some thousand pairs. Then memory: 8 B read (ids, in both launches) and 8 B
// written for each pair, and chunks^2 * experts * 4 B of histograms from L2.

#include "common.cuh"
#include "kernels.h"

#define EXPERTILE_DEVICE __device__
#include "routing.h"

constexpr uint32_t MAX_WARPS = DISPATCH_MAX_THREADS / WARP_THREADS;

// Each warp's pairs of each expert; then those of the warps before it, and the warp counts on.
using WarpCounts = uint32_t[MAX_WARPS][DISPATCH_MAX_EXPERTS];

struct Experts {
    uint32_t totals[DISPATCH_MAX_EXPERTS];  // rows
    uint32_t before[DISPATCH_MAX_EXPERTS];  // rows of the chunks before
    uint32_t next[DISPATCH_MAX_EXPERTS];    // the first row in this chunk
    uint32_t offsets[DISPATCH_MAX_EXPERTS + 1];
    uint32_t tile_starts[DISPATCH_MAX_EXPERTS + 1];
};

// The lanes of the warp that have the lane's expert. All lanes call it.
__device__ inline uint32_t peers_of(uint32_t expert, uint32_t expert_bits) {
    uint32_t peers = __ballot_sync(0xffffffff, expert != EXPERTILE_NO_EXPERT);
    for (uint32_t bit = 0; bit < expert_bits; ++bit) {
        bool set = (expert >> bit & 1) != 0;
        uint32_t with = __ballot_sync(0xffffffff, set);
        peers &= set ? with : ~with;
    }
    return peers;
}

// Calls visit(pair, in_range, expert, peers) for the pairs of the thread, in step with its warp.
template <typename Visit>
__device__ inline void each_pair(const DispatchParams &p, Visit visit) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    // Below 2^31 and a chunk.
    uint32_t share = p.chunk_pairs / (blockDim.x / WARP_THREADS);
    uint32_t begin = blockIdx.x * p.chunk_pairs + warp * share;
    uint32_t end = min(begin + share, p.pair_count);

    // The next id is asked for before the present one is used.
    auto fetch = [&](uint32_t pair) { return pair < end ? p.ids[pair] : -1; };
    int32_t next = fetch(begin + lane);
    for (uint32_t first = begin; first < end; first += WARP_THREADS) {
        int32_t id = next;
        next = fetch(first + WARP_THREADS + lane);
        uint32_t pair = first + lane;
        uint32_t expert = expertile_local_expert(id, p.first_expert, p.experts);
        visit(pair, pair < end, expert, peers_of(expert, p.expert_bits));
    }
}

__device__ inline uint32_t lanes_below() {
    return (1u << threadIdx.x % WARP_THREADS) - 1;
}

// The warp's pairs of each expert.
__device__ inline void count_pairs(const DispatchParams &p, uint32_t *counts) {
    for (uint32_t e = threadIdx.x % WARP_THREADS; e < p.experts; e += WARP_THREADS) {
        counts[e] = 0;
    }
    __syncwarp();
    each_pair(p, [&](uint32_t, bool, uint32_t expert, uint32_t peers) {
        if (expert != EXPERTILE_NO_EXPERT && (peers & lanes_below()) == 0) {
            counts[expert] += __popc(peers);
        }
        __syncwarp();
    });
}

// Each warp's counts become those of the warps before it; the sum of all.
__device__ inline uint32_t scan_warps(WarpCounts &counts, uint32_t expert) {
    uint32_t sum = 0;
    for (uint32_t warp = 0; warp < blockDim.x / WARP_THREADS; ++warp) {
        uint32_t count = counts[warp][expert];
        counts[warp][expert] = sum;
        sum += count;
    }
    return sum;
}

// Of each expert, the pairs in all chunks and in those before this one. Every thread adds up some
// of the chunks.
__device__ inline void add_histograms(const DispatchParams &p, Experts &experts) {
    __shared__ uint32_t sums[2][DISPATCH_MAX_THREADS];
    uint32_t parts = blockDim.x / p.experts;
    uint32_t part = threadIdx.x / p.experts;
    uint32_t expert = threadIdx.x - part * p.experts;
    uint32_t before = 0, all = 0;
    if (part < parts) {
        for (uint32_t chunk = part; chunk < p.chunks; chunk += parts) {
            uint32_t count = p.histograms[size_t(chunk) * p.experts + expert];
            all += count;
            before += chunk < blockIdx.x ? count : 0;
        }
    }
    sums[0][threadIdx.x] = before;
    sums[1][threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.x < p.experts) {
        before = all = 0;
        for (uint32_t i = threadIdx.x; i < min(parts, p.chunks) * p.experts; i += p.experts) {
            before += sums[0][i];
            all += sums[1][i];
        }
        experts.before[threadIdx.x] = before;
        experts.totals[threadIdx.x] = all;
    }
}

// One warp: where each expert's rows and tiles begin. A lane has some adjacent experts.
__device__ inline void scan_experts(const DispatchParams &p, Experts &experts) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t width = (p.experts + WARP_THREADS - 1) / WARP_THREADS;
    uint32_t begin = min(lane * width, p.experts), end = min(begin + width, p.experts);
    uint32_t rows = 0, tiles = 0;
    for (uint32_t e = begin; e < end; ++e) {
        rows += experts.totals[e];
        tiles += expertile_tiles_of(experts.totals[e], p.tile_shift);
    }
    uint32_t own_rows = rows, own_tiles = tiles;
    rows = warp_inclusive_sum(rows);
    tiles = warp_inclusive_sum(tiles);
    if (lane == WARP_THREADS - 1) {
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
    if (blockIdx.x == 0) {
        for (uint32_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
            p.offsets[e] = static_cast<int32_t>(experts.offsets[e]);
            p.counts[e] = static_cast<int32_t>(experts.totals[e]);
        }
        if (threadIdx.x == 0) {
            p.offsets[p.experts] = static_cast<int32_t>(experts.offsets[p.experts]);
            p.tile_count[0] = static_cast<int32_t>(experts.tile_starts[p.experts]);
        }
    }
    uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t threads = gridDim.x * blockDim.x;
    for (uint32_t i = experts.offsets[p.experts] + thread; i < p.pair_count; i += threads) {
        p.pairs[i] = -1;
    }
    for (uint32_t tile = thread; tile < p.max_tiles; tile += threads) {
        int2 entry = make_int2(-1, -1);
        if (tile < experts.tile_starts[p.experts]) {
            uint32_t e = expertile_expert_of_tile(experts.tile_starts, p.experts, tile);
            uint32_t first = (tile - experts.tile_starts[e]) << p.tile_shift;
            entry = make_int2(static_cast<int32_t>(e),
                              static_cast<int32_t>(experts.offsets[e] + first));
        }
        reinterpret_cast<int2 *>(p.tiles)[tile] = entry;
    }
}

extern "C" __global__ void __launch_bounds__(DISPATCH_MAX_THREADS)
    dispatch_i32_count(const __grid_constant__ DispatchParams p) {
    __shared__ WarpCounts counts;
    count_pairs(p, counts[threadIdx.x / WARP_THREADS]);
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
        p.histograms[size_t(blockIdx.x) * p.experts + e] = scan_warps(counts, e);
    }
}

extern "C" __global__ void __launch_bounds__(DISPATCH_MAX_THREADS)
    dispatch_i32_place(const __grid_constant__ DispatchParams p) {
    __shared__ WarpCounts counts;
    __shared__ Experts experts;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    count_pairs(p, counts[warp]);
    if (p.histograms != nullptr) {
        add_histograms(p, experts);
    }
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < p.experts; e += blockDim.x) {
        uint32_t own = scan_warps(counts, e);
        if (p.histograms == nullptr) {
            experts.totals[e] = own;
            experts.before[e] = 0;
        }
    }
    __syncthreads();
    if (warp == 0) {
        scan_experts(p, experts);
    }
    __syncthreads();

    store_layout(p, experts);
    each_pair(p, [&](uint32_t pair, bool in_range, uint32_t expert, uint32_t peers) {
        bool local = expert != EXPERTILE_NO_EXPERT;
        uint32_t rank = __popc(peers & lanes_below());
        uint32_t row = local ? experts.next[expert] + counts[warp][expert] + rank : 0xffffffff;
        __syncwarp();
        if (local && rank == 0) {
            counts[warp][expert] += __popc(peers);
        }
        __syncwarp();
        if (in_range) {
            p.rows[pair] = static_cast<int32_t>(row);
        }
        if (local) {
            p.pairs[row] = static_cast<int32_t>(pair);
        }
    });
}
