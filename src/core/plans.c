/* A table from keys of plain bytes to whatever was chosen for them. Looking up allocates nothing, so a run may do it;
 * entries stay until the table is closed, for a program that was planned relies on them. */
#include "core/plans.h"

enum { FIRST_BUCKETS = 64 };

struct plumb_plan_entry {
    struct plumb_plan_entry *next;
    void *plan;
    uint32_t hash;
    size_t bytes;
    unsigned char key[];
};

void plumb_plans_open(plumb_plans *plans, plumb_context *context, void (*destroy)(void *user, void *plan),
                           void *user)
{
    *plans = (plumb_plans){.context = context, .destroy = destroy, .user = user};
}

void plumb_plans_close(plumb_plans *plans)
{
    for (size_t i = 0; i < plans->buckets; i++) {
        for (struct plumb_plan_entry *e = plans->bucket[i], *next; e; e = next) {
            next = e->next;
            plans->destroy(plans->user, e->plan);
            plumb_free(plans->context, e);
        }
    }
    plumb_free(plans->context, plans->bucket);
    plans->bucket = NULL;
    plans->buckets = plans->count = 0;
}

static struct plumb_plan_entry *find(const plumb_plans *plans, const void *key, size_t bytes, uint32_t hash)
{
    struct plumb_plan_entry *e = plans->buckets ? plans->bucket[hash % plans->buckets] : NULL;
    while (e && (e->hash != hash || e->bytes != bytes || memcmp(e->key, key, bytes) != 0)) {
        e = e->next;
    }
    return e;
}

void *plumb_plans_find(const plumb_plans *plans, const void *key, size_t bytes)
{
    struct plumb_plan_entry *e = find(plans, key, bytes, plumb_crc32c(0, key, bytes));
    return e ? e->plan : NULL;
}

static bool grow(plumb_plans *plans)
{
    size_t buckets = plans->buckets ? 2 * plans->buckets : FIRST_BUCKETS;
    struct plumb_plan_entry **bucket = plumb_zalloc(plans->context, buckets * sizeof *bucket);
    if (!bucket) {
        return plans->buckets > 0; /* longer chains serve too */
    }
    for (size_t i = 0; i < plans->buckets; i++) {
        for (struct plumb_plan_entry *e = plans->bucket[i], *next; e; e = next) {
            next = e->next;
            e->next = bucket[e->hash % buckets];
            bucket[e->hash % buckets] = e;
        }
    }
    plumb_free(plans->context, plans->bucket);
    plans->bucket = bucket;
    plans->buckets = buckets;
    return true;
}

bool plumb_plans_add(plumb_plans *plans, const void *key, size_t bytes, void *plan)
{
    uint32_t hash = plumb_crc32c(0, key, bytes);
    struct plumb_plan_entry *e = find(plans, key, bytes, hash);
    if (e) {
        plans->destroy(plans->user, e->plan);
        e->plan = plan;
        return true;
    }
    bool room = plans->count < plans->buckets || grow(plans);
    e = room ? plumb_alloc(plans->context, sizeof *e + bytes) : NULL;
    if (!e) {
        plans->destroy(plans->user, plan);
        return false;
    }
    e->plan = plan;
    e->hash = hash;
    e->bytes = bytes;
    memcpy(e->key, key, bytes);
    e->next = plans->bucket[hash % plans->buckets];
    plans->bucket[hash % plans->buckets] = e;
    plans->count++;
    return true;
}

void plumb_plans_visit(const plumb_plans *plans,
                            void (*visit)(void *user, const void *key, size_t bytes, void *plan), void *user)
{
    for (size_t i = 0; i < plans->buckets; i++) {
        for (struct plumb_plan_entry *e = plans->bucket[i]; e; e = e->next) {
            visit(user, e->key, e->bytes, e->plan);
        }
    }
}
