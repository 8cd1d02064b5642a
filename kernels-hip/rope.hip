// Clip, rotate and append to the cache. Reference: reference/rope.rs. Contract: RopeParams.
//
// Math, in f32, for every token t, head and pair i < half = head_dim / 2:
//   angle = positions[t] * inv_freq[i]
//   (a, b) = clamp((x[i], x[half + i]), -clip, clip)          interleaved: (x[2i], x[2i + 1])
//   (a, b) <- (a cos - b sin, b cos + a sin)                  v: (a, b) as clipped
// q goes back to its place, k and v go to the token's slot of the caches.
//
// Mapping: workgroup_id_x() is the token, workgroup_id_y() its group of heads. A thread owns one
// vector of each half of a head, and takes every `rows`-th head, two at a time:
//
//            thread ->    0         1      ...     7    |    0          1       ...     7
//   row 0  head 0, 32   [0..8)   [8..16)  ...  [56..64) | [64..72)  [72..80)   ...  [120..128)
//   row 1  head 1, 33   threads 8 to 15                    (2-byte elements, head_dim = 128)
//   ...
//   row 31                                                 a wave is 8 rows: 8 * 128 B of each half
//
// The vectors are 16 bytes, or 8 if half of a head is no multiple of 16 bytes.
//
// Budget: 256 threads; 1040 B LDS; 0 B scratch; registers: 64 gfx90a, 64 gfx942, 64 gfx950.
// Keeps: global_load_dwordx4, global_store_dwordx4, ds_read_b128.
// Bound: memory. Every element of the qkv rows is read once and written once, to its place or to a
// cache; beside that 4 * half + 12 bytes a workgroup. In flight: 16 KiB a workgroup. Up to 64 of
// the 512 registers of each of a compute unit's 4 SIMDs leave room for 32 waves, the most it
// holds: 8 workgroups, 128 KiB. They take 8.1 of its 64 KiB of LDS (160 KiB on gfx950).
// Heads are asked for before position and frequencies, so that one latency covers all of them:
// loads return in order, so the sines wait for the heads too, and other workgroups fill that time.
// One thread beyond the pairs finds the slot: its 64-bit division is done once a workgroup, and by
// a wave that has no pair, so it runs beside the sines.
// A clipped value is chosen by comparing with itself: v_min_f32 and v_max_f32 drop a NaN, and
// clipping must not turn NaN into a number.

#include "common.hip.h"
#include "kernels.h"

#define EXPERTILE_DEVICE __device__
#include "sincos.h"

enum class Pairing { HALVES, NEIGHBOURS };

constexpr uint32_t MAX_PAIRS = ROPE_MAX_HEAD_DIM / 2;
constexpr uint32_t HEADS_IN_FLIGHT = 2;
constexpr uint64_t NO_SLOT = ~uint64_t(0);

// What is the same for every head of the token.
struct Token {
    alignas(16) float cosine[MAX_PAIRS];
    alignas(16) float sine[MAX_PAIRS];
    uint64_t k_offset;  // of the slot in the cache, or NO_SLOT
    uint64_t v_offset;
};

// One head's part of a thread: a vector at the same place of each half.
template <typename T, uint32_t WIDTH>
struct HeadPart {
    Packed<T, WIDTH> low;
    Packed<T, WIDTH> high;
};

// Where a pair's sine and cosine are kept: in vectors of four for each lane, the first vectors of
// all lanes before the second ones, so that neighbouring lanes read neighbouring banks.
template <Pairing PAIRING, uint32_t WIDTH>
__device__ inline uint32_t place_of(uint32_t pair, uint32_t pairs) {
    // The lane and the pair's number within it: WIDTH together if halves are paired, else half of
    // them from the low vector and half from the high one.
    uint32_t lane = pair / WIDTH, index = pair % WIDTH;
    if (PAIRING == Pairing::NEIGHBOURS) {
        uint32_t in_high = pair >= pairs / 2 ? 1 : 0;
        uint32_t in_half = pair - in_high * (pairs / 2);
        lane = in_half / (WIDTH / 2);
        index = in_high * (WIDTH / 2) + in_half % (WIDTH / 2);
    }
    return (index / 4 * (pairs / WIDTH) + lane) * 4 + index % 4;
}

template <Pairing PAIRING, uint32_t WIDTH>
__device__ inline void describe_token(const RopeParams &p, Token &token) {
    uint32_t pairs = p.head_dim / 2;
    if (workitem_id_x() < pairs) {
        uint32_t pair = workitem_id_x();
        float position = static_cast<float>(p.positions[workgroup_id_x()]);
        SineCosine of_angle = expertile_sincos(position * p.inv_freq[pair]);
        uint32_t place = place_of<PAIRING, WIDTH>(pair, pairs);
        token.cosine[place] = of_angle.cosine;
        token.sine[place] = of_angle.sine;
    } else if (workitem_id_x() == MAX_PAIRS) {
        // A negative slot is a large one.
        uint64_t slot = static_cast<uint64_t>(p.slot_mapping[workgroup_id_x()]);
        token.k_offset = token.v_offset = NO_SLOT;
        if (slot < p.slots) {
            uint64_t page = slot / p.page_size;
            uint64_t position = slot - page * p.page_size;
            token.k_offset = page * p.k_page_stride + position * p.k_position_stride;
            token.v_offset = page * p.v_page_stride + position * p.v_position_stride;
        }
    }
}

template <Pairing PAIRING, uint32_t WIDTH>
__device__ inline void rotate(const Token &token, uint32_t lane, uint32_t lanes,
                              float (&low)[WIDTH], float (&high)[WIDTH]) {
    float cosine[WIDTH], sine[WIDTH];
#pragma unroll
    for (uint32_t vector = 0; vector < WIDTH / 4; ++vector) {
        uint32_t first = (vector * lanes + lane) * 4;
        *reinterpret_cast<float4 *>(cosine + 4 * vector) =
            *reinterpret_cast<const float4 *>(token.cosine + first);
        *reinterpret_cast<float4 *>(sine + 4 * vector) =
            *reinterpret_cast<const float4 *>(token.sine + first);
    }
#pragma unroll
    for (uint32_t i = 0; i < WIDTH; ++i) {
        float(&half)[WIDTH] = i < WIDTH / 2 ? low : high;
        uint32_t even = 2 * (i % (WIDTH / 2));
        float &a = PAIRING == Pairing::HALVES ? low[i] : half[even];
        float &b = PAIRING == Pairing::HALVES ? high[i] : half[even + 1];
        float rotated = __builtin_fmaf(a, cosine[i], -(b * sine[i]));
        b = __builtin_fmaf(b, cosine[i], a * sine[i]);
        a = rotated;
    }
}

template <uint32_t WIDTH>
__device__ inline void clip(float limit, float (&values)[WIDTH]) {
#pragma unroll
    for (uint32_t i = 0; i < WIDTH; ++i) {
        float value = values[i];
        float clipped = __builtin_fmaxf(__builtin_fminf(value, limit), -limit);
        values[i] = value == value ? clipped : value;
    }
}

template <typename T, Pairing PAIRING, uint32_t WIDTH>
__device__ inline void rope_heads(const RopeParams &p, Token &token) {
    uint32_t lanes = p.head_dim / 2 / WIDTH;
    uint32_t rows = ROPE_THREADS / lanes;
    uint32_t row = workitem_id_x() / lanes;
    uint32_t lane = workitem_id_x() - row * lanes;
    uint32_t low = lane * WIDTH, high = low + p.head_dim / 2;

    uint32_t begin = workgroup_id_y() * p.heads_per_block;
    uint32_t end = min(begin + p.heads_per_block, p.q_heads + 2 * p.kv_heads);
    uint32_t head = row < rows ? begin + row : end;
    uint64_t qkv_row = workgroup_id_x() * p.qkv_stride;

    HeadPart<T, WIDTH> parts[HEADS_IN_FLIGHT];
    auto fetch = [&] {
#pragma unroll
        for (uint32_t i = 0; i < HEADS_IN_FLIGHT; ++i) {
            uint32_t other = head + i * rows;
            if (other < end) {
                uint64_t first = qkv_row + uint64_t(other) * p.head_dim;
                parts[i].low = load<T, WIDTH>(p.qkv, first + low);
                parts[i].high = load<T, WIDTH>(p.qkv, first + high);
            }
        }
    };

    fetch();
    describe_token<PAIRING, WIDTH>(p, token);
    workgroup_barrier();

    while (head < end) {
#pragma unroll
        for (uint32_t i = 0; i < HEADS_IN_FLIGHT; ++i) {
            uint32_t other = head + i * rows;
            void *to = p.qkv;
            uint64_t first = qkv_row + uint64_t(other) * p.head_dim;
            uint64_t slot = 0;
            if (other >= p.q_heads + p.kv_heads) {
                to = p.v_cache;
                slot = token.v_offset;
                first = slot + (other - p.q_heads - p.kv_heads) * p.v_head_stride;
            } else if (other >= p.q_heads) {
                to = p.k_cache;
                slot = token.k_offset;
                first = slot + (other - p.q_heads) * p.k_head_stride;
            }
            if (other < end && slot != NO_SLOT) {
                float low_values[WIDTH], high_values[WIDTH];
                unpack(parts[i].low, low_values);
                unpack(parts[i].high, high_values);
                clip(p.clip, low_values);
                clip(p.clip, high_values);
                if (other < p.q_heads + p.kv_heads) {
                    rotate<PAIRING>(token, lane, lanes, low_values, high_values);
                }
                pack(low_values, parts[i].low);
                pack(high_values, parts[i].high);
                store<T, WIDTH>(to, first + low, parts[i].low);
                store<T, WIDTH>(to, first + high, parts[i].high);
            }
        }
        head += HEADS_IN_FLIGHT * rows;
        fetch();
    }
}

template <typename T, Pairing PAIRING>
__device__ inline void rope(const RopeParams &p) {
    __shared__ Token token;
    if (p.head_dim / 2 % WIDEST<T> == 0) {
        rope_heads<T, PAIRING, WIDEST<T>>(p, token);
    } else {
        rope_heads<T, PAIRING, 4>(p, token);
    }
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_bf16(const RopeParams p) {
    rope<bf16, Pairing::HALVES>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_f16(const RopeParams p) {
    rope<f16, Pairing::HALVES>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_f32(const RopeParams p) {
    rope<float, Pairing::HALVES>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_bf16_interleaved(const RopeParams p) {
    rope<bf16, Pairing::NEIGHBOURS>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_f16_interleaved(const RopeParams p) {
    rope<f16, Pairing::NEIGHBOURS>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROPE_THREADS, ROPE_THREADS))) void
rope_f32_interleaved(const RopeParams p) {
    rope<float, Pairing::NEIGHBOURS>(p);
}
