// The products of experts with few rows each on sm_90a. Reference: reference/grouped_gemm.rs. Contract:
// GroupedGemmSm90Params.
//
// Math, in f32, for every row r of an expert e and every output feature n:
//   up:    gate = sum over k of x[pairs[r] / top_k, k] * weight[e, n, k], up the same of up_weight
//          out[r, n] = activation(gate + bias[e, n], up + up_bias[e, n])
//   down:  out[r, n] = (sum over k of x[r, k] * weight[e, n, k] + bias[e, n]) * weights[pairs[r]]
// rounded once. nt: an expert's weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: the operands are swapped, as in linear_rows_sm90.cu. A tile is up to 64 rows of one expert, padded to
// 8, 16, 32 or 64 tile by tile, by up to 64 features of weights; of up, those are gates in rows 0 to 32 of a
// stage's weight and what they let through from row 32 on. 128 of k at a time.
//
//   warps 4 to 7, one thread   weight [64, 128] -> stage i                  (16 KiB, 128B swizzle)
//                 all          gather rows of x: [8 ceil(rows / 8), 128]    (2 to 16 KiB)
//     wait: empty[i]           complete: full[i]; of what is gathered, three stages later
//   warps 0 to 3               64 x columns x 16, eight a stage: columns / 2 accumulators a thread
//   then                       [columns, 64] f32 in shared memory, turned; rows of 8 features to out
//
// tile_features: the features of out in a tile, so many that the last round of tiles keeps the multiprocessors
// busy. What of a stage no copy fills holds what was there; so do its results, which nobody stores.
//
// A map's third dimension is the expert, so that k past in_features is 0 and not the next expert's.
//
// The sum of each element is that of grouped_gemm_sm90.cu: the same instruction, k ascending in steps of 16.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 107 sm_90a.
// Keeps: HGMMA.64x8x16, HGMMA.64x64x16, UTMALDG.3D, LDGSTS.E.BYPASS.128, STG.E.128; in PTX: wgmma.mma_async, cp.async.bulk.tensor.3d, cp.async.cg.
// Products: HGMMA.64x8x16, HGMMA.64x16x16, HGMMA.64x32x16, HGMMA.64x64x16; 8 a group.
// Bound: memory. The weight of an expert with 64 rows or fewer is read once, of an expert without rows never; 96
// KiB a multiprocessor are on their way. x comes from L2, as often as there are tiles: at 64 rows as many bytes as
// the weight's. To try next: x of a tile's rows kept in shared memory where in_features allows it.

#include "grouped_finish.cuh"
#include "grouped_gather_sm90.cuh"
#include "linear_rows_tile_sm90.cuh"

static_assert(TILE_FEATURES == GROUPED_ROWS_TILE_FEATURES && MOST_TOKENS == GROUPED_ROWS_TILE_ROWS,
              "tiles of the dense layer");
static_assert(MULTIPLYING_THREADS + GATHERING_THREADS == GROUPED_ROWS_SM90_THREADS, "who is there");
constexpr uint32_t UP_FEATURES = TILE_FEATURES / 2;
constexpr uint32_t ORDER_AT = LINEAR_ROWS_SM90_SHARED_BYTES;
static_assert(ORDER_AT + GROUPED_ORDER_BYTES == GROUPED_ROWS_SM90_SHARED_BYTES,
              "what the host reserves");

constexpr uint32_t LAG = STAGES / 2;

// up: gates, then what they let through.
template <bool UP, bool NN>
__device__ inline void copy_weight(const GroupedGemmSm90Params &p, const Ring &ring,
                                   const GroupedWork &work, uint32_t k) {
#pragma unroll
    for (uint32_t box = 0; box < BOXES; ++box) {
        uint32_t at = k + box * BOX_K;
        copy_tile_3d(ring.weight(box), p.weight_map, NN ? work.feature : at,
                     NN ? at : work.feature, work.expert, ring.full());
        if constexpr (UP) {
            copy_tile_3d(ring.weight(box) + UP_FEATURES * ROW_BYTES, p.up_weight_map, at,
                         work.feature, work.expert, ring.full());
        }
    }
}

template <bool UP, bool NN>
__device__ inline void copy(const GroupedGemmSm90Params &p, Ring ring, const GroupedTurns &turns) {
    const GroupedGemmParams &c = p.common;
    bool elected = threadIdx.x / WARP_THREADS == MULTIPLYING_WARPS && elect_one();
    uint32_t bytes = BOXES * ROW_BYTES * (NN ? BOX_K : c.tile_features * (UP ? 2 : 1));
    Gather<STAGE_K / 8, MOST_TOKENS, X_BOX_BYTES> gather;
    Gathered<LAG, Ring> gathered(ring.base);
    for (uint64_t at = blockIdx.x; at < turns.count(); at += gridDim.x) {
        GroupedWork work = turns.at(at);
        gather.begin<UP>(c, work);
        for (uint32_t k = 0; k < c.in_features; k += STAGE_K) {
            mbarrier_wait_parity(ring.empty(), ring.parity ^ 1);
            if (elected) {
                mbarrier_arrive_expect_tx(ring.full(), bytes);
                copy_weight<UP, NN>(p, ring, work, k);
            }
            __syncwarp();
            gather.copy(ring.x(0), k, c.in_features);
            gathered.issued();
            ring.next();
        }
    }
    gathered.drain();
}

// Eight features of a row at a time.
template <typename T, bool UP>
__device__ inline void store(const GroupedGemmParams &p, const float *turned,
                             const GroupedWork &work, uint32_t rows) {
    uint32_t vectors = p.tile_features / FINISHED;
    for (uint32_t at = threadIdx.x; at < rows * vectors; at += MULTIPLYING_THREADS) {
        uint32_t row = work.row + at / vectors, feature = work.feature + at % vectors * FINISHED;
        if (feature >= p.out_features) {
            continue;
        }
        const float *from = turned + at / vectors * TURNED_STRIDE + at % vectors * FINISHED;
        float sums[FINISHED], ups[FINISHED];
#pragma unroll
        for (uint32_t i = 0; i < FINISHED; ++i) {
            sums[i] = from[i];
            ups[i] = UP ? from[UP_FEATURES + i] : 0;
        }
        if constexpr (UP) {
            finish_up<T>(p, sums, ups, work.expert, row, feature);
        } else {
            finish_down<T>(p, sums, work.expert, row, feature);
        }
    }
}

template <typename T, bool NN, uint32_t COLUMNS>
__device__ inline void multiply_turned(uint32_t in_features, Ring &ring, float *turned) {
    float sums[COLUMNS / 2];
    multiply<T, NN, COLUMNS>(in_features, ring, sums);
    turn<COLUMNS>(turned, sums);
}

template <typename T, bool UP, bool NN>
__device__ inline void run(const GroupedGemmParams &p, Ring ring, const GroupedTurns &turns,
                           float *turned) {
    for (uint64_t at = blockIdx.x; at < turns.count(); at += gridDim.x) {
        GroupedWork work = turns.at(at);
        uint32_t left = work.end - work.row;
        uint32_t rows = left < MOST_TOKENS ? left : MOST_TOKENS;
        if (rows <= 8) {
            multiply_turned<T, NN, 8>(p.in_features, ring, turned);
        } else if (rows <= 16) {
            multiply_turned<T, NN, 16>(p.in_features, ring, turned);
        } else if (rows <= 32) {
            multiply_turned<T, NN, 32>(p.in_features, ring, turned);
        } else {
            multiply_turned<T, NN, 64>(p.in_features, ring, turned);
        }
        store<T, UP>(p, turned, work, rows);
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm_rows(const GroupedGemmSm90Params &p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t base = shared_address(shared);
    GroupedOrder &order = *reinterpret_cast<GroupedOrder *>(shared + ORDER_AT);
    if (threadIdx.x == 0) {
        for (Ring ring(base); ring.parity == 0; ring.next()) {
            mbarrier_init(ring.full(), 1 + GATHERING_WARPS);
            mbarrier_init(ring.empty(), MULTIPLYING_WARPS);
        }
        fence_mbarrier_init();
    }
    // No copy goes to where sums are turned. The order's barriers show what thread 0 did.
    float *turned = reinterpret_cast<float *>(shared + TURNED_AT);
    order_experts(p.common, order, reinterpret_cast<uint32_t *>(turned));

    Ring ring(base);
    GroupedTurns turns(p.common, order);
    if (threadIdx.x >= MULTIPLYING_THREADS) {
        copy<UP, NN>(p, ring, turns);
    } else {
        run<T, UP, NN>(p.common, ring, turns, turned);
    }
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_up_bf16_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<bf16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_up_f16_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<f16, true, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_down_bf16_nt_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<bf16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_down_bf16_nn_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<bf16, false, true>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_down_f16_nt_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<f16, false, false>(p);
}

extern "C" __global__ void __launch_bounds__(GROUPED_ROWS_SM90_THREADS, 1)
    grouped_gemm_rows_down_f16_nn_sm90(const __grid_constant__ GroupedGemmSm90Params p) {
    grouped_gemm_rows<f16, false, true>(p);
}
