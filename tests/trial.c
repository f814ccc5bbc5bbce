/* The second half of trial.h: running an implementation on laid-out memory and judging what it did. What "right" means
 * is decided here: bitwise where the op says so or sums are exact, else by the formula of op.h's plumb_tolerance.
 * Comparisons are written so that a NaN fails. */
#include "trial.h"

#include <math.h>
#include <stdio.h>

/* ---- comparing ---- */

static double largest(plumb_dtype dtype)
{
    switch (dtype) {
    case PLUMB_F32: return 0x1.fffffep127;
    case PLUMB_BF16: return 0x1.fep127;
    case PLUMB_F16: return 65504;
    default: return 0x1.fffffffffffffp1023;
    }
}

/* Kernels may flush what is smaller than the smallest normal number of the type they compute in. */
static double smallest(plumb_dtype dtype)
{
    return dtype == PLUMB_F64 ? 0x1p-1022 : dtype == PLUMB_F16 ? 0x1p-24 : 0x1p-126;
}

static double bound(const struct trial *trial, int k, int64_t i)
{
    plumb_dtype dtype = trial->out[k].dtype;
    double u = plumb_dtype_epsilon(dtype), r = fabs(trial->r[k][i]), tiny = smallest(dtype), K = trial->terms, sum;
    switch (trial->one->op->tolerance) {
    case PLUMB_TOL_SCALAR: sum = (1 + trial->one->op->ulps) * u * r + tiny; break;
    case PLUMB_TOL_DOT:
        /* Equal terms all round the same way: then only the worst case is certain. */
        K = trial->values == VALUES_FLAT ? fmax(4 * sqrt(K), K) : 4 * sqrt(K);
        sum = u * r + K * (dtype == PLUMB_F64 ? u : 0x1p-24) * trial->R[k][i] * trial->slack + tiny;
        break;
    case PLUMB_TOL_NORM: sum = 8 * (1 + log2(fmax(K, 1))) * u * trial->scale[k] + tiny; break;
    default: return 0;
    }
    return dtype == PLUMB_F64 ? 2 * sum : sum; /* in f64 the oracle rounds as well */
}

/* Is y what the oracle's r may become? *ratio: error over bound. */
static bool agrees(const struct trial *trial, int k, int64_t i, double y, double *ratio)
{
    plumb_dtype dtype = trial->out[k].dtype;
    double r = trial->r[k][i], rounded = round_to(dtype, r);
    *ratio = 0;
    if (isnan(r) || isnan(y)) {
        return isnan(r) && isnan(y);
    }
    if (!plumb_dtype_is_float(dtype) || trial->one->op->tolerance == PLUMB_TOL_EXACT || trial->values == VALUES_EXACT) {
        return y == rounded;
    }
    if (trial->values == VALUES_NAN || y == r) {
        return true; /* only where NaN comes out is of interest */
    }
    if (isinf(rounded) || isinf(y)) {
        double edge = 0.99 * largest(dtype);
        return y == rounded || (fabs(r) >= edge && fabs(y) >= edge && (y > 0) == (r > 0));
    }
    double tolerance = bound(trial, k, i), err = fabs(y - r);
    *ratio = err / tolerance;
    return err <= tolerance;
}

static bool compare(struct trial *trial, int k, const double *y, double *worst)
{
    int64_t count = plumb_shape_count(&trial->out[k].shape), wrong = 0, first = 0;
    double ratio, at_first = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!agrees(trial, k, i, y[i], &ratio)) {
            if (wrong++ == 0) {
                first = i;
                at_first = ratio;
            }
        } else if (ratio > *worst) {
            *worst = ratio;
        }
    }
    if (wrong > 0) {
        return trial_fail(trial, "output %d: %lld of %lld elements wrong, first at %lld: %.9g instead of %.9g (%.2f x bound)",
                    k, (long long)wrong, (long long)count, (long long)first, y[first], trial->r[k][first], at_first);
    }
    return true;
}

static bool compare_all(struct trial *trial, const struct buffer *out, double *worst)
{
    bool good = true;
    for (int k = 0; k < trial->n_out && good; k++) {
        double *y = test_alloc((size_t)(plumb_shape_count(&trial->out[k].shape) + 1) * sizeof(double));
        buffer_load(&out[k], y);
        good = compare(trial, k, y, worst);
        free(y);
    }
    return good;
}

/* ---- running ---- */

static int over_which(const struct trial *trial, int output)
{
    const plumb_op *op = trial->one->op;
    int input = op->in_place ? op->in_place(trial->attr, output) : -1;
    if (input < 0 || input >= trial->n_in || trial->in[input].dtype != trial->out[output].dtype ||
        !plumb_shape_equal(&trial->in[input].shape, &trial->out[output].shape)) {
        return -1;
    }
    return input;
}

unsigned trial_in_place(const struct trial *trial)
{
    unsigned outputs = 0, taken = 0;
    for (int k = 0; k < trial->n_out; k++) {
        int input = over_which(trial, k);
        if (input >= 0 && !(taken & (1u << input))) {
            taken |= 1u << input;
            outputs |= 1u << k;
        }
    }
    return outputs;
}

struct bench { /* the memory of one run */
    struct buffer in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    plumb_view in_view[CASE_MAX_IN], out_view[TRIAL_MAX_OUT];
    bool overwritten[CASE_MAX_IN];
};

static void set_up(struct bench *bench, const struct trial *trial, const struct arrangement *how)
{
    memset(bench, 0, sizeof(*bench));
    for (int i = 0; i < trial->n_in; i++) {
        buffer_make(&bench->in[i], trial->in[i].dtype, &trial->in[i].shape, how->in[i]);
        buffer_store(&bench->in[i], trial->value[i]);
        bench->in_view[i] = bench->in[i].view;
    }
    for (int k = 0; k < trial->n_out; k++) {
        if (how->in_place & (1u << k)) {
            int input = over_which(trial, k);
            bench->overwritten[input] = true;
            bench->out_view[k] = bench->in_view[input];
        } else {
            buffer_make(&bench->out[k], trial->out[k].dtype, &trial->out[k].shape, how->out[k]);
            buffer_poison(&bench->out[k]);
            bench->out_view[k] = bench->out[k].view;
        }
    }
}

/* What an output was computed into: its own buffer, or an input's. */
static struct buffer *result(struct bench *bench, const struct trial *trial, const struct arrangement *how, int k)
{
    return how->in_place & (1u << k) ? &bench->in[over_which(trial, k)] : &bench->out[k];
}

static void tear_down(struct bench *bench, const struct trial *trial)
{
    for (int i = 0; i < trial->n_in; i++) {
        buffer_free(&bench->in[i]);
    }
    for (int k = 0; k < trial->n_out; k++) {
        buffer_free(&bench->out[k]);
    }
}

/* ---- on a device with memory of its own: every block goes there whole, sentinels included, and comes back ---- */

/* Moves the views of a block from `from` to `to`. */
static void rebase(const struct trial *trial, struct bench *bench, const struct buffer *block, const void *from, void *to)
{
    plumb_view *views[] = {bench->in_view, bench->out_view};
    int counts[] = {trial->n_in, trial->n_out};
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < counts[side]; i++) {
            uintptr_t at = (uintptr_t)views[side][i].data, start = (uintptr_t)from;
            if (at >= start && at < start + block->bytes) {
                views[side][i].data = (unsigned char *)to + (at - start);
            }
        }
    }
}

static plumb_status run_elsewhere(struct trial *trial, const plumb_impl *impl, struct bench *bench, plumb_call *call,
                                  int dirt)
{
    enum { BLOCKS = CASE_MAX_IN + TRIAL_MAX_OUT };
    const plumb_device_table *table = call->device->table;
    struct buffer *block[BLOCKS];
    void *there[BLOCKS];
    int blocks = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < trial->n_in + trial->n_out && status == PLUMB_OK; i++) {
        struct buffer *b = i < trial->n_in ? &bench->in[i] : &bench->out[i - trial->n_in];
        if (!b->memory) {
            continue; /* an output over an input */
        }
        block[blocks] = b;
        status = table->alloc(call->device, b->bytes, &there[blocks]);
        if (status == PLUMB_OK) {
            rebase(trial, bench, b, b->memory, there[blocks]);
            status = table->upload(call->device, there[blocks++], b->memory, b->bytes);
        }
    }
    if (status == PLUMB_OK) {
        status = trial_dispatch(trial, impl, call, dirt);
    }
    for (int i = 0; i < blocks; i++) {
        if (status == PLUMB_OK) {
            status = table->download(call->device, block[i]->memory, there[i], block[i]->bytes);
        }
        rebase(trial, bench, block[i], there[i], block[i]->memory);
        table->free(call->device, there[i]);
    }
    return status;
}

static plumb_status run_on(struct trial *trial, const plumb_impl *impl, struct bench *bench, plumb_call *call, int dirt)
{
    return trial_elsewhere(impl) ? run_elsewhere(trial, impl, bench, call, dirt) : trial_dispatch(trial, impl, call, dirt);
}

/* Nothing but the outputs' elements was written, and all of them were. */
static bool memory_is_sound(struct trial *trial, struct bench *bench, const struct arrangement *how)
{
    for (int i = 0; i < trial->n_in; i++) {
        bool good = bench->overwritten[i] ? buffer_guarded(&bench->in[i]) : buffer_unchanged(&bench->in[i]);
        if (!good) {
            return trial_fail(trial, "input %d (or memory beside it) was written", i);
        }
    }
    for (int k = 0; k < trial->n_out; k++) {
        if (how->in_place & (1u << k)) {
            continue;
        }
        if (!buffer_guarded(&bench->out[k])) {
            return trial_fail(trial, "memory beside or between the elements of output %d was written", k);
        }
        if (plumb_dtype_is_float(trial->out[k].dtype) && buffer_poisoned(&bench->out[k]) > 0) {
            return trial_fail(trial, "%lld elements of output %d were not written",
                        (long long)buffer_poisoned(&bench->out[k]), k);
        }
    }
    return true;
}

static bool repeats(struct trial *trial, struct bench *first, struct bench *second, const struct arrangement *how)
{
    for (int k = 0; k < trial->n_out; k++) {
        if (!buffer_same(result(first, trial, how, k), result(second, trial, how, k))) {
            return trial_fail(trial, "output %d of two runs differs (1 and 3 threads, workspace dirty in two ways)", k);
        }
    }
    return true;
}

/* A refusal at run time that was asked for, naming the op. */
static struct finding judge_refusal(struct trial *trial, plumb_status status)
{
    struct finding finding = {PASSED, 0};
    if (status != trial->one->expect) {
        trial_fail(trial, "returned %s instead of %s", plumb_status_name(status), plumb_status_name(trial->one->expect));
        finding.verdict = FAILED;
    } else if (!strstr(plumb_message(trial->context), trial->one->op->name)) {
        trial_fail(trial, "the message does not name the op: %s", plumb_message(trial->context));
        finding.verdict = FAILED;
    }
    plumb_clear_error(trial->context);
    return finding;
}

struct finding trial_run(struct trial *trial, const plumb_impl *impl, const struct arrangement *how)
{
    struct finding finding = {FAILED, 0};
    struct bench bench[2];
    trial->failure[0] = '\0';
    trial->slack = impl->slack > 0 ? impl->slack : 1;
    set_up(&bench[0], trial, how);
    plumb_call call = trial_call(trial, bench[0].in_view, bench[0].out_view);
    if (!trial_takes(impl, &call)) {
        tear_down(&bench[0], trial);
        finding.verdict = DECLINED;
        return finding;
    }
    plumb_status status = run_on(trial, impl, &bench[0], &call, 0xff); /* bytes 0xff are NaN in every float dtype */
    if (trial->one->expect != PLUMB_OK) {
        finding = judge_refusal(trial, status);
        tear_down(&bench[0], trial);
        return finding;
    }
    set_up(&bench[1], trial, how);
    if (status == PLUMB_OK) {
        call = trial_call(trial, bench[1].in_view, bench[1].out_view);
        call.pool = trial->pool[1];
        status = run_on(trial, impl, &bench[1], &call, 0x40);
    }
    if (status != PLUMB_OK) {
        if (trial->failure[0] == '\0') {
            trial_fail(trial, "failed: %s", plumb_message(trial->context));
        }
        plumb_clear_error(trial->context);
    } else if (memory_is_sound(trial, &bench[0], how) && repeats(trial, &bench[0], &bench[1], how)) {
        struct buffer out[TRIAL_MAX_OUT];
        for (int k = 0; k < trial->n_out; k++) {
            out[k] = *result(&bench[0], trial, how, k);
        }
        finding.verdict = compare_all(trial, out, &finding.worst) ? PASSED : FAILED;
    }
    tear_down(&bench[0], trial);
    tear_down(&bench[1], trial);
    return finding;
}

struct finding trial_view(struct trial *trial, enum layout layout)
{
    struct finding finding = {DECLINED, 0};
    const plumb_op *op = trial->one->op;
    struct buffer in;
    plumb_view out = trial_empty_view(&trial->out[0]);
    int64_t offset = 0;
    if (!op->view || trial->n_in < 1) {
        return finding;
    }
    trial->failure[0] = '\0';
    trial->slack = 1;
    buffer_make(&in, trial->in[0].dtype, &trial->in[0].shape, layout);
    buffer_store(&in, trial->value[0]);
    if (op->view(trial->attr, &in.view, &out, &offset)) {
        struct buffer shown = {.view = out};
        shown.view.data = (unsigned char *)in.view.data + offset * (int64_t)plumb_dtype_size(in.view.dtype);
        finding.verdict = compare_all(trial, &shown, &finding.worst) ? PASSED : FAILED;
    }
    buffer_free(&in);
    return finding;
}
