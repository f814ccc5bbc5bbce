/* The cross-check: every op of the table x its cases x every registered implementation x dtype x layout, each result
 * held against the reference in f64. The list an implementation registers in is the list this program walks, so none
 * can dodge; "not supported" is counted as declined, never as passed, and the reference may not decline at all.
 *
 *     plumb-crosscheck [--exact] [--filter OP] [--impl NAME] [--isa NAME] [--threads N] [--device NAME] [--verbose]
 *
 * With a device that comes from a plugin, the plugin's implementations are checked, on one thread.
 *
 * Closing line: "N passed, N failed, N skipped". */
#include "device/plugin.h"
#include "trial.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_IMPLS = 8, MAX_OPS = 256, LEAST_CASES = 20, TOLD = 4 };

struct score { /* of one implementation of one op */
    const plumb_impl *impl;
    int64_t passed, failed, declined, exact, refused;
    int64_t lesser; /* passed again with a lesser instruction set */
    double worst, seconds;
    char worst_label[160];
};

static struct {
    struct score score[MAX_OPS][MAX_IMPLS + 1]; /* the last: the zero-copy form */
    int impls[MAX_OPS];
    int64_t harness_failures, mistrusted, impostors, refusals; /* refusals: by shape rules, as expected */
    case_list cases;
    int next, started;
    pthread_mutex_t lock;
    const char *filter, *only, *isa, *device;
    bool verbose, exact; /* exact: only the exact values, so that counts say nothing of coverage */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int op_index(const plumb_op *op)
{
    for (int i = 0; plumb_op_at(i); i++) {
        if (strcmp(plumb_op_at(i)->name, op->name) == 0) { /* a plugin has rows of its own */
            return i;
        }
    }
    fprintf(stderr, "crosscheck: %s is not in the op table\n", op->name);
    abort();
}

static plumb_context *open_context(void)
{
    plumb_error error;
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = all.device,
                                                         .threads = 1, .isa = all.isa, .error = &error});
    if (!context) {
        fprintf(stderr, "crosscheck: %s\n", error.message);
        exit(1);
    }
    return context;
}

static void list_implementations(const plumb_device *device)
{
    int count = 0;
    const plumb_provider *const *providers = plumb_providers(&count);
    if (device->plugin) {
        providers = device->plugin->providers;
        count = device->plugin->n_providers;
    }
    for (int p = 0; p < count; p++) {
        for (int k = 0; k < providers[p]->count; k++) {
            const plumb_impl *impl = providers[p]->impls[k];
            int op = op_index(impl->op);
            if (all.only && strcmp(impl->name, all.only) != 0) {
                continue;
            }
            if (all.impls[op] == MAX_IMPLS) {
                fprintf(stderr, "crosscheck: raise MAX_IMPLS\n");
                abort();
            }
            all.score[op][all.impls[op]++].impl = impl;
        }
    }
}

/* ---- one case ---- */

static void tell(const struct trial *trial, const char *impl, const char *how, const char *why)
{
    printf("FAIL %s %s %s \"%s\" %s: %s\n", trial->one->op->name, impl, plumb_dtype_name(trial->dtype),
           trial->one->label, how, why);
}

static void note_harness_failure(const struct trial *trial, const char *how)
{
    pthread_mutex_lock(&all.lock);
    all.harness_failures++;
    tell(trial, "case", how, trial->failure[0] ? trial->failure : plumb_message(trial->context));
    pthread_mutex_unlock(&all.lock);
    plumb_clear_error(trial->context);
}

static void note(struct trial *trial, struct score *score, struct finding finding, const char *how, double seconds)
{
    pthread_mutex_lock(&all.lock);
    score->seconds += seconds;
    if (finding.verdict == DECLINED) {
        score->declined++;
    } else if (finding.verdict == FAILED) {
        if (score->failed++ < TOLD || all.verbose) {
            tell(trial, score->impl ? score->impl->name : "view", how, trial->failure);
        }
    } else if (trial->isa < trial->context->isa) {
        score->lesser++;
    } else {
        score->passed++;
        score->exact += trial->values == VALUES_EXACT;
        score->refused += trial->one->expect != PLUMB_OK;
        if (finding.worst > score->worst) {
            score->worst = finding.worst;
            snprintf(score->worst_label, sizeof(score->worst_label), "%s %s %s", plumb_dtype_name(trial->dtype),
                     trial->one->label, how);
        }
    }
    pthread_mutex_unlock(&all.lock);
}

static struct arrangement uniform(enum layout in, enum layout out)
{
    struct arrangement how = {.out = out, .name = layout_name(in)};
    for (int i = 0; i < CASE_MAX_IN; i++) {
        how.in[i] = in;
    }
    return how;
}

/* Every input in a layout of its own, the output channels-last. */
static struct arrangement mixed(uint64_t seed)
{
    static const enum layout choice[] = {LAYOUT_TRANSPOSED, LAYOUT_CONTIGUOUS, LAYOUT_SLICED, LAYOUT_CHANNELS_LAST,
                                         LAYOUT_REVERSED};
    struct arrangement how = {.out = LAYOUT_CHANNELS_LAST, .name = "mixed"};
    for (int i = 0; i < CASE_MAX_IN; i++) {
        how.in[i] = choice[(seed + (uint64_t)i) % 5];
    }
    return how;
}

/* With the best instruction set, and with each lesser one where the implementation looks at it: native CPU kernels. */
static void run_implementation(struct trial *trial, struct score *score, const struct arrangement *how)
{
    int best = trial->context->isa, least = strncmp(score->impl->name, "cpu.native", 10) == 0 ? PLUMB_ISA_SCALAR : best;
    for (trial->isa = best; trial->isa >= least; trial->isa--) {
        double start = plumb_seconds();
        struct finding finding = trial_run(trial, score->impl, how);
        if (trial->isa == best || finding.verdict != DECLINED) {
            note(trial, score, finding, trial->isa == best ? how->name : plumb_isa_name(trial->isa), plumb_seconds() - start);
        }
        if (finding.verdict == DECLINED || trial->one->expect != PLUMB_OK) {
            break;
        }
    }
    trial->isa = best;
}

static void run_all(struct trial *trial, const struct arrangement *how, bool exact_only)
{
    int op = op_index(trial->one->op);
    for (int k = 0; k < all.impls[op]; k++) {
        struct score *score = &all.score[op][k];
        if (exact_only && !(score->impl->flags & PLUMB_IMPL_EXACT)) {
            continue;
        }
        run_implementation(trial, score, how);
    }
}

static void run_views(struct trial *trial)
{
    static const enum layout layouts[] = {LAYOUT_CONTIGUOUS, LAYOUT_TRANSPOSED, LAYOUT_SLICED, LAYOUT_REVERSED,
                                          LAYOUT_CHANNELS_LAST};
    for (int i = 0; i < 5 && trial->one->op->view; i++) {
        struct finding finding = trial_view(trial, layouts[i]);
        note(trial, &all.score[op_index(trial->one->op)][MAX_IMPLS], finding, layout_name(layouts[i]), 0);
    }
}

static void run_in_place(struct trial *trial)
{
    unsigned outputs = trial_in_place(trial);
    for (int i = 0; i < 2 && outputs; i++) {
        enum layout layout = i == 0 ? LAYOUT_CONTIGUOUS : LAYOUT_CHANNELS_LAST;
        struct arrangement how = uniform(layout, layout);
        how.in_place = outputs;
        how.name = "in-place";
        run_all(trial, &how, false);
        if (i == 0 && (outputs & (outputs - 1))) {
            how.in_place = outputs & -outputs;
            how.name = "in-place, one output";
            run_all(trial, &how, false);
        }
    }
}

static void run_normal(struct trial *trial)
{
    static const enum layout layouts[][2] = {
        {LAYOUT_CONTIGUOUS, LAYOUT_CONTIGUOUS}, {LAYOUT_TRANSPOSED, LAYOUT_CONTIGUOUS},
        {LAYOUT_SLICED, LAYOUT_SLICED},         {LAYOUT_ODD, LAYOUT_ODD},
        {LAYOUT_REVERSED, LAYOUT_TRANSPOSED},   {LAYOUT_CHANNELS_LAST, LAYOUT_CHANNELS_LAST}};
    for (int i = 0; i < 6; i++) {
        struct arrangement how = uniform(layouts[i][0], layouts[i][1]);
        run_all(trial, &how, false);
    }
    struct arrangement how = mixed(trial_seed(trial));
    run_all(trial, &how, false);
    run_in_place(trial);
    run_views(trial);
    if (trial_mistrusted(trial)) {
        __atomic_fetch_add(&all.mistrusted, 1, __ATOMIC_RELAXED);
        note_harness_failure(trial, "zeros");
    }
}

static void run_values(struct trial *trial, enum trial_values values)
{
    static const char *const names[] = {"values", "flat values", "exact values", "NaN"};
    if (!trial_prepare(trial, values)) {
        if (trial->failure[0]) {
            note_harness_failure(trial, names[values]);
        }
        return;
    }
    struct arrangement how = uniform(values == VALUES_FLAT ? LAYOUT_BROADCAST : LAYOUT_CONTIGUOUS, LAYOUT_CONTIGUOUS);
    if (values == VALUES_NORMAL && trial->one->expect == PLUMB_OK) {
        run_normal(trial);
        return;
    }
    how.name = values == VALUES_FLAT || values == VALUES_NORMAL ? how.name : names[values];
    run_all(trial, &how, values == VALUES_EXACT);
    if (values == VALUES_EXACT) {
        how = mixed(trial_seed(trial));
        how.name = "exact values, mixed";
        run_all(trial, &how, true);
        how = uniform(LAYOUT_SLICED, LAYOUT_TRANSPOSED);
        how.name = "exact values, sliced";
        run_all(trial, &how, true);
    }
}

/* The shape rule must accept what has an answer, and refuse (naming the op) what has none. */
static bool shape_rule_is_right(struct trial *trial, plumb_status status)
{
    const op_case *one = trial->one;
    if (status == PLUMB_OK) {
        return true; /* an expected refusal then comes from the run */
    }
    if (one->expect == PLUMB_OK || status != one->expect || !strstr(plumb_message(trial->context), one->op->name)) {
        trial_fail(trial, "the shape rule said %s: \"%s\"", plumb_status_name(status), plumb_message(trial->context));
        note_harness_failure(trial, "shape rule");
    } else {
        pthread_mutex_lock(&all.lock);
        all.refusals++;
        pthread_mutex_unlock(&all.lock);
    }
    plumb_clear_error(trial->context);
    return false;
}

static void run_case(struct trial *trial, const op_case *one, plumb_context *context)
{
    unsigned dtypes = one->dtypes ? one->dtypes : PLUMB_FLOATS;
    for (int dtype = 1; dtype < PLUMB_DTYPE_COUNT; dtype++) {
        if (!(dtypes & PLUMB_BIT(dtype)) ||
            !shape_rule_is_right(trial, trial_begin(trial, context, one, (plumb_dtype)dtype))) {
            continue;
        }
        if (!all.exact) {
            run_values(trial, VALUES_NORMAL);
        }
        if (one->expect == PLUMB_OK && !all.exact) {
            run_values(trial, VALUES_FLAT);
            run_values(trial, VALUES_NAN);
        }
        if (one->expect == PLUMB_OK && one->exact && plumb_dtype_is_float((plumb_dtype)dtype)) {
            run_values(trial, VALUES_EXACT);
        }
        trial_forget(trial);
    }
}

/* ---- all cases, on a few threads ---- */

static void *work(void *unused)
{
    plumb_context *context = open_context();
    struct trial *trial = test_alloc(sizeof(*trial));
    trial->pool[0] = plumb_pool_new(1);
    trial->pool[1] = plumb_pool_new(3);
    if (__atomic_fetch_add(&all.started, 1, __ATOMIC_RELAXED) == 0) { /* the first thread does this too */
        int64_t failed = 0;
        all.impostors = check_impostors(context, trial->pool[0], trial->pool[1], &failed);
        pthread_mutex_lock(&all.lock);
        all.harness_failures += failed;
        pthread_mutex_unlock(&all.lock);
    }
    for (;;) {
        int at = __atomic_fetch_add(&all.next, 1, __ATOMIC_RELAXED);
        if (at >= all.cases.count) {
            break;
        }
        const op_case *one = &all.cases.items[at];
        if (!all.filter || strcmp(all.filter, one->op->name) == 0) {
            run_case(trial, one, context);
        }
    }
    plumb_close(context);
    plumb_pool_free(trial->pool[0]);
    plumb_pool_free(trial->pool[1]);
    free(trial);
    return unused;
}

static void work_on_threads(int count)
{
    pthread_t thread[16];
    int started = 0;
    while (started < count - 1 && started < 16 && pthread_create(&thread[started], NULL, work, NULL) == 0) {
        started++;
    }
    work(NULL);
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
}

/* ---- the report ---- */

/* Two cases of one op with one label would be one case counted twice. */
static int64_t count_twins(void)
{
    int64_t twins = 0;
    for (int i = 0; i < all.cases.count; i++) {
        for (int k = 0; k < i; k++) {
            const op_case *a = &all.cases.items[i], *b = &all.cases.items[k];
            if (a->op == b->op && strcmp(a->label, b->label) == 0) {
                printf("FAIL %s: two cases are called \"%s\"\n", a->op->name, a->label);
                twins++;
            }
        }
    }
    return twins;
}

/* An op nobody implements, an implementation hardly tried, a reference that declined. */
static int64_t count_shortfalls(void)
{
    int64_t shortfalls = 0;
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        if ((op->flags & PLUMB_OP_LEAF) || (all.filter && strcmp(all.filter, op->name) != 0)) {
            continue;
        }
        if (!plumb_reference(op)) {
            printf("FAIL %s: no reference implementation\n", op->name);
            shortfalls++;
        }
        for (int k = 0; k < all.impls[i]; k++) {
            const struct score *score = &all.score[i][k];
            int64_t executed = score->passed + score->failed;
            if (executed < LEAST_CASES && !all.exact) {
                printf("FAIL %s %s: %lld cases executed, at least %d are needed\n", op->name, score->impl->name,
                       (long long)executed, LEAST_CASES);
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

static void print_table(void)
{
    printf("%-24s %-14s %8s %6s %8s %7s %7s %7s  worst error / bound\n", "op", "implementation", "passed", "failed",
           "declined", "exact", "refused", "s");
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k <= MAX_IMPLS; k++) {
            const struct score *s = &all.score[i][k];
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
static void print_provider(const char *name, int64_t *passed, int64_t *failed)
{
    int64_t p = 0, f = 0, d = 0, e = 0, r = 0, l = 0, ops = 0;
    double worst = 0;
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k <= MAX_IMPLS; k++) {
            const struct score *s = &all.score[i][k];
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

static int report(double seconds)
{
    int64_t passed = 0, failed = 0, tried = 0;
    const char *seen[64];
    int n_seen = 0;
    for (int i = 0; i < all.cases.count; i++) {
        tried += !all.filter || strcmp(all.filter, all.cases.items[i].op->name) == 0;
    }
    if (all.verbose) {
        print_table();
    }
    for (int i = 0; plumb_op_at(i); i++) {
        for (int k = 0; k < all.impls[i]; k++) {
            const char *name = all.score[i][k].impl->name;
            bool known = false;
            for (int n = 0; n < n_seen; n++) {
                known = known || strcmp(seen[n], name) == 0;
            }
            if (!known && n_seen < 64) {
                seen[n_seen++] = name;
                print_provider(name, &passed, &failed);
            }
        }
    }
    print_provider("view", &passed, &failed);
    passed += all.refusals + all.impostors;
    failed += all.harness_failures + count_shortfalls() + count_twins();
    printf("%lld cases of the table, %lld refusals by shape rules, %lld impostors judged rightly, %lld mistrusted, %.1f s\n",
           (long long)tried, (long long)all.refusals, (long long)all.impostors, (long long)all.mistrusted, seconds);
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)passed, (long long)failed);
    return failed > 0 || passed == 0;
}

int main(int argc, char **argv)
{
    int threads = plumb_cpu_count();
    double start = plumb_seconds();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            all.verbose = true;
        } else if (strcmp(argv[i], "--exact") == 0) {
            all.exact = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--filter") == 0) {
            all.filter = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--impl") == 0) {
            all.only = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--isa") == 0) {
            all.isa = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--device") == 0) {
            all.device = argv[++i];
        } else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0) {
            threads = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--exact] [--filter OP] [--impl NAME] [--isa NAME] [--threads N] [--device NAME] "
                    "[--verbose]\n",
                    argv[0]);
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    plumb_context *context = open_context();
    list_implementations(context->device);
    threads = context->device->plugin ? 1 : threads;
    plumb_close(context);
#define CASE_FAMILY(name) cases_##name(&all.cases);
#include "cases/families.h"
#undef CASE_FAMILY
    work_on_threads(threads > 0 ? threads : 1);
    int result = report(plumb_seconds() - start);
    free(all.cases.items);
    return result;
}
