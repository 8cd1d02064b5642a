// Prefix sums.
#include <cub/block/block_scan.cuh>

#define NUM_BANKS 32
#define LOG_NUM_BANKS 5
#define CONFLICT_FREE_OFFSET(n) ((n) >> LOG_NUM_BANKS)

// Blelloch's up-sweep and down-sweep, with an element of padding per 32.
extern "C" __global__ void blelloch_scan(int *g_odata, const int *g_idata, int n) {
    extern __shared__ int temp[];
    int thid = threadIdx.x;
    int offset = 1;
    int ai = thid;
    int bi = thid + (n / 2);
    int bank_a = CONFLICT_FREE_OFFSET(ai);
    int bank_b = CONFLICT_FREE_OFFSET(bi);
    temp[ai + bank_a] = g_idata[ai];
    temp[bi + bank_b] = g_idata[bi];
    for (int d = n >> 1; d > 0; d >>= 1) {
        __syncthreads();
        if (thid < d) {
            int ai = offset * (2 * thid + 1) - 1;
            int bi = offset * (2 * thid + 2) - 1;
            ai += CONFLICT_FREE_OFFSET(ai);
            bi += CONFLICT_FREE_OFFSET(bi);
            temp[bi] += temp[ai];
        }
        offset *= 2;
    }
    if (thid == 0) temp[n - 1 + CONFLICT_FREE_OFFSET(n - 1)] = 0;
    for (int d = 1; d < n; d *= 2) {
        offset >>= 1;
        __syncthreads();
        if (thid < d) {
            int ai = offset * (2 * thid + 1) - 1;
            int bi = offset * (2 * thid + 2) - 1;
            ai += CONFLICT_FREE_OFFSET(ai);
            bi += CONFLICT_FREE_OFFSET(bi);
            int t = temp[ai];
            temp[ai] = temp[bi];
            temp[bi] += t;
        }
    }
    __syncthreads();
    g_odata[ai] = temp[ai + bank_a];
    g_odata[bi] = temp[bi + bank_b];
}

// One pass over all blocks: each publishes its sum, then looks back at its predecessors.
// status: 0 nothing, 1 sum of the block, 2 sum of everything up to it, in the upper half.
extern "C" __global__ void lookback_scan(const unsigned int *in, unsigned int *out,
                                         unsigned long long *status, unsigned int *ticket) {
    __shared__ unsigned int tile, before, warp_sums[4];
    if (threadIdx.x == 0) tile = atomicAdd(ticket, 1);
    __syncthreads();
    unsigned int mine = tile;
    unsigned int index = mine * blockDim.x + threadIdx.x;
    unsigned int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    unsigned int value = in[index], sum = value;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
        unsigned int other = __shfl_up_sync(~0u, sum, d);
        if (lane >= d) sum += other;
    }
    if (lane == 31) warp_sums[warp] = sum;
    __syncthreads();
    unsigned int total = 0;
    for (int w = 0; w < 4; ++w) {
        if (w < warp) sum += warp_sums[w];
        total += warp_sums[w];
    }
    if (threadIdx.x == 0) {
        unsigned long long flag = mine == 0 ? 2ull : 1ull;
        atomicExch(&status[mine], (flag << 32) | total);
        unsigned int prefix = 0;
        for (int look = (int)mine - 1; look >= 0;) {
            unsigned long long seen = atomicAdd(&status[look], 0ull);
            if ((seen >> 32) == 0) continue;
            prefix += (unsigned int)seen;
            if ((seen >> 32) == 2) break;
            --look;
        }
        if (mine > 0) atomicExch(&status[mine], (2ull << 32) | (prefix + total));
        before = prefix;
    }
    __syncthreads();
    out[index] = before + sum - value;
}

// CUB over 128 threads with four values each, in both of its algorithms.
template <cub::BlockScanAlgorithm ALGORITHM>
__device__ void cub_scan(int *data) {
    using Scan = cub::BlockScan<int, 128, ALGORITHM>;
    __shared__ typename Scan::TempStorage storage;
    int items[4];
    int start = (blockIdx.x * 128 + threadIdx.x) * 4;
    for (int i = 0; i < 4; ++i) items[i] = data[start + i];
    Scan(storage).ExclusiveSum(items, items);
    for (int i = 0; i < 4; ++i) data[start + i] = items[i];
}
extern "C" __global__ void cub_warp_scan(int *data) { cub_scan<cub::BLOCK_SCAN_WARP_SCANS>(data); }
extern "C" __global__ void cub_raking_scan(int *data) { cub_scan<cub::BLOCK_SCAN_RAKING>(data); }
