// The arithmetic of the router in plain C: the same bits on the host, under CUDA and under HIP.
//
// Only f32 operations that round to nearest even (+, -, *, /, fma) and integer arithmetic. Compile
// it without contraction (-ffp-contract=off, -fmad=false): every rounding is as written. The same
// steps in Rust: reference/router_f32.rs.
//
// A difference of two logits, or a logarithm, is kept as an unrounded sum high + low where it goes
// into an exponential: there an error of 2^-24 of a large argument would be one of many ulp. What
// is added up is at most 2 and is added as an integer, so that no sum depends on its order.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_ROUTER_H
#define EXPERTILE_ROUTER_H

#include "float_bits.h"

// high + low, where low is below half an ulp of high.
typedef struct RouterSum {
    float high;
    float low;
} RouterSum;

#define EXPERTILE_MINUS_INFINITY_KEY 0x007fffffu
#define EXPERTILE_PLUS_INFINITY_KEY 0xff800000u

// The order of floats as that of integers, from EXPERTILE_MINUS_INFINITY_KEY up. NaN counts as
// minus infinity; both zeros have one key. No float has the key 0.
static inline EXPERTILE_DEVICE uint32_t expertile_router_key(float x) {
    uint32_t bits = expertile_float_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return EXPERTILE_MINUS_INFINITY_KEY;
    }
    if (bits == 0x80000000u) {
        bits = 0;
    }
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

// The float of a key.
static inline EXPERTILE_DEVICE float expertile_router_value(uint32_t key) {
    return expertile_float_from_bits(key ^ ((key >> 31) ? 0x80000000u : 0xffffffffu));
}

// A key of a row whose largest is `largest`, as it counts in the softmax: if the largest is an
// infinity, those that equal it count as 0 and all others as minus infinity.
static inline EXPERTILE_DEVICE uint32_t expertile_router_in_row(uint32_t key, uint32_t largest) {
    if (largest != EXPERTILE_MINUS_INFINITY_KEY && largest != EXPERTILE_PLUS_INFINITY_KEY) {
        return key;
    }
    return key == largest ? 0x80000000u : EXPERTILE_MINUS_INFINITY_KEY;
}

// a - b, exactly, if both are finite (Knuth, The Art of Computer Programming, 4.2.2).
static inline EXPERTILE_DEVICE RouterSum expertile_router_difference(float a, float b) {
    RouterSum result;
    result.high = a - b;
    float other = result.high - a;
    result.low = (a - (result.high - other)) - (b + other);
    return result;
}

// x times a factor: off by less than 2^-45 of it.
static inline EXPERTILE_DEVICE RouterSum expertile_router_times(RouterSum x, RouterSum factor) {
    RouterSum result;
    result.high = x.high * factor.high;
    float error = __builtin_fmaf(x.high, factor.high, -result.high);
    result.low = error + __builtin_fmaf(x.high, factor.low, x.low * factor.high);
    return result;
}

// ln 2: the first has 16 bits, so that its product with a small integer is exact.
#define EXPERTILE_LN2_1 0x1.62e4p-1f
#define EXPERTILE_LN2_2 0x1.7f7d1cp-20f

// exp(x) for x <= 0, right to 0.6 ulp; 0 below -104 and for minus infinity.
//
// x = n ln 2 + r with |r| <= 0.35, and exp(r) by its Taylor series up to r^8 / 8!.
static inline EXPERTILE_DEVICE float expertile_router_exp(RouterSum x) {
    if (!(x.high >= -104.0f)) {
        return 0.0f;
    }
    // Adding 1.5 * 2^23 rounds to an integer.
    const float to_integer = 0x1.8p+23f;
    float n = __builtin_fmaf(x.high, 0x1.715476p+0f, to_integer) - to_integer;
    float rest = __builtin_fmaf(-n, EXPERTILE_LN2_1, x.high);
    float low = __builtin_fmaf(-n, EXPERTILE_LN2_2, x.low);
    float r = rest + low;
    float r_error = (rest - r) + low;

    float tail = __builtin_fmaf(0x1.a01a02p-16f, r, 0x1.a01a02p-13f);
    tail = __builtin_fmaf(tail, r, 0x1.6c16c2p-10f);
    tail = __builtin_fmaf(tail, r, 0x1.111112p-7f);
    tail = __builtin_fmaf(tail, r, 0x1.555556p-5f);
    tail = __builtin_fmaf(tail, r, 0x1.555556p-3f);
    tail = __builtin_fmaf(tail, r, 0.5f);
    float power = 1.0f + (r + __builtin_fmaf(r * r, tail, r_error));

    // 2^n in two factors, n >= -150: the second product rounds where the result is subnormal.
    int32_t whole = (int32_t)n;
    int32_t half = whole / 2;
    float first = expertile_float_from_bits((uint32_t)(127 + half) << 23);
    float second = expertile_float_from_bits((uint32_t)(127 + whole - half) << 23);
    return power * first * second;
}

// ln(x) for 1 <= x < 2^16, off by less than 2^-25.
//
// x = 2^n (1 + f) with |f| <= 0.42; with s = f / (2 + f), ln(1 + f) is f - f^2 / 2 + s (f^2 / 2 + R),
// R a series in s^2.
static inline EXPERTILE_DEVICE RouterSum expertile_router_log(float x) {
    uint32_t bits = expertile_float_bits(x);
    uint32_t above = (bits & 0x7fffffu) > 0x3504f3u ? 1 : 0;  // sqrt(2)
    float n = (float)((int32_t)(bits >> 23) - 127 + (int32_t)above);
    float f = expertile_float_from_bits((bits & 0x7fffffu) | ((127 - above) << 23)) - 1.0f;

    float s = f / (2.0f + f);
    float square = s * s;
    float tail = __builtin_fmaf(0x1.c71c72p-3f, square, 0x1.24924ap-2f);
    tail = __builtin_fmaf(tail, square, 0x1.99999ap-2f);
    tail = __builtin_fmaf(tail, square, 0x1.555556p-1f);
    float half_square = 0.5f * f * f;
    float small = __builtin_fmaf(s, __builtin_fmaf(square, tail, half_square), -half_square);
    RouterSum whole = expertile_router_difference(n * EXPERTILE_LN2_1, -f);
    float low = whole.low + __builtin_fmaf(n, EXPERTILE_LN2_2, small);

    RouterSum result;
    result.high = whole.high + low;
    result.low = (whole.high - result.high) + low;
    return result;
}

// 0 <= x < 2 in units of 2^-40, rounded down.
static inline EXPERTILE_DEVICE uint64_t expertile_router_fixed(float x) {
    uint32_t bits = expertile_float_bits(x);
    uint32_t exponent = bits >> 23;
    uint64_t mantissa = exponent == 0 ? 0 : (bits & 0x7fffffu) | 0x800000u;
    uint32_t shift = 127 - exponent;
    return shift > 63 ? 0 : (mantissa << 17) >> shift;
}

// A divisor: the last float below a power of two counts as that. AMD's division is refined from a
// reciprocal that may be off by an ulp, and is rounded to nearest but for a power of two over such:
// 1 / (2 - 2^-23) lies just above the middle of 0.5 and the next float.
static inline EXPERTILE_DEVICE float expertile_router_divisor(float d) {
    uint32_t bits = expertile_float_bits(d);
    return expertile_float_from_bits(bits + (((bits & 0x7fffffu) + 1) >> 23));
}

// A sum of such, below 2^48, as a float and a divisor: off by less than 2 ulp.
static inline EXPERTILE_DEVICE float expertile_router_from_fixed(uint64_t sum) {
    float high = (float)(uint32_t)(sum >> 24);
    float low = (float)((uint32_t)sum & 0xffffffu);
    return expertile_router_divisor(__builtin_fmaf(high, 0x1p-16f, low * 0x1p-40f));
}

// exp(-|x|); 0 for NaN.
static inline EXPERTILE_DEVICE float expertile_router_sigmoid_power(float x) {
    RouterSum minus_size;
    minus_size.high = x > 0.0f ? -x : x;
    minus_size.low = 0.0f;
    return expertile_router_exp(minus_size);
}

// 1 / (1 + exp(-x)), right to 3 ulp; 0 for NaN.
static inline EXPERTILE_DEVICE float expertile_router_sigmoid(float x) {
    float power = expertile_router_sigmoid_power(x);
    return (x > 0.0f ? 1.0f : power) / expertile_router_divisor(1.0f + power);
}

// sigmoid(x) over exp(largest) for x <= largest <= 0, right to 3 ulp: it keeps its digits where the
// sigmoids themselves are below the smallest float. Two minus infinities are equal.
static inline EXPERTILE_DEVICE float expertile_router_sigmoid_in_row(float x, float largest) {
    float power = expertile_router_sigmoid_power(x);
    float relative = 1.0f;
    if (x != largest) {
        relative = expertile_router_exp(expertile_router_difference(x, largest));
    }
    return relative / expertile_router_divisor(1.0f + power);
}

#endif
