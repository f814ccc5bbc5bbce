/* What the fake of cuDNN refuses, and its engines. Descriptors have the rules of the library: attributes by type of
 * descriptor (cudnn_rules.h), types and counts of elements, what must be finalised when, shapes that meet. Engines are of
 * every sort, most of which may not be chosen. */
#include "cudnn.h"

/* ---- the rules ---- */

static const struct fake_rule rules[] = {
#include "cudnn_rules.h"
};
enum { RULES = sizeof rules / sizeof *rules };

size_t cudasim_cudnn_element(unsigned type)
{
    switch (type) {
    case CD_TYPE_BOOLEAN: return 1;
    case CD_TYPE_HANDLE:
    case CD_TYPE_INT64:
    case CD_TYPE_DOUBLE:
    case CD_TYPE_VOID_PTR:
    case CD_TYPE_BACKEND_DESCRIPTOR: return 8;
    default: return 4;
    }
}

bool cudasim_cudnn_known(unsigned type)
{
    for (int i = 0; i < RULES; i++) {
        if (rules[i].type == type) {
            return true;
        }
    }
    return false;
}

const struct fake_rule *cudasim_cudnn_rule(unsigned type, unsigned attribute)
{
    for (int i = 0; i < RULES; i++) {
        if (rules[i].type == type && rules[i].attribute == attribute) {
            return &rules[i];
        }
    }
    return NULL;
}

struct fake_value *cudasim_cudnn_value(struct fake_descriptor *d, unsigned attribute)
{
    for (int i = 0; i < MOST_VALUES; i++) {
        if (d->value[i].count > 0 && d->value[i].attribute == attribute) {
            return &d->value[i];
        }
    }
    return NULL;
}

int64_t cudasim_cudnn_integer(struct fake_descriptor *d, unsigned attribute, int at)
{
    struct fake_value *v = cudasim_cudnn_value(d, attribute);
    int64_t wide = 0;
    uint32_t narrow = 0;
    if (!v) {
        return 0;
    }
    size_t size = cudasim_cudnn_element(cudasim_cudnn_rule(d->type, attribute)->element);
    if (size == 8) {
        memcpy(&wide, v->bytes + 8 * (size_t)at, 8);
    } else {
        memcpy(&narrow, v->bytes + size * (size_t)at, size);
    }
    return size == 8 ? wide : (int64_t)narrow;
}

void *cudasim_cudnn_pointer(struct fake_descriptor *d, unsigned attribute, int at)
{
    return (void *)(uintptr_t)cudasim_cudnn_integer(d, attribute, at);
}

/* ---- engines ---- */

enum { TAKES_CONV = 1, TAKES_F64 = 2, TAKES_SIDES = 4, TAKES_UNALIGNED = 8, TAKES_SMOOTH = 16, TAKES_NORM = 32, TAKES_POOL = 64 };
#define WHATEVER (TAKES_CONV | TAKES_F64 | TAKES_SIDES | TAKES_UNALIGNED | TAKES_SMOOTH)

const struct fake_engine cudasim_cudnn_engines[] = {
    {CD_NOTE_STRICT_NAN_PROP, -1, HABIT_NONE, WHATEVER | TAKES_POOL, 0, false}, /* 0: plain loops, the last resort */
    {CD_NOTE_TENSOR_CORE, -1, HABIT_TF32, TAKES_CONV, 1000, false},
    {CD_NOTE_NONDETERMINISTIC, -1, HABIT_NONDETERMINISTIC, TAKES_CONV | TAKES_F64, 0, false},
    {-1, -1, HABIT_SLOPPY, TAKES_CONV | TAKES_F64, 16, true},
    {CD_NOTE_WINOGRAD, -1, HABIT_SLOPPY, TAKES_CONV, 64, false},
    {-1, -1, HABIT_SLOPPY, TAKES_CONV | TAKES_F64, (int64_t)1 << 40, false},
    {CD_NOTE_REDUCED_PRECISION_REDUCTION, -1, HABIT_REDUCED_SUMS, TAKES_CONV, 0, false},
    {-1, CD_BEHAVIOR_CUDA_GRAPH_NATIVE, HABIT_NONE, TAKES_CONV, 4096, false}, /* 7: the good one */
    {CD_NOTE_DOWN_CONVERT_INPUTS, -1, HABIT_TF32, TAKES_CONV, 0, false},
    {10, -1, HABIT_SLOPPY, TAKES_CONV, 0, false}, /* a note of a later version */
    {-1, CD_BEHAVIOR_INT8_FILTER_REORDER, HABIT_SLOPPY, TAKES_CONV, 0, false},
    {-1, -1, HABIT_NONE, TAKES_NORM | TAKES_UNALIGNED, 128, false},
    {CD_NOTE_FFT, -1, HABIT_SLOPPY, TAKES_CONV, 0, false},
};
enum { ENGINES = sizeof cudasim_cudnn_engines / sizeof *cudasim_cudnn_engines };

/* What a graph wants of an engine. */
static unsigned wants(const fake_graph *g, const struct fake_descriptor *const *tensors)
{
    unsigned wants = 0;
    for (int i = 0; i < g->n_ops; i++) {
        const fake_op *op = &g->op[i];
        bool norm = op->type == CD_OPERATION_NORM_FORWARD || op->type == CD_OPERATION_NORM_BACKWARD,
             pool = op->type == CD_OPERATION_RESAMPLE_FWD || op->type == CD_OPERATION_RESAMPLE_BWD,
             pointwise = op->type == CD_OPERATION_POINTWISE;
        wants |= norm ? TAKES_NORM : pool ? TAKES_POOL : pointwise ? 0 : TAKES_CONV;
        for (int d = 0; d < 2; d++) {
            wants |= !norm && !pool && op->before[d] != op->after[d] ? TAKES_SIDES : 0;
        }
        wants |= pointwise && op->mode != CD_POINTWISE_ADD && op->mode != CD_POINTWISE_RELU_FWD ? TAKES_SMOOTH : 0;
    }
    for (int i = 0; i < g->n_tensors; i++) {
        struct fake_descriptor *t = (struct fake_descriptor *)(uintptr_t)tensors[i];
        wants |= g->tensor[i].dtype == CD_DOUBLE ? TAKES_F64 : 0;
        wants |= !g->tensor[i].by_value && cudasim_cudnn_integer(t, CD_TENSOR_BYTE_ALIGNMENT, 0) < 16 && !(wants & TAKES_POOL)
                     ? TAKES_UNALIGNED
                     : 0;
    }
    return wants;
}

/* Channels-last pictures cannot be pooled, as with the real library where it cannot compile kernels at run time. */
bool cudasim_cudnn_takes(int engine, const struct fake_descriptor *graph)
{
    const fake_graph *g = graph->graph;
    return (graph->wants & ~cudasim_cudnn_engines[engine].takes) == 0 &&
           !(graph->wants & TAKES_POOL && g->tensor[0].stride[1] == 1 && g->tensor[0].dim[1] > 1);
}

/* ---- finalising ---- */

static bool children_final(struct fake_descriptor *d)
{
    for (int i = 0; i < RULES; i++) {
        struct fake_value *v = rules[i].type == d->type && rules[i].element == CD_TYPE_BACKEND_DESCRIPTOR
                              ? cudasim_cudnn_value(d, rules[i].attribute)
                              : NULL;
        for (int64_t k = 0; v && k < v->count; k++) {
            struct fake_descriptor *child = cudasim_cudnn_pointer(d, rules[i].attribute, (int)k);
            if (!cudasim_fake_is(child, DESCRIPTOR) || !child->finalised) {
                return false;
            }
        }
    }
    return true;
}

static bool needed_there(struct fake_descriptor *d)
{
    for (int i = 0; i < RULES; i++) {
        if (rules[i].type == d->type && rules[i].how & NEEDED && !cudasim_cudnn_value(d, rules[i].attribute)) {
            return false;
        }
    }
    return true;
}

static unsigned check_tensor(struct fake_descriptor *d)
{
    int64_t rank = cudasim_cudnn_value(d, CD_TENSOR_DIMENSIONS)->count, alignment = cudasim_cudnn_integer(d, CD_TENSOR_BYTE_ALIGNMENT, 0);
    bool good = rank == cudasim_cudnn_value(d, CD_TENSOR_STRIDES)->count && rank == FAKE_DIMS && alignment > 0 &&
                alignment % (int64_t)cudasim_cudnn_size((uint32_t)cudasim_cudnn_integer(d, CD_TENSOR_DATA_TYPE, 0)) == 0;
    for (int i = 0; good && i < rank; i++) {
        good = cudasim_cudnn_integer(d, CD_TENSOR_DIMENSIONS, i) > 0 && cudasim_cudnn_integer(d, CD_TENSOR_STRIDES, i) > 0;
    }
    return good ? CD_SUCCESS : BAD_PARAM;
}

/* Arrays of two: attributes `first` and the three after it. */
static unsigned check_pairs(struct fake_descriptor *d, const unsigned attributes[4], const int64_t least[4])
{
    for (int i = 0; i < 4; i++) {
        if (cudasim_cudnn_value(d, attributes[i])->count != 2 || cudasim_cudnn_integer(d, attributes[i], 0) < least[i] ||
            cudasim_cudnn_integer(d, attributes[i], 1) < least[i]) {
            return BAD_PARAM;
        }
    }
    return CD_SUCCESS;
}

static const unsigned conv_pairs[4] = {CD_CONVOLUTION_PRE_PADDINGS, CD_CONVOLUTION_POST_PADDINGS,
                                       CD_CONVOLUTION_FILTER_STRIDES, CD_CONVOLUTION_DILATIONS},
                      resample_pairs[4] = {CD_RESAMPLE_PRE_PADDINGS, CD_RESAMPLE_POST_PADDINGS, CD_RESAMPLE_STRIDES,
                                           CD_RESAMPLE_WINDOW_DIMS};

/* An operation as the arithmetic sees it; its tensors are looked up in, or added to, the graph. */
static void read_op(struct fake_descriptor *d, fake_op *op, fake_graph *g, const struct fake_descriptor **tensors)
{
    *op = (fake_op){.type = d->type};
    int role = 0;
    for (int i = 0; i < FAKE_ROLES; i++) {
        op->tensor[i] = -1;
    }
    for (int i = 0; i < RULES; i++) {
        if (rules[i].type != d->type || rules[i].element != CD_TYPE_BACKEND_DESCRIPTOR) {
            continue;
        }
        struct fake_descriptor *child = cudasim_cudnn_pointer(d, rules[i].attribute, 0);
        if (child && child->type != CD_TENSOR) {
            const unsigned *pairs = child->type == CD_CONVOLUTION ? conv_pairs : resample_pairs;
            unsigned mode = child->type == CD_CONVOLUTION ? CD_CONVOLUTION_CONV_MODE
                            : child->type == CD_RESAMPLE  ? CD_RESAMPLE_MODE
                                                          : CD_POINTWISE_MODE;
            op->mode = (uint32_t)cudasim_cudnn_integer(child, mode, 0);
            for (int k = 0; child->type != CD_POINTWISE && k < 2; k++) {
                op->before[k] = cudasim_cudnn_integer(child, pairs[0], k);
                op->after[k] = cudasim_cudnn_integer(child, pairs[1], k);
                op->stride[k] = cudasim_cudnn_integer(child, pairs[2], k);
                op->extent[k] = cudasim_cudnn_integer(child, pairs[3], k);
            }
            continue;
        }
        int at = 0;
        while (child && at < g->n_tensors && tensors[at] != child) {
            at++;
        }
        if (child && at == g->n_tensors && at < FAKE_TENSORS) {
            fake_tensor *t = &g->tensor[g->n_tensors++];
            tensors[at] = child;
            *t = (fake_tensor){.id = cudasim_cudnn_integer(child, CD_TENSOR_UNIQUE_ID, 0),
                               .dtype = (uint32_t)cudasim_cudnn_integer(child, CD_TENSOR_DATA_TYPE, 0),
                               .is_virtual = cudasim_cudnn_integer(child, CD_TENSOR_IS_VIRTUAL, 0) != 0,
                               .by_value = cudasim_cudnn_integer(child, CD_TENSOR_IS_BY_VALUE, 0) != 0};
            for (int k = 0; k < FAKE_DIMS; k++) {
                t->dim[k] = cudasim_cudnn_integer(child, CD_TENSOR_DIMENSIONS, k);
                t->stride[k] = cudasim_cudnn_integer(child, CD_TENSOR_STRIDES, k);
            }
        }
        op->tensor[role++] = child ? at : -1;
    }
}

/* Pictures x and y meet through a window: a filter, or what is pooled. */
static bool sizes_meet(const fake_op *op, const fake_tensor *x, const fake_tensor *y, const int64_t window[2],
                       const int64_t dilation[2])
{
    for (int i = 0; i < 2; i++) {
        int64_t room = x->dim[i + 2] + op->before[i] + op->after[i] - dilation[i] * (window[i] - 1) - 1;
        if (room < 0 || room / op->stride[i] + 1 != y->dim[i + 2]) {
            return false;
        }
    }
    return x->dim[0] == y->dim[0];
}

static bool shapes_fit(const fake_op *op, const fake_graph *g)
{
    static const int64_t one[2] = {1, 1};
    const fake_tensor *t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = &g->tensor[op->tensor[i] < 0 ? 0 : op->tensor[i]];
    }
    const fake_tensor *x, *w, *y;
    switch (op->type) {
    case CD_OPERATION_CONVOLUTION_FORWARD: x = t[0], w = t[1], y = t[2]; break;
    case CD_OPERATION_CONVOLUTION_BACKWARD_DATA: x = t[2], w = t[1], y = t[0]; break;
    case CD_OPERATION_CONVOLUTION_BACKWARD_FILTER: x = t[0], w = t[2], y = t[1]; break;
    case CD_OPERATION_RESAMPLE_FWD:
        return sizes_meet(op, t[0], t[1], op->extent, one) && t[0]->dim[1] == t[1]->dim[1];
    case CD_OPERATION_RESAMPLE_BWD:
        return sizes_meet(op, t[1], t[0], op->extent, one) && t[0]->dim[1] == t[1]->dim[1];
    default: return true;
    }
    return x->dim[1] % w->dim[1] == 0 && w->dim[0] % (x->dim[1] / w->dim[1]) == 0 && y->dim[1] == w->dim[0] &&
           sizes_meet(op, x, y, w->dim + 2, op->extent);
}

static unsigned check_op(struct fake_descriptor *d)
{
    const struct fake_descriptor *tensors[FAKE_TENSORS];
    fake_graph g = {.n_tensors = 0};
    fake_op op;
    read_op(d, &op, &g, tensors);
    return shapes_fit(&op, &g) ? CD_SUCCESS : BAD_PARAM;
}

/* Each id names one tensor. */
static unsigned check_graph(struct fake_descriptor *d)
{
    const struct fake_descriptor *tensors[FAKE_TENSORS];
    fake_graph *g = d->graph = calloc(1, sizeof *g);
    if (!g) {
        return INTERNAL;
    }
    g->n_ops = (int)cudasim_cudnn_value(d, CD_OPERATIONGRAPH_OPS)->count;
    for (int i = 0; i < g->n_ops; i++) {
        read_op(cudasim_cudnn_pointer(d, CD_OPERATIONGRAPH_OPS, i), &g->op[i], g, tensors);
    }
    for (int i = 0; i < g->n_tensors; i++) {
        for (int k = 0; k < i; k++) {
            if (g->tensor[i].id == g->tensor[k].id) {
                return BAD_PARAM;
            }
        }
    }
    d->wants = wants(g, tensors);
    return CD_SUCCESS;
}

static unsigned check_engine(struct fake_descriptor *d)
{
    struct fake_descriptor *graph = cudasim_cudnn_pointer(d, CD_ENGINE_OPERATION_GRAPH, 0);
    int64_t index = cudasim_cudnn_integer(d, CD_ENGINE_GLOBAL_INDEX, 0);
    d->engine = (int)index;
    d->graph = graph->graph;
    return index >= 0 && index < ENGINES && cudasim_cudnn_takes((int)index, graph) ? CD_SUCCESS : NOT_SUPPORTED;
}

static unsigned check_config(struct fake_descriptor *d)
{
    struct fake_descriptor *engine = cudasim_cudnn_pointer(d, CD_ENGINECFG_ENGINE, 0), *knob = cudasim_cudnn_pointer(d, CD_ENGINECFG_KNOB_CHOICES, 0);
    struct fake_value *knobs = cudasim_cudnn_value(d, CD_ENGINECFG_KNOB_CHOICES);
    d->engine = engine->engine;
    d->graph = engine->graph;
    d->knob = knob ? cudasim_cudnn_integer(knob, CD_KNOB_CHOICE_KNOB_VALUE, 0) : -1;
    bool good = !knobs || (knobs->count == 1 && cudasim_cudnn_integer(knob, CD_KNOB_CHOICE_KNOB_TYPE, 0) == KNOB && d->knob >= 0 &&
                           d->knob <= KNOB_MOST);
    return good ? CD_SUCCESS : BAD_PARAM;
}

static unsigned check_plan(struct fake_descriptor *d)
{
    struct fake_descriptor *config = cudasim_cudnn_pointer(d, CD_EXECUTION_PLAN_ENGINE_CONFIG, 0);
    d->engine = config->engine;
    d->graph = config->graph;
    return cudasim_cudnn_engines[d->engine].fails ? NOT_SUPPORTED : CD_SUCCESS;
}

unsigned cudasim_cudnn_check(struct fake_descriptor *d)
{
    static const int64_t conv_least[4] = {0, 0, 1, 1};
    if (!needed_there(d) || !children_final(d)) {
        return BAD_PARAM;
    }
    switch (d->type) {
    case CD_TENSOR: return check_tensor(d);
    case CD_CONVOLUTION: return check_pairs(d, conv_pairs, conv_least);
    case CD_RESAMPLE: return check_pairs(d, resample_pairs, conv_least);
    case CD_POINTWISE:
    case CD_KNOB_CHOICE: return CD_SUCCESS;
    case CD_OPERATIONGRAPH: return check_graph(d);
    case CD_ENGINEHEUR: d->graph = ((struct fake_descriptor *)cudasim_cudnn_pointer(d, CD_ENGINEHEUR_OPERATION_GRAPH, 0))->graph; return CD_SUCCESS;
    case CD_ENGINE: return check_engine(d);
    case CD_ENGINECFG: return check_config(d);
    case CD_EXECUTION_PLAN: return check_plan(d);
    case CD_VARIANT_PACK:
        return cudasim_cudnn_value(d, CD_VARIANT_PACK_UNIQUE_IDS)->count == cudasim_cudnn_value(d, CD_VARIANT_PACK_DATA_POINTERS)->count
                   ? CD_SUCCESS
                   : BAD_PARAM;
    default: return check_op(d);
    }
}

