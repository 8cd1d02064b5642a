// Compares sincos.h with the C library's f64 functions. Prints the largest errors in units in the
// last place of the result: "sine E cosine E". Argument: the stride over all finite f32.

#include "../sincos.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double worst_sine, worst_cosine;

static double error_in_ulp(float got, double want) {
    int exponent = want == 0 ? -126 : ilogb(want);
    return fabs((double)got - want) / ldexp(1.0, (exponent < -126 ? -126 : exponent) - 23);
}

static void compare(float x) {
    SineCosine got = expertile_sincos(x);
    double sine = error_in_ulp(got.sine, sin((double)x));
    double cosine = error_in_ulp(got.cosine, cos((double)x));
    worst_sine = !(sine <= worst_sine) ? sine : worst_sine;
    worst_cosine = !(cosine <= worst_cosine) ? cosine : worst_cosine;
}

int main(int count, char **arguments) {
    uint32_t stride = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 1;
    const int head_dims[] = {16, 24, 128, 256};
    const double thetas[] = {10000, 500000};
    for (int d = 0; d < 4; ++d) {
        for (int t = 0; t < 2; ++t) {
            for (int pair = 0; pair < head_dims[d] / 2; ++pair) {
                float exponent = (float)(2 * pair) / (float)head_dims[d];
                float inv_freq = 1.0f / (float)pow(thetas[t], (double)exponent);
                for (int position = 0; position <= 131071; ++position) {
                    compare((float)position * inv_freq);
                }
            }
        }
    }
    for (uint64_t bits = 0; bits < 0x7f800000u; bits += stride) {
        compare(expertile_float_from_bits((uint32_t)bits));
        compare(-expertile_float_from_bits((uint32_t)bits));
    }
    printf("sine %.4f cosine %.4f\n", worst_sine, worst_cosine);
    const float not_finite[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 3; ++i) {
        SineCosine got = expertile_sincos(not_finite[i]);
        if (!isnan(got.sine) || !isnan(got.cosine)) {
            printf("not NaN at %f\n", not_finite[i]);
            return 1;
        }
    }
    return 0;
}
