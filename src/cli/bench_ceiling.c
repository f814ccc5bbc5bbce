/* What the machine can do, measured beside what is measured: multiply-adds in registers, a triad (a = b + s c) over
 * arrays that no cache holds, and what a run of the pool costs in which nothing is computed. On all threads of the context,
 * with the instruction set that its kernels may use. The CPU's only: other devices give zeroes, which are not printed. */
#include "cli/bench.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHAINS = 12, ROUNDS = 50000, REPEATS = 40 };

struct job {
    void (*body)(struct job *job, int64_t chunk);
    float *a, *b, *c;
    int64_t n; /* of a chunk */
    volatile float sink[1024];
};

#if defined(__x86_64__)
#define ALL(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* Independent sums, so that the latency of one is hidden behind the others. */
#define PEAK(name, isa, vector, wide, set, first, factor, fma)                                                        \
    __attribute__((target(isa))) static void name(struct job *job, int64_t chunk)                                    \
    {                                                                                                                 \
        vector s0 = set(0), s1 = set(1), s2 = set(2), s3 = set(3), s4 = set(4), s5 = set(5), s6 = set(6), s7 = set(7); \
        vector s8 = set(8), s9 = set(9), s10 = set(10), s11 = set(11);                                                \
        const wide x = factor(0.999f), y = factor(0.001f);                                                            \
        for (int r = 0; r < ROUNDS; r++) {                                                                            \
            ALL(fma)                                                                                                  \
        }                                                                                                             \
        s0 = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                                             \
        job->sink[chunk % 1024] = first(s0);                                                                          \
    }
#define FMA512(i) s##i = _mm512_fmadd_ps(s##i, x, y);
#define FMA256(i) s##i = _mm256_fmadd_ps(s##i, x, y);
#define PAIRS512(i) s##i = _mm512_dpbf16_ps(s##i, x, y);
#define PAIRS_OF(value) ((__m512bh)_mm512_set1_ps(value))
PEAK(peak_avx512, "avx512f", __m512, __m512, _mm512_set1_ps, _mm512_cvtss_f32, _mm512_set1_ps, FMA512)
PEAK(peak_avx2, "avx2,fma", __m256, __m256, _mm256_set1_ps, _mm256_cvtss_f32, _mm256_set1_ps, FMA256)
PEAK(peak_bf16, "avx512f,avx512bf16", __m512, __m512bh, _mm512_set1_ps, _mm512_cvtss_f32, PAIRS_OF, PAIRS512)
#endif

static void peak_portable(struct job *job, int64_t chunk)
{
    float sum[CHAINS] = {0};
    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = sum[i] * 0.999f + 1e-3f;
        }
    }
    job->sink[chunk % 1024] = sum[0] + sum[CHAINS - 1];
}

static void triad(struct job *job, int64_t chunk)
{
    float *a = job->a + chunk * job->n;
    const float *b = job->b + chunk * job->n, *c = job->c + chunk * job->n;
    for (int64_t i = 0; i < job->n; i++) {
        a[i] = b[i] + 3 * c[i];
    }
}

static void nothing(struct job *job, int64_t chunk) { (void)job, (void)chunk; }

static void run_body(void *user, int64_t chunk, int worker)
{
    struct job *job = user;
    (void)worker;
    job->body(job, chunk);
}

/* Seconds of the fastest of several runs, as a ceiling is what can be reached: threads have to wake up first, and a
 * neighbour may have the core. */
static double fastest(plumb_context *context, struct job *job, int64_t chunks, int inner)
{
    double best = 1e9;
    for (int r = 0; r < REPEATS; r++) {
        double begin = plumb_seconds();
        for (int i = 0; i < inner; i++) {
            plumb_pool_run(context->pool, chunks, run_body, job);
        }
        double seconds = (plumb_seconds() - begin) / inner;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static double flops_per_second(plumb_context *context, struct job *job, void (*body)(struct job *, int64_t), double per_chain)
{
    int64_t chunks = plumb_threads(context);
    job->body = body;
    return (double)chunks * ROUNDS * CHAINS * per_chain / fastest(context, job, chunks, 1);
}

static void measure_peaks(plumb_context *context, struct job *job, struct bench_ceilings *c)
{
    c->flops = flops_per_second(context, job, peak_portable, 2);
#if defined(__x86_64__)
    if (context->isa >= PLUMB_ISA_AVX512) {
        c->flops = flops_per_second(context, job, peak_avx512, 32);
    } else if (context->isa >= PLUMB_ISA_AVX2) {
        c->flops = flops_per_second(context, job, peak_avx2, 16);
    }
    if (context->isa >= PLUMB_ISA_AVX512 && __builtin_cpu_supports("avx512bf16")) {
        c->flops_bf16 = flops_per_second(context, job, peak_bf16, 64);
    }
#endif
}

plumb_status bench_measure_ceilings(plumb_context *context, struct bench_ceilings *c)
{
    enum { CHUNKS = 64 };
    const int64_t n = (int64_t)16 << 20; /* 64 MiB an array */
    plumb_device_info info;
    *c = (struct bench_ceilings){0};
    plumb_status status = context->device->table->info(context->device, &info);
    if (status || !info.host_memory) {
        return status;
    }
    struct job *job = plumb_zalloc(context, sizeof(*job));
    float *memory = plumb_zalloc(context, 3 * (size_t)n * sizeof(float));
    if (job && memory) {
        measure_peaks(context, job, c);
        *job = (struct job){.body = triad, .a = memory, .b = memory + n, .c = memory + 2 * n, .n = n / CHUNKS};
        memset(memory, 0, 3 * (size_t)n * sizeof(float)); /* pages that were never written are all the same one */
        c->bytes = 3 * (double)n * sizeof(float) / fastest(context, job, CHUNKS, 1);
        job->body = nothing;
        c->launch = fastest(context, job, plumb_threads(context), 1000);
    }
    status = job && memory ? PLUMB_OK : PLUMB_FAILED;
    plumb_free(context, job);
    plumb_free(context, memory);
    return status;
}

double bench_peak_of(const struct bench_ceilings *c, plumb_dtype dtype)
{
    return dtype == PLUMB_BF16 && c->flops_bf16 > 0 ? c->flops_bf16 : dtype == PLUMB_F64 ? c->flops / 2 : c->flops;
}
