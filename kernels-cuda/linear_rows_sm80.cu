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

#include "linear_stage.cuh"
#include "linear_store.cuh"

constexpr uint32_t DEPTH = 64;
constexpr uint32_t STAGES = 4;
constexpr uint32_t WARP_FEATURES = 16;
constexpr uint32_t MAX_FEATURES = LINEAR_ROWS_SM80_THREADS / WARP_THREADS * WARP_FEATURES;
constexpr uint32_t MAX_COLUMNS = LINEAR_ROWS_MAX_TOKENS / 8;  // of tokens, eight each
static_assert(STAGES * (MAX_FEATURES + LINEAR_ROWS_MAX_TOKENS) * DEPTH * 2 ==
                  LINEAR_ROWS_SM80_SHARED_BYTES,
              "what the planner asks for at most");
// Chunks of the weight that a thread copies.
constexpr uint32_t COPIES = WARP_FEATURES * DEPTH / CHUNK / WARP_THREADS;
// Chunks of a row of DEPTH.
constexpr uint32_t CHUNKS = DEPTH / CHUNK;
// Floats from one token to the next where sums are turned: mma's lanes write different banks.
constexpr uint32_t TURNED = WARP_FEATURES + 4;

extern __shared__ __align__(128) unsigned char shared[];

// The chunks of the weight that a thread copies in each stage.
struct Weight {
    const unsigned char *at[COPIES];
    uint32_t to[COPIES];
    // Where in DEPTH they begin; beyond every k if they are past the last feature.
    uint32_t begin[COPIES];
    uint64_t step;

    __device__ void set(uint32_t i, uint64_t element, const void *weight, bool exists, uint32_t k) {
        at[i] = static_cast<const unsigned char *>(weight) + element * 2;
        begin[i] = exists ? k : 1u << 31;
    }

    __device__ void copy(uint32_t stage, uint32_t k, uint32_t in_features) {
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            copy_async_16(stage + to[i], at[i], k + begin[i] < in_features);
            at[i] += step;
        }
    }
};

// Rows go along k: _nt. A warp copies the rows that it multiplies.
struct Along : Weight {
    __device__ Along(const LinearParams &p, uint32_t first) {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        uint32_t warp = threadIdx.x / WARP_THREADS;
        step = DEPTH * 2;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t row = warp * WARP_FEATURES + lane / CHUNKS + i * (WARP_THREADS / CHUNKS);
            uint32_t k = lane % CHUNKS * CHUNK;
            set(i, (first + row) * p.weight_stride + k, p.weight, first + row < p.out_features, k);
            to[i] = tile_offset<CHUNKS>(row, lane % CHUNKS);
        }
    }

    // The fragment of a warp's features at k, as mma's left operand.
    __device__ void load(uint32_t (&fragment)[4], uint32_t stage, uint32_t feature, uint32_t k) const {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4(fragment,
                    stage + tile_offset<CHUNKS>(feature + lane % 16, k / CHUNK + lane / 16));
    }
};

// Rows are those of k: _nn. The block copies a row as one; tile_features is a power of two.
struct Across : Weight {
    // Of a row: chunks that there are, chunks that there is room for.
    uint32_t wide;
    uint32_t pitch;

    __device__ Across(const LinearParams &p, uint32_t first) {
        wide = p.tile_features / CHUNK;
        pitch = max(wide, 8);
        step = DEPTH * p.weight_stride * 2;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; ++i) {
            uint32_t index = threadIdx.x + i * blockDim.x;
            uint32_t row = index / wide;
            uint32_t feature = first + index % wide * CHUNK;
            set(i, row * p.weight_stride + feature, p.weight, feature < p.out_features, row);
            to[i] = offset(row, index % wide);
        }
    }

    // As tile_offset; the few chunks of a short row are spread, so that eight of several rows meet all banks.
    __device__ uint32_t offset(uint32_t row, uint32_t chunk) const {
        return (row * pitch + (chunk * (pitch / wide) ^ row % 8)) * (CHUNK * 2);
    }

    __device__ void load(uint32_t (&fragment)[4], uint32_t stage, uint32_t feature, uint32_t k) const {
        uint32_t lane = threadIdx.x % WARP_THREADS;
        ldmatrix_x4_trans(fragment, stage + offset(k + lane % 8 + lane / 16 * 8,
                                                   feature / CHUNK + lane / 8 % 2));
    }
};

using Sums = float[MAX_COLUMNS][4];

// The rows of x that a thread copies in each stage.
struct Tokens {
    const unsigned char *at;
    uint64_t step;  // bytes from one of the thread's rows to the next
    uint32_t columns;

    __device__ Tokens(const LinearParams &p, uint32_t columns) : columns(columns) {
        uint64_t row = threadIdx.x / CHUNKS;
        at = static_cast<const unsigned char *>(p.x) +
             (row * p.x_stride + threadIdx.x % CHUNKS * CHUNK) * 2;
        step = blockDim.x / CHUNKS * p.x_stride * 2;
    }

    __device__ void copy(const LinearParams &p, uint32_t stage, uint32_t k) {
        uint32_t chunk = threadIdx.x % CHUNKS;
        uint32_t rows = k + chunk * CHUNK < p.in_features ? p.tokens : 0;
        const unsigned char *from = at;
#pragma unroll 2
        for (uint32_t row = threadIdx.x / CHUNKS; row < columns * 8; row += blockDim.x / CHUNKS) {
            copy_async_16(stage + tile_offset<CHUNKS>(row, chunk), from, row < rows);
            from += step;
        }
        at += DEPTH * 2;
    }
};

// Adds the products of a stage to the warp's sums.
template <typename T, typename Weight>
__device__ inline void multiply(const Weight &weight, uint32_t stage, uint32_t x, uint32_t feature,
                                uint32_t columns, Sums &sums) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll
    for (uint32_t k = 0; k < DEPTH; k += 32) {
        uint32_t left[2][4];
        weight.load(left[0], stage, feature, k);
        weight.load(left[1], stage, feature, k + 16);
#pragma unroll
        for (uint32_t j = 0; j < MAX_COLUMNS; ++j) {
            if (j < columns) {
                // Of eight tokens, four chunks of k: b0 and b1 of both steps.
                uint32_t right[4];
                ldmatrix_x4(right, x + tile_offset<CHUNKS>(8 * j + lane % 8, k / CHUNK + lane / 8));
                mma_16x8x16<T>(sums[j], left[0], right[0], right[1]);
                mma_16x8x16<T>(sums[j], left[1], right[2], right[3]);
            }
        }
    }
}

template <typename T, typename Out, typename Weight>
__device__ inline void linear_rows(const LinearParams &p) {
    uint32_t first = blockIdx.x * p.tile_features;
    uint32_t columns = (p.tokens + 7) / 8;
    uint32_t room = p.tile_features > MAX_FEATURES / 2 ? MAX_FEATURES : MAX_FEATURES / 2;
    uint32_t x_part = room * DEPTH * 2;
    uint32_t stage_bytes = x_part + columns * 8 * DEPTH * 2;
    uint32_t first_stage = shared_address(shared);
    Weight weight(p, first);
    Tokens x(p, columns);
    auto copy = [&](uint32_t stage, uint32_t k) {
        if (k < p.in_features) {
            weight.copy(first_stage + stage * stage_bytes, k, p.in_features);
            x.copy(p, first_stage + stage * stage_bytes + x_part, k);
        }
        // A group a stage, without copies too, so that the number of those to wait for is fixed.
        copy_async_commit();
    };
#pragma unroll
    for (uint32_t stage = 0; stage < STAGES - 1; ++stage) {
        copy(stage, stage * DEPTH);
    }

    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    Sums sums = {};
    uint32_t stage = 0;
    for (uint32_t k = 0; k < p.in_features; k += DEPTH) {
        copy_async_wait<STAGES - 2>();
        // All copies of the stage are there, and nobody reads any more the one that is filled next.
        __syncthreads();
        copy((stage + STAGES - 1) % STAGES, k + (STAGES - 1) * DEPTH);
        uint32_t part = first_stage + stage * stage_bytes;
        multiply<T>(weight, part, part + x_part, warp * WARP_FEATURES, columns, sums);
        stage = (stage + 1) % STAGES;
    }
    __syncthreads();

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
