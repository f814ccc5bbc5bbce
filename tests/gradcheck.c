/* The gradient check program: the gradient rule of every op, for every input and in four layouts, against five-point
 * difference quotients in f64; rules of rules, which every smooth op must have; then planted mistakes and whole models.
 *
 *     plumb-gradcheck [--filter OP] [--threads N] [--verbose]
 *
 * A rule must answer for every input: with a gradient, or with "none" said aloud, which is printed. Closing line:
 * "N passed, N failed, N skipped". */
#include "gradcheck.h"
#include "probe.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_OPS = 256, LEAST_CHECKS = 1500, TOLD = 4, SECOND_ELEMENTS = 40 };
enum { STORE_PLAIN, STORE_TRANSPOSED, STORE_SLICED, STORE_REVERSED, STORE_COUNT };
static const char *const store_name[] = {"plain", "transposed", "sliced", "reversed", "second derivative"};

struct score {
    int64_t passed, failed, second, elements;
    double worst, normed, course;
    unsigned silent;  /* inputs of floating dtype for which the rule says "none" */
    bool no_second;   /* rules of the rule's ops are missing */
};

static struct {
    struct score score[MAX_OPS];
    case_list cases;
    int next;
    pthread_mutex_t lock;
    const char *filter;
    bool verbose;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct score *score_of(const plumb_op *op)
{
    for (int i = 0; plumb_op_at(i); i++) {
        if (plumb_op_at(i) == op) {
            return &all.score[i];
        }
    }
    abort();
}

/* ---- one case as a graph ---- */

struct model { /* an op on variables and constants, and a loss over its outputs */
    plumb_graph *graph;
    plumb_state *state;
    const op_case *one;
    _Alignas(16) unsigned char attr[512];
    plumb_t in[CASE_MAX_IN], variable[CASE_MAX_IN]; /* PLUMB_NONE where the input is no variable */
    char name[CASE_MAX_IN][16];
    double *stored[CASE_MAX_IN];
    plumb_t out[32];
    int n_out;
};

/* What serves an op's own way back: the statistics of batch normalisation, whose rule asks for the gradient of y alone,
 * gates and cells of recurrent ops, whose gradients only second derivatives have. */
static bool counts_in_loss(const plumb_op *op, int output)
{
    return op == &plumb_op_batch_norm ? output == 0
           : op == &plumb_op_gru      ? output < 2
           : op == &plumb_op_lstm     ? output < 3
                                      : true;
}

/* The shape a variable is stored in, and where element 0 of the input lies in it, with which strides. */
static plumb_shape stored_shape(const plumb_shape *shape, int store, int64_t *stride, int64_t *offset)
{
    plumb_shape to = *shape;
    int64_t span = 1;
    *offset = 0;
    for (int i = 0; i < shape->rank; i++) {
        int d = store == STORE_TRANSPOSED ? i : shape->rank - 1 - i, at = store == STORE_TRANSPOSED ? shape->rank - 1 - i : d;
        int64_t dim = shape->dim[d], step = store == STORE_SLICED && d == shape->rank - 1 ? 2 : 1;
        to.dim[at] = store == STORE_SLICED ? dim * step + 2 : dim;
        stride[d] = store == STORE_REVERSED ? -span : span * step;
        *offset += store == STORE_SLICED ? span : store == STORE_REVERSED && dim > 0 ? (dim - 1) * span : 0;
        span *= to.dim[at];
    }
    return to;
}

/* The op that undoes the storing. */
static plumb_t read_stored(plumb_graph *graph, plumb_t variable, const plumb_shape *shape, int store)
{
    int64_t begin[PLUMB_MAX_RANK], end[PLUMB_MAX_RANK], step[PLUMB_MAX_RANK];
    if (store == STORE_PLAIN || shape->rank == 0) {
        return variable;
    }
    if (store == STORE_TRANSPOSED) {
        return plumb_transpose(graph, variable, NULL);
    }
    for (int d = 0; d < shape->rank; d++) {
        int64_t stretch = d == shape->rank - 1 ? 2 : 1;
        begin[d] = store == STORE_SLICED ? 1 : -1;
        end[d] = store == STORE_SLICED ? 1 + shape->dim[d] * stretch : PLUMB_END;
        step[d] = store == STORE_SLICED ? stretch : -1;
    }
    return plumb_slice(graph, variable, begin, end, step);
}

static void place_values(const plumb_shape *shape, const double *values, const int64_t *stride, double *to)
{
    int64_t count = plumb_shape_count(shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, at = 0;
        for (int d = shape->rank - 1; d >= 0; d--) {
            at += rest % shape->dim[d] * stride[d];
            rest /= shape->dim[d];
        }
        to[at] = values[i];
    }
}

static void add_variable(struct model *m, int i, const double *values, int store)
{
    int64_t stride[PLUMB_MAX_RANK], offset;
    const plumb_shape *shape = &m->one->in[i].shape;
    plumb_shape stored = stored_shape(shape, store, stride, &offset);
    int64_t count = plumb_shape_count(&stored);
    m->stored[i] = test_alloc((size_t)(count + 1) * sizeof(double));
    for (int64_t k = 0; k < count; k++) {
        m->stored[i][k] = 1;
    }
    place_values(shape, values, stride, m->stored[i] + offset);
    snprintf(m->name[i], sizeof(m->name[i]), "in%d", i);
    m->variable[i] = plumb_variable(m->graph, m->name[i], PLUMB_F64, stored, NULL);
    m->in[i] = read_stored(m->graph, m->variable[i], shape, store);
}

static void add_constant(struct model *m, int i, const double *values, plumb_dtype dtype)
{
    int64_t count = plumb_shape_count(&m->one->in[i].shape);
    void *data = test_alloc((size_t)(count + 1) * plumb_dtype_size(dtype));
    for (int64_t k = 0; k < count; k++) {
        plumb_put(data, dtype, k, values[k]);
    }
    m->in[i] = plumb_constant(m->graph, dtype, m->one->in[i].shape, data);
    free(data);
}

static void add_inputs(struct model *m, int store)
{
    struct dice dice = {plumb_hash(m->one->op->name) ^ plumb_hash(m->one->label)};
    for (int i = 0; i < m->one->n_in; i++) {
        plumb_dtype dtype = input_dtype(&m->one->in[i], PLUMB_F64);
        dtype = plumb_dtype_is_float(dtype) ? PLUMB_F64 : dtype;
        double *values = make_values(&m->one->in[i], dtype, &dice);
        if (dtype == PLUMB_F64) {
            add_variable(m, i, values, store);
        } else {
            add_constant(m, i, values, dtype);
        }
        free(values);
    }
}

static bool open_model(struct model *m, plumb_context *context, const op_case *one, int store)
{
    plumb_attr_made *made = (plumb_attr_made *)m->attr;
    memset(m, 0, sizeof(*m));
    m->one = one;
    m->graph = plumb_graph_new(context, "case");
    memcpy(m->attr, one->attr, sizeof(m->attr));
    if ((one->op->flags & PLUMB_OP_DTYPE) && (made->dtype == PLUMB_NO_DTYPE || plumb_dtype_is_float(made->dtype))) {
        made->dtype = PLUMB_F64;
    }
    add_inputs(m, store);
    m->out[0] = plumb_emit(m->graph, one->op, m->attr, m->in, one->n_in);
    m->n_out = (one->op->flags & PLUMB_OP_VARIADIC) ? one->op->outputs(m->attr, one->n_in) : one->op->n_out;
    for (int k = 1; k < m->n_out && m->out[0] != PLUMB_NONE; k++) {
        m->out[k] = m->out[0] + (plumb_t)k;
    }
    return plumb_graph_status(m->graph) == PLUMB_OK;
}

static void close_model(struct model *m)
{
    for (int i = 0; i < CASE_MAX_IN; i++) {
        free(m->stored[i]);
    }
    plumb_state_free(m->state);
    plumb_graph_free(m->graph);
}

/* A constant of `like`'s shape with values from [-1, 1], none near 0. */
static plumb_t random_like(plumb_graph *graph, plumb_t like, struct dice *dice)
{
    plumb_shape shape = plumb_shape_of(graph, like);
    int64_t count = plumb_shape_count(&shape);
    double *data = test_alloc((size_t)(count + 1) * sizeof(double));
    for (int64_t i = 0; i < count; i++) {
        double value = 0.25 + 0.75 * dice_unit(dice);
        data[i] = dice_next(dice) & 1 ? value : -value;
    }
    plumb_t made = plumb_constant(graph, PLUMB_F64, shape, data);
    free(data);
    return made;
}

/* The sum of all of `count` tensors, each element with a weight of its own. */
static plumb_t weighted_sum(plumb_graph *graph, const plumb_t *x, int count, struct dice *dice)
{
    plumb_t sum = PLUMB_NONE;
    for (int k = 0; k < count; k++) {
        plumb_t part = plumb_sum(graph, plumb_mul(graph, x[k], random_like(graph, x[k], dice)), NULL, 0, false);
        sum = sum == PLUMB_NONE ? part : plumb_add(graph, sum, part);
    }
    return sum;
}

/* ---- one case ---- */

static void tell(const op_case *one, int store, const char *why)
{
    struct score *score = score_of(one->op);
    pthread_mutex_lock(&all.lock);
    if (score->failed++ < TOLD || all.verbose) {
        printf("FAIL %s \"%s\" %s: %s\n", one->op->name, one->label, store_name[store], why);
    }
    pthread_mutex_unlock(&all.lock);
}

/* Asks the rule itself: which inputs does it answer with a gradient, which with "none"? false: it leaves one open. */
static bool ask_rule(struct model *m, bool *answered, char *why, size_t room)
{
    const plumb_op *op = m->one->op;
    struct dice dice = {1};
    plumb_t dout[32] = {PLUMB_NONE}, din[CASE_MAX_IN] = {PLUMB_NONE};
    bool want[CASE_MAX_IN];
    for (int k = 0; k < m->n_out; k++) {
        if (plumb_dtype_of(m->graph, m->out[k]) == PLUMB_F64 && counts_in_loss(op, k)) {
            dout[k] = random_like(m->graph, m->out[k], &dice);
        }
    }
    for (int i = 0; i < m->one->n_in; i++) {
        want[i] = true;
    }
    plumb_grad q = {.graph = m->graph, .op = op, .name = "", .attr = m->attr, .n_in = m->one->n_in,
                    .n_out = m->n_out, .in = m->in, .out = m->out, .dout = dout, .want = want, .din = din};
    if (op->gradient(&q) != PLUMB_OK || plumb_graph_status(m->graph) != PLUMB_OK) {
        snprintf(why, room, "the rule failed: %s", plumb_message(plumb_graph_context(m->graph)));
        return false;
    }
    for (int i = 0; i < m->one->n_in; i++) {
        answered[i] = din[i] != PLUMB_NO_GRADIENT;
        if (din[i] == PLUMB_NONE) {
            snprintf(why, room, "the rule does not answer for input %d", i);
            return false;
        }
        if (answered[i] && m->variable[i] == PLUMB_NONE) {
            snprintf(why, room, "the rule gives input %d, which is not floating, a gradient", i);
            return false;
        }
    }
    return true;
}

static bool fill_state(struct model *m)
{
    m->state = plumb_state_new(m->graph);
    for (int i = 0; m->state && i < m->one->n_in; i++) {
        plumb_shape shape = plumb_shape_of(m->graph, m->variable[i]);
        if (m->variable[i] != PLUMB_NONE &&
            plumb_state_set(m->state, m->name[i], m->stored[i],
                            (size_t)plumb_shape_count(&shape) * sizeof(double)) != PLUMB_OK) {
            return false;
        }
    }
    return m->state != NULL;
}

static plumb_t loss_over_outputs(struct model *m, struct dice *dice)
{
    plumb_t outputs[32];
    int n = 0;
    for (int k = 0; k < m->n_out; k++) {
        if (plumb_dtype_of(m->graph, m->out[k]) == PLUMB_F64 && counts_in_loss(m->one->op, k)) {
            outputs[n++] = m->out[k];
        }
    }
    return weighted_sum(m->graph, outputs, n, dice);
}

static bool outputs_are_empty(const struct model *m)
{
    for (int k = 0; k < m->n_out; k++) {
        plumb_shape shape = plumb_shape_of(m->graph, m->out[k]);
        if (plumb_dtype_of(m->graph, m->out[k]) == PLUMB_F64 && counts_in_loss(m->one->op, k) &&
            plumb_shape_count(&shape) != 0) {
            return false;
        }
    }
    return true;
}

/* With these attributes. */
static bool has_kinks(const struct model *m)
{
    const plumb_op *op = m->one->op;
    return op->branch && op->branch(m->graph, m->attr, m->in, m->out) != PLUMB_NONE;
}

static void list_claims(struct probe *probe, const struct model *m, const bool *answered)
{
    bool empty = outputs_are_empty(m), kinks = has_kinks(m);
    for (int i = 0; i < m->one->n_in; i++) {
        if (m->variable[i] != PLUMB_NONE && answered[i]) {
            probe->variable[probe->n] = m->variable[i];
            int64_t count = plumb_shape_count(&m->one->in[i].shape);
            /* Few elements may all lie on the flat side of a kink, or beside the maximum. */
            probe->may_vanish[probe->n] = empty || count == 0 || (kinks && count <= 8) ||
                                          (m->one->zero_gradient & (1u << i));
            probe->n++;
        }
    }
}

static void note(const op_case *one, int store, const struct probe_result *result, const bool *answered,
                 const struct model *m)
{
    struct score *score = score_of(one->op);
    pthread_mutex_lock(&all.lock);
    score->passed += store < STORE_COUNT;
    score->second += store == STORE_COUNT;
    score->elements += result->elements;
    score->worst = result->worst > score->worst ? result->worst : score->worst;
    score->normed = result->normed > score->normed ? result->normed : score->normed;
    score->course = result->course > score->course ? result->course : score->course;
    for (int i = 0; i < one->n_in; i++) {
        score->silent |= m->variable[i] != PLUMB_NONE && !answered[i] ? 1u << i : 0;
    }
    pthread_mutex_unlock(&all.lock);
}

/* The gradients as a function of the inputs, differentiated once more. */
static void check_second(struct model *m, struct probe *probe, const bool *answered, struct dice *dice)
{
    struct probe_result result;
    plumb_context *context = plumb_graph_context(m->graph);
    probe->loss = weighted_sum(m->graph, probe->claim, probe->n, dice);
    memset(probe->may_vanish, 1, sizeof(probe->may_vanish)); /* as those of linear ops do */
    if (plumb_gradients(m->graph, probe->loss, probe->variable, probe->n, probe->claim) != PLUMB_OK) {
        pthread_mutex_lock(&all.lock);
        score_of(m->one->op)->no_second = true;
        pthread_mutex_unlock(&all.lock);
        plumb_clear_error(context);
    } else if (probe_run(probe, &result)) {
        note(m->one, STORE_COUNT, &result, answered, m);
    } else {
        tell(m->one, STORE_COUNT, result.why);
    }
}

static int64_t elements_of(const struct probe *probe)
{
    int64_t count = 0;
    for (int i = 0; i < probe->n; i++) {
        plumb_shape shape = plumb_shape_of(probe->graph, probe->variable[i]);
        count += plumb_shape_count(&shape);
    }
    return count;
}

static void check_model(struct model *m, plumb_context *context, int store)
{
    struct dice dice = {plumb_hash(m->one->label)};
    struct probe probe = {.context = context, .graph = m->graph};
    struct probe_result result;
    bool answered[CASE_MAX_IN] = {false};
    char why[1280];
    if (!ask_rule(m, answered, why, sizeof(why))) {
        tell(m->one, store, why);
        return;
    }
    list_claims(&probe, m, answered);
    if (probe.n == 0 || elements_of(&probe) == 0) {
        memset(&result, 0, sizeof(result)); /* nothing to differentiate by; the rule's "none" is noted */
        note(m->one, STORE_COUNT + 1, &result, answered, m);
        return;
    }
    probe.loss = loss_over_outputs(m, &dice);
    if (plumb_gradients(m->graph, probe.loss, probe.variable, probe.n, probe.claim) != PLUMB_OK || !fill_state(m)) {
        tell(m->one, store, plumb_message(context));
        return;
    }
    probe.state = m->state;
    if (!probe_run(&probe, &result)) {
        tell(m->one, store, result.why);
        return;
    }
    note(m->one, store, &result, answered, m);
    if (store == STORE_PLAIN && !has_kinks(m) && elements_of(&probe) <= SECOND_ELEMENTS) {
        check_second(m, &probe, answered, &dice);
    }
}

/* Of a case that stays out of the check, only the answer of the rule. */
static void check_answer(struct model *m)
{
    bool answered[CASE_MAX_IN] = {false}, floating = false;
    struct probe_result result;
    char why[1280];
    for (int k = 0; k < m->n_out; k++) {
        floating = floating || plumb_dtype_of(m->graph, m->out[k]) == PLUMB_F64;
    }
    memset(&result, 0, sizeof(result));
    if (floating && !ask_rule(m, answered, why, sizeof(why))) {
        tell(m->one, STORE_PLAIN, why);
    } else {
        note(m->one, STORE_COUNT + 1, &result, answered, m);
    }
}

static bool store_matters(const op_case *one, int store)
{
    for (int i = 0; i < one->n_in; i++) {
        const plumb_shape *shape = &one->in[i].shape;
        if (plumb_dtype_is_float(input_dtype(&one->in[i], PLUMB_F64)) && plumb_shape_count(shape) > 1 &&
            (store != STORE_TRANSPOSED || shape->rank > 1)) {
            return true;
        }
    }
    return store == STORE_PLAIN;
}

static void check_case(plumb_context *context, const op_case *one)
{
    unsigned dtypes = one->dtypes ? one->dtypes : PLUMB_FLOATS;
    if (one->expect != PLUMB_OK || !one->op->gradient || !(dtypes & PLUMB_BIT(PLUMB_F64))) {
        return;
    }
    for (int store = 0; store < STORE_COUNT; store++) {
        struct model m;
        if (!store_matters(one, store) || (one->no_gradient && store != STORE_PLAIN)) {
            continue;
        }
        if (!open_model(&m, context, one, store)) {
            tell(one, store, plumb_message(context));
        } else if (one->no_gradient) {
            check_answer(&m);
        } else {
            check_model(&m, context, store);
        }
        close_model(&m);
        plumb_clear_error(context);
    }
}

/* ---- all cases ---- */

static void *work(void *unused)
{
    plumb_error error;
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1,
                                                         .error = &error});
    if (!context) {
        fprintf(stderr, "gradcheck: %s\n", error.message);
        abort();
    }
    for (;;) {
        int at = __atomic_fetch_add(&all.next, 1, __ATOMIC_RELAXED);
        if (at >= all.cases.count) {
            break;
        }
        if (!all.filter || strcmp(all.filter, all.cases.items[at].op->name) == 0) {
            check_case(context, &all.cases.items[at]);
        }
    }
    plumb_close(context);
    return unused;
}

/* An op of floating inputs and outputs without a rule; an op whose every case stays out of the check. */
static int64_t count_unanswered(void)
{
    int64_t open = 0;
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        const struct score *s = &all.score[i];
        bool floating = false, tried = s->passed + s->failed > 0 || s->silent;
        for (int k = 0; k < all.cases.count; k++) {
            const op_case *one = &all.cases.items[k];
            bool mine = one->op == op && one->expect == PLUMB_OK && (!one->dtypes || one->dtypes & PLUMB_BIT(PLUMB_F64));
            for (int n = 0; mine && n < one->n_in; n++) {
                floating = floating || plumb_dtype_is_float(input_dtype(&one->in[n], PLUMB_F64));
            }
        }
        if ((op->flags & PLUMB_OP_LEAF) || !floating || tried || (all.filter && strcmp(all.filter, op->name) != 0)) {
            continue;
        }
        printf("%s %s: %s\n", op->gradient ? "FAIL" : "none", op->name,
               op->gradient ? "no case of it is in the gradient check" : "no gradient rule (no floating result)");
        open += op->gradient != NULL;
    }
    return open;
}

/* Smooth, and no second derivative was held against difference quotients. */
static int is_unbent(const plumb_op *op, const struct score *s)
{
    bool open = s->no_second || (s->passed > 0 && s->second == 0 && !op->branch);
    if (open) {
        printf("FAIL %s: %s\n", op->name, s->no_second ? "its gradient has no gradient" : "no case is small enough for seconds");
    }
    return open;
}

static void print_scores(bool verbose)
{
    if (verbose) {
        printf("%-24s %7s %7s %8s %10s %10s %10s\n", "op", "checks", "second", "elements", "worst", "normed", "course");
    }
    for (int i = 0; plumb_op_at(i); i++) {
        const struct score *s = &all.score[i];
        if (verbose && s->passed + s->failed > 0) {
            printf("%-24s %7lld %7lld %8lld %10.1e %10.1e %10.1e%s\n", plumb_op_at(i)->name, (long long)s->passed,
                   (long long)s->second, (long long)s->elements, s->worst, s->normed, s->course,
                   s->no_second ? "  (no second derivative)" : "");
        }
        for (int n = 0; n < CASE_MAX_IN && s->silent; n++) {
            if (s->silent & (1u << n)) {
                printf("%s %d", s->silent & ((1u << n) - 1) ? "" : plumb_op_at(i)->name, n);
            }
        }
        printf("%s", s->silent ? ": no gradient, says the rule of these inputs\n" : "");
    }
}

void check_ops(struct gradcheck_count *count, const char *filter, int threads, bool verbose)
{
    pthread_t thread[16];
    int started = 0;
    int64_t checks = 0, second = 0, elements = 0;
    double worst = 0, course = 0;
    all.filter = filter;
    all.verbose = verbose;
#define CASE_FAMILY(name) cases_##name(&all.cases);
#include "cases/families.h"
#undef CASE_FAMILY
    while (started < threads - 1 && started < 16 && pthread_create(&thread[started], NULL, work, NULL) == 0) {
        started++;
    }
    work(NULL);
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
    print_scores(verbose);
    for (int i = 0; plumb_op_at(i); i++) {
        checks += all.score[i].passed;
        second += all.score[i].second;
        elements += all.score[i].elements;
        count->failed += all.score[i].failed + is_unbent(plumb_op_at(i), &all.score[i]);
        worst = all.score[i].worst > worst ? all.score[i].worst : worst;
        course = all.score[i].course > course ? all.score[i].course : course;
    }
    count->passed += checks + second;
    count->failed += count_unanswered();
    if (!filter && checks < LEAST_CHECKS) {
        printf("FAIL ops: %lld checks, at least %d are needed\n", (long long)checks, LEAST_CHECKS);
        count->failed++;
    }
    printf("ops: %lld checks, %lld second derivatives, %lld elements; worst error %.1e (at most %g); course figure %.1e\n",
           (long long)checks, (long long)second, (long long)elements, worst, PROBE_TOLERANCE, course);
    free(all.cases.items);
}

int main(int argc, char **argv)
{
    struct gradcheck_count count = {0, 0};
    const char *filter = NULL;
    bool verbose = false;
    int threads = plumb_cpu_count();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--filter") == 0) {
            filter = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0) {
            threads = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--filter OP | models | planted] [--threads N] [--verbose]\n", argv[0]);
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!filter || (strcmp(filter, "models") != 0 && strcmp(filter, "planted") != 0)) {
        check_ops(&count, filter, threads, verbose);
    }
    if (!filter || strcmp(filter, "planted") == 0) {
        check_planted(&count);
    }
    if (!filter || strcmp(filter, "models") == 0) {
        check_models(&count);
    }
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)count.passed, (long long)count.failed);
    return count.failed > 0 || count.passed == 0;
}
