// Operands in shared memory for the matrix products of sm_80: where they lie.

#pragma once

#include "kernels.h"
#include "ptx_mma.cuh"

// Elements of 16 bytes, the unit that is copied and whose place is chosen.
constexpr uint32_t CHUNK = 8;

// Where a chunk of a tile lies, in bytes; a row has CHUNKS of them, a power of two.
//
// A chunk's place in its row is XORed with the number of the row, or of the 128 bytes if several rows share
// those. So in any eight neighbouring rows, of which ldmatrix reads one chunk each, and in any aligned 128
// bytes, which eight lanes of cp.async write, the eight chunks are in different banks.
template <uint32_t CHUNKS>
__device__ inline uint32_t tile_offset(uint32_t row, uint32_t chunk) {
    static_assert((CHUNKS & (CHUNKS - 1)) == 0, "rows are a power of two long");
    uint32_t place = CHUNKS >= 8 ? row % 8 : row / (8 / CHUNKS) % CHUNKS;
    return (row * CHUNKS + (chunk ^ place)) * (CHUNK * 2);
}
