/* Ops on the command line: "64x32x28x28,16x32x3x3" for the inputs, each with an optional ":i32", and "padding=1,stride=2x2"
 * for the attributes. The table says which attribute of which op is called what, where it lies and what it is when it is
 * not given; it is the only place of the command that knows attributes. */
#include "cli/bench.h"
#include "op/attr.h"

#include <stddef.h>

enum kind { WHOLE, SHORT, NUMBER, AXES, SHAPE, DTYPE, ACTIVATION };

struct field {
    const char *op; /* and its backward ops and the like: see is_of */
    const char *name;
    enum kind kind;
    int count; /* of an array, whose elements are one number or AxB.. */
    size_t at;
    double otherwise;
};

#define FIELD(op, type, member, kind, count, otherwise) {op, #member, kind, count, offsetof(type, member), otherwise}
#define NUMBERS(op, member, otherwise) FIELD(op, plumb_attr_numbers, member, NUMBER, 1, otherwise)
#define REDUCE(op)                                                                                                    \
    FIELD(op, plumb_attr_reduce, axes, AXES, 1, 0), FIELD(op, plumb_attr_reduce, keep, SHORT, 1, 0),                  \
        FIELD(op, plumb_attr_reduce, all, SHORT, 1, 1)
#define POOL(op)                                                                                                      \
    FIELD(op, plumb_attr_pool2d, shape, SHAPE, 1, 0), FIELD(op, plumb_attr_pool2d, window, WHOLE, 2, 2),              \
        FIELD(op, plumb_attr_pool2d, stride, WHOLE, 2, 2), FIELD(op, plumb_attr_pool2d, padding, WHOLE, 4, 0),        \
        FIELD(op, plumb_attr_pool2d, dilation, WHOLE, 2, 1), FIELD(op, plumb_attr_pool2d, ceil_mode, SHORT, 1, 0),    \
        FIELD(op, plumb_attr_pool2d, exclude_padding, SHORT, 1, 0), FIELD(op, plumb_attr_pool2d, adaptive, SHORT, 1, 0)
#define RECURRENT(op)                                                                                                 \
    FIELD(op, plumb_attr_recurrent, reverse, SHORT, 1, 0), FIELD(op, plumb_attr_recurrent, given, SHORT, 1, 0),       \
        FIELD(op, plumb_attr_recurrent, dx, SHORT, 1, 0), FIELD(op, plumb_attr_recurrent, lengths, SHORT, 1, 0)
#define ROW_NORM(op, is_centred)                                                                                      \
    FIELD(op, plumb_attr_row_norm, epsilon, NUMBER, 1, 1e-5), FIELD(op, plumb_attr_row_norm, groups, WHOLE, 1, 1),    \
        FIELD(op, plumb_attr_row_norm, centred, SHORT, 1, is_centred)
#define ORDER(op, all_or_one)                                                                                         \
    FIELD(op, plumb_attr_order, k, WHOLE, 1, all_or_one), FIELD(op, plumb_attr_order, axis, SHORT, 1, 0),             \
        FIELD(op, plumb_attr_order, descending, SHORT, 1, 0)
#define PLACES(op)                                                                                                    \
    FIELD(op, plumb_attr_scatter, axis, SHORT, 1, 0), FIELD(op, plumb_attr_scatter, batch, SHORT, 1, 0),              \
        FIELD(op, plumb_attr_scatter, reduce, SHORT, 1, 0)
#define UPDATE(op, slots_of_it)                                                                                       \
    FIELD(op, plumb_attr_update, beta1, NUMBER, 1, 0.9), FIELD(op, plumb_attr_update, beta2, NUMBER, 1, 0.999),       \
        FIELD(op, plumb_attr_update, epsilon, NUMBER, 1, 1e-8),                                                       \
        FIELD(op, plumb_attr_update, weight_decay, NUMBER, 1, 0), FIELD(op, plumb_attr_update, l2, NUMBER, 1, 0),     \
        FIELD(op, plumb_attr_update, l1, NUMBER, 1, 0), FIELD(op, plumb_attr_update, slots, SHORT, 1, slots_of_it)

static const struct field fields[] = {
    FIELD("matmul", plumb_attr_matmul, transpose_a, SHORT, 1, 0),
    FIELD("matmul", plumb_attr_matmul, transpose_b, SHORT, 1, 0),
    FIELD("matmul", plumb_attr_matmul, activation, ACTIVATION, 1, 0),
    FIELD("conv2d", plumb_attr_conv2d, shape, SHAPE, 1, 0),
    FIELD("conv2d", plumb_attr_conv2d, stride, WHOLE, 2, 1),
    FIELD("conv2d", plumb_attr_conv2d, padding, WHOLE, 4, 0),
    FIELD("conv2d", plumb_attr_conv2d, dilation, WHOLE, 2, 1),
    FIELD("conv2d", plumb_attr_conv2d, groups, WHOLE, 1, 1),
    FIELD("conv2d", plumb_attr_conv2d, flip, SHORT, 1, 0),
    FIELD("conv2d", plumb_attr_conv2d, activation, ACTIVATION, 1, 0),
    POOL("max_pool2d"),
    POOL("average_pool2d"),
    FIELD("batch_norm", plumb_attr_batch_norm, epsilon, NUMBER, 1, 1e-5),
    FIELD("batch_norm", plumb_attr_batch_norm, momentum, NUMBER, 1, 0.1),
    FIELD("batch_norm", plumb_attr_batch_norm, biased_running, SHORT, 1, 0),
    FIELD("batch_norm", plumb_attr_batch_norm, activation, ACTIVATION, 1, 0),
    FIELD("batch_norm", plumb_attr_batch_norm, residual, SHORT, 1, 0),
    ROW_NORM("layer_norm", 1),
    ROW_NORM("group_norm", 1),
    ROW_NORM("rms_norm", 0),
    ROW_NORM("row_norm", 1),
    FIELD("row_norm", plumb_attr_row_norm, affine, SHORT, 1, 2),
    FIELD("lrn", plumb_attr_lrn, before, WHOLE, 1, 2),
    FIELD("lrn", plumb_attr_lrn, after, WHOLE, 1, 2),
    FIELD("lrn", plumb_attr_lrn, scale, NUMBER, 1, 2e-5),
    FIELD("lrn", plumb_attr_lrn, beta, NUMBER, 1, 0.75),
    FIELD("lrn", plumb_attr_lrn, bias, NUMBER, 1, 1),
    REDUCE("sum"),
    REDUCE("mean"),
    REDUCE("max"),
    REDUCE("min"),
    REDUCE("prod"),
    REDUCE("abs_sum"),
    REDUCE("square_sum"),
    REDUCE("variance"),
    FIELD("variance", plumb_attr_reduce, correction, SHORT, 1, 1),
    REDUCE("log_sum_exp"),
    REDUCE("any"),
    REDUCE("all"),
    FIELD("cumsum", plumb_attr_scan, axis, SHORT, 1, 0),
    FIELD("cumsum", plumb_attr_scan, exclusive, SHORT, 1, 0),
    FIELD("cumsum", plumb_attr_scan, reverse, SHORT, 1, 0),
    ORDER("sort", -1),
    ORDER("top_k", 1),
    FIELD("argmax", plumb_attr_reduce, axis, SHORT, 1, 0),
    FIELD("argmin", plumb_attr_reduce, axis, SHORT, 1, 0),
    FIELD("sum_to", plumb_attr_shape, shape, SHAPE, 1, 0),
    FIELD("expand", plumb_attr_shape, shape, SHAPE, 1, 0),
    FIELD("reshape", plumb_attr_shape, shape, SHAPE, 1, 0),
    FIELD("softmax", plumb_attr_axis, axis, SHORT, 1, 1),
    FIELD("log_softmax", plumb_attr_axis, axis, SHORT, 1, 1),
    FIELD("hardmax", plumb_attr_axis, axis, SHORT, 1, 1),
    FIELD("concat", plumb_attr_axis, axis, SHORT, 1, 0),
    FIELD("gather", plumb_attr_gather, shape, SHAPE, 1, 0),
    FIELD("gather", plumb_attr_gather, axis, SHORT, 1, 0),
    PLACES("gather_elements"),
    PLACES("gather_nd"),
    PLACES("scatter_elements"),
    PLACES("scatter_nd"),
    FIELD("attention", plumb_attr_attention, scale, NUMBER, 1, 1),
    FIELD("attention", plumb_attr_attention, causal, WHOLE, 1, 0),
    FIELD("ctc_loss", plumb_attr_ctc, blank, WHOLE, 1, 0),
    FIELD("ctc_loss", plumb_attr_ctc, zero_infinity, WHOLE, 1, 0),
    FIELD("triangle", plumb_attr_triangle, k, WHOLE, 1, 0),
    FIELD("triangle", plumb_attr_triangle, upper, SHORT, 1, 0),
    FIELD("one_hot", plumb_attr_one_hot, made.dtype, DTYPE, 1, PLUMB_F32),
    FIELD("one_hot", plumb_attr_one_hot, classes, WHOLE, 1, 10),
    FIELD("one_hot", plumb_attr_one_hot, on, NUMBER, 1, 1),
    FIELD("one_hot", plumb_attr_one_hot, axis, SHORT, 1, -1),
    FIELD("cast", plumb_attr_cast, made.dtype, DTYPE, 1, PLUMB_BF16),
    FIELD("cross_entropy", plumb_attr_cross_entropy, label_smoothing, NUMBER, 1, 0),
    NUMBERS("affine", a, 1),
    NUMBERS("affine", b, 0),
    NUMBERS("leaky_relu", a, 0.01),
    NUMBERS("elu", a, 1),
    NUMBERS("huber", a, 1),
    NUMBERS("clamp", a, 0),
    NUMBERS("clamp", b, 1),
    FIELD("dropout", plumb_attr_random, a, NUMBER, 1, 0.5),
    FIELD("activation_backward", plumb_attr_activation, activation, ACTIVATION, 1, PLUMB_ACTIVATION_RELU),
    FIELD("activation_backward", plumb_attr_activation, axis, SHORT, 1, 1),
    RECURRENT("rnn"),
    FIELD("rnn", plumb_attr_recurrent, activation, ACTIVATION, 1, PLUMB_ACTIVATION_TANH),
    RECURRENT("gru"),
    FIELD("gru", plumb_attr_recurrent, reset_before, SHORT, 1, 0),
    RECURRENT("lstm"),
    FIELD("lstm", plumb_attr_recurrent, peepholes, SHORT, 1, 0),
    UPDATE("sgd_update", 0),
    UPDATE("momentum_update", 1),
    UPDATE("nesterov_update", 1),
    UPDATE("adagrad_update", 1),
    UPDATE("rmsprop_update", 1),
    UPDATE("adam_update", 2),
};
#define FIELDS ((int)(sizeof(fields) / sizeof(fields[0])))

static bool is_of(const struct field *f, const char *op)
{
    static const char *const ends[] = {"", "_backward", "_backward_data", "_backward_filter", "_inference", "_select"};
    size_t n = strlen(f->op);
    bool same = false;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        same = same || (strncmp(f->op, op, n) == 0 && strcmp(op + n, ends[i]) == 0);
    }
    return same;
}

/* "made.dtype" is called dtype. */
static const char *name_of(const struct field *f)
{
    const char *dot = strchr(f->name, '.');
    return dot ? dot + 1 : f->name;
}

static const char *const activations[] = {[PLUMB_ACTIVATION_NONE] = "none", [PLUMB_ACTIVATION_RELU] = "relu",
                                          [PLUMB_ACTIVATION_SIGMOID] = "sigmoid", [PLUMB_ACTIVATION_TANH] = "tanh"};

static plumb_dtype dtype_named(const char *name)
{
    plumb_dtype found = PLUMB_NO_DTYPE;
    for (int d = PLUMB_NO_DTYPE + 1; plumb_dtype_size((plumb_dtype)d); d++) {
        found = strcmp(plumb_dtype_name((plumb_dtype)d), name) == 0 ? (plumb_dtype)d : found;
    }
    return found;
}

/* "64x32x28x28" or "scalar". */
static bool read_shape(const char *text, plumb_shape *shape)
{
    char word[24];
    shape->rank = 0;
    for (bool more = strcmp(text, "scalar") != 0; more;) {
        size_t n = strcspn(text, "x");
        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), text);
        if (shape->rank == PLUMB_MAX_RANK || !cli_whole(word, 1, 1 << 30, &shape->dim[shape->rank++])) {
            return false;
        }
        more = text[n] == 'x';
        text += n + 1;
    }
    return true;
}

static void put(const struct field *f, int i, double value, void *attr)
{
    char *to = (char *)attr + f->at;
    switch (f->kind) {
    case WHOLE: ((int64_t *)(void *)to)[i] = (int64_t)value; break;
    case NUMBER: ((double *)(void *)to)[i] = value; break;
    case AXES: *(uint32_t *)(void *)to |= 1u << (int)value; break;
    case DTYPE: *(plumb_dtype *)(void *)to = (plumb_dtype)value; break;
    default: ((int32_t *)(void *)to)[i] = (int32_t)value; break;
    }
}

/* One value: a word where there are words for it, else numbers with 'x' between them, the last of which serves those that
 * follow, except that of two for the four sides of a padding the first is for above and below. */
static bool read_value(const struct field *f, const char *text, void *attr)
{
    char word[24];
    double value[4];
    int n = 0;
    if (f->kind == SHAPE) {
        return read_shape(text, (plumb_shape *)(void *)((char *)attr + f->at));
    }
    if (f->kind == DTYPE) {
        put(f, 0, dtype_named(text), attr);
        return dtype_named(text) != PLUMB_NO_DTYPE;
    }
    for (int i = 0; f->kind == ACTIVATION && i < 4; i++) {
        if (strcmp(activations[i], text) == 0) {
            put(f, 0, i, attr);
            return true;
        }
    }
    for (bool more = f->kind != ACTIVATION; more;) {
        size_t length = strcspn(text, "x");
        snprintf(word, sizeof(word), "%.*s", (int)(length < sizeof(word) ? length : sizeof(word) - 1), text);
        if (n == 4 || !cli_number(word, -2147483648.0, 2147483647.0, &value[n++])) {
            return false;
        }
        more = text[length] == 'x';
        text += length + 1;
    }
    if (f->kind == AXES) {
        ((plumb_attr_reduce *)attr)->all = 0;
    }
    for (int i = 0; i < (f->kind == AXES ? n : f->count) && n > 0; i++) {
        put(f, i, value[n == 2 && f->count == 4 ? i % 2 : i < n ? i : n - 1], attr);
    }
    return n > 0 && (f->kind == AXES || n <= f->count);
}

static bool refuse_field(plumb_context *context, const char *op, const char *word)
{
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; i < FIELDS && used < sizeof(list); i++) {
        if (is_of(&fields[i], op)) {
            int n = snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", name_of(&fields[i]));
            used += n > 0 ? (size_t)n : 0;
        }
    }
    plumb_fail(context, PLUMB_BAD_INPUT, "--set: '%s' is none of %s's attributes (%s)", word, op, *list ? list : "it has none");
    return false;
}

/* "padding=1,stride=2x2" over the defaults. */
static bool read_attributes(plumb_context *context, const plumb_op *op, const char *text, void *attr)
{
    char word[96];
    for (int i = 0; i < FIELDS; i++) {
        for (int k = 0; is_of(&fields[i], op->name) && fields[i].otherwise != 0 && k < fields[i].count; k++) {
            put(&fields[i], k, fields[i].otherwise, attr);
        }
    }
    while (text && *text) {
        size_t n = strcspn(text, ",");
        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), text);
        char *value = strchr(word, '=');
        int i = 0;
        if (value) {
            *value++ = 0;
        }
        while (i < FIELDS && (!is_of(&fields[i], op->name) || strcmp(name_of(&fields[i]), word) != 0)) {
            i++;
        }
        if (i == FIELDS) {
            return refuse_field(context, op->name, word);
        }
        if (!value || !read_value(&fields[i], value, attr)) {
            plumb_fail(context, PLUMB_BAD_INPUT, "--set: %s: '%s' is no value for it", word, value ? value : "");
            return false;
        }
        text += n + (text[n] == ',');
    }
    return true;
}

static double get(const struct field *f, int i, const void *attr)
{
    const char *from = (const char *)attr + f->at;
    switch (f->kind) {
    case WHOLE: return (double)((const int64_t *)(const void *)from)[i];
    case NUMBER: return ((const double *)(const void *)from)[i];
    case AXES: return *(const uint32_t *)(const void *)from;
    case DTYPE: return (double)*(const plumb_dtype *)(const void *)from;
    default: return ((const int32_t *)(const void *)from)[i];
    }
}

const char *bench_attributes(const plumb_call *call, char *to, size_t room)
{
    struct plumb_text text = {.context = call->context};
    for (int i = 0; i < FIELDS; i++) {
        const struct field *f = &fields[i];
        bool usual = true;
        if (!is_of(f, call->op->name) || f->kind == SHAPE || strcmp(f->name, "all") == 0) {
            continue;
        }
        for (int k = 0; k < f->count; k++) {
            usual = usual && get(f, k, call->attr) == f->otherwise;
        }
        for (int k = 0; k < f->count && !usual; k++) {
            double value = get(f, k, call->attr); /* axes are bits */
            const char *word = f->kind == ACTIVATION ? activations[(int)value]
                               : f->kind == DTYPE    ? plumb_dtype_name((plumb_dtype)value)
                                                     : NULL;
            if (k) {
                plumb_text_add(&text, "x");
            } else {
                plumb_text_add(&text, "%s%s=", text.length ? "," : "", name_of(f));
            }
            for (int bit = 0, n = 0; f->kind == AXES && bit < PLUMB_MAX_RANK; bit++) {
                if ((uint32_t)value >> bit & 1) {
                    plumb_text_add(&text, "%s%d", n++ ? "x" : "", bit);
                }
            }
            if (word) {
                plumb_text_add(&text, "%s", word);
            } else if (f->kind != AXES) {
                plumb_text_add(&text, "%.10g", value);
            }
        }
    }
    snprintf(to, room, "%s", text.data ? text.data : "");
    plumb_free(call->context, text.data);
    return to;
}

/* The inputs in0, in1, .. of the graph; how many, or -1. */
static int make_inputs(plumb_graph *graph, const struct bench_spec *spec, plumb_t *in, plumb_type *types)
{
    plumb_context *context = plumb_graph_context(graph);
    char word[96], name[8];
    int count = 0;
    for (const char *text = spec->shapes; text;) {
        size_t n = strcspn(text, ",");
        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), text);
        char *dtype = strchr(word, ':');
        if (dtype) {
            *dtype++ = 0;
        }
        plumb_type *type = &types[count];
        type->dtype = dtype ? dtype_named(dtype) : spec->dtype;
        if (count == BENCH_INPUTS_MAX || type->dtype == PLUMB_NO_DTYPE || !read_shape(word, &type->shape)) {
            plumb_fail(context, PLUMB_BAD_INPUT, "--shapes: '%s' is not like 64x32x28x28, with :f32 or so", word);
            return -1;
        }
        snprintf(name, sizeof(name), "in%d", count);
        in[count++] = plumb_input(graph, name, type->dtype, type->shape);
        text = text[n] ? text + n + 1 : NULL;
    }
    return count;
}

plumb_status bench_spec_build(const struct bench_spec *spec, plumb_graph *graph, struct bench_built *b)
{
    plumb_context *context = plumb_graph_context(graph);
    const plumb_op *op = plumb_op_named(spec->op);
    *b = (struct bench_built){0};
    if (op->flags & PLUMB_OP_LEAF) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "'%s' computes nothing", op->name);
    }
    int n = make_inputs(graph, spec, b->in, b->type);
    void *attr = n < 0 ? NULL : plumb_zalloc(context, op->attr_size + sizeof(plumb_attr_reduce));
    if (!attr || !read_attributes(context, op, spec->set, attr)) {
        plumb_free(context, attr);
        return PLUMB_BAD_INPUT;
    }
    if (op->flags & PLUMB_OP_DTYPE && ((plumb_attr_made *)attr)->dtype == PLUMB_NO_DTYPE) {
        ((plumb_attr_made *)attr)->dtype = spec->dtype;
    }
    if (op->flags & PLUMB_OP_LIKE && n > op->min_in) {
        ((plumb_attr_made *)attr)->shape.rank = -1; /* the last input lends it */
    }
    b->n_in = n;
    b->y = plumb_named(graph, plumb_emit(graph, op, op->attr_size ? attr : NULL, b->in, n), BENCH_FORWARD);
    plumb_free(context, attr);
    return plumb_graph_status(graph);
}
