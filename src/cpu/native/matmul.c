/* Matrix products, f32 and f64, operands of any strides, output row-major.
 *
 * Two forms, by shape: dot products where both operands are contiguous along k and C is small beside it, tiles otherwise.
 * B is read where it lies, or is packed into panels once for all threads, k in passes of a cache's depth; A likewise is
 * read where it lies, or packed by whoever computes a block of rows. C is cut into blocks that threads claim, or k is,
 * where C is small and k long. Every cut depends on shapes and the instruction set alone, and sums go over k in order, so
 * the number of threads cannot change a bit. Bias and activation follow while the block is in the cache. */
#include "cpu/native/epilogue.h"
#include "cpu/native/gemm.h"
#include "cpu/product.h"

enum {
    DEPTH = 512,      /* most k in one pass: a strip of A then stays in the first cache */
    BLOCK_ROWS = 256, /* rows of a block of C: what it takes of A stays in the second cache */
    GROUP = 3,        /* panels of B that a strip of A meets while it is in the first cache */
    ENOUGH_BLOCKS = 8,     /* blocks are halved until there are so many, */
    SMALL_BLOCK = 1 << 17, /* unless they have fewer multiplications than this */
    SHORT_K = 2048,        /* least k of a part, where k is cut */
    FEW_SUMS = 1 << 14,    /* most elements of a C whose k is cut */
    NEAR_B = 1 << 18,      /* bytes of a B that is read in place by any number of rows */
    FAR_ROW = 2048,        /* rows at a multiple of so many bytes fall on each other in a cache */
    PACKED_TOGETHER = 16,  /* k of A that all strips take at a time, so that lines are read once */
    LEAST_PACKED = 1 << 14 /* elements of B that one chunk packs, if there are so many */
};

typedef struct product { /* C (m, n) = A (m, k) B (k, n), `batch` times */
    const plumb_kernels *kernels;
    size_t size;
    const plumb_view *a_view, *b_view, *c_view;
    int64_t batch, m, n, k, a_row, a_k, b_k, b_column;
    bool dots, a_packed, b_packed;
    bool own_panels;  /* of every chunk, not one B's for all: where k is cut, and of many products */
    int height;       /* rows of a strip */
    int64_t width;    /* columns of a panel */
    int64_t depth;    /* k of a pass */
    int64_t parts;    /* of k, each with sums of its own */
    int64_t block_m, block_n, m_blocks, n_blocks;
    plumb_epilogue *epilogue; /* of bias and activation; NULL: none */
    plumb_epilogue *add_bias, *activate; /* the same in two steps */
    const void *bias;         /* of the columns; NULL: none */
    int64_t bias_step;
    char *workspace;                      /* panels for all, sums of the parts, and for each worker a part: */
    size_t panels, sums, part, panels_at; /* a block of A at 0, its own panels */
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

/* In units of a vector's multiplications. A tile of dots ends in additions across lanes that take as long as some 160
 * of these; columns that do not fill a vector cost as much as a vector, and B has to be turned, 8 elements in the time of 5. */
static bool dots_are_faster(const product *p)
{
    const plumb_kernels *kernels = p->kernels;
    const int64_t lanes = kernels->lanes;
    if (p->b_k != 1 || p->a_k != 1 || p->k < 2 * lanes)
        return false;
    const int64_t tiles = plumb_parts(p->m, kernels->dot_rows) * plumb_parts(p->n, PLUMB_DOT_COLUMNS);
    const int64_t whole = kernels->dot_rows * PLUMB_DOT_COLUMNS * plumb_parts(p->k, lanes);
    return tiles * (whole + 160) < p->m * plumb_parts(p->n, lanes) * p->k + p->n * p->k * 5 / 8;
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
    p->dots = dots_are_faster(p);
    if (p->dots) {
        p->height = plumb_strip_height(p->m, kernels->dot_rows);
        p->width = PLUMB_DOT_COLUMNS;
        return;
    }
    const int64_t size = (int64_t)p->size, strips = plumb_parts(p->m, p->height);
    const bool rows = p->b_column == 1 && p->b_k >= 0;
    p->b_packed = !rows || (strips > 2 && p->k * p->n * size > NEAR_B);
    const int64_t apart = (p->a_k == 1 ? p->a_row : p->a_k) * size;
    const bool plain = p->a_k == 1 || p->a_row == 1;
    p->a_packed = p->n > p->width && (!plain || (apart % FAR_ROW == 0 && p->k * size > FAR_ROW) || apart > 2 * FAR_ROW ||
                                      p->n > 2 * GROUP * p->width);
}

static void choose_blocks(product *p)
{
    int64_t least_n = p->dots ? 64 : p->width;
    p->block_n = plumb_round_up(p->n, p->width);
    p->block_m = plumb_least(plumb_round_up(BLOCK_ROWS, p->height), p->m);
    p->parts = 1;
    for (;;) {
        p->m_blocks = plumb_parts(p->m, plumb_most(p->block_m, 1));
        p->n_blocks = plumb_parts(p->n, plumb_most(p->block_n, 1));
        if (p->batch * p->m_blocks * p->n_blocks >= ENOUGH_BLOCKS ||
            (double)p->block_m * (double)p->block_n * (double)p->k < 2.0 * SMALL_BLOCK)
            break;
        if (p->block_m >= 2 * p->height)
            p->block_m = plumb_round_up(p->block_m / 2, p->height);
        else if (p->block_n > least_n)
            p->block_n = plumb_round_up(p->block_n / 2, p->width);
        else
            break;
    }
    if (p->batch == 1 && !p->dots && p->m * p->n <= FEW_SUMS && p->k >= 2 * SHORT_K) {
        p->parts = plumb_least(p->k / SHORT_K, ENOUGH_BLOCKS);
        p->block_m = p->m, p->block_n = plumb_round_up(p->n, p->width);
        p->m_blocks = p->n_blocks = 1;
    }
}

/* Whether the last panel of a B in place ends within a vector that is read whole: it is packed, lest more is read than
 * there is. */
static bool ends_within(const product *p)
{
    return p->n % p->kernels->lanes != 0 && !p->kernels->masked;
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
    const int64_t lanes = p->kernels->lanes, columns = p->b_packed ? p->n : ends_within(p) ? p->n % p->width : 0;
    const int64_t strips = plumb_parts(p->block_m, p->height) * p->height;
    const size_t panels = p->dots || columns == 0 ? 0 : plumb_lines(plumb_round_up(columns, lanes) * p->depth, p->size);
    p->own_panels = p->parts > 1 || p->batch >= ENOUGH_BLOCKS;
    p->panels = p->own_panels ? 0 : panels;
    p->sums = p->parts > 1 ? plumb_lines(p->parts * p->m * p->n, p->size) : 0;
    p->panels_at = p->dots || !p->a_packed ? 0 : plumb_lines(strips * p->depth, p->size);
    p->part = p->panels_at + (p->own_panels ? panels : 0);
}

/* What product `index` of the batch reads. */
static const void *operand(const product *p, const plumb_view *view, int64_t index)
{
    return plumb_at(view->data, plumb_product_offset(p->c_view, view, index), p->size);
}

/* One block of C: rows m0.., columns n0.. of batch element `index`. */
typedef struct block {
    const product *p;
    const void *a, *b;
    char *c, *panels, *work;
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

/* B's rows k0.. and columns j.. as a panel (depth, width), zeros in columns past the last that are read. */
static void pack_panel(const block *w, int64_t k0, int64_t depth, int64_t j)
{
    const product *p = w->p;
    const int64_t columns = plumb_least(p->width, p->n - j), width = plumb_round_up(columns, p->kernels->lanes);
    char *to = p->b_packed ? plumb_at(w->panels, j * depth, p->size) : w->panels;
    const void *from = plumb_at(w->b, k0 * p->b_k + j * p->b_column, p->size);
    if (columns < width && !p->kernels->masked)
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

/* The block's rows of A and columns k0.. as strips (depth, height), the last one of fewer rows. */
static void pack_strips(const block *w, int64_t k0, int64_t depth)
{
    const product *p = w->p;
    const int64_t step = p->a_k == 1 ? depth : PACKED_TOGETHER;
    for (int64_t k = 0; k < depth; k += step)
        for (int64_t i = w->m0; i < w->m1; i += p->height) {
            const int64_t rows = plumb_least(p->height, w->m1 - i), some = plumb_least(step, depth - k);
            void *to = plumb_at(w->work, (i - w->m0) * depth + k * rows, p->size);
            const void *from = plumb_at(w->a, i * p->a_row + (k0 + k) * p->a_k, p->size);
            if (p->a_k == 1)
                p->kernels->interleave(to, rows, from, p->a_row, rows, some);
            else
                p->kernels->move(&(plumb_move){.to = to,
                                               .from = from,
                                               .rows = some,
                                               .columns = rows,
                                               .to_row = rows,
                                               .to_step = 1,
                                               .from_row = p->a_k,
                                               .from_step = p->a_row});
        }
}

/* Rows i.. of the block against columns j..: one tile. */
static void run_tile(const block *w, int64_t k0, int64_t depth, int64_t i, int64_t j, bool add)
{
    const product *p = w->p;
    const int64_t rows = plumb_least(p->height, w->m1 - i), columns = plumb_least(p->width, w->n1 - j);
    const int64_t lanes = p->kernels->lanes, vectors = plumb_parts(columns, lanes);
    const bool packed = p->b_packed || (columns % lanes && ends_within(p));
    const int tail = (int)(columns - (vectors - 1) * lanes);
    const plumb_panel panel = {
        .k = depth,
        .a = p->a_packed ? plumb_at(w->work, (i - w->m0) * depth, p->size)
                         : plumb_at(w->a, i * p->a_row + k0 * p->a_k, p->size),
        .a_row = p->a_packed ? 1 : p->a_row,
        .a_k = p->a_packed ? rows : p->a_k,
        .b = p->b_packed ? plumb_at(w->panels, j * depth, p->size)
             : packed    ? w->panels
                         : plumb_at(w->b, k0 * p->b_k + j, p->size),
        .b_row = packed ? vectors * lanes : p->b_k,
        .c = plumb_at(w->c, i * p->n + j, p->size),
        .ldc = p->n,
        .tail = tail,
        .add = add,
    };
    p->kernels->panel[p->kernels->masked && 2 * tail <= lanes][rows][vectors](&panel);
}

/* One pass over k of a block, whose part of B is in panels or in place. */
static void run_pass(const block *w, int64_t k0, int64_t depth, bool add)
{
    const product *p = w->p;
    const int64_t group = GROUP * p->width;
    if (p->a_packed)
        pack_strips(w, k0, depth);
    for (int64_t g = w->n0; g < w->n1; g += group)
        for (int64_t i = w->m0; i < w->m1; i += p->height)
            for (int64_t j = g; j < plumb_least(g + group, w->n1); j += p->width)
                run_tile(w, k0, depth, i, j, add);
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

/* Columns from here on are packed. */
static int64_t first_packed(const product *p)
{
    return p->b_packed ? 0 : ends_within(p) ? p->n / p->width * p->width : p->n;
}

/* Columns that one chunk packs: so many panels that it is worth to be one. */
static int64_t packed_together(const product *p)
{
    return plumb_parts(LEAST_PACKED, p->width * p->depth) * p->width;
}

/* k from begin to end of a block that packs what it needs. */
static void run_alone(const block *w, int64_t begin, int64_t end)
{
    const product *p = w->p;
    for (int64_t k0 = begin; k0 < end; k0 += p->depth) {
        const int64_t depth = plumb_least(p->depth, end - k0);
        for (int64_t j = first_packed(p); j < p->n; j += p->width)
            pack_panel(w, k0, depth, j);
        run_pass(w, k0, depth, k0 > begin);
    }
}

/* A pass over k, as chunks see it: of one batch element where panels are packed for it. */
typedef struct pass {
    const product *p;
    int64_t index, k0, depth;
} pass;

static block block_of(const product *p, int64_t index, int64_t mb, int64_t nb, int worker)
{
    block w = {.p = p, .a = operand(p, p->a_view, index), .b = operand(p, p->b_view, index)};
    w.c = plumb_at(p->c_view->data, index * p->m * p->n, p->size);
    w.work = p->workspace + p->panels + p->sums + p->part * (size_t)worker;
    w.panels = p->own_panels ? w.work + p->panels_at : p->workspace;
    w.m0 = mb * p->block_m, w.m1 = plumb_least(w.m0 + p->block_m, p->m);
    w.n0 = nb * p->block_n, w.n1 = plumb_least(w.n0 + p->block_n, p->n);
    return w;
}

/* The panels of a pass, some for each chunk; of a B in place the one that ends within a vector. */
static void pack_chunk(void *user, int64_t chunk, int worker)
{
    const pass *q = user;
    const product *p = q->p;
    const block w = block_of(p, q->index, 0, 0, worker);
    const int64_t columns = packed_together(p), begin = first_packed(p) + chunk * columns;
    for (int64_t j = begin; j < plumb_least(begin + columns, p->n); j += p->width)
        pack_panel(&w, q->k0, q->depth, j);
}

static void run_block(void *user, int64_t chunk, int worker)
{
    const pass *q = user;
    const product *p = q->p;
    const int64_t blocks = p->m_blocks * p->n_blocks;
    const block w = block_of(p, q->index + chunk / blocks, chunk / p->n_blocks % p->m_blocks, chunk % p->n_blocks, worker);
    if (p->k == 0)
        for (int64_t i = w.m0; i < w.m1; i++)
            memset(plumb_at(w.c, i * p->n + w.n0, p->size), 0, (size_t)(w.n1 - w.n0) * p->size);
    else if (p->dots)
        run_dots(&w);
    else if (p->panels > 0)
        run_pass(&w, q->k0, q->depth, q->k0 > 0);
    else
        run_alone(&w, 0, p->k);
    if (p->epilogue && q->k0 + q->depth == p->k)
        finish(&w);
}

/* A part of k: its own panels, and its own sums. */
static void run_part(void *user, int64_t chunk, int worker)
{
    const product *p = user;
    block w = block_of(p, 0, 0, 0, worker);
    const int64_t length = plumb_parts(p->k, p->parts), begin = chunk * length;
    const int64_t end = plumb_least(begin + length, p->k);
    w.c = plumb_at(p->workspace + p->panels, chunk * p->m * p->n, p->size);
    run_alone(&w, begin, end);
}

static void run_parts(const plumb_call *call, product *p)
{
    char *sums = p->workspace + p->panels;
    plumb_pool_run(call->pool, p->parts, run_part, p);
    for (int64_t i = 1; i < p->parts; i++)
        p->kernels->add(sums, plumb_at(sums, i * p->m * p->n, p->size), p->m * p->n);
    memcpy(p->c_view->data, sums, (size_t)(p->m * p->n) * p->size);
    if (p->epilogue) {
        const block w = block_of(p, 0, 0, 0, 0);
        finish(&w);
    }
}

/* Where nothing is packed for all, every block goes through k alone; else pass by pass, one product after the other. */
static void run_blocks(const plumb_call *call, product *p)
{
    const int64_t blocks = p->m_blocks * p->n_blocks;
    pass q = {.p = p, .depth = p->k};
    if (p->panels == 0 || p->k == 0) {
        plumb_pool_run(call->pool, p->batch * blocks, run_block, &q);
        return;
    }
    const int64_t packs = plumb_parts(p->n - first_packed(p), packed_together(p));
    for (q.index = 0; q.index < p->batch; q.index++)
        for (q.k0 = 0; q.k0 < p->k; q.k0 += p->depth) {
            q.depth = plumb_least(p->depth, p->k - q.k0);
            plumb_pool_run(call->pool, packs, pack_chunk, &q);
            plumb_pool_run(call->pool, blocks, run_block, &q);
        }
}

static bool matmul_supports(const plumb_call *call)
{
    return plumb_kernels_for(call->out[0].dtype, call->isa) != NULL && plumb_view_contiguous(&call->out[0]);
}

static size_t matmul_workspace(const plumb_call *call)
{
    product p;
    plan(call, &p);
    return p.panels + p.sums + p.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status matmul_run(const plumb_call *call)
{
    product p;
    plan(call, &p);
    p.workspace = call->workspace;
    if (p.batch == 0 || p.m == 0 || p.n == 0)
        return PLUMB_OK;
    if (p.parts > 1)
        run_parts(call, &p);
    else
        run_blocks(call, &p);
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
