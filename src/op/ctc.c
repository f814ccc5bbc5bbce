/* Connectionist temporal classification (Graves et al. 2006): minus the logarithm of the probability that steps' classes,
 * repetitions joined and blanks left out, read as the targets.
 *
 * Decided here:
 * - log-probabilities (T, N, C), targets (N, S) or one behind the other (their total), lengths (N) of both; i32 or i64. The
 *   loss (N) is in log space throughout. Labels and lengths that cannot be are errors of the run; what lies behind a
 *   target's length is not looked at. A label that is the blank is taken as the formula takes it.
 * - What cannot be read (more labels and repetitions than steps) has loss +inf and, as in PyTorch, the gradient NaN; with
 *   zero_infinity both are 0.
 * - The gradient is that of the log-probabilities as they are, minus the expected number of times a class stands at a step.
 *   PyTorch adds each probability, which comes to the same behind a log-softmax.
 * - The way back computes the forward variables again: cheaper than keeping T x N x (2 S + 1) of them. Second derivatives are
 *   those of the steps written out: T, S and C must be known then, and targets padded. */
#include "op/loss.h"

enum { LOG_P, TARGETS, STEPS, LENGTHS, DLOSS };

static plumb_status check(const plumb_infer *q)
{
    const plumb_attr_ctc *attr = q->attr;
    const plumb_shape *x = &q->in[LOG_P].shape, *targets = &q->in[TARGETS].shape;
    char first[160], second[160];
    if (plumb_need_float(q, LOG_P) || plumb_need_rank(q, LOG_P, 3) || plumb_need_index(q, TARGETS) ||
        plumb_need_index(q, STEPS) || plumb_need_index(q, LENGTHS) || plumb_need_rank(q, STEPS, 1) ||
        plumb_need_rank(q, LENGTHS, 1))
        return PLUMB_BAD_INPUT;
    bool agree = plumb_dims_agree(q->in[STEPS].shape.dim[0], x->dim[1]) &&
                 plumb_dims_agree(q->in[LENGTHS].shape.dim[0], x->dim[1]) &&
                 (targets->rank == 1 || (targets->rank == 2 && plumb_dims_agree(targets->dim[0], x->dim[1])));
    if (!agree)
        return plumb_refuse(q, "log-probabilities %s and targets %s, expected (T, N, C) and (N, S) or (total), and lengths (N)",
                            plumb_shape_text(x, first, sizeof first), plumb_shape_text(targets, second, sizeof second));
    if (attr->blank < 0 || (x->dim[2] >= 0 && attr->blank >= x->dim[2]))
        return plumb_refuse(q, "blank %lld is no class of %s", (long long)attr->blank, plumb_shape_text(x, first, sizeof first));
    return PLUMB_OK;
}

static plumb_type loss_type(const plumb_infer *q)
{
    return (plumb_type){.dtype = q->in[LOG_P].dtype, .shape = PLUMB_SHAPE(q->in[LOG_P].shape.dim[1])};
}

static plumb_status infer_ctc_loss(plumb_infer *q)
{
    if (check(q))
        return PLUMB_BAD_INPUT;
    q->out[0] = loss_type(q);
    return PLUMB_OK;
}

static plumb_status infer_ctc_loss_backward(plumb_infer *q)
{
    if (check(q) || plumb_need_same_dtype(q, LOG_P, DLOSS) || plumb_need_rank(q, DLOSS, 1))
        return PLUMB_BAD_INPUT;
    if (!plumb_dims_agree(q->in[DLOSS].shape.dim[0], q->in[LOG_P].shape.dim[1]))
        return plumb_refuse(q, "dloss needs one number for each of N sequences");
    q->out[0] = q->in[LOG_P];
    return PLUMB_OK;
}

static plumb_status gradient_ctc_loss(plumb_grad *q)
{
    const plumb_t in[] = {q->in[LOG_P], q->in[TARGETS], q->in[STEPS], q->in[LENGTHS], q->dout[0]};
    q->din[LOG_P] = plumb_emit(q->graph, &plumb_op_ctc_loss_backward, q->attr, in, 5);
    q->din[TARGETS] = q->din[STEPS] = q->din[LENGTHS] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* ---- the steps written out ---- */

/* Far below any sum of logarithms, and finite: differences of two are 0, not NaN. */
static const double never = -1e30;

/* What the steps are made of; L = 2 S + 1 places: a blank, a label, a blank .. */
typedef struct lattice {
    plumb_graph *g;
    int64_t steps, batch, places, classes;
    plumb_dtype dtype;
    plumb_t hot;  /* (N, L, C), u8: the class of each place */
    plumb_t skip; /* (N, L): 0 where a place may follow the one before the last, else `never` */
} lattice;

static plumb_t filled(const lattice *l, int64_t columns, double value)
{
    return plumb_full(l->g, l->dtype, PLUMB_SHAPE(l->batch, columns), value);
}

/* x (N, L) moved `by` places to the right; `never` comes in. */
static plumb_t moved(const lattice *l, plumb_t x, int64_t by)
{
    if (by >= l->places)
        return filled(l, l->places, never);
    plumb_t rest = plumb_slice(l->g, x, (const int64_t[]){0, 0}, (const int64_t[]){PLUMB_END, l->places - by}, NULL);
    return plumb_concat(l->g, (const plumb_t[]){filled(l, by, never), rest}, 2, 1);
}

/* ln(e^a + e^b + ..) of `count` tensors (N, L) or (N, 1) */
static plumb_t joined(const lattice *l, const plumb_t *x, int count, int64_t columns)
{
    plumb_t each[3], most;
    for (int i = 0; i < count; i++)
        each[i] = plumb_reshape(l->g, x[i], PLUMB_SHAPE(l->batch, columns, 1));
    plumb_t all = plumb_concat(l->g, each, count, 2);
    most = plumb_stop_gradient(l->g, plumb_max(l->g, all, PLUMB_AXES(2), true));
    plumb_t sum = plumb_sum(l->g, plumb_exp(l->g, plumb_sub(l->g, all, most)), PLUMB_AXES(2), false);
    return plumb_add(l->g, plumb_log(l->g, sum), plumb_reshape(l->g, most, PLUMB_SHAPE(l->batch, columns)));
}

/* ln p of each place's class at step t, (N, L) */
static plumb_t emitted(const lattice *l, plumb_t log_p, int64_t t)
{
    plumb_t row = plumb_slice(l->g, log_p, (const int64_t[]){t, 0, 0}, (const int64_t[]){t + 1, PLUMB_END, PLUMB_END}, NULL);
    plumb_t wide = plumb_expand(l->g, plumb_reshape(l->g, row, PLUMB_SHAPE(l->batch, 1, l->classes)),
                                PLUMB_SHAPE(l->batch, l->places, l->classes));
    return plumb_sum(l->g, plumb_where(l->g, l->hot, wide, plumb_full_like(l->g, wide, 0)), PLUMB_AXES(2), false);
}

/* 1 where the number is, (N) -> (N, count), u8; `of` times it plus `plus` */
static plumb_t at_number(const lattice *l, plumb_t x, int64_t count, double of, double plus)
{
    plumb_t number = plumb_affine(l->g, plumb_cast(l->g, x, PLUMB_F64), of, plus);
    return plumb_one_hot(l->g, plumb_cast(l->g, number, PLUMB_I64), count, PLUMB_U8);
}

static void lay_out(lattice *l, const plumb_attr_ctc *attr, plumb_t targets, int64_t labels)
{
    plumb_graph *g = l->g;
    plumb_dtype index = plumb_dtype_of(g, targets);
    plumb_t column = plumb_reshape(g, targets, PLUMB_SHAPE(l->batch, labels, 1));
    plumb_t blank = plumb_full_like(g, column, (double)attr->blank);
    plumb_t pairs = plumb_concat(g, (const plumb_t[]){blank, column}, 2, 2);
    plumb_t last = plumb_full(g, index, PLUMB_SHAPE(l->batch, 1), (double)attr->blank);
    plumb_t places = plumb_concat(g, (const plumb_t[]){plumb_reshape(g, pairs, PLUMB_SHAPE(l->batch, 2 * labels)), last}, 2, 1);
    l->hot = plumb_one_hot(g, places, l->classes, PLUMB_U8);
    if (l->places < 3) {
        l->skip = filled(l, l->places, never);
        return;
    }
    plumb_t before = plumb_slice(g, places, (const int64_t[]){0, 0}, (const int64_t[]){PLUMB_END, l->places - 2}, NULL);
    plumb_t here = plumb_slice(g, places, (const int64_t[]){0, 2}, (const int64_t[]){PLUMB_END, PLUMB_END}, NULL);
    plumb_t not_now = plumb_full_like(g, filled(l, l->places - 2, 0), never);
    plumb_t may = plumb_where(g, plumb_equal(g, here, before), not_now, plumb_full_like(g, not_now, 0));
    l->skip = plumb_concat(g, (const plumb_t[]){filled(l, 2, never), may}, 2, 1);
}

/* The loss (N, 1) from the log-probabilities. */
static plumb_t by_steps(lattice *l, const plumb_t *in, plumb_t log_p)
{
    plumb_graph *g = l->g;
    plumb_t start = plumb_concat(g, (const plumb_t[]){filled(l, 1, 0), filled(l, l->places, never)}, 2, 1);
    start = plumb_slice(g, start, (const int64_t[]){0, 0}, (const int64_t[]){PLUMB_END, l->places}, NULL);
    /* Before the first step one stands in front of both first places: at place 0, and may go on by one, not by two. */
    plumb_t a = start, steps = plumb_reshape(g, in[STEPS], PLUMB_SHAPE(l->batch, 1));
    for (int64_t t = 0; t < l->steps; t++) {
        const plumb_t from[] = {a, moved(l, a, 1), plumb_add(g, moved(l, a, 2), l->skip)};
        plumb_t next = plumb_add(g, joined(l, from, t ? 3 : 2, l->places), emitted(l, log_p, t));
        plumb_t on = plumb_less(g, plumb_full_like(g, steps, (double)t), steps);
        a = plumb_where(g, plumb_expand(g, on, PLUMB_SHAPE(l->batch, l->places)), next, a);
    }
    plumb_t none = filled(l, l->places, 0), end[2];
    for (int k = 0; k < 2; k++) { /* the last blank, and the last label, if there is one */
        plumb_t there = at_number(l, in[LENGTHS], l->places, 2, -k);
        plumb_t value = plumb_sum(g, plumb_where(g, there, a, none), PLUMB_AXES(1), true);
        plumb_t is = plumb_less(g, plumb_full_like(g, in[LENGTHS], 0), in[LENGTHS]);
        end[k] = k == 0 ? value : plumb_where(g, plumb_reshape(g, is, PLUMB_SHAPE(l->batch, 1)), value, filled(l, 1, never));
    }
    return plumb_neg(g, joined(l, end, 2, 1));
}

/* A tensor equal to x, at which the derivative can be taken without the paths on which x reaches the others. */
static plumb_t fresh(plumb_graph *g, plumb_t x)
{
    plumb_attr_shape attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    return plumb_emit(g, &plumb_op_reshape, &attr, (const plumb_t[]){x, x}, 2);
}

static plumb_status gradient_ctc_loss_backward(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_shape x = plumb_shape_of(g, q->in[LOG_P]), targets = plumb_shape_of(g, q->in[TARGETS]);
    q->din[TARGETS] = q->din[STEPS] = q->din[LENGTHS] = PLUMB_NO_GRADIENT;
    if (targets.rank != 2 || x.dim[0] < 0 || x.dim[1] < 0 || x.dim[2] < 0 || targets.dim[1] < 0) {
        plumb_poison(g, "%s '%s': a derivative of its derivative needs known sizes and padded targets", q->op->name, q->name);
        return PLUMB_BAD_INPUT;
    }
    lattice l = {.g = g, .steps = x.dim[0], .batch = x.dim[1], .places = 2 * targets.dim[1] + 1, .classes = x.dim[2],
                 .dtype = plumb_dtype_of(g, q->in[LOG_P])};
    lay_out(&l, q->attr, q->in[TARGETS], targets.dim[1]);
    plumb_t log_p = fresh(g, q->in[LOG_P]), dloss = fresh(g, q->in[DLOSS]), first, d[2];
    plumb_t loss = plumb_reshape(g, by_steps(&l, q->in, log_p), PLUMB_SHAPE(l.batch));
    plumb_status status = plumb_gradients_from(g, &loss, &dloss, 1, &log_p, 1, &first);
    if (status == PLUMB_OK)
        status = plumb_gradients_from(g, &first, &q->dout[0], 1, (const plumb_t[]){log_p, dloss}, 2, d);
    q->din[LOG_P] = d[0];
    q->din[DLOSS] = d[1];
    return status;
}

/* ---- facts ---- */

static double work_of(const plumb_call *call)
{
    const plumb_view *x = &call->in[LOG_P], *targets = &call->in[TARGETS];
    return (double)x->dim[0] * (double)x->dim[1] * (2 * (double)targets->dim[targets->rank - 1] + 1);
}

static double flops(const plumb_call *call) { return 8 * work_of(call); }

/* Errors of a step's logarithms add up over the steps. */
static double terms(const plumb_call *call)
{
    const plumb_view *x = &call->in[LOG_P], *targets = &call->in[TARGETS];
    return 4 * (double)(x->dim[0] + 1) * (2 * (double)targets->dim[targets->rank - 1] + 1);
}

static void print(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_ctc *attr = opaque;
    plumb_text_add(text, "blank=%lld%s", (long long)attr->blank, attr->zero_infinity ? " zero_infinity" : "");
}

#define ROW(op_name, inputs, row_flags)                                                                               \
    const plumb_op plumb_op_##op_name = {                                                                             \
        .name = #op_name,                                                                                             \
        .min_in = inputs,                                                                                             \
        .max_in = inputs,                                                                                             \
        .n_out = 1,                                                                                                   \
        .attr_size = sizeof(plumb_attr_ctc),                                                                          \
        .flags = row_flags,                                                                                           \
        .infer = infer_##op_name,                                                                                     \
        .gradient = gradient_##op_name,                                                                               \
        .flops = flops,                                                                                               \
        .terms = terms,                                                                                               \
        .tolerance = PLUMB_TOL_NORM,                                                                                  \
        .print = print,                                                                                               \
    };
ROW(ctc_loss, 4, 0)
ROW(ctc_loss_backward, 5, PLUMB_OP_BACKWARD)

plumb_t plumb_ctc_loss(plumb_graph *g, plumb_t log_probabilities, plumb_t targets, plumb_t steps, plumb_t lengths,
                       const plumb_ctc_options *options)
{
    plumb_ctc_options o;
    plumb_attr_ctc attr;
    memset(&o, 0, sizeof o);
    memset(&attr, 0, sizeof attr);
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    attr.blank = o.blank;
    attr.zero_infinity = o.zero_infinity;
    if (!plumb_loss_reduces(g, "ctc_loss", o.reduce))
        return PLUMB_NONE;
    const plumb_t in[] = {log_probabilities, targets, steps, lengths};
    plumb_t loss = plumb_emit(g, &plumb_op_ctc_loss, &attr, in, 4);
    if (o.reduce != PLUMB_REDUCE_MEAN)
        return plumb_loss_reduced(g, loss, PLUMB_NONE, o.reduce);
    plumb_t length = plumb_cast(g, lengths, plumb_dtype_of(g, log_probabilities));
    return plumb_mean(g, plumb_div(g, loss, plumb_maximum(g, length, plumb_full_like(g, length, 1))), NULL, 0, false);
}
