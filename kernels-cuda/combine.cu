// Combine: the sum of a token's expert outputs, and the residual. Reference: reference/combine.rs.
// Contract: CombineParams.
//
// Math, in f32, for every token t, over its slots j in order:
//   out[t, i] = expert_out[rows[t, 0], i] + expert_out[rows[t, 1], i] + ... + residual[t, i]
// rounded once. A slot whose row is not in expert_out is left out; a single term is copied, bit for
// bit; without any the result is 0.
//
// Mapping: a token has 2^lane_bits threads, a block COMBINE_THREADS / 2^lane_bits tokens at a time;
// blockIdx.y is the part of the row.
//
//   thread      0          1    ...     lanes - 1    |    lanes   ...
//   token t  [0 .. 8)   [8 .. 16)  ...               |  token t + 1     (2-byte elements)
//
// The first lanes of each warp fetch the token's rows, one each, and hand them to the others: one
// access, where each thread for itself would make top_k.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 71 sm_80, 70 sm_89, 72 sm_90a.
// Keeps: LDG.E.128, STG.E.128, SHFL; in PTX: ld.global.v4, st.global.v4, shfl.sync.idx.
// Bound: memory. Each element of the top_k rows and of the residual is read once, and each of the
// result written once. The loads of up to MOST_IN_FLIGHT slots and of the residual are in flight
// before the first addition: with DBRX's top_k of 4, 80 B a thread. All 16 at once would take 140
// registers, and leave one block to an SM.

#include "common.cuh"
#include "kernels.h"

constexpr uint32_t FEW_IN_FLIGHT = 4;
constexpr uint32_t MOST_IN_FLIGHT = 8;

// The sum of a thread's vectors so far. -0 is what leaves every number as it is.
template <typename T>
struct Sum {
    float values[WIDEST<T>];
    Packed<T, WIDEST<T>> last;
    uint32_t terms;

    __device__ Sum() : last{}, terms(0) {
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<T>; ++i) {
            values[i] = -0.0f;
        }
    }

    __device__ void add(const Packed<T, WIDEST<T>> &term) {
        float x[WIDEST<T>];
        unpack(term, x);
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<T>; ++i) {
            values[i] += x[i];
        }
        last = term;
        ++terms;
    }

    // A single term keeps its bits, those of a NaN too.
    __device__ Packed<T, WIDEST<T>> rounded() const {
        Packed<T, WIDEST<T>> out = last;
        if (terms > 1) {
            pack(values, out);
        }
        return out;
    }
};

// IN_FLIGHT: slots whose vectors are asked for before the first of them is added.
template <typename T, uint32_t IN_FLIGHT>
__device__ inline void combine_rows(const CombineParams &p) {
    using Vector = Packed<T, WIDEST<T>>;
    uint32_t lanes = 1u << p.lane_bits;
    uint32_t element = (blockIdx.y * lanes + (threadIdx.x & (lanes - 1))) * WIDEST<T>;
    // Of the lanes of a warp, those of one token.
    uint32_t width = min(lanes, WARP_THREADS);
    uint32_t slot = threadIdx.x & (width - 1);
    uint32_t first_lane = threadIdx.x % WARP_THREADS - slot;

    uint64_t step = COMBINE_THREADS >> p.lane_bits;
    for (uint64_t first = blockIdx.x * step; first < p.tokens; first += gridDim.x * step) {
        uint64_t token = first + (threadIdx.x >> p.lane_bits);
        bool is_own = token < p.tokens && element < p.hidden;
        int32_t row = -1;
        if (token < p.tokens && slot < p.top_k) {
            row = p.rows[token * p.top_k + slot];
        }
        Vector residual;
        if (is_own && p.residual != nullptr) {
            residual = load<T, WIDEST<T>>(p.residual, token * p.residual_stride + element);
        }
        Sum<T> sum;
        for (uint32_t begin = 0; begin < p.top_k; begin += IN_FLIGHT) {
            Vector terms[IN_FLIGHT];
            bool present[IN_FLIGHT];
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
                // Negative rows are large ones. A slot past top_k has row -1; none is past the
                // width, since 16 is the least width and the most slots.
                uint32_t source = first_lane + begin + i;
                uint32_t other = __shfl_sync(0xffffffff, static_cast<uint32_t>(row), source);
                present[i] = is_own && other < p.expert_rows;
                if (present[i]) {
                    terms[i] =
                        load<T, WIDEST<T>>(p.expert_out, other * p.expert_out_stride + element);
                }
            }
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
                if (present[i]) {
                    sum.add(terms[i]);
                }
            }
        }
        if (is_own && p.residual != nullptr) {
            sum.add(residual);
        }
        if (is_own) {
            store<T, WIDEST<T>>(p.out, token * p.out_stride + element, sum.rounded());
        }
    }
}

template <typename T>
__device__ inline void combine(const CombineParams &p) {
    if (p.top_k <= FEW_IN_FLIGHT) {
        combine_rows<T, FEW_IN_FLIGHT>(p);
    } else {
        combine_rows<T, MOST_IN_FLIGHT>(p);
    }
}

extern "C" __global__ void __launch_bounds__(COMBINE_THREADS)
    combine_bf16(const __grid_constant__ CombineParams p) {
    combine<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(COMBINE_THREADS)
    combine_f16(const __grid_constant__ CombineParams p) {
    combine<f16>(p);
}

extern "C" __global__ void __launch_bounds__(COMBINE_THREADS)
    combine_f32(const __grid_constant__ CombineParams p) {
    combine<float>(p);
}
