/* Host memory. Every allocation carries its size in front, so freeing needs no size from the caller, the context always
 * knows how much it holds, and tests can make any single allocation fail through the allocator table. */
#include "core/inside.h"

#define PREFIX 64 /* keeps what follows 64-byte aligned */

struct prefix {
    size_t bytes; /* of the whole allocation, prefix included */
};

static void *c_alloc(void *user, size_t bytes)
{
    (void)user;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

static void c_free(void *user, void *memory, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(memory);
}

const plumb_allocator plumb_allocator_c = {.alloc = c_alloc, .free = c_free};

static struct prefix *prefix_of(void *memory)
{
    return (struct prefix *)((char *)memory - PREFIX);
}

void *plumb_alloc(plumb_context *context, size_t bytes)
{
    size_t total = bytes + PREFIX;
    struct prefix *prefix = NULL;
    if (bytes <= PTRDIFF_MAX - 2 * PREFIX) {
        prefix = context->allocator.alloc(context->allocator.user, total);
    }
    if (!prefix) {
        plumb_fail(context, PLUMB_FAILED, "out of memory: %zu bytes wanted, %lld held", bytes,
                   (long long)context->memory_now);
        return NULL;
    }
    prefix->bytes = total;
    plumb_count(context, (int64_t)total);
    return (char *)prefix + PREFIX;
}

void *plumb_zalloc(plumb_context *context, size_t bytes)
{
    void *memory = plumb_alloc(context, bytes);
    if (memory) {
        memset(memory, 0, bytes);
    }
    return memory;
}

void plumb_free(plumb_context *context, void *memory)
{
    if (!memory) {
        return;
    }
    struct prefix *prefix = prefix_of(memory);
    size_t bytes = prefix->bytes;
    plumb_count(context, -(int64_t)bytes);
    context->allocator.free(context->allocator.user, prefix, bytes);
}

void *plumb_realloc(plumb_context *context, void *memory, size_t bytes)
{
    void *fresh = plumb_alloc(context, bytes);
    if (fresh && memory) {
        size_t old = prefix_of(memory)->bytes - PREFIX;
        memcpy(fresh, memory, old < bytes ? old : bytes);
        plumb_free(context, memory);
    }
    return fresh;
}

char *plumb_strdup(plumb_context *context, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = plumb_alloc(context, bytes);
    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

bool plumb_grow(plumb_context *context, void *items_pointer, int *room, int need, size_t size)
{
    if (need <= *room) {
        return true;
    }
    int64_t wanted = *room ? (int64_t)*room * 2 : 8;
    if (wanted < need) {
        wanted = need;
    }
    if (wanted > INT32_MAX) {
        wanted = INT32_MAX;
    }
    int64_t bytes;
    if (!plumb_mul_size(wanted, (int64_t)size, &bytes)) {
        plumb_fail(context, PLUMB_FAILED, "out of memory: %lld items of %zu bytes wanted", (long long)wanted, size);
        return false;
    }
    void *items;
    memcpy(&items, items_pointer, sizeof(items)); /* the caller's pointer has a type of its own */
    items = plumb_realloc(context, items, (size_t)bytes);
    if (!items) {
        return false;
    }
    memcpy(items_pointer, &items, sizeof(items));
    *room = (int)wanted;
    return true;
}

struct plumb_arena_block {
    struct plumb_arena_block *next;
    size_t used, room; /* of data */
    _Alignas(16) unsigned char data[];
};

#define ARENA_BLOCK 4000

void *plumb_arena_alloc(struct plumb_arena *arena, size_t bytes)
{
    if (bytes > PTRDIFF_MAX / 2) {
        plumb_fail(arena->context, PLUMB_FAILED, "out of memory: %zu bytes wanted", bytes);
        return NULL;
    }
    size_t need = (bytes + 15) & ~(size_t)15;
    struct plumb_arena_block *block = arena->blocks;
    if (!block || block->room - block->used < need) {
        size_t room = need > ARENA_BLOCK / 4 ? need : ARENA_BLOCK;
        struct plumb_arena_block *fresh = plumb_alloc(arena->context, sizeof(*fresh) + room);
        if (!fresh) {
            return NULL;
        }
        fresh->used = 0;
        fresh->room = room;
        if (block && room == need) { /* a big one goes behind, so that the block in use keeps its free end */
            fresh->next = block->next;
            block->next = fresh;
        } else {
            fresh->next = block;
            arena->blocks = fresh;
        }
        block = fresh;
    }
    void *memory = block->data + block->used;
    block->used += need;
    memset(memory, 0, need);
    return memory;
}

char *plumb_arena_strdup(struct plumb_arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = plumb_arena_alloc(arena, bytes);
    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

void plumb_arena_free(struct plumb_arena *arena)
{
    while (arena->blocks) {
        struct plumb_arena_block *next = arena->blocks->next;
        plumb_free(arena->context, arena->blocks);
        arena->blocks = next;
    }
}
