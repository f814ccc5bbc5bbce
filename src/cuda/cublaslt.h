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
    plumb_cuda_plans plans; /* plumb_lt_plan by plumb_lt_product */
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

/* cublaslt_plan.c */
/* While planning: the plan, chosen if it is not there yet; NULL: none can be had. */
const plumb_lt_plan *plumb_lt_choose(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product);
/* The bytes in which a workspace begins, for the library wants its start at a multiple of 256. */
enum { PLUMB_LT_WORKSPACE_ALIGNMENT = 256 };
void plumb_lt_plan_free(void *lt, void *plan); /* plumb_cuda_plans.destroy */

#endif
