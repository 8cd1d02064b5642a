// A dense layer for few tokens on sm_90a. Reference: reference/linear.rs. Contract: LinearSm90Params.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: the operands are swapped. A tile is up to 64 features by all tokens, padded to 8, 16, 32 or 64;
// 128 of k at a time. One warp copies, four multiply, stages of shared memory go around between them.
//
//   warp 4, one thread   weight [64, 128] + x [columns, 128] -> stage i   (16 KiB + 2 to 16 KiB, 128B swizzle)
//   warps 0 to 3         64 x columns x 16, eight a stage: columns / 2 accumulators a thread
//   then                 [columns, 64] f32 in shared memory, turned; rows of 8 features to out
//
// tile_features: the features of a tile, 64 or fewer, so that the last round of tiles keeps the
// multiprocessors busy. The rows beyond them in a stage hold what was there; so do their results, which
// nobody stores.
//
// The sum of each element is that of linear_sm90.cu: the same instruction, k ascending in steps of 16.
//
// Budget: 160 threads; 0 B shared; 0 B spilled; registers: 66 sm_90a.
// Keeps: HGMMA.64x8x16, HGMMA.64x64x16, UTMALDG; in PTX: wgmma.mma_async, cp.async.bulk.tensor.
// Products: HGMMA.64x8x16, HGMMA.64x16x16, HGMMA.64x32x16, HGMMA.64x64x16; 8 a group.
// Bound: memory. The weight is read once, 96 KiB a multiprocessor are on their way. x comes from L2: as often
// as there are tiles, at 64 tokens as many bytes as the weight's.

#include "linear_rows_tile_sm90.cuh"
#include "linear_store.cuh"

static_assert(MULTIPLYING_THREADS + WARP_THREADS == LINEAR_ROWS_SM90_THREADS, "one warp copies");

template <bool NN>
__device__ inline void copy(const LinearSm90Params &p, Ring ring) {
    const LinearParams &c = p.common;
    uint32_t bytes = BOXES * ROW_BYTES * ((NN ? BOX_K : c.tile_features) + c.tile_tokens);
    for (uint64_t first = blockIdx.x * uint64_t(c.tile_features); first < c.out_features;
         first += gridDim.x * uint64_t(c.tile_features)) {
        uint32_t feature = first;
        for (uint32_t k = 0; k < c.in_features; k += STAGE_K) {
            mbarrier_wait_parity(ring.empty(), ring.parity ^ 1);
            mbarrier_arrive_expect_tx(ring.full(), bytes);
#pragma unroll
            for (uint32_t box = 0; box < BOXES; ++box) {
                uint32_t at = k + box * BOX_K;
                copy_tile(ring.weight(box), p.weight_map, NN ? feature : at, NN ? at : feature,
                          ring.full());
                copy_tile(ring.x(box), p.x_map, at, 0, ring.full());
            }
            ring.next();
        }
    }
}

template <typename T, typename Out, bool NN, uint32_t COLUMNS>
__device__ inline void run(const LinearParams &c, Ring ring, float *turned) {
    for (uint64_t first = blockIdx.x * uint64_t(c.tile_features); first < c.out_features;
         first += gridDim.x * uint64_t(c.tile_features)) {
        float sums[COLUMNS / 2];
        multiply<T, NN, COLUMNS>(c.in_features, ring, sums);
        turn<COLUMNS>(turned, sums);
        store_turned<Out, TURNED_STRIDE>(c, turned, 0, COLUMNS, first, c.tile_features, threadIdx.x,
                                         MULTIPLYING_THREADS);
    }
}

template <typename T, typename Out, bool NN>
__device__ inline void linear_rows(const LinearSm90Params &p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t base = shared_address(shared);
    if (threadIdx.x == 0) {
        for (Ring ring(base); ring.parity == 0; ring.next()) {
            mbarrier_init(ring.full(), 1);
            mbarrier_init(ring.empty(), MULTIPLYING_WARPS);
        }
        fence_mbarrier_init();
    }
    __syncthreads();

    Ring ring(base);
    float *turned = reinterpret_cast<float *>(shared + TURNED_AT);
    if (threadIdx.x >= MULTIPLYING_THREADS) {
        if (elect_one()) {
            copy<NN>(p, ring);
        }
        return;
    }
    switch (p.common.tile_tokens) {
        case 8: run<T, Out, NN, 8>(p.common, ring, turned); break;
        case 16: run<T, Out, NN, 16>(p.common, ring, turned); break;
        case 32: run<T, Out, NN, 32>(p.common, ring, turned); break;
        default: run<T, Out, NN, 64>(p.common, ring, turned); break;
    }
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_bf16_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<bf16, bf16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_bf16_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<bf16, bf16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_f16_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<f16, f16, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_f16_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<f16, f16, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_bf16_f32_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<bf16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_bf16_f32_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<bf16, float, true>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_f16_f32_nt_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<f16, float, false>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM90_THREADS, 1)
    linear_rows_f16_f32_nn_sm90(const __grid_constant__ LinearSm90Params p) {
    linear_rows<f16, float, true>(p);
}
