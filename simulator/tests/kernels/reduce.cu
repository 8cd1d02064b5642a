// Sums, as they are written in many code bases.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

namespace cg = cooperative_groups;

// Tree in shared memory, sequential addressing.
extern "C" __global__ void tree_sum(const int *in, int *out, int n) {
    __shared__ int partial[256];
    unsigned int tid = threadIdx.x;
    unsigned int i = blockIdx.x * blockDim.x + tid;
    partial[tid] = i < n ? in[i] : 0;
    __syncthreads();
    for (unsigned int stride = blockDim.x / 2; stride > 0; stride >>= 1) {
        if (tid < stride) {
            partial[tid] += partial[tid + stride];
        }
        __syncthreads();
    }
    if (tid == 0) {
        out[blockIdx.x] = partial[0];
    }
}

__inline__ __device__ float warp_sum(float value) {
    for (int offset = warpSize / 2; offset > 0; offset /= 2) {
        value += __shfl_down_sync(0xffffffff, value, offset);
    }
    return value;
}

// Shuffles within warps, shared memory between them, one atomic per block.
extern "C" __global__ void shuffle_sum(const float *in, float *out, int n) {
    static __shared__ float shared[32];
    int lane = threadIdx.x % warpSize;
    int wid = threadIdx.x / warpSize;
    float sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        sum += in[i];
    }
    sum = warp_sum(sum);
    if (lane == 0) {
        shared[wid] = sum;
    }
    __syncthreads();
    sum = (threadIdx.x < blockDim.x / warpSize) ? shared[lane] : 0;
    if (wid == 0) {
        sum = warp_sum(sum);
    }
    if (threadIdx.x == 0) {
        atomicAdd(out, sum);
    }
}

__device__ unsigned int blocks_done = 0;

// The block that finishes last adds up what the others left behind.
extern "C" __global__ void last_block_sum(const float *in, unsigned int n, volatile float *result) {
    __shared__ bool is_last;
    __shared__ float partial[128];
    unsigned int tid = threadIdx.x;
    float sum = 0;
    for (unsigned int i = blockIdx.x * blockDim.x + tid; i < n; i += blockDim.x * gridDim.x) {
        sum += in[i];
    }
    partial[tid] = sum;
    __syncthreads();
    for (int s = 64; s > 0; s >>= 1) {
        if (tid < s) partial[tid] += partial[tid + s];
        __syncthreads();
    }
    if (tid == 0) {
        result[blockIdx.x] = partial[0];
        __threadfence();
        unsigned int ticket = atomicInc(&blocks_done, gridDim.x);
        is_last = (ticket == gridDim.x - 1);
    }
    __syncthreads();
    if (is_last) {
        if (tid == 0) {
            float total = 0;
            for (int b = 0; b < gridDim.x; ++b) total += result[b];
            result[0] = total;
            blocks_done = 0;
        }
    }
}

// Cooperative groups: a tile of 32 reduces, its first thread adds.
extern "C" __global__ void group_sum(const int *in, int *out, int *greatest, int n) {
    cg::thread_block block = cg::this_thread_block();
    cg::thread_block_tile<32> tile = cg::tiled_partition<32>(block);
    int sum = 0, most = INT_MIN;
    for (int i = blockIdx.x * blockDim.x + block.thread_rank(); i < n; i += gridDim.x * blockDim.x) {
        sum += in[i];
        most = max(most, in[i]);
    }
    sum = cg::reduce(tile, sum, cg::plus<int>());
    most = cg::reduce(tile, most, cg::greater<int>());
    if (tile.thread_rank() == 0) {
        atomicAdd(out, sum);
        atomicMax(greatest, most);
    }
}

// Double precision with atomics.
extern "C" __global__ void double_dot(const double *a, const double *b, double *out, int n) {
    __shared__ double cache[128];
    double temp = 0;
    for (int tid = threadIdx.x + blockIdx.x * blockDim.x; tid < n; tid += blockDim.x * gridDim.x) {
        temp += a[tid] * b[tid];
    }
    cache[threadIdx.x] = temp;
    __syncthreads();
    for (int i = blockDim.x / 2; i != 0; i /= 2) {
        if (threadIdx.x < i) cache[threadIdx.x] += cache[threadIdx.x + i];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(out, cache[0]);
}
