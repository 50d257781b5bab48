/* read_bytes.c - a plain loop that reads memory, for bench_q4.py: what a product with few rows is held to. */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t four __attribute__((vector_size(32), aligned(1), may_alias));

uint64_t read_bytes(const char *from, size_t bytes)
{
    four a = { 0 }, b = a, c = a, d = a;
    for (; bytes >= 128; bytes -= 128, from += 128) {
        a ^= *(const four *)from;
        b ^= *(const four *)(from + 32);
        c ^= *(const four *)(from + 64);
        d ^= *(const four *)(from + 96);
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1] ^ a[2] ^ a[3];
}
