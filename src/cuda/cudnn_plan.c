/* From a graph to a plan that can run: which engine of cuDNN computes it.
 *
 * Decided here: the library's first heuristics are asked, then its fallback. The first engine wins whose notes say nothing
 * that plumb_options.allow forbids, whose plan is finalised, and which needs no more than WORKSPACE_MOST of memory. A
 * choice of an earlier process is tried first, by the same rules: a cache is believed about speed, never about numbers.
 * That no engine was found is remembered too, with the reason. */
#include "cuda/cudnn.h"

#include <stdio.h>

#define WORKSPACE_MOST ((int64_t)512 << 20)
#define NEVER 0x80000000u
enum { CANDIDATES = 24, NOTES = 32 };

/* ---- which engines may be used ---- */

/* By numerical note: the bit of `allow` that must be set. Transforms are never used, for an error there is as large as the
 * neighbours of an element are, not as its own terms. What a later version notes and is not listed here is unknown, and
 * not used. */
static const struct {
    unsigned needs;
    const char *name;
} notes[] = {
    [CD_NOTE_TENSOR_CORE] = {0, "tensor cores"}, /* see judge(): TF32 where data is f32 */
    [CD_NOTE_DOWN_CONVERT_INPUTS] = {NEVER, "converts its inputs down"},
    [CD_NOTE_REDUCED_PRECISION_REDUCTION] = {PLUMB_ALLOW_REDUCED_SUMS, "sums with reduced precision"},
    [CD_NOTE_FFT] = {NEVER, "computes by FFT"},
    [CD_NOTE_NONDETERMINISTIC] = {PLUMB_ALLOW_NONDETERMINISTIC, "is nondeterministic"},
    [CD_NOTE_WINOGRAD] = {NEVER, "computes by Winograd's transform"},
    [CD_NOTE_WINOGRAD_TILE_4x4] = {NEVER, "computes by Winograd's transform"},
    [CD_NOTE_WINOGRAD_TILE_6x6] = {NEVER, "computes by Winograd's transform"},
    [CD_NOTE_WINOGRAD_TILE_13x13] = {NEVER, "computes by Winograd's transform"},
    [CD_NOTE_STRICT_NAN_PROP] = {0, "propagates NaN strictly"},
};

static bool is_f32(const plumb_cudnn_graph *graph)
{
    return graph->tensor[0].dtype == CD_FLOAT;
}

/* NULL where every note is allowed. */
static const char *judge(const plumb_cudnn_graph *graph, const uint32_t *found, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (found[i] >= sizeof notes / sizeof *notes) {
            return "has a numerical note that is not known";
        }
        unsigned needs = notes[found[i]].needs;
        if (needs && !(needs & graph->allow)) {
            return notes[found[i]].name;
        }
        if (found[i] == CD_NOTE_TENSOR_CORE && is_f32(graph) && !(graph->allow & PLUMB_ALLOW_TF32)) {
            return "computes in TF32";
        }
    }
    return NULL;
}

static void read_notes(plumb_cudnn_bag *bag, plumb_cudnn_descriptor engine, unsigned attribute, unsigned type,
                       uint32_t found[NOTES], int64_t *count)
{
    *count = 0;
    if (bag->status == CD_SUCCESS) {
        bag->status = bag->api->cudnnBackendGetAttribute(engine, attribute, type, NOTES, count, found);
    }
}

static const char *forbidden(plumb_cudnn_bag *bag, const plumb_cudnn_graph *graph, plumb_cudnn_descriptor engine)
{
    uint32_t found[NOTES];
    int64_t count;
    read_notes(bag, engine, CD_ENGINE_NUMERICAL_NOTE, CD_TYPE_NUMERICAL_NOTE, found, &count);
    const char *reason = bag->status == CD_SUCCESS ? judge(graph, found, count) : NULL;
    read_notes(bag, engine, CD_ENGINE_BEHAVIOR_NOTE, CD_TYPE_BEHAVIOR_NOTE, found, &count);
    for (int64_t i = 0; i < count && bag->status == CD_SUCCESS && !reason; i++) {
        reason = found[i] == CD_BEHAVIOR_INT8_FILTER_REORDER || found[i] == CD_BEHAVIOR_INT8_BIAS_REORDER
                     ? "wants its filter reordered"
                     : NULL;
    }
    return reason;
}

/* ---- plans ---- */

static void refuse(plumb_cudnn_plan *plan, const plumb_cudnn *library, const char *what, unsigned status)
{
    if (status != CD_SUCCESS) {
        snprintf(plan->reason, sizeof plan->reason, "%s: %s", what, library->api.cudnnGetErrorString(status));
    } else {
        snprintf(plan->reason, sizeof plan->reason, "%s", what);
    }
}

/* The plan of an engine's configuration, if it may be had: kept in `plan`. */
static bool finish(plumb_cudnn_plan *plan, const plumb_cudnn *library, plumb_cudnn_bag *bag,
                   plumb_cudnn_descriptor config)
{
    int64_t count = 0;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_EXECUTION_PLAN);
    if (library->handle) {
        plumb_cudnn_set(bag, d, CD_EXECUTION_PLAN_HANDLE, CD_TYPE_HANDLE, 1, &library->handle);
    } else {
        plumb_cudnn_set_descriptor(bag, d, CD_EXECUTION_PLAN_DEVICEPROP, library->target);
    }
    plumb_cudnn_set_descriptor(bag, d, CD_EXECUTION_PLAN_ENGINE_CONFIG, config);
    plumb_cudnn_finalize(bag, d);
    if (bag->status == CD_SUCCESS) {
        bag->status = library->api.cudnnBackendGetAttribute(d, CD_EXECUTION_PLAN_WORKSPACE_SIZE, CD_TYPE_INT64, 1, &count,
                                                            &plan->workspace);
    }
    if (bag->status != CD_SUCCESS) {
        refuse(plan, library, "its engines make no plan", bag->status);
        return false;
    }
    if (plan->workspace < 0 || plan->workspace > WORKSPACE_MOST) {
        refuse(plan, library, "its engines want too much workspace", CD_SUCCESS);
        return false;
    }
    plan->plan = d;
    return true;
}

/* What an engine's configuration is made of, for the cache: false where it cannot be told, and then it is not kept. */
static bool read_choice(plumb_cudnn_bag *bag, plumb_cudnn_descriptor config, plumb_cudnn_descriptor engine,
                        plumb_cudnn_choice *choice)
{
    const struct plumb_cudnn_api *api = bag->api;
    plumb_cudnn_bag knobs = {.api = api};
    int64_t count = 0, one;
    for (int i = 0; i < PLUMB_CUDNN_KNOBS; i++) {
        plumb_cudnn_new(&knobs, CD_KNOB_CHOICE);
    }
    bool told = knobs.status == CD_SUCCESS &&
                api->cudnnBackendGetAttribute(engine, CD_ENGINE_GLOBAL_INDEX, CD_TYPE_INT64, 1, &one, &choice->engine) ==
                    CD_SUCCESS &&
                api->cudnnBackendGetAttribute(config, CD_ENGINECFG_KNOB_CHOICES, CD_TYPE_BACKEND_DESCRIPTOR,
                                              PLUMB_CUDNN_KNOBS, &count, knobs.item) == CD_SUCCESS &&
                count <= PLUMB_CUDNN_KNOBS;
    choice->knobs = count;
    for (int64_t i = 0; told && i < count; i++) {
        uint32_t type = 0;
        told = api->cudnnBackendGetAttribute(knobs.item[i], CD_KNOB_CHOICE_KNOB_TYPE, CD_TYPE_KNOB_TYPE, 1, &one, &type) ==
                   CD_SUCCESS &&
               api->cudnnBackendGetAttribute(knobs.item[i], CD_KNOB_CHOICE_KNOB_VALUE, CD_TYPE_INT64, 1, &one,
                                             &choice->knob[i].value) == CD_SUCCESS;
        choice->knob[i].type = type;
    }
    plumb_cudnn_empty(&knobs);
    return told;
}

/* The engine and the knobs of a choice. */
static plumb_cudnn_descriptor rebuild(const plumb_cudnn *library, plumb_cudnn_bag *bag, plumb_cudnn_descriptor graph,
                                      const plumb_cudnn_choice *choice, plumb_cudnn_descriptor *engine)
{
    plumb_cudnn_descriptor knobs[PLUMB_CUDNN_KNOBS];
    *engine = plumb_cudnn_new(bag, CD_ENGINE);
    plumb_cudnn_set_descriptor(bag, *engine, CD_ENGINE_OPERATION_GRAPH, graph);
    plumb_cudnn_set(bag, *engine, CD_ENGINE_GLOBAL_INDEX, CD_TYPE_INT64, 1, &choice->engine);
    if (!library->handle) {
        plumb_cudnn_set_descriptor(bag, *engine, CD_ENGINE_DEVICEPROP, library->target);
    }
    plumb_cudnn_finalize(bag, *engine);
    for (int64_t i = 0; i < choice->knobs; i++) {
        knobs[i] = plumb_cudnn_new(bag, CD_KNOB_CHOICE);
        plumb_cudnn_set_number(bag, knobs[i], CD_KNOB_CHOICE_KNOB_TYPE, CD_TYPE_KNOB_TYPE, (uint32_t)choice->knob[i].type);
        plumb_cudnn_set(bag, knobs[i], CD_KNOB_CHOICE_KNOB_VALUE, CD_TYPE_INT64, 1, &choice->knob[i].value);
        plumb_cudnn_finalize(bag, knobs[i]);
    }
    plumb_cudnn_descriptor config = plumb_cudnn_new(bag, CD_ENGINECFG);
    plumb_cudnn_set_descriptor(bag, config, CD_ENGINECFG_ENGINE, *engine);
    if (choice->knobs > 0) {
        plumb_cudnn_set(bag, config, CD_ENGINECFG_KNOB_CHOICES, CD_TYPE_BACKEND_DESCRIPTOR, choice->knobs, knobs);
    }
    plumb_cudnn_finalize(bag, config);
    return config;
}

/* Puts descriptors where they live as long as the plan, or destroys them. */
static bool settle(plumb_cudnn_plan *plan, plumb_cudnn_bag *bag, bool keep)
{
    const int room = (int)(sizeof bag->item / sizeof *bag->item);
    keep = keep && plan->bag.count + bag->count <= room;
    if (!keep) {
        plumb_cudnn_empty(bag);
        plan->plan = NULL;
        return false;
    }
    memcpy(plan->bag.item + plan->bag.count, bag->item, sizeof *bag->item * (size_t)bag->count);
    plan->bag.count += bag->count;
    return true;
}

static bool by_cache(plumb_cudnn_plan *plan, plumb_cudnn *library, const plumb_cudnn_graph *graph,
                     plumb_cudnn_descriptor made)
{
    const plumb_cuda_choice *kept = plumb_cuda_cache_find(&library->cache, graph, sizeof *graph);
    if (!kept || kept->bytes != sizeof plan->choice) {
        return false;
    }
    memcpy(&plan->choice, kept->data, sizeof plan->choice);
    if (plan->choice.knobs < 0 || plan->choice.knobs > PLUMB_CUDNN_KNOBS) {
        return false;
    }
    plumb_cudnn_bag bag = {.api = &library->api};
    plumb_cudnn_descriptor engine, config = rebuild(library, &bag, made, &plan->choice, &engine);
    bool good = bag.status == CD_SUCCESS && !forbidden(&bag, graph, engine) && finish(plan, library, &bag, config);
    plan->cached = settle(plan, &bag, good);
    return plan->cached;
}

/* One configuration that the heuristics gave. */
static bool try_config(plumb_cudnn_plan *plan, plumb_cudnn *library, const plumb_cudnn_graph *graph,
                       plumb_cudnn_descriptor config)
{
    plumb_cudnn_bag bag = {.api = &library->api};
    int64_t count = 0;
    plumb_cudnn_descriptor engine = plumb_cudnn_new(&bag, CD_ENGINE);
    if (bag.status == CD_SUCCESS) {
        bag.status = library->api.cudnnBackendGetAttribute(config, CD_ENGINECFG_ENGINE, CD_TYPE_BACKEND_DESCRIPTOR, 1,
                                                           &count, &engine);
    }
    const char *why = bag.status == CD_SUCCESS ? forbidden(&bag, graph, engine) : NULL;
    if (bag.status != CD_SUCCESS || why) {
        refuse(plan, library, why ? why : "its engines cannot be asked", bag.status);
        plumb_cudnn_empty(&bag);
        return false;
    }
    bool good = finish(plan, library, &bag, config);
    if (good && read_choice(&bag, config, engine, &plan->choice)) {
        plumb_cuda_cache_add(&library->cache, graph, sizeof *graph, &plan->choice, sizeof plan->choice);
    }
    return settle(plan, &bag, good);
}

static bool by_heuristics(plumb_cudnn_plan *plan, plumb_cudnn *library, const plumb_cudnn_graph *graph,
                          plumb_cudnn_descriptor made, uint32_t mode)
{
    plumb_cudnn_bag bag = {.api = &library->api}, configs = {.api = &library->api};
    int64_t count = 0;
    plumb_cudnn_descriptor d = plumb_cudnn_new(&bag, CD_ENGINEHEUR);
    plumb_cudnn_set_descriptor(&bag, d, CD_ENGINEHEUR_OPERATION_GRAPH, made);
    plumb_cudnn_set_number(&bag, d, CD_ENGINEHEUR_MODE, CD_TYPE_HEUR_MODE, mode);
    if (!library->handle) {
        plumb_cudnn_set_descriptor(&bag, d, CD_ENGINEHEUR_DEVICEPROP, library->target);
    }
    plumb_cudnn_finalize(&bag, d);
    for (int i = 0; i < CANDIDATES && bag.status == CD_SUCCESS; i++) {
        plumb_cudnn_new(&configs, CD_ENGINECFG);
        bag.status = configs.status;
    }
    if (bag.status == CD_SUCCESS) {
        bag.status = library->api.cudnnBackendGetAttribute(d, CD_ENGINEHEUR_RESULTS, CD_TYPE_BACKEND_DESCRIPTOR, CANDIDATES,
                                                           &count, configs.item);
    }
    if (bag.status != CD_SUCCESS) {
        refuse(plan, library, "its heuristics fail", bag.status);
    }
    bool found = false;
    for (int64_t i = 0; i < count && i < CANDIDATES && bag.status == CD_SUCCESS && !found; i++) {
        found = try_config(plan, library, graph, configs.item[i]);
        if (found) { /* lives on; its place is taken by the last, which is destroyed in its stead */
            plumb_cudnn_descriptor last = configs.item[--configs.count];
            plumb_cudnn_bag own = {.api = &library->api, .count = 1, .item = {configs.item[i]}};
            configs.item[i] = last;
            found = settle(plan, &own, true);
        }
    }
    plumb_cudnn_empty(&configs);
    plumb_cudnn_empty(&bag);
    return found;
}

static void make(plumb_cudnn_plan *plan, plumb_cudnn *library, const plumb_cudnn_graph *graph)
{
    plan->bag.api = plan->pack.api = &library->api;
    refuse(plan, library, "no engine is offered", CD_SUCCESS);
    plumb_cudnn_descriptor made = plumb_cudnn_emit(&plan->bag, library, graph);
    if (!made) {
        refuse(plan, library, "the graph is refused", plan->bag.status);
        return;
    }
    for (int i = 0; i < graph->n_tensors; i++) {
        plan->number[i] = graph->tensor[i].number;
    }
    if (by_cache(plan, library, graph, made) || by_heuristics(plan, library, graph, made, CD_HEUR_MODE_A) ||
        by_heuristics(plan, library, graph, made, CD_HEUR_MODE_FALLBACK)) {
        plan->reason[0] = '\0';
    }
}

void plumb_cudnn_plan_free(void *library, void *object)
{
    plumb_cudnn_plan *plan = object;
    plumb_cudnn_empty(&plan->pack);
    plumb_cudnn_empty(&plan->bag);
    plumb_free(((plumb_cudnn *)library)->context, plan);
}

plumb_cudnn_plan *plumb_cudnn_plan_of(plumb_cudnn *library, const plumb_cudnn_graph *graph)
{
    plumb_cudnn_plan *plan = plumb_plans_find(&library->plans, graph, sizeof *graph);
    if (plan) {
        return plan;
    }
    plan = plumb_zalloc(library->context, sizeof *plan);
    if (!plan) {
        return NULL;
    }
    make(plan, library, graph);
    return plumb_plans_add(&library->plans, graph, sizeof *graph, plan) ? plan : NULL;
}

/* ---- implementations ---- */

static plumb_cudnn *library_of(const plumb_call *call)
{
    return plumb_cuda_vendor_state(plumb_cuda_of(call), PLUMB_CUDA_CUDNN);
}

static const char *write_graph(const plumb_call *call, plumb_cudnn_writer write, plumb_cudnn_graph *graph)
{
    memset(graph, 0, sizeof *graph);
    graph->allow = call->context->options.allow;
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        const plumb_view *view = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
        if (plumb_view_count(view) == 0) {
            return "a tensor is empty";
        }
    }
    const char *why = write(call, graph);
    return why ? why : plumb_cudnn_layouts(graph) ? NULL : "a tensor is neither packed row-major nor channels-last";
}

/* NULL: cuDNN does not take the call. Asking leaves no error behind: another implementation will take it. */
static plumb_cudnn_plan *plan_call(const plumb_call *call, plumb_cudnn_writer write)
{
    plumb_cudnn *library = library_of(call);
    plumb_cudnn_graph graph;
    if (!library) {
        return NULL;
    }
    bool clean = call->context->status == PLUMB_OK;
    const char *why = write_graph(call, write, &graph);
    plumb_cudnn_plan *plan = why ? NULL : plumb_cudnn_plan_of(library, &graph);
    if (!plan || !plan->plan) {
        plumb_log_line(call->context, PLUMB_LOG_DEBUG, "cuda: cudnn declines %s '%s': %s", call->op->name,
                       call->name ? call->name : "", why ? why : plan ? plan->reason : "out of memory");
    }
    if (clean) {
        plumb_clear_error(call->context);
    }
    return plan && plan->plan ? plan : NULL;
}

bool plumb_cudnn_supports(const plumb_call *call, plumb_cudnn_writer write)
{
    return plan_call(call, write) != NULL;
}

size_t plumb_cudnn_workspace(const plumb_call *call, plumb_cudnn_writer write)
{
    plumb_cudnn_plan *plan = plan_call(call, write);
    return plan ? (size_t)plan->workspace : 0;
}

/* A variant pack cannot be changed once it is finalised: there is a new one where addresses have changed. */
static unsigned fill_pack(plumb_cudnn_plan *plan, const plumb_cudnn_graph *graph, const void *const *pointer)
{
    int64_t id[PLUMB_CUDNN_TENSORS];
    const void *data[PLUMB_CUDNN_TENSORS];
    int64_t count = 0;
    for (int i = 0; i < graph->n_tensors; i++) {
        if (graph->tensor[i].what != PLUMB_CUDNN_VIRTUAL) {
            id[count] = i + 1;
            data[count++] = pointer[i];
        }
    }
    plumb_cudnn_empty(&plan->pack);
    plan->pack.status = CD_SUCCESS;
    plumb_cudnn_descriptor d = plumb_cudnn_new(&plan->pack, CD_VARIANT_PACK);
    plumb_cudnn_set(&plan->pack, d, CD_VARIANT_PACK_UNIQUE_IDS, CD_TYPE_INT64, count, id);
    plumb_cudnn_set(&plan->pack, d, CD_VARIANT_PACK_DATA_POINTERS, CD_TYPE_VOID_PTR, count, data);
    plumb_cudnn_set(&plan->pack, d, CD_VARIANT_PACK_WORKSPACE, CD_TYPE_VOID_PTR, 1, &pointer[PLUMB_CUDNN_TENSORS]);
    plumb_cudnn_finalize(&plan->pack, d);
    memcpy(plan->pointer, pointer, sizeof plan->pointer);
    return plan->pack.status;
}

plumb_status plumb_cudnn_run(const plumb_call *call, plumb_cudnn_writer write)
{
    plumb_cudnn *library = library_of(call);
    plumb_cudnn_graph graph;
    const void *pointer[PLUMB_CUDNN_TENSORS + 1] = {NULL};
    const char *why = write_graph(call, write, &graph);
    plumb_cudnn_plan *plan = library && !why ? plumb_plans_find(&library->plans, &graph, sizeof graph) : NULL;
    if (!plan || !plan->plan) {
        return plumb_call_fail(call, PLUMB_BAD_INPUT, "cudnn was not asked about this call when it was planned");
    }
    for (int i = 0; i < graph.n_tensors; i++) {
        const plumb_cudnn_tensor *t = &graph.tensor[i];
        pointer[i] = t->what == PLUMB_CUDNN_NUMBER    ? &plan->number[i]
                     : t->what == PLUMB_CUDNN_VIRTUAL ? NULL
                     : t->operand >= 0                ? call->in[t->operand].data
                                                      : call->out[-1 - t->operand].data;
    }
    pointer[PLUMB_CUDNN_TENSORS] = call->workspace;
    bool same = plan->pack.count == 1 && plan->pack.status == CD_SUCCESS &&
                memcmp(pointer, plan->pointer, sizeof pointer) == 0;
    unsigned status = same ? CD_SUCCESS : fill_pack(plan, &graph, pointer);
    if (status == CD_SUCCESS) {
        status = library->api.cudnnBackendExecute(library->handle, plan->plan, plan->pack.item[0]);
    }
    return plumb_cuda_vendor_check(call, "cudnnBackendExecute", (int)status);
}
