/* Matrix products of bf16 by pairs (pairs.h), operands of any strides, output row-major.
 *
 * B is packed once into panels of columns whose rows are pairs along k; A is read where it lies if its pairs do, else
 * interleaved a block of rows at a time. A block of rows by a few panels is a chunk that threads claim; the cut depends on
 * shapes and the instruction set alone, and each sum runs over all of k in one tile, so nothing is rounded on the way. */
#include "cpu/native/pairs.h"
#include "cpu/product.h"

enum {
    BLOCK_BYTES = 192 * 1024, /* of A in a chunk: stays in the second cache beside a panel */
    BLOCK_ROWS = 96,
    BLOCK_PANELS = 4,
    PACK_PAIRS = 128,     /* rows of pairs that are packed as one chunk */
    ENOUGH_CHUNKS = 8,    /* blocks are halved until there are so many, */
    SMALL_CHUNK = 1 << 16 /* unless they have fewer multiplications than this */
};

typedef struct product { /* C (m, n) = A (m, k) B (k, n), `batch` times */
    const plumb_pair_kernels *kernels;
    const plumb_kernels *words; /* for pairs as words */
    plumb_pair_finish finish;
    const plumb_view *a_view, *b_view, *c_view;
    int64_t batch, m, n, k, pairs, a_row, a_k, b_k, b_column;
    bool one_b;    /* every product has the same B */
    bool in_place; /* A's pairs lie as they are read */
    int64_t width, panels; /* columns of a panel */
    int64_t panel_words;   /* elements of one B's panels */
    int64_t block_m, block_n, m_blocks, n_blocks; /* block_n in panels */
    int64_t packs; /* chunks of packing a panel */
    uint32_t *packed;
    char *workspace;      /* of the workers: a block of A, the sums of a tile */
    size_t part, sums_at, packed_at, part_at;
} product;

/* Leading dimensions that only repeat A's rows against one B are rows too. */
static void merge_batch(product *p)
{
    const plumb_view *a = p->a_view, *c = p->c_view;
    int64_t rows = p->m;
    for (int d = c->rank - 3; p->one_b && d >= 0; d--) {
        int da = d - (c->rank - a->rank);
        if (c->dim[d] == 1)
            continue;
        if (da >= 0 && rows == 1) /* the stride of a single row says nothing */
            p->a_row = a->stride[da];
        if (da < 0 || a->dim[da] != c->dim[d] || a->stride[da] != rows * p->a_row)
            return;
        rows *= c->dim[d];
    }
    if (p->one_b)
        p->m = rows, p->batch = p->batch ? 1 : 0;
}

static void choose_blocks(product *p)
{
    p->block_m = plumb_least(BLOCK_ROWS, BLOCK_BYTES / (4 * plumb_most(p->pairs, 1)));
    p->block_m = plumb_least(plumb_most(p->block_m / p->kernels->rows, 1) * p->kernels->rows, plumb_most(p->m, 1));
    p->block_n = BLOCK_PANELS;
    for (;;) {
        p->m_blocks = plumb_parts(p->m, p->block_m);
        p->n_blocks = plumb_parts(p->panels, p->block_n);
        if (p->batch * p->m_blocks * p->n_blocks >= ENOUGH_CHUNKS ||
            (double)p->block_m * (double)(p->block_n * p->width) * (double)p->k < 2.0 * SMALL_CHUNK)
            return;
        if (p->block_n > 1)
            p->block_n /= 2;
        else if (p->block_m >= 4 * p->kernels->rows)
            p->block_m = plumb_round_up(p->block_m / 2, p->kernels->rows);
        else
            return;
    }
}

static void plan(const plumb_call *call, product *p)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    *p = (product){.a_view = a, .b_view = b, .c_view = c, .kernels = plumb_pair_kernels_for(call->isa),
                   .words = plumb_kernels_for(PLUMB_F32, call->isa)};
    int am = a->rank - 2 + !!attr->transpose_a, ak = a->rank - 1 - !!attr->transpose_a;
    int bk = b->rank - 2 + !!attr->transpose_b, bn = b->rank - 1 - !!attr->transpose_b;
    p->m = a->dim[am], p->k = a->dim[ak], p->n = b->dim[bn];
    p->a_row = a->stride[am], p->a_k = a->stride[ak], p->b_k = b->stride[bk], p->b_column = b->stride[bn];
    p->batch = 1, p->one_b = true;
    for (int d = 0; d < c->rank - 2; d++)
        p->batch *= c->dim[d];
    for (int d = 0; d < b->rank - 2; d++)
        p->one_b = p->one_b && (b->dim[d] == 1 || b->stride[d] == 0);
    merge_batch(p);
    p->pairs = (p->k + 1) / 2;
    p->in_place = p->k % 2 == 0 && p->a_k == 1;
    p->width = (int64_t)p->kernels->vectors * p->kernels->lanes;
    p->panels = plumb_parts(p->n, p->width);
    p->panel_words = p->pairs * plumb_round_up(p->n, p->kernels->lanes);
    p->packs = plumb_parts(p->pairs, PACK_PAIRS);
    choose_blocks(p);
    p->finish = plumb_pair_finish_for(call, attr->activation, call->n_in > 2);
    p->sums_at = p->in_place ? 0 : plumb_lines(p->block_m * p->pairs, sizeof(uint32_t));
    p->part = p->sums_at + PLUMB_PAIR_ROWS * PLUMB_PAIR_WIDTH * sizeof(float);
    p->packed_at = call->n_in > 2 ? plumb_lines(p->n, sizeof(float)) : 0;
    p->part_at = p->packed_at + plumb_lines((p->one_b ? 1 : p->batch) * p->panel_words, sizeof(uint32_t));
}

/* What product `index` of the batch reads. */
static const uint16_t *operand(const product *p, const plumb_view *view, int64_t index)
{
    return (const uint16_t *)view->data + plumb_product_offset(p->c_view, view, index);
}

static int64_t panel_width(const product *p, int64_t panel)
{
    return plumb_least(p->width, plumb_round_up(p->n - panel * p->width, p->kernels->lanes));
}

/* Whether lines that lie along k are rows of whole pairs, which f32's kernels can turn, being words of 32 bits. */
static bool are_words(const product *p, const uint16_t *from, int64_t line, int64_t step)
{
    return step == 1 && p->k % 2 == 0 && line % 2 == 0 && (uintptr_t)from % sizeof(float) == 0;
}

/* to[q*width + j] = elements k = 2q and 2q + 1 of line j, which begins at from + j*line: `lines` of them, then zeros. */
static void pack(const product *p, uint32_t *to, int64_t width, const uint16_t *from, int64_t line, int64_t step,
                 int64_t lines, int64_t first, int64_t last)
{
    const bool words = lines > 1 && are_words(p, from, line, step);
    if (words)
        p->words->interleave(to, width, from + 2 * first, line / 2, lines, last - first);
    for (int64_t q = first; q < last; q++, to += width) {
        const uint16_t *low = from + 2 * q * step, *high = 2 * q + 1 < p->k ? low + step : NULL;
        if (line == 1)
            p->kernels->interleave(to, low, high, lines);
        for (int64_t j = 0; j < lines && line != 1 && !words; j++)
            to[j] = low[j * line] | (high ? (uint32_t)high[j * line] << 16 : 0);
        memset(to + lines, 0, (size_t)(width - lines) * sizeof *to);
    }
}

static void run_pack(void *user, int64_t chunk, int worker)
{
    const product *p = user;
    int64_t part = chunk % p->packs, panel = chunk / p->packs % p->panels, index = chunk / p->packs / p->panels;
    int64_t width = panel_width(p, panel), column = panel * p->width, first = part * PACK_PAIRS;
    (void)worker;
    pack(p, p->packed + index * p->panel_words + column * p->pairs + first * width, width,
         operand(p, p->b_view, index) + column * p->b_column, p->b_column, p->b_k,
         plumb_least(p->width, p->n - column), first, plumb_least(first + PACK_PAIRS, p->pairs));
}

static void run_block(void *user, int64_t chunk, int worker)
{
    static const int64_t start = 0;
    const product *p = user;
    int64_t nb = chunk % p->n_blocks, mb = chunk / p->n_blocks % p->m_blocks, index = chunk / p->n_blocks / p->m_blocks;
    int64_t m0 = mb * p->block_m, rows = plumb_least(p->block_m, p->m - m0);
    int64_t height = plumb_strip_height(rows, p->kernels->rows);
    char *work = p->workspace + p->part * (size_t)worker;
    const uint16_t *a = operand(p, p->a_view, index) + m0 * p->a_row;
    uint16_t *c = (uint16_t *)p->c_view->data + (index * p->m + m0) * p->n;
    const uint32_t *b = p->packed + (p->one_b ? 0 : index) * p->panel_words;
    plumb_pairs t = {.segments = 1, .length = p->pairs, .a_at = &start, .b_at = &start,
                     .a_row = 2 * p->a_row, .a_step = 4, .c = (float *)(void *)(work + p->sums_at)};
    if (!p->in_place) {
        pack(p, (uint32_t *)(void *)work, rows, a, p->a_row, p->a_k, rows, 0, p->pairs);
        t.a_row = 4, t.a_step = 4 * rows;
    }
    for (int64_t panel = nb * p->block_n; panel < plumb_least((nb + 1) * p->block_n, p->panels); panel++) {
        int64_t width = panel_width(p, panel), column = panel * p->width;
        t.b = (const char *)(b + column * p->pairs), t.b_step = 4 * width;
        for (int64_t i = 0; i < rows; i += height) {
            int64_t here = plumb_least(height, rows - i);
            t.a = (p->in_place ? (const char *)a : work) + i * t.a_row;
            plumb_pair_tile(&p->finish, &t, here, plumb_least(p->width, p->n - column), column, c + i * p->n + column,
                            p->n);
        }
    }
}

static bool supports(const plumb_call *call) { return plumb_view_contiguous(&call->out[0]); }

static size_t workspace(const plumb_call *call)
{
    product p;
    plan(call, &p);
    return p.part_at + p.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status run(const plumb_call *call)
{
    product p;
    plan(call, &p);
    if (p.batch == 0 || p.m == 0 || p.n == 0)
        return PLUMB_OK;
    p.packed = (uint32_t *)(void *)((char *)call->workspace + p.packed_at);
    p.workspace = (char *)call->workspace + p.part_at;
    if (call->n_in > 2) {
        plumb_pair_bias(call, &call->in[2], call->workspace);
        p.finish.bias = call->workspace;
    }
    plumb_pool_run(call->pool, (p.one_b ? 1 : p.batch) * p.panels * p.packs, run_pack, &p);
    plumb_pool_run(call->pool, p.batch * p.m_blocks * p.n_blocks, run_block, &p);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_matmul_bf16 = {
    .op = &plumb_op_matmul,
    .name = "cpu.native.bf16",
    .dtypes = PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT,
    .supports = supports,
    .workspace = workspace,
    .run = run,
};
