// The bits of an f32 in plain C: for the common headers of host, CUDA and HIP.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_FLOAT_BITS_H
#define EXPERTILE_FLOAT_BITS_H

#include <stdint.h>

#ifndef EXPERTILE_DEVICE
#define EXPERTILE_DEVICE
#endif

static inline EXPERTILE_DEVICE uint32_t expertile_float_bits(float x) {
    union {
        float value;
        uint32_t bits;
    } as = {x};
    return as.bits;
}

static inline EXPERTILE_DEVICE float expertile_float_from_bits(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } as = {bits};
    return as.value;
}

#endif
