/* The products of recurrent layers' steps: one matrix, packed once for a call into panels as wide as the tile kernels take,
 * meets a few rows in every step. The rows are put into strips in the caller's memory, which stays in the first cache. */
#include "cpu/native/recurrent.h"

size_t plumb_panels_plan(native_panels *b, int isa, int64_t rows, int64_t depth, int64_t columns)
{
    b->kernels = plumb_kernels_for(PLUMB_F32, isa);
    b->height = plumb_strip_height(rows, b->kernels->rows);
    b->depth = depth, b->columns = columns;
    b->width = (int64_t)b->kernels->vectors[b->height] * b->kernels->lanes;
    b->padded = plumb_round_up(columns, b->kernels->lanes);
    return plumb_lines(depth * b->padded, sizeof(float)) + 2 * plumb_lines(depth, sizeof(int32_t));
}

void plumb_panels_place(native_panels *b, void *memory)
{
    if (!memory)
        return;
    char *offsets = (char *)memory + plumb_lines(b->depth * b->padded, sizeof(float));
    b->at = memory;
    b->full = (int32_t *)(void *)offsets;
    b->last = (int32_t *)(void *)(offsets + plumb_lines(b->depth, sizeof(int32_t)));
}

static void pack_panel(void *user, int64_t index, int worker)
{
    const native_panels *b = user;
    int64_t j = index * b->width, columns = plumb_least(b->width, b->columns - j);
    int64_t width = plumb_least(b->width, b->padded - j);
    const float *from = b->from + j * b->column;
    float *to = b->at + j * b->depth;
    (void)worker;
    if (columns < width)
        memset(to, 0, sizeof(float) * (size_t)(b->depth * width));
    if (b->step == 1 && b->column != 1)
        b->kernels->interleave(to, width, from, b->column, columns, b->depth);
    else
        b->kernels->move(&(plumb_move){.to = to, .from = from, .rows = b->depth, .columns = columns, .to_row = width,
                                       .to_step = 1, .from_row = b->step, .from_step = b->column});
}

void plumb_panels_pack(native_panels *b, plumb_pool *pool, const float *from, int64_t step, int64_t column)
{
    int64_t rest = b->padded % b->width;
    b->from = from, b->step = step, b->column = column;
    for (int64_t k = 0; k < b->depth; k++) {
        b->full[k] = (int32_t)(k * b->width);
        b->last[k] = (int32_t)(k * rest);
    }
    plumb_pool_run(pool, plumb_parts(b->columns, b->width), pack_panel, b);
}

void plumb_panels_multiply(const native_panels *b, const float *from, int64_t step, int64_t rows, float *strips, float *to)
{
    for (int64_t i = 0; i < rows; i += b->height) {
        int64_t high = plumb_least(b->height, rows - i);
        b->kernels->interleave(strips + i * b->depth, high, from + i * step, step, high, b->depth);
    }
    for (int64_t j = 0; j < b->padded; j += b->width) {
        int64_t width = plumb_least(b->width, b->padded - j);
        for (int64_t i = 0; i < rows; i += b->height)
            b->kernels->tile[plumb_least(b->height, rows - i)][width / b->kernels->lanes](
                b->depth, strips + i * b->depth, b->at + j * b->depth, width == b->width ? b->full : b->last,
                to + i * b->padded + j, b->padded, false);
    }
}
