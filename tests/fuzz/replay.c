/* replay.c - runs a fuzzer's function on files, without libFuzzer: replay FILE ... */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **paths)
{
    enum { MAX = 1 << 26 };
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        uint8_t *data = malloc(MAX);
        if (!file || !data) {
            fprintf(stderr, "%s: cannot be read\n", paths[i]);
            return 1;
        }
        const size_t size = fread(data, 1, MAX, file);
        fclose(file);
        uint8_t *exact = realloc(data, size + !size); /* so that a sanitizer sees what lies behind it */
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%d files\n", count - 1);
    return 0;
}
