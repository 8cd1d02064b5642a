// A kernel of one instruction, or of one function of the common headers: out = f(in).
//
// Element i takes `IN` words of the input at IN * i and writes `OUT` words at OUT * i; count is of
// elements. Mapping: an element a thread, so that a warp's shuffles see 32 elements in order; count
// is a multiple of PROBE_THREADS and the grid has count / PROBE_THREADS blocks.

#pragma once

#include "../common.cuh"
#include "../kernels.h"

__device__ inline float number(uint32_t bits) { return __uint_as_float(bits); }

__device__ inline uint32_t bits(float number) { return __float_as_uint(number); }

template <uint32_t IN, uint32_t OUT, typename Function>
__device__ inline void each(const ProbeParams &p, Function function) {
    uint64_t element = uint64_t(blockIdx.x) * PROBE_THREADS + threadIdx.x;
    uint32_t in[IN], out[OUT];
#pragma unroll
    for (uint32_t i = 0; i < IN; ++i) {
        in[i] = p.input[element * IN + i];
    }
    function(in, out);
#pragma unroll
    for (uint32_t i = 0; i < OUT; ++i) {
        p.output[element * OUT + i] = out[i];
    }
}
