/* The cells of recurrent layers: what happens between the products of a step, a thread for each unit of each example. Where
 * a block can keep the weights of h in its shared memory, it takes a few examples through all steps, products and cells, and
 * waits for nobody; else the products are matmul.cu's, and the host goes from step to step. */
#include "activation.cuh"
#include "fault.cuh"

namespace {

template <class T> __device__ inline number<T> get(const pk_rows &rows, int64_t n, int64_t j)
{
    return load(((const T *)rows.data)[n * rows.row + j * rows.column]);
}

template <class T> __device__ inline void put(const pk_rows &rows, int64_t n, int64_t j, number<T> value)
{
    ((T *)rows.data)[n * rows.row + j * rows.column] = store<T>(value);
}

template <class N> __device__ inline N sigmoid(N x) { return activated(PK_ACTIVATION_SIGMOID, x); }
template <class N> __device__ inline N past_sigmoid(N y, N dy) { return activated_backward(PK_ACTIVATION_SIGMOID, y, dy); }
template <class N> __device__ inline N past_tanh(N y, N dy) { return activated_backward(PK_ACTIVATION_TANH, y, dy); }

/* h's product and its bias, at a gate's column c */
template <class T> __device__ inline number<T> of_h(const pk_cell &p, int64_t n, int64_t c)
{
    const number<T> product = get<T>(p.product, n, c);
    return p.bias.data ? product + get<T>(p.bias, 0, c) : product;
}

/* What a peephole adds to its gate. */
template <class T> __device__ inline number<T> peep(const pk_rows &peepholes, int64_t column, number<T> c)
{
    return peepholes.data ? get<T>(peepholes, 0, column) * c : 0;
}

template <class T> __device__ inline void remember(const pk_rows &state, int64_t n, int64_t j, number<T> value)
{
    if (state.data) {
        put<T>(state, n, j, value);
    }
}

template <class T> __device__ inline void give(const pk_cell &p, int64_t n, int64_t j, number<T> h)
{
    remember<T>(p.state_h, n, j, h);
    put<T>(p.y, n, j, h);
}

template <class T> __device__ inline void rnn(const pk_cell &p, int64_t n, int64_t j)
{
    give<T>(p, n, j, activated(p.activation, get<T>(p.y, n, j) + of_h<T>(p, n, j)));
}

template <class T> __device__ inline void gru_gates(const pk_cell &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const N r = sigmoid(get<T>(p.gates, n, j) + of_h<T>(p, n, j));
    put<T>(p.gates, n, j, r);
    put<T>(p.gates, n, p.units + j, sigmoid(get<T>(p.gates, n, p.units + j) + of_h<T>(p, n, p.units + j)));
    put<T>(p.saved, n, j, r * get<T>(p.h, n, j));
}

/* product and bias are those of n alone */
template <class T> __device__ inline void gru_new(const pk_cell &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const N z = get<T>(p.gates, n, p.units + j), fresh = m_tanh(get<T>(p.gates, n, 2 * p.units + j) + of_h<T>(p, n, j));
    put<T>(p.gates, n, 2 * p.units + j, fresh);
    give<T>(p, n, j, (1 - z) * fresh + z * get<T>(p.h, n, j));
}

template <class T> __device__ inline void gru(const pk_cell &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const int64_t H = p.units;
    const N r = sigmoid(get<T>(p.gates, n, j) + of_h<T>(p, n, j));
    const N z = sigmoid(get<T>(p.gates, n, H + j) + of_h<T>(p, n, H + j)), q = of_h<T>(p, n, 2 * H + j);
    const N fresh = m_tanh(get<T>(p.gates, n, 2 * H + j) + r * q);
    put<T>(p.gates, n, j, r);
    put<T>(p.gates, n, H + j, z);
    put<T>(p.gates, n, 2 * H + j, fresh);
    put<T>(p.saved, n, j, q);
    give<T>(p, n, j, (1 - z) * fresh + z * get<T>(p.h, n, j));
}

template <class T> __device__ inline void lstm(const pk_cell &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const N before = get<T>(p.c, n, j);
    N gate[4], c = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int64_t column = k * p.units + j;
        N sum = get<T>(p.gates, n, column) + of_h<T>(p, n, column);
        if (k == 3) {
            c = gate[1] * before + gate[0] * gate[2];
        }
        if (k != 2) {
            sum += peep<T>(p.peepholes, k == 3 ? 2 * p.units + j : column, k == 3 ? c : before);
        }
        gate[k] = k == 2 ? m_tanh(sum) : sigmoid(sum);
        put<T>(p.gates, n, column, gate[k]);
    }
    remember<T>(p.state_c, n, j, c);
    put<T>(p.saved, n, j, c);
    give<T>(p, n, j, gate[3] * m_tanh(c));
}

/* An example that has no such step. Each launch of a step with two writes what is its own. */
template <class T> __device__ inline void nothing(const pk_cell &p, int64_t n, int64_t j)
{
    const int first = p.kind == PK_GRU_NEW ? 2 : 0;
    const int end = p.kind == PK_RNN ? 0 : p.kind == PK_LSTM ? 4 : p.kind == PK_GRU_GATES ? 2 : 3;
    for (int k = first; k < end; k++) {
        put<T>(p.gates, n, k * p.units + j, 0);
    }
    if (p.saved.data && p.kind != PK_GRU_NEW) {
        put<T>(p.saved, n, j, 0);
    }
    if (p.kind != PK_GRU_GATES) {
        put<T>(p.y, n, j, 0);
    }
}

/* What passed the step behind: of one that the example does not have, nothing came through products. */
template <class T> __device__ inline number<T> passed(const pk_cell_back &p, int64_t n, int64_t j)
{
    const number<T> dh = get<T>(p.dh, n, j);
    return p.product.data && (!p.lengths || p.behind < p.lengths[n]) ? dh + get<T>(p.product, n, j) : dh;
}

/* All that reaches this step's h. */
template <class T> __device__ inline number<T> gathered(const pk_cell_back &p, int64_t n, int64_t j)
{
    const number<T> sum = passed<T>(p, n, j);
    return p.dy.data ? sum + get<T>(p.dy, n, j) : sum;
}

/* What comes from behind goes on to the step before. */
template <class T> __device__ inline void nothing_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    const int first = p.kind == PK_GRU_NEW ? 1 : 0;
    const int end = p.kind == PK_LSTM ? 4 : p.kind == PK_RNN || p.kind == PK_GRU_GATES ? 1 : 3;
    for (int k = first; k < end; k++) {
        put<T>(p.da, n, k * p.units + j, 0);
        put<T>(p.dp, n, k * p.units + j, 0);
    }
    if (p.kind != PK_GRU_GATES) {
        put<T>(p.dh, n, j, passed<T>(p, n, j));
    }
}

template <class T> __device__ inline void rnn_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    put<T>(p.da, n, j, activated_backward(p.activation, get<T>(p.y, n, j), gathered<T>(p, n, j)));
    put<T>(p.dh, n, j, 0);
}

template <class T> __device__ inline void gru_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const int64_t H = p.units;
    const N r = get<T>(p.gates, n, j), z = get<T>(p.gates, n, H + j), fresh = get<T>(p.gates, n, 2 * H + j);
    const N dh = gathered<T>(p, n, j), dn = past_tanh(fresh, dh * (1 - z));
    const N dz = past_sigmoid(z, dh * (get<T>(p.h, n, j) - fresh)), dr = past_sigmoid(r, dn * get<T>(p.saved, n, j));
    put<T>(p.da, n, j, dr);
    put<T>(p.dp, n, j, dr);
    put<T>(p.da, n, H + j, dz);
    put<T>(p.dp, n, H + j, dz);
    put<T>(p.da, n, 2 * H + j, dn);
    put<T>(p.dp, n, 2 * H + j, dn * r);
    put<T>(p.dh, n, j, dh * z);
}

template <class T> __device__ inline void gru_new_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const int64_t H = p.units;
    const N z = get<T>(p.gates, n, H + j), fresh = get<T>(p.gates, n, 2 * H + j), dh = gathered<T>(p, n, j);
    put<T>(p.da, n, H + j, past_sigmoid(z, dh * (get<T>(p.h, n, j) - fresh)));
    put<T>(p.da, n, 2 * H + j, past_tanh(fresh, dh * (1 - z)));
    put<T>(p.dh, n, j, dh * z);
}

template <class T> __device__ inline void gru_gates_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const N r = get<T>(p.gates, n, j), dq = get<T>(p.product, n, j);
    put<T>(p.da, n, j, past_sigmoid(r, dq * get<T>(p.h, n, j)));
    put<T>(p.dh, n, j, get<T>(p.dh, n, j) + dq * r);
}

template <class T> __device__ inline void lstm_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const int64_t H = p.units;
    const N i = get<T>(p.gates, n, j), f = get<T>(p.gates, n, H + j), g = get<T>(p.gates, n, 2 * H + j);
    const N o = get<T>(p.gates, n, 3 * H + j), squashed = m_tanh(get<T>(p.saved, n, j)), dh = gathered<T>(p, n, j);
    const N d_o = past_sigmoid(o, dh * squashed);
    const N dc = get<T>(p.dc, n, j) + past_tanh(squashed, dh * o) + peep<T>(p.peepholes, 2 * H + j, d_o);
    const N di = past_sigmoid(i, dc * g), df = past_sigmoid(f, dc * get<T>(p.c, n, j));
    put<T>(p.da, n, j, di);
    put<T>(p.da, n, H + j, df);
    put<T>(p.da, n, 2 * H + j, past_tanh(g, dc * i));
    put<T>(p.da, n, 3 * H + j, d_o);
    put<T>(p.dc, n, j, dc * f + peep<T>(p.peepholes, j, di) + peep<T>(p.peepholes, H + j, df));
    put<T>(p.dh, n, j, 0);
}

template <class T> __device__ inline void cell(const pk_cell &p, int64_t n, int64_t j)
{
    if (p.lengths && p.t >= p.lengths[n]) {
        nothing<T>(p, n, j);
    } else if (p.kind == PK_LSTM) {
        lstm<T>(p, n, j);
    } else if (p.kind == PK_GRU) {
        gru<T>(p, n, j);
    } else if (p.kind == PK_GRU_GATES) {
        gru_gates<T>(p, n, j);
    } else if (p.kind == PK_GRU_NEW) {
        gru_new<T>(p, n, j);
    } else {
        rnn<T>(p, n, j);
    }
}

template <class T> __device__ inline void cell_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    if (p.lengths && p.t >= p.lengths[n]) {
        nothing_back<T>(p, n, j);
    } else if (p.kind == PK_LSTM) {
        lstm_back<T>(p, n, j);
    } else if (p.kind == PK_GRU) {
        gru_back<T>(p, n, j);
    } else if (p.kind == PK_GRU_GATES) {
        gru_gates_back<T>(p, n, j);
    } else if (p.kind == PK_GRU_NEW) {
        gru_new_back<T>(p, n, j);
    } else {
        rnn_back<T>(p, n, j);
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) cells(const pk_cell p)
{
    for (int64_t e = first_element(); e < p.batch * p.units; e += element_stride()) {
        cell<T>(p, e / p.units, e % p.units);
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) cells_back(const pk_cell_back p)
{
    for (int64_t e = first_element(); e < p.batch * p.units; e += element_stride()) {
        cell_back<T>(p, e / p.units, e % p.units);
    }
}

/* ---- all steps in one launch ---- */

/* Rows of kept weights are an odd number of elements apart: threads that read down a column then meet different banks. */
__host__ __device__ inline int64_t kept_row(int64_t units) { return units | 1; }

template <class T> __device__ inline pk_rows at_step(const pk_steps &v, int64_t t)
{
    return {v.data ? (T *)v.data + t * v.step : nullptr, v.row, v.column};
}

template <class T> __device__ inline void keep(const pk_rows &w, T *kept, int64_t wide, int64_t units)
{
    for (int64_t e = threadIdx.x; e < wide * units; e += PK_THREADS) {
        const int64_t c = e / units, k = e % units;
        kept[c * kept_row(units) + k] = ((const T *)w.data)[c * w.row + k * w.column];
    }
    __syncthreads();
}

/* to = from (N, units) times the kept rows [first, first + count), of examples [begin, end) */
template <class T>
__device__ inline void times_kept(const pk_rows &from, const T *kept, int64_t units, int64_t first, int64_t count,
                                  const pk_rows &to, int64_t begin, int64_t end)
{
    for (int64_t e = threadIdx.x; e < (end - begin) * count; e += PK_THREADS) {
        const int64_t n = begin + e / count, c = e % count;
        const T *row = kept + (first + c) * kept_row(units);
        number<T> sum = 0;
        for (int64_t k = 0; k < units; k++) {
            sum += get<T>(from, n, k) * load(row[k]);
        }
        put<T>(to, n, c, sum);
    }
    __syncthreads();
}

/* to (N, units) = from's columns [first, first + count) times the kept rows of the same numbers */
template <class T>
__device__ inline void times_kept_rows(const pk_rows &from, const T *kept, int64_t units, int64_t first, int64_t count,
                                       const pk_rows &to, int64_t begin, int64_t end)
{
    for (int64_t e = threadIdx.x; e < (end - begin) * units; e += PK_THREADS) {
        const int64_t n = begin + e / units, k = e % units;
        number<T> sum = 0;
        for (int64_t c = first; c < first + count; c++) {
            sum += get<T>(from, n, c) * load(kept[c * kept_row(units) + k]);
        }
        put<T>(to, n, k, sum);
    }
    __syncthreads();
}

template <class T> __device__ inline void cells_of(const pk_cell &p, int64_t begin, int64_t end)
{
    for (int64_t e = threadIdx.x; e < (end - begin) * p.units; e += PK_THREADS) {
        cell<T>(p, begin + e / p.units, e % p.units);
    }
    __syncthreads();
}

template <class T> __device__ inline void cells_back_of(const pk_cell_back &p, int64_t begin, int64_t end)
{
    for (int64_t e = threadIdx.x; e < (end - begin) * p.units; e += PK_THREADS) {
        cell_back<T>(p, begin + e / p.units, e % p.units);
    }
    __syncthreads();
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) sequence(const pk_sequence p)
{
    PLUMB_DYN_SHARED(T, kept);
    const int64_t H = p.one.units, begin = blockIdx.x * p.rows;
    const int64_t end = begin + p.rows < p.one.batch ? begin + p.rows : p.one.batch;
    const bool two = p.one.kind == PK_GRU_GATES;
    pk_cell one = p.one;
    keep<T>(p.w, kept, p.wide, H);
    for (int64_t i = 0; i < p.steps; i++) {
        const int64_t t = one.t = p.reverse ? p.steps - 1 - i : i;
        one.y = at_step<T>(p.y, t);
        one.gates = at_step<T>(p.gates, t);
        one.saved = at_step<T>(p.saved, t);
        times_kept<T>(one.h, kept, H, 0, two ? 2 * H : p.wide, one.product, begin, end);
        cells_of<T>(one, begin, end);
        if (two) {
            pk_cell fresh = one;
            fresh.kind = PK_GRU_NEW;
            fresh.product.data = (T *)one.product.data + 2 * H * one.product.column;
            if (one.bias.data) {
                fresh.bias.data = (T *)one.bias.data + 2 * H * one.bias.column;
            }
            times_kept<T>(one.saved, kept, H, 2 * H, H, fresh.product, begin, end);
            cells_of<T>(fresh, begin, end);
        }
        if (!one.state_h.data) {
            one.h = one.y;
            one.c = one.saved;
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) sequence_back(const pk_sequence_back p)
{
    PLUMB_DYN_SHARED(T, kept);
    const int64_t H = p.one.units, begin = blockIdx.x * p.rows;
    const int64_t end = begin + p.rows < p.one.batch ? begin + p.rows : p.one.batch;
    const bool two = p.one.kind == PK_GRU_NEW;
    pk_cell_back one = p.one;
    one.product.data = nullptr;
    keep<T>(p.w, kept, p.wide, H);
    for (int64_t i = p.steps - 1; i >= 0; i--) {
        const int64_t t = one.t = p.reverse ? p.steps - 1 - i : i;
        one.behind = p.reverse ? t - 1 : t + 1;
        one.dy = at_step<T>(p.dy, t);
        one.y = at_step<T>(p.y, t);
        one.gates = at_step<T>(p.gates, t);
        one.saved = at_step<T>(p.saved, t);
        one.h = at_step<T>(p.before, t);
        one.c = p.cells.data ? at_step<T>(p.cells, t) : i > 0 ? at_step<T>(p.saved, p.reverse ? t + 1 : t - 1) : p.one.c;
        one.da = at_step<T>(p.da, t);
        one.dp = at_step<T>(p.dp, t);
        cells_back_of<T>(one, begin, end);
        one.product = p.one.product;
        if (two) {
            pk_cell_back gates = one;
            gates.kind = PK_GRU_GATES;
            times_kept_rows<T>(one.dp, kept, H, 2 * H, H, one.product, begin, end);
            cells_back_of<T>(gates, begin, end);
        }
        times_kept_rows<T>(one.dp, kept, H, 0, two ? 2 * H : p.wide, one.product, begin, end);
    }
}

/* More shared memory than every launch has must be asked for. */
template <class K> cudaError_t allow_kept(K *kernel, int64_t bytes)
{
    return bytes <= 48 << 10 ? cudaSuccess
                             : cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

inline unsigned blocks_of_rows(int64_t batch, int64_t rows) { return (unsigned)((batch + rows - 1) / rows); }

/* A thread for each column, down all the rows in their order. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) sums(const pk_rows from, T *to, int64_t rows, int64_t columns)
{
    for (int64_t j = first_element(); j < columns; j += element_stride()) {
        number<T> sum = 0;
        for (int64_t n = 0; n < rows; n++) {
            sum += get<T>(from, n, j);
        }
        to[j] = store<T>(sum);
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) shifted(const pk_shift p)
{
    for (int64_t e = first_element(); e < p.steps * p.batch * p.columns; e += element_stride()) {
        const int64_t j = e % p.columns, n = e / p.columns % p.batch, t = p.first + e / p.columns / p.batch;
        const int64_t from = t + p.shift, end = p.lengths ? p.lengths[n] : p.first + p.steps;
        number<T> value = 0;
        if (t < end && from >= 0 && from < end) {
            value = load(((const T *)p.from.data)[(from - p.first) * p.from.step + n * p.from.row + j * p.from.column]);
        } else if (t < end && p.start.data) {
            value = get<T>(p.start, n, j);
        }
        ((T *)p.to)[e] = store<T>(value);
    }
}

__global__ void __launch_bounds__(PK_THREADS) take_lengths(const pk_lengths p)
{
    for (int64_t n = first_element(); n < p.batch; n += element_stride()) {
        const int64_t length = index_at(p.from, p.dtype, n * p.stride);
        if (length < 0 || length > p.steps) {
            note_fault(p.fault, p.watch, n, length, 0, p.steps + 1);
        }
        p.to[n] = length < 0 ? 0 : length > p.steps ? p.steps : length;
    }
}

/* A thread for each sum, over steps and examples in their order. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) peephole_sums(const pk_peepholes p)
{
    for (int64_t e = first_element(); e < 3 * p.units; e += element_stride()) {
        const int64_t which = e / p.units, j = e % p.units, gate = which == 2 ? 3 : which;
        number<T> sum = 0;
        for (int64_t t = 0; t < p.steps; t++) {
            for (int64_t n = 0; n < p.batch; n++) {
                const int64_t at = t * p.batch + n;
                if (p.lengths && t >= p.lengths[n]) {
                    continue;
                }
                const T c = which == 2 ? ((const T *)p.cells.data)[t * p.cells.step + n * p.cells.row + j * p.cells.column]
                                       : ((const T *)p.before)[at * p.units + j];
                sum += load(((const T *)p.da)[(at * 4 + gate) * p.units + j]) * load(c);
            }
        }
        ((T *)p.to)[e] = store<T>(sum);
    }
}

} // namespace

extern "C" cudaError_t plumb_k_shift(cudaStream_t stream, int dtype, const pk_shift *p)
{
    const int64_t count = p->steps * p->batch * p->columns;
    if (count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(shifted<type>, blocks_for(count), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_lengths(cudaStream_t stream, const pk_lengths *p)
{
    return p->batch == 0 ? cudaSuccess : PLUMB_LAUNCH(take_lengths, blocks_for(p->batch), PK_THREADS, 0, stream, *p);
}

extern "C" cudaError_t plumb_k_peepholes(cudaStream_t stream, int dtype, const pk_peepholes *p)
{
    if (p->units == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(peephole_sums<type>, blocks_for(3 * p->units), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" int64_t plumb_k_kept_bytes(int dtype, int64_t wide, int64_t units)
{
    return wide * kept_row(units) * (dtype == PK_F64 ? 8 : dtype == PK_F32 ? 4 : 2);
}

#define SEQUENCE(name, kernel, struct_)                                                                               \
    extern "C" cudaError_t name(cudaStream_t stream, int dtype, const struct_ *p)                                     \
    {                                                                                                                 \
        const int64_t bytes = plumb_k_kept_bytes(dtype, p->wide, p->one.units);                                       \
        cudaError_t code = cudaSuccess;                                                                               \
        if (p->one.batch * p->one.units == 0) {                                                                       \
            return cudaSuccess;                                                                                       \
        }                                                                                                             \
        switch (dtype) {                                                                                              \
            PK_FLOAT_CASES(CASE_##kernel)                                                                             \
        default: return cudaErrorInvalidValue;                                                                        \
        }                                                                                                             \
    }
#define KEPT(kernel)                                                                                                  \
    code = allow_kept(kernel, bytes);                                                                                 \
    return code != cudaSuccess ? code                                                                                 \
                               : PLUMB_LAUNCH(kernel, blocks_of_rows(p->one.batch, p->rows), PK_THREADS,              \
                                              (size_t)bytes, stream, *p)
#define CASE_sequence(number, type) case number: KEPT(sequence<type>);
#define CASE_sequence_back(number, type) case number: KEPT(sequence_back<type>);
SEQUENCE(plumb_k_sequence, sequence, pk_sequence)
SEQUENCE(plumb_k_sequence_back, sequence_back, pk_sequence_back)

extern "C" cudaError_t plumb_k_cell(cudaStream_t stream, int dtype, const pk_cell *p)
{
    const int64_t count = p->batch * p->units;
    if (count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(cells<type>, blocks_for(count), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_cell_back(cudaStream_t stream, int dtype, const pk_cell_back *p)
{
    const int64_t count = p->batch * p->units;
    if (count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(cells_back<type>, blocks_for(count), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_column_sums(cudaStream_t stream, int dtype, const pk_rows *from, void *to, int64_t rows,
                                           int64_t columns)
{
    if (columns == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: \
        return PLUMB_LAUNCH(sums<type>, blocks_for(columns), PK_THREADS, 0, stream, *from, (type *)to, rows, columns);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}
