// The mathematical functions of CUDA, which nvcc builds from many small instructions.

#define SINGLE(name, expression)                                                   \
    extern "C" __global__ void name(const float *in, float *out) {                 \
        float x = in[blockIdx.x * blockDim.x + threadIdx.x];                       \
        out[blockIdx.x * blockDim.x + threadIdx.x] = expression;                   \
    }
#define DOUBLE(name, expression)                                                   \
    extern "C" __global__ void name(const double *in, double *out) {               \
        double x = in[blockIdx.x * blockDim.x + threadIdx.x];                      \
        out[blockIdx.x * blockDim.x + threadIdx.x] = expression;                   \
    }

SINGLE(f32_exp, expf(x))
SINGLE(f32_log, logf(fabsf(x)))
SINGLE(f32_sin, sinf(x))
SINGLE(f32_cos, cosf(x))
SINGLE(f32_tanh, tanhf(x))
SINGLE(f32_pow, powf(fabsf(x), 1.7f))
SINGLE(f32_cbrt, cbrtf(x))
SINGLE(f32_rsqrt, rsqrtf(fabsf(x)))
SINGLE(f32_sigmoid, 1.0f / (1.0f + expf(-x)))
SINGLE(f32_fast_exp, __expf(x))
SINGLE(f32_remainder, fmodf(x, 0.7f))
SINGLE(f32_floor, floorf(x) + ceilf(x) * 0.5f + roundf(x) * 0.25f)
SINGLE(f32_down, __fadd_rd(x, 0.1f) + __fmul_ru(x, 0.3f) + __fdiv_rz(x, 0.7f))
SINGLE(f32_integers, (float)((int)x) + __uint2float_rd((unsigned)(fabsf(x) * 1e7f)))
DOUBLE(f64_exp, exp(x))
DOUBLE(f64_log, log(fabs(x)))
DOUBLE(f64_sin, sin(x))
DOUBLE(f64_pow, pow(fabs(x), 1.7))
DOUBLE(f64_tanh, tanh(x))
DOUBLE(f64_rsqrt, rsqrt(fabs(x)))
DOUBLE(f64_cbrt, cbrt(x))
