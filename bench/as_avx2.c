/*
 * as_avx2.c - makes this process, and all that it starts, see a CPU without AVX-512, VNNI and AMX.
 *
 *     cc -O2 -shared -fPIC bench/as_avx2.c -o as_avx2.so && LD_PRELOAD=$PWD/as_avx2.so COMMAND
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

#define BIT(n) (1u << (n))
static const struct {
    uint32_t leaf, subleaf, a, b, c, d; /* of eax, ebx, ecx and edx, the bits to clear */
} hidden[] = {
    /* 7.0: AVX512F DQ IFMA PF ER CD BW VL | VBMI VBMI2 GFNI VNNI BITALG VPOPCNTDQ |
     * 4VNNIW 4FMAPS VP2INTERSECT AMX-BF16 AVX512FP16 AMX-TILE AMX-INT8 */
    { 7, 0, 0, BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31),
      BIT(1) | BIT(6) | BIT(8) | BIT(11) | BIT(12) | BIT(14),
      BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25) },
    /* 7.1: AVX-VNNI AVX512BF16 AMX-FP16 AVX-IFMA | AVX-VNNI-INT8 NE-CONVERT AMX-COMPLEX AVX-VNNI-INT16 AVX10 */
    { 7, 1, BIT(4) | BIT(5) | BIT(21) | BIT(23), 0, 0, BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19) },
    /* state components: AVX-512's three, AMX's two */
    { 0xd, 0, BIT(5) | BIT(6) | BIT(7) | BIT(17) | BIT(18), 0, 0, 0 },
    /* AMX tiles, AMX multiplication, AVX10 */
    { 0x1d, 0, ~0u, ~0u, ~0u, ~0u },
    { 0x1e, 0, ~0u, ~0u, ~0u, ~0u },
    { 0x24, 0, ~0u, ~0u, ~0u, ~0u },
};

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
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (leaf == hidden[i].leaf && subleaf == hidden[i].subleaf) {
            a &= ~hidden[i].a;
            b &= ~hidden[i].b;
            c &= ~hidden[i].c;
            d &= ~hidden[i].d;
        }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void)
{
    struct sigaction catch = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    if (sigaction(SIGSEGV, &catch, NULL) || syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        fputs("as_avx2: this system cannot make CPUID fault\n", stderr);
        _exit(1);
    }
}
