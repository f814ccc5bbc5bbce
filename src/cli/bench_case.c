/* One op with its inputs, computed by several implementations in turns: each from its own copy of the inputs, in the
 * layout that it wants, compared with the reference first. Implementations are called as a program would call them, but
 * nothing of a program is timed. */
#include <math.h>

#include "cli/bench.h"

/* One implementation at work. */
struct worker {
    const plumb_impl *impl;
    plumb_call call;
    plumb_view *view; /* [n_in + n_out], on the device */
    void **memory;
    double *seconds;
};

static plumb_status run_worker(void *user)
{
    struct worker *w = user;
    return w->impl->run(&w->call);
}

static plumb_status finish_worker(void *user)
{
    struct worker *w = user;
    const plumb_device_table *table = w->call.device->table;
    return table->sync ? table->sync(w->call.device) : PLUMB_OK;
}

/* ---- choosing ---- */

static void lay_out(struct worker *w, const plumb_call *as, const struct bench_call *host, const char *layout, bool last)
{
    w->call = *as;
    w->call.in = w->view;
    w->call.out = w->view + as->n_in;
    for (int k = 0; k < as->n_in + as->n_out; k++) {
        bool picture = k < as->n_in ? plumb_op_picture_in(as, k) : plumb_op_picture_out(as, k - as->n_in);
        w->view[k] = host->view[k];
        w->view[k].data = NULL; /* as aligned as memory is */
        if (picture && strcmp(layout, "planned") != 0) {
            plumb_view_pack_as(&w->view[k], last ? PLUMB_CHANNELS_LAST : PLUMB_ROWS);
        }
    }
}

/* The implementation of this name, NULL: the one that a program would take, and the layout in which it takes the call:
 * the one that is written behind the name, "cpu.onednn@last", else that of the options. */
static bool choose(struct worker *w, const plumb_call *as, const struct bench_call *host, const struct bench_case_options *o,
                   const char *name)
{
    char forced[160];
    size_t length = name ? strcspn(name, "@") : 0;
    const char *layout = name && name[length] ? name + length + 1 : o->layout;
    snprintf(forced, sizeof(forced), "%s=%.*s", as->op->name, (int)length, name ? name : "");
    for (int last = 1; last >= 0 && !w->impl; last--) {
        bool free = strcmp(layout, "auto") == 0;
        if (!free && last != (strcmp(layout, "last") == 0)) {
            continue;
        }
        lay_out(w, as, host, layout, last);
        const plumb_impl *impl = plumb_would_choose(&w->call, name ? forced : o->implementations);
        bool wanted = impl && (!free || !last || impl->flags & PLUMB_IMPL_WANTS_LAST);
        w->impl = wanted ? impl : NULL;
    }
    return w->impl != NULL;
}

/* ---- memory ---- */

static void free_worker(struct worker *w)
{
    plumb_context *context = w->call.context;
    const plumb_device_table *table = context->device->table;
    for (int k = 0; w->memory && k < w->call.n_in + w->call.n_out + 1; k++) {
        if (w->memory[k]) {
            table->free(context->device, w->memory[k]);
        }
    }
    plumb_free(context, w->memory);
    plumb_free(context, w->view);
    plumb_free(context, w->seconds);
}

/* The host's input k in the worker's strides, through a packed copy where they differ. */
static plumb_status upload(struct worker *w, int k, const plumb_view *from)
{
    plumb_context *context = w->call.context;
    int64_t elements = bench_view_span(&w->view[k]), count = plumb_view_count(from);
    size_t size = plumb_dtype_size(from->dtype), bytes = (size_t)elements * size;
    char *copy = plumb_zalloc(context, bytes);
    if (!copy) {
        return PLUMB_FAILED;
    }
    int64_t first = bench_view_first(&w->view[k]);
    for (int64_t i = 0; i < count; i++) {
        memcpy(copy + (size_t)(first + bench_view_offset(&w->view[k], i)) * size,
               (const char *)from->data + bench_view_offset(from, i) * (int64_t)size, size);
    }
    plumb_status status = context->device->table->upload(context->device, w->memory[k], copy, bytes);
    plumb_free(context, copy);
    return status;
}

static plumb_status give_memory(struct worker *w, const struct bench_call *host)
{
    plumb_context *context = w->call.context;
    const plumb_device_table *table = context->device->table;
    int count = w->call.n_in + w->call.n_out;
    size_t room = w->impl->workspace ? w->impl->workspace(&w->call) : 0;
    plumb_status status = room ? table->alloc(context->device, room, &w->memory[count]) : PLUMB_OK;
    w->call.workspace = w->memory[count];
    for (int k = 0; !status && k < count; k++) {
        size_t size = plumb_dtype_size(w->view[k].dtype);
        if (plumb_view_count(&w->view[k]) == 0) {
            continue;
        }
        status = table->alloc(context->device, (size_t)bench_view_span(&w->view[k]) * size, &w->memory[k]);
        if (!status && k < w->call.n_in) {
            status = upload(w, k, &host->view[k]);
        }
        w->view[k].data = (char *)w->memory[k] + (size_t)bench_view_first(&w->view[k]) * size;
    }
    return status;
}

/* ---- a case ---- */

static const char *layout_of(const struct worker *w, const plumb_call *as)
{
    const char *layout = "";
    for (int k = as->n_in + as->n_out - 1; k >= 0; k--) {
        if (k < as->n_in ? plumb_op_picture_in(as, k) : plumb_op_picture_out(as, k - as->n_in)) {
            layout = plumb_view_contiguous(&w->view[k]) ? "rows" : plumb_view_channels_last(&w->view[k]) ? "last" : "";
        }
    }
    return layout;
}

/* Runs the worker once and compares; the host's call is made anew where the last comparison used it up. */
static plumb_status check_worker(struct worker *w, struct bench_call *host, const plumb_call *as, double *worst)
{
    plumb_context *context = w->call.context;
    plumb_status status = PLUMB_OK;
    if (!host->computed) {
        plumb_context *reference = host->context;
        bench_call_free(host);
        status = bench_call_take(host, reference, as);
        status = status ? status : bench_call_reference(host);
    }
    if (status) {
        return bench_say(context, host->context, status);
    }
    status = run_worker(w);
    status = status ? status : finish_worker(w);
    return status ? status : bench_say(context, host->context, bench_call_compare(host, &w->call, w->impl->name, worst));
}

/* Threads of a vendor's library stay awake when their work is done, GNU OpenMP's for some 5 ms, OpenBLAS's for 2^26 cycles,
 * and take the CPU from who comes next: our own convolutions measured 0.66 of oneDNN's speed in that while, and 1.10 of
 * it behind threads that sleep. */
#define LINGER_SECONDS 30e-3

static bool has_threads(const struct worker *w)
{
    bool own = strncmp(w->impl->name, "cpu.native", 10) == 0 || strcmp(w->impl->name, "cpu.ref") == 0;
    return !own && w->call.context->options.allow & PLUMB_ALLOW_VENDOR_THREADS;
}

static plumb_status time_workers(struct worker *w, int count, const struct bench_case_options *o, struct bench_result *r)
{
    struct bench_timed timed[BENCH_LIST_MAX];
    int failed;
    for (int i = 0; i < count; i++) {
        timed[i] = (struct bench_timed){
            .step = run_worker, .finish = finish_worker, .user = &w[i], .seconds = w[i].seconds, .least = o->least,
            .lingers = count > 1 && has_threads(&w[i]) ? LINGER_SECONDS : 0};
    }
    plumb_status status = bench_time(timed, count, o->samples, &failed);
    for (int i = 0; !status && i < count; i++) {
        r[i].times = timed[i].times;
    }
    return status;
}

static plumb_status open_worker(struct worker *w, const plumb_call *as, struct bench_call *host,
                                const struct bench_case_options *o, const char *name)
{
    int room = as->n_in + as->n_out + 1;
    w->call.context = as->context;
    w->call.n_in = as->n_in;
    w->call.n_out = as->n_out;
    w->view = plumb_zalloc(as->context, sizeof(*w->view) * (size_t)room);
    w->memory = plumb_zalloc(as->context, sizeof(*w->memory) * (size_t)room);
    w->seconds = plumb_alloc(as->context, sizeof(double) * (size_t)o->samples);
    if (!w->view || !w->memory || !w->seconds) {
        return PLUMB_FAILED;
    }
    return choose(w, as, host, o, name) ? give_memory(w, host) : PLUMB_OK;
}

plumb_status bench_case(const plumb_call *call, plumb_context *reference, const struct bench_case_options *o,
                        struct bench_result *results, int *count)
{
    struct worker w[BENCH_LIST_MAX] = {{0}}, *at = w;
    struct bench_call host = {0};
    plumb_call as = *call; /* attributes and shapes are the program's; its memory is not touched */
    int n = o->n_names ? o->n_names : 1;
    plumb_status status = bench_say(call->context, reference, bench_call_take(&host, reference, call));
    *count = 0;
    for (int i = 0; !status && i < n; i++) {
        status = open_worker(at, &as, &host, o, o->n_names ? o->names[i] : NULL);
        if (!status && !at->impl) {
            free_worker(at);
            *at = (struct worker){0};
            continue;
        }
        struct bench_result *r = &results[*count];
        *r = (struct bench_result){.implementation = status ? "" : at->impl->name, .layout = layout_of(at, &as), .flops = plumb_call_flops(call),
                                   .bytes = plumb_call_bytes(call)};
        at++;
        if (!status && o->check) {
            status = check_worker(at - 1, &host, &as, &r->difference);
        }
        (*count)++;
    }
    bench_call_free(&host);
    if (!status) {
        status = time_workers(w, *count, o, results);
    }
    while (at > w) {
        free_worker(--at);
    }
    return status;
}
