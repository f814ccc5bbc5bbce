/* The pass `fuse`: what becomes one op and what must not, by hand-made graphs and a judge that takes everything; and
 * that what it makes computes the same: on the reference in f64, where nothing is rounded between the ops of a pattern
 * that is not rounded inside the one, bit for bit. */
#include "check.h"
#include "nets.h"
#include "random_graph.h"

#include "exec/exec.h"

static bool everything(void *user, const plumb_call *call, const plumb_op *second)
{
    (void)call, (void)second;
    return user == NULL;
}
static const struct plumb_fuse_judge yes = {NULL, everything};

/* ---- a graph through the pass ---- */

struct passed {
    struct graph *graph;
    plumb_t *id; /* [tensors of the original] in the new graph; PLUMB_NONE where it is gone */
    char *text;
};

static void close_passed(struct passed *p)
{
    if (p->graph) {
        plumb_text_free(p->graph->context, p->text);
        plumb_graph_free(p->graph->handle);
    }
    free(p->id);
}

/* Sizes may still be symbols: what is compared in them is equality, and the judge does not look at them. */
static bool pass_graph(struct passed *p, plumb_graph *graph, const plumb_t *out, int n_out,
                       const struct plumb_fuse_judge *judge)
{
    struct graph *from = plumb_graph_get(graph);
    uint32_t roots[16];
    struct plumb_copy copy;
    memset(p, 0, sizeof *p);
    if (!from || from->status != PLUMB_OK || n_out > 16 || !plumb_copy_begin(&copy, from, NULL)) {
        return false;
    }
    for (int i = 0; i < n_out; i++) {
        roots[i] = plumb_index(from, out[i]);
    }
    plumb_status status = plumb_pass_fuse(&copy, roots, n_out, judge);
    p->graph = copy.to;
    p->id = calloc((size_t)from->n_tensors + 1, sizeof *p->id);
    for (int t = 0; p->id && status == PLUMB_OK && t < from->n_tensors; t++) {
        p->id[t] = copy.map[t] == PLUMB_NO_TENSOR ? PLUMB_NONE : plumb_id(p->graph, copy.map[t]);
    }
    p->text = plumb_graph_text(p->graph->handle);
    plumb_copy_end(&copy);
    return status == PLUMB_OK && p->text && p->id;
}

static plumb_t there(const struct passed *p, plumb_t id) { return p->id[(uint32_t)id - 1]; }

/* How many lines of a graph's text have both words. */
static int lines(const char *text, const char *op, const char *word)
{
    int count = 0;
    char name[64], line[1024];
    snprintf(name, sizeof name, " = %s", op);
    while (text && *text) {
        size_t n = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), text);
        const char *at = strstr(line, name);
        count += at && strchr("( ", at[strlen(name)]) && strstr(line, word);
        text += n + (text[n] != 0);
    }
    return count;
}

/* ---- patterns ---- */

struct scene {
    plumb_context *context;
    plumb_graph *g;
    plumb_t x, w, bias, picture, filter, channels; /* (5, 4), (4, 3), (3), (2, 3, 5, 5), (4, 3, 2, 2), (4) */
};

static plumb_t number(struct scene *s, const char *name, plumb_shape shape)
{
    plumb_variable_options options = {.size = sizeof options, .init = {PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_variable(s->g, name, PLUMB_F64, shape, &options);
}

static bool open_scene(struct scene *s)
{
    s->context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .seed = 3, .strict_memory = true});
    s->g = s->context ? plumb_graph_new(s->context, "scene") : NULL;
    if (!s->g) {
        return false;
    }
    s->x = number(s, "x", PLUMB_SHAPE(5, 4));
    s->w = number(s, "w", PLUMB_SHAPE(4, 3));
    s->bias = number(s, "b", PLUMB_SHAPE(3));
    s->picture = number(s, "p", PLUMB_SHAPE(2, 3, 5, 5));
    s->filter = number(s, "f", PLUMB_SHAPE(4, 3, 2, 2));
    s->channels = number(s, "c", PLUMB_SHAPE(4));
    return true;
}

/* Fetches `outputs` from the graph as it is and as it is fused: bytes must agree. */
static void compare_outputs(struct scene *s, const struct passed *p, const plumb_t *out, int n_out)
{
    plumb_t moved[16];
    double a[512], b[512];
    for (int i = 0; i < n_out; i++) {
        moved[i] = there(p, out[i]);
    }
    plumb_state *state = plumb_state_new(s->g);
    plumb_compile_options options = {.size = sizeof options, .outputs = out, .n_outputs = n_out, .training = true,
                                     .implementations = "*=cpu.ref"};
    plumb_program *plain = plumb_compile(s->g, state, &options);
    options.outputs = moved;
    plumb_program *fused = plumb_compile(p->graph->handle, state, &options);
    CHECK_MSG(plain && fused && plumb_run(plain) == PLUMB_OK && plumb_run(fused) == PLUMB_OK, "%s",
              plumb_message(s->context));
    for (int i = 0; plain && fused && i < n_out; i++) {
        plumb_shape shape = plumb_output_shape(plain, out[i]);
        size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(double);
        CHECK(bytes > 0 && bytes <= sizeof a && plumb_fetch(plain, out[i], a, bytes) == PLUMB_OK &&
              plumb_fetch(fused, moved[i], b, bytes) == PLUMB_OK);
        CHECK_MSG(memcmp(a, b, bytes) == 0, "output %d differs:\n%s", i, p->text);
    }
    plumb_program_free(plain);
    plumb_program_free(fused);
    plumb_state_free(state);
}

/* `out` (and whatever the graph assigns) is wanted; expects so many lines with `op` and `word` after the pass. */
static void expect(struct scene *s, const plumb_t *out, int n_out, const char *op, const char *word, int count, const char *what)
{
    struct passed p;
    if (pass_graph(&p, s->g, out, n_out, &yes)) {
        CHECK_MSG(lines(p.text, op, word) == count, "%s: %d lines of %s %s, not %d:\n%s", what, lines(p.text, op, word), op,
                  word, count, p.text);
        compare_outputs(s, &p, out, n_out);
    } else {
        check_fail(__FILE__, __LINE__, "%s: %s", what, plumb_message(s->context));
    }
    close_passed(&p);
}

static plumb_t product(struct scene *s) { return plumb_matmul(s->g, s->x, s->w, false, false); }

PLUMB_TEST(fuse, chains_become_one)
{
    static plumb_t (*const activations[])(plumb_graph *, plumb_t) = {plumb_relu, plumb_sigmoid, plumb_tanh};
    static const char *const names[] = {"activation=relu", "activation=sigmoid", "activation=tanh"};
    for (int i = 0; i < 3; i++) {
        struct scene s;
        REQUIRE(open_scene(&s));
        plumb_t y = activations[i](s.g, plumb_add(s.g, i == 1 ? s.bias : product(&s), i == 1 ? product(&s) : s.bias));
        expect(&s, &y, 1, "matmul", names[i], 1, "product, bias, activation");
        expect(&s, &y, 1, "add", "", 0, "product, bias, activation");
        plumb_t z = activations[i](s.g, product(&s));
        expect(&s, (const plumb_t[]){y, z}, 2, "matmul", names[i], 2, "product, activation");
        plumb_t c = activations[i](s.g, plumb_conv2d(s.g, s.picture, s.filter, i ? s.channels : PLUMB_NONE, NULL));
        expect(&s, (const plumb_t[]){y, z, c}, 3, "conv2d", names[i], 1, "picture, activation");
        expect(&s, (const plumb_t[]){y, z, c}, 3, names[i] + 11, "", 0, "no activation is left");
        plumb_close(s.context);
    }
}

PLUMB_TEST(fuse, a_second_activation_stays)
{
    struct scene s;
    REQUIRE(open_scene(&s));
    plumb_t y = plumb_tanh(s.g, plumb_relu(s.g, product(&s)));
    expect(&s, &y, 1, "matmul", "activation=relu", 1, "first");
    expect(&s, &y, 1, "tanh", "", 1, "second");
    plumb_t z = plumb_add(s.g, plumb_relu(s.g, product(&s)), s.bias);
    expect(&s, &z, 1, "add", "", 1, "a bias behind an activation");
    plumb_close(s.context);
}

PLUMB_TEST(fuse, who_else_reads_it)
{
    struct scene s;
    REQUIRE(open_scene(&s));
    plumb_t m = product(&s), y = plumb_add(s.g, m, s.bias), both[] = {y, m};
    expect(&s, both, 2, "add", "", 1, "the product is fetched");
    plumb_t twice[] = {y, plumb_exp(s.g, m)};
    expect(&s, twice, 2, "add", "", 1, "the product has a second reader");
    plumb_t m2 = plumb_matmul(s.g, s.x, s.w, false, false), itself = plumb_add(s.g, m2, m2);
    expect(&s, &itself, 1, "add", "", 2, "the product plus itself"); /* the one before is unread, but its product is not */
    plumb_t a = plumb_add(s.g, product(&s), s.bias), sum[] = {plumb_relu(s.g, a), plumb_tanh(s.g, a)};
    expect(&s, sum, 2, "matmul", "activation", 0, "two activations of one sum");
    plumb_close(s.context);

    REQUIRE(open_scene(&s));
    plumb_t kept = number(&s, "kept", PLUMB_SHAPE(5, 3)), n = product(&s), z = plumb_relu(s.g, n);
    plumb_assign(s.g, kept, n, PLUMB_NONE);
    expect(&s, &z, 1, "relu", "", 1, "the product is assigned");
    plumb_close(s.context);
}

PLUMB_TEST(fuse, not_every_sum_is_a_bias)
{
    struct scene s;
    REQUIRE(open_scene(&s));
    plumb_t others[] = {number(&s, "row", PLUMB_SHAPE(1, 3)), number(&s, "one", PLUMB_SHAPE(1)),
                        number(&s, "full", PLUMB_SHAPE(5, 3)), number(&s, "stack", PLUMB_SHAPE(2, 5, 3)),
                        plumb_scalar(s.g, PLUMB_F64, 0.5)};
    for (int i = 0; i < 5; i++) {
        plumb_t y = plumb_add(s.g, product(&s), others[i]);
        expect(&s, &y, 1, "add", "", 1 + i, "no bias"); /* those before are still there, unread */
    }
    plumb_t single = plumb_matmul(s.g, plumb_reshape(s.g, s.bias, PLUMB_SHAPE(1, 3)), number(&s, "t", PLUMB_SHAPE(3, 1)), false, false);
    plumb_t stretched = plumb_add(s.g, single, s.bias); /* (1, 1) + (3) */
    expect(&s, &stretched, 1, "add", "", 6, "the product is stretched");
    plumb_close(s.context);
}

PLUMB_TEST(fuse, the_judge_decides)
{
    struct scene s;
    struct passed p;
    const struct plumb_fuse_judge no = {&s, everything};
    REQUIRE(open_scene(&s));
    plumb_t y = plumb_relu(s.g, plumb_add(s.g, product(&s), s.bias));
    REQUIRE(pass_graph(&p, s.g, &y, 1, &no));
    CHECK(lines(p.text, "add", "") == 1 && lines(p.text, "relu", "") == 1);
    close_passed(&p);
    plumb_close(s.context);
}

/* Two layers and their gradients: the bias's gradient and the activation's backward are one op, standing before the
 * products that read it. */
PLUMB_TEST(fuse, the_way_back)
{
    struct scene s;
    REQUIRE(open_scene(&s));
    plumb_t dense = plumb_tanh(s.g, plumb_add(s.g, product(&s), s.bias));
    plumb_t picture = plumb_relu(s.g, plumb_conv2d(s.g, s.picture, s.filter, s.channels, NULL));
    plumb_t loss = plumb_add(s.g, plumb_sum(s.g, plumb_square(s.g, dense), NULL, 0, false),
                             plumb_sum(s.g, plumb_square(s.g, picture), NULL, 0, false));
    plumb_t by[] = {s.x, s.w, s.bias, s.picture, s.filter, s.channels}, out[7];
    REQUIRE(plumb_gradients(s.g, loss, by, 6, out) == PLUMB_OK);
    out[6] = loss;
    expect(&s, out, 7, "activation_backward", "activation=tanh axis=1", 1, "dense");
    expect(&s, out, 7, "activation_backward", "activation=relu axis=1", 1, "picture");
    expect(&s, out, 7, "tanh_backward", "", 0, "dense");
    expect(&s, out, 7, "sum_to", "", 0, "dense");
    expect(&s, out, 7, "relu_backward", "", 0, "picture");
    plumb_close(s.context);
}

/* ---- the chosen implementations ---- */

/* Layers of all the forms that products and convolutions have, and the gradients of their weights: fused, the same sums
 * are made and the same functions applied to them. Biases' gradients are summed in another order: wanted, not compared. */
struct layers {
    plumb_graph *g;
    plumb_t out[64]; /* results and weights' gradients, then biases' gradients */
    plumb_t of_bias[16];
    int n_out, n_of_bias;
};

static plumb_t drawn(struct layers *l, plumb_shape shape)
{
    char name[16];
    snprintf(name, sizeof name, "v%d", plumb_graph_get(l->g)->n_nodes);
    plumb_variable_options options = {.size = sizeof options, .init = {PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_variable(l->g, name, PLUMB_F32, shape, &options);
}

static void add_layer(struct layers *l, plumb_t y, plumb_t weight, plumb_t bias, int activation)
{
    static plumb_t (*const apply[])(plumb_graph *, plumb_t) = {plumb_relu, plumb_sigmoid, plumb_tanh};
    y = apply[activation % 3](l->g, y);
    plumb_t loss = plumb_sum(l->g, plumb_square(l->g, y), NULL, 0, false);
    l->out[l->n_out++] = y;
    plumb_t by[] = {weight, bias}, gradient[2];
    plumb_gradients(l->g, loss, by, bias == PLUMB_NONE ? 1 : 2, gradient);
    l->out[l->n_out++] = gradient[0];
    if (bias != PLUMB_NONE) {
        l->of_bias[l->n_of_bias++] = gradient[1];
    }
}

static void add_layers(struct layers *l)
{
    static const int64_t dense[][3] = {{64, 40, 30}, {2, 300, 20}, {3, 5, 7}, {70, 600, 33}, {9, 12, 1}, {1, 50, 17}};
    static const int64_t picture[][6] = {{20, 3, 8, 6, 3, 1}, {2, 3, 19, 5, 3, 1}, {3, 8, 5, 24, 3, 1}, {2, 4, 9, 6, 2, 2}};
    for (int i = 0; i < 6; i++) {
        const int64_t *d = dense[i];
        plumb_t w = drawn(l, PLUMB_SHAPE(d[1], d[2])), y = plumb_matmul(l->g, drawn(l, PLUMB_SHAPE(d[0], d[1])), w, false, false);
        plumb_t bias = i == 4 ? PLUMB_NONE : drawn(l, PLUMB_SHAPE(d[2]));
        add_layer(l, i == 4 ? y : plumb_add(l->g, y, bias), w, bias, i);
    }
    for (int i = 0; i < 4; i++) {
        const int64_t *p = picture[i];
        plumb_conv2d_options options = {.size = sizeof options, .stride = {p[5], p[5]}, .padding = {1, 1, 1, 1}};
        plumb_t w = drawn(l, PLUMB_SHAPE(p[3], p[1], p[4], p[4]));
        plumb_t x = drawn(l, PLUMB_SHAPE(p[0], p[1], p[2], p[2])), bias = i == 1 ? PLUMB_NONE : drawn(l, PLUMB_SHAPE(p[3]));
        add_layer(l, plumb_conv2d(l->g, x, w, bias, &options), w, bias, i);
    }
    memcpy(l->out + l->n_out, l->of_bias, sizeof l->of_bias);
}

PLUMB_TEST(fuse, fast_kernels_keep_every_bit)
{
    static float a[1 << 16], b[1 << 16];
    for (int isa = PLUMB_ISA_SCALAR; isa < PLUMB_ISA_COUNT; isa++) {
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 2, .seed = 3,
                                                             .strict_memory = true, .isa = plumb_isa_name(isa)});
        if (!context) {
            continue; /* this machine has no such instructions */
        }
        struct layers l = {.g = plumb_graph_new(context, "layers")};
        add_layers(&l);
        plumb_state *state = plumb_state_new(l.g);
        plumb_compile_options options = {.size = sizeof options, .outputs = l.out,
                                         .n_outputs = l.n_out + l.n_of_bias};
        plumb_program *fused = plumb_compile(l.g, state, &options);
        options.passes_off = PLUMB_PASS_FUSE;
        plumb_program *plain = plumb_compile(l.g, state, &options);
        bool good = fused && plain && plumb_run(fused) == PLUMB_OK && plumb_run(plain) == PLUMB_OK;
        CHECK_MSG(good, "%s", plumb_message(context));
        char *text = good ? plumb_program_text(fused) : NULL;
        int found = 0;
        for (const char *at = text; at && (at = strstr(at, "activation=")) != NULL; at++) {
            found++;
        }
        CHECK_MSG(found == 18, "%d fused products and sums, not 18:\n%s", found, text ? text : "");
        plumb_text_free(context, text);
        for (int i = 0; good && i < l.n_out; i++) {
            plumb_shape shape = plumb_output_shape(plain, l.out[i]);
            size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(float);
            CHECK(bytes <= sizeof a && plumb_fetch(fused, l.out[i], a, bytes) == PLUMB_OK &&
                  plumb_fetch(plain, l.out[i], b, bytes) == PLUMB_OK);
            CHECK_MSG(memcmp(a, b, bytes) == 0, "%s: output %d differs", plumb_isa_name(isa), i);
        }
        plumb_close(context);
    }
}

/* ---- residual blocks ---- */

static plumb_t normalised(struct scene *s, plumb_t x, const char *name, bool fixed)
{
    char full[4][32];
    static const char *const parts[] = {"scale", "shift", "mean", "var"};
    plumb_t v[4];
    for (int i = 0; i < 4; i++) {
        snprintf(full[i], sizeof full[i], "%s.%s", name, parts[i]);
        v[i] = number(s, full[i], PLUMB_SHAPE(plumb_shape_of(s->g, x).dim[1]));
    }
    return plumb_batch_norm(s->g, x, v[0], v[1], v[2], fixed ? plumb_square(s->g, v[3]) : v[3],
                            &(plumb_batch_norm_options){.size = sizeof(plumb_batch_norm_options), .fixed = fixed});
}

/* A block with an identity around it, then one with a projection: (2, 3, 5, 5) -> (2, 4, 4, 4). */
static plumb_t blocks(struct scene *s, bool fixed)
{
    plumb_t x = plumb_relu(s->g, normalised(s, s->picture, "a", fixed));
    plumb_t same = plumb_affine(s->g, x, 0.5, 0.25);
    x = plumb_relu(s->g, plumb_add(s->g, x, normalised(s, same, "b", fixed)));
    plumb_t y = normalised(s, plumb_conv2d(s->g, x, s->filter, PLUMB_NONE, NULL), "c", fixed);
    plumb_t around = normalised(s, plumb_conv2d(s->g, x, s->filter, s->channels, NULL), "d", fixed);
    return plumb_relu(s->g, plumb_add(s->g, y, around));
}

PLUMB_TEST(fuse, residual_blocks)
{
    for (int fixed = 0; fixed < 2; fixed++) {
        const char *op = fixed ? "batch_norm_inference" : "batch_norm";
        struct scene s;
        REQUIRE(open_scene(&s));
        plumb_t y = blocks(&s, fixed), both[] = {y, normalised(&s, s.picture, "e", fixed)};
        expect(&s, &y, 1, op, "activation=relu", 3, "norm, residual, activation");
        expect(&s, &y, 1, op, "", 5, "one is a residual, one is not asked for yet");
        expect(&s, &y, 1, "relu", "", 0, "no activation is left");
        expect(&s, &y, 1, "add", "", 0, "no sum is left");
        both[0] = plumb_add(s.g, both[1], s.picture);
        expect(&s, both, 2, "add", "", 1, "what is normalised is fetched");
        plumb_t stretched = plumb_add(s.g, normalised(&s, s.picture, "f", fixed), plumb_scalar(s.g, PLUMB_F64, 2));
        expect(&s, &stretched, 1, "add", "", 1, "a number is no residual");
        plumb_t twice = normalised(&s, s.picture, "g", fixed), itself = plumb_add(s.g, twice, twice);
        expect(&s, &itself, 1, "add", "", 2, "what is normalised plus itself");
        plumb_t behind = plumb_add(s.g, plumb_relu(s.g, normalised(&s, s.picture, "h", fixed)), s.picture);
        expect(&s, &behind, 1, "add", "", 3, "a residual behind the activation");
        plumb_close(s.context);
    }
}

/* Back through three activations: where the sum's other side goes on with dy it comes out of the norm's backward op. */
PLUMB_TEST(fuse, residual_blocks_back)
{
    struct scene s;
    REQUIRE(open_scene(&s));
    plumb_t y = blocks(&s, false), loss = plumb_sum(s.g, plumb_square(s.g, y), NULL, 0, false);
    plumb_t by[] = {s.picture, s.filter, s.channels, plumb_find(s.g, "a.scale"), plumb_find(s.g, "b.shift"),
                    plumb_find(s.g, "d.scale")}, out[7];
    REQUIRE(plumb_gradients(s.g, loss, by, 6, out) == PLUMB_OK);
    out[6] = loss;
    expect(&s, out, 7, "batch_norm_backward", "activation=relu", 3, "all three");
    expect(&s, out, 7, "batch_norm_backward", "residual", 2, "those with a sum before the activation");
    expect(&s, out, 7, "batch_norm_backward", "", 4, "that of the projection has none");
    expect(&s, out, 7, "relu_backward", "", 0, "none is left");
    plumb_close(s.context);
}

/* ---- random graphs ---- */

static bool fetch_bytes(plumb_program *program, plumb_t id, unsigned char *to, size_t room, size_t *bytes)
{
    plumb_shape shape = plumb_output_shape(program, id);
    *bytes = (size_t)plumb_shape_count(&shape) * sizeof(double);
    return *bytes <= room && plumb_fetch(program, id, to, *bytes) == PLUMB_OK;
}

/* One training step of the graph as it is and fused, each on a state of its own; returns how many nodes went. */
static int step_both(plumb_context *context, struct random_graph *r, uint64_t seed)
{
    static unsigned char a[1 << 16], b[1 << 16];
    struct passed p;
    struct random_graph moved = *r;
    int gone = 0;
    size_t bytes = 0, same = 0;
    if (!pass_graph(&p, r->g, r->out, r->n_out, &yes)) {
        check_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)seed, plumb_message(context));
        close_passed(&p);
        return 0;
    }
    for (int i = 0; i < r->n_out; i++) {
        moved.out[i] = there(&p, r->out[i]);
    }
    moved.g = p.graph->handle;
    moved.x = there(&p, r->x), moved.fixed = there(&p, r->fixed), moved.label = there(&p, r->label);
    gone = plumb_graph_get(r->g)->n_nodes - p.graph->n_nodes;
    struct random_graph *both[] = {r, &moved};
    plumb_program *program[2] = {NULL, NULL};
    plumb_state *state[2] = {NULL, NULL};
    bool good = true;
    for (int i = 0; i < 2 && good; i++) {
        state[i] = plumb_state_new(r->g);
        plumb_compile_options o = {.size = sizeof o, .outputs = both[i]->out, .n_outputs = r->n_out, .training = true,
                                   .effects = true, .implementations = "*=cpu.ref"};
        program[i] = plumb_compile(both[i]->g, state[i], &o);
        good = program[i] && random_graph_feed(both[i], program[i], 3, 1) == PLUMB_OK;
    }
    good = good && plumb_run(program[0]) == PLUMB_OK && plumb_run(program[1]) == PLUMB_OK;
    CHECK_MSG(good, "seed %llu: %s", (unsigned long long)seed, plumb_message(context));
    for (int i = 0; good && i < r->n_out; i++) {
        good = fetch_bytes(program[0], r->out[i], a, sizeof a, &bytes) && fetch_bytes(program[1], moved.out[i], b, sizeof b, &same);
        CHECK_MSG(good && bytes == same && memcmp(a, b, bytes) == 0, "seed %llu: output %d differs", (unsigned long long)seed, i);
    }
    for (int i = 0; good && i < plumb_state_count(state[0]); i++) {
        const char *name = plumb_state_name(state[0], i);
        plumb_shape shape = plumb_state_shape(state[0], name);
        bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(plumb_state_dtype(state[0], name));
        good = bytes <= sizeof a && plumb_state_get(state[0], name, a, bytes) == PLUMB_OK &&
               plumb_state_get(state[1], name, b, bytes) == PLUMB_OK;
        CHECK_MSG(good && memcmp(a, b, bytes) == 0, "seed %llu: '%s' differs", (unsigned long long)seed, name);
    }
    close_passed(&p);
    return gone;
}

PLUMB_TEST(fuse, random_graphs_keep_every_bit)
{
    int fused = 0;
    for (uint64_t seed = 1; seed <= 60 && check_failures() < 10; seed++) {
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .seed = seed});
        struct random_graph r;
        REQUIRE(context);
        if (random_graph_make(&r, context, seed, (struct random_kind){.dtype = PLUMB_F64, .optimised = seed % 3 != 0}) == PLUMB_OK) {
            fused += step_both(context, &r, seed) > 0;
        }
        plumb_close(context);
    }
    CHECK_MSG(fused >= 10, "only %d of the graphs have anything to fuse", fused);
}
