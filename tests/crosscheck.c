/* The cross-check: every op of the table x its cases x every registered implementation x dtype x layout, each result
 * held against the reference in f64. The list an implementation registers in is the list this program walks, so none
 * can dodge; "not supported" is counted as declined, never as passed, and the reference may not decline at all->
 *
 *     plumb-crosscheck [--exact] [--filter OP] [--part K/N] [--impl NAME] [--isa NAME] [--threads N] [--processes N]
 *                      [--device NAME] [--counts FILE] [--slowest N] [--heavy OPERATIONS] [--verbose]
 *
 * With a device that comes from a plugin, the plugin's implementations are checked, on one thread in each process.
 * --part tries the K-th (from 0) of N parts of the cases, the same ones every time. --counts writes what was counted for
 * scripts/crosscheck, which makes one table of several programs. --slowest names the N cases that took the longest.
 * --heavy is for simulated devices, on which a case for the CPU's wide kernels takes a minute: one of more operations than
 * that is tried in one dtype, which its label decides, and the layouts that choose different ways through a kernel.
 *
 * Closing line: "N passed, N failed, N skipped". */
#include "crosscheck.h"
#include "device/plugin.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct crosscheck *all;

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
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = all->device,
                                                         .threads = 1, .isa = all->isa, .error = &error});
    if (!context) {
        fprintf(stderr, "crosscheck: %s\n", error.message);
        exit(1);
    }
    plumb_added_provider(context->device, 0); /* what plugins add keeps what it needs with the context */
    return context;
}

static void list_provider(const plumb_provider *provider)
{
    for (int k = 0; k < provider->count; k++) {
        const plumb_impl *impl = provider->impls[k];
        int op = op_index(impl->op);
        if (all->only && strcmp(impl->name, all->only) != 0) {
            continue;
        }
        if (all->impls[op] == MAX_IMPLS) {
            fprintf(stderr, "crosscheck: raise MAX_IMPLS\n");
            abort();
        }
        all->score[op][all->impls[op]++].impl = impl;
    }
}

static void list_implementations(plumb_device *device)
{
    const plumb_provider *provider[16];
    int count = trial_providers(device, provider, 16);
    for (int p = 0; p < count; p++) {
        list_provider(provider[p]);
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
    pthread_mutex_lock(&all->lock);
    all->harness_failures++;
    tell(trial, "case", how, trial->failure[0] ? trial->failure : plumb_message(trial->context));
    pthread_mutex_unlock(&all->lock);
    plumb_clear_error(trial->context);
}

static void note(struct trial *trial, struct score *score, struct finding finding, int axis, const char *how,
                 double seconds)
{
    pthread_mutex_lock(&all->lock);
    score->seconds += seconds;
    if (finding.verdict != DECLINED && trial->isa == trial->context->isa) {
        score->by_axis[axis]++;
        score->by_dtype[trial->dtype]++;
    }
    if (finding.verdict == DECLINED) {
        score->declined++;
    } else if (finding.verdict == FAILED) {
        if (score->failed++ < TOLD || all->verbose) {
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
    pthread_mutex_unlock(&all->lock);
}

static struct arrangement uniform(enum layout in, enum layout out)
{
    struct arrangement how = {.axis = (int)in, .name = layout_name(in)};
    for (int i = 0; i < CASE_MAX_IN; i++) {
        how.in[i] = in;
    }
    for (int k = 0; k < TRIAL_MAX_OUT; k++) {
        how.out[k] = out;
    }
    return how;
}

/* Every input in a layout of its own, the output channels-last. */
static struct arrangement mixed(uint64_t seed)
{
    static const enum layout choice[] = {LAYOUT_TRANSPOSED, LAYOUT_CONTIGUOUS, LAYOUT_SLICED, LAYOUT_CHANNELS_LAST,
                                         LAYOUT_REVERSED};
    struct arrangement how = uniform(LAYOUT_CONTIGUOUS, LAYOUT_CHANNELS_LAST);
    how.axis = AXIS_MIXED;
    how.name = "mixed";
    for (int i = 0; i < CASE_MAX_IN; i++) {
        how.in[i] = choice[(seed + (uint64_t)i) % 5];
    }
    return how;
}

/* As programs lay things out for implementations with a flag for layouts: pictures channels-last, all else in rows. false:
 * the case has no pictures, or they lie so in rows as well. */
static bool pictures_last(const struct trial *trial, struct arrangement *how)
{
    plumb_view in[CASE_MAX_IN], out[TRIAL_MAX_OUT];
    bool any = false;
    *how = uniform(LAYOUT_CONTIGUOUS, LAYOUT_CONTIGUOUS);
    how->axis = AXIS_PICTURES;
    how->name = "pictures last";
    for (int i = 0; i < trial->n_in; i++) {
        in[i] = trial_empty_view(&trial->in[i]);
    }
    for (int k = 0; k < trial->n_out; k++) {
        out[k] = trial_empty_view(&trial->out[k]);
    }
    plumb_call call = trial_call(trial, in, out);
    for (int i = 0; i < trial->n_in; i++) {
        if (plumb_op_picture_in(&call, i)) {
            how->in[i] = LAYOUT_CHANNELS_LAST;
            any = any || !plumb_view_channels_last(&in[i]);
        }
    }
    for (int k = 0; k < trial->n_out; k++) {
        if (plumb_op_picture_out(&call, k)) {
            how->out[k] = LAYOUT_CHANNELS_LAST;
            any = any || !plumb_view_channels_last(&out[k]);
        }
    }
    return any;
}

static bool minds_layouts(const plumb_impl *impl)
{
    return impl->flags & (PLUMB_IMPL_ANY_LAYOUT | PLUMB_IMPL_WANTS_LAST);
}

/* Cases for wide kernels show nothing of the reference and of lesser instruction sets that smaller ones do not, but in the
 * layouts that programs use. */
static bool is_large(const struct trial *trial, const struct arrangement *how)
{
    enum { LARGE = 1 << 18 };
    return trial->operations > LARGE && how->axis != LAYOUT_CONTIGUOUS && how->axis != AXIS_PICTURES;
}

/* With the best instruction set, and with each lesser one where the implementation looks at it: native CPU kernels. What
 * AVX512_BF16 adds is for bf16 alone. */
static void run_implementation(struct trial *trial, struct score *score, const struct arrangement *how)
{
    int best = trial->context->isa;
    int least = strncmp(score->impl->name, "cpu.native", 10) == 0 && !is_large(trial, how) ? PLUMB_ISA_SCALAR : best;
    for (trial->isa = best; trial->isa >= least; trial->isa--) {
        if (trial->isa == PLUMB_ISA_AVX512 && trial->isa < best && trial->dtype != PLUMB_BF16) {
            continue;
        }
        double start = plumb_seconds();
        struct finding finding = trial_run(trial, score->impl, how);
        if (trial->isa == best || finding.verdict != DECLINED) {
            note(trial, score, finding, how->axis, trial->isa == best ? how->name : plumb_isa_name(trial->isa),
                 plumb_seconds() - start);
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
    for (int k = 0; k < all->impls[op]; k++) {
        struct score *score = &all->score[op][k];
        if (is_large(trial, how) && score->impl == plumb_reference(trial->one->op)) {
            continue;
        }
        if ((exact_only && !(score->impl->flags & PLUMB_IMPL_EXACT)) ||
            (how->axis == AXIS_PICTURES && !minds_layouts(score->impl))) {
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
        note(trial, &all->score[op_index(trial->one->op)][MAX_IMPLS], finding, (int)layouts[i],
             layout_name(layouts[i]), 0);
    }
}

static void run_pictures(struct trial *trial, bool exact_only)
{
    struct arrangement how;
    if (pictures_last(trial, &how)) {
        run_all(trial, &how, exact_only);
    }
}

static void run_in_place(struct trial *trial)
{
    struct arrangement pictures;
    unsigned outputs = trial_in_place(trial);
    if (outputs && pictures_last(trial, &pictures)) {
        pictures.in_place = outputs;
        pictures.name = "pictures last, in-place";
        run_all(trial, &pictures, false);
    }
    for (int i = 0; i < 2 && outputs; i++) {
        enum layout layout = i == 0 ? LAYOUT_CONTIGUOUS : LAYOUT_CHANNELS_LAST;
        struct arrangement how = uniform(layout, layout);
        how.in_place = outputs;
        how.axis = AXIS_IN_PLACE;
        how.name = "in-place";
        run_all(trial, &how, false);
        if (i == 0 && (outputs & (outputs - 1))) {
            how.in_place = outputs & -outputs;
            how.name = "in-place, one output";
            run_all(trial, &how, false);
        }
    }
}

/* The dtype that a heavy case is tried in. */
static bool is_sampled(const op_case *one, unsigned dtypes, int dtype)
{
    int place = __builtin_popcount(dtypes & (PLUMB_BIT(dtype) - 1u));
    return plumb_hash(one->label) % (uint64_t)__builtin_popcount(dtypes) == (uint64_t)place;
}

static void run_sample(struct trial *trial)
{
    struct arrangement how = uniform(LAYOUT_CONTIGUOUS, LAYOUT_CONTIGUOUS);
    if (trial_prepare(trial, VALUES_NORMAL)) {
        run_all(trial, &how, false);
        run_pictures(trial, false);
        how = mixed(trial_seed(trial));
        run_all(trial, &how, false);
    } else {
        note_harness_failure(trial, "values");
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
    run_pictures(trial, false);
    run_in_place(trial);
    run_views(trial);
    if (trial_mistrusted(trial)) {
        __atomic_fetch_add(&all->mistrusted, 1, __ATOMIC_RELAXED);
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
    run_pictures(trial, values == VALUES_EXACT);
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
        pthread_mutex_lock(&all->lock);
        all->refusals++;
        pthread_mutex_unlock(&all->lock);
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
        if (all->heavy > 0 && one->expect == PLUMB_OK && trial->operations > all->heavy) {
            if (is_sampled(one, dtypes, dtype)) {
                run_sample(trial);
                trial_forget(trial);
            }
            continue;
        }
        if (!all->exact) {
            run_values(trial, VALUES_NORMAL);
        }
        if (one->expect == PLUMB_OK && !all->exact) {
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
    if (__atomic_fetch_add(&all->started, 1, __ATOMIC_RELAXED) == 0) { /* the first thread does this too */
        int64_t failed = 0;
        all->impostors = check_impostors(context, trial->pool[0], trial->pool[1], &failed);
        pthread_mutex_lock(&all->lock);
        all->harness_failures += failed;
        pthread_mutex_unlock(&all->lock);
    }
    for (;;) {
        int at = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED);
        if (at >= all->cases.count) {
            break;
        }
        if (crosscheck_takes(all, &all->cases.items[at])) {
            double start = plumb_seconds();
            run_case(trial, &all->cases.items[at], context);
            all->seconds[at] = plumb_seconds() - start;
        }
    }
    plumb_close(context);
    plumb_pool_free(trial->pool[0]);
    plumb_pool_free(trial->pool[1]);
    free(trial);
    return unused;
}

/* Each process takes the next case, as threads do. One that crashed is a failure. */
static void work_in_processes(int count)
{
    pid_t child[16];
    int started = 0;
    for (; started < count && started < 16; started++) {
        child[started] = fork();
        if (child[started] == 0) {
            work(NULL);
            free(all->cases.items);
            exit(0); /* leaks are looked for */
        }
        if (child[started] < 0) {
            perror("crosscheck: fork");
            all->harness_failures++;
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        int status = 0;
        if (waitpid(child[i], &status, 0) < 0 || status != 0) {
            printf("FAIL process %d of %d ended with status %#x\n", i + 1, count, (unsigned)status);
            all->harness_failures++;
        }
    }
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

/* ---- the command ---- */

/* NULL: not this option, or nothing follows it. */
static const char *value_of(const char *option, int argc, char **argv, int *i)
{
    return *i + 1 < argc && strcmp(argv[*i], option) == 0 ? argv[++*i] : NULL;
}

static bool read_part(const char *text)
{
    int end = 0;
    return sscanf(text, "%d/%d%n", &all->part, &all->parts, &end) == 2 && !text[end] && all->part >= 0 &&
           all->part < all->parts;
}

static bool read_arguments(int argc, char **argv, int *threads, int *processes)
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--verbose") == 0) {
            all->verbose = true;
        } else if (strcmp(argv[i], "--exact") == 0) {
            all->exact = true;
        } else if ((value = value_of("--filter", argc, argv, &i))) {
            all->filter = value;
        } else if ((value = value_of("--impl", argc, argv, &i))) {
            all->only = value;
        } else if ((value = value_of("--isa", argc, argv, &i))) {
            all->isa = value;
        } else if ((value = value_of("--device", argc, argv, &i))) {
            all->device = value;
        } else if ((value = value_of("--counts", argc, argv, &i))) {
            all->counts = value;
        } else if ((value = value_of("--slowest", argc, argv, &i))) {
            all->slowest = atoi(value);
        } else if ((value = value_of("--heavy", argc, argv, &i))) {
            all->heavy = atof(value);
        } else if ((value = value_of("--threads", argc, argv, &i))) {
            *threads = atoi(value);
        } else if ((value = value_of("--processes", argc, argv, &i))) {
            *processes = atoi(value);
        } else if (!(value = value_of("--part", argc, argv, &i)) || !read_part(value)) {
            return false;
        }
    }
    return true;
}

/* Zeroed memory that the processes share. */
static void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("crosscheck");
        exit(1);
    }
    return memory;
}

int main(int argc, char **argv)
{
    int threads = plumb_cpu_count(), processes = 1;
    double start = plumb_seconds();
    all = shared_memory(sizeof *all);
    all->parts = 1;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&all->lock, &attr);
    if (!read_arguments(argc, argv, &threads, &processes)) {
        fprintf(stderr, "usage: %s [--exact] [--filter OP] [--part K/N] [--impl NAME] [--isa NAME] [--threads N] "
                "[--processes N] [--device NAME] [--counts FILE] [--slowest N] [--heavy OPERATIONS] [--verbose]\n",
                argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    plumb_context *context = open_context();
    list_implementations(context->device);
    threads = context->device->plugin ? 1 : threads;
    plumb_close(context);
#define CASE_FAMILY(name) cases_##name(&all->cases);
#include "cases/families.h"
#undef CASE_FAMILY
    all->seconds = shared_memory((size_t)(all->cases.count + 1) * sizeof(double));
    if (processes > 1) {
        work_in_processes(processes);
    } else {
        work_on_threads(threads > 0 ? threads : 1);
    }
    int result = crosscheck_report(all, plumb_seconds() - start);
    free(all->cases.items);
    return result;
}
