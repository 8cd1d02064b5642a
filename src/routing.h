// The integers of dispatch in plain C: the same on the host, under CUDA and under HIP.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_ROUTING_H
#define EXPERTILE_ROUTING_H

#include <stdint.h>

#ifndef EXPERTILE_DEVICE
#define EXPERTILE_DEVICE
#endif

#define EXPERTILE_NO_EXPERT 0xffffffffu

// The number of an expert among the local ones, first to first + experts; EXPERTILE_NO_EXPERT for
// any other id. No end passes 2^31, so an id below first or 0 becomes a number of at least experts.
static inline EXPERTILE_DEVICE uint32_t expertile_local_expert(int32_t id, uint32_t first,
                                                               uint32_t experts) {
    uint32_t expert = (uint32_t)id - first;
    return expert < experts ? expert : EXPERTILE_NO_EXPERT;
}

// The tiles of 1 << tile_shift rows that an expert's rows fill, the last one in part. Rows are
// fewer than 2^31.
static inline EXPERTILE_DEVICE uint32_t expertile_tiles_of(uint32_t rows, uint32_t tile_shift) {
    return (rows + (1u << tile_shift) - 1) >> tile_shift;
}

// The expert that a tile belongs to. starts[e] counts the tiles of the experts before e, so it
// ascends, not strictly; tile is less than starts[experts].
static inline EXPERTILE_DEVICE uint32_t expertile_expert_of_tile(const uint32_t *starts,
                                                                 uint32_t experts, uint32_t tile) {
    uint32_t low = 0, high = experts;  // starts[low] <= tile < starts[high]
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (starts[middle] <= tile) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// The most tiles that any routing of so many pairs has: each expert with a row ends in one tile
// that may not be full, and the full ones have all the rows.
static inline EXPERTILE_DEVICE uint64_t expertile_max_tiles(uint64_t pairs, uint64_t experts,
                                                            uint32_t tile_shift) {
    return (pairs >> tile_shift) + (experts < pairs ? experts : pairs);
}

#endif
