// Packets: rows on their way to another device. Reference: src/tests/packet.rs. Contract:
// PacketPackParams, PacketUnpackParams.
//
// packet_any_pack: packets[r] = x[pairs[r] / top_k], then the trailer of pair pairs[r], for every row r
// that dispatch counted. packet_any_unpack takes them apart again. Nothing is computed.
//
// Mapping: a packet has 2^lane_bits threads, each with every 2^lane_bits-th vector of it, four at
// a time; the first one has the trailer as well.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 40 sm_80, 40 sm_89, 42 sm_90a.
// Keeps: LDG.E.128, STG.E.128; in PTX: ld.global.v4, st.global.v4.
// Bound: memory. Each byte of a packet is read once and written once. If rows of packets are no
// whole multiples of 32 B, every second one is written across sectors: 17 for 16.

#include "common.cuh"
#include "kernels.h"

constexpr uint32_t IN_FLIGHT = 4;

// 16 bytes of no matter what.
using Vector = Packed<float, 4>;

// Where a thread stands: its packets are first, + step, ..., its vectors lane, + lanes, ...
struct Place {
    uint32_t lanes;
    uint32_t lane;
    uint64_t first;
    uint64_t step;
};

__device__ inline Place place_of(uint32_t lane_bits) {
    uint32_t lanes = 1u << lane_bits;
    uint64_t at_once = PACKET_THREADS >> lane_bits;
    return {lanes, threadIdx.x & (lanes - 1), blockIdx.x * at_once + (threadIdx.x >> lane_bits),
            gridDim.x * at_once};
}

// Copies the thread's vectors of a row.
__device__ inline void copy_row(void *to, uint64_t to_first, const void *from, uint64_t from_first,
                                uint32_t vectors, const Place &place) {
    for (uint32_t begin = place.lane; begin < vectors; begin += IN_FLIGHT * place.lanes) {
        Vector parts[IN_FLIGHT];
#pragma unroll
        for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
            uint32_t vector = begin + i * place.lanes;
            if (vector < vectors) {
                parts[i] = load<float, 4>(from, 4 * (from_first + vector));
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
            uint32_t vector = begin + i * place.lanes;
            if (vector < vectors) {
                store<float, 4>(to, 4 * (to_first + vector), parts[i]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(PACKET_THREADS)
    packet_any_pack(const __grid_constant__ PacketPackParams p) {
    Place place = place_of(p.lane_bits);
    uint32_t count = static_cast<uint32_t>(max(p.row_count[0], 0));
    uint32_t rows = min(min(count, p.packet_count), p.pair_count);
    for (uint64_t row = place.first; row < rows; row += place.step) {
        uint32_t pair = static_cast<uint32_t>(p.pairs[row]);
        if (pair >= p.pair_count) {
            continue;
        }
        uint64_t packet = row * p.packet_stride;
        copy_row(p.packets, packet, p.x, (pair / p.top_k) * p.x_stride, p.vectors, place);
        if (place.lane == 0) {
            Vector trailer;
            trailer.words[0] = pair;
            trailer.words[1] = static_cast<uint32_t>(p.ids[pair]);
            trailer.words[2] = __float_as_uint(p.weights[pair]);
            trailer.words[3] = 0;
            store<float, 4>(p.packets, 4 * (packet + p.vectors), trailer);
        }
    }
}

extern "C" __global__ void __launch_bounds__(PACKET_THREADS)
    packet_any_unpack(const __grid_constant__ PacketUnpackParams p) {
    Place place = place_of(p.lane_bits);
    for (uint64_t row = place.first; row < p.packet_count; row += place.step) {
        uint64_t packet = row * p.packet_stride;
        copy_row(p.x, row * p.x_stride, p.packets, packet, p.vectors, place);
        if (place.lane == 0) {
            Vector trailer = load<float, 4>(p.packets, 4 * (packet + p.vectors));
            p.pairs[row] = static_cast<int32_t>(trailer.words[0]);
            p.ids[row] = static_cast<int32_t>(trailer.words[1]);
            p.weights[row] = __uint_as_float(trailer.words[2]);
        }
    }
}
