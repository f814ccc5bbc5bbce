/* The cells of recurrent layers: what happens between the products of a step, a thread for each unit of each example. The
 * products are matmul.cu's; the host goes from step to step. */
#include "activation.cuh"

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

template <class T> __device__ inline void rnn(const pk_cell &p, int64_t n, int64_t j)
{
    put<T>(p.y, n, j, activated(p.activation, get<T>(p.y, n, j) + of_h<T>(p, n, j)));
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
    put<T>(p.y, n, j, (1 - z) * fresh + z * get<T>(p.h, n, j));
}

template <class T> __device__ inline void lstm(const pk_cell &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    N gate[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int64_t column = k * p.units + j;
        const N sum = get<T>(p.gates, n, column) + of_h<T>(p, n, column);
        gate[k] = k == 2 ? m_tanh(sum) : sigmoid(sum);
        put<T>(p.gates, n, column, gate[k]);
    }
    const N c = gate[1] * get<T>(p.c, n, j) + gate[0] * gate[2];
    put<T>(p.saved, n, j, c);
    put<T>(p.y, n, j, gate[3] * m_tanh(c));
}

/* All that reaches this step's h. */
template <class T> __device__ inline number<T> gathered(const pk_cell_back &p, int64_t n, int64_t j)
{
    number<T> sum = get<T>(p.dh, n, j);
    if (p.product.data) {
        sum += get<T>(p.product, n, j);
    }
    return p.dy.data ? sum + get<T>(p.dy, n, j) : sum;
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

template <class T> __device__ inline void lstm_back(const pk_cell_back &p, int64_t n, int64_t j)
{
    typedef number<T> N;
    const int64_t H = p.units;
    const N i = get<T>(p.gates, n, j), f = get<T>(p.gates, n, H + j), g = get<T>(p.gates, n, 2 * H + j);
    const N o = get<T>(p.gates, n, 3 * H + j), squashed = m_tanh(get<T>(p.saved, n, j)), dh = gathered<T>(p, n, j);
    const N dc = get<T>(p.dc, n, j) + past_tanh(squashed, dh * o);
    put<T>(p.da, n, j, past_sigmoid(i, dc * g));
    put<T>(p.da, n, H + j, past_sigmoid(f, dc * get<T>(p.c, n, j)));
    put<T>(p.da, n, 2 * H + j, past_tanh(g, dc * i));
    put<T>(p.da, n, 3 * H + j, past_sigmoid(o, dh * squashed));
    put<T>(p.dc, n, j, dc * f);
    put<T>(p.dh, n, j, 0);
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) cells(const pk_cell p)
{
    for (int64_t e = first_element(); e < p.batch * p.units; e += element_stride()) {
        const int64_t n = e / p.units, j = e % p.units;
        if (p.kind == PK_LSTM) {
            lstm<T>(p, n, j);
        } else if (p.kind == PK_GRU) {
            gru<T>(p, n, j);
        } else {
            rnn<T>(p, n, j);
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) cells_back(const pk_cell_back p)
{
    for (int64_t e = first_element(); e < p.batch * p.units; e += element_stride()) {
        const int64_t n = e / p.units, j = e % p.units;
        if (p.kind == PK_LSTM) {
            lstm_back<T>(p, n, j);
        } else if (p.kind == PK_GRU) {
            gru_back<T>(p, n, j);
        } else {
            rnn_back<T>(p, n, j);
        }
    }
}

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

} // namespace

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
