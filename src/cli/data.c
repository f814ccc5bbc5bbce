/* Data sets as the command takes them, and `plumb data doctor`: what is in a set, and what may be wrong with it.
 *
 * The doctor reads everything once. Wrong, so that it ends with 1, is what makes figures of a training worthless: corrupt or
 * mislabelled examples, and examples of the test set that are in the training set as well. Worth a look, and named, are equal
 * examples within a part, classes that are missing or rare, pictures that are nearly of one value. Equal means equal values;
 * candidates are found by a hash and then compared. */
#include <math.h>
#include <stdlib.h>

#include "cli/cli.h"

/* ---- loading ---- */

/* "70/30", "60/20/20", "98/1/1" */
static int read_split(const char *text, double shares[3])
{
    int count = 0;
    for (const char *at = text; count < 3; at++) {
        char number[32];
        size_t length = strcspn(at, "/");
        snprintf(number, sizeof(number), "%.*s", (int)(length < 31 ? length : 31), at);
        if (!cli_number(number, 1e-9, 1e9, &shares[count++])) {
            return 0;
        }
        at += length;
        if (!*at) {
            return count >= 2 ? count : 0;
        }
    }
    return 0;
}

bool cli_check_data(const char *command, struct data_options *o, int *code)
{
    double shares[3];
    int parts = o->split ? read_split(o->split, shares) : 0;
    o->has_dev = o->dev > 0 || parts == 3;
    if (o->split && !parts) {
        *code = cli_refuse(command, "--split '%s': expected two or three positive shares, like 70/30 or 60/20/20", o->split);
    } else if (o->dev > 0 && parts == 3) {
        *code = cli_refuse(command, "--dev: a --split in three has a dev set already");
    } else if ((o->height > 0) != (o->width > 0)) {
        *code = cli_refuse(command, "--height and --width: one is missing");
    } else {
        return true;
    }
    return false;
}

plumb_dataset *cli_find_data(plumb_context *context, const struct data_options *o, const char *part, int classes)
{
    return plumb_dataset_find(context, o->data, part,
                              &(plumb_dataset_options){.size = sizeof(plumb_dataset_options),
                                                       .classes = classes,
                                                       .max_bad = o->max_bad,
                                                       .label = o->label,
                                                       .channels = o->grey ? 1 : 0,
                                                       .height = o->height,
                                                       .width = o->width});
}

plumb_status cli_load_data(plumb_context *context, const struct data_options *o, int classes, plumb_dataset **train,
                           plumb_dataset **dev, plumb_dataset **test)
{
    double shares[3];
    plumb_dataset *parts[3];
    const plumb_split_options stratified = {.size = sizeof(stratified), .stratified = true};
    *dev = *test = NULL;
    *train = cli_find_data(context, o, "train", classes);
    plumb_status status = *train ? PLUMB_OK : plumb_last_status(context);
    if (!status && o->split) {
        int count = read_split(o->split, shares);
        status = plumb_dataset_split(*train, shares, count, &stratified, parts);
        *train = parts[0];
        *dev = !status && count == 3 ? parts[1] : NULL;
        *test = status ? NULL : parts[count - 1];
    } else if (!status) {
        *test = cli_find_data(context, o, "test", plumb_dataset_classes(*train));
        status = *test ? PLUMB_OK : plumb_last_status(context);
    }
    if (!status && o->dev > 0) { /* the whole set's memory is that of its parts */
        shares[0] = 1 - o->dev;
        shares[1] = o->dev;
        status = plumb_dataset_split(*train, shares, 2, &stratified, parts);
        *train = parts[0];
        *dev = parts[1];
    }
    return status;
}

/* ---- the doctor ---- */

#define PARTS 2
#define NAMED 5 /* examples that a line names */

struct mark {
    uint64_t hash;
    int part;
    int64_t index;
};

struct part {
    const char *name;
    plumb_dataset *set; /* NULL: there is none */
    int64_t count, *of_class, flat, flat_at[NAMED], twins, unlike;
    double low, high;
};

struct exam {
    plumb_context *context;
    bool json;
    struct part part[PARTS];
    int classes, findings; /* what is wrong */
    bool pictures; /* not rows of numbers */
    int64_t item, shared, at[NAMED][2];
    struct mark *mark;
    int64_t marks;
    float *x, *y;
};

static plumb_status read_part(struct exam *e, int which)
{
    struct part *p = &e->part[which];
    plumb_status status = PLUMB_OK;
    p->low = INFINITY;
    p->high = -INFINITY;
    p->of_class = plumb_zalloc(e->context, (size_t)e->classes * sizeof(int64_t));
    double *width = plumb_alloc(e->context, (size_t)p->count * sizeof(double));
    status = p->of_class && width ? PLUMB_OK : PLUMB_FAILED;
    size_t bytes = (size_t)e->item * sizeof(float);
    for (int64_t n = 0; !status && n < p->count; n++) {
        double low = INFINITY, high = -INFINITY;
        status = plumb_dataset_picture(p->set, n, e->x, bytes);
        for (int64_t i = 0; i < e->item; i++) {
            low = fmin(low, (double)e->x[i]);
            high = fmax(high, (double)e->x[i]);
        }
        p->low = fmin(p->low, low);
        p->high = fmax(p->high, high);
        width[n] = high - low;
        p->of_class[plumb_dataset_label(p->set, n)]++;
        e->mark[e->marks++] = (struct mark){
            (uint64_t)plumb_crc32c(0, e->x, bytes) << 32 | plumb_crc32c(0x9e3779b9, e->x, bytes / 2), which, n};
    }
    for (int64_t n = 0; !status && n < p->count; n++) { /* a fiftieth of the range there is */
        if (e->pictures && !(width[n] > (p->high - p->low) / 50)) {
            p->flat_at[p->flat < NAMED ? p->flat : NAMED - 1] = n;
            p->flat++;
        }
    }
    plumb_free(e->context, width);
    return status;
}

static int by_hash(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    return x->hash != y->hash ? x->hash < y->hash ? -1 : 1 : x->part != y->part ? x->part - y->part : x->index < y->index ? -1 : 1;
}

/* Whether two examples are equal in all values. */
static plumb_status compare(struct exam *e, const struct mark *a, const struct mark *b, bool *equal)
{
    size_t bytes = (size_t)e->item * sizeof(float);
    plumb_status status = plumb_dataset_picture(e->part[a->part].set, a->index, e->x, bytes);
    status = status ? status : plumb_dataset_picture(e->part[b->part].set, b->index, e->y, bytes);
    *equal = !status && memcmp(e->x, e->y, bytes) == 0;
    return status;
}

/* Each example that equals an earlier one of its hash: of the same part, or of training while it is of the test. */
static plumb_status find_twins(struct exam *e)
{
    plumb_status status = PLUMB_OK;
    qsort(e->mark, (size_t)e->marks, sizeof(*e->mark), by_hash);
    for (int64_t i = 1, first = 0; !status && i < e->marks; i++) {
        const struct mark *m = &e->mark[i], *f = &e->mark[first];
        bool equal;
        if (m->hash != f->hash) {
            first = i;
            continue;
        }
        status = compare(e, f, m, &equal);
        struct part *p = &e->part[m->part];
        if (equal && m->part != f->part) {
            if (e->shared < NAMED) {
                e->at[e->shared][0] = f->index;
                e->at[e->shared][1] = m->index;
            }
            e->shared++;
        } else if (equal) {
            p->twins++;
        }
        p->unlike += equal && plumb_dataset_label(p->set, m->index) != plumb_dataset_label(e->part[f->part].set, f->index);
    }
    return status;
}

/* ---- what was found ---- */

static void finding(struct exam *e, bool wrong, const char *format, ...) PLUMB_PRINTF(3, 4);
static void finding(struct exam *e, bool wrong, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    e->findings += wrong;
    if (e->json) {
        printf("{\"finding\":\"%s\",\"text\":", wrong ? "wrong" : "look");
        json_text(stdout, text);
        printf("}\n");
    } else {
        printf("%s: ", wrong ? "wrong" : "worth a look");
        print_one_line(stdout, text);
    }
}

static void print_part(const struct exam *e, const struct part *p)
{
    char shape[128];
    plumb_shape one = plumb_dataset_shape(p->set);
    int64_t bad = plumb_dataset_bad(p->set, NULL);
    plumb_shape_text(&one, shape, sizeof(shape));
    if (e->json) {
        printf("{\"part\":\"%s\",\"examples\":%lld,\"bad\":%lld,\"shape\":\"%s\",\"dtype\":\"%s\",\"low\":", p->name, (long long)p->count,
               (long long)bad, shape, plumb_dtype_name(plumb_dataset_dtype(p->set)));
        json_number(stdout, p->low);
        printf(",\"high\":");
        json_number(stdout, p->high);
        printf(",\"classes\":{");
        for (int c = 0; c < e->classes; c++) {
            printf("%s", c ? "," : "");
            json_text(stdout, plumb_dataset_class_name(p->set, c));
            printf(":%lld", (long long)p->of_class[c]);
        }
        printf("}}\n");
        return;
    }
    printf("%s: %lld examples of %s %s, values %.6g to %.6g\n", p->name, (long long)p->count, shape,
           plumb_dtype_name(plumb_dataset_dtype(p->set)), p->low, p->high);
    for (int c = 0; c < e->classes; c++) {
        printf("  %-20.60s %9lld  %5.1f%%\n", plumb_dataset_class_name(p->set, c), (long long)p->of_class[c],
               100 * (double)p->of_class[c] / (double)p->count);
    }
}

static void judge_bad(struct exam *e, const struct part *p)
{
    const char *list;
    int64_t bad = plumb_dataset_bad(p->set, &list);
    for (int i = 0; i < 20 && *list; i++) {
        int length = (int)strcspn(list, "\n");
        finding(e, true, "%s: %.*s", p->name, length, list);
        list += length + 1;
    }
    if (bad > 20) {
        finding(e, true, "%s: and %lld more bad examples", p->name, (long long)bad - 20);
    }
}

static void judge_classes(struct exam *e, const struct part *p)
{
    int64_t most = 0, least = INT64_MAX;
    int empty = 0, last = 0, rare = 0;
    for (int c = 0; c < e->classes; c++) {
        empty += p->of_class[c] == 0;
        last = p->of_class[c] == 0 ? c : last;
        rare = p->of_class[c] < least ? c : rare;
        least = p->of_class[c] < least ? p->of_class[c] : least;
        most = p->of_class[c] > most ? p->of_class[c] : most;
    }
    if (most == p->count) {
        finding(e, false, "%s: all examples have one label", p->name);
    } else if (empty) {
        finding(e, false, "%s: %d classes have no example, '%.60s' is one", p->name, empty, plumb_dataset_class_name(p->set, last));
    } else if (most > 10 * least) {
        finding(e, false, "%s: the largest class has %lld examples, '%.60s' %lld", p->name, (long long)most,
                plumb_dataset_class_name(p->set, rare), (long long)least);
    }
}

static void judge(struct exam *e)
{
    char text[200];
    for (int i = 0; i < PARTS; i++) {
        const struct part *p = &e->part[i];
        if (!p->set) {
            continue;
        }
        judge_bad(e, p);
        judge_classes(e, p);
        size_t used = 0;
        for (int k = 0; k < NAMED && k < p->flat; k++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld", k ? ", " : "", (long long)p->flat_at[k]);
        }
        if (p->flat) {
            finding(e, false, "%s: %lld examples are nearly of one value: %s%s", p->name, (long long)p->flat, text, p->flat > NAMED ? ", .." : "");
        }
        if (p->twins) {
            finding(e, false, "%s: %lld examples are there before", p->name, (long long)p->twins);
        }
        if (p->unlike) {
            finding(e, false, "%s: %lld of equal examples have another label", p->name, (long long)p->unlike);
        }
    }
    size_t used = 0;
    for (int k = 0; k < NAMED && k < e->shared; k++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld is %lld", k ? ", " : "", (long long)e->at[k][1],
                                 (long long)e->at[k][0]);
    }
    if (e->shared) {
        finding(e, true, "of test's examples %lld are in train as well: %s%s", (long long)e->shared, text, e->shared > NAMED ? ", .." : "");
    }
}

/* A set without a test part is refused in one of these ways. */
static bool says_none(const char *message)
{
    return strstr(message, "lacks ") || strstr(message, "without a part") || strstr(message, "nor another usual pair");
}

static plumb_status examine(struct exam *e, const struct data_options *o)
{
    static const char *const names[PARTS] = {"train", "test"};
    int64_t all = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < PARTS; i++) {
        struct part *p = &e->part[i];
        p->name = names[i];
        p->set = cli_find_data(e->context, o, names[i], i ? e->classes : 0);
        status = p->set ? PLUMB_OK : plumb_last_status(e->context);
        if (status && i == 1 && says_none(plumb_message(e->context))) {
            plumb_clear_error(e->context); /* a set without a test part */
            status = PLUMB_OK;
        }
        p->count = plumb_dataset_count(p->set);
        e->classes = i == 0 ? plumb_dataset_classes(p->set) : e->classes;
        all += p->count;
    }
    if (status) {
        return status;
    }
    plumb_shape shape = plumb_dataset_shape(e->part[0].set), other = plumb_dataset_shape(e->part[1].set);
    if (e->part[1].set && !plumb_shape_equal(&shape, &other)) {
        return plumb_fail(e->context, PLUMB_BAD_INPUT, "%.200s: examples of train and test have different shapes", o->data);
    }
    e->item = plumb_shape_count(&shape);
    e->pictures = shape.rank == 3 && shape.dim[1] * shape.dim[2] > 1;
    e->mark = plumb_alloc(e->context, (size_t)all * sizeof(*e->mark));
    e->x = plumb_alloc(e->context, (size_t)e->item * sizeof(float));
    e->y = plumb_alloc(e->context, (size_t)e->item * sizeof(float));
    status = e->mark && e->x && e->y ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; !status && i < PARTS; i++) {
        status = e->part[i].set ? read_part(e, i) : PLUMB_OK;
        if (!status && e->part[i].set) {
            print_part(e, &e->part[i]);
        }
    }
    return status ? status : find_twins(e);
}

static int doctor(int argc, char **argv)
{
    static const struct command self = {"data doctor", "[SET]", "Says what is in a data set, and what may be wrong with it.", NULL};
    struct data_options o = {.data = "fashion-mnist"};
    struct common_options common = COMMON_DEFAULTS;
    common.only_plans = true;
    const char *word = NULL;
    const struct option_row rows[] = {DATA_ROWS(o), COMMON_ROWS(common)};
    int code = 0;
    static const char notes[] = "Ends with 1 if an example is corrupt, or is both in train and test. Examples are counted from 0.\n";
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), &word, notes}, argc, argv, &code) ||
        !cli_check_data(self.name, &o, &code)) {
        return code;
    }
    o.data = word ? word : o.data;
    o.max_bad = 1; /* to list them */
    struct exam e = {.context = cli_open(&common, &code), .json = common.json};
    if (!e.context) {
        return code;
    }
    plumb_status status = examine(&e, &o);
    if (!status) {
        judge(&e);
        if (e.json) {
            printf("{\"done\":true,\"wrong\":%d}\n", e.findings);
        } else if (e.findings == 0) {
            printf("nothing is wrong\n");
        }
    }
    code = status ? cli_fail(self.name, e.context, status) : e.findings ? PLUMB_FAILED : 0;
    for (int i = 0; i < PARTS; i++) {
        plumb_free(e.context, e.part[i].of_class);
    }
    plumb_free(e.context, e.mark);
    plumb_free(e.context, e.x);
    plumb_free(e.context, e.y);
    plumb_close(e.context);
    return code;
}

int command_data(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "doctor") == 0) {
        return doctor(argc - 1, argv + 1);
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("Usage: plumb data doctor [SET] [options]\n%s\n\nplumb data doctor --help lists the options.\n",
               cli_command("data")->summary);
        return 0;
    }
    return cli_refuse("data", "what? plumb data doctor");
}
