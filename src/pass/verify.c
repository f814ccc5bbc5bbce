/* An independent judge of memory plans: replays the steps on a map that says, for every 64 bytes of every memory, which
 * tensor's value lies there. A read must find its tensor's value (or that of the tensor it is a view of). It uses the
 * graph and the final addresses only, not the lifetimes the planner computed. */
#include "pass/pass.h"

enum { GRAIN = 64 };

struct map {
    const struct plumb_memory_layout *m;
    uint32_t *arena;   /* [arena_bytes / GRAIN] tensor whose value is there */
    uint32_t *other;   /* [n_buffers] the same for memories outside the arena, one buffer one cell */
};

static uint32_t source_of(const struct plumb_memory_layout *m, uint32_t t)
{
    const struct graph *g = m->graph;
    while (m->aliased[g->tensor[t].node])
        t = g->node[g->tensor[t].node].in[0];
    return t;
}

static void cells(const struct map *map, int buffer, uint32_t **first, int64_t *count)
{
    const struct plumb_buffer *b = &map->m->buffer[buffer];
    if (b->memory == PLUMB_MEMORY_ARENA) {
        *first = map->arena + b->offset / GRAIN;
        *count = (b->bytes + GRAIN - 1) / GRAIN;
    } else {
        *first = map->other + buffer;
        *count = 1;
    }
}

static void write_value(struct map *map, int buffer, uint32_t tensor)
{
    uint32_t *cell;
    int64_t count;
    cells(map, buffer, &cell, &count);
    for (int64_t i = 0; i < count; i++)
        cell[i] = tensor;
}

static plumb_status read_value(struct map *map, uint32_t tensor, int step)
{
    const struct plumb_memory_layout *m = map->m;
    uint32_t source = source_of(m, tensor);
    uint32_t *cell;
    int64_t count;
    cells(map, m->place[tensor].buffer, &cell, &count);
    for (int64_t i = 0; i < count; i++)
        if (cell[i] != source)
            return plumb_fail(m->graph->context, PLUMB_FAILED,
                              "memory plan: step %d reads tensor %u, but tensor %d lies there", step, source, (int)cell[i]);
    return PLUMB_OK;
}

/* A view must stay inside its buffer. */
static plumb_status check_bounds(const struct plumb_memory_layout *m, uint32_t t)
{
    const struct plumb_place *p = &m->place[t];
    const plumb_type *type = &m->graph->tensor[t].type;
    int64_t low = p->offset, high = p->offset, size = (int64_t)plumb_dtype_size(type->dtype);
    if (plumb_shape_count(&type->shape) == 0)
        return PLUMB_OK;
    for (int i = 0; i < type->shape.rank; i++)
        *(p->stride[i] < 0 ? &low : &high) += p->stride[i] * (type->shape.dim[i] - 1);
    if (low < 0 || (high + 1) * size > m->buffer[p->buffer].bytes)
        return plumb_fail(m->graph->context, PLUMB_FAILED, "memory plan: tensor %u leaves its buffer", t);
    return PLUMB_OK;
}

/* An output over an input must lie element for element as that does. */
static plumb_status check_overlay(const struct plumb_memory_layout *m, uint32_t out, uint32_t in)
{
    plumb_view a = plumb_layout_view(m, out, NULL), b = plumb_layout_view(m, in, NULL);
    if (m->place[out].buffer != m->place[in].buffer || (m->place[out].offset == m->place[in].offset && plumb_views_alike(&a, &b)))
        return PLUMB_OK;
    return plumb_fail(m->graph->context, PLUMB_FAILED, "memory plan: tensor %u is computed over tensor %u, which lies otherwise",
                      out, in);
}

/* Ops of many tensors do one after the other: what an output overwrites is an operand once. */
static plumb_status check_once(const struct plumb_memory_layout *m, const struct plumb_node *n, uint32_t out)
{
    int count = 0;
    for (int k = 0; n->op->flags & PLUMB_OP_VARIADIC && k < n->n_in; k++)
        count += m->place[n->in[k]].buffer == m->place[out].buffer && plumb_shape_count(&m->graph->tensor[out].type.shape) > 0;
    return count < 2 ? PLUMB_OK
                     : plumb_fail(m->graph->context, PLUMB_FAILED, "memory plan: tensor %u is computed over %d operands", out, count);
}

/* What comes from outside and what leaves is row-major. */
static plumb_status check_rows(const struct plumb_memory_layout *m, uint32_t t)
{
    plumb_view v = plumb_layout_view(m, t, NULL);
    return plumb_view_contiguous(&v) ? PLUMB_OK
                                     : plumb_fail(m->graph->context, PLUMB_FAILED, "memory plan: tensor %u is not in rows", t);
}

static plumb_status check_buffers(const struct plumb_memory_layout *m)
{
    for (int i = 0; i < m->n_buffers; i++) {
        const struct plumb_buffer *b = &m->buffer[i];
        if (b->memory == PLUMB_MEMORY_ARENA &&
            (b->offset < 0 || b->offset % GRAIN || b->offset + b->bytes > m->arena_bytes))
            return plumb_fail(m->graph->context, PLUMB_FAILED, "memory plan: buffer %d leaves the arena", i);
    }
    return PLUMB_OK;
}

static plumb_status replay_node(struct map *map, int step)
{
    const struct plumb_memory_layout *m = map->m;
    const struct plumb_node *n = &m->graph->node[step];
    plumb_status status = PLUMB_OK;
    for (int k = 0; status == PLUMB_OK && k < n->n_out; k++)
        status = check_bounds(m, n->out + (uint32_t)k);
    if (m->aliased[step])
        return status;
    for (int k = 0; status == PLUMB_OK && n->op->flags & PLUMB_OP_LEAF && k < n->n_out; k++)
        status = check_rows(m, n->out + (uint32_t)k);
    for (int k = 0; k < n->n_out * n->n_in && status == PLUMB_OK; k++)
        status = check_overlay(m, n->out + (uint32_t)(k / n->n_in), n->in[k % n->n_in]);
    for (int k = 0; status == PLUMB_OK && k < n->n_out; k++)
        status = check_once(m, n, n->out + (uint32_t)k);
    for (int k = 0; status == PLUMB_OK && k < n->n_in; k++)
        status = read_value(map, n->in[k], step);
    if (m->workspace[step] >= 0) {
        write_value(map, m->workspace[step], PLUMB_NO_TENSOR);
        for (int k = 0; status == PLUMB_OK && k < n->n_in; k++) /* the workspace must not lie on an input */
            status = read_value(map, n->in[k], step);
    }
    for (int k = 0; k < n->n_out; k++)
        write_value(map, m->place[n->out + (uint32_t)k].buffer, n->out + (uint32_t)k);
    for (int k = 0; status == PLUMB_OK && k < n->n_out; k++) /* outputs must not lie on each other */
        status = read_value(map, n->out + (uint32_t)k, step);
    return status;
}

static plumb_status replay_effects(struct map *map)
{
    const struct plumb_memory_layout *m = map->m;
    const struct graph *g = m->graph;
    plumb_status status = PLUMB_OK;
    for (int e = 0; status == PLUMB_OK && m->effects && e < g->n_effects; e++) {
        const struct plumb_effect *effect = &g->effect[e];
        status = read_value(map, effect->value, g->n_nodes + e);
        if (status == PLUMB_OK && effect->gate != PLUMB_NO_TENSOR)
            status = read_value(map, effect->gate, g->n_nodes + e);
        if (m->direct[e]) {
            if (m->place[effect->value].buffer != m->place[effect->variable].buffer)
                status = plumb_fail(g->context, PLUMB_FAILED, "memory plan: effect %d is not in place", e);
        } else {
            write_value(map, m->place[effect->variable].buffer, effect->variable);
        }
    }
    return status;
}

plumb_status plumb_layout_verify(const struct plumb_memory_layout *m)
{
    const struct graph *g = m->graph;
    plumb_context *c = g->context;
    size_t n_cells = (size_t)(m->arena_bytes / GRAIN) + 1;
    struct map map = {.m = m};
    map.arena = plumb_alloc(c, sizeof *map.arena * n_cells);
    map.other = plumb_alloc(c, sizeof *map.other * ((size_t)m->n_buffers + 1));
    plumb_status status = map.arena && map.other ? check_buffers(m) : PLUMB_FAILED;
    if (map.arena && map.other) {
        memset(map.arena, 0xff, sizeof *map.arena * n_cells);
        memset(map.other, 0xff, sizeof *map.other * ((size_t)m->n_buffers + 1));
    }
    for (int i = 0; status == PLUMB_OK && i < g->n_nodes; i++)
        status = replay_node(&map, i);
    if (status == PLUMB_OK)
        status = replay_effects(&map);
    for (int i = 0; status == PLUMB_OK && i < m->n_roots; i++)
        status = check_rows(m, m->roots[i]);
    for (int i = 0; status == PLUMB_OK && i < m->n_roots; i++) /* a fetched variable shows its value after effects */
        if (g->node[g->tensor[m->roots[i]].node].op != &plumb_op_variable)
            status = read_value(&map, m->roots[i], g->n_nodes + g->n_effects);
    plumb_free(c, map.arena);
    plumb_free(c, map.other);
    return status;
}
