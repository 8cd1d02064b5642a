// Instructions: one function per instruction or builtin, with its place in AMD's "CDNA3 Instruction
// Set Architecture" (2023-10) or in LLVM's "User Guide for AMDGPU Backend". gfx90a and gfx950 have
// all of them too.

#pragma once

#include <stdint.h>

// The language's keywords: neither HIP's headers nor its device library are needed. Everything is
// inlined: a call would bring a stack.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device, always_inline))
#define __shared__ __attribute__((shared))

// Threads of a wave: every target so far is a CDNA one.
constexpr uint32_t WAVE_THREADS = 64;

__device__ inline uint32_t workitem_id_x() {
    return __builtin_amdgcn_workitem_id_x();
}

__device__ inline uint32_t workgroup_id_x() {
    return __builtin_amdgcn_workgroup_id_x();
}

__device__ inline uint32_t workgroup_id_y() {
    return __builtin_amdgcn_workgroup_id_y();
}

// HIP's launches are of whole workgroups, so it is hidden_group_size_x of LLVM, "Code Object V5
// Metadata": clang assumes that for HIP (-foffload-uniform-block), and there is no last, smaller
// one.
__device__ inline uint32_t workgroup_size_x() {
    return __builtin_amdgcn_workgroup_size_x();
}

// hidden_block_count_x, which is the first of the implicit arguments; no builtin names it.
__device__ inline uint32_t workgroup_count_x() {
    return *(const uint32_t *)__builtin_amdgcn_implicitarg_ptr();
}

// The kernel's one argument, read anew from where the launch left it (LLVM, "Kernarg Segment"). The
// compiler cannot tell that it is the same, so it keeps nothing of it in scalar registers till then.
template <typename Params>
__device__ inline const Params &read_params_again() {
    typedef const __attribute__((address_space(4))) Params *Pointer;
    Pointer at = (Pointer)__builtin_amdgcn_kernarg_segment_ptr();
    asm volatile("" : "+s"(at));
    return *(const Params *)at;
}

// The same value. The compiler cannot tell, so that it keeps nothing that it makes of it from one turn of a loop to
// the next.
__device__ inline uint32_t anew(uint32_t value) {
    asm volatile("" : "+v"(value));
    return value;
}

// Chapter 12, s_barrier, with what the workgroup wrote to LDS before it visible to all after it.
// The fences are of LDS alone ("local"): loads from global memory stay in flight across it.
__device__ inline void workgroup_barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}

// Chapter 12, v_readlane_b32: one lane's value, for all lanes.
__device__ inline float readlane_f32(float value, uint32_t lane) {
    int32_t bits = __builtin_amdgcn_readlane(__builtin_bit_cast(int32_t, value), lane);
    return __builtin_bit_cast(float, bits);
}

__device__ inline uint32_t readlane_u32(uint32_t value, uint32_t lane) {
    return static_cast<uint32_t>(__builtin_amdgcn_readlane(static_cast<int32_t>(value), lane));
}

// Chapter 12, v_cmp into scalar registers: the lanes that are active and for which it holds.
__device__ inline uint64_t ballot(bool value) {
    return __builtin_amdgcn_ballot_w64(value);
}

// Chapter 12, v_mbcnt_lo_u32_b32 and v_mbcnt_hi_u32_b32: the lanes of a mask that come before this
// one.
__device__ inline uint32_t lanes_before(uint64_t mask) {
    uint32_t low = static_cast<uint32_t>(mask), high = static_cast<uint32_t>(mask >> 32);
    return __builtin_amdgcn_mbcnt_hi(high, __builtin_amdgcn_mbcnt_lo(low, 0));
}

// Chapter 12, v_bcnt_u32_b32 or s_bcnt1_i32_b64.
__device__ inline uint32_t popcount(uint64_t mask) {
    return static_cast<uint32_t>(__builtin_popcountll(mask));
}

// Chapter 12, ds_bpermute_b32: the value of a lane, which must be active.
__device__ inline uint32_t from_lane_u32(uint32_t value, uint32_t lane) {
    int32_t bits = static_cast<int32_t>(value);
    return static_cast<uint32_t>(
        __builtin_amdgcn_ds_bpermute(static_cast<int32_t>(4 * lane), bits));
}

// What a lane of a wave reads from LDS after this, it and the wave's other lanes wrote before. A wave
// is in step, so nothing waits; the compiler keeps the order.
__device__ inline void wave_barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront", "local");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront", "local");
}

// 12.10, global_atomic_add, of which nothing is returned and which orders nothing else.
__device__ inline void global_atomic_add_u32(uint32_t *to, uint32_t value) {
    __hip_atomic_fetch_add(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

// 12.12, ds_add_u32, likewise: `to` is in LDS.
__device__ inline void lds_atomic_add_u32(uint32_t *to, uint32_t value) {
    __hip_atomic_fetch_add(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

// 11.3.1, ds_swizzle_b32 in its bit mode: the value of the lane whose number within its 32 differs by
// `mask`.
template <uint32_t MASK>
__device__ inline uint32_t swizzle_xor_u32(uint32_t value) {
    static_assert(MASK < 32, "within 32 lanes");
    return static_cast<uint32_t>(
        __builtin_amdgcn_ds_swizzle(static_cast<int32_t>(value), MASK << 10 | 0x1f));
}

// 13.3.9 DPP: which lane of its row of sixteen each lane reads.
enum class Dpp : uint32_t {
    QUAD_XOR_1 = 0xb1,        // quad_perm:[1,0,3,2]
    QUAD_XOR_2 = 0x4e,        // quad_perm:[2,3,0,1]
    ROW_HALF_MIRROR = 0x141,  // lane 7 - i of its eight
    ROW_MIRROR = 0x140,       // lane 15 - i
};

template <Dpp CONTROL>
__device__ inline uint32_t dpp_u32(uint32_t value) {
    int32_t bits = static_cast<int32_t>(value);
    // Every lane is active and reads an active lane, so what a lane without a source gets is moot.
    bits = __builtin_amdgcn_update_dpp(bits, bits, static_cast<uint32_t>(CONTROL), 0xf, 0xf, true);
    return static_cast<uint32_t>(bits);
}

template <Dpp CONTROL>
__device__ inline float dpp_f32(float value) {
    return __builtin_bit_cast(float, dpp_u32<CONTROL>(__builtin_bit_cast(uint32_t, value)));
}

// Chapter 12, s_setprio: which of a SIMD's waves goes first.
template <uint32_t PRIORITY>
__device__ inline void set_priority() {
    __builtin_amdgcn_s_setprio(PRIORITY);
}
