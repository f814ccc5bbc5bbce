/* Every value an element-wise op of one operand can be given: all 65,536 of bf16 and f16, and those of f32. What is a
 * subject, and what its results must be. Which ops there are says the op table, which numbers (slopes, bounds, dtypes)
 * they are tried with say their cases; so a new op is here as soon as it is anywhere. */
#ifndef PLUMB_TESTS_EXHAUSTIVE_H
#define PLUMB_TESTS_EXHAUSTIVE_H

#include "cases.h"

typedef double truth(double x, double a, double b);
typedef long double long_truth(long double x, long double a, long double b);

typedef void truths(const float *x, double *r, int64_t n, double a, double b); /* r[i] is that of x[i] */

struct subject {
    const plumb_op *op;
    _Alignas(16) unsigned char attr[512];
    char label[96];
    truth *is; /* NULL: only the reference knows */
    truths *are;
    long_truth *is_long;
    bool smooth; /* as truths.h says */
};

/* What is being judged, for messages and counts. */
struct where {
    const struct subject *subject;
    plumb_dtype dtype;
    const char *provider, *isa;
    int64_t wrong;
};
void exhaustive_tell(struct where *w, const char *what, double x, double y, double r);
void exhaustive_settle(const struct where *w, int64_t elements);

/* All of f32 through every implementation of the CPU (exhaustive_sweep.c), a slice at a time; one sweep for each thread. */
enum { SWEEP_SLICES = 64 };
struct sweep *sweep_open(plumb_context *context, int64_t stride, int64_t lesser);
void sweep_slice(struct sweep *s, const struct subject *subject, int slice);
void sweep_close(struct sweep *s);

/* All of them, a malloc'ed array. Ops without a case that takes floats are named and counted in *without. */
struct subject *subjects(const char *filter, int *count, int *without);

/* An element-wise call of floats, by what it must be: r is right to many digits more than `dtype` has. How much of what is
 * smaller than the least normal number may be lost: kernels of the CPU run with denormals off. */
bool element_is_right(const plumb_op *op, const void *attr, plumb_dtype dtype, double x, double y, double r,
                      bool denormals_off);

/* Elements i < count of raw memory, widened bit by bit, whatever the processor does to denormals meanwhile. */
double element_at(const void *data, plumb_dtype dtype, int64_t i);

#endif
