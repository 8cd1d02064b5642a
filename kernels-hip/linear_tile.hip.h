// What the kernels of a dense layer share: tiles of operands on their way to LDS, and what becomes of the sums.

#pragma once

#include "kernels.h"
#include "matrix.hip.h"

// 16 bytes: 8 elements along k.
constexpr uint32_t PIECE = 8;
typedef uint32_t Words __attribute__((ext_vector_type(4)));

// A tile in LDS: rows of K elements. Their pieces change places by the row's number, so that lanes that are
// served together meet different banks: those that read a piece of 4 rows and the next piece of 4 others, of
// 8 and 8 on gfx950, whose reads see two rows of 128 bytes at once; and of a TURNED tile those that write a
// piece of every eighth row.
template <uint32_t ROWS, uint32_t K, bool TURNED = true>
struct Rows {
    static constexpr uint32_t PIECES = K / PIECE;
    Words words[ROWS * PIECES];

    __device__ static uint32_t place(uint32_t row, uint32_t piece) {
        uint32_t turned = TURNED ? row % 64 / 16 : 0;
        return row * PIECES + (piece ^ (row ^ row / 2 ^ turned) % PIECES);
    }
    __device__ Words read(uint32_t row, uint32_t piece) const { return words[place(row, piece)]; }
};

// A tile of a matrix of rows of k, on its way. Rows beyond the last are the last again: nobody stores what they
// give. k beyond in_features is 0.
template <uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Straight {
    static constexpr uint32_t PIECES = K / PIECE;
    static constexpr uint32_t OWN = ROWS * PIECES / THREADS;
    Words words[OWN];

    __device__ void load(const void *base, uint64_t stride, uint32_t first, uint32_t rows, uint32_t k,
                         uint32_t in_features) {
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            uint32_t at = i * THREADS + workitem_id_x();
            uint32_t row = min(first + at / PIECES, rows - 1);
            uint32_t column = k + at % PIECES * PIECE;
            words[i] = Words{};
            if (column < in_features) {
                words[i] = *reinterpret_cast<const Words *>(static_cast<const uint16_t *>(base) +
                                                            row * stride + column);
            }
        }
    }

    template <bool TURNED>
    __device__ void store(Rows<ROWS, K, TURNED> &to) const {
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            uint32_t at = i * THREADS + workitem_id_x();
            to.words[to.place(at / PIECES, at % PIECES)] = words[i];
        }
    }
};

// The same of a matrix whose rows are of one k: a thread reads 8 columns of 4 rows, and turns them in registers,
// one v_perm_b32 for two elements. Sixteen threads have 64 columns of 8 rows: what they write at a time is both
// halves of a piece of every eighth row.
template <uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Turned {
    static constexpr uint32_t GROUPS = ROWS / PIECE;
    static constexpr uint32_t OWN = 4;
    static_assert(GROUPS * (K / OWN) == THREADS, "a thread has one part");
    Words words[OWN];

    __device__ static uint32_t own_column(uint32_t thread) {
        return (thread / 16 % (GROUPS / 8) * 8 + thread % 8) * PIECE;
    }
    __device__ static uint32_t own_row(uint32_t thread) {
        return (thread / (2 * GROUPS) * 2 + thread / 8 % 2) * OWN;
    }

    __device__ void load(const void *base, uint64_t stride, uint32_t first, uint32_t columns, uint32_t k,
                         uint32_t in_features, uint32_t thread = workitem_id_x()) {
        uint32_t column = min(first + own_column(thread), columns - PIECE);
        uint32_t row = k + own_row(thread);
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
            words[i] = Words{};
            if (row + i < in_features) {
                words[i] = *reinterpret_cast<const Words *>(static_cast<const uint16_t *>(base) +
                                                            (row + i) * stride + column);
            }
        }
    }

    __device__ void store(Rows<ROWS, K> &to, uint32_t thread = workitem_id_x()) const {
        uint32_t column = own_column(thread), row = own_row(thread);
#pragma unroll
        for (uint32_t i = 0; i < PIECE; ++i) {
            uint32_t select = i % 2 == 0 ? 0x05040100 : 0x07060302;
            Pair pair = {__builtin_amdgcn_perm(words[1][i / 2], words[0][i / 2], select),
                         __builtin_amdgcn_perm(words[3][i / 2], words[2][i / 2], select)};
            Pair *place = reinterpret_cast<Pair *>(&to.words[to.place(column + i, row / PIECE)]);
            place[row / OWN % 2] = pair;
        }
    }
};

// The weight's, by its layout.
template <bool NN, uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Weight {
    typedef Straight<ROWS, K, THREADS> Part;
};

template <uint32_t ROWS, uint32_t K, uint32_t THREADS>
struct Weight<true, ROWS, K, THREADS> {
    typedef Turned<ROWS, K, THREADS> Part;
};

// 32 k of 16 features and 16 tokens: one piece of each lane serves two products, the first takes the first 4 of
// each piece.
template <typename T>
__device__ inline Sums multiply_half(Words weight, Words x, uint32_t half, Sums sums) {
    Pair a = {weight[half * 2], weight[half * 2 + 1]};
    Pair b = {x[half * 2], x[half * 2 + 1]};
    return multiply_16x16x16<T>(a, b, sums);
}

// A lane has four neighbouring features of a token.
template <typename Out>
__device__ inline void finish(const LinearParams &p, uint32_t token, uint32_t feature, Sums sums) {
    if (token >= p.tokens || feature >= p.out_features) {
        return;
    }
    float values[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        float sum = sums[i];
        // Neither bound replaces a NaN.
        sum = sum > p.clamp ? p.clamp : sum;
        values[i] = sum < -p.clamp ? -p.clamp : sum;
    }
    if (p.residual != nullptr) {
        float added[4];
        unpack(load<Out, 4>(p.residual, token * p.residual_stride + feature), added);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            values[i] += added[i];
        }
    }
    Packed<Out, 4> packed;
    pack(values, packed);
    store<Out, 4>(p.out, token * p.out_stride + feature, packed);
}
