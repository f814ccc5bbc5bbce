/* Patterns of f32 through every implementation of the CPU with every instruction set, 16384 at a time.
 *
 * Asking the C library for each of 2^32 results takes longer than computing them. So where all patterns are taken, and the op
 * is smooth (truths.h), a chunk's truth is a polynomial: 16384 neighbouring patterns have one sign and one exponent, so they
 * lie evenly and span at most a 512th of x. The polynomial of degree 7 meets the C library at the 8 zeros of T8, and differs
 * from it by f''(8) / 8! (span / 2)^8 T8(t) / 2^7; it is taken only if at the 9 places where |T8| is 1, the ends among them, it
 * is within 2^-40 of the largest value. A result is surely right if it is within the op's bound less 2^-36 of that, 16 times
 * as much. All others are asked of the C library one by one, so that nothing fails, or passes by more than that, for the
 * polynomial's sake. Where all 17 values round to one number (what overflows, underflows, has reached 1, is not defined), a
 * result that is this number is right. Chunks that are neither, as those of sin far out, are asked one by one altogether. */
#include "cpu/native/vector.h"
#include "exec/exec.h"
#include "exhaustive.h"
#include "values.h"

#include <math.h>
#include <stdio.h>

enum { CHUNK = 1 << 14, WAYS = 16, NODES = 8, SAMPLES = 2 * NODES + 1 };

struct sweep {
    plumb_context *context;
    plumb_pool *pool;
    int64_t stride, lesser;
    double node[SAMPLES];      /* zeros of T8, then where it is 1 or -1 */
    double cosine[NODES][NODES];
    /* the chunk */
    float *x;
    double *r, *wide;
    unsigned char *y;
    enum { ASKED, POLYNOMIAL, CONSTANT } truth;
    double power[NODES], slack; /* POLYNOMIAL, of t from -1 to 1 */
    float constant;
    plumb_attr_numbers numbers; /* of the op */
};

struct sweep *sweep_open(plumb_context *context, int64_t stride, int64_t lesser)
{
    struct sweep *s = test_alloc(sizeof(*s));
    *s = (struct sweep){.context = context, .pool = plumb_pool_new(1), .stride = stride, .lesser = lesser};
    s->x = test_alloc(CHUNK * sizeof(*s->x));
    s->y = test_alloc(CHUNK * sizeof(double));
    s->r = test_alloc(CHUNK * sizeof(*s->r));
    s->wide = test_alloc(CHUNK * sizeof(*s->wide));
    for (int k = 0; k < NODES; k++) {
        s->node[k] = cos(M_PI * (2 * k + 1) / (2 * NODES));
        for (int j = 0; j < NODES; j++) {
            s->cosine[j][k] = cos(M_PI * j * (2 * k + 1) / (2 * NODES)) * (j > 0 ? 2.0 : 1.0) / NODES;
        }
    }
    for (int k = 0; k <= NODES; k++) {
        s->node[NODES + k] = k % NODES == 0 ? 1 - 2.0 * k / NODES : cos(M_PI * k / NODES);
    }
    return s;
}

void sweep_close(struct sweep *s)
{
    plumb_pool_free(s->pool);
    free(s->x);
    free(s->y);
    free(s->r);
    free(s->wide);
    free(s);
}

static void compute(const struct sweep *s, const struct subject *subject, const plumb_impl *impl, int isa,
                    plumb_view *x, plumb_view *y, bool *taken)
{
    plumb_call call = {.context = s->context, .device = s->context->device, .pool = s->pool, .isa = isa,
                       .op = subject->op, .name = "", .attr = subject->attr, .n_in = 1, .n_out = 1, .in = x, .out = y};
    *taken = (impl->dtypes & PLUMB_BIT(plumb_call_dtype(&call))) && (!impl->supports || impl->supports(&call)) &&
             !impl->workspace;
    if (*taken && impl->run(&call) != PLUMB_OK) {
        abort();
    }
}

/* ---- what a chunk must come to ---- */

NATIVE_INLINE double at_power(const double *power, double t)
{
    double r = power[NODES - 1];
    for (int j = NODES - 2; j >= 0; j--) {
        r = r * t + power[j];
    }
    return r;
}

/* Through the values at the nodes, from Chebyshev's coefficients. */
static void interpolate(struct sweep *s, const double *value)
{
    double before[NODES] = {1}, now[NODES] = {0, 1}; /* powers of T(j-1) and T(j) */
    memset(s->power, 0, sizeof(s->power));
    for (int j = 0; j < NODES; j++) {
        double share = 0, next[NODES] = {0};
        for (int k = 0; k < NODES; k++) {
            share += value[k] * s->cosine[j][k];
        }
        for (int d = 0; d < NODES; d++) {
            s->power[d] += share * before[d];
            next[d] = (d > 0 ? 2 * now[d - 1] : 0) - before[d];
        }
        memcpy(before, now, sizeof(before));
        memcpy(now, next, sizeof(now));
    }
}

static bool same_number(float a, float b)
{
    return (a == b && signbit(a) == signbit(b)) || (isnan(a) && isnan(b));
}

/* Can the chunk's truth be told from a few values? */
static void try_few(struct sweep *s, const struct subject *subject, int64_t n)
{
    double first = element_at(s->x, PLUMB_F32, 0), last = element_at(s->x, PLUMB_F32, n - 1), value[SAMPLES], most = 0;
    bool constant = true, finite = isfinite(first) && isfinite(last), good;
    s->truth = ASKED;
    if (isnan(first) != isnan(last) || isinf(first) || signbit(first) != signbit(last)) {
        return;
    }
    for (int k = 0; k < SAMPLES; k++) {
        double x = isnan(first) ? first : (first + last) / 2 + s->node[k] * ((last - first) / 2);
        value[k] = subject->is(x, s->numbers.a, s->numbers.b);
        constant = constant && same_number((float)value[k], (float)value[0]);
        finite = finite && isfinite(value[k]);
        most = fmax(most, fabs(value[k]));
    }
    if (constant) {
        s->truth = CONSTANT;
        s->constant = (float)value[0];
        return;
    }
    good = finite && subject->op->tolerance == PLUMB_TOL_SCALAR;
    if (good) {
        interpolate(s, value);
        s->slack = 0x1p-36 * most;
    }
    for (int k = NODES; k < SAMPLES && good; k++) {
        good = fabs(at_power(s->power, s->node[k]) - value[k]) <= 0x1p-40 * most;
    }
    s->truth = good ? POLYNOMIAL : ASKED;
}

/* The C library's, or the reference's in f64 where that has none. */
static void ask(struct sweep *s, const struct subject *subject, int64_t n)
{
    if (subject->is) {
        subject->are(s->x, s->r, n, s->numbers.a, s->numbers.b);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        s->wide[i] = (double)s->x[i];
    }
    plumb_view x = {.data = s->wide, .dtype = PLUMB_F64, .rank = 1, .dim = {n}, .stride = {1}}, y = x;
    bool taken;
    y.data = s->r;
    compute(s, subject, plumb_reference(subject->op), s->context->isa, &x, &y, &taken);
}

static void find_truth(struct sweep *s, const struct subject *subject, plumb_dtype out, int64_t n)
{
    s->truth = ASKED;
    memset(&s->numbers, 0, sizeof(s->numbers));
    if (subject->op->attr_size == sizeof(s->numbers)) {
        memcpy(&s->numbers, subject->attr, sizeof(s->numbers));
    }
    if (s->stride == 1 && subject->smooth && out == PLUMB_F32) {
        try_few(s, subject, n);
    }
    if (s->truth == ASKED) {
        ask(s, subject, n);
    }
}

/* ---- judging ---- */

/* How many of y are not surely right: further than `share` of the polynomial from it, but for the slack. */
NATIVE_INLINE int64_t doubts(const float *y, int n, const double *power, double share, double slack)
{
    double p[NODES];
    int64_t count = 0;
    memcpy(p, power, sizeof(p));
    NATIVE_LOOP
    for (int i = 0; i < n; i++) {
        double r = at_power(p, i * (2.0 / (CHUNK - 1)) - 1);
        count += !(fabs((double)y[i] - r) <= share * fabs(r) - slack);
    }
    return count;
}
#define DOUBTS(isa, TARGET)                                                                                            \
    TARGET static int64_t doubts_##isa(const float *y, int n, const double *power, double share, double slack)         \
    {                                                                                                                  \
        return doubts(y, n, power, share, slack);                                                                      \
    }
NATIVE_EACH_ISA(DOUBTS)

/* In units of the result, half of the last place and the op's own bound: within it element_is_right says yes. */
static double share_of(const plumb_op *op)
{
    return op->tolerance == PLUMB_TOL_SCALAR ? (1 + op->ulps) * plumb_dtype_epsilon(PLUMB_F32) : 0;
}

static bool is_sure(const struct sweep *s, int64_t i, double share)
{
    float y = ((const float *)s->y)[i];
    if (s->truth == CONSTANT) {
        return same_number(y, s->constant);
    }
    double r = s->truth == ASKED ? s->r[i] : at_power(s->power, (double)i * (2.0 / (CHUNK - 1)) - 1);
    return s->truth == ASKED ? (y == (float)r && y != 0) || (r != 0 && fabs((double)y - r) <= share * fabs(r))
                             : fabs((double)y - r) <= share * fabs(r) - s->slack;
}

static void judge_one(struct where *w, const struct sweep *s, plumb_dtype out, int64_t i)
{
    const struct subject *subject = w->subject;
    double x = element_at(s->x, PLUMB_F32, i), y = element_at(s->y, out, i), a = s->numbers.a, b = s->numbers.b;
    double r = s->truth == ASKED ? s->r[i] : subject->is(x, a, b);
    if (!element_is_right(subject->op, subject->attr, out, x, y, r, true) &&
        !(fabs(x) < 0x1p-126 && subject->is &&
          element_is_right(subject->op, subject->attr, out, x, y, subject->is(copysign(0, x), a, b), true))) {
        exhaustive_tell(w, "f32", x, y, r);
    }
}

static void judge(struct where *w, const struct sweep *s, plumb_dtype out, int64_t n)
{
    double share = share_of(w->subject->op);
    int isa = s->context->isa;
    if (s->truth == POLYNOMIAL &&
        NATIVE_PICK(doubts, isa)((const float *)s->y, (int)n, s->power, share, s->slack) == 0) {
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (out != PLUMB_F32 || !is_sure(s, i, share)) {
            judge_one(w, s, out, i);
        }
    }
}

/* ---- a slice ---- */

static struct where *way_of(struct where *ways, int *count, const struct subject *subject, const plumb_impl *impl, int isa)
{
    const char *isa_name = plumb_isa_name(isa);
    for (int i = 0; i < *count; i++) {
        if (ways[i].provider == impl->name && strcmp(ways[i].isa, isa_name) == 0) {
            return &ways[i];
        }
    }
    if (*count == WAYS) {
        fprintf(stderr, "exhaustive: raise WAYS\n");
        abort();
    }
    ways[*count] = (struct where){subject, PLUMB_F32, impl->name, isa_name, 0};
    return &ways[(*count)++];
}

/* The chunk in s->x through every implementation; those of lesser instruction sets and the reference if `all`. */
static void run_chunk(struct sweep *s, const struct subject *subject, int64_t n, bool all, struct where *ways, int *n_ways)
{
    int providers = 0, best = s->context->isa < PLUMB_ISA_AVX512 ? s->context->isa : PLUMB_ISA_AVX512;
    const plumb_provider *const *list = plumb_providers(&providers);
    plumb_dtype out = subject->op->flags & PLUMB_OP_DTYPE ? ((const plumb_attr_made *)subject->attr)->dtype : PLUMB_F32;
    plumb_view x = {.data = s->x, .dtype = PLUMB_F32, .rank = 1, .dim = {n}, .stride = {1}}, y = x;
    y.data = s->y;
    y.dtype = out;
    find_truth(s, subject, out, n);
    for (int p = 0; p < providers; p++) {
        for (int k = 0; k < list[p]->count; k++) {
            const plumb_impl *impl = list[p]->impls[k];
            bool native = strncmp(impl->name, "cpu.native", 10) == 0;
            for (int isa = native ? best : PLUMB_ISA_SCALAR; impl->op == subject->op && isa >= 0; isa--) {
                bool taken = false;
                if ((native && isa == best) || all) {
                    compute(s, subject, impl, isa, &x, &y, &taken);
                }
                if (taken) {
                    judge(way_of(ways, n_ways, subject, impl, isa), s, out, n);
                }
            }
        }
    }
}

void sweep_slice(struct sweep *s, const struct subject *subject, int slice)
{
    struct where ways[WAYS];
    int n_ways = 0;
    uint64_t stride = (uint64_t)s->stride, count = ((UINT64_C(1) << 32) + stride - 1) / stride;
    uint64_t from = count * (uint64_t)slice / SWEEP_SLICES, to = count * ((uint64_t)slice + 1) / SWEEP_SLICES;
    for (uint64_t done = from; done < to; done += CHUNK) {
        int64_t n = to - done < CHUNK ? (int64_t)(to - done) : CHUNK;
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)((done + (uint64_t)i) * stride);
            memcpy(&s->x[i], &bits, 4);
        }
        run_chunk(s, subject, n, done / CHUNK % (uint64_t)s->lesser == 0, ways, &n_ways);
    }
    for (int i = 0; i < n_ways; i++) {
        exhaustive_settle(&ways[i], (int64_t)(to - from));
    }
}
