/* Jobs: a work made ready, and how it runs. Decided here: what all chunks read is reordered once, before them; everything
 * else by the worker whose chunk it is, in memory of that worker. The workspace is, in this order: the shared operands,
 * the chunks' own results where they are to be summed, and a part for each worker. */
#include "cpu/onednn/onednn.h"

enum { SUM_BLOCK = 1 << 14 /* elements of a sum that one thread claims */ };

typedef struct part_of {
    const plumb_dnnl_operand *o;
    dnnl_primitive_t reorder; /* into the primitive's layout or back; NULL: it takes the call's */
    size_t bytes, at;         /* in the primitive's layout; where it begins in the workspace or in a worker's part */
    bool result, shared;
} part_of;

typedef struct worker {
    dnnl_stream_t stream;
    dnnl_memory_t scratch;
    dnnl_memory_t call[PLUMB_DNNL_OPERANDS], own[PLUMB_DNNL_OPERANDS]; /* in the call's layout, in the primitive's */
} worker;

typedef struct job {
    plumb_dnnl_work work;
    dnnl_primitive_t primitive;
    part_of operand[PLUMB_DNNL_OPERANDS];
    size_t scratch_at, part_at, part, bytes; /* the workers' parts, and the whole workspace */
    int64_t count;                           /* elements of a chunk's part of the result */
    worker *workers;
} job;

/* ---- operands ---- */

static int type_of(plumb_dtype dtype)
{
    return dtype == PLUMB_F32 ? dnnl_f32 : dtype == PLUMB_BF16 ? dnnl_bf16 : dnnl_data_type_undef;
}

bool plumb_dnnl_operand_of(const plumb_call *call, int view, int arg, plumb_dnnl_operand *operand)
{
    const plumb_view *v = view < 0 ? &call->out[0] : &call->in[view];
    operand->arg = arg;
    operand->view = view;
    operand->rank = v->rank;
    operand->type = type_of(v->dtype);
    for (int d = 0; d < v->rank; d++) {
        bool single = v->dim[d] == 1;
        operand->dim[d] = v->dim[d];
        operand->stride[d] = single && v->stride[d] < 1 ? 1 : v->stride[d];
        if (v->dim[d] < 1 || v->dim[d] > INT32_MAX || operand->stride[d] < 1) {
            return false;
        }
    }
    return operand->type != dnnl_data_type_undef;
}

void plumb_dnnl_cut(plumb_dnnl_operand *operand, int d, int64_t chunks)
{
    operand->dim[d] /= chunks;
    operand->step = operand->dim[d] * operand->stride[d] * (operand->type == dnnl_bf16 ? 2 : 4);
}

/* ---- making ---- */

static bool ok(dnnl_status_t status)
{
    return status == dnnl_success;
}

static bool make_primitive(dnnl_primitive_desc_t pd, dnnl_primitive_t *made)
{
    bool done = ok(dnnl_primitive_create(made, pd));
    dnnl_primitive_desc_destroy(pd);
    return done;
}

static bool make_reorder(dnnl_engine_t engine, plumb_dnnl_layout from, plumb_dnnl_layout to, dnnl_primitive_t *made)
{
    dnnl_primitive_desc_t pd = NULL;
    return ok(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL)) && make_primitive(pd, made);
}

/* Whether operand i has to be reordered, and the objects of a worker for it. */
static bool make_operand(dnnl_engine_t engine, job *j, int i, plumb_dnnl_layout wanted)
{
    part_of *x = &j->operand[i];
    bool made = true;
    x->o = &j->work.operand[i];
    x->result = i == j->work.n - 1;
    x->shared = !x->result && x->o->step == 0;
    x->bytes = (dnnl_memory_desc_get_size(wanted) + 63) / 64 * 64;
    for (int64_t w = 0; w < j->work.workers && made; w++) {
        worker *who = &j->workers[w];
        made = ok(plumb_dnnl_memory(engine, x->o, &who->call[i])) &&
               ok(dnnl_memory_create(&who->own[i], wanted, engine, DNNL_MEMORY_NONE));
    }
    plumb_dnnl_layout given;
    if (!made || !ok(dnnl_memory_get_memory_desc(j->workers[0].call[i], &given))) {
        return false;
    }
    return dnnl_memory_desc_equal(given, wanted) || (x->result ? make_reorder(engine, wanted, given, &x->reorder)
                                                               : make_reorder(engine, given, wanted, &x->reorder));
}

static void lay_out(job *j, size_t scratch)
{
    const plumb_dnnl_work *w = &j->work;
    size_t common = 0, part = 0;
    for (int i = 0; i < w->n; i++) {
        part_of *x = &j->operand[i];
        bool summed = x->o->summed;
        size_t *end = x->shared || summed ? &common : &part;
        x->at = *end;
        *end += summed ? x->bytes * (size_t)w->chunks : x->reorder ? x->bytes : 0;
    }
    j->part_at = common;
    j->scratch_at = part;
    j->part = part + (scratch + 63) / 64 * 64;
    j->bytes = common + j->part * (size_t)w->workers;
}

static bool make_streams(dnnl_engine_t engine, job *j, plumb_dnnl_layout scratch)
{
    bool made = true;
    for (int64_t w = 0; w < j->work.workers && made; w++) {
        worker *who = &j->workers[w];
        made = ok(dnnl_stream_create(&who->stream, engine, dnnl_stream_default_flags)) &&
               ok(dnnl_memory_create(&who->scratch, scratch, engine, DNNL_MEMORY_NONE));
    }
    return made;
}

/* Where oneDNN has no kernel of its own for a convolution it copies patches, with the zeros of the padding in them, and
 * multiplies: a NaN then meets zeros that are no part of its sum. */
static bool pads_patches(const plumb_dnnl_work *w, dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    bool padded = w->before[0] || w->before[1] || w->after[0] || w->after[1];
    return padded && (!ok(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name)) || strstr(name, "gemm:"));
}

static bool fill(plumb_dnnl *dnnl, job *j)
{
    dnnl_primitive_desc_t pd = NULL;
    if (!ok(plumb_dnnl_describe(dnnl->engine, &j->work, &pd))) {
        return false;
    }
    bool made = !pads_patches(&j->work, pd);
    for (int i = 0; i < j->work.n && made; i++) {
        made = make_operand(dnnl->engine, j, i,
                            dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, j->work.operand[i].arg));
    }
    plumb_dnnl_layout scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, DNNL_ARG_SCRATCHPAD);
    made = made && make_streams(dnnl->engine, j, scratch);
    size_t bytes = made ? dnnl_memory_desc_get_size(scratch) : 0;
    made = make_primitive(pd, &j->primitive) && made;
    if (made) {
        lay_out(j, bytes);
    }
    return made;
}

static void destroy_worker(worker *who)
{
    for (int i = 0; i < PLUMB_DNNL_OPERANDS; i++) {
        if (who->call[i]) {
            dnnl_memory_destroy(who->call[i]);
        }
        if (who->own[i]) {
            dnnl_memory_destroy(who->own[i]);
        }
    }
    if (who->scratch) {
        dnnl_memory_destroy(who->scratch);
    }
    if (who->stream) {
        dnnl_stream_destroy(who->stream);
    }
}

void plumb_dnnl_job_destroy(void *user, void *made)
{
    plumb_dnnl *dnnl = user;
    job *j = made;
    for (int64_t w = 0; j->workers && w < j->work.workers; w++) {
        destroy_worker(&j->workers[w]);
    }
    for (int i = 0; i < PLUMB_DNNL_OPERANDS; i++) {
        if (j->operand[i].reorder) {
            dnnl_primitive_destroy(j->operand[i].reorder);
        }
    }
    if (j->primitive) {
        dnnl_primitive_destroy(j->primitive);
    }
    plumb_free(dnnl->context, j->workers);
    plumb_free(dnnl->context, j);
}

/* Into the table; false where oneDNN does not take the work, or memory ran out. */
static bool make(plumb_dnnl *dnnl, const plumb_dnnl_work *work)
{
    job *j = plumb_zalloc(dnnl->context, sizeof *j);
    if (!j) {
        return false;
    }
    j->work = *work;
    j->count = 1;
    for (int d = 0; d < work->operand[work->n - 1].rank; d++) {
        j->count *= work->operand[work->n - 1].dim[d];
    }
    j->workers = plumb_zalloc(dnnl->context, (size_t)work->workers * sizeof *j->workers);
    if (!j->workers || !fill(dnnl, j)) {
        plumb_dnnl_job_destroy(dnnl, j);
        return false;
    }
    return plumb_plans_add(&dnnl->jobs, work, sizeof *work, j);
}

/* The job of a call; while planning it is made if there is none. NULL where the call cannot be computed. */
static job *job_of(const plumb_call *call, plumb_dnnl_write *write, bool planning)
{
    plumb_dnnl *dnnl = plumb_dnnl_of(call);
    plumb_dnnl_work work;
    memset(&work, 0, sizeof work);
    work.workers = plumb_pool_size(call->pool);
    if (!dnnl || !write(call, &work)) {
        return NULL;
    }
    job *j = plumb_plans_find(&dnnl->jobs, &work, sizeof work);
    if (j || !planning) {
        return j;
    }
    int held = plumb_vendor_threads(call) ? 1 : plumb_dnnl_hold_threads();
    bool made = make(dnnl, &work);
    plumb_dnnl_release_threads(held);
    return made ? plumb_plans_find(&dnnl->jobs, &work, sizeof work) : NULL;
}

bool plumb_dnnl_supports(const plumb_call *call, plumb_dnnl_write *write)
{
    return (plumb_view_contiguous(call->out) || plumb_view_channels_last(call->out)) && job_of(call, write, true);
}

size_t plumb_dnnl_workspace(const plumb_call *call, plumb_dnnl_write *write)
{
    const job *j = job_of(call, write, true); /* again: the pool may be another than supports() was asked with */
    return j ? j->bytes : 0;
}

/* ---- running ---- */

struct run {
    const plumb_call *call;
    const job *j;
    bool own_threads;
    int failed; /* a dnnl_status_t; written by whoever fails, atomically */
};

static void note(struct run *r, dnnl_status_t status)
{
    if (status != dnnl_success) {
        __atomic_store_n(&r->failed, (int)status, __ATOMIC_RELAXED);
    }
}

static void *memory_of(const struct run *r, int i, int64_t chunk)
{
    const plumb_dnnl_operand *o = r->j->operand[i].o;
    const plumb_view *view = o->view < 0 ? &r->call->out[0] : &r->call->in[o->view];
    return (char *)view->data + chunk * o->step;
}

static void *own_memory(const struct run *r, int i, int64_t chunk, int who)
{
    const job *j = r->j;
    const part_of *x = &j->operand[i];
    char *base = r->call->workspace;
    if (x->o->summed) {
        return base + x->at + (size_t)chunk * x->bytes;
    }
    if (!x->reorder) {
        return memory_of(r, i, chunk);
    }
    return x->shared ? base + x->at : base + j->part_at + (size_t)who * j->part + x->at;
}

/* Between the call's memory of operand i and the primitive's, either way. */
static void reorder(struct run *r, int i, int64_t chunk, int who)
{
    const part_of *x = &r->j->operand[i];
    const worker *w = &r->j->workers[who];
    note(r, dnnl_memory_set_data_handle(w->call[i], memory_of(r, i, chunk)));
    note(r, dnnl_memory_set_data_handle(w->own[i], own_memory(r, i, chunk, who)));
    dnnl_exec_arg_t arg[] = {{DNNL_ARG_FROM, x->result ? w->own[i] : w->call[i]},
                             {DNNL_ARG_TO, x->result ? w->call[i] : w->own[i]}};
    note(r, dnnl_primitive_execute(x->reorder, w->stream, 2, arg));
}

static void compute(struct run *r, int64_t chunk, int who)
{
    const job *j = r->j;
    const worker *w = &j->workers[who];
    dnnl_exec_arg_t arg[PLUMB_DNNL_OPERANDS + 1];
    const int n = j->work.n;
    for (int i = 0; i < n; i++) {
        note(r, dnnl_memory_set_data_handle(w->own[i], own_memory(r, i, chunk, who)));
        arg[i] = (dnnl_exec_arg_t){j->operand[i].o->arg, w->own[i]};
    }
    char *part = (char *)r->call->workspace + j->part_at + (size_t)who * j->part;
    note(r, dnnl_memory_set_data_handle(w->scratch, part + j->scratch_at));
    arg[n] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, w->scratch};
    note(r, dnnl_primitive_execute(j->primitive, w->stream, n + 1, arg));
}

/* With oneDNN held to one thread, unless it may have its own. */
static int enter(const struct run *r)
{
    return r->own_threads ? 1 : plumb_dnnl_hold_threads();
}

static void reorder_shared(void *user, int64_t chunk, int who)
{
    struct run *r = user;
    int held = enter(r);
    for (int i = 0; i < r->j->work.n; i++) {
        if (r->j->operand[i].shared && r->j->operand[i].reorder) {
            reorder(r, i, chunk, who);
        }
    }
    plumb_dnnl_release_threads(held);
}

static void run_chunk(void *user, int64_t chunk, int who)
{
    struct run *r = user;
    const job *j = r->j;
    const int last = j->work.n - 1;
    const part_of *result = &j->operand[last];
    int held = enter(r);
    for (int i = 0; i < last; i++) {
        if (j->operand[i].reorder && !j->operand[i].shared) {
            reorder(r, i, chunk, who);
        }
    }
    compute(r, chunk, who);
    if (result->reorder && !result->o->summed) {
        reorder(r, last, chunk, who);
    }
    plumb_dnnl_release_threads(held);
    if (j->work.activate) {
        j->work.activate(memory_of(r, last, chunk), j->count, NULL, 0);
    }
}

/* Elements of the chunks' results, added in order; in place of the first, or where they belong. */
static void sum_block(void *user, int64_t block, int who)
{
    const struct run *r = user;
    const job *j = r->j;
    const int last = j->work.n - 1;
    const part_of *x = &j->operand[last];
    const float *from = own_memory(r, last, 0, who);
    float *to = x->reorder ? own_memory(r, last, 0, who) : memory_of(r, last, 0);
    const int64_t count = x->reorder ? (int64_t)(x->bytes / sizeof *to) : j->count;
    const int64_t begin = block * SUM_BLOCK, end = begin + SUM_BLOCK < count ? begin + SUM_BLOCK : count;
    const int64_t next = (int64_t)(x->bytes / sizeof *to);
    for (int64_t i = begin; i < end; i++) {
        float sum = from[i];
        for (int64_t k = 1; k < j->work.chunks; k++) {
            sum += from[k * next + i];
        }
        to[i] = sum;
    }
}

static void finish_sum(void *user, int64_t chunk, int who)
{
    struct run *r = user;
    int held = enter(r);
    reorder(r, r->j->work.n - 1, chunk, who);
    plumb_dnnl_release_threads(held);
}

plumb_status plumb_dnnl_run(const plumb_call *call, plumb_dnnl_write *write)
{
    const job *j = job_of(call, write, false);
    struct run r = {call, j, plumb_vendor_threads(call), dnnl_success};
    if (!j) {
        return plumb_call_fail(call, PLUMB_DEVICE_ERROR, "oneDNN was not asked for this call when it was planned");
    }
    const part_of *result = &j->operand[j->work.n - 1];
    plumb_pool_run(call->pool, 1, reorder_shared, &r);
    plumb_pool_run(call->pool, j->work.chunks, run_chunk, &r);
    if (result->o->summed) {
        int64_t count = (int64_t)(result->bytes / sizeof(float));
        plumb_pool_run(call->pool, (count + SUM_BLOCK - 1) / SUM_BLOCK, sum_block, &r);
    }
    if (result->o->summed && result->reorder) {
        plumb_pool_run(call->pool, 1, finish_sum, &r);
    }
    return r.failed ? plumb_call_fail(call, PLUMB_DEVICE_ERROR, "oneDNN returned status %d", r.failed) : PLUMB_OK;
}
