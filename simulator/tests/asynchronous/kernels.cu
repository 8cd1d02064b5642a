// Copies by tensor maps, rings of mbarriers, copies out. `fault` plants one.
#include "hopper.cuh"

// A box of 5 dimensions at most goes to shared memory at `at`, and from there to `out` as it lies.
template <int RANK>
__device__ void load(const Map *map, const int *where, unsigned at, unsigned bytes, unsigned char *out) {
    extern __shared__ __align__(1024) unsigned char memory[];
    __shared__ unsigned long long full;
    unsigned barrier = shared_address(&full), to = shared_address(memory + at);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        proxy_fence();
        barrier_expect(barrier, bytes);
        if constexpr (RANK == 1)
            asm volatile("cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes "
                         "[%0], [%1, {%3}], [%2];" ::"r"(to), "l"(map), "r"(barrier), "r"(where[0])
                         : "memory");
        if constexpr (RANK == 2)
            load_2d(to, map, where[0], where[1], barrier);
        if constexpr (RANK == 3)
            asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                         "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to), "l"(map), "r"(barrier),
                         "r"(where[0]), "r"(where[1]), "r"(where[2])
                         : "memory");
        if constexpr (RANK == 4)
            asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                         "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to), "l"(map), "r"(barrier),
                         "r"(where[0]), "r"(where[1]), "r"(where[2]), "r"(where[3])
                         : "memory");
        if constexpr (RANK == 5)
            asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
                         "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to), "l"(map), "r"(barrier),
                         "r"(where[0]), "r"(where[1]), "r"(where[2]), "r"(where[3]), "r"(where[4])
                         : "memory");
    }
    __syncthreads();
    barrier_wait(barrier, 0);
    for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x)
        out[i] = memory[at + i];
}

#define LOAD(RANK)                                                                                       \
    extern "C" __global__ void load_##RANK##d(const __grid_constant__ Map map, const int *where,        \
                                              unsigned at, unsigned bytes, unsigned char *out) {        \
        load<RANK>(&map, where, at, bytes, out);                                                        \
    }
LOAD(1)
LOAD(2)
LOAD(3)
LOAD(4)
LOAD(5)

// The map lies in global memory.
extern "C" __global__ void load_by_pointer(const Map *map, const int *where, unsigned at, unsigned bytes,
                                           unsigned char *out) {
    load<2>(map, where, at, bytes, out);
}

enum Fault {
    NONE,
    NO_WAIT,
    WRONG_PARITY,
    HALF_EXPECTED,
    TOO_MANY_ARRIVALS,
    NO_EMPTY_WAIT,
    SWAPPED,
    NO_PROXY_FENCE,
    NO_READ_WAIT,
    NO_COMMIT,
    NO_INIT,
    NO_BARRIER_AFTER_INIT,
    PLAIN_LOAD_OF_BARRIER,
    FULL_EXPECTED_TWICE,
    ONE_PROXY_FENCE,
    ONE_BUFFER,
};

constexpr int STAGES = 3, CONSUMERS = 2, TILE_X = 32, TILE_Y = 16;

// Row tiles of a matrix of f32, 32 x 16, go through a ring; two consumer warps add them up. Shared memory
// has room for the stages.
extern "C" __global__ void ring(const __grid_constant__ Map map, int tiles, int fault, float *out) {
    extern __shared__ __align__(1024) float stage[];
    __shared__ unsigned long long full[STAGES], empty[STAGES];
    const unsigned bytes = TILE_X * TILE_Y * 4;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0 && fault != NO_INIT) {
        for (int s = 0; s < STAGES; s++) {
            barrier_init(shared_address(&full[s]), 1);
            barrier_init(shared_address(&empty[s]), CONSUMERS);
        }
        barrier_init_fence();
    }
    if (fault != NO_BARRIER_AFTER_INIT)
        __syncthreads();
    if (warp == 0) {
        if (lane == 0) {
            for (int tile = 0; tile < tiles; tile++) {
                int s = tile % STAGES, round = tile / STAGES;
                if (fault != NO_EMPTY_WAIT)
                    barrier_wait(shared_address(&empty[s]), (round & 1) ^ 1);
                unsigned expected = fault == HALF_EXPECTED        ? bytes / 2
                                    : fault == FULL_EXPECTED_TWICE ? 2 * bytes
                                                                   : bytes;
                barrier_expect(shared_address(&full[s]), expected);
                int x = 0, y = tile * TILE_Y;
                load_2d(shared_address(stage + s * TILE_X * TILE_Y), &map, fault == SWAPPED ? y : x,
                        fault == SWAPPED ? x : y, shared_address(&full[s]));
            }
        }
    } else if (warp <= CONSUMERS) {
        float sum = 0;
        for (int tile = 0; tile < tiles; tile++) {
            int s = tile % STAGES, round = tile / STAGES;
            if (fault != NO_WAIT)
                barrier_wait(shared_address(&full[s]), (round & 1) ^ (fault == WRONG_PARITY));
            for (int row = warp - 1; row < TILE_Y; row += CONSUMERS)
                sum += stage[s * TILE_X * TILE_Y + row * TILE_X + lane];
            __syncwarp();
            if (lane == 0 || fault == TOO_MANY_ARRIVALS)
                barrier_arrive(shared_address(&empty[s]));
        }
        if (fault == PLAIN_LOAD_OF_BARRIER && *(volatile unsigned *)&full[0] == 17)
            sum += 1;
        out[(warp - 1) * 32 + lane] = sum;
    }
}

// Every warp fills tiles of 32 x 8 of f32 in its own two buffers and copies them out.
extern "C" __global__ void store(const __grid_constant__ Map map, int tiles, int fault) {
    extern __shared__ __align__(1024) float buffers[];
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int tile = warp, turn = 0; tile < tiles; tile += warps, turn ^= 1) {
        float *buffer = buffers + (2 * warp + (fault == ONE_BUFFER ? 0 : turn)) * 256;
        if (lane == 0 && fault != NO_READ_WAIT)
            bulk_wait_read<1>();
        __syncwarp();
        for (int row = 0; row < 8; row++)
            buffer[row * 32 + lane] = tile * 256 + row * 32 + lane;
        if (fault != NO_PROXY_FENCE && (fault != ONE_PROXY_FENCE || lane == 0))
            proxy_fence();
        __syncwarp();
        if (lane == 0) {
            store_2d(&map, 0, tile * 8, shared_address(buffer));
            if (fault != NO_COMMIT)
                bulk_commit();
        }
    }
    if (lane == 0)
        bulk_wait<0>();
}

// Without tensors: in, doubled, out. `bytes` of each block.
extern "C" __global__ void bulk(const float *in, float *out, unsigned bytes, int fault) {
    extern __shared__ __align__(128) float data[];
    __shared__ unsigned long long full;
    unsigned barrier = shared_address(&full), count = bytes / 4;
    in += blockIdx.x * count;
    out += blockIdx.x * count;
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        barrier_expect(barrier, bytes);
        bulk_load(shared_address(data), in, bytes, barrier);
    }
    __syncthreads();
    barrier_wait(barrier, 0);
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x)
        data[i] *= 2;
    if (fault != NO_PROXY_FENCE)
        proxy_fence();
    __syncthreads();
    if (threadIdx.x == 0) {
        bulk_store(out, shared_address(data), bytes);
        bulk_commit();
        if (fault != NO_READ_WAIT)
            bulk_wait_read<0>();
    }
}

// Copies of single threads that arrive at an mbarrier.
extern "C" __global__ void arrivals_of_copies(const float4 *in, float4 *out, int fault) {
    extern __shared__ __align__(128) float4 staged[];
    __shared__ unsigned long long first, second;
    unsigned counted = shared_address(&first), tracked = shared_address(&second);
    if (threadIdx.x == 0) {
        barrier_init(counted, blockDim.x);
        barrier_init(tracked, blockDim.x);
    }
    __syncthreads();
    unsigned i = threadIdx.x, n = blockDim.x;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(staged + i)), "l"(in + i)
                 : "memory");
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(counted) : "memory");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(staged + n + i)),
                 "l"(in + n + i)
                 : "memory");
    asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(tracked) : "memory");
    barrier_arrive(tracked);
    if (fault != NO_WAIT)
        barrier_wait(counted, 0);
    out[i] = staged[n - 1 - i];
    barrier_wait(tracked, 0);
    out[n + i] = staged[2 * n - 1 - i];
}

// A warp waits in a loop for what another does when its copy is there.
extern "C" __global__ void spin(const float *in, float *out) {
    __shared__ __align__(128) float data[64];
    __shared__ unsigned long long full;
    __shared__ unsigned flag;
    unsigned barrier = shared_address(&full);
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        flag = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_expect(barrier, 256);
        bulk_load(shared_address(data), in, 256, barrier);
        barrier_wait(barrier, 0);
        asm volatile("st.release.cta.shared.u32 [%0], 1;" ::"r"(shared_address(&flag)) : "memory");
    } else if (threadIdx.x >= 32) {
        unsigned seen;
        do
            asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(seen) : "r"(shared_address(&flag)) : "memory");
        while (seen == 0);
        out[threadIdx.x - 32] = data[threadIdx.x - 32];
    }
}
