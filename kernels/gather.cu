/* Lookup by index, the scatter-add that undoes it, and one-hot vectors. Lookup moves bits. The scatter-add sorts the
 * positions by their index (entries.cuh), after which each element of the result adds up its own terms in the order of the
 * positions: no float atomics, the same bits every time, and work that grows with the number of indices rather than with
 * its square. */
#include "entries.cuh"
#include "fault.cuh"

namespace {

/* ---- gather ---- */

/* What a wrong index asks for has all bits set: a not-a-number, so that a gated training step changes nothing. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) gather(const pk_gather g)
{
    const T *x = (const T *)g.w.data[1];
    T *y = (T *)g.w.data[3];
    for (int64_t i = first_element(); i < g.w.count; i += element_stride()) {
        int64_t at[4];
        walk_at<4>(g.w, i, at);
        int64_t index = index_at(g.w.data[0], g.index_dtype, at[0]);
        if (within(index, g.n)) {
            y[at[3]] = x[at[1] + (index < 0 ? index + g.n : index) * g.step];
        } else {
            note_fault(g.fault, g.watch, at[2], index, -g.n, g.n);
            y[at[3]] = (T)~(T)0;
        }
    }
}

/* Where there is nothing to move, wrong indices are still wrong. */
__global__ void __launch_bounds__(PK_THREADS) check_indices(const pk_gather g)
{
    for (int64_t i = first_element(); i < g.indices.count; i += element_stride()) {
        int64_t at[1];
        walk_at<1>(g.indices, i, at);
        int64_t index = index_at(g.indices.data[0], g.index_dtype, at[0]);
        if (!within(index, g.n)) {
            note_fault(g.fault, g.watch, i, index, -g.n, g.n);
        }
    }
}

template <class T> cudaError_t gather_of(cudaStream_t stream, const pk_gather *g)
{
    return PLUMB_LAUNCH(gather<T>, blocks_for(g->w.count), PK_THREADS, 0, stream, *g);
}

/* ---- the sort: keys (rows, 0 .. n; n for wrong ones) with their positions ---- */

__global__ void __launch_bounds__(PK_THREADS) make_entries(const pk_gather_backward g, entry *entries)
{
    for (int64_t i = first_element(); i < g.indices.count; i += element_stride()) {
        int64_t at[1];
        walk_at<1>(g.indices, i, at);
        int64_t index = index_at(g.indices.data[0], g.index_dtype, at[0]);
        bool good = within(index, g.n);
        if (!good) {
            note_fault(g.fault, g.watch, i, index, -g.n, g.n);
        }
        entries[i] = {good ? (index < 0 ? index + g.n : index) : g.n, i};
    }
}

/* begins[k]: the first entry whose key is k or more, for k in 0 .. n. */
__global__ void __launch_bounds__(PK_THREADS) begin_rows(const entry *sorted, int64_t count, int64_t n, int64_t *begins)
{
    for (int64_t k = first_element(); k <= n; k += element_stride()) {
        begins[k] = first_entry(sorted, count, k);
    }
}

template <class T>
__global__ void __launch_bounds__(PK_THREADS)
    sum_rows(const pk_gather_backward g, const entry *sorted, const int64_t *begins)
{
    const T *dy = (const T *)g.w.data[0];
    T *dx = (T *)g.w.data[2];
    for (int64_t i = first_element(); i < g.w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(g.w, i, at);
        number<T> sum = 0;
        for (int64_t e = begins[at[1]]; e < begins[at[1] + 1]; e++) {
            int64_t part[1];
            walk_at<1>(g.part, sorted[e].position, part);
            sum += load(dy[at[0] + part[0]]);
        }
        dx[at[2]] = store<T>(begins[g.n] < g.indices.count ? (number<T>)NAN : sum); /* some index was wrong */
    }
}

/* Sorts; *sorted is where the entries are in the end. */
cudaError_t sort_positions(cudaStream_t stream, const pk_gather_backward *g, entry **sorted)
{
    entry *entries = (entry *)g->workspace;
    int64_t count = g->indices.count;
    cudaError_t code = PLUMB_LAUNCH(make_entries, blocks_for(count), PK_THREADS, 0, stream, *g, entries);
    return code == cudaSuccess ? sort_entries(stream, g->workspace, count, g->n, sorted) : code;
}

/* ---- one-hot ---- */

template <class T>
__global__ void __launch_bounds__(PK_THREADS) one_hot(const pk_walk w, int index_dtype, int64_t wrap, const T on, const T off)
{
    T *y = (T *)w.data[2];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(w, i, at);
        int64_t index = index_at(w.data[0], index_dtype, at[0]);
        y[at[2]] = (index < 0 ? index + wrap : index) == at[1] ? on : off;
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_gather(cudaStream_t stream, int size, const pk_gather *g)
{
    if (g->indices.count == 0) {
        return cudaSuccess;
    }
    if (g->w.count == 0) {
        return PLUMB_LAUNCH(check_indices, blocks_for(g->indices.count), PK_THREADS, 0, stream, *g);
    }
    switch (size) {
    case 1: return gather_of<uint8_t>(stream, g);
    case 2: return gather_of<uint16_t>(stream, g);
    case 4: return gather_of<uint32_t>(stream, g);
    case 8: return gather_of<uint64_t>(stream, g);
    default: return cudaErrorInvalidValue;
    }
}

extern "C" size_t plumb_k_gather_backward_bytes(int64_t indices, int64_t n)
{
    return entries_layout_of(indices).end + ((size_t)n + 1) * sizeof(int64_t);
}

extern "C" cudaError_t plumb_k_gather_backward(cudaStream_t stream, int dtype, const pk_gather_backward *g)
{
    int64_t *begins = (int64_t *)((unsigned char *)g->workspace + entries_layout_of(g->indices.count).end);
    entry *sorted = (entry *)g->workspace;
    cudaError_t code = g->indices.count == 0 ? cudaSuccess : sort_positions(stream, g, &sorted);
    if (code != cudaSuccess || g->w.count == 0) {
        return code;
    }
    int64_t count = g->indices.count;
    code = PLUMB_LAUNCH(begin_rows, blocks_for(g->n + 1), PK_THREADS, 0, stream, sorted, count, g->n, begins);
    if (code != cudaSuccess) {
        return code;
    }
    unsigned blocks = blocks_for(g->w.count);
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(sum_rows<T>, blocks, PK_THREADS, 0, stream, *g, sorted, begins);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_one_hot(cudaStream_t stream, int index_dtype, int dtype, int64_t wrap, double on, double off,
                                       const pk_walk *w)
{
    if (w->count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: \
        return PLUMB_LAUNCH(one_hot<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w, index_dtype, wrap, \
                            store<T>(on), store<T>(off));
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
