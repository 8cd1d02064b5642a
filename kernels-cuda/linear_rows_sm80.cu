// A dense layer for few tokens by the matrix products of sm_80. Reference: reference/linear.rs. Contract: LinearParams.
//
// Math: as linear_sm80.cu, bit for bit: the same products in the same order of k, with swapped operands.
// An m16n8k16 has 16 features as its rows and 8 tokens as its columns, so that few tokens need not be
// padded to many.
//
// Mapping: a block has tile_features features, a warp 16 of them, with all tokens. The planner chooses the
// features of a block so that every multiprocessor has as many. Shared memory holds STAGES parts of DEPTH
// elements of k, in the order of tile_offset; the weight's part has room for 64 or 128 features, after it
// come ceil(tokens / 8) times 8 rows of x. While one stage is multiplied the next three are on their way.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 78 sm_80, 78 sm_89.
// Keeps: LDGSTS.E.BYPASS.128, LDSM.16.M, HMMA.16816.F32, STG.E.128; in PTX: cp.async.cg, ldmatrix.sync.aligned.m8n8.x4, mma.sync.aligned.m16n8k16, st.global.v4.
// Products: HMMA.16816; 1 a group.
// Bound: memory. Each byte of the weight is read once, x once for each block, out of the L2. A warp has 6 KiB of
// the weight in flight.

#include "linear_rows_tile_sm80.cuh"
#include "linear_store.cuh"

static_assert(STAGES * (MAX_FEATURES + LINEAR_ROWS_MAX_TOKENS) * DEPTH * 2 ==
                  LINEAR_ROWS_SM80_SHARED_BYTES,
              "what the planner asks for at most");

// The rows of x that a thread copies in each stage.
struct Tokens {
    const unsigned char *at;
    uint64_t step;  // bytes from one of the thread's rows to the next
    uint32_t tokens;
    uint32_t columns;

    __device__ Tokens(const LinearParams &p, uint32_t columns) : tokens(p.tokens), columns(columns) {
        uint64_t row = threadIdx.x / CHUNKS;
        at = static_cast<const unsigned char *>(p.x) +
             (row * p.x_stride + threadIdx.x % CHUNKS * CHUNK) * 2;
        step = blockDim.x / CHUNKS * p.x_stride * 2;
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
        uint32_t chunk = threadIdx.x % CHUNKS;
        uint32_t rows = k + chunk * CHUNK < in_features ? tokens : 0;
        const unsigned char *from = at;
#pragma unroll 2
        for (uint32_t row = threadIdx.x / CHUNKS; row < columns * 8; row += blockDim.x / CHUNKS) {
            copy_async_16(stage + tile_offset<CHUNKS>(row, chunk), from, row < rows);
            from += step;
        }
        at += DEPTH * 2;
    }
};

template <typename T, typename Out, typename Weight>
__device__ inline void linear_rows(const LinearParams &p) {
    uint32_t first = blockIdx.x * p.tile_features;
    uint32_t columns = (p.tokens + 7) / 8;
    uint32_t room = p.tile_features > MAX_FEATURES / 2 ? MAX_FEATURES : MAX_FEATURES / 2;
    uint32_t x_part = room * DEPTH * 2;
    uint32_t stage_bytes = x_part + columns * 8 * DEPTH * 2;
    uint32_t first_stage = shared_address(shared);
    Weight weight(p.weight, p.weight_stride, first, p.out_features);
    Tokens x(p, columns);
    Sums sums = {};
    multiply_all<T>(weight, x, p.in_features, {first_stage, x_part, stage_bytes}, columns, sums);

    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    // By way of shared memory, so that a token's features are written by vectors.
    float *turned = reinterpret_cast<float *>(shared) + warp * columns * 8 * TURNED;
#pragma unroll
    for (uint32_t j = 0; j < MAX_COLUMNS; ++j) {
        if (j < columns) {
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
                uint32_t token = 8 * j + lane % 4 * 2 + i % 2;
                turned[token * TURNED + lane / 4 + i / 2 * 8] = sums[j][i];
            }
        }
    }
    __syncwarp();
    constexpr uint32_t TOKENS = WARP_THREADS * WIDEST<Out> / WARP_FEATURES;  // at a time
    uint32_t own = lane / TOKENS * WIDEST<Out>;
    uint32_t feature = first + warp * WARP_FEATURES + own;
    for (uint32_t token = lane % TOKENS; token < p.tokens; token += TOKENS) {
        float vector[WIDEST<Out>];
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<Out>; i += 4) {
            float4 four = *reinterpret_cast<const float4 *>(turned + token * TURNED + own + i);
            vector[i] = four.x, vector[i + 1] = four.y, vector[i + 2] = four.z, vector[i + 3] = four.w;
        }
        if (feature < p.out_features) {
            store_sums<Out>(p, vector, token, feature);
        }
    }
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, bf16, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, bf16, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, float, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_bf16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<bf16, float, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, f16, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, f16, Across>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_f32_nt_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, float, Along>(p);
}

extern "C" __global__ void __launch_bounds__(LINEAR_ROWS_SM80_THREADS)
    linear_rows_f16_f32_nn_sm80(const __grid_constant__ LinearParams p) {
    linear_rows<f16, float, Across>(p);
}
