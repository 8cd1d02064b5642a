// sincos.h as the host computes it.

#include "../sincos.h"

void expertile_host_sincos(float angle, float *sine, float *cosine) {
    SineCosine result = expertile_sincos(angle);
    *sine = result.sine;
    *cosine = result.cosine;
}
