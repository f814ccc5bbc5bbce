/* What the reductions share: their form as an op, the shape they leave, the way back for a gradient. */
#ifndef PLUMB_OP_REDUCE_H
#define PLUMB_OP_REDUCE_H

#include "op/attr.h"

/* The axes as a bit mask, for an operand of this rank. */
uint32_t plumb_reduced_axes(const plumb_attr_reduce *attr, int rank);
plumb_status plumb_infer_reduce(plumb_infer *q); /* any dtype, kept */
plumb_status plumb_reduce_no_gradient(plumb_grad *q);

/* `d`, of the result's shape, made to broadcast against the operand: reduced dimensions return at size 1. */
plumb_t plumb_unreduced(const plumb_grad *q, plumb_t d);
/* d divided by the number of elements behind a result, less `less` (at least 1 where that is known). */
plumb_t plumb_over_count(const plumb_grad *q, plumb_t d, int less);

double plumb_reduce_reads(const plumb_call *call);
double plumb_reduce_terms(const plumb_call *call);
void plumb_print_reduce(const void *attr, struct plumb_text *text);

/* Adds `op`, whose attributes are plumb_attr_reduce, over these axes. */
plumb_t plumb_reduce_by(plumb_graph *g, const plumb_op *op, plumb_t x, const int *axes, int n_axes, bool keep,
                        int correction);

#define PLUMB_REDUCE(op_name, rule, rule_of_gradient, ...)                                                   \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 1,                                                                                         \
        .max_in = 1,                                                                                         \
        .n_out = 1,                                                                                          \
        .attr_size = sizeof(plumb_attr_reduce),                                                              \
        .infer = rule,                                                                                       \
        .gradient = rule_of_gradient,                                                                        \
        .flops = plumb_reduce_reads,                                                                         \
        .terms = plumb_reduce_terms,                                                                         \
        __VA_ARGS__,                                                                                         \
    };

#define PLUMB_REDUCE_BUILDER(op_name)                                                                        \
    plumb_t plumb_##op_name(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep)               \
    {                                                                                                        \
        return plumb_reduce_by(g, &plumb_op_##op_name, x, axes, n_axes, keep, 0);                            \
    }

#endif
