/* Appends a training step to a graph: gradients, their checks and scaling, updates, and the assigns that keep them.
 *
 * Decided here:
 * - What changes from step to step is in the state: "NAME/lr:", "NAME/step:" (applied updates so far) and the moments
 *   "NAME/m:PARAMETER". Names with a ':' belong to optimisers; weights-only files leave them out.
 * - All parameters that share a dtype and whether they decay are one update op. Parameters of rank >= 2 decay; biases
 *   and scales do only with `decay_all`.
 * - An average of the weights is one more update op, over all of them, that reads their new values.
 * - Clipping looks at the loss's gradients, before L2 and L1 are added: scale = min(1, clip / norm).
 * - With a loss scale S the gradients are those of S * loss, and the update's `scale` is 1 / S (times clipping's, which
 *   looks at the true norm). S is a power of two when it is dynamic, so both are exact. How S moves is a few scalar ops
 *   and two assigns with a gate that is always open: a skipped step must move it.
 * - skip_bad_steps: one flag gates every assign of the graph that has no gate yet, so a bad batch leaves batch-norm
 *   statistics alone too. It is all_finite(loss, gradients, parameters, what those assigns would write): a huge input can
 *   leave loss and gradients finite and still overflow a running variance, and a relu hides a weight of minus infinity.
 *   Without skip_bad_steps the flag is a constant 1.
 * - A step of several runs: gradients are added up, unscaled and by their number of examples, one update op over all of
 *   them; the update sees the sum and divides by the examples. Its gate is open in the last run only, which leaves zeros
 *   behind. Everything else, batch-norm statistics and the loss scale, moves with each run. */
#include "graph/graph.h"
#include "optim/step.h"

#include <math.h>

plumb_t plumb_step_variable(struct minimizer *m, const char *what, const char *of, plumb_dtype dtype,
                            plumb_shape shape, double value)
{
    struct plumb_text text = {.context = m->context};
    plumb_text_add(&text, "%s/%s:%s", m->recipe.name, what, of);
    char *name = plumb_text_take(&text);
    if (!name)
        return plumb_poison(m->graph, "optimizer '%s': out of memory", m->recipe.name);
    const plumb_variable_options options = {
        .size = sizeof options, .init = {.rule = PLUMB_INIT_CONSTANT, .a = value}, .frozen = true};
    plumb_t variable = plumb_variable(m->graph, name, dtype, shape, &options);
    plumb_free(m->context, name);
    return variable;
}

/* ---- what is asked for ---- */

static bool check_parameter(struct minimizer *m, int i)
{
    plumb_t p = m->parameter[i];
    const char *name = plumb_name_of(m->graph, p), *who = m->recipe.name;
    plumb_dtype dtype = plumb_dtype_of(m->graph, p);
    if (!plumb_is_variable(m->graph, p)) {
        plumb_poison(m->graph, "optimizer '%s': parameter %d '%s' is not a variable of this graph", who, i,
                     name);
        return false;
    }
    if (dtype != PLUMB_F32 && dtype != PLUMB_F64) {
        plumb_poison(
            m->graph,
            "optimizer '%s': parameter '%s' is %s; only f32 and f64 can be updated (keep f32 and cast)", who,
            name, plumb_dtype_name(dtype));
        return false;
    }
    for (int j = 0; j < i; j++) {
        if (m->parameter[j] == p) {
            plumb_poison(m->graph, "optimizer '%s': parameter '%s' is listed twice", who, name);
            return false;
        }
    }
    if (dtype == PLUMB_F64)
        m->dtype = PLUMB_F64;
    return true;
}

static bool check_loss(struct minimizer *m)
{
    plumb_shape shape = plumb_shape_of(m->graph, m->loss);
    plumb_dtype dtype = plumb_dtype_of(m->graph, m->loss);
    char text[160];
    if (dtype != PLUMB_NO_DTYPE && shape.rank == 0 && plumb_dtype_is_float(dtype))
        return true;
    if (dtype == PLUMB_NO_DTYPE)
        plumb_poison(m->graph, "optimizer '%s': the loss is not a tensor of this graph", m->recipe.name);
    else
        plumb_poison(m->graph,
                     "optimizer '%s': the loss must be a floating scalar, got %s %s (take its mean?)",
                     m->recipe.name, plumb_dtype_name(dtype), plumb_shape_text(&shape, text, sizeof text));
    return false;
}

static bool check_all(struct minimizer *m)
{
    if (!check_loss(m))
        return false;
    if (m->count <= 0) {
        plumb_poison(m->graph, "optimizer '%s': no trainable parameters", m->recipe.name);
        return false;
    }
    m->dtype = PLUMB_F32;
    for (int i = 0; i < m->count; i++)
        if (!check_parameter(m, i))
            return false;
    struct plumb_text text = {.context = m->context};
    plumb_text_add(&text, "%s/lr:", m->recipe.name);
    char *name = plumb_text_take(&text);
    if (!name) {
        plumb_poison(m->graph, "optimizer '%s': out of memory", m->recipe.name);
        return false;
    }
    bool taken = plumb_find(m->graph, name) != PLUMB_NONE;
    plumb_free(m->context, name);
    if (taken)
        plumb_poison(m->graph,
                     "optimizer '%s': the graph has one of that name already; give each a name of its own",
                     m->recipe.name);
    return !taken;
}

/* ---- what is common to all updates ---- */

plumb_t plumb_step_converted(const struct minimizer *m, plumb_t x, plumb_dtype dtype)
{
    return plumb_dtype_of(m->graph, x) == dtype ? x : plumb_cast(m->graph, x, dtype);
}

/* The gradients of one dtype, to `some`; returns how many. */
static int gradients_of(const struct minimizer *m, plumb_dtype dtype, plumb_t *some)
{
    int n = 0;
    for (int i = 0; i < m->count; i++)
        if (plumb_dtype_of(m->graph, m->parameter[i]) == dtype)
            some[n++] = m->gradient[i];
    return n;
}

/* min(1, clip / norm); a norm of 0 divides a tiny number instead, a norm that is not finite gives NaN or 0, which the
 * gradients then show. */
static plumb_t clip_scale(struct minimizer *m, plumb_t *some)
{
    const plumb_dtype dtypes[] = {PLUMB_F32, PLUMB_F64};
    plumb_t total = PLUMB_NONE;
    for (int d = 0; d < 2; d++) {
        int n = gradients_of(m, dtypes[d], some);
        if (n == 0)
            continue;
        plumb_t part = plumb_step_converted(m, plumb_sum_squares(m->graph, some, n), m->dtype);
        total = total == PLUMB_NONE ? part : plumb_add(m->graph, total, part);
    }
    plumb_t root = plumb_sqrt(m->graph, total);
    if (m->divisor != PLUMB_NONE)
        root = plumb_div(m->graph, root, m->divisor);
    plumb_t norm = plumb_affine(m->graph, root, 1, 1e-30);
    plumb_t ratio = plumb_div(m->graph, plumb_scalar(m->graph, m->dtype, m->recipe.clip_norm), norm);
    return plumb_minimum(m->graph, plumb_scalar(m->graph, m->dtype, 1), ratio);
}

/* Whether nothing is wrong; `some` has room for the loss, gradients and parameters, and every effect. */
static plumb_t finite_flag(struct minimizer *m, plumb_t *some)
{
    const struct graph *g = plumb_graph_get(m->graph);
    int n = 0;
    some[n++] = m->loss;
    for (int i = 0; i < m->count; i++) {
        some[n++] = m->gradient[i];
        some[n++] = m->parameter[i];
    }
    for (int i = 0; g && i < g->n_effects; i++)
        if (g->effect[i].gate == PLUMB_NO_TENSOR &&
            plumb_dtype_is_float(g->tensor[g->effect[i].value].type.dtype))
            some[n++] = plumb_id(g, g->effect[i].value);
    return plumb_all_finite(m->graph, some, n);
}

static void head(struct minimizer *m, plumb_t *some)
{
    plumb_graph *g = m->graph;
    if (m->recipe.skip_bad_steps) {
        m->fine = finite_flag(m, some);
    } else {
        m->fine = plumb_full(g, PLUMB_U8, PLUMB_SCALAR_SHAPE, 1);
    }
    m->apply = m->due != PLUMB_NONE ? plumb_logical_and(g, m->fine, m->due) : m->fine;
    m->lr = plumb_step_variable(m, "lr", "", m->dtype, PLUMB_SCALAR_SHAPE, m->recipe.lr);
    m->lr_others = m->recipe.lr_others > 0 && m->recipe.lr > 0
                       ? plumb_affine(g, m->lr, m->recipe.lr_others / m->recipe.lr, 0)
                       : m->lr;
    m->step = plumb_step_variable(m, "step", "", PLUMB_I64, PLUMB_SCALAR_SHAPE, 0);
    m->scale = m->recipe.clip_norm > 0 ? clip_scale(m, some) : plumb_scalar(g, m->dtype, 1);
    if (m->divisor != PLUMB_NONE)
        m->scale = plumb_div(g, m->scale, m->divisor);
}

/* ---- the loss scale ---- */

enum { LOSS_SCALE_START = 1 << 16, LOSS_SCALE_MOST = 1 << 24 };

/* The scalar whose gradients are computed. */
static plumb_t scaled_loss(struct minimizer *m)
{
    plumb_graph *g = m->graph;
    if (m->recipe.loss_scale == 0)
        return m->loss;
    if (m->recipe.loss_scale == PLUMB_DYNAMIC_LOSS_SCALE) {
        m->loss_scale = plumb_step_variable(m, "loss_scale", "", m->dtype, PLUMB_SCALAR_SHAPE, LOSS_SCALE_START);
        m->good_steps = plumb_step_variable(m, "good_steps", "", PLUMB_I64, PLUMB_SCALAR_SHAPE, 0);
    } else {
        m->loss_scale = plumb_scalar(g, m->dtype, m->recipe.loss_scale);
    }
    return plumb_mul(g, m->loss, plumb_step_converted(m, m->loss_scale, plumb_dtype_of(g, m->loss)));
}

/* good' = fine and fewer than `every` so far ? good + 1 : 0; scale' = fine ? (doubled if that was the last) : halved */
static void move_loss_scale(struct minimizer *m)
{
    plumb_graph *g = m->graph;
    plumb_t always = plumb_full(g, PLUMB_U8, PLUMB_SCALAR_SHAPE, 1), zero = plumb_scalar(g, PLUMB_I64, 0);
    plumb_t good = plumb_add(g, m->good_steps, plumb_scalar(g, PLUMB_I64, 1));
    plumb_t enough = plumb_less_equal(g, plumb_scalar(g, PLUMB_I64, (double)m->recipe.loss_scale_every), good);
    plumb_t up = plumb_minimum(g, plumb_affine(g, m->loss_scale, 2, 0), plumb_scalar(g, m->dtype, LOSS_SCALE_MOST));
    plumb_t down = plumb_maximum(g, plumb_affine(g, m->loss_scale, 0.5, 0),
                                 plumb_scalar(g, m->dtype, PLUMB_LEAST_LOSS_SCALE));
    plumb_t scale = plumb_where(g, m->fine, plumb_where(g, enough, up, m->loss_scale), down);
    plumb_t count = plumb_where(g, m->fine, plumb_where(g, enough, zero, good), zero);
    plumb_assign(g, m->loss_scale, scale, always);
    plumb_assign(g, m->good_steps, count, always);
}

/* ---- steps of several runs ---- */

/* sum + weight gradient for all parameters of a dtype: a step of sgd from the sums with rate -1. */
static void add_group(struct minimizer *m, plumb_dtype dtype, plumb_t weight, plumb_t *in)
{
    plumb_attr_update attr;
    int n = PLUMB_UPDATE_HEAD, out = 0;
    memset(&attr, 0, sizeof attr);
    for (int i = 0; i < m->count; i++) {
        plumb_t p = m->parameter[i];
        if (plumb_dtype_of(m->graph, p) != dtype)
            continue;
        m->sum[i] = plumb_step_variable(m, "sum", plumb_name_of(m->graph, p), dtype, plumb_shape_of(m->graph, p), 0);
        in[n++] = m->sum[i];
        in[n++] = m->gradient[i];
    }
    if (n == PLUMB_UPDATE_HEAD)
        return;
    in[0] = plumb_full(m->graph, PLUMB_U8, PLUMB_SCALAR_SHAPE, 1);
    in[1] = plumb_scalar(m->graph, dtype, -1);
    in[2] = plumb_step_converted(m, weight, dtype);
    in[3] = plumb_scalar(m->graph, PLUMB_I64, 0);
    plumb_t first = plumb_emit(m->graph, &plumb_op_sgd_update, &attr, in, n);
    for (int i = 0; i < m->count; i++)
        if (plumb_dtype_of(m->graph, m->parameter[i]) == dtype)
            m->gradient[i] = plumb_output(m->graph, first, out++);
}

/* From here on m->gradient is the sum over all examples of the step so far; how many runs and examples that is. */
static void add_up(struct minimizer *m, plumb_t *in, plumb_t *runs)
{
    plumb_graph *g = m->graph;
    plumb_t length = plumb_step_variable(m, "accumulate", "", PLUMB_I64, PLUMB_SCALAR_SHAPE, (double)m->recipe.accumulate);
    plumb_t micro = plumb_step_variable(m, "micro", "", PLUMB_I64, PLUMB_SCALAR_SHAPE, 0);
    plumb_t before = plumb_step_variable(m, "examples", "", m->dtype, PLUMB_SCALAR_SHAPE, 0);
    plumb_t ones = plumb_full(g, m->dtype, PLUMB_SHAPE(PLUMB_BATCH), 1);
    plumb_t examples = plumb_sum(g, ones, NULL, 0, false);
    plumb_t weight = m->loss_scale != PLUMB_NONE ? plumb_div(g, examples, m->loss_scale) : examples;
    add_group(m, PLUMB_F32, weight, in);
    add_group(m, PLUMB_F64, weight, in);
    *runs = plumb_add(g, micro, plumb_scalar(g, PLUMB_I64, 1));
    m->due = plumb_less_equal(g, length, *runs);
    m->divisor = plumb_add(g, before, examples);
}

/* Sums and counts are kept for the next run, or start anew. */
static void keep_sums(struct minimizer *m, plumb_t runs)
{
    plumb_graph *g = m->graph;
    for (int i = 0; i < m->count; i++) {
        plumb_t zero = plumb_scalar(g, plumb_dtype_of(g, m->parameter[i]), 0);
        plumb_assign(g, m->sum[i], plumb_where(g, m->due, zero, m->gradient[i]), PLUMB_NONE);
    }
    plumb_assign(g, plumb_step_variable(m, "micro", "", PLUMB_I64, PLUMB_SCALAR_SHAPE, 0),
                 plumb_where(g, m->due, plumb_scalar(g, PLUMB_I64, 0), runs), PLUMB_NONE);
    plumb_assign(g, plumb_step_variable(m, "examples", "", m->dtype, PLUMB_SCALAR_SHAPE, 0),
                 plumb_where(g, m->due, plumb_scalar(g, m->dtype, 0), m->divisor), PLUMB_NONE);
}

/* ---- updates ---- */

plumb_t plumb_step_gate(const struct minimizer *m)
{
    return m->recipe.skip_bad_steps || m->due != PLUMB_NONE ? m->apply : PLUMB_NONE;
}

bool plumb_step_decays(const struct minimizer *m, int i)
{
    return m->recipe.decay_all || plumb_shape_of(m->graph, m->parameter[i]).rank >= 2;
}

/* One op for the parameters of `dtype` that do or do not decay and have no new value yet. `in` has room for all of them. */
static void update_group(struct minimizer *m, plumb_dtype dtype, bool decaying, bool split, plumb_t *in)
{
    const struct plumb_rule *rule = m->recipe.rule;
    plumb_attr_update attr = m->recipe.attr;
    int n = PLUMB_UPDATE_HEAD;
    for (int i = 0; i < m->count; i++) {
        if (plumb_dtype_of(m->graph, m->parameter[i]) != dtype || m->updated[i] != PLUMB_NONE ||
            (split && plumb_step_decays(m, i) != decaying))
            continue;
        in[n++] = m->parameter[i];
        in[n++] = m->gradient[i];
        for (int s = 0; s < attr.slots; s++)
            in[n++] = plumb_step_variable(m, rule->slot[s], plumb_name_of(m->graph, m->parameter[i]), dtype,
                                          plumb_shape_of(m->graph, m->parameter[i]), 0);
    }
    if (n == PLUMB_UPDATE_HEAD)
        return;
    if (!decaying)
        attr.weight_decay = attr.l2 = attr.l1 = 0;
    in[0] = m->apply;
    in[1] = plumb_step_converted(m, m->lr_others, dtype);
    in[2] = plumb_step_converted(m, m->scale, dtype);
    in[3] = m->step;
    plumb_t first = plumb_emit(m->graph, rule->op, &attr, in, n);
    plumb_named(m->graph, first, m->recipe.name);
    for (int i = PLUMB_UPDATE_HEAD, out = 0, which = 0; i < n; i++) {
        int k = (i - PLUMB_UPDATE_HEAD) % (2 + attr.slots);
        if (k == 1)
            continue;
        plumb_t value = plumb_output(m->graph, first, out++);
        plumb_assign(m->graph, in[i], value, plumb_step_gate(m));
        if (k == 0) {
            while (m->parameter[which] != in[i])
                which++;
            m->updated[which] = value;
        }
    }
}

/* a + w (p' - a) for all parameters: a step of sgd from a, "gradient" p', with rate -w and decay -1. w makes the average that of
 * weights (1 - beta) beta^k, or of equal ones. */
static void average_group(struct minimizer *m, plumb_dtype dtype, plumb_t weight, plumb_t *in)
{
    plumb_attr_update attr;
    int n = PLUMB_UPDATE_HEAD;
    memset(&attr, 0, sizeof attr);
    attr.weight_decay = -1;
    for (int i = 0; i < m->count; i++) {
        if (plumb_dtype_of(m->graph, m->parameter[i]) != dtype)
            continue;
        in[n++] = plumb_step_variable(m, "average", plumb_name_of(m->graph, m->parameter[i]), dtype,
                                      plumb_shape_of(m->graph, m->parameter[i]), 0);
        in[n++] = m->updated[i];
    }
    if (n == PLUMB_UPDATE_HEAD)
        return;
    in[0] = m->apply;
    in[1] = plumb_neg(m->graph, plumb_step_converted(m, weight, dtype));
    in[2] = plumb_scalar(m->graph, dtype, 1);
    in[3] = m->step;
    plumb_t first = plumb_emit(m->graph, &plumb_op_sgd_update, &attr, in, n);
    for (int i = PLUMB_UPDATE_HEAD, out = 0; i < n; i += 2)
        plumb_assign(m->graph, in[i], plumb_output(m->graph, first, out++), plumb_step_gate(m));
}

static void averages(struct minimizer *m, plumb_t *in)
{
    plumb_graph *g = m->graph;
    double beta = m->recipe.average;
    if (beta == 0)
        return;
    plumb_t t = plumb_affine(g, plumb_cast(g, m->step, PLUMB_F64), 1, 1), weight = plumb_reciprocal(g, t);
    if (beta < 1) { /* (1 - beta) / (1 - beta^t) */
        plumb_t rest = plumb_affine(g, plumb_pow(g, plumb_scalar(g, PLUMB_F64, beta), t), -1, 1);
        weight = plumb_affine(g, plumb_reciprocal(g, rest), 1 - beta, 0);
    }
    average_group(m, PLUMB_F32, weight, in);
    average_group(m, PLUMB_F64, weight, in);
}

/* What l2 and l1 add, over the size of the batch, goes to the gradients here; the update ops know plain lambdas only. */
static void regularize(struct minimizer *m)
{
    plumb_graph *g = m->graph;
    plumb_attr_update *a = &m->recipe.attr;
    bool composed = m->recipe.per_example || m->recipe.rule->by_tensor;
    if (!composed || (a->l2 == 0 && a->l1 == 0))
        return;
    plumb_t share = plumb_scalar(g, m->dtype, 1);
    if (m->recipe.per_example) {
        plumb_t ones = plumb_full(g, m->dtype, PLUMB_SHAPE(PLUMB_BATCH), 1);
        share = plumb_reciprocal(g, m->due != PLUMB_NONE ? m->divisor : plumb_sum(g, ones, NULL, 0, false));
    }
    for (int i = 0; i < m->count; i++) {
        plumb_t p = m->parameter[i], d = m->gradient[i];
        plumb_dtype dtype = plumb_dtype_of(g, p);
        d = plumb_mul(g, d, plumb_step_converted(m, m->scale, dtype));
        if (plumb_step_decays(m, i)) {
            plumb_t penalty = a->l2 > 0 ? plumb_affine(g, p, a->l2, 0) : PLUMB_NONE;
            if (a->l1 > 0) {
                plumb_t sign = plumb_affine(g, plumb_sign(g, p), a->l1, 0);
                penalty = penalty == PLUMB_NONE ? sign : plumb_add(g, penalty, sign);
            }
            d = plumb_add(g, d, plumb_mul(g, penalty, plumb_step_converted(m, share, dtype)));
        }
        m->gradient[i] = d;
    }
    m->scale = plumb_scalar(g, m->dtype, 1);
    a->l2 = a->l1 = 0;
}

static void updates(struct minimizer *m, plumb_t *in)
{
    regularize(m);
    const struct plumb_rule *rule = m->recipe.rule;
    const plumb_attr_update *a = &m->recipe.attr;
    bool split = a->weight_decay > 0 || a->l2 > 0 || a->l1 > 0;
    const plumb_dtype dtypes[] = {PLUMB_F32, PLUMB_F64};
    for (int d = 0; rule->at_once && d < 2; d++)
        rule->at_once(m, dtypes[d], in);
    for (int i = 0; rule->by_tensor && i < m->count; i++) {
        m->updated[i] = rule->by_tensor(m, i);
        if (m->updated[i] != PLUMB_NONE)
            plumb_assign(m->graph, m->parameter[i], m->updated[i], plumb_step_gate(m));
    }
    for (int d = 0; d < 2; d++) {
        update_group(m, dtypes[d], true, split, in);
        if (split)
            update_group(m, dtypes[d], false, split, in);
    }
    averages(m, in);
    plumb_t next = plumb_add(m->graph, m->step, plumb_scalar(m->graph, PLUMB_I64, 1));
    plumb_assign(m->graph, m->step, next, plumb_step_gate(m));
}

static void minimize(struct minimizer *m, plumb_t *room)
{
    if (plumb_gradients(m->graph, scaled_loss(m), m->parameter, m->count, m->gradient) != PLUMB_OK) {
        if (plumb_graph_status(m->graph) == PLUMB_OK) /* memory ran out: the graph must not pass for a step */
            plumb_poison(m->graph, "optimizer '%s': no gradients", m->recipe.name);
        return;
    }
    int phase = plumb_set_phase(m->graph, PLUMB_PHASE_UPDATE);
    plumb_t runs = PLUMB_NONE;
    m->divisor = m->loss_scale;
    if (m->recipe.accumulate > 1)
        add_up(m, room, &runs);
    head(m, room);
    if (runs != PLUMB_NONE)
        keep_sums(m, runs);
    updates(m, room);
    if (m->recipe.skip_bad_steps)
        plumb_gate_effects(m->graph, m->fine);
    if (m->good_steps != PLUMB_NONE)
        move_loss_scale(m);
    plumb_set_phase(m->graph, phase);
}

plumb_status plumb_minimize(plumb_graph *graph, plumb_t loss, const plumb_t *parameters, int count,
                            const plumb_optimizer *optimizer)
{
    struct minimizer m = {.graph = graph, .context = plumb_graph_context(graph), .loss = loss};
    plumb_status status = plumb_graph_status(graph);
    if (status != PLUMB_OK || !plumb_recipe_read(graph, optimizer, &m.recipe))
        return status != PLUMB_OK ? status : plumb_graph_status(graph);
    m.count = parameters ? count : plumb_parameters(graph, NULL, 0);
    size_t n = m.count > 0 ? (size_t)m.count : 0, each = 2 + PLUMB_OPTIM_SLOTS;
    size_t effects = (size_t)plumb_graph_get(graph)->n_effects;
    /* parameters, gradients, sums, new values, and the inputs of an op over all of them and the effects there are */
    plumb_t *memory = plumb_zalloc(m.context, sizeof *memory * (n * (4 + each) + PLUMB_UPDATE_HEAD + effects));
    if (!memory)
        return PLUMB_FAILED;
    m.parameter = memory;
    m.gradient = memory + n;
    m.sum = memory + 2 * n;
    m.updated = memory + 3 * n;
    if (parameters)
        memcpy(m.parameter, parameters, sizeof *memory * n);
    else
        plumb_parameters(graph, m.parameter, m.count);
    if (check_all(&m))
        minimize(&m, memory + 4 * n);
    plumb_free(m.context, memory);
    return plumb_graph_status(graph);
}
