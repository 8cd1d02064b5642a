// A dense layer on sm_90a. Reference: reference/linear.rs. Contract: LinearSm90Params.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a block computes tiles of 128 tokens by 256 features, 64 of k at a time. Its first warp group
// copies, the two others multiply, each 64 tokens; stages of shared memory go around between them.
//
//   warp group 0, one thread     x [128, 64] + weight [256, 64] -> stage i   (48 KiB, 128B swizzle)
//     waits: empty[i]            completes: full[i]
//   warp group 1: tokens 0..64   64x256x16, four a stage: accumulators in 128 registers a thread
//   warp group 2: tokens 64..128
//     wait: full[i]              arrive: empty[i - 1], when its products are done
//
// A cluster of two blocks has two tiles of tokens and the same features: each copies half of the weight's
// stage to both. So a stage is empty when the warps of both blocks have left it.
//
// A row of tiles of tokens is cut into panels, a panel goes through all features before the next begins: what
// the blocks that run together read fits L2.
//
// out in 2 bytes leaves in chunks of 64 features: registers, shared memory (two buffers a warp group), copy.
// The residual comes the same way into the same buffers, the first two chunks while the products run. out in
// f32 is stored from registers, 32 bytes a row and instruction.
//
// k ascends in steps of 16 for every element, whatever the tile: a row's bits do not depend on others.
//
// Budget: 384 threads; 0 B shared; 0 B spilled; registers: 168 sm_90a.
// Keeps: HGMMA.64x256x16, UTMALDG, USETMAXREG; in PTX: wgmma.mma_async, cp.async.bulk.tensor.
// Products: HGMMA.64x256x16; 4 a group.
// Bound: arithmetic, from about 270 tokens on. A stage has 2 * 128 * 256 * 64 operations for 48 KiB from L2,
// 32 KiB with a cluster.

#include "linear_store.cuh"
#include "linear_tile_sm90.cuh"

#define EXPERTILE_DEVICE __device__
#include "linear_tiles.h"

constexpr uint32_t CHUNK_FEATURES = 64;
constexpr uint32_t CHUNKS = TILE_FEATURES / CHUNK_FEATURES;
static_assert(GROUP_TOKENS == LINEAR_SM90_CHUNK_TOKENS, "a box is a warp group's");
constexpr uint32_t CHUNK_BYTES = GROUP_TOKENS * ROW_BYTES;
constexpr uint32_t CHUNK_BUFFERS = 2;
constexpr uint32_t CHUNKS_AT = STAGES * STAGE_BYTES;
constexpr uint32_t BARRIERS_AT = CHUNKS_AT + 2 * CHUNK_BUFFERS * CHUNK_BYTES;
static_assert(BARRIERS_AT + 8 * (2 * STAGES + 2 * CHUNK_BUFFERS) == LINEAR_SM90_SHARED_BYTES,
              "what the host reserves");

using Ring = TileRing<BARRIERS_AT>;

// The tiles of a cluster, in turn: each block's is one row of tiles further.
struct Tile {
    uint32_t token;
    uint32_t feature;
};

struct Tiles {
    LinearTiles tiles;
    uint32_t block;
    uint32_t blocks;

    __device__ explicit Tiles(const LinearParams &p)
        : tiles(expertile_linear_tiles(p.tokens, p.out_features, TILE_TOKENS * cluster_blocks(),
                                       TILE_FEATURES, p.panel)),
          block(cluster_block()),
          blocks(cluster_blocks()) {}

    __device__ uint64_t first() const { return blockIdx.x / blocks; }
    __device__ uint64_t step() const { return gridDim.x / blocks; }
    __device__ uint64_t count() const { return tiles.count; }
    __device__ Tile tile(uint64_t at) const {
        LinearTile tile = expertile_linear_tile(tiles, at);
        return {(tile.row * blocks + block) * TILE_TOKENS, tile.column * TILE_FEATURES};
    }
};

// Boxes of 64 by 128 (nt) or 64 by 64 (nn) elements make up the weight's stage; each block of a cluster
// copies its part of them to all.
template <bool NN>
__device__ inline void copy_weight(const LinearSm90Params &p, const Ring &ring, uint32_t feature,
                                   uint32_t k, uint32_t block, uint32_t blocks) {
    constexpr uint32_t BOX_FEATURES =
        NN ? LINEAR_SM90_BOX_FEATURES_NN : LINEAR_SM90_BOX_FEATURES_NT;
    constexpr uint32_t BOX_BYTES = BOX_FEATURES * ROW_BYTES;
    constexpr uint32_t BOXES = TILE_FEATURES / BOX_FEATURES;
    uint32_t own = BOXES / blocks;
    for (uint32_t box = block * own; box < (block + 1) * own; ++box) {
        uint32_t to = ring.weight() + box * BOX_BYTES;
        uint32_t first = feature + box * BOX_FEATURES;
        uint32_t x = NN ? first : k, y = NN ? k : first;
        if (blocks == 1) {
            copy_tile(to, p.weight_map, x, y, ring.full());
        } else {
            copy_tile_multicast(to, p.weight_map, x, y, ring.full(), (1u << blocks) - 1);
        }
    }
}

template <bool NN>
__device__ inline void copy(const LinearSm90Params &p, Ring ring, const Tiles &tiles) {
    uint32_t block = cluster_block(), blocks = cluster_blocks();
    for (uint64_t at = tiles.first(); at < tiles.count(); at += tiles.step()) {
        Tile tile = tiles.tile(at);
        for (uint32_t k = 0; k < p.common.in_features; k += TILE_K) {
            mbarrier_wait_parity(ring.empty(), ring.parity ^ 1);
            mbarrier_arrive_expect_tx(ring.full(), STAGE_BYTES);
            copy_tile(ring.x(), p.x_map, k, tile.token, ring.full());
            copy_weight<NN>(p, ring, tile.feature, k, block, blocks);
            ring.next();
        }
    }
}

// What a warp group has to store chunks with.
struct Chunks {
    uint32_t base;     // its buffers
    uint32_t barrier;  // of the first buffer's residual; the second's follows
    uint32_t parity;   // of both
    uint32_t number;   // of the named barrier
    bool elected;      // the thread that copies

    __device__ uint32_t buffer(uint32_t chunk) const {
        return base + chunk % CHUNK_BUFFERS * CHUNK_BYTES;
    }
    __device__ uint32_t full(uint32_t chunk) const {
        return barrier + 8 * (chunk % CHUNK_BUFFERS);
    }
};

__device__ inline void copy_residual(const LinearSm90Params &p, const Chunks &chunks, uint32_t chunk,
                                     Tile tile) {
    mbarrier_arrive_expect_tx(chunks.full(chunk), CHUNK_BYTES);
    copy_tile(chunks.buffer(chunk), p.residual_map, tile.feature + chunk * CHUNK_FEATURES, tile.token,
              chunks.full(chunk));
}

// The residual's first chunks come while the products run.
__device__ inline void begin_residual(const LinearSm90Params &p, const Chunks &chunks, Tile tile) {
    if (chunks.elected) {
        bulk_wait_group_read<0>();
        if (p.common.residual != nullptr) {
            for (uint32_t chunk = 0; chunk < CHUNK_BUFFERS; ++chunk) {
                copy_residual(p, chunks, chunk, tile);
            }
        }
    }
}

// Two neighbours of a row, and those of the residual in `word` if it adds.
template <typename T>
__device__ inline uint32_t finish(float first, float second, float clamp, bool adds, uint32_t word) {
    float2 pair = {clamped(first, clamp), clamped(second, clamp)};
    if (adds) {
        float2 added = unpack_pair<T>(word);
        pair.x += added.x;
        pair.y += added.y;
    }
    return pack_pair<T>(pair);
}

// Elements of 2 bytes: 8x8 matrices between registers and shared memory.
template <typename T>
__device__ inline void store_chunks(const LinearSm90Params &p, Chunks &chunks, Tile tile,
                                    const float (&sums)[TILE_FEATURES / 2]) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS % 4;
    // The lane's row in the instructions for 16 rows of 16 elements, and its 16 bytes of them.
    uint32_t row = warp * 16 + lane % 16, half = lane / 16;
    bool adds = p.common.residual != nullptr;
#pragma unroll
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        uint32_t buffer = chunks.buffer(chunk);
        if (chunk >= CHUNK_BUFFERS && chunks.elected) {
            bulk_wait_group_read<CHUNK_BUFFERS - 1>();
            if (adds) {
                copy_residual(p, chunks, chunk, tile);
            }
        }
        named_barrier(chunks.number, GROUP_THREADS);
        if (adds) {
            mbarrier_wait_parity(chunks.full(chunk), chunks.parity);
            chunks.parity ^= chunk % CHUNK_BUFFERS == CHUNK_BUFFERS - 1;
        }
#pragma unroll
        for (uint32_t pair = 0; pair < CHUNK_FEATURES / 16; ++pair) {
            uint32_t place = buffer + row * ROW_BYTES + (((2 * pair + half) ^ (row % 8)) * 16);
            uint32_t words[4] = {};
            if (adds) {
                ldmatrix_x4(words, place);
            }
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
                uint32_t first = chunk * CHUNK_FEATURES / 2 + pair * 8 + 2 * i;
                words[i] = finish<T>(sums[first], sums[first + 1], p.common.clamp, adds, words[i]);
            }
            stmatrix_x4(place, words);
        }
        fence_proxy_async();
        named_barrier(chunks.number, GROUP_THREADS);
        if (chunks.elected) {
            store_tile(p.out_map, tile.feature + chunk * CHUNK_FEATURES, tile.token, buffer);
            bulk_commit_group();
        }
    }
}

// f32: a thread has two neighbours of a row, four threads 32 bytes.
template <typename T>
__device__ inline void store_rows(const LinearSm90Params &p, Tile tile,
                                  const float (&sums)[TILE_FEATURES / 2]) {
    const LinearParams &c = p.common;
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS % 4;
    uint32_t token = tile.token + warp * 16 + lane / 4;
    uint32_t feature = tile.feature + lane % 4 * 2;
#pragma unroll
    for (uint32_t block = 0; block < TILE_FEATURES / 8; ++block) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint64_t row = token + half * 8, column = feature + block * 8;
            if (row < c.tokens && column < c.out_features) {
                float2 pair = {clamped(sums[block * 4 + half * 2], c.clamp),
                               clamped(sums[block * 4 + half * 2 + 1], c.clamp)};
                if (c.residual != nullptr) {
                    const float *residual = static_cast<const float *>(c.residual);
                    float2 added = *reinterpret_cast<const float2 *>(residual + row * c.residual_stride + column);
                    pair.x += added.x;
                    pair.y += added.y;
                }
                float *out = static_cast<float *>(c.out);
                *reinterpret_cast<float2 *>(out + row * c.out_stride + column) = pair;
            }
        }
    }
}

template <typename T, typename Out, bool NN>
__device__ inline void linear(const LinearSm90Params &p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t base = shared_address(shared);
    uint32_t blocks = cluster_blocks();
    if (threadIdx.x == 0) {
        for (Ring ring(base); ring.parity == 0; ring.next()) {
            mbarrier_init(ring.full(), 1);
            mbarrier_init(ring.empty(), 2 * GROUP_THREADS / WARP_THREADS * blocks);
        }
        for (uint32_t buffer = 0; buffer < 2 * CHUNK_BUFFERS; ++buffer) {
            mbarrier_init(base + BARRIERS_AT + 8 * (2 * STAGES + buffer), 1);
        }
        fence_mbarrier_init();
    }
    cluster_barrier();

    Ring ring(base);
    Tiles tiles(p.common);
    if (threadIdx.x < GROUP_THREADS) {
        give_registers<COPYING_REGISTERS>();
        if (threadIdx.x < WARP_THREADS && elect_one()) {
            copy<NN>(p, ring, tiles);
        }
        __syncwarp();
    } else {
        take_registers<MULTIPLYING_REGISTERS>();
        uint32_t group = threadIdx.x / GROUP_THREADS - 1;
        Chunks chunks;
        chunks.base = base + CHUNKS_AT + group * CHUNK_BUFFERS * CHUNK_BYTES;
        chunks.barrier = base + BARRIERS_AT + 8 * (2 * STAGES + CHUNK_BUFFERS * group);
        chunks.parity = 0;
        chunks.number = 1 + group;
        chunks.elected = threadIdx.x % GROUP_THREADS < WARP_THREADS && elect_one();
        float sums[TILE_FEATURES / 2];
        for (uint64_t at = tiles.first(); at < tiles.count(); at += tiles.step()) {
            Tile tile = tiles.tile(at);
            tile.token += group * GROUP_TOKENS;
            if constexpr (sizeof(Out) == 2) {
                begin_residual(p, chunks, tile);
            }
            multiply<T, NN>(p.common.in_features, ring, group, blocks, sums);
            if constexpr (sizeof(Out) == 2) {
                store_chunks<T>(p, chunks, tile, sums);
            } else {
                store_rows<T>(p, tile, sums);
            }
        }
        if (chunks.elected) {
            bulk_wait_group_read<0>();
        }
        __syncwarp();
    }
    // No block is gone while another copies to it or arrives at its barriers.
    cluster_barrier();
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_bf16_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<bf16, bf16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_bf16_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<bf16, bf16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_f16_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<f16, f16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_f16_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<f16, f16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_bf16_f32_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<bf16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_bf16_f32_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<bf16, float, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_f16_f32_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<f16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_SM90_THREADS, 1)
    linear_f16_f32_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear<f16, float, true>(p);
}
