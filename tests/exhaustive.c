/* Every element-wise op of one operand on everything it can be given, in every provider, and its derivative with it.
 *
 *     plumb-exhaustive [--filter OP] [--device NAME] [--part K/N] [--stride N] [--lesser N] [--threads N] [--verbose]
 *
 * All patterns of bf16 and f16, and 65,536 of f32, go through programs that compute an op and its derivative: one of the
 * reference, one of what is chosen by default with each instruction set (or, with a device, one of the device's). Each step
 * of a program is held against the reference in f64 on the inputs that the step was given, so bounds are those of single
 * ops and no cancellation between them widens them; the op itself is held against the C library's long double
 * (truths.h), which judges the reference, too. Where x and y are finite, a derivative is never a not-a-number.
 *
 * Every N-th pattern of f32 (--stride, 1: all 2^32) goes through each implementation on the CPU, with each instruction set,
 * against the C library's double (exhaustive_sweep.c); of 16384 patterns in N times as many (--lesser) the reference and
 * lesser instruction sets take part. --part takes every N-th op. Closing line: "N passed, N failed, N skipped": a pass is one
 * op with its numbers in one dtype and one provider. */
#include "exec/exec.h"
#include "exhaustive.h"
#include "values.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

enum { PATTERNS = 1 << 16, STEPS = 64, OPERANDS = 4, TOLD = 3 };

static struct {
    struct subject *subject;
    int count, next, part, parts, threads;
    const char *filter, *device;
    int64_t stride, lesser, passed, failed, elements;
    bool verbose;
    pthread_mutex_t lock;
} all = {.parts = 1, .stride = 1021, .lesser = 1, .lock = PTHREAD_MUTEX_INITIALIZER};

void exhaustive_tell(struct where *w, const char *what, double x, double y, double r)
{
    if (w->wrong++ < TOLD || all.verbose) {
        printf("FAIL %s%s%s %s %s %s: %s: %.17g (%a) gave %.17g instead of %.17g\n", w->subject->op->name,
               w->subject->label[0] ? " " : "", w->subject->label, plumb_dtype_name(w->dtype), w->provider, w->isa, what,
               x, x, y, r);
    }
}

void exhaustive_settle(const struct where *w, int64_t elements)
{
    pthread_mutex_lock(&all.lock);
    all.elements += elements;
    *(w->wrong ? &all.failed : &all.passed) += 1;
    pthread_mutex_unlock(&all.lock);
    if (w->wrong) {
        printf("FAIL %s%s%s %s %s %s: %lld elements wrong\n", w->subject->op->name, w->subject->label[0] ? " " : "",
               w->subject->label, plumb_dtype_name(w->dtype), w->provider, w->isa, (long long)w->wrong);
    }
}

static plumb_context *open_context(const char *device, const char *isa, const char *implementations)
{
    plumb_error error;
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = device, .threads = 1,
                                                         .isa = isa, .implementations = implementations, .error = &error});
    if (!context) {
        fprintf(stderr, "exhaustive: %s\n", error.message);
        exit(1);
    }
    return context;
}

/* ---- a step of a program, as it was ---- */

struct tensor {
    plumb_dtype dtype;
    int rank;
    int64_t dim[PLUMB_MAX_RANK], count;
    double *value;
};

struct step {
    const plumb_op *op;
    unsigned char attr[512];
    int n_in;
    struct tensor in[OPERANDS], out;
};

struct recorder {
    struct step step[STEPS];
    int steps;
};

static plumb_status take(struct tensor *t, const plumb_view *view, plumb_device *device)
{
    int64_t span = 1;
    for (int d = 0; d < view->rank; d++) { /* nothing here has negative strides */
        span += (view->dim[d] - 1) * view->stride[d];
    }
    size_t size = plumb_dtype_size(view->dtype);
    unsigned char *raw = test_alloc((size_t)span * size);
    plumb_status status = device->table->download(device, raw, view->data, (size_t)span * size);
    *t = (struct tensor){.dtype = view->dtype, .rank = view->rank, .count = plumb_view_count(view)};
    memcpy(t->dim, view->dim, sizeof(t->dim));
    t->value = test_alloc((size_t)(t->count + 1) * sizeof(double));
    for (int64_t i = 0; i < t->count && !status; i++) {
        int64_t at = 0, rest = i;
        for (int d = view->rank - 1; d >= 0; d--) {
            at += rest % view->dim[d] * view->stride[d];
            rest /= view->dim[d];
        }
        t->value[i] = element_at(raw, view->dtype, at);
    }
    free(raw);
    return status;
}

static plumb_status record(void *user, int index, const struct plumb_step *step)
{
    struct recorder *r = user;
    const plumb_call *call = &step->call;
    (void)index;
    if (!(call->op->flags & PLUMB_OP_ELEMENTWISE)) {
        return PLUMB_OK;
    }
    if (r->steps == STEPS || call->n_in > OPERANDS) {
        fprintf(stderr, "exhaustive: raise STEPS or OPERANDS\n");
        abort();
    }
    struct step *s = &r->step[r->steps++];
    s->op = plumb_op_named(call->op->name); /* a plugin has rows of its own */
    s->n_in = call->n_in;
    memcpy(s->attr, call->attr ? call->attr : "", call->attr ? call->op->attr_size : 0);
    plumb_status status = take(&s->out, &call->out[0], call->device);
    for (int i = 0; i < s->n_in && !status; i++) {
        status = take(&s->in[i], &call->in[i], call->device);
    }
    return status;
}

static void forget(struct recorder *r)
{
    for (int i = 0; i < r->steps; i++) {
        free(r->step[i].out.value);
        for (int k = 0; k < r->step[i].n_in; k++) {
            free(r->step[i].in[k].value);
        }
    }
    r->steps = 0;
}

/* ---- the reference in f64 on a step's inputs ---- */

static plumb_dtype doubled(plumb_dtype dtype)
{
    return plumb_dtype_is_float(dtype) ? PLUMB_F64 : dtype;
}

static plumb_view view_of(const struct tensor *t, bool flush)
{
    plumb_view v = {.dtype = doubled(t->dtype), .rank = t->rank};
    memcpy(v.dim, t->dim, sizeof(v.dim));
    plumb_view_pack(&v);
    v.data = test_alloc((size_t)(t->count + 1) * sizeof(double));
    for (int64_t i = 0; i < t->count; i++) {
        bool flushed = flush && fabs(t->value[i]) < 0x1p-126;
        plumb_put(v.data, v.dtype, i, flushed ? copysign(0, t->value[i]) : t->value[i]);
    }
    return v;
}

static double *consult(plumb_context *context, const struct step *s, bool flush)
{
    plumb_view in[OPERANDS], out = view_of(&s->out, false);
    _Alignas(16) unsigned char attr[512];
    double *r = test_alloc((size_t)(s->out.count + 1) * sizeof(double));
    memcpy(attr, s->attr, sizeof(attr));
    if (s->op->flags & PLUMB_OP_DTYPE) {
        plumb_attr_made *made = (plumb_attr_made *)attr;
        made->dtype = doubled(made->dtype);
    }
    for (int i = 0; i < s->n_in; i++) {
        in[i] = view_of(&s->in[i], flush);
    }
    plumb_call call = {.context = context, .device = context->device, .pool = context->pool, .isa = context->isa,
                       .op = s->op, .name = "", .attr = attr, .n_in = s->n_in, .n_out = 1, .in = in, .out = &out};
    if (plumb_reference(s->op)->run(&call) != PLUMB_OK) {
        abort();
    }
    for (int64_t i = 0; i < s->out.count; i++) {
        r[i] = plumb_get(out.data, out.dtype, i);
    }
    free(out.data);
    for (int i = 0; i < s->n_in; i++) {
        free(in[i].data);
    }
    return r;
}

static void judge_step(struct where *w, plumb_context *host, const struct step *s, bool denormals_off)
{
    char what[96];
    double *r = consult(host, s, false), *flushed = denormals_off ? consult(host, s, true) : NULL;
    snprintf(what, sizeof(what), "%s on its way", s->op->name);
    for (int64_t i = 0; i < s->out.count; i++) {
        double x = s->in[0].value[s->in[0].count == s->out.count ? i : 0], y = s->out.value[i];
        if (!element_is_right(s->op, s->attr, s->out.dtype, x, y, r[i], denormals_off) &&
            !(flushed && element_is_right(s->op, s->attr, s->out.dtype, x, y, flushed[i], true))) {
            exhaustive_tell(w, what, x, y, r[i]);
        }
    }
    free(r);
    free(flushed);
}

/* Against the long double; of an op that has none, judge_step has said all there is to say. */
static void judge_truth(struct where *w, const struct step *s, bool denormals_off)
{
    plumb_attr_numbers n = {0, 0};
    if (s->op->attr_size == sizeof(n)) {
        memcpy(&n, s->attr, sizeof(n));
    }
    for (int64_t i = 0; i < s->out.count && w->subject->is_long; i++) {
        double x = s->in[0].value[i], y = s->out.value[i], r = (double)w->subject->is_long(x, n.a, n.b);
        bool right = element_is_right(s->op, s->attr, s->out.dtype, x, y, r, denormals_off);
        if (!right && denormals_off && fabs(x) < 0x1p-126) {
            right = element_is_right(s->op, s->attr, s->out.dtype, x, y,
                                     (double)w->subject->is_long(copysign(0, x), n.a, n.b), true);
        }
        if (!right) {
            exhaustive_tell(w, "against long double", x, y, r);
        }
    }
}

/* ---- programs ---- */

static void fill(void *to, plumb_dtype dtype)
{
    for (uint32_t i = 0; i < PATTERNS; i++) {
        uint32_t wide = i << 16 | ((i * 40503u) & 0xffff); /* of f32 each first half, with a second drawn from it */
        uint16_t low = (uint16_t)i;
        memcpy((char *)to + i * plumb_dtype_size(dtype), dtype == PLUMB_F32 ? (void *)&wide : (void *)&low,
               plumb_dtype_size(dtype));
    }
}

struct built {
    plumb_graph *graph;
    plumb_t x, out[2];
    int outputs;
};

static struct built build(plumb_context *context, const struct subject *subject, plumb_dtype dtype)
{
    struct built b = {.graph = plumb_graph_new(context, "exhaustive")};
    b.x = plumb_input(b.graph, "x", dtype, PLUMB_SHAPE(PATTERNS));
    b.out[b.outputs++] = plumb_emit(b.graph, subject->op, subject->op->attr_size ? subject->attr : NULL, &b.x, 1);
    plumb_dtype result = plumb_dtype_of(b.graph, b.out[0]);
    if (plumb_dtype_is_float(result) && subject->op->gradient) {
        plumb_t dy = plumb_full(b.graph, result, PLUMB_SHAPE(PATTERNS), 1);
        if (plumb_gradients_from(b.graph, b.out, &dy, 1, &b.x, 1, &b.out[1]) == PLUMB_OK) {
            b.outputs++;
        }
    }
    return b;
}

static double *fetch(plumb_program *program, plumb_t tensor, plumb_dtype dtype)
{
    size_t bytes = PATTERNS * plumb_dtype_size(dtype);
    void *raw = test_alloc(bytes);
    double *value = test_alloc(PATTERNS * sizeof(double));
    if (plumb_fetch(program, tensor, raw, bytes) != PLUMB_OK) {
        abort();
    }
    for (int i = 0; i < PATTERNS; i++) {
        value[i] = element_at(raw, dtype, i);
    }
    free(raw);
    return value;
}

static void judge_derivative(struct where *w, plumb_program *program, const struct built *b, const void *x)
{
    double *y = fetch(program, b->out[0], plumb_dtype_of(b->graph, b->out[0]));
    double *dx = fetch(program, b->out[1], w->dtype);
    for (int i = 0; i < PATTERNS; i++) {
        double at = element_at(x, w->dtype, i);
        if (isfinite(at) && isfinite(y[i]) && isnan(dx[i])) {
            exhaustive_tell(w, "its derivative", at, dx[i], 0);
        }
        if (isnan(at) && !isnan(y[i])) {
            exhaustive_tell(w, "a NaN is lost", at, y[i], NAN);
        }
    }
    free(y);
    free(dx);
}

static void run_program(const struct subject *subject, plumb_dtype dtype, plumb_context *context, plumb_context *host,
                        const char *provider)
{
    struct where w = {subject, dtype, provider, all.device ? "" : plumb_isa_name(context->isa), 0};
    struct recorder *r = test_alloc(sizeof(*r));
    struct plumb_watch watch = {.after = record, .user = r};
    struct built b = build(context, subject, dtype);
    plumb_state *state = plumb_state_new(b.graph);
    plumb_program *program = plumb_compile(b.graph, state, &(plumb_compile_options){
        .size = sizeof(plumb_compile_options), .outputs = b.out, .n_outputs = b.outputs,
        .passes_off = PLUMB_PASS_FOLD | PLUMB_PASS_IN_PLACE | PLUMB_PASS_REUSE | PLUMB_PASS_FUSE});
    void *x = test_alloc(PATTERNS * sizeof(float));
    bool denormals_off = !all.device;
    int64_t elements = 0;
    fill(x, dtype);
    if (!program || (plumb_watch_steps(program, &watch), plumb_feed(program, b.x, x, PATTERNS * plumb_dtype_size(dtype))) ||
        plumb_run(program)) {
        printf("FAIL %s %s: %s\n", subject->op->name, provider, plumb_message(context));
        plumb_clear_error(context);
        w.wrong++;
    } else {
        for (int i = 0; i < r->steps; i++) {
            judge_step(&w, host, &r->step[i], denormals_off);
            elements += r->step[i].out.count;
            if (r->step[i].op == subject->op && r->step[i].in[0].dtype == dtype && i == 0) {
                judge_truth(&w, &r->step[i], denormals_off);
            }
        }
        if (b.outputs == 2) {
            judge_derivative(&w, program, &b, x);
        }
    }
    exhaustive_settle(&w, elements);
    forget(r);
    free(r);
    free(x);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(b.graph);
}

/* ---- all of it, on a few threads ---- */

static void run_low(const struct subject *subject, plumb_context *host, plumb_context **context, int contexts)
{
    static const plumb_dtype dtypes[] = {PLUMB_F16, PLUMB_BF16, PLUMB_F32};
    for (int d = 0; d < 3; d++) {
        for (int i = 0; i < contexts; i++) {
            run_program(subject, dtypes[d], context[i], host, all.device ? all.device : context[i] == host ? "cpu.ref" : "cpu");
        }
    }
}

static void *work(void *unused)
{
    static const char *const isas[] = {NULL, NULL, "avx2", "scalar"};
    plumb_context *context[4];
    int contexts = all.device ? 2 : 4, items = all.count * (1 + (all.device ? 0 : SWEEP_SLICES));
    for (int i = 0; i < contexts; i++) {
        context[i] = open_context(i == 0 ? NULL : all.device, isas[i], i == 0 ? "*=cpu.ref" : NULL);
    }
    struct sweep *s = sweep_open(context[1], all.stride, all.lesser);
    for (;;) {
        int item = __atomic_fetch_add(&all.next, 1, __ATOMIC_RELAXED), at = item % all.count;
        if (item >= items) {
            break;
        }
        if (at % all.parts != all.part) {
            continue;
        }
        if (item < all.count) {
            int first = all.device ? 1 : 0; /* the device has no reference */
            run_low(&all.subject[at], context[0], context + first, contexts - first);
        } else {
            sweep_slice(s, &all.subject[at], item / all.count - 1);
        }
    }
    sweep_close(s);
    for (int i = contexts - 1; i >= 0; i--) {
        plumb_close(context[i]);
    }
    return unused;
}

static bool read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        int end = 0;
        if (strcmp(argv[i], "--verbose") == 0) {
            all.verbose = true;
            continue;
        }
        i++;
        if (!value) {
            return false;
        } else if (strcmp(argv[i - 1], "--filter") == 0) {
            all.filter = value;
        } else if (strcmp(argv[i - 1], "--device") == 0) {
            all.device = value;
        } else if (strcmp(argv[i - 1], "--stride") == 0) {
            all.stride = atoll(value);
        } else if (strcmp(argv[i - 1], "--lesser") == 0) {
            all.lesser = atoll(value);
        } else if (strcmp(argv[i - 1], "--threads") == 0) {
            all.threads = atoi(value);
        } else if (strcmp(argv[i - 1], "--part") != 0 || sscanf(value, "%d/%d%n", &all.part, &all.parts, &end) != 2 ||
                   value[end] || all.part < 0 || all.part >= all.parts) {
            return false;
        }
    }
    return all.stride > 0 && all.lesser > 0;
}

int main(int argc, char **argv)
{
    int without = 0, started = 0;
    pthread_t thread[16];
    double start = plumb_seconds();
    if (!read_arguments(argc, argv)) {
        fprintf(stderr, "usage: %s [--filter OP] [--device NAME] [--part K/N] [--stride N] [--lesser N] [--threads N] "
                "[--verbose]\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    all.subject = subjects(all.filter, &all.count, &without);
    int threads = all.device ? 1 : all.threads > 0 ? all.threads : plumb_cpu_count();
    while (started < threads - 1 && started < 16 && pthread_create(&thread[started], NULL, work, NULL) == 0) {
        started++;
    }
    if (all.count > 0) {
        work(NULL);
    }
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
    free(all.subject);
    printf("%d ops with their numbers, %lld elements judged, f32 every %lld-th, %.0f s\n", all.count,
           (long long)all.elements, (long long)all.stride, plumb_seconds() - start);
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)all.passed, (long long)(all.failed + without));
    return all.failed + without > 0 || all.passed == 0;
}
