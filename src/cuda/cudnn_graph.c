/* Graphs as cuDNN's descriptors. Decided here: each kind of operation is one row, which says what descriptor it is, which
 * attribute takes which tensor, and what describes its mode; strides are given as the library's engines look for them,
 * packed row-major or channels-last, with the stride a packed tensor would have where a dimension has size 1. */
#include "cuda/cudnn.h"

/* ---- descriptors ---- */

plumb_cudnn_descriptor plumb_cudnn_new(plumb_cudnn_bag *bag, unsigned type)
{
    const int room = (int)(sizeof bag->item / sizeof *bag->item);
    plumb_cudnn_descriptor made = NULL;
    if (bag->status != CD_SUCCESS || bag->count == room) {
        bag->status = bag->status ? bag->status : 1;
        return NULL;
    }
    bag->status = bag->api->cudnnBackendCreateDescriptor(type, &made);
    if (bag->status != CD_SUCCESS) {
        return NULL;
    }
    bag->item[bag->count++] = made;
    return made;
}

void plumb_cudnn_empty(plumb_cudnn_bag *bag)
{
    while (bag->count > 0) { /* the last first: it may refer to those before */
        bag->api->cudnnBackendDestroyDescriptor(bag->item[--bag->count]);
    }
}

void plumb_cudnn_set(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute, unsigned type, int64_t count,
                     const void *elements)
{
    if (bag->status == CD_SUCCESS) {
        bag->status = bag->api->cudnnBackendSetAttribute(d, attribute, type, count, elements);
    }
}

void plumb_cudnn_set_number(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute, unsigned type,
                            uint32_t number)
{
    plumb_cudnn_set(bag, d, attribute, type, 1, &number);
}

void plumb_cudnn_set_descriptor(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute,
                                plumb_cudnn_descriptor value)
{
    plumb_cudnn_set(bag, d, attribute, CD_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void plumb_cudnn_finalize(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d)
{
    if (bag->status == CD_SUCCESS) {
        bag->status = bag->api->cudnnBackendFinalize(d);
    }
}

/* ---- kinds of operations ---- */

typedef plumb_cudnn_descriptor describer(plumb_cudnn_bag *bag, const plumb_cudnn_op *op);

static plumb_cudnn_descriptor describe_convolution(plumb_cudnn_bag *bag, const plumb_cudnn_op *op)
{
    const int64_t rank = 2;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_CONVOLUTION);
    plumb_cudnn_set_number(bag, d, CD_CONVOLUTION_COMP_TYPE, CD_TYPE_DATA_TYPE, op->compute);
    plumb_cudnn_set_number(bag, d, CD_CONVOLUTION_CONV_MODE, CD_TYPE_CONVOLUTION_MODE, op->mode);
    plumb_cudnn_set(bag, d, CD_CONVOLUTION_SPATIAL_DIMS, CD_TYPE_INT64, 1, &rank);
    plumb_cudnn_set(bag, d, CD_CONVOLUTION_DILATIONS, CD_TYPE_INT64, 2, op->extent);
    plumb_cudnn_set(bag, d, CD_CONVOLUTION_FILTER_STRIDES, CD_TYPE_INT64, 2, op->stride);
    plumb_cudnn_set(bag, d, CD_CONVOLUTION_PRE_PADDINGS, CD_TYPE_INT64, 2, op->before);
    plumb_cudnn_set(bag, d, CD_CONVOLUTION_POST_PADDINGS, CD_TYPE_INT64, 2, op->after);
    plumb_cudnn_finalize(bag, d);
    return d;
}

static plumb_cudnn_descriptor describe_pointwise(plumb_cudnn_bag *bag, const plumb_cudnn_op *op)
{
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_POINTWISE);
    plumb_cudnn_set_number(bag, d, CD_POINTWISE_MODE, CD_TYPE_POINTWISE_MODE, op->mode);
    plumb_cudnn_set_number(bag, d, CD_POINTWISE_MATH_PREC, CD_TYPE_DATA_TYPE, op->compute);
    plumb_cudnn_finalize(bag, d);
    return d;
}

static plumb_cudnn_descriptor describe_resample(plumb_cudnn_bag *bag, const plumb_cudnn_op *op)
{
    const int64_t rank = 2;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_RESAMPLE);
    plumb_cudnn_set_number(bag, d, CD_RESAMPLE_MODE, CD_TYPE_RESAMPLE_MODE, op->mode);
    plumb_cudnn_set_number(bag, d, CD_RESAMPLE_COMP_TYPE, CD_TYPE_DATA_TYPE, op->compute);
    plumb_cudnn_set_number(bag, d, CD_RESAMPLE_PADDING_MODE, CD_TYPE_PADDING_MODE, CD_ZERO_PAD);
    plumb_cudnn_set(bag, d, CD_RESAMPLE_SPATIAL_DIMS, CD_TYPE_INT64, 1, &rank);
    plumb_cudnn_set(bag, d, CD_RESAMPLE_WINDOW_DIMS, CD_TYPE_INT64, 2, op->extent);
    plumb_cudnn_set(bag, d, CD_RESAMPLE_STRIDES, CD_TYPE_INT64, 2, op->stride);
    plumb_cudnn_set(bag, d, CD_RESAMPLE_PRE_PADDINGS, CD_TYPE_INT64, 2, op->before);
    plumb_cudnn_set(bag, d, CD_RESAMPLE_POST_PADDINGS, CD_TYPE_INT64, 2, op->after);
    plumb_cudnn_finalize(bag, d);
    return d;
}

static const struct kind {
    unsigned type;
    describer *describe; /* its mode lies in a descriptor of its own, ... */
    unsigned description;
    unsigned alpha, beta; /* 0: it scales nothing */
    unsigned norm, phase; /* ... or in these attributes; 0: none */
    unsigned role[PLUMB_CUDNN_ROLES]; /* attributes for tensors, 0 after the last */
} kinds[PLUMB_CUDNN_KINDS] = {
    [PLUMB_CUDNN_CONV] = {CD_OPERATION_CONVOLUTION_FORWARD, describe_convolution, CD_CONVOLUTION_FORWARD_CONV_DESC,
        CD_CONVOLUTION_FORWARD_ALPHA, CD_CONVOLUTION_FORWARD_BETA, 0, 0,
        {CD_CONVOLUTION_FORWARD_X, CD_CONVOLUTION_FORWARD_W, CD_CONVOLUTION_FORWARD_Y}},
    [PLUMB_CUDNN_CONV_DATA] = {CD_OPERATION_CONVOLUTION_BACKWARD_DATA, describe_convolution,
        CD_CONVOLUTION_BWD_DATA_CONV_DESC, CD_CONVOLUTION_BWD_DATA_ALPHA, CD_CONVOLUTION_BWD_DATA_BETA, 0, 0,
        {CD_CONVOLUTION_BWD_DATA_DY, CD_CONVOLUTION_BWD_DATA_W, CD_CONVOLUTION_BWD_DATA_DX}},
    [PLUMB_CUDNN_CONV_FILTER] = {CD_OPERATION_CONVOLUTION_BACKWARD_FILTER, describe_convolution,
        CD_CONVOLUTION_BWD_FILTER_CONV_DESC, CD_CONVOLUTION_BWD_FILTER_ALPHA, CD_CONVOLUTION_BWD_FILTER_BETA, 0, 0,
        {CD_CONVOLUTION_BWD_FILTER_X, CD_CONVOLUTION_BWD_FILTER_DY, CD_CONVOLUTION_BWD_FILTER_DW}},
    [PLUMB_CUDNN_POINTWISE] = {CD_OPERATION_POINTWISE, describe_pointwise, CD_POINTWISE_PW_DESCRIPTOR, 0, 0, 0, 0,
        {CD_POINTWISE_XDESC, CD_POINTWISE_BDESC, CD_POINTWISE_YDESC}},
    [PLUMB_CUDNN_RESAMPLE] = {CD_OPERATION_RESAMPLE_FWD, describe_resample, CD_RESAMPLE_FWD_DESC, 0, 0, 0, 0,
        {CD_RESAMPLE_FWD_XDESC, CD_RESAMPLE_FWD_YDESC}},
    [PLUMB_CUDNN_RESAMPLE_BACKWARD] = {CD_OPERATION_RESAMPLE_BWD, describe_resample, CD_RESAMPLE_BWD_DESC, 0, 0, 0, 0,
        {CD_RESAMPLE_BWD_DYDESC, CD_RESAMPLE_BWD_DXDESC}},
    [PLUMB_CUDNN_NORM] = {CD_OPERATION_NORM_FORWARD, NULL, 0, 0, 0, CD_NORM_FWD_MODE, CD_NORM_FWD_PHASE,
        {CD_NORM_FWD_XDESC, CD_NORM_FWD_SCALE_DESC, CD_NORM_FWD_BIAS_DESC, CD_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
         CD_NORM_FWD_INPUT_RUNNING_VAR_DESC, CD_NORM_FWD_YDESC, CD_NORM_FWD_MEAN_DESC, CD_NORM_FWD_INV_VARIANCE_DESC,
         CD_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC, CD_NORM_FWD_OUTPUT_RUNNING_VAR_DESC, CD_NORM_FWD_EPSILON_DESC,
         CD_NORM_FWD_EXP_AVG_FACTOR_DESC}},
    [PLUMB_CUDNN_NORM_BACKWARD] = {CD_OPERATION_NORM_BACKWARD, NULL, 0, 0, 0, CD_NORM_BWD_MODE, 0,
        {CD_NORM_BWD_XDESC, CD_NORM_BWD_SCALE_DESC, CD_NORM_BWD_MEAN_DESC, CD_NORM_BWD_INV_VARIANCE_DESC,
         CD_NORM_BWD_DYDESC, CD_NORM_BWD_DXDESC, CD_NORM_BWD_DSCALE_DESC, CD_NORM_BWD_DBIAS_DESC}},
};

/* ---- graphs ---- */

static plumb_cudnn_descriptor emit_tensor(plumb_cudnn_bag *bag, const plumb_cudnn_tensor *tensor, int64_t id)
{
    const bool yes = true;
    const int64_t alignment = tensor->alignment;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_TENSOR);
    plumb_cudnn_set_number(bag, d, CD_TENSOR_DATA_TYPE, CD_TYPE_DATA_TYPE, tensor->dtype);
    plumb_cudnn_set(bag, d, CD_TENSOR_DIMENSIONS, CD_TYPE_INT64, 4, tensor->dim);
    plumb_cudnn_set(bag, d, CD_TENSOR_STRIDES, CD_TYPE_INT64, 4, tensor->stride);
    plumb_cudnn_set(bag, d, CD_TENSOR_UNIQUE_ID, CD_TYPE_INT64, 1, &id);
    plumb_cudnn_set(bag, d, CD_TENSOR_BYTE_ALIGNMENT, CD_TYPE_INT64, 1, &alignment);
    if (tensor->what != PLUMB_CUDNN_OPERAND) {
        unsigned which = tensor->what == PLUMB_CUDNN_VIRTUAL ? CD_TENSOR_IS_VIRTUAL : CD_TENSOR_IS_BY_VALUE;
        plumb_cudnn_set(bag, d, which, CD_TYPE_BOOLEAN, 1, &yes);
    }
    plumb_cudnn_finalize(bag, d);
    return d;
}

static plumb_cudnn_descriptor emit_op(plumb_cudnn_bag *bag, const plumb_cudnn_op *op,
                                      const plumb_cudnn_descriptor *tensors)
{
    const struct kind *kind = &kinds[op->kind];
    const float one = 1, zero = 0;
    plumb_cudnn_descriptor description = kind->describe ? kind->describe(bag, op) : NULL;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, kind->type);
    if (kind->describe) {
        plumb_cudnn_set_descriptor(bag, d, kind->description, description);
    }
    if (kind->norm) {
        plumb_cudnn_set_number(bag, d, kind->norm, CD_TYPE_NORM_MODE, op->mode);
    }
    if (kind->phase) {
        plumb_cudnn_set_number(bag, d, kind->phase, CD_TYPE_NORM_FWD_PHASE, CD_NORM_FWD_TRAINING);
    }
    if (kind->alpha) {
        plumb_cudnn_set(bag, d, kind->alpha, CD_TYPE_FLOAT, 1, &one);
        plumb_cudnn_set(bag, d, kind->beta, CD_TYPE_FLOAT, 1, &zero);
    }
    for (int i = 0; i < PLUMB_CUDNN_ROLES; i++) {
        if (op->tensor[i]) {
            plumb_cudnn_set_descriptor(bag, d, kind->role[i], tensors[op->tensor[i] - 1]);
        }
    }
    plumb_cudnn_finalize(bag, d);
    return d;
}

plumb_cudnn_descriptor plumb_cudnn_emit(plumb_cudnn_bag *bag, const plumb_cudnn *library, const plumb_cudnn_graph *graph)
{
    plumb_cudnn_descriptor tensors[PLUMB_CUDNN_TENSORS], ops[PLUMB_CUDNN_OPS];
    for (int i = 0; i < graph->n_tensors; i++) {
        tensors[i] = emit_tensor(bag, &graph->tensor[i], i + 1);
    }
    for (int i = 0; i < graph->n_ops; i++) {
        ops[i] = emit_op(bag, &graph->op[i], tensors);
    }
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_OPERATIONGRAPH);
    if (library->handle) {
        plumb_cudnn_set(bag, d, CD_OPERATIONGRAPH_HANDLE, CD_TYPE_HANDLE, 1, &library->handle);
    }
    plumb_cudnn_set(bag, d, CD_OPERATIONGRAPH_OPS, CD_TYPE_BACKEND_DESCRIPTOR, graph->n_ops, ops);
    plumb_cudnn_finalize(bag, d);
    return bag->status == CD_SUCCESS ? d : NULL;
}

/* ---- writing graphs ---- */

static uint32_t dtype_of(plumb_dtype dtype)
{
    static const uint32_t as[] = {
        [PLUMB_F32] = CD_FLOAT, [PLUMB_F64] = CD_DOUBLE, [PLUMB_BF16] = CD_BFLOAT16, [PLUMB_F16] = CD_HALF};
    return as[dtype];
}

/* A multiple of which the address is; while a program is planned, addresses are known up to 64 bytes. */
static uint32_t alignment_of(const plumb_view *view)
{
    enum { MOST = 16 }; /* no engine asks for more */
    uintptr_t address = (uintptr_t)view->data | MOST;
    return (uint32_t)(address & (~address + 1));
}

plumb_cudnn_tensor *plumb_cudnn_operand(plumb_cudnn_graph *graph, const plumb_call *call, int operand)
{
    const plumb_view *view = operand >= 0 ? &call->in[operand] : &call->out[-1 - operand];
    plumb_cudnn_tensor *t = &graph->tensor[graph->n_tensors++];
    bool vector = view->rank == 1; /* one number for each channel */
    t->what = PLUMB_CUDNN_OPERAND;
    t->operand = operand;
    t->dtype = dtype_of(view->dtype);
    t->alignment = alignment_of(view);
    for (int d = 0; d < 4; d++) {
        int at = vector ? d - 1 : d;
        bool there = at >= 0 && at < view->rank;
        t->dim[d] = there ? view->dim[at] : 1;
        t->stride[d] = there ? view->stride[at] : 0;
    }
    return t;
}

int plumb_cudnn_virtual(plumb_cudnn_graph *graph, int like, uint32_t dtype)
{
    plumb_cudnn_tensor *t = &graph->tensor[graph->n_tensors];
    *t = graph->tensor[like];
    t->what = PLUMB_CUDNN_VIRTUAL;
    t->operand = 0;
    t->dtype = dtype;
    t->alignment = 16;
    return graph->n_tensors++;
}

int plumb_cudnn_number(plumb_cudnn_graph *graph, double value)
{
    plumb_cudnn_tensor *t = &graph->tensor[graph->n_tensors];
    t->what = PLUMB_CUDNN_NUMBER;
    t->dtype = CD_FLOAT;
    t->alignment = sizeof(float);
    t->number = (float)value;
    for (int d = 0; d < 4; d++) {
        t->dim[d] = t->stride[d] = 1;
    }
    return graph->n_tensors++;
}

plumb_cudnn_op *plumb_cudnn_add(plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind, uint32_t mode, uint32_t compute)
{
    plumb_cudnn_op *op = &graph->op[graph->n_ops++];
    op->kind = (int32_t)kind;
    op->mode = mode;
    op->compute = compute;
    return op;
}

/* Strides of a packed tensor; false where the tensor's own differ in a dimension longer than 1. */
static bool pack(const plumb_cudnn_tensor *t, bool channels_last, int64_t stride[4])
{
    static const int orders[2][4] = {{3, 2, 1, 0}, {1, 3, 2, 0}}; /* the innermost first */
    int64_t step = 1;
    bool same = true;
    for (int i = 0; i < 4; i++) {
        int d = orders[channels_last][i];
        stride[d] = step;
        step *= t->dim[d];
        same = same && (t->dim[d] == 1 || t->stride[d] == stride[d]);
    }
    return same;
}

/* Where both layouts fit (one channel, one pixel), the one of the others. */
bool plumb_cudnn_layouts(plumb_cudnn_graph *graph)
{
    int64_t rows[4], last[4];
    bool any_last = false;
    for (int i = 0; i < graph->n_tensors; i++) {
        const plumb_cudnn_tensor *t = &graph->tensor[i];
        any_last = any_last || (!pack(t, false, rows) && pack(t, true, last));
    }
    for (int i = 0; i < graph->n_tensors; i++) {
        plumb_cudnn_tensor *t = &graph->tensor[i];
        bool by_rows = pack(t, false, rows), by_last = pack(t, true, last);
        if (!by_rows && !by_last) {
            return false;
        }
        memcpy(t->stride, by_last && (any_last || !by_rows) ? last : rows, sizeof rows);
    }
    return true;
}
