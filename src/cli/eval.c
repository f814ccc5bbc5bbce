/* eval: saved weights on a data set; what is right, class by class, and with --report a folder for people. Several
 * weights, or several views of each picture, are judged by the mean of their probabilities. */
#include <math.h>

#include "cli/cli.h"

#define DEFAULT_WEIGHTS "out/final.safetensors"

struct eval_options {
    struct common_options common;
    struct data_options set;
    struct option_list weights;
    const char *model, *part, *confusion, *precision, *report, *costs;
    int64_t batch, top, crops, padding;
    double human;
    bool mirror, diagnose;
};

struct eval {
    const struct eval_options *o;
    plumb_context *context;
    struct loaded_model loaded[OPTION_LIST_MOST];
    int count; /* of models */
    int classes;
    plumb_dataset *dataset, *train;
    plumb_evaluation e;
    plumb_metrics metrics;
    plumb_class_metrics *each;
    double *costs; /* [classes], or NULL */
    plumb_diagnosis diagnosis;
    bool diagnosed;
};

/* ---- judging ---- */

static bool is_plain(const struct eval *v)
{
    return v->count == 1 && v->o->crops <= 1 && !v->o->mirror && v->o->padding == 0;
}

static plumb_status judge(struct eval *v, plumb_dataset *dataset, plumb_evaluation *e)
{
    e->precision = cli_precision(v->o->precision);
    if (is_plain(v)) {
        return plumb_evaluate(&v->loaded[0].model, v->loaded[0].state, dataset, v->o->batch, e);
    }
    plumb_model models[OPTION_LIST_MOST];
    plumb_state *states[OPTION_LIST_MOST];
    for (int i = 0; i < v->count; i++) {
        models[i] = v->loaded[i].model;
        states[i] = v->loaded[i].state;
    }
    const plumb_ensemble ensemble = {.size = sizeof(ensemble),
                                     .models = models,
                                     .states = states,
                                     .count = v->count,
                                     .crops = (int)v->o->crops,
                                     .mirror = v->o->mirror,
                                     .padding = (int)v->o->padding,
                                     .batch = v->o->batch};
    return plumb_evaluate_ensemble(&ensemble, dataset, e);
}

/* "3=10,5=2": what a mistake on an example of a class costs; 1 where nothing is said. */
static plumb_status read_costs(struct eval *v)
{
    const char *at = v->o->costs;
    v->costs = plumb_alloc(v->context, (size_t)v->classes * sizeof(double));
    if (!v->costs) {
        return PLUMB_FAILED;
    }
    for (int c = 0; c < v->classes; c++) {
        v->costs[c] = 1;
    }
    while (at && *at) {
        char class[24], cost[40];
        size_t length = strcspn(at, "=,"), value = at[length] == '=' ? strcspn(at + length + 1, ",") : 0;
        int64_t index;
        double number;
        snprintf(class, sizeof(class), "%.*s", (int)(length < 20 ? length : 20), at);
        snprintf(cost, sizeof(cost), "%.*s", (int)(value < 36 ? value : 36), at + length + (value > 0));
        if (!cli_whole(class, 0, v->classes - 1, &index) || !cli_number(cost, 0, 1e9, &number)) {
            return plumb_fail(v->context, PLUMB_BAD_INPUT,
                              "--costs: '%.40s' is not CLASS=COST with a class from 0 to %d and a cost from 0 to 1e9", at,
                              v->classes - 1);
        }
        v->costs[index] = number;
        at += length + 1 + value;
        at += *at == ',';
    }
    return PLUMB_OK;
}

/* The error of training examples beside this part's: what the gap between them says. */
static plumb_status diagnose(struct eval *v)
{
    plumb_evaluation e = {0};
    plumb_status status = judge(v, v->train, &e);
    const plumb_errors errors = {.human = v->o->human,
                                 .train = 1 - e.accuracy,
                                 .train_dev = NAN,
                                 .dev = 1 - v->e.accuracy,
                                 .test = NAN};
    status = status ? status : plumb_diagnose(v->context, &errors, &v->diagnosis);
    v->diagnosed = !status;
    return status;
}

/* ---- telling ---- */

static void print_rates(const char *name, const char *counts, const plumb_rates *r)
{
    printf("%-16s %17s %10.4f %8.4f %11.4f %8.4f\n", name, counts, r->precision, r->recall, r->specificity, r->f1);
}

static void print_classes(const struct eval *v)
{
    printf("\n%-16s %8s %8s %10s %8s %11s %8s\n", "class", "examples", "right", "precision", "recall", "specificity", "F1");
    for (int c = 0; c < v->classes; c++) {
        char counts[48];
        snprintf(counts, sizeof(counts), "%8lld %8lld", (long long)v->each[c].examples, (long long)v->each[c].right);
        print_rates(plumb_dataset_class_name(v->dataset, c), counts, &v->each[c].rates);
    }
    printf("\n");
    print_rates("mean of classes", "", &v->metrics.macro);
    print_rates("by examples", "", &v->metrics.weighted);
    print_rates("all together", "", &v->metrics.micro);
}

static void print_diagnosis(const plumb_diagnosis *d)
{
    printf("\nerrors: people %.2f%%, training %.2f%%, this part %.2f%%; avoidable bias %.2f points, variance %.2f\n",
           100 * d->errors.human, 100 * d->errors.train, 100 * d->errors.dev, 100 * d->avoidable_bias, 100 * d->variance);
    printf("%s: %s\n", d->problems ? plumb_problem_name(d->largest) : "nothing to act on",
           plumb_problem_advice(d->problems ? d->largest : PLUMB_PROBLEM_NONE));
}

static void print_rates_json(FILE *to, const plumb_rates *r)
{
    const double value[4] = {r->precision, r->recall, r->specificity, r->f1};
    static const char *const names[4] = {"precision", "recall", "specificity", "f1"};
    for (int i = 0; i < 4; i++) {
        fprintf(to, "%s\"%s\":", i ? "," : "", names[i]);
        json_number(to, value[i]);
    }
}

static void print_json(FILE *to, const struct eval *v)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"accuracy", v->e.accuracy},
                   {"loss", v->e.loss},
                   {"images_per_s", v->e.images_per_s},
                   {"weighted_error", v->metrics.weighted_error},
                   {"top_k_accuracy", plumb_top_accuracy(v->dataset, &v->e, (int)v->o->top)},
                   {"train_error", v->diagnosed ? v->diagnosis.errors.train : NAN},
                   {"avoidable_bias", v->diagnosed ? v->diagnosis.avoidable_bias : NAN},
                   {"variance", v->diagnosed ? v->diagnosis.variance : NAN}};
    fprintf(to, "{\"model\":");
    json_text(to, v->loaded[0].name);
    fprintf(to, ",\"part\":\"%s\",\"models\":%d,\"examples\":%lld,\"top_k\":%lld", v->o->part, v->count,
            (long long)v->e.count, (long long)v->o->top);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        fprintf(to, ",\"%s\":", numbers[i].name);
        json_number(to, numbers[i].value);
    }
    fprintf(to, ",\"macro\":{");
    print_rates_json(to, &v->metrics.macro);
    fprintf(to, "},\"weighted\":{");
    print_rates_json(to, &v->metrics.weighted);
    fprintf(to, "},\"micro\":{");
    print_rates_json(to, &v->metrics.micro);
    fprintf(to, "},\"classes\":[");
    for (int c = 0; c < v->classes; c++) {
        fprintf(to, "%s{\"class\":", c ? "," : "");
        json_text(to, plumb_dataset_class_name(v->dataset, c));
        fprintf(to, ",\"examples\":%lld,\"predicted\":%lld,\"right\":%lld,", (long long)v->each[c].examples,
                (long long)v->each[c].predicted, (long long)v->each[c].right);
        print_rates_json(to, &v->each[c].rates);
        fprintf(to, "}");
    }
    fprintf(to, "]}\n");
}

static void print_result(const struct eval *v)
{
    const struct eval_options *o = v->o;
    if (o->common.json) {
        print_json(stdout, v);
        return;
    }
    char name[96];
    snprintf(name, sizeof(name), v->count > 1 ? "%s and %d more" : "%s", v->loaded[0].name, v->count - 1);
    printf("%s on %s (%s): accuracy %.4f, loss %.4f, %lld examples, %.0f images/s\n", name, o->set.data, o->part,
           v->e.accuracy, v->e.loss, (long long)v->e.count, v->e.images_per_s);
    if (o->top < v->classes) {
        printf("among the first %lld: %.4f\n", (long long)o->top, plumb_top_accuracy(v->dataset, &v->e, (int)o->top));
    }
    if (o->costs) {
        printf("weighted error: %.4f (plain: %.4f)\n", v->metrics.weighted_error, v->metrics.error);
    }
    print_classes(v);
    if (v->diagnosed) {
        print_diagnosis(&v->diagnosis);
    }
}

/* ---- the folder ---- */

static plumb_status write_json(const struct eval *v, const char *path)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    if (!to) {
        return plumb_fail(v->context, PLUMB_FAILED, "%s: out of memory", path);
    }
    print_json(to, v);
    plumb_status status = fclose(to) == 0 ? plumb_write_file(v->context, path, text, length)
                                          : plumb_fail(v->context, PLUMB_FAILED, "%s: out of memory", path);
    free(text);
    return status;
}

static plumb_status write_folder(const struct eval *v, const char *title)
{
    static const char *const names[] = {"metrics.json", "confusion.svg", "mistakes.png", "report.html"};
    char path[4200];
    const plumb_report report = {.size = sizeof(report),
                                 .title = title,
                                 .model = &v->loaded[0].model,
                                 .state = v->loaded[0].state,
                                 .batch = v->o->batch,
                                 .train = v->train,
                                 .data = v->dataset,
                                 .evaluation = &v->e,
                                 .part = v->o->part,
                                 .diagnosis = v->diagnosed ? &v->diagnosis : NULL};
    plumb_status status = cli_make_folder(v->context, "report", v->o->report);
    for (int i = 0; !status && i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", v->o->report, names[i]);
        switch (i) {
        case 0: status = write_json(v, path); break;
        case 1: status = plumb_write_confusion_svg(v->context, path, title, v->dataset, &v->e); break;
        case 2: status = plumb_write_mistakes_png(v->context, path, v->loaded[0].name, v->dataset, &v->e, 6, 4); break;
        default: status = plumb_write_report_html(v->context, path, &report);
        }
    }
    if (!status && !v->o->common.json) {
        printf("\n%s: report.html, metrics.json, confusion.svg, mistakes.png\n", v->o->report);
    }
    return status;
}

static plumb_status prepare(struct eval *v)
{
    plumb_status status = PLUMB_OK;
    const struct option_list *weights = &v->o->weights;
    v->count = weights->count ? weights->count : 1;
    for (int i = 0; !status && i < v->count; i++) {
        status = cli_load_model(v->context, weights->count ? weights->item[i] : DEFAULT_WEIGHTS, v->o->model, &v->loaded[i]);
    }
    if (status) {
        return status;
    }
    v->classes = v->loaded[0].model.classes;
    v->dataset = cli_find_data(v->context, &v->o->set, v->o->part, v->classes);
    if (!v->dataset) {
        return plumb_last_status(v->context);
    }
    if (v->o->diagnose || v->o->report) {
        v->train = cli_find_data(v->context, &v->o->set, "train", v->classes);
        if (!v->train) {
            return plumb_last_status(v->context);
        }
    }
    size_t count = (size_t)plumb_dataset_count(v->dataset), classes = (size_t)v->classes;
    v->e.confusion = plumb_alloc(v->context, classes * classes * sizeof(int64_t));
    v->e.predicted = plumb_alloc(v->context, count * sizeof(int32_t));
    v->e.probabilities = plumb_alloc(v->context, count * classes * sizeof(float));
    v->each = plumb_alloc(v->context, classes * sizeof(*v->each));
    if (!v->e.confusion || !v->e.predicted || !v->e.probabilities || !v->each) {
        return PLUMB_FAILED;
    }
    return v->o->costs ? read_costs(v) : PLUMB_OK;
}

static plumb_status evaluate(struct eval *v)
{
    plumb_status status = prepare(v);
    status = status ? status : judge(v, v->dataset, &v->e);
    status = status ? status
                    : plumb_metrics_of(v->context, v->e.confusion, v->classes, v->costs, &v->metrics, v->each);
    if (!status && v->o->diagnose) {
        status = diagnose(v);
    }
    if (status) {
        return status;
    }
    print_result(v);
    char title[160];
    snprintf(title, sizeof(title), "%.40s on %.60s (%s): accuracy %.4f", v->loaded[0].name, v->o->set.data, v->o->part,
             v->e.accuracy);
    status = v->o->confusion ? plumb_write_confusion_svg(v->context, v->o->confusion, title, v->dataset, &v->e) : status;
    return !status && v->o->report ? write_folder(v, title) : status;
}

static void release(struct eval *v)
{
    plumb_free(v->context, v->e.confusion);
    plumb_free(v->context, v->e.predicted);
    plumb_free(v->context, v->e.probabilities);
    plumb_free(v->context, v->each);
    plumb_free(v->context, v->costs);
    plumb_close(v->context);
}

int command_eval(int argc, char **argv)
{
    struct eval_options o = {.common = COMMON_DEFAULTS,
                             .set = {.data = "fashion-mnist"},
                             .part = "test",
                             .precision = "f32",
                             .batch = 250,
                             .top = 5,
                             .crops = 1,
                             .human = NAN};
    const struct option_row rows[] = {
        {"weights", "FILE", "what train wrote (default " DEFAULT_WEIGHTS "); several: the mean of what they say",
         OPTION_LIST, &o.weights, 0, 0, NULL},
        {"model", "NAME", "the network (default: as the file says)", OPTION_NAME, &o.model, 0, 0,
         cli_model_name},
        {"data", "SET", DATA_KINDS, OPTION_TEXT, &o.set.data, 0, 0, NULL},
        DATA_ROWS(o.set),
        {"part", "PART", "of the data set (default test)", OPTION_NAME, &o.part, 0, 0, cli_part_name},
        {"batch", "N", "examples at a time (default 250)", OPTION_WHOLE, &o.batch, 1, 1048576, NULL},
        {"precision", "DTYPE", "computed in, default f32", OPTION_NAME, &o.precision, 0, 0,
         cli_precision_name},
        {"confusion", "FILE", "write the confusion matrix as SVG", OPTION_TEXT, &o.confusion, 0, 0, NULL},
        {"report", "DIR", "write report.html, metrics.json and pictures here", OPTION_TEXT, &o.report, 0, 0, NULL},
        {"diagnose", NULL, "judge the training set, too, and say what the gap means", OPTION_FLAG, &o.diagnose, 0, 0, NULL},
        {"human", "ERROR", "the error of people, for --diagnose (default 0)", OPTION_NUMBER, &o.human, 0, 1, NULL},
        {"top", "K", "count the label among the first K (default 5)", OPTION_WHOLE, &o.top, 1, 1000, NULL},
        {"costs", "LIST", "what mistakes on classes cost, 1 if not said: 3=10,5=2", OPTION_TEXT, &o.costs, 0, 0, NULL},
        {"crops", "N", "views of each picture: 1, or 5 (corners and middle)", OPTION_WHOLE, &o.crops, 1, 5, NULL},
        {"mirror", NULL, "each view mirrored, too (--crops 5 --mirror is the 10-crop)", OPTION_FLAG, &o.mirror, 0, 0, NULL},
        {"padding", "N", "zeros around the picture before it is cropped (default 0)", OPTION_WHOLE, &o.padding, 0, 64, NULL},
        COMMON_ROWS(o.common),
    };
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("eval"), CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    if (!cli_check_data("eval", &o.set, &code)) {
        return code;
    }
    if (o.crops != 1 && o.crops != 5) {
        return cli_refuse("eval", "--crops: '%lld' is neither 1 nor 5", (long long)o.crops);
    }
    if (!isnan(o.human) && !o.diagnose) {
        return cli_refuse("eval", "--human: needs --diagnose");
    }
    struct eval v = {.o = &o, .context = cli_open(&o.common, &code)};
    if (!v.context) {
        return code;
    }
    plumb_status status = evaluate(&v);
    code = status ? cli_fail("eval", v.context, status) : 0;
    release(&v);
    return code;
}
