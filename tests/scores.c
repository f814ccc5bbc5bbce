/* See crosscheck.h: what the cross-check says at its end, and what it counts as a failure of its own: an op nobody
 * implements, an implementation hardly tried, a reference that declined, a case that is there twice. */
#include "crosscheck.h"

#include <math.h>
#include <stdio.h>

bool crosscheck_takes(const struct crosscheck *all, const op_case *one)
{
    uint64_t hash = plumb_hash(one->op->name) ^ (3 * plumb_hash(one->label));
    hash ^= hash >> 32; /* the low bits of the product alone are poor */
    return (!all->filter || strcmp(all->filter, one->op->name) == 0) && hash % (uint64_t)all->parts == (uint64_t)all->part;
}

/* Two cases of one op with one label would be one case counted twice. */
static int64_t count_twins(const struct crosscheck *all)
{
    int64_t twins = 0;
    for (int i = 0; i < all->cases.count; i++) {
        for (int k = 0; k < i; k++) {
            const op_case *a = &all->cases.items[i], *b = &all->cases.items[k];
            if (a->op == b->op && strcmp(a->label, b->label) == 0) {
                printf("FAIL %s: two cases are called \"%s\"\n", a->op->name, a->label);
                twins++;
            }
        }
    }
    return twins;
}

/* An op nobody implements, an implementation hardly tried, a reference that declined. */
static int64_t count_shortfalls(const struct crosscheck *all)
{
    int64_t shortfalls = 0;
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        if ((op->flags & PLUMB_OP_LEAF) || (all->filter && strcmp(all->filter, op->name) != 0)) {
            continue;
        }
        if (!plumb_reference(op)) {
            printf("FAIL %s: no reference implementation\n", op->name);
            shortfalls++;
        }
        for (int k = 0; k < all->impls[i]; k++) {
            const struct score *score = &all->score[i][k];
            int64_t executed = score->passed + score->failed;
            if (executed < LEAST_CASES && !all->exact && all->parts == 1) {
                printf("FAIL %s %s: %lld cases executed, at least %d are needed\n", op->name, score->impl->name,
                       (long long)executed, LEAST_CASES);
                shortfalls++;
            }
            if (score->impl->flags & (PLUMB_IMPL_ANY_LAYOUT | PLUMB_IMPL_WANTS_LAST) && score->by_axis[AXIS_PICTURES] == 0 &&
                !all->exact && all->parts == 1) {
                printf("FAIL %s %s: never tried with pictures channels-last\n", op->name, score->impl->name);
                shortfalls++;
            }
            if (score->declined > 0 && score->impl == plumb_reference(op)) {
                printf("FAIL %s %s: the reference declined %lld cases\n", op->name, score->impl->name,
                       (long long)score->declined);
                shortfalls++;
            }
        }
    }
    return shortfalls;
}

static void print_table(const struct crosscheck *all)
{
    printf("%-24s %-14s %8s %6s %8s %7s %7s %7s  worst error / bound\n", "op", "implementation", "passed", "failed",
           "declined", "exact", "refused", "s");
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k <= MAX_IMPLS; k++) {
            const struct score *s = &all->score[i][k];
            if (s->passed + s->failed + s->declined > 0) {
                printf("%-24s %-14s %8lld %6lld %8lld %7lld %7lld %7.2f  %.3f %s\n", plumb_op_at(i)->name,
                       s->impl ? s->impl->name : "view", (long long)s->passed, (long long)s->failed,
                       (long long)s->declined, (long long)s->exact, (long long)s->refused, s->seconds, s->worst,
                       s->worst_label);
            }
        }
    }
}

/* One line for each provider; adds to the totals. */
static void print_provider(const struct crosscheck *all, const char *name, int64_t *passed, int64_t *failed)
{
    int64_t p = 0, f = 0, d = 0, e = 0, r = 0, l = 0, ops = 0;
    double worst = 0;
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k <= MAX_IMPLS; k++) {
            const struct score *s = &all->score[i][k];
            if (strcmp(s->impl ? s->impl->name : "view", name) != 0 || s->passed + s->failed + s->declined == 0) {
                continue;
            }
            ops++;
            p += s->passed;
            f += s->failed;
            d += s->declined;
            e += s->exact;
            r += s->refused;
            l += s->lesser;
            worst = s->worst > worst ? s->worst : worst;
        }
    }
    if (ops > 0) {
        printf("%-14s %3lld ops: %lld passed (%lld of them exact; %lld again with lesser instruction sets), %lld failed, "
               "%lld declined, %lld refusals, worst error %.3f of its bound\n",
               name, (long long)ops, (long long)p, (long long)e, (long long)l, (long long)f, (long long)d, (long long)r, worst);
    }
    *passed += p;
    *failed += f;
}

/* One line for each op and implementation, layout and implementation, dtype and implementation; then the total. */
static bool write_counts(const struct crosscheck *all, int64_t passed, int64_t failed)
{
    static const char *const more[] = {"mixed", "in-place", "pictures"};
    FILE *file = fopen(all->counts, "we");
    for (int i = 0; file && plumb_op_at(i); i++) {
        for (int k = 0; k < all->impls[i]; k++) {
            const struct score *s = &all->score[i][k];
            fprintf(file, "op %s %s %lld %lld %lld %lld\n", plumb_op_at(i)->name, s->impl->name, (long long)s->passed,
                    (long long)s->failed, (long long)s->declined, (long long)s->exact);
            for (int a = 0; a < AXIS_COUNT; a++) {
                fprintf(file, "layout %s %s %lld\n", a < LAYOUT_COUNT ? layout_name((enum layout)a) : more[a - LAYOUT_COUNT],
                        s->impl->name, (long long)s->by_axis[a]);
            }
            for (int d = 1; d < PLUMB_DTYPE_COUNT; d++) {
                fprintf(file, "dtype %s %s %lld\n", plumb_dtype_name((plumb_dtype)d), s->impl->name,
                        (long long)s->by_dtype[d]);
            }
        }
    }
    if (file) {
        fprintf(file, "vacuous %lld\n", (long long)all->mistrusted);
        fprintf(file, "total %lld %lld\n", (long long)passed, (long long)failed);
    }
    if (!file || fclose(file) != 0) {
        perror(all->counts);
        return false;
    }
    return true;
}

/* Quadratic in how many are wanted, which is few. */
static void print_slowest(const struct crosscheck *all)
{
    double last = INFINITY;
    int at = -1;
    for (int n = 0; n < all->slowest; n++) {
        int next = -1;
        for (int i = 0; i < all->cases.count; i++) {
            bool later = all->seconds[i] < last || (all->seconds[i] == last && i > at);
            if (later && all->seconds[i] > 0 && (next < 0 || all->seconds[i] > all->seconds[next])) {
                next = i;
            }
        }
        if (next < 0) {
            return;
        }
        at = next;
        last = all->seconds[at];
        printf("%8.3f s  %s \"%s\"\n", last, all->cases.items[at].op->name, all->cases.items[at].label);
    }
}

int crosscheck_report(struct crosscheck *all, double seconds)
{
    int64_t passed = 0, failed = 0, tried = 0;
    const char *seen[64];
    int n_seen = 0;
    for (int i = 0; i < all->cases.count; i++) {
        tried += crosscheck_takes(all, &all->cases.items[i]);
    }
    if (all->verbose) {
        print_table(all);
    }
    print_slowest(all);
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k < all->impls[i]; k++) {
            const char *name = all->score[i][k].impl->name;
            bool known = false;
            for (int n = 0; n < n_seen; n++) {
                known = known || strcmp(seen[n], name) == 0;
            }
            if (!known && n_seen < 64) {
                seen[n_seen++] = name;
                print_provider(all, name, &passed, &failed);
            }
        }
    }
    print_provider(all, "view", &passed, &failed);
    passed += all->refusals + all->impostors;
    failed += all->harness_failures + count_shortfalls(all) + count_twins(all);
    if (all->counts && !write_counts(all, passed, failed)) {
        failed++;
    }
    printf("%lld cases of the table, %lld refusals by shape rules, %lld impostors judged rightly, %lld mistrusted, %.1f s\n",
           (long long)tried, (long long)all->refusals, (long long)all->impostors, (long long)all->mistrusted, seconds);
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)passed, (long long)failed);
    return failed > 0 || passed == 0;
}

