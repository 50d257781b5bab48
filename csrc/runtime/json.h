/* json.h - JSON as a flat array of nodes, each followed by what it holds. */
#ifndef PCX_JSON_H
#define PCX_JSON_H

#include "reason.h"

enum { JSON_NULL, JSON_BOOL, JSON_INT, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

typedef struct {
    uint32_t kind;
    uint32_t count; /* values of an array, key-value pairs of an object, bytes of a string */
    uint32_t next;  /* the node after this one and all it holds */
    union {
        int64_t number;   /* also 0 or 1 of a bool */
        const char *text; /* UTF-8, no NUL inside, one at the end */
    };
} json_node;

typedef struct {
    json_node *nodes; /* the first is the whole value */
    size_t count, capacity;
    char *strings;
} json;

/*
 * Read `length` bytes of text.  Refused: more than 64 MiB or 2^24 nodes, nesting below 32, a key
 * twice, numbers that are not integers of 64 bits, NUL in strings, invalid UTF-8.  PCX_OK,
 * PCX_BAD_PLAN or PCX_NO_MEMORY; json_free after each.
 */
int json_read(json *j, const char *text, size_t length, const reason *why);
void json_free(json *j);

/* The value of `key` in the object `at`, or 0, which is no object's value. */
size_t json_get(const json *j, size_t at, const char *key);

/* The first key of the object `at` that is none of the `count` words, or NULL. */
const char *json_unknown(const json *j, size_t at, const char *const *words, size_t count);

/* Whether node `at` is an integer from 0 to `max`. */
int json_size(const json *j, size_t at, uint64_t max, size_t *value);

#endif
