/*
 * arm_count.c - a plugin for qemu-user: executed instructions by function, written to the file `out=PATH` at the end.
 * The declarations are those of qemu's plugin interface, versions 1 and 2.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, struct block *));
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction *insn, int op, void *counter, uint64_t by);
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*end)(plugin_id, void *), void *context);
extern size_t qemu_plugin_tb_n_insns(const struct block *tb);
extern struct instruction *qemu_plugin_tb_get_insn(const struct block *tb, size_t i);
extern const char *qemu_plugin_insn_symbol(const struct instruction *insn);
extern const void *qemu_plugin_insn_data(const struct instruction *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { FUNCTIONS = 1 << 15, KINDS = 3 };
typedef struct {
    char *name;
    uint64_t count[KINDS]; /* loads and stores, vector arithmetic, others */
} function;

static function functions[FUNCTIONS];
static size_t used;
static const char *path;

/* Encodings of AArch64: bits 28 to 25 are x1x0 for loads and stores, x111 for floats and vectors. */
static int kind(const struct instruction *insn)
{
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
    const unsigned group = word >> 25 & 15;
    return (group & 5) == 4 ? 0 : (group & 7) == 7 ? 1 : 2;
}

static function *find(const char *name)
{
    for (size_t i = 0; i < used; i++)
        if (!strcmp(functions[i].name, name))
            return functions + i;
    if (used == FUNCTIONS)
        return functions;
    functions[used].name = strdup(name);
    return functions + used++;
}

static void translated(plugin_id id, struct block *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct instruction *insn = qemu_plugin_tb_get_insn(tb, i);
        const char *name = qemu_plugin_insn_symbol(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, 0, find(name ? name : "?")->count + kind(insn), 1);
    }
}

static void end(plugin_id id, void *context)
{
    (void)id, (void)context;
    FILE *file = fopen(path, "w");
    for (size_t i = 0; i < used && file; i++)
        fprintf(file, "%llu %llu %llu %s\n", (unsigned long long)functions[i].count[0], (unsigned long long)functions[i].count[1],
                (unsigned long long)functions[i].count[2], functions[i].name);
    if (!file || fclose(file))
        perror(path);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4))
        return -1;
    path = strdup(argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
