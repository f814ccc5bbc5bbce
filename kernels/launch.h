/* What C sees of the kernels: plain structs of numbers and one C function per launcher. It stands on its own, so that
 * kernels know nothing of the library and the library nothing of C++.
 *
 * Rules: a launcher computes grid and block, launches on the stream it is given and returns what the launch returned;
 * it allocates nothing, waits for nothing and keeps nothing, so it may be captured. A launch over no elements is
 * cudaSuccess without a launch. Structs are passed by const pointer and copied to the kernel by value. */
#ifndef PLUMB_LAUNCH_H
#define PLUMB_LAUNCH_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PK_MAX_RANK 8

/* Element types: the numbers of plumb_dtype. */
enum { PK_F32 = 1, PK_F64 = 2, PK_BF16 = 3, PK_F16 = 4, PK_I32 = 5, PK_I64 = 6, PK_U8 = 7 };

/* A tensor as in plumb_view: strides are in elements, may be 0 or negative. */
typedef struct pk_view {
    void *data; /* element (0, ..., 0) */
    int32_t dtype, rank;
    int64_t dim[PK_MAX_RANK], stride[PK_MAX_RANK];
} pk_view;

/* Up to four operands visited together over one index space (row-major order, in elements). The last operand is the
 * one that is written. Made by plumb_cuda_walk, which merges and orders dimensions: an element-wise walk over packed
 * memory has rank 1. */
#define PK_WALK_OPERANDS 4
typedef struct pk_walk {
    void *data[PK_WALK_OPERANDS];
    int64_t count;
    int32_t rank, operands;
    int64_t dim[PK_MAX_RANK];
    int64_t stride[PK_WALK_OPERANDS][PK_MAX_RANK];
} pk_walk;

/* Where a kernel notes that a value of its input is wrong (a label, an index): the first to find code 0 writes. The
 * device reads it when results are fetched, and says so with the op's name. `watch` is plumb_cuda_watch's number. */
typedef struct pk_fault {
    int32_t code, watch;
    int64_t at, value, low, high; /* the value at element `at` is outside [low, high) */
} pk_fault;

/* ---- elementwise.cu ---- */
enum pk_unary {
    PK_AFFINE, PK_NEG, PK_ABS, PK_SIGN, PK_EXP, PK_LOG, PK_LOG1P, PK_SQRT, PK_RSQRT, PK_SQUARE, PK_RECIPROCAL, PK_SIN,
    PK_COS, PK_ERF, PK_SIGMOID, PK_TANH, PK_RELU, PK_LEAKY_RELU, PK_ELU, PK_GELU, PK_SILU, PK_SOFTPLUS, PK_HUBER,
    PK_CLAMP
};
enum pk_binary {
    PK_ADD, PK_SUB, PK_MUL, PK_DIV, PK_MAXIMUM, PK_MINIMUM, PK_EQUAL, PK_LESS, PK_LESS_EQUAL, PK_POW,
    PK_SIGMOID_BACKWARD, PK_TANH_BACKWARD, PK_RELU_BACKWARD, PK_LEAKY_RELU_BACKWARD, PK_ELU_BACKWARD, PK_CLAMP_BACKWARD
};
/* x -> y of one floating dtype; a and b are the op's numbers. */
cudaError_t plumb_k_unary(cudaStream_t stream, enum pk_unary what, int dtype, double a, double b, const pk_walk *w);
/* Two operands -> y; PK_POW and the backward forms (from, dy) take floating dtypes only; comparisons write u8. */
cudaError_t plumb_k_binary(cudaStream_t stream, enum pk_binary what, int dtype, double a, double b, const pk_walk *w);
/* condition (u8), a, b -> y, elements of `size` bytes. */
cudaError_t plumb_k_where(cudaStream_t stream, int size, const pk_walk *w);
cudaError_t plumb_k_cast(cudaStream_t stream, int from, int to, const pk_walk *w);

#ifdef __cplusplus
}
#endif
#endif
