/* The first half of trial.h: types, values, and the truth they are held against: the reference in f64, on contiguous
 * memory, given the very values (already rounded to the dtype under test) that the implementation gets. */
#include "device/plugin.h"
#include "trial.h"

#include <math.h>
#include <stdio.h>

bool trial_fail(struct trial *trial, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(trial->failure, sizeof(trial->failure), format, args);
    va_end(args);
    return false;
}

uint64_t trial_seed(const struct trial *trial)
{
    return plumb_hash(trial->one->op->name) ^ (3 * plumb_hash(trial->one->label)) ^ (uint64_t)trial->dtype << 32;
}

int trial_providers(plumb_device *device, const plumb_provider **list, int room)
{
    int count = 0, listed = 0;
    const plumb_provider *added, *const *providers = plumb_providers(&count);
    if (device->plugin) {
        providers = device->plugin->providers;
        count = device->plugin->n_providers;
    }
    for (int p = 0; p < count && listed < room; p++) {
        list[listed++] = providers[p];
    }
    for (int p = 0; !device->plugin && listed < room && (added = plumb_added_provider(device, p)) != NULL; p++) {
        list[listed++] = added;
    }
    return listed;
}

/* ---- types ---- */

static plumb_status infer(plumb_context *context, const op_case *one, const void *attr, int n_in,
                          const plumb_type *in, int n_out, plumb_type *out)
{
    plumb_infer q = {.op = one->op, .name = "", .attr = attr, .n_in = n_in, .n_out = n_out, .in = in, .out = out,
                     .context = context};
    memset(out, 0, (size_t)n_out * sizeof(*out));
    return one->op->infer(&q);
}

static double operations(const struct trial *trial)
{
    plumb_view in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    for (int i = 0; i < trial->n_in; i++) {
        in[i] = trial_empty_view(&trial->in[i]);
    }
    for (int k = 0; k < trial->n_out; k++) {
        out[k] = trial_empty_view(&trial->out[k]);
    }
    plumb_call call = trial_call(trial, in, out);
    return trial->one->op->flops ? trial->one->op->flops(&call) : 0;
}

plumb_status trial_begin(struct trial *trial, plumb_context *context, const op_case *one, plumb_dtype dtype)
{
    const plumb_op *op = one->op;
    plumb_attr_made *made = (plumb_attr_made *)trial->attr;
    trial->one = one;
    trial->context = context;
    trial->isa = context->isa;
    trial->dtype = dtype;
    trial->failure[0] = '\0';
    memcpy(trial->attr, one->attr, sizeof(trial->attr));
    if ((op->flags & PLUMB_OP_DTYPE) && made->dtype == PLUMB_NO_DTYPE) {
        made->dtype = dtype;
    }
    trial->n_in = one->n_in;
    for (int i = 0; i < one->n_in; i++) {
        trial->in[i].dtype = input_dtype(&one->in[i], dtype);
        trial->in[i].shape = one->in[i].shape;
    }
    trial->n_out = (op->flags & PLUMB_OP_VARIADIC) ? op->outputs(trial->attr, trial->n_in) : op->n_out;
    if (trial->n_out < 1 || trial->n_out > TRIAL_MAX_OUT) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: %d outputs", op->name, trial->n_out);
    }
    plumb_status status = infer(context, one, trial->attr, trial->n_in, trial->in, trial->n_out, trial->out);
    if (status == PLUMB_OK && (op->flags & PLUMB_OP_LIKE) && trial->n_in > op->min_in) {
        /* As binding does: the lender's shape goes into the attributes and the lender goes. */
        memcpy(trial->attr, &trial->in[trial->n_in - 1].shape, sizeof(plumb_shape));
        trial->n_in = op->min_in;
        plumb_type again[TRIAL_MAX_OUT];
        status = infer(context, one, trial->attr, trial->n_in, trial->in, trial->n_out, again);
        for (int k = 0; status == PLUMB_OK && k < trial->n_out; k++) {
            if (again[k].dtype != trial->out[k].dtype || !plumb_shape_equal(&again[k].shape, &trial->out[k].shape)) {
                status = plumb_fail(context, PLUMB_BAD_INPUT, "%s: type changes when bound", op->name);
            }
        }
    }
    trial->operations = status == PLUMB_OK ? operations(trial) : 0;
    return status;
}

/* ---- calls ---- */

plumb_view trial_empty_view(const plumb_type *type)
{
    plumb_view view;
    memset(&view, 0, sizeof(view));
    view.dtype = type->dtype;
    view.rank = type->shape.rank;
    memcpy(view.dim, type->shape.dim, sizeof(view.dim));
    plumb_view_pack(&view);
    return view;
}

plumb_call trial_call(const struct trial *trial, const plumb_view *in, const plumb_view *out)
{
    plumb_call call = {.context = trial->context, .device = trial->context->device, .pool = trial->pool[0],
                       .isa = trial->isa, .op = trial->one->op, .name = "", .attr = trial->attr,
                       .n_in = trial->n_in, .n_out = trial->n_out, .in = in, .out = out};
    return call;
}

bool trial_takes(const plumb_impl *impl, const plumb_call *call)
{
    bool by_layout = impl->flags & (PLUMB_IMPL_ANY_LAYOUT | PLUMB_IMPL_WANTS_LAST);
    return (impl->dtypes & PLUMB_BIT(plumb_call_dtype(call))) && (!by_layout || plumb_impl_fits(impl, call)) &&
           (!impl->supports || impl->supports(call));
}

enum { WORKSPACE_GUARD = 256 };

bool trial_elsewhere(const plumb_impl *impl)
{
    return strncmp(impl->name, "cpu.", 4) != 0;
}

/* On a device with memory of its own the workspace goes there and comes back. */
static plumb_status run_elsewhere(const plumb_impl *impl, plumb_call *call, unsigned char *memory, size_t bytes)
{
    const plumb_device_table *table = call->device->table;
    void *there = NULL;
    plumb_status status = table->alloc(call->device, bytes, &there);
    if (status == PLUMB_OK) {
        status = table->upload(call->device, there, memory, bytes);
    }
    if (status == PLUMB_OK) {
        call->workspace = (unsigned char *)there + WORKSPACE_GUARD;
        status = impl->run(call);
    }
    if (status == PLUMB_OK) {
        status = table->sync(call->device);
    }
    if (status == PLUMB_OK) {
        status = table->download(call->device, memory, there, bytes);
    }
    table->free(call->device, there);
    return status;
}

plumb_status trial_dispatch(struct trial *trial, const plumb_impl *impl, plumb_call *call, int dirt)
{
    plumb_view in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    plumb_call plan = *call; /* while planning, there is no data, only how addresses are aligned */
    for (int i = 0; i < call->n_in; i++) {
        in[i] = call->in[i];
        in[i].data = (void *)((uintptr_t)in[i].data % 64);
    }
    for (int k = 0; k < call->n_out; k++) {
        out[k] = call->out[k];
        out[k].data = (void *)((uintptr_t)out[k].data % 64);
    }
    plan.in = in;
    plan.out = out;
    size_t bytes = impl->workspace ? impl->workspace(&plan) : 0;
    size_t whole = (bytes + 2 * WORKSPACE_GUARD + 63) / 64 * 64;
    unsigned char *memory = aligned_alloc(64, whole);
    if (!memory) {
        abort();
    }
    memset(memory, 0x5c, whole);
    memset(memory + WORKSPACE_GUARD, dirt, bytes);
    call->workspace = memory + WORKSPACE_GUARD;
    plumb_status status = trial_elsewhere(impl) ? run_elsewhere(impl, call, memory, whole) : impl->run(call);
    for (size_t i = 0; i < whole; i++) {
        if ((i < WORKSPACE_GUARD || i >= WORKSPACE_GUARD + bytes) && memory[i] != 0x5c) {
            trial_fail(trial, "wrote at byte %td of a workspace of %zu", (ptrdiff_t)i - WORKSPACE_GUARD, bytes);
            status = status == PLUMB_OK ? PLUMB_FAILED : status;
            break;
        }
    }
    free(memory);
    return status;
}

/* ---- the oracle ---- */

static plumb_dtype doubled(plumb_dtype dtype)
{
    return plumb_dtype_is_float(dtype) ? PLUMB_F64 : dtype;
}

/* What the oracle is asked: of the op, of absolute values, of those without the op's activation. */
enum question { VALUES, ABSOLUTE, LINEAR };

/* The reference in f64: fills to[k] with malloc'ed arrays. */
static bool consult(const struct trial *original, enum question question, double **to, double *terms, char *failure, size_t room)
{
    struct trial *t = test_alloc(sizeof(*t));
    struct buffer in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    plumb_view in_view[CASE_MAX_IN], out_view[TRIAL_MAX_OUT];
    const plumb_impl *impl = plumb_reference(original->one->op);
    *t = *original;
    if (question == LINEAR) {
        t->one->op->linear(t->attr);
    }
    plumb_attr_made *made = (plumb_attr_made *)t->attr;
    if (t->one->op->flags & PLUMB_OP_DTYPE) {
        made->dtype = doubled(made->dtype);
    }
    for (int i = 0; i < t->n_in; i++) {
        t->in[i].dtype = doubled(t->in[i].dtype);
        buffer_make(&in[i], t->in[i].dtype, &t->in[i].shape, LAYOUT_CONTIGUOUS);
        int64_t count = plumb_shape_count(&t->in[i].shape);
        double *copy = test_alloc((size_t)(count + 1) * sizeof(double));
        for (int64_t e = 0; e < count; e++) {
            copy[e] = question != VALUES && t->in[i].dtype == PLUMB_F64 ? fabs(t->value[i][e]) : t->value[i][e];
        }
        buffer_store(&in[i], copy);
        free(copy);
        in_view[i] = in[i].view;
    }
    plumb_status status = infer(t->context, t->one, t->attr, t->n_in, t->in, t->n_out, t->out);
    for (int k = 0; k < t->n_out; k++) {
        buffer_make(&out[k], t->out[k].dtype ? t->out[k].dtype : PLUMB_F64, &t->out[k].shape, LAYOUT_CONTIGUOUS);
        buffer_poison(&out[k]);
        out_view[k] = out[k].view;
    }
    plumb_call call = trial_call(t, in_view, out_view);
    if (status == PLUMB_OK && impl && trial_takes(impl, &call)) {
        status = trial_dispatch(t, impl, &call, 0xa5);
        *terms = t->one->op->terms ? t->one->op->terms(&call) : 1;
    } else if (status == PLUMB_OK) {
        status = plumb_fail(t->context, PLUMB_FAILED, "the reference does not take f64");
    }
    for (int k = 0; k < t->n_out; k++) {
        to[k] = test_alloc((size_t)(plumb_shape_count(&t->out[k].shape) + 1) * sizeof(double));
        buffer_load(&out[k], to[k]);
        buffer_free(&out[k]);
    }
    for (int i = 0; i < t->n_in; i++) {
        buffer_free(&in[i]);
    }
    if (status != PLUMB_OK) {
        snprintf(failure, room, "the oracle failed: %.900s %.900s", plumb_message(t->context), t->failure);
        plumb_clear_error(t->context);
    }
    free(t);
    return status == PLUMB_OK;
}

/* ---- values ---- */

static int exact_bits(plumb_dtype dtype)
{
    switch (dtype) {
    case PLUMB_F64: return 53;
    case PLUMB_F32: return 24;
    case PLUMB_F16: return 11;
    case PLUMB_BF16: return 8;
    default: return 53;
    }
}

/* Whole numbers of at most `most`, a share of `density` of them not 0; those that must differ are a ladder. */
static void make_whole(const case_input *input, plumb_dtype dtype, double *values, double most, double density,
                       struct dice *dice)
{
    int64_t count = plumb_shape_count(&input->shape);
    for (int64_t i = 0; i < count; i++) {
        if (input->fill == CASE_DISTINCT) {
            values[i] = (double)((i * 7 + 3) % count) - floor((double)count / 2);
        } else if (input->fill != CASE_GIVEN) {
            double low = input->low >= 0 && input->high > 0 ? (input->low > 0 ? 1 : 0) : -most;
            values[i] = dice_unit(dice) < density ? low + floor(dice_unit(dice) * (most - low + 1)) : 0;
            if (input->use_avoid && values[i] == input->avoid) {
                values[i] += 1;
            }
        }
        values[i] = round_to(dtype, values[i]);
    }
}

/* Every output, and the outputs on absolute values (which bound every partial sum), stay below 2^p. */
static bool sums_are_exact(const struct trial *trial)
{
    for (int k = 0; k < trial->n_out; k++) {
        double limit = ldexp(1, exact_bits(trial->out[k].dtype));
        for (int64_t i = 0; i < plumb_shape_count(&trial->out[k].shape); i++) {
            if (!(fabs(trial->r[k][i]) <= limit) || !(fabs(trial->R[k][i]) <= limit)) {
                return false;
            }
        }
    }
    return true;
}

static void forget_oracle(struct trial *trial)
{
    for (int k = 0; k < TRIAL_MAX_OUT; k++) {
        free(trial->r[k]);
        free(trial->R[k]);
        trial->r[k] = trial->R[k] = NULL;
    }
}

void trial_forget(struct trial *trial)
{
    forget_oracle(trial);
    for (int i = 0; i < CASE_MAX_IN; i++) {
        free(trial->value[i]);
        trial->value[i] = NULL;
    }
}

/* R; with an activation, R of both forms added (op.h). */
static bool ask_absolute(struct trial *trial)
{
    _Alignas(16) unsigned char attr[sizeof(trial->attr)];
    double *linear[TRIAL_MAX_OUT] = {NULL}, ignored;
    const plumb_op *op = trial->one->op;
    memcpy(attr, trial->attr, sizeof(attr));
    bool good = consult(trial, ABSOLUTE, trial->R, &ignored, trial->failure, sizeof(trial->failure));
    if (op->linear) {
        op->linear(attr);
    }
    if (good && memcmp(attr, trial->attr, sizeof(attr)) != 0) {
        good = consult(trial, LINEAR, linear, &ignored, trial->failure, sizeof(trial->failure));
        for (int k = 0; good && k < trial->n_out; k++) {
            for (int64_t i = 0; i < plumb_shape_count(&trial->out[k].shape); i++) {
                trial->R[k][i] += linear[k][i];
            }
        }
    }
    for (int k = 0; k < TRIAL_MAX_OUT; k++) {
        free(linear[k]);
    }
    return good;
}

static bool ask_oracle(struct trial *trial, bool absolute_too)
{
    forget_oracle(trial);
    return consult(trial, VALUES, trial->r, &trial->terms, trial->failure, sizeof(trial->failure)) &&
           (!absolute_too || ask_absolute(trial));
}

/* Numbers as large as exactness allows: smaller and sparser until it holds. */
static bool prepare_exact(struct trial *trial)
{
    static const double most[] = {8, 4, 2, 1, 1, 1, 1, 1, 1}, density[] = {1, 1, 1, 1, .5, .25, .12, .06, .03};
    for (int level = 0; level < 9; level++) {
        struct dice dice = {trial_seed(trial) + 77};
        for (int i = 0; i < trial->n_in; i++) {
            if (plumb_dtype_is_float(trial->in[i].dtype)) {
                make_whole(&trial->one->in[i], trial->in[i].dtype, trial->value[i], most[level], density[level], &dice);
            }
        }
        if (!ask_oracle(trial, true)) {
            return false;
        }
        if (sums_are_exact(trial)) {
            return true;
        }
    }
    return false; /* failure is "": these sums cannot be exact in this dtype */
}

static void set_scales(struct trial *trial)
{
    double most_in = 0;
    for (int i = 0; i < trial->n_in; i++) {
        for (int64_t e = 0; plumb_dtype_is_float(trial->in[i].dtype) && e < plumb_shape_count(&trial->in[i].shape); e++) {
            most_in = isfinite(trial->value[i][e]) ? fmax(most_in, fabs(trial->value[i][e])) : most_in;
        }
    }
    for (int k = 0; k < trial->n_out; k++) {
        trial->scale[k] = most_in;
        for (int64_t e = 0; e < plumb_shape_count(&trial->out[k].shape); e++) {
            if (isfinite(trial->r[k][e])) {
                trial->scale[k] = fmax(trial->scale[k], fabs(trial->r[k][e]));
            }
        }
    }
}

bool trial_prepare(struct trial *trial, enum trial_values values)
{
    struct dice dice = {trial_seed(trial)};
    bool floating = false;
    trial_forget(trial);
    trial->failure[0] = '\0';
    trial->values = values;
    for (int i = 0; i < trial->n_in; i++) {
        trial->value[i] = make_values(&trial->one->in[i], trial->in[i].dtype, &dice);
        int64_t count = plumb_shape_count(&trial->in[i].shape);
        if (values == VALUES_FLAT) {
            flatten_values(&trial->in[i].shape, trial->value[i]);
        } else if (values == VALUES_NAN && plumb_dtype_is_float(trial->in[i].dtype) && count > 0) {
            trial->value[i][dice_next(&dice) % (uint64_t)count] = NAN;
            floating = true;
        }
    }
    if (trial->one->expect != PLUMB_OK) {
        return true; /* there is no right answer */
    }
    if (values == VALUES_EXACT) {
        if (!prepare_exact(trial)) {
            return false;
        }
    } else if ((values == VALUES_NAN && !floating) ||
               !ask_oracle(trial, trial->one->op->tolerance == PLUMB_TOL_DOT)) {
        return false;
    }
    set_scales(trial);
    return true;
}

/* Over 70 % zeros prove little: a kernel that writes nothing but zeros would pass. */
bool trial_mistrusted(struct trial *trial)
{
    for (int k = 0; k < trial->n_out && !trial->one->mostly_zero; k++) {
        int64_t count = plumb_shape_count(&trial->out[k].shape), zeros = 0;
        for (int64_t i = 0; i < count; i++) {
            zeros += trial->r[k][i] == 0;
        }
        if (plumb_dtype_is_float(trial->out[k].dtype) && count >= 4 && (double)zeros > 0.7 * (double)count) {
            trial_fail(trial, "MISTRUSTED: %lld of %lld elements of output %d are 0 (say mostly_zero if that is its nature)",
                 (long long)zeros, (long long)count, k);
            return true;
        }
    }
    return false;
}
