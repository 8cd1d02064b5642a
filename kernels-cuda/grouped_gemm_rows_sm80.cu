// The products of experts for few rows by the matrix instructions of sm_80. Reference: reference/grouped_gemm.rs.
// Contract: GroupedGemmParams.
//
// Math: as grouped_gemm_sm80.cu, bit for bit: the same products in the same order of k, with swapped operands.
// An m16n8k16 has 16 rows of weights as its rows and 8 rows of x as its columns, so that few rows need not be
// padded to many.
//
// Mapping: a tile is up to 64 rows of one expert x 128 rows of weights, a warp has 16 of those: in up, 8 of
// gate and 8 of up, which a thread has as halves of the same instruction.
//
//   warp w, up      gate 8 w .. + 8, up 8 w .. + 8: 64 features a tile
//   warp w, down    16 w .. + 16: 128 features a tile
//
// Shared memory holds STAGES parts of DEPTH elements of k, in the order of tile_offset: 128 rows of weights, then
// ceil(rows / 8) times 8 rows of x. While one stage is multiplied the next three are on their way.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 160 sm_80, 160 sm_89.
// Keeps: LDGSTS.E.BYPASS.128, LDSM.16.M, HMMA.16816.F32, STG.E.128; in PTX: cp.async.cg, ldmatrix.sync.aligned.m8n8.x4, mma.sync.aligned.m16n8k16, st.global.v4.
// Products: HMMA.16816; 1 a group.
// Bound: memory. An expert with up to 64 rows has each byte of its weights read once, x once for each tile, out of
// the L2. A block, of which a multiprocessor has one, has 48 KiB of weights in flight.
// To try next: fewer warps a block where the last round of tiles leaves multiprocessors idle, as linear's planner does.

#include "grouped_order.cuh"
#include "grouped_store.cuh"
#include "linear_rows_tile_sm80.cuh"

constexpr uint32_t X_AT = MAX_FEATURES * DEPTH * 2;
constexpr uint32_t TILE_ROWS = GROUPED_ROWS_TILE_ROWS;
constexpr uint32_t STAGE_BYTES = X_AT + TILE_ROWS * DEPTH * 2;
constexpr uint32_t ORDER_AT = STAGES * STAGE_BYTES;
static_assert(ORDER_AT + GROUPED_ORDER_BYTES == GROUPED_ROWS_SM80_SHARED_BYTES,
              "what the planner asks for");
static_assert(TILE_ROWS == MAX_COLUMNS * 8, "all columns of a warp");

// Features of a warp, and floats from one row to the next where they are turned.
template <bool UP>
constexpr uint32_t OWN = UP ? WARP_FEATURES / 2 : WARP_FEATURES;
template <bool UP>
constexpr uint32_t STRIDE = OWN<UP> + 4;

// The weights of up: a warp copies the rows that it multiplies, gate's before the others.
struct Gates : Weight {
    __device__ Gates(const GroupedGemmParams &p, const GroupedWork &work) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        uint32_t warp = threadIdx.x / WARP_THREADS;
        step = DEPTH * 2;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t own = lane / CHUNKS + i * (WARP_THREADS / CHUNKS);
            bool up = i >= COPIES / 2;
            uint32_t feature = work.feature + warp * OWN<true> + own % OWN<true>;
            uint32_t k = lane % CHUNKS * CHUNK;
            uint64_t element =
                work.expert * (up ? p.up_weight_expert_stride : p.weight_expert_stride) +
                feature * (up ? p.up_weight_stride : p.weight_stride) + k;
            set(i, element, up ? p.up_weight : p.weight, feature < p.out_features, k);
            to[i] = tile_offset<CHUNKS>(warp * WARP_FEATURES + own, lane % CHUNKS);
        }
    }

    __device__ void load(uint32_t (&fragment)[4], uint32_t stage, uint32_t feature, uint32_t k) const {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4(fragment,
                    stage + tile_offset<CHUNKS>(feature + lane % 16, k / CHUNK + lane / 16));
    }
};

// The rows of x that a thread copies in each stage.
template <bool UP>
struct Tokens {
    static constexpr uint32_t ROWS_APART = GROUPED_ROWS_SM80_THREADS / CHUNKS;
    static constexpr uint32_t MOST = TILE_ROWS / ROWS_APART;

    const unsigned char *at[MOST];
    uint32_t exist;  // a bit for each
    uint32_t columns;

    __device__ Tokens(const GroupedGemmParams &p, const GroupedWork &work, uint32_t columns)
        : exist(0), columns(columns) {
#pragma unroll
        for (uint32_t i = 0; i < MOST; ++i) {
            uint32_t source, row = work.row + threadIdx.x / CHUNKS + i * ROWS_APART;
            bool exists = source_row<UP>(p, row, work.end, source);
            at[i] = static_cast<const unsigned char *>(p.x) +
                    ((exists ? source : 0) * p.x_stride + threadIdx.x % CHUNKS * CHUNK) * 2;
            exist |= uint32_t(exists) << i;
        }
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
        uint32_t chunk = threadIdx.x % CHUNKS;
        bool inside = k + chunk * CHUNK < in_features;
#pragma unroll
        for (uint32_t i = 0; i < MOST; ++i) {
            uint32_t row = threadIdx.x / CHUNKS + i * ROWS_APART;
            if (row < columns * 8) {
                copy_async_16(stage + tile_offset<CHUNKS>(row, chunk), at[i],
                              inside && (exist >> i & 1) != 0);
            }
            at[i] += DEPTH * 2;
        }
    }
};

// Puts the results of a warp in order, [rows, OWN].
template <typename T, bool UP>
__device__ inline void turn(const GroupedGemmParams &p, const GroupedWork &work, const Sums &sums,
                            uint32_t columns, uint32_t feature, float *turned) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    // Of the thread's rows of weights: a gate and an up, or two.
    float bias[2];
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        const void *from = UP && half == 1 ? p.up_bias : p.bias;
        uint64_t stride = UP && half == 1 ? p.up_bias_stride : p.bias_stride;
        uint32_t at = feature + lane / 4 + (UP ? 0 : half * 8);
        bias[half] = from != nullptr && at < p.out_features
                         ? load_one<T>(from, work.expert * stride + at)
                         : 0.0f;
    }
#pragma unroll
    for (uint32_t j = 0; j < MAX_COLUMNS; ++j) {
        if (j < columns) {
#pragma unroll
            for (uint32_t i = 0; i < 2; ++i) {
                uint32_t row = 8 * j + lane % 4 * 2 + i;
                float *to = turned + row * STRIDE<UP> + lane / 4;
                float one = biased(p.bias, sums[j][i], bias[0]);
                if constexpr (UP) {
                    float up = biased(p.up_bias, sums[j][i + 2], bias[1]);
                    to[0] = expertile_activation(p.activation, one, up, p.limit, p.alpha);
                } else {
                    float weight = work.row + row < work.end ? pair_weight(p, work.row + row) : 0.0f;
                    to[0] = weighted(p, one, weight);
                    to[8] = weighted(p, biased(p.bias, sums[j][i + 2], bias[1]), weight);
                }
            }
        }
    }
}

template <typename T, bool UP, typename Weight>
__device__ inline void run(const GroupedGemmParams &p, const GroupedWork &work, Weight weight) {
    uint32_t columns = (min(work.end - work.row, TILE_ROWS) + 7) / 8;
    uint32_t first_stage = shared_address(shared);
    Tokens<UP> x(p, work, columns);
    Sums sums = {};
    multiply_all<T>(weight, x, p.in_features, {first_stage, X_AT, STAGE_BYTES}, columns, sums);

    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    // By way of shared memory, so that a row's features are written by vectors.
    float *turned = reinterpret_cast<float *>(shared) + warp * TILE_ROWS * STRIDE<UP>;
    uint32_t first = work.feature + warp * OWN<UP>;
    turn<T, UP>(p, work, sums, columns, first, turned);
    __syncwarp();
    constexpr uint32_t ROWS = WARP_THREADS * WIDEST<T> / OWN<UP>;  // at a time
    uint32_t own = lane / ROWS * WIDEST<T>;
    for (uint32_t row = lane % ROWS; work.row + row < work.end && row < TILE_ROWS; row += ROWS) {
        const float4 *from = reinterpret_cast<const float4 *>(turned + row * STRIDE<UP> + own);
        float4 low = from[0], high = from[1];
        if (first + own < p.out_features) {
            float vector[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            store_results<T>(p, vector, work.row + row, first + own);
        }
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm_rows(const GroupedGemmParams &p) {
    GroupedOrder &order = *reinterpret_cast<GroupedOrder *>(shared + ORDER_AT);
    order_experts(p, order, reinterpret_cast<uint32_t *>(shared));
    GroupedTurns turns(p, order);
    for (uint64_t number = blockIdx.x; number < turns.count(); number += gridDim.x) {
        GroupedWork work = turns.at(number);
        if constexpr (UP) {
            run<T, UP>(p, work, Gates(p, work));
        } else {
            const unsigned char *weight = static_cast<const unsigned char *>(p.weight) +
                                          work.expert * p.weight_expert_stride * 2;
            if constexpr (NN) {
                run<T, UP>(p, work, Across(weight, p.weight_stride, work.feature, p.out_features));
            } else {
                run<T, UP>(p, work, Along(weight, p.weight_stride, work.feature, p.out_features));
            }
        }
        // What was turned has been read before the next tile comes.
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_up_bf16_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<bf16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_up_f16_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<f16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_down_bf16_nt_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<bf16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_down_bf16_nn_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<bf16, false, true>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_down_f16_nt_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<f16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM80_THREADS)
    grouped_gemm_rows_down_f16_nn_sm80(const __grid_constant__ GroupedGemmParams p) {
    grouped_gemm_rows<f16, false, true>(p);
}
