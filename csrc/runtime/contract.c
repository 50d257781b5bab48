/* contract.c - see contract.h; the language is described in pycompress.h. */
#include "contract.h"

static int contract_same(span a, const char *text)
{
    return strlen(text) == a.length && !memcmp(a.text, text, a.length);
}

static int contract_is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The word at `*at`, which is advanced behind it. */
static span contract_take_word(const char **at, const char *end)
{
    span word = { *at, 0 };
    while (*at < end && contract_is_word(**at))
        ++*at, ++word.length;
    return word;
}

/* ---- expressions ---- */

typedef struct {
    const contract *c;
    const uint64_t *slots;
    const char *at, *end;
    int failed; /* overflow, or text that is no expression */
} reader;

static int64_t contract_sum(reader *r);

static int64_t contract_fail(reader *r)
{
    r->failed = 1;
    r->at = r->end;
    return 0;
}

static int contract_take(reader *r, const char *text)
{
    const size_t length = strlen(text);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, text, length))
        return 0;
    r->at += length;
    return 1;
}

static int64_t contract_size_named(reader *r, span name)
{
    for (size_t i = 0; i < r->c->count; i++) {
        const contract_slot *slot = r->c->slot + i;
        if (slot->kind == SLOT_SIZE && slot->name.length == name.length &&
            !memcmp(slot->name.text, name.text, name.length))
            return r->slots[i] <= INT64_MAX ? (int64_t)r->slots[i] : contract_fail(r);
    }
    return contract_fail(r);
}

/* After "ceil(", "min(" or "max(". */
static int64_t contract_two(reader *r, char what)
{
    const int64_t a = contract_sum(r);
    if (!contract_take(r, what == 'c' ? "/" : ","))
        return contract_fail(r);
    const int64_t b = contract_sum(r);
    if (!contract_take(r, ")"))
        return contract_fail(r);
    if (what != 'c')
        return (what == 'i') == (a < b) ? a : b;
    return a >= 0 && b > 0 ? a / b + (a % b != 0) : contract_fail(r);
}

static int64_t contract_factor(reader *r)
{
    if (contract_take(r, "ceil("))
        return contract_two(r, 'c');
    if (contract_take(r, "min("))
        return contract_two(r, 'i');
    if (contract_take(r, "max("))
        return contract_two(r, 'a');
    if (contract_take(r, "(")) {
        const int64_t value = contract_sum(r);
        return contract_take(r, ")") ? value : contract_fail(r);
    }
    const span word = contract_take_word(&r->at, r->end);
    if (!word.length)
        return contract_fail(r);
    if (word.text[0] > '9')
        return contract_size_named(r, word);
    int64_t value = 0;
    for (size_t i = 0; i < word.length; i++)
        if (word.text[i] > '9' || PCX_MUL_OVERFLOW(value, 10, &value) ||
            PCX_ADD_OVERFLOW(value, word.text[i] - '0', &value))
            return contract_fail(r);
    return value;
}

static int64_t contract_product(reader *r)
{
    int64_t value = contract_factor(r);
    for (;;)
        if (contract_take(r, "*")) {
            if (PCX_MUL_OVERFLOW(value, contract_factor(r), &value))
                return contract_fail(r);
        } else if (contract_take(r, "%")) {
            const int64_t by = contract_factor(r);
            value = value >= 0 && by > 0 ? value % by : contract_fail(r);
        } else {
            return value;
        }
}

static int64_t contract_sum(reader *r)
{
    int64_t value = contract_product(r);
    for (;;) {
        const int minus = contract_take(r, "-");
        if (!minus && !contract_take(r, "+"))
            return value;
        int64_t term = contract_product(r);
        if (minus && PCX_MUL_OVERFLOW(term, -1, &term))
            return contract_fail(r);
        if (PCX_ADD_OVERFLOW(value, term, &value))
            return contract_fail(r);
    }
}

/* The whole of `text` as a size: not negative. */
static int contract_evaluate(const contract *c, const uint64_t *slots, span text, uint64_t *value)
{
    reader r = { c, slots, text.text, text.text + text.length, 0 };
    const int64_t found = contract_sum(&r);
    *value = found < 0 ? 0 : (uint64_t)found;
    return !r.failed && r.at == r.end && found >= 0;
}

/* The text up to the next comma outside parentheses, or up to `stop`; `*at` is advanced behind the comma. */
static span contract_take_part(const char **at, const char *end)
{
    span part = { *at, 0 };
    int depth = 0;
    for (; *at < end && (depth || **at != ','); ++*at)
        depth += (**at == '(') - (**at == ')');
    part.length = (size_t)(*at - part.text);
    *at += *at < end;
    return part;
}

/* ---- reading ---- */

size_t dtype_named(span word, int capitals)
{
    static const char *const words[][2] = {
        { "", "" },       { "u8", "U8" },   { "i8", "I8" },   { "i32", "I32" }, { "f32", "F32" },
        { "i64", "I64" }, { "bool", "BOOL" }, { "f16", "F16" }, { "f64", "F64" }, { "i16", "I16" },
        { "u16", "U16" }, { "u32", "U32" }, { "u64", "U64" }, { "bf16", "BF16" },
    };
    for (size_t i = 1; i < sizeof words / sizeof *words; i++)
        if (contract_same(word, words[i][!!capitals]))
            return i;
    return 0;
}

/* The type at `*at`, as a bit. */
static uint32_t contract_take_type(const char **at, const char *end)
{
    const size_t type = dtype_named(contract_take_word(at, end), 0);
    return type ? 1u << type : 0;
}

/* "f32[m:lda,k]", "{u8,i8}xt[n]", "i32[n]<rows", "prepared", "fault" */
static int contract_read_type(contract_slot *slot, const char *at, const char *end)
{
    if (contract_same((span){ at, (size_t)(end - at) }, "prepared")) {
        slot->kind = SLOT_PREPARED;
        return 1;
    }
    if (contract_same((span){ at, (size_t)(end - at) }, "fault")) {
        slot->kind = SLOT_FAULT;
        return 1;
    }
    slot->kind = SLOT_ARRAY;
    if (*at == '{') {
        while (*at != '}') {
            at++;
            const uint32_t bit = contract_take_type(&at, end);
            if (!bit || at == end)
                return 0;
            slot->types |= bit;
        }
        at++;
        slot->type_size = contract_take_word(&at, end);
        if (!slot->type_size.length)
            return 0;
    } else {
        slot->types = contract_take_type(&at, end);
    }
    if (!slot->types || at == end || *at != '[')
        return 0;
    slot->dims.text = ++at;
    while (at < end && *at != ']')
        at++;
    slot->dims.length = (size_t)(at - slot->dims.text);
    if (at == end)
        return 0;
    if (++at == end)
        return 1;
    if (*at++ != '<')
        return 0;
    slot->below = (span){ at, (size_t)(end - at) };
    return 1;
}

int contract_read(contract *c, const char *text)
{
    memset(c, 0, sizeof *c);
    const char *where = strstr(text, " where ");
    const char *end = where ? where : text + strlen(text);
    c->where = where ? where + strlen(" where ") : "";
    c->prepared = c->w = CONTRACT_SLOTS;
    for (const char *at = text; at < end; at += at < end) {
        if (c->count == CONTRACT_SLOTS)
            return 0;
        contract_slot *slot = c->slot + c->count;
        slot->name = contract_take_word(&at, end);
        if (!slot->name.length)
            return 0;
        slot->output = !strncmp(slot->name.text, "out", 3);
        const char *stop = at;
        while (stop < end && *stop != ' ')
            stop++;
        if (at < stop && *at == '?')
            slot->optional = 1, at++;
        if (at < stop && (*at++ != ':' || !contract_read_type(slot, at, stop)))
            return 0;
        if (slot->kind == SLOT_PREPARED)
            c->prepared = c->count;
        if (slot->kind == SLOT_ARRAY && contract_same(slot->name, "w"))
            c->w = c->count;
        if (slot->kind == SLOT_SIZE)
            slot->output = 0;
        at = stop;
        c->count++;
    }
    return 1;
}

/* ---- applying ---- */

/* One dimension, "m" or "m:lda". */
static int contract_dimension(const contract *c, const uint64_t *slots, span text, uint64_t *length, uint64_t *stride,
                              int *dense)
{
    span part[2] = { { text.text, 0 }, { NULL, 0 } };
    while (part[0].length < text.length && part[0].text[part[0].length] != ':')
        part[0].length++;
    *dense = part[0].length == text.length;
    if (!*dense)
        part[1] = (span){ text.text + part[0].length + 1, text.length - part[0].length - 1 };
    return contract_evaluate(c, slots, part[0], length) && (*dense || contract_evaluate(c, slots, part[1], stride));
}

static size_t contract_type_of(const contract *c, const uint64_t *slots, const contract_slot *slot)
{
    uint64_t type = 0;
    if (!slot->type_size.length)
        while (!(slot->types >> type & 1))
            type++;
    else if (!contract_evaluate(c, slots, slot->type_size, &type) || type >= 32 || !(slot->types >> type & 1))
        return 0;
    return (size_t)type;
}

int contract_extent(const contract *c, const uint64_t *slots, const contract_slot *slot, extent *e)
{
    uint64_t *const length = e->length, *const stride = e->stride;
    int dense[CONTRACT_DIMS];
    size_t rank = 0;
    const char *at = slot->dims.text, *end = at + slot->dims.length;
    for (; at < end; rank++)
        if (rank == CONTRACT_DIMS ||
            !contract_dimension(c, slots, contract_take_part(&at, end), length + rank, stride + rank, dense + rank))
            return 0;
    e->type = contract_type_of(c, slots, slot);
    e->element = pcx_dtype_bytes(e->type);
    uint64_t next = 1, last = 0, count = 1;
    for (size_t i = rank; i-- > 0;) {
        uint64_t reach;
        if (dense[i])
            stride[i] = next;
        if (PCX_MUL_OVERFLOW(stride[i], length[i], &next) || PCX_MUL_OVERFLOW(count, length[i], &count))
            return 0;
        if (length[i] && (PCX_MUL_OVERFLOW(stride[i], length[i] - 1, &reach) || PCX_ADD_OVERFLOW(last, reach, &last)))
            return 0;
    }
    e->rank = rank;
    e->count = count;
    e->bytes = 0;
    return e->element &&
           (!count || (!PCX_ADD_OVERFLOW(last, 1, &last) && !PCX_MUL_OVERFLOW(last, e->element, &e->bytes)));
}

uint64_t contract_limit(const contract *c, const uint64_t *slots, const contract_slot *slot)
{
    uint64_t limit;
    return contract_evaluate(c, slots, slot->below, &limit) ? limit : 0;
}

static int contract_compare(reader *r, int64_t a, int64_t *b)
{
    static const char *const words[] = { "<=", ">=", "==", "!=", "<", ">" };
    for (int i = 0; i < 6; i++)
        if (contract_take(r, words[i])) {
            *b = contract_sum(r);
            const int holds[] = { a <= *b, a >= *b, a == *b, a != *b, a < *b, a > *b };
            return holds[i] && !r->failed;
        }
    return 0;
}

int contract_holds(const contract *c, const uint64_t *slots, span *broken)
{
    const char *at = c->where, *end = at + strlen(at);
    while (at < end) {
        *broken = contract_take_part(&at, end);
        reader r = { c, slots, broken->text, broken->text + broken->length, 0 };
        int64_t left = contract_sum(&r);
        do
            if (!contract_compare(&r, left, &left))
                return 0;
        while (r.at < r.end);
    }
    return 1;
}

int contract_mentions(const contract_slot *slot, span name)
{
    const span texts[] = { slot->dims, slot->type_size };
    for (int i = 0; i < 2; i++) {
        if (!texts[i].length)
            continue;
        const char *at = texts[i].text, *end = at + texts[i].length;
        while (at < end) {
            const span word = contract_take_word(&at, end);
            if (word.length == name.length && !memcmp(word.text, name.text, name.length))
                return 1;
            at += !word.length;
        }
    }
    return 0;
}
