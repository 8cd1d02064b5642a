// The activations of gated experts in plain C: the same bits on the host, under CUDA and under HIP.
//
// Compile it without contraction, as router.h. The same steps in Rust: reference/activation.rs.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_ACTIVATION_H
#define EXPERTILE_ACTIVATION_H

#include "kernels.h"
#include "router.h"

// g times the sigmoid of z; 0 where the sigmoid is. A NaN of either is the result.
static inline EXPERTILE_DEVICE float expertile_gated(float g, float z) {
    if (z != z) {
        return z;
    }
    RouterSum x;
    x.high = z < 0.0f ? z : -z;
    x.low = 0.0f;
    float power = expertile_router_exp(x);
    float share = z < 0.0f ? power : 1.0f;
    if (share == 0.0f && g == g) {
        return 0.0f;
    }
    return g * share / expertile_router_divisor(1.0f + power);
}

// What becomes of a gate and what it lets through.
//   silu:            gate sigmoid(gate) up
//   gelu, by tanh:   gate sigmoid(2 sqrt(2 / pi) (gate + 0.044715 gate^3)) up
//   clamped swiglu:  g sigmoid(alpha g) (u + 1), g = min(gate, limit), u = up in -limit..limit
static inline EXPERTILE_DEVICE float expertile_activation(uint32_t kind, float gate, float up,
                                                          float limit, float alpha) {
    if (kind == ACTIVATION_SILU) {
        return expertile_gated(gate, gate) * up;
    }
    if (kind == ACTIVATION_GELU_TANH) {
        float square = gate * gate;
        float slope = __builtin_fmaf(square, 0x1.2444f2p-4f, 0x1.988454p+0f);
        return expertile_gated(gate, gate * slope) * up;
    }
    // Neither bound replaces a NaN.
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up;
    up = up < -limit ? -limit : up;
    return expertile_gated(gate, alpha * gate) * (up + 1.0f);
}

#endif
