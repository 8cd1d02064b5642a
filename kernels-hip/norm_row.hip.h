// What layer_norm.hip and rms_norm.hip share: how a row is spread over a workgroup, fetched and
// added.
//
//   thread         0          1     ...   threads - 1 |     0      ...
//   vector 0   [0 .. 8)   [8 .. 16) ...               |                    (2-byte elements)
//   vector 1                                          | [8 * threads .. )
//
// Each vector is 16 bytes, so an access of a wave is 1 KiB in one piece. The last vectors lie
// beyond the row if hidden is no multiple of 16 * 64: those count as zero. Their threads stay all
// the same: sums take whole waves (wave_sum), and every thread comes to the barriers.

#pragma once

#include "common.hip.h"
#include "kernels.h"

// One thread's part of a row, as stored.
template <typename T>
struct RowPart {
    static constexpr uint32_t VECTORS = NORM_ELEMENTS_PER_THREAD / WIDEST<T>;
    Packed<T, WIDEST<T>> vectors[VECTORS];
};

template <typename T>
__device__ inline const void *row_of(const void *base, uint32_t row, uint64_t stride) {
    return static_cast<const T *>(base) + row * stride;
}

template <typename T>
__device__ inline void *row_of(void *base, uint32_t row, uint64_t stride) {
    return static_cast<T *>(base) + row * stride;
}

// The index of the first element of a thread's vector.
template <typename T>
__device__ inline uint32_t first_element(uint32_t vector) {
    return (vector * workgroup_size_x() + workitem_id_x()) * WIDEST<T>;
}

template <typename T>
__device__ inline void load_row(const void *row, uint32_t hidden, RowPart<T> &part) {
#pragma unroll
    for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
        uint32_t element = first_element<T>(v);
        if (element < hidden) {
            part.vectors[v] = load<T, WIDEST<T>>(row, element);
        } else {
            part.vectors[v] = {};
        }
    }
}

// Two-byte elements: a row is fetched before the one ahead of it is finished, into registers, so
// that its loads are in flight while the workgroup waits at barriers. Four-byte elements would take
// 71 registers, and over 64 a SIMD has no room for 8 waves; their rows are as many bytes in flight
// without it.
template <typename T>
constexpr bool FETCHES_AHEAD = sizeof(T) == 2;

// A row and what is to be added to it, on their way from memory.
template <typename T>
struct PendingRow {
    RowPart<T> x;
    RowPart<T> residual;

    __device__ void load(const NormParams &p, uint32_t row) {
        load_row(row_of<T>(p.x, row, p.x_stride), p.hidden, x);
        if (FETCHES_AHEAD<T> && p.residual != nullptr) {
            load_row(row_of<T>(p.residual, row, p.residual_stride), p.hidden, residual);
        }
    }
};

// Adds the residual and rounds to T, since that is what the next operator reads; stores the sum if
// it is wanted.
template <typename T>
__device__ inline RowPart<T> add_residual(const NormParams &p, uint32_t row,
                                          const PendingRow<T> &pending) {
    RowPart<T> sum = pending.x;
    if (p.residual != nullptr) {
        const void *residual_row = row_of<T>(p.residual, row, p.residual_stride);
#pragma unroll
        for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
            uint32_t element = first_element<T>(v);
            Packed<T, WIDEST<T>> added = pending.residual.vectors[v];
            if (!FETCHES_AHEAD<T> && element < p.hidden) {
                added = load<T, WIDEST<T>>(residual_row, element);
            }
            float x[WIDEST<T>], residual[WIDEST<T>];
            unpack(pending.x.vectors[v], x);
            unpack(added, residual);
#pragma unroll
            for (uint32_t i = 0; i < WIDEST<T>; ++i) {
                x[i] += residual[i];
            }
            pack(x, sum.vectors[v]);
        }
    }
    if (p.sum != nullptr) {
        void *sum_row = row_of<T>(p.sum, row, p.sum_stride);
#pragma unroll
        for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
            uint32_t element = first_element<T>(v);
            if (element < p.hidden) {
                store<T, WIDEST<T>>(sum_row, element, sum.vectors[v]);
            }
        }
    }
    return sum;
}

// The sum over the row.
template <typename T>
__device__ inline float row_sum(const RowPart<T> &part, float (&partials)[MAX_WAVES]) {
    float sum = 0.0f;
#pragma unroll
    for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
        float x[WIDEST<T>];
        unpack(part.vectors[v], x);
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<T>; ++i) {
            sum += x[i];
        }
    }
    return workgroup_sum(sum, partials);
}

// The sum of (x - center)^2 over the row.
template <typename T>
__device__ inline float sum_of_squares(const RowPart<T> &part, float center, uint32_t hidden,
                                       float (&partials)[MAX_WAVES]) {
    float sum = 0.0f;
#pragma unroll
    for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
        float x[WIDEST<T>];
        unpack(part.vectors[v], x);
        if (first_element<T>(v) < hidden) {
#pragma unroll
            for (uint32_t i = 0; i < WIDEST<T>; ++i) {
                float deviation = x[i] - center;
                sum = __builtin_fmaf(deviation, deviation, sum);
            }
        }
    }
    return workgroup_sum(sum, partials);
}

struct CenterAndScale {
    float center;
    float scale;
};

// out = (x - center) * scale * weight, rounded once.
template <typename T>
__device__ inline void store_normalized(const NormParams &p, uint32_t row, const RowPart<T> &part,
                                        CenterAndScale by, const RowPart<T> &weight) {
#pragma unroll
    for (uint32_t v = 0; v < RowPart<T>::VECTORS; ++v) {
        float x[WIDEST<T>], w[WIDEST<T>];
        unpack(part.vectors[v], x);
        unpack(weight.vectors[v], w);
#pragma unroll
        for (uint32_t i = 0; i < WIDEST<T>; ++i) {
            x[i] = (x[i] - by.center) * by.scale * w[i];
        }
        uint32_t element = first_element<T>(v);
        if (element < p.hidden) {
            Packed<T, WIDEST<T>> out;
            pack(x, out);
            store<T, WIDEST<T>>(row_of<T>(p.out, row, p.out_stride), element, out);
        }
    }
}

// Normalises the rows workgroup_id_x(), + workgroup_count_x(), ...
//
// statistics(part) gives the center and the scale of a row, after sums over the workgroup.
template <typename T, typename Statistics>
__device__ inline void normalize_rows(const NormParams &p, Statistics statistics) {
    if (workgroup_id_x() >= p.tokens) {
        return;
    }
    PendingRow<T> pending = {};
    if (FETCHES_AHEAD<T>) {
        pending.load(p, workgroup_id_x());
    }
    RowPart<T> weight;
    load_row(p.weight, p.hidden, weight);

    for (uint32_t row = workgroup_id_x();; row += workgroup_count_x()) {
        if (!FETCHES_AHEAD<T>) {
            pending.load(p, row);
        }
        RowPart<T> part = add_residual(p, row, pending);
        bool last = p.tokens - row <= workgroup_count_x();
        if (FETCHES_AHEAD<T> && !last) {
            pending.load(p, row + workgroup_count_x());
        }
        CenterAndScale result = statistics(part);
        store_normalized(p, row, part, result, weight);
        if (last) {
            return;
        }
    }
}
