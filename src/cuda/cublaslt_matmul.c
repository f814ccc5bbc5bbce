/* matmul by cuBLASLt. The library stores matrices by columns, so for C = A B, stored by rows, it is asked for the transpose,
 * Ct = Bt At, of which it finds every factor in place; columns of C are its rows, along which its bias lies.
 *
 * An activation is the library's where that is a relu that keeps a NaN, else a kernel of ours over the result, unless that
 * would round twice: sigmoid and tanh of bf16 and f16 are declined.
 *
 * Decided here: what cannot be told as matrices with one contiguous side and one stride of the batch is declined, and so
 * are products of nothing. Where tensors lie is not known while planning, only that most begin at multiples of 64 bytes:
 * so two plans are made, for pointers at multiples of 16 bytes, which is all that any kernel asks for, and for any. */
#include "cuda/cublaslt.h"

enum { ALIGNED = 16 };

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

static int activation_of(const plumb_call *call)
{
    return ((const plumb_attr_matmul *)call->attr)->activation;
}

/* What is done to each result but the activation; false: not for this library. */
static bool describe_epilogue(const plumb_call *call, plumb_lt_product *product)
{
    const plumb_view *bias = call->n_in > 2 ? &call->in[2] : NULL;
    int activation = activation_of(call);
    bool once = activation <= PLUMB_ACTIVATION_RELU || product->dtype == PLUMB_F32 || product->dtype == PLUMB_F64;
    product->epilogue = bias ? PLUMB_LT_EPILOGUE_BIAS : PLUMB_LT_EPILOGUE_DEFAULT;
    return once && (!bias || bias->stride[0] == 1 || bias->dim[0] == 1);
}

/* The product without its alignment; false: not for this library. */
static bool make_product(const plumb_call *call, plumb_lt_product *product, plumb_lt_operands *operands)
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
    *operands = (plumb_lt_operands){.a = p.batch.data[1], .b = p.batch.data[0], .d = p.batch.data[2], .bias = bias};
    return true;
}

/* The same with a relu behind it. */
static plumb_lt_product with_relu(const plumb_lt_product *product)
{
    plumb_lt_product relu = *product;
    relu.epilogue = product->epilogue == PLUMB_LT_EPILOGUE_BIAS ? PLUMB_LT_EPILOGUE_RELU_BIAS : PLUMB_LT_EPILOGUE_RELU;
    return relu;
}

/* While planning: both plans, or nothing. */
static bool choose(const plumb_call *call, const plumb_lt_plan *plan[2])
{
    plumb_lt_product product;
    plumb_lt_operands operands;
    struct plumb_cuda *cuda = plumb_cuda_of(call);
    struct plumb_cublaslt *lt = plumb_cuda_vendor_state(cuda, PLUMB_CUDA_CUBLASLT);
    const int32_t alignments[] = {ALIGNED, (int32_t)plumb_dtype_size(call->out[0].dtype)};
    if (!lt || cuda->lost || !make_product(call, &product, &operands)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        product.alignment = alignments[i];
        plumb_lt_product relu = with_relu(&product);
        plan[i] = activation_of(call) == PLUMB_ACTIVATION_RELU ? plumb_lt_choose(cuda, lt, &relu) : NULL;
        plan[i] = plan[i] ? plan[i] : plumb_lt_choose(cuda, lt, &product);
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

static bool is_aligned(const plumb_lt_operands *o)
{
    return (((uintptr_t)o->a | (uintptr_t)o->b | (uintptr_t)o->d | (uintptr_t)o->bias) & (ALIGNED - 1)) == 0;
}

static void *align(void *start)
{
    uintptr_t mask = PLUMB_LT_WORKSPACE_ALIGNMENT - 1;
    return (void *)(((uintptr_t)start + mask) & ~mask);
}

static const plumb_lt_plan *find(const struct plumb_cublaslt *lt, const plumb_lt_product *product)
{
    const plumb_lt_plan *plan = plumb_plans_find(&lt->plans, product, sizeof *product);
    return plan && plan->usable ? plan : NULL;
}

/* The activation where the library left it to us. */
static plumb_status activate(const plumb_call *call)
{
    static const enum pk_unary kernel[] = {[PLUMB_ACTIVATION_RELU] = PK_RELU, [PLUMB_ACTIVATION_SIGMOID] = PK_SIGMOID,
                                           [PLUMB_ACTIVATION_TANH] = PK_TANH};
    const plumb_view *operands[] = {&call->out[0], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 2);
    return plumb_cuda_check(call, "plumb_k_unary",
                            plumb_k_unary(plumb_cuda_stream(call), kernel[activation_of(call)], (int)call->out[0].dtype, 0, 0,
                                          &w));
}

static plumb_status run(const plumb_call *call)
{
    plumb_lt_product product;
    plumb_lt_operands operands;
    struct plumb_cublaslt *lt = plumb_cuda_vendor_state(plumb_cuda_of(call), PLUMB_CUDA_CUBLASLT);
    const plumb_lt_plan *plan = NULL;
    int activation = activation_of(call);
    const char *function = "";
    if (lt && make_product(call, &product, &operands)) {
        product.alignment = is_aligned(&operands) ? ALIGNED : (int32_t)plumb_dtype_size(call->out[0].dtype);
        plumb_lt_product relu = with_relu(&product);
        plan = activation == PLUMB_ACTIVATION_RELU ? find(lt, &relu) : NULL;
        activation = plan ? PLUMB_ACTIVATION_NONE : activation;
        plan = plan ? plan : find(lt, &product);
    }
    if (!plan) {
        return plumb_call_fail(call, PLUMB_DEVICE_ERROR, "was not planned");
    }
    operands.workspace = plan->workspace ? align(call->workspace) : NULL;
    int code = plumb_lt_launch(lt, plan, &operands, call->out[0].dtype == PLUMB_F64, plumb_cuda_stream(call), &function);
    plumb_status status = plumb_cuda_vendor_check(call, function, code);
    return status == PLUMB_OK && activation != PLUMB_ACTIVATION_NONE ? activate(call) : status;
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
