// Ways to memory that tuned kernels take, for tests/amdgcn_local.rs: buffers with bounds, loads to LDS,
// transposing reads, and the banks of LDS.

#include <stdint.h>

#define __global__ __attribute__((global))
#define __device__ __attribute__((device, always_inline))
#define __shared__ __attribute__((shared))
#define KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(64, 256))) void

typedef uint32_t u2 __attribute__((ext_vector_type(2)));
typedef uint32_t u4 __attribute__((ext_vector_type(4)));
typedef short s4 __attribute__((ext_vector_type(4)));
typedef __attribute__((address_space(1))) uint32_t Global;
typedef __attribute__((address_space(3))) uint32_t Local;

struct Arrays {
    const uint32_t *a;
    uint32_t *out;
    uint64_t count;
};

__device__ inline uint32_t thread() {
    return __builtin_amdgcn_workitem_id_x();
}

__device__ inline void barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

__device__ inline __amdgpu_buffer_rsrc_t buffer(const void *memory, uint32_t bytes) {
    return __builtin_amdgcn_make_buffer_rsrc((void *)memory, 0, bytes, 0x27000);
}

// Of 512 words 301 are in range of what is read, 250 of what is written.
KERNEL buffer_words(Arrays p) {
    auto from = buffer(p.a, 4 * 301), to = buffer(p.out, 4 * 250);
    uint32_t at = 4 * thread();
    for (int half = 0; half < 2; half++) {
        uint32_t value = __builtin_amdgcn_raw_buffer_load_b32(from, at + 1024 * half, 0, 0);
        __builtin_amdgcn_raw_buffer_store_b32(value + 1, to, at + 1024 * half, 0, 0);
    }
}

KERNEL buffer_vectors(Arrays p) {
    auto from = buffer(p.a, 4 * 301), to = buffer(p.out, 4 * 502);
    uint32_t at = 16 * thread();
    u4 value = __builtin_amdgcn_raw_buffer_load_b128(from, at, 0, 0);
    __builtin_amdgcn_raw_buffer_store_b128(value + 1, to, at, 0, 0);
}

// Bytes and halves; the last word in range is half in it.
KERNEL buffer_parts(Arrays p) {
    auto from = buffer(p.a, 4 * 100 + 2), to = buffer(p.out, 4 * 512);
    uint32_t at = 2 * thread();
    uint16_t half = __builtin_amdgcn_raw_buffer_load_b16(from, at, 0, 0);
    uint8_t byte = __builtin_amdgcn_raw_buffer_load_b8(from, at, 0, 0);
    uint32_t word = __builtin_amdgcn_raw_buffer_load_b32(from, at * 2, 0, 0);
    __builtin_amdgcn_raw_buffer_store_b16(half, to, at, 0, 0);
    __builtin_amdgcn_raw_buffer_store_b8(byte, to, 512 + thread(), 0, 0);
    __builtin_amdgcn_raw_buffer_store_b32(word, to, 1024 + 4 * thread(), 0, 0);
}

// Into the high half of a register, whose low half stays; half of the threads are out of range.
KERNEL buffer_high(Arrays p) {
    auto from = buffer(p.a, 2 * 128);
    uint32_t value = 0xABCD1234, at = 2 * thread();
    asm volatile("buffer_load_short_d16_hi %0, %1, %2, 0 offen\n s_waitcnt vmcnt(0)"
                 : "+v"(value)
                 : "v"(at), "s"(from));
    p.out[thread()] = value;
}

// The scalar offset alone is past the end.
KERNEL buffer_scalar_past_end(Arrays p) {
    auto from = buffer(p.a, 1024);
    p.out[thread()] = __builtin_amdgcn_raw_buffer_load_b32(from, 4 * thread(), p.count * 2, 0);
}

// Past what was allocated, though in range of the resource.
KERNEL buffer_past_allocation(Arrays p) {
    auto from = buffer(p.a, 1 << 20);
    p.out[thread()] = __builtin_amdgcn_raw_buffer_load_b32(from, 4 * thread() + 2048, 0, 0);
}

KERNEL buffer_with_stride(Arrays p) {
    auto from = __builtin_amdgcn_make_buffer_rsrc((void *)p.a, 4, 256, 0x27000);
    p.out[thread()] = __builtin_amdgcn_raw_buffer_load_b32(from, 4 * thread(), 0, 0);
}

// A wave's 64 words, or with `wide` 256, from the end of memory to the start of LDS.
#define DIRECT(name, bytes, wait)                                                                  \
    KERNEL name(Arrays p) {                                                                        \
        __shared__ uint32_t values[256 * bytes / 4];                                               \
        uint32_t wave = thread() / 64, words = 256 * bytes / 4;                                    \
        const uint32_t *from = p.a + words - bytes / 4 * (thread() + 1);                           \
        __builtin_amdgcn_global_load_lds((Global *)from, (Local *)&values[wave * 16 * bytes], bytes, 0, 0); \
        wait;                                                                                      \
        barrier();                                                                                 \
        for (uint32_t at = thread(); at < words; at += 256) {                                      \
            p.out[at] = values[at];                                                                \
        }                                                                                          \
    }

DIRECT(direct, 4, __builtin_amdgcn_s_waitcnt(0x0f70))
#ifdef __gfx950__
DIRECT(direct_wide, 16, __builtin_amdgcn_s_waitcnt(0x0f70))
#endif

// The instruction's offset counts in both memories.
KERNEL direct_offset(Arrays p) {
    __shared__ uint32_t values[256 + 8];
    uint32_t wave = thread() / 64;
    __builtin_amdgcn_global_load_lds((Global *)(p.a + thread()), (Local *)&values[wave * 64], 4, 32, 0);
    __builtin_amdgcn_s_waitcnt(0x0f70);
    barrier();
    p.out[thread()] = values[thread() + 8];
}

// Words from 200 on are out of range.
KERNEL direct_buffer(Arrays p) {
    __shared__ uint32_t values[256];
    auto from = buffer(p.a, 4 * 200);
    uint32_t wave = thread() / 64;
    __builtin_amdgcn_raw_ptr_buffer_load_lds(from, (Local *)&values[wave * 64], 4, 4 * thread(), 0, 0, 0);
    __builtin_amdgcn_s_waitcnt(0x0f70);
    barrier();
    p.out[thread()] = values[thread()];
}

// LDS is read before the load into it is waited for.
KERNEL direct_early(Arrays p) {
    __shared__ uint32_t values[256];
    Local *at = (Local *)&values[thread()];
    uint32_t base = __builtin_amdgcn_readfirstlane((uint32_t)at), value = 7;
    const uint32_t *from = p.a + thread();
    asm volatile("ds_write_b32 %3, %0\n s_mov_b32 m0, %2\n s_waitcnt lgkmcnt(0)\n "
#ifdef __gfx90a__
                 "global_load_dword %1, off lds\n "
#else
                 "global_load_lds_dword %1, off\n "
#endif
                 "ds_read_b32 %0, %3\n s_waitcnt vmcnt(0) lgkmcnt(0)"
                 : "+v"(value)
                 : "v"(from), "s"(base), "v"(at)
                 : "memory");
    p.out[thread()] = value;
}

// Another wave reads what this one loads: it waits, but there is no barrier.
KERNEL direct_race(Arrays p) {
    __shared__ uint32_t values[256];
    uint32_t wave = thread() / 64;
    __builtin_amdgcn_global_load_lds((Global *)(p.a + thread()), (Local *)&values[wave * 64], 4, 0, 0);
    __builtin_amdgcn_s_waitcnt(0x0f70);
    __builtin_amdgcn_wave_barrier();
    p.out[thread()] = values[(thread() + 64) % 256];
}

#ifdef __gfx950__
// Each lane's four halves, transposed among 16.
KERNEL transposed(Arrays p) {
    __shared__ s4 values[64];
    values[thread()] = ((const s4 *)p.a)[thread()];
    barrier();
    typedef __attribute__((address_space(3))) s4 Vector;
    ((s4 *)p.out)[thread()] = __builtin_amdgcn_ds_read_tr16_b64_v4i16((Vector *)&values[thread()]);
}
#endif

// Two instructions, each with two places.
KERNEL two_places(Arrays p) {
    __shared__ uint32_t values[128];
    Local *at = (Local *)&values[thread()];
    uint64_t pair;
    asm volatile("ds_write2_b32 %1, %2, %2 offset1:64\n s_waitcnt lgkmcnt(0)\n "
                 "ds_read2_b32 %0, %1 offset1:64\n s_waitcnt lgkmcnt(0)"
                 : "=&v"(pair)
                 : "v"(at), "v"(p.a[thread()])
                 : "memory");
    ((uint64_t *)p.out)[thread()] = pair;
}

// 64 lanes read down columns: of words, pairs and fours.
#define COLUMN(name, Type, stride)                                                                 \
    KERNEL name(Arrays p) {                                                                        \
        __shared__ uint32_t values[64 * stride];                                                   \
        for (uint32_t at = thread(); at < 64 * stride; at += 64) {                                 \
            values[at] = p.a[at % 512];                                                            \
        }                                                                                          \
        barrier();                                                                                 \
        ((Type *)p.out)[thread()] = *(Type *)&values[thread() * stride];                           \
    }

COLUMN(column_32, uint32_t, 32)
COLUMN(column_33, uint32_t, 33)
COLUMN(column_wide_36, u4, 36)
COLUMN(column_wide_32, u4, 32)
