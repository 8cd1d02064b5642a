// The order of the tiles of experts by grouped_tiles.h, and activation.h, as the host computes them.

#include "../activation.h"
#include "../grouped_tiles.h"

// extents: experts, rows, tile_shift, columns, panel. Returns the tiles; place is the expert, the first row, the end of
// the expert's rows and the column of the one of that number.
uint64_t expertile_host_grouped_tile(const int32_t *offsets, const uint32_t *extents, uint64_t number,
                                     uint32_t *place) {
    uint32_t counts[GROUPED_MAX_EXPERTS], order[GROUPED_MAX_EXPERTS];
    uint32_t starts[GROUPED_MAX_EXPERTS + 1] = {0};
    uint32_t experts = extents[0];
    for (uint32_t expert = 0; expert < experts; ++expert) {
        GroupedSpan span = expertile_grouped_span(offsets, expert, extents[1]);
        counts[expert] = span.end - span.first;
    }
    for (uint32_t expert = 0; expert < experts; ++expert) {
        GroupedPlace own = expertile_grouped_place(counts, experts, expert, extents[2]);
        order[own.rank] = expert;
        starts[own.rank] = own.start;
        starts[experts] = own.total;
    }
    uint64_t count = (uint64_t)starts[experts] * extents[3];
    if (number < count) {
        GroupedTile tile = expertile_grouped_tile(starts, experts, extents[3], extents[4], number);
        GroupedSpan span = expertile_grouped_span(offsets, order[tile.rank], extents[1]);
        place[0] = order[tile.rank];
        place[1] = span.first + (tile.row << extents[2]);
        place[2] = span.end;
        place[3] = tile.column;
    }
    return count;
}

float expertile_host_activation(uint32_t kind, float gate, float up, float limit, float alpha) {
    return expertile_activation(kind, gate, up, limit, alpha);
}
