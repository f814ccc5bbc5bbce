/* Ops that only move elements, of any dtype: rows are copied whole where they lie side by side in both
 * tensors, and transposed in tiles where each tensor has its own idea of which dimension is the innermost, so
 * that either way cache lines are used whole. */
#include "cpu/native/strided.h"
#include "cpu/native/transpose.h"
#include "op/attr.h"

struct copy {
    char *to;
    const char *from;
    int64_t size;
};

#define COPY_LOOP(type)                                                                                      \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        ((type *)to)[i * step_to] = ((const type *)from)[i * step_from];                                     \
    }

static void copy_run(char *to, const char *from, int64_t size, int64_t step_to, int64_t step_from, int64_t n)
{
    if (step_to == 1 && step_from == 1) {
        memmove(to, from, (size_t)(n * size)); /* an assignment may be to itself */
    } else if (size == 4) {
        COPY_LOOP(uint32_t)
    } else if (size == 8) {
        COPY_LOOP(uint64_t)
    } else if (size == 2) {
        COPY_LOOP(uint16_t)
    } else {
        COPY_LOOP(uint8_t)
    }
}

static void copy_row(const void *user, const struct plumb_strided *s, const int64_t *at, int64_t n)
{
    const struct copy *c = user;
    int last = s->rank - 1;
    copy_run(c->to + at[0] * c->size, c->from + at[1] * c->size, c->size, s->stride[0][last],
             s->stride[1][last], n);
}

/* The dimension along which the operand lies side by side, if that is not the row; -1: none. */
static int other_innermost(const struct plumb_strided *s)
{
    for (int d = 0; d < s->rank - 1; d++) {
        if (s->stride[1][d] == 1 && s->stride[0][s->rank - 1] == 1 && s->stride[1][s->rank - 1] != 0 && s->dim[d] > 1) {
            return d;
        }
    }
    return -1;
}

static void transpose(plumb_pool *pool, const struct plumb_strided *s, int d, const struct copy *c)
{
    int last = s->rank - 1;
    struct plumb_transpose t = {.to = c->to,
                                .from = c->from,
                                .size = c->size,
                                .a = s->dim[last],
                                .from_a = s->stride[1][last],
                                .b = s->dim[d],
                                .to_b = s->stride[0][d]};
    for (int k = 0; k < last; k++) {
        if (k != d) {
            t.dim[t.rank] = s->dim[k];
            t.to_stride[t.rank] = s->stride[0][k];
            t.from_stride[t.rank++] = s->stride[1][k];
        }
    }
    plumb_transpose_run(pool, &t);
}

void plumb_strided_copy(plumb_pool *pool, const plumb_view *to, const plumb_view *from)
{
    struct copy c = {.to = to->data, .from = from->data, .size = (int64_t)plumb_dtype_size(to->dtype)};
    struct plumb_strided s;
    plumb_strided_begin(&s, to);
    plumb_strided_add(&s, from);
    plumb_strided_simplify(&s);
    int d = other_innermost(&s);
    if (d < 0)
        plumb_strided_run(pool, &s, copy_row, &c);
    else if (s.count > 0)
        transpose(pool, &s, d, &c);
}

static char *element(const plumb_view *view, int64_t offset)
{
    return (char *)view->data + offset * (int64_t)plumb_dtype_size(view->dtype);
}

/* ---- transpose, expand, slice, stop_gradient: always a view of the operand ---- */

static plumb_status run_view(const plumb_call *call)
{
    plumb_view shown = call->out[0];
    int64_t offset = 0;
    call->op->view(call->attr, &call->in[0], &shown, &offset);
    shown.data = element(&call->in[0], offset);
    plumb_strided_copy(call->pool, &call->out[0], &shown);
    return PLUMB_OK;
}

/* ---- reshape: as one of the two shapes, whichever the other tensor can be seen in without moving ---- */

static bool seen_as(const plumb_view *view, const plumb_view *shape, plumb_view *shown)
{
    int64_t offset = 0;
    *shown = *shape;
    shown->data = view->data;
    return plumb_op_reshape.view(NULL, view, shown, &offset);
}

static bool supports_reshape(const plumb_call *call)
{
    plumb_view shown;
    return seen_as(&call->in[0], &call->out[0], &shown) || seen_as(&call->out[0], &call->in[0], &shown);
}

static plumb_status run_reshape(const plumb_call *call)
{
    plumb_view shown;
    if (seen_as(&call->in[0], &call->out[0], &shown)) {
        plumb_strided_copy(call->pool, &call->out[0], &shown);
    } else if (seen_as(&call->out[0], &call->in[0], &shown)) {
        plumb_strided_copy(call->pool, &shown, &call->in[0]);
    }
    return PLUMB_OK;
}

/* ---- the others ---- */

static plumb_status run_concat(const plumb_call *call)
{
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    axis += axis < 0 ? call->out[0].rank : 0;
    int64_t start = 0;
    for (int i = 0; i < call->n_in; i++) {
        plumb_view part = call->out[0];
        part.data = element(&call->out[0], start * part.stride[axis]);
        part.dim[axis] = call->in[i].dim[axis];
        plumb_strided_copy(call->pool, &part, &call->in[i]);
        start += part.dim[axis];
    }
    return PLUMB_OK;
}

static void fill(const plumb_call *call, double value)
{
    uint64_t bits = 0;
    plumb_view one = {.data = &bits, .dtype = call->out[0].dtype};
    plumb_put(&bits, one.dtype, 0, value);
    plumb_strided_copy(call->pool, &call->out[0], &one);
}

static plumb_status run_full(const plumb_call *call)
{
    fill(call, ((const plumb_attr_leaf *)call->attr)->value);
    return PLUMB_OK;
}

static plumb_status run_slice_backward(const plumb_call *call)
{
    plumb_view slice = call->in[0];
    int64_t offset = 0;
    fill(call, 0);
    plumb_op_slice.view(call->attr, &call->out[0], &slice, &offset);
    slice.data = element(&call->out[0], offset);
    plumb_strided_copy(call->pool, &slice, &call->in[0]);
    return PLUMB_OK;
}

static plumb_status run_assign(const plumb_call *call)
{
    bool open = call->n_in < 3 || *(const uint8_t *)call->in[2].data != 0;
    plumb_strided_copy(call->pool, &call->out[0], &call->in[open ? 1 : 0]);
    return PLUMB_OK;
}

#define ROW(op_name, function, ...)                                                                          \
    const plumb_impl plumb_impl_##op_name##_native = {.op = &plumb_op_##op_name,                             \
                                                      .name = "cpu.native",                                  \
                                                      .dtypes = PLUMB_ALL_DTYPES,                            \
                                                      .run = function,                                       \
                                                      __VA_ARGS__};

ROW(full, run_full, .flags = PLUMB_IMPL_EXACT)
ROW(assign, run_assign, .flags = PLUMB_IMPL_EXACT)
/* Also what the pass `layout` brings a tensor into another layout with. */
ROW(stop_gradient, run_view, .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT)
ROW(reshape, run_reshape, .flags = PLUMB_IMPL_EXACT, .supports = supports_reshape)
ROW(transpose, run_view, .flags = PLUMB_IMPL_EXACT)
ROW(expand, run_view, .flags = PLUMB_IMPL_EXACT)
ROW(concat, run_concat, .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT)
ROW(slice, run_view, .flags = PLUMB_IMPL_EXACT)
ROW(slice_backward, run_slice_backward, .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT)
