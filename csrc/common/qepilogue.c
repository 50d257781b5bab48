/* qepilogue.c - qepilogue_row where speed does not matter: one copy of it, for all ISAs. */
#include "qepilogue.h"

void qepilogue_any_row(const qepilogue *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out)
{
    qepilogue_row(t, i, j, cols, acc, out);
}
