// One instruction, or one function of the common headers, for each kernel: out = f(in).
//
// Element i takes `IN` words of the input at IN * i and writes `OUT` words at OUT * i; count is of
// elements. Mapping: an element a thread, so that a warp's shuffles see 32 elements in order; count
// is a multiple of PROBE_THREADS and the grid has count / PROBE_THREADS blocks.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 17 sm_80, 18 sm_89, 18 sm_90a.
// Keeps: STG.E; in PTX: st.global.
// Bound: none that matters; a launch does a few thousand elements.

#include "../common.cuh"
#include "../kernels.h"

#define EXPERTILE_DEVICE __device__
#include "../sincos.h"

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

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_add_rn_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__fadd_rn(number(in[0]), number(in[1])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_mul_rn_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__fmul_rn(number(in[0]), number(in[1])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_fma_rn_f32(const __grid_constant__ ProbeParams p) {
    each<3, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(fmaf(number(in[0]), number(in[1]), number(in[2])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_div_rn_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__fdiv_rn(number(in[0]), number(in[1])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_rcp_rn_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__frcp_rn(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_sqrt_rn_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__fsqrt_rn(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_cvt_rn_bf16x2_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = cvt_rn_bf16x2_f32(number(in[0]), number(in[1]));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_cvt_rn_f16x2_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = cvt_rn_f16x2_f32(number(in[0]), number(in[1]));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_cvt_f32_f16(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(cvt_f32_f16(static_cast<uint16_t>(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_cvt_rn_f32_s64(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__ll2float_rn(int64_t(uint64_t(in[1]) << 32 | in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_cvt_rzi_s64_f32(const __grid_constant__ ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        uint64_t integer = uint64_t(__float2ll_rz(number(in[0])));
        out[0] = uint32_t(integer);
        out[1] = uint32_t(integer >> 32);
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_min_nan_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(min_nan_f32(number(in[0]), number(in[1])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_max_nan_f32(const __grid_constant__ ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(max_nan_f32(number(in[0]), number(in[1])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_shfl_bfly(const __grid_constant__ ProbeParams p) {
    each<2, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = __shfl_xor_sync(~0u, in[0], int(in[1]));
        out[1] = __shfl_xor_sync(~0u, in[0], int(in[1]), 8);
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_shfl_up(const __grid_constant__ ProbeParams p) {
    each<2, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = __shfl_up_sync(~0u, in[0], in[1]);
        out[1] = __shfl_up_sync(~0u, in[0], in[1], 8);
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_shfl_down(const __grid_constant__ ProbeParams p) {
    each<2, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = __shfl_down_sync(~0u, in[0], in[1]);
        out[1] = __shfl_down_sync(~0u, in[0], in[1], 8);
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_shfl_idx(const __grid_constant__ ProbeParams p) {
    each<2, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = __shfl_sync(~0u, in[0], int(in[1]));
        out[1] = __shfl_sync(~0u, in[0], int(in[1]), 8);
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_ex2_approx_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(ex2_approx_f32(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_lg2_approx_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(lg2_approx_f32(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_rcp_approx_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(rcp_approx_f32(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_rsqrt_approx_f32(const __grid_constant__ ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(rsqrt_approx_f32(number(in[0])));
    });
}

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_sincos(const __grid_constant__ ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        SineCosine of_angle = expertile_sincos(number(in[0]));
        out[0] = bits(of_angle.sine);
        out[1] = bits(of_angle.cosine);
    });
}
