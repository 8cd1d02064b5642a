// The order of tiles by linear_tiles.h as the host computes it.

#include "../linear_tiles.h"

// extents: tokens, features, a tile's, and the rows of a panel. Returns the tiles; place is the row and the
// column of the one of that number.
uint64_t expertile_host_linear_tile(const uint32_t *extents, uint64_t number, uint32_t *place) {
    LinearTiles tiles =
        expertile_linear_tiles(extents[0], extents[1], extents[2], extents[3], extents[4]);
    if (number < tiles.count) {
        LinearTile tile = expertile_linear_tile(tiles, number);
        place[0] = tile.row;
        place[1] = tile.column;
    }
    return tiles.count;
}
