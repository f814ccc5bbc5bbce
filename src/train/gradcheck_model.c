/* The model that a gradient check works on: a copy in f64, its values, its gradients, and a program for the loss that
 * also tells on which side of every kink it was evaluated (op->branch). */
#include "train/gradcheck.h"

#include <math.h>
#include <stdio.h>

/* ---- the copy in f64 ---- */

/* All floating types become f64; indices of tensors stay. */
static plumb_graph *double_graph(plumb_graph *graph)
{
    static const plumb_dtype from[] = {PLUMB_F32, PLUMB_BF16, PLUMB_F16};
    plumb_graph *now = NULL;
    for (int i = 0; i < 3; i++) {
        plumb_graph *next = plumb_graph_retype(now ? now : graph, from[i], PLUMB_F64);
        plumb_graph_free(now);
        now = next;
        if (!now) {
            break;
        }
    }
    return now;
}

/* `count` elements of `dtype` as a new array of what the f64 copy holds. */
static void *convert(plumb_context *context, const void *data, plumb_dtype dtype, int64_t count, size_t *bytes)
{
    bool floating = plumb_dtype_is_float(dtype);
    *bytes = (size_t)count * (floating ? sizeof(double) : plumb_dtype_size(dtype));
    void *to = plumb_alloc(context, *bytes);
    if (to && !floating) {
        memcpy(to, data, *bytes);
    }
    for (int64_t i = 0; to && floating && i < count; i++) {
        ((double *)to)[i] = plumb_get(data, dtype, i);
    }
    return to;
}

static plumb_status copy_value(struct plumb_checker *c, const plumb_state *from, const char *name)
{
    plumb_shape shape = plumb_state_shape(from, name);
    plumb_dtype dtype = plumb_state_dtype(from, name);
    int64_t count = plumb_shape_count(&shape);
    size_t bytes = (size_t)count * plumb_dtype_size(dtype), made_bytes;
    void *raw = plumb_alloc(c->context, bytes);
    plumb_status status = raw ? plumb_state_get(from, name, raw, bytes) : PLUMB_FAILED;
    void *made = status == PLUMB_OK ? convert(c->context, raw, dtype, count, &made_bytes) : NULL;
    if (status == PLUMB_OK) {
        status = made ? plumb_state_set(c->state, name, made, made_bytes) : PLUMB_FAILED;
    }
    plumb_free(c->context, raw);
    plumb_free(c->context, made);
    return status;
}

static plumb_status copy_state(struct plumb_checker *c, const plumb_state *from)
{
    c->state = plumb_state_new(c->graph);
    plumb_status status = c->state ? PLUMB_OK : plumb_last_status(c->context);
    for (int i = 0; status == PLUMB_OK && from && i < plumb_state_count(from); i++) {
        const char *name = plumb_state_name(from, i);
        if (plumb_state_has(c->state, name)) {
            status = copy_value(c, from, name);
        }
    }
    return status;
}

/* Feeds every input that the program uses. */
static plumb_status feed(struct plumb_checker *c, plumb_program *program, const plumb_graph *original)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < c->n_inputs; i++) {
        const plumb_binding *one = &c->inputs[i];
        plumb_dtype dtype = plumb_dtype_of(original, one->input);
        size_t size = plumb_dtype_size(dtype), bytes;
        if (size == 0) {
            return plumb_fail(c->context, PLUMB_BAD_INPUT, "gradient check: input %d is not a tensor of the graph", i);
        }
        void *data = convert(c->context, one->data, dtype, (int64_t)(one->bytes / size), &bytes);
        status = data ? plumb_feed(program, plumb_id_in(c->graph, one->input), data, bytes) : PLUMB_FAILED;
        plumb_free(c->context, data);
    }
    return status;
}

/* ---- branches ---- */

/* The loss's ancestors among the nodes. */
static void mark_ancestors(const struct graph *g, uint32_t loss, unsigned char *needed)
{
    needed[g->tensor[loss].node] = 1;
    for (int i = (int)g->tensor[loss].node; i >= 0; i--) {
        for (int k = 0; needed[i] && k < g->node[i].n_in; k++) {
            needed[g->tensor[g->node[i].in[k]].node] = 1;
        }
    }
}

static plumb_status branch_of_node(struct plumb_checker *c, struct graph *g, int index)
{
    const struct plumb_node node = g->node[index]; /* a copy: the array may move while nodes are added */
    plumb_t *ids = plumb_alloc(c->context, sizeof(plumb_t) * (size_t)(node.n_in + node.n_out + 1));
    if (!ids) {
        return PLUMB_FAILED;
    }
    for (int k = 0; k < node.n_in; k++) {
        ids[k] = plumb_id(g, node.in[k]);
    }
    for (int k = 0; k < node.n_out; k++) {
        ids[node.n_in + k] = plumb_id(g, node.out + (uint32_t)k);
    }
    plumb_t branch = node.op->branch(c->graph, node.attr, ids, ids + node.n_in);
    plumb_free(c->context, ids);
    if (branch != PLUMB_NONE) {
        c->branch[c->n_branches++] = branch;
    }
    return plumb_graph_status(c->graph);
}

static plumb_status add_branches(struct plumb_checker *c)
{
    struct graph *g = plumb_graph_get(c->graph);
    int n_nodes = g->n_nodes;
    unsigned char *needed = plumb_zalloc(c->context, (size_t)n_nodes);
    c->branch = plumb_alloc(c->context, (size_t)n_nodes * sizeof(plumb_t));
    plumb_status status = needed && c->branch ? PLUMB_OK : PLUMB_FAILED;
    if (needed) {
        mark_ancestors(g, plumb_index(g, c->loss), needed);
    }
    for (int i = 0; status == PLUMB_OK && i < n_nodes; i++) {
        if (needed[i] && g->node[i].op->branch) {
            status = branch_of_node(c, g, i);
        }
    }
    plumb_free(c->context, needed);
    return status;
}

static plumb_status read_branches(struct plumb_checker *c, unsigned char *to)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < c->n_branches; i++) {
        plumb_shape shape = plumb_output_shape(c->program, c->branch[i]);
        size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(plumb_dtype_of(c->graph, c->branch[i]));
        status = plumb_fetch(c->program, c->branch[i], to, bytes);
        to += bytes;
    }
    return status;
}

static plumb_status remember_branches(struct plumb_checker *c)
{
    c->branch_bytes = 0;
    for (int i = 0; i < c->n_branches; i++) {
        plumb_shape shape = plumb_output_shape(c->program, c->branch[i]);
        c->branch_bytes += (size_t)plumb_shape_count(&shape) *
                           plumb_dtype_size(plumb_dtype_of(c->graph, c->branch[i]));
    }
    c->branch_base = plumb_alloc(c->context, c->branch_bytes);
    c->branch_now = plumb_alloc(c->context, c->branch_bytes);
    return c->branch_base && c->branch_now ? read_branches(c, c->branch_base) : PLUMB_FAILED;
}

/* ---- evaluating ---- */

/* The loss at the state's values; *same is cleared if a kink lies between here and the base point. */
plumb_status plumb_checker_loss(struct plumb_checker *c, double *loss, bool *same)
{
    plumb_status status = plumb_run(c->program);
    if (status == PLUMB_OK) {
        status = plumb_fetch_number(c->program, c->loss, loss);
    }
    if (status == PLUMB_OK && c->n_branches > 0) {
        status = read_branches(c, c->branch_now);
        *same = *same && memcmp(c->branch_base, c->branch_now, c->branch_bytes) == 0;
    }
    return status;
}

/* ---- putting it together ---- */

static plumb_status list_parameters(struct plumb_checker *c, const plumb_graph *original, plumb_t **ids)
{
    int count = c->options.parameters ? c->options.n_parameters : plumb_parameters(original, NULL, 0);
    if (count < 1) {
        return plumb_fail(c->context, PLUMB_BAD_INPUT, "gradient check: the model has no trainable parameter");
    }
    *ids = plumb_zalloc(c->context, 2 * (size_t)count * sizeof(plumb_t));
    c->parameter = plumb_zalloc(c->context, (size_t)count * sizeof(struct plumb_check_parameter));
    if (!*ids || !c->parameter) {
        return PLUMB_FAILED;
    }
    if (c->options.parameters) {
        memcpy(*ids, c->options.parameters, (size_t)count * sizeof(plumb_t));
    } else {
        plumb_parameters(original, *ids, count);
    }
    for (int i = 0; i < count; i++) {
        (*ids)[i] = plumb_id_in(c->graph, (*ids)[i]);
        if (!plumb_is_variable(c->graph, (*ids)[i])) {
            return plumb_fail(c->context, PLUMB_BAD_INPUT, "gradient check: parameter %d is not a variable", i);
        }
        c->parameter[i].name = plumb_name_of(c->graph, (*ids)[i]);
    }
    c->n_parameters = count;
    return PLUMB_OK;
}

static plumb_status read_parameter(struct plumb_checker *c, plumb_program *program, struct plumb_check_parameter *p, plumb_t gradient)
{
    plumb_shape shape = plumb_state_shape(c->state, p->name);
    p->count = plumb_shape_count(&shape);
    p->first = c->report.total;
    c->report.total += p->count;
    size_t bytes = (size_t)p->count * sizeof(double);
    p->value = plumb_alloc(c->context, bytes);
    p->gradient = plumb_alloc(c->context, bytes);
    if (!p->value || !p->gradient) {
        return PLUMB_FAILED;
    }
    plumb_status status = plumb_state_get(c->state, p->name, p->value, bytes);
    if (status == PLUMB_OK) {
        status = plumb_fetch(program, gradient, p->gradient, bytes);
    }
    for (int64_t i = 0; status == PLUMB_OK && i < p->count; i++) {
        p->largest = fmax(p->largest, fabs(p->gradient[i]));
        if (!isfinite(p->gradient[i])) {
            status = plumb_fail(c->context, PLUMB_NUMERIC, "gradient check: the gradient of '%s' is %g at %lld", p->name,
                                p->gradient[i], (long long)i);
        }
    }
    c->largest = fmax(c->largest, p->largest);
    return status;
}

/* Rounding leaves a little where the true gradient is 0. */
static void list_zeros(struct plumb_checker *c)
{
    for (int i = 0; i < c->n_parameters; i++) {
        const struct plumb_check_parameter *p = &c->parameter[i];
        if (p->count > 0 && !(p->largest > 1e-12 * c->largest) && c->report.zero_parameters++ == 0) {
            snprintf(c->report.zero_name, sizeof(c->report.zero_name), "%s", p->name);
        }
    }
}

/* Compiles loss and gradients, runs them once, and keeps the analytic side. */
static plumb_status find_gradients(struct plumb_checker *c, const plumb_graph *original)
{
    plumb_t *ids = NULL;
    plumb_program *program = NULL;
    plumb_status status = list_parameters(c, original, &ids);
    plumb_t *gradient = ids ? ids + c->n_parameters : NULL;
    if (status == PLUMB_OK) {
        status = plumb_gradients(c->graph, c->loss, ids, c->n_parameters, gradient);
    }
    if (status == PLUMB_OK) {
        plumb_compile_options options = {.size = sizeof(options), .outputs = gradient, .n_outputs = c->n_parameters,
                                         .training = true};
        program = plumb_compile(c->graph, c->state, &options);
        status = program ? feed(c, program, original) : plumb_last_status(c->context);
    }
    if (status == PLUMB_OK) {
        status = plumb_run(program);
    }
    for (int i = 0; status == PLUMB_OK && i < c->n_parameters; i++) {
        status = read_parameter(c, program, &c->parameter[i], gradient[i]);
    }
    list_zeros(c);
    plumb_program_free(program);
    plumb_free(c->context, ids);
    return status;
}

static plumb_status prepare_loss(struct plumb_checker *c, const plumb_graph *original)
{
    plumb_t *outputs = plumb_alloc(c->context, (size_t)(c->n_branches + 1) * sizeof(plumb_t));
    if (!outputs) {
        return PLUMB_FAILED;
    }
    outputs[0] = c->loss;
    memcpy(outputs + 1, c->branch, (size_t)c->n_branches * sizeof(plumb_t));
    plumb_compile_options options = {.size = sizeof(options), .outputs = outputs, .n_outputs = c->n_branches + 1,
                                     .training = true};
    bool same = true;
    int branches = c->n_branches;
    c->program = plumb_compile(c->graph, c->state, &options);
    plumb_free(c->context, outputs);
    plumb_status status = c->program ? feed(c, c->program, original) : plumb_last_status(c->context);
    if (status == PLUMB_OK) {
        c->n_branches = 0; /* nothing to compare with yet */
        status = plumb_checker_loss(c, &c->report.loss, &same);
        c->n_branches = branches;
    }
    return status == PLUMB_OK ? remember_branches(c) : status;
}

plumb_status plumb_checker_open(struct plumb_checker *c, plumb_graph *graph, plumb_state *state, plumb_t loss)
{
    c->graph = double_graph(graph);
    if (!c->graph) {
        return plumb_last_status(c->context);
    }
    c->loss = plumb_id_in(c->graph, loss);
    if (plumb_dtype_of(c->graph, c->loss) != PLUMB_F64 || plumb_shape_of(c->graph, c->loss).rank != 0) {
        return plumb_fail(c->context, PLUMB_BAD_INPUT, "gradient check: the loss must be a floating scalar");
    }
    plumb_status status = copy_state(c, state);
    if (status == PLUMB_OK) {
        status = add_branches(c);
    }
    if (status == PLUMB_OK) {
        status = prepare_loss(c, graph);
    }
    return status == PLUMB_OK ? find_gradients(c, graph) : status;
}

void plumb_checker_close(struct plumb_checker *c)
{
    plumb_program_free(c->program);
    plumb_state_free(c->state);
    plumb_graph_free(c->graph);
    for (int i = 0; i < c->n_parameters; i++) {
        plumb_free(c->context, c->parameter[i].value);
        plumb_free(c->context, c->parameter[i].gradient);
    }
    plumb_free(c->context, c->parameter);
    plumb_free(c->context, c->branch);
    plumb_free(c->context, c->branch_base);
    plumb_free(c->context, c->branch_now);
    plumb_free(c->context, c);
}

