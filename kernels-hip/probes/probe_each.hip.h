// A kernel of one instruction, or of one function of the common headers: out = f(in).
//
// Element i takes `IN` words of the input at IN * i and writes `OUT` words at OUT * i; count is of
// elements. Mapping: an element a thread, so that a wave's lanes see 64 elements in order; count is
// a multiple of PROBE_THREADS and the grid has count / PROBE_THREADS workgroups.

#pragma once

#include "../common.hip.h"
#include "../kernels.h"

__device__ inline float number(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}

__device__ inline uint32_t bits(float number) {
    return __builtin_bit_cast(uint32_t, number);
}

template <uint32_t IN, uint32_t OUT, typename Function>
__device__ inline void each(const ProbeParams &p, Function function) {
    uint64_t element = uint64_t(workgroup_id_x()) * PROBE_THREADS + workitem_id_x();
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
