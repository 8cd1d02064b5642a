// c = a b^T by mma.sync: a [rows, depth] and b [columns, depth] in bf16, c [rows, columns] in f32.
//
// A block of 128 threads has a tile of 64 x 64; rows and columns are multiples of 64, depth of 32. Two
// stages by cp.async; chunks of 16 bytes are swizzled, so that ldmatrix meets no bank twice.
#include <cstdint>

namespace {

constexpr int kTile = 64, kDepth = 32;

__device__ uint32_t chunk(uint32_t base, int row, int column) {
    return base + row * (kDepth * 2) + ((column ^ (row >> 1 & 3)) << 4);
}

__device__ void copy(uint32_t to, const uint16_t *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ void load(uint32_t (&d)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(at)
                 : "memory");
}

__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128)
gemm(const uint16_t *a, const uint16_t *b, float *c, int columns, int depth) {
    __shared__ __align__(128) uint16_t tiles[2][2][kTile * kDepth];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
    auto base = [&](int stage, int which) {
        return uint32_t(__cvta_generic_to_shared(tiles[stage][which]));
    };
    auto fetch = [&](int stage, int k) {
        for (int i = threadIdx.x; i < kTile * 4; i += 128) {
            int row = i / 4, part = i % 4;
            copy(chunk(base(stage, 0), row, part), a + size_t(row0 + row) * depth + k + part * 8);
            copy(chunk(base(stage, 1), row, part), b + size_t(column0 + row) * depth + k + part * 8);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    float d[8][4] = {};
    fetch(0, 0);
    for (int k = 0; k < depth; k += kDepth) {
        const int stage = k / kDepth % 2;
        if (k + kDepth < depth) {
            fetch(stage ^ 1, k + kDepth);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        for (int step = 0; step < kDepth / 16; step++) {
            uint32_t left[4];
            load(left, chunk(base(stage, 0), warp * 16 + lane % 16, 2 * step + lane / 16));
            for (int pair = 0; pair < 4; pair++) {
                uint32_t right[4];
                int row = pair * 16 + lane % 8 + lane / 16 * 8;
                load(right, chunk(base(stage, 1), row, 2 * step + lane / 8 % 2));
                multiply(d[2 * pair], left, right[0], right[1]);
                multiply(d[2 * pair + 1], left, right[2], right[3]);
            }
        }
#ifndef MISSING_BARRIER
        __syncthreads();
#endif
    }
    for (int block = 0; block < 8; block++)
        for (int i = 0; i < 4; i++) {
            int row = row0 + warp * 16 + lane / 4 + i / 2 * 8;
            c[size_t(row) * columns + column0 + block * 8 + lane % 4 * 2 + i % 2] = d[block][i];
        }
}
