/* Small kernels that use each thing of the dialect once, for the simulator's own tests; and the same with bugs. */
#ifndef CUDASIM_SAMPLES_H
#define CUDASIM_SAMPLES_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sample_view { /* a structure given by value */
    const float *data;
    int64_t count, stride;
} sample_view;

cudaError_t sample_scale(cudaStream_t stream, const float *x, float *y, int n, float a);
cudaError_t sample_scale4(cudaStream_t stream, const float *x, float *y, int n, float a); /* n % 4 == 0 */
cudaError_t sample_gather(cudaStream_t stream, sample_view x, float *y);
cudaError_t sample_block_sums(cudaStream_t stream, const float *x, float *sums, int n); /* 256 a block */
cudaError_t sample_total(cudaStream_t stream, const float *x, float *parts, unsigned *done, float *total, int n);
cudaError_t sample_matmul(cudaStream_t stream, const float *a, const float *b, float *c, int m, int n, int k);
cudaError_t sample_reverse(cudaStream_t stream, const int *x, int *y, int n); /* n <= 1024, one block */
cudaError_t sample_histogram(cudaStream_t stream, const unsigned char *x, unsigned *counts, int n);
cudaError_t sample_warp(cudaStream_t stream, int *out); /* 32 lanes, 16 results each */
cudaError_t sample_halves(cudaStream_t stream, const void *f16, void *bf16, double *sum, int n);
cudaError_t sample_counts(cudaStream_t stream, const int *x, int *out); /* one block of 100 */
cudaError_t sample_indices(cudaStream_t stream, int *out); /* grid (2, 3, 2), block (4, 2, 3) */
cudaError_t sample_reverse_wrong(cudaStream_t stream, const int *x, int *y); /* some threads miss the barrier */
cudaError_t sample_large_shared(cudaStream_t stream, float *out, size_t bytes);

/* One planted bug: runs it over memory of its own. The number is that of bugs.h. */
void sample_bug(int number);

#ifdef __cplusplus
}
#endif
#endif
