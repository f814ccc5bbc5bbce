/* Random descriptors: an op with attributes, shapes of rank 0 to 6 with sizes 0 and 1 among them, strides, dtype and values
 * by chance, in every implementation against the reference. They are bred from the cases in tests/cases, so that whoever
 * adds an op and its cases has its generator as well, and an op without a case fails: the attributes of one case of the op,
 * or word by word of two, meet the shapes of another; then sizes are changed, everywhere alike or in one place, and
 * dimensions are put in or taken out. The shape rule says what has an answer; what it refuses must name the op, and what the
 * reference refuses while it runs must be refused by all. See trial.h for how results are judged.
 *
 *     plumb-opfuzz [--seed N] [--count N] [--seconds N] [--filter OP] [--device NAME] [--processes N] [--heavy OPERATIONS]
 *                  [--vendors]
 *     plumb-opfuzz --replay SEED:INDEX [--device NAME]
 *
 * The libraries of plugins to the CPU take part with --vendors only: they are there to be compared with, and what they refuse
 * is theirs. A disagreement is shrunk and told in one line; a process that crashed is told with what to replay, and another goes on
 * behind it. What is replayed depends on the cases that there are. Closing line: "N passed, N failed, N skipped". */
#include "opfuzz.h"

#include <stdio.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PROCESSES = 16, MOST_OPS = 512, TOLD = 20 };

static struct fuzz {
    int64_t next, until; /* index of the next descriptor, and behind the last */
    int64_t at[MOST_PROCESSES]; /* what each process is at */
    int64_t executed, runs, refused, refused_in_run, idle, failed;
    int64_t by_op[MOST_OPS]; /* executed */
    uint64_t seed;
    double deadline, heavy;
    const char *filter, *device;
    bool vendors;
    case_list cases;
    int n_ops;
    int first_case[MOST_OPS], n_cases[MOST_OPS]; /* of cases, ordered by op */
    int op[MOST_OPS];                            /* those to choose from */
} *all;

static plumb_context *open_context(void)
{
    plumb_error error;
    plumb_context *context = plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .device = all->device, .threads = 1, .error = &error});
    if (!context) {
        fprintf(stderr, "opfuzz: %s\n", error.message);
        exit(1);
    }
    plumb_added_provider(context->device, 0);
    return context;
}

static const struct opfuzz_cases *cases_of(int op, struct opfuzz_cases *to)
{
    *to = (struct opfuzz_cases){&all->cases.items[all->first_case[op]], all->n_cases[op]};
    return to;
}

/* ---- running one ---- */

/* FAILED: trial->failure says why. DECLINED: nothing was compared. */
static enum verdict try_implementations(struct trial *trial, const struct descriptor *d, const plumb_impl *only,
                                        const plumb_impl **culprit, int64_t *runs)
{
    const plumb_provider *provider[16];
    int n = trial_providers(trial->context->device, provider, 16);
    enum verdict verdict = DECLINED;
    for (int p = 0; p < n; p++) {
        if (!all->vendors && strcmp(provider[p]->name, "cpu.vendor") == 0) {
            continue;
        }
        for (int k = 0; k < provider[p]->count; k++) {
            const plumb_impl *impl = provider[p]->impls[k];
            if (strcmp(impl->op->name, d->one.op->name) != 0 || (only && impl != only) ||
                (trial->values == VALUES_EXACT && !(impl->flags & PLUMB_IMPL_EXACT))) {
                continue;
            }
            trial->isa = d->isa < trial->context->isa ? d->isa : trial->context->isa;
            struct finding finding = trial_run(trial, impl, &d->how);
            *runs += finding.verdict != DECLINED;
            if (finding.verdict == FAILED) {
                *culprit = impl;
                return FAILED;
            }
            verdict = finding.verdict == PASSED ? PASSED : verdict;
        }
    }
    return verdict;
}

enum outcome { EXECUTED, REFUSED, REFUSED_IN_RUN, IDLE, DISAGREES };

/* `only`: one implementation, or NULL for all. */
static enum outcome run_one(struct trial *trial, plumb_context *context, struct descriptor *d, const plumb_impl *only,
                            const plumb_impl **culprit, int64_t *runs)
{
    enum outcome outcome = EXECUTED;
    *culprit = NULL;
    d->one.expect = PLUMB_OK;
    plumb_status status = trial_begin(trial, context, &d->one, d->dtype);
    if (status != PLUMB_OK) {
        bool named = strstr(plumb_message(context), d->one.op->name) && status == PLUMB_BAD_INPUT;
        if (!named) {
            trial_fail(trial, "the shape rule said %s: \"%s\"", plumb_status_name(status), plumb_message(context));
        }
        plumb_clear_error(context);
        return named ? REFUSED : DISAGREES;
    }
    if (!descriptor_is_small(trial, all->heavy)) {
        return IDLE;
    }
    if (!trial_prepare(trial, d->values)) {
        if (trial->failure[0] == '\0') { /* these values do not apply */
            if (!trial_prepare(trial, VALUES_NORMAL) && trial->failure[0] == '\0') {
                return IDLE;
            }
        }
        if (trial->failure[0]) { /* an index outside, or the like: then nobody may compute something */
            d->one.expect = PLUMB_BAD_INPUT;
            outcome = REFUSED_IN_RUN;
        }
    }
    descriptor_fit_in_place(trial, d);
    switch (try_implementations(trial, d, only, culprit, runs)) {
    case FAILED: outcome = DISAGREES; break;
    case DECLINED: outcome = IDLE; break;
    default: break;
    }
    trial_forget(trial);
    return outcome;
}

/* ---- telling ---- */

/* Smaller sizes and simpler layouts, as long as the same implementation fails. */
static void shrink(struct trial *trial, plumb_context *context, struct descriptor *d, const plumb_impl *impl)
{
    int64_t runs = 0;
    const plumb_impl *culprit;
    char failure[sizeof trial->failure];
    memcpy(failure, trial->failure, sizeof failure);
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (int step = 0; !smaller; step++) {
            struct descriptor next = *d;
            if (!descriptor_shrink(&next, step)) {
                break;
            }
            if (memcmp(&next, d, sizeof next) != 0 && run_one(trial, context, &next, impl, &culprit, &runs) == DISAGREES &&
                culprit == impl) {
                *d = next;
                memcpy(failure, trial->failure, sizeof failure);
                smaller = true;
            }
            plumb_clear_error(context);
        }
    }
    memcpy(trial->failure, failure, sizeof failure);
}

static void tell(struct trial *trial, const struct descriptor *d, const plumb_impl *impl, int64_t index)
{
    char text[2048];
    descriptor_text(d, text, sizeof text);
    printf("FAIL %llu:%lld %s %s: %s\n", (unsigned long long)all->seed, (long long)index, impl ? impl->name : "shape rule",
           text, trial->failure);
}

/* ---- all of them ---- */

static void count(enum outcome outcome, int op, int64_t runs)
{
    int64_t *const counter[] = {[EXECUTED] = &all->executed, [REFUSED] = &all->refused,
                                [REFUSED_IN_RUN] = &all->refused_in_run, [IDLE] = &all->idle, [DISAGREES] = &all->failed};
    __atomic_fetch_add(counter[outcome], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&all->runs, runs, __ATOMIC_RELAXED);
    if (outcome == EXECUTED) {
        __atomic_fetch_add(&all->by_op[op], 1, __ATOMIC_RELAXED);
    }
}

static void work(int process, bool replay)
{
    plumb_context *context = open_context();
    struct trial *trial = test_alloc(sizeof *trial);
    struct descriptor *d = test_alloc(sizeof *d);
    trial->pool[0] = plumb_pool_new(1);
    trial->pool[1] = plumb_pool_new(3);
    while (plumb_seconds() < all->deadline) {
        int64_t index = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED), runs = 0;
        if (index >= all->until) {
            break;
        }
        all->at[process] = index;
        struct dice dice = {all->seed * 0x9e3779b97f4a7c15u ^ (uint64_t)index * 0xd1342543de82ef95u};
        dice_next(&dice);
        int op = all->op[dice_next(&dice) % (uint64_t)all->n_ops];
        struct opfuzz_cases cases;
        const plumb_impl *culprit;
        descriptor_make(d, cases_of(op, &cases), &dice);
        enum outcome outcome = run_one(trial, context, d, NULL, &culprit, &runs);
        count(outcome, op, runs);
        if (outcome == DISAGREES && all->failed <= TOLD) {
            if (culprit) {
                shrink(trial, context, d, culprit);
            }
            tell(trial, d, culprit, index);
        } else if (replay) {
            char text[2048];
            static const char *const names[] = {"agrees", "refused by the shape rule", "refused by all", "tried by nobody",
                                                "disagrees"};
            descriptor_text(d, text, sizeof text);
            printf("%s: %s\n", text, names[outcome]);
        }
        trial_forget(trial);
    }
    all->at[process] = -1;
    plumb_close(context);
    plumb_pool_free(trial->pool[0]);
    plumb_pool_free(trial->pool[1]);
    free(trial);
    free(d);
}

/* A process that crashed is replaced. */
static void work_in_processes(int processes)
{
    pid_t child[MOST_PROCESSES] = {0};
    int running = 0;
    for (int i = 0; i < processes; i++) {
        all->at[i] = -1;
        child[i] = 0;
    }
    for (bool more = true; more || running > 0;) {
        for (int i = 0; i < processes && more; i++) {
            if (child[i] == 0) {
                fflush(stdout);
                child[i] = fork();
                if (child[i] == 0) {
                    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would stop it otherwise */
                    work(i, false);
                    free(all->cases.items);
                    exit(0);
                }
                running += child[i] > 0;
            }
        }
        int status = 0;
        pid_t ended = wait(&status);
        if (ended < 0) {
            break;
        }
        for (int i = 0; i < processes; i++) {
            if (child[i] == ended) {
                child[i] = 0;
                running--;
                if (status != 0) {
                    __atomic_fetch_add(&all->failed, 1, __ATOMIC_RELAXED);
                    printf("FAIL a process ended with status %#x: --replay %llu:%lld\n", (unsigned)status,
                           (unsigned long long)all->seed, (long long)all->at[i]);
                }
            }
        }
        more = all->next < all->until && plumb_seconds() < all->deadline && all->failed <= TOLD;
    }
}

/* Cases ordered by op; an op without one cannot be tried. Those that must be refused take part as well. */
static int64_t sort_cases(void)
{
    case_list given = {NULL, 0, 0};
    int64_t missing = 0;
#define CASE_FAMILY(name) cases_##name(&given);
#include "cases/families.h"
#undef CASE_FAMILY
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        if (i == MOST_OPS) {
            fprintf(stderr, "opfuzz: raise MOST_OPS\n");
            abort();
        }
        all->first_case[i] = all->cases.count;
        for (int k = 0; k < given.count && !(op->flags & PLUMB_OP_LEAF); k++) {
            if (given.items[k].op == op) {
                add_case(&all->cases, &given.items[k]);
            }
        }
        all->n_cases[i] = all->cases.count - all->first_case[i];
        if (all->n_cases[i] == 0 && !(op->flags & PLUMB_OP_LEAF)) {
            printf("FAIL %s has no case in tests/cases to make descriptors of\n", op->name);
            missing++;
        } else if (all->n_cases[i] > 0 && (!all->filter || strcmp(all->filter, op->name) == 0)) {
            all->op[all->n_ops++] = i;
        }
    }
    free(given.items);
    return missing;
}

static const char *value_of(const char *option, int argc, char **argv, int *i)
{
    return *i + 1 < argc && strcmp(argv[*i], option) == 0 ? argv[++*i] : NULL;
}

static bool read_arguments(int argc, char **argv, int64_t *wanted, double *seconds, int *processes, bool *replay)
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        unsigned long long seed;
        long long index;
        if (strcmp(argv[i], "--vendors") == 0) {
            all->vendors = true;
        } else if ((value = value_of("--seed", argc, argv, &i))) {
            all->seed = strtoull(value, NULL, 10);
        } else if ((value = value_of("--count", argc, argv, &i))) {
            *wanted = strtoll(value, NULL, 10);
        } else if ((value = value_of("--seconds", argc, argv, &i))) {
            *seconds = atof(value);
        } else if ((value = value_of("--filter", argc, argv, &i))) {
            all->filter = value;
        } else if ((value = value_of("--device", argc, argv, &i))) {
            all->device = value;
        } else if ((value = value_of("--heavy", argc, argv, &i))) {
            all->heavy = atof(value);
        } else if ((value = value_of("--processes", argc, argv, &i))) {
            *processes = atoi(value);
        } else if ((value = value_of("--replay", argc, argv, &i)) && sscanf(value, "%llu:%lld", &seed, &index) == 2) {
            all->seed = seed;
            all->next = index;
            *wanted = 1;
            *replay = true;
        } else {
            return false;
        }
    }
    return *processes >= 1 && *processes <= MOST_PROCESSES;
}

static int report(double seconds, int64_t missing, bool whole)
{
    int64_t failed = all->failed + missing;
    int64_t tried = all->executed + all->refused + all->refused_in_run + all->idle + all->failed;
    for (int i = 0; i < all->n_ops; i++) {
        if (whole && tried > 100 * all->n_ops && all->by_op[all->op[i]] == 0) {
            printf("FAIL no descriptor of %s was executed: are its cases fit to be varied?\n", plumb_op_at(all->op[i])->name);
            failed++;
        }
    }
    printf("%lld descriptors of %d ops, seed %llu: %lld executed in %lld runs, %lld refused by shape rules, %lld by all "
           "implementations, %lld idle; %lld disagree; %.1f s, %.0f a second\n",
           (long long)tried, all->n_ops, (unsigned long long)all->seed, (long long)all->executed, (long long)all->runs,
           (long long)all->refused, (long long)all->refused_in_run, (long long)all->idle, (long long)all->failed, seconds,
           (double)tried / seconds);
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)(tried - all->failed), (long long)failed);
    return failed > 0 || tried == 0;
}

int main(int argc, char **argv)
{
    int64_t wanted = 5000;
    double seconds = 1e9, start = plumb_seconds();
    int processes = plumb_cpu_count();
    bool replay = false;
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        perror("opfuzz");
        return 1;
    }
    all->seed = 1;
    all->heavy = 1 << 20;
    processes = processes > MOST_PROCESSES ? MOST_PROCESSES : processes;
    if (!read_arguments(argc, argv, &wanted, &seconds, &processes, &replay)) {
        fprintf(stderr, "usage: %s [--seed N] [--count N] [--seconds N] [--filter OP] [--device NAME] [--processes N] "
                "[--heavy OPERATIONS] [--vendors] [--replay SEED:INDEX]\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    all->until = all->next + wanted;
    all->deadline = start + seconds;
    int64_t missing = sort_cases();
    if (all->n_ops == 0) {
        fprintf(stderr, "opfuzz: no op is called %s\n", all->filter ? all->filter : "anything");
        return 2;
    }
    if (replay) {
        work(0, true);
    } else {
        work_in_processes(processes);
    }
    int result = report(plumb_seconds() - start, missing, !replay);
    free(all->cases.items);
    return result;
}
