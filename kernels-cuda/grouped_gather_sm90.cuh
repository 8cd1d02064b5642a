// Rows of x that a warp group gathers into stages: what a copy of a tile would leave there, of any rows.

#pragma once

#include "grouped_order.cuh"
#include "ptx_sm90.cuh"

constexpr uint32_t GATHERING_THREADS = 128;
// Each arrives once when a stage is full.
constexpr uint32_t GATHERING_WARPS = GATHERING_THREADS / WARP_THREADS;

// Rows of CHUNKS times 16 bytes, in boxes of 128 bytes a row with 128B swizzle. A thread has one chunk of every
// PASS-th row.
template <uint32_t CHUNKS, uint32_t ROWS, uint32_t BOX_BYTES>
struct Gather {
    static constexpr uint32_t PASS = GATHERING_THREADS / CHUNKS;
    static constexpr uint32_t PASSES = ROWS / PASS;
    static constexpr uint32_t CHUNK = 8;  // elements
    static_assert(PASS % 8 == 0, "all rows of a thread are swizzled alike");

    const uint16_t *from[PASSES];
    uint32_t present;  // a bit for each row that has a source
    uint32_t passes;   // that any row of the tile is in
    uint32_t row;
    uint32_t chunk;

    __device__ Gather()
        : row(threadIdx.x % GATHERING_THREADS / CHUNKS), chunk(threadIdx.x % CHUNKS) {}

    // The rows of a tile.
    template <bool UP>
    __device__ void begin(const GroupedGemmParams &p, const GroupedWork &work) {
        present = 0;
        passes = (work.end - work.row + PASS - 1) / PASS;
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            uint32_t source;
            bool exists = source_row<UP>(p, work.row + pass * PASS + row, work.end, source);
            from[pass] = static_cast<const uint16_t *>(p.x) +
                         (exists ? source * p.x_stride + chunk * CHUNK : 0);
            present |= static_cast<uint32_t>(exists) << pass;
        }
    }

    // From k on to the boxes at `to`. Where there is no source, zeros; past the last row of the tile, but for the
    // rest of a pass, what was there.
    __device__ void copy(uint32_t to, uint32_t k, uint32_t in_features) const {
        uint32_t place = to + chunk / 8 * BOX_BYTES + row * 128 + ((chunk ^ row) % 8) * 16;
        uint32_t copied = k + chunk * CHUNK < in_features ? present : 0;
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            if (pass < passes) {
                copy_async_16(place + pass * PASS * 128, from[pass] + k, copied >> pass & 1);
            }
        }
        copy_async_commit();
    }
};

// All copies of the warp but those into its latest PENDING stages are there: `full` is of the stage before.
template <uint32_t PENDING>
__device__ inline void arrive_gathered(uint32_t full) {
    copy_async_wait<PENDING>();
    fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % WARP_THREADS == 0) {
        mbarrier_arrive(full);
    }
}

// A stage is said to be full LAG stages later, so that copies into as many are on their way. `Ring` follows.
template <uint32_t LAG, typename Ring>
struct Gathered {
    Ring ring;
    uint32_t pending;

    __device__ explicit Gathered(uint32_t base) : ring(base), pending(0) {}

    // Copies into one more stage have been issued.
    __device__ void issued() {
        if (pending < LAG) {
            ++pending;
        } else {
            arrive_gathered<LAG>(ring.full());
            ring.next();
        }
    }
    __device__ void drain() {
        for (; pending != 0; --pending) {
            arrive_gathered<0>(ring.full());
            ring.next();
        }
    }
};
