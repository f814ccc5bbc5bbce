/* Pooling of pictures that lie channels-last, f32 or bf16: lanes are channels. Conventions: src/op/pool.c.
 *
 * Each element that is written is computed once, in f32, from all there is to it: an output from the taps of its window,
 * an element of dx from the outputs whose windows hold it. These are listed first; loops over channels then run along the
 * list, a few taps at a time.
 *
 * The backward form of max compares the index of each window that holds an element with the element's own. That finds every
 * index that lies in its own window, as all do that max_pool2d made. Others are noticed by counting what was found; then
 * all is done again, index by index. */
#include "cpu/native/columns.h"
#include "cpu/native/half.h"
#include "cpu/native/pool.h"

enum { STRIP = 64, CHUNK = 1 << 15, PAD = 8 }; /* lanes at a time; elements of x in a chunk; room behind a list */
enum { MOST_TAPS = 9 };                             /* of a loop */

struct tap {
    const char *at;       /* its first channel: of x, or dy */
    const int64_t *index; /* backward of max */
    int32_t place;        /* forward of max: index in x's plane */
    float divisor;        /* backward of average */
};

/* Along an axis of x: the outputs that an element has part in. */
struct reach {
    int64_t first, end, step;
};

struct work {
    const plumb_call *call;
    const plumb_attr_pool2d *attr;
    int64_t n, c, h, w, oh, ow; /* x's (or dx's) plane, y's (or dy's) plane */
    int64_t size;               /* of an element */
    const char *from;           /* x, or dy */
    const int64_t *index;
    char *to;
    int64_t *index_out;
    int64_t rows, per_chunk;    /* of what is written */
    float *extent[2];           /* of windows, along either axis of y: an average divides by their product */
    struct reach *reach[2];     /* along either axis of x */
    struct tap *taps;           /* a list for each worker */
    int64_t room;
    float *planes;              /* backward of max: for each worker, the size of dx's */
    _Atomic int64_t found;
    atomic_bool bad_index;
    void (*row)(struct work *t, struct tap *list, int64_t image, int64_t row);
};

/* ---- loops over at most STRIP channels ---- */

/* Taps join what `best` and `place` hold, or begin it. Right where there is no NaN: else, or perhaps where there are
 * infinities, the result is not 0. */
NATIVE_INLINE int32_t max_taps(plumb_dtype type, const struct tap *tap, int count, bool begin, int64_t c, int32_t n,
                               float *best, int32_t *place)
{
    const char *at[MOST_TAPS];
    int32_t from[MOST_TAPS], strange = 0;
    for (int t = 0; t < count; t++)
        at[t] = tap[t].at, from[t] = tap[t].place;
    NATIVE_LOOP
    for (int32_t j = 0; j < n; j++) {
        float b = begin ? native_load(type, at[0], c + j) : best[j], sum = b;
        int32_t k = begin ? from[0] : place[j];
        for (int t = begin; t < count; t++) {
            float v = native_load(type, at[t], c + j);
            k = v > b ? from[t] : k;
            b = v > b ? v : b;
            sum += v;
        }
        best[j] = b;
        place[j] = k;
        strange += sum != sum;
    }
    return strange;
}

/* The first NaN counts as the largest. */
NATIVE_INLINE void max_of_any(plumb_dtype type, const struct tap *tap, int64_t count, int64_t c, int32_t n, float *best,
                              int32_t *place)
{
    for (int32_t j = 0; j < n; j++) {
        float b = native_load(type, tap[0].at, c + j);
        place[j] = tap[0].place;
        for (int64_t t = 1; t < count && b == b; t++) {
            float v = native_load(type, tap[t].at, c + j);
            if (!(v <= b))
                b = v, place[j] = tap[t].place;
        }
        best[j] = b;
    }
}

NATIVE_INLINE void sum_taps(plumb_dtype type, const struct tap *tap, int count, int64_t c, int64_t n, float *sum)
{
    NATIVE_LOOP
    for (int64_t j = 0; j < n; j++) {
        float s = sum[j];
        for (int t = 0; t < count; t++)
            s += native_load(type, tap[t].at, c + j);
        sum[j] = s;
    }
}

/* `to` NULL: the sum goes on, else it is stored as channels c.. of it. */
NATIVE_INLINE void share_tap(plumb_dtype type, const struct tap *tap, int64_t c, int64_t n, float *sum, char *to)
{
    const char *at = tap->at;
    const float divisor = tap->divisor;
    NATIVE_LOOP
    for (int64_t j = 0; j < n; j++) {
        float s = sum[j] + native_load(type, at, c + j) / divisor;
        if (to)
            native_store(type, to, c + j, s);
        else
            sum[j] = s;
    }
}

/* Likewise; an element counts where the index is its own. */
NATIVE_INLINE void route_taps(plumb_dtype type, const struct tap *tap, int count, int64_t c, int64_t n, int64_t own,
                              int32_t *found, float *sum, char *to)
{
    NATIVE_LOOP
    for (int64_t j = 0; j < n; j++) {
        float s = sum[j];
        int32_t f = found[j];
        for (int t = 0; t < count; t++) {
            float v = native_load(type, tap[t].at, c + j);
            int hit = tap[t].index[c + j] == own;
            s += hit ? v : 0;
            f += hit;
        }
        found[j] = f;
        if (to)
            native_store(type, to, c + j, s);
        else
            sum[j] = s;
    }
}

/* ---- elements ---- */

/* In pieces of a constant length; the last ones are filled up by the first tap, which never takes its own place. */
NATIVE_INLINE void max_element(plumb_dtype type, struct work *t, struct tap *tap, int64_t count, int64_t at)
{
    int64_t full = count <= 4 ? 4 : count <= 9 ? 9 : 9 + (count - 9 + PAD - 1) / PAD * PAD;
    for (int64_t k = count; k < full; k++)
        tap[k] = tap[0];
    for (int64_t c = 0; c < t->c; c += STRIP) {
        float best[STRIP];
        int32_t place[STRIP], n = (int32_t)(t->c - c < STRIP ? t->c - c : STRIP);
        int32_t strange = full == 4 ? max_taps(type, tap, 4, true, c, n, best, place)
                                    : max_taps(type, tap, 9, true, c, n, best, place);
        for (int64_t k = 9; k < full; k += PAD)
            strange += max_taps(type, tap + k, PAD, false, c, n, best, place);
        if (strange)
            max_of_any(type, tap, count, c, n, best, place);
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            native_store(type, t->to, at + c + j, best[j]);
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            t->index_out[at + c + j] = place[j];
    }
}

NATIVE_INLINE void average_element(plumb_dtype type, struct work *t, const struct tap *tap, int64_t count, float divisor,
                                   char *to)
{
    for (int64_t c = 0; c < t->c; c += STRIP) {
        float sum[STRIP] = {0};
        int64_t n = t->c - c < STRIP ? t->c - c : STRIP, k = 0;
        for (; k + 4 <= count; k += 4)
            sum_taps(type, tap + k, 4, c, n, sum);
        for (; k < count; k++)
            sum_taps(type, tap + k, 1, c, n, sum);
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            native_store(type, to, c + j, sum[j] / divisor);
    }
}

/* Where windows do not overlap an element has one tap, or none. */
NATIVE_INLINE void average_back_element(plumb_dtype type, struct work *t, const struct tap *tap, int64_t count, char *to)
{
    if (count == 0) {
        memset(to, 0, (size_t)(t->c * t->size));
        return;
    }
    for (int64_t c = 0; c < t->c; c += STRIP) {
        float sum[STRIP] = {0};
        int64_t n = t->c - c < STRIP ? t->c - c : STRIP;
        for (int64_t k = 0; k + 1 < count; k++)
            share_tap(type, tap + k, c, n, sum, NULL);
        share_tap(type, tap + count - 1, c, n, sum, to);
    }
}

/* Windows that overlap by one, as those of 3 at steps of 2 do, give an element 1, 2 or 4 taps. */
NATIVE_INLINE void max_back_element(plumb_dtype type, struct work *t, const struct tap *tap, int64_t count, int64_t own,
                                    int32_t *found, char *to)
{
    if (count == 0) {
        memset(to, 0, (size_t)(t->c * t->size));
        return;
    }
    for (int64_t c = 0; c < t->c; c += STRIP) {
        float sum[STRIP] = {0};
        int64_t n = t->c - c < STRIP ? t->c - c : STRIP, k = 0;
        for (; k + 4 < count; k += 4)
            route_taps(type, tap + k, 4, c, n, own, found, sum, NULL);
        for (; k + 2 < count && k + 4 != count; k++)
            route_taps(type, tap + k, 1, c, n, own, found, sum, NULL);
        if (k + 4 == count)
            route_taps(type, tap + k, 4, c, n, own, found, sum, to);
        else if (k + 2 == count)
            route_taps(type, tap + k, 2, c, n, own, found, sum, to);
        else
            route_taps(type, tap + k, 1, c, n, own, found, sum, to);
    }
}

/* ---- lists ---- */

/* Taps of the window of output (oh, ow) that lie in the picture. */
static int64_t list_window(const struct work *t, struct tap *list, int64_t image, int64_t oh, int64_t ow)
{
    const plumb_attr_pool2d *a = t->attr;
    int64_t count = 0, bytes = t->c * t->size;
    for (int64_t kh = 0; kh < a->window[0]; kh++) {
        int64_t h = oh * a->stride[0] - a->padding[0] + kh * a->dilation[0];
        if (h < 0 || h >= t->h)
            continue;
        for (int64_t kw = 0; kw < a->window[1]; kw++) {
            int64_t w = ow * a->stride[1] - a->padding[1] + kw * a->dilation[1];
            if (w < 0 || w >= t->w)
                continue;
            list[count].at = t->from + ((image * t->h + h) * t->w + w) * bytes;
            list[count++].place = (int32_t)(h * t->w + w);
        }
    }
    return count;
}

/* Outputs whose windows hold element (h, w). */
static int64_t list_outputs(const struct work *t, struct tap *list, int64_t image, int64_t h, int64_t w)
{
    struct reach high = t->reach[0][h], wide = t->reach[1][w];
    int64_t count = 0;
    for (int64_t oh = high.first; oh < high.end; oh += high.step) {
        for (int64_t ow = wide.first; ow < wide.end; ow += wide.step) {
            int64_t at = ((image * t->oh + oh) * t->ow + ow) * t->c;
            list[count].at = t->from + at * t->size;
            if (t->index)
                list[count].index = t->index + at;
            else
                list[count].divisor = t->extent[0][oh] * t->extent[1][ow];
            count++;
        }
    }
    return count;
}

/* ---- axes ---- */

/* The outputs whose windows reach element i, and have a tap there. */
static struct reach reach_of(const plumb_attr_pool2d *a, int axis, int64_t i, int64_t outputs)
{
    int64_t stride = a->stride[axis], dilation = a->dilation[axis], last = i + a->padding[axis];
    int64_t before = last - dilation * (a->window[axis] - 1);
    struct reach r = {.first = before > 0 ? (before + stride - 1) / stride : 0, .end = last / stride + 1, .step = 1};
    r.end = r.end < outputs ? r.end : outputs;
    while (r.first < r.end && (last - r.first * stride) % dilation != 0)
        r.first++;
    while (r.step < r.end && r.step * stride % dilation != 0)
        r.step++;
    return r;
}

static void measure(struct work *t, const int64_t *size, const int64_t *outputs)
{
    for (int axis = 0; axis < 2; axis++) {
        for (int64_t o = 0; o < outputs[axis]; o++)
            t->extent[axis][o] = plumb_pool_extent(t->attr, axis, o, size[axis]);
        for (int64_t i = 0; i < size[axis]; i++)
            t->reach[axis][i] = reach_of(t->attr, axis, i, outputs[axis]);
    }
}

/* ---- rows of what is written ---- */

NATIVE_INLINE void max_row(plumb_dtype type, struct work *t, struct tap *list, int64_t image, int64_t oh)
{
    for (int64_t ow = 0; ow < t->ow; ow++) {
        int64_t count = list_window(t, list, image, oh, ow);
        max_element(type, t, list, count, ((image * t->oh + oh) * t->ow + ow) * t->c);
    }
}

NATIVE_INLINE void average_row(plumb_dtype type, struct work *t, struct tap *list, int64_t image, int64_t oh)
{
    for (int64_t ow = 0; ow < t->ow; ow++) {
        int64_t count = list_window(t, list, image, oh, ow);
        average_element(type, t, list, count, t->extent[0][oh] * t->extent[1][ow],
                        t->to + ((image * t->oh + oh) * t->ow + ow) * t->c * t->size);
    }
}

NATIVE_INLINE void average_back_row(plumb_dtype type, struct work *t, struct tap *list, int64_t image, int64_t h)
{
    for (int64_t w = 0; w < t->w; w++) {
        int64_t count = list_outputs(t, list, image, h, w);
        average_back_element(type, t, list, count, t->to + ((image * t->h + h) * t->w + w) * t->c * t->size);
    }
}

NATIVE_INLINE void max_back_row(plumb_dtype type, struct work *t, struct tap *list, int64_t image, int64_t h)
{
    int32_t found[STRIP] = {0};
    int64_t sum = 0;
    for (int64_t w = 0; w < t->w; w++) {
        int64_t count = list_outputs(t, list, image, h, w), own = h * t->w + w;
        max_back_element(type, t, list, count, own, found, t->to + (image * t->h * t->w + own) * t->c * t->size);
    }
    for (int j = 0; j < STRIP; j++)
        sum += found[j];
    atomic_fetch_add_explicit(&t->found, sum, memory_order_relaxed);
}

#define ROW(name, isa, TARGET, dtype, type)                                                                           \
    TARGET static void name##_##dtype##_##isa(struct work *t, struct tap *list, int64_t image, int64_t row)           \
    {                                                                                                                 \
        name##_row(type, t, list, image, row);                                                                        \
    }
#define ROWS(name, isa, TARGET) ROW(name, isa, TARGET, f32, PLUMB_F32) ROW(name, isa, TARGET, bf16, PLUMB_BF16)
#define EACH(isa, TARGET)                                                                                             \
    ROWS(max, isa, TARGET)                                                                                            \
    ROWS(average, isa, TARGET)                                                                                        \
    ROWS(average_back, isa, TARGET)                                                                                   \
    ROWS(max_back, isa, TARGET)
NATIVE_EACH_ISA(EACH)
#define PICK(name, call)                                                                                              \
    ((call)->in[0].dtype == PLUMB_F32 ? NATIVE_PICK(name##_f32, (call)->isa) : NATIVE_PICK(name##_bf16, (call)->isa))

/* ---- any index, one channel of an image after the other ---- */

static void route_plane(void *user, int64_t chunk, int worker)
{
    struct work *t = user;
    int64_t image = chunk / t->c, c = chunk % t->c, area = t->h * t->w, count = t->oh * t->ow;
    float *plane = t->planes + worker * area;
    memset(plane, 0, sizeof *plane * (size_t)area);
    for (int64_t i = 0; i < count; i++) {
        int64_t from = (image * count + i) * t->c + c, index = t->index[from];
        if (index < 0 || index >= area)
            atomic_store_explicit(&t->bad_index, true, memory_order_relaxed);
        else
            plane[index] += native_load(t->call->in[0].dtype, t->from, from);
    }
    for (int64_t i = 0; i < area; i++)
        native_store(t->call->in[0].dtype, t->to, (image * area + i) * t->c + c, plane[i]);
}

/* ---- work ---- */

static void run_chunk(void *user, int64_t chunk, int worker)
{
    struct work *t = user;
    int64_t end = (chunk + 1) * t->per_chunk < t->n * t->rows ? (chunk + 1) * t->per_chunk : t->n * t->rows;
    for (int64_t row = chunk * t->per_chunk; row < end; row++)
        t->row(t, t->taps + worker * t->room, row / t->rows, row % t->rows);
}

/* A window may be larger than the picture. */
static int64_t list_room(const plumb_call *call)
{
    const plumb_attr_pool2d *attr = call->attr;
    int64_t room = 1;
    for (int axis = 0; axis < 2; axis++) {
        int64_t in = call->in[0].dim[axis + 2], out = call->out[0].dim[axis + 2], most = in > out ? in : out;
        room *= attr->window[axis] < most ? attr->window[axis] : most;
    }
    return room + PAD;
}

/* x: the tensor (N, C, H, W), or its gradient; y: the pooled one, or its gradient. */
static void begin(const plumb_call *call, const plumb_view *x, const plumb_view *y, struct work *t)
{
    t->call = call;
    t->attr = call->attr;
    t->n = x->dim[0], t->c = x->dim[1];
    t->h = x->dim[2], t->w = x->dim[3];
    t->oh = y->dim[2], t->ow = y->dim[3];
    t->size = native_size(x->dtype);
    t->from = call->in[0].data;
    t->to = call->out[0].data;
    t->taps = call->workspace;
    t->room = list_room(call);
    t->rows = call->out[0].dim[2];
    t->reach[0] = (struct reach *)(void *)(t->taps + t->room * plumb_pool_size(call->pool));
    t->reach[1] = t->reach[0] + t->h;
    t->extent[0] = (float *)(void *)(t->reach[1] + t->w);
    t->extent[1] = t->extent[0] + t->oh;
    t->planes = t->extent[1] + t->ow;
    measure(t, x->dim + 2, y->dim + 2);
}

static void run(struct work *t)
{
    if (plumb_view_count(&t->call->out[0]) == 0)
        return;
    int64_t work = t->h * t->w * t->c / t->rows;
    t->per_chunk = work < CHUNK ? CHUNK / (work + 1) + 1 : 1;
    plumb_pool_run(t->call->pool, (t->n * t->rows + t->per_chunk - 1) / t->per_chunk, run_chunk, t);
}

size_t plumb_pool_columns_workspace(const plumb_call *call)
{
    size_t threads = (size_t)plumb_pool_size(call->pool), each = sizeof(struct tap) * (size_t)list_room(call);
    size_t axes = 0;
    if (call->op == &plumb_op_max_pool2d_backward)
        each += sizeof(float) * (size_t)(call->out[0].dim[2] * call->out[0].dim[3]);
    for (int d = 2; d < 4; d++)
        axes += (size_t)(call->in[0].dim[d] + call->out[0].dim[d]); /* x's and y's, in one order or the other */
    return threads * each + axes * (sizeof(struct reach) + sizeof(float));
}

plumb_status plumb_pool_columns_max(const plumb_call *call)
{
    struct work t = {.index_out = call->out[1].data, .row = PICK(max, call)};
    begin(call, &call->in[0], &call->out[0], &t);
    run(&t);
    return PLUMB_OK;
}

plumb_status plumb_pool_columns_average(const plumb_call *call)
{
    struct work t = {.row = PICK(average, call)};
    begin(call, &call->in[0], &call->out[0], &t);
    run(&t);
    return PLUMB_OK;
}

plumb_status plumb_pool_columns_average_backward(const plumb_call *call)
{
    struct work t = {.row = PICK(average_back, call)};
    begin(call, &call->out[0], &call->in[0], &t);
    run(&t);
    return PLUMB_OK;
}

plumb_status plumb_pool_columns_max_backward(const plumb_call *call)
{
    struct work t = {.index = call->in[1].data, .row = PICK(max_back, call)};
    begin(call, &call->out[0], &call->in[0], &t);
    run(&t);
    if (atomic_load(&t.found) != plumb_view_count(&call->in[0]) && plumb_view_count(&call->out[0]) > 0)
        plumb_pool_run(call->pool, t.n * t.c, route_plane, &t);
    return atomic_load(&t.bad_index) ? plumb_pool_bad_index(call, t.h, t.w) : PLUMB_OK;
}

bool plumb_pool_columns_supports(const plumb_call *call)
{
    bool good = call->in[0].dtype == PLUMB_F32 || call->in[0].dtype == PLUMB_BF16;
    good = good && !((const plumb_attr_pool2d *)call->attr)->adaptive;
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        const plumb_view *view = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
        good = good && columns_fit(view) && view->dim[2] * view->dim[3] < INT32_MAX / 4;
    }
    return good && call->in[0].dim[1] > 1;
}
