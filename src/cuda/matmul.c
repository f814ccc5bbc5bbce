/* Matrix products on the GPU: operands as rows and columns, transposition applied, and the leading dimensions as a
 * batch. */
#include "cuda/cuda.h"

_Static_assert((int)PK_NO_ACTIVATION == PLUMB_ACTIVATION_NONE && (int)PK_ACTIVATION_RELU == PLUMB_ACTIVATION_RELU &&
                   (int)PK_ACTIVATION_SIGMOID == PLUMB_ACTIVATION_SIGMOID &&
                   (int)PK_ACTIVATION_TANH == PLUMB_ACTIVATION_TANH,
               "kernels are given the numbers of activations");

static plumb_view leading(const plumb_view *view)
{
    plumb_view result = *view;
    result.rank -= 2;
    return result;
}

static void swap(int64_t *a, int64_t *b)
{
    int64_t kept = *a;
    *a = *b;
    *b = kept;
}

/* A layer over a stack (B, M, K) by one matrix is one product of B M rows where the stack is as a tall matrix. */
static void flatten(pk_matmul *p)
{
    pk_walk *w = &p->batch;
    if (w->rank == 1 && w->stride[1][0] == 0 && w->stride[0][0] == p->rows * p->a_row &&
        w->stride[2][0] == p->rows * p->c_row) {
        p->rows *= w->dim[0];
        w->rank = 0;
        w->count = 1;
    }
}

void plumb_cuda_turn(pk_matmul *p)
{
    swap(&p->rows, &p->columns);
    swap(&p->a_row, &p->b_column);
    swap(&p->a_inner, &p->b_inner);
    swap(&p->c_row, &p->c_column);
    swap(&p->bias_row, &p->bias_column);
    void *data = p->batch.data[0];
    p->batch.data[0] = p->batch.data[1];
    p->batch.data[1] = data;
    for (int d = 0; d < p->batch.rank; d++) {
        swap(&p->batch.stride[0][d], &p->batch.stride[1][d]);
    }
}

pk_matmul plumb_cuda_product(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    const plumb_view lead_a = leading(a), lead_b = leading(b), lead_c = leading(c);
    const plumb_view *operands[] = {&lead_a, &lead_b, &lead_c};
    int a_row = a->rank - (attr->transpose_a ? 1 : 2), a_inner = a->rank - (attr->transpose_a ? 2 : 1);
    int b_inner = b->rank - (attr->transpose_b ? 1 : 2), b_column = b->rank - (attr->transpose_b ? 2 : 1);
    pk_matmul p = {
        .batch = plumb_cuda_walk(operands, 3),
        .rows = a->dim[a_row],
        .columns = b->dim[b_column],
        .inner = a->dim[a_inner],
        .a_row = a->stride[a_row],
        .a_inner = a->stride[a_inner],
        .b_inner = b->stride[b_inner],
        .b_column = b->stride[b_column],
        .c_row = c->stride[c->rank - 2],
        .c_column = c->stride[c->rank - 1],
        .bias = call->n_in > 2 ? call->in[2].data : NULL,
        .bias_column = call->n_in > 2 ? call->in[2].stride[0] : 0,
        .activation = attr->activation,
    };
    flatten(&p);
    return p;
}

static plumb_status run(const plumb_call *call)
{
    pk_matmul p = plumb_cuda_product(call);
    if (llabs(p.c_row) < llabs(p.c_column)) {
        plumb_cuda_turn(&p); /* C is written along its columns */
    }
    return plumb_cuda_check(call, "plumb_k_matmul", plumb_k_matmul(plumb_cuda_stream(call), (int)call->out[0].dtype, &p));
}

const plumb_impl plumb_impl_matmul_cuda = {
    .op = &plumb_op_matmul,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run,
};
