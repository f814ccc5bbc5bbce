/* The plugin libplumb-openblas.so: matrix products of f32 and f64 by OpenBLAS.
 *
 * How many threads OpenBLAS takes is one number for the whole process, and belongs to the application. While products of
 * ours run it is 1, and afterwards what it was before; the count of contexts that are at it is therefore one for the
 * process as well, the only data of this plugin that can be written. The application's own calls of OpenBLAS from other
 * threads are computed on one thread in the meantime. With PLUMB_ALLOW_VENDOR_THREADS the number is left alone. */
#include <cblas-openblas.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "cpu/native/epilogue.h"
#include "cpu/vendor.h"
#include "device/plugin.h"

static struct {
    pthread_mutex_t lock;
    int users, before;
} threads = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hold_threads(void)
{
    pthread_mutex_lock(&threads.lock);
    if (threads.users++ == 0) {
        threads.before = openblas_get_num_threads();
        if (threads.before != 1) {
            openblas_set_num_threads(1);
        }
    }
    pthread_mutex_unlock(&threads.lock);
}

static void release_threads(void)
{
    pthread_mutex_lock(&threads.lock);
    if (--threads.users == 0 && threads.before != 1) {
        openblas_set_num_threads(threads.before);
    }
    pthread_mutex_unlock(&threads.lock);
}

/* ---- matmul ---- */

enum { LEAST_ROWS = 32, MOST_CHUNKS = 8 };

typedef struct job {
    const plumb_call *call;
    plumb_vendor_product p;
    enum CBLAS_TRANSPOSE a_way, b_way;
    int lda, ldb;
    int64_t rows, chunks; /* of a chunk; of a product */
    plumb_epilogue *epilogue;
} job;

/* The distance of `count` runs of `length` elements, `step` apart; 0 where they are not contiguous or overlap. Strides of
 * what there is only one of say nothing. */
static int leading(int64_t length, int64_t inner, int64_t count, int64_t step)
{
    int64_t ld = count == 1 ? length : step;
    return (length == 1 || inner == 1) && ld >= length && ld <= INT_MAX ? (int)ld : 0;
}

static bool stored(int64_t rows, int64_t columns, int64_t row, int64_t column, enum CBLAS_TRANSPOSE *way, int *ld)
{
    *way = CblasNoTrans;
    *ld = leading(columns, column, rows, row);
    if (*ld == 0) {
        *way = CblasTrans;
        *ld = leading(rows, row, columns, column);
    }
    return *ld > 0;
}

static bool plan(const plumb_call *call, job *j)
{
    const plumb_attr_matmul *attr = call->attr;
    *j = (job){.call = call, .p = plumb_vendor_product_of(call)};
    const plumb_vendor_product *p = &j->p;
    j->rows = (p->m + MOST_CHUNKS - 1) / MOST_CHUNKS;
    j->rows = j->rows < LEAST_ROWS ? LEAST_ROWS : j->rows;
    j->rows = plumb_vendor_threads(call) || j->rows > p->m ? p->m : j->rows;
    j->chunks = j->rows > 0 ? (p->m + j->rows - 1) / j->rows : 0;
    j->epilogue = plumb_epilogue_for(call->out[0].dtype, call->isa, attr->activation, call->n_in > 2);
    return p->m <= INT_MAX && p->n <= INT_MAX && p->k <= INT_MAX && p->k > 0 &&
           stored(p->m, p->k, p->a_row, p->a_k, &j->a_way, &j->lda) &&
           stored(p->k, p->n, p->b_k, p->b_column, &j->b_way, &j->ldb);
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const job *j = user;
    const plumb_vendor_product *p = &j->p;
    const plumb_call *call = j->call;
    const int64_t index = chunk / j->chunks, row = chunk % j->chunks * j->rows;
    const int m = (int)(p->m - row < j->rows ? p->m - row : j->rows), n = (int)p->n, k = (int)p->k;
    const int64_t skipped = row * (j->a_way == CblasNoTrans ? j->lda : 1);
    const void *a = plumb_vendor_operand(call, &call->in[0], index);
    const void *b = plumb_vendor_operand(call, &call->in[1], index);
    (void)worker;
    if (call->out[0].dtype == PLUMB_F32) {
        cblas_sgemm(CblasRowMajor, j->a_way, j->b_way, m, n, k, 1, (const float *)a + skipped, j->lda, b, j->ldb, 0,
                    (float *)call->out[0].data + (index * p->m + row) * p->n, n);
    } else {
        cblas_dgemm(CblasRowMajor, j->a_way, j->b_way, m, n, k, 1, (const double *)a + skipped, j->lda, b, j->ldb, 0,
                    (double *)call->out[0].data + (index * p->m + row) * p->n, n);
    }
    for (int i = 0; i < m && j->epilogue; i++) {
        const plumb_view *bias = call->n_in > 2 ? &call->in[2] : NULL;
        j->epilogue((char *)call->out[0].data +
                        ((index * p->m + row + i) * p->n) * (int64_t)plumb_dtype_size(call->out[0].dtype),
                    p->n, bias ? bias->data : NULL, bias ? bias->stride[0] : 0);
    }
}

static bool matmul_supports(const plumb_call *call)
{
    job j;
    return plumb_view_contiguous(&call->out[0]) && plan(call, &j);
}

static plumb_status matmul_run(const plumb_call *call)
{
    job j;
    bool own = plumb_vendor_threads(call);
    if (!plan(call, &j) || j.p.n == 0) {
        return PLUMB_OK; /* plan was asked before: here it cannot refuse */
    }
    if (!own) {
        hold_threads();
    }
    plumb_pool_run(call->pool, j.p.batch * j.chunks, run_chunk, &j);
    if (!own) {
        release_threads();
    }
    return PLUMB_OK;
}

static const plumb_impl matmul = {
    .op = &plumb_op_matmul,
    .name = "cpu.openblas",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),
    .flags = PLUMB_IMPL_EXACT,
    .supports = matmul_supports,
    .run = matmul_run,
};

/* ---- the plugin ---- */

static void *open_state(plumb_context *context, char *text, size_t room)
{
    snprintf(text, room, "%s", openblas_get_config());
    return context; /* it needs nothing else */
}

static void close_state(void *state)
{
    (void)state;
}

static const plumb_impl *const impls[] = {&matmul};
static const plumb_provider provider = {"cpu.vendor", impls, 1};
static const plumb_provider *const providers[] = {&provider};
static const plumb_plugin plugin = {
    .abi = PLUMB_PLUGIN_ABI,
    .version = PLUMB_VENDOR_VERSION,
    .hash = plumb_shared_hash,
    .providers = providers,
    .n_providers = 1,
    .open = open_state,
    .close = close_state,
};

PLUMB_API const plumb_plugin *plumb_plugin_open(void);

const plumb_plugin *plumb_plugin_open(void)
{
    return &plugin;
}
