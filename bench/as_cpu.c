/*
 * as_cpu.c - makes this process, and all that it starts, see a CPU with fewer instruction sets: AS_CPU is avx2, avxvnni,
 * avx512, avx512vnni or amx (which hides nothing).
 *
 *     cc -O2 -shared -fPIC bench/as_cpu.c -o as_cpu.so && AS_CPU=avx2 LD_PRELOAD=$PWD/as_cpu.so COMMAND
 *
 * Engines choose their kernels by the CPUID instruction.  Linux can make it fault (arch_prctl(ARCH_SET_CPUID, 0): Intel
 * CPUs since Ivy Bridge and recent AMD ones, most virtual machines included); the handler here executes it and clears
 * the bits.  Threads and forks inherit the fault and execve ends it, after which LD_PRELOAD brings it back.
 * An engine that asks once, when it is loaded, loses no time by it.
 *
 * Not hidden: XGETBV and /proc/cpuinfo, what the C library chose before this was loaded (string functions, the same
 * for everybody), and all of it from a program that replaces the handler of SIGSEGV.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012 };

/* What a level may hide.  GFNI counts as AVX-VNNI: client CPUs have both, and engines ask for both. */
enum { AVX512 = 1, AVX512_VNNI = 2, AVX512_NEWER = 4, AVX_VNNI = 8, AMX = 16, AVX10 = 32 };

static const struct {
    const char *name;
    int hides;
} levels[] = {
    { "avx2", AVX512 | AVX512_VNNI | AVX512_NEWER | AVX_VNNI | AMX | AVX10 }, /* Haswell to Zen 3 */
    { "avxvnni", AVX512 | AVX512_VNNI | AVX512_NEWER | AMX | AVX10 },         /* Alder Lake and later clients */
    { "avx512", AVX512_VNNI | AVX512_NEWER | AVX_VNNI | AMX | AVX10 },        /* Skylake-SP */
    { "avx512vnni", AVX512_NEWER | AVX_VNNI | AMX | AVX10 },                  /* Ice Lake; about Zen 4 */
    { "amx", AVX10 },                                                         /* Sapphire Rapids */
};

#define BIT(n) (1u << (n))
static const struct {
    int group;
    uint32_t leaf, subleaf, a, b, c, d; /* of eax, ebx, ecx and edx, the bits to clear */
} bits[] = {
    /* AVX512F DQ PF ER CD BW VL | 4VNNIW 4FMAPS */
    { AVX512, 7, 0, 0, BIT(16) | BIT(17) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31), 0, BIT(2) | BIT(3) },
    { AVX512, 0xd, 0, BIT(5) | BIT(6) | BIT(7), 0, 0, 0 }, /* the three state components */
    /* IFMA | VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
    { AVX512_VNNI, 7, 0, 0, BIT(21), BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14), 0 },
    /* VP2INTERSECT FP16, BF16 */
    { AVX512_NEWER, 7, 0, 0, 0, 0, BIT(8) | BIT(23) },
    { AVX512_NEWER, 7, 1, BIT(5), 0, 0, 0 },
    /* GFNI, AVX-VNNI AVX-IFMA | AVX-VNNI-INT8 NE-CONVERT AVX-VNNI-INT16 */
    { AVX_VNNI, 7, 0, 0, 0, BIT(8), 0 },
    { AVX_VNNI, 7, 1, BIT(4) | BIT(23), 0, 0, BIT(4) | BIT(5) | BIT(10) },
    /* AMX-BF16 AMX-TILE AMX-INT8, AMX-FP16 | AMX-COMPLEX, the two state components, tiles, multiplication */
    { AMX, 7, 0, 0, 0, 0, BIT(22) | BIT(24) | BIT(25) },
    { AMX, 7, 1, BIT(21), 0, 0, BIT(8) },
    { AMX, 0xd, 0, BIT(17) | BIT(18), 0, 0, 0 },
    { AMX, 0x1d, 0, ~0u, ~0u, ~0u, ~0u },
    { AMX, 0x1d, 1, ~0u, ~0u, ~0u, ~0u },
    { AMX, 0x1e, 0, ~0u, ~0u, ~0u, ~0u },
    { AVX10, 7, 1, 0, 0, 0, BIT(19) },
    { AVX10, 0x24, 0, ~0u, ~0u, ~0u, ~0u },
};
static int hides;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)(uintptr_t)r[REG_RIP];
    if (r[REG_TRAPNO] != 13 || at[0] != 0x0f || at[1] != 0xa2) { /* no CPUID: a fault of the program's own */
        struct sigaction usual = { .sa_handler = SIG_DFL };
        sigaction(signal, &usual, NULL);
        return;
    }
    const uint32_t leaf = (uint32_t)r[REG_RAX], subleaf = (uint32_t)r[REG_RCX];
    uint32_t a, b, c, d;
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1); /* for this thread only */
    __cpuid_count(leaf, subleaf, a, b, c, d);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if ((hides & bits[i].group) && leaf == bits[i].leaf && subleaf == bits[i].subleaf) {
            a &= ~bits[i].a;
            b &= ~bits[i].b;
            c &= ~bits[i].c;
            d &= ~bits[i].d;
        }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void)
{
    const char *as = getenv("AS_CPU");
    for (size_t i = 0; as && i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(as, levels[i].name))
            hides = levels[i].hides;
    if (!hides) {
        fputs("as_cpu: AS_CPU names no level\n", stderr);
        _exit(1);
    }
    struct sigaction catch = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    if (sigaction(SIGSEGV, &catch, NULL) || syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        fputs("as_cpu: this system cannot make CPUID fault\n", stderr);
        _exit(1);
    }
}
