/* pcx.h - helpers for every C file.  The only compiler-specific lines in the tree. */
#ifndef PCX_H
#define PCX_H

#include "../pycompress.h"

#include <string.h>

_Static_assert(sizeof(size_t) == 8 && sizeof(void *) == 8, "argument slots are 8 bytes");

#if defined(__x86_64__)
#  define PCX_X86 1
#else
#  define PCX_X86 0
#endif
#if defined(__aarch64__)
#  define PCX_ARM64 1
#else
#  define PCX_ARM64 0
#endif

/*
 * sum = acc + vpmaddubsw(x, w) by int16; t is a temporary.  acc_in, w_in: "v" for a register, "m" for memory.  Compilers
 * reassociate such sums, and spill what they then need.
 */
#define PCX_ADD_PAIRS(sum, t, acc, acc_in, x, w, w_in)                         \
    __asm__("vpmaddubsw %[w_], %[x_], %[t_]\n\tvpaddw %[acc_], %[t_], %[sum_]" \
            : [sum_] "=v"(sum), [t_] "=&v"(t)                                  \
            : [acc_] acc_in(acc), [x_] "v"(x), [w_] w_in(w))

/* Compile what follows, down to PCX_TARGET_END, for `isa`: no build flags. */
#define PCX_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#  define PCX_TARGET(isa) \
      PCX_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#  define PCX_TARGET_END _Pragma("clang attribute pop")
#else
#  define PCX_TARGET(isa) _Pragma("GCC push_options") PCX_PRAGMA(GCC target(isa))
#  define PCX_TARGET_END _Pragma("GCC pop_options")
#endif

/* What AVX-512 kernels are compiled for.  Clang prefers vectors of 512 bits anyhow, and does not know the last word. */
#if defined(__clang__)
#  define PCX_TARGET_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
#else
#  define PCX_TARGET_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512"
#endif

/* What kernels for AArch64 beyond NEON, which all such CPUs have, are compiled for. */
#if defined(__clang__)
#  define PCX_TARGET_DOTPROD "dotprod"
#  define PCX_TARGET_I8MM    "dotprod,i8mm"
#  define PCX_TARGET_ARMBF16 "bf16"
#else
#  define PCX_TARGET_DOTPROD "arch=armv8.2-a+dotprod"
#  define PCX_TARGET_I8MM    "arch=armv8.2-a+dotprod+i8mm"
#  define PCX_TARGET_ARMBF16 "arch=armv8.2-a+bf16"
#endif

/*
 * For kernels whose loops compilers vectorise: `name`_run(args, begin, end), inlined, compiled for each ISA, and
 * `name`_impls, the table of them.  `name`_units stands before.  PCX_LOOPS_512 is for those that compute much with
 * each element, or stand in most networks: every ISA adds its code to the library.  On x86-64 nearly every CPU has
 * AVX2, so the scalar row is compiled to be small.  PCX_LOOPS_FMA is PCX_LOOPS_512 that tells `name`_run whether the
 * CPU multiplies and adds at once, for act_fma.  PCX_LOOPS_SMALL has that row alone: for integers of many types, which
 * are indices and masks, of which there are few.
 */
#define PCX_LOOPS_FOR(name, isa, attribute)                                                              \
    attribute static void name##_##isa(const void *args, size_t begin, size_t end, void *scratch)        \
    {                                                                                                    \
        (void)scratch;                                                                                   \
        name##_run(args, begin, end);                                                                    \
    }
#define PCX_LOOPS_FMA_FOR(name, isa, attribute, native)                                                  \
    attribute static void name##_##isa(const void *args, size_t begin, size_t end, void *scratch)        \
    {                                                                                                    \
        (void)scratch;                                                                                   \
        name##_run(args, begin, end, native);                                                            \
    }
#define PCX_LOOPS_ONE(name, attribute)                                                                   \
    PCX_LOOPS_FOR(name, scalar, attribute)                                                               \
    static const pcx_impl name##_impls[] = { PCX_LOOPS_ROW(name, scalar, 0) };
#define PCX_LOOPS_SMALL(name) PCX_LOOPS_ONE(name, __attribute__((cold)))
#define PCX_LOOPS_ROW(name, isa, needs) { #isa, needs, name##_units, name##_##isa, NULL, NULL, NULL, NULL }
#if PCX_X86
#  define PCX_LOOPS(name)                                                                                \
      PCX_LOOPS_FOR(name, avx2, __attribute__((target("avx2,fma"))))                                     \
      PCX_LOOPS_FOR(name, scalar, __attribute__((cold)))                                                 \
      static const pcx_impl name##_impls[] = {                                                           \
          PCX_LOOPS_ROW(name, avx2, PCX_AVX2),                                                           \
          PCX_LOOPS_ROW(name, scalar, 0),                                                                \
      };
#  define PCX_LOOPS_512(name)                                                                            \
      PCX_LOOPS_FOR(name, avx512, __attribute__((target(PCX_TARGET_AVX512))))                            \
      PCX_LOOPS_FOR(name, avx2, __attribute__((target("avx2,fma"))))                                     \
      PCX_LOOPS_FOR(name, scalar, __attribute__((cold)))                                                 \
      static const pcx_impl name##_impls[] = {                                                           \
          PCX_LOOPS_ROW(name, avx512, PCX_AVX2 | PCX_AVX512),                                            \
          PCX_LOOPS_ROW(name, avx2, PCX_AVX2),                                                           \
          PCX_LOOPS_ROW(name, scalar, 0),                                                                \
      };
#  define PCX_LOOPS_FMA(name)                                                                            \
      PCX_LOOPS_FMA_FOR(name, avx512, __attribute__((target(PCX_TARGET_AVX512))), 1)                     \
      PCX_LOOPS_FMA_FOR(name, avx2, __attribute__((target("avx2,fma"))), 1)                              \
      PCX_LOOPS_FMA_FOR(name, scalar, __attribute__((cold)), 0)                                          \
      static const pcx_impl name##_impls[] = {                                                           \
          PCX_LOOPS_ROW(name, avx512, PCX_AVX2 | PCX_AVX512),                                            \
          PCX_LOOPS_ROW(name, avx2, PCX_AVX2),                                                           \
          PCX_LOOPS_ROW(name, scalar, 0),                                                                \
      };
#else
#  define PCX_LOOPS(name)     PCX_LOOPS_ONE(name, )
#  define PCX_LOOPS_512(name) PCX_LOOPS_ONE(name, )
#  define PCX_LOOPS_FMA(name)            \
      PCX_LOOPS_FMA_FOR(name, scalar, , 1) \
      static const pcx_impl name##_impls[] = { PCX_LOOPS_ROW(name, scalar, 0) };
#endif

/*
 * The functions of a table row of `kernel` from its portable driver, `kernel`_`driver`_units, _scratch and _run, and
 * the micro-kernel `family`_micro_`isa`; PCX_DRIVEN names them in the row.
 */
#define PCX_DRIVER(kernel, driver, family, isa)                                                       \
    PCX_HIDDEN extern const family##_micro family##_micro_##isa;                                      \
    static size_t kernel##_units_##isa(const void *args)                                              \
    {                                                                                                 \
        return kernel##_##driver##_units(args, &family##_micro_##isa);                                \
    }                                                                                                 \
    static size_t kernel##_scratch_##isa(const void *args)                                            \
    {                                                                                                 \
        return kernel##_##driver##_scratch(args, &family##_micro_##isa);                              \
    }                                                                                                 \
    static void kernel##_##isa(const void *args, size_t begin, size_t end, void *scratch)             \
    {                                                                                                 \
        kernel##_##driver##_run(args, begin, end, scratch, &family##_micro_##isa);                    \
    }
#define PCX_DRIVEN(kernel, isa) kernel##_units_##isa, kernel##_##isa, kernel##_scratch_##isa

/* An operand of asm in any vector register: with AVX-512, "x" would keep registers 16 to 31 out of reach. */
#if PCX_X86
#  define PCX_V "v"
#else
#  define PCX_V "w"
#endif
#define PCX_INLINE static inline __attribute__((always_inline))
#define PCX_COLD __attribute__((cold)) /* compiled to be small: for what is rare */
#define PCX_NOINLINE __attribute__((noinline))
#define PCX_MAYBE_UNUSED __attribute__((unused))
#define PCX_HIDDEN __attribute__((visibility("hidden")))
/* Forces the vector `v` into a register here: keeps the compiler from reordering sums across this point. */
#define PCX_KEEP(v) __asm__("" : "+" PCX_V(v))
/* sum += a * b, rounded once, vectors of floats; sum stays in its register: else compilers rename sums, and spill. */
#if PCX_X86
#  define PCX_FMADD(sum, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
/* The same, 512 bits, with one float `a` in memory for all lanes. */
#  define PCX_FMADD_EACH(sum, a, b) __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(b), "m"(a))
#  define PCX_FMADD_MEMORY(sum, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "m"(b))
#endif
/*
 * NEON: sum += w * x for a float x; a vector, four halves (and what widens them) and a float from memory.  They stay in this
 * order, and sums in their registers: compilers would move loads up until registers are short, and CPUs that work in order
 * need them a little ahead of their use.
 */
#if PCX_ARM64
#  define PCX_FMLA_EACH(sum, w, x) __asm__ volatile("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(sum) : "w"(w), "w"(x))
#  define PCX_LOAD_4S(v, at) __asm__ volatile("ldr %q0, %1" : "=w"(v) : "m"(*(const float(*)[4])(at)))
#  define PCX_LOAD_4H(v, at) __asm__ volatile("ldr %d0, %1" : "=w"(v) : "m"(*(const uint16_t(*)[4])(at)))
#  define PCX_WIDEN_F16(v) __asm__ volatile("fcvtl %0.4s, %0.4h" : "+w"(v))
#  define PCX_WIDEN_BF16(v) __asm__ volatile("shll %0.4s, %0.4h, #16" : "+w"(v))
#  define PCX_LOAD_S(x, at) __asm__ volatile("ldr %s0, %1" : "=w"(x) : "m"(*(at)))
#endif
/* sum += the products of each pair of bfloat16 of a and b; likewise. */
#if PCX_X86
#  define PCX_DPBF16(sum, a, b) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b))
#endif
/* sum += four products u8 x i8 by int32, 512 bits; as PCX_FMADD, sum stays in its register. */
#if PCX_X86
#  define PCX_DPBUSD(sum, a, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(w))
#  define PCX_DPWSSD(sum, a, b) __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)) /* two of i16 x i16 */
#endif
/*
 * sum += four products by int32: of i8 w and the four i8 of lane `lane`, a digit, of a; of each four of both; of the 2 x 8
 * u8 of a with the 2 x 8 i8 of w, to 2 x 2 sums.  Clang before 16 lacks the intrinsics; GCC orders asm badly.
 */
#if PCX_ARM64 && defined(__clang__) && __clang_major__ < 16
#  define PCX_SDOT_LANE(sum, w, a, lane) \
      __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(sum) : "w"(w), "w"(a))
#  define PCX_SDOT(sum, w, a)   __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(w), "w"(a))
#  define PCX_USMMLA(sum, a, w) __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(w))
#elif PCX_ARM64
#  define PCX_SDOT_LANE(sum, w, a, lane) ((sum) = vdotq_laneq_s32(sum, w, a, lane))
#  define PCX_SDOT(sum, w, a)            ((sum) = vdotq_s32(sum, w, a))
#  define PCX_USMMLA(sum, a, w)          ((sum) = vusmmlaq_s32(sum, a, w))
#endif
/*
 * sum, of floats, += the products of two bfloat16, as uint16: of each pair of w with the pair of lane `lane` of a; of the
 * 2 x 4 of a with the 2 x 4 of w, to 2 x 2 sums.  Then eight floats to bfloat16.
 */
#if PCX_ARM64 && defined(__clang__) && __clang_major__ < 16
#  define PCX_BFDOT_LANE(sum, w, a, lane) __asm__("bfdot %0.4s, %1.8h, %2.2h[" #lane "]" : "+w"(sum) : "w"(w), "w"(a))
#  define PCX_BFMMLA(sum, a, w)           __asm__("bfmmla %0.4s, %1.8h, %2.8h" : "+w"(sum) : "w"(a), "w"(w))
#elif PCX_ARM64
#  define PCX_BFDOT_LANE(sum, w, a, lane) \
      ((sum) = vbfdotq_laneq_f32(sum, vreinterpretq_bf16_u16(w), vreinterpretq_bf16_u16(a), lane))
#  define PCX_BFMMLA(sum, a, w) ((sum) = vbfmmlaq_f32(sum, vreinterpretq_bf16_u16(a), vreinterpretq_bf16_u16(w)))
#endif
#if PCX_ARM64
#  define PCX_BF16_EIGHT(to, low, high) \
      __asm__("bfcvtn %0.4h, %1.4s\n\tbfcvtn2 %0.8h, %2.4s" : "=&w"(to) : "w"(low), "w"(high))
#endif
#if PCX_X86
#  define PCX_PAUSE() __builtin_ia32_pause()
#elif PCX_ARM64
#  define PCX_PAUSE() __asm__ volatile("yield")
#else
#  define PCX_PAUSE() ((void)0)
#endif

/*
 * How float arithmetic runs here: subnormal numbers count as zero, as inputs and as results (they cost a hundred times as
 * much on many CPUs), rounding is to nearest, and nothing traps.  pcx_float_enter returns the thread's own mode, which
 * pcx_float_leave restores, its flags included.  Where neither register is known, nothing happens.
 */
typedef uint64_t pcx_float_mode;
#if PCX_X86
static inline pcx_float_mode pcx_float_enter(void)
{
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x9fc0); /* flush to zero, denormals are zero, all exceptions masked */
    return before;
}
static inline void pcx_float_leave(pcx_float_mode before) { __builtin_ia32_ldmxcsr((unsigned)before); }
#elif PCX_ARM64
static inline void pcx_float_leave(pcx_float_mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory"); }
static inline pcx_float_mode pcx_float_enter(void)
{
    pcx_float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
    pcx_float_leave((pcx_float_mode)1 << 24); /* FZ */
    return before;
}
#else
static inline pcx_float_mode pcx_float_enter(void) { return 0; }
static inline void pcx_float_leave(pcx_float_mode before) { (void)before; }
#endif

/* Before a loop: its iterations are independent (arrays are the same or do not overlap). */
#if defined(__clang__)
#  pragma clang diagnostic ignored "-Wpass-failed" /* vectorizing and unrolling are hints */
#  define PCX_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#  define PCX_IVDEP _Pragma("GCC ivdep")
#endif
#define PCX_PRINTF(at, first) __attribute__((format(printf, at, first)))
/* Brings the line of `at` into the cache of that level, 1 or 2; any address will do. */
#define PCX_FETCH(at, level) __builtin_prefetch(at, 0, 4 - (level))
#define PCX_LIKELY(x) __builtin_expect(!!(x), 1)

/* Before a loop of a small constant length: unroll it completely. */
#if defined(__clang__)
#  define PCX_UNROLL _Pragma("clang loop unroll(full)")
#else
#  define PCX_UNROLL _Pragma("GCC unroll 32")
#endif

/* The units of a call; custom operators may have no function for them. */
static inline size_t pcx_units(const pcx_impl *impl, const void *args) { return impl->units ? impl->units(args) : 1; }

/* Hides the value of the integer or pointer x from the compiler, so that it precomputes nothing from it. */
#define PCX_OPAQUE(x) __asm__ volatile("" : "+r"(x))

#if PCX_X86
/* r = EAX, EBX, ECX, EDX of a leaf of CPUID; the low half of XCR0, where CPUID says that there is XGETBV. */
#  define PCX_CPUID(leaf, subleaf, r) \
      __asm__ volatile("cpuid" : "=a"((r)[0]), "=b"((r)[1]), "=c"((r)[2]), "=d"((r)[3]) : "0"(leaf), "2"(subleaf))
#  define PCX_XGETBV(low)                                                         \
      do {                                                                        \
          uint32_t high_;                                                         \
          __asm__ volatile("xgetbv" : "=a"(low), "=d"(high_) : "c"((uint32_t)0)); \
          (void)high_;                                                            \
      } while (0)
#endif

/*
 * AMX.  Compilers' own intrinsics name too little of the memory that they touch.  A tile's number is a digit; rows of a
 * tile stand `stride` bytes apart, 0: one row for all.  PCX_TILE_DOT: c += a b, of u8 and i8 (us) or i8 and i8 (ss);
 * PCX_TILE_DOT_BF16: of pairs of bfloat16, those of even k and those of odd k apart, then both added to c.
 */
#if PCX_X86
#  define PCX_TILES_FOUND(config) __asm__ volatile("sttilecfg %0" : "=m"(*(config)))
#  define PCX_TILES_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#  define PCX_TILES_RELEASE() __asm__ volatile("tilerelease")
#  define PCX_TILE_ZERO(tile) __asm__ volatile("tilezero %tmm" #tile)
#  define PCX_TILE_LOAD(tile, at, stride) \
      __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(at), "r"((ptrdiff_t)(stride)) : "memory")
#  define PCX_TILE_STORE(tile, at, stride) \
      __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(at), "r"((ptrdiff_t)(stride)) : "memory")
#  define PCX_TILE_DOT(kinds, c, a, b) __asm__ volatile("tdpb" #kinds "d %tmm" #b ", %tmm" #a ", %tmm" #c)
#  define PCX_TILE_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %tmm" #b ", %tmm" #a ", %tmm" #c)
#endif

#define PCX_MUL_OVERFLOW(a, b, out) __builtin_mul_overflow(a, b, out)
#define PCX_ADD_OVERFLOW(a, b, out) __builtin_add_overflow(a, b, out)

/* Tell the executor that the run must fail; `fault` may be NULL, and threads may tell it at once. */
static inline void pcx_fault(void *fault)
{
    if (fault)
        __atomic_store_n((int32_t *)fault, 1, __ATOMIC_RELAXED);
}

static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t round_up(size_t a, size_t to) { return ceil_div(a, to) * to; }

#endif
