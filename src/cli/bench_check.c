/* One call of an op against the reference on the very inputs that it was given. Nothing adds up from op to op here and no
 * branch is taken differently (the sign that lets a gradient through a relu is an input like any other), so the bounds can
 * be those of single ops, however deep the network. Inputs are copied to the host before the call runs, for it may
 * overwrite them; their strides are kept, so layouts and broadcasts are the call's own. */
#include <math.h>

#include "cli/bench.h"

/* ---- views on the host ---- */

/* The elements before and after element (0, ..., 0) that a view reaches. */
static void reach(const plumb_view *v, int64_t *before, int64_t *after)
{
    *before = *after = 0;
    for (int d = 0; d < v->rank; d++) {
        int64_t last = (v->dim[d] - 1) * v->stride[d];
        *(last < 0 ? before : after) += last < 0 ? -last : last;
    }
}

int64_t bench_view_first(const plumb_view *view)
{
    int64_t before, after;
    reach(view, &before, &after);
    return before;
}

int64_t bench_view_span(const plumb_view *view)
{
    int64_t before, after;
    reach(view, &before, &after);
    return plumb_view_count(view) == 0 ? 0 : before + after + 1;
}

int64_t bench_view_offset(const plumb_view *v, int64_t i)
{
    int64_t offset = 0;
    for (int d = v->rank - 1; d >= 0; d--) {
        offset += i % v->dim[d] * v->stride[d];
        i /= v->dim[d];
    }
    return offset;
}

/* Host memory for a view of these strides; its elements, if `from` is not NULL. The view then looks at it. */
static plumb_status copy_view(struct bench_call *c, int k, const plumb_view *view, plumb_device *from)
{
    int64_t before = 0, after = 0;
    size_t size = plumb_dtype_size(view->dtype);
    c->view[k] = *view;
    if (plumb_view_count(view) == 0) {
        return PLUMB_OK;
    }
    reach(view, &before, &after);
    size_t bytes = (size_t)(before + after + 1) * size;
    c->memory[k] = plumb_zalloc(c->context, bytes);
    if (!c->memory[k]) {
        return PLUMB_FAILED;
    }
    c->view[k].data = (char *)c->memory[k] + (size_t)before * size;
    return from ? from->table->download(from, c->memory[k], (const char *)view->data - (size_t)before * size, bytes)
                : PLUMB_OK;
}

plumb_status bench_call_take(struct bench_call *c, plumb_context *context, const plumb_call *call)
{
    int count = call->n_in + call->n_out;
    *c = (struct bench_call){.context = context, .op = call->op, .n_in = call->n_in, .n_out = call->n_out};
    c->view = plumb_zalloc(context, sizeof(*c->view) * (size_t)count);
    c->memory = plumb_zalloc(context, sizeof(*c->memory) * (size_t)count);
    c->attr = plumb_zalloc(context, call->op->attr_size + 1);
    if (!c->view || !c->memory || !c->attr) {
        return PLUMB_FAILED;
    }
    if (call->attr) {
        memcpy(c->attr, call->attr, call->op->attr_size);
    }
    snprintf(c->name, sizeof(c->name), "%s", call->name);
    plumb_status status = PLUMB_OK;
    for (int k = 0; !status && k < count; k++) {
        status = copy_view(c, k, &call->in[k], k < call->n_in ? call->device : NULL);
    }
    return status;
}

void bench_call_free(struct bench_call *c)
{
    for (int k = 0; c->memory && k < c->n_in + c->n_out; k++) {
        plumb_free(c->context, c->memory[k]);
    }
    plumb_free(c->context, c->memory);
    plumb_free(c->context, c->view);
    plumb_free(c->context, c->attr);
    *c = (struct bench_call){0};
}

plumb_status bench_call_reference(struct bench_call *c)
{
    const plumb_impl *impl = plumb_reference(c->op);
    plumb_call call = {.context = c->context, .device = c->context->device, .pool = c->context->pool,
                       .isa = c->context->isa, .op = c->op, .name = c->name, .attr = c->attr, .n_in = c->n_in,
                       .n_out = c->n_out, .in = c->view, .out = c->view + c->n_in};
    if (!impl) {
        return plumb_call_fail(&call, PLUMB_BAD_INPUT, "there is no reference");
    }
    size_t bytes = impl->workspace ? impl->workspace(&call) : 0;
    call.workspace = bytes ? plumb_alloc(c->context, bytes) : NULL;
    plumb_status status = bytes && !call.workspace ? PLUMB_FAILED : impl->run(&call);
    plumb_free(c->context, call.workspace);
    c->computed = !status;
    return status;
}

/* ---- comparing ---- */

/* Sums of squares over two views of the same shape: of differences and of the second one. */
struct distance {
    double difference, size;
};

static struct distance measure(const plumb_view *got, const plumb_view *right)
{
    struct distance d = {0};
    int64_t count = plumb_view_count(got);
    bool packed = plumb_view_dense(got) && plumb_views_alike(got, right); /* then any order is as good */
    for (int64_t i = 0; i < count; i++) {
        double y = plumb_get(got->data, got->dtype, packed ? i : bench_view_offset(got, i));
        double r = plumb_get(right->data, right->dtype, packed ? i : bench_view_offset(right, i));
        double e = y == r || (isnan(y) && isnan(r)) ? 0 : y - r;
        d.difference += e * e;
        d.size += isfinite(r) ? r * r : 0;
    }
    return d;
}

static double bound_of(plumb_dtype dtype)
{
    return dtype == PLUMB_F32 ? BENCH_OP : dtype == PLUMB_F64 ? 1e-10 : 2 * plumb_dtype_epsilon(dtype);
}

/* The size of output k if its terms had signs by chance: they may cancel in truth, and rounding stays. The reference on
 * absolute values, without the activation, says how large they are; of K of them sqrt(K) are left over. */
static plumb_status size_by_chance(struct bench_call *c, int k, double *size)
{
    for (int i = 0; i < c->n_in; i++) {
        plumb_view *v = &c->view[i];
        int64_t before = 0, after = -1;
        if (plumb_view_count(v) > 0 && plumb_dtype_is_float(v->dtype)) {
            reach(v, &before, &after);
        }
        for (int64_t at = -before; at <= after; at++) {
            plumb_put(v->data, v->dtype, at, fabs(plumb_get(v->data, v->dtype, at)));
        }
    }
    if (c->op->linear) {
        c->op->linear(c->attr);
    }
    plumb_status status = bench_call_reference(c);
    c->computed = false; /* what is needed anew is another call */
    const plumb_call call = {.op = c->op, .attr = c->attr, .n_in = c->n_in, .n_out = c->n_out, .in = c->view,
                             .out = c->view + c->n_in, .context = c->context, .device = c->context->device};
    const plumb_view *out = &c->view[c->n_in + k];
    *size = sqrt(measure(out, out).size / (c->op->terms ? fmax(c->op->terms(&call), 1) : 1));
    return status;
}

/* One output as it is on the device against the reference's. */
static plumb_status measure_output(struct bench_call *c, int k, const plumb_call *call, struct distance *d)
{
    struct bench_call got = {.context = c->context, .view = &(plumb_view){0}, .memory = (void *[]){NULL}};
    plumb_status status = copy_view(&got, 0, &call->out[k], call->device);
    *d = status ? (struct distance){0} : measure(&got.view[0], &c->view[c->n_in + k]);
    plumb_free(c->context, got.memory[0]);
    return status;
}

/* What is refused at first may be a sum of which next to nothing is left. */
static plumb_status judge(struct bench_call *c, int k, const struct distance *d, const char *implementation, double *worst)
{
    plumb_dtype dtype = c->view[c->n_in + k].dtype;
    double bound = plumb_dtype_is_float(dtype) ? bound_of(dtype) : 0, size;
    double relative = d->difference > 0 ? sqrt(d->difference / (d->size > 0 ? d->size : 1)) : d->difference;
    plumb_status status = PLUMB_OK;
    if (!(relative <= bound) && bound > 0 && c->op->tolerance == PLUMB_TOL_DOT) {
        status = size_by_chance(c, k, &size);
        relative = size * size > d->size ? sqrt(d->difference) / size : relative;
    }
    if (!(relative <= *worst)) {
        *worst = relative;
    }
    return status || relative <= bound
               ? status
               : plumb_fail(c->context, PLUMB_FAILED,
                            "%s '%s': %s differs from the reference by %.3g in output %d, allowed is %.3g: not timed",
                            c->op->name, c->name, implementation, relative, k, bound);
}

plumb_status bench_call_compare(struct bench_call *c, const plumb_call *call, const char *implementation, double *worst)
{
    struct distance *d = plumb_alloc(c->context, sizeof(*d) * (size_t)c->n_out);
    plumb_status status = d ? PLUMB_OK : PLUMB_FAILED;
    for (int k = 0; !status && k < c->n_out; k++) {
        status = measure_output(c, k, call, &d[k]);
    }
    for (int k = 0; !status && k < c->n_out; k++) { /* afterwards, as it may compute the reference's outputs anew */
        status = judge(c, k, &d[k], implementation, worst);
    }
    plumb_free(c->context, d);
    return status;
}
