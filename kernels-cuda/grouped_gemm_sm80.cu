// The products of experts by the matrix instructions of sm_80. Reference: reference/grouped_gemm.rs. Contract:
// GroupedGemmParams.
//
// Math, for each row r of expert e, in f32, k ascending in steps of 16:
//   up:    g = sum over k of x[pairs[r] / top_k, k] weight[e, f, k] + bias[e, f], u likewise of the other weight
//          out[r, f] = activation(g, u)
//   down:  out[r, n] = (sum over k of x[r, k] weight[e, n, k] + bias[e, n]) weights[pairs[r]]
// rounded once. _nn: weight[e, k, n]. Neither the other rows nor the tile of an element change its bits.
//
// Mapping: a tile is 128 rows of one expert x 128 rows of weights, a warp has 64 x 64 of it, as in
// linear_sm80.cu. Blocks go through the tiles of all experts.
//
//   rows of weights      0 .. 31   32 .. 63   64 .. 95   96 .. 127
//   up, of 64 features   gate 0    up 0       gate 32    up 32
//
// So a thread of a warp has gate and up of the same feature, 16 sums apart. x is gathered: a thread copies 16
// bytes of four rows, whose addresses it keeps.
//
// Budget: 128 threads; 0 B shared; 0 B spilled; registers: 254 sm_80, 254 sm_89.
// Keeps: LDGSTS.E.BYPASS.128, LDSM.16.M, HMMA.16816.F32, STS.64, LDS.128, STG.E.128; in PTX: cp.async.cg, ldmatrix.sync.aligned.m8n8.x4, mma.sync.aligned.m16n8k16, st.global.v4.
// Products: HMMA.16816; 1 a group.
// Bound: tensor cores, from about 200 rows an expert (A100). A stage is 16 KiB for 2^19 multiplications; the
// rows of an expert's tiles that share features run side by side, so that its weight comes from memory once.
// To try next: a fourth stage, 256 rows of weights a tile with 8 warps.

#include "grouped_order.cuh"
#include "grouped_store.cuh"
#include "linear_tile_sm80.cuh"

constexpr uint32_t ORDER_AT = STAGES * STAGE_BYTES;
static_assert(ORDER_AT + GROUPED_ORDER_BYTES == GROUPED_SM80_SHARED_BYTES, "what the planner asks for");
static_assert(TILE == GROUPED_SM80_TILE_ROWS && TILE == GROUPED_SM80_TILE_FEATURES, "tiles are square");

// Features of a warp.
template <bool UP>
constexpr uint32_t OWN = UP ? WARP_TILE / 2 : WARP_TILE;

// Rows along k that lie anywhere: the thread's are ROWS_APART apart in the tile.
struct Gathered {
    const unsigned char *at[COPIES];
    uint32_t exist;  // a bit for each
    uint32_t to;

    __device__ Gathered() : exist(0) {
        to = tile_offset<Along::CHUNKS>(threadIdx.x / Along::CHUNKS, threadIdx.x % Along::CHUNKS);
    }

    __device__ void set(uint32_t i, const void *base, uint64_t element, bool exists) {
        at[i] = static_cast<const unsigned char *>(base) +
                (element + threadIdx.x % Along::CHUNKS * CHUNK) * 2;
        exist |= uint32_t(exists) << i;
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
        bool inside = k + threadIdx.x % Along::CHUNKS * CHUNK < in_features;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t place = to + i * Along::ROWS_APART * Along::CHUNKS * CHUNK * 2;
            copy_async_16(stage + place, at[i], inside && (exist >> i & 1) != 0);
            at[i] += DEPTH * 2;
        }
    }

    __device__ static void right(uint32_t (&fragment)[4], uint32_t stage, uint32_t row, uint32_t k) {
        Along::right(fragment, stage, row, k);
    }
};

__device__ inline Gathered gathered_x(const GroupedGemmParams &p, const GroupedWork &work) {
    Gathered x;
#pragma unroll
    for (uint32_t i = 0; i < COPIES; ++i) {
        uint32_t row = work.row + threadIdx.x / Along::CHUNKS + i * Along::ROWS_APART, source;
        bool exists = source_row<true>(p, row, work.end, source);
        x.set(i, p.x, (exists ? source : 0) * p.x_stride, exists);
    }
    return x;
}

// Gate and up in turn, 32 rows each.
__device__ inline Gathered gated_weights(const GroupedGemmParams &p, const GroupedWork &work) {
    static_assert(Along::ROWS_APART == OWN<true>, "a thread's rows are of gate and up in turn");
    Gathered weights;
#pragma unroll
    for (uint32_t i = 0; i < COPIES; ++i) {
        uint32_t feature = work.feature + i / 2 * OWN<true> + threadIdx.x / Along::CHUNKS;
        bool exists = feature < p.out_features, up = i % 2 == 1;
        uint64_t element =
            work.expert * (up ? p.up_weight_expert_stride : p.weight_expert_stride) +
            (exists ? feature : 0) * (up ? p.up_weight_stride : p.weight_stride);
        weights.set(i, up ? p.up_weight : p.weight, element, exists);
    }
    return weights;
}

// The sums of 16 rows, a thread's rows 8 apart, as the results of OWN features: in the places of the first.
template <typename T, bool UP>
__device__ inline void finish(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row,
                              uint32_t feature, float (&sums)[WARP_TILE / 8][4]) {
    float weights[2] = {1.0f, 1.0f};
    if constexpr (!UP) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            if (row + 8 * half < work.end) {
                weights[half] = pair_weight(p, row + 8 * half);
            }
        }
    }
#pragma unroll
    for (uint32_t j = 0; j < OWN<UP> / 8; ++j) {
        uint32_t at = feature + 8 * j;
        float2 bias = bias_pair<T>(p.bias, work.expert * p.bias_stride, at, p.out_features);
        float2 up_bias = {0.0f, 0.0f};
        if constexpr (UP) {
            up_bias = bias_pair<T>(p.up_bias, work.expert * p.up_bias_stride, at, p.out_features);
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            float sum = biased(p.bias, sums[j][i], i % 2 == 0 ? bias.x : bias.y);
            if constexpr (UP) {
                float up = biased(p.up_bias, sums[j + OWN<UP> / 8][i], i % 2 == 0 ? up_bias.x : up_bias.y);
                sums[j][i] = expertile_activation(p.activation, sum, up, p.limit, p.alpha);
            } else {
                sums[j][i] = weighted(p, sum, weights[i / 2]);
            }
        }
    }
}

// Writes 16 rows of OWN features, by way of shared memory.
template <typename T, bool UP>
__device__ inline void store_rows(const GroupedGemmParams &p, const GroupedWork &work,
                                  const float (&values)[WARP_TILE / 8][4], uint32_t turned,
                                  uint32_t row, uint32_t feature) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    __syncwarp();
#pragma unroll
    for (uint32_t j = 0; j < OWN<UP> / 8; ++j) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint32_t at = sums_offset(lane / 4 + 8 * half, 2 * j + lane % 4 / 2) + lane % 2 * 8;
            st_shared_v2_f32(turned + at, values[j][2 * half], values[j][2 * half + 1]);
        }
    }
    __syncwarp();
    constexpr uint32_t LANES = OWN<UP> / WIDEST<T>;  // of a row
    uint32_t column = lane % LANES * WIDEST<T>;
    // Of two chunks, half of the lanes read the second first, so that eight lanes meet all banks.
    uint32_t odd = lane / 4 % 2;
#pragma unroll
    for (uint32_t first = 0; first < 16; first += WARP_THREADS / LANES) {
        uint32_t own = first + lane / LANES;
        float4 one = ld_shared_v4_f32(turned + sums_offset(own, column / 4 + odd));
        float4 other = ld_shared_v4_f32(turned + sums_offset(own, column / 4 + (odd ^ 1)));
        float4 low = odd == 0 ? one : other, high = odd == 0 ? other : one;
        if (row + own < work.end && feature + column < p.out_features) {
            float vector[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            store_results<T>(p, vector, row + own, feature + column);
        }
    }
}

template <typename T, bool UP, typename X, typename Weight>
__device__ inline void run(const GroupedGemmParams &p, const GroupedWork &work, X x, Weight weight) {
    uint32_t first_stage = shared_address(shared);
    uint32_t warp = threadIdx.x / WARP_THREADS, lane = threadIdx.x % WARP_THREADS;
    uint32_t warp_row = warp / 2 * WARP_TILE, warp_column = warp % 2;
    Sums sums = {};
    multiply_all<T>(x, weight, p.in_features, first_stage, warp_row, warp_column * WARP_TILE, sums);
    __syncthreads();
    uint32_t turned = first_stage + warp * 16 * WARP_TILE * 4;
    uint32_t feature = work.feature + warp_column * OWN<UP>;
#pragma unroll
    for (uint32_t i = 0; i < WARP_TILE / 16; ++i) {
        uint32_t row = work.row + warp_row + 16 * i;
        finish<T, UP>(p, work, row + lane / 4, feature + lane % 4 * 2, sums[i]);
        store_rows<T, UP>(p, work, sums[i], turned, row, feature);
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm(const GroupedGemmParams &p) {
    GroupedOrder &order = *reinterpret_cast<GroupedOrder *>(shared + ORDER_AT);
    order_experts(p, order, reinterpret_cast<uint32_t *>(shared));
    GroupedTurns turns(p, order);
    for (uint64_t number = blockIdx.x; number < turns.count(); number += gridDim.x) {
        GroupedWork work = turns.at(number);
        if constexpr (UP) {
            run<T, UP>(p, work, gathered_x(p, work), gated_weights(p, work));
        } else {
            const unsigned char *weight = static_cast<const unsigned char *>(p.weight) +
                                          work.expert * p.weight_expert_stride * 2;
            Along x(p.x, p.x_stride, work.row, work.end);
            if constexpr (NN) {
                run<T, UP>(p, work, x, Across(weight, p.weight_stride, work.feature, p.out_features));
            } else {
                run<T, UP>(p, work, x, Along(weight, p.weight_stride, work.feature, p.out_features));
            }
        }
        // What was turned has been read before the next tile comes.
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_up_bf16_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<bf16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_up_f16_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<f16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_down_bf16_nt_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<bf16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_down_bf16_nn_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<bf16, false, true>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_down_f16_nt_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<f16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_SM80_THREADS, 2)
    grouped_gemm_down_f16_nn_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm<f16, false, true>(p);
}
