/* What differs between oneDNN 2, whose descriptors are structs that a primitive descriptor is made of, and oneDNN 3, where
 * layouts are objects and every primitive descriptor has a function of its own. Nothing else asks for the version. */
#include "cpu/onednn/onednn.h"

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t layout;

static dnnl_status_t layout_make(layout *made, int rank, const dnnl_dims_t dim, dnnl_data_type_t type,
                                 const dnnl_dims_t stride)
{
    return stride ? dnnl_memory_desc_create_with_strides(made, rank, dim, type, stride)
                  : dnnl_memory_desc_create_with_tag(made, rank, dim, type, dnnl_format_tag_any);
}

static void layout_destroy(layout *made)
{
    if (*made) {
        dnnl_memory_desc_destroy(*made);
    }
}

static plumb_dnnl_layout layout_of(const layout *made)
{
    return *made;
}

#else

typedef dnnl_memory_desc_t layout;

static dnnl_status_t layout_make(layout *made, int rank, const dnnl_dims_t dim, dnnl_data_type_t type,
                                 const dnnl_dims_t stride)
{
    return stride ? dnnl_memory_desc_init_by_strides(made, rank, dim, type, stride)
                  : dnnl_memory_desc_init_by_tag(made, rank, dim, type, dnnl_format_tag_any);
}

static void layout_destroy(layout *made)
{
    (void)made;
}

static plumb_dnnl_layout layout_of(const layout *made)
{
    return made;
}

#endif

static dnnl_status_t make(const plumb_dnnl_operand *operand, bool any, bool wide, layout *made)
{
    dnnl_dims_t dim = {0}, stride = {0};
    for (int d = 0; d < operand->rank; d++) {
        dim[d] = operand->dim[d];
        stride[d] = operand->stride[d];
    }
    return layout_make(made, operand->rank, dim, wide ? dnnl_f32 : (dnnl_data_type_t)operand->type, any ? NULL : stride);
}

dnnl_status_t plumb_dnnl_memory(dnnl_engine_t engine, const plumb_dnnl_operand *operand, dnnl_memory_t *made)
{
    layout md;
    memset(&md, 0, sizeof md);
    dnnl_status_t status = make(operand, false, false, &md);
    if (status == dnnl_success) {
        status = dnnl_memory_create(made, layout_of(&md), engine, DNNL_MEMORY_NONE);
    }
    layout_destroy(&md);
    return status;
}

/* The layouts of the operands; `bias` is NULL where there are three of them. */
struct roles {
    plumb_dnnl_layout a, b, bias, result;
};

/* The forward form of a convolution, which its adjoints want to see: of the same operands in other roles. */
static struct roles forward_roles(const plumb_dnnl_work *w, const struct roles *r)
{
    return w->kind == PLUMB_DNNL_CONV_DATA     ? (struct roles){r->result, r->b, NULL, r->a}
           : w->kind == PLUMB_DNNL_CONV_FILTER ? (struct roles){r->a, r->result, NULL, r->b}
                                               : *r;
}

struct geometry { /* in arrays as long as the library declares them */
    dnnl_dims_t stride, dilation, before, after;
};

static struct geometry geometry_of(const plumb_dnnl_work *w)
{
    struct geometry g = {{0}, {0}, {0}, {0}};
    for (int i = 0; i < 2; i++) {
        g.stride[i] = w->stride[i];
        g.dilation[i] = w->dilation[i] - 1;
        g.before[i] = w->before[i];
        g.after[i] = w->after[i];
    }
    return g;
}

#if DNNL_VERSION_MAJOR >= 3

static dnnl_status_t describe(dnnl_engine_t engine, const plumb_dnnl_work *w, const struct roles *r,
                              dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *made)
{
    const dnnl_alg_kind_t how = dnnl_convolution_direct;
    struct geometry g = geometry_of(w);
    struct roles f = forward_roles(w, r);
    dnnl_primitive_desc_t forward = NULL;
    if (w->kind == PLUMB_DNNL_MATMUL) {
        return dnnl_matmul_primitive_desc_create(made, engine, r->a, r->b, r->bias, r->result, attr);
    }
    dnnl_status_t status = dnnl_convolution_forward_primitive_desc_create(
        w->kind == PLUMB_DNNL_CONV ? made : &forward, engine, dnnl_forward_training, how, f.a, f.b, f.bias, f.result,
        g.stride, g.dilation, g.before, g.after, attr);
    if (status == dnnl_success && w->kind == PLUMB_DNNL_CONV_DATA) {
        status = dnnl_convolution_backward_data_primitive_desc_create(made, engine, how, f.a, f.b, f.result, g.stride,
                                                                      g.dilation, g.before, g.after, forward, attr);
    } else if (status == dnnl_success && w->kind == PLUMB_DNNL_CONV_FILTER) {
        status = dnnl_convolution_backward_weights_primitive_desc_create(made, engine, how, f.a, f.b, NULL, f.result,
                                                                         g.stride, g.dilation, g.before, g.after,
                                                                         forward, attr);
    }
    if (forward) {
        dnnl_primitive_desc_destroy(forward);
    }
    return status;
}

#else

static dnnl_status_t describe(dnnl_engine_t engine, const plumb_dnnl_work *w, const struct roles *r,
                              dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *made)
{
    const dnnl_alg_kind_t how = dnnl_convolution_direct;
    struct geometry g = geometry_of(w);
    struct roles f = forward_roles(w, r);
    dnnl_convolution_desc_t conv, adjoint;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t forward = NULL;
    if (w->kind == PLUMB_DNNL_MATMUL) {
        dnnl_status_t status = dnnl_matmul_desc_init(&matmul, r->a, r->b, r->bias, r->result);
        return status == dnnl_success ? dnnl_primitive_desc_create(made, &matmul, attr, engine, NULL) : status;
    }
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_training, how, f.a, f.b, f.bias,
                                                                      f.result, g.stride, g.dilation, g.before, g.after);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(w->kind == PLUMB_DNNL_CONV ? made : &forward, &conv, attr, engine, NULL);
    }
    if (status != dnnl_success || w->kind == PLUMB_DNNL_CONV) {
        return status;
    }
    status = w->kind == PLUMB_DNNL_CONV_DATA
                 ? dnnl_dilated_convolution_backward_data_desc_init(&adjoint, how, f.a, f.b, f.result, g.stride, g.dilation,
                                                                    g.before, g.after)
                 : dnnl_dilated_convolution_backward_weights_desc_init(&adjoint, how, f.a, f.b, NULL, f.result, g.stride,
                                                                       g.dilation, g.before, g.after);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(made, &adjoint, attr, engine, forward);
    }
    dnnl_primitive_desc_destroy(forward);
    return status;
}

#endif

dnnl_status_t plumb_dnnl_describe(dnnl_engine_t engine, const plumb_dnnl_work *work, dnnl_primitive_desc_t *made)
{
    layout md[PLUMB_DNNL_OPERANDS];
    memset(md, 0, sizeof md);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    }
    for (int i = 0; i < work->n && status == dnnl_success; i++) {
        const plumb_dnnl_operand *o = &work->operand[i];
        status = make(o, o->any, o->summed, &md[i]);
    }
    if (status == dnnl_success) {
        struct roles roles = {layout_of(&md[0]), layout_of(&md[1]), work->n > 3 ? layout_of(&md[2]) : NULL,
                              layout_of(&md[work->n - 1])};
        status = describe(engine, work, &roles, attr, made);
    }
    for (int i = 0; i < work->n; i++) {
        layout_destroy(&md[i]);
    }
    if (attr) {
        dnnl_primitive_attr_destroy(attr);
    }
    return status;
}
