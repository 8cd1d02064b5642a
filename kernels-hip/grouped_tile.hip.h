// What the kernels of experts' products share: rows gathered and weights joined on their way to LDS, and what
// becomes of the sums.

#pragma once

#include "grouped_order.hip.h"
#include "linear_tile.hip.h"

#include "activation.h"

// Of a wave, in a scalar register.
__device__ inline uint32_t wave_id() {
    return readlane_u32(workitem_id_x() / WAVE_THREADS, 0);
}

// A tile of x, on its way: the rows of x that a tile of out has, each from where it lies. A row that there is
// not, and k beyond in_features, is 0.
template <bool UP, uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Gathered {
    static constexpr uint32_t PIECES = K / PIECE;
    static constexpr uint32_t OWN = ROWS * PIECES / THREADS;
    const uint16_t *rows[OWN];  // from the thread's piece on; or null
    Words words[OWN];

    // down: a row's own.
    __device__ void find(const GroupedGemmParams &p, const GroupedWork &work, uint32_t thread) {
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            uint32_t row = work.row + (i * THREADS + thread) / PIECES;
            uint32_t source = row;
            bool is_there = row < work.end;
            if (UP && is_there) {
                int32_t pair = p.pairs[row];
                source = static_cast<uint32_t>(pair) / p.top_k;
                is_there = pair >= 0 && source < p.x_rows;
            }
            const uint16_t *piece =
                static_cast<const uint16_t *>(p.x) + thread % PIECES * PIECE;
            rows[i] = is_there ? piece + source * p.x_stride : nullptr;
        }
    }

    __device__ void turn_to(const Gathered &other) {
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            rows[i] = other.rows[i];
        }
    }

    __device__ void load(const GroupedGemmParams &p, uint32_t k, uint32_t thread) {
        bool is_inside = k + thread % PIECES * PIECE < p.in_features;
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            words[i] = Words{};
            if (is_inside && rows[i] != nullptr) {
                words[i] = *reinterpret_cast<const Words *>(rows[i] + k);
            }
        }
    }

    // The first `count` rows, a multiple of those that the threads have one piece of.
    template <bool TURNED>
    __device__ void store(Rows<ROWS, K, TURNED> &to, uint32_t count, uint32_t thread) const {
#pragma unroll
        for (uint32_t i = 0; i < OWN && i * THREADS / PIECES < count; ++i) {
            uint32_t at = i * THREADS + thread;
            to.words[to.place(at / PIECES, at % PIECES)] = words[i];
        }
    }
};

// A tile of weights that lie as rows of k, on its way. up: the first half of the threads reads the gate's weight,
// the second that of up; LDS has GROUP rows of one, then those of the other for the same features. Rows beyond the
// last and k beyond in_features are 0.
template <bool UP, uint32_t GROUP, uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Lying {
    static constexpr uint32_t PIECES = K / PIECE;
    static constexpr uint32_t OWN = ROWS * PIECES / THREADS;
    static constexpr uint32_t STEP = THREADS / PIECES / (UP ? 2 : 1);  // features from one piece to the next
    const uint16_t *first;
    uint32_t feature;
    Words words[OWN];

    // Of a whole wave: a scalar.
    __device__ static bool is_of_up(uint32_t thread) {
        return UP && readlane_u32(thread / (THREADS / 2), 0) == 1;
    }

    __device__ void find(const GroupedGemmParams &p, const GroupedWork &work, uint32_t thread) {
        bool is_up = is_of_up(thread);
        feature = work.feature + thread / PIECES % STEP;
        uint64_t stride = is_up ? p.up_weight_stride : p.weight_stride;
        uint64_t expert_stride = is_up ? p.up_weight_expert_stride : p.weight_expert_stride;
        first = static_cast<const uint16_t *>(is_up ? p.up_weight : p.weight);
        first += work.expert * expert_stride + feature * stride + thread % PIECES * PIECE;
    }

    __device__ void turn_to(const Lying &other) {
        first = other.first;
        feature = other.feature;
    }

    __device__ void load(const GroupedGemmParams &p, uint32_t k, uint32_t thread) {
        bool is_up = is_of_up(thread);
        uint64_t stride = is_up ? p.up_weight_stride : p.weight_stride;
        bool is_inside = k + thread % PIECES * PIECE < p.in_features;
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            words[i] = Words{};
            if (is_inside && feature + i * STEP < p.out_features) {
                words[i] = *reinterpret_cast<const Words *>(first + i * STEP * stride + k);
            }
        }
    }

    __device__ void store(Rows<ROWS, K> &to, uint32_t thread) const {
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            uint32_t own = i * STEP + thread / PIECES % STEP, row = own;
            if (UP) {
                row = own / GROUP * 2 * GROUP + (is_of_up(thread) ? GROUP : 0) + own % GROUP;
            }
            to.words[to.place(row, thread % PIECES)] = words[i];
        }
    }
};

// The same of a weight whose rows are of one k.
template <uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Standing {
    Turned<ROWS, K, THREADS> part;
    const uint16_t *base;
    uint32_t feature;

    __device__ void find(const GroupedGemmParams &p, const GroupedWork &work, uint32_t) {
        base = static_cast<const uint16_t *>(p.weight) + work.expert * p.weight_expert_stride;
        feature = work.feature;
    }

    __device__ void turn_to(const Standing &other) {
        base = other.base;
        feature = other.feature;
    }

    __device__ void load(const GroupedGemmParams &p, uint32_t k, uint32_t thread) {
        part.load(base, p.weight_stride, feature, p.out_features, k, p.in_features, thread);
    }

    __device__ void store(Rows<ROWS, K> &to, uint32_t thread) const { part.store(to, thread); }
};

// What a thread brings to LDS.
template <bool UP, bool NN, uint32_t GROUP, uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Operands {
    Gathered<UP, ROWS, K, THREADS> x;
    Lying<UP, GROUP, ROWS, K, THREADS> weight;
};

template <uint32_t GROUP, uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Operands<false, true, GROUP, ROWS, K, THREADS> {
    Gathered<false, ROWS, K, THREADS> x;
    Standing<ROWS, K, THREADS> weight;
};

// Adds a bias to the sums of neighbouring features.
template <typename T, uint32_t COUNT>
__device__ inline void add_bias(const void *bias, uint64_t stride, const GroupedWork &work, uint32_t feature,
                                float (&values)[COUNT]) {
    if (bias == nullptr) {
        return;
    }
    float added[COUNT];
    unpack(load<T, COUNT>(bias, work.expert * stride + feature), added);
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        values[i] += added[i];
    }
}

// up: neighbouring features of a row.
template <typename T, uint32_t COUNT>
__device__ inline void finish_up(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row,
                                 uint32_t feature, float (&gate)[COUNT], float (&up)[COUNT]) {
    if (row >= work.end || feature >= p.out_features) {
        return;
    }
    add_bias<T>(p.bias, p.bias_stride, work, feature, gate);
    add_bias<T>(p.up_bias, p.up_bias_stride, work, feature, up);
    float values[COUNT];
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        values[i] = expertile_activation(p.activation, gate[i], up[i], p.limit, p.alpha);
    }
    Packed<T, COUNT> packed;
    pack(values, packed);
    store<T, COUNT>(p.out, row * p.out_stride + feature, packed);
}

// down: what a row is multiplied by.
__device__ inline float pair_weight(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row) {
    if (p.weights == nullptr || row >= work.end) {
        return 1.0f;
    }
    uint32_t pair = static_cast<uint32_t>(p.pairs[row]);
    return pair < p.pair_count ? p.weights[pair] : 0.0f;
}

// down: four neighbouring features of a row.
template <typename T>
__device__ inline void finish_down(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row,
                                   uint32_t feature, float weight, Sums sums) {
    if (row >= work.end || feature >= p.out_features) {
        return;
    }
    float values[4] = {sums[0], sums[1], sums[2], sums[3]};
    add_bias<T>(p.bias, p.bias_stride, work, feature, values);
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        values[i] *= weight;
    }
    Packed<T, 4> packed;
    pack(values, packed);
    store<T, 4>(p.out, row * p.out_stride + feature, packed);
}
