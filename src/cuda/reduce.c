/* Reductions on the GPU: what remains and what goes are split into two walks, and it is decided, from shapes and
 * strides alone, how a kernel goes about them and into how many chunks the reduced elements are cut. */
#include "cuda/cuda.h"

struct split {
    pk_walk kept, gone; /* kept: x, y */
    bool columns;
    int64_t chunks;
};

enum { ENOUGH_BLOCKS = 512, ROW_CHUNK = 4096, COLUMN_CHUNK = 256, FEW = 64 };

static void append(plumb_view *to, const plumb_view *from, int d)
{
    to->dim[to->rank] = from->dim[d];
    to->stride[to->rank++] = from->stride[d];
}

static int64_t innermost(const pk_walk *w)
{
    return w->rank > 0 ? llabs(w->stride[0][w->rank - 1]) : 0;
}

/* More chunks while there are too few blocks for a GPU and each chunk is still worth a block. */
static void cut(struct split *s)
{
    s->columns = s->gone.count < FEW || (innermost(&s->kept) == 1 && innermost(&s->gone) != 1 && s->kept.count >= 16);
    int64_t blocks = s->columns ? (s->kept.count + 31) / 32 : s->kept.count;
    int64_t most = s->gone.count / (s->columns ? COLUMN_CHUNK : ROW_CHUNK);
    int64_t wanted = blocks > 0 ? ENOUGH_BLOCKS / blocks : 1;
    int64_t chunks = most < wanted ? most : wanted;
    s->chunks = chunks > 1 ? chunks : 1;
}

/* kept_place: result dimension d - shift is operand dimension d; otherwise reduced dimensions were left out. */
static struct split split_by(const plumb_view *x, const plumb_view *out, uint32_t axes, bool kept_place)
{
    plumb_view kept = *x, gone = *x, y = *out;
    int shift = x->rank - out->rank, next = 0;
    kept.rank = gone.rank = y.rank = 0;
    for (int d = 0; d < x->rank; d++) {
        if (axes >> d & 1) {
            append(&gone, x, d);
        } else {
            append(&kept, x, d);
            append(&y, out, kept_place ? d - shift : next++);
        }
    }
    const plumb_view *pair[] = {&kept, &y}, *reduced = &gone;
    struct split s = {.kept = plumb_cuda_walk(pair, 2), .gone = plumb_cuda_walk(&reduced, 1)};
    cut(&s);
    return s;
}

static struct split split_call(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    uint32_t axes = 0;
    if (strcmp(call->op->name, "sum_to") == 0) {
        int shift = x->rank - out->rank;
        for (int d = 0; d < x->rank; d++) {
            axes |= d < shift || out->dim[d - shift] != x->dim[d] ? 1u << d : 0;
        }
        return split_by(x, out, axes, true);
    }
    const plumb_attr_reduce *attr = call->attr;
    if (strncmp(call->op->name, "arg", 3) == 0) {
        axes = 1u << (attr->axis + (attr->axis < 0 ? x->rank : 0));
    } else {
        axes = attr->all ? (1u << x->rank) - 1u : attr->axes;
    }
    return split_by(x, out, axes, attr->keep);
}

static size_t partial_bytes(const plumb_call *call)
{
    struct split s = split_call(call);
    return s.chunks > 1 ? (size_t)(s.kept.count * s.chunks) * PK_FOLD_SLOT : 0;
}

static int64_t divisor(const plumb_call *call, enum pk_fold what, int64_t count)
{
    int64_t less = what == PK_VARIANCE ? ((const plumb_attr_reduce *)call->attr)->correction : 0;
    return count > less ? count - less : 0;
}

static plumb_status run_fold(const plumb_call *call, enum pk_fold what)
{
    struct split s = split_call(call);
    cudaStream_t stream = plumb_cuda_stream(call);
    int dtype = (int)call->in[0].dtype;
    void *partial = s.chunks > 1 ? call->workspace : NULL;
    int64_t count = divisor(call, what, s.gone.count);
    plumb_status status = plumb_cuda_check(
        call, "plumb_k_fold",
        plumb_k_fold(stream, what, dtype, &s.kept, &s.gone, s.columns, s.chunks, partial, 0, count));
    if (status == PLUMB_OK && partial) {
        status = plumb_cuda_check(call, "plumb_k_fold_finish",
                                  plumb_k_fold_finish(stream, what, dtype, &s.kept, count, s.chunks, partial));
    }
    return status;
}

static plumb_status run_place(const plumb_call *call, enum pk_fold first)
{
    bool last = ((const plumb_attr_reduce *)call->attr)->last;
    return run_fold(call, first == PK_ARGMAX ? last ? PK_ARGMAX_LAST : PK_ARGMAX : last ? PK_ARGMIN_LAST : PK_ARGMIN);
}

/* ---- over many tensors: each leaves partial results, all of which are joined at the end ---- */

static struct split split_all(const plumb_view *x, const plumb_view *out)
{
    return split_by(x, out, (1u << x->rank) - 1u, false);
}

static int64_t count_chunks(const plumb_call *call)
{
    int64_t chunks = 0;
    for (int i = 0; i < call->n_in; i++) {
        chunks += split_all(&call->in[i], &call->out[0]).chunks;
    }
    return chunks;
}

static size_t all_partial_bytes(const plumb_call *call)
{
    return (size_t)count_chunks(call) * PK_FOLD_SLOT;
}

static plumb_status run_over_all(const plumb_call *call, enum pk_fold what)
{
    cudaStream_t stream = plumb_cuda_stream(call);
    int64_t first = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < call->n_in && status == PLUMB_OK; i++) {
        struct split s = split_all(&call->in[i], &call->out[0]);
        status = plumb_cuda_check(call, "plumb_k_fold",
                                  plumb_k_fold(stream, what, (int)call->in[i].dtype, &s.kept, &s.gone, s.columns,
                                               s.chunks, call->workspace, first, 0));
        first += s.chunks;
    }
    if (status != PLUMB_OK) {
        return status;
    }
    const plumb_view *pair[] = {&call->out[0], &call->out[0]};
    pk_walk kept = plumb_cuda_walk(pair, 2);
    int dtype = call->n_in > 0 ? (int)call->in[0].dtype : PK_F32;
    return plumb_cuda_check(call, "plumb_k_fold_finish",
                            plumb_k_fold_finish(stream, what, dtype, &kept, 0, first, call->workspace));
}

#define ROW(op_name, family, what, bytes, which_dtypes, which_flags)                                                  \
    static plumb_status run_##op_name(const plumb_call *call)                                                         \
    {                                                                                                                 \
        return family(call, what);                                                                                    \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = (which_dtypes),                                                                                     \
        .flags = (which_flags),                                                                                       \
        .workspace = bytes,                                                                                           \
        .run = run_##op_name,                                                                                         \
    };

ROW(sum, run_fold, PK_SUM, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(mean, run_fold, PK_MEAN, partial_bytes, PLUMB_ALL_DTYPES, 0)
ROW(max, run_fold, PK_MAX, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(min, run_fold, PK_MIN, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(argmax, run_place, PK_ARGMAX, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(argmin, run_place, PK_ARGMIN, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(prod, run_fold, PK_PROD, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(abs_sum, run_fold, PK_ABS_SUM, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(square_sum, run_fold, PK_SQUARE_SUM, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(variance, run_fold, PK_VARIANCE, partial_bytes, PLUMB_FLOATS, 0)
ROW(log_sum_exp, run_fold, PK_LOG_SUM_EXP, partial_bytes, PLUMB_FLOATS, 0)
ROW(any, run_fold, PK_ANY, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(all, run_fold, PK_ALL, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(sum_to, run_fold, PK_SUM, partial_bytes, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(all_finite, run_over_all, PK_ALL_FINITE, all_partial_bytes, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
ROW(sum_squares, run_over_all, PK_SUM_SQUARES, all_partial_bytes, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
