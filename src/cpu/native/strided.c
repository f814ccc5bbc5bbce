/* See strided.h. */
#include "cpu/native/strided.h"

void plumb_strided_begin(struct plumb_strided *s, const plumb_view *result)
{
    memset(s, 0, sizeof *s);
    s->rank = result->rank;
    s->count = s->weight = 1;
    for (int d = 0; d < s->rank; d++) {
        s->dim[d] = result->dim[d];
        s->count *= result->dim[d];
    }
    plumb_strided_add(s, result);
}

void plumb_strided_add(struct plumb_strided *s, const plumb_view *operand)
{
    int64_t *stride = s->stride[s->operands++];
    int shift = s->rank - operand->rank;
    for (int d = 0; d < operand->rank; d++) {
        stride[d + shift] = operand->dim[d] == 1 ? 0 : operand->stride[d];
    }
}

static void move_dimension(struct plumb_strided *s, int to, int from)
{
    s->dim[to] = s->dim[from];
    for (int i = 0; i < s->operands; i++) {
        s->stride[i][to] = s->stride[i][from];
    }
}

static void swap_dimensions(struct plumb_strided *s, int a, int b)
{
    int64_t dim = s->dim[a], stride[STRIDED_OPERANDS];
    for (int i = 0; i < s->operands; i++) {
        stride[i] = s->stride[i][a];
    }
    move_dimension(s, a, b);
    s->dim[b] = dim;
    for (int i = 0; i < s->operands; i++) {
        s->stride[i][b] = stride[i];
    }
}

static int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

void plumb_strided_simplify(struct plumb_strided *s)
{
    int rank = 0;
    for (int d = 0; d < s->rank; d++) {
        if (s->dim[d] != 1) {
            move_dimension(s, rank++, d);
        }
    }
    for (int d = 1; d < rank; d++) { /* insertion sort: the result's largest strides outermost */
        for (int e = d; e > 0 && magnitude(s->stride[0][e - 1]) < magnitude(s->stride[0][e]); e--) {
            swap_dimensions(s, e - 1, e);
        }
    }
    s->rank = 0;
    for (int d = 0; d < rank; d++) {
        bool joins = s->rank > 0;
        for (int i = 0; joins && i < s->operands; i++) {
            joins = s->stride[i][s->rank - 1] == s->stride[i][d] * s->dim[d];
        }
        if (joins) {
            int64_t dim = s->dim[s->rank - 1] * s->dim[d];
            move_dimension(s, s->rank - 1, d);
            s->dim[s->rank - 1] = dim;
        } else {
            move_dimension(s, s->rank++, d);
        }
    }
    if (s->rank == 0) { /* one element: any stride will do, 1 is the one that kernels like */
        s->rank = 1;
        s->dim[0] = 1;
        for (int i = 0; i < s->operands; i++) {
            s->stride[i][0] = 1;
        }
    }
}

struct work {
    const struct plumb_strided *s;
    plumb_strided_row *row;
    const void *user;
    int64_t rows, per_chunk, piece, pieces; /* a chunk is several rows, or one of several pieces of a row */
};

static void run_rows(const struct work *w, int64_t begin, int64_t end, int64_t from, int64_t n)
{
    const struct plumb_strided *s = w->s;
    int last = s->rank - 1;
    int64_t index[PLUMB_MAX_RANK], at[STRIDED_OPERANDS];
    for (int i = 0; i < s->operands; i++) {
        at[i] = from * s->stride[i][last];
    }
    int64_t rest = begin;
    for (int d = last - 1; d >= 0; d--) {
        index[d] = rest % s->dim[d];
        rest /= s->dim[d];
        for (int i = 0; i < s->operands; i++) {
            at[i] += index[d] * s->stride[i][d];
        }
    }
    for (int64_t r = begin; r < end; r++) {
        w->row(w->user, s, at, n);
        for (int d = last - 1; d >= 0; d--) {
            bool wraps = ++index[d] == s->dim[d];
            int64_t steps = wraps ? 1 - s->dim[d] : 1;
            for (int i = 0; i < s->operands; i++) {
                at[i] += steps * s->stride[i][d];
            }
            if (!wraps) {
                break;
            }
            index[d] = 0;
        }
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    int64_t n = w->s->dim[w->s->rank - 1];
    (void)worker;
    if (w->pieces > 1) {
        int64_t row = chunk / w->pieces, from = chunk % w->pieces * w->piece;
        run_rows(w, row, row + 1, from, n - from < w->piece ? n - from : w->piece);
    } else {
        int64_t begin = chunk * w->per_chunk, end = begin + w->per_chunk;
        run_rows(w, begin, end < w->rows ? end : w->rows, 0, n);
    }
}

void plumb_strided_run(plumb_pool *pool, const struct plumb_strided *s, plumb_strided_row *row,
                       const void *user)
{
    if (s->count == 0) {
        return;
    }
    int64_t n = s->dim[s->rank - 1];
    struct work w = {.s = s, .row = row, .user = user, .rows = s->count / n, .per_chunk = 1};
    w.piece = STRIDED_PIECE / s->weight > STRIDED_LEAST ? STRIDED_PIECE / s->weight : STRIDED_LEAST;
    w.pieces = (n + w.piece - 1) / w.piece;
    if (w.pieces == 1) {
        w.per_chunk = w.piece / n;
        plumb_pool_run(pool, (w.rows + w.per_chunk - 1) / w.per_chunk, run_chunk, &w);
    } else {
        plumb_pool_run(pool, w.rows * w.pieces, run_chunk, &w);
    }
}
