// The vocabulary of the kernels: element types, packed vectors, sums over a block.

#pragma once

#include "ptx.cuh"

// Types of tensor elements. They hold no value by themselves: unpack and pack convert.
struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

// COUNT elements as they lie in memory, read and written by one instruction of at most 16 bytes.
template <typename T, uint32_t COUNT>
struct alignas(COUNT * sizeof(T)) Packed {
    static constexpr uint32_t WORDS = COUNT * sizeof(T) / sizeof(uint32_t);
    static_assert(WORDS == 2 || WORDS == 4, "a vector access is 8 or 16 bytes wide");
    uint32_t words[WORDS];
};

// Elements in a vector of 16 bytes.
template <typename T>
constexpr uint32_t WIDEST = 16 / sizeof(T);

template <typename T, uint32_t COUNT>
__device__ inline Packed<T, COUNT> load(const void *base, size_t element) {
    return *reinterpret_cast<const Packed<T, COUNT> *>(static_cast<const T *>(base) + element);
}

// One element as f32, exact.
template <typename T>
__device__ inline float load_one(const void *base, size_t element) {
    T value = static_cast<const T *>(base)[element];
    if constexpr (__is_same(T, bf16)) {
        return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
    } else if constexpr (__is_same(T, f16)) {
        return cvt_f32_f16(value.bits);
    } else {
        return value;
    }
}

template <typename T, uint32_t COUNT>
__device__ inline void store(void *base, size_t element, const Packed<T, COUNT> &packed) {
    *reinterpret_cast<Packed<T, COUNT> *>(static_cast<T *>(base) + element) = packed;
}

// Exact.
template <uint32_t COUNT>
__device__ inline void unpack(const Packed<bf16, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        values[2 * word] = __uint_as_float(packed.words[word] << 16);
        values[2 * word + 1] = __uint_as_float(packed.words[word] & 0xffff0000);
    }
}

template <uint32_t COUNT>
__device__ inline void unpack(const Packed<f16, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        values[2 * word] = cvt_f32_f16(static_cast<uint16_t>(packed.words[word]));
        values[2 * word + 1] = cvt_f32_f16(static_cast<uint16_t>(packed.words[word] >> 16));
    }
}

template <uint32_t COUNT>
__device__ inline void unpack(const Packed<float, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        values[i] = __uint_as_float(packed.words[i]);
    }
}

// Rounds to nearest even.
template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<bf16, COUNT> &packed) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        packed.words[word] = cvt_rn_bf16x2_f32(values[2 * word], values[2 * word + 1]);
    }
}

template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<f16, COUNT> &packed) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        packed.words[word] = cvt_rn_f16x2_f32(values[2 * word], values[2 * word + 1]);
    }
}

template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<float, COUNT> &packed) {
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        packed.words[i] = __float_as_uint(values[i]);
    }
}

constexpr uint32_t WARP_THREADS = 32;

// The same bits in every lane: each step adds the same two numbers on both sides.
__device__ inline float warp_sum(float value) {
#pragma unroll
    for (uint32_t distance = WARP_THREADS / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffff, value, distance);
    }
    return value;
}

__device__ inline uint32_t warp_sum_u32(uint32_t value) {
    return __reduce_add_sync(0xffffffff, value);
}

__device__ inline uint32_t warp_max_u32(uint32_t value) {
    return __reduce_max_sync(0xffffffff, value);
}

__device__ inline uint32_t warp_min_u32(uint32_t value) {
    return __reduce_min_sync(0xffffffff, value);
}

// The sum of the lane's value and of those of the lanes before it.
__device__ inline uint32_t warp_inclusive_sum(uint32_t value) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll
    for (uint32_t distance = 1; distance < WARP_THREADS; distance *= 2) {
        uint32_t before = __shfl_up_sync(0xffffffff, value, distance);
        value += lane >= distance ? before : 0;
    }
    return value;
}

// The same bits in every thread. Every thread of the block calls it, blockDim.x is whole warps.
// One barrier: between two calls with the same `partials` there must be another barrier, such as
// that of a call with other ones.
__device__ inline float block_sum(float value, float (&partials)[WARP_THREADS]) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
    uint32_t warp = threadIdx.x / WARP_THREADS;
    value = warp_sum(value);
    if (lane == 0) {
        partials[warp] = value;
    }
    __syncthreads();
    uint32_t warps = blockDim.x / WARP_THREADS;
    return warp_sum(lane < warps ? partials[lane] : 0.0f);
}
