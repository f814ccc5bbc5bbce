/* The arithmetic of the cuDNN fake: graphs computed operation by operation, in double, rounded to each tensor's type. An
 * engine with a habit rounds more than it should, visibly, so that choosing it against the rules fails a comparison. */
#include "cudnn.h"

#include "core/core.h"

#include <math.h>

size_t cudasim_cudnn_size(uint32_t dtype)
{
    return dtype == CD_DOUBLE ? 8 : dtype == CD_FLOAT ? 4 : 2;
}

size_t cudasim_cudnn_extent(const fake_tensor *t)
{
    int64_t last = 0;
    for (int d = 0; d < FAKE_DIMS; d++) {
        last += (t->dim[d] - 1) * t->stride[d];
    }
    return (size_t)(last + 1) * cudasim_cudnn_size(t->dtype);
}

static int64_t count_of(const fake_tensor *t) { return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3]; }

static double get(const fake_tensor *t, int64_t at)
{
    switch (t->dtype) {
    case CD_DOUBLE: return ((const double *)t->data)[at];
    case CD_FLOAT: return (double)((const float *)t->data)[at];
    case CD_HALF: return (double)plumb_f32_of_f16(((const uint16_t *)t->data)[at]);
    default: return (double)plumb_f32_of_bf16(((const uint16_t *)t->data)[at]);
    }
}

static void put(const fake_tensor *t, int64_t at, double value)
{
    switch (t->dtype) {
    case CD_DOUBLE: ((double *)t->data)[at] = value; break;
    case CD_FLOAT: ((float *)t->data)[at] = (float)value; break;
    case CD_HALF: ((uint16_t *)t->data)[at] = plumb_f16_of_f64(value); break;
    default: ((uint16_t *)t->data)[at] = plumb_bf16_of_f64(value); break;
    }
}

static int64_t offset(const fake_tensor *t, int64_t packed)
{
    int64_t at = 0;
    for (int d = FAKE_DIMS - 1; d >= 0; d--) {
        at += packed % t->dim[d] * t->stride[d];
        packed /= t->dim[d];
    }
    return at;
}

/* Where the values of all tensors lie while a graph is computed: packed, as doubles. */
struct values {
    double *of[FAKE_TENSORS];
};

/* 10 bits of mantissa, the rest cut off: visibly wrong. */
static double tf32(double value)
{
    float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits &= ~(uint32_t)0x1fff;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static double habitual(double value, enum fake_habit habit)
{
    static int runs;
    switch (habit) {
    case HABIT_REDUCED_SUMS: return (double)plumb_f32_of_bf16(plumb_bf16_of_f64(value));
    case HABIT_NONDETERMINISTIC: return value * (1 + 1e-5 * (double)(++runs % 7));
    case HABIT_SLOPPY: return value * (1 + 3e-4);
    default: return value;
    }
}

/* The product that a convolution is in one of its three roles: where in x, w and y its factors and its sum lie. */
struct product {
    const double *a, *b;
    double *sum;
    enum fake_habit habit;
};

/* A run of terms, one for each output column: where the first's operands lie, and how far apart the others'. */
struct terms {
    int64_t a, b, sum, step_a, step_b, step_sum, count;
};

static void add_terms(const struct product *p, struct terms t)
{
    if (p->habit == HABIT_TF32 || p->habit == HABIT_REDUCED_SUMS) {
        for (int64_t i = 0; i < t.count; i++) {
            double a = p->a[t.a + i * t.step_a], b = p->b[t.b + i * t.step_b], *sum = &p->sum[t.sum + i * t.step_sum];
            *sum = p->habit == HABIT_TF32 ? *sum + tf32(a) * tf32(b) : habitual(*sum + a * b, p->habit);
        }
        return;
    }
    for (int64_t i = 0; i < t.count; i++) {
        p->sum[t.sum + i * t.step_sum] += p->a[t.a + i * t.step_a] * p->b[t.b + i * t.step_b];
    }
}

enum { X, W, Y };

/* For one picture, filter, channel and filter tap: all output pixels that the tap meets the picture at. `of`: which of X, W
 * and Y are a, b and the sum. */
static void add_tap(const fake_op *op, const fake_tensor *const dims[3], const struct product *p, const int *of,
                    const int64_t base[3], int64_t r, int64_t s)
{
    const int64_t *x = dims[X]->dim, *y = dims[Y]->dim, step[3] = {op->stride[1], 0, 1};
    int64_t left = s * op->extent[1] - op->before[1], first = left < 0 ? (-left + step[X] - 1) / step[X] : 0;
    int64_t last = left < x[3] ? (x[3] - 1 - left) / step[X] : -1; /* output columns within the picture */
    last = last < y[3] - 1 ? last : y[3] - 1;
    for (int64_t row_out = 0; row_out < y[2]; row_out++) {
        int64_t row = row_out * op->stride[0] - op->before[0] + r * op->extent[0];
        if (row >= 0 && row < x[2] && first <= last) {
            const int64_t at[3] = {base[X] + row * x[3] + left + first * step[X], base[W], base[Y] + row_out * y[3] + first};
            add_terms(p, (struct terms){at[of[0]], at[of[1]], at[of[2]], step[of[0]], step[of[1]], step[of[2]],
                                        last - first + 1});
        }
    }
}

/* Roles: forward x, w, y; data dy, w, dx; filter x, dy, dw. */
static void convolve(const fake_work *work, const fake_op *op, struct values *v)
{
    static const int roles[3][3] = {{X, W, Y}, {Y, W, X}, {X, Y, W}};
    const int *role = op->tensor, *of = roles[op->type == CD_OPERATION_CONVOLUTION_BACKWARD_DATA     ? 1
                                              : op->type == CD_OPERATION_CONVOLUTION_BACKWARD_FILTER ? 2
                                                                                                     : 0];
    const fake_tensor *dims[3];
    for (int i = 0; i < 3; i++) {
        dims[of[i]] = &work->graph.tensor[role[i]];
    }
    const int64_t *x = dims[X]->dim, *w = dims[W]->dim, *y = dims[Y]->dim, taps = w[2] * w[3];
    const int64_t outputs = w[0] / (x[1] / w[1]); /* of a group */
    struct product p = {.a = v->of[role[0]], .b = v->of[role[1]], .sum = v->of[role[2]], .habit = work->habit};
    int64_t n = count_of(&work->graph.tensor[role[2]]);
    memset(p.sum, 0, sizeof *p.sum * (size_t)n);
    for (int64_t i = 0; i < y[0] * w[0] * w[1] * taps; i++) {
        int64_t tap = i % taps, c = i / taps % w[1], k = i / taps / w[1] % w[0], image = i / taps / w[1] / w[0];
        const int64_t base[3] = {(image * x[1] + k / outputs * w[1] + c) * x[2] * x[3],
                                 (k * w[1] + c) * taps + (op->mode == CD_TRUE_CONVOLUTION ? taps - 1 - tap : tap),
                                 (image * y[1] + k) * y[2] * y[3]};
        add_tap(op, dims, &p, of, base, tap / w[3], tap % w[3]);
    }
    for (int64_t i = 0; i < n; i++) {
        p.sum[i] = habitual(p.sum[i], work->habit);
    }
}

static void pointwise(const fake_work *work, const fake_op *op, struct values *v)
{
    const fake_tensor *b = op->tensor[1] < 0 ? NULL : &work->graph.tensor[op->tensor[1]],
                      *y = &work->graph.tensor[op->tensor[2]];
    const double *from = v->of[op->tensor[0]];
    double *to = v->of[op->tensor[2]];
    for (int64_t i = 0, n = count_of(y); i < n; i++) {
        double a = from[i];
        int64_t channel = i / (y->dim[2] * y->dim[3]) % y->dim[1];
        switch (op->mode) {
        case CD_POINTWISE_ADD: to[i] = a + v->of[op->tensor[1]][b && count_of(b) == b->dim[1] ? channel : i]; break;
        case CD_POINTWISE_RELU_FWD: to[i] = isnan(a) ? a : a > 0 ? a : 0; break;
        case CD_POINTWISE_TANH_FWD: to[i] = tanh(a); break;
        default: to[i] = 1 / (1 + exp(-a)); break;
        }
    }
}

/* Each element of y is the mean over its window of x; backwards each element of dx gathers its shares. */
static void resample(const fake_work *work, const fake_op *op, struct values *v)
{
    bool backward = op->type == CD_OPERATION_RESAMPLE_BWD;
    const fake_tensor *x = &work->graph.tensor[op->tensor[backward]], *y = &work->graph.tensor[op->tensor[!backward]];
    double *px = v->of[op->tensor[backward]], *py = v->of[op->tensor[!backward]];
    memset(backward ? px : py, 0, sizeof(double) * (size_t)count_of(backward ? x : y));
    for (int64_t i = 0, n = count_of(y); i < n; i++) {
        int64_t q = i % y->dim[3], p = i / y->dim[3] % y->dim[2], plane = i / y->dim[3] / y->dim[2];
        int64_t top = p * op->stride[0] - op->before[0], left = q * op->stride[1] - op->before[1], inside = 0;
        for (int pass = 0; pass < 2; pass++) {
            double divisor =
                (double)(op->mode == CD_AVGPOOL_EXCLUDE_PADDING ? inside : op->extent[0] * op->extent[1]);
            for (int64_t k = 0; k < op->extent[0] * op->extent[1]; k++) {
                int64_t row = top + k / op->extent[1], column = left + k % op->extent[1];
                if (row < 0 || row >= x->dim[2] || column < 0 || column >= x->dim[3]) {
                    continue;
                }
                int64_t at = (plane * x->dim[2] + row) * x->dim[3] + column;
                inside += pass == 0;
                if (pass == 1 && backward) {
                    px[at] += py[i] / divisor;
                } else if (pass == 1) {
                    py[i] += px[at] / divisor;
                }
            }
        }
    }
}

static void normalise(const fake_work *work, const fake_op *op, struct values *v)
{
    const fake_tensor *x = &work->graph.tensor[op->tensor[FWD_X]];
    double *of[FAKE_ROLES];
    for (int i = 0; i < FAKE_ROLES; i++) {
        of[i] = op->tensor[i] < 0 ? NULL : v->of[op->tensor[i]];
    }
    int64_t area = x->dim[2] * x->dim[3], m = x->dim[0] * area;
    double epsilon = of[FWD_EPSILON][0], factor = of[FWD_FACTOR][0];
    for (int64_t c = 0; c < x->dim[1]; c++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < m; i++) {
            mean += of[FWD_X][(i / area * x->dim[1] + c) * area + i % area] / (double)m;
        }
        for (int64_t i = 0; i < m; i++) {
            double d = of[FWD_X][(i / area * x->dim[1] + c) * area + i % area] - mean;
            variance += d * d / (double)m;
        }
        double spread = 1 / sqrt(variance + epsilon), unbiased = variance * (double)m / (double)(m - 1);
        for (int64_t i = 0; i < m; i++) {
            int64_t at = (i / area * x->dim[1] + c) * area + i % area;
            of[FWD_Y][at] = of[FWD_SCALE][c] * (of[FWD_X][at] - mean) * spread + of[FWD_BIAS][c];
        }
        of[FWD_MEAN][c] = mean;
        of[FWD_SPREAD][c] = spread;
        of[FWD_NEW_MEAN][c] = (1 - factor) * of[FWD_RUNNING_MEAN][c] + factor * mean;
        of[FWD_NEW_VAR][c] = (1 - factor) * of[FWD_RUNNING_VAR][c] + factor * unbiased;
    }
}

static void normalise_back(const fake_work *work, const fake_op *op, struct values *v)
{
    const fake_tensor *t = &work->graph.tensor[op->tensor[BWD_X]];
    double *x = v->of[op->tensor[BWD_X]], *dy = v->of[op->tensor[BWD_DY]], *dx = v->of[op->tensor[BWD_DX]];
    int64_t area = t->dim[2] * t->dim[3], m = t->dim[0] * area;
    for (int64_t c = 0; c < t->dim[1]; c++) {
        double mean = v->of[op->tensor[BWD_MEAN]][c], spread = v->of[op->tensor[BWD_SPREAD]][c], along = 0, sum = 0;
        for (int64_t i = 0; i < m; i++) {
            int64_t at = (i / area * t->dim[1] + c) * area + i % area;
            sum += dy[at];
            along += dy[at] * (x[at] - mean) * spread;
        }
        for (int64_t i = 0; i < m; i++) {
            int64_t at = (i / area * t->dim[1] + c) * area + i % area;
            dx[at] = v->of[op->tensor[BWD_SCALE]][c] * spread *
                     (dy[at] - sum / (double)m - (x[at] - mean) * spread * along / (double)m);
        }
        v->of[op->tensor[BWD_DSCALE]][c] = along;
        v->of[op->tensor[BWD_DBIAS]][c] = sum;
    }
}

static void compute(const fake_work *work, const fake_op *op, struct values *v)
{
    switch (op->type) {
    case CD_OPERATION_POINTWISE: pointwise(work, op, v); break;
    case CD_OPERATION_RESAMPLE_FWD:
    case CD_OPERATION_RESAMPLE_BWD: resample(work, op, v); break;
    case CD_OPERATION_NORM_FORWARD: normalise(work, op, v); break;
    case CD_OPERATION_NORM_BACKWARD: normalise_back(work, op, v); break;
    default: convolve(work, op, v); break;
    }
}

/* The last role of an operation that is written, and whether a tensor is one of them. */
static bool written_by(const fake_op *op, int tensor)
{
    bool norm = op->type == CD_OPERATION_NORM_FORWARD || op->type == CD_OPERATION_NORM_BACKWARD;
    int from = norm ? 5 : op->type == CD_OPERATION_RESAMPLE_FWD || op->type == CD_OPERATION_RESAMPLE_BWD ? 1 : 2;
    int to = op->type == CD_OPERATION_NORM_FORWARD ? FWD_EPSILON : norm ? BWD_DBIAS + 1 : from + 1;
    for (int i = from; i < to; i++) {
        if (op->tensor[i] == tensor) {
            return true;
        }
    }
    return false;
}

static bool is_written(const fake_graph *graph, int tensor)
{
    for (int i = 0; i < graph->n_ops; i++) {
        if (written_by(&graph->op[i], tensor)) {
            return true;
        }
    }
    return false;
}

void cudasim_cudnn_compute(void *closure)
{
    fake_work *work = closure;
    fake_graph *g = &work->graph;
    struct values v = {{NULL}};
    if (work->workspace_bytes > 0) {
        memset(work->workspace, 0xee, work->workspace_bytes);
    }
    for (int i = 0; i < g->n_tensors; i++) {
        fake_tensor *t = &g->tensor[i];
        int64_t n = count_of(t);
        v.of[i] = malloc(sizeof(double) * (size_t)n);
        if (t->by_value) {
            v.of[i][0] = (double)t->number;
        } else if (!t->is_virtual && !is_written(g, i)) {
            for (int64_t k = 0; k < n; k++) {
                v.of[i][k] = get(t, offset(t, k));
            }
        }
    }
    for (int i = 0; i < g->n_ops; i++) {
        compute(work, &g->op[i], &v);
    }
    for (int i = 0; i < g->n_tensors; i++) {
        fake_tensor *t = &g->tensor[i];
        for (int64_t k = 0, n = count_of(t); k < n && !t->is_virtual && is_written(g, i); k++) {
            put(t, offset(t, k), v.of[i][k]);
        }
        free(v.of[i]);
    }
}
