/* See random_graph.h. Elements are kept near 1 by squashing what has grown, so that hundreds of ops in a row stay
 * finite. Shapes are small; the batch is symbolic and stays in front until an op makes something else of it. */
#include "random_graph.h"

#include <stdlib.h>
#include <string.h>

uint32_t random_next(uint64_t *dice)
{
    *dice = *dice * 6364136223846793005u + 1442695040888963407u;
    uint64_t mixed = (*dice ^ (*dice >> 29)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(mixed >> 32);
}

static int below(struct random_graph *r, int limit) { return (int)(random_next(&r->dice) % (uint32_t)limit); }
static bool once_in(struct random_graph *r, int n) { return below(r, n) == 0; }

static void add(struct random_graph *r, plumb_t t, double size)
{
    if (r->n_pool == RANDOM_POOL || t == PLUMB_NONE) {
        return;
    }
    r->pool[r->n_pool] = size > 3 ? plumb_tanh(r->g, t) : t;
    r->size[r->n_pool++] = size > 3 ? 1 : size;
}

/* Recent tensors more often, so that chains become long. */
static int pick(struct random_graph *r)
{
    return once_in(r, 2) ? below(r, r->n_pool) : r->n_pool - 1 - below(r, r->n_pool < 6 ? r->n_pool : 6);
}

static bool known(const plumb_shape *s, int d) { return s->dim[d] >= 0; }

static bool concrete(const plumb_shape *s)
{
    bool all = true;
    for (int d = 0; d < s->rank; d++) {
        all = all && known(s, d);
    }
    return all;
}

/* Elements, an unknown size counted as 5. */
static int64_t elements(const plumb_shape *s)
{
    int64_t n = 1;
    for (int d = 0; d < s->rank; d++) {
        n *= known(s, d) ? s->dim[d] : 5;
    }
    return n;
}

static bool same_shape(const plumb_shape *a, const plumb_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof(a->dim[0]) * (size_t)a->rank) == 0;
}

/* A variable of this shape: an old one (shared) or a new one. */
static plumb_t variable(struct random_graph *r, plumb_shape shape)
{
    for (int i = 0; i < r->n_variables; i++) {
        plumb_shape s = plumb_shape_of(r->g, r->variable[i]);
        if (same_shape(&s, &shape) && !once_in(r, 3)) {
            return r->variable[i];
        }
    }
    if (r->n_variables == RANDOM_VARIABLES) {
        return plumb_full(r->g, r->kind.dtype, shape, 0.5);
    }
    char name[8] = {'v', (char)('0' + r->n_variables)};
    plumb_variable_options options = {.size = sizeof(options),
                                      .init = {.rule = PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return r->variable[r->n_variables++] = plumb_variable(r->g, name, r->kind.dtype, shape, &options);
}

/* ---- one step each ---- */

static void unary(struct random_graph *r, int i)
{
    static plumb_t (*const smooth[])(plumb_graph *, plumb_t) = {
        plumb_tanh, plumb_sigmoid, plumb_sin, plumb_cos, plumb_erf, plumb_gelu, plumb_silu, plumb_softplus};
    static plumb_t (*const broken[])(plumb_graph *, plumb_t) = {plumb_abs, plumb_relu, plumb_sign,
                                                                plumb_stop_gradient};
    plumb_t x = r->pool[i];
    if (!r->kind.smooth && once_in(r, 3)) {
        add(r, broken[below(r, 4)](r->g, x), r->size[i]);
    } else if (once_in(r, 4)) {
        add(r, once_in(r, 2) ? plumb_affine(r->g, x, 0.5, -0.25) : plumb_square(r->g, x),
            r->size[i] * r->size[i] + 1);
    } else if (once_in(r, 4)) { /* twice the same, for common subexpressions */
        add(r,
            plumb_add(r->g, plumb_exp(r->g, plumb_neg(r->g, plumb_square(r->g, x))),
                      plumb_exp(r->g, plumb_neg(r->g, plumb_square(r->g, x)))),
            2);
    } else {
        add(r, smooth[below(r, 8)](r->g, x), r->size[i]);
    }
}

/* Another operand for x that broadcasts: of the pool, or a variable of a suffix of its shape. */
static plumb_t partner(struct random_graph *r, int i, double *size)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]), suffix = {0};
    for (int tries = 0; tries < 8; tries++) {
        int k = pick(r);
        plumb_shape other = plumb_shape_of(r->g, r->pool[k]);
        bool fits = true;
        for (int d = 1; d <= s.rank && d <= other.rank; d++) {
            int64_t a = s.dim[s.rank - d], b = other.dim[other.rank - d];
            fits = fits && ((a == b && a != PLUMB_UNKNOWN) || (a == 1 && b >= 0) || b == 1);
        }
        if (fits && elements(&other) * elements(&s) < 20000) {
            *size = r->size[k];
            return r->pool[k];
        }
    }
    suffix.rank = below(r, s.rank + 1);
    for (int d = 0; d < suffix.rank; d++) {
        int64_t size_d = s.dim[s.rank - suffix.rank + d];
        suffix.dim[d] = size_d < 0 || once_in(r, 3) ? 1 : size_d;
    }
    *size = 1;
    return variable(r, suffix);
}

static void binary(struct random_graph *r, int i)
{
    double size;
    plumb_t a = r->pool[i], b = partner(r, i, &size), one = plumb_scalar(r->g, r->kind.dtype, 1);
    if (once_in(r, 2)) {
        plumb_t t = a;
        a = b;
        b = t;
    }
    switch (below(r, r->kind.smooth ? 4 : 7)) {
    case 0: add(r, plumb_add(r->g, a, b), size + r->size[i]); return;
    case 1: add(r, plumb_sub(r->g, a, b), size + r->size[i]); return;
    case 2: add(r, plumb_mul(r->g, a, b), size * r->size[i]); return;
    case 3:
        add(r, plumb_div(r->g, a, plumb_add(r->g, plumb_square(r->g, b), one)), size + r->size[i]);
        return;
    case 4: add(r, plumb_maximum(r->g, a, b), size + r->size[i]); return;
    case 5: add(r, plumb_minimum(r->g, a, b), size + r->size[i]); return;
    default: add(r, plumb_where(r->g, plumb_less(r->g, a, b), b, a), size + r->size[i]); return;
    }
}

static void reduction(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int axes[PLUMB_MAX_RANK], n = 0;
    bool keep = once_in(r, 2), stretches = true;
    for (int d = 0; d < s.rank; d++) {
        if (once_in(r, 2)) {
            axes[n++] = once_in(r, 2) ? d : d - s.rank;
            stretches = stretches && known(&s, d) && s.dim[d] > 0;
        }
    }
    if (n == 0) {
        return;
    }
    switch (below(r, stretches ? (r->kind.smooth ? 2 : 4) : 2)) {
    case 0: add(r, plumb_sum(r->g, r->pool[i], axes, n, keep), r->size[i] * 4); return;
    case 1:
        add(r,
            stretches ? plumb_mean(r->g, r->pool[i], axes, n, keep)
                      : plumb_tanh(r->g, plumb_sum(r->g, r->pool[i], axes, n, keep)),
            1);
        return;
    case 2: add(r, plumb_max(r->g, r->pool[i], axes, n, keep), r->size[i]); return;
    default: add(r, plumb_min(r->g, r->pool[i], axes, n, keep), r->size[i]); return;
    }
}

static void transpose(struct random_graph *r, int i)
{
    int order[PLUMB_MAX_RANK], rank = plumb_shape_of(r->g, r->pool[i]).rank;
    for (int d = 0; d < rank; d++) {
        int at = below(r, d + 1);
        order[d] = order[at];
        order[at] = d;
    }
    add(r, plumb_transpose(r->g, r->pool[i], order), r->size[i]);
}

static void slice(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int64_t begin[PLUMB_MAX_RANK], end[PLUMB_MAX_RANK], step[PLUMB_MAX_RANK];
    for (int d = 0; d < s.rank; d++) {
        bool back = once_in(r, 3) && s.dim[d] != 0;
        begin[d] = back ? -1 : 0;
        end[d] = PLUMB_END;
        step[d] = back ? -1 : 1;
        if (s.dim[d] > 1 && once_in(r, 2)) {
            begin[d] = back ? -1 - below(r, (int)s.dim[d] - 1) : below(r, (int)s.dim[d]);
            step[d] *= 1 + below(r, 2);
        } else if (s.dim[d] < 0 && once_in(r, 8)) { /* of a batch of unknown size */
            begin[d] = back ? -2 : 1;
        }
    }
    add(r, plumb_slice(r->g, r->pool[i], begin, end, step), r->size[i]);
}

static void expand(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]), to = {.rank = s.rank};
    int extra = s.rank < 4 && once_in(r, 2);
    to.rank += extra;
    to.dim[0] = 1 + below(r, 3);
    for (int d = 0; d < s.rank; d++) {
        if (s.dim[d] == PLUMB_UNKNOWN) {
            return;
        }
        to.dim[d + extra] = s.dim[d] == 1 ? 1 + below(r, 3) : s.dim[d];
    }
    if (elements(&to) < 2000) {
        add(r, plumb_expand(r->g, r->pool[i], to), r->size[i]);
    }
}

static void concat(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int axis = s.rank ? below(r, s.rank) : 0, n = 1;
    plumb_t x[3] = {r->pool[i]};
    for (int tries = 0; tries < 6 && n < 3; tries++) {
        int k = pick(r);
        plumb_shape other = plumb_shape_of(r->g, r->pool[k]);
        if (same_shape(&s, &other)) {
            x[n++] = r->pool[k];
        }
    }
    if (s.rank > 0 && concrete(&s) == known(&s, axis) && known(&s, axis) && elements(&s) < 1000) {
        add(r, plumb_concat(r->g, x, n, axis), 1 + r->size[i]);
    } else if (s.rank > 1 && known(&s, s.rank - 1) && elements(&s) < 1000) {
        add(r, plumb_concat(r->g, x, n, -1), 1 + r->size[i]);
    }
}

static void reshape(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]), to = {0};
    int64_t rest = 1;
    int first = s.rank > 0 && plumb_shape_of(r->g, r->pool[i]).dim[0] == PLUMB_BATCH;
    for (int d = first; d < s.rank; d++) {
        if (!known(&s, d)) {
            return;
        }
        rest *= s.dim[d];
    }
    if (first) {
        to.dim[to.rank++] = PLUMB_BATCH;
    }
    for (int64_t p = 2; p <= 5 && to.rank < 4; p++) {
        if (rest > 0 && rest % p == 0 && once_in(r, 2)) {
            to.dim[to.rank++] = p;
            rest /= p;
        }
    }
    to.dim[to.rank++] = rest;
    if (once_in(r, 3)) {
        to.dim[to.rank++] = 1;
    }
    add(r, plumb_reshape(r->g, r->pool[i], to), r->size[i]);
}

static void matmul(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    if (s.rank < 2 || !known(&s, s.rank - 1) || (s.rank > 2 && !known(&s, s.rank - 2))) {
        return;
    }
    bool flip = once_in(r, 2);
    int64_t k = s.dim[s.rank - 1], n = 1 + below(r, 4);
    if (once_in(r, 4)) {
        add(r, plumb_matmul(r->g, r->pool[i], r->pool[i], false, true), 5);
    } else {
        add(r,
            plumb_matmul(r->g, r->pool[i], variable(r, flip ? PLUMB_SHAPE(n, k) : PLUMB_SHAPE(k, n)), false,
                         flip),
            4);
    }
}

static plumb_t frozen(struct random_graph *r, const char *what, int64_t channels, double value)
{
    char name[24] = {(char)('a' + r->n_pool % 26), (char)('a' + r->n_pool / 26)};
    strcat(name, what);
    plumb_variable_options options = {
        .size = sizeof(options), .init = {PLUMB_INIT_CONSTANT, .a = value}, .frozen = true};
    return plumb_variable(r->g, name, r->kind.dtype, PLUMB_SHAPE(channels), &options);
}

/* Convolution, pooling or batch norm of what has, or is given, four dimensions. */
static void picture(struct random_graph *r, int i)
{
    plumb_t x = r->pool[i];
    plumb_shape s = plumb_shape_of(r->g, x);
    if (s.rank == 3 && concrete(&s)) {
        x = plumb_reshape(r->g, x, PLUMB_SHAPE(1, s.dim[0], s.dim[1], s.dim[2]));
        s = plumb_shape_of(r->g, x);
    }
    if (s.rank != 4 || !known(&s, 1) || !known(&s, 2) || !known(&s, 3) ||
        s.dim[1] * s.dim[2] * s.dim[3] == 0) {
        return;
    }
    int64_t kh = 1 + below(r, s.dim[2] < 3 ? (int)s.dim[2] : 3),
            kw = 1 + below(r, s.dim[3] < 3 ? (int)s.dim[3] : 3);
    plumb_conv2d_options conv = {
        .size = sizeof(conv), .stride = {1 + below(r, 2), 1}, .padding = {0, below(r, 2), 1, 0}};
    plumb_pool2d_options pool = {.size = sizeof(pool), .window = {kh, kw}, .stride = {1, 0}};
    plumb_batch_norm_options norm = {.size = sizeof(norm), .epsilon = 0.5};
    switch (below(r, r->kind.smooth ? 3 : 4)) {
    case 0:
        add(r,
            plumb_conv2d(r->g, x, variable(r, PLUMB_SHAPE(2, s.dim[1], kh, kw)),
                         once_in(r, 2) ? variable(r, PLUMB_SHAPE(2)) : PLUMB_NONE, &conv),
            4);
        return;
    case 1: add(r, plumb_average_pool2d(r->g, x, &pool), r->size[i]); return;
    case 2: /* refuses a single value per channel, so not over a picture of one pixel */
        if (s.dim[2] * s.dim[3] == 1) {
            return;
        }
        add(r,
            plumb_batch_norm(r->g, x, variable(r, PLUMB_SHAPE(s.dim[1])), variable(r, PLUMB_SHAPE(s.dim[1])),
                             frozen(r, "mean", s.dim[1], 0.1), frozen(r, "var", s.dim[1], 0.7), &norm),
            3);
        return;
    default: {
        plumb_t y = plumb_max_pool2d(r->g, x, &pool);
        add(r, y, r->size[i]);
        add(r, plumb_cast(r->g, plumb_output(r->g, y, 1), r->kind.dtype), 9);
    }
    }
}

static void indexed(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int axis = s.rank ? below(r, s.rank) : 0;
    const int32_t at[] = {0, -1, 0};
    if (s.rank == 0 || s.dim[axis] < 1 || elements(&s) > 1000) {
        return;
    }
    if (s.rank == 2 && axis == 0 && s.dim[0] >= 2 && once_in(r, 2)) {
        add(r, plumb_embedding(r->g, r->pool[i], r->label), r->size[i]);
    } else if (!r->kind.smooth && once_in(r, 3)) {
        add(r, plumb_cast(r->g, plumb_argmax(r->g, r->pool[i], axis, false), r->kind.dtype), 3);
    } else {
        add(r, plumb_gather(r->g, r->pool[i], plumb_constant(r->g, PLUMB_I32, PLUMB_SHAPE(3), at), axis),
            r->size[i]);
    }
}

static void along(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int axis = s.rank ? below(r, s.rank) : 0;
    if (s.rank == 0 || s.dim[axis] < 1) {
        return;
    }
    add(r, once_in(r, 2) ? plumb_softmax(r->g, r->pool[i], axis) : plumb_log_softmax(r->g, r->pool[i], axis),
        3);
}

/* A recurrent layer over whatever has three dimensions, its states and weights variables. */
static void sequence(struct random_graph *r, int i)
{
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    int kind = below(r, 3), outputs = kind == 2 ? 3 : 2;
    int64_t units = 1 + below(r, 3), wide = units * (kind == 0 ? 1 : kind + 2);
    if (s.rank != 3 || !known(&s, 2) || s.dim[2] == 0 || elements(&s) > 300) {
        return;
    }
    plumb_recurrent_options options = {.size = sizeof(options), .reverse = once_in(r, 2)};
    if (kind == 1 && once_in(r, 2)) {
        options.reset = PLUMB_RESET_BEFORE;
    }
    if (kind == 2 && once_in(r, 2)) {
        options.peepholes = variable(r, PLUMB_SHAPE(3 * units));
    }
    if (known(&s, 0) && known(&s, 1) && s.dim[1] <= 8 && once_in(r, 3)) {
        int32_t lengths[8] = {0};
        for (int64_t n = 0; n < s.dim[1]; n++) {
            lengths[n] = (int32_t)below(r, (int)s.dim[0] + 1);
        }
        options.lengths = plumb_constant(r->g, PLUMB_I32, PLUMB_SHAPE(s.dim[1]), lengths);
    }
    plumb_t x = r->pool[i], h0 = known(&s, 1) && once_in(r, 2) ? variable(r, PLUMB_SHAPE(s.dim[1], units)) : PLUMB_NONE;
    plumb_t w = variable(r, PLUMB_SHAPE(wide, s.dim[2])), u = variable(r, PLUMB_SHAPE(wide, units));
    plumb_t b = once_in(r, 2) ? variable(r, PLUMB_SHAPE(wide)) : PLUMB_NONE;
    plumb_t y = kind == 0   ? plumb_rnn(r->g, x, h0, w, u, b, b, &options)
                : kind == 1 ? plumb_gru(r->g, x, h0, w, u, b, b, &options)
                            : plumb_lstm(r->g, x, h0, h0, w, u, b, b, &options);
    add(r, y, 1);
    add(r, plumb_output(r->g, y, 1 + below(r, outputs - 1)), 1);
}

static void other(struct random_graph *r, int i)
{
    plumb_t x = r->pool[i];
    plumb_shape s = plumb_shape_of(r->g, x);
    switch (below(r, 4)) {
    case 0: add(r, plumb_dropout(r->g, x, 0.3), 1.5 * r->size[i]); return;
    case 1: add(r, plumb_cast(r->g, plumb_cast(r->g, x, PLUMB_F64), r->kind.dtype), r->size[i]); return;
    case 2: add(r, plumb_mul(r->g, plumb_full_like(r->g, x, 0.5), x), r->size[i]); return;
    default:
        if (concrete(&s)) { /* constants to fold */
            plumb_t k =
                plumb_affine(r->g, plumb_exp(r->g, plumb_full(r->g, r->kind.dtype, s, 0.25)), 0.5, 0.1);
            add(r, plumb_sub(r->g, x, k), 1 + r->size[i]);
        }
    }
}

static void grow(struct random_graph *r)
{
    static void (*const ways[])(struct random_graph *, int) = {
        unary,  unary,   binary,  binary, binary,  reduction, transpose, slice, expand,
        concat, reshape, reshape, matmul, picture, picture,   indexed,   along, other, sequence};
    int i = pick(r);
    plumb_shape s = plumb_shape_of(r->g, r->pool[i]);
    if (elements(&s) < 3000 && s.rank < 6) {
        ways[below(r, (int)(sizeof(ways) / sizeof(ways[0])))](r, i);
    }
}

/* ---- ends ---- */

static plumb_t make_loss(struct random_graph *r)
{
    plumb_t total = plumb_scalar(r->g, r->kind.dtype, 0.125);
    for (int k = 0; k < 5; k++) {
        plumb_t t = plumb_sum(r->g, plumb_tanh(r->g, r->pool[pick(r)]), NULL, 0, false);
        total = plumb_add(r->g, total, plumb_tanh(r->g, plumb_affine(r->g, t, 0.125, 0.25)));
    }
    return plumb_sum(r->g, total, NULL, 0, false);
}

/* Assigns of anything that fits, other variables among them: swaps and cycles, with and without a gate. */
static void make_assigns(struct random_graph *r)
{
    for (int tries = 0; tries < 24 && r->n_assigns < RANDOM_ASSIGNS && r->n_variables > 0; tries++) {
        int k = tries & 1 ? below(r, r->n_variables) : pick(r);
        plumb_t v = r->variable[below(r, r->n_variables)], value = tries & 1 ? r->variable[k] : r->pool[k];
        plumb_shape s = plumb_shape_of(r->g, v), have = plumb_shape_of(r->g, value);
        if (have.rank == 2 && s.rank == 2 && have.dim[0] == s.dim[1] && have.dim[1] == s.dim[0]) {
            value = plumb_transpose(r->g, value, NULL);
            have = plumb_shape_of(r->g, value);
        }
        if (!same_shape(&s, &have)) {
            continue;
        }
        plumb_t gate = PLUMB_NONE;
        if (once_in(r, 3)) {
            gate = plumb_less(r->g, plumb_sum(r->g, plumb_tanh(r->g, r->pool[pick(r)]), NULL, 0, false),
                              plumb_scalar(r->g, r->kind.dtype, 0.25));
        }
        r->assign[r->n_assigns].variable = v;
        r->assign[r->n_assigns].value = value;
        r->assign[r->n_assigns++].gate = gate;
        plumb_assign(r->g, v, value, gate);
    }
}

static void optimise(struct random_graph *r)
{
    int rule = below(r, plumb_optimizer_count());
    plumb_optimizer one = {
        .size = sizeof(one), .rule = plumb_optimizer_rule(rule), .name = "one", .lr = 0.01};
    plumb_optimizer two = {.size = sizeof(two),
                           .rule = "adam",
                           .name = "two",
                           .lr = 0.01,
                           .clip_norm = 1,
                           .l2 = 0.1,
                           .skip_bad_steps = once_in(r, 2)};
    plumb_minimize(r->g, r->loss, r->variable, 1 + below(r, r->n_variables), &one);
    if (once_in(r, 2)) {
        plumb_minimize(r->g, r->loss, r->variable + r->n_variables - 1, 1, &two);
    }
}

plumb_status random_graph_make(struct random_graph *r, plumb_context *context, uint64_t seed,
                               struct random_kind kind)
{
    static const plumb_shape shapes[] = {{1, {PLUMB_BATCH}},          {2, {PLUMB_BATCH, 4}},
                                         {3, {PLUMB_BATCH, 2, 3}},    {4, {PLUMB_BATCH, 2, 4, 3}},
                                         {4, {PLUMB_BATCH, 1, 5, 5}}, {5, {PLUMB_BATCH, 2, 1, 3, 2}}};
    memset(r, 0, sizeof(*r));
    r->kind = kind;
    r->seed = r->dice = seed * 0x9e3779b97f4a7c15u + 1;
    r->g = plumb_graph_new(context, "random");
    r->x = plumb_input(r->g, "x", kind.dtype, shapes[below(r, 6)]);
    r->fixed = plumb_input(r->g, "fixed", kind.dtype, PLUMB_SHAPE(2, 3));
    r->label = plumb_input(r->g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    add(r, r->x, 1);
    add(r, r->fixed, 1);
    add(r, variable(r, PLUMB_SHAPE(2, 3)), 1);
    add(r, variable(r, PLUMB_SHAPE(3, 2)), 1);
    add(r, variable(r, PLUMB_SHAPE(2, 3)), 1);
    add(r, variable(r, PLUMB_SHAPE(1, 2, 4, 3)), 1);
    int target = 10 + below(r, 40);
    for (int tries = 0; tries < 200 && r->n_pool < target; tries++) {
        grow(r);
    }
    r->loss = make_loss(r);
    r->out[r->n_out++] = r->loss;
    for (int k = below(r, RANDOM_OUTPUTS); k > 0; k--) {
        r->out[r->n_out++] = r->pool[pick(r)];
    }
    make_assigns(r);
    if (kind.optimised) {
        optimise(r);
    }
    return plumb_graph_status(r->g);
}

int random_graph_bindings(const struct random_graph *r, int64_t batch, uint64_t round,
                          plumb_binding binding[3], void **memory)
{
    plumb_shape s = plumb_shape_of(r->g, r->x);
    size_t count = (size_t)batch, size = plumb_dtype_size(r->kind.dtype);
    for (int d = 1; d < s.rank; d++) {
        count *= (size_t)s.dim[d];
    }
    size_t labels = ((size_t)batch * sizeof(int32_t) + 7) / 8 * 8, x_bytes = (count * size + 7) / 8 * 8;
    char *all = *memory = malloc(labels + x_bytes + 6 * size + 8);
    if (!all) {
        return 0;
    }
    uint64_t dice = r->seed ^ (round * 77777);
    for (size_t i = 0; i < count + 6; i++) {
        double value = (double)random_next(&dice) * 0x1p-31 - 1;
        char *at = i < count ? all + i * size : all + x_bytes + (i - count) * size;
        if (r->kind.dtype == PLUMB_F32) {
            float f = (float)value;
            memcpy(at, &f, sizeof(f));
        } else {
            memcpy(at, &value, sizeof(value));
        }
    }
    int32_t *label = (int32_t *)(void *)(all + x_bytes + 6 * size + (6 * size) % 8);
    for (int64_t i = 0; i < batch; i++) {
        label[i] = (int32_t)(random_next(&dice) % 2);
    }
    binding[0] = (plumb_binding){r->x, all, count * size};
    binding[1] = (plumb_binding){r->fixed, all + x_bytes, 6 * size};
    binding[2] = (plumb_binding){r->label, label, (size_t)batch * sizeof(int32_t)};
    return 3;
}

plumb_status random_graph_feed(const struct random_graph *r, plumb_program *program, int64_t batch,
                               uint64_t round)
{
    plumb_binding binding[3];
    void *memory;
    plumb_status status = plumb_bind(program, PLUMB_BATCH, batch);
    for (int i = 0, n = random_graph_bindings(r, batch, round, binding, &memory); status == PLUMB_OK && i < n;
         i++) {
        status = plumb_feed(program, binding[i].input, binding[i].data, binding[i].bytes);
    }
    free(memory);
    return status;
}
