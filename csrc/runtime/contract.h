/* contract.h - a kernel's contract, read and applied to an argument struct. */
#ifndef PCX_CONTRACT_H
#define PCX_CONTRACT_H

#include "../common/pcx.h"

enum { CONTRACT_SLOTS = 64, CONTRACT_DIMS = 8 };

/* A piece of the contract's text. */
typedef struct {
    const char *text;
    size_t length;
} span;

typedef enum { SLOT_SIZE, SLOT_ARRAY, SLOT_PREPARED, SLOT_FAULT } slot_kind;

typedef struct {
    span name;
    slot_kind kind;
    int optional;
    int output;      /* its name begins with "out" */
    uint32_t types;  /* bit PCX_U8 and so on: the types it may have */
    span type_size;  /* names the size slot that says which, or empty */
    span dims;       /* "m:lda,k" */
    span below;      /* every value is less than this, or empty */
} contract_slot;

typedef struct {
    contract_slot slot[CONTRACT_SLOTS];
    size_t count;
    size_t prepared, w; /* their slots; `count` where there is none */
    const char *where;  /* conditions, "" if none */
} contract;

/* PCX_* by its word, "f32", or with capitals "F32"; 0: unknown. */
size_t dtype_named(span word, int capitals);

/* Whether the text could be read; all of ours can. */
int contract_read(contract *c, const char *text);

/* The layout of one array. */
typedef struct {
    size_t type, element; /* PCX_*, bytes */
    size_t bytes;         /* from its first byte to its last */
    size_t count;         /* elements; more than fit in `bytes` where strides let them overlap */
    size_t rank;
    uint64_t length[CONTRACT_DIMS], stride[CONTRACT_DIMS]; /* stride: in elements */
} extent;

/* Apply to `slots`, whose sizes are set.  0 where a type is none of the list or a number overflows. */
int contract_extent(const contract *c, const uint64_t *slots, const contract_slot *slot, extent *e);

/* The value of `below`, 0 where it overflows. */
uint64_t contract_limit(const contract *c, const uint64_t *slots, const contract_slot *slot);

/* Whether all conditions hold; if not, `broken` is the one that does not. */
int contract_holds(const contract *c, const uint64_t *slots, span *broken);

/* Whether `slot`'s dimensions or type mention the size `name`. */
int contract_mentions(const contract_slot *slot, span name);

#endif
