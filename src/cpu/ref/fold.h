/* How reference reductions go about it: a result element is found by walking the part of the operand that it stands for, in
 * row-major order: `kept` are the dimensions that remain, `gone` those that are reduced. */
#ifndef PLUMB_REF_FOLD_H
#define PLUMB_REF_FOLD_H

#include "cpu/ref/walk.h"
#include "op/attr.h"

/* The operand split in two, and the result without the size-1 dimensions that the reduction left. */
struct split {
    plumb_view kept, gone, out;
};

static inline void append(plumb_view *to, const plumb_view *from, int d)
{
    to->dim[to->rank] = from->dim[d];
    to->stride[to->rank++] = from->stride[d];
}

/* kept_place: result dimension d - shift is operand dimension d; otherwise reduced dimensions were left
 * out. */
static inline struct split split_by(const plumb_view *x, const plumb_view *out, uint32_t axes, bool kept_place)
{
    struct split s = {.kept = *x, .gone = *x, .out = *out};
    int shift = x->rank - out->rank, next = 0;
    s.kept.rank = s.gone.rank = s.out.rank = 0;
    for (int d = 0; d < x->rank; d++) {
        if (axes >> d & 1) {
            append(&s.gone, x, d);
        } else {
            append(&s.kept, x, d);
            append(&s.out, out, kept_place ? d - shift : next++);
        }
    }
    return s;
}

static inline struct split split_axes(const plumb_call *call)
{
    const plumb_attr_reduce *attr = call->attr;
    uint32_t axes = attr->all ? (1u << call->in[0].rank) - 1u : attr->axes;
    return split_by(&call->in[0], &call->out[0], axes, attr->keep);
}

/* Calls fold(the part) for every result element and stores what it returns. */
static inline plumb_status fold_floats(const struct split *s, double (*fold)(const plumb_view *part))
{
    struct walk w;
    plumb_view part = s->gone;
    size_t size = plumb_dtype_size(part.dtype);
    walk_begin(&w, s->kept.rank, s->kept.dim);
    int x = walk_add(&w, &s->kept), y = walk_add(&w, &s->out);
    for (; w.left > 0; walk_step(&w)) {
        part.data = (char *)s->gone.data + w.at[x] * (int64_t)size;
        view_put(&s->out, w.at[y], fold(&part));
    }
    return PLUMB_OK;
}

static inline plumb_status fold_integers(const struct split *s, int64_t (*fold)(const plumb_view *part))
{
    struct walk w;
    plumb_view part = s->gone;
    size_t size = plumb_dtype_size(part.dtype);
    walk_begin(&w, s->kept.rank, s->kept.dim);
    int x = walk_add(&w, &s->kept), y = walk_add(&w, &s->out);
    for (; w.left > 0; walk_step(&w)) {
        part.data = (char *)s->gone.data + w.at[x] * (int64_t)size;
        view_put_int(&s->out, w.at[y], fold(&part));
    }
    return PLUMB_OK;
}

#endif
