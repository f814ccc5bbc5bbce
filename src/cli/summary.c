/* summary: a model layer by layer, and the memory a training step would take, worked out on the null device, so that
 * nothing of that size is allocated. */
#include "cli/cli.h"

#define ROWS_MAX 512

struct summary_options {
    struct common_options common;
    const char *model, *optimizer, *precision;
    int64_t batch, classes;
    bool plan;
};

static const char *optimizer_name(int index)
{
    return index < plumb_optimizer_count() ? plumb_optimizer_rule(index) : NULL;
}

struct totals {
    int64_t activation, parameters, frozen, multiply_adds;
};

static int longest_name(const plumb_summary_row *rows, int count)
{
    size_t longest = 12;
    for (int i = 0; i < count; i++) {
        size_t length = strlen(rows[i].name);
        longest = length > longest ? length : longest;
    }
    return (int)longest;
}

static void print_rows(const plumb_summary_row *rows, int count, bool json, struct totals *t)
{
    int width = longest_name(rows, count);
    if (!json) {
        printf("%-*s %-18s %-20s %12s %12s %14s\n", width, "layer", "op", "output", "activation", "parameters",
               "multiply-adds");
    }
    for (int i = 0; i < count; i++) {
        const plumb_summary_row *row = &rows[i];
        char shape[160], activation[32], parameters[32], cost[32];
        plumb_shape_text(&row->shape, shape, sizeof(shape));
        t->activation += row->activation;
        t->parameters += row->parameters;
        t->frozen += row->frozen;
        t->multiply_adds += row->multiply_adds;
        if (json) {
            printf("{\"layer\":");
            json_text(stdout, row->name);
            printf(",\"op\":");
            json_text(stdout, row->op);
            printf(",\"output\":\"%s\",\"activation\":%lld,\"parameters\":%lld,\"frozen\":%lld,\"multiply_"
                   "adds\":%lld}\n",
                   shape, (long long)row->activation, (long long)row->parameters, (long long)row->frozen,
                   (long long)row->multiply_adds);
            continue;
        }
        print_count(activation, row->activation);
        print_count(parameters, row->parameters);
        print_count(cost, row->multiply_adds);
        printf("%-*s %-18s %-20s %12s %12s %14s\n", width, row->name, row->op, shape, activation,
               row->parameters ? parameters : "-", row->multiply_adds ? cost : "-");
    }
}

static void print_memory(const struct summary_options *o, const char *what, const plumb_memory_plan *m)
{
    const struct {
        const char *name;
        int64_t bytes;
    } parts[] = {{"weights", m->weights},     {"gradients", m->gradients},
                 {"moments", m->moments},     {"activations", m->activations},
                 {"workspace", m->workspace}, {"inputs and outputs", m->inputs_outputs},
                 {"total", m->total}};
    if (o->common.json) {
        printf("{\"memory\":\"%s\",\"batch\":%lld,\"weights\":%lld,\"gradients\":%lld,\"moments\":%lld,"
               "\"activations\":%lld,"
               "\"workspace\":%lld,\"inputs_outputs\":%lld,\"total\":%lld}\n",
               what, (long long)o->batch, (long long)m->weights, (long long)m->gradients,
               (long long)m->moments, (long long)m->activations, (long long)m->workspace,
               (long long)m->inputs_outputs, (long long)m->total);
        return;
    }
    printf("\nmemory of a %s step, batch %lld, nothing allocated yet\n", what, (long long)o->batch);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char text[32];
        print_bytes(text, parts[i].bytes);
        printf("  %-20s %12s\n", parts[i].name, text);
    }
}

/* Compiles a step on the null device for the batch and prints what it would need. */
static plumb_status plan(const struct summary_options *o, plumb_context *context, const plumb_model *model,
                         plumb_state *state, bool training)
{
    const plumb_t outputs[2] = {model->loss, model->logits};
    const plumb_optimizer optimizer = {
        .size = sizeof(optimizer), .rule = o->optimizer, .precision = cli_precision(o->precision)};
    plumb_program *program =
        training
            ? plumb_compile_training(model->graph, state, model->loss, &optimizer, &model->logits, 1)
            : plumb_compile(model->graph, state,
                            &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                     .outputs = outputs,
                                                     .n_outputs = 2,
                                                     .precision = cli_precision(o->precision)});
    plumb_memory_plan memory;
    plumb_status status = program ? plumb_bind(program, PLUMB_BATCH, o->batch) : plumb_last_status(context);
    if (!status) {
        status = plumb_program_memory(program, &memory);
    }
    if (!status) {
        print_memory(o, training ? "training" : "prediction", &memory);
    }
    if (!status && o->plan && training && !o->common.json) {
        char *text = plumb_program_text(program);
        printf("\n%s", text ? text : "");
        plumb_text_free(context, text);
    }
    plumb_program_free(program);
    return status;
}

static plumb_status summarise(const struct summary_options *o, plumb_context *context)
{
    static plumb_summary_row rows[ROWS_MAX];
    plumb_model model;
    const plumb_model_options options = {.size = sizeof(options), .classes = (int)o->classes};
    plumb_status status = plumb_model_build(context, o->model, &options, &model);
    int count = status ? -1 : plumb_summary(model.graph, model.input, model.logits, rows, ROWS_MAX);
    if (count < 0) {
        return status ? status : plumb_last_status(context);
    }
    struct totals t = {0};
    char number[3][32];
    print_rows(rows, count < ROWS_MAX ? count : ROWS_MAX, o->common.json, &t);
    if (o->common.json) {
        printf("{\"model\":\"%s\",\"parameters\":%lld,\"frozen\":%lld,\"activation\":%lld,\"multiply_adds\":%"
               "lld}\n",
               o->model, (long long)t.parameters, (long long)t.frozen, (long long)t.activation,
               (long long)t.multiply_adds);
    } else {
        print_count(number[0], t.parameters);
        print_count(number[1], t.multiply_adds);
        print_count(number[2], t.frozen);
        printf("\n%s: %s parameters (and %s that training leaves alone), %s multiply-adds for one example\n",
               o->model, number[0], number[2], number[1]);
    }
    plumb_state *state = plumb_state_new(model.graph);
    status = state ? plan(o, context, &model, state, false) : plumb_last_status(context);
    return status ? status : plan(o, context, &model, state, true);
}

int command_summary(int argc, char **argv)
{
    struct summary_options o = {.common = COMMON_DEFAULTS, .optimizer = "adam", .precision = "f32", .batch = 64};
    const char *word = NULL;
    const struct option_row rows[] = {
        {"model", "NAME", "the network (default lenet5)", OPTION_NAME, &o.model, 0, 0, cli_model_name},
        {"batch", "N", "examples in a step, for the memory (default 64)", OPTION_WHOLE, &o.batch, 1, 1048576,
         NULL},
        {"classes", "N", "of the model (default: its own)", OPTION_WHOLE, &o.classes, 2, 100000, NULL},
        {"optimizer", "RULE", "whose moments take memory, default adam", OPTION_NAME, &o.optimizer, 0, 0,
         optimizer_name},
        {"plan", NULL, "show every step of the training program too", OPTION_FLAG, &o.plan, 0, 0, NULL},
        {"precision", "DTYPE", "of the plans, default f32", OPTION_NAME, &o.precision, 0, 0,
         cli_precision_name},
        COMMON_ROWS(o.common),
    };
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("summary"), CLI_SOME(rows), &word, NULL}, argc, argv,
                  &code) ||
        !cli_pick_model("summary", word, &o.model, &code)) {
        return code;
    }
    o.common.only_plans = true;
    if (!o.common.device) {
        o.common.device = "null";
    }
    plumb_context *context = cli_open(&o.common, &code);
    if (!context) {
        return code;
    }
    plumb_status status = summarise(&o, context);
    code = status ? cli_fail("summary", context, status) : 0;
    plumb_close(context);
    return code;
}
