// Products of matrices by warp groups of sm_90a: D[64, N] += A[64, 16] B[16, N], A in shared memory or in
// registers, B in shared memory. NVIDIA's "PTX ISA", version 9.0, section 9.7.15.

#pragma once

#include "common.cuh"

// 9.7.15.7.1 wgmma.fence: before the first product after the accumulators were touched.
__device__ inline void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// 9.7.15.7.2 wgmma.commit_group
__device__ inline void wgmma_commit_group() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// 9.7.15.7.3 wgmma.wait_group: all but the latest GROUPS are done.
template <uint32_t GROUPS>
__device__ inline void wgmma_wait_group() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

// 9.7.15.5.1.2 matrix descriptor of rows of 128 bytes, swizzled as a copy with 128B swizzle leaves them, in
// atoms of 8 rows (1024 bytes, at a multiple of that).
//   K-major: atoms follow each other every 1024 bytes along the rows; `leading_bytes` is not used.
//   MN-major: a row is 64 elements of one k; atoms of 8 k follow every 1024 bytes, groups of 64 rows of the
//   matrix every `leading_bytes`.
__device__ inline uint64_t matrix_descriptor(uint32_t address, uint32_t leading_bytes) {
    constexpr uint64_t STRIDE = 1024 >> 4;
    constexpr uint64_t SWIZZLE_128B = 1;
    return SWIZZLE_128B << 62 | STRIDE << 32 | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
           (address & 0x3ffff) >> 4;
}

// A word for each register, then the operands that follow: 9.7.15.5.2.
#define REGISTERS_4 "%0, %1, %2, %3"
#define REGISTERS_8 \
    REGISTERS_4 \
    ", %4, %5, %6, %7"
#define REGISTERS_16 \
    REGISTERS_8 \
    ", %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_32 \
    REGISTERS_16 \
    ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_64 \
    REGISTERS_32 \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47," \
    " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_128 \
    REGISTERS_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79," \
    " %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95," \
    " %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109," \
    " %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122," \
    " %123, %124, %125, %126, %127"
#define OUTPUTS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define OUTPUTS_8(d, i) OUTPUTS_4(d, i), OUTPUTS_4(d, i + 4)
#define OUTPUTS_16(d, i) OUTPUTS_8(d, i), OUTPUTS_8(d, i + 8)
#define OUTPUTS_32(d, i) OUTPUTS_16(d, i), OUTPUTS_16(d, i + 16)
#define OUTPUTS_64(d, i) OUTPUTS_32(d, i), OUTPUTS_32(d, i + 32)
#define OUTPUTS_128(d, i) OUTPUTS_64(d, i), OUTPUTS_64(d, i + 64)

// d: N / 2 f32 of a thread; a and b: descriptors; A_MN, B_MN: the matrix is MN-major. Without
// `accumulates` D is overwritten. Thread t holds, as d[i], row 16 (t / 32) + t % 32 / 4 + 8 (i / 2 % 2) and
// column 8 (i / 4) + 2 (t % 4) + i % 2.
template <typename T, uint32_t N>
struct Wgmma;

#define WGMMA(T, NAME, N, COUNT, A, B, P, TA, TB)                                                  \
    template <>                                                                                    \
    struct Wgmma<T, N> {                                                                           \
        template <bool A_MN, bool B_MN>                                                            \
        static __device__ inline void run(float (&d)[COUNT], uint64_t a, uint64_t b,               \
                                          bool accumulates) {                                      \
            asm volatile("{\n"                                                                     \
                         ".reg .pred accumulates;\n"                                               \
                         "setp.ne.b32 accumulates, " P ", 0;\n"                                    \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME           \
                         " {" REGISTERS_##COUNT "}, " A ", " B ", accumulates, 1, 1, " TA ", " TB  \
                         ";\n"                                                                     \
                         "}"                                                                       \
                         : OUTPUTS_##COUNT(d, 0)                                                   \
                         : "l"(a), "l"(b), "r"(static_cast<uint32_t>(accumulates)),                \
                           "n"(static_cast<uint32_t>(A_MN)), "n"(static_cast<uint32_t>(B_MN)));    \
        }                                                                                          \
    };

// The same of A in registers: warp w has rows 16 w to 16 w + 15, each lane as in mma_16x8x16. They must be
// left alone until the product is done.
template <typename T, uint32_t N>
struct WgmmaRegisters;

#define WGMMA_REGISTERS(T, NAME, N, COUNT, A, B, P, TB)                                            \
    template <>                                                                                    \
    struct WgmmaRegisters<T, N> {                                                                  \
        template <bool B_MN>                                                                       \
        static __device__ inline void run(float (&d)[COUNT], const uint32_t (&a)[4], uint64_t b,   \
                                          bool accumulates) {                                      \
            asm volatile("{\n"                                                                     \
                         ".reg .pred accumulates;\n"                                               \
                         "setp.ne.b32 accumulates, " P ", 0;\n"                                    \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME           \
                         " {" REGISTERS_##COUNT "}, {" A "}, " B ", accumulates, 1, 1, " TB ";\n"  \
                         "}"                                                                       \
                         : OUTPUTS_##COUNT(d, 0)                                                   \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                     \
                           "r"(static_cast<uint32_t>(accumulates)),                                \
                           "n"(static_cast<uint32_t>(B_MN)));                                      \
        }                                                                                          \
    };

WGMMA(bf16, "bf16", 8, 4, "%4", "%5", "%6", "%7", "%8")
WGMMA(bf16, "bf16", 16, 8, "%8", "%9", "%10", "%11", "%12")
WGMMA(bf16, "bf16", 32, 16, "%16", "%17", "%18", "%19", "%20")
WGMMA(bf16, "bf16", 64, 32, "%32", "%33", "%34", "%35", "%36")
WGMMA(bf16, "bf16", 128, 64, "%64", "%65", "%66", "%67", "%68")
WGMMA(bf16, "bf16", 256, 128, "%128", "%129", "%130", "%131", "%132")
WGMMA(f16, "f16", 8, 4, "%4", "%5", "%6", "%7", "%8")
WGMMA(f16, "f16", 16, 8, "%8", "%9", "%10", "%11", "%12")
WGMMA(f16, "f16", 32, 16, "%16", "%17", "%18", "%19", "%20")
WGMMA(f16, "f16", 64, 32, "%32", "%33", "%34", "%35", "%36")
WGMMA(f16, "f16", 128, 64, "%64", "%65", "%66", "%67", "%68")
WGMMA(f16, "f16", 256, 128, "%128", "%129", "%130", "%131", "%132")
WGMMA_REGISTERS(bf16, "bf16", 64, 32, "%32, %33, %34, %35", "%36", "%37", "%38")
WGMMA_REGISTERS(bf16, "bf16", 128, 64, "%64, %65, %66, %67", "%68", "%69", "%70")
WGMMA_REGISTERS(f16, "f16", 64, 32, "%32, %33, %34, %35", "%36", "%37", "%38")
WGMMA_REGISTERS(f16, "f16", 128, 64, "%64, %65, %66, %67", "%68", "%69", "%70")

#undef WGMMA
#undef WGMMA_REGISTERS
#undef REGISTERS_4
#undef OUTPUTS_4
#undef REGISTERS_8
#undef OUTPUTS_8
#undef REGISTERS_16
#undef OUTPUTS_16
#undef REGISTERS_32
#undef OUTPUTS_32
#undef REGISTERS_64
#undef OUTPUTS_64
#undef REGISTERS_128
#undef OUTPUTS_128
