// The order of the tiles of several experts' products, in plain C: the same on the host, under CUDA and under HIP.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_GROUPED_TILES_H
#define EXPERTILE_GROUPED_TILES_H

#include "linear_tiles.h"
#include "routing.h"

// The rows of an expert.
typedef struct GroupedSpan {
    uint32_t first;
    uint32_t end;
} GroupedSpan;

static inline EXPERTILE_DEVICE uint32_t expertile_grouped_clamp(int32_t offset, uint32_t low,
                                                                uint32_t high) {
    uint32_t value = offset < 0 ? 0 : (uint32_t)offset;
    value = value < low ? low : value;
    return value < high ? value : high;
}

// Those of offsets[expert] to offsets[expert + 1], of which none is beyond `rows`.
static inline EXPERTILE_DEVICE GroupedSpan expertile_grouped_span(const int32_t *offsets,
                                                                  uint32_t expert, uint32_t rows) {
    GroupedSpan span;
    span.first = expertile_grouped_clamp(offsets[expert], 0, rows);
    span.end = expertile_grouped_clamp(offsets[expert + 1], span.first, rows);
    return span;
}

// Where an expert stands among all.
typedef struct GroupedPlace {
    uint32_t rank;   // experts before it: with more rows, or with as many and a smaller number
    uint32_t start;  // their tiles of 1 << tile_shift rows
    uint32_t total;  // all experts' tiles
} GroupedPlace;

// counts[e] are the rows of expert e; together fewer than 2^31.
static inline EXPERTILE_DEVICE GroupedPlace expertile_grouped_place(const uint32_t *counts,
                                                                    uint32_t experts, uint32_t expert,
                                                                    uint32_t tile_shift) {
    GroupedPlace place = {0, 0, 0};
    uint32_t own = counts[expert];
    for (uint32_t other = 0; other < experts; ++other) {
        uint32_t rows = counts[other];
        uint32_t tiles = expertile_tiles_of(rows, tile_shift);
        uint32_t before = rows > own || (rows == own && other < expert);
        place.total += tiles;
        place.rank += before;
        place.start += before ? tiles : 0;
    }
    return place;
}

// A tile of a product.
typedef struct GroupedTile {
    uint32_t rank;    // of its expert
    uint32_t row;     // tiles of rows before it in the expert
    uint32_t column;  // tiles of features before it
} GroupedTile;

// The tile of a number below starts[experts] * columns. starts[i] are the tiles of rows before the expert of
// rank i. An expert's tiles follow each other, panel after panel of rows, in a panel column after column.
static inline EXPERTILE_DEVICE GroupedTile expertile_grouped_tile(const uint32_t *starts,
                                                                  uint32_t experts, uint32_t columns,
                                                                  uint32_t panel, uint64_t number) {
    GroupedTile tile;
    tile.rank = expertile_expert_of_tile(starts, experts, (uint32_t)(number / columns));
    LinearTiles tiles;
    tiles.rows = starts[tile.rank + 1] - starts[tile.rank];
    tiles.columns = columns;
    tiles.panel = panel;
    tiles.count = (uint64_t)tiles.rows * columns;
    LinearTile place =
        expertile_linear_tile(tiles, number - (uint64_t)starts[tile.rank] * columns);
    tile.row = place.row;
    tile.column = place.column;
    return tile;
}

#endif
