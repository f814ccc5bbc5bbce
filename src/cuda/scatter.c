/* Lookup and replacement by element and by tuple on the GPU. As in gather.c, strides tell what of a tensor moves with what;
 * gather_elements is the kernel of gather with indices of y's shape. */
#include "cuda/cuda.h"

static plumb_view still(const plumb_view *shape, void *data)
{
    plumb_view v = *shape;
    v.data = data;
    memset(v.stride, 0, sizeof v.stride);
    return v;
}

static int axis_of(const plumb_call *call)
{
    int axis = ((const plumb_attr_scatter *)call->attr)->axis;
    return axis < 0 ? axis + call->in[0].rank : axis;
}

static plumb_status run_gather_elements(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *indices = &call->in[1], *y = &call->out[0];
    int axis = axis_of(call);
    plumb_view of_x = *y, position = *y, by_index = *indices;
    of_x.data = x->data;
    memcpy(of_x.stride, x->stride, sizeof of_x.stride);
    of_x.stride[axis] = 0;
    position.data = NULL;
    plumb_view_pack(&position);
    const plumb_view *operands[] = {&by_index, &of_x, &position, y};
    pk_gather g = {
        .w = plumb_cuda_walk(operands, 4),
        .n = x->dim[axis],
        .step = x->stride[axis],
        .indices = plumb_cuda_walk_in_order(indices),
        .fault = plumb_cuda_fault(call),
        .watch = plumb_cuda_watch(call, "index"),
        .index_dtype = (int32_t)indices->dtype,
    };
    int size = (int)plumb_dtype_size(x->dtype);
    return plumb_cuda_check(call, "plumb_k_gather", plumb_k_gather(plumb_cuda_stream(call), size, &g));
}

/* What a tuple names: dimensions first .. first + k - 1 of a tensor of x's shape with these strides. */
static pk_tuples tuples_of(const plumb_call *call, const plumb_view *x, int first, int k)
{
    const plumb_view *indices = &call->in[1];
    pk_tuples t = {
        .indices = indices->data,
        .component = call->op == &plumb_op_scatter_elements ? 0 : indices->stride[indices->rank - 1],
        .fault = plumb_cuda_fault(call),
        .k = k,
        .watch = plumb_cuda_watch(call, "index"),
        .index_dtype = (int32_t)indices->dtype,
    };
    for (int j = 0; j < k; j++) {
        t.n[j] = x->dim[first + j];
        t.step[j] = x->stride[first + j];
    }
    return t;
}

/* The first `rank` dimensions. */
static plumb_view front_of(const plumb_view *whole, int rank)
{
    plumb_view v = *whole;
    v.rank = rank;
    return v;
}

static plumb_status run_gather_nd(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *indices = &call->in[1], *y = &call->out[0];
    int batch = ((const plumb_attr_scatter *)call->attr)->batch, places = indices->rank - 1;
    int k = (int)indices->dim[places];
    plumb_view by_tuple = still(y, indices->data), of_x = still(y, x->data), position = still(y, NULL), packed = *indices;
    plumb_view_pack(&packed);
    for (int d = 0; d < y->rank; d++) {
        by_tuple.stride[d] = d < places ? indices->stride[d] : 0;
        position.stride[d] = d < places ? packed.stride[d] : 0;
        of_x.stride[d] = d < batch ? x->stride[d] : d < places ? 0 : x->stride[d - places + batch + k];
    }
    const plumb_view *operands[] = {&by_tuple, &of_x, &position, y};
    plumb_view tuples = front_of(indices, places);
    pk_gather_nd g = {
        .w = plumb_cuda_walk(operands, 4),
        .places = plumb_cuda_walk_in_order(&tuples),
        .tuples = tuples_of(call, x, batch, k),
    };
    int size = (int)plumb_dtype_size(x->dtype);
    return plumb_cuda_check(call, "plumb_k_gather_nd", plumb_k_gather_nd(plumb_cuda_stream(call), size, &g));
}

/* Rows of x are what the dimensions up to `named` tell apart: all of them, or those that batch and tuples name. */
static plumb_status scatter(const plumb_call *call, int places, int batch, int first, int k, int named)
{
    const plumb_view *x = &call->in[0], *indices = &call->in[1], *updates = &call->in[2], *y = &call->out[0];
    bool elements = named == x->rank && places == indices->rank;
    plumb_view tuple = front_of(indices, places), slot_part = still(&tuple, NULL), order = tuple;
    plumb_view slots = front_of(x, named), slot = still(y, NULL), within = still(y, NULL);
    plumb_view part = front_of(updates, places);
    order.data = NULL;
    plumb_view_pack(&order);
    plumb_view_pack(&slots);
    for (int d = 0; d < places; d++) {
        bool own = elements ? d != first : d < batch;
        slot_part.stride[d] = own ? slots.stride[d] : 0;
    }
    for (int d = 0; d < y->rank; d++) {
        slot.stride[d] = d < named ? slots.stride[d] : 0;
        within.stride[d] = d < named ? 0 : updates->stride[d - named + places];
    }
    part.data = NULL;
    const plumb_view *tuples[] = {&tuple, &slot_part, &order}, *elementwise[] = {x, &slot, &within, y};
    pk_scatter s = {
        .places = plumb_cuda_walk(tuples, 3),
        .w = plumb_cuda_walk(elementwise, 4),
        .part = plumb_cuda_walk_in_order(&part),
        .tuples = tuples_of(call, &slots, first, k),
        .updates = updates->data,
        .slots = plumb_view_count(&slots),
        .workspace = call->workspace,
        .reduce = ((const plumb_attr_scatter *)call->attr)->reduce,
    };
    return plumb_cuda_check(call, "plumb_k_scatter", plumb_k_scatter(plumb_cuda_stream(call), (int)y->dtype, &s));
}

static plumb_status run_scatter_elements(const plumb_call *call)
{
    int rank = call->in[0].rank;
    return scatter(call, rank, 0, axis_of(call), 1, rank);
}

static plumb_status run_scatter_nd(const plumb_call *call)
{
    const plumb_view *indices = &call->in[1];
    int batch = ((const plumb_attr_scatter *)call->attr)->batch, places = indices->rank - 1, k = (int)indices->dim[places];
    return scatter(call, places, batch, batch, k, batch + k);
}

static size_t workspace_elements(const plumb_call *call)
{
    return plumb_k_scatter_bytes(plumb_view_count(&call->in[1]));
}

static size_t workspace_nd(const plumb_call *call)
{
    const plumb_view *indices = &call->in[1];
    plumb_view tuples = front_of(indices, indices->rank - 1);
    return plumb_k_scatter_bytes(plumb_view_count(&tuples));
}

#define ROW(op_name, bytes)                                                                                           \
    const plumb_impl plumb_impl_##op_name##_cuda = {.op = &plumb_op_##op_name,                                        \
                                                    .name = "cuda.native",                                            \
                                                    .dtypes = PLUMB_ALL_DTYPES,                                       \
                                                    .flags = PLUMB_IMPL_EXACT,                                        \
                                                    .workspace = bytes,                                               \
                                                    .run = run_##op_name};
ROW(gather_elements, NULL)
ROW(gather_nd, NULL)
ROW(scatter_elements, workspace_elements)
ROW(scatter_nd, workspace_nd)
