// One instruction, or one function of the common headers, for each kernel: probe_each.cuh.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 17 sm_80, 18 sm_89, 18 sm_90a.
// Keeps: STG.E; in PTX: st.global.
// Bound: none that matters; a launch does a few thousand elements.

#include "probe_each.cuh"

#define EXPERTILE_DEVICE __device__
#include "../sincos.h"

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
