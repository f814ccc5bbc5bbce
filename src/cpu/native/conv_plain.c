/* Convolutions from their definition, element by element in double: the native provider's way out when
 * operands are not finite and the padding's zeros must not be multiplied. Speed is no aim here. */
#include "cpu/native/conv.h"
#include "cpu/native/epilogue.h"

typedef struct plain {
    const plumb_attr_conv2d *attr;
    plumb_epilogue *epilogue;
    const plumb_view *x, *w, *y, *bias, *out;
    enum plumb_conv_what what;
    int64_t inputs, outputs; /* channels of one group */
} plain;

static double at(const plumb_view *view, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t *stride = view->stride;
    return plumb_get(view->data, view->dtype, a * stride[0] + b * stride[1] + c * stride[2] + d * stride[3]);
}

static int64_t turned(const plain *p, int axis, int64_t tap)
{
    return p->attr->flip ? p->w->dim[2 + axis] - 1 - tap : tap;
}

/* The position of x that output position `o` reads through a tap. */
static int64_t read_at(const plain *p, int axis, int64_t o, int64_t tap)
{
    return o * p->attr->stride[axis] - p->attr->padding[axis] +
           turned(p, axis, tap) * p->attr->dilation[axis];
}

/* The output position that reads x at `i` through a tap, -1 if none. */
static int64_t read_by(const plain *p, int axis, int64_t i, int64_t tap)
{
    int64_t far = i + p->attr->padding[axis] - turned(p, axis, tap) * p->attr->dilation[axis];
    int64_t o = far / p->attr->stride[axis];
    return far >= 0 && far % p->attr->stride[axis] == 0 && o < p->y->dim[2 + axis] ? o : -1;
}

static bool within(int64_t i, int64_t size) { return i >= 0 && i < size; }

static double forward(const plain *p, int64_t n, int64_t o, int64_t oh, int64_t ow)
{
    double sum = p->bias ? plumb_get(p->bias->data, p->bias->dtype, o * p->bias->stride[0]) : 0;
    for (int64_t i = 0; i < p->inputs; i++)
        for (int64_t kh = 0; kh < p->w->dim[2]; kh++)
            for (int64_t kw = 0; kw < p->w->dim[3]; kw++) {
                int64_t ih = read_at(p, 0, oh, kh), iw = read_at(p, 1, ow, kw);
                if (within(ih, p->x->dim[2]) && within(iw, p->x->dim[3]))
                    sum += at(p->w, o, i, kh, kw) * at(p->x, n, o / p->outputs * p->inputs + i, ih, iw);
            }
    return sum;
}

static double data(const plain *p, int64_t n, int64_t c, int64_t ih, int64_t iw)
{
    double sum = 0;
    int64_t first = c / p->inputs * p->outputs;
    for (int64_t o = first; o < first + p->outputs; o++)
        for (int64_t kh = 0; kh < p->w->dim[2]; kh++)
            for (int64_t kw = 0; kw < p->w->dim[3]; kw++) {
                int64_t oh = read_by(p, 0, ih, kh), ow = read_by(p, 1, iw, kw);
                if (oh >= 0 && ow >= 0)
                    sum += at(p->w, o, c % p->inputs, kh, kw) * at(p->y, n, o, oh, ow);
            }
    return sum;
}

static double filter(const plain *p, int64_t o, int64_t i, int64_t kh, int64_t kw)
{
    double sum = 0;
    for (int64_t n = 0; n < p->x->dim[0]; n++)
        for (int64_t oh = 0; oh < p->y->dim[2]; oh++)
            for (int64_t ow = 0; ow < p->y->dim[3]; ow++) {
                int64_t ih = read_at(p, 0, oh, kh), iw = read_at(p, 1, ow, kw);
                if (within(ih, p->x->dim[2]) && within(iw, p->x->dim[3]))
                    sum += at(p->y, n, o, oh, ow) * at(p->x, n, o / p->outputs * p->inputs + i, ih, iw);
            }
    return sum;
}

/* One plane of the output, which may have any strides. */
static void run_plane(void *user, int64_t chunk, int worker)
{
    const plain *p = user;
    const plumb_view *out = p->out;
    const int64_t *stride = out->stride;
    int64_t a = chunk / out->dim[1], b = chunk % out->dim[1], height = out->dim[2], width = out->dim[3];
    (void)worker;
    for (int64_t h = 0; h < height; h++)
        for (int64_t w = 0; w < width; w++) {
            double sum = p->what == PLUMB_CONV_FORWARD ? forward(p, a, b, h, w)
                         : p->what == PLUMB_CONV_DATA  ? data(p, a, b, h, w)
                                                       : filter(p, a, b, h, w);
            int64_t place = a * stride[0] + b * stride[1] + h * stride[2] + w * stride[3];
            plumb_put(out->data, out->dtype, place, sum);
            if (p->epilogue)
                p->epilogue(plumb_at(out->data, place, plumb_dtype_size(out->dtype)), 1, NULL, 0);
        }
}

void plumb_conv_plain(const plumb_call *call, enum plumb_conv_what what)
{
    const plumb_view *in = call->in, *out = call->out;
    plain p = {.attr = call->attr, .out = out, .what = what};
    p.x = what == PLUMB_CONV_DATA ? out : &in[0];
    p.w = what == PLUMB_CONV_FILTER ? out : &in[1];
    p.y = what == PLUMB_CONV_FORWARD ? out : what == PLUMB_CONV_DATA ? &in[0] : &in[1];
    p.bias = what == PLUMB_CONV_FORWARD && call->n_in > 2 ? &in[2] : NULL;
    p.epilogue = plumb_epilogue_for(out->dtype, call->isa, p.attr->activation, false);
    p.inputs = p.w->dim[1], p.outputs = p.w->dim[0] / p.attr->groups;
    plumb_pool_run(call->pool, out->dim[0] * out->dim[1], run_plane, &p);
}
