// Kernels for tests/amdgcn.rs: what compilers make of ordinary code, and planted faults.

#include <stdint.h>

#define __global__ __attribute__((global))
#define __device__ __attribute__((device, always_inline))
#define __shared__ __attribute__((shared))
#define KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, 256))) void

struct Arrays {
    const uint32_t *a;
    const uint32_t *b;
    uint32_t *out;
    uint64_t count;
};

__device__ inline uint32_t thread() {
    return __builtin_amdgcn_workitem_id_x();
}

__device__ inline uint64_t index() {
    return uint64_t(__builtin_amdgcn_workgroup_id_x()) * __builtin_amdgcn_workgroup_size_x() + thread();
}

__device__ inline void barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

__device__ inline float f(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}

__device__ inline uint32_t u(float value) {
    return __builtin_bit_cast(uint32_t, value);
}

#define MAP(name, expression)                                                                      \
    KERNEL name(Arrays p) {                                                                        \
        uint64_t i = index();                                                                      \
        if (i < p.count) {                                                                         \
            uint32_t a = p.a[i], b = p.b[i];                                                       \
            p.out[i] = expression;                                                                 \
        }                                                                                          \
    }

MAP(add_f32, u(f(a) + f(b)))
MAP(multiply_f32, u(f(a) * f(b)))
MAP(divide_f32, u(f(a) / f(b)))
MAP(root_f32, u(__builtin_sqrtf(f(a))))
MAP(fma_f32, u(__builtin_fmaf(f(a), f(b), 1.5f)))
MAP(min_f32, u(__builtin_fminf(f(a), f(b))))
MAP(max_f32, u(__builtin_fmaxf(f(a), f(b))))
MAP(floor_f32, u(__builtin_floorf(f(a))))
MAP(even_f32, u(__builtin_rintf(f(a))))
MAP(less_f32, f(a) < f(b) ? 1 : f(a) == f(b) ? 2 : f(a) != f(a) ? 3 : 4)
MAP(bf16, __builtin_bit_cast(uint16_t, (__bf16)f(a)) | uint32_t(__builtin_bit_cast(uint16_t, (__bf16)f(b))) << 16)
MAP(f16, __builtin_bit_cast(uint16_t, (_Float16)f(a)) | uint32_t(__builtin_bit_cast(uint16_t, (_Float16)f(b))) << 16)
MAP(from_f16, u((float)__builtin_bit_cast(_Float16, (uint16_t)a)))
MAP(divide_u32, b == 0 ? 0 : a / b)
MAP(remainder_i32, b == 0 ? 0 : uint32_t(int32_t(a) % int32_t(b | 1)))
MAP(divide_u64, uint32_t((uint64_t(a) << 20 | b) / (uint64_t(b) + 1)))
MAP(multiply_u64, uint32_t((uint64_t(a) * b + (uint64_t(b) << 17)) >> 23))

// The high half of what is added was never written: compilers leave it so where only a low half counts.
__device__ inline uint32_t low_of_multiply_add(uint32_t a, uint32_t b) {
    uint32_t high;
    asm volatile("" : "=v"(high));
    uint64_t sum, addend = b | uint64_t(high) << 32;
    asm("v_mad_u64_u32 %0, vcc, %1, %2, %3" : "=v"(sum) : "v"(a), "v"(b), "v"(addend) : "vcc");
    return uint32_t(sum);
}

MAP(multiply_low, low_of_multiply_add(a, b))

// Both results are of the low halves; the high ones were never written.
__device__ inline uint32_t packed_of_low_halves(uint32_t a, uint32_t b) {
    uint32_t high;
    asm volatile("" : "=v"(high));
    uint64_t first = u(float(a & 0xffff)) | uint64_t(high) << 32;
    uint64_t second = u(float(b & 0xffff)) | uint64_t(high) << 32, sums;
    asm("v_pk_add_f32 %0, %1, %2 op_sel_hi:[0,0]" : "=v"(sums) : "v"(first), "v"(second));
    return uint32_t(f(uint32_t(sums))) + 3 * uint32_t(f(uint32_t(sums >> 32)));
}

MAP(packed_low, packed_of_low_halves(a, b))
MAP(shifts, (a << (b & 31)) ^ (a >> (b & 31)) ^ uint32_t(int32_t(a) >> (b & 31)))

// gfx950 has an instruction for any function of three bits.
__device__ inline uint32_t functions_of_bits(uint32_t a, uint32_t b) {
    uint32_t c = a * 0x9E3779B9;
    return ((a & b) | (~a & c)) + ((a & b) | (c & (a | b))) * 3 + (~(a & b) ^ c) * 5;
}

MAP(three_bits, functions_of_bits(a, b))
MAP(bits, __builtin_popcount(a) + (b ? __builtin_clz(b) + 100 * __builtin_ctz(b) : 7))
MAP(from_u64, u(float((uint64_t(a) << 32 | b))))
MAP(to_i32, uint32_t(int32_t(f(a) * 0.001f)))

// The sum of a workgroup by LDS.
KERNEL sum(Arrays p) {
    __shared__ uint32_t values[256];
    uint64_t i = index();
    uint32_t size = __builtin_amdgcn_workgroup_size_x();
    values[thread()] = i < p.count ? p.a[i] : 0;
    barrier();
    for (uint32_t half = size / 2; half > 0; half /= 2) {
        if (thread() < half) {
            values[thread()] += values[thread() + half];
        }
        barrier();
    }
    if (thread() == 0) {
        p.out[__builtin_amdgcn_workgroup_id_x()] = values[0];
    }
}

// A copy, two words at a time.
KERNEL pairs(Arrays p) {
    typedef uint32_t Pair __attribute__((ext_vector_type(2)));
    uint64_t i = index();
    if (2 * i < p.count) {
        reinterpret_cast<Pair *>(p.out)[i] = reinterpret_cast<const Pair *>(p.a)[i];
    }
}

// The neighbour's value: the barrier is missing.
KERNEL race(Arrays p) {
    __shared__ uint32_t values[256];
    uint32_t size = __builtin_amdgcn_workgroup_size_x();
    values[thread()] = p.a[index()];
    __builtin_amdgcn_wave_barrier();
    p.out[index()] = values[(thread() + 64) % size];
}

// The barrier is there, but LDS is not waited for.
KERNEL early_barrier(Arrays p) {
    __shared__ uint32_t values[256];
    typedef __attribute__((address_space(3))) uint32_t Local;
    uint32_t size = __builtin_amdgcn_workgroup_size_x();
    uint32_t value = p.a[index()];
    Local *at = (Local *)&values[thread()], *from = (Local *)&values[(thread() + 64) % size];
    asm volatile("ds_write_b32 %1, %2\n s_barrier\n ds_read_b32 %0, %3\n s_waitcnt lgkmcnt(0)"
                 : "=&v"(value)
                 : "v"(at), "v"(value), "v"(from)
                 : "memory");
    p.out[index()] = value;
}

// A load is used before it is waited for.
KERNEL early_use(Arrays p) {
    uint32_t value;
    const uint32_t *from = p.a + index();
    asm volatile("global_load_dword %0, %1, off\n v_add_u32 %0, %0, 1\n s_waitcnt vmcnt(0)"
                 : "=&v"(value)
                 : "v"(from)
                 : "memory");
    p.out[index()] = value;
}

KERNEL out_of_bounds(Arrays p) {
    p.out[index() + (index() == p.count - 1 ? 1 : 0)] = p.a[index()];
}

KERNEL uninitialized(Arrays p) {
    __shared__ uint32_t values[256];
    if (thread() != 70) {
        values[thread()] = p.a[index()];
    }
    barrier();
    p.out[index()] = values[thread()];
}

KERNEL same_place(Arrays p) {
    p.out[index() == 63 ? 31 : index()] = p.a[index()];
}

KERNEL atomics(Arrays p) {
    __shared__ uint32_t counts[64];
    if (thread() < 64) {
        counts[thread()] = 0;
    }
    barrier();
    uint64_t i = index();
    if (i < p.count) {
        __hip_atomic_fetch_add(&counts[p.a[i] % 64], 1, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
    }
    barrier();
    if (thread() < 64) {
        __hip_atomic_fetch_add(&p.out[thread()], counts[thread()], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
    }
}

// Reads lane i ^ 1, then the wave's first lane, in three ways.
KERNEL lanes(Arrays p) {
    uint32_t value = p.a[index()];
    uint32_t other = __builtin_amdgcn_update_dpp(0, value, 0xb1, 0xf, 0xf, true);
    uint32_t moved = __builtin_amdgcn_ds_bpermute(4 * ((thread() + 5) % 64), value);
    p.out[index()] = other ^ (moved << 3) ^ __builtin_amdgcn_readfirstlane(value);
}

KERNEL unmodelled(Arrays p) {
    uint32_t mode;
    asm volatile("s_getreg_b32 %0, hwreg(HW_REG_MODE)" : "=s"(mode));
    p.out[index()] = mode;
}

KERNEL unmodelled_form(Arrays p) {
    float value = f(p.a[index()]), twice;
    asm volatile("v_add_f32 %0, %1, %1 mul:2" : "=v"(twice) : "v"(value));
    p.out[index()] = u(twice);
}
