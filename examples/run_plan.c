/*
 * run_plan.c - run a saved plan on .npy files, with the C library alone:
 *
 *     run_plan model.plan.safetensors THREADS[:CPU] input.npy ... -- output.npy ...
 *
 * Inputs and outputs stand in the plan's order.  A plan holds a program per set of input shapes; the
 * one that fits the inputs runs.  CPU, scalar or neon, say, lowers which instruction sets are used.
 */
#include <pycompress.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANK = 8, HEADER = 1 << 16 };

typedef struct {
    size_t dtype, rank, shape[RANK], bytes;
    void *data;
} array;

/* NumPy's words for element types, by PCX_* code; this program runs on little-endian machines only. */
static const char *const words[] = { NULL,  "|u1", "|i1", "<i4", "<f4", "<i8", "|b1",
                                     "<f2", "<f8", "<i2", "<u2", "<u4", "<u8" };

static void die(const char *what, const char *why)
{
    fprintf(stderr, "run_plan: %s: %s\n", what, why);
    exit(1);
}

/* ---- .npy: "\x93NUMPY", version, header length, a Python dict, data ---- */

/* What follows 'key': in the header, or NULL. */
static const char *field(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = strstr(header, quoted);
    return at ? at + strlen(quoted) + strspn(at + strlen(quoted), " ") : NULL;
}

static const char *read_header(const char *header, array *x)
{
    const char *descr = field(header, "descr"), *order = field(header, "fortran_order"),
               *shape = field(header, "shape");
    if (!descr || !order || !shape || *shape != '(')
        return "not an .npy header";
    for (size_t i = 1; i < sizeof words / sizeof *words; i++)
        if (*descr == '\'' && !strncmp(descr + 1, words[i], 3) && descr[4] == '\'')
            x->dtype = i;
    if (!x->dtype)
        return "its type is none that a plan has";
    x->bytes = pcx_dtype_bytes(x->dtype);
    for (shape += 1; *shape != ')'; shape += strspn(shape, ", ")) {
        char *end;
        const unsigned long long size = strtoull(shape, &end, 10);
        if (end == shape || *shape == '-' || x->rank == RANK)
            return "not a shape of at most 8 sizes";
        if (size && x->bytes > SIZE_MAX / size)
            return "too large";
        x->bytes *= size;
        x->shape[x->rank++] = size;
        shape = end;
    }
    return x->rank > 1 && strncmp(order, "False", 5) ? "in Fortran order" : NULL;
}

static array read_npy(const char *path)
{
    static char header[HEADER + 1];
    unsigned char start[12];
    array x = { 0 };
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path, "cannot open");
    if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6) || start[6] < 1 || start[6] > 3)
        die(path, "not an .npy file");
    size_t length = start[8] | (size_t)start[9] << 8;
    if (start[6] > 1) { /* four bytes of length instead of two */
        if (fread(start + 10, 1, 2, file) != 2)
            die(path, "cut off");
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    }
    if (length > HEADER || fread(header, 1, length, file) != length)
        die(path, "cut off, or its header is too long");
    header[length] = 0;
    const char *wrong = read_header(header, &x);
    if (wrong)
        die(path, wrong);
    x.data = malloc(x.bytes ? x.bytes : 1);
    if (!x.data)
        die(path, "out of memory");
    if (fread(x.data, 1, x.bytes, file) != x.bytes || fgetc(file) != EOF)
        die(path, "its data are longer or shorter than its shape");
    fclose(file);
    return x;
}

static void write_npy(const char *path, const pcx_port *port, const void *data)
{
    char header[512], shape[RANK * 24 + 4] = "";
    for (size_t i = 0; i < port->rank; i++)
        sprintf(shape + strlen(shape), i + 1 < port->rank ? "%zu, " : port->rank == 1 ? "%zu," : "%zu", port->shape[i]);
    int length = sprintf(header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", words[port->dtype], shape);
    while ((10 + length + 1) % 64)
        header[length++] = ' ';
    header[length++] = '\n';
    const unsigned char start[10] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, length & 255, length >> 8 };
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(start, 1, 10, file) != 10 || fwrite(header, 1, (size_t)length, file) != (size_t)length ||
        fwrite(data, 1, port->bytes, file) != port->bytes || fclose(file))
        die(path, "cannot write");
}

/* ---- the plan ---- */

static int fits(const pcx_port *port, const array *x)
{
    return port->dtype == x->dtype && port->rank == x->rank &&
           !memcmp(port->shape, x->shape, x->rank * sizeof *x->shape);
}

/* The program whose inputs are these. */
static size_t choose(const pcx_plan *plan, const array *inputs, size_t count)
{
    for (size_t p = 0; p < pcx_plan_programs(plan); p++) {
        size_t i = 0;
        while (i < count && i < pcx_plan_inputs(plan, p) && fits(pcx_plan_input(plan, p, i), inputs + i))
            i++;
        if (i == count && i == pcx_plan_inputs(plan, p))
            return p;
    }
    fprintf(stderr, "run_plan: no program of this plan has these inputs; the first one's are\n");
    for (size_t i = 0; i < pcx_plan_inputs(plan, 0); i++) {
        const pcx_port *port = pcx_plan_input(plan, 0, i);
        fprintf(stderr, "    %s: %s (", port->name, words[port->dtype]);
        for (size_t d = 0; d < port->rank; d++)
            fprintf(stderr, "%s%zu", d ? ", " : "", port->shape[d]);
        fprintf(stderr, ")\n");
    }
    exit(1);
}

/* The bundles of this CPU that ":CPU" leaves. */
static uint32_t lowered(const char *word)
{
    static const struct {
        const char *word;
        uint32_t bundles;
    } levels[] = {
        { "", UINT32_MAX },
        { ":scalar", 0 },
        { ":avx2", PCX_AVX2 },
        { ":neon", PCX_NEON },
        { ":dotprod", PCX_NEON | PCX_DOTPROD },
        { ":i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM },
    };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(word, levels[i].word))
            return pcx_cpu() & levels[i].bundles;
    die(word, "CPU is none of scalar, avx2, neon, dotprod, i8mm");
    return 0;
}

static void *allocate(size_t count, size_t size)
{
    void *data = calloc(count ? count : 1, size ? size : 1);
    if (!data)
        die("plan", "out of memory");
    return data;
}

int main(int argc, char **argv)
{
    int split = 3;
    while (split < argc && strcmp(argv[split], "--"))
        split++;
    char *end = NULL;
    const unsigned long threads = argc > 2 ? strtoul(argv[2], &end, 10) : 0;
    if (split >= argc || (*end && *end != ':') || !threads)
        die("usage", "run_plan model.plan.safetensors THREADS[:CPU] input.npy ... -- output.npy ...");
    const size_t inputs = (size_t)split - 3, outputs = (size_t)(argc - split - 1);

    char why[256];
    pcx_plan *plan;
    if (pcx_plan_load(argv[1], lowered(end), &plan, why, sizeof why))
        die(argv[1], why);
    array *x = allocate(inputs, sizeof *x);
    const void **in = allocate(inputs, sizeof *in);
    for (size_t i = 0; i < inputs; i++) {
        x[i] = read_npy(argv[3 + i]);
        in[i] = x[i].data;
    }
    const size_t program = choose(plan, x, inputs);
    if (outputs != pcx_plan_outputs(plan, program))
        die(argv[1], "another number of outputs than file names");
    void **out = allocate(outputs, sizeof *out);
    for (size_t i = 0; i < outputs; i++)
        out[i] = allocate(pcx_plan_output(plan, program, i)->bytes, 1);

    pcx_session *session = pcx_session_new(plan, threads);
    if (!session || pcx_session_run(session, program, in, out, NULL))
        die(argv[1], "out of memory");
    for (size_t i = 0; i < outputs; i++) {
        write_npy(argv[split + 1 + (int)i], pcx_plan_output(plan, program, i), out[i]);
        free(out[i]);
    }
    for (size_t i = 0; i < inputs; i++)
        free(x[i].data);
    free(x);
    free(in);
    free(out);
    pcx_session_free(session);
    pcx_plan_free(plan);
    return 0;
}
