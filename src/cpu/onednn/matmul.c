/* Matrix products by oneDNN, of operands as they lie. The first leading dimension is cut, or the rows where there is none. */
#include "cpu/onednn/onednn.h"

enum { MOST_CHUNKS = 8 };

/* An operand with as many dimensions as the result has, turned where the product wants its transpose. */
static void align(plumb_dnnl_operand *operand, int rank, bool turned)
{
    int missing = rank - operand->rank, last = rank - 1;
    for (int d = last; d >= 0; d--) {
        operand->dim[d] = d < missing ? 1 : operand->dim[d - missing];
        operand->stride[d] = d < missing ? 1 : operand->stride[d - missing];
    }
    operand->rank = rank;
    if (turned) {
        int64_t dim = operand->dim[last], stride = operand->stride[last];
        operand->dim[last] = operand->dim[last - 1], operand->stride[last] = operand->stride[last - 1];
        operand->dim[last - 1] = dim, operand->stride[last - 1] = stride;
    }
}

static bool write_matmul(const plumb_call *call, plumb_dnnl_work *work)
{
    const plumb_attr_matmul *attr = call->attr;
    const int c = call->n_in, rank = call->out[0].rank;
    work->kind = PLUMB_DNNL_MATMUL;
    work->n = call->n_in + 1;
    bool activates;
    work->activate = plumb_dnnl_activation(call, attr->activation, &activates);
    if (!plumb_dnnl_operand_of(call, 0, DNNL_ARG_SRC, &work->operand[0]) ||
        !plumb_dnnl_operand_of(call, 1, DNNL_ARG_WEIGHTS, &work->operand[1]) ||
        (c > 2 && !plumb_dnnl_operand_of(call, 2, DNNL_ARG_BIAS, &work->operand[2])) ||
        !plumb_dnnl_operand_of(call, -1, DNNL_ARG_DST, &work->operand[c]) || !activates ||
        (c > 2 && work->operand[2].dim[0] > 1 && work->operand[2].stride[0] != 1)) {
        return false;
    }
    align(&work->operand[0], rank, attr->transpose_a);
    align(&work->operand[1], rank, attr->transpose_b);
    if (c > 2) {
        align(&work->operand[2], rank, false);
    }
    work->chunks = plumb_vendor_parts(call, call->out[0].dim[0], MOST_CHUNKS);
    for (int i = 0; i < work->n; i++) {
        plumb_dnnl_operand *o = &work->operand[i];
        if (o->dim[0] == call->out[0].dim[0] && (rank > 2 || i == 0 || i == c)) {
            plumb_dnnl_cut(o, 0, work->chunks);
        }
    }
    return true;
}

PLUMB_DNNL_IMPL(matmul, PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16), PLUMB_IMPL_EXACT, write_matmul)
