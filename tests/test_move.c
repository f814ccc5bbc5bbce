/* Ops that move elements, by hand: what several updates of one element leave and which of them has a gradient, products with
 * zeros, padding beyond a second edge, ONNX's one-hot, parts of a split; and what builders say of sizes that are symbols. */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/program.h"

enum { MOST = 32 };
typedef plumb_t scene_build(plumb_graph *g);

static plumb_t numbers(plumb_graph *g, int count, const double *values)
{
    return plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(count), values);
}
static plumb_t places(plumb_graph *g, int count, const int64_t *values)
{
    return plumb_constant(g, PLUMB_I64, PLUMB_SHAPE(count), values);
}
static plumb_t count_to(plumb_graph *g, double end) { return plumb_arange(g, PLUMB_F64, 0, end, 1); }

static plumb_t last_stays(plumb_graph *g)
{
    return plumb_scatter_elements(g, count_to(g, 4), places(g, 5, (int64_t[]){1, 3, 1, -1, 1}),
                                  numbers(g, 5, (double[]){10, 20, 30, 40, 50}), 0, PLUMB_SCATTER_NONE);
}

/* d(sum of weighted result)/d(which input): weights 1, 2, 3 ... */
static plumb_t gradient(plumb_graph *g, int which, const double *x, int64_t *at, double *u, plumb_scatter_reduce reduce)
{
    plumb_t in[] = {numbers(g, 4, x), places(g, 5, at), numbers(g, 5, u)}, d = PLUMB_NONE;
    plumb_t y = plumb_scatter_elements(g, in[0], in[1], in[2], 0, reduce);
    plumb_t loss = plumb_sum(g, plumb_mul(g, y, plumb_arange(g, PLUMB_F64, 1, 5, 1)), NULL, 0, false);
    CHECK(plumb_gradients(g, loss, &in[which], 1, &d) == PLUMB_OK);
    return d;
}

#define OF_FIVE (const double[]){2, 3, 4, 5}, (int64_t[]){1, 3, 1, 0, 1}
static plumb_t last_has_gradient(plumb_graph *g)
{
    return gradient(g, 2, OF_FIVE, (double[]){6, 7, 8, 9, 10}, PLUMB_SCATTER_NONE);
}
static plumb_t replaced_have_none(plumb_graph *g)
{
    return gradient(g, 0, OF_FIVE, (double[]){6, 7, 8, 9, 10}, PLUMB_SCATTER_NONE);
}
static plumb_t product(plumb_graph *g) { return gradient(g, 2, OF_FIVE, (double[]){6, 7, 8, 9, 10}, PLUMB_SCATTER_MUL); }
static plumb_t one_zero(plumb_graph *g) { return gradient(g, 2, OF_FIVE, (double[]){6, 7, 0, 9, 10}, PLUMB_SCATTER_MUL); }
static plumb_t two_zeros(plumb_graph *g) { return gradient(g, 2, OF_FIVE, (double[]){0, 7, 0, 9, 10}, PLUMB_SCATTER_MUL); }
static plumb_t largest_shared(plumb_graph *g)
{
    return gradient(g, 2, OF_FIVE, (double[]){8, 7, 8, 1, 2}, PLUMB_SCATTER_MAX);
}
static plumb_t smallest_with_own(plumb_graph *g)
{
    return gradient(g, 0, OF_FIVE, (double[]){3, 7, 8, 1, 3}, PLUMB_SCATTER_MIN);
}

static plumb_t padded(plumb_graph *g, plumb_pad_mode mode)
{
    return plumb_pad(g, count_to(g, 3), (int64_t[]){5}, (int64_t[]){4}, mode, 7);
}
static plumb_t reflected(plumb_graph *g) { return padded(g, PLUMB_PAD_REFLECT); }
static plumb_t edged(plumb_graph *g) { return padded(g, PLUMB_PAD_EDGE); }
static plumb_t wrapped(plumb_graph *g) { return padded(g, PLUMB_PAD_WRAP); }
static plumb_t cropped(plumb_graph *g)
{
    return plumb_pad(g, count_to(g, 6), (int64_t[]){-2}, (int64_t[]){2}, PLUMB_PAD_REFLECT, 0);
}
static plumb_t hot(plumb_graph *g)
{
    return plumb_one_hot_of(g, places(g, 4, (int64_t[]){1, -1, 3, -4}), 3, PLUMB_F64, 0, 5, 2);
}
static plumb_t second_of_split(plumb_graph *g)
{
    plumb_t parts[3];
    CHECK(plumb_split(g, count_to(g, 7), 0, NULL, 3, parts) == PLUMB_OK);
    CHECK(plumb_shape_of(g, parts[2]).dim[0] == 1);
    return parts[1];
}
static plumb_t sized_split(plumb_graph *g)
{
    plumb_t parts[3];
    CHECK(plumb_split(g, count_to(g, 7), -1, (int64_t[]){4, 0, 3}, 3, parts) == PLUMB_OK);
    CHECK(plumb_shape_of(g, parts[1]).dim[0] == 0);
    return parts[2];
}
static plumb_t stacked(plumb_graph *g)
{
    plumb_t rows[3], x = plumb_reshape(g, count_to(g, 6), PLUMB_SHAPE(3, 2));
    CHECK(plumb_unstack(g, x, 0, 3, rows) == PLUMB_OK);
    return plumb_stack(g, rows, 3, -1);
}
static plumb_t tiled(plumb_graph *g)
{
    return plumb_tile(g, plumb_reshape(g, count_to(g, 2), PLUMB_SHAPE(1, 2)), (int64_t[]){2, 3});
}
static plumb_t line(plumb_graph *g) { return plumb_linspace(g, PLUMB_F64, 2, -1, 4); }
static plumb_t range_of_none(plumb_graph *g) { return plumb_arange(g, PLUMB_F64, 2, -1, 1); }
static plumb_t rest_of_tuple(plumb_graph *g)
{
    plumb_t x = plumb_reshape(g, count_to(g, 12), PLUMB_SHAPE(2, 3, 2));
    return plumb_gather_nd(g, x, plumb_constant(g, PLUMB_I64, PLUMB_SHAPE(2, 2), (int64_t[]){1, -1, 0, 1}), 0);
}

static const struct {
    const char *name;
    scene_build *build;
    int count;
    double want[MOST];
} scenes[] = {
    {"the last update stays", last_stays, 4, {0, 50, 2, 40}},
    {"the last update has the gradient", last_has_gradient, 5, {0, 4, 0, 1, 2}},
    {"what was replaced has none", replaced_have_none, 4, {0, 0, 3, 0}},
    {"product", product, 5, {2 * 3 * 8 * 10, 4 * 5, 2 * 3 * 6 * 10, 2, 2 * 3 * 6 * 8}},
    {"product, one zero", one_zero, 5, {0, 4 * 5, 2 * 3 * 6 * 10, 2, 0}},
    {"product, two zeros", two_zeros, 5, {0, 4 * 5, 0, 2, 0}},
    {"largest, two tie", largest_shared, 5, {1, 4, 1, 0, 0}},
    {"smallest, x ties with two", smallest_with_own, 4, {0, 2.0 / 3, 3, 4}},
    {"reflect, over and over", reflected, 12, {1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2}},
    {"edge", edged, 12, {0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2}},
    {"wrap", wrapped, 12, {1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0}},
    {"cropped and mirrored", cropped, 6, {2, 3, 4, 5, 4, 3}},
    {"one-hot along 0", hot, 12, {2, 2, 2, 2, 5, 2, 2, 2, 2, 5, 2, 2}},
    {"second third of 7", second_of_split, 3, {3, 4, 5}},
    {"the last of 4, 0, 3", sized_split, 3, {4, 5, 6}},
    {"rows stacked as columns", stacked, 6, {0, 2, 4, 1, 3, 5}},
    {"tiled", tiled, 12, {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}},
    {"linspace", line, 4, {2, 1, 0, -1}},
    {"an empty range", range_of_none, 0, {0}},
    {"rows by tuples", rest_of_tuple, 4, {10, 11, 2, 3}},
};
enum { SCENES = sizeof(scenes) / sizeof(*scenes) };

static void play(plumb_context *context, int i)
{
    plumb_graph *g = plumb_graph_new(context, scenes[i].name);
    plumb_t y = scenes[i].build(g);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = plumb_compile(
        g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &y, .n_outputs = 1});
    double got[MOST] = {0};
    CHECK_MSG(program && plumb_run(program) == PLUMB_OK &&
                  plumb_fetch(program, y, got, sizeof(double) * (size_t)scenes[i].count) == PLUMB_OK,
              "%s: %s", scenes[i].name, plumb_message(context));
    for (int k = 0; k < scenes[i].count; k++)
        CHECK_MSG(fabs(got[k] - scenes[i].want[k]) <= 1e-15 * fabs(scenes[i].want[k]), "%s: element %d is %g, expected %g",
                  scenes[i].name, k, got[k], scenes[i].want[k]);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
}

static plumb_context *open_cpu(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1});
}

PLUMB_TEST(move, values_by_hand)
{
    plumb_context *context = open_cpu();
    for (int i = 0; i < SCENES; i++)
        play(context, i);
    plumb_close(context);
}

static bool has_shape(plumb_graph *g, plumb_t x, plumb_shape want)
{
    plumb_shape is = plumb_shape_of(g, x);
    bool same = x != PLUMB_NONE && is.rank == want.rank;
    for (int d = 0; same && d < want.rank; d++)
        same = is.dim[d] == want.dim[d];
    return same;
}

PLUMB_TEST(move, symbols_pass_through_builders)
{
    plumb_context *context = open_cpu();
    plumb_graph *g = plumb_graph_new(context, "symbols");
    const int64_t n = PLUMB_BATCH, none = PLUMB_UNKNOWN;
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(n, 4, 6, 6));
    plumb_t i = plumb_input(g, "i", PLUMB_I64, PLUMB_SHAPE(n, 2));
    CHECK(has_shape(g, plumb_tile(g, x, (int64_t[]){1, 1, 2, 3}), PLUMB_SHAPE(n, 4, 12, 18)));
    CHECK(has_shape(g, plumb_tile(g, x, (int64_t[]){2, 1, 1, 1}), PLUMB_SHAPE(none, 4, 6, 6)));
    CHECK(has_shape(g, plumb_depth_to_space(g, x, 2, true), PLUMB_SHAPE(n, 1, 12, 12)));
    CHECK(has_shape(g, plumb_space_to_depth(g, x, 3, false), PLUMB_SHAPE(n, 36, 2, 2)));
    CHECK(has_shape(g, plumb_unsqueeze(g, x, PLUMB_AXES(0, -1)), PLUMB_SHAPE(1, n, 4, 6, 6, 1)));
    CHECK(has_shape(g, plumb_pad(g, x, (int64_t[]){0, 0, 1, 1}, NULL, PLUMB_PAD_EDGE, 0), PLUMB_SHAPE(n, 4, 7, 7)));
    CHECK(has_shape(g, plumb_pad(g, x, (int64_t[]){1, 0, 0, 0}, NULL, PLUMB_PAD_EDGE, 0), PLUMB_SHAPE(none, 4, 6, 6)));
    CHECK(has_shape(g, plumb_gather_nd(g, x, i, 0), PLUMB_SHAPE(n, 6, 6)));
    CHECK(has_shape(g, plumb_roll(g, x, 2, 0), PLUMB_SHAPE(none, 4, 6, 6)));
    CHECK(has_shape(g, plumb_flip(g, x, PLUMB_AXES(-1)), PLUMB_SHAPE(n, 4, 6, 6)));
    CHECK(has_shape(g, plumb_iota_like(g, PLUMB_I32, x, 0, 1), PLUMB_SHAPE(n, 4, 6, 6)));
    CHECK_MSG(plumb_graph_status(g) == PLUMB_OK, "%s", plumb_message(context));
    plumb_close(context);
}

static const struct {
    const char *needle;
    int which;
} wrong[] = {{"squeeze: axis 1 has 3", 0},   {"unsqueeze: axis 5", 1},  {"split: the sizes", 2},
             {"unstack: 2 parts", 3},        {"roll: axis 2", 4},       {"tile: axis 1", 5},
             {"depth_to_space: blocks", 6},  {"arange: from", 7},       {"triangle: a tensor of rank 1", 8},
             {"space_to_depth: blocks", 9},  {"stack: 0 tensors", 10},  {"flip: axis 9", 11},
             {"unsqueeze: axis 0 is given", 12}, {"linspace: -1", 13}};

PLUMB_TEST(move, builders_say_what_is_wrong)
{
    plumb_context *context = open_cpu();
    for (size_t k = 0; k < sizeof(wrong) / sizeof(*wrong); k++) {
        plumb_graph *g = plumb_graph_new(context, "wrong");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3)), parts[3];
        switch (wrong[k].which) {
        case 0: plumb_squeeze(g, x, PLUMB_AXES(1)); break;
        case 1: plumb_unsqueeze(g, x, PLUMB_AXES(5)); break;
        case 2: CHECK(plumb_split(g, x, 1, (int64_t[]){2, 2}, 2, parts) == PLUMB_BAD_INPUT); break;
        case 3: CHECK(plumb_unstack(g, x, 1, 2, parts) == PLUMB_BAD_INPUT); break;
        case 4: plumb_roll(g, x, 1, 2); break;
        case 5: plumb_tile(g, x, (int64_t[]){1, -2}); break;
        case 6: plumb_depth_to_space(g, x, 0, true); break;
        case 7: plumb_arange(g, PLUMB_F32, 0, 1, 0); break;
        case 8: plumb_triu(g, plumb_arange(g, PLUMB_F32, 0, 3, 1), 0); break;
        case 9: plumb_space_to_depth(g, x, 2, false); break;
        case 10: plumb_stack(g, &x, 0, 0); break;
        case 11: plumb_flip(g, x, PLUMB_AXES(9)); break;
        case 12: plumb_unsqueeze(g, x, PLUMB_AXES(0, 0)); break;
        default: plumb_linspace(g, PLUMB_F32, 0, 1, -1);
        }
        CHECK(plumb_graph_status(g) == PLUMB_BAD_INPUT);
        CHECK_MSG(strstr(plumb_message(context), wrong[k].needle), "\"%s\" lacks \"%s\"", plumb_message(context),
                  wrong[k].needle);
        plumb_clear_error(context);
        plumb_graph_free(g);
    }
    plumb_close(context);
}
