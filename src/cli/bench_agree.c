/* The check before a training step is timed. bench.h says what is compared and how strictly. The reference takes seconds
 * for each GFLOP or so, so large networks are checked on fewer examples, and if one alone is still too many, on smaller
 * pictures. */
#include "cli/bench.h"

#define CHECK_FLOPS 12.5e9 /* of one step, which the reference computes twice: some seconds */

/* ---- every op of the step on its own ---- */

struct step_check {
    plumb_context *context; /* the reference's */
    struct bench_call call;
    double worst;
};

static plumb_status before_step(void *user, int index, const struct plumb_step *step)
{
    struct step_check *c = user;
    (void)index;
    return bench_call_take(&c->call, c->context, &step->call);
}

static plumb_status after_step(void *user, int index, const struct plumb_step *step)
{
    struct step_check *c = user;
    (void)index;
    plumb_status status = bench_call_reference(&c->call);
    if (!status) {
        status = bench_call_compare(&c->call, &step->call, step->impl->name, &c->worst);
    }
    bench_call_free(&c->call);
    return status;
}

static plumb_status check_ops(struct bench_net *n, plumb_context *reference, struct bench_agreement *a)
{
    struct step_check c = {.context = reference};
    const struct plumb_watch watch = {before_step, after_step, &c};
    plumb_status status = bench_net_training(n);
    plumb_watch_steps(n->program, &watch);
    status = status ? status : bench_net_step(n);
    plumb_watch_steps(n->program, NULL);
    bench_call_free(&c.call);
    a->ops = c.worst;
    return bench_say(n->context, reference, status);
}

/* ---- loss and gradients ---- */

/* Of the first batch. */
static plumb_status run_gradients(struct bench_net *n, const char *implementations)
{
    plumb_t wrt[BENCH_PARAMETERS_MAX];
    n->n_out = plumb_parameters(n->net.graph, wrt, BENCH_PARAMETERS_MAX) + 1;
    if (n->n_out > BENCH_PARAMETERS_MAX + 1) {
        return plumb_fail(n->context, PLUMB_BAD_INPUT, "bench: more than %d parameters", BENCH_PARAMETERS_MAX);
    }
    plumb_status status = plumb_gradients(n->net.graph, n->net.loss, wrt, n->n_out - 1, n->out + 1);
    n->out[0] = n->net.loss;
    if (status) {
        return status;
    }
    n->program = plumb_compile(n->net.graph, n->state,
                               &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                        .outputs = n->out,
                                                        .n_outputs = n->n_out,
                                                        .training = true,
                                                        .precision = cli_precision(n->options.precision),
                                                        .implementations = implementations});
    status = n->program ? plumb_loader_seek(n->loader, 0, 0) : plumb_last_status(n->context);
    if (!status && plumb_loader_next(n->loader, n->program, n->net.input, n->net.label) < 0) {
        status = plumb_last_status(n->context);
    }
    return status ? status : plumb_run(n->program);
}

static plumb_status check_gradients(struct bench_net *n, struct bench_net *reference, struct bench_agreement *a)
{
    bool low = cli_precision(n->options.precision) != PLUMB_F32;
    double loss_bound = low ? BENCH_LOSS_LOW : BENCH_AGREE, bound = low ? BENCH_GRADIENTS_LOW : BENCH_GRADIENTS;
    plumb_status status = run_gradients(n, NULL);
    if (!status) {
        status = bench_say(n->context, reference->context, run_gradients(reference, "*=cpu.ref"));
    }
    for (int i = 0; !status && i < n->n_out; i++) {
        status = bench_difference(n->context, n->program, n->out[i], reference->program, reference->out[i],
                                  i ? &a->gradients : &a->loss);
    }
    if (!status && !(a->loss <= loss_bound)) {
        status = plumb_fail(n->context, PLUMB_FAILED,
                            "bench: the loss differs from the reference's by %.3g, allowed is %.3g: not timed", a->loss,
                            loss_bound);
    }
    if (!status && !(a->gradients <= bound)) {
        status = plumb_fail(n->context, PLUMB_FAILED,
                            "bench: gradients differ from the reference by %.3g, allowed is %.3g: not timed",
                            a->gradients, bound);
    }
    return status;
}

/* ---- on what ---- */

/* FLOPs of a training step with these options. */
static plumb_status cost(plumb_context *context, const struct bench_net_options *options, double *flops)
{
    struct bench_net n;
    double bytes;
    plumb_status status = bench_net_make(&n, context, options);
    status = status ? status : bench_net_training(&n);
    status = status ? status : plumb_bind(n.program, PLUMB_BATCH, options->batch);
    status = status ? status : plumb_program_cost(n.program, flops, &bytes);
    bench_net_free(&n);
    return status;
}

/* Fewer examples, but two for the sake of statistics over them, then smaller pictures, until the cost is bearable. Not so
 * small that batch norm would see one pixel: of two numbers it makes -1 and 1, whatever they are. */
plumb_status bench_shrink(plumb_context *context, const struct bench_net_options *options, bool full,
                          struct bench_net_options *o)
{
    double flops = 0;
    *o = *options;
    for (int i = 0; o->picture.rank == 0 && cli_model_name(i); i++) {
        if (strcmp(cli_model_name(i), o->model) == 0) {
            o->picture = plumb_model_input_shape(i);
        }
    }
    plumb_status status = full ? PLUMB_OK : cost(context, o, &flops);
    while (!status && flops > CHECK_FLOPS && (o->batch > 2 || o->picture.dim[1] >= 112)) {
        if (o->batch > 2) {
            o->batch = (o->batch + 1) / 2;
        } else {
            o->picture.dim[1] /= 2;
            o->picture.dim[2] /= 2;
        }
        status = cost(context, o, &flops);
    }
    return status;
}

plumb_status bench_agree(plumb_context *context, plumb_context *reference, struct bench_agreement *a)
{
    struct bench_net here = {0}, there = {0};
    plumb_status status = bench_net_make(&here, context, &a->options);
    status = status ? status : bench_net_data(&here);
    if (!status) {
        status = bench_net_make(&there, reference, &a->options);
        status = bench_say(context, reference, status ? status : bench_net_data(&there));
    }
    status = status ? status : check_gradients(&here, &there, a);
    bench_net_free(&there);
    status = status ? status : check_ops(&here, reference, a);
    bench_net_free(&here);
    return status;
}
