// Layout changes, 16-bit floats, calls, and control flow that diverges.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

const int TILE_DIM = 32;
const int BLOCK_ROWS = 8;

extern "C" __global__ void transpose(float *odata, const float *idata, int width, int height) {
    __shared__ float tile[TILE_DIM][TILE_DIM + 1];
    int x = blockIdx.x * TILE_DIM + threadIdx.x;
    int y = blockIdx.y * TILE_DIM + threadIdx.y;
    for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
        if (x < width && y + j < height) tile[threadIdx.y + j][threadIdx.x] = idata[(y + j) * width + x];
    __syncthreads();
    x = blockIdx.y * TILE_DIM + threadIdx.x;
    y = blockIdx.x * TILE_DIM + threadIdx.y;
    for (int j = 0; j < TILE_DIM; j += BLOCK_ROWS)
        if (x < height && y + j < width) odata[(y + j) * height + x] = tile[threadIdx.x][threadIdx.y + j];
}

extern "C" __global__ void half_axpy(__half2 a, const __half2 *x, __half2 *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __hfma2(a, x[i], y[i]);
}

extern "C" __global__ void bf16_gate(const __nv_bfloat162 *x, __nv_bfloat162 *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        float2 v = __bfloat1622float2(x[i]);
        v.x = v.x > 0 ? v.x * 1.5f : 0.f;
        v.y = v.y > 0 ? v.y * 1.5f : 0.f;
        y[i] = __hmax2(__float22bfloat162_rn(v), x[i]);
    }
}

__device__ __noinline__ int ackermann(int m, int n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

extern "C" __global__ void recursion(int *out) { out[threadIdx.x] = ackermann(2, threadIdx.x % 5); }

// An insertion sort in a private array, then a choice of many.
extern "C" __global__ void local_switch(const int *in, int *out) {
    int window[8];
    for (int i = 0; i < 8; ++i) {
        int value = in[threadIdx.x * 8 + i], j = i;
        while (j > 0 && window[j - 1] > value) {
            window[j] = window[j - 1];
            --j;
        }
        window[j] = value;
    }
    int picked = window[in[threadIdx.x * 8] & 7];
    switch (picked & 7) {
    case 0: picked = picked * picked; break;
    case 1: picked = __popc(picked); break;
    case 2: picked = __clz(picked); break;
    case 3: picked ^= 0x5555; break;
    case 4: picked = picked / 7; break;
    case 5: picked = picked % 9; break;
    case 6: picked = __brev(picked); break;
    default: picked = __ffs(picked);
    }
    out[threadIdx.x] = picked;
}

// Collatz steps: lanes leave the loop one by one; the rest votes in every step.
extern "C" __global__ void collatz(const unsigned int *in, int *steps, int *votes) {
    unsigned int n = in[threadIdx.x];
    int count = 0, seen = 0;
    while (__any_sync(0xffffffff, n != 1)) {
        seen += __popc(__ballot_sync(0xffffffff, n != 1));
        if (n != 1) {
            n = (n & 1) ? 3 * n + 1 : n / 2;
            ++count;
        }
    }
    steps[threadIdx.x] = count;
    votes[threadIdx.x] = seen;
}

// Polynomial and square root in double precision, division in both.
extern "C" __global__ void arithmetic(const double *x, double *y, float *z, int n) {
    int i = threadIdx.x + blockIdx.x * blockDim.x;
    if (i >= n) return;
    double v = x[i];
    y[i] = sqrt(v) / (v + 3.0) + fma(v, v, -1.0);
    float f = (float)v;
    z[i] = __fsqrt_rn(f) / (f + 3.0f);
}
