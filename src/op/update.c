/* The update ops of the optimisers: one op moves every parameter of a group, so that a provider may do it in one pass
 * over memory. What the rules have in common is here:
 *
 *     g = scale * gradient + l2 * p + l1 * sign(p)                       (sign(0) = 0)
 *     the rule makes moments' and a step d of g                           (below)
 *     p' = p - d - lr * weight_decay * p                                  ("decoupled" decay)
 *
 *     sgd       d = lr g
 *     momentum  v' = b1 v + (1 - b1) g  (classic: b1 v + g);  d = lr v'
 *     nesterov  v' = b1 v + lr g;  d = lr g + b1 v'
 *     adagrad   G' = G + g^2;  d = lr g / sqrt(G' + eps)
 *     rmsprop   s' = b2 s + (1 - b2) g^2;  d = lr g / (sqrt(s') + eps)
 *     adam      m' = b1 m + (1 - b1) g;  s' = b2 s + (1 - b2) g^2;  t = step + 1
 *               d = lr (m' / (1 - b1^t)) / (sqrt(s' / (1 - b2^t)) + eps)
 *
 * Nesterov's rule is V' = b V + lr grad(W - b V); W' = W - V'. It asks for the gradient away from W, so the
 * parameter p that is stored, shown to the loss and differentiated is the look-ahead point p = W - b V. Then
 * g = grad(p) is at hand, V' = b V + lr g, and p' = W' - b V' = p + b V - V' - b V' = p - lr g - b V'. W = p + b V when it is wanted; both
 * meet where V dies out. V starts at 0, so p starts at W.
 *
 * Adam's moments are stored uncorrected: the correction applies at read-out only, from the count of applied steps.
 *
 * Where `apply` is 0 every output equals its input, bit for bit. Outputs lie over their inputs. Updates have no
 * gradient: a program that differentiates through its own training is not what they are for. */
#include "op/attr.h"

#include <math.h>

static int per_tensor_in(const plumb_attr_update *attr) { return 2 + attr->slots; }
static int per_tensor_out(const plumb_attr_update *attr) { return 1 + attr->slots; }

static int outputs_update(const void *attr, int n_in)
{
    const plumb_attr_update *a = attr;
    int tensors = n_in - PLUMB_UPDATE_HEAD, each = per_tensor_in(a);
    return a->slots < 0 || tensors <= 0 || tensors % each ? 0 : tensors / each * per_tensor_out(a);
}

static int in_place_update(const void *attr, int output)
{
    const plumb_attr_update *a = attr;
    int tensor = output / per_tensor_out(a), k = output % per_tensor_out(a);
    return PLUMB_UPDATE_HEAD + tensor * per_tensor_in(a) + (k ? k + 1 : 0);
}

static plumb_status check_head(const plumb_infer *q)
{
    static const char *const names[] = {"apply", "lr", "scale", "step"};
    plumb_dtype dtype = q->in[PLUMB_UPDATE_HEAD].dtype;
    const plumb_dtype want[] = {PLUMB_U8, dtype, dtype, PLUMB_I64};
    if (dtype != PLUMB_F32 && dtype != PLUMB_F64)
        return plumb_refuse(q, "parameters must be f32 or f64, got %s", plumb_dtype_name(dtype));
    for (int i = 0; i < PLUMB_UPDATE_HEAD; i++) {
        char text[160];
        if (q->in[i].dtype != want[i] || q->in[i].shape.rank != 0)
            return plumb_refuse(q, "%s must be a scalar of %s, got %s %s", names[i],
                                plumb_dtype_name(want[i]), plumb_dtype_name(q->in[i].dtype),
                                plumb_shape_text(&q->in[i].shape, text, sizeof text));
    }
    return PLUMB_OK;
}

static plumb_status check_numbers(const plumb_infer *q)
{
    const plumb_attr_update *a = q->attr;
    if (!(a->beta1 >= 0 && a->beta1 < 1) || !(a->beta2 >= 0 && a->beta2 < 1))
        return plumb_refuse(q, "betas %g and %g must be in [0, 1)", a->beta1, a->beta2);
    if (!(a->epsilon >= 0) || !isfinite(a->epsilon))
        return plumb_refuse(q, "epsilon %g must not be negative", a->epsilon);
    if (!isfinite(a->weight_decay) || !isfinite(a->l2) || !isfinite(a->l1))
        return plumb_refuse(q, "weight decay %g, l2 %g and l1 %g must be finite", a->weight_decay, a->l2,
                            a->l1);
    return PLUMB_OK;
}

static plumb_status infer_update(plumb_infer *q)
{
    const plumb_attr_update *a = q->attr;
    int each = per_tensor_in(a), out = 0;
    if (q->n_out <= 0 || outputs_update(a, q->n_in) != q->n_out)
        return plumb_refuse(q, "%d inputs are not a head of %d and groups of %d", q->n_in, PLUMB_UPDATE_HEAD,
                            each);
    if (check_head(q) || check_numbers(q))
        return PLUMB_BAD_INPUT;
    for (int i = PLUMB_UPDATE_HEAD; i < q->n_in; i++) {
        int k = (i - PLUMB_UPDATE_HEAD) % each;
        const plumb_type *p = &q->in[i - k], *x = &q->in[i];
        bool same = p->shape.rank == x->shape.rank && x->dtype == q->in[PLUMB_UPDATE_HEAD].dtype;
        for (int d = 0; same && d < p->shape.rank; d++)
            same = plumb_dims_agree(p->shape.dim[d], x->shape.dim[d]);
        char first[160], second[160];
        if (!same)
            return plumb_refuse(q, "input %d is %s %s, its parameter %s %s", i, plumb_dtype_name(x->dtype),
                                plumb_shape_text(&x->shape, first, sizeof first), plumb_dtype_name(p->dtype),
                                plumb_shape_text(&p->shape, second, sizeof second));
        if (k != 1)
            q->out[out++] = *p;
    }
    return PLUMB_OK;
}

static plumb_status no_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static double parameters(const plumb_call *call)
{
    const plumb_attr_update *a = call->attr;
    double count = 0;
    for (int i = PLUMB_UPDATE_HEAD; i < call->n_in; i += per_tensor_in(a))
        count += (double)plumb_view_count(&call->in[i]);
    return count;
}

/* Rough: a multiplication and an addition each for the gradient, the parameter and every moment. */
static double flops_update(const plumb_call *call)
{
    return parameters(call) * (4 + 4 * ((const plumb_attr_update *)call->attr)->slots);
}

static void print_update(const void *attr, struct plumb_text *text)
{
    const plumb_attr_update *a = attr;
    const struct {
        const char *name;
        double value;
    } field[] = {
        {"beta1", a->beta1}, {"beta2", a->beta2}, {"epsilon", a->epsilon}, {"weight_decay", a->weight_decay},
        {"l2", a->l2},       {"l1", a->l1},
    };
    const char *gap = "";
    for (size_t i = 0; i < sizeof field / sizeof *field; i++) {
        if (field[i].value == 0)
            continue;
        plumb_text_add(text, "%s%s=%g", gap, field[i].name, field[i].value);
        gap = " ";
    }
    if (a->classic)
        plumb_text_add(text, "%sclassic", gap);
}

#define UPDATE_OP(rule)                                                                                      \
    const plumb_op plumb_op_##rule##_update = {                                                              \
        .name = #rule "_update",                                                                             \
        .min_in = PLUMB_UPDATE_HEAD + 2,                                                                     \
        .max_in = -1,                                                                                        \
        .n_out = 1,                                                                                          \
        .typed = 1,                                                                                          \
        .attr_size = sizeof(plumb_attr_update),                                                              \
        .flags = PLUMB_OP_VARIADIC,                                                                          \
        .infer = infer_update,                                                                               \
        .gradient = no_gradient,                                                                             \
        .outputs = outputs_update,                                                                           \
        .in_place = in_place_update,                                                                         \
        .flops = flops_update,                                                                               \
        .tolerance = PLUMB_TOL_NORM,                                                                         \
        .print = print_update,                                                                               \
    }

UPDATE_OP(sgd);
UPDATE_OP(momentum);
UPDATE_OP(nesterov);
UPDATE_OP(adagrad);
UPDATE_OP(rmsprop);
UPDATE_OP(adam);
