/* amx.h - AMX: how tiles are configured and what is left behind; how k is cut into tiles. */
#ifndef PCX_AMX_H
#define PCX_AMX_H

#include "pcx.h"

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64, AMX_STEPS = 16 }; /* a step is four bytes of k */

typedef struct {
    uint8_t palette, start_row, reserved[14]; /* palette 0: no tiles */
    uint16_t bytes[16];                       /* of a row; 0 where `rows` is */
    uint8_t rows[16];
} amx_config;
_Static_assert(sizeof(amx_config) == 64, "as ldtilecfg reads it");

static inline void amx_config_tile(amx_config *c, size_t tile, size_t rows, size_t bytes)
{
    c->palette = 1;
    c->rows[tile] = (uint8_t)rows;
    c->bytes[tile] = (uint16_t)bytes;
}

/*
 * The thread's tiles during a call of `run`.  They are left as they were found: other libraries configure a thread's
 * tiles once and rely on it, and tiles in use slow down context switches.
 */
typedef struct {
    amx_config found, now;
} amx_tiles;

#if PCX_X86
static inline void amx_enter(amx_tiles *t)
{
    PCX_TILES_FOUND(&t->found);
    memset(&t->now, 0, sizeof t->now);
}

/* From here on tiles are of these shapes; their contents are lost if the shapes change. */
static inline void amx_configure(amx_tiles *t, const amx_config *c)
{
    if (!memcmp(&t->now, c, sizeof *c))
        return;
    t->now = *c;
    PCX_TILES_CONFIGURE(&t->now);
}

static inline void amx_leave(const amx_tiles *t)
{
    if (t->found.palette)
        PCX_TILES_CONFIGURE(&t->found);
    else if (t->now.palette)
        PCX_TILES_RELEASE();
}
#endif

/* Rows in tiles as equal as can be: tile t begins at row min(t * rows, last).  The last ones may overlap. */
typedef struct {
    size_t rows, last, count;
} amx_split;

/* `count` is a multiple of `together`. */
static inline amx_split amx_split_make(size_t rows, size_t together)
{
    const size_t count = round_up(ceil_div(rows, AMX_ROWS), together), each = ceil_div(rows, count);
    return (amx_split){ each, rows - each, count };
}

/* Steps that stand side by side, in chunks that a tile holds: `count` of `steps`, and one of `rest` steps unless 0. */
typedef struct {
    size_t steps, count, rest;
} amx_chunks;

/*
 * A product of tiles takes as long for few steps as for many, so chunks are as few as can be; all alike where at most
 * an eighth more of them are.
 */
static inline amx_chunks amx_chunks_make(size_t steps)
{
    const size_t few = ceil_div(steps, AMX_STEPS);
    for (size_t count = few; count && count <= few + few / 8; count++)
        if (steps % count == 0)
            return (amx_chunks){ steps / count, count, 0 };
    return (amx_chunks){ AMX_STEPS, steps / AMX_STEPS, steps % AMX_STEPS };
}

#endif
