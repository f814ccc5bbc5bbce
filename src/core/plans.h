/* What a vendor's library was asked to prepare, by what it was asked: found again at every run. */
#ifndef PLUMB_PLANS_H
#define PLUMB_PLANS_H

#include "core/core.h"

/* Keys are plain bytes: a struct zeroed before it is filled. */
typedef struct plumb_plans {
    plumb_context *context;
    void (*destroy)(void *user, void *plan);
    void *user;
    struct plumb_plan_entry **bucket;
    size_t buckets, count;
} plumb_plans;

void plumb_plans_open(plumb_plans *plans, plumb_context *context, void (*destroy)(void *user, void *plan),
                           void *user);
void plumb_plans_close(plumb_plans *plans);
void *plumb_plans_find(const plumb_plans *plans, const void *key, size_t bytes); /* NULL: none */
/* Takes the plan; one of the same key is destroyed. false when out of memory: then the plan is destroyed. */
bool plumb_plans_add(plumb_plans *plans, const void *key, size_t bytes, void *plan);
/* In no order. */
void plumb_plans_visit(const plumb_plans *plans,
                            void (*visit)(void *user, const void *key, size_t bytes, void *plan), void *user);

#endif
