/* Matrix products, f32 and f64, operands of any strides, output row-major.
 *
 * Three forms, by shape: few rows against columns contiguous along k are dot products; few rows against a
 * row-major B read B in place; everything else packs B into panels, a cache-sized block at a time. The output
 * is cut into blocks that threads claim; the cut depends on shapes and the instruction set alone, and a block
 * sums over k in order, so the number of threads cannot change a bit. Bias and activation follow while the block is
 * in the cache. */
#include "cpu/native/epilogue.h"
#include "cpu/native/gemm.h"

enum { DOTS, IN_PLACE, PANELS };

enum {
    DEPTH = 512,      /* most k in one pass: a strip of A then stays in the first cache */
    BLOCK_ROWS = 256, /* rows and panels of an output block: B's share of it stays in the second cache */
    BLOCK_PANELS = 3,
    ENOUGH_BLOCKS = 8,    /* blocks are halved until there are so many, */
    SMALL_BLOCK = 1 << 17 /* unless they have fewer multiplications than this */
};

typedef struct product { /* C (m, n) = A (m, k) B (k, n), `batch` times */
    const plumb_kernels *kernels;
    size_t size;
    const plumb_view *a_view, *b_view, *c_view;
    int64_t batch, m, n, k, a_row, a_k, b_k, b_column;
    int form, height; /* rows of a strip */
    int64_t width;    /* columns of a panel */
    int64_t depth;    /* k of a pass */
    int64_t block_m, block_n, m_blocks, n_blocks;
    plumb_epilogue *epilogue; /* of bias and activation; NULL: none */
    plumb_epilogue *add_bias, *activate; /* the same in two steps */
    const void *bias;         /* of the columns; NULL: none */
    int64_t bias_step;
    char *workspace;                           /* one part per worker: */
    size_t part, strip_at, edge_at, offset_at; /* panels at 0, a strip, an edge tile, two offset tables */
} product;

/* Leading dimensions that only repeat A's rows against one B are rows too. */
static void merge_batch(product *p)
{
    const plumb_view *a = p->a_view, *b = p->b_view, *c = p->c_view;
    int64_t rows = p->m;
    p->batch = 1;
    for (int d = 0; d < c->rank - 2; d++)
        p->batch *= c->dim[d];
    for (int d = c->rank - 3; d >= 0; d--) {
        int da = d - (c->rank - a->rank), db = d - (c->rank - b->rank);
        if (c->dim[d] == 1)
            continue;
        if (da >= 0 && rows == 1) /* the stride of a single row says nothing */
            p->a_row = a->stride[da];
        if (da < 0 || a->dim[da] != c->dim[d] || a->stride[da] != rows * p->a_row)
            return;
        if (db >= 0 && b->dim[db] != 1 && b->stride[db] != 0)
            return;
        rows *= c->dim[d];
    }
    p->m = rows;
    p->batch = p->batch ? 1 : 0;
}

static void choose_form(product *p)
{
    const plumb_kernels *kernels = p->kernels;
    if (p->n == 1 && p->m > 1) { /* (m, k) times a vector: the transposed product, whose single row is C */
        int64_t row = p->a_row, step = p->a_k;
        p->a_row = p->b_column, p->a_k = p->b_k, p->b_k = step, p->b_column = row;
        p->n = p->m, p->m = 1;
        p->bias_step = 0; /* the one column's bias is every element's */
        const plumb_view *view = p->a_view;
        p->a_view = p->b_view, p->b_view = view;
    }
    p->height = plumb_strip_height(p->m, kernels->rows);
    p->width = (int64_t)kernels->vectors[p->height] * kernels->lanes;
    p->depth = plumb_parts(p->k, plumb_most(plumb_parts(p->k, DEPTH), 1));
    p->form = PANELS;
    if (p->m <= kernels->rows && p->b_k == 1 && p->a_k == 1 && p->k >= 2 * kernels->lanes)
        p->form = DOTS, p->height = plumb_strip_height(p->m, kernels->dot_rows), p->width = PLUMB_DOT_COLUMNS;
    else if (p->m <= 2 * kernels->rows && p->b_column == 1 && p->b_k >= 0 && p->b_k < INT32_MAX / DEPTH)
        p->form = IN_PLACE;
}

static void choose_blocks(product *p)
{
    int64_t least_n = p->form == PANELS ? p->width : plumb_round_up(64, p->width);
    p->block_n =
        plumb_least(p->form == PANELS ? BLOCK_PANELS * p->width : 1024, plumb_round_up(p->n, p->width));
    p->block_m = plumb_least(plumb_round_up(BLOCK_ROWS, p->height), p->m);
    for (;;) {
        p->m_blocks = plumb_parts(p->m, plumb_most(p->block_m, 1));
        p->n_blocks = plumb_parts(p->n, plumb_most(p->block_n, 1));
        if (p->batch * p->m_blocks * p->n_blocks >= ENOUGH_BLOCKS ||
            (double)p->block_m * (double)p->block_n * (double)p->k < 2.0 * SMALL_BLOCK)
            return;
        if (p->block_n > least_n)
            p->block_n = plumb_round_up(p->block_n / 2, p->width);
        else if (p->block_m >= 4 * p->height)
            p->block_m = plumb_round_up(p->block_m / 2, p->height);
        else
            return;
    }
}

static void plan(const plumb_call *call, product *p)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    *p = (product){.a_view = a, .b_view = b, .c_view = c};
    p->kernels = plumb_kernels_for(c->dtype, call->isa);
    p->size = p->kernels->size;
    int am = a->rank - 2 + !!attr->transpose_a, ak = a->rank - 1 - !!attr->transpose_a;
    int bk = b->rank - 2 + !!attr->transpose_b, bn = b->rank - 1 - !!attr->transpose_b;
    p->m = a->dim[am], p->k = a->dim[ak], p->n = b->dim[bn];
    p->a_row = a->stride[am], p->a_k = a->stride[ak], p->b_k = b->stride[bk], p->b_column = b->stride[bn];
    if (p->n == 1) /* strides of single rows and columns say nothing */
        p->b_column = 1;
    const plumb_view *bias = call->n_in > 2 ? &call->in[2] : NULL;
    p->epilogue = plumb_epilogue_for(c->dtype, call->isa, attr->activation, bias != NULL);
    p->add_bias = plumb_epilogue_for(c->dtype, call->isa, PLUMB_ACTIVATION_NONE, bias != NULL);
    p->activate = plumb_epilogue_for(c->dtype, call->isa, attr->activation, false);
    p->bias = bias ? bias->data : NULL, p->bias_step = bias ? bias->stride[0] : 0;
    merge_batch(p);
    choose_form(p);
    choose_blocks(p);
    size_t panels = plumb_lines(p->block_n * p->depth, p->size);
    size_t strip = plumb_lines(p->height * p->depth, p->size);
    size_t edge = plumb_lines(p->height * p->width, p->size);
    p->strip_at = p->form == PANELS ? panels : plumb_lines(p->width * p->depth, p->size);
    p->edge_at = p->strip_at + strip;
    p->offset_at = p->edge_at + edge;
    p->part = p->offset_at + 2 * plumb_lines(p->depth, sizeof(int32_t));
}

/* Where batch element `index` of the output has its operand. */
static const void *operand(const product *p, const plumb_view *view, int64_t index)
{
    const plumb_view *c = p->c_view;
    int64_t offset = 0;
    if (p->batch > 1)
        for (int d = c->rank - 3; d >= 0; d--) {
            int dv = d - (c->rank - view->rank);
            if (dv >= 0 && view->dim[dv] != 1)
                offset += index % c->dim[d] * view->stride[dv];
            index /= c->dim[d];
        }
    return plumb_at(view->data, offset, p->size);
}

/* One block of C: rows m0.., columns n0.. of batch element `index`. */
typedef struct block {
    const product *p;
    const void *a, *b;
    char *c, *work;
    int64_t m0, m1, n0, n1;
} block;

static void run_dots(const block *w)
{
    const product *p = w->p;
    double edge[PLUMB_DOT_ROWS * PLUMB_DOT_COLUMNS]; /* of either type */
    plumb_dots d = {.segments = 1, .length = p->k, .ar = p->a_row};
    for (int64_t j = w->n0; j < w->n1; j += PLUMB_DOT_COLUMNS) {
        int64_t columns = plumb_least(PLUMB_DOT_COLUMNS, w->n1 - j);
        bool whole = columns == PLUMB_DOT_COLUMNS;
        d.b = plumb_at(w->b, j * p->b_column, p->size);
        for (int64_t e = 0; e < PLUMB_DOT_COLUMNS; e++) /* past the last column: the last one again */
            d.offset[e] = plumb_least(e, columns - 1) * p->b_column;
        for (int64_t i = w->m0; i < w->m1; i += p->height) {
            int64_t rows = plumb_least(p->height, w->m1 - i);
            char *c = plumb_at(w->c, i * p->n + j, p->size);
            d.a = plumb_at(w->a, i * p->a_row, p->size);
            d.c = whole ? (void *)c : edge, d.ldc = whole ? p->n : PLUMB_DOT_COLUMNS;
            p->kernels->dot[rows](&d);
            for (int64_t r = 0; r < rows && !whole; r++)
                memcpy(plumb_at(c, r * p->n, p->size), plumb_at(edge, r * PLUMB_DOT_COLUMNS, p->size),
                       (size_t)columns * p->size);
        }
    }
}

/* B's rows k0.. and columns j.. as a panel (depth, width) whose columns past `columns` are zero. */
static void pack_panel(const block *w, char *to, int64_t k0, int64_t depth, int64_t j, int64_t columns,
                       int64_t width)
{
    const product *p = w->p;
    const void *from = plumb_at(w->b, k0 * p->b_k + j * p->b_column, p->size);
    if (columns < width)
        memset(to, 0, (size_t)(depth * width) * p->size);
    if (p->b_column != 1 && p->b_k == 1)
        p->kernels->interleave(to, width, from, p->b_column, columns, depth);
    else
        p->kernels->move(&(plumb_move){.to = to,
                                       .from = from,
                                       .rows = depth,
                                       .columns = columns,
                                       .to_row = width,
                                       .to_step = 1,
                                       .from_row = p->b_k,
                                       .from_step = p->b_column});
}

/* A's rows i.. and columns k0.. as a strip (depth, rows). */
static void pack_strip(const block *w, void *to, int64_t i, int64_t rows, int64_t k0, int64_t depth)
{
    const product *p = w->p;
    const void *from = plumb_at(w->a, i * p->a_row + k0 * p->a_k, p->size);
    if (p->a_k == 1)
        p->kernels->interleave(to, rows, from, p->a_row, rows, depth);
    else
        p->kernels->move(&(plumb_move){.to = to,
                                       .from = from,
                                       .rows = depth,
                                       .columns = rows,
                                       .to_row = rows,
                                       .to_step = 1,
                                       .from_row = p->a_k,
                                       .from_step = p->a_row});
}

static void run_tile(const block *w, int64_t depth, bool add, int64_t i, int64_t rows, int64_t j,
                     const void *panel, const int32_t *offset)
{
    const product *p = w->p;
    int64_t columns = plumb_least(p->width, w->n1 - j), lanes = p->kernels->lanes;
    int64_t vectors = plumb_parts(columns, lanes);
    void *c = plumb_at(w->c, i * p->n + j, p->size), *edge = w->work + p->edge_at;
    plumb_tile *tile = p->kernels->tile[rows][vectors];
    if (columns == vectors * lanes) {
        tile(depth, w->work + p->strip_at, panel, offset, c, p->n, add);
        return;
    }
    plumb_move out = {.to = c,
                      .from = edge,
                      .rows = rows,
                      .columns = columns,
                      .to_row = p->n,
                      .to_step = 1,
                      .from_row = vectors * lanes,
                      .from_step = 1};
    if (add)
        p->kernels->move(&(plumb_move){.to = edge,
                                       .from = c,
                                       .rows = rows,
                                       .columns = columns,
                                       .to_row = vectors * lanes,
                                       .to_step = 1,
                                       .from_row = p->n,
                                       .from_step = 1});
    tile(depth, w->work + p->strip_at, panel, offset, edge, vectors * lanes, add);
    p->kernels->move(&out);
}

/* One pass over k of a block: panels of B, then strip by strip of A against all of them. */
static void run_pass(const block *w, int64_t k0, int64_t depth)
{
    const product *p = w->p;
    int32_t *full = (int32_t *)(void *)(w->work + p->offset_at), *last = full + p->depth;
    int64_t lanes = p->kernels->lanes,
            whole = (w->n1 - w->n0) / p->width * p->width; /* columns in full panels */
    int64_t rest = w->n1 - w->n0 - whole, last_width = plumb_round_up(rest, lanes);
    bool place = p->form == IN_PLACE, last_place = place && rest == last_width;
    for (int64_t i = 0; i < depth; i++) {
        full[i] = (int32_t)(i * (place ? p->b_k : p->width));
        last[i] = (int32_t)(i * (last_place ? p->b_k : last_width));
    }
    char *last_panel = place ? w->work : plumb_at(w->work, whole * depth, p->size);
    for (int64_t j = 0; j < whole && !place; j += p->width)
        pack_panel(w, plumb_at(w->work, j * depth, p->size), k0, depth, w->n0 + j, p->width, p->width);
    if (rest && !last_place)
        pack_panel(w, last_panel, k0, depth, w->n0 + whole, rest, last_width);
    for (int64_t i = w->m0; i < w->m1; i += p->height) {
        int64_t rows = plumb_least(p->height, w->m1 - i);
        pack_strip(w, w->work + p->strip_at, i, rows, k0, depth);
        for (int64_t j = 0; j < whole + rest; j += p->width) {
            const void *b = plumb_at(w->b, k0 * p->b_k + (w->n0 + j), p->size); /* where b_column is 1 */
            if (j < whole)
                run_tile(w, depth, k0 > 0, i, rows, w->n0 + j,
                         place ? b : plumb_at(w->work, j * depth, p->size), full);
            else
                run_tile(w, depth, k0 > 0, i, rows, w->n0 + j, last_place ? b : last_panel, last);
        }
    }
}

/* Rows m0.. and columns n0.. of C, the sums being complete. Where a block has whole rows the activation takes them as one:
 * what a row leaves over after the last whole vector costs as much as a vector. */
static void finish(const block *w)
{
    const product *p = w->p;
    const void *bias = p->bias ? plumb_at(p->bias, w->n0 * p->bias_step, p->size) : NULL;
    if (p->n_blocks == 1 && p->activate) {
        for (int64_t i = w->m0; i < w->m1 && bias; i++)
            p->add_bias(plumb_at(w->c, i * p->n, p->size), p->n, bias, p->bias_step);
        p->activate(plumb_at(w->c, w->m0 * p->n, p->size), (w->m1 - w->m0) * p->n, NULL, 0);
        return;
    }
    for (int64_t i = w->m0; i < w->m1; i++)
        p->epilogue(plumb_at(w->c, i * p->n + w->n0, p->size), w->n1 - w->n0, bias, p->bias_step);
}

static void run_block(void *user, int64_t chunk, int worker)
{
    const product *p = user;
    int64_t nb = chunk % p->n_blocks, mb = chunk / p->n_blocks % p->m_blocks,
            index = chunk / p->n_blocks / p->m_blocks;
    block w = {.p = p, .a = operand(p, p->a_view, index), .b = operand(p, p->b_view, index)};
    w.c = plumb_at(p->c_view->data, index * p->m * p->n, p->size);
    w.work = p->workspace + p->part * (size_t)worker;
    w.m0 = mb * p->block_m, w.m1 = plumb_least(w.m0 + p->block_m, p->m);
    w.n0 = nb * p->block_n, w.n1 = plumb_least(w.n0 + p->block_n, p->n);
    if (p->k == 0)
        for (int64_t i = w.m0; i < w.m1; i++)
            memset(plumb_at(w.c, i * p->n + w.n0, p->size), 0, (size_t)(w.n1 - w.n0) * p->size);
    else if (p->form == DOTS)
        run_dots(&w);
    else
        for (int64_t k0 = 0; k0 < p->k; k0 += p->depth)
            run_pass(&w, k0, plumb_least(p->depth, p->k - k0));
    if (p->epilogue)
        finish(&w);
}

static bool matmul_supports(const plumb_call *call)
{
    return plumb_kernels_for(call->out[0].dtype, call->isa) != NULL && plumb_view_contiguous(&call->out[0]);
}

static size_t matmul_workspace(const plumb_call *call)
{
    product p;
    plan(call, &p);
    return p.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status matmul_run(const plumb_call *call)
{
    product p;
    plan(call, &p);
    p.workspace = call->workspace;
    if (p.batch == 0 || p.m == 0 || p.n == 0)
        return PLUMB_OK;
    plumb_pool_run(call->pool, p.batch * p.m_blocks * p.n_blocks, run_block, &p);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_matmul_native = {
    .op = &plumb_op_matmul,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),
    .flags = PLUMB_IMPL_EXACT,
    .supports = matmul_supports,
    .workspace = matmul_workspace,
    .run = matmul_run,
};
