// Sine and cosine of an f32 angle in plain C: the same bits on the host, under CUDA and under HIP.
//
// Only f32 additions, multiplications and fused multiply-adds that round to nearest even, and
// integer arithmetic, so that nothing depends on a vendor's library. Compile it without
// contraction (-ffp-contract=off, -fmad=false): every rounding is as written.
//
// With |x| = k * (pi / 2) + r, |r| at most a little over pi / 4, the sine and cosine of r are
// polynomials, and k mod 4 says which of them, with which sign, is wanted (Cody and Waite, Software
// Manual for the Elementary Functions, 1980, chapter 8). r is kept as an unrounded sum high + low,
// so that both results are right to 1 ulp, for every finite x. NaN and infinities give NaN.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_SINCOS_H
#define EXPERTILE_SINCOS_H

#include "float_bits.h"

typedef struct SineCosine {
    float sine;
    float cosine;
} SineCosine;

// An angle less its whole quarter turns: high + low, where low is the rounding error of high.
typedef struct ReducedAngle {
    float high;
    float low;
    uint32_t quarters;  // modulo 4
} ReducedAngle;

// pi / 2 = EXPERTILE_HALF_PI_1 + _2 + _3 + 1e-23: each is the rest rounded to f32.
#define EXPERTILE_HALF_PI_1 0x1.921fb6p+0f
#define EXPERTILE_HALF_PI_2 -0x1.777a5cp-25f
#define EXPERTILE_HALF_PI_3 -0x1.ee59dap-50f
#define EXPERTILE_SMALL_ANGLE 131072.0f

// For 0 <= x <= EXPERTILE_SMALL_ANGLE.
static inline EXPERTILE_DEVICE ReducedAngle expertile_reduce_small(float x) {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const float to_integer = 0x1.8p+23f;
    float shifted = __builtin_fmaf(x, 0x1.45f306p-1f, to_integer);
    float quarters = shifted - to_integer;

    // Exact: both terms are multiples of 2^-23, or of x's last place if that is finer, and the
    // difference is below 1.
    float rest = __builtin_fmaf(-quarters, EXPERTILE_HALF_PI_1, x);
    float product = quarters * EXPERTILE_HALF_PI_2;
    float product_error = __builtin_fmaf(quarters, EXPERTILE_HALF_PI_2, -product);

    // The sum's error, whichever term is larger (Knuth, The Art of Computer Programming, 4.2.2).
    float high = rest - product;
    float subtracted = high - rest;
    float error = (rest - (high - subtracted)) - (product + subtracted);

    ReducedAngle reduced;
    reduced.high = high;
    reduced.low = __builtin_fmaf(-quarters, EXPERTILE_HALF_PI_3, error - product_error);
    reduced.quarters = expertile_float_bits(shifted) & 3;
    return reduced;
}

// For finite x > EXPERTILE_SMALL_ANGLE: multiplies x's mantissa by the 96 bits of 2 / pi that
// matter to the quotient modulo 4 (Payne and Hanek, Radian Reduction for Trigonometric Functions,
// SIGNUM Newsletter 18(1), 1983).
static inline EXPERTILE_DEVICE ReducedAngle expertile_reduce_large(float x) {
    uint32_t bits = expertile_float_bits(x);
    uint32_t mantissa = (bits << 8) | 0x80000000u;  // x = mantissa * 2^(exponent - 31)
    uint32_t exponent = (bits >> 23) - 127;         // 17 to 127
    uint32_t first_bit = exponent - 1;              // counted in the words below

    // The words of 2 / pi after 32 zero bits. Chosen by comparison: an indexed table would have
    // to live in memory.
    uint32_t word = first_bit >> 5;
    uint32_t shift = first_bit & 31;
    uint32_t w0 = word == 0 ? 0 : word == 1 ? 0xa2f9836e : word == 2 ? 0x4e441529 : 0xfc2757d1;
    uint32_t w1 = word == 0   ? 0xa2f9836e
                  : word == 1 ? 0x4e441529
                  : word == 2 ? 0xfc2757d1
                              : 0xf534ddc0;
    uint32_t w2 = word == 0   ? 0x4e441529
                  : word == 1 ? 0xfc2757d1
                  : word == 2 ? 0xf534ddc0
                              : 0xdb629599;
    uint32_t w3 = word == 0   ? 0xfc2757d1
                  : word == 1 ? 0xf534ddc0
                  : word == 2 ? 0xdb629599
                              : 0x3c439041;
    w0 = (uint32_t)((((uint64_t)w0 << 32 | w1) << shift) >> 32);
    w1 = (uint32_t)((((uint64_t)w1 << 32 | w2) << shift) >> 32);
    w2 = (uint32_t)((((uint64_t)w2 << 32 | w3) << shift) >> 32);

    // turns / 2^64 = x / (2 pi) modulo 1.
    uint64_t turns = ((uint64_t)mantissa * w2 >> 32) + (uint64_t)mantissa * w1 +
                     ((uint64_t)(mantissa * w0) << 32);

    // Half of it as a signed integer, so that the conversion of its rounded value cannot overflow.
    int64_t quarter = (int64_t)(turns << 2) / 2;
    float rounded = (float)quarter;
    float high = rounded * 0x1p-63f;
    float low = (float)(quarter - (int64_t)rounded) * 0x1p-63f;

    ReducedAngle reduced;
    reduced.high = high * EXPERTILE_HALF_PI_1;
    reduced.low = __builtin_fmaf(high, EXPERTILE_HALF_PI_1, -reduced.high) +
                  __builtin_fmaf(high, EXPERTILE_HALF_PI_2, low * EXPERTILE_HALF_PI_1);
    reduced.quarters = (uint32_t)((turns + 0x2000000000000000u) >> 62);
    return reduced;
}

static inline EXPERTILE_DEVICE SineCosine expertile_sincos(float x) {
    const uint32_t sign_bit = 0x80000000u, infinity = 0x7f800000u, not_a_number = 0x7fffffffu;
    uint32_t sign = expertile_float_bits(x) & sign_bit;
    float size = expertile_float_from_bits(expertile_float_bits(x) ^ sign);
    SineCosine result;
    if (expertile_float_bits(size) >= infinity) {
        result.sine = result.cosine = expertile_float_from_bits(not_a_number);
        return result;
    }
    ReducedAngle angle;
    if (size <= EXPERTILE_SMALL_ANGLE) {
        angle = expertile_reduce_small(size);
    } else {
        angle = expertile_reduce_large(size);
    }

    // Minimax polynomials for |r| <= 0.7917; relative errors 4e-9 and 2e-10.
    float square = angle.high * angle.high;
    float half_square = 0.5f * square;
    float one_less = 1.0f - half_square;

    float sine_tail = __builtin_fmaf(-0x1.991652p-13f, square, 0x1.1106bcp-7f);
    sine_tail = __builtin_fmaf(sine_tail, square, -0x1.555544p-3f);
    float sine = angle.high + __builtin_fmaf(angle.high * square, sine_tail, angle.low * one_less);

    float cosine_tail = __builtin_fmaf(0x1.99e060p-16f, square, -0x1.6c0c18p-10f);
    cosine_tail = __builtin_fmaf(cosine_tail, square, 0x1.55554ap-5f);
    float one_less_error = (1.0f - one_less) - half_square;
    cosine_tail = __builtin_fmaf(square * square, cosine_tail, -(angle.high * angle.low));
    float cosine = one_less + (one_less_error + cosine_tail);

    float odd_sine = (angle.quarters & 1) ? cosine : sine;
    float odd_cosine = (angle.quarters & 1) ? sine : cosine;
    uint32_t sine_sign = sign ^ ((angle.quarters & 2) << 30);
    uint32_t cosine_sign = ((angle.quarters + 1) & 2) << 30;
    result.sine = expertile_float_from_bits(expertile_float_bits(odd_sine) ^ sine_sign);
    result.cosine = expertile_float_from_bits(expertile_float_bits(odd_cosine) ^ cosine_sign);
    return result;
}

#endif
