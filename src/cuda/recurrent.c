/* Recurrent layers on the GPU: the sequence is driven from here, a product and a cell for each step, which a captured run
 * replays; x's products, the weights' gradients and dx are one product each over all steps. Steps wait for each other, so
 * small batches leave a GPU idle: persistent weights, or cuDNN's own layers, would be the next step. */
#include "cuda/cuda.h"

typedef struct sequence {
    const plumb_call *call;
    const plumb_attr_recurrent *attr;
    enum pk_recurrent kind;
    int states;
    plumb_dtype dtype;
    int64_t steps, batch, features, units, wide; /* wide: gates * units */
    const plumb_view *w; /* w_ih, w_hh */
    char *work; /* NULL while its size is asked for */
    size_t used;
} sequence;

static sequence sequence_of(const plumb_call *call, void *work)
{
    const plumb_view *x = &call->in[0];
    sequence s = {.call = call, .attr = call->attr, .kind = PK_RNN, .states = 1, .dtype = x->dtype, .steps = x->dim[0],
                  .batch = x->dim[1], .features = x->dim[2], .units = call->in[1].dim[1], .work = work};
    const char *name = call->op->name; /* a plugin has rows of its own */
    if (strncmp(name, "lstm", 4) == 0) {
        s.kind = PK_LSTM;
        s.states = 2;
    } else if (strncmp(name, "gru", 3) == 0) {
        s.kind = PK_GRU;
    }
    s.w = call->in + 1 + s.states;
    s.wide = s.w[1].dim[0];
    return s;
}

/* A packed tensor of the workspace, or of nothing yet. */
static plumb_view take(sequence *s, int rank, int64_t a, int64_t b, int64_t c)
{
    plumb_view view = {.data = s->work ? s->work + s->used : NULL, .dtype = s->dtype, .rank = rank, .dim = {a, b, c}};
    plumb_view_pack(&view);
    s->used += ((size_t)plumb_view_count(&view) * plumb_dtype_size(s->dtype) + 255) & ~(size_t)255;
    return view;
}

/* (T, N, ..) -> (N, ..) of step t */
static plumb_view at(const plumb_view *view, int64_t t)
{
    plumb_view step = *view;
    step.rank = 2;
    step.data = (char *)view->data + t * view->stride[0] * (int64_t)plumb_dtype_size(view->dtype);
    for (int d = 0; d < 2; d++) {
        step.dim[d] = view->dim[d + 1];
        step.stride[d] = view->stride[d + 1];
    }
    return step;
}

/* (T, N, ..) -> (T N, ..) of a packed one, or one whose steps follow each other as examples do */
static plumb_view flat(const plumb_view *view)
{
    plumb_view rows = *view;
    rows.rank = 2;
    rows.dim[0] = view->dim[0] * view->dim[1];
    rows.dim[1] = view->dim[2];
    rows.stride[0] = view->dim[1] > 1 ? view->stride[1] : view->stride[0];
    rows.stride[1] = view->stride[2];
    return rows;
}

static bool is_flat(const plumb_view *x)
{
    return x->dim[0] <= 1 || x->dim[1] <= 1 || x->stride[0] == x->dim[1] * x->stride[1];
}

static pk_rows rows_of(plumb_view view) { return (pk_rows){view.data, view.stride[0], view.stride[1]}; }

static int64_t step_at(const sequence *s, int64_t i) { return s->attr->reverse ? s->steps - 1 - i : i; }

/* ---- launches ---- */

static plumb_status product(const sequence *s, plumb_view a, plumb_view b, const plumb_view *bias, plumb_view c,
                            bool transpose_a, bool transpose_b)
{
    const plumb_attr_matmul attr = {.transpose_a = transpose_a, .transpose_b = transpose_b};
    plumb_view in[3] = {a, b};
    if (bias)
        in[2] = *bias;
    plumb_call call = *s->call;
    call.attr = &attr;
    call.n_in = bias ? 3 : 2;
    call.in = in;
    call.n_out = 1;
    call.out = &c;
    pk_matmul p = plumb_cuda_product(&call);
    return plumb_cuda_check(s->call, "plumb_k_matmul", plumb_k_matmul(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

static plumb_status copy(const sequence *s, const plumb_view *from, const plumb_view *to)
{
    const plumb_view *operands[] = {from, to};
    pk_walk w = plumb_cuda_walk(operands, 2);
    return plumb_cuda_check(s->call, "plumb_k_cast", plumb_k_cast(plumb_cuda_stream(s->call), (int)s->dtype, (int)s->dtype, &w));
}

static plumb_status fill_zeros(const sequence *s, const plumb_view *to)
{
    pk_walk w = plumb_cuda_walk(&to, 1);
    return plumb_cuda_check(s->call, "plumb_k_fill", plumb_k_fill(plumb_cuda_stream(s->call), (int)s->dtype, 0, &w));
}

static plumb_status sum_rows(const sequence *s, const plumb_view *from, const plumb_view *to)
{
    pk_rows rows = rows_of(flat(from));
    return plumb_cuda_check(s->call, "plumb_k_column_sums",
                            plumb_k_column_sums(plumb_cuda_stream(s->call), (int)s->dtype, &rows, to->data,
                                                s->steps * s->batch, s->wide));
}

/* ---- forward ---- */

static plumb_status run_forward(const plumb_call *call)
{
    sequence s = sequence_of(call, call->workspace);
    const plumb_view *out = call->out, *y = &out[0], *gates = s.kind == PK_RNN ? y : &out[1 + s.states];
    const plumb_view *saved = s.kind == PK_RNN ? NULL : &out[2 + s.states];
    bool biased = call->n_in > s.states + 3;
    plumb_view of_h = take(&s, 2, s.batch, s.wide, 1), h = call->in[1], c = call->in[2]; /* c: of lstm */
    pk_cell p = {.kind = s.kind, .activation = s.attr->activation, .batch = s.batch, .units = s.units, .product = rows_of(of_h)};
    if (biased)
        p.bias = (pk_rows){s.w[3].data, 0, s.w[3].stride[0]};
    plumb_status status = product(&s, call->in[0], s.w[0], biased ? &s.w[2] : NULL, *gates, false, true);
    for (int64_t i = 0; status == PLUMB_OK && i < s.steps; i++) {
        int64_t t = step_at(&s, i);
        status = product(&s, h, s.w[1], NULL, of_h, false, true);
        p.h = rows_of(h);
        p.y = rows_of(at(y, t));
        p.gates = rows_of(at(gates, t));
        h = at(y, t);
        if (saved)
            p.saved = rows_of(at(saved, t));
        if (s.kind == PK_LSTM) {
            p.c = rows_of(c);
            c = at(saved, t);
        }
        if (status == PLUMB_OK)
            status = plumb_cuda_check(call, "plumb_k_cell", plumb_k_cell(plumb_cuda_stream(call), (int)s.dtype, &p));
    }
    if (status == PLUMB_OK)
        status = copy(&s, &h, &out[1]);
    if (status == PLUMB_OK && s.kind == PK_LSTM)
        status = copy(&s, &c, &out[2]);
    return status;
}

static size_t workspace_forward(const plumb_call *call)
{
    sequence s = sequence_of(call, NULL);
    take(&s, 2, s.batch, s.wide, 1);
    return s.used;
}

/* ---- backward ---- */

struct backward { /* inputs by name, and the workspace */
    const plumb_view *y, *gates, *saved, *dy, *dh, *dc; /* NULL: there is none */
    plumb_view da, dp, before, x, of_h;
};

static struct backward backward_of(sequence *s)
{
    const plumb_view *in = s->w + 2;
    struct backward b = {.y = in++};
    b.gates = s->kind == PK_RNN ? NULL : in++;
    b.saved = s->kind == PK_RNN ? NULL : in++;
    b.dy = s->attr->given & 1 ? in++ : NULL;
    b.dh = s->attr->given & 2 ? in++ : NULL;
    b.dc = s->attr->given & 4 ? in : NULL;
    b.da = take(s, 3, s->steps, s->batch, s->wide);
    b.dp = s->kind == PK_GRU ? take(s, 3, s->steps, s->batch, s->wide) : b.da;
    b.before = take(s, 3, s->steps, s->batch, s->units);
    b.of_h = take(s, 2, s->batch, s->units, 1);
    b.x = s->call->in[0];
    if (!is_flat(&b.x))
        b.x = take(s, 3, s->steps, s->batch, s->features);
    return b;
}

/* The h before each step, a packed x, and the gradients of the last states. */
static plumb_status begin_backward(const sequence *s, const struct backward *b)
{
    const plumb_call *call = s->call;
    plumb_status status = b->dh ? copy(s, b->dh, &call->out[0]) : fill_zeros(s, &call->out[0]);
    if (status == PLUMB_OK && s->kind == PK_LSTM)
        status = b->dc ? copy(s, b->dc, &call->out[1]) : fill_zeros(s, &call->out[1]);
    if (status == PLUMB_OK && b->x.data != call->in[0].data)
        status = copy(s, &call->in[0], &b->x);
    if (s->steps == 0 || status != PLUMB_OK)
        return status;
    plumb_view first = at(&b->before, step_at(s, 0)), from = *b->y, to = b->before;
    from.dim[0] = to.dim[0] = s->steps - 1;
    from.data = s->attr->reverse ? at(&from, 1).data : from.data;
    to.data = s->attr->reverse ? to.data : at(&to, 1).data;
    status = copy(s, &call->in[1], &first);
    return status == PLUMB_OK ? copy(s, &from, &to) : status;
}

static plumb_status go_back(const sequence *s, const struct backward *b)
{
    const plumb_view *out = s->call->out;
    pk_cell_back p = {.kind = s->kind, .activation = s->attr->activation, .batch = s->batch, .units = s->units,
                      .dh = rows_of(out[0])};
    plumb_status status = PLUMB_OK;
    for (int64_t i = s->steps - 1; status == PLUMB_OK && i >= 0; i--) {
        int64_t t = step_at(s, i);
        p.y = rows_of(at(b->y, t));
        p.h = rows_of(at(&b->before, t));
        if (b->dy)
            p.dy = rows_of(at(b->dy, t));
        if (b->gates) {
            p.gates = rows_of(at(b->gates, t));
            p.saved = rows_of(at(b->saved, t));
        }
        if (s->kind == PK_LSTM) {
            p.c = rows_of(i > 0 ? at(b->saved, step_at(s, i - 1)) : s->call->in[2]);
            p.dc = rows_of(out[1]);
        }
        p.da = rows_of(at(&b->da, t));
        p.dp = rows_of(at(&b->dp, t));
        status = plumb_cuda_check(s->call, "plumb_k_cell_back",
                                  plumb_k_cell_back(plumb_cuda_stream(s->call), (int)s->dtype, &p));
        if (status == PLUMB_OK)
            status = product(s, at(&b->dp, t), s->w[1], NULL, b->of_h, false, false);
        p.product = rows_of(b->of_h);
    }
    if (status != PLUMB_OK || s->steps == 0)
        return status;
    const plumb_view *operands[] = {&b->of_h, &out[0], &out[0]};
    pk_walk w = plumb_cuda_walk(operands, 3);
    return plumb_cuda_check(s->call, "plumb_k_binary",
                            plumb_k_binary(plumb_cuda_stream(s->call), PK_ADD, (int)s->dtype, 0, 0, &w));
}

static plumb_status run_backward(const plumb_call *call)
{
    sequence s = sequence_of(call, call->workspace);
    struct backward b = backward_of(&s);
    const plumb_view *out = call->out + s.states;
    plumb_status status = begin_backward(&s, &b);
    if (status == PLUMB_OK)
        status = go_back(&s, &b);
    if (status == PLUMB_OK)
        status = product(&s, flat(&b.da), flat(&b.x), NULL, *out++, true, false);
    if (status == PLUMB_OK)
        status = product(&s, flat(&b.dp), flat(&b.before), NULL, *out++, true, false);
    if (status == PLUMB_OK)
        status = sum_rows(&s, &b.da, out++);
    if (status == PLUMB_OK && s.kind == PK_GRU)
        status = sum_rows(&s, &b.dp, out++);
    if (status == PLUMB_OK && s.attr->dx)
        status = product(&s, b.da, s.w[0], NULL, *out, false, false);
    return status;
}

static size_t workspace_backward(const plumb_call *call)
{
    sequence s = sequence_of(call, NULL);
    backward_of(&s);
    return s.used;
}

/* ---- rows ---- */

static bool supports(const plumb_call *call)
{
    for (int k = 0; k < call->n_out; k++)
        if (!plumb_view_contiguous(&call->out[k]))
            return false;
    return true;
}

#define ROWS(name_)                                                                                                   \
    const plumb_impl plumb_impl_##name_##_cuda = {                                                                    \
        .op = &plumb_op_##name_,                                                                                      \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .supports = supports,                                                                                         \
        .workspace = workspace_forward,                                                                               \
        .run = run_forward,                                                                                           \
    };                                                                                                                \
    const plumb_impl plumb_impl_##name_##_backward_cuda = {                                                           \
        .op = &plumb_op_##name_##_backward,                                                                           \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .supports = supports,                                                                                         \
        .workspace = workspace_backward,                                                                              \
        .run = run_backward,                                                                                          \
    };
ROWS(rnn)
ROWS(gru)
ROWS(lstm)
