/* Mixed precision as a pass: which casts appear and which do not, what stays f32; and the CPU's conversions. Training in
 * it is in test_loss_scale.c. */
#include "check.h"
#include "nets.h"
#include "plumb/plumb.h"

/* ---- the pass ---- */

struct step {
    plumb_context *context;
    struct net net;
    plumb_state *state;
    plumb_program *program;
    char *text;
};

static void close_step(struct step *s)
{
    plumb_text_free(s->context, s->text);
    plumb_close(s->context);
}

/* A training step of a small network: forward, backward and update as one program. */
static bool open_step(struct step *s, net_builder build, plumb_dtype precision, unsigned off)
{
    memset(s, 0, sizeof *s);
    s->context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .seed = 5, .strict_memory = true});
    if (s->context && build(s->context, &s->net) == PLUMB_OK) {
        s->state = plumb_state_new(s->net.g);
        plumb_minimize(s->net.g, s->net.loss, NULL, 0, PLUMB_ADAM(.lr = 0.01, .skip_bad_steps = true));
        const plumb_t outputs[] = {s->net.loss, s->net.out};
        s->program = plumb_compile(s->net.g, s->state,
                                   &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = outputs,
                                                            .n_outputs = 2, .training = true, .effects = true,
                                                            .passes_off = off, .precision = precision});
    }
    if (s->program && plumb_bind(s->program, PLUMB_BATCH, 6) == PLUMB_OK)
        s->text = plumb_program_text(s->program);
    CHECK_MSG(s->text != NULL, "%s", s->context ? plumb_message(s->context) : "no context");
    return s->text != NULL;
}
/* How many lines of the program's text are of the op, and contain `word` (NULL: any) in what follows its name. */
static int lines(const char *text, const char *op, const char *word)
{
    int count = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char name[64] = "", rest[1024] = "";
        count += sscanf(line, "%*d %63s %1023[^\n]", name, rest) == 2 && strcmp(name, op) == 0 && (!word || strstr(rest, word));
    }
    return count;
}

/* Every product is low and only that; each tensor is cast once, whether or not equal nodes are merged afterwards. Counted
 * before ops are fused. */
PLUMB_TEST(precision, casts_of_a_training_step)
{
    static const struct {
        plumb_dtype dtype;
        unsigned off;
    } row[] = {{PLUMB_BF16, 0}, {PLUMB_F16, 0}, {PLUMB_F16, PLUMB_PASS_CSE}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *low = plumb_dtype_name(row[i].dtype);
        struct step s;
        if (open_step(&s, net_mlp, row[i].dtype, row[i].off | PLUMB_PASS_FUSE)) {
            CHECK(lines(s.text, "matmul", NULL) == 8 && lines(s.text, "matmul", low) == 8 && lines(s.text, "matmul", " f32") == 0);
            CHECK(lines(s.text, "relu_backward", low) == 1 && lines(s.text, "relu_backward", " f32") == 0);
            CHECK(lines(s.text, "dropout", low) == 2 && lines(s.text, "sum_to", low) == 2 && lines(s.text, "sum_to", " f32") == 0);
            CHECK(lines(s.text, "cross_entropy", low) == 0 && lines(s.text, "cross_entropy_backward", low) == 0);
            CHECK(lines(s.text, "adam_update", low) == 0 && lines(s.text, "all_finite", low) == 0);
            /* down: the input, three weights, two biases, the logits' gradient; up: the logits and five gradients */
            CHECK_MSG(lines(s.text, "cast", NULL) == 13, "%d casts\n%s", lines(s.text, "cast", NULL), s.text);
            CHECK(lines(s.text, "cast", " fc1.weight ") == 1);
        }
        close_step(&s);
    }
}

PLUMB_TEST(precision, convolutions_and_what_lies_between)
{
    struct step s;
    if (open_step(&s, net_cnn, PLUMB_BF16, PLUMB_PASS_FUSE)) {
        const char *const low[] = {"conv2d", "conv2d_backward_data", "conv2d_backward_filter", "average_pool2d", "max_pool2d",
                                   "relu", "add", "gelu", "batch_norm", "average_pool2d_backward"};
        CHECK(lines(s.text, "conv2d", " f32") == 0 && lines(s.text, "conv2d_backward_filter", " f32") == 0);
        CHECK(lines(s.text, "batch_norm", "bf16 (6, 6, 8, 8), f32 (6), f32 (6), f32 (6), f32 (6) -> bf16") == 1);
        for (size_t i = 0; i < sizeof low / sizeof *low; i++)
            CHECK_MSG(lines(s.text, low[i], "bf16") >= 1, "%s is not low\n%s", low[i], s.text);
        CHECK(lines(s.text, "exp", "bf16") == 0 && lines(s.text, "square", "bf16") == 0);
    }
    close_step(&s);
}

PLUMB_TEST(precision, f32_is_as_written)
{
    struct step plain, asked;
    if (open_step(&plain, net_cnn, PLUMB_NO_DTYPE, 0) && open_step(&asked, net_cnn, PLUMB_F32, 0))
        CHECK(strcmp(plain.text, asked.text) == 0 && lines(plain.text, "cast", NULL) == 0);
    close_step(&plain);
    close_step(&asked);
}

/* Weights stay f32 in the state, and results are fetched as f32: values that the low dtype has. */
PLUMB_TEST(precision, what_is_outside_stays_f32)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "g");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3));
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(3, 2), NULL);
    plumb_t y = plumb_matmul(g, x, w, false, false), sum = plumb_sum(g, y, NULL, 0, false);
    plumb_t gap = plumb_sub(g, y, plumb_slice(g, x, (int64_t[]){0, 0}, (int64_t[]){2, 2}, NULL)); /* a target that is fed */
    plumb_state *state = plumb_state_new(g);
    const plumb_t outputs[] = {y, sum, gap, w};
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .outputs = outputs, .n_outputs = 4,
                                                                             .precision = PLUMB_BF16});
    REQUIRE(program);
    const float in[6] = {1, 2, -1, 0.5f, 3, 4}, weights[6] = {1.0009765625f, 0.125f, 1, -1, 0.25f, 3};
    float got[4], kept[6], total = NAN, away[4];
    CHECK(plumb_state_dtype(state, "w") == PLUMB_F32 && plumb_state_set(state, "w", weights, sizeof weights) == PLUMB_OK);
    CHECK(plumb_feed(program, x, in, sizeof in) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_fetch(program, y, got, sizeof got) == PLUMB_OK && plumb_fetch(program, sum, &total, sizeof total) == PLUMB_OK);
    CHECK(plumb_fetch(program, w, kept, sizeof kept) == PLUMB_OK && memcmp(kept, weights, sizeof kept) == 0);
    CHECK(plumb_fetch(program, gap, away, sizeof away) == PLUMB_OK);
    CHECK(got[0] == 2.75f && got[1] == -4.875f && got[2] == 4.5f && got[3] == 9.0625f); /* 1.001 is 1 in bf16 */
    CHECK(total == 2.75f - 4.875f + 4.5f + 9.0625f); /* 11.4375 is not in bf16: the sum is f32 */
    CHECK(away[0] == 1.75f && away[3] == 6.0625f);
    char *text = plumb_program_text(program);
    CHECK_MSG(lines(text, "sub", "bf16") == 0 && lines(text, "sum", "bf16") == 0, "%s", text);
    plumb_text_free(context, text);
    plumb_close(context);
}

/* A loss that is large for f16, made of a scalar by ops that follow; and what is made of variables alone. */
PLUMB_TEST(precision, scalars_and_parameters_stay_f32)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "g");
    const plumb_variable_options third = {.size = sizeof third, .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1.0 / 3}};
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(1, 2)), w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(2, 1), &third);
    plumb_t one = plumb_reshape(g, plumb_matmul(g, x, w, false, false), PLUMB_SCALAR_SHAPE);
    plumb_t large = plumb_affine(g, one, 1e5, 0), both = plumb_affine(g, plumb_add(g, w, w), 0.5, 0);
    plumb_state *state = plumb_state_new(g);
    const plumb_t outputs[] = {large, both};
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .outputs = outputs, .n_outputs = 2,
                                                                             .precision = PLUMB_F16});
    REQUIRE(program);
    const float in[2] = {3, 6};
    float kept[2];
    double loss = 0;
    CHECK(plumb_feed(program, x, in, sizeof in) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_fetch_number(program, large, &loss) == PLUMB_OK && plumb_fetch(program, both, kept, sizeof kept) == PLUMB_OK);
    CHECK_MSG(fabs(loss - 3e5) <= 3e5 * 0x1p-10, "%g", loss); /* w and the product are rounded to f16 */
    CHECK(kept[0] == 1.0f / 3 && kept[1] == 1.0f / 3);
    plumb_close(context);
}

/* What the user wrote in bf16 or as integers is not touched; the casts written out stay. */
PLUMB_TEST(precision, other_dtypes_are_left_alone)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "g");
    plumb_t x = plumb_input(g, "x", PLUMB_BF16, PLUMB_SHAPE(4, 4)), k = plumb_input(g, "k", PLUMB_I32, PLUMB_SHAPE(4, 4));
    plumb_t y = plumb_exp(g, plumb_matmul(g, x, x, false, false)), n = plumb_add(g, k, k);
    const plumb_t outputs[] = {y, n};
    plumb_program *program = plumb_compile(g, NULL, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                            .outputs = outputs, .n_outputs = 2,
                                                                            .precision = PLUMB_F16});
    REQUIRE(program);
    char *text = plumb_program_text(program);
    CHECK_MSG(text && lines(text, "matmul", " f16") == 0 && lines(text, "exp", "bf16") == 1 && lines(text, "cast", NULL) == 0,
              "%s", text);
    plumb_text_free(context, text);
    plumb_close(context);
}

/* Dropout's mask is the same in every dtype. */
PLUMB_TEST(precision, draws_do_not_change)
{
    unsigned char dropped[2][600];
    for (int i = 0; i < 2; i++) {
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 11});
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "g");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(20, 30));
        plumb_t unit = plumb_variable(g, "unit", PLUMB_F32, PLUMB_SHAPE(30, 30), NULL);
        plumb_t y = plumb_dropout(g, plumb_matmul(g, x, unit, false, false), 0.3);
        plumb_state *state = plumb_state_new(g);
        plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                                 .outputs = &y, .n_outputs = 1,
                                                                                 .training = true,
                                                                                 .precision = i ? PLUMB_F16 : PLUMB_F32});
        REQUIRE(program);
        float one[900] = {0}, in[600], out[600];
        for (int k = 0; k < 900; k += 31)
            one[k] = 1;
        for (int k = 0; k < 600; k++)
            in[k] = 1;
        CHECK(plumb_state_set(state, "unit", one, sizeof one) == PLUMB_OK && plumb_feed(program, x, in, sizeof in) == PLUMB_OK);
        CHECK(plumb_run(program) == PLUMB_OK && plumb_fetch(program, y, out, sizeof out) == PLUMB_OK);
        int count = 0;
        for (int k = 0; k < 600; k++)
            count += dropped[i][k] = out[k] == 0;
        CHECK(count > 100 && count < 260);
        plumb_close(context);
    }
    CHECK(memcmp(dropped[0], dropped[1], sizeof dropped[0]) == 0);
}

static void refuse(plumb_dtype written, plumb_dtype precision, const char *says)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "g");
    plumb_t x = plumb_input(g, "x", written, PLUMB_SHAPE(2, 2)), y = plumb_matmul(g, x, x, false, false);
    plumb_named(g, y, "square");
    CHECK(!plumb_compile(g, NULL, &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &y,
                                                          .n_outputs = 1, .precision = precision}));
    CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
    CHECK_MSG(strstr(plumb_message(context), says), "%s", plumb_message(context));
    plumb_close(context);
}

PLUMB_TEST(precision, nonsense_is_refused)
{
    refuse(PLUMB_F32, PLUMB_I32, "precision i32: must be f32, bf16 or f16");
    refuse(PLUMB_F32, PLUMB_F64, "precision f64");
    refuse(PLUMB_F32, (plumb_dtype)99, "precision ?");
    refuse(PLUMB_F64, PLUMB_BF16, "matmul 'square' is written in f64");
}

/* ---- the CPU's low kernels ---- */

/* Through a program, so that the implementation is the chosen one; both ways, and against the core's conversions. */
static bool cast_with(const char *implementations, plumb_dtype from, plumb_dtype to, const void *in, void *out, int64_t count)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .implementations = implementations});
    plumb_graph *g = context ? plumb_graph_new(context, "g") : NULL;
    plumb_t x = plumb_input(g, "x", from, PLUMB_SHAPE(count)), y = plumb_cast(g, x, to);
    plumb_program *program = plumb_compile(
        g, NULL, &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &y, .n_outputs = 1});
    bool good = program && plumb_feed(program, x, in, (size_t)count * plumb_dtype_size(from)) == PLUMB_OK &&
                plumb_run(program) == PLUMB_OK && plumb_fetch(program, y, out, (size_t)count * plumb_dtype_size(to)) == PLUMB_OK;
    CHECK_MSG(good, "%s", context ? plumb_message(context) : "no context");
    plumb_close(context);
    return good;
}

static void compare_casts(plumb_dtype low)
{
    enum { ALL = 1 << 16, AROUND = 5 };
    static uint16_t pattern[ALL], narrowed[2][ALL * AROUND];
    static float widened[2][ALL], wide[ALL * AROUND];
    for (int i = 0; i < ALL; i++)
        pattern[i] = (uint16_t)i;
    if (!cast_with("cast=cpu.native.half", low, PLUMB_F32, pattern, widened[0], ALL) ||
        !cast_with("cast=cpu.ref", low, PLUMB_F32, pattern, widened[1], ALL))
        return;
    int wrong = 0, denormal = 0;
    for (int i = 0; i < ALL; i++) {
        bool nan = widened[0][i] != widened[0][i] && widened[1][i] != widened[1][i]; /* the reference's went through a double */
        wrong += !nan && memcmp(&widened[0][i], &widened[1][i], sizeof(float)) != 0;
    }
    CHECK_MSG(wrong == 0, "%s to f32: %d of all patterns differ", plumb_dtype_name(low), wrong);
    /* every value, the ties half-way to its neighbour, and both sides of them */
    for (int i = 0; i < ALL; i++) {
        uint32_t bits, tie = low == PLUMB_BF16 ? 0x8000 : 0x1000;
        memcpy(&bits, &widened[0][i], sizeof bits);
        const uint32_t around[AROUND] = {bits, bits + tie, bits + tie - 1, bits + tie + 1, bits ^ tie >> 3};
        memcpy(&wide[i * AROUND], around, sizeof around);
    }
    if (!cast_with("cast=cpu.native.half", PLUMB_F32, low, wide, narrowed[0], ALL * AROUND) ||
        !cast_with("cast=cpu.ref", PLUMB_F32, low, wide, narrowed[1], ALL * AROUND))
        return;
    for (int i = 0; i < ALL * AROUND; i++) {
        bool nan = wide[i] != wide[i];
        uint16_t quiet = low == PLUMB_BF16 ? 0x7fc0 : 0x7e00;
        wrong += nan ? (narrowed[0][i] & quiet) != quiet : narrowed[0][i] != narrowed[1][i];
        denormal += !nan && wide[i] != 0 && fabsf(wide[i]) < 0x1p-14f;
    }
    CHECK_MSG(wrong == 0 && denormal > 1000, "f32 to %s: %d differ", plumb_dtype_name(low), wrong);
}

PLUMB_TEST(precision, cpu_casts_are_the_references)
{
    compare_casts(PLUMB_BF16);
    compare_casts(PLUMB_F16);
}
