/* A product handed to the library, and trying out what its relu makes of a NaN: it may be max(x, 0), which is 0, and a NaN
 * that vanishes hides what went wrong. Kernels differ in it, so every algorithm is tried, once: the answer is kept with
 * the choice. */
#include "cuda/cublaslt.h"

int plumb_lt_launch(const struct plumb_cublaslt *lt, const plumb_lt_plan *plan, const plumb_lt_operands *operands,
                    bool wide, cudaStream_t stream, const char **function)
{
    static const float one = 1, zero = 0;
    static const double one64 = 1, zero64 = 0;
    const void *alpha = wide ? (const void *)&one64 : &one, *beta = wide ? (const void *)&zero64 : &zero;
    if (operands->bias) {
        *function = "cublasLtMatmulDescSetAttribute";
        int status = lt->f.cublasLtMatmulDescSetAttribute(plan->desc, PLUMB_LT_DESC_BIAS_POINTER, &operands->bias,
                                                          sizeof operands->bias);
        if (status != PLUMB_LT_SUCCESS) {
            return status;
        }
    }
    *function = "cublasLtMatmul";
    return lt->f.cublasLtMatmul(lt->handle, plan->desc, alpha, operands->a, plan->a, operands->b, plan->b, beta,
                                operands->d, plan->d, operands->d, plan->d, &plan->algo, operands->workspace,
                                plan->workspace, stream);
}

/* ---- NaN ---- */

/* Bytes from a matrix's first element to beyond its last one. */
static size_t extent(const plumb_lt_product *product, const plumb_lt_matrix *matrix)
{
    int64_t last = matrix->rows - 1 + (matrix->columns - 1) * matrix->leading + (product->batch - 1) * matrix->batch_stride;
    return (size_t)(last + 1) * plumb_dtype_size((plumb_dtype)product->dtype);
}

/* Whether the element at the start of `from` is NaN. */
static enum plumb_lt_nan read_nan(plumb_device *device, const void *from, plumb_dtype dtype)
{
    unsigned char element[8];
    if (device->table->download(device, element, from, plumb_dtype_size(dtype)) != PLUMB_OK) {
        return PLUMB_LT_NAN_UNKNOWN;
    }
    double value = plumb_get(element, dtype, 0);
    return value != value ? PLUMB_LT_NAN_KEPT : PLUMB_LT_NAN_LOST;
}

/* Every operand is NaN: all bits set. */
enum plumb_lt_nan plumb_lt_try_nan(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product,
                                   const plumb_lt_plan *plan)
{
    plumb_device *device = &cuda->base;
    const plumb_dtype dtype = (plumb_dtype)product->dtype;
    const size_t bytes[] = {extent(product, &product->a), extent(product, &product->b), extent(product, &product->d),
                            (size_t)product->d.rows * plumb_dtype_size(dtype), plan->workspace};
    void *memory[5] = {NULL};
    const char *function;
    bool good = true;
    for (int i = 0; good && i < 5; i++) {
        good = device->table->alloc(device, bytes[i], &memory[i]) == PLUMB_OK;
    }
    for (int i = 0; good && i < 4; i++) {
        good = device->table->fill(device, memory[i], i == 2 ? 0 : 0xff, bytes[i]) == PLUMB_OK;
    }
    const plumb_lt_operands operands = {.a = memory[0], .b = memory[1], .d = memory[2], .workspace = memory[4],
                                        .bias = product->epilogue & PLUMB_LT_EPILOGUE_BIAS ? memory[3] : NULL};
    good = good && plumb_lt_launch(lt, plan, &operands, dtype == PLUMB_F64, cuda->stream, &function) == PLUMB_LT_SUCCESS;
    enum plumb_lt_nan found = good ? read_nan(device, memory[2], dtype) : PLUMB_LT_NAN_UNKNOWN;
    for (int i = 0; i < 5; i++) {
        if (memory[i]) {
            device->table->free(device, memory[i]);
        }
    }
    return found;
}
