/* json.c - see json.h. */
#include "json.h"

#include <stdlib.h>

enum { DEPTH = 32, NODES = 1 << 24, BYTES = 1 << 26 };

typedef struct {
    json *j;
    const char *start, *at, *end;
    char *put; /* where the next string goes */
    int depth;
    int code;
    const reason *why;
} reader;

static int json_value(reader *r);

static int json_bad(reader *r, const char *what)
{
    if (!r->code)
        r->code = refuse(r->why, "JSON, byte %zu: %s", (size_t)(r->at - r->start), what);
    return 0;
}

static int json_no_memory(reader *r)
{
    if (!r->code)
        r->code = PCX_NO_MEMORY;
    return 0;
}

static void json_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

/* Take `c` if it comes next, after space. */
static int json_take(reader *r, char c)
{
    json_space(r);
    if (r->at == r->end || *r->at != c)
        return 0;
    r->at++;
    return 1;
}

static int json_word(reader *r, const char *text)
{
    const size_t length = strlen(text);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, text, length))
        return json_bad(r, "there is no such value");
    r->at += length;
    return 1;
}

static json_node *json_add(reader *r, uint32_t kind)
{
    json *j = r->j;
    if (j->count == j->capacity) {
        if (j->capacity >= NODES)
            return json_bad(r, "too many values"), NULL;
        const size_t capacity = j->capacity ? 2 * j->capacity : 64;
        json_node *nodes = realloc(j->nodes, capacity * sizeof *nodes);
        if (!nodes)
            return json_no_memory(r), NULL;
        j->nodes = nodes;
        j->capacity = capacity;
    }
    json_node *node = j->nodes + j->count++;
    memset(node, 0, sizeof *node);
    node->kind = kind;
    node->next = (uint32_t)j->count;
    return node;
}

/* ---- strings ---- */

static int json_hex4(reader *r, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        const char c = r->at < r->end ? *r->at : 0;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return json_bad(r, "\\u needs four hexadecimal digits");
        *code = *code * 16 + (uint32_t)digit;
    }
    return 1;
}

static void json_put_code(reader *r, uint32_t c)
{
    if (c < 0x80) {
        *r->put++ = (char)c;
        return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    *r->put++ = (char)(lead[more] | c >> 6 * more);
    for (int i = more - 1; i >= 0; i--)
        *r->put++ = (char)(0x80 | (c >> 6 * i & 0x3f));
}

/* What follows a backslash. */
static int json_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char c = r->at < r->end ? *r->at : 0;
    const char *plain = c ? strchr(from, c) : NULL;
    if (plain) {
        r->at++;
        *r->put++ = to[plain - from];
        return 1;
    }
    uint32_t code, low;
    if (c != 'u')
        return json_bad(r, "unknown escape");
    r->at++;
    if (!json_hex4(r, &code))
        return 0;
    if (code >= 0xd800 && code < 0xe000) { /* half of a pair */
        if (code >= 0xdc00 || r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
            return json_bad(r, "half a surrogate pair");
        r->at += 2;
        if (!json_hex4(r, &low))
            return 0;
        if (low < 0xdc00 || low >= 0xe000)
            return json_bad(r, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (!code)
        return json_bad(r, "NUL in a string");
    json_put_code(r, code);
    return 1;
}

/* One character outside ASCII: valid UTF-8, shortest form, no surrogates. */
static int json_utf8(reader *r)
{
    const unsigned char *s = (const unsigned char *)r->at;
    const int more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : 1;
    static const uint32_t min[] = { 0, 0x80, 0x800, 0x10000 };
    if (s[0] < 0xc0 || s[0] > 0xf7 || r->end - r->at <= more)
        return json_bad(r, "not UTF-8");
    uint32_t code = s[0] & (0x3f >> more);
    for (int i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return json_bad(r, "not UTF-8");
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < min[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return json_bad(r, "not UTF-8");
    json_put_code(r, code);
    r->at += more + 1;
    return 1;
}

/* A decoded string is shorter than its source, quotes included, so `strings` has space for all. */
static int json_string(reader *r)
{
    if (!json_take(r, '"'))
        return json_bad(r, "a string must stand here");
    char *text = r->put;
    for (;;) {
        const unsigned char c = r->at < r->end ? (unsigned char)*r->at : 0;
        if (c < ' ')
            return json_bad(r, r->at == r->end ? "it ends inside a string" : "a control character in a string");
        if (c == '"')
            break;
        if (c == '\\') {
            r->at++;
            if (!json_escape(r))
                return 0;
        } else if (c >= 0x80) {
            if (!json_utf8(r))
                return 0;
        } else {
            *r->put++ = *r->at++;
        }
    }
    r->at++;
    json_node *node = json_add(r, JSON_STRING);
    if (!node)
        return 0;
    node->text = text;
    node->count = (uint32_t)(r->put - text);
    *r->put++ = 0;
    return 1;
}

/* ---- other values ---- */

static int json_number(reader *r)
{
    const int negative = *r->at == '-';
    int64_t sum = 0;
    r->at += negative;
    const char *first = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (PCX_MUL_OVERFLOW(sum, 10, &sum) || PCX_ADD_OVERFLOW(sum, (negative ? '0' - *r->at : *r->at - '0'), &sum))
            return json_bad(r, "an integer beyond 64 bits");
    if (r->at == first || (*first == '0' && r->at > first + 1))
        return json_bad(r, "there is no such value");
    if (r->at < r->end && (*r->at == '.' || *r->at == 'e' || *r->at == 'E'))
        return json_bad(r, "numbers must be integers");
    json_node *node = json_add(r, JSON_INT);
    if (!node)
        return 0;
    node->number = sum;
    return 1;
}

static int json_by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int json_unique_keys(reader *r, size_t object)
{
    const json_node *nodes = r->j->nodes;
    const size_t count = nodes[object].count;
    if (count < 2)
        return 1;
    const char **keys = malloc(count * sizeof *keys);
    if (!keys)
        return json_no_memory(r);
    for (size_t i = 0, at = object + 1; i < count; i++, at = nodes[at + 1].next)
        keys[i] = nodes[at].text;
    qsort(keys, count, sizeof *keys, json_by_text);
    int good = 1;
    for (size_t i = 1; i < count && good; i++)
        if (!strcmp(keys[i - 1], keys[i])) {
            good = 0;
            r->code = refuse(r->why, "JSON: the key \"%s\" stands twice in one object", keys[i]);
        }
    free(keys);
    return good;
}

static int json_list(reader *r, int object)
{
    const size_t self = r->j->count;
    if (!json_add(r, object ? JSON_OBJECT : JSON_ARRAY))
        return 0;
    r->at++;
    uint32_t count = 0;
    const char end = object ? '}' : ']';
    if (!json_take(r, end))
        for (;; count++) {
            if (object && (!json_string(r) || (!json_take(r, ':') && !json_bad(r, "a colon must stand here"))))
                return 0;
            if (!json_value(r))
                return 0;
            if (json_take(r, end)) {
                count++;
                break;
            }
            if (!json_take(r, ','))
                return json_bad(r, "a comma must stand here");
        }
    r->j->nodes[self].count = count;
    r->j->nodes[self].next = (uint32_t)r->j->count;
    return !object || json_unique_keys(r, self);
}

static int json_value(reader *r)
{
    json_space(r);
    if (r->at == r->end)
        return json_bad(r, "it ends too early");
    const char c = *r->at;
    if (c == '{' || c == '[') {
        if (r->depth == DEPTH)
            return json_bad(r, "nested too deep");
        r->depth++;
        const int good = json_list(r, c == '{');
        r->depth--;
        return good;
    }
    if (c == '"')
        return json_string(r);
    if (c == '-' || (c >= '0' && c <= '9'))
        return json_number(r);
    if (c != 't' && c != 'f')
        return json_word(r, "null") && json_add(r, JSON_NULL);
    json_node *node = json_word(r, c == 't' ? "true" : "false") ? json_add(r, JSON_BOOL) : NULL;
    if (node)
        node->number = c == 't';
    return !!node;
}

int json_read(json *j, const char *text, size_t length, const reason *why)
{
    memset(j, 0, sizeof *j);
    if (length > BYTES)
        return refuse(why, "JSON of %zu bytes is too long", length);
    j->strings = malloc(length + 1);
    if (!j->strings)
        return PCX_NO_MEMORY;
    reader r = { .j = j, .start = text, .at = text, .end = text + length, .put = j->strings, .why = why };
    if (json_value(&r)) {
        json_space(&r);
        if (r.at != r.end)
            json_bad(&r, "something follows the value");
    }
    return r.code;
}

void json_free(json *j)
{
    free(j->nodes);
    free(j->strings);
    memset(j, 0, sizeof *j);
}

size_t json_get(const json *j, size_t at, const char *key)
{
    const json_node *nodes = j->nodes;
    if (nodes[at].kind == JSON_OBJECT)
        for (size_t i = 0, k = at + 1; i < nodes[at].count; i++, k = nodes[k + 1].next)
            if (!strcmp(nodes[k].text, key))
                return k + 1;
    return 0;
}

const char *json_unknown(const json *j, size_t at, const char *const *words, size_t count)
{
    const json_node *nodes = j->nodes;
    for (size_t i = 0, k = at + 1; i < nodes[at].count; i++, k = nodes[k + 1].next) {
        size_t w = 0;
        while (w < count && strcmp(nodes[k].text, words[w]))
            w++;
        if (w == count)
            return nodes[k].text;
    }
    return NULL;
}

int json_size(const json *j, size_t at, uint64_t max, size_t *value)
{
    const json_node *node = j->nodes + at;
    *value = node->kind == JSON_INT && node->number >= 0 ? (size_t)node->number : 0;
    return at && node->kind == JSON_INT && node->number >= 0 && (uint64_t)node->number <= max;
}
