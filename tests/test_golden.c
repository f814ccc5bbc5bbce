/* Golden vectors: what PyTorch 1.13.1 computed in f64 (tests/golden/make.py, where their form is described), met in f64
 * and in f32, values, gradients and optimisers, without PyTorch. Bounds: both sides add up to a few hundred terms in
 * whatever order, through forward and backward, so an element may be off by what PLUMB_TOL_NORM allows a sum of all the
 * vector's elements: 8 (1 + log2 K) roundings of the largest number there is. In f64 both sides round. */
#include "check.h"

#include "cli/bench.h"
#include "core/core.h"
#include "io/safetensors.h"

#include <plumb/plumb.h>

enum { MOST = 16 };

/* src/cli/options.c, which reads numbers for src/cli/bench_spec.c, refuses through it what only a command line has. */
int cli_refuse(const char *what, const char *format, ...)
{
    (void)what;
    (void)format;
    return PLUMB_BAD_INPUT;
}

struct vector {
    const struct plumb_st_file *file;
    const char *name;
    char op[48], shapes[160], set[256];
    plumb_context *context;
    plumb_dtype dtype;
    double worst; /* error over bound */
};

static const struct plumb_st_entry *find(const struct vector *v, const char *kind, int k)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s%d", v->name, kind, k);
    return plumb_st_find(v->file, name);
}

static double largest(const struct plumb_st_entry *e)
{
    double most = 0;
    for (int64_t i = 0; e && e->dtype == PLUMB_F64 && i < plumb_shape_count(&e->shape); i++) {
        most = fmax(most, fabs(((const double *)e->data)[i]));
    }
    return most;
}

/* The largest number among what was given and what should come out, and how many there are. */
static void measure(const struct vector *v, double *most, double *count)
{
    static const char *const kinds[] = {"in", "out", "grad"};
    *most = 1; /* the weights of the loss */
    *count = 1;
    for (int i = 0; i < 3 * MOST; i++) {
        const struct plumb_st_entry *e = find(v, kinds[i / MOST], i % MOST);
        *most = fmax(*most, largest(e));
        *count += e ? (double)plumb_shape_count(&e->shape) : 0;
    }
}

static void compare(struct vector *v, const char *what, int k, const struct plumb_st_entry *expected, const void *got)
{
    double most, count;
    measure(v, &most, &count);
    double bound = 8 * (1 + log2(count)) * plumb_dtype_epsilon(v->dtype) * most * (v->dtype == PLUMB_F64 ? 2 : 1);
    for (int64_t i = 0; i < plumb_shape_count(&expected->shape); i++) {
        double y = plumb_get(got, v->dtype, i), r = ((const double *)expected->data)[i], error = fabs(y - r);
        if (!(error <= bound)) {
            check_fail(__FILE__, __LINE__, "%s \"%s %s %s\" %s, %s %d [%lld]: %.17g, PyTorch has %.17g (%.2g of the bound)",
                       v->name, v->op, v->shapes, v->set, plumb_dtype_name(v->dtype), what, k, (long long)i, y, r, error / bound);
            return;
        }
        v->worst = fmax(v->worst, error / bound);
    }
}

/* ---- ops ---- */

typedef plumb_t loss_builder(plumb_graph *graph, plumb_t prediction, plumb_t target, const plumb_loss_options *options);

/* Golden vectors of what is no op of the table but built of ops. */
static const struct {
    const char *name;
    loss_builder *build;
} losses[] = {
    {"bce_with_logits", plumb_bce_with_logits}, {"bce", plumb_bce},
    {"squared_error", plumb_squared_error},     {"absolute_error", plumb_absolute_error},
    {"huber_error", plumb_huber_error},
};

static bool build_loss(const struct vector *v, plumb_graph *graph, struct bench_built *built)
{
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        if (strcmp(losses[i].name, v->op) == 0) {
            for (int k = 0; k < 2; k++) {
                built->in[k] = plumb_input(graph, k ? "target" : "prediction", v->dtype, find(v, "in", k)->shape);
                built->type[k].dtype = v->dtype;
            }
            built->n_in = 2;
            built->y = losses[i].build(graph, built->in[0], built->in[1], NULL);
            return true;
        }
    }
    return false;
}

static plumb_t weighted(plumb_graph *graph, plumb_t y, const plumb_shape *shape, plumb_dtype dtype, int output)
{
    int64_t count = plumb_shape_count(shape);
    double *data = malloc((size_t)(count + 1) * sizeof(double));
    for (int64_t i = 0; i < count; i++) {
        plumb_put(data, dtype, i, (double)((i * 7 + 3 + output) % 11 - 5) / 8 + 1.0 / 16);
    }
    plumb_t product = plumb_mul(graph, y, plumb_constant(graph, dtype, *shape, data));
    free(data);
    return plumb_sum(graph, product, NULL, 0, false);
}

/* Everything that the vector has: `what` and `k` say which tensor it is. */
struct asked {
    plumb_t tensor[2 * MOST];
    const char *what[2 * MOST];
    int k[2 * MOST], count;
};

static bool ask(const struct vector *v, plumb_graph *graph, const struct bench_built *built, struct asked *asked)
{
    plumb_t loss = PLUMB_NONE, wrt[MOST], gradient[MOST];
    int n = 0, which[MOST];
    for (int k = 0; k < MOST; k++) {
        const struct plumb_st_entry *out = find(v, "out", k), *value = find(v, "val", k);
        if (out || value) {
            asked->tensor[asked->count] = k ? plumb_output(graph, built->y, k) : built->y;
            asked->what[asked->count] = out ? "out" : "val";
            asked->k[asked->count++] = k;
        }
        if (out) {
            plumb_t part = weighted(graph, asked->tensor[asked->count - 1], &out->shape, v->dtype, k);
            loss = loss == PLUMB_NONE ? part : plumb_add(graph, loss, part);
        }
        if (find(v, "grad", k)) {
            which[n] = k;
            wrt[n++] = built->in[k];
        }
    }
    if (n > 0 && plumb_gradients(graph, loss, wrt, n, gradient) != PLUMB_OK) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        asked->tensor[asked->count] = gradient[i];
        asked->what[asked->count] = "grad";
        asked->k[asked->count++] = which[i];
    }
    return plumb_graph_status(graph) == PLUMB_OK && asked->count > 0;
}

static bool feed(const struct vector *v, plumb_program *program, const struct bench_built *built)
{
    for (int i = 0; i < built->n_in; i++) {
        const struct plumb_st_entry *e = find(v, "in", i);
        size_t count = e ? (size_t)plumb_shape_count(&e->shape) : 0;
        void *data = malloc((count + 1) * sizeof(double));
        for (size_t k = 0; k < count; k++) {
            plumb_put(data, built->type[i].dtype, (int64_t)k, plumb_get(e->data, e->dtype, (int64_t)k));
        }
        bool good = e && plumb_feed(program, built->in[i], data, count * plumb_dtype_size(built->type[i].dtype)) == PLUMB_OK;
        free(data);
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool meet_op(struct vector *v, plumb_graph *graph)
{
    struct bench_built built = {.n_in = 0};
    struct asked asked = {.count = 0};
    struct bench_spec spec = {.op = v->op, .shapes = v->shapes, .set = v->set[0] == '-' ? NULL : v->set, .dtype = v->dtype};
    if (!build_loss(v, graph, &built) &&
        (!plumb_op_named(v->op) || bench_spec_build(&spec, graph, &built) != PLUMB_OK)) {
        return false;
    }
    if (!ask(v, graph, &built, &asked)) {
        return false;
    }
    plumb_compile_options options = {.size = sizeof options, .outputs = asked.tensor, .n_outputs = asked.count,
                                     .training = true};
    plumb_state *state = plumb_state_new(graph);
    plumb_program *program = state ? plumb_compile(graph, state, &options) : NULL;
    bool good = program && feed(v, program, &built) && plumb_run(program) == PLUMB_OK;
    for (int i = 0; good && i < asked.count; i++) {
        const struct plumb_st_entry *e = find(v, asked.what[i], asked.k[i]);
        plumb_shape shape = plumb_output_shape(program, asked.tensor[i]);
        size_t bytes = (size_t)plumb_shape_count(&e->shape) * plumb_dtype_size(v->dtype);
        void *got = malloc(bytes + 1);
        CHECK_MSG(plumb_shape_equal(&shape, &e->shape), "%s %s: the shape of %s %d", v->name, v->op, asked.what[i], asked.k[i]);
        good = plumb_fetch(program, asked.tensor[i], got, bytes) == PLUMB_OK;
        if (good) {
            compare(v, asked.what[i], asked.k[i], e, got);
        }
        free(got);
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return good;
}

/* ---- optimisers: "optimizer RULE lr=0.1,..", five steps on sum((W x - t)^2) ---- */

static bool read_options(const char *text, plumb_optimizer *o)
{
    const struct {
        const char *name;
        double *to;
    } fields[] = {{"lr", &o->lr}, {"momentum", &o->momentum}, {"beta1", &o->beta1}, {"beta2", &o->beta2},
                  {"epsilon", &o->epsilon}, {"weight_decay", &o->weight_decay}};
    char word[64];
    for (; *text; text += strcspn(text, ","), text += *text == ',') {
        bool known = false;
        snprintf(word, sizeof word, "%.*s", (int)strcspn(text, ","), text);
        char *value = strchr(word, '=');
        if (!value) {
            return false;
        }
        *value++ = 0;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
            if (strcmp(fields[i].name, word) == 0) {
                *fields[i].to = strtod(value, NULL);
                known = true;
            }
        }
        if (strcmp(word, "classic") == 0) {
            o->classic = *value == '1';
            known = true;
        }
        if (!known) {
            return false;
        }
    }
    return true;
}

static bool set_from(struct vector *v, plumb_state *state, int k, const char *name)
{
    const struct plumb_st_entry *e = find(v, "in", k);
    size_t count = (size_t)plumb_shape_count(&e->shape);
    void *data = malloc((count + 1) * sizeof(double));
    for (size_t i = 0; i < count; i++) {
        plumb_put(data, v->dtype, (int64_t)i, ((const double *)e->data)[i]);
    }
    bool good = plumb_state_set(state, name, data, count * plumb_dtype_size(v->dtype)) == PLUMB_OK;
    free(data);
    return good;
}

/* `shapes` is the rule here. */
static bool meet_optimizer(struct vector *v, plumb_graph *graph)
{
    static const char *const names[] = {"w", "x", "t"};
    plumb_t in[3];
    plumb_optimizer options = {.size = sizeof options, .rule = v->shapes};
    for (int k = 0; k < 3; k++) {
        in[k] = plumb_variable(graph, names[k], v->dtype, find(v, "in", k)->shape, NULL);
        plumb_set_frozen(graph, in[k], k > 0);
    }
    plumb_t error = plumb_sub(graph, plumb_matmul(graph, in[0], in[1], false, false), in[2]);
    plumb_t loss = plumb_sum(graph, plumb_square(graph, error), NULL, 0, false);
    plumb_state *state = plumb_state_new(graph);
    bool good = state && read_options(v->set, &options);
    for (int k = 0; good && k < 3; k++) {
        good = set_from(v, state, k, names[k]);
    }
    plumb_program *program = good ? plumb_compile_training(graph, state, loss, &options, NULL, 0) : NULL;
    good = program != NULL;
    for (int step = 0; good && step < 5; step++) {
        const struct plumb_st_entry *e = find(v, "out", step);
        size_t bytes = (size_t)plumb_shape_count(&e->shape) * plumb_dtype_size(v->dtype);
        void *got = malloc(bytes + 1);
        good = plumb_run(program) == PLUMB_OK && plumb_state_get(state, "w", got, bytes) == PLUMB_OK;
        if (good) {
            compare(v, "step", step, e, got);
        }
        free(got);
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return good;
}

/* ---- all of them ---- */

static void meet_all(plumb_dtype dtype)
{
    struct plumb_st_file file;
    double worst = 0;
    int met = 0;
    char worst_line[512] = "";
    plumb_context *context = plumb_open(NULL);
    REQUIRE(plumb_st_read(context, PLUMB_TESTS_DIR "/golden/vectors.safetensors", &file) == PLUMB_OK);
    for (int i = 0; file.metadata[i]; i += 2) {
        struct vector v = {.file = &file, .name = file.metadata[i], .context = context, .dtype = dtype};
        REQUIRE(sscanf(file.metadata[i + 1], "%47s %159s %255s", v.op, v.shapes, v.set) == 3);
        plumb_graph *graph = plumb_graph_new(context, v.name);
        bool good = strcmp(v.op, "optimizer") == 0 ? meet_optimizer(&v, graph) : meet_op(&v, graph);
        CHECK_MSG(good, "%s \"%s\": %s", v.name, file.metadata[i + 1], plumb_message(context));
        plumb_graph_free(graph);
        plumb_clear_error(context);
        met += good;
        if (v.worst > worst) {
            worst = v.worst;
            snprintf(worst_line, sizeof worst_line, "%s", file.metadata[i + 1]);
        }
    }
    CHECK_MSG(met >= 2000, "%d golden vectors, at least 2,000 are needed: is tests/golden/vectors.safetensors whole?", met);
    /* A bound that nothing comes near proves little, were it ten thousand times too wide it would prove nothing. */
    CHECK_MSG(worst > 1e-3, "the worst error is %.2g of its bound, at \"%s\": the bound is too wide", worst, worst_line);
    plumb_st_free(context, &file);
    plumb_close(context);
}

PLUMB_TEST(golden, in_f64)
{
    meet_all(PLUMB_F64);
}

PLUMB_TEST(golden, in_f32)
{
    meet_all(PLUMB_F32);
}
