/* The part of cuBLASLt's interface that Plumb uses, declared here so that building needs no header of it. Names of ours
 * for what the header calls otherwise; tests/cudasim/abi.cpp holds every value, size and signature against the header
 * where there is one. The interface is stable within the major versions 12 and 13. */
#ifndef PLUMB_CUBLASLT_ABI_H
#define PLUMB_CUBLASLT_ABI_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

typedef int plumb_lt_status;
typedef void *plumb_lt_handle, *plumb_lt_desc, *plumb_lt_layout, *plumb_lt_preference;

typedef struct plumb_lt_algo { /* plain data: good for the same version of the library in another process */
    uint64_t data[8];
} plumb_lt_algo;

typedef struct plumb_lt_result {
    plumb_lt_algo algo;
    size_t workspace; /* bytes that the algorithm needs */
    plumb_lt_status status;
    float waves;
    int reserved[4];
} plumb_lt_result;

/* X(our name, the header's name, value) */
#define PLUMB_LT_VALUES(X)                                                          \
    X(PLUMB_LT_SUCCESS, CUBLAS_STATUS_SUCCESS, 0)                                   \
    X(PLUMB_LT_NOT_INITIALIZED, CUBLAS_STATUS_NOT_INITIALIZED, 1)                   \
    X(PLUMB_LT_ALLOC_FAILED, CUBLAS_STATUS_ALLOC_FAILED, 3)                         \
    X(PLUMB_LT_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE, 7)                       \
    X(PLUMB_LT_ARCH_MISMATCH, CUBLAS_STATUS_ARCH_MISMATCH, 8)                       \
    X(PLUMB_LT_EXECUTION_FAILED, CUBLAS_STATUS_EXECUTION_FAILED, 13)                \
    X(PLUMB_LT_INTERNAL_ERROR, CUBLAS_STATUS_INTERNAL_ERROR, 14)                    \
    X(PLUMB_LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED, 15)                      \
    X(PLUMB_LT_R_32F, CUDA_R_32F, 0)                                                \
    X(PLUMB_LT_R_64F, CUDA_R_64F, 1)                                                \
    X(PLUMB_LT_R_16F, CUDA_R_16F, 2)                                                \
    X(PLUMB_LT_R_16BF, CUDA_R_16BF, 14)                                             \
    X(PLUMB_LT_COMPUTE_32F, CUBLAS_COMPUTE_32F, 68)                                 \
    X(PLUMB_LT_COMPUTE_64F, CUBLAS_COMPUTE_64F, 70)                                 \
    X(PLUMB_LT_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_TF32, 77)             \
    X(PLUMB_LT_OP_N, CUBLAS_OP_N, 0)                                                \
    X(PLUMB_LT_OP_T, CUBLAS_OP_T, 1)                                                \
    X(PLUMB_LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA, 3)                         \
    X(PLUMB_LT_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB, 4)                         \
    X(PLUMB_LT_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE, 7)                     \
    X(PLUMB_LT_DESC_BIAS_POINTER, CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)             \
    X(PLUMB_LT_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 5)           \
    X(PLUMB_LT_LAYOUT_BATCH_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, 6) \
    X(PLUMB_LT_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)         \
    X(PLUMB_LT_PREF_REDUCTION, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3)       \
    X(PLUMB_LT_PREF_ALIGNMENT_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)     \
    X(PLUMB_LT_PREF_ALIGNMENT_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)     \
    X(PLUMB_LT_PREF_ALIGNMENT_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)     \
    X(PLUMB_LT_PREF_ALIGNMENT_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)     \
    X(PLUMB_LT_PREF_IMPL_MASK, CUBLASLT_MATMUL_PREF_IMPL_MASK, 12)                  \
    X(PLUMB_LT_REDUCTION_NONE, CUBLASLT_REDUCTION_SCHEME_NONE, 0)                   \
    X(PLUMB_LT_REDUCTION_INPLACE, CUBLASLT_REDUCTION_SCHEME_INPLACE, 1)             \
    X(PLUMB_LT_REDUCTION_COMPUTE_TYPE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 2)   \
    X(PLUMB_LT_REDUCTION_OUTPUT_TYPE, CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE, 4)     \
    X(PLUMB_LT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT, 1)                      \
    X(PLUMB_LT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU, 2)                            \
    X(PLUMB_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS, 4)                            \
    X(PLUMB_LT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS, 6)

/* What an algorithm computes with, bits of PLUMB_LT_PREF_IMPL_MASK; the same three columns. */
#define PLUMB_LT_MASKS(X)                                                                           \
    X(PLUMB_LT_IMPL_ACCUMULATOR_16F, CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_16F, 0x100)          \
    X(PLUMB_LT_IMPL_INPUT_16F, CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F, 0x10000)                    \
    X(PLUMB_LT_IMPL_INPUT_16BF, CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF, 0x20000)                  \
    X(PLUMB_LT_IMPL_INPUT_TF32, CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32, 0x40000)

#define PLUMB_LT_ENUMERATOR(ours, theirs, value) ours = value,
enum { PLUMB_LT_VALUES(PLUMB_LT_ENUMERATOR) PLUMB_LT_MASKS(PLUMB_LT_ENUMERATOR) };
#undef PLUMB_LT_ENUMERATOR

/* X(name, result, parameters) */
#define PLUMB_LT_FUNCTIONS(X)                                                                                           \
    X(cublasLtGetVersion, size_t, (void))                                                                               \
    X(cublasLtCreate, plumb_lt_status, (plumb_lt_handle *handle))                                                       \
    X(cublasLtDestroy, plumb_lt_status, (plumb_lt_handle handle))                                                       \
    X(cublasLtMatmulDescCreate, plumb_lt_status, (plumb_lt_desc *desc, int compute, int scale))                         \
    X(cublasLtMatmulDescDestroy, plumb_lt_status, (plumb_lt_desc desc))                                                 \
    X(cublasLtMatmulDescSetAttribute, plumb_lt_status, (plumb_lt_desc desc, int attribute, const void *value,           \
                                                        size_t bytes))                                                  \
    X(cublasLtMatrixLayoutCreate, plumb_lt_status, (plumb_lt_layout *layout, int type, uint64_t rows, uint64_t columns, \
                                                    int64_t leading))                                                   \
    X(cublasLtMatrixLayoutDestroy, plumb_lt_status, (plumb_lt_layout layout))                                           \
    X(cublasLtMatrixLayoutSetAttribute, plumb_lt_status, (plumb_lt_layout layout, int attribute, const void *value,     \
                                                          size_t bytes))                                                \
    X(cublasLtMatmulPreferenceCreate, plumb_lt_status, (plumb_lt_preference *preference))                               \
    X(cublasLtMatmulPreferenceDestroy, plumb_lt_status, (plumb_lt_preference preference))                               \
    X(cublasLtMatmulPreferenceSetAttribute, plumb_lt_status, (plumb_lt_preference preference, int attribute,            \
                                                              const void *value, size_t bytes))                         \
    X(cublasLtMatmulAlgoGetHeuristic, plumb_lt_status, (plumb_lt_handle handle, plumb_lt_desc desc, plumb_lt_layout a,  \
                                                        plumb_lt_layout b, plumb_lt_layout c, plumb_lt_layout d,        \
                                                        plumb_lt_preference preference, int wanted,                     \
                                                        plumb_lt_result *results, int *found))                          \
    X(cublasLtMatmulAlgoCheck, plumb_lt_status, (plumb_lt_handle handle, plumb_lt_desc desc, plumb_lt_layout a,         \
                                                 plumb_lt_layout b, plumb_lt_layout c, plumb_lt_layout d,               \
                                                 const plumb_lt_algo *algo, plumb_lt_result *result))                   \
    X(cublasLtMatmul, plumb_lt_status, (plumb_lt_handle handle, plumb_lt_desc desc, const void *alpha, const void *a,   \
                                        plumb_lt_layout a_layout, const void *b, plumb_lt_layout b_layout,              \
                                        const void *beta, const void *c, plumb_lt_layout c_layout, void *d,             \
                                        plumb_lt_layout d_layout, const plumb_lt_algo *algo, void *workspace,           \
                                        size_t workspace_bytes, cudaStream_t stream))

#define PLUMB_LT_MEMBER(name, result, parameters) result(*name) parameters;
typedef struct plumb_lt_functions {
    PLUMB_LT_FUNCTIONS(PLUMB_LT_MEMBER)
} plumb_lt_functions;
#undef PLUMB_LT_MEMBER

#endif
