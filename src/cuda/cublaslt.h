/* cuBLASLt as a device uses it: the library, a handle, and what was chosen for each product. */
#ifndef PLUMB_CUBLASLT_H
#define PLUMB_CUBLASLT_H

#include "cuda/cublaslt_abi.h"
#include "cuda/vendor.h"

struct plumb_cublaslt {
    struct plumb_cuda_library library;
    plumb_lt_functions f;
    plumb_lt_handle handle;
    plumb_cuda_cache cache; /* plumb_lt_choice by plumb_lt_product */
    plumb_plans plans; /* plumb_lt_plan by plumb_lt_product */
};

/* A matrix of column-major storage, an operand of a product. */
typedef struct plumb_lt_matrix {
    int64_t rows, columns, leading, batch_stride;
} plumb_lt_matrix;

/* D (m, n) = epilogue(op(A) op(B)), all that an algorithm depends on. A key: zeroed before it is filled. */
typedef struct plumb_lt_product {
    plumb_lt_matrix a, b, d; /* as stored: before op */
    int32_t op_a, op_b, epilogue, batch;
    int32_t dtype;     /* plumb_dtype of all of them */
    int32_t alignment; /* bytes, of every pointer */
    uint32_t allow;    /* PLUMB_ALLOW_... */
    uint32_t unused;
} plumb_lt_product;

typedef struct plumb_lt_plan {
    bool usable; /* else the library has no algorithm for it */
    plumb_lt_desc desc;
    plumb_lt_layout a, b, d;
    plumb_lt_algo algo;
    size_t workspace;
} plumb_lt_plan;

typedef struct plumb_lt_operands { /* where they lie */
    const void *a, *b, *bias; /* bias: NULL for none */
    void *d, *workspace;
} plumb_lt_operands;

/* cublaslt_launch.c */
/* Queues the product; what the library said, and of which function. */
int plumb_lt_launch(const struct plumb_cublaslt *lt, const plumb_lt_plan *plan, const plumb_lt_operands *operands,
                    bool wide, cudaStream_t stream, const char **function);
/* Whether a NaN survives a plan whose epilogue is a relu, which no document says: tried out on memory of its own. */
enum plumb_lt_nan { PLUMB_LT_NAN_UNKNOWN, PLUMB_LT_NAN_KEPT, PLUMB_LT_NAN_LOST };
enum plumb_lt_nan plumb_lt_try_nan(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product,
                                   const plumb_lt_plan *plan);

/* cublaslt_plan.c */
/* While planning: the plan, chosen if it is not there yet; NULL: none can be had. */
const plumb_lt_plan *plumb_lt_choose(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product);
enum { PLUMB_LT_WORKSPACE_ALIGNMENT = 256 }; /* bytes, as the library wants the start of its workspace */
void plumb_lt_plan_free(void *lt, void *plan); /* plumb_plans.destroy */

#endif
