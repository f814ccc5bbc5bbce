/* The reference matrix product: C[m][n] = sum over k, in order, of A[m][k] B[k][n], in double,
 * then the bias and the activation. Columns are done PANEL at a time so that the part of B in use is unpacked once for
 * all rows of A. */
#include "cpu/ref/activate.h"
#include "cpu/ref/unpack.h"
#include "cpu/ref/walk.h"

enum { PANEL = 64 };

/* One operand as rows and columns, transposition applied. */
struct matrix {
    const plumb_view *view;
    int64_t rows, columns, row_stride, column_stride;
};

static struct matrix matrix_of(const plumb_view *view, bool transposed)
{
    int row = view->rank - (transposed ? 1 : 2), column = view->rank - (transposed ? 2 : 1);
    return (struct matrix){view, view->dim[row], view->dim[column], view->stride[row], view->stride[column]};
}

static size_t workspace(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    size_t inner = (size_t)matrix_of(&call->in[0], attr->transpose_a).columns;
    return sizeof(double) * (inner * PANEL + inner + 1); /* a panel of B (K, PANEL), a row of A (K) */
}

/* Of one row's columns n.. */
static void finish(const plumb_call *call, int64_t n, int64_t width, double *sum)
{
    const plumb_view *bias = call->n_in > 2 ? &call->in[2] : NULL;
    int activation = ((const plumb_attr_matmul *)call->attr)->activation;
    for (int64_t j = 0; j < width; j++) {
        double add = bias ? view_get(bias, (n + j) * bias->stride[0]) : 0;
        sum[j] = activated(activation, sum[j] + add);
    }
}

/* C (M, N) at offset c from A (M, K) at a and B (K, N) at b */
static void product(const plumb_call *call, struct matrix A, int64_t a, struct matrix B, int64_t b, struct matrix C,
                    int64_t c)
{
    double *panel = call->workspace, *row = panel + A.columns * PANEL;
    for (int64_t n = 0; n < C.columns; n += PANEL) {
        int64_t width = C.columns - n < PANEL ? C.columns - n : PANEL;
        memset(panel, 0, sizeof(double) * (size_t)(A.columns * PANEL));
        for (int64_t k = 0; k < A.columns; k++)
            unpack_row(B.view, b + k * B.row_stride + n * B.column_stride, B.column_stride, width,
                       panel + k * PANEL);
        for (int64_t m = 0; m < C.rows; m++) {
            double sum[PANEL] = {0};
            unpack_row(A.view, a + m * A.row_stride, A.column_stride, A.columns, row);
            for (int64_t k = 0; k < A.columns; k++)
                for (int j = 0; j < PANEL; j++)
                    sum[j] += row[k] * panel[k * PANEL + j];
            finish(call, n, width, sum);
            pack_row(C.view, c + m * C.row_stride + n * C.column_stride, C.column_stride, width, sum);
        }
    }
}

static plumb_view leading(const plumb_view *view)
{
    plumb_view result = *view;
    result.rank -= 2;
    return result;
}

static plumb_status run(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    plumb_view a = leading(&call->in[0]), b = leading(&call->in[1]), c = leading(&call->out[0]);
    struct walk w;
    walk_begin(&w, c.rank, c.dim);
    int at_a = walk_add(&w, &a), at_b = walk_add(&w, &b), at_c = walk_add(&w, &c);
    for (; w.left > 0; walk_step(&w))
        product(call, matrix_of(&call->in[0], attr->transpose_a), w.at[at_a],
                matrix_of(&call->in[1], attr->transpose_b), w.at[at_b], matrix_of(&call->out[0], false), w.at[at_c]);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_matmul_ref = {
    .op = &plumb_op_matmul,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace,
    .run = run,
};
