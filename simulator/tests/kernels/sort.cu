// Sorting and counting within a block.
#include <cub/block/block_radix_sort.cuh>

extern "C" __global__ void bitonic_sort(int *data) {
    __shared__ int values[512];
    int tid = threadIdx.x;
    values[tid] = data[tid];
    values[tid + 256] = data[tid + 256];
    for (int size = 2; size <= 512; size <<= 1) {
        for (int stride = size / 2; stride > 0; stride >>= 1) {
            __syncthreads();
            int pos = 2 * tid - (tid & (stride - 1));
            bool ascending = (pos & size) == 0;
            int a = values[pos], b = values[pos + stride];
            if ((a > b) == ascending) {
                values[pos] = b;
                values[pos + stride] = a;
            }
        }
    }
    __syncthreads();
    data[tid] = values[tid];
    data[tid + 256] = values[tid + 256];
}

extern "C" __global__ void __launch_bounds__(128) cub_sort(unsigned int *keys, int *values) {
    using Sort = cub::BlockRadixSort<unsigned int, 128, 4, int>;
    __shared__ typename Sort::TempStorage storage;
    unsigned int key[4];
    int value[4];
    for (int i = 0; i < 4; ++i) {
        key[i] = keys[threadIdx.x * 4 + i];
        value[i] = values[threadIdx.x * 4 + i];
    }
    Sort(storage).Sort(key, value);
    for (int i = 0; i < 4; ++i) {
        keys[threadIdx.x * 4 + i] = key[i];
        values[threadIdx.x * 4 + i] = value[i];
    }
}

extern "C" __global__ void histogram(const unsigned char *data, unsigned int *bins, int n) {
    __shared__ unsigned int local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        atomicAdd(&local[data[i]], 1);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) {
        if (local[i]) atomicAdd(&bins[i], local[i]);
    }
}

// Lanes with the same key elect one to add for all.
extern "C" __global__ void match_histogram(const int *keys, int *bins, int *rank, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned active = __ballot_sync(0xffffffff, i < n);
    if (i >= n) return;
    int key = keys[i];
    unsigned peers = __match_any_sync(active, key);
    int leader = __ffs(peers) - 1;
    int lane = threadIdx.x & 31;
    int base = 0;
    if (lane == leader) base = atomicAdd(&bins[key], __popc(peers));
    base = __shfl_sync(peers, base, leader);
    rank[i] = base + __popc(peers & ((1u << lane) - 1));
}
