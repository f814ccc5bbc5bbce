/* Convolutions and their adjoints by oneDNN's direct algorithms: never Winograd's transform, whose error is another. The
 * batch is cut; for gradients of filters every chunk makes a whole gradient, and these are added in order.
 *
 * Decided here: where all pictures are channels-last they are taken as they are, filters in a layout of the library's
 * choice; otherwise pictures are reordered too, which the library's fast kernels ask for. oneDNN's relu makes 0 of a NaN,
 * so activations are our own, behind each chunk. Its
 * convolutions of bf16 carry a NaN into sums that it is no part of: they are not used. */
#include "cpu/onednn/onednn.h"

enum { MOST_CHUNKS = 8, MOST_SUMS = 4, FAR = 1 << 16 };

static bool write_options(const plumb_call *call, plumb_dnnl_work *work)
{
    const plumb_attr_conv2d *attr = call->attr;
    bool near = attr->groups > 0;
    for (int i = 0; i < 2; i++) {
        work->stride[i] = attr->stride[i];
        work->dilation[i] = attr->dilation[i];
        work->before[i] = attr->padding[i];
        work->after[i] = attr->padding[i + 2];
        near = near && attr->stride[i] < FAR && attr->dilation[i] < FAR && attr->padding[i] < FAR &&
               attr->padding[i + 2] < FAR;
    }
    return near && !attr->flip;
}

/* Filters (O, C/groups, KH, KW) as (groups, O/groups, C/groups, KH, KW). */
static void split_groups(plumb_dnnl_operand *filter, int64_t groups)
{
    if (groups == 1) {
        return;
    }
    for (int d = 4; d > 1; d--) {
        filter->dim[d] = filter->dim[d - 1];
        filter->stride[d] = filter->stride[d - 1];
    }
    filter->rank = 5;
    filter->dim[1] = filter->dim[0] / groups;
    filter->stride[1] = filter->stride[0];
    filter->dim[0] = groups;
    filter->stride[0] *= filter->dim[1];
}

static void choose_layouts(const plumb_call *call, plumb_dnnl_work *work, int picture, int other, int filter)
{
    const plumb_dnnl_operand *p = &work->operand[picture], *o = &work->operand[other];
    bool last = plumb_view_channels_last(p->view < 0 ? call->out : &call->in[p->view]) &&
                plumb_view_channels_last(o->view < 0 ? call->out : &call->in[o->view]);
    work->operand[picture].any = work->operand[other].any = !last;
    work->operand[filter].any = true;
}

static bool write_forward(const plumb_call *call, plumb_dnnl_work *work)
{
    const plumb_attr_conv2d *attr = call->attr;
    enum { X, W };
    int y = call->n_in;
    work->kind = PLUMB_DNNL_CONV;
    work->n = call->n_in + 1;
    bool fits = plumb_dnnl_operand_of(call, 0, DNNL_ARG_SRC, &work->operand[X]) &&
                plumb_dnnl_operand_of(call, 1, DNNL_ARG_WEIGHTS, &work->operand[W]) &&
                (call->n_in < 3 || plumb_dnnl_operand_of(call, 2, DNNL_ARG_BIAS, &work->operand[2])) &&
                plumb_dnnl_operand_of(call, -1, DNNL_ARG_DST, &work->operand[y]);
    bool activates;
    work->activate = plumb_dnnl_activation(call, attr->activation, &activates);
    if (!fits || !activates || !write_options(call, work) ||
        (call->n_in > 2 && work->operand[2].dim[0] > 1 && work->operand[2].stride[0] != 1)) {
        return false;
    }
    split_groups(&work->operand[W], attr->groups);
    choose_layouts(call, work, X, y, W);
    work->chunks = plumb_vendor_parts(call, call->in[0].dim[0], MOST_CHUNKS);
    plumb_dnnl_cut(&work->operand[X], 0, work->chunks);
    plumb_dnnl_cut(&work->operand[y], 0, work->chunks);
    return true;
}

static bool write_data(const plumb_call *call, plumb_dnnl_work *work)
{
    enum { DY, W, DX };
    work->kind = PLUMB_DNNL_CONV_DATA;
    work->n = 3;
    if (!plumb_dnnl_operand_of(call, 0, DNNL_ARG_DIFF_DST, &work->operand[DY]) ||
        !plumb_dnnl_operand_of(call, 1, DNNL_ARG_WEIGHTS, &work->operand[W]) ||
        !plumb_dnnl_operand_of(call, -1, DNNL_ARG_DIFF_SRC, &work->operand[DX]) || !write_options(call, work)) {
        return false;
    }
    split_groups(&work->operand[W], ((const plumb_attr_conv2d *)call->attr)->groups);
    choose_layouts(call, work, DY, DX, W);
    work->chunks = plumb_vendor_parts(call, call->in[0].dim[0], MOST_CHUNKS);
    plumb_dnnl_cut(&work->operand[DY], 0, work->chunks);
    plumb_dnnl_cut(&work->operand[DX], 0, work->chunks);
    return true;
}

static bool write_filter(const plumb_call *call, plumb_dnnl_work *work)
{
    enum { X, DY, DW };
    work->kind = PLUMB_DNNL_CONV_FILTER;
    work->n = 3;
    if (!plumb_dnnl_operand_of(call, 0, DNNL_ARG_SRC, &work->operand[X]) ||
        !plumb_dnnl_operand_of(call, 1, DNNL_ARG_DIFF_DST, &work->operand[DY]) ||
        !plumb_dnnl_operand_of(call, -1, DNNL_ARG_DIFF_WEIGHTS, &work->operand[DW]) || !write_options(call, work)) {
        return false;
    }
    split_groups(&work->operand[DW], ((const plumb_attr_conv2d *)call->attr)->groups);
    choose_layouts(call, work, X, DY, DW);
    work->chunks = plumb_vendor_parts(call, call->in[0].dim[0], MOST_SUMS);
    plumb_dnnl_cut(&work->operand[X], 0, work->chunks);
    plumb_dnnl_cut(&work->operand[DY], 0, work->chunks);
    work->operand[DW].summed = work->chunks > 1;
    return true;
}

PLUMB_DNNL_IMPL(conv2d, PLUMB_BIT(PLUMB_F32), PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT, write_forward)
PLUMB_DNNL_IMPL(conv2d_backward_data, PLUMB_BIT(PLUMB_F32), PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT, write_data)
PLUMB_DNNL_IMPL(conv2d_backward_filter, PLUMB_BIT(PLUMB_F32), PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT, write_filter)
