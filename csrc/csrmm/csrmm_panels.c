/* csrmm_panels.c - the driver: panels of columns of x, copied (or transposed) into scratch, through a micro-kernel. */
#include "csrmm.h"

enum {
    CSRMM_TALL = 1 << 22, /* max k of which a panel is made */
    CSRMM_OWN = 1 << 20,  /* max nonzeros whose columns are copied to scratch, */
    CSRMM_AGAIN = 3       /* if so many panels at least read them */
};

typedef struct {
    size_t vectors, panels, rows, groups; /* as in spmm_panels.c */
} csrmm_split;

static size_t csrmm_panels_lanes(const pcx_csrmm_args *p, const csrmm_micro *micro)
{
    return micro->bytes / pcx_dtype_bytes(p->t);
}

/* Of `all` vectors. */
static size_t csrmm_panels_count(const pcx_csrmm_args *p, const csrmm_micro *micro, size_t all)
{
    if (micro->deep && p->k > micro->deep)
        return max_size(1, all / micro->vectors_of_deep);
    return ceil_div(all, micro->vectors);
}

static csrmm_split csrmm_panels_split(const pcx_csrmm_args *p, const csrmm_micro *micro)
{
    enum { UNITS = 32, MIN = 1 << 16 }; /* wanted units; min. products of one */
    csrmm_split s = { 0 };
    if (!p->n || !p->m)
        return s;
    s.vectors = ceil_div(p->m, csrmm_panels_lanes(p, micro));
    s.panels = csrmm_panels_count(p, micro, s.vectors);
    const size_t columns = ceil_div(p->m, s.panels);
    const size_t worth = max_size(1, p->nnz / MIN * columns + p->nnz % MIN * columns / MIN);
    s.rows = ceil_div(p->n, min_size(ceil_div(UNITS, s.panels), worth));
    s.groups = ceil_div(p->n, s.rows);
    return s;
}

/* The bytes of the columns in scratch, or 0. */
static size_t csrmm_panels_own(const pcx_csrmm_args *p, size_t panels)
{
    return panels >= CSRMM_AGAIN && p->nnz <= CSRMM_OWN ? round_up(p->nnz * sizeof(int32_t), 64) : 0;
}

static int csrmm_panels_is_vector(const pcx_csrmm_args *p) { return p->m == 1 && p->ldx == 1; }

size_t csrmm_panels_units(const void *args, const csrmm_micro *micro)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = csrmm_panels_split(p, micro);
    return p->k > CSRMM_TALL && !csrmm_panels_is_vector(p) ? p->n : s.panels * s.groups;
}

size_t csrmm_panels_scratch(const void *args, const csrmm_micro *micro)
{
    const pcx_csrmm_args *p = args;
    const size_t all = ceil_div(p->m, csrmm_panels_lanes(p, micro));
    if (!all || p->k > CSRMM_TALL || csrmm_panels_is_vector(p))
        return 0;
    const size_t panels = csrmm_panels_count(p, micro, all);
    return csrmm_panels_own(p, panels) + ceil_div(all, panels) * micro->bytes * p->k;
}

void csrmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const csrmm_micro *micro)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = csrmm_panels_split(p, micro);
    const size_t size = pcx_dtype_bytes(p->t), lanes = csrmm_panels_lanes(p, micro);
    const int type = p->t == PCX_F64;
    if (csrmm_panels_is_vector(p)) {
        micro->vector[type](p, begin * s.rows, min_size(end * s.rows, p->n));
        return;
    }
    if (p->k > CSRMM_TALL) {
        csrmm_scalar(args, begin, end, scratch);
        return;
    }
    const size_t bytes = csrmm_panels_own(p, s.panels);
    const int own = bytes && end - begin >= CSRMM_AGAIN * s.groups;
    pcx_csrmm_args mine = *p;
    if (own) {
        csrmm_columns(p, 0, p->nnz, scratch);
        mine.index = scratch;
    }
    scratch = (char *)scratch + bytes;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t panel = unit / s.groups, less = s.vectors / s.panels, more = s.vectors % s.panels;
        const size_t column = (panel * less + min_size(panel, more)) * lanes;
        const size_t columns = min_size((less + (panel < more)) * lanes, p->m - column);
        const size_t first = unit % s.groups * s.rows, last = min_size(first + s.rows, p->n);
        if (unit == begin || !first) {
            if (!type && p->ldx == 1 && columns >= lanes)
                micro->transpose(p, column, columns, lanes, scratch);
            else
                micro->fill[type](p, column, columns, scratch);
        }
        micro->rows[type](&mine, own, first, last, scratch, (char *)p->out + (first * p->ldo + column) * size, columns);
    }
}
