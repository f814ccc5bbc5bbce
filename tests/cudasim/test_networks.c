/* Networks trained on the CUDA device as on the CPU, each step (both directions, update, gate) one captured graph from the
 * second on, whenever queued work runs and in whatever order threads do: an MLP, LeNet-5, a residual network with batch
 * norm, and an lstm with a gru on top of it.
 *
 * Where all sums are exact, by small whole numbers and rates that are powers of two, the weights must agree bit for bit;
 * that they were exact is seen by f64 agreeing with f32. Batch norm divides by a deviation, so there no whole number
 * stays one: the residual network is held to a formula (courses.c), as are the others with their real losses. */
#include "check.h"
#include "control.h"
#include "courses.h"

/* What is trained here is our own kernels. */
__attribute__((constructor)) static void without_vendors(void)
{
    cudasim_vendor(NULL, 0);
}

static plumb_context *open_on(const char *device)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = device, .threads = 1, .seed = 5});
}

static int64_t graphs(void) { return (int64_t)cudasim_count().graphs; }

static bool train(const char *device, const struct course_net *net, plumb_dtype dtype, unsigned passes_off, struct course *c)
{
    plumb_context *context = open_on(device);
    bool cuda = strcmp(device, "cuda") == 0;
    plumb_status status = context ? course_run(context, net, dtype, passes_off, cuda ? graphs : NULL, c) : PLUMB_FAILED;
    CHECK_MSG(status == PLUMB_OK, "%s on %s: %s", net->name, device, context ? plumb_message(context) : "not opened");
    for (int i = 1; cuda && status == PLUMB_OK && i < COURSE_STEPS; i++)
        CHECK_MSG(c->held[i] == 1, "%s: %d graphs are held after step %d", net->name, (int)c->held[i], i + 1);
    plumb_close(context);
    cudasim_alive alive = cudasim_count();
    CHECK(alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0);
    return status == PLUMB_OK;
}

/* How queued work runs and in which order threads do; the environment's choice comes after these. */
static const char *const policies[] = {"streams=eager,order=sequential", "streams=lazy,order=reversed",
                                       "streams=shuffle,order=random,seed=11"};
enum { POLICIES = sizeof policies / sizeof *policies };

/* The same on the GPU whatever the policy, and there as on the CPU: exactly, or within bounds. */
static void trains_as_on_the_cpu(const struct course_net *net)
{
    struct course here, there, wide;
    if (!train("cpu", net, PLUMB_F32, 0, &here))
        return;
    CHECK_MSG(net->exact || here.loss[COURSE_STEPS - 1] < here.loss[0], "%s: the loss went from %g to %g", net->name,
              here.loss[0], here.loss[COURSE_STEPS - 1]);
    if (net->exact && train("cpu", net, PLUMB_F64, 0, &wide)) {
        course_same("f32 and f64", &here, &wide);
        course_free(&wide);
    }
    for (int i = 0; i < POLICIES; i++) {
        CHECK(cudasim_set(policies[i]));
        if (train("cuda", net, PLUMB_F32, 0, &there)) {
            if (net->exact)
                course_same(policies[i], &there, &here);
            else
                printf("%s, %s: %.3f of the bound\n", net->name, policies[i], course_close(policies[i], net, &there, &here));
        }
        course_free(&there);
    }
    CHECK(cudasim_set(policies[0]));
    course_free(&here);
}

PLUMB_TEST(networks, exact_mlp) { trains_as_on_the_cpu(&course_exact_mlp); }
PLUMB_TEST(networks, exact_convolution) { trains_as_on_the_cpu(&course_exact_conv); }
PLUMB_TEST(networks, mlp) { trains_as_on_the_cpu(&course_mlp); }
PLUMB_TEST(networks, lenet5) { trains_as_on_the_cpu(&course_lenet5); }
PLUMB_TEST(networks, residual) { trains_as_on_the_cpu(&course_residual); }
PLUMB_TEST(networks, recurrent) { trains_as_on_the_cpu(&course_recurrent); }

/* Norm, residual and relu as one op in both directions, against one op each. */
PLUMB_TEST(networks, fused_and_unfused)
{
    struct course fused, plain;
    if (train("cuda", &course_residual, PLUMB_F32, 0, &fused) &&
        train("cuda", &course_residual, PLUMB_F32, PLUMB_PASS_FUSE, &plain)) {
        CHECK_TEXT(plain.plan, " relu ");
        CHECK_TEXT(plain.plan, " relu_backward ");
        CHECK(fused.plan && !strstr(fused.plan, " relu ") && !strstr(fused.plan, " relu_backward "));
        printf("fused: %.3f of the bound\n", course_close("fused and not", &course_residual, &fused, &plain));
    }
    course_free(&fused);
    course_free(&plain);
}
