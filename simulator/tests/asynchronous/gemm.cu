// c = a b^T: a [rows, depth] and b [columns, depth] in bf16, c [rows, columns] in f32.
//
// A cluster of two blocks side by side in `rows` shares the tile of b: each loads half of it to both. A
// block has a tile of 128 x 64: a warp loads, two warpgroups multiply, and copy their halves out.
#include "hopper.cuh"

constexpr int STAGES = 3, K = 64, ROWS = 128, COLUMNS = 64;
constexpr int A_BYTES = ROWS * K * 2, B_BYTES = COLUMNS * K * 2, STAGE_BYTES = A_BYTES + B_BYTES;

// K-major rows of 128 bytes in the 128-byte swizzle.
__device__ uint64_t descriptor(uint32_t start) {
    return uint64_t(start >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

#define FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

__device__ void multiply(float (&d)[32], uint64_t a, uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, 1, 1, 1, 0, 0;"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "l"(a), "l"(b));
}

extern "C" __global__ void __cluster_dims__(1, 2, 1) __launch_bounds__(384, 1)
gemm(const __grid_constant__ Map a, const __grid_constant__ Map b, const __grid_constant__ Map c, int depth,
     int fault) {
    extern __shared__ __align__(1024) unsigned char memory[];
    __shared__ unsigned long long full[STAGES], empty[STAGES];
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
    const uint32_t base = shared_address(memory), rank = cluster_rank();
    const int steps = depth / K, row0 = blockIdx.y * ROWS, column0 = blockIdx.x * COLUMNS;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(shared_address(&full[stage]), 1);
            // Two warpgroups of each of two blocks.
            barrier_init(shared_address(&empty[stage]), 4);
        }
        barrier_init_fence();
    }
    cluster_sync();
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0) {
            for (int step = 0; step < steps; step++) {
                int stage = step % STAGES, round = step / STAGES;
                uint32_t filled = shared_address(&full[stage]), to = base + stage * STAGE_BYTES;
                barrier_wait(shared_address(&empty[stage]), (round & 1) ^ 1);
                barrier_expect(filled, STAGE_BYTES);
                load_2d(to, &a, step * K, row0, filled);
                load_2d_to(to + A_BYTES + rank * (B_BYTES / 2), &b, step * K,
                           column0 + rank * (COLUMNS / 2), filled, 3);
            }
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        float d[32] = {};
        for (int step = 0; step < steps; step++) {
            int stage = step % STAGES, round = step / STAGES;
            barrier_wait(shared_address(&full[stage]), round & 1);
            uint32_t left = base + stage * STAGE_BYTES + (group - 1) * (A_BYTES / 2);
            uint32_t right = base + stage * STAGE_BYTES + A_BYTES;
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
            for (int k = 0; k < K / 16; k++)
                multiply(d, descriptor(left + 32 * k), descriptor(right + 32 * k));
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            if (fault != 1)
                asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
            // To both blocks, whose loads fill this stage.
            if (threadIdx.x % 128 < 2)
                barrier_arrive_at(shared_address(&empty[stage]), threadIdx.x % 128);
            if (fault == 1)
                asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        }
        // Two boxes of 32 columns behind the stages.
        uint32_t out = base + STAGES * STAGE_BYTES + (group - 1) * 16384;
        for (int i = 0; i < 32; i++) {
            int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            uint32_t to = out + column / 32 * 8192 + row * 128 + column % 32 * 4;
            asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(d[i]) : "memory");
        }
        if (fault != 2)
            proxy_fence();
        asm volatile("bar.sync %0, 128;" ::"r"(group) : "memory");
        if (threadIdx.x % 128 == 0) {
            for (int half = 0; half < 2; half++)
                store_2d(&c, column0 + 32 * half, row0 + (group - 1) * 64, out + half * 8192);
            bulk_commit();
            bulk_wait_read<0>();
        }
    }
    // No block leaves while the other may arrive at its mbarriers, or copy to it.
    cluster_sync();
}
