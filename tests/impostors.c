/* Is the cross-check able to find a bad kernel? Multiplications that are wrong in one way each are run through the same
 * trials as real implementations; every one of them must fail, and the right one must pass. */
#include "trial.h"

#include <math.h>
#include <stdio.h>

enum sin {
    NO_SIN,
    LAST_FORGOTTEN,    /* one element is not written */
    ONE_TOO_MANY,      /* memory behind the output is */
    INPUT_WRITTEN,
    STRIDES_IGNORED,
    SLIGHTLY_OFF,      /* by three units in the last place */
    NAN_DROPPED,
    DEPENDS_ON_THREADS,
    WORKSPACE_OVERRUN,
    WORKSPACE_TRUSTED, /* reads what it did not write */
    SINGLE_ONLY,       /* f64 through f32 */
    SINS
};
static const char *const sin_name[SINS] = {"none", "last element forgotten", "one too many", "input written",
    "strides ignored", "slightly off", "NaN dropped", "depends on threads", "workspace overrun", "workspace trusted",
    "f64 through f32"};
static const enum sin every[SINS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

/* Offset of logical element `index`. */
static int64_t place(const plumb_view *view, int64_t index)
{
    int64_t offset = 0;
    for (int d = view->rank - 1; d >= 0; d--) {
        offset += index % view->dim[d] * view->stride[d];
        index /= view->dim[d];
    }
    return offset;
}

static double product(const plumb_call *call, enum sin sin, int64_t i)
{
    int64_t a = sin == STRIDES_IGNORED ? i : place(&call->in[0], i), b = sin == STRIDES_IGNORED ? i : place(&call->in[1], i);
    double x = plumb_get(call->in[0].data, call->in[0].dtype, a), y = plumb_get(call->in[1].data, call->in[1].dtype, b);
    double z = x * y;
    switch (sin) {
    case SLIGHTLY_OFF: return z * (1 + 6 * plumb_dtype_epsilon(call->out[0].dtype));
    case NAN_DROPPED: return isnan(x) ? 0 : z;
    case DEPENDS_ON_THREADS: return i == 0 && plumb_pool_size(call->pool) > 1 ? nextafterf((float)z, 10) : z;
    case WORKSPACE_TRUSTED: return z + (((unsigned char *)call->workspace)[i % 64] > 0x80);
    case SINGLE_ONLY: return (float)z;
    default: return z;
    }
}

static plumb_status run_sinner(const plumb_call *call, enum sin sin)
{
    int64_t count = plumb_view_count(&call->out[0]);
    for (int64_t i = 0; i < count - (sin == LAST_FORGOTTEN); i++) {
        plumb_put(call->out[0].data, call->out[0].dtype, place(&call->out[0], i), product(call, sin, i));
    }
    if (sin == ONE_TOO_MANY) {
        plumb_put(call->out[0].data, call->out[0].dtype, place(&call->out[0], count - 1) + 1, 7);
    } else if (sin == INPUT_WRITTEN) {
        plumb_put(call->in[1].data, call->in[1].dtype, place(&call->in[1], 2), 0);
    } else if (sin == WORKSPACE_OVERRUN) {
        ((unsigned char *)call->workspace)[64] = 1;
    }
    return PLUMB_OK;
}

#define SINNER(n)                                                                                                     \
    static plumb_status run_##n(const plumb_call *call) { return run_sinner(call, every[n]); }
SINNER(0) SINNER(1) SINNER(2) SINNER(3) SINNER(4) SINNER(5) SINNER(6) SINNER(7) SINNER(8) SINNER(9) SINNER(10)

static size_t room(const plumb_call *call)
{
    (void)call;
    return 64;
}

/* Does any of the usual ways of laying out find it? */
static bool is_found(struct trial *trial, const plumb_impl *impl)
{
    static const enum trial_values values[] = {VALUES_NORMAL, VALUES_FLAT, VALUES_NAN};
    static const enum layout layouts[] = {LAYOUT_CONTIGUOUS, LAYOUT_TRANSPOSED, LAYOUT_SLICED, LAYOUT_REVERSED, LAYOUT_ODD};
    bool found = false;
    for (int v = 0; v < 3; v++) {
        if (!trial_prepare(trial, values[v])) {
            printf("FAIL impostors: %s\n", trial->failure);
            return false;
        }
        for (int k = 0; k < 5; k++) {
            struct arrangement how = {.name = "impostor"};
            how.out[0] = values[v] == VALUES_FLAT ? LAYOUT_CONTIGUOUS : layouts[k];
            for (int i = 0; i < CASE_MAX_IN; i++) {
                how.in[i] = values[v] == VALUES_FLAT ? LAYOUT_BROADCAST : layouts[k];
            }
            found = trial_run(trial, impl, &how).verdict != PASSED || found;
        }
    }
    trial_forget(trial);
    return found;
}

int64_t check_impostors(plumb_context *context, plumb_pool *one, plumb_pool *three, int64_t *failed)
{
    static plumb_status (*const run[SINS])(const plumb_call *) = {run_0, run_1, run_2, run_3, run_4, run_5,
                                                                 run_6, run_7, run_8, run_9, run_10};
    struct trial *trial = test_alloc(sizeof(*trial));
    op_case one_case = make_case(&plumb_op_mul, NULL, "impostors");
    int64_t right = 0;
    one_case.n_in = 2;
    one_case.in[0] = floats(PLUMB_SHAPE(3, 4, 5));
    one_case.in[1] = floats(PLUMB_SHAPE(3, 4, 5));
    trial->pool[0] = one;
    trial->pool[1] = three;
    for (int k = 0; k < SINS; k++) {
        plumb_impl impl = {.op = &plumb_op_mul, .name = "cpu.impostor", .dtypes = PLUMB_FLOATS, .workspace = room, .run = run[k]};
        plumb_dtype dtype = every[k] == SINGLE_ONLY ? PLUMB_F64 : PLUMB_F32;
        bool found = trial_begin(trial, context, &one_case, dtype) == PLUMB_OK && is_found(trial, &impl);
        if (found == (every[k] != NO_SIN)) {
            right++;
        } else {
            printf("FAIL impostors: %s: %s\n", sin_name[k], found ? trial->failure : "not found");
            ++*failed;
        }
    }
    free(trial);
    return right;
}
