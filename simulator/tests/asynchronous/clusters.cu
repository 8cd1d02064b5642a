// Blocks of a cluster: copies to several, arrivals from afar, each other's shared memory.
#include "hopper.cuh"

enum Fault { NONE, NO_CLUSTER_BARRIER, NO_WAIT, NO_LAST_BARRIER, WRONG_MASK, NO_REMOTE_ARRIVAL };

// Each block loads its part of a tile, 32 x 8 of f32, to all blocks of the cluster, in rounds. A block's
// part is filled again when all blocks have said that they read it.
extern "C" __global__ void multicast(const __grid_constant__ Map map, int rounds, int fault, float *out) {
    extern __shared__ __align__(1024) float parts[];
    __shared__ unsigned long long full, empty;
    unsigned rank = cluster_rank(), blocks = cluster_dim(), cluster = blockIdx.x / blocks;
    const unsigned bytes = 32 * 8 * 4;
    unsigned filled = shared_address(&full), read = shared_address(&empty);
    if (threadIdx.x == 0) {
        barrier_init(filled, 1);
        barrier_init(read, blocks);
        barrier_init_fence();
    }
    if (fault != NO_CLUSTER_BARRIER)
        cluster_sync();
    float sum = 0;
    for (int round = 0; round < rounds; round++) {
        if (threadIdx.x == 0) {
            barrier_wait(read, (round & 1) ^ 1);
            barrier_expect(filled, bytes * blocks);
            int row = ((cluster * rounds + round) * blocks + rank) * 8;
            load_2d_to(shared_address(parts + rank * 256), &map, 0, row, filled,
                       fault == WRONG_MASK ? 1 << blocks : (1 << blocks) - 1);
        }
        if (fault != NO_WAIT)
            barrier_wait(filled, round & 1);
        for (unsigned i = threadIdx.x; i < 256 * blocks; i += blockDim.x)
            sum += parts[i];
        __syncthreads();
        if (threadIdx.x < blocks && !(fault == NO_REMOTE_ARRIVAL && threadIdx.x != rank))
            barrier_arrive_at(read, threadIdx.x);
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
    if (fault != NO_LAST_BARRIER)
        cluster_sync();
}

// Every thread writes to the next block's shared memory; what came from the block before goes out.
extern "C" __global__ void exchange(int fault, unsigned *out) {
    __shared__ unsigned words[64];
    __shared__ unsigned count;
    unsigned rank = cluster_rank(), blocks = cluster_dim();
    unsigned next = mapped(shared_address(words + threadIdx.x), (rank + 1) % blocks);
    if (threadIdx.x == 0)
        count = 0;
    if (fault != NO_CLUSTER_BARRIER)
        cluster_sync();
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(next), "r"(blockIdx.x * 64 + threadIdx.x)
                 : "memory");
    // All threads but those that may have written it count at the first block, by its generic address.
    unsigned long long first;
    asm volatile("mapa.u64 %0, %1, 0;" : "=l"(first) : "l"(&count));
    if (threadIdx.x != 0)
        atomicAdd((unsigned *)first, 1);
    if (fault != NO_WAIT)
        cluster_sync();
    unsigned total;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(total) : "r"(mapped(shared_address(&count), 0))
                 : "memory");
    out[blockIdx.x * 64 + threadIdx.x] = words[threadIdx.x] + (total << 16);
    if (fault != NO_LAST_BARRIER)
        cluster_sync();
}

// What the special registers tell, and the kinds of addresses.
extern "C" __global__ void places(unsigned *out) {
    __shared__ unsigned word;
    unsigned at = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned *to = out + 20 * at;
    unsigned value[20];
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(value[0]));
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(value[1]));
    asm volatile("mov.u32 %0, %%cluster_ctaid.x;" : "=r"(value[2]));
    asm volatile("mov.u32 %0, %%cluster_ctaid.y;" : "=r"(value[3]));
    asm volatile("mov.u32 %0, %%cluster_ctaid.z;" : "=r"(value[4]));
    asm volatile("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(value[5]));
    asm volatile("mov.u32 %0, %%cluster_nctaid.y;" : "=r"(value[6]));
    asm volatile("mov.u32 %0, %%cluster_nctaid.z;" : "=r"(value[7]));
    asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(value[8]));
    asm volatile("mov.u32 %0, %%clusterid.y;" : "=r"(value[9]));
    asm volatile("mov.u32 %0, %%clusterid.z;" : "=r"(value[10]));
    asm volatile("mov.u32 %0, %%nclusterid.x;" : "=r"(value[11]));
    asm volatile("mov.u32 %0, %%nclusterid.y;" : "=r"(value[12]));
    asm volatile("mov.u32 %0, %%nclusterid.z;" : "=r"(value[13]));
    asm volatile("{.reg .pred p; mov.pred p, %%is_explicit_cluster; selp.u32 %0, 1, 0, p;}" : "=r"(value[14]));
    unsigned last = value[1] - 1;
    unsigned long long peer;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(peer) : "l"(&word), "r"(last));
    asm volatile("getctarank.u64 %0, %1;" : "=r"(value[15]) : "l"(peer));
    asm volatile("getctarank.shared::cluster.u32 %0, %1;" : "=r"(value[16]) : "r"(shared_address(&word)));
    asm volatile("{.reg .pred p; isspacep.shared::cta p, %1; selp.u32 %0, 1, 0, p;}" : "=r"(value[17]) : "l"(peer));
    asm volatile("{.reg .pred p; isspacep.shared::cluster p, %1; selp.u32 %0, 1, 0, p;}"
                 : "=r"(value[18]) : "l"(peer));
    asm volatile("{.reg .pred p; isspacep.global p, %1; selp.u32 %0, 1, 0, p;}" : "=r"(value[19]) : "l"(peer));
    for (int i = 0; i < 20; i++)
        to[i] = value[i];
}

// The first block hands its words to the second, by a copy that completes an mbarrier there.
extern "C" __global__ void __cluster_dims__(2, 1, 1) hand_over(int fault, unsigned *out) {
    __shared__ __align__(128) unsigned mine[64], theirs[64];
    __shared__ unsigned long long full;
    unsigned barrier = shared_address(&full);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        barrier_init_fence();
    }
    mine[threadIdx.x] = blockIdx.x * 1000 + threadIdx.x;
    if (fault != NO_WAIT)
        proxy_fence();
    cluster_sync();
    if (cluster_rank() == 0 && threadIdx.x == 0)
        asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
                     "[%0], [%1], 256, [%2];" ::"r"(mapped(shared_address(theirs), 1)),
                     "r"(shared_address(mine)), "r"(mapped(barrier, 1))
                     : "memory");
    if (cluster_rank() == 1) {
        if (threadIdx.x == 0)
            barrier_expect(barrier, 256);
        barrier_wait(barrier, 0);
        out[threadIdx.x] = theirs[threadIdx.x];
    }
    if (fault != NO_LAST_BARRIER)
        cluster_sync();
}
