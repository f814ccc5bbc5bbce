/* See courses.h. The bound of a course that is rounded: adding K terms in some order makes errors that, being of either
 * sign, come to about sqrt(K) u of the result's scale, so one op's result differs between two implementations by
 * 2 sqrt(K) u, and a gradient, after the ops of both directions, by e = 2 depth x 2 sqrt(K) u, K being the longest sum.
 * Each step adds one such error to those before it, which pass on undiminished but, where training converges,
 * unamplified: after t steps a loss differs by t e of itself, and what was trained by t e of the way it has come, and one
 * rounding u of its size for each step. */
#include "courses.h"

#include "check.h"

/* ---- networks ---- */

static plumb_status build_model(plumb_context *context, const char *name, plumb_shape picture, int classes,
                                const int64_t *units, plumb_model *model)
{
    return plumb_model_build(context, name,
                             &(plumb_model_options){.size = sizeof(plumb_model_options), .input_shape = picture,
                                                    .classes = classes, .units = units, .n_units = units != NULL},
                             model);
}

static plumb_status build_mlp(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    static const int64_t units[] = {24};
    (void)dtype;
    return build_model(context, "mlp", PLUMB_SHAPE(1, 12, 12), 10, units, model);
}

static plumb_status build_lenet5(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    (void)dtype;
    return build_model(context, "lenet5", PLUMB_SHAPE(1, 28, 28), 10, NULL, model);
}

static plumb_status build_residual(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    (void)dtype;
    return build_model(context, "resnet8-cifar", PLUMB_SHAPE(2, 8, 8), 3, NULL, model);
}

/* Five steps through an lstm in both directions, and on to the last state of a gru. */
static plumb_status build_recurrent(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    plumb_graph *g = model->graph = plumb_graph_new(context, "recurrent");
    model->classes = 3;
    model->input = plumb_input(g, "x", dtype, PLUMB_SHAPE(PLUMB_BATCH, 5, 8));
    model->label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t h = plumb_lstm_layer(g, "lstm", model->input, .units = 7, .bidirectional = true, .batch_first = true);
    h = plumb_gru_layer(g, "gru", h, .units = 9, .batch_first = true, .last = true);
    model->logits = plumb_linear_layer(g, "fc", h, .units = 3);
    model->loss = plumb_softmax_cross_entropy(g, model->logits, model->label, NULL);
    return plumb_graph_status(g);
}

const struct course_net course_mlp = {.name = "mlp", .build = build_mlp, .batch = 3, .lr = 0.05, .depth = 7, .terms = 144};
const struct course_net course_lenet5 = {.name = "lenet5", .build = build_lenet5, .batch = 2, .lr = 0.05, .depth = 17,
                                         .terms = 2 * 28 * 28};
const struct course_net course_residual = {.name = "resnet8-cifar", .build = build_residual, .batch = 3, .lr = 0.05,
                                           .depth = 27, .terms = 3 * 8 * 8};

const struct course_net course_recurrent = {.name = "recurrent", .build = build_recurrent, .batch = 3, .lr = 0.05,
                                            .depth = 3 * 10 + 4, .terms = 3 * 5 + 14 + 7};

/* Ends in a sum of all scores, whose gradient is 1 everywhere. */
static plumb_status finish_exact(plumb_model *model)
{
    model->loss = plumb_sum(model->graph, model->logits, NULL, 0, false);
    return plumb_graph_status(model->graph);
}

static plumb_status build_exact_mlp(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    plumb_graph *g = model->graph = plumb_graph_new(context, "exact");
    model->input = plumb_input(g, "x", dtype, PLUMB_SHAPE(PLUMB_BATCH, 9));
    plumb_t h = plumb_linear_layer(g, "fc1", model->input, .units = 12, .activation = PLUMB_RELU);
    model->logits = plumb_linear_layer(g, "fc2", h, .units = 4);
    return finish_exact(model);
}

static plumb_status build_exact_conv(plumb_context *context, plumb_dtype dtype, plumb_model *model)
{
    plumb_graph *g = model->graph = plumb_graph_new(context, "exact");
    model->input = plumb_input(g, "x", dtype, PLUMB_SHAPE(PLUMB_BATCH, 1, 5, 5));
    plumb_t h = plumb_conv2d_layer(g, "conv1", model->input, .filters = 2, .kernel = {3, 3}, .padding = {1, 1},
                                   .activation = PLUMB_RELU);
    h = plumb_max_pool2d_layer(g, "pool1", h, .window = {3, 3}, .stride = {2, 2});
    model->logits = plumb_linear_layer(g, "fc1", plumb_flatten(g, h, 1), .units = 2);
    return finish_exact(model);
}

const struct course_net course_exact_mlp = {.name = "exact mlp", .build = build_exact_mlp, .batch = 3, .exact = true,
                                            .lr = 0.25};
const struct course_net course_exact_conv = {.name = "exact convolution", .build = build_exact_conv, .batch = 2,
                                             .exact = true, .lr = 0.25};

/* ---- running ---- */

static void *room_for(size_t bytes)
{
    void *memory = calloc(1, bytes + 1);
    if (!memory)
        abort();
    return memory;
}

static plumb_status set_numbers(plumb_state *state, const char *name, plumb_dtype dtype, const double *values, int64_t count)
{
    float *narrow = room_for((size_t)count * sizeof *narrow);
    for (int64_t i = 0; i < count; i++)
        narrow[i] = (float)values[i];
    bool wide = dtype == PLUMB_F64;
    plumb_status status = plumb_state_set(state, name, wide ? (const void *)values : narrow,
                                          (size_t)count * (wide ? sizeof *values : sizeof *narrow));
    free(narrow);
    return status;
}

/* -1, 0 or 1, by position alone. */
static double small_whole(int64_t i, int64_t salt) { return (double)((i * 7 + i / 3 + salt * 5) % 3 - 1); }

static plumb_status start_exactly(plumb_state *state)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        int64_t count = 1;
        for (int d = 0; d < shape.rank; d++)
            count *= shape.dim[d];
        if (strchr(name, ':'))
            continue;
        double *values = room_for((size_t)count * sizeof *values);
        for (int64_t k = 0; k < count; k++)
            values[k] = small_whole(k, i + 1);
        status = set_numbers(state, name, plumb_state_dtype(state, name), values, count);
        free(values);
    }
    return status;
}

static plumb_status feed(const struct course_net *net, const plumb_model *model, plumb_program *program, plumb_dtype dtype)
{
    plumb_shape shape = plumb_shape_of(model->graph, model->input);
    int64_t count = net->batch;
    int32_t label[16];
    for (int d = 1; d < shape.rank; d++)
        count *= shape.dim[d];
    double *wide = room_for((size_t)count * sizeof *wide);
    float *narrow = room_for((size_t)count * sizeof *narrow);
    for (int64_t i = 0; i < count; i++) {
        wide[i] = net->exact ? (i % 4 ? 0 : small_whole(i / 4, 0)) : (double)((i * 37 + i / 29 * 11) % 256) / 255;
        narrow[i] = (float)wide[i];
    }
    for (int i = 0; i < net->batch && i < 16; i++)
        label[i] = (i * 2 + 1) % (model->classes ? model->classes : 1);
    plumb_status status = dtype == PLUMB_F64
                              ? plumb_feed(program, model->input, wide, (size_t)count * sizeof *wide)
                              : plumb_feed(program, model->input, narrow, (size_t)count * sizeof *narrow);
    if (status == PLUMB_OK && model->label != PLUMB_NONE)
        status = plumb_feed(program, model->label, label, (size_t)net->batch * sizeof *label);
    free(wide);
    free(narrow);
    return status;
}

static plumb_status read_entry(const plumb_state *state, const char *name, double *to, int64_t count)
{
    plumb_dtype dtype = plumb_state_dtype(state, name);
    size_t each = dtype == PLUMB_F64 || dtype == PLUMB_I64 ? 8 : 4;
    void *raw = room_for((size_t)count * each);
    plumb_status status = plumb_state_get(state, name, raw, (size_t)count * each);
    for (int64_t i = 0; status == PLUMB_OK && i < count; i++)
        to[i] = dtype == PLUMB_F64   ? ((double *)raw)[i]
                : dtype == PLUMB_F32 ? (double)((float *)raw)[i]
                : dtype == PLUMB_I64 ? (double)((int64_t *)raw)[i]
                                     : (double)((int32_t *)raw)[i];
    free(raw);
    return status;
}

static plumb_status read_state(const plumb_state *state, struct course *c, bool at_end)
{
    plumb_status status = PLUMB_OK;
    c->entries = plumb_state_count(state);
    for (int i = 0; status == PLUMB_OK && i < c->entries && i < COURSE_ENTRIES; i++) {
        struct course_entry *e = &c->entry[i];
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        e->count = 1;
        for (int d = 0; d < shape.rank; d++)
            e->count *= shape.dim[d];
        snprintf(e->name, sizeof e->name, "%s", name);
        double **to = at_end ? &e->end : &e->begin;
        *to = room_for((size_t)e->count * sizeof **to);
        status = read_entry(state, name, *to, e->count);
    }
    return c->entries <= COURSE_ENTRIES ? status : PLUMB_BAD_INPUT;
}

static plumb_status run_steps(const struct course_net *net, const plumb_model *model, plumb_program *program,
                              plumb_dtype dtype, int64_t (*watch)(void), struct course *c)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < COURSE_STEPS; i++) {
        status = feed(net, model, program, dtype);
        status = status ? status : plumb_run(program);
        status = status ? status : plumb_fetch_number(program, model->loss, &c->loss[i]);
        c->held[i] = watch ? watch() : 0;
    }
    return status;
}

plumb_status course_run(plumb_context *context, const struct course_net *net, plumb_dtype dtype, unsigned passes_off,
                        int64_t (*watch)(void), struct course *c)
{
    plumb_model model = {.graph = NULL};
    memset(c, 0, sizeof *c);
    plumb_status status = net->build(context, dtype, &model);
    if (status == PLUMB_OK)
        status = plumb_minimize(model.graph, model.loss, NULL, 0,
                                net->exact ? PLUMB_SGD(.lr = net->lr) : PLUMB_MOMENTUM(.lr = net->lr, .skip_bad_steps = true));
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(model.graph) : NULL;
    plumb_program *program =
        state ? plumb_compile(model.graph, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                           .outputs = &model.loss, .n_outputs = 1,
                                                                           .training = true, .effects = true,
                                                                           .passes_off = passes_off})
              : NULL;
    status = status ? status : program ? PLUMB_OK : plumb_last_status(context);
    status = status || !net->exact ? status : start_exactly(state);
    status = status ? status : read_state(state, c, false);
    status = status ? status : run_steps(net, &model, program, dtype, watch, c);
    status = status ? status : read_state(state, c, true);
    c->plan = status ? NULL : plumb_program_text(program);
    if (c->plan) { /* outlives the context */
        char *text = room_for(strlen(c->plan));
        memcpy(text, c->plan, strlen(c->plan));
        plumb_text_free(context, c->plan);
        c->plan = text;
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(model.graph);
    return status;
}

void course_free(struct course *c)
{
    for (int i = 0; i < c->entries && i < COURSE_ENTRIES; i++) {
        free(c->entry[i].begin);
        free(c->entry[i].end);
    }
    free(c->plan);
    memset(c, 0, sizeof *c);
}

/* ---- comparing ---- */

static bool alike(const char *what, const struct course *a, const struct course *b)
{
    bool good = a->entries == b->entries && a->entries > 0;
    for (int i = 0; good && i < a->entries; i++)
        good = strcmp(a->entry[i].name, b->entry[i].name) == 0 && a->entry[i].count == b->entry[i].count;
    CHECK_MSG(good, "%s: the states hold different things", what);
    return good;
}

void course_same(const char *what, const struct course *a, const struct course *b)
{
    for (int i = 0; i < COURSE_STEPS; i++)
        CHECK_MSG(a->loss[i] == b->loss[i], "%s: loss %.9g of step %d is not %.9g", what, a->loss[i], i + 1, b->loss[i]);
    for (int i = 0; alike(what, a, b) && i < a->entries; i++) {
        int64_t k = 0;
        while (k < a->entry[i].count && a->entry[i].end[k] == b->entry[i].end[k])
            k++;
        CHECK_MSG(k == a->entry[i].count, "%s: '%s' at %lld: %.9g is not %.9g", what, a->entry[i].name, (long long)k,
                  a->entry[i].end[k], b->entry[i].end[k]);
    }
}

double course_close(const char *what, const struct course_net *net, const struct course *a, const struct course *b)
{
    const double u = 0x1p-24, e = 2 * net->depth * 2 * sqrt(net->terms) * u;
    double worst = 0;
    for (int i = 0; i < COURSE_STEPS; i++) {
        double bound = (i + 1) * e * fmax(fabs(b->loss[i]), 1), error = fabs(a->loss[i] - b->loss[i]);
        CHECK_MSG(error <= bound, "%s: loss %.9g of step %d instead of %.9g", what, a->loss[i], i + 1, b->loss[i]);
        worst = fmax(worst, error / bound);
    }
    for (int i = 0; alike(what, a, b) && i < a->entries; i++) {
        const struct course_entry *x = &a->entry[i], *y = &b->entry[i];
        double way = 0, size = 0, error = 0;
        for (int64_t k = 0; k < x->count; k++) {
            way = fmax(way, fabs(y->end[k] - y->begin[k]));
            size = fmax(size, fabs(y->end[k]));
            if (!(fabs(x->end[k] - y->end[k]) <= error))
                error = fabs(x->end[k] - y->end[k]);
        }
        double bound = COURSE_STEPS * (u * size + e * way);
        CHECK_MSG(error <= bound, "%s: '%s' differs by %g, at most %g", what, x->name, error, bound);
        worst = error > 0 ? fmax(worst, error / bound) : worst;
    }
    return worst;
}
