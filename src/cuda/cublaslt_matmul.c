/* matmul by cuBLASLt. The library stores matrices by columns, so for C = A B, stored by rows, it is asked for the transpose,
 * Ct = Bt At, of which it finds every factor in place; columns of C are its rows, along which its bias lies.
 *
 * Decided here: what cannot be told as matrices with one contiguous side and one stride of the batch is declined, and so
 * are products of nothing. Where tensors lie is not known while planning, only that most begin at multiples of 64 bytes:
 * so two plans are made, for pointers at multiples of 16 bytes, which is all that any kernel asks for, and for any. */
#include "cuda/cublaslt.h"

enum { ALIGNED = 16 };

/* What a call needs beside the product: where things lie. */
struct operands {
    const void *a, *b, *bias; /* of the library's product */
    void *d;
};

/* Sizes and strides of rows and columns as a matrix stored by columns, or, transposed, by rows; false: as neither. */
static bool describe(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride, plumb_lt_matrix *matrix,
                     int32_t *op)
{
    if ((row_stride == 1 || rows == 1) && (column_stride >= rows || columns == 1)) {
        *op = PLUMB_LT_OP_N;
        matrix->rows = rows;
        matrix->columns = columns;
        matrix->leading = columns == 1 ? rows : column_stride;
        return true;
    }
    if ((column_stride == 1 || columns == 1) && (row_stride >= columns || rows == 1)) {
        *op = PLUMB_LT_OP_T;
        matrix->rows = columns;
        matrix->columns = rows;
        matrix->leading = rows == 1 ? columns : row_stride;
        return true;
    }
    return false;
}

static bool batch_fits(const pk_walk *batch, plumb_lt_product *product)
{
    const int64_t *a = batch->stride[0], *b = batch->stride[1], *c = batch->stride[2];
    if (batch->rank == 0) {
        product->batch = 1;
        return true;
    }
    if (batch->rank != 1 || batch->dim[0] > INT32_MAX || a[0] < 0 || b[0] < 0 || c[0] <= 0) {
        return false;
    }
    product->batch = (int32_t)batch->dim[0];
    product->a.batch_stride = b[0];
    product->b.batch_stride = a[0];
    product->d.batch_stride = c[0];
    return true;
}

/* D = Ct: its rows are columns of C, which must lie side by side. */
static bool fits(const pk_matmul *p, plumb_lt_product *product)
{
    int32_t op_d;
    return batch_fits(&p->batch, product) &&
           describe(p->columns, p->rows, p->c_column, p->c_row, &product->d, &op_d) && op_d == PLUMB_LT_OP_N &&
           describe(p->columns, p->inner, p->b_column, p->b_inner, &product->a, &product->op_a) &&
           describe(p->inner, p->rows, p->a_inner, p->a_row, &product->b, &product->op_b);
}

/* What is done to each result; false: the library cannot, or its bias does not lie side by side. */
static bool describe_epilogue(const plumb_call *call, plumb_lt_product *product)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *bias = call->n_in > 2 ? &call->in[2] : NULL;
    bool relu = attr->activation == PLUMB_ACTIVATION_RELU;
    product->epilogue = bias ? (relu ? PLUMB_LT_EPILOGUE_RELU_BIAS : PLUMB_LT_EPILOGUE_BIAS)
                             : (relu ? PLUMB_LT_EPILOGUE_RELU : PLUMB_LT_EPILOGUE_DEFAULT);
    return (relu || attr->activation == PLUMB_ACTIVATION_NONE) && (!bias || bias->stride[0] == 1 || bias->dim[0] == 1);
}

/* The product without its alignment; false: not for this library. */
static bool make_product(const plumb_call *call, plumb_lt_product *product, struct operands *operands)
{
    pk_matmul p = plumb_cuda_product(call);
    const void *bias = call->n_in > 2 ? call->in[2].data : NULL;
    memset(product, 0, sizeof *product);
    product->dtype = (int32_t)call->out[0].dtype;
    product->allow = call->context->options.allow;
    if (p.rows == 0 || p.columns == 0 || p.inner == 0 || p.batch.count == 0 || !describe_epilogue(call, product)) {
        return false;
    }
    if (!fits(&p, product)) {
        plumb_cuda_turn(&p);
        if (call->n_in > 2 || !fits(&p, product)) { /* turned, its columns are where no bias goes */
            return false;
        }
    }
    *operands = (struct operands){.a = p.batch.data[1], .b = p.batch.data[0], .d = p.batch.data[2], .bias = bias};
    return true;
}

static const int alignments[] = {ALIGNED, 0}; /* 0: of an element */

/* While planning: both plans, or nothing. */
static bool choose(const plumb_call *call, const plumb_lt_plan *plan[2])
{
    plumb_lt_product product;
    struct operands operands;
    struct plumb_cuda *cuda = plumb_cuda_of(call);
    struct plumb_cublaslt *lt = plumb_cuda_vendor_state(cuda, PLUMB_CUDA_CUBLASLT);
    if (!lt || cuda->lost || !make_product(call, &product, &operands)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        product.alignment = alignments[i] ? alignments[i] : (int32_t)plumb_dtype_size(call->out[0].dtype);
        plan[i] = plumb_lt_choose(cuda, lt, &product);
        if (!plan[i]) {
            return false;
        }
    }
    return true;
}

static bool supports(const plumb_call *call)
{
    const plumb_lt_plan *plan[2];
    return choose(call, plan);
}

static size_t workspace(const plumb_call *call)
{
    const plumb_lt_plan *plan[2];
    if (!choose(call, plan)) {
        return 0;
    }
    size_t most = plan[0]->workspace > plan[1]->workspace ? plan[0]->workspace : plan[1]->workspace;
    return most ? most + PLUMB_LT_WORKSPACE_ALIGNMENT : 0;
}

static bool is_aligned(const struct operands *o)
{
    return (((uintptr_t)o->a | (uintptr_t)o->b | (uintptr_t)o->d | (uintptr_t)o->bias) & (ALIGNED - 1)) == 0;
}

static void *align(void *workspace_start)
{
    uintptr_t mask = PLUMB_LT_WORKSPACE_ALIGNMENT - 1;
    return (void *)(((uintptr_t)workspace_start + mask) & ~mask);
}

static plumb_status multiply(const plumb_call *call, struct plumb_cublaslt *lt, const plumb_lt_plan *plan,
                             const struct operands *o)
{
    static const float one = 1, zero = 0;
    static const double one64 = 1, zero64 = 0;
    bool wide = call->out[0].dtype == PLUMB_F64;
    const void *alpha = wide ? (const void *)&one64 : &one, *beta = wide ? (const void *)&zero64 : &zero;
    int status = o->bias ? lt->f.cublasLtMatmulDescSetAttribute(plan->desc, PLUMB_LT_DESC_BIAS_POINTER, &o->bias,
                                                                sizeof o->bias)
                         : PLUMB_LT_SUCCESS;
    if (status != PLUMB_LT_SUCCESS) {
        return plumb_cuda_vendor_check(call, "cublasLtMatmulDescSetAttribute", status);
    }
    return plumb_cuda_vendor_check(
        call, "cublasLtMatmul",
        lt->f.cublasLtMatmul(lt->handle, plan->desc, alpha, o->a, plan->a, o->b, plan->b, beta, o->d, plan->d, o->d, plan->d,
                             &plan->algo, plan->workspace ? align(call->workspace) : NULL, plan->workspace,
                             plumb_cuda_stream(call)));
}

static plumb_status run(const plumb_call *call)
{
    plumb_lt_product product;
    struct operands operands;
    struct plumb_cublaslt *lt = plumb_cuda_vendor_state(plumb_cuda_of(call), PLUMB_CUDA_CUBLASLT);
    const plumb_lt_plan *plan = NULL;
    if (lt && make_product(call, &product, &operands)) {
        product.alignment = is_aligned(&operands) ? ALIGNED : (int32_t)plumb_dtype_size(call->out[0].dtype);
        plan = plumb_cuda_plans_find(&lt->plans, &product, sizeof product);
    }
    if (!plan || !plan->usable) {
        return plumb_call_fail(call, PLUMB_DEVICE_ERROR, "was not planned");
    }
    return multiply(call, lt, plan, &operands);
}

const plumb_impl plumb_impl_matmul_cublaslt = {
    .op = &plumb_op_matmul,
    .name = "cuda.cublaslt",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .supports = supports,
    .workspace = workspace,
    .run = run,
};
