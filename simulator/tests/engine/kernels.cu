// Kernels of the kind that others write, compiled by nvcc and executed by the engine's tests.
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cassert>
#include <cstdio>

extern "C" __global__ void reduce(const float *in, float *out, int n) {
  extern __shared__ float tile[];
  int i = blockIdx.x * blockDim.x * 2 + threadIdx.x;
  float sum = i < n ? in[i] : 0.0f;
  if (i + blockDim.x < n) sum += in[i + blockDim.x];
  tile[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned stride = blockDim.x / 2; stride > 32; stride >>= 1) {
    if (threadIdx.x < stride) tile[threadIdx.x] += tile[threadIdx.x + stride];
    __syncthreads();
  }
  if (threadIdx.x < 32) {
    float v = tile[threadIdx.x] + tile[threadIdx.x + 32];
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_down_sync(0xffffffff, v, offset);
    if (threadIdx.x == 0) out[blockIdx.x] = v;
  }
}

extern "C" __global__ void scan(const int *in, int *out, int n) {
  __shared__ int a[2][256];
  int t = threadIdx.x, from = 0;
  int i = blockIdx.x * 256 + t;
  a[0][t] = i < n ? in[i] : 0;
  __syncthreads();
  for (int offset = 1; offset < 256; offset *= 2) {
    a[1 - from][t] = t >= offset ? a[from][t] + a[from][t - offset] : a[from][t];
    from = 1 - from;
    __syncthreads();
  }
  if (i < n) out[i] = a[from][t];
}

extern "C" __global__ void transpose(const float *in, float *out, int width, int height) {
  __shared__ float tile[32][33];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < width && y + j < height) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * width + x];
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x;
  y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < height && y + j < width) out[(y + j) * height + x] = tile[threadIdx.x][threadIdx.y + j];
}

extern "C" __global__ void bitonic(uint32_t *data) {
  __shared__ uint32_t s[512];
  unsigned t = threadIdx.x;
  s[t] = data[blockIdx.x * 512 + t];
  s[t + 256] = data[blockIdx.x * 512 + t + 256];
  for (unsigned size = 2; size <= 512; size <<= 1) {
    for (unsigned stride = size / 2; stride > 0; stride >>= 1) {
      __syncthreads();
      unsigned pos = 2 * t - (t & (stride - 1));
      bool up = (pos & size) == 0;
      uint32_t a = s[pos], b = s[pos + stride];
      if ((a > b) == up) { s[pos] = b; s[pos + stride] = a; }
    }
  }
  __syncthreads();
  data[blockIdx.x * 512 + t] = s[t];
  data[blockIdx.x * 512 + t + 256] = s[t + 256];
}

extern "C" __global__ void histogram(const uint8_t *in, unsigned *out, int n) {
  __shared__ unsigned bins[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[in[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&out[i], bins[i]);
}

// The last block to finish adds up what the others left.
__device__ unsigned finished = 0;
extern "C" __global__ void sum_last_block(const float *in, float *partial, float *out, int n) {
  __shared__ float warp_sums[32];
  __shared__ bool last;
  float v = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += in[i];
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    v = threadIdx.x < blockDim.x / 32 ? warp_sums[threadIdx.x] : 0;
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    if (threadIdx.x == 0) {
      partial[blockIdx.x] = v;
      __threadfence();
      last = atomicAdd(&finished, 1) == gridDim.x - 1;
    }
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    __threadfence();
    float sum = 0;
    for (int i = 0; i < gridDim.x; i++) sum += ((volatile float *)partial)[i];
    *out = sum;
    finished = 0;
  }
}

// Each block waits for the one before it: blocks must be in flight together, or start in order.
extern "C" __global__ void chained_scan(const int *in, int *out, volatile int *flags, volatile int *sums) {
  __shared__ int before;
  int v = in[blockIdx.x * 32 + threadIdx.x];
  int x = v;
  for (int o = 1; o < 32; o <<= 1) {
    int y = __shfl_up_sync(~0u, x, o);
    if (threadIdx.x >= o) x += y;
  }
  if (threadIdx.x == 31) {
    int base = 0;
    if (blockIdx.x > 0) {
      while (flags[blockIdx.x - 1] == 0) {}
      __threadfence();
      base = sums[blockIdx.x - 1];
    }
    sums[blockIdx.x] = base + x;
    __threadfence();
    flags[blockIdx.x] = 1;
    before = base;
  }
  __syncthreads();
  out[blockIdx.x * 32 + threadIdx.x] = before + x;
}

// Lanes of one warp contend for a lock: those that wait must not starve the one that holds it.
extern "C" __global__ void spin_lock(int *lock, int *count) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0, 1) == 0) {
      __threadfence();
      *(volatile int *)count = *(volatile int *)count + 1;
      __threadfence();
      atomicExch(lock, 0);
      done = true;
    }
  }
}

extern "C" __global__ void spin_lock_inner(int *lock, int *count) {
  while (atomicCAS(lock, 0, 1) != 0) {}
  __threadfence();
  *(volatile int *)count = *(volatile int *)count + 1;
  __threadfence();
  atomicExch(lock, 0);
}

extern "C" __global__ void filter(const int *in, int *out, int *count, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && in[i] > 0) {
    unsigned mask = __activemask();
    int lane = threadIdx.x % 32, leader = __ffs(mask) - 1, base;
    if (lane == leader) base = atomicAdd(count, __popc(mask));
    base = __shfl_sync(mask, base, leader);
    out[base + __popc(mask & ((1u << lane) - 1))] = in[i];
  }
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
extern "C" __global__ void recursive(int *out) { out[threadIdx.x] = fibonacci(threadIdx.x % 11); }

__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __noinline__ int square(int x) { return x * x; }
__device__ __noinline__ int negate(int x) { return -x; }
typedef int (*Function)(int);
__device__ Function table[3] = {twice, square, negate};
extern "C" __global__ void indirect(int *out) { out[threadIdx.x] = table[threadIdx.x % 3](threadIdx.x); }

struct Pair { double value; int index; };
__device__ __noinline__ Pair larger(Pair a, Pair b) { return a.value > b.value ? a : b; }
extern "C" __global__ void arg_max(const double *in, int *out) {
  Pair best{in[threadIdx.x], (int)threadIdx.x};
  for (int i = threadIdx.x + 32; i < 128; i += 32) best = larger(best, Pair{in[i], i});
  for (int o = 16; o; o >>= 1) {
    Pair other{__shfl_xor_sync(~0u, best.value, o), __shfl_xor_sync(~0u, best.index, o)};
    best = larger(best, other);
  }
  if (threadIdx.x == 0) *out = best.index;
}

extern "C" __global__ void choose(const int *in, int *out) {
  int x = in[threadIdx.x], y;
  switch (x) {
    case 0: y = 17; break;
    case 1: y = x * 31 + (int)threadIdx.x; break;
    case 2: y = __popc(threadIdx.x); break;
    case 3: y = __clz(threadIdx.x); break;
    case 4: y = threadIdx.x % 7; break;
    case 5: y = threadIdx.x / 3; break;
    case 6: y = ~threadIdx.x; break;
    case 7: y = -5; break;
    default: y = 99;
  }
  out[threadIdx.x] = y;
}

extern "C" __global__ void private_array(const int *index, int *out) {
  int a[16];
  for (int i = 0; i < 16; i++) a[i] = i * i + threadIdx.x;
  int sum = 0;
  for (int i = 0; i < 8; i++) { int k = index[threadIdx.x * 8 + i] & 15; sum += a[k]; a[k] = sum; }
  out[threadIdx.x] = sum;
}

extern "C" __global__ void pipeline(const float4 *in, float4 *out, int tiles) {
  __shared__ float4 stage[2][64];
  int t = threadIdx.x;
  __pipeline_memcpy_async(&stage[0][t], &in[t], 16);
  __pipeline_commit();
  for (int i = 0; i < tiles; i++) {
    if (i + 1 < tiles) __pipeline_memcpy_async(&stage[(i + 1) & 1][t], &in[(i + 1) * 64 + t], 16);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    out[i * 64 + t] = stage[i & 1][63 - t];
    __syncthreads();
  }
}

// Warps 0 and 1 produce, 2 and 3 consume, through named barriers.
extern "C" __global__ void produce_consume(int *out, int rounds) {
  __shared__ int buffer[64];
  int t = threadIdx.x;
  if (t < 64) {
    for (int i = 0; i < rounds; i++) {
      if (i > 0) asm volatile("bar.sync 2, 128;" ::: "memory");
      buffer[t] = i * 64 + t;
      asm volatile("bar.arrive 1, 128;" ::: "memory");
    }
  } else {
    for (int i = 0; i < rounds; i++) {
      asm volatile("bar.sync 1, 128;" ::: "memory");
      out[i * 64 + t - 64] = buffer[127 - t];
      if (i + 1 < rounds) asm volatile("bar.arrive 2, 128;" ::: "memory");
    }
  }
}

extern "C" __global__ void barrier_votes(const int *in, int *out) {
  int x = in[threadIdx.x];
  int count = __syncthreads_count(x > 0);
  int all = __syncthreads_and(x > 0), any = __syncthreads_or(x > 100);
  out[threadIdx.x] = count + 1000 * !!all + 10000 * !!any;
}

extern "C" __global__ void votes(const int *in, unsigned *out) {
  int x = in[threadIdx.x];
  unsigned b = __ballot_sync(~0u, x & 1), m = __match_any_sync(~0u, x % 4);
  unsigned r = __reduce_add_sync(~0u, (unsigned)x);
  unsigned q = 0;
  if (threadIdx.x % 32 < 16) q = __shfl_sync(0xffff, x, 3);
  else q = __shfl_sync(0xffff0000, x, 19);
  __syncwarp();
  out[threadIdx.x] = b ^ m * 3 ^ r * 5 ^ q * 7 ^ (__any_sync(~0u, x == 5) ? 1u << 31 : 0);
}

extern "C" __global__ void halves(const __half2 *a, const __nv_bfloat162 *b, __half2 *c, __nv_bfloat162 *d) {
  int t = threadIdx.x;
  c[t] = __hfma2(a[t], a[t], __hadd2(a[t], __float2half2_rn(0.5f)));
  d[t] = __hmul2(__hadd2(b[t], b[t]), __hmax2(b[t], __float2bfloat162_rn(1.0f)));
}

extern "C" __global__ void wide(const long long *a, const long long *b, long long *c) {
  int t = threadIdx.x;
  c[t] = a[t] / b[t] + a[t] % b[t] * 3 + __mul64hi(a[t], b[t]) + (long long)((double)a[t] * 0.37);
}

extern "C" __global__ void asserting(const int *in) { assert(in[threadIdx.x] >= 0); printf("%d\n", in[threadIdx.x]); }

extern "C" __global__ void uninitialised_branch(const int *in, int *out) {
  __shared__ int s[64];
  if (threadIdx.x < 32) s[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  if (s[threadIdx.x] > 3) out[threadIdx.x] = 1;
}

extern "C" __global__ void missing_barrier(int *out) {
  __shared__ int s[64];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[63 - threadIdx.x];
}

extern "C" __global__ void lonely_barrier(int *out) {
  if (threadIdx.x < 32) __syncthreads();
  else asm volatile("bar.sync 1, 64;");
  out[threadIdx.x] = 1;
}

extern "C" __global__ void divergent_barrier(int *out) {
  if (threadIdx.x & 1) { asm volatile("bar.sync 0;"); out[threadIdx.x] = 1; }
  else { asm volatile("bar.sync 0;"); out[threadIdx.x] = 2; }
}
