/* eval: saved weights on a data set; accuracy, loss, and each class's share. */
#include "cli/cli.h"

struct eval_options {
    struct common_options common;
    const char *weights, *model, *data, *part, *confusion, *precision;
    int64_t batch;
};

static void print_classes(const plumb_dataset *dataset, const plumb_evaluation *e, int classes)
{
    printf("\n%-16s %8s %8s %10s %8s\n", "class", "examples", "right", "precision", "recall");
    for (int c = 0; c < classes; c++) {
        int64_t true_count = 0, said = 0, right = e->confusion[(int64_t)c * classes + c];
        for (int k = 0; k < classes; k++) {
            true_count += e->confusion[(int64_t)c * classes + k];
            said += e->confusion[(int64_t)k * classes + c];
        }
        printf("%-16s %8lld %8lld %10.4f %8.4f\n", plumb_dataset_class_name(dataset, c),
               (long long)true_count, (long long)right, said ? (double)right / (double)said : 0,
               true_count ? (double)right / (double)true_count : 0);
    }
}

static void print_result(const struct eval_options *o, const struct loaded_model *loaded,
                         const plumb_dataset *dataset, const plumb_evaluation *e)
{
    if (o->common.json) {
        printf("{\"model\":");
        json_text(stdout, loaded->name);
        printf(",\"part\":\"%s\",\"examples\":%lld,\"accuracy\":", o->part, (long long)e->count);
        json_number(stdout, e->accuracy);
        printf(",\"loss\":");
        json_number(stdout, e->loss);
        printf(",\"images_per_s\":");
        json_number(stdout, e->images_per_s);
        printf("}\n");
        return;
    }
    printf("%s on %s (%s): accuracy %.4f, loss %.4f, %lld examples, %.0f images/s\n", loaded->name, o->data,
           o->part, e->accuracy, e->loss, (long long)e->count, e->images_per_s);
    print_classes(dataset, e, loaded->model.classes);
}

static plumb_status evaluate(const struct eval_options *o, plumb_context *context)
{
    struct loaded_model loaded;
    plumb_status status = cli_load_model(context, o->weights, o->model, &loaded);
    if (status) {
        return status;
    }
    const plumb_dataset_options options = {.size = sizeof(options), .classes = loaded.model.classes};
    plumb_dataset *dataset = plumb_dataset_find(context, o->data, o->part, &options);
    if (!dataset) {
        return plumb_last_status(context);
    }
    size_t classes = (size_t)loaded.model.classes;
    plumb_evaluation e = {.confusion = plumb_alloc(context, classes * classes * sizeof(int64_t)),
                          .precision = cli_precision(o->precision)};
    status = e.confusion ? plumb_evaluate(&loaded.model, loaded.state, dataset, o->batch, &e) : PLUMB_FAILED;
    if (!status) {
        print_result(o, &loaded, dataset, &e);
    }
    if (!status && o->confusion) {
        char title[160];
        snprintf(title, sizeof(title), "%.40s on %.60s (%s): accuracy %.4f", loaded.name, o->data, o->part,
                 e.accuracy);
        status = plumb_write_confusion_svg(context, o->confusion, title, dataset, &e);
    }
    plumb_free(context, e.confusion);
    return status;
}

int command_eval(int argc, char **argv)
{
    struct eval_options o = {.common = COMMON_DEFAULTS,
                             .weights = "out/final.safetensors",
                             .data = "fashion-mnist",
                             .part = "test",
                             .precision = "f32",
                             .batch = 250};
    const struct option_row rows[] = {
        {"weights", "FILE", "what train wrote (default out/final.safetensors)", OPTION_TEXT, &o.weights, 0, 0,
         NULL},
        {"model", "NAME", "the network (default: as the file says)", OPTION_NAME, &o.model, 0, 0,
         cli_model_name},
        {"data", "SET", "fashion-mnist (default), or a folder of IDX files", OPTION_TEXT, &o.data, 0, 0,
         NULL},
        {"part", "PART", "of the data set (default test)", OPTION_NAME, &o.part, 0, 0, cli_part_name},
        {"batch", "N", "examples at a time (default 250)", OPTION_WHOLE, &o.batch, 1, 1048576, NULL},
        {"precision", "DTYPE", "computed in, default f32", OPTION_NAME, &o.precision, 0, 0,
         cli_precision_name},
        {"confusion", "FILE", "write the confusion matrix as SVG", OPTION_TEXT, &o.confusion, 0, 0, NULL},
        COMMON_ROWS(o.common),
    };
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("eval"), CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    plumb_context *context = cli_open(&o.common, &code);
    if (!context) {
        return code;
    }
    plumb_status status = evaluate(&o, context);
    code = status ? cli_fail("eval", context, status) : 0;
    plumb_close(context);
    return code;
}
