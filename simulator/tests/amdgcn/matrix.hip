// Matrix instructions for tests/amdgcn_matrix.rs: one of each shape, small products by way of LDS, and
// planted faults.

#include <stdint.h>

#define __global__ __attribute__((global))
#define __device__ __attribute__((device, always_inline))
#define __shared__ __attribute__((shared))
#define KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, 256))) void

typedef float f4 __attribute__((ext_vector_type(4)));
typedef float f16x __attribute__((ext_vector_type(16)));
typedef float f32x __attribute__((ext_vector_type(32)));
typedef _Float16 h4 __attribute__((ext_vector_type(4)));
typedef _Float16 h8 __attribute__((ext_vector_type(8)));
typedef short s4 __attribute__((ext_vector_type(4)));
typedef __bf16 b8 __attribute__((ext_vector_type(8)));

struct Arrays {
    const void *a;
    const void *b;
    const void *c;
    void *d;
    uint64_t count;
};

__device__ inline uint32_t lane() {
    return __builtin_amdgcn_workitem_id_x();
}

// Every lane gives and takes its registers one after the other.
#define SHAPE(name, S, F, instruction)                                                             \
    struct Shape_##name {                                                                          \
        typedef S Sums;                                                                            \
        typedef F Factors;                                                                         \
        static __device__ inline S multiply(F a, F b, S c) {                                       \
            return __builtin_amdgcn_mfma_f32_##instruction(a, b, c, 0, 0, 0);                      \
        }                                                                                          \
    };                                                                                             \
    KERNEL name(Arrays p) {                                                                        \
        uint32_t i = lane();                                                                       \
        F a = ((const F *)p.a)[i], b = ((const F *)p.b)[i];                                        \
        ((S *)p.d)[i] = Shape_##name::multiply(a, b, ((const S *)p.c)[i]);                         \
    }

SHAPE(m32n32k1b2_f32, f32x, float, 32x32x1f32)
SHAPE(m16n16k1b4_f32, f16x, float, 16x16x1f32)
SHAPE(m4n4k1b16_f32, f4, float, 4x4x1f32)
SHAPE(m32n32k2_f32, f16x, float, 32x32x2f32)
SHAPE(m16n16k4_f32, f4, float, 16x16x4f32)
SHAPE(m32n32k4b2_f16, f32x, h4, 32x32x4f16)
SHAPE(m16n16k4b4_f16, f16x, h4, 16x16x4f16)
SHAPE(m4n4k4b16_f16, f4, h4, 4x4x4f16)
SHAPE(m32n32k8_f16, f16x, h4, 32x32x8f16)
SHAPE(m16n16k16_f16, f4, h4, 16x16x16f16)
SHAPE(m32n32k4b2_bf16, f32x, s4, 32x32x4bf16_1k)
SHAPE(m16n16k4b4_bf16, f16x, s4, 16x16x4bf16_1k)
SHAPE(m4n4k4b16_bf16, f4, s4, 4x4x4bf16_1k)
SHAPE(m32n32k8_bf16, f16x, s4, 32x32x8bf16_1k)
SHAPE(m16n16k16_bf16, f4, s4, 16x16x16bf16_1k)
#ifdef __gfx950__
SHAPE(m32n32k16_f16, f16x, h8, 32x32x16_f16)
SHAPE(m16n16k32_f16, f4, h8, 16x16x32_f16)
SHAPE(m32n32k16_bf16, f16x, b8, 32x32x16_bf16)
SHAPE(m16n16k32_bf16, f4, b8, 16x16x32_bf16)
#endif

// D = A * B of 64 rows and columns, depth 64; both by rows along k. Four waves, 32 x 32 each.
template <int M, class Shape>
__device__ void product(const Arrays &p) {
    typedef typename Shape::Sums Sums;
    typedef typename Shape::Factors Factors;
    constexpr int per_lane = sizeof(Factors) / 2, depth = 64 / M * per_lane, stride = 72;
    __shared__ uint16_t left[64 * stride], right[64 * stride];
    uint32_t thread = lane(), wave = thread / 64, l = thread % 64;
    Sums sums[32 / M][32 / M] = {};
    for (int k = 0; k < 64; k += 32) {
        for (uint32_t at = thread; at < 64 * 8; at += 256) {
            uint32_t row = at / 8, to = row * stride + at % 8 * 4, from = row * 64 + k + at % 8 * 4;
            *(uint64_t *)&left[to] = *(const uint64_t *)((const uint16_t *)p.a + from);
            *(uint64_t *)&right[to] = *(const uint64_t *)((const uint16_t *)p.b + from);
        }
        __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
        __builtin_amdgcn_s_barrier();
        __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
        __builtin_amdgcn_s_setprio(1);
        for (int step = 0; step < 32; step += depth) {
            for (int i = 0; i < 32 / M; i++) {
                for (int j = 0; j < 32 / M; j++) {
                    uint32_t at = l % M * stride + l / M * per_lane + step;
                    Factors a = *(Factors *)&left[(wave / 2 * 32 + i * M) * stride + at];
                    Factors b = *(Factors *)&right[(wave % 2 * 32 + j * M) * stride + at];
                    sums[i][j] = Shape::multiply(a, b, sums[i][j]);
                }
            }
            __builtin_amdgcn_sched_barrier(0);
        }
        __builtin_amdgcn_s_setprio(0);
        __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
        __builtin_amdgcn_s_barrier();
        __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
    }
    for (int i = 0; i < 32 / M; i++) {
        for (int j = 0; j < 32 / M; j++) {
            for (int r = 0; r < M * M / 64; r++) {
                uint32_t row = wave / 2 * 32 + i * M + r / 4 * (256 / M) + l / M * 4 + r % 4;
                uint32_t column = wave % 2 * 32 + j * M + l % M;
                ((float *)p.d)[row * 64 + column] = sums[i][j][r];
            }
        }
    }
}

#define PRODUCT(name, m)                                                                           \
    KERNEL product_##name(Arrays p) {                                                              \
        product<m, Shape_##name>(p);                                                               \
    }

PRODUCT(m32n32k8_f16, 32)
PRODUCT(m16n16k16_f16, 16)
PRODUCT(m32n32k8_bf16, 32)
PRODUCT(m16n16k16_bf16, 16)
#ifdef __gfx950__
PRODUCT(m32n32k16_f16, 32)
PRODUCT(m16n16k32_f16, 16)
PRODUCT(m32n32k16_bf16, 32)
PRODUCT(m16n16k32_bf16, 16)
#endif

// Names differ by processor. Waits: gfx90a, gfx942, gfx950.
#if defined(__gfx90a__)
#define NAME(old_name, new_name) old_name
#define WAITS(gfx90a, gfx942, gfx950) #gfx90a
#elif defined(__gfx942__)
#define NAME(old_name, new_name) new_name
#define WAITS(gfx90a, gfx942, gfx950) #gfx942
#else
#define NAME(old_name, new_name) new_name
#define WAITS(gfx90a, gfx942, gfx950) #gfx950
#endif

#define K16 NAME("v_mfma_f32_16x16x16f16", "v_mfma_f32_16x16x16_f16")
#define K8 NAME("v_mfma_f32_32x32x8f16", "v_mfma_f32_32x32x8_f16")

// All in accumulation registers.
KERNEL accumulation(Arrays p) {
    uint32_t i = lane();
    h4 a = ((const h4 *)p.a)[i], b = ((const h4 *)p.b)[i];
    f16x c = ((const f16x *)p.c)[i], d;
    asm volatile("s_nop 1\n " K8 " %0, %1, %2, %3\n s_nop 15\n s_nop 3" : "=a"(d) : "a"(a), "a"(b), "a"(c));
    ((f16x *)p.d)[i] = d;
}

// Sums in accumulation registers, one factor in each kind; the result replaces what is added.
KERNEL accumulation_in_place(Arrays p) {
    uint32_t i = lane();
    h4 a = ((const h4 *)p.a)[i], b = ((const h4 *)p.b)[i];
    f4 d = ((const f4 *)p.c)[i];
    asm volatile("s_nop 1\n " K16 " %0, %1, %2, %0\n s_nop 15\n s_nop 3" : "+a"(d) : "a"(a), "v"(b));
    ((f4 *)p.d)[i] = d;
}

// Adds a constant.
KERNEL constant(Arrays p) {
    uint32_t i = lane();
    h4 a = ((const h4 *)p.a)[i], b = ((const h4 *)p.b)[i];
    f4 d;
    asm volatile("s_nop 1\n " K16 " %0, %1, %2, -2.0\n s_nop 15\n s_nop 3" : "=v"(d) : "v"(a), "v"(b));
    ((f4 *)p.d)[i] = d;
}

// EXEC has the even lanes alone.
KERNEL half_of_exec(Arrays p) {
    uint32_t i = lane();
    h4 a = ((const h4 *)p.a)[i], b = ((const h4 *)p.b)[i];
    f4 d = ((const f4 *)p.c)[i];
    uint64_t kept;
    asm volatile("s_mov_b64 %1, exec\n s_mov_b32 exec_lo, 0x55555555\n s_mov_b32 exec_hi, 0x55555555\n s_nop 4\n "
                 K16 " %0, %2, %3, %0\n s_nop 15\n s_nop 3\n s_mov_b64 exec, %1\n s_nop 4"
                 : "+v"(d), "=&s"(kept)
                 : "v"(a), "v"(b));
    ((f4 *)p.d)[i] = d;
}

// Each factor is broadcast, which is not modelled.
KERNEL broadcast(Arrays p) {
    uint32_t i = lane();
    f16x d = ((const f16x *)p.c)[i];
    d = __builtin_amdgcn_mfma_f32_16x16x4f16(((const h4 *)p.a)[i], ((const h4 *)p.b)[i], d, 2, 1, 0);
    ((f16x *)p.d)[i] = d;
}

// Lane 5 of A was never written: row 5.
__device__ inline f4 row_5_unknown(const Arrays &p) {
    __shared__ h4 values[64];
    uint32_t i = lane();
    if (i != 5) {
        values[i] = ((const h4 *)p.a)[i];
    }
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    return Shape_m16n16k16_f16::multiply(values[i], ((const h4 *)p.b)[i], ((const f4 *)p.c)[i]);
}

KERNEL unknown_row(Arrays p) {
    ((f4 *)p.d)[lane()] = row_5_unknown(p);
}

KERNEL known_rows(Arrays p) {
    f4 d = row_5_unknown(p);
    for (int r = 0; r < 4; r++) {
        if (lane() / 16 * 4 + r != 5) {
            ((f4 *)p.d)[lane()][r] = d[r];
        }
    }
}

// A use of the last register of a result after so many wait states less `short`.
#define USED(name, short, instruction, registers, last, waits, Factors, ...)                       \
    KERNEL name(Arrays p) {                                                                        \
        Factors a = ((const Factors *)p.a)[lane()], b = ((const Factors *)p.b)[lane()];            \
        uint32_t value;                                                                            \
        asm volatile("s_nop 1\n " instruction " " registers ", %1, %2, 0\n .rept " waits " - " #short \
                     "\n s_nop 0\n .endr\n v_mov_b32 %0, " last                                    \
                     : "=v"(value)                                                                 \
                     : "v"(a), "v"(b)                                                              \
                     : __VA_ARGS__);                                                               \
        ((uint32_t *)p.d)[lane()] = value;                                                         \
    }

#define V4 "v32", "v33", "v34", "v35"
#define V16 V4, "v36", "v37", "v38", "v39", "v40", "v41", "v42", "v43", "v44", "v45", "v46", "v47"
#define V32 V16, "v48", "v49", "v50", "v51", "v52", "v53", "v54", "v55", "v56", "v57", "v58", "v59", "v60", "v61", "v62", "v63"
#define WAITED(name, instruction, registers, last, waits, Factors, ...)                            \
    USED(early_##name, 1, instruction, registers, last, waits, Factors, __VA_ARGS__)               \
    USED(ready_##name, 0, instruction, registers, last, waits, Factors, __VA_ARGS__)

WAITED(m16n16k16_f16, K16, "v[32:35]", "v35", WAITS(11, 7, 8), h4, V4)
WAITED(m32n32k8_f16, K8, "v[32:47]", "v47", WAITS(19, 11, 12), h4, V16)
WAITED(m4n4k4b16_f16, NAME("v_mfma_f32_4x4x4f16", "v_mfma_f32_4x4x4_16b_f16"), "v[32:35]", "v35", WAITS(5, 5, 5), h4, V4)
WAITED(m16n16k4b4_f16, NAME("v_mfma_f32_16x16x4f16", "v_mfma_f32_16x16x4_4b_f16"), "v[32:47]", "v47", WAITS(11, 11, 12), h4, V16)
WAITED(m32n32k4b2_f16, NAME("v_mfma_f32_32x32x4f16", "v_mfma_f32_32x32x4_2b_f16"), "v[32:63]", "v63", WAITS(19, 19, 20), h4, V32)
WAITED(m16n16k4_f32, NAME("v_mfma_f32_16x16x4f32", "v_mfma_f32_16x16x4_f32"), "v[32:35]", "v35", WAITS(11, 10, 10), float, V4)
WAITED(m32n32k2_f32, NAME("v_mfma_f32_32x32x2f32", "v_mfma_f32_32x32x2_f32"), "v[32:47]", "v47", WAITS(19, 18, 18), float, V16)
#ifdef __gfx950__
WAITED(m16n16k32_f16, "v_mfma_f32_16x16x32_f16", "v[32:35]", "v35", "8", h8, V4)
WAITED(m32n32k16_f16, "v_mfma_f32_32x32x16_f16", "v[32:47]", "v47", "12", h8, V16)
#endif

// Two instructions with so many wait states between, less `short`. The registers are v20 to v47.
#define SEQUENCE(name, short, first, waits, second)                                                \
    KERNEL name(Arrays p) {                                                                        \
        uint32_t value;                                                                            \
        asm volatile(".set reg, 20\n .rept 28\n v_mov_b32 v[reg], 0\n .set reg, reg + 1\n .endr\n s_nop 1\n " \
                     first "\n .rept " waits " - " #short "\n s_nop 0\n .endr\n " second           \
                     "\n s_nop 15\n s_nop 3\n v_mov_b32 %0, v36"                                   \
                     : "=v"(value)                                                                 \
                     :                                                                             \
                     : "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", V16); \
        ((uint32_t *)p.d)[lane()] = value;                                                         \
    }
#define SEQUENCES(name, first, waits, second)                                                      \
    SEQUENCE(early_##name, 1, first, waits, second)                                                \
    SEQUENCE(ready_##name, 0, first, waits, second)

#define FIRST K16 " v[32:35], v[20:21], v[22:23], v[24:27]"
SEQUENCES(factor, FIRST, WAITS(11, 7, 8), K16 " v[36:39], v[34:35], v[22:23], v[28:31]")
SEQUENCES(other_addend, FIRST, WAITS(8, 5, 6), K16 " v[36:39], v[20:21], v[22:23], v[34:37]")
SEQUENCES(written, FIRST, WAITS(11, 7, 8), "v_mov_b32 v33, 1")
SEQUENCES(addend_written, FIRST, WAITS(7, 3, 3), "v_mov_b32 v26, 1")
SEQUENCES(stored, FIRST, WAITS(11, 7, 8), "ds_bpermute_b32 v40, v20, v32\n s_waitcnt lgkmcnt(0)")
SEQUENCES(vector_before, "v_mov_b32 v22, 1", "2", K16 " v[36:39], v[20:21], v[22:23], v[28:31]")
SEQUENCE(ready_same_addend, 0, FIRST, "0", K16 " v[36:39], v[20:21], v[22:23], v[32:35]")
SEQUENCE(ready_scalar, 0, FIRST, "0", "s_mov_b32 m0, -1")
