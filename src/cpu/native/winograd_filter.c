/* conv2d's gradient of the filter for 3 x 3 and stride 1 by Winograd's F(4x4, 3x3) (winograd.h), bf16, channels-last.
 *
 * It is the transpose of the forward form: a tile of 4 x 4 of dy and the 6 x 6 of x under it are transformed to 36 points,
 * their products summed over tiles, and the sums transformed back to 3 x 3 once. All of it is f32 between bf16 as it is read
 * and the one rounding of a sum, so that it is as exact as the direct form; in f32 it would have about twice the rounding of
 * that, and is not made.
 *
 * Threads claim (part of the tiles, block of input channels, of output channels). A chunk transforms a few tiles and adds
 * their products to its sums at the points, which stay in the second cache; so x is transformed once for each block of
 * output channels, dy for each of input channels, which costs a tenth of the products. What comes back joins the sums of the
 * direct form (conv_bf16.h). The cuts depend on shapes and the instruction set alone. What is not finite is left to the
 * direct form. */
#include "cpu/native/conv_bf16.h"
#include "cpu/native/conv_last.h"
#include "cpu/native/winograd.h"

enum {
    IN_BLOCK = 64,         /* channels, at most */
    OUT_BLOCK = 64,
    AT_ONCE = 32,          /* tiles */
    PART_TILES = 4,        /* a part has at least so many times AT_ONCE, */
    ENOUGH_CHUNKS = 16,    /* and there are no more parts than make so many chunks */
    PARTIAL_BYTES = 24 << 20, /* of all sums */
    SPOILED = 64           /* bytes of a vector */
};

typedef struct task {
    const winograd_kernels *kernels;
    const plumb_last_kernels *outer;
    plumb_filter_sums sums;
    const plumb_view *x, *dy;
    int64_t top, left; /* padding */
    bool turned;
    int64_t across, per_image, tiles, part_tiles, at_once;
    int64_t lanes, width;              /* width: in_block in whole vectors */
    int64_t v_point, u_point, m_point; /* elements from one point to the next: of x, dy and their products */
    const char *zeros;                 /* channels of a position outside a picture */
    size_t workers_at;
    size_t v_at, u_at, m_at, sums_at;  /* of a worker; its spoiled lanes are first */
} task;

/* An odd number of cache lines, so that the points of an element do not meet in one set of a cache. */
static int64_t point_of(int64_t elements)
{
    return (plumb_parts(elements, 16) | 1) * 16;
}

static void plan(const plumb_call *call, task *t)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *dw = &call->out[0];
    *t = (task){.kernels = winograd_kernels_for(call->isa), .outer = plumb_last_kernels_for(call->isa),
                .x = &call->in[0], .dy = &call->in[1],
                .top = attr->padding[0], .left = attr->padding[1], .turned = attr->flip};
    plumb_filter_sums *s = &t->sums;
    t->lanes = t->kernels->lanes;
    s->in_block = plumb_round_up(plumb_parts(dw->dim[1], plumb_parts(dw->dim[1], IN_BLOCK)), t->lanes);
    s->out_block = plumb_round_up(plumb_parts(dw->dim[0], plumb_parts(dw->dim[0], OUT_BLOCK)), t->lanes);
    plumb_filter_sums_plan(call, s);
    t->across = plumb_parts(t->dy->dim[3], WINOGRAD_TILE);
    t->per_image = t->across * plumb_parts(t->dy->dim[2], WINOGRAD_TILE);
    t->tiles = t->per_image * t->dy->dim[0];
    int64_t blocks = s->in_blocks * s->out_blocks;
    int64_t parts = plumb_least(plumb_parts(ENOUGH_CHUNKS, blocks), PARTIAL_BYTES / (4 * blocks * s->block));
    parts = plumb_most(plumb_least(parts, t->tiles / (PART_TILES * AT_ONCE)), 1);
    t->part_tiles = plumb_parts(t->tiles, parts);
    s->parts = plumb_parts(t->tiles, t->part_tiles);
    t->at_once = plumb_parts(t->part_tiles, plumb_parts(t->part_tiles, AT_ONCE));

    t->v_point = point_of(AT_ONCE * s->in_block), t->u_point = point_of(AT_ONCE * s->out_block);
    t->m_point = point_of(s->in_block * s->out_block);
    t->workers_at = plumb_lines(plumb_most(s->in_block, s->out_block), sizeof(uint16_t));
    t->workers_at += s->parts > 1 ? plumb_lines(s->parts * blocks * s->block, sizeof(float)) : 0;
    t->v_at = SPOILED;
    t->u_at = t->v_at + plumb_lines(WINOGRAD_POINTS * t->v_point, sizeof(float));
    t->m_at = t->u_at + plumb_lines(WINOGRAD_POINTS * t->u_point, sizeof(float));
    size_t end = t->m_at + plumb_lines(WINOGRAD_POINTS * t->m_point, sizeof(float));
    t->sums_at = end > SPOILED + s->work ? end : SPOILED + s->work;
    s->worker = t->sums_at + (s->parts > 1 ? 0 : plumb_lines(s->block, sizeof(float)));
}

/* ---- a chunk ---- */

typedef struct share {
    const task *t;
    int64_t in, ins, out, outs; /* channels */
    float *v, *u, *m, *spoiled;
} share;

/* The positions (y + i, x + j), i, j < side, of a picture, from `channel` on. */
static void find(const task *t, const plumb_view *view, int64_t image, int64_t y, int64_t x, int side, int64_t channel,
                 const void **from)
{
    const int64_t height = view->dim[2], width = view->dim[3], channels = view->dim[1];
    const uint16_t *data = (const uint16_t *)view->data + image * height * width * channels + channel;
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
            from[i * side + j] = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width
                                     ? (const void *)(data + ((y + i) * width + x + j) * channels)
                                     : t->zeros;
}

static void transform(const share *s, int64_t tile, int64_t tiles)
{
    const task *t = s->t;
    const void *from[WINOGRAD_POINTS];
    for (int64_t i = 0; i < tiles; i++) {
        int64_t image = (tile + i) / t->per_image, place = (tile + i) % t->per_image;
        int64_t y = place / t->across * WINOGRAD_TILE, x = place % t->across * WINOGRAD_TILE;
        find(t, t->x, image, y - t->top, x - t->left, WINOGRAD_SIDE, s->in, from);
        t->kernels->low_input(from, s->ins, s->v + i * t->sums.in_block, t->v_point, t->lanes);
        find(t, t->dy, image, y, x, WINOGRAD_TILE, s->out, from);
        t->kernels->low_gradient(from, s->outs, s->u + i * t->sums.out_block, t->u_point, t->lanes);
    }
}

/* m[point][input][output] of so many tiles; the next ones are asked for. */
static void multiply(const share *s, int64_t tiles, bool add, int64_t next, int64_t next_tiles)
{
    const task *t = s->t;
    const int64_t vectors = plumb_parts(s->outs, t->lanes);
    const plumb_last_run run = {.length = tiles};
    plumb_last_outer o = {.run = &run, .runs = 1, .x_step = t->sums.in_block, .y_step = t->sums.out_block,
                          .ldw = t->sums.out_block, .add = add};
    int64_t products = WINOGRAD_POINTS * plumb_parts(vectors, WINOGRAD_VECTORS) *
                       plumb_parts(s->ins, t->outer->rows[plumb_least(vectors, WINOGRAD_VECTORS)]);
    winograd_soon x = winograd_soon_of(t->x, t->across, t->per_image, next, next_tiles, s->in, s->ins, products);
    winograd_soon dy = winograd_soon_of(t->dy, t->across, t->per_image, next, next_tiles, s->out, s->outs, products);
    for (int p = 0; p < WINOGRAD_POINTS; p++)
        for (int64_t j = 0; j < vectors; j += WINOGRAD_VECTORS) {
            int64_t wide = plumb_least(vectors - j, WINOGRAD_VECTORS);
            int64_t height = plumb_strip_height(s->ins, t->outer->rows[wide]);
            o.y = s->u + p * t->u_point + j * t->lanes;
            for (int64_t c = 0; c < s->ins; c += height) {
                o.x = s->v + p * t->v_point + c;
                o.dw = s->m + p * t->m_point + c * o.ldw + j * t->lanes;
                t->outer->outer[plumb_least(height, s->ins - c)][wide](&o);
                winograd_ask(&x);
                winograd_ask(&dy);
            }
        }
}

static void run_part(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_filter_sums *f = &t->sums;
    char *mine = f->workers + (size_t)worker * f->worker;
    share s = {.t = t, .v = (float *)(void *)(mine + t->v_at), .u = (float *)(void *)(mine + t->u_at),
               .m = (float *)(void *)(mine + t->m_at), .spoiled = (float *)(void *)mine};
    s.out = chunk % f->out_blocks * f->out_block, s.outs = plumb_least(f->out_block, f->outs - s.out);
    s.in = chunk / f->out_blocks % f->in_blocks * f->in_block, s.ins = plumb_least(f->in_block, f->ins - s.in);
    int64_t first = chunk / f->out_blocks / f->in_blocks * t->part_tiles;
    int64_t end = plumb_least(first + t->part_tiles, t->tiles);
    for (int64_t i = first; i < end; i += t->at_once) {
        int64_t tiles = plumb_least(t->at_once, end - i), next = i + tiles;
        transform(&s, i, tiles);
        multiply(&s, tiles, i > first, next, plumb_least(t->at_once, end - next));
    }
    float *sums = f->parts > 1 ? f->sums + chunk * f->block : (float *)(void *)(mine + t->sums_at);
    for (int64_t c = 0; c < s.ins; c++)
        t->kernels->taps(s.m + c * f->out_block, t->m_point, plumb_parts(s.outs, t->lanes), t->turned,
                         sums + c * f->out_block, f->in_block * f->out_block, s.spoiled);
    if (f->parts == 1)
        plumb_filter_sums_turn(f, chunk, sums, mine + SPOILED);
}

/* ---- a call ---- */

static size_t workspace(const plumb_call *call)
{
    task t;
    plan(call, &t);
    size_t bytes = t.workers_at + t.sums.worker * (size_t)plumb_pool_size(call->pool);
    size_t direct = plumb_impl_conv2d_backward_filter_bf16.workspace(call);
    return bytes > direct ? bytes : direct;
}

static plumb_status run(const plumb_call *call)
{
    task t;
    plan(call, &t);
    plumb_filter_sums *s = &t.sums;
    size_t zeros = plumb_lines(plumb_most(s->in_block, s->out_block), sizeof(uint16_t));
    char *workspace = call->workspace;
    memset(workspace, 0, zeros);
    t.zeros = workspace, s->sums = (float *)(void *)(workspace + zeros), s->workers = workspace + t.workers_at;
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        memset(s->workers + s->worker * (size_t)i, 0, SPOILED);
    plumb_pool_run(call->pool, s->parts * s->in_blocks * s->out_blocks, run_part, &t);
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        if (!s->words->finite(s->workers + s->worker * (size_t)i, t.lanes))
            return plumb_impl_conv2d_backward_filter_bf16.run(call);
    if (s->parts > 1) {
        s->workers += SPOILED;
        plumb_filter_sums_turn_all(call, s);
    }
    return PLUMB_OK;
}

/* Is it faster? Both forms for a pair of channels, in steps of one lane of an FMA, as measured on Zen 4: a tile's products
 * and what reading and writing their sums costs, 45; transforms for a channel of x and of dy, 675 and 310; back, 290 for each
 * part. The direct form takes 1.12 steps for each tap that lies inside the picture, half of it by vdpbf16ps. */
static bool pays(const plumb_call *call, const task *t)
{
    const plumb_view *x = t->x, *y = t->dy;
    double taps = (double)y->dim[0] * winograd_taps(x->dim[2], y->dim[2], t->top) *
                  winograd_taps(x->dim[3], y->dim[3], t->left);
    double direct = (call->isa >= PLUMB_ISA_AVX512_BF16 ? 0.56 : 1.12) * taps;
    double points = 45 + 675 / (double)t->sums.out_block + 310 / (double)t->sums.in_block;
    return direct > 1.05 * ((double)t->tiles * points + 290 * (double)t->sums.parts);
}

static bool supports(const plumb_call *call)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *dw = &call->out[0];
    if (plumb_view_count(&call->in[0]) == 0 || plumb_view_count(&call->in[1]) == 0)
        return false;
    task t;
    plan(call, &t);
    return !(call->context->options.forbid & PLUMB_FORBID_WINOGRAD) && attr->stride[0] == 1 && attr->stride[1] == 1 &&
           attr->dilation[0] == 1 && attr->dilation[1] == 1 && dw->dim[2] == 3 && dw->dim[3] == 3 &&
           plumb_impl_conv2d_backward_filter_bf16.supports(call) && pays(call, &t);
}

/* Error: as in winograd.c, for a tap's sum with
 *     root(a_i a_j), a_i = sum over points p of G[p][i]^2 |A[p]|^2 |B[p]|^2 / 4,
 * which is 6.6 in the corners of a filter and 2.4 in its middle; so 8 times the op's bound, beside the rounding to bf16. */
#define SLACK 8

const plumb_impl plumb_impl_conv2d_backward_filter_winograd = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cpu.native.winograd",
    .dtypes = PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_WANTS_LAST,
    .supports = supports,
    .workspace = workspace,
    .run = run,
    .slack = SLACK,
};
