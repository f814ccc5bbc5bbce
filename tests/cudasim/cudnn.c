/* A fake of cuDNN 9's backend API: its functions. Heuristics offer engines of every sort, and plans compute their graph in
 * the order of the stream. Where it is known, errors are those of the real library, 9.19: tests/cudasim/cudnn_real.c asks it.
 * See fakes.h. */
#include "cudnn.h"

static const int first_choice[] = {3, 9, 10, 5, 1, 2, 4, 12, 6, 8, 7, 11, -1}, fallback[] = {3, 0, -1};

static unsigned destroy_descriptor(plumb_cudnn_descriptor object)
{
    struct fake_descriptor *d = object;
    if (!cudasim_fake_is(d, DESCRIPTOR)) {
        cudasim_error("bad-vendor", "cudnnBackendDestroyDescriptor of what is no descriptor");
        return BAD_PARAM;
    }
    if (d->type == CD_OPERATIONGRAPH) {
        free(d->graph);
    }
    cudasim_fake_delete(d);
    return CD_SUCCESS;
}

static unsigned create_descriptor(unsigned type, plumb_cudnn_descriptor *out)
{
    bool known = cudasim_cudnn_known(type);
    if (cudasim_fake_fails("cudnnBackendCreateDescriptor")) {
        return INTERNAL;
    }
    struct fake_descriptor *d = known ? cudasim_fake_new(sizeof *d, DESCRIPTOR) : NULL;
    if (!d) {
        return known ? INTERNAL : NOT_SUPPORTED;
    }
    d->type = type;
    *out = d;
    return CD_SUCCESS;
}

static unsigned set_attribute(plumb_cudnn_descriptor object, unsigned attribute, unsigned type, int64_t count,
                              const void *elements)
{
    struct fake_descriptor *d = object;
    if (cudasim_fake_fails("cudnnBackendSetAttribute")) {
        return INTERNAL;
    }
    const struct fake_rule *rule = cudasim_fake_is(d, DESCRIPTOR) ? cudasim_cudnn_rule(d->type, attribute) : NULL;
    if (!rule || d->finalised || !(rule->how & (SET | NEEDED)) || !elements) {
        return BAD_PARAM;
    }
    bool factor = rule->element == CD_TYPE_FLOAT && type == CD_TYPE_DOUBLE; /* scales may be double */
    if (type != rule->element && !factor) {
        return ATTRIBUTE_TYPE;
    }
    size_t bytes = cudasim_cudnn_element(type) * (size_t)count;
    if (count < rule->least || count > rule->most || count < 1 || bytes > MOST_BYTES) {
        return BAD_PARAM;
    }
    struct fake_value *v = cudasim_cudnn_value(d, attribute);
    for (int i = 0; i < MOST_VALUES && !v; i++) {
        v = d->value[i].count == 0 ? &d->value[i] : NULL;
    }
    if (!v) {
        return INTERNAL;
    }
    v->attribute = attribute;
    v->count = count;
    memcpy(v->bytes, elements, bytes);
    return CD_SUCCESS;
}

static unsigned finalize(plumb_cudnn_descriptor object)
{
    struct fake_descriptor *d = object;
    if (cudasim_fake_fails("cudnnBackendFinalize")) {
        return INTERNAL;
    }
    if (!cudasim_fake_is(d, DESCRIPTOR) || d->finalised) {
        return BAD_PARAM;
    }
    unsigned status = cudasim_cudnn_check(d);
    d->finalised = status == CD_SUCCESS;
    return status;
}

/* An engine, or a knob, into a descriptor that the caller made. */
static unsigned lend(struct fake_descriptor *from, unsigned type, int64_t room, int64_t *count, void *elements)
{
    struct fake_descriptor *to;
    bool knob = type == CD_KNOB_CHOICE;
    *count = knob && from->knob < 0 ? 0 : 1;
    if (room < *count || *count == 0) {
        return CD_SUCCESS;
    }
    memcpy(&to, elements, sizeof to);
    if (!cudasim_fake_is(to, DESCRIPTOR) || to->type != type || to->finalised) {
        return BAD_PARAM;
    }
    const uint32_t which = KNOB;
    const int64_t index = from->engine;
    to->value[0] = (struct fake_value){.attribute = knob ? CD_KNOB_CHOICE_KNOB_TYPE : CD_ENGINE_GLOBAL_INDEX, .count = 1};
    to->value[1] = (struct fake_value){.attribute = CD_KNOB_CHOICE_KNOB_VALUE, .count = knob};
    memcpy(to->value[0].bytes, knob ? (const void *)&which : (const void *)&index, knob ? sizeof which : sizeof index);
    memcpy(to->value[1].bytes, &from->knob, sizeof from->knob);
    to->engine = from->engine;
    to->graph = from->graph;
    to->finalised = true;
    return CD_SUCCESS;
}

/* The engines that take the graph, those of the first choice each with two settings of the knob. */
static unsigned offer(struct fake_descriptor *heuristics, int64_t room, int64_t *count, void *elements)
{
    const struct fake_descriptor *graph = cudasim_cudnn_pointer(heuristics, CD_ENGINEHEUR_OPERATION_GRAPH, 0);
    bool first = cudasim_cudnn_integer(heuristics, CD_ENGINEHEUR_MODE, 0) == CD_HEUR_MODE_A;
    struct fake_descriptor **to = elements;
    *count = 0;
    for (const int *e = first ? first_choice : fallback; *e >= 0; e++) {
        for (int knob = first ? 1 : -1; cudasim_cudnn_takes(*e, graph) && *count < room && knob <= (first ? 2 : -1); knob++) {
            struct fake_descriptor *d = to[*count];
            if (!cudasim_fake_is(d, DESCRIPTOR) || d->type != CD_ENGINECFG || d->finalised) {
                return BAD_PARAM;
            }
            d->engine = *e;
            d->knob = knob;
            d->graph = graph->graph;
            d->finalised = true;
            ++*count;
        }
    }
    return CD_SUCCESS;
}

static unsigned get_attribute(plumb_cudnn_descriptor const object, unsigned attribute, unsigned type, int64_t room,
                              int64_t *count, void *elements)
{
    struct fake_descriptor *d = object;
    if (cudasim_fake_fails("cudnnBackendGetAttribute")) {
        return INTERNAL;
    }
    const struct fake_rule *rule = cudasim_fake_is(d, DESCRIPTOR) ? cudasim_cudnn_rule(d->type, attribute) : NULL;
    if (!rule || !(rule->how & READ) || !count || (room > 0 && !elements)) {
        return BAD_PARAM;
    }
    if (!d->finalised) {
        return NOT_INITIALIZED;
    }
    if (type != rule->element) {
        return ATTRIBUTE_TYPE;
    }
    int note = attribute == CD_ENGINE_NUMERICAL_NOTE ? cudasim_cudnn_engines[d->engine].note : cudasim_cudnn_engines[d->engine].behavior;
    switch (attribute) {
    case CD_ENGINEHEUR_RESULTS: return offer(d, room, count, elements);
    case CD_ENGINECFG_ENGINE: return lend(d, CD_ENGINE, room, count, elements);
    case CD_ENGINECFG_KNOB_CHOICES: return lend(d, CD_KNOB_CHOICE, room, count, elements);
    case CD_ENGINE_NUMERICAL_NOTE:
    case CD_ENGINE_BEHAVIOR_NOTE:
        *count = note >= 0;
        memcpy(elements, &note, room >= *count && note >= 0 ? sizeof note : 0);
        return CD_SUCCESS;
    case CD_EXECUTION_PLAN_WORKSPACE_SIZE:
        *count = 1;
        memcpy(elements, &cudasim_cudnn_engines[d->engine].workspace, sizeof(int64_t));
        return CD_SUCCESS;
    default:
        *count = cudasim_cudnn_value(d, attribute)->count;
        memcpy(elements, cudasim_cudnn_value(d, attribute)->bytes, cudasim_cudnn_element(type));
        return CD_SUCCESS;
    }
}

/* Data in the places of their ids; what lies elsewhere than it should ends the program. */
static bool bind(fake_graph *g, struct fake_descriptor *pack)
{
    int64_t ids = cudasim_cudnn_value(pack, CD_VARIANT_PACK_UNIQUE_IDS)->count;
    for (int i = 0; i < g->n_tensors; i++) {
        fake_tensor *t = &g->tensor[i];
        int64_t at = 0;
        while (at < ids && cudasim_cudnn_integer(pack, CD_VARIANT_PACK_UNIQUE_IDS, (int)at) != t->id) {
            at++;
        }
        if ((at < ids) == t->is_virtual) {
            return false;
        }
        t->data = at < ids ? cudasim_cudnn_pointer(pack, CD_VARIANT_PACK_DATA_POINTERS, (int)at) : NULL;
        if (t->by_value) {
            memcpy(&t->number, t->data, sizeof t->number);
        } else if (at < ids && !cudasim_fake_on_device(t->data, cudasim_cudnn_extent(t))) {
            cudasim_error("bad-vendor", "cudnnBackendExecute: tensor %lld lies beyond its block", (long long)t->id);
            return false;
        }
    }
    return true;
}

static unsigned execute(struct cudnnContext *handle, plumb_cudnn_descriptor plan_object,
                        plumb_cudnn_descriptor pack_object)
{
    struct fake_descriptor *plan = plan_object, *pack = pack_object;
    if (cudasim_fake_fails("cudnnBackendExecute")) {
        return EXECUTION;
    }
    if (!cudasim_fake_is(handle, HANDLE) || !cudasim_fake_is(plan, DESCRIPTOR) || !cudasim_fake_is(pack, DESCRIPTOR) ||
        plan->type != CD_EXECUTION_PLAN || pack->type != CD_VARIANT_PACK || !plan->finalised || !pack->finalised) {
        return BAD_PARAM;
    }
    fake_work *work = calloc(1, sizeof *work);
    if (!work) {
        return INTERNAL;
    }
    work->graph = *plan->graph;
    work->habit = cudasim_cudnn_engines[plan->engine].habit;
    work->workspace = cudasim_cudnn_pointer(pack, CD_VARIANT_PACK_WORKSPACE, 0);
    work->workspace_bytes = (size_t)cudasim_cudnn_engines[plan->engine].workspace;
    bool good = bind(&work->graph, pack) &&
                (work->workspace_bytes == 0 || cudasim_fake_on_device(work->workspace, work->workspace_bytes));
    if (!good) {
        free(work);
        return BAD_PARAM;
    }
    return cudasim_fake_work(handle->stream, cudasim_cudnn_compute, work) == cudaSuccess ? CD_SUCCESS : EXECUTION;
}

static size_t version(void) { return (size_t)cudasim_fake_version("cudnn"); }

static const char *error_string(unsigned status)
{
    return status == CD_SUCCESS       ? "CUDNN_STATUS_SUCCESS"
           : status < BAD_PARAM       ? "CUDNN_STATUS_NOT_INITIALIZED"
           : status < NOT_SUPPORTED   ? "CUDNN_STATUS_BAD_PARAM"
           : status < INTERNAL        ? "CUDNN_STATUS_NOT_SUPPORTED"
           : status < EXECUTION       ? "CUDNN_STATUS_INTERNAL_ERROR"
                                      : "CUDNN_STATUS_EXECUTION_FAILED";
}

static unsigned create(struct cudnnContext **handle)
{
    *handle = cudasim_fake_fails("cudnnCreate") ? NULL : cudasim_fake_new(sizeof **handle, HANDLE);
    return *handle ? CD_SUCCESS : NOT_INITIALIZED;
}

static unsigned destroy(struct cudnnContext *handle)
{
    if (!cudasim_fake_is(handle, HANDLE)) {
        cudasim_error("bad-vendor", "cudnnDestroy of what is no handle");
        return BAD_PARAM;
    }
    cudasim_fake_delete(handle);
    return CD_SUCCESS;
}

static unsigned set_stream(struct cudnnContext *handle, cudaStream_t stream)
{
    if (cudasim_fake_fails("cudnnSetStream")) {
        return INTERNAL;
    }
    handle->stream = stream;
    return CD_SUCCESS;
}

#define FUNCTION(name, function) {name, (cudasim_any_function *)(function)}
const cudasim_fake cudasim_fake_cudnn = {
    .name = "cudnn",
    .soname = "libcudnn.so",
    .version = 91900,
    .functions = {FUNCTION("cudnnGetVersion", version), FUNCTION("cudnnGetErrorString", error_string),
                  FUNCTION("cudnnCreate", create), FUNCTION("cudnnDestroy", destroy),
                  FUNCTION("cudnnSetStream", set_stream),
                  FUNCTION("cudnnBackendCreateDescriptor", create_descriptor),
                  FUNCTION("cudnnBackendDestroyDescriptor", destroy_descriptor),
                  FUNCTION("cudnnBackendSetAttribute", set_attribute),
                  FUNCTION("cudnnBackendGetAttribute", get_attribute), FUNCTION("cudnnBackendFinalize", finalize),
                  FUNCTION("cudnnBackendExecute", execute)},
};
