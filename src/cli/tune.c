/* tune: many trainings with different settings, the better ones found. Each trial is a process of `plumb train --json`, so
 * a trial that crashes, diverges or runs out of memory is one bad trial, and as many run side by side as threads and
 * memory allow. The first trial is what train does by itself, so what is found is never worse than the default.
 *
 * Trials that fall behind are ended early: by default, when their best score so far is worse than the median of the
 * others at the same epoch (Golovin et al. 2017). What was settled stands in a journal (tune_journal.c): the same command
 * again goes on where it was broken off. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/tune.h"

#define PARALLEL_MOST 64
#define LINE_MOST 8192
#define ARGUMENTS_MOST (WORDS_MOST + 2 * SPACE_MOST + 16)

struct tune_options {
    int64_t trials, parallel, threads, memory, seed, grace;
    const char *strategy, *stop, *metric, *out;
    struct option_list space;
    bool json;
};

struct child {
    pid_t pid; /* 0: the place is free */
    int fd, trial, used;
    bool stopping; /* told to end, because it fell behind */
    char line[LINE_MOST];
};

struct tune {
    struct search s;
    const struct tune_options *o;
    const char *fixed[WORDS_MOST + 1]; /* options of every training */
    struct child child[PARALLEL_MOST];
    int running;
    int64_t fresh; /* settled by this process */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) { interrupted = number; }

static const char *strategy_name(int index)
{
    static const char *const names[] = {"random", "grid", "coarse"};
    return index < 3 ? names[index] : NULL;
}

static const char *stop_name(int index)
{
    static const char *const names[] = {"median", "halving", "none"};
    return index < 3 ? names[index] : NULL;
}

/* ---- where the next trial lies ---- */

/* The last half of a coarse-to-fine search looks around the best so far, the last quarter closer yet. */
static void place_coarse(const struct tune *t, int index, struct trial *trial)
{
    const struct search *s = &t->s;
    plumb_search_range ranges[SPACE_MOST];
    int best = -1;
    double done = (double)index / s->count, share = done < 0.5 ? 1 : done < 0.75 ? 0.4 : 0.15;
    for (int i = 1; i < s->count; i++) {
        if (s->trial[i].state >= TRIAL_DONE && (best < 0 || tune_better(s, s->trial[i].score, s->trial[best].score))) {
            best = i;
        }
    }
    for (int i = 0; i < s->space.count; i++) {
        ranges[i] = s->space.row[i].range;
        if (best >= 0 && !isnan(s->trial[best].score)) {
            ranges[i] = plumb_search_narrow(&ranges[i], s->trial[best].value[i], share);
        }
    }
    plumb_search_random(ranges, s->space.count, (uint64_t)s->seed, index - 1, trial->value);
}

static void place(const struct tune *t, int index)
{
    const struct search *s = &t->s;
    struct trial *trial = &s->trial[index];
    plumb_search_range ranges[SPACE_MOST];
    for (int i = 0; i < s->space.count; i++) {
        ranges[i] = s->space.row[i].range;
    }
    if (trial->is_default) {
        for (int i = 0; i < s->space.count; i++) {
            trial->value[i] = ranges[i].low; /* not used: train has its own */
        }
    } else if (strcmp(s->strategy, "grid") == 0) {
        plumb_search_grid(ranges, s->space.count, index - 1, trial->value);
    } else if (strcmp(s->strategy, "coarse") == 0) {
        place_coarse(t, index, trial);
    } else {
        plumb_search_random(ranges, s->space.count, (uint64_t)s->seed, index - 1, trial->value);
    }
}

/* ---- processes ---- */

static int threads_each(const struct tune *t)
{
    int64_t all = t->o->threads ? t->o->threads : plumb_cpu_count(), each = all / t->o->parallel;
    return (int)(each > 1 ? each : 1);
}

/* How many may run at once: memory is known from the trials so far, and the first runs alone to make it known. */
static int allowed(const struct tune *t)
{
    double most = 0;
    for (int i = 0; i < t->s.count; i++) {
        most = fmax(most, isnan(t->s.trial[i].memory) ? 0 : t->s.trial[i].memory);
    }
    double fit = most > 0 ? floor((double)t->o->memory * 1048576 / most) : 1;
    return (int)fmax(1, fmin((double)t->o->parallel, fit));
}

static const char *trial_file(const struct tune *t, int index, const char *end, char to[4200])
{
    snprintf(to, 4200, "%s/trial-%03d%s", t->s.folder, index, end);
    return to;
}

static void add_arguments(const struct tune *t, int index, const char **argument, char room[SPACE_MOST][64],
                          char names[SPACE_MOST][64])
{
    const struct trial *trial = &t->s.trial[index];
    int n = 0;
    while (argument[n]) {
        n++;
    }
    for (int i = 0; t->fixed[i]; i++) {
        argument[n++] = t->fixed[i];
    }
    for (int i = 0; !trial->is_default && i < t->s.space.count; i++) {
        snprintf(names[i], 64, "--%s", t->s.space.row[i].name);
        argument[n++] = names[i];
        argument[n++] = tune_value_text(&t->s.space.row[i], trial->value[i], room[i]);
    }
    argument[n] = NULL;
}

/* In the child: becomes `plumb train`. What it says goes to the pipe, what it complains of to the trial's log. */
static void become_training(const struct tune *t, int index, int to)
{
    char out[4200], log[4200], threads[16], room[SPACE_MOST][64], names[SPACE_MOST][64];
    const char *argument[ARGUMENTS_MOST] = {"plumb", "train", "--json", "--out", trial_file(t, index, "", out), "--threads",
                                            threads};
    snprintf(threads, sizeof(threads), "%d", threads_each(t));
    add_arguments(t, index, argument, room, names);
    int complaints = open(trial_file(t, index, ".log", log), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a search that is killed leaves no training behind */
    if (complaints < 0 || dup2(to, 1) < 0 || dup2(complaints, 2) < 0 || !tune_await(out)) {
        _exit(PLUMB_IO_ERROR);
    }
    setpgid(0, 0); /* Ctrl-C reaches a terminal's whole group, but the search tells its trials itself */
    execv("/proc/self/exe", (char *const *)(uintptr_t)argument);
    _exit(PLUMB_IO_ERROR);
}

static plumb_status start(struct tune *t, int index)
{
    int ends[2], at = 0;
    while (t->child[at].pid) {
        at++;
    }
    place(t, index);
    pid_t pid = -1;
    bool piped = pipe2(ends, O_CLOEXEC) == 0;
    if (piped) {
        fflush(NULL);
        pid = fork();
    }
    if (pid == 0) {
        become_training(t, index, ends[1]);
    }
    int why = errno;
    if (piped) {
        close(ends[1]);
    }
    if (pid < 0) {
        if (piped) {
            close(ends[0]);
        }
        return plumb_fail(t->s.context, PLUMB_FAILED, "trial %d: cannot start a process: %s", index, strerror(why));
    }
    t->child[at] = (struct child){.pid = pid, .fd = ends[0], .trial = index};
    t->s.trial[index].state = TRIAL_RUNNING;
    t->running++;
    return PLUMB_OK;
}

/* ---- what trials say ---- */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Whether trial `index` is worse at its present epoch than the median of the others there, three of them at least. */
static bool behind(const struct search *s, int index)
{
    static float other[TRIALS_MOST];
    const struct trial *t = &s->trial[index];
    int n = 0, e = t->epochs - 1;
    for (int i = 0; i < s->count; i++) {
        if (i != index && s->trial[i].epochs > e && !isnan(s->trial[i].best[e])) {
            other[n++] = s->trial[i].best[e];
        }
    }
    if (n < 3) {
        return false;
    }
    qsort(other, (size_t)n, sizeof(float), compare_floats);
    double median = n % 2 ? (double)other[n / 2] : ((double)other[n / 2 - 1] + (double)other[n / 2]) / 2;
    return !tune_better(s, (double)t->best[e], median) && (double)t->best[e] != median;
}

static bool at_rung(const struct tune *t, int epoch)
{
    if (strcmp(t->o->stop, "halving") == 0) {
        return epoch >= t->o->grace && (epoch & (epoch - 1)) == 0; /* 1, 2, 4, 8 ... */
    }
    return strcmp(t->o->stop, "median") == 0 && epoch >= t->o->grace;
}

static void take_epoch(struct tune *t, struct child *c, const json_t *json)
{
    struct trial *trial = &t->s.trial[c->trial];
    double score = number_of(json, t->s.metric), seconds = number_of(json, "seconds");
    if (trial->epochs == EPOCHS_MOST) {
        return;
    }
    trial->score = tune_better(&t->s, score, trial->score) ? score : trial->score;
    trial->seconds += isnan(seconds) ? 0 : seconds;
    trial->best[trial->epochs++] = (float)trial->score;
    if (!trial->is_default && !c->stopping && at_rung(t, trial->epochs) && behind(&t->s, c->trial)) {
        c->stopping = true;
        kill(c->pid, SIGTERM);
    }
}

static void take_line(struct tune *t, struct child *c)
{
    json_error_t error;
    json_t *json = json_loadb(c->line, (size_t)c->used, 0, &error);
    if (json_object_get(json, "epoch")) {
        take_epoch(t, c, json);
    } else if (json_object_get(json, "done")) {
        t->s.trial[c->trial].memory = number_of(json, "peak_memory_bytes");
    }
    json_decref(json);
    c->used = 0;
}

/* False at the end of what it says. */
static bool read_child(struct tune *t, struct child *c)
{
    char buffer[4096];
    ssize_t n = read(c->fd, buffer, sizeof(buffer));
    for (ssize_t i = 0; i < n; i++) {
        if (buffer[i] == '\n') {
            take_line(t, c);
        } else if (c->used < LINE_MOST) {
            c->line[c->used++] = buffer[i];
        }
    }
    return n > 0 || (n < 0 && errno == EINTR);
}

static void print_trial(const struct tune *t, int index)
{
    const struct trial *trial = &t->s.trial[index];
    char room[64];
    if (t->o->json) {
        printf("{\"trial\":%d,\"state\":\"%s\",\"score\":", index, tune_state_name(trial->state));
        json_number(stdout, trial->score);
        printf(",\"epochs\":%d,\"seconds\":", trial->epochs);
        json_number(stdout, trial->seconds);
        for (int i = 0; !trial->is_default && i < t->s.space.count; i++) {
            printf(",");
            json_text(stdout, t->s.space.row[i].name);
            printf(":");
            json_text(stdout, tune_value_text(&t->s.space.row[i], trial->value[i], room));
        }
        printf("}\n");
    } else {
        printf("%5d  %-7s  %9.4f  %6d  %8.1f ", index, tune_state_name(trial->state), trial->score, trial->epochs,
               trial->seconds);
        for (int i = 0; i < t->s.space.count; i++) {
            printf(" %12s", trial->is_default ? "default" : tune_value_text(&t->s.space.row[i], trial->value[i], room));
        }
        printf("\n");
    }
    fflush(stdout);
}

/* The first line of a trial's log, for the one message that ends the search. */
static plumb_status refuse_like(const struct tune *t, int index, int code)
{
    char path[4200], line[600] = "";
    FILE *log = fopen(trial_file(t, index, ".log", path), "r");
    if (log) {
        if (fgets(line, sizeof(line), log)) {
            line[strcspn(line, "\n")] = 0;
        }
        fclose(log);
    }
    plumb_status status = code == 2 || code == 3 || code == 5 ? (plumb_status)code : PLUMB_FAILED;
    return plumb_fail(t->s.context, status, "trial %d ended with code %d: %s", index, code, line);
}

/* The trial's process has ended. */
static plumb_status settle(struct tune *t, struct child *c)
{
    struct trial *trial = &t->s.trial[c->trial];
    int index = c->trial, told;
    close(c->fd);
    while (waitpid(c->pid, &told, 0) < 0 && errno == EINTR) {
    }
    int code = WIFEXITED(told) ? WEXITSTATUS(told) : 128 + WTERMSIG(told);
    bool stopped = c->stopping;
    *c = (struct child){0};
    t->running--;
    if (interrupted) { /* whatever it says: it was told to end */
        trial->state = TRIAL_WAITING;
        return PLUMB_OK;
    }
    trial->state = stopped ? TRIAL_STOPPED : code == 0 ? TRIAL_DONE : TRIAL_FAILED;
    if (trial->state == TRIAL_FAILED && code != PLUMB_NUMERIC && code < 128) { /* divergence and death are results, too */
        return refuse_like(t, index, code);
    }
    print_trial(t, index);
    t->fresh++;
    return tune_journal_add(&t->s, index);
}

static void tell_all(struct tune *t, int signal_number)
{
    for (int i = 0; i < PARALLEL_MOST; i++) {
        if (t->child[i].pid) {
            kill(t->child[i].pid, signal_number);
        }
    }
}

/* Waits for something to be said, and hears it. */
static plumb_status hear(struct tune *t)
{
    struct pollfd polled[PARALLEL_MOST];
    int place_of[PARALLEL_MOST], n = 0;
    for (int i = 0; i < PARALLEL_MOST; i++) {
        if (t->child[i].pid) {
            place_of[n] = i;
            polled[n++] = (struct pollfd){.fd = t->child[i].fd, .events = POLLIN};
        }
    }
    plumb_status status = PLUMB_OK;
    if (poll(polled, (nfds_t)n, 500) < 1) {
        return PLUMB_OK; /* the loop looks for signals */
    }
    for (int i = 0; !status && i < n; i++) {
        if (polled[i].revents && !read_child(t, &t->child[place_of[i]])) {
            status = settle(t, &t->child[place_of[i]]);
        }
    }
    return status;
}

static int next_waiting(const struct search *s)
{
    int i = 0;
    while (i < s->count && s->trial[i].state != TRIAL_WAITING) {
        i++;
    }
    return i < s->count ? i : -1;
}

static plumb_status run_trials(struct tune *t)
{
    plumb_status status = PLUMB_OK;
    bool told = false;
    while (!status) {
        int next = next_waiting(&t->s);
        while (!status && !interrupted && next >= 0 && t->running < allowed(t)) {
            status = start(t, next);
            next = next_waiting(&t->s);
        }
        if (interrupted && !told) {
            tell_all(t, SIGTERM);
            told = true;
        }
        if (status || t->running == 0) {
            break;
        }
        status = hear(t);
    }
    if (status) { /* one refusal ends all: the others would be refused alike */
        tell_all(t, SIGKILL);
        for (int i = 0; i < PARALLEL_MOST; i++) {
            if (t->child[i].pid) {
                waitpid(t->child[i].pid, NULL, 0);
            }
        }
    }
    return status;
}

/* ---- before and after ---- */

/* What is searched, as the journal's first line. */
static char *make_head(const struct tune *t)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    if (!to) {
        return NULL;
    }
    fprintf(to, "{\"search\":\"plumb tune\",\"strategy\":\"%s\",\"metric\":\"%s\",\"seed\":%lld,\"try\":[", t->s.strategy,
            t->s.metric, (long long)t->s.seed);
    for (int i = 0; i < t->o->space.count; i++) {
        fprintf(to, "%s", i ? "," : "");
        json_text(to, t->o->space.item[i]);
    }
    fprintf(to, "],\"train\":[");
    for (int i = 0; t->fixed[i]; i++) {
        fprintf(to, "%s", i ? "," : "");
        json_text(to, t->fixed[i]);
    }
    fprintf(to, "]}\n");
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static plumb_status prepare(struct tune *t)
{
    struct search *s = &t->s;
    plumb_search_range ranges[SPACE_MOST];
    for (int i = 0; i < s->space.count; i++) {
        ranges[i] = s->space.row[i].range;
    }
    int64_t count = t->o->trials ? t->o->trials : 20;
    if (strcmp(s->strategy, "grid") == 0) {
        int64_t size = plumb_search_grid_size(ranges, s->space.count);
        if (size >= TRIALS_MOST && !t->o->trials) {
            return plumb_fail(s->context, PLUMB_BAD_INPUT, "a grid of %lld points: more than %d; give --trials to take some",
                              (long long)size, TRIALS_MOST - 1);
        }
        count = !t->o->trials || size < t->o->trials - 1 ? size + 1 : t->o->trials;
    }
    s->count = (int)count;
    s->trial = plumb_zalloc(s->context, (size_t)count * sizeof(struct trial));
    for (int i = 0; s->trial && i < s->count; i++) {
        s->trial[i].score = NAN;
        s->trial[i].is_default = i == 0;
    }
    plumb_status status = s->trial ? cli_make_folder(s->context, "out", s->folder) : PLUMB_FAILED;
    char *head = status ? NULL : make_head(t);
    status = status ? status : head ? tune_journal_open(s, head) : plumb_fail(s->context, PLUMB_FAILED, "out of memory");
    free(head);
    return status;
}

static void print_best(const struct tune *t)
{
    static int order[TRIALS_MOST];
    char room[64];
    tune_rank(&t->s, order);
    const struct trial *best = &t->s.trial[order[0]], *first = &t->s.trial[0];
    if (t->o->json) {
        printf("{\"done\":true,\"best\":%d,\"score\":", order[0]);
        json_number(stdout, best->score);
        printf(",\"default_score\":");
        json_number(stdout, first->score);
        printf(",\"trials\":%d}\n", t->s.count);
        return;
    }
    printf("\nrank\n");
    for (int k = 0; k < t->s.count && k < 10; k++) {
        print_trial(t, order[k]);
    }
    printf("\nbest: trial %d, %s %.4f (default: %.4f)\n  plumb train", order[0], t->s.metric, best->score, first->score);
    for (int i = 0; t->fixed[i]; i++) {
        printf(" %s", t->fixed[i]);
    }
    for (int i = 0; !best->is_default && i < t->s.space.count; i++) {
        printf(" --%s %s", t->s.space.row[i].name, tune_value_text(&t->s.space.row[i], best->value[i], room));
    }
    printf("\n%s: trials.csv, trials.svg, journal.jsonl, a folder for each trial\n", t->s.folder);
}

static plumb_status tune(struct tune *t)
{
    plumb_status status = prepare(t);
    int known = 0;
    for (int i = 0; !status && i < t->s.count; i++) {
        known += t->s.trial[i].state != TRIAL_WAITING;
    }
    if (!status && !t->o->json) {
        printf("%d trials, %d of them known; up to %lld at once, %d threads each\n\n%5s  %-7s  %9.9s  %6s  %8s ", t->s.count,
               known, (long long)t->o->parallel, threads_each(t), "trial", "state", "score", "epochs", "seconds");
        for (int i = 0; i < t->s.space.count; i++) {
            printf(" %12s", t->s.space.row[i].name);
        }
        printf("\n");
    }
    status = status ? status : run_trials(t);
    status = status ? status : tune_write_table(&t->s);
    status = status ? status : tune_write_picture(&t->s);
    if (!status && !interrupted) {
        print_best(t);
    } else if (!status) {
        fprintf(stderr, "plumb tune: broken off; the same command goes on\n");
    }
    return status;
}

int command_tune(int argc, char **argv)
{
    struct tune_options o = {.parallel = 1,
                             .memory = sysconf(_SC_PHYS_PAGES) / 1048576 * sysconf(_SC_PAGESIZE) / 2,
                             .seed = 1,
                             .grace = 1,
                             .strategy = "random",
                             .stop = "median",
                             .out = "tune"};
    static struct tune t;
    t = (struct tune){.o = &o};
    const struct option_row rows[] = {
        {"try", "NAME=VALUES", "an option of train and its values, see below; several times", OPTION_LIST, &o.space, 0, 0, NULL},
        {"strategy", "NAME", "how trials are placed (default random)", OPTION_NAME, &o.strategy, 0, 0, strategy_name},
        {"trials", "N", "with the first, which is the default (default 20; grid: all)", OPTION_WHOLE, &o.trials, 2, TRIALS_MOST,
         NULL},
        {"metric", "NAME", "of train --json; made large, unless it is a loss (default dev_accuracy where a dev set is kept back, else"
         " test_accuracy)", OPTION_TEXT, &o.metric, 0, 0, NULL},
        {"stop", "RULE", "ends trials that fall behind (default median)", OPTION_NAME, &o.stop, 0, 0, stop_name},
        {"grace", "EPOCHS", "before which none is ended (default 1)", OPTION_WHOLE, &o.grace, 1, EPOCHS_MOST, NULL},
        {"parallel", "N", "trials at once, as memory allows (default 1)", OPTION_WHOLE, &o.parallel, 1, PARALLEL_MOST, NULL},
        {"threads", "N", "of all trials together (default: as many as the process may use)", OPTION_WHOLE, &o.threads, 1, 1024,
         NULL},
        {"memory", "MIB", "of all trials together (default: half of the machine's)", OPTION_WHOLE, &o.memory, 16, 1e9, NULL},
        {"seed", "N", "of where trials lie (default 1)", OPTION_WHOLE, &o.seed, 0, 9e15, NULL},
        {"out", "DIR", "journal, tables, pictures, the trials' folders (default tune)", OPTION_TEXT, &o.out, 0, 0, NULL},
        {"json", NULL, "machine-readable output, one JSON object a line", OPTION_FLAG, &o.json, 0, 0, NULL},
    };
    static const char notes[] =
        "VALUES are words (batch=32,64,128) or a range on a scale (lr=1e-4:1e-1:log): linear, log, whole, whole-log, or\n"
        "below-one, where 1 - x is logarithmic (momentum=0.9:0.999:below-one). What stands behind -- is for every training:\n"
        "  plumb tune --try lr=1e-4:1e-1:log --try batch=32,64,128 --parallel 2 -- --model lenet5 --epochs 3\n"
        "The strategy coarse spends half of the trials on the whole ranges and the rest around the best. Broken off or\n"
        "killed, the same command goes on where it was.\n";
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("tune"), CLI_SOME(rows), t.fixed, notes}, argc, argv, &code)) {
        return code;
    }
    if (o.space.count == 0) {
        return cli_refuse("tune", "what is to be tried? --try lr=1e-4:1e-1:log");
    }
    o.metric = o.metric ? o.metric : tune_keeps_dev(t.fixed) ? "dev_accuracy" : "test_accuracy";
    t.s = (struct search){.folder = o.out,
                          .strategy = o.strategy,
                          .metric = o.metric,
                          .smaller = strstr(o.metric, "loss") != NULL,
                          .seed = o.seed};
    if (!tune_read_space(&o.space, &t.s.space)) {
        return PLUMB_BAD_INPUT;
    }
    plumb_error error = {0};
    t.s.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .error = &error});
    if (!t.s.context) {
        return cli_refuse("tune", "%s", error.message);
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    plumb_status status = tune(&t);
    code = status ? cli_fail("tune", t.s.context, status) : interrupted ? 128 + (int)interrupted : 0;
    plumb_free(t.s.context, t.s.trial);
    plumb_close(t.s.context);
    return code;
}
