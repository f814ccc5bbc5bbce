/* Batch normalisation with channels in lanes: channels-last pictures and rows of features (columns.h), f32 or bf16,
 * computed in f32.
 *
 * Training reads x twice, once for the sums and once to write y. Each chunk sums differences from a centre of its own, the
 * mean of its first rows, so a mean that is large against the spread costs no digits; chunks are joined in double around
 * the mean of all. Squares are f32's: spreads up to 1e19. Backward, relu's mask is taken of y in both passes, for reading
 * is cheaper than storing what it lets through; but where that is wanted, as the residual's gradient, the sums' pass
 * writes it and the second pass reads it instead of dy and y. The second pass goes through the chunks backwards: what the
 * first read last may still be in a cache. */
#include "cpu/native/columns.h"
#include "cpu/native/half.h"
#include "cpu/native/norm.h"

enum { X, RESIDUAL = 5 };              /* inputs of the forward forms */
enum { B_MEAN = 2, B_DY = 4, B_Y = 5 }; /* inputs of the backward form */
enum { CENTRE_ROWS = 16 };

struct work {
    const plumb_call *call;
    struct columns m;
    const char *x, *dy, *y, *residual; /* dy NULL: forward; y NULL: no relu to go back through; residual NULL: none */
    char *to, *masked;                 /* y or dx; dy before relu, NULL: not wanted */
    bool relu;                         /* forward */
    float *centre, *factor, *slope, *shift; /* patterns */
    float *own;                        /* forward: [chunk][width] its centre */
    double *sums;                      /* [chunk][2][width]; after the chunk the first copy of channels holds all */
    void (*kernel)(const struct work *w, int64_t begin, int64_t end, int64_t chunk);
};

/* ---- sums of `count` elements, which begin with a pattern ---- */

NATIVE_INLINE void find_centre(plumb_dtype type, const struct columns *m, const char *x, int64_t count, float *centre)
{
    int64_t rows = count / m->channels < CENTRE_ROWS ? count / m->channels : CENTRE_ROWS;
    float part = 1.0f / (float)rows;
    memset(centre, 0, sizeof *centre * (size_t)m->channels);
    for (int64_t r = 0; r < rows; r++, x += m->channels * native_size(type)) {
        NATIVE_LOOP
        for (int64_t c = 0; c < m->channels; c++)
            centre[c] += native_load(type, x, c) * part;
    }
    columns_repeat(m, centre);
}

/* Sums of x - centre and its square. */
NATIVE_INLINE void sums_forward(plumb_dtype type, int64_t width, const char *x, int64_t count, const float *centre,
                                double *first, double *second)
{
    for (; count >= COLUMNS_TREE * width; count -= COLUMNS_TREE * width, x += COLUMNS_TREE * width * native_size(type)) {
        NATIVE_LOOP
        for (int64_t j = 0; j < width; j++) {
            float d[COLUMNS_TREE], square[COLUMNS_TREE];
            for (int k = 0; k < COLUMNS_TREE; k++) {
                d[k] = native_load(type, x, k * width + j) - centre[j];
                square[k] = d[k] * d[k];
            }
            first[j] += (double)columns_tree(d);
            second[j] += (double)columns_tree(square);
        }
    }
    for (; count > 0; count -= width, x += width * native_size(type)) {
        int64_t n = count < width ? count : width;
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++) {
            float d = native_load(type, x, j) - centre[j];
            first[j] += (double)d;
            second[j] += (double)(d * d);
        }
    }
}

/* dy before relu, which lets not-a-numbers through; y NULL: there is none. */
NATIVE_INLINE float before_relu(plumb_dtype type, const char *dy, const char *y, int64_t i)
{
    float d = native_load(type, dy, i);
    return y && native_load(type, y, i) <= 0 ? 0 : d;
}

/* The same of all elements, to be stored: bits stay as they are. */
NATIVE_INLINE void mask_relu(plumb_dtype type, const char *dy, const char *y, char *to, int64_t count)
{
    if (type == PLUMB_F32) {
        NATIVE_LOOP
        for (int64_t i = 0; i < count; i++)
            ((float *)to)[i] = ((const float *)y)[i] <= 0 ? 0 : ((const float *)dy)[i];
        return;
    }
    NATIVE_LOOP
    for (int64_t i = 0; i < count; i++)
        ((uint16_t *)to)[i] = native_load(type, y, i) <= 0 ? 0 : ((const uint16_t *)dy)[i];
}

/* Sums of d and d (x - centre), d being dy before relu. */
NATIVE_INLINE void sums_backward(plumb_dtype type, int64_t width, const char *x, const char *dy, const char *y,
                                 int64_t count, const float *centre, double *first, double *second)
{
    const int64_t size = native_size(type), trees = COLUMNS_TREE * width;
    for (; count >= trees; count -= trees, x += trees * size, dy += trees * size) {
        NATIVE_LOOP
        for (int64_t j = 0; j < width; j++) {
            float d[COLUMNS_TREE], weighted[COLUMNS_TREE];
            for (int k = 0; k < COLUMNS_TREE; k++) {
                d[k] = before_relu(type, dy, y, k * width + j);
                weighted[k] = d[k] * (native_load(type, x, k * width + j) - centre[j]);
            }
            first[j] += (double)columns_tree(d);
            second[j] += (double)columns_tree(weighted);
        }
        y = y ? y + trees * size : NULL;
    }
    for (; count > 0; count -= width, x += width * size, dy += width * size) {
        int64_t n = count < width ? count : width;
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++) {
            float d = before_relu(type, dy, y, j);
            first[j] += (double)d;
            second[j] += (double)(d * (native_load(type, x, j) - centre[j]));
        }
        y = y ? y + width * size : NULL;
    }
}

/* Of dy before relu, which is left in `to`, a few rows at a time. */
NATIVE_INLINE void sums_storing(plumb_dtype type, int64_t width, const char *x, const char *dy, const char *y, char *to,
                                int64_t count, const float *centre, double *first, double *second)
{
    const int64_t step = COLUMNS_TREE * width, bytes = step * native_size(type);
    for (; count > 0; count -= step, x += bytes, dy += bytes, y += bytes, to += bytes) {
        int64_t n = count < step ? count : step;
        mask_relu(type, dy, y, to, n);
        sums_backward(type, width, x, to, NULL, n, centre, first, second);
    }
}

NATIVE_INLINE void sum_chunk(plumb_dtype type, const struct work *w, int64_t begin, int64_t end, int64_t chunk)
{
    const struct columns *m = &w->m;
    const int64_t width = m->width, at = begin * native_size(type), count = end - begin;
    double *first = w->sums + chunk * 2 * width, *second = first + width;
    const char *x = w->x + at;
    memset(first, 0, sizeof *first * 2 * (size_t)width);
    if (!w->dy) {
        float *centre = w->own + chunk * width;
        find_centre(type, m, x, count, centre);
        sums_forward(type, width, x, count, centre, first, second);
    } else if (!w->y) {
        sums_backward(type, width, x, w->dy + at, NULL, count, w->centre, first, second);
    } else if (!w->masked) {
        sums_backward(type, width, x, w->dy + at, w->y + at, count, w->centre, first, second);
    } else {
        sums_storing(type, width, x, w->dy + at, w->y + at, w->masked + at, count, w->centre, first, second);
    }
    columns_fold(m, first);
    columns_fold(m, second);
}

/* ---- what the sums are for ---- */

NATIVE_INLINE void forward(plumb_dtype type, const struct work *w, int64_t at, int64_t count, bool relu)
{
    const int64_t width = w->m.width, size = native_size(type);
    const float *centre = w->centre, *factor = w->factor, *shift = w->shift;
    const char *x = w->x + at * size, *residual = w->residual ? w->residual + at * size : NULL;
    char *to = w->to + at * size;
    for (; count > 0; count -= width, x += width * size, to += width * size) {
        int64_t n = count < width ? count : width;
        if (residual) {
            NATIVE_LOOP
            for (int64_t j = 0; j < n; j++) {
                float y = (native_load(type, x, j) - centre[j]) * factor[j] + shift[j] + native_load(type, residual, j);
                native_store(type, to, j, relu && y <= 0 ? 0 : y);
            }
            residual += width * size;
            continue;
        }
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++) {
            float y = (native_load(type, x, j) - centre[j]) * factor[j] + shift[j];
            native_store(type, to, j, relu && y <= 0 ? 0 : y);
        }
    }
}

NATIVE_INLINE void backward(plumb_dtype type, const struct work *w, int64_t at, int64_t count, const char *dy, const char *y)
{
    const int64_t width = w->m.width, size = native_size(type);
    const float *centre = w->centre, *factor = w->factor, *slope = w->slope, *shift = w->shift;
    const char *x = w->x + at * size;
    char *to = w->to + at * size;
    for (; count > 0; count -= width, x += width * size, dy += width * size, to += width * size) {
        int64_t n = count < width ? count : width;
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++) {
            float d = before_relu(type, dy, y, j);
            float dx = d * factor[j] + ((native_load(type, x, j) - centre[j]) * slope[j] + shift[j]);
            native_store(type, to, j, dx);
        }
        y = y ? y + width * size : NULL;
    }
}

NATIVE_INLINE void apply_chunk(plumb_dtype type, const struct work *w, int64_t begin, int64_t end)
{
    const int64_t at = begin * native_size(type);
    if (!w->dy && w->relu)
        forward(type, w, begin, end - begin, true);
    else if (!w->dy)
        forward(type, w, begin, end - begin, false);
    else if (w->masked)
        backward(type, w, begin, end - begin, w->masked + at, NULL);
    else if (w->y)
        backward(type, w, begin, end - begin, w->dy + at, w->y + at);
    else
        backward(type, w, begin, end - begin, w->dy + at, NULL);
}

#define KERNELS(isa, TARGET, name, type)                                                                              \
    TARGET static void sum_##name##_##isa(const struct work *w, int64_t begin, int64_t end, int64_t chunk)            \
    {                                                                                                                 \
        sum_chunk(type, w, begin, end, chunk);                                                                        \
    }                                                                                                                 \
    TARGET static void apply_##name##_##isa(const struct work *w, int64_t begin, int64_t end, int64_t chunk)          \
    {                                                                                                                 \
        (void)chunk;                                                                                                  \
        apply_chunk(type, w, begin, end);                                                                             \
    }
#define EACH(isa, TARGET)                                                                                             \
    KERNELS(isa, TARGET, f32, PLUMB_F32)                                                                              \
    KERNELS(isa, TARGET, bf16, PLUMB_BF16)
NATIVE_EACH_ISA(EACH)
#define PICK(kernel, type, isa)                                                                                       \
    ((type) == PLUMB_F32 ? NATIVE_PICK(kernel##_f32, isa) : NATIVE_PICK(kernel##_bf16, isa))

/* ---- work ---- */

static void sums_of_chunk(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    (void)worker;
    w->kernel(w, chunk * w->m.per_chunk, columns_end(&w->m, chunk), chunk);
}

static void apply_to_chunk(void *user, int64_t number, int worker)
{
    const struct work *w = user;
    int64_t chunk = w->m.chunks - 1 - number;
    (void)worker;
    w->kernel(w, chunk * w->m.per_chunk, columns_end(&w->m, chunk), chunk);
}

static void sum(struct work *w)
{
    w->kernel = PICK(sum, w->call->in[0].dtype, w->call->isa);
    plumb_pool_run(w->call->pool, w->m.chunks, sums_of_chunk, w);
}

static void apply(struct work *w)
{
    float *const pattern[] = {w->centre, w->factor, w->slope, w->shift};
    for (int k = 0; k < 4; k++)
        columns_repeat(&w->m, pattern[k]);
    w->kernel = PICK(apply, w->call->in[0].dtype, w->call->isa);
    plumb_pool_run(w->call->pool, w->m.chunks, apply_to_chunk, w);
}

static struct columns cut(const plumb_call *call)
{
    return columns_of(columns_rows(&call->in[X]), call->in[X].dim[1]);
}

/* Joined sums take the place of a chunk's; then chunks' sums, patterns, chunks' centres. */
size_t plumb_norm_columns_workspace(const plumb_call *call)
{
    struct columns m = cut(call);
    size_t width = (size_t)m.width, chunks = (size_t)m.chunks;
    return sizeof(double) * 2 * width * (1 + chunks) + sizeof(float) * width * (4 + chunks);
}

static struct work begin(const plumb_call *call)
{
    struct work w = {.call = call, .m = cut(call), .x = call->in[X].data, .to = call->out[0].data};
    int64_t width = w.m.width;
    w.sums = (double *)call->workspace + 2 * width;
    w.centre = (float *)(void *)(w.sums + 2 * width * w.m.chunks);
    w.factor = w.centre + width;
    w.slope = w.factor + width;
    w.shift = w.slope + width;
    w.own = w.shift + width;
    return w;
}

static struct work begin_forward(const plumb_call *call)
{
    struct work w = begin(call);
    w.residual = call->n_in > RESIDUAL ? call->in[RESIDUAL].data : NULL;
    w.relu = ((const plumb_attr_batch_norm *)call->attr)->activation == PLUMB_ACTIVATION_RELU;
    return w;
}

static void set_line(struct work *w, int64_t c, struct norm_line line)
{
    w->centre[c] = line.centre;
    w->factor[c] = line.factor;
    w->slope[c] = line.slope;
    w->shift[c] = line.shift;
}

/* Over all chunks, of each channel: means, and then the sums of squares around them. */
static void join_moments(const struct work *w, double *mean, double *squares)
{
    const struct columns *m = &w->m;
    memset(mean, 0, sizeof *mean * 2 * (size_t)m->width); /* and squares, which lie behind */
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t chunk = 0; chunk < m->chunks; chunk++) {
            const double *first = w->sums + chunk * 2 * m->width, *second = first + m->width;
            const float *centre = w->own + chunk * m->width;
            double rows = (double)((columns_end(m, chunk) - chunk * m->per_chunk) / m->channels);
            for (int64_t c = 0; c < m->channels && pass == 0; c++)
                mean[c] += (first[c] + rows * (double)centre[c]) / (double)m->rows;
            for (int64_t c = 0; c < m->channels && pass == 1; c++) {
                double off = mean[c] - (double)centre[c];
                squares[c] += second[c] - off * (2 * first[c] - rows * off);
            }
        }
    }
}

plumb_status plumb_norm_columns_training(const plumb_call *call)
{
    struct work w = begin_forward(call);
    double *mean = call->workspace, *squares = mean + w.m.width;
    sum(&w);
    join_moments(&w, mean, squares);
    for (int64_t c = 0; c < w.m.channels; c++)
        set_line(&w, c, plumb_norm_finish(call, c, w.m.rows, mean[c], w.m.rows ? squares[c] / (double)w.m.rows : 0));
    apply(&w);
    return PLUMB_OK;
}

plumb_status plumb_norm_columns_inference(const plumb_call *call)
{
    struct work w = begin_forward(call);
    for (int64_t c = 0; c < w.m.channels; c++)
        set_line(&w, c, plumb_norm_running(call, c));
    apply(&w);
    return PLUMB_OK;
}

plumb_status plumb_norm_columns_backward(const plumb_call *call)
{
    struct work w = begin(call);
    double *total = call->workspace;
    int64_t width = w.m.width;
    w.dy = call->in[B_DY].data;
    w.y = call->n_in > B_Y ? call->in[B_Y].data : NULL;
    w.masked = call->n_out > 3 ? call->out[3].data : NULL;
    memcpy(w.centre, call->in[B_MEAN].data, sizeof *w.centre * (size_t)w.m.channels);
    columns_repeat(&w.m, w.centre);
    sum(&w);
    memset(total, 0, sizeof *total * 2 * (size_t)width);
    for (int64_t chunk = 0; chunk < w.m.chunks; chunk++)
        for (int64_t j = 0; j < 2 * width; j++)
            total[j] += w.sums[chunk * 2 * width + j];
    for (int64_t c = 0; c < w.m.channels; c++)
        set_line(&w, c, plumb_norm_finish_backward(call, c, w.m.rows, total[c], total[width + c]));
    apply(&w);
    return PLUMB_OK;
}

bool plumb_norm_columns_supports(const plumb_call *call)
{
    bool good = true;
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        const plumb_view *view = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
        good = good && (view->rank == 1 ? view->dtype == PLUMB_F32 && plumb_view_contiguous(view) : columns_fit(view));
    }
    return good;
}
