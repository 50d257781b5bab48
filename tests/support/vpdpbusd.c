/*
 * vpdpbusd.c - preloaded into a process on a CPU without AVX-VNNI: executes the VEX form of vpdpbusd when it traps.
 * Understood: registers, and memory operands without SIB byte, with or without displacement.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

unsigned long vpdpbusd_count;

enum { YMM_HIGH = 576 }; /* of the upper halves in the XSAVE area, as all CPUs with AVX2 have it */

static uint8_t *half(ucontext_t *c, int reg, int high)
{
    char *area = (char *)c->uc_mcontext.fpregs;
    return (uint8_t *)area + (high ? YMM_HIGH : 160) + 16 * reg;
}

static void get(ucontext_t *c, int reg, uint8_t v[32])
{
    memcpy(v, half(c, reg, 0), 16);
    memcpy(v + 16, half(c, reg, 1), 16);
}

static void on_sigill(int signal, siginfo_t *info, void *context)
{
    static const int general[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    ucontext_t *c = context;
    const uint8_t *code = (const uint8_t *)c->uc_mcontext.gregs[REG_RIP];
    (void)signal, (void)info;
    if (code[0] != 0xc4 || (code[1] & 31) != 2 || (code[2] & 0x87) != 5 || code[3] != 0x50)
        abort(); /* not VEX.256.66.0F38.W0 50: some other instruction */
    const int mod = code[4] >> 6, to = (code[4] >> 3 & 7) | (code[1] & 0x80 ? 0 : 8);
    const int rm = (code[4] & 7) | (code[1] & 0x20 ? 0 : 8), first = ~code[2] >> 3 & 15;
    uint8_t u[32], s[32], sum[32];
    size_t length = 5;
    get(c, first, u);
    get(c, to, sum);
    if (mod == 3) {
        get(c, rm, s);
    } else {
        const char *at = (const char *)c->uc_mcontext.gregs[general[rm]];
        int32_t far = 0;
        if ((rm & 7) == 4 || (mod == 0 && (rm & 7) == 5))
            abort();
        if (mod == 1)
            far = (int8_t)code[5], length = 6;
        if (mod == 2)
            memcpy(&far, code + 5, 4), length = 9;
        memcpy(s, at + far, 32);
    }
    for (int i = 0; i < 8; i++) {
        uint32_t acc;
        memcpy(&acc, sum + 4 * i, 4);
        for (int x = 4 * i; x < 4 * i + 4; x++)
            acc += (uint32_t)((int32_t)u[x] * (int8_t)s[x]);
        memcpy(sum + 4 * i, &acc, 4);
    }
    memcpy(half(c, to, 0), sum, 16);
    memcpy(half(c, to, 1), sum + 16, 16);
    uint64_t saved;
    memcpy(&saved, (char *)c->uc_mcontext.fpregs + 512, 8);
    saved |= 7; /* the upper halves are to be restored, too */
    memcpy((char *)c->uc_mcontext.fpregs + 512, &saved, 8);
    c->uc_mcontext.gregs[REG_RIP] += (greg_t)length;
    vpdpbusd_count++;
}

__attribute__((constructor)) static void install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigill;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, NULL);
}
