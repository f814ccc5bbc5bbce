/* gradcheck: backpropagation against difference quotients, in double precision, for any built-in model. */
#include <math.h>

#include "cli/cli.h"

struct gradcheck_options {
    struct common_options common;
    const char *model, *method;
    int64_t batch, classes, samples, max;
    double step, tolerance;
};

static const char *method_name(int index)
{
    static const char *const names[2] = {"central", "five-point"};
    return index < 2 ? names[index] : NULL;
}

/* Pictures of standard normal pixels and labels that visit every class: any data do, as long as no unit is dead. */
static plumb_status make_batch(plumb_context *context, const plumb_model *model, int64_t batch, float **x,
                               int32_t **y)
{
    int64_t item = plumb_shape_count(&model->input_shape), all = 0;
    if (!plumb_mul_size(item, batch, &all) || all > (int64_t)1 << 31) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "gradcheck: a batch of %lld pictures is too large",
                          (long long)batch);
    }
    *x = plumb_alloc(context, (size_t)all * sizeof(float));
    *y = plumb_alloc(context, (size_t)batch * sizeof(int32_t));
    if (!*x || !*y) {
        return PLUMB_FAILED;
    }
    for (int64_t i = 0; i < all; i++) {
        (*x)[i] = (float)plumb_normal_of_word(plumb_random_word(plumb_seed(context), 0x6763u, 0, i));
    }
    for (int64_t n = 0; n < batch; n++) {
        (*y)[n] = (int32_t)(n * 7 % model->classes);
    }
    return PLUMB_OK;
}

static void print_report(const struct gradcheck_options *o, const plumb_gradcheck_report *r)
{
    if (o->common.json) {
        printf("{\"model\":");
        json_text(stdout, o->model);
        printf(",\"ok\":%s,\"parameters\":%lld,\"checked\":%lld,\"normed\":", r->status ? "false" : "true",
               (long long)r->total, (long long)r->checked);
        json_number(stdout, r->normed);
        printf(",\"course\":");
        json_number(stdout, r->course);
        printf(",\"worst\":");
        json_number(stdout, r->worst);
        printf(",\"worst_name\":");
        json_text(stdout, r->worst_name);
        printf(",\"worst_index\":%lld,\"direction_worst\":", (long long)r->worst_index);
        json_number(stdout, r->direction_worst);
        printf(",\"kinks_left\":%lld}\n", (long long)r->kinks_left);
        return;
    }
    char total[32], checked[32];
    print_count(total, r->total);
    print_count(checked, r->checked);
    printf("%s: %s; %s of %s parameters checked, loss %.6f\n", o->model, r->status ? "FAILED" : "ok", checked,
           total, r->loss);
    printf("  |a - n| / (|a| + |n|)      %.3g\n", r->normed);
    printf("  the same by the course     %.3g   (central, epsilon 1e-7: up to 1e-7 is great, beyond 1e-5 "
           "look)\n",
           r->course);
    printf("  worst element              %.3g   %s[%lld]: analytic %.10g, numeric %.10g\n", r->worst,
           r->worst_name, (long long)r->worst_index, r->analytic, r->numeric);
    printf("  worst of %2d directions     %.3g\n", r->directions, r->direction_worst);
    printf("  kinks                      %lld stepped over with a smaller step, %lld left out\n",
           (long long)r->kinks_retried, (long long)r->kinks_left);
    if (r->zero_parameters > 0) {
        printf("  gradient 0 throughout      %d parameters, the first is %s\n", r->zero_parameters,
               r->zero_name);
    }
}

static plumb_status check(const struct gradcheck_options *o, plumb_context *context)
{
    plumb_model model;
    float *x = NULL;
    int32_t *y = NULL;
    const plumb_model_options options = {.size = sizeof(options), .classes = (int)o->classes};
    plumb_status status = plumb_model_build(context, o->model, &options, &model);
    if (!status) {
        status = make_batch(context, &model, o->batch, &x, &y);
    }
    if (status) {
        return status;
    }
    const plumb_binding inputs[2] = {
        {model.input, x, (size_t)(o->batch * plumb_shape_count(&model.input_shape)) * sizeof(float)},
        {model.label, y, (size_t)o->batch * sizeof(int32_t)}};
    const plumb_gradcheck_options how = {
        .size = sizeof(how),
        .step = o->step,
        .tolerance = o->tolerance,
        .method = strcmp(o->method, "central") == 0 ? PLUMB_DIFFERENCE_CENTRAL : PLUMB_DIFFERENCE_FIVE_POINT,
        .max_parameters = o->max,
        .samples = o->samples,
        .seed = (uint64_t)o->common.seed,
        .allow_zero = true};
    plumb_gradcheck_report report;
    memset(&report, 0, sizeof(report));
    status = plumb_gradcheck(model.graph, NULL, model.loss, inputs, 2, &how, &report);
    if (status == PLUMB_OK || report.checked > 0) {
        print_report(o, &report);
    }
    plumb_free(context, x);
    plumb_free(context, y);
    return status;
}

int command_gradcheck(int argc, char **argv)
{
    struct gradcheck_options o = {
        .common = COMMON_DEFAULTS, .model = NULL, .method = "central", .batch = 4, .classes = 10};
    const char *word = NULL;
    const struct option_row rows[] = {
        {"model", "NAME", "the network (default lenet5)", OPTION_NAME, &o.model, 0, 0, cli_model_name},
        {"batch", "N", "examples (default 4)", OPTION_WHOLE, &o.batch, 1, 4096, NULL},
        {"classes", "N", "of the model (default 10)", OPTION_WHOLE, &o.classes, 2, 256, NULL},
        {"method", "NAME", "default central", OPTION_NAME, &o.method, 0, 0, method_name},
        {"step", "H", "default 1e-5 (central), 1e-3 (five-point)", OPTION_NUMBER, &o.step, 1e-12, 1, NULL},
        {"tolerance", "X", "default 1e-8", OPTION_NUMBER, &o.tolerance, 1e-15, 1, NULL},
        {"max", "N", "check every element of models up to this size (default 10000)", OPTION_WHOLE, &o.max, 1,
         1e12, NULL},
        {"samples", "N", "else so many by lot (default 2000)", OPTION_WHOLE, &o.samples, 1, 1e12, NULL},
        COMMON_ROWS(o.common),
    };
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("gradcheck"), CLI_SOME(rows), &word, NULL}, argc, argv,
                  &code)) {
        return code;
    }
    if (!cli_pick_model("gradcheck", word, &o.model, &code)) {
        return code;
    }
    plumb_context *context = cli_open(&o.common, &code);
    if (!context) {
        return code;
    }
    plumb_status status = check(&o, context);
    code = status ? cli_fail("gradcheck", context, status) : 0;
    plumb_close(context);
    return code;
}
