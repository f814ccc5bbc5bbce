/* Lookup by tuples of indices, and replacement by element and by tuple. Rows of x have numbers, slots; the tuples are sorted
 * by the slot they name (entries.cuh), after which every element of the result takes its own updates in the order of the
 * tuples: no float atomics, and the last of several is the last. */
#include "entries.cuh"
#include "fault.cuh"

namespace {

/* The tuple's sum of index times step, where component 0 lies at `at`; false after noting a wrong index. */
__device__ inline bool place_of(const pk_tuples &t, int64_t at, int64_t position, int64_t *sum)
{
    *sum = 0;
    for (int j = 0; j < t.k; j++) {
        int64_t index = index_at(t.indices, t.index_dtype, at + j * t.component);
        if (!within(index, t.n[j])) {
            note_fault(t.fault, t.watch, position + j, index, -t.n[j], t.n[j]);
            return false;
        }
        *sum += (index < 0 ? index + t.n[j] : index) * t.step[j];
    }
    return true;
}

/* ---- gather_nd: what a wrong tuple asks for has all bits set, as in gather.cu ---- */

template <class T> __global__ void __launch_bounds__(PK_THREADS) gather_nd(const pk_gather_nd g)
{
    const T *x = (const T *)g.w.data[1];
    T *y = (T *)g.w.data[3];
    for (int64_t i = first_element(); i < g.w.count; i += element_stride()) {
        int64_t at[4], row;
        walk_at<4>(g.w, i, at);
        y[at[3]] = place_of(g.tuples, at[0], at[2], &row) ? x[at[1] + row] : (T)~(T)0;
    }
}

__global__ void __launch_bounds__(PK_THREADS) check_tuples(const pk_walk places, const pk_tuples t)
{
    for (int64_t i = first_element(); i < places.count; i += element_stride()) {
        int64_t at[1], row;
        walk_at<1>(places, i, at);
        place_of(t, at[0], i * t.k, &row);
    }
}

template <class T> cudaError_t gather_nd_of(cudaStream_t stream, const pk_gather_nd *g)
{
    return PLUMB_LAUNCH(gather_nd<T>, blocks_for(g->w.count), PK_THREADS, 0, stream, *g);
}

/* ---- scatter ---- */

__global__ void __launch_bounds__(PK_THREADS) name_slots(const pk_scatter s, entry *entries)
{
    for (int64_t i = first_element(); i < s.places.count; i += element_stride()) {
        int64_t at[2], slot;
        walk_at<2>(s.places, i, at);
        bool good = place_of(s.tuples, at[0], i * s.tuples.k, &slot);
        entries[i] = {good ? slot + at[1] : s.slots, i};
    }
}

template <class N> __device__ inline N joined(N a, N b, int reduce)
{
    switch (reduce) {
    case PK_SCATTER_ADD: return a + b;
    case PK_SCATTER_MUL: return a * b;
    case PK_SCATTER_MAX: return b > a || b != b ? b : a;
    case PK_SCATTER_MIN: return b < a || b != b ? b : a;
    default: return b;
    }
}

/* Integers wrap around. */
template <> __device__ inline int64_t joined(int64_t a, int64_t b, int reduce)
{
    switch (reduce) {
    case PK_SCATTER_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case PK_SCATTER_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case PK_SCATTER_MAX: return b > a ? b : a;
    case PK_SCATTER_MIN: return b < a ? b : a;
    default: return b;
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) take_updates(const pk_scatter s, const entry *sorted)
{
    const T *x = (const T *)s.w.data[0], *updates = (const T *)s.updates;
    T *y = (T *)s.w.data[3];
    const int64_t count = s.places.count;
    const bool wrong = count > 0 && sorted[count - 1].key == s.slots;
    for (int64_t i = first_element(); i < s.w.count; i += element_stride()) {
        int64_t at[4];
        walk_at<4>(s.w, i, at);
        number<T> value = load(x[at[0]]);
        for (int64_t e = first_entry(sorted, count, at[1]); e < count && sorted[e].key == at[1]; e++) {
            int64_t row[1];
            walk_at<1>(s.part, sorted[e].position, row);
            value = joined(value, load(updates[row[0] + at[2]]), s.reduce);
        }
        y[at[3]] = wrong ? store<T>((double)NAN) : store<T>(value);
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_gather_nd(cudaStream_t stream, int size, const pk_gather_nd *g)
{
    if (g->places.count == 0) {
        return cudaSuccess;
    }
    if (g->w.count == 0) {
        return PLUMB_LAUNCH(check_tuples, blocks_for(g->places.count), PK_THREADS, 0, stream, g->places, g->tuples);
    }
    switch (size) {
    case 1: return gather_nd_of<uint8_t>(stream, g);
    case 2: return gather_nd_of<uint16_t>(stream, g);
    case 4: return gather_nd_of<uint32_t>(stream, g);
    case 8: return gather_nd_of<uint64_t>(stream, g);
    default: return cudaErrorInvalidValue;
    }
}

extern "C" size_t plumb_k_scatter_bytes(int64_t tuples) { return entries_layout_of(tuples).end; }

extern "C" cudaError_t plumb_k_scatter(cudaStream_t stream, int dtype, const pk_scatter *s)
{
    entry *sorted = (entry *)s->workspace;
    cudaError_t code = cudaSuccess;
    if (s->places.count > 0) {
        code = PLUMB_LAUNCH(name_slots, blocks_for(s->places.count), PK_THREADS, 0, stream, *s, sorted);
        if (code == cudaSuccess) {
            code = sort_entries(stream, s->workspace, s->places.count, s->slots, &sorted);
        }
    }
    if (code != cudaSuccess || s->w.count == 0) {
        return code;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: \
        return PLUMB_LAUNCH(take_updates<T>, blocks_for(s->w.count), PK_THREADS, 0, stream, *s, sorted);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
