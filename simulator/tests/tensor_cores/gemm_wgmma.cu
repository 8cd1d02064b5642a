// c = a b^T by wgmma: a [rows, depth] and b [columns, depth] in bf16, c [rows, columns] in f32; with
// TRANSPOSED, b is [depth, columns].
//
// A block is one warpgroup and has a tile of 64 x 64; all extents are multiples of 64. Two stages by
// cp.async, in the 128-byte swizzle: K-major tiles are rows of 64 along K, MN-major ones rows of 64 along
// N, as a tensor copy would leave them.
#include <cstdint>

namespace {

constexpr int kTile = 64, kBytes = kTile * kTile * 2;

// The descriptor of a K-major tile (LBO not used), or of an MN-major one (of one atom along N).
__device__ uint64_t descriptor(uint32_t start) {
    return uint64_t(start >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

__device__ void copy(uint32_t tile, int row, int part, const uint16_t *from) {
    uint32_t to = tile + row * 128 + ((part ^ (row & 7)) << 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

#ifdef LATE_WAIT
#define LEFT "1"
#else
#define LEFT "0"
#endif

#ifdef TRANSPOSED
#define B_TRANSPOSED "1"
constexpr int kStep = 16 * 128;
#else
#define B_TRANSPOSED "0"
constexpr int kStep = 32;
#endif

#define FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

__device__ void multiply(float (&d)[32], uint64_t a, uint64_t b, int adds) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, p, 1, 1, 0, " B_TRANSPOSED ";\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "l"(a), "l"(b), "r"(adds));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128)
gemm(const uint16_t *a, const uint16_t *b, float *c, int columns, int depth) {
    extern __shared__ __align__(1024) uint8_t tiles[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
    const uint32_t base = uint32_t(__cvta_generic_to_shared(tiles));
    auto fetch = [&](int stage, int k) {
        const uint32_t left = base + stage * 2 * kBytes, right = left + kBytes;
        for (int i = threadIdx.x; i < kTile * 8; i += 128) {
            int row = i / 8, part = i % 8;
            copy(left, row, part, a + size_t(row0 + row) * depth + k + part * 8);
#ifdef TRANSPOSED
            copy(right, row, part, b + size_t(k + row) * columns + column0 + part * 8);
#else
            copy(right, row, part, b + size_t(column0 + row) * depth + k + part * 8);
#endif
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    float d[32] = {};
    fetch(0, 0);
    for (int k = 0; k < depth; k += kTile) {
        const int stage = k / kTile % 2;
        if (k + kTile < depth) {
            fetch(stage ^ 1, k + kTile);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        asm volatile("fence.proxy.async;" ::: "memory");
#ifndef MISSING_BARRIER
        __syncthreads();
#endif
        const uint32_t left = base + stage * 2 * kBytes, right = left + kBytes;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        for (int step = 0; step < 4; step++)
            multiply(d, descriptor(left + 32 * step), descriptor(right + kStep * step), k + step > 0);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        // Whoever has waited knows that the whole warpgroup's operation is done: no barrier is needed.
        asm volatile("wgmma.wait_group.sync.aligned " LEFT ";" ::: "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    for (int i = 0; i < 32; i++) {
        int row = row0 + warp * 16 + lane / 4 + i / 2 % 2 * 8;
        c[size_t(row) * columns + column0 + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
    }
}
