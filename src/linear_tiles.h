// The order of the tiles of a product, in plain C: the same on the host, under CUDA and under HIP.
//
// Define EXPERTILE_DEVICE before the inclusion if functions need a qualifier.

#ifndef EXPERTILE_LINEAR_TILES_H
#define EXPERTILE_LINEAR_TILES_H

#include <stdint.h>

#ifndef EXPERTILE_DEVICE
#define EXPERTILE_DEVICE
#endif

typedef struct LinearTiles {
    uint64_t count;
    uint32_t rows;
    uint32_t columns;
    uint32_t panel;
} LinearTiles;

typedef struct LinearTile {
    uint32_t row;
    uint32_t column;
} LinearTile;

// The tiles that cover a matrix of so many tokens and features; `panel` is at least 1. Extents and a
// tile's are below 2^32 together.
static inline EXPERTILE_DEVICE LinearTiles expertile_linear_tiles(uint32_t tokens, uint32_t features,
                                                                  uint32_t tile_tokens,
                                                                  uint32_t tile_features,
                                                                  uint32_t panel) {
    LinearTiles tiles;
    tiles.rows = (tokens + tile_tokens - 1) / tile_tokens;
    tiles.columns = (features + tile_features - 1) / tile_features;
    tiles.panel = panel;
    tiles.count = (uint64_t)tiles.rows * tiles.columns;
    return tiles;
}

// The tile of a number below the count: panels of rows after each other, in a panel column after column,
// the rows of a column together.
static inline EXPERTILE_DEVICE LinearTile expertile_linear_tile(LinearTiles tiles, uint64_t number) {
    uint64_t panel_tiles = (uint64_t)tiles.panel * tiles.columns;
    uint32_t first = (uint32_t)(number / panel_tiles) * tiles.panel;
    uint64_t rest = number % panel_tiles;
    uint32_t rows = tiles.rows - first < tiles.panel ? tiles.rows - first : tiles.panel;
    LinearTile tile;
    tile.row = first + (uint32_t)(rest % rows);
    tile.column = (uint32_t)(rest / rows);
    return tile;
}

#endif
