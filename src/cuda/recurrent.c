/* Recurrent layers on the GPU. x's products, the weights' gradients and dx are one product each over all steps. What lies
 * between goes from step to step: in one launch, where a block can keep the weights of h and the batch is not so large that
 * whole products use the GPU better; else it is driven from here, a product and a cell for each step, which a captured run
 * replays. From how many steps and up to which batch one launch is better is reckoned, not measured. */
#include "cuda/cuda.h"

typedef struct sequence {
    const plumb_call *call;
    const plumb_attr_recurrent *attr;
    enum pk_recurrent kind;
    int states;
    plumb_dtype dtype;
    int64_t steps, batch, features, units, wide; /* wide: gates * units */
    const plumb_view *w; /* w_ih, w_hh */
    const plumb_view *peepholes; /* NULL: there are none */
    int64_t *lengths; /* in the workspace; NULL: there are none */
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
    s.peepholes = s.attr->peepholes ? &s.w[2] : NULL;
    if (s.attr->lengths) {
        s.lengths = (int64_t *)(void *)s.work;
        s.used = ((size_t)s.batch * sizeof(int64_t) + 255) & ~(size_t)255;
    }
    return s;
}

/* What comes behind states, weights, peepholes and lengths. */
static const plumb_view *rest(const sequence *s) { return s->call->in + plumb_recurrent_first(s->attr, s->states); }

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
static pk_steps steps_of(const plumb_view *v) { return (pk_steps){v->data, v->stride[0], v->stride[1], v->stride[2]}; }
static pk_rows row_of(const plumb_view *v) { return (pk_rows){v->data, 0, v->stride[0]}; }

/* count rows or columns from the first one on, of a matrix */
static plumb_view part(plumb_view view, int axis, int64_t first, int64_t count)
{
    view.data = (char *)view.data + first * view.stride[axis] * (int64_t)plumb_dtype_size(view.dtype);
    view.dim[axis] = count;
    return view;
}

static int64_t step_at(const sequence *s, int64_t i) { return s->attr->reverse ? s->steps - 1 - i : i; }

/* How many examples a block takes through all steps, or 0: a product and a cell a step. */
static int64_t rows_kept(const sequence *s)
{
    enum { LEAST_STEPS = 4, MOST_ROWS = 16 };
    const struct plumb_cuda *cuda = plumb_cuda_of(s->call);
    int64_t rows = cuda->processors > 0 ? (s->batch + cuda->processors - 1) / cuda->processors : 0;
    bool fits = plumb_k_kept_bytes((int)s->dtype, s->wide, s->units) <= cuda->shared_most;
    return s->steps >= LEAST_STEPS && fits && rows <= MOST_ROWS ? rows : 0;
}

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

/* Looks at the lengths, and packs them. */
static plumb_status take_lengths(const sequence *s)
{
    const plumb_view *from = rest(s) - 1;
    if (!s->attr->lengths)
        return PLUMB_OK;
    pk_lengths p = {.from = from->data, .dtype = (int32_t)from->dtype, .watch = plumb_cuda_watch(s->call, "length"),
                    .stride = from->stride[0], .batch = s->batch, .steps = s->steps, .to = s->lengths,
                    .fault = plumb_cuda_fault(s->call)};
    return plumb_cuda_check(s->call, "plumb_k_lengths", plumb_k_lengths(plumb_cuda_stream(s->call), &p));
}

/* to[t] = from[t + shift], start where there is none; `to` is packed */
static plumb_status shift(const sequence *s, const plumb_view *from, const plumb_view *start, int by, const plumb_view *to)
{
    pk_shift p = {.from = steps_of(from), .to = to->data, .lengths = s->lengths, .steps = s->steps, .batch = s->batch,
                  .columns = to->dim[2], .shift = by};
    if (start)
        p.start = rows_of(*start);
    return plumb_cuda_check(s->call, "plumb_k_shift", plumb_k_shift(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

/* ---- forward ---- */

static plumb_status launch(const sequence *s, const pk_cell *p)
{
    return plumb_cuda_check(s->call, "plumb_k_cell", plumb_k_cell(plumb_cuda_stream(s->call), (int)s->dtype, p));
}

/* A step of a gru whose reset gate comes before the product: what r and z see of h, then what n sees of r h. */
static plumb_status step_in_two(const sequence *s, pk_cell p, const plumb_view *h, const plumb_view *saved,
                                const plumb_view *of_h)
{
    int64_t H = s->units;
    plumb_view first = part(*of_h, 1, 0, 2 * H), second = part(*of_h, 1, 2 * H, H);
    plumb_status status = product(s, *h, part(s->w[1], 0, 0, 2 * H), NULL, first, false, true);
    p.kind = PK_GRU_GATES;
    p.product = rows_of(first);
    if (status == PLUMB_OK)
        status = launch(s, &p);
    if (status == PLUMB_OK)
        status = product(s, *saved, part(s->w[1], 0, 2 * H, H), NULL, second, false, true);
    p.kind = PK_GRU_NEW;
    p.product = rows_of(second);
    if (p.bias.data)
        p.bias.data = (char *)p.bias.data + 2 * H * p.bias.column * (int64_t)plumb_dtype_size(s->dtype);
    return status == PLUMB_OK ? launch(s, &p) : status;
}

/* With lengths hT and cT hold the states all the way, since examples end at steps of their own. */
static plumb_status begin_states(const sequence *s)
{
    plumb_status status = take_lengths(s);
    for (int k = 0; k < s->states && s->attr->lengths && status == PLUMB_OK; k++)
        status = copy(s, &s->call->in[1 + k], &s->call->out[1 + k]);
    return status;
}

/* Without, they are those after the last step. */
static plumb_status end_states(const sequence *s)
{
    const plumb_view *out = s->call->out;
    plumb_status status = PLUMB_OK;
    for (int k = 0; k < s->states && !s->attr->lengths && status == PLUMB_OK; k++) {
        plumb_view last = s->call->in[1 + k];
        if (s->steps > 0)
            last = at(k ? &out[2 + s->states] : &out[0], step_at(s, s->steps - 1));
        status = copy(s, &last, &out[1 + k]);
    }
    return status;
}

/* Without weights that stay: `one` is filled in for each step. */
static plumb_status go_forward(const sequence *s, pk_cell p, const plumb_view *gates, const plumb_view *saved,
                               const plumb_view *of_h)
{
    const plumb_view *out = s->call->out;
    bool kept = s->attr->lengths;
    plumb_view h = kept ? out[1] : s->call->in[1], c = kept ? out[2] : s->call->in[2];
    plumb_status status = PLUMB_OK;
    for (int64_t i = 0; status == PLUMB_OK && i < s->steps; i++) {
        plumb_view this_h = h, this_saved = {0};
        p.t = step_at(s, i);
        p.h = rows_of(h);
        p.y = rows_of(at(&out[0], p.t));
        p.gates = rows_of(at(gates, p.t));
        h = kept ? h : at(&out[0], p.t);
        if (saved) {
            this_saved = at(saved, p.t);
            p.saved = rows_of(this_saved);
        }
        if (s->kind == PK_LSTM) {
            p.c = rows_of(c);
            c = kept ? c : this_saved;
        }
        if (s->attr->reset_before) {
            status = step_in_two(s, p, &this_h, &this_saved, of_h);
            continue;
        }
        status = product(s, this_h, s->w[1], NULL, *of_h, false, true);
        if (status == PLUMB_OK)
            status = launch(s, &p);
    }
    return status;
}

static plumb_status go_forward_at_once(const sequence *s, pk_cell one, const plumb_view *gates, const plumb_view *saved)
{
    const plumb_view *states = s->attr->lengths ? s->call->out : s->call->in;
    one.kind = s->attr->reset_before ? PK_GRU_GATES : s->kind;
    one.h = rows_of(states[1]);
    if (s->kind == PK_LSTM)
        one.c = rows_of(states[2]);
    pk_sequence p = {.one = one, .gates = steps_of(gates), .y = steps_of(&s->call->out[0]), .w = rows_of(s->w[1]),
                     .steps = s->steps, .rows = rows_kept(s), .reverse = s->attr->reverse, .wide = (int32_t)s->wide};
    if (saved)
        p.saved = steps_of(saved);
    return plumb_cuda_check(s->call, "plumb_k_sequence", plumb_k_sequence(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

static plumb_status run_forward(const plumb_call *call)
{
    sequence s = sequence_of(call, call->workspace);
    const plumb_view *out = call->out, *y = &out[0], *gates = s.kind == PK_RNN ? y : &out[1 + s.states];
    const plumb_view *saved = s.kind == PK_RNN ? NULL : &out[2 + s.states], *biases = rest(&s);
    bool biased = call->n_in > biases - call->in;
    plumb_view of_h = take(&s, 2, s.batch, s.wide, 1);
    pk_cell p = {.kind = s.kind, .activation = s.attr->activation, .batch = s.batch, .units = s.units, .lengths = s.lengths,
                 .product = rows_of(of_h)};
    if (biased)
        p.bias = row_of(&biases[1]);
    if (s.peepholes)
        p.peepholes = row_of(s.peepholes);
    if (s.attr->lengths)
        p.state_h = rows_of(out[1]);
    if (s.attr->lengths && s.kind == PK_LSTM)
        p.state_c = rows_of(out[2]);
    plumb_status status = begin_states(&s);
    if (status == PLUMB_OK)
        status = product(&s, call->in[0], s.w[0], biased ? &biases[0] : NULL, *gates, false, true);
    if (status == PLUMB_OK)
        status = rows_kept(&s) ? go_forward_at_once(&s, p, gates, saved) : go_forward(&s, p, gates, saved, &of_h);
    return status == PLUMB_OK ? end_states(&s) : status;
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
    plumb_view da, dp, before, cells, x, q, of_h; /* cells: before each step, q: the product's factor; where wanted */
};

static struct backward backward_of(sequence *s)
{
    const plumb_view *in = rest(s);
    struct backward b = {.y = in++};
    b.gates = s->kind == PK_RNN ? NULL : in++;
    b.saved = s->kind == PK_RNN ? NULL : in++;
    b.dy = s->attr->given & 1 ? in++ : NULL;
    b.dh = s->attr->given & 2 ? in++ : NULL;
    b.dc = s->attr->given & 4 ? in : NULL;
    b.da = take(s, 3, s->steps, s->batch, s->wide);
    b.dp = s->kind == PK_GRU && !s->attr->reset_before ? take(s, 3, s->steps, s->batch, s->wide) : b.da;
    b.before = take(s, 3, s->steps, s->batch, s->units);
    b.of_h = take(s, 2, s->batch, s->units, 1);
    b.x = s->call->in[0];
    if (!is_flat(&b.x) || s->attr->lengths) /* what lies behind the lengths may be anything */
        b.x = take(s, 3, s->steps, s->batch, s->features);
    if (s->kind == PK_LSTM && (s->attr->lengths || s->peepholes))
        b.cells = take(s, 3, s->steps, s->batch, s->units);
    if (s->attr->reset_before)
        b.q = is_flat(b.saved) && !s->attr->lengths ? *b.saved : take(s, 3, s->steps, s->batch, s->units);
    return b;
}

/* The h and c before each step, a packed x, and the gradients of the last states. */
static plumb_status begin_backward(const sequence *s, const struct backward *b)
{
    const plumb_call *call = s->call;
    const int from = s->attr->reverse ? 1 : -1;
    plumb_status status = take_lengths(s);
    if (status == PLUMB_OK)
        status = b->dh ? copy(s, b->dh, &call->out[0]) : fill_zeros(s, &call->out[0]);
    if (status == PLUMB_OK && s->kind == PK_LSTM)
        status = b->dc ? copy(s, b->dc, &call->out[1]) : fill_zeros(s, &call->out[1]);
    if (status == PLUMB_OK)
        status = shift(s, b->y, &call->in[1], from, &b->before);
    if (status == PLUMB_OK && b->cells.rank)
        status = shift(s, b->saved, &call->in[2], from, &b->cells);
    if (status == PLUMB_OK && (s->attr->lengths || !is_flat(&call->in[0])))
        status = shift(s, &call->in[0], NULL, 0, &b->x);
    if (status == PLUMB_OK && s->attr->reset_before && b->q.data != b->saved->data)
        status = shift(s, b->saved, NULL, 0, &b->q);
    return status;
}

static plumb_status launch_back(const sequence *s, const pk_cell_back *p)
{
    return plumb_cuda_check(s->call, "plumb_k_cell_back", plumb_k_cell_back(plumb_cuda_stream(s->call), (int)s->dtype, p));
}

/* The way back through a step, and what then reaches h before through its products, in of_h. */
static plumb_status step_back(const sequence *s, const struct backward *b, pk_cell_back *p)
{
    const int64_t H = s->units;
    plumb_view d = at(&b->dp, p->t), w = s->w[1];
    plumb_status status;
    if (s->attr->reset_before) {
        p->kind = PK_GRU_NEW;
        status = launch_back(s, p);
        if (status == PLUMB_OK)
            status = product(s, part(d, 1, 2 * H, H), part(w, 0, 2 * H, H), NULL, b->of_h, false, false);
        p->kind = PK_GRU_GATES;
        p->product = rows_of(b->of_h);
        d = part(d, 1, 0, 2 * H);
        w = part(w, 0, 0, 2 * H);
        if (status == PLUMB_OK)
            status = launch_back(s, p);
    } else {
        status = launch_back(s, p);
    }
    p->product = rows_of(b->of_h);
    return status == PLUMB_OK ? product(s, d, w, NULL, b->of_h, false, false) : status;
}

static plumb_status go_back(const sequence *s, const struct backward *b, pk_cell_back p)
{
    plumb_status status = PLUMB_OK;
    for (int64_t i = s->steps - 1; status == PLUMB_OK && i >= 0; i--) {
        int64_t t = p.t = step_at(s, i);
        p.behind = s->attr->reverse ? t - 1 : t + 1;
        p.y = rows_of(at(b->y, t));
        p.h = rows_of(at(&b->before, t));
        if (b->dy)
            p.dy = rows_of(at(b->dy, t));
        if (b->gates) {
            p.gates = rows_of(at(b->gates, t));
            p.saved = rows_of(at(b->saved, t));
        }
        if (s->kind == PK_LSTM)
            p.c = rows_of(b->cells.rank ? at(&b->cells, t) : i > 0 ? at(b->saved, step_at(s, i - 1)) : s->call->in[2]);
        p.da = rows_of(at(&b->da, t));
        p.dp = rows_of(at(&b->dp, t));
        status = step_back(s, b, &p);
    }
    return status;
}

static plumb_status go_back_at_once(const sequence *s, const struct backward *b, pk_cell_back one)
{
    one.kind = s->attr->reset_before ? PK_GRU_NEW : s->kind;
    one.product = rows_of(b->of_h);
    pk_sequence_back p = {.y = steps_of(b->y), .before = steps_of(&b->before), .da = steps_of(&b->da), .dp = steps_of(&b->dp),
                          .w = rows_of(s->w[1]), .steps = s->steps, .rows = rows_kept(s), .reverse = s->attr->reverse,
                          .wide = (int32_t)s->wide};
    if (b->dy)
        p.dy = steps_of(b->dy);
    if (b->gates) {
        p.gates = steps_of(b->gates);
        p.saved = steps_of(b->saved);
    }
    if (b->cells.rank)
        p.cells = steps_of(&b->cells);
    if (s->kind == PK_LSTM)
        one.c = rows_of(s->call->in[2]);
    p.one = one;
    return plumb_cuda_check(s->call, "plumb_k_sequence_back",
                            plumb_k_sequence_back(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

/* Where an example does not have a step a product multiplied zeros, of which NaN may come. `view`: all steps, or (N, ..) of t. */
static plumb_status clear_missing(const sequence *s, const plumb_view *view, int64_t t)
{
    const int last = view->rank - 1;
    pk_shift p = {.from = {view->data, last > 1 ? view->stride[0] : 0, view->stride[last - 1], view->stride[last]},
                  .to = view->data, .lengths = s->lengths, .steps = last > 1 ? s->steps : 1, .first = t, .batch = s->batch,
                  .columns = view->dim[last]};
    if (!s->attr->lengths)
        return PLUMB_OK;
    return plumb_cuda_check(s->call, "plumb_k_shift", plumb_k_shift(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

/* From dh and dc behind the last step, in dh0 and dc0, to those before the first. */
static plumb_status pass_steps(const sequence *s, const struct backward *b)
{
    const plumb_view *out = s->call->out;
    pk_cell_back p = {.kind = s->kind, .activation = s->attr->activation, .batch = s->batch, .units = s->units,
                      .lengths = s->lengths, .dh = rows_of(out[0])};
    if (s->kind == PK_LSTM)
        p.dc = rows_of(out[1]);
    if (s->peepholes)
        p.peepholes = row_of(s->peepholes);
    plumb_status status = rows_kept(s) ? go_back_at_once(s, b, p) : go_back(s, b, p);
    if (status == PLUMB_OK && s->steps > 0)
        status = clear_missing(s, &b->of_h, step_at(s, 0));
    if (status != PLUMB_OK || s->steps == 0)
        return status;
    const plumb_view *operands[] = {&b->of_h, &out[0], &out[0]};
    pk_walk w = plumb_cuda_walk(operands, 3);
    return plumb_cuda_check(s->call, "plumb_k_binary",
                            plumb_k_binary(plumb_cuda_stream(s->call), PK_ADD, (int)s->dtype, 0, 0, &w));
}

/* What the steps' gradients of h's products make of w_hh's. */
static plumb_status product_w_hh(const sequence *s, const struct backward *b, const plumb_view *to)
{
    const int64_t H = s->units;
    plumb_view d = flat(&b->dp), h = flat(&b->before);
    if (!s->attr->reset_before)
        return product(s, d, h, NULL, *to, true, false);
    plumb_status status = product(s, part(d, 1, 0, 2 * H), h, NULL, part(*to, 0, 0, 2 * H), true, false);
    return status == PLUMB_OK ? product(s, part(d, 1, 2 * H, H), flat(&b->q), NULL, part(*to, 0, 2 * H, H), true, false) : status;
}

static plumb_status sum_peepholes(const sequence *s, const struct backward *b, const plumb_view *to)
{
    pk_peepholes p = {.da = b->da.data, .before = b->cells.data, .cells = steps_of(b->saved), .to = to->data,
                      .lengths = s->lengths, .steps = s->steps, .batch = s->batch, .units = s->units};
    return plumb_cuda_check(s->call, "plumb_k_peepholes", plumb_k_peepholes(plumb_cuda_stream(s->call), (int)s->dtype, &p));
}

static plumb_status run_backward(const plumb_call *call)
{
    sequence s = sequence_of(call, call->workspace);
    struct backward b = backward_of(&s);
    const plumb_view *out = call->out + s.states;
    plumb_status status = begin_backward(&s, &b);
    if (status == PLUMB_OK)
        status = pass_steps(&s, &b);
    if (status == PLUMB_OK)
        status = product(&s, flat(&b.da), flat(&b.x), NULL, *out++, true, false);
    if (status == PLUMB_OK)
        status = product_w_hh(&s, &b, out++);
    if (status == PLUMB_OK)
        status = sum_rows(&s, &b.da, out++);
    if (status == PLUMB_OK && s.kind == PK_GRU)
        status = sum_rows(&s, &b.dp, out++);
    if (status == PLUMB_OK && s.peepholes)
        status = sum_peepholes(&s, &b, out++);
    if (status == PLUMB_OK && s.attr->dx)
        status = product(&s, b.da, s.w[0], NULL, *out, false, false);
    return status == PLUMB_OK && s.attr->dx ? clear_missing(&s, out, 0) : status;
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
