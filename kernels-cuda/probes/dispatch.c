// dispatch by routing.h as the host computes it: the integers of the kernels, one pair after the other.

#include "../routing.h"

// tiles holds expertile_max_tiles(...) pairs of numbers, offsets and starts one more than experts.
void expertile_host_dispatch(const int32_t *ids, uint32_t pair_count, uint32_t first,
                             uint32_t experts, uint32_t tile_shift, int32_t *pairs, int32_t *rows,
                             int32_t *offsets, int32_t *counts, int32_t *tiles, uint32_t *starts) {
    for (uint32_t e = 0; e < experts; ++e) {
        counts[e] = 0;
    }
    for (uint32_t pair = 0; pair < pair_count; ++pair) {
        uint32_t expert = expertile_local_expert(ids[pair], first, experts);
        if (expert != EXPERTILE_NO_EXPERT) {
            ++counts[expert];
        }
    }
    offsets[0] = 0;
    starts[0] = 0;
    for (uint32_t e = 0; e < experts; ++e) {
        offsets[e + 1] = offsets[e] + counts[e];
        starts[e + 1] = starts[e] + expertile_tiles_of((uint32_t)counts[e], tile_shift);
        counts[e] = offsets[e];  // the next row of the expert
    }
    for (uint32_t pair = 0; pair < pair_count; ++pair) {
        uint32_t expert = expertile_local_expert(ids[pair], first, experts);
        rows[pair] = expert == EXPERTILE_NO_EXPERT ? -1 : counts[expert]++;
        if (rows[pair] >= 0) {
            pairs[rows[pair]] = (int32_t)pair;
        }
    }
    for (int32_t row = offsets[experts]; row < (int32_t)pair_count; ++row) {
        pairs[row] = -1;
    }
    uint32_t max_tiles = (uint32_t)expertile_max_tiles(pair_count, experts, tile_shift);
    for (uint32_t tile = 0; tile < max_tiles; ++tile) {
        int32_t expert = -1, first_row = -1;
        if (tile < starts[experts]) {
            uint32_t e = expertile_expert_of_tile(starts, experts, tile);
            expert = (int32_t)e;
            first_row = offsets[e] + (int32_t)((tile - starts[e]) << tile_shift);
        }
        tiles[2 * tile] = expert;
        tiles[2 * tile + 1] = first_row;
    }
    for (uint32_t e = 0; e < experts; ++e) {
        counts[e] -= offsets[e];
    }
}
