// Products of matrices by warps, from sm_80 on, and what feeds them. NVIDIA's "PTX ISA", version 9.0.

#pragma once

#include "common.cuh"

__device__ inline uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 9.7.9.11 st: two floats to shared memory, as one access.
__device__ inline void st_shared_v2_f32(uint32_t address, float x, float y) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(x), "f"(y) : "memory");
}

// 9.7.9.8 ld: four floats of shared memory, as one access.
__device__ inline float4 ld_shared_v4_f32(uint32_t address) {
    float4 value;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(address)
                 : "memory");
    return value;
}

// 9.7.9.25.2.1 cp.async: 16 bytes to shared memory, past L1; 0 in place of them unless `copies`.
__device__ inline void copy_async_16(uint32_t to, const void *from, bool copies) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(copies ? 16 : 0)
                 : "memory");
}

// 9.7.9.25.2.2 cp.async.commit_group
__device__ inline void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// 9.7.9.25.2.3 cp.async.wait_group: all but the thread's latest GROUPS are there.
template <uint32_t GROUPS>
__device__ inline void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

// 9.7.14.5.15 ldmatrix: four matrices of 8 rows of 16 bytes. Lane l gives the address of row l % 8 of matrix
// l / 8, and gets of each matrix the elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4.
__device__ inline void ldmatrix_x4(uint32_t (&words)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row)
                 : "memory");
}

// The same of the transposed matrices: the elements 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
__device__ inline void ldmatrix_x4_trans(uint32_t (&words)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(row)
                 : "memory");
}

// 9.7.14.5.8 mma: D[16, 8] += A[16, 16] B[16, 8]. Lane l has, of A, as words[i], row l / 4 + 8 (i % 2), k
// 2 (l % 4) + 8 (i / 2) and the next; of B, as words[i], column l / 4, k 2 (l % 4) + 8 i and the next; of D,
// as sums[i], row l / 4 + 8 (i / 2), column 2 (l % 4) + i % 2.
template <typename T>
__device__ inline void mma_16x8x16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1);

template <>
__device__ inline void mma_16x8x16<bf16>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3},"
        " {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ inline void mma_16x8x16<f16>(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3},"
        " {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
