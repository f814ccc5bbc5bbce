/* NaN and infinities put into weights, activations, gradients and inputs at a random place and step of a training: found in
 * that step, named, not applied, and not handed to whoever keeps the training. As many times as PLUMB_INJECTIONS says (100);
 * the nightly suite `injections` does a thousand. */
#include "check.h"
#include "core/core.h"
#include "halves.h"
#include "train/train.h"

enum { UNITS = 8, STEPS = 9, EXAMPLES = 90, BATCH = 10, PARAMETERS = 4 };

static const char *const parameters[PARAMETERS] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};

/* sum(sqrt(gate + slope (p - stop(p)))): adds nothing to the gradient of p while the gate is 1 and the slope 0. A gate of 0
 * adds slope / 0 to its element. */
static plumb_t gated(plumb_graph *g, plumb_t p)
{
    const plumb_variable_options one = {.size = sizeof one, .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}, .frozen = true};
    const plumb_variable_options zero = {.size = sizeof zero, .frozen = true};
    char name[64];
    snprintf(name, sizeof name, "gate.%s", plumb_name_of(g, p));
    plumb_t gate = plumb_variable(g, name, PLUMB_F32, plumb_shape_of(g, p), &one);
    plumb_t slope = plumb_variable(g, "slope", PLUMB_F32, PLUMB_SCALAR_SHAPE, &zero);
    plumb_t nothing = plumb_mul(g, plumb_sub(g, p, plumb_stop_gradient(g, p)), slope);
    return plumb_sum(g, plumb_sqrt(g, plumb_add(g, gate, nothing)), NULL, 0, false);
}

static plumb_model fragile(plumb_context *context, bool gates)
{
    const plumb_variable_options zero = {.size = sizeof zero, .frozen = true};
    plumb_graph *g = plumb_graph_new(context, "fragile");
    plumb_model m = {.graph = g, .input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2};
    m.input = plumb_input(g, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1, SIDE, SIDE));
    m.label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t h = plumb_linear_layer(g, "fc1", plumb_flatten(g, m.input, 1), .units = UNITS, .activation = PLUMB_RELU);
    h = plumb_add(g, h, plumb_variable(g, "poison", PLUMB_F32, PLUMB_SHAPE(UNITS), &zero));
    m.logits = plumb_linear_layer(g, "fc2", h, .units = 2);
    m.loss = plumb_softmax_cross_entropy(g, m.logits, m.label, NULL);
    for (int i = 0; gates && i < PARAMETERS; i++) {
        m.loss = plumb_add(g, m.loss, gated(g, plumb_find(g, parameters[i])));
    }
    return m;
}

enum kind { WEIGHT, ACTIVATION, GRADIENT, INPUT, KINDS };

struct injection {
    enum kind kind;
    int step;        /* is put in after so many */
    const char *name; /* of the variable */
    uint32_t element; /* modulo its size */
    float value;
    plumb_state *state, *before; /* before: a clone from before the step that must fail */
    int steps, kept;
};

static void put_in(struct injection *j)
{
    float data[UNITS * PIXELS];
    plumb_shape shape = plumb_state_shape(j->state, j->name);
    size_t count = (size_t)plumb_shape_count(&shape);
    CHECK(plumb_state_get(j->state, j->name, data, count * sizeof(float)) == PLUMB_OK);
    data[j->element % count] = j->kind == GRADIENT ? 0 : j->value;
    CHECK(plumb_state_set(j->state, j->name, data, count * sizeof(float)) == PLUMB_OK);
    if (j->kind == GRADIENT) { /* 0 / 0, or an infinity of the value's sign */
        CHECK(plumb_state_set_number(j->state, "slope", isnan(j->value) ? 0 : copysign(1e-3, (double)j->value)) == PLUMB_OK);
    }
}

static bool on_step(void *user, const plumb_progress *progress)
{
    struct injection *j = user;
    (void)progress;
    j->steps++;
    if (j->steps == j->step) {
        if (j->kind != INPUT) {
            put_in(j);
        }
        j->before = plumb_state_clone(j->state);
    }
    return true;
}

static plumb_status count_kept(void *user, const struct plumb_training *t, bool over)
{
    struct injection *j = user;
    (void)t;
    (void)over;
    j->kept++;
    return PLUMB_OK;
}

/* After how many steps of an epoch the example comes. */
static int steps_before(plumb_dataset *d, const plumb_fit_options *o, const plumb_model *m, plumb_state *state, int64_t example)
{
    plumb_loader *loader =
        plumb_loader_new(d, &(plumb_loader_options){.batch = o->batch, .shuffle = true, .seed = o->seed});
    plumb_program *program = plumb_compile(m->graph, state, &(plumb_compile_options){.outputs = &m->loss, .n_outputs = 1});
    for (int steps = 0;; steps++) {
        int64_t count = plumb_loader_next(loader, program, m->input, m->label);
        for (int64_t i = 0; i < count; i++) {
            if (plumb_loader_indices(loader)[i] == example) {
                return steps;
            }
        }
        if (count <= 0) {
            return -1;
        }
    }
}

/* What the message must say of where it came from. */
static void check_message(const char *message, const struct injection *j, int64_t example)
{
    char expected[96];
    snprintf(expected, sizeof expected, "training: step %d (epoch 1, batch %d): ", j->step + 1, j->step + 1);
    CHECK_TEXT(message, expected);
    CHECK_TEXT(message, "; rate 0.01; the step was not applied");
    CHECK_TEXT(message, "; gradient norm ");
    CHECK_TEXT(message, " and 2 more;"); /* examples */
    if (j->kind == INPUT) {
        snprintf(expected, sizeof expected, "input 'image' (10, 1, 8, 8) at element ");
        CHECK_TEXT(message, expected);
        snprintf(expected, sizeof expected, ", example %lld of the data set", (long long)example);
        CHECK_TEXT(message, expected);
    } else if (j->kind == GRADIENT) {
        CHECK_TEXT(message, "a gradient is not finite; first to be so: ");
    } else {
        snprintf(expected, sizeof expected, "first to be so: variable '%s' ", j->name);
        CHECK_TEXT(message, expected);
    }
}

static void inject(uint32_t number)
{
    static const float values[3] = {NAN, INFINITY, -INFINITY};
    uint32_t word[4];
    plumb_philox(77, 1, number, 0, word);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1, .seed = 1 + number});
    struct injection j = {.kind = (enum kind)(number % KINDS), .element = word[0], .value = values[word[1] % 3]};
    plumb_model model = fragile(context, j.kind == GRADIENT);
    char gate[64];
    int64_t example = j.kind == INPUT ? (int64_t)(word[2] % EXAMPLES) : -1;
    snprintf(gate, sizeof gate, "gate.%s", parameters[word[2] % PARAMETERS]);
    j.name = j.kind == ACTIVATION ? "poison" : j.kind == GRADIENT ? gate : parameters[word[2] % PARAMETERS];
    j.state = plumb_state_new(model.graph);
    plumb_dataset *train = halves(context, EXAMPLES, 1, example, j.value);
    const plumb_fit_options options = {
        .epochs = 1, .batch = BATCH, .optimizer = PLUMB_ADAM(.lr = 0.01), .seed = 3, .on_step = on_step, .user = &j};
    j.step = j.kind == INPUT ? steps_before(train, &options, &model, j.state, example) : 1 + (int)(word[3] % (STEPS - 1));
    if (j.step == 0) {
        j.before = plumb_state_clone(j.state);
    }
    plumb_status status =
        plumb_fit_kept(&model, j.state, train, &options, NULL, NULL, &(struct plumb_keeper){.user = &j, .after = count_kept});
    CHECK_MSG(status == PLUMB_NUMERIC && j.steps == j.step && j.kept == j.step,
              "injection %u, %g into %s: status %d after %d steps, expected after %d; kept %d: %s", number, (double)j.value,
              j.kind == INPUT ? "the input" : j.name, (int)status, j.steps, j.step, j.kept, plumb_message(context));
    check_message(plumb_message(context), &j, example);
    const char *differs = j.step > 0 && j.before ? state_difference(j.before, j.state) : NULL;
    CHECK_MSG(j.before && !differs, "injection %u: '%s' is not as it was before the step", number, differs);
    plumb_close(context);
}

PLUMB_TEST(not_finite, is_found_in_its_step)
{
    const char *asked = getenv("PLUMB_INJECTIONS");
    int count = asked ? atoi(asked) : 100;
    CHECK(count > 0);
    for (int i = 0; i < count && check_failures() < 5; i++) {
        inject((uint32_t)i);
    }
}
