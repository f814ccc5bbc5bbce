/* Tensors of more than 2^31 elements. Such a tensor is made on the device: zeros but for a few marks, at both ends and
 * around element 2^31, so that every result is known: where a mark must be, and what sums must come to. An index that
 * is cut to 32 bits puts a mark elsewhere or reads another element.
 *
 * All values are small whole numbers or powers of two, exact in bf16 and in every sum; nothing is rounded. */
#include "validate.h"

#include "device/device.h"

#include <math.h>
#include <stdio.h>

enum { MARKS = 5, OUTPUTS = 4 };

struct scene {
    plumb_graph *g;
    int64_t rows, columns, total; /* total = rows * columns */
    int64_t at[MARKS];            /* marks 1, 2, 3, 4, 5 */
    plumb_t x;                    /* bf16 (total) */
    struct answer {
        plumb_t tensor;
        int64_t count;
        float *right; /* expected, as f32 */
        double within; /* relative; 0: exactly */
    } out[OUTPUTS];
    int n_out;
};

/* An output of `count` elements, expected to be all `value` but for what the caller puts in. */
static float *expect(struct scene *s, plumb_t tensor, int64_t count, float value)
{
    float *right = plumb_alloc(plumb_graph_context(s->g), (size_t)count * sizeof *right);
    for (int64_t i = 0; right && i < count; i++) {
        right[i] = value;
    }
    s->out[s->n_out++] = (struct answer){plumb_cast(s->g, tensor, PLUMB_F32), count, right, 0};
    return right;
}

static plumb_t flat(struct scene *s, plumb_t x) { return plumb_reshape(s->g, x, PLUMB_SHAPE(s->total)); }

static plumb_t grid(struct scene *s) { return plumb_reshape(s->g, s->x, PLUMB_SHAPE(s->rows, s->columns)); }

/* The element at place `at` of a tensor of `total` elements, and its two neighbours if it has them. */
static void expect_around(struct scene *s, plumb_t x, int64_t at, float value, const float *neighbours)
{
    int64_t begin[] = {at > 0 ? at - 1 : 0}, end[] = {at + 2 < s->total ? at + 2 : s->total};
    float *right = expect(s, plumb_slice(s->g, flat(s, x), begin, end, NULL), end[0] - begin[0], 0);
    for (int64_t i = begin[0]; right && i < end[0]; i++) {
        right[i - begin[0]] = i == at ? value : neighbours ? neighbours[i - at + 1] : 0;
    }
}

/* y has the marks of x, `factor` times as great: at 2^31 (marks 2, 3, 4 side by side), at the end, and in sum. */
static void expect_marks(struct scene *s, plumb_t y, float factor)
{
    const float beside[] = {2 * factor, 0, 4 * factor};
    expect_around(s, y, s->at[2], 3 * factor, beside);
    expect_around(s, y, s->total - 1, 5 * factor, NULL);
    float *sum = expect(s, plumb_sum(s->g, y, NULL, 0, false), 1, 0);
    if (sum) {
        *sum = 15 * factor;
    }
}

/* ---- what is tried ---- */

static void elementwise(struct scene *s)
{
    expect_marks(s, plumb_add(s->g, plumb_affine(s->g, s->x, 2, 0), plumb_relu(s->g, s->x)), 3);
}

/* Through both 16-bit dtypes: the marks are exact in either. */
static void casts(struct scene *s)
{
    plumb_t there = plumb_cast(s->g, s->x, PLUMB_F16);
    expect_marks(s, plumb_cast(s->g, there, PLUMB_BF16), 1);
}

static void reductions(struct scene *s)
{
    float *rows = expect(s, plumb_sum(s->g, grid(s), PLUMB_AXES(1), false), s->rows, 0);
    float *columns = expect(s, plumb_sum(s->g, grid(s), PLUMB_AXES(0), false), s->columns, 0);
    float *most = expect(s, plumb_max(s->g, s->x, NULL, 0, false), 1, 5);
    (void)most;
    for (int k = 0; rows && columns && k < MARKS; k++) {
        rows[s->at[k] / s->columns] += (float)(k + 1);
        columns[s->at[k] % s->columns] += (float)(k + 1);
    }
    /* the place of the greatest, halved until f32 tells it exactly */
    plumb_t place = plumb_argmax(s->g, s->x, 0, true);
    plumb_t high = plumb_cast(s->g, plumb_div(s->g, place, plumb_full_like(s->g, place, 65536)), PLUMB_F32);
    float *right = expect(s, high, 1, 0);
    if (right) {
        *right = (float)((s->total - 1) / 65536);
    }
}

/* A transposed copy: every element moves. */
static void copies(struct scene *s)
{
    plumb_t turned = plumb_reshape(s->g, plumb_transpose(s->g, grid(s), NULL), PLUMB_SHAPE(s->total));
    int64_t to = s->at[2] % s->columns * s->rows + s->at[2] / s->columns;
    plumb_t y = plumb_affine(s->g, turned, 1, 0);
    expect_around(s, y, to, 3, NULL);
    expect_around(s, y, s->total - 1, 5, NULL);
    float *sum = expect(s, plumb_sum(s->g, y, NULL, 0, false), 1, 15);
    (void)sum;
}

/* Rows without a mark are uniform: 1 / columns, a power of two. The last row is all but 1 / columns of e^5 more. */
static void softmax_rows(struct scene *s)
{
    plumb_t y = plumb_softmax(s->g, grid(s), 1);
    int64_t begin[] = {s->rows - 2, s->columns - 1}, end[] = {s->rows, s->columns};
    float *last = expect(s, plumb_slice(s->g, y, begin, end, NULL), 2, 1 / (float)s->columns);
    if (last) {
        last[1] = (float)(exp(5) / (exp(5) + (double)s->columns - 1));
        s->out[s->n_out - 1].within = 0x1p-7; /* one rounding to bf16, and the exponential */
    }
    float *sums = expect(s, plumb_sum(s->g, y, PLUMB_AXES(1), false), s->rows, 1);
    if (sums) {
        s->out[s->n_out - 1].within = 0x1p-7;
    }
}

/* Pictures of one channel, a row of the scene each. */
enum { WIDTH = 8 };
static plumb_t pictures(struct scene *s)
{
    return plumb_reshape(s->g, s->x, PLUMB_SHAPE(s->rows, 1, s->columns / WIDTH, WIDTH));
}

/* 3 x 3 ones: a mark counts as often as the filter covers it. */
static void convolutions(struct scene *s)
{
    const plumb_conv2d_options same = {.size = sizeof same, .padding = {1, 1, 1, 1}};
    plumb_t w = plumb_full(s->g, PLUMB_BF16, PLUMB_SHAPE(1, 1, 3, 3), 1), x = pictures(s);
    plumb_t y = plumb_conv2d(s->g, x, w, PLUMB_NONE, &same);
    float *sums = expect(s, plumb_sum(s->g, y, PLUMB_AXES(1, 2, 3), false), s->rows, 0);
    float *back = expect(s, plumb_sum(s->g, plumb_conv2d_backward_data(s->g, x, w, x, &same), PLUMB_AXES(1, 2, 3), false),
                         s->rows, 0);
    int64_t height = s->columns / WIDTH;
    for (int k = 0; sums && back && k < MARKS; k++) {
        int64_t row = s->at[k] / s->columns, h = s->at[k] % s->columns / WIDTH, w_at = s->at[k] % WIDTH;
        int covered = (h == 0 || h == height - 1 ? 2 : 3) * (w_at == 0 || w_at == WIDTH - 1 ? 2 : 3);
        sums[row] += (float)(covered * (k + 1));
        back[row] += (float)(covered * (k + 1));
    }
    /* the filter's middle tap meets every element with itself */
    plumb_t dw = plumb_conv2d_backward_filter(s->g, x, x, w, &same);
    int64_t begin[] = {0, 0, 1, 1}, end[] = {1, 1, 2, 2};
    float *middle = expect(s, plumb_slice(s->g, dw, begin, end, NULL), 1, 1 + 4 + 9 + 16 + 25);
    (void)middle;
}

/* One picture of all elements, so that indices within it pass 2^31. */
static void pooling(struct scene *s)
{
    const plumb_pool2d_options by_two = {.size = sizeof by_two, .window = {1, 2}};
    plumb_t y = plumb_max_pool2d(s->g, plumb_reshape(s->g, s->x, PLUMB_SHAPE(1, 1, s->rows, s->columns)), &by_two);
    plumb_t index = plumb_reshape(s->g, plumb_output(s->g, y, 1), PLUMB_SHAPE(s->total / 2));
    plumb_t most = plumb_reshape(s->g, y, PLUMB_SHAPE(s->total / 2));
    int64_t begin[] = {s->total / 2 - 1}, end[] = {s->total / 2};
    float *last = expect(s, plumb_slice(s->g, most, begin, end, NULL), 1, 5);
    plumb_t at = plumb_slice(s->g, index, begin, end, NULL);
    float *high = expect(s, plumb_div(s->g, at, plumb_full_like(s->g, at, 65536)), 1, (float)((s->total - 1) / 65536));
    (void)last;
    (void)high;
}

static void lookup(struct scene *s)
{
    int32_t rows[] = {(int32_t)(s->rows - 1), 0};
    plumb_t which = plumb_constant(s->g, PLUMB_I32, PLUMB_SHAPE(2), rows);
    float *right = expect(s, plumb_sum(s->g, plumb_embedding(s->g, grid(s), which), PLUMB_AXES(1), false), 2, 0);
    for (int k = 0; right && k < MARKS; k++) {
        right[0] += s->at[k] / s->columns == s->rows - 1 ? (float)(k + 1) : 0;
        right[1] += s->at[k] / s->columns == 0 ? (float)(k + 1) : 0;
    }
}

static const struct {
    const char *name;
    void (*build)(struct scene *s);
    int copies; /* tensors of that size alive at once, about */
} cases[] = {{"element-wise", elementwise, 3}, {"casts", casts, 3},               {"reductions", reductions, 2},
             {"transposed copy", copies, 3},   {"softmax of rows", softmax_rows, 3}, {"convolutions", convolutions, 4},
             {"max pooling", pooling, 5},      {"lookup", lookup, 2}};

/* ---- trying ---- */

/* Zeros with the marks between. */
static plumb_t make_marked(struct scene *s)
{
    plumb_t part[2 * MARKS + 1];
    int n = 0;
    int64_t from = 0;
    for (int k = 0; k < MARKS; k++) {
        if (s->at[k] > from) {
            part[n++] = plumb_full(s->g, PLUMB_BF16, PLUMB_SHAPE(s->at[k] - from), 0);
        }
        part[n++] = plumb_full(s->g, PLUMB_BF16, PLUMB_SHAPE(1), k + 1);
        from = s->at[k] + 1;
    }
    return plumb_concat(s->g, part, n, 0);
}

static bool compare(struct validate *v, plumb_program *program, const struct answer *a, const char *name, int k)
{
    float *got = malloc((size_t)a->count * sizeof *got);
    plumb_status status = got ? plumb_fetch(program, a->tensor, got, (size_t)a->count * sizeof *got) : PLUMB_FAILED;
    int64_t wrong = 0, first = -1;
    for (int64_t i = 0; !status && i < a->count; i++) {
        double difference = fabs((double)got[i] - (double)a->right[i]);
        if (!(difference <= a->within * fabs((double)a->right[i]))) {
            first = wrong++ == 0 ? i : first;
        }
    }
    char what[96];
    snprintf(what, sizeof what, "%s, result %d of %lld elements", name, k, (long long)a->count);
    bool ok = !status && wrong == 0;
    if (status) {
        validate_check(v, false, what, "it cannot be fetched");
    } else if (!ok) {
        validate_check(v, false, what, "%lld wrong, the first at %lld: %g instead of %g", (long long)wrong,
                       (long long)first, (double)got[first], (double)a->right[first]);
    } else {
        validate_check(v, true, what, "right");
    }
    free(got);
    return ok;
}

static void try_case(struct validate *v, plumb_context *context, int which)
{
    struct scene s = {.g = plumb_graph_new(context, "huge"),
                      .rows = v->small ? 33 : 65537,
                      .columns = v->small ? 64 : 32768};
    s.total = s.rows * s.columns;
    int64_t edge = v->small ? s.total / 2 : (int64_t)1 << 31;
    memcpy(s.at, (int64_t[]){0, edge - 1, edge, edge + 1, s.total - 1}, sizeof s.at);
    s.x = make_marked(&s);
    cases[which].build(&s);
    plumb_t outputs[OUTPUTS];
    for (int k = 0; k < s.n_out; k++) {
        outputs[k] = s.out[k].tensor;
    }
    /* folding would make the constants on the host */
    plumb_program *program = plumb_compile(s.g, NULL, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                               .outputs = outputs, .n_outputs = s.n_out,
                                                                               .passes_off = PLUMB_PASS_FOLD});
    plumb_status status = program ? plumb_run(program) : plumb_last_status(context);
    if (status) {
        validate_check(v, false, cases[which].name, "%s", plumb_message(context));
    }
    for (int k = 0; k < s.n_out; k++) {
        if (!status && s.out[k].right) {
            compare(v, program, &s.out[k], cases[which].name, k);
        }
        plumb_free(context, s.out[k].right);
    }
    plumb_program_free(program);
    plumb_graph_free(s.g);
    plumb_clear_error(context);
}

void validate_huge(struct validate *v)
{
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
        plumb_context *context = validate_open(v, v->device); /* a fresh one each: its memory is given back */
        plumb_device_info info = {.memory_total = 0};
        if (!context) {
            return;
        }
        context->device->table->info(context->device, &info);
        int64_t needed = (int64_t)cases[i].copies * 2 * 65537 * 32768 * 5 / 4;
        if (!v->small && info.memory_total > 0 && info.memory_total < needed) {
            validate_skip(v, cases[i].name, "the GPU has too little memory");
        } else {
            try_case(v, context, i);
        }
        plumb_close(context);
    }
}
