/* predict: what a trained model says about one example of a data set, with a bar for each class. */
#include <math.h>

#include "cli/cli.h"

struct predict_options {
    struct common_options common;
    struct data_options set;
    const char *weights, *model, *part, *precision;
    int64_t index;
    bool picture;
};

/* Two rows of the picture in a line of letters, dark to bright. */
static plumb_status print_picture(plumb_context *context, const plumb_dataset *dataset, int64_t index)
{
    static const char shades[] = " .:-=+*#%@";
    plumb_shape shape = plumb_dataset_shape(dataset);
    int64_t item = plumb_shape_count(&shape), height = shape.dim[shape.rank - 2],
            width = shape.dim[shape.rank - 1];
    float *x = plumb_alloc(context, (size_t)item * sizeof(float));
    plumb_status status =
        x ? plumb_dataset_picture(dataset, index, x, (size_t)item * sizeof(float)) : PLUMB_FAILED;
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; !status && i < item; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    for (int64_t r = 0; !status && r < height; r += 2) {
        for (int64_t c = 0; c < width; c++) {
            float v = r + 1 < height ? (x[r * width + c] + x[(r + 1) * width + c]) / 2 : x[r * width + c];
            int level = high > low ? (int)((v - low) / (high - low) * 9.99f) : 0;
            putchar(shades[level < 0 ? 0 : level > 9 ? 9 : level]);
        }
        putchar('\n');
    }
    plumb_free(context, x);
    return status;
}

static void print_bars(const plumb_dataset *dataset, const float *p, int classes, int label)
{
    bool unicode = cli_unicode(), colour = cli_colour(stdout);
    int best = 0;
    for (int c = 1; c < classes; c++) {
        best = p[c] > p[best] ? c : best;
    }
    for (int c = 0; c < classes; c++) {
        const char *on = !colour || (c != label && c != best) ? "" : c == label ? "\033[32m" : "\033[31m";
        int length = (int)lround(40 * (double)p[c]);
        printf("%-14s %6.2f%%  %s", plumb_dataset_class_name(dataset, c), 100 * (double)p[c], on);
        for (int i = 0; i < length; i++) {
            fputs(unicode ? "\u2588" : "#", stdout);
        }
        printf("%s%s\n", *on ? "\033[0m" : "",
               c == label  ? c == best ? "  <- said, and true" : "  <- true"
               : c == best ? "  <- said"
                           : "");
    }
}

static void print_json(const struct predict_options *o, const plumb_dataset *dataset, const float *p,
                       int classes, int label, int said)
{
    printf("{\"index\":%lld,\"label\":%d,\"label_name\":", (long long)o->index, label);
    json_text(stdout, plumb_dataset_class_name(dataset, label));
    printf(",\"predicted\":%d,\"predicted_name\":", said);
    json_text(stdout, plumb_dataset_class_name(dataset, said));
    printf(",\"probabilities\":[");
    for (int c = 0; c < classes; c++) {
        printf("%s", c ? "," : "");
        json_number(stdout, (double)p[c]);
    }
    printf("]}\n");
}

/* The example becomes a data set of its own, so that evaluation does the rest. */
static plumb_status look_at_one(const struct predict_options *o, plumb_context *context,
                                const struct loaded_model *loaded, const plumb_dataset *dataset, float *p,
                                int32_t *said)
{
    plumb_shape shape = plumb_dataset_shape(dataset);
    int64_t item = plumb_shape_count(&shape);
    int32_t label = plumb_dataset_label(dataset, o->index);
    float *x = plumb_alloc(context, (size_t)item * sizeof(float));
    plumb_status status =
        x ? plumb_dataset_picture(dataset, o->index, x, (size_t)item * sizeof(float)) : PLUMB_FAILED;
    plumb_dataset *one = NULL;
    if (!status) {
        one = plumb_dataset_arrays(context, PLUMB_F32, shape, 1, x, &label, plumb_dataset_classes(dataset));
        status = one ? PLUMB_OK : plumb_last_status(context);
    }
    if (!status) {
        plumb_evaluation e = {
            .predicted = said, .probabilities = p, .precision = cli_precision(o->precision)};
        status = plumb_evaluate(&loaded->model, loaded->state, one, 1, &e);
    }
    plumb_free(context, x);
    return status;
}

static plumb_status predict(const struct predict_options *o, plumb_context *context)
{
    struct loaded_model loaded;
    plumb_status status = cli_load_model(context, o->weights, o->model, &loaded);
    if (status) {
        return status;
    }
    int classes = loaded.model.classes;
    plumb_dataset *dataset = cli_find_data(context, &o->set, o->part, classes);
    if (!dataset) {
        return plumb_last_status(context);
    }
    if (o->index >= plumb_dataset_count(dataset)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "index %lld: %s has examples 0 to %lld",
                          (long long)o->index, o->set.data, (long long)plumb_dataset_count(dataset) - 1);
    }
    float *p = plumb_alloc(context, (size_t)classes * sizeof(float));
    int32_t said = 0;
    status = p ? look_at_one(o, context, &loaded, dataset, p, &said) : PLUMB_FAILED;
    int label = plumb_dataset_label(dataset, o->index);
    if (!status && o->common.json) {
        print_json(o, dataset, p, classes, label, said);
    } else if (!status) {
        printf("%s, %s example %lld: %s; %s says %s\n\n", o->set.data, o->part, (long long)o->index,
               plumb_dataset_class_name(dataset, label), loaded.name, plumb_dataset_class_name(dataset, said));
        status = o->picture ? print_picture(context, dataset, o->index) : PLUMB_OK;
        print_bars(dataset, p, classes, label);
    }
    plumb_free(context, p);
    return status;
}

int command_predict(int argc, char **argv)
{
    struct predict_options o = {.common = COMMON_DEFAULTS,
                                .weights = "out/final.safetensors",
                                .set = {.data = "fashion-mnist"},
                                .part = "test",
                                .precision = "f32",
                                .index = -1};
    const struct option_row rows[] = {
        {"index", "N", "which example, from 0 (also as plain argument)", OPTION_WHOLE, &o.index, 0, 9e15,
         NULL},
        {"weights", "FILE", "what train wrote (default out/final.safetensors)", OPTION_TEXT, &o.weights, 0, 0,
         NULL},
        {"model", "NAME", "the network (default: as the file says)", OPTION_NAME, &o.model, 0, 0,
         cli_model_name},
        {"data", "SET", DATA_KINDS, OPTION_TEXT, &o.set.data, 0, 0, NULL},
        DATA_ROWS(o.set),
        {"part", "PART", "of the data set (default test)", OPTION_NAME, &o.part, 0, 0, cli_part_name},
        {"precision", "DTYPE", "computed in, default f32", OPTION_NAME, &o.precision, 0, 0,
         cli_precision_name},
        {"picture", NULL, "show the example in letters", OPTION_FLAG, &o.picture, 0, 0, NULL},
        COMMON_ROWS(o.common),
    };
    const char *word = NULL;
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("predict"), CLI_SOME(rows), &word, NULL}, argc, argv,
                  &code)) {
        return code;
    }
    if (!cli_check_data("predict", &o.set, &code)) {
        return code;
    }
    if (word && (o.index >= 0 || !cli_whole(word, 0, 9e15, &o.index))) {
        return cli_refuse("predict", "index '%s': is not a whole number from 0, or given twice", word);
    }
    if (o.index < 0) {
        return cli_refuse("predict", "which example? give an index: plumb predict 7");
    }
    plumb_context *context = cli_open(&o.common, &code);
    if (!context) {
        return code;
    }
    plumb_status status = predict(&o, context);
    code = status ? cli_fail("predict", context, status) : 0;
    plumb_close(context);
    return code;
}
