/* Lookup over packed tensors: gather copies rows (of any type); its adjoint in f32 gives each piece of work a range of
 * destination rows and lets it scan all indices in order, so duplicates add up in order whoever does the work. */
#include "cpu/native/vector.h"
#include "op/attr.h"

enum { PIECES = 16, ENOUGH = 1 << 14 }; /* pieces at most; elements worth a piece of their own */

/* x (outer, n, inner), indices (m), y (outer, m, inner) */
struct gather_work {
    const char *from;
    char *to;
    const void *indices;
    plumb_dtype index_dtype;
    int64_t outer, n, m, inner, row_bytes, pieces;
};

static int64_t index_at(const struct gather_work *w, int64_t i)
{
    int64_t k =
        w->index_dtype == PLUMB_I32 ? ((const int32_t *)w->indices)[i] : ((const int64_t *)w->indices)[i];
    return k < 0 ? k + w->n : k;
}

static plumb_status begin(const plumb_call *call, const plumb_view *x, struct gather_work *w)
{
    const plumb_view *indices = &call->in[1];
    int axis = ((const plumb_attr_gather *)call->attr)->axis;
    if (axis < 0)
        axis += x->rank;
    *w = (struct gather_work){.from = call->in[0].data,
                              .to = call->out[0].data,
                              .indices = indices->data,
                              .index_dtype = indices->dtype,
                              .outer = 1,
                              .n = x->dim[axis],
                              .m = plumb_view_count(indices),
                              .inner = 1};
    for (int d = 0; d < axis; d++)
        w->outer *= x->dim[d];
    for (int d = axis + 1; d < x->rank; d++)
        w->inner *= x->dim[d];
    w->row_bytes = w->inner * (int64_t)plumb_dtype_size(x->dtype);
    for (int64_t i = 0; i < w->m; i++) {
        int64_t k = index_at(w, i);
        if (k < 0 || k >= w->n)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "index %lld at %lld is outside [%lld, %lld)",
                                   (long long)(w->index_dtype == PLUMB_I32
                                                   ? ((const int32_t *)w->indices)[i]
                                                   : ((const int64_t *)w->indices)[i]),
                                   (long long)i, (long long)-w->n, (long long)w->n);
    }
    int64_t pieces = w->outer * w->m * w->inner / ENOUGH + 1;
    w->pieces = pieces < PIECES ? pieces : PIECES;
    return PLUMB_OK;
}

static void gather_chunk(void *user, int64_t chunk, int worker)
{
    const struct gather_work *w = user;
    (void)worker;
    int64_t rows = w->outer * w->m, end = rows * (chunk + 1) / w->pieces;
    for (int64_t row = rows * chunk / w->pieces; row < end; row++) {
        int64_t source = row / w->m * w->n + index_at(w, row % w->m);
        memcpy(w->to + row * w->row_bytes, w->from + source * w->row_bytes, (size_t)w->row_bytes);
    }
}

static plumb_status run_gather(const plumb_call *call)
{
    struct gather_work w;
    plumb_status status = begin(call, &call->in[0], &w);
    if (status == PLUMB_OK && w.outer * w.m * w.inner > 0)
        plumb_pool_run(call->pool, w.pieces, gather_chunk, &w);
    return status;
}

/* Destination rows [low, high) of every outer index. */
static void scatter_chunk(void *user, int64_t chunk, int worker)
{
    const struct gather_work *w = user;
    (void)worker;
    int64_t low = w->n * chunk / w->pieces, high = w->n * (chunk + 1) / w->pieces;
    const float *from = (const float *)(const void *)w->from;
    for (int64_t o = 0; o < w->outer; o++) {
        float *to = (float *)(void *)w->to + o * w->n * w->inner;
        memset(to + low * w->inner, 0, (size_t)((high - low) * w->row_bytes));
        for (int64_t i = 0; i < w->m; i++) {
            int64_t k = index_at(w, i);
            if (k < low || k >= high)
                continue;
            const float *source = from + (o * w->m + i) * w->inner;
            float *target = to + k * w->inner;
            NATIVE_LOOP
            for (int64_t j = 0; j < w->inner; j++)
                target[j] += source[j];
        }
    }
}

static plumb_status run_gather_backward(const plumb_call *call)
{
    struct gather_work w;
    plumb_status status = begin(call, &call->out[0], &w);
    if (status == PLUMB_OK && w.outer * w.n * w.inner > 0)
        plumb_pool_run(call->pool, w.pieces, scatter_chunk, &w);
    return status;
}

static bool supports(const plumb_call *call)
{
    return plumb_view_contiguous(&call->in[0]) && plumb_view_contiguous(&call->in[1]) &&
           plumb_view_contiguous(&call->out[0]);
}

const plumb_impl plumb_impl_gather_native = {.op = &plumb_op_gather,
                                             .name = "cpu.native",
                                             .dtypes = PLUMB_ALL_DTYPES,
                                             .flags = PLUMB_IMPL_EXACT,
                                             .supports = supports,
                                             .run = run_gather};
const plumb_impl plumb_impl_gather_backward_native = {.op = &plumb_op_gather_backward,
                                                      .name = "cpu.native",
                                                      .dtypes = PLUMB_BIT(PLUMB_F32),
                                                      .flags = PLUMB_IMPL_EXACT,
                                                      .supports = supports,
                                                      .run = run_gather_backward};
