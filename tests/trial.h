/* A trial: one case in one dtype with its values and what must come out. It knows how to run an implementation on any
 * layout and what is wrong with the result; crosscheck.c decides which layouts and counts. */
#ifndef PLUMB_TESTS_TRIAL_H
#define PLUMB_TESTS_TRIAL_H

#include "exec/providers.h"
#include "values.h"

#define TRIAL_MAX_OUT 32

enum trial_values {
    VALUES_NORMAL, /* what the case asks for */
    VALUES_FLAT,   /* the same, equal along the dimension that LAYOUT_BROADCAST stretches */
    VALUES_EXACT,  /* small whole numbers, few enough that every sum is exact in the output's dtype */
    VALUES_NAN     /* normal, with one NaN in each floating input */
};

struct trial {
    const op_case *one;
    plumb_context *context;
    plumb_pool *pool[2]; /* of 1 and of 3 threads */
    int isa;             /* what kernels may use */
    plumb_dtype dtype;
    enum trial_values values;
    _Alignas(16) unsigned char attr[512];
    int n_in, n_out;
    plumb_type in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    double *value[CASE_MAX_IN];
    double *r[TRIAL_MAX_OUT]; /* the oracle: the reference in f64 on the same values */
    double *R[TRIAL_MAX_OUT]; /* the oracle on absolute values, for PLUMB_TOL_DOT and the exact mode */
    double scale[TRIAL_MAX_OUT], terms, slack; /* slack: of the implementation that is judged */
    double operations;   /* of one run, by the op's own count */
    char failure[2048];
};

/* What there is to try: the core's providers and what plugins add to the CPU, or those of the device's plugin. How many. */
int trial_providers(plumb_device *device, const plumb_provider **list, int room);

/* The types and attributes of the case in `dtype`, as an implementation would get them; the shape rule's refusal. */
plumb_status trial_begin(struct trial *trial, plumb_context *context, const op_case *one, plumb_dtype dtype);
/* Makes values and oracle. false: trial->failure says why, or is "" where these values do not apply to the case. */
bool trial_prepare(struct trial *trial, enum trial_values values);
void trial_forget(struct trial *trial); /* frees values and oracle */
uint64_t trial_seed(const struct trial *trial);

bool trial_fail(struct trial *trial, const char *format, ...) PLUMB_PRINTF(2, 3); /* notes the failure, returns false */
plumb_view trial_empty_view(const plumb_type *type);
plumb_call trial_call(const struct trial *trial, const plumb_view *in, const plumb_view *out);
/* By its dtypes, its flags for layouts, and supports(). One without such a flag is tried with outputs in any strides,
 * although programs give it none but row-major ones. */
bool trial_takes(const plumb_impl *impl, const plumb_call *call);
/* Does it run on a device whose memory the host cannot touch? Then its tensors and workspace must lie there. */
bool trial_elsewhere(const plumb_impl *impl);
/* Runs it with a workspace full of `dirt` between guards, and waits for the end. */
plumb_status trial_dispatch(struct trial *trial, const plumb_impl *impl, plumb_call *call, int dirt);

/* One way of laying the tensors out. */
enum { AXIS_MIXED = LAYOUT_COUNT, AXIS_IN_PLACE, AXIS_PICTURES, AXIS_COUNT };
struct arrangement {
    enum layout in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    int axis;          /* what it counts as: the inputs' enum layout, or one of the above */
    unsigned in_place; /* bit k: output k lies over the input that the op names for it */
    const char *name;
};

/* How one implementation fared. */
enum verdict { PASSED, FAILED, DECLINED };
struct finding {
    enum verdict verdict;
    double worst; /* err / bound */
};

/* Runs it twice (1 thread, 3 threads; workspace dirtied in two ways) and compares with the oracle. A run that the
 * implementation refuses with one->expect passes. */
struct finding trial_run(struct trial *trial, const plumb_impl *impl, const struct arrangement *how);
/* The zero-copy form of the op; DECLINED where it has none for this layout. */
struct finding trial_view(struct trial *trial, enum layout layout);
/* The outputs that may lie over inputs, as a mask. */
unsigned trial_in_place(const struct trial *trial);
bool trial_mistrusted(struct trial *trial);

/* Kernels with a planted mistake each: how many were judged rightly (impostors.c). */
int64_t check_impostors(plumb_context *context, plumb_pool *one, plumb_pool *three, int64_t *failed);

#endif
