// The vocabulary of the kernels: element types, packed vectors, sums over a workgroup.

#pragma once

#include "amdgcn.hip.h"

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
    static_assert(WORDS == 1 || WORDS == 2 || WORDS == 4,
                  "a vector access is 4, 8 or 16 bytes wide");
    // A vector of the language: with an array, norms of f32 take 60 registers, not 42.
    typedef uint32_t Words __attribute__((ext_vector_type(WORDS)));
    Words words;
};

// Elements in a vector of 16 bytes.
template <typename T>
constexpr uint32_t WIDEST = 16 / sizeof(T);

template <typename T, uint32_t COUNT>
__device__ inline Packed<T, COUNT> load(const void *base, uint64_t element) {
    return *reinterpret_cast<const Packed<T, COUNT> *>(static_cast<const T *>(base) + element);
}

// One element as f32, exact.
template <typename T>
__device__ inline float load_one(const void *base, uint64_t element) {
    T value = static_cast<const T *>(base)[element];
    if constexpr (__is_same(T, bf16)) {
        return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
    } else if constexpr (__is_same(T, f16)) {
        return static_cast<float>(__builtin_bit_cast(_Float16, value.bits));
    } else {
        return value;
    }
}

template <typename T, uint32_t COUNT>
__device__ inline void store(void *base, uint64_t element, const Packed<T, COUNT> &packed) {
    *reinterpret_cast<Packed<T, COUNT> *>(static_cast<T *>(base) + element) = packed;
}

typedef float float4 __attribute__((ext_vector_type(4)));

// Exact.
template <uint32_t COUNT>
__device__ inline void unpack(const Packed<bf16, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        values[2 * word] = __builtin_bit_cast(float, packed.words[word] << 16);
        values[2 * word + 1] = __builtin_bit_cast(float, packed.words[word] & 0xffff0000);
    }
}

template <uint32_t COUNT>
__device__ inline void unpack(const Packed<f16, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        uint16_t low = static_cast<uint16_t>(packed.words[word]);
        uint16_t high = static_cast<uint16_t>(packed.words[word] >> 16);
        values[2 * word] = static_cast<float>(__builtin_bit_cast(_Float16, low));
        values[2 * word + 1] = static_cast<float>(__builtin_bit_cast(_Float16, high));
    }
}

template <uint32_t COUNT>
__device__ inline void unpack(const Packed<float, COUNT> &packed, float (&values)[COUNT]) {
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        // Not from the element itself: clang 22 then reads the first one.
        uint32_t word = packed.words[i];
        values[i] = __builtin_bit_cast(float, word);
    }
}

// Rounds to nearest even. gfx950 converts to bf16 by an instruction, the others by integer ones.
template <typename HALF, typename T, uint32_t COUNT>
__device__ inline void pack_halves(const float (&values)[COUNT], Packed<T, COUNT> &packed) {
#pragma unroll
    for (uint32_t word = 0; word < COUNT / 2; ++word) {
        HALF low = static_cast<HALF>(values[2 * word]);
        HALF high = static_cast<HALF>(values[2 * word + 1]);
        uint32_t high_bits = __builtin_bit_cast(uint16_t, high);
        packed.words[word] = high_bits << 16 | __builtin_bit_cast(uint16_t, low);
    }
}

template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<bf16, COUNT> &packed) {
    pack_halves<__bf16>(values, packed);
}

template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<f16, COUNT> &packed) {
    pack_halves<_Float16>(values, packed);
}

template <uint32_t COUNT>
__device__ inline void pack(const float (&values)[COUNT], Packed<float, COUNT> &packed) {
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        packed.words[i] = __builtin_bit_cast(uint32_t, values[i]);
    }
}

// The same bits in every lane: each step adds the same two numbers on both sides. All lanes of the
// wave take part, since one that is switched off would be read as well.
//
// DPP adds another lane's value within a row of 16 in the addition itself, and readlane brings the
// four rows' sums to scalar registers; a shuffle (ds_bpermute_b32) would pass through LDS each
// time.
__device__ inline float wave_sum(float value) {
    value += dpp_f32<Dpp::QUAD_XOR_1>(value);
    value += dpp_f32<Dpp::QUAD_XOR_2>(value);
    value += dpp_f32<Dpp::ROW_HALF_MIRROR>(value);
    value += dpp_f32<Dpp::ROW_MIRROR>(value);
    float lower = readlane_f32(value, 0) + readlane_f32(value, 16);
    float upper = readlane_f32(value, 32) + readlane_f32(value, 48);
    return lower + upper;
}

__device__ inline uint32_t min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

__device__ inline uint32_t max(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

// Half of a wave, for work that is narrow: two of them go their own ways in one wave.
constexpr uint32_t TEAM_THREADS = 32;

// Combines the values of a team's lanes, in any order, and gives every lane the result. All lanes of
// the team take part. The steps within 16 lanes are DPP's, the last passes through LDS's crossbar.
template <typename Combine>
__device__ inline uint32_t team_combine(uint32_t value, Combine combine) {
    value = combine(value, dpp_u32<Dpp::QUAD_XOR_1>(value));
    value = combine(value, dpp_u32<Dpp::QUAD_XOR_2>(value));
    value = combine(value, dpp_u32<Dpp::ROW_HALF_MIRROR>(value));
    value = combine(value, dpp_u32<Dpp::ROW_MIRROR>(value));
    return combine(value, swizzle_xor_u32<16>(value));
}

__device__ inline uint32_t team_sum_u32(uint32_t value) {
    return team_combine(value, [](uint32_t a, uint32_t b) { return a + b; });
}

__device__ inline uint32_t team_max_u32(uint32_t value) {
    return team_combine(value, [](uint32_t a, uint32_t b) { return max(a, b); });
}

__device__ inline uint32_t team_min_u32(uint32_t value) {
    return team_combine(value, [](uint32_t a, uint32_t b) { return min(a, b); });
}

// Of a workgroup.
constexpr uint32_t MAX_WAVES = 1024 / WAVE_THREADS;

// The sum of the lane's value and of those of the lanes before it. All lanes of the wave take part.
__device__ inline uint32_t wave_inclusive_sum(uint32_t value) {
    uint32_t lane = workitem_id_x() % WAVE_THREADS;
#pragma unroll
    for (uint32_t distance = 1; distance < WAVE_THREADS; distance *= 2) {
        uint32_t before = from_lane_u32(value, (lane - distance) % WAVE_THREADS);
        value += lane >= distance ? before : 0;
    }
    return value;
}

// The same bits in every thread. Every thread of the workgroup calls it, and the workgroup is whole
// waves: wave_sum reads every lane.
// One barrier: between two calls with the same `partials` there must be another barrier, such as
// that of a call with other ones.
__device__ inline float workgroup_sum(float value, float (&partials)[MAX_WAVES]) {
    uint32_t lane = workitem_id_x() % WAVE_THREADS;
    uint32_t wave = workitem_id_x() / WAVE_THREADS;
    value = wave_sum(value);
    if (lane == 0) {
        partials[wave] = value;
    }
    workgroup_barrier();
    uint32_t waves = workgroup_size_x() / WAVE_THREADS;
    return wave_sum(lane < waves ? partials[lane] : 0.0f);
}
