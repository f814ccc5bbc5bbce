/* Leafs: tensors that come from outside the graph (fed, kept in a state, given as bytes), tensors filled with
 * one number, and the effect that gives a variable its new value. Builders live with the graph, which owns
 * names and bytes.
 *
 * assign's output is the variable's value from then on; it may be computed over the old value. */
#include "op/attr.h"

static plumb_status infer_leaf(plumb_infer *q)
{
    const plumb_attr_leaf *attr = q->attr;
    if (plumb_dtype_size(attr->made.dtype) == 0) {
        return plumb_refuse(q, "invalid dtype %d", (int)attr->made.dtype);
    }
    q->out[0].dtype = attr->made.dtype;
    return plumb_lent_shape(q, &q->out[0].shape);
}

static plumb_status full_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++) {
        q->din[i] = PLUMB_NO_GRADIENT;
    }
    return PLUMB_OK;
}

static plumb_status infer_assign(plumb_infer *q)
{
    const plumb_shape *variable = &q->in[0].shape, *value = &q->in[1].shape;
    if (plumb_need_same_dtype(q, 0, 1)) {
        return PLUMB_BAD_INPUT;
    }
    bool agree = variable->rank == value->rank;
    for (int d = 0; agree && d < variable->rank; d++) {
        agree = plumb_dims_agree(variable->dim[d], value->dim[d]);
    }
    char a[160], b[160];
    if (!agree) {
        return plumb_refuse(q, "the variable has shape %s, the value %s",
                            plumb_shape_text(variable, a, sizeof a), plumb_shape_text(value, b, sizeof b));
    }
    if (q->n_in > 2 && (q->in[2].dtype != PLUMB_U8 || q->in[2].shape.rank != 0)) {
        return plumb_refuse(q, "the gate is %s %s, expected a u8 scalar", plumb_dtype_name(q->in[2].dtype),
                            plumb_shape_text(&q->in[2].shape, a, sizeof a));
    }
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static int over_variable(const void *attr, int output)
{
    (void)attr;
    (void)output;
    return 0;
}

static void print_full(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "value=%g", ((const plumb_attr_leaf *)attr)->value);
}

const plumb_op plumb_op_input = {
    .name = "input",
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_leaf),
    .flags = PLUMB_OP_LEAF | PLUMB_OP_DTYPE,
    .infer = infer_leaf,
};

const plumb_op plumb_op_variable = {
    .name = "variable",
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_leaf),
    .flags = PLUMB_OP_LEAF | PLUMB_OP_DTYPE,
    .infer = infer_leaf,
};

const plumb_op plumb_op_constant = {
    .name = "constant",
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_leaf),
    .flags = PLUMB_OP_LEAF | PLUMB_OP_DTYPE,
    .infer = infer_leaf,
};

const plumb_op plumb_op_full = {
    .name = "full",
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_leaf),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_DTYPE,
    .infer = infer_leaf,
    .gradient = full_gradient,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_full,
};

const plumb_op plumb_op_assign = {
    .name = "assign",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .infer = infer_assign,
    .in_place = over_variable,
    .tolerance = PLUMB_TOL_EXACT,
};
