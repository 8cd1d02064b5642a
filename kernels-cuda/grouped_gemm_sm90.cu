// The products of experts on sm_90a. Reference: reference/grouped_gemm.rs. Contract: GroupedGemmSm90Params.
//
// Math, in f32, for every row r of an expert e and every output feature n:
//   up:    gate = sum over k of x[pairs[r] / top_k, k] * weight[e, n, k], up the same of up_weight
//          out[r, n] = activation(gate + bias[e, n], up + up_bias[e, n])
//   down:  out[r, n] = (sum over k of x[r, k] * weight[e, n, k] + bias[e, n]) * weights[pairs[r]]
// rounded once. nt: an expert's weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a block computes tiles of 128 rows of one expert by 256 features of weights, 64 of k at a time, as
// linear_sm90.cu without clusters. Of up, those are 128 of gate, then 128 of up: a thread's sums[i] is the gate
// of sums[64 + i].
//
//   warp group 0, one thread     weight [256, 64] -> stage i           (32 KiB, 128B swizzle)
//                 down           x [128, 64] -> stage i                (16 KiB)
//                 up, all        gather rows of x to the same place: a chunk of 16 bytes of eight rows each
//     waits: empty[i]            completes: full[i]; of what is gathered, two stages later
//   warp group 1: rows 0..64     64x256x16, four a stage: accumulators in 128 registers a thread
//   warp group 2: rows 64..128
//     wait: full[i]              arrive: empty[i - 1], when its products are done
//
// So the gathering warps need stage i - 4 back when they have said that i - 3 is full: just what the multiplying
// ones wait for before they leave i - 4.
//
// A map's third dimension is the expert, so that k past in_features is 0 and not the next expert's.
//
// A warp stores its 16 rows by way of 4 KiB of its own: down 64 features at a time, in 2 bytes; up 32 gates and
// what they let through, in f32, so that the activation's code is there once. Rows past the expert's last and
// features past the last are not stored.
//
// k ascends in steps of 16 for every element, whatever the tile: a row's bits do not depend on others, and are
// those of linear_sm90.cu.
//
// Budget: 384 threads; 0 B shared; 0 B spilled; registers: 168 sm_90a.
// Keeps: HGMMA.64x256x16, UTMALDG.3D, USETMAXREG, STG.E.128; in PTX: wgmma.mma_async, cp.async.bulk.tensor.3d.
// Products: HGMMA.64x256x16; 4 a group.
// Bound: arithmetic, from about 270 rows an expert on. A stage has 2 * 128 * 256 * 64 operations, 1024 cycles, for
// 48 KiB from L2. Nothing is multiplied while a tile is stored: of up, about 60 instructions for each of 16384
// activations, 8000 cycles. To try next: tiles of 128 by 128 in turns, a warp group stores while the other
// multiplies.

#include "grouped_finish.cuh"
#include "grouped_gather_sm90.cuh"
#include "linear_tile_sm90.cuh"

static_assert(TILE_TOKENS == GROUPED_SM90_TILE_ROWS && TILE_FEATURES == GROUPED_SM90_TILE_FEATURES,
              "tiles of the dense layer");
constexpr uint32_t UP_FEATURES = TILE_FEATURES / 2;
static_assert(UP_FEATURES == GROUPED_SM90_BOX_FEATURES_NT, "a box of gate, a box of up");

// Of a warp, to store by.
constexpr uint32_t WARP_ROWS = 16;
constexpr uint32_t PART_BYTES = 4096;
constexpr uint32_t PARTS_AT = STAGES * STAGE_BYTES;
constexpr uint32_t BARRIERS_AT = PARTS_AT + 2 * GROUP_THREADS / WARP_THREADS * PART_BYTES;
constexpr uint32_t ORDER_AT = BARRIERS_AT + 8 * 2 * STAGES;
static_assert(ORDER_AT + GROUPED_ORDER_BYTES == GROUPED_SM90_SHARED_BYTES, "what the host reserves");

constexpr uint32_t LAG = STAGES - 2;
constexpr uint32_t GATHERING_REGISTERS = 56;
constexpr uint32_t ACTIVATING_REGISTERS = 224;

using Ring = TileRing<BARRIERS_AT>;

template <bool UP, bool NN>
__device__ inline void copy_weight(const GroupedGemmSm90Params &p, const Ring &ring,
                                   const GroupedWork &work, uint32_t k) {
    constexpr uint32_t BOX_FEATURES =
        NN ? GROUPED_SM90_BOX_FEATURES_NN : GROUPED_SM90_BOX_FEATURES_NT;
#pragma unroll
    for (uint32_t box = 0; box < TILE_FEATURES / BOX_FEATURES; ++box) {
        uint32_t to = ring.weight() + box * BOX_FEATURES * ROW_BYTES;
        if constexpr (UP) {
            copy_tile_3d(to, box == 0 ? p.weight_map : p.up_weight_map, k, work.feature,
                         work.expert, ring.full());
        } else {
            uint32_t first = work.feature + box * BOX_FEATURES;
            copy_tile_3d(to, p.weight_map, NN ? first : k, NN ? k : first, work.expert,
                         ring.full());
        }
    }
}

// One thread.
template <bool NN>
__device__ inline void copy_down(const GroupedGemmSm90Params &p, Ring ring,
                                 const GroupedTurns &turns) {
    for (uint64_t at = blockIdx.x; at < turns.count(); at += gridDim.x) {
        GroupedWork work = turns.at(at);
        for (uint32_t k = 0; k < p.common.in_features; k += TILE_K) {
            mbarrier_wait_parity(ring.empty(), ring.parity ^ 1);
            mbarrier_arrive_expect_tx(ring.full(), STAGE_BYTES);
            copy_tile(ring.x(), p.x_map, k, work.row, ring.full());
            copy_weight<false, NN>(p, ring, work, k);
            ring.next();
        }
    }
}

// The warp group.
__device__ inline void copy_up(const GroupedGemmSm90Params &p, Ring ring, const GroupedTurns &turns) {
    bool elected = threadIdx.x < WARP_THREADS && elect_one();
    Gather<TILE_K / 8, TILE_TOKENS, X_BYTES> gather;
    Gathered<LAG, Ring> gathered(ring.base);
    for (uint64_t at = blockIdx.x; at < turns.count(); at += gridDim.x) {
        GroupedWork work = turns.at(at);
        gather.begin<true>(p.common, work);
        for (uint32_t k = 0; k < p.common.in_features; k += TILE_K) {
            mbarrier_wait_parity(ring.empty(), ring.parity ^ 1);
            if (elected) {
                mbarrier_arrive_expect_tx(ring.full(), WEIGHT_BYTES);
                copy_weight<true, false>(p, ring, work, k);
            }
            __syncwarp();
            gather.copy(ring.x(), k, p.common.in_features);
            gathered.issued();
            ring.next();
        }
    }
    gathered.drain();
}

// down. A word is two neighbours of a row; 8x8 matrices between registers and shared memory.
template <typename T>
__device__ inline void store_down(const GroupedGemmParams &p, const GroupedWork &work, uint32_t part,
                                  const float (&sums)[TILE_FEATURES / 2]) {
    constexpr uint32_t PART_FEATURES = 64, HALF_BYTES = WARP_ROWS * ROW_BYTES;
    uint32_t lane = threadIdx.x % WARP_THREADS;
    // The lane's row in the instructions for 16 rows of 16 elements, and its 16 bytes of them.
    uint32_t to = lane % 16, half = lane / 16;
    float weights[2] = {};
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t row = work.row + lane / 4 + i * 8;
        if (row < work.end) {
            weights[i] = pair_weight(p, row);
        }
    }
#pragma unroll
    for (uint32_t first = 0; first < TILE_FEATURES; first += PART_FEATURES) {
        uint32_t buffer = part + first / PART_FEATURES % 2 * HALF_BYTES;
#pragma unroll
        for (uint32_t pair = 0; pair < PART_FEATURES / 16; ++pair) {
            uint32_t words[4];
#pragma unroll
            for (uint32_t block = 0; block < 2; ++block) {
                uint32_t feature = work.feature + first + pair * 16 + block * 8 + lane % 4 * 2;
                float2 bias = {};
                bool adds = p.bias != nullptr && feature < p.out_features;
                if (adds) {
                    const uint16_t *biases = static_cast<const uint16_t *>(p.bias);
                    bias = unpack_pair<T>(*reinterpret_cast<const uint32_t *>(
                        biases + work.expert * p.bias_stride + feature));
                }
#pragma unroll
                for (uint32_t i = 0; i < 2; ++i) {
                    uint32_t at = first / 2 + pair * 8 + block * 4 + i * 2;
                    float2 sum = {sums[at], sums[at + 1]};
                    if (adds) {
                        sum.x += bias.x;
                        sum.y += bias.y;
                    }
                    words[block * 2 + i] = pack_pair<T>({sum.x * weights[i], sum.y * weights[i]});
                }
            }
            stmatrix_x4(buffer + to * ROW_BYTES + ((2 * pair + half) ^ (to % 8)) * 16, words);
        }
        // Between two uses of a buffer lies the other's: nobody reads what is written next.
        __syncwarp();
#pragma unroll
        for (uint32_t pass = 0; pass < WARP_ROWS / 4; ++pass) {
            uint32_t from = pass * 4 + lane / 8, vector = lane % 8;
            uint32_t row = work.row + from, feature = work.feature + first + vector * 8;
            float4 four = ld_shared_v4_f32(buffer + from * ROW_BYTES + (vector ^ (from % 8)) * 16);
            if (row < work.end && feature < p.out_features) {
                Packed<T, 8> packed = {{__float_as_uint(four.x), __float_as_uint(four.y),
                                        __float_as_uint(four.z), __float_as_uint(four.w)}};
                store<T, 8>(p.out, row * p.out_stride + feature, packed);
            }
        }
    }
}

// Where four floats of a warp's part lie: rows of 256 bytes, eight blocks of eight floats each. Four rows that
// are written together are in different blocks of 128 bytes; so are the halves of eight blocks read together.
__device__ inline uint32_t up_offset(uint32_t row, uint32_t block, uint32_t half) {
    return row * 256 + ((block ^ row) % 8) * 32 + ((half ^ row) % 2) * 16;
}

__device__ inline void read_up(uint32_t part, uint32_t row, uint32_t block, float (&values)[8]) {
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        float4 four = ld_shared_v4_f32(part + up_offset(row, block, half));
        values[half * 4] = four.x, values[half * 4 + 1] = four.y;
        values[half * 4 + 2] = four.z, values[half * 4 + 3] = four.w;
    }
}

template <typename T>
__device__ inline void store_up(const GroupedGemmParams &p, const GroupedWork &work, uint32_t part,
                                const float (&sums)[TILE_FEATURES / 2]) {
    constexpr uint32_t PART_FEATURES = 32, BLOCKS = PART_FEATURES / 8;
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll 1
    for (uint32_t first = 0; first < UP_FEATURES; first += PART_FEATURES) {
        __syncwarp();
        // Registers have no index that is not a constant.
#pragma unroll
        for (uint32_t written = 0; written < UP_FEATURES; written += PART_FEATURES) {
            if (written == first) {
#pragma unroll
                for (uint32_t i = 0; i < 4 * BLOCKS; ++i) {
                    // Gates, then what they let through: a row's, then that of the row eight further.
                    uint32_t block = i / 2, row = lane / 4 + i % 2 * 8;
                    uint32_t at = block / BLOCKS * TILE_FEATURES / 4 + written / 2 +
                                  block % BLOCKS * 4 + i % 2 * 2;
                    st_shared_v2_f32(part + up_offset(row, block, lane % 4 / 2) + lane % 2 * 8,
                                     sums[at], sums[at + 1]);
                }
            }
        }
        __syncwarp();
#pragma unroll 1
        for (uint32_t from = lane / BLOCKS; from < WARP_ROWS; from += WARP_THREADS / BLOCKS) {
            uint32_t block = lane % BLOCKS;
            uint32_t row = work.row + from, feature = work.feature + first + block * 8;
            if (row < work.end && feature < p.out_features) {
                float gates[8], ups[8];
                read_up(part, from, block, gates);
                read_up(part, from, BLOCKS + block, ups);
                finish_up<T>(p, gates, ups, work.expert, row, feature);
            }
        }
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm(const GroupedGemmSm90Params &p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t base = shared_address(shared);
    GroupedOrder &order = *reinterpret_cast<GroupedOrder *>(shared + ORDER_AT);
    if (threadIdx.x == 0) {
        for (Ring ring(base); ring.parity == 0; ring.next()) {
            mbarrier_init(ring.full(), UP ? 1 + GATHERING_WARPS : 1);
            mbarrier_init(ring.empty(), 2 * GROUP_THREADS / WARP_THREADS);
        }
        fence_mbarrier_init();
    }
    // No copy goes to the parts. The order's barriers show what thread 0 did.
    order_experts(p.common, order, reinterpret_cast<uint32_t *>(shared + PARTS_AT));

    Ring ring(base);
    GroupedTurns turns(p.common, order);
    if (threadIdx.x < GROUP_THREADS) {
        give_registers<UP ? GATHERING_REGISTERS : COPYING_REGISTERS>();
        if constexpr (UP) {
            copy_up(p, ring, turns);
        } else {
            if (threadIdx.x < WARP_THREADS && elect_one()) {
                copy_down<NN>(p, ring, turns);
            }
        }
    } else {
        take_registers<UP ? ACTIVATING_REGISTERS : MULTIPLYING_REGISTERS>();
        uint32_t group = threadIdx.x / GROUP_THREADS - 1;
        uint32_t warp = threadIdx.x / WARP_THREADS - GROUP_THREADS / WARP_THREADS;
        float sums[TILE_FEATURES / 2];
        for (uint64_t at = blockIdx.x; at < turns.count(); at += gridDim.x) {
            multiply<T, NN>(p.common.in_features, ring, group, 1, sums);
            GroupedWork work = turns.at(at);
            work.row += warp * WARP_ROWS;
            if (work.row >= work.end) {
                continue;
            }
            uint32_t part = base + PARTS_AT + warp * PART_BYTES;
            if constexpr (UP) {
                store_up<T>(p.common, work, part, sums);
            } else {
                store_down<T>(p.common, work, part, sums);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_up_bf16_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<bf16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_up_f16_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<f16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_down_bf16_nt_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<bf16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_down_bf16_nn_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<bf16, false, true>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_down_f16_nt_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<f16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM90_THREADS, 1)
    grouped_gemm_down_f16_nn_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm<f16, false, true>(p);
}
