// Instructions: the only file with inline assembly. One function per instruction, with its section
// of NVIDIA's "PTX ISA", version 9.0.

#pragma once

#include <stdint.h>

// 9.7.9.22 cvt: two f32 to bf16, to nearest even; `low` in bits 0..16.
__device__ inline uint32_t cvt_rn_bf16x2_f32(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// 9.7.9.22 cvt: two f32 to f16, to nearest even; `low` in bits 0..16.
__device__ inline uint32_t cvt_rn_f16x2_f32(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// 9.7.9.22 cvt: f16 to f32.
__device__ inline float cvt_f32_f16(uint16_t half) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

// 9.7.3.11 min: NaN if either is NaN.
__device__ inline float min_nan_f32(float a, float b) {
    float smaller;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(smaller) : "f"(a), "f"(b));
    return smaller;
}

// 9.7.3.12 max: NaN if either is NaN.
__device__ inline float max_nan_f32(float a, float b) {
    float larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
    return larger;
}

// 9.7.3.21 ex2: 2^x, off by at most 2^-22.5 of it.
__device__ inline float ex2_approx_f32(float x) {
    float power;
    asm("ex2.approx.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// 9.7.3.20 lg2: log2(x), off by at most 2^-22, of it where x is outside of 0.5 to 2.
__device__ inline float lg2_approx_f32(float x) {
    float logarithm;
    asm("lg2.approx.f32 %0, %1;" : "=f"(logarithm) : "f"(x));
    return logarithm;
}

// 9.7.3.13 rcp: 1 / x, off by at most 1 ulp.
__device__ inline float rcp_approx_f32(float x) {
    float reciprocal;
    asm("rcp.approx.f32 %0, %1;" : "=f"(reciprocal) : "f"(x));
    return reciprocal;
}

// 9.7.3.16 rsqrt: 1 / sqrt(x), off by at most 2^-22.9 of it.
__device__ inline float rsqrt_approx_f32(float x) {
    float reciprocal;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(reciprocal) : "f"(x));
    return reciprocal;
}
