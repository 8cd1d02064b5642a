// One instruction, one operation that takes several, or one function of the common headers, for
// each kernel: probe_each.hip.h. Names that the CUDA probes have too mean the same.
//
// Budget: 256 threads; 0 B LDS; 0 B scratch; registers: 14 gfx90a, 14 gfx942, 14 gfx950.
// Keeps: s_endpgm.
// Bound: none that matters; a launch does a few thousand elements.

#include "probe_each.hip.h"

#define EXPERTILE_DEVICE __device__
#include "../sincos.h"

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_add_rn_f32(const ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(number(in[0]) + number(in[1]));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_mul_rn_f32(const ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(number(in[0]) * number(in[1]));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_fma_rn_f32(const ProbeParams p) {
    each<3, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__builtin_fmaf(number(in[0]), number(in[1]), number(in[2])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_div_rn_f32(const ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(number(in[0]) / number(in[1]));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_rcp_rn_f32(const ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(1.0f / number(in[0]));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_sqrt_rn_f32(const ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__builtin_sqrtf(number(in[0])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_cvt_f32_f16(const ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        _Float16 half = __builtin_bit_cast(_Float16, static_cast<uint16_t>(in[0]));
        out[0] = bits(static_cast<float>(half));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_sincos(const ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        SineCosine of_angle = expertile_sincos(number(in[0]));
        out[0] = bits(of_angle.sine);
        out[1] = bits(of_angle.cosine);
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_cvt_f32_s32(const ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(static_cast<float>(static_cast<int32_t>(in[0])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_min_num_f32(const ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__builtin_fminf(number(in[0]), number(in[1])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_max_num_f32(const ProbeParams p) {
    each<2, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(__builtin_fmaxf(number(in[0]), number(in[1])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_pack_bf16(const ProbeParams p) {
    each<4, 2>(p, [](const uint32_t *in, uint32_t *out) {
        float values[4] = {number(in[0]), number(in[1]), number(in[2]), number(in[3])};
        Packed<bf16, 4> packed;
        pack(values, packed);
        out[0] = packed.words[0];
        out[1] = packed.words[1];
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_pack_f16(const ProbeParams p) {
    each<4, 2>(p, [](const uint32_t *in, uint32_t *out) {
        float values[4] = {number(in[0]), number(in[1]), number(in[2]), number(in[3])};
        Packed<f16, 4> packed;
        pack(values, packed);
        out[0] = packed.words[0];
        out[1] = packed.words[1];
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_dpp_quad_perm(const ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(dpp_f32<Dpp::QUAD_XOR_1>(number(in[0])));
        out[1] = bits(dpp_f32<Dpp::QUAD_XOR_2>(number(in[0])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_dpp_row_mirror(const ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(dpp_f32<Dpp::ROW_HALF_MIRROR>(number(in[0])));
        out[1] = bits(dpp_f32<Dpp::ROW_MIRROR>(number(in[0])));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_readlane(const ProbeParams p) {
    each<1, 2>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(readlane_f32(number(in[0]), 16));
        out[1] = bits(readlane_f32(number(in[0]), 48));
    });
}

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_wave_sum(const ProbeParams p) {
    each<1, 1>(p, [](const uint32_t *in, uint32_t *out) {
        out[0] = bits(wave_sum(number(in[0])));
    });
}
