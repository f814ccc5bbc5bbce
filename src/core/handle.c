/* Handles: the address of a 64-byte cell, the cell's generation in its low six bits. A freed cell goes to the end of a
 * queue and comes back with the next generation, so a stale handle is met by another number instead of a crash. */
#include "core/inside.h"

#define CELLS 63 /* with the slab's head, a page */

union cell_slot {
    struct plumb_cell cell;
    _Alignas(64) unsigned char room[64];
};

struct plumb_slab {
    struct plumb_slab *next;
    union cell_slot slots[CELLS];
};

_Static_assert(sizeof(union cell_slot) == 64, "a cell must leave six address bits for the generation");

/* Writable through a const handle: a cell is never in read-only memory, const only says "I do not change it". */
static struct plumb_cell *cell_of(const void *handle)
{
    return (struct plumb_cell *)((uintptr_t)handle & ~(uintptr_t)63);
}

static bool current(const struct plumb_cell *cell, const void *handle, enum plumb_kind kind)
{
    return cell->kind == (uint32_t)kind && kind != PLUMB_KIND_FREE && cell->generation == ((uintptr_t)handle & 63);
}

static void push_free(plumb_context *context, struct plumb_cell *cell)
{
    cell->kind = PLUMB_KIND_FREE;
    cell->object = NULL;
    cell->next = NULL;
    cell->previous = NULL;
    if (context->free_last) {
        context->free_last->next = cell;
    } else {
        context->free_first = cell;
    }
    context->free_last = cell;
}

static bool add_slab(plumb_context *context)
{
    struct plumb_slab *slab = plumb_zalloc(context, sizeof(*slab));
    if (!slab) {
        return false;
    }
    slab->next = context->slabs;
    context->slabs = slab;
    for (int i = 0; i < CELLS; i++) {
        slab->slots[i].cell.context = context;
        push_free(context, &slab->slots[i].cell);
    }
    return true;
}

void *plumb_handle_new(plumb_context *context, enum plumb_kind kind, void *object, void (*destroy)(void *object))
{
    if (!context->free_first && !add_slab(context)) {
        return NULL;
    }
    struct plumb_cell *cell = context->free_first;
    context->free_first = cell->next;
    if (!context->free_first) {
        context->free_last = NULL;
    }
    cell->kind = (uint32_t)kind;
    cell->object = object;
    cell->destroy = destroy;
    cell->previous = NULL;
    cell->next = context->live;
    if (cell->next) {
        cell->next->previous = cell;
    }
    context->live = cell;
    return (char *)cell + cell->generation;
}

void *plumb_handle_get(const void *handle, enum plumb_kind kind)
{
    if (!handle) {
        return NULL;
    }
    struct plumb_cell *cell = cell_of(handle);
    if (!current(cell, handle, kind)) {
        bool other = cell->kind != PLUMB_KIND_FREE && cell->generation == ((uintptr_t)handle & 63);
        plumb_fail(cell->context, PLUMB_BAD_INPUT, "stale or wrong handle: %s",
                   other ? "it is of another kind of object" : "its object was freed");
        return NULL;
    }
    return cell->object;
}

plumb_context *plumb_handle_context(const void *handle)
{
    return handle ? cell_of(handle)->context : NULL;
}

static void destroy_cell(struct plumb_cell *cell)
{
    plumb_context *context = cell->context;
    void *object = cell->object;
    if (cell->previous) {
        cell->previous->next = cell->next;
    } else {
        context->live = cell->next;
    }
    if (cell->next) {
        cell->next->previous = cell->previous;
    }
    cell->generation = (cell->generation + 1) & 63;
    push_free(context, cell);
    if (cell->destroy) { /* last: it may free other handles, or ask for this one and be told that it is gone */
        cell->destroy(object);
    }
}

void plumb_handle_free(const void *handle, enum plumb_kind kind)
{
    if (handle && current(cell_of(handle), handle, kind)) {
        destroy_cell(cell_of(handle));
    }
}

void plumb_handles_close(plumb_context *context)
{
    while (context->live) {
        destroy_cell(context->live);
    }
    while (context->slabs) {
        struct plumb_slab *next = context->slabs->next;
        plumb_free(context, context->slabs);
        context->slabs = next;
    }
    context->free_first = context->free_last = NULL;
}
