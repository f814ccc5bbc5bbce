/* Matrix products over the last two dimensions, the leading ones broadcasting.
 *
 * Decided here:
 * - A product with an empty inner dimension is zeros.
 * - The gradient of an operand that was broadcast is summed back to its shape. Where a plain matrix (K, N)
 *   multiplies a stack of matrices (a layer over a sequence), its gradient is computed as one product over
 *   the flattened stack instead, so that no stack of (K, N) gradients ever exists.
 * - A bias, one number for each column, is added at the end, and then comes the activation: what the pass `fuse`
 *   makes of a product and the ops behind it. */
#include "op/attr.h"
#include "op/forms.h"

/* ---- shape rule ---- */

static plumb_shape leading(const plumb_shape *shape)
{
    plumb_shape result = *shape;
    result.rank -= 2;
    return result;
}

static plumb_status need_matrix(const plumb_infer *q, int input)
{
    char text[160];
    if (q->in[input].shape.rank >= 2)
        return PLUMB_OK;
    return plumb_refuse(q, "input %d has shape %s, expected rank 2 or more", input,
                        plumb_shape_text(&q->in[input].shape, text, sizeof text));
}

static plumb_status check_bias(const plumb_infer *q, int64_t columns)
{
    char text[160];
    if (q->n_in < 3)
        return PLUMB_OK;
    if (plumb_need_same_dtype(q, 0, 2) || plumb_need_rank(q, 2, 1))
        return PLUMB_BAD_INPUT;
    if (!plumb_dims_agree(q->in[2].shape.dim[0], columns))
        return plumb_refuse(q, "bias has shape %s, the product has %lld columns",
                            plumb_shape_text(&q->in[2].shape, text, sizeof text), (long long)columns);
    return PLUMB_OK;
}

static plumb_status infer_matmul(plumb_infer *q)
{
    const plumb_attr_matmul *attr = q->attr;
    const plumb_shape *a = &q->in[0].shape, *b = &q->in[1].shape;
    char text_a[160], text_b[160];
    if (plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1) || need_matrix(q, 0) || need_matrix(q, 1))
        return PLUMB_BAD_INPUT;
    int64_t m = a->dim[a->rank - (attr->transpose_a ? 1 : 2)],
            k = a->dim[a->rank - (attr->transpose_a ? 2 : 1)];
    int64_t n = b->dim[b->rank - (attr->transpose_b ? 2 : 1)],
            kb = b->dim[b->rank - (attr->transpose_b ? 1 : 2)];
    if (!plumb_dims_agree(k, kb))
        return plumb_refuse(
            q, "inner dimensions differ: %s%s times %s%s", plumb_shape_text(a, text_a, sizeof text_a),
            attr->transpose_a ? " transposed" : "", plumb_shape_text(b, text_b, sizeof text_b),
            attr->transpose_b ? " transposed" : "");
    plumb_shape lead_a = leading(a), lead_b = leading(b), out;
    if (plumb_broadcast(q, &lead_a, &lead_b, &out) || check_bias(q, n) || plumb_need_activation(q, attr->activation))
        return PLUMB_BAD_INPUT;
    out.dim[out.rank++] = m;
    out.dim[out.rank++] = n;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = out};
    return PLUMB_OK;
}

/* ---- gradient ---- */

/* The gradient `d` of an operand, summed over the dimensions in which the operand was stretched. While
 * sizes are symbols that cannot be told, and the sum may turn out to be over nothing. */
static plumb_t unstretched(plumb_graph *g, plumb_t d, plumb_t operand)
{
    plumb_shape from = plumb_shape_of(g, d), to = plumb_shape_of(g, operand);
    bool same = from.rank == to.rank;
    for (int i = 0; same && i < to.rank; i++)
        same = from.dim[i] == to.dim[i] && to.dim[i] != PLUMB_UNKNOWN;
    return same ? d : plumb_sum_to_like(g, d, operand);
}

/* (.., rows, columns) -> (all rows, columns) */
static plumb_t stacked(plumb_graph *g, plumb_t x)
{
    plumb_shape shape = plumb_shape_of(g, x);
    return plumb_reshape(g, x, PLUMB_SHAPE(PLUMB_INFER, shape.dim[shape.rank - 1]));
}

/* Whether b's gradient can be one product: a plain matrix, against a stack whose last dimension is known
 * and not 0 (else the number of rows could not be inferred). */
static bool flat(plumb_graph *g, plumb_t a, plumb_t b, plumb_t d)
{
    plumb_shape sa = plumb_shape_of(g, a), sb = plumb_shape_of(g, b), sd = plumb_shape_of(g, d);
    return sb.rank == 2 && sa.rank > 2 && sa.dim[sa.rank - 1] > 0 && sd.dim[sd.rank - 1] > 0;
}

/* With D the gradient of C = A B: dA = D Bt, dB = At D, and for a transposed operand the transpose of
 * that. The bias is added to every row. */
static plumb_status gradient_matmul(plumb_grad *q)
{
    const plumb_attr_matmul *attr = q->attr;
    plumb_graph *g = q->graph;
    bool ta = attr->transpose_a, tb = attr->transpose_b;
    plumb_t a = q->in[0], b = q->in[1];
    plumb_t d = plumb_activation_gradient(g, attr->activation, q->out[0], q->dout[0]);
    if (q->n_in > 2 && q->want[2])
        q->din[2] = plumb_sum_to_like(g, d, q->in[2]);
    if (q->want[0]) {
        plumb_t da = ta ? plumb_matmul(g, b, d, tb, true) : plumb_matmul(g, d, b, false, !tb);
        q->din[0] = unstretched(g, da, a);
    }
    if (q->want[1]) {
        if (!ta && flat(g, a, b, d)) {
            a = stacked(g, a);
            d = stacked(g, d);
        }
        plumb_t db = tb ? plumb_matmul(g, d, a, true, ta) : plumb_matmul(g, a, d, !ta, false);
        q->din[1] = unstretched(g, db, b);
    }
    return PLUMB_OK;
}

/* ---- facts ---- */

static double inner_size(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *a = &call->in[0];
    return (double)a->dim[a->rank - (attr->transpose_a ? 2 : 1)];
}

static double terms_matmul(const plumb_call *call) { return inner_size(call) + (call->n_in > 2 ? 1 : 0); }

/* A multiply and an add for each term; bias and activation, one each for each result, as the ops they were. */
static double flops_matmul(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    double behind = (call->n_in > 2) + (attr->activation != PLUMB_ACTIVATION_NONE);
    return (2 * inner_size(call) + behind) * (double)plumb_view_count(&call->out[0]);
}

static void linear_matmul(void *attr) { ((plumb_attr_matmul *)attr)->activation = PLUMB_ACTIVATION_NONE; }

static plumb_t branch_matmul(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)in;
    return plumb_activation_branch(graph, ((const plumb_attr_matmul *)attr)->activation, out[0]);
}

static void print_matmul(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_matmul *attr = opaque;
    if (attr->transpose_a || attr->transpose_b)
        plumb_text_add(text, "transposed=%s%s", attr->transpose_a ? "a" : "", attr->transpose_b ? "b" : "");
    plumb_print_activation(attr->activation, text);
}

const plumb_op plumb_op_matmul = {
    .name = "matmul",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_matmul),
    .infer = infer_matmul,
    .gradient = gradient_matmul,
    .flops = flops_matmul,
    .terms = terms_matmul,
    .tolerance = PLUMB_TOL_DOT,
    .linear = linear_matmul,
    .branch = branch_matmul,
    .print = print_matmul,
    .precision = PLUMB_PRECISION_LOWER,
};

/* ---- builder ---- */

static plumb_t emit(plumb_graph *g, plumb_t a, plumb_t b, bool transpose_a, bool transpose_b)
{
    plumb_attr_matmul attr;
    memset(&attr, 0, sizeof attr);
    attr.transpose_a = transpose_a;
    attr.transpose_b = transpose_b;
    return plumb_emit(g, &plumb_op_matmul, &attr, (const plumb_t[]){a, b}, 2);
}

/* A vector as a matrix of one row (a) or one column (b), and the product without that dimension: NumPy's. */
plumb_t plumb_matmul(plumb_graph *g, plumb_t a, plumb_t b, bool transpose_a, bool transpose_b)
{
    bool good = plumb_graph_status(g) == PLUMB_OK && a != PLUMB_NONE && b != PLUMB_NONE;
    bool row = good && plumb_shape_of(g, a).rank == 1, column = good && plumb_shape_of(g, b).rank == 1;
    if (!row && !column)
        return emit(g, a, b, transpose_a, transpose_b);
    if (row)
        a = plumb_laid(g, "matmul", a, PLUMB_SHAPE(1, plumb_shape_of(g, a).dim[0]));
    if (column)
        b = plumb_laid(g, "matmul", b, PLUMB_SHAPE(plumb_shape_of(g, b).dim[0], 1));
    plumb_t y = emit(g, a, b, !row && transpose_a, !column && transpose_b);
    if (y == PLUMB_NONE)
        return y;
    plumb_shape from = plumb_shape_of(g, y), to = {0};
    for (int d = 0; d < from.rank; d++)
        if (!(row && d == from.rank - 2) && !(column && d == from.rank - 1))
            to.dim[to.rank++] = from.dim[d];
    return plumb_laid(g, "matmul", y, to);
}
