/* The pass `layout`, whatever implementations there are: made-up ones say what they want, and what the pass and the
 * planner make of it is computed by the reference, step by step, in the memory that was planned. Not a bit may differ from
 * the graph as it was: the reference computes the same from any strides. */
#include "check.h"
#include "courses.h"
#include "nets.h"
#include "random_graph.h"

#include "exec/exec.h"

/* ---- what is wanted ---- */

static const plumb_impl plain, other, takes_any = {.flags = PLUMB_IMPL_ANY_LAYOUT},
                                      wants_last = {.flags = PLUMB_IMPL_WANTS_LAST};

struct wish {
    const char *name;
    const plumb_impl *(*choose)(void *seed, const plumb_call *call);
    uint64_t seed;
};

static bool is_conv(const plumb_call *call) { return strncmp(call->op->name, "conv2d", 6) == 0; }

static const plumb_impl *all_follow_convolutions(void *seed, const plumb_call *call)
{
    (void)seed;
    return is_conv(call) ? &wants_last : &takes_any;
}

static const plumb_impl *convolutions_alone(void *seed, const plumb_call *call)
{
    (void)seed;
    return is_conv(call) ? &wants_last : &plain;
}

static const plumb_impl *everything(void *seed, const plumb_call *call)
{
    (void)seed, (void)call;
    return &wants_last;
}

/* Some ops want it, some take it, some do not; and some would get another implementation for operands in other strides. */
static const plumb_impl *by_chance(void *seed, const plumb_call *call)
{
    uint64_t dice = *(uint64_t *)seed + plumb_hash(call->op->name);
    uint32_t kind = random_next(&dice) % 4;
    bool rows = true;
    for (int k = 0; k < call->n_in; k++) {
        rows = rows && plumb_view_contiguous(&call->in[k]);
    }
    return kind == 0 ? &wants_last : kind == 1 ? &takes_any : kind == 2 || rows ? &plain : &other;
}

/* ---- running a graph on the reference, where the planner says ---- */

struct machine {
    const struct graph *g;
    struct plumb_memory_layout m;
    unsigned char **memory; /* [n_buffers] */
    unsigned char *arena;
};

static size_t bytes_of(const plumb_type *type) { return (size_t)plumb_shape_count(&type->shape) * plumb_dtype_size(type->dtype); }

/* Values that depend on the tensor's name alone; whole numbers are 0 or 1, which any label and any key may be. */
static void fill_leaf(const struct plumb_node *n, const plumb_type *type, void *to)
{
    uint64_t dice = plumb_hash(n->name);
    if (n->op == &plumb_op_constant) {
        memcpy(to, (const void *)(uintptr_t)((const plumb_attr_leaf *)n->attr)->data, bytes_of(type));
        return;
    }
    for (int64_t i = 0; i < plumb_shape_count(&type->shape); i++) {
        double unit = (double)(random_next(&dice) % 1000) / 1000;
        plumb_put(to, type->dtype, i, plumb_dtype_is_float(type->dtype) ? 0.25 + unit : unit > 0.5);
    }
}

static bool set_up(struct machine *machine)
{
    struct plumb_memory_layout *m = &machine->m;
    machine->memory = calloc((size_t)m->n_buffers + 1, sizeof *machine->memory);
    machine->arena = malloc((size_t)m->arena_bytes + 1);
    if (!machine->memory || !machine->arena) {
        return false;
    }
    memset(machine->arena, 0xff, (size_t)m->arena_bytes + 1);
    for (int i = 0; i < m->n_buffers; i++) {
        const struct plumb_buffer *b = &m->buffer[i];
        const struct plumb_tensor *t = &machine->g->tensor[b->owner];
        machine->memory[i] = b->memory == PLUMB_MEMORY_ARENA ? machine->arena + b->offset : malloc((size_t)b->bytes + 1);
        if (b->memory != PLUMB_MEMORY_ARENA && machine->g->node[t->node].op->flags & PLUMB_OP_LEAF) {
            fill_leaf(&machine->g->node[t->node], &t->type, machine->memory[i]);
        }
    }
    return true;
}

static plumb_view view_of(const struct machine *machine, uint32_t t)
{
    return plumb_layout_view(&machine->m, t, machine->memory[machine->m.place[t].buffer]);
}

/* What the pass promises: what is marked lies so, and pictures of a call are channels-last where its results are, or where
 * all that would take it wants them so. */
static void check_promises(const char *what, const struct machine *machine, struct wish wish)
{
    const struct graph *g = machine->g;
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        plumb_view view[64];
        plumb_call call = {.op = n->op, .name = n->name, .n_in = n->n_in, .n_out = n->n_out, .in = view, .out = view + n->n_in};
        bool last = is_conv(&call) && (wish.choose == all_follow_convolutions || wish.choose == convolutions_alone);
        REQUIRE(n->n_in + n->n_out <= 64);
        for (int k = 0; k < n->n_in; k++) {
            view[k] = view_of(machine, n->in[k]);
        }
        for (int k = 0; k < n->n_out; k++) {
            const struct plumb_tensor *t = &g->tensor[n->out + (uint32_t)k];
            view[n->n_in + k] = view_of(machine, n->out + (uint32_t)k);
            last = last || t->layout == PLUMB_CHANNELS_LAST;
            CHECK_MSG((!t->packed && t->layout == PLUMB_ROWS) || plumb_view_lies(&call.out[k], t->layout),
                      "%s, %s: output %d of %s '%s' does not lie as marked", what, wish.name, k, n->op->name, n->name);
        }
        CHECK_MSG(!last || plumb_impl_fits(&wants_last, &call), "%s, %s: pictures of %s '%s' are not all channels-last", what,
                  wish.name, n->op->name, n->name);
    }
}

static plumb_status compute(const struct machine *machine, plumb_call *call, const uint32_t *in, uint32_t out)
{
    plumb_context *c = machine->g->context;
    plumb_view view[64];
    if (call->n_in + call->n_out > 64) {
        return plumb_fail(c, PLUMB_FAILED, "too many operands");
    }
    for (int k = 0; k < call->n_in + call->n_out; k++) {
        view[k] = view_of(machine, k < call->n_in ? in[k] : out + (uint32_t)(k - call->n_in));
    }
    call->in = view;
    call->out = view + call->n_in;
    call->context = c;
    call->device = c->device;
    call->pool = c->pool;
    const plumb_impl *impl = plumb_reference(call->op);
    void *workspace = malloc(impl->workspace ? impl->workspace(call) + 1 : 1);
    call->workspace = workspace;
    plumb_status status = impl->run(call);
    free(workspace);
    return status;
}

static plumb_status run(const struct machine *machine)
{
    const struct graph *g = machine->g;
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        plumb_call call = {.op = n->op, .name = n->name, .attr = n->attr, .n_in = n->n_in, .n_out = n->n_out};
        if (!(n->op->flags & PLUMB_OP_LEAF) && !machine->m.aliased[i]) {
            status = compute(machine, &call, n->in, n->out);
        }
    }
    for (int e = 0; status == PLUMB_OK && machine->m.effects && e < g->n_effects; e++) {
        const struct plumb_effect *f = &g->effect[e];
        const uint32_t in[] = {f->variable, f->value, f->gate};
        plumb_call call = {.op = &plumb_op_assign, .name = "", .n_in = f->gate == PLUMB_NO_TENSOR ? 2 : 3, .n_out = 1};
        if (!machine->m.direct[e]) {
            status = compute(machine, &call, in, f->variable);
        }
    }
    return status;
}

static void tear_down(struct machine *machine)
{
    for (int i = 0; machine->memory && i < machine->m.n_buffers; i++) {
        if (machine->m.buffer[i].memory != PLUMB_MEMORY_ARENA) {
            free(machine->memory[i]);
        }
    }
    free(machine->memory);
    free(machine->arena);
    plumb_layout_free(&machine->m);
}

/* Plans, judges the plan and runs. */
static bool execute(struct machine *machine, const struct graph *g, const uint32_t *roots, int n_roots, bool effects,
                    unsigned off)
{
    machine->g = g;
    plumb_status status = plumb_layout_begin(&machine->m, g, roots, n_roots, effects, off);
    if (status == PLUMB_OK) {
        status = plumb_layout_offsets(&machine->m, off, 0);
    }
    if (status == PLUMB_OK) {
        status = plumb_layout_verify(&machine->m);
    }
    if (status == PLUMB_OK) {
        status = set_up(machine) ? run(machine) : PLUMB_FAILED;
    }
    return status == PLUMB_OK;
}

/* ---- the graph as it was, and laid out ---- */

struct tally {
    int last, copies; /* tensors channels-last, copies between layouts */
};

static void count(const struct graph *g, struct tally *tally)
{
    for (int t = 0; t < g->n_tensors; t++) {
        tally->last += g->tensor[t].layout == PLUMB_CHANNELS_LAST;
        tally->copies += g->tensor[t].packed;
    }
}

static void compare(const char *what, const struct machine *a, const struct machine *b, const struct plumb_copy *copy,
                    const uint32_t *roots_a, const uint32_t *roots_b, int n_roots)
{
    for (int i = 0; i < n_roots; i++) {
        plumb_view x = view_of(a, roots_a[i]), y = view_of(b, roots_b[i]);
        CHECK_MSG(memcmp(x.data, y.data, bytes_of(&a->g->tensor[roots_a[i]].type)) == 0, "%s: output %d differs", what, i);
    }
    for (int t = 0; t < a->g->n_tensors; t++) {
        const struct plumb_node *n = &a->g->node[a->g->tensor[t].node];
        if (n->op == &plumb_op_variable) {
            plumb_view x = view_of(a, (uint32_t)t), y = view_of(b, copy->map[t]);
            CHECK_MSG(memcmp(x.data, y.data, bytes_of(&a->g->tensor[t].type)) == 0, "%s: variable %s differs", what, n->name);
        }
    }
}

/* Compares a program's plan with what the pass makes of it. */
static void check_plan(const char *what, struct program *p, const struct plumb_plan *plan, struct wish wish, unsigned off,
                       struct tally *tally)
{
    struct plumb_copy copy;
    struct machine a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    const struct plumb_layout_judge judge = {&wish.seed, wish.choose};
    uint32_t roots[16];
    REQUIRE(p->n_outputs <= 16 && plumb_copy_begin(&copy, plan->graph, plan->symbols));
    plumb_status status = plumb_pass_layout(&copy, plan->roots, p->n_outputs, off, &judge);
    for (int i = 0; i < p->n_outputs; i++) {
        roots[i] = copy.map[plan->roots[i]];
    }
    count(copy.to, tally);
    bool ran = status == PLUMB_OK && execute(&a, plan->graph, plan->roots, p->n_outputs, p->effects, off) &&
               execute(&b, copy.to, roots, p->n_outputs, p->effects, off);
    CHECK_MSG(ran, "%s, %s: %s", what, wish.name, plumb_message(p->context));
    if (ran) {
        check_promises(what, &b, wish);
        compare(what, &a, &b, &copy, plan->roots, roots, p->n_outputs);
    }
    plumb_clear_error(p->context);
    tear_down(&a);
    tear_down(&b);
    plumb_graph *laid_out = copy.to->handle;
    plumb_copy_end(&copy);
    plumb_graph_free(laid_out);
}

static const unsigned offs[] = {0, PLUMB_PASS_VIEWS, PLUMB_PASS_IN_PLACE, PLUMB_PASS_REUSE | PLUMB_PASS_FUSE};

/* A training step of the net, with loss and output fetched. */
static struct tally check_net(const char *name, net_builder build, struct wish wish)
{
    struct tally tally = {0, 0};
    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
        struct net net;
        plumb_status status = context ? build(context, &net) : PLUMB_FAILED;
        if (status == PLUMB_OK) {
            status = plumb_minimize(net.g, net.loss, NULL, 0, PLUMB_ADAM(.lr = 0.01));
        }
        plumb_t out[] = {net.out, net.loss};
        plumb_compile_options o = {.size = sizeof(o), .outputs = out, .n_outputs = 2, .training = true, .effects = true,
                                   .passes_off = offs[i] | PLUMB_PASS_LAYOUT};
        plumb_program *program = status == PLUMB_OK ? plumb_compile(net.g, plumb_state_new(net.g), &o) : NULL;
        if (program && plumb_bind(program, PLUMB_BATCH, 3) == PLUMB_OK) {
            struct program *p = plumb_program_get(program);
            check_plan(name, p, plumb_current_plan(p), wish, offs[i], &tally);
        } else {
            check_fail(__FILE__, __LINE__, "%s: %s", name, plumb_message(context));
        }
        plumb_close(context);
    }
    return tally;
}

PLUMB_TEST(layout, networks_compute_the_same_in_any)
{
    static const net_builder builders[] = {net_mlp, net_cnn, net_views};
    static const char *const names[] = {"mlp", "cnn", "views"};
    for (int n = 0; n < 3; n++) {
        struct tally none = check_net(names[n], builders[n], (struct wish){"follow", all_follow_convolutions, 0});
        struct tally alone = check_net(names[n], builders[n], (struct wish){"alone", convolutions_alone, 0});
        CHECK(n == 1 ? none.last > 40 && alone.last > 0 && alone.copies > none.copies : none.last == 0);
        check_net(names[n], builders[n], (struct wish){"everything", everything, 0});
        for (uint64_t seed = 1; seed <= 4; seed++) {
            check_net(names[n], builders[n], (struct wish){"by chance", by_chance, seed});
        }
    }
}

PLUMB_TEST(layout, random_graphs_compute_the_same_in_any)
{
    struct tally tally = {0, 0};
    for (uint64_t seed = 1; seed <= 80 && check_failures() < 10; seed++) {
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .seed = seed});
        struct random_graph r;
        char name[32];
        snprintf(name, sizeof(name), "seed %llu", (unsigned long long)seed);
        plumb_status made = random_graph_make(&r, context, seed, (struct random_kind){.dtype = PLUMB_F32, .optimised = seed % 2});
        plumb_compile_options o = {.size = sizeof(o), .outputs = r.out, .n_outputs = r.n_out, .training = true,
                                   .effects = seed % 3 != 0, .passes_off = offs[seed % 4] | PLUMB_PASS_LAYOUT};
        plumb_program *program = made == PLUMB_OK ? plumb_compile(r.g, plumb_state_new(r.g), &o) : NULL;
        struct program *p = program ? plumb_program_get(program) : NULL;
        if (p && plumb_bind(program, PLUMB_BATCH, 2) == PLUMB_OK) {
            check_plan(name, p, plumb_current_plan(p), (struct wish){"by chance", by_chance, seed}, offs[seed % 4], &tally);
            check_plan(name, p, plumb_current_plan(p), (struct wish){"everything", everything, 0}, offs[seed % 4], &tally);
        } else {
            CHECK_MSG(false, "%s: %s", name, plumb_message(context));
        }
        plumb_close(context);
    }
    CHECK_MSG(tally.last > 100 && tally.copies > 100, "%d channels-last, %d copies", tally.last, tally.copies);
}

/* ---- how much is copied ---- */

/* Through convolution, batch norm, relu and pooling nothing is copied but what comes in and goes out. */
PLUMB_TEST(layout, only_what_comes_and_goes_is_copied)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "chain");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3, 8, 8)), y = x;
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        plumb_t w = plumb_variable(g, name, PLUMB_F32, PLUMB_SHAPE(i ? 4 : 3, i ? 4 : 3, 3, 3), NULL);
        y = plumb_conv2d(g, y, i ? w : plumb_variable(g, "first", PLUMB_F32, PLUMB_SHAPE(4, 3, 3, 3), NULL), PLUMB_NONE,
                         &(plumb_conv2d_options){.size = sizeof(plumb_conv2d_options), .padding = {1, 1, 1, 1}});
        y = plumb_add(g, plumb_relu(g, y), y);
    }
    plumb_t out[] = {y, plumb_mean(g, y, PLUMB_AXES(2, 3), false)};
    plumb_compile_options o = {.size = sizeof(o), .outputs = out, .n_outputs = 2, .passes_off = PLUMB_PASS_LAYOUT};
    plumb_program *program = plumb_compile(g, plumb_state_new(g), &o);
    REQUIRE(program);
    struct program *p = plumb_program_get(program);
    struct tally tally = {0, 0};
    check_plan("chain", p, plumb_current_plan(p), (struct wish){"follow", all_follow_convolutions, 0}, 0, &tally);
    CHECK_MSG(tally.copies == 2 && tally.last == 10, "%d copies, %d tensors channels-last", tally.copies, tally.last);
    plumb_close(context);
}

/* A picture fed as (N, H, W, C) and shown as (N, C, H, W) is channels-last already. */
PLUMB_TEST(layout, transposed_pictures_are_taken_as_they_lie)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "transposed");
    plumb_t x = plumb_transpose(g, plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 5, 6, 3)), (const int[]){0, 3, 1, 2});
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(4, 3, 3, 3), NULL);
    plumb_t y = plumb_sum(g, plumb_conv2d(g, x, w, PLUMB_NONE, NULL), NULL, 0, false);
    plumb_compile_options o = {.size = sizeof(o), .outputs = &y, .n_outputs = 1, .passes_off = PLUMB_PASS_LAYOUT};
    plumb_program *program = plumb_compile(g, plumb_state_new(g), &o);
    REQUIRE(program);
    struct program *p = plumb_program_get(program);
    struct tally tally = {0, 0};
    check_plan("transposed", p, plumb_current_plan(p), (struct wish){"follow", all_follow_convolutions, 0}, 0, &tally);
    CHECK_MSG(tally.copies == 0 && tally.last == 1, "%d copies, %d tensors channels-last", tally.copies, tally.last);
    plumb_close(context);
}

/* The same picture from a variable, assigned to another as well: the planner then makes a copy of the view, in rows, so
 * that the pass cannot count on how the view lies. */
PLUMB_TEST(layout, assigned_views_are_not_counted_on)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "assigned");
    plumb_t p = plumb_variable(g, "p", PLUMB_F32, PLUMB_SHAPE(2, 5, 6, 3), NULL);
    plumb_t x = plumb_transpose(g, p, (const int[]){0, 3, 1, 2});
    plumb_assign(g, plumb_variable(g, "q", PLUMB_F32, PLUMB_SHAPE(2, 3, 5, 6), NULL), x, PLUMB_NONE);
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(4, 3, 3, 3), NULL);
    plumb_t y = plumb_sum(g, plumb_conv2d(g, x, w, PLUMB_NONE, NULL), NULL, 0, false);
    plumb_compile_options o = {.size = sizeof(o), .outputs = &y, .n_outputs = 1, .effects = true,
                               .passes_off = PLUMB_PASS_LAYOUT};
    plumb_program *program = plumb_compile(g, plumb_state_new(g), &o);
    REQUIRE(program);
    struct program *compiled = plumb_program_get(program);
    struct tally tally = {0, 0};
    check_plan("assigned", compiled, plumb_current_plan(compiled), (struct wish){"follow", all_follow_convolutions, 0}, 0,
               &tally);
    CHECK_MSG(tally.copies == 1, "%d copies", tally.copies);
    plumb_close(context);
}

/* ---- the implementations that there are ---- */

static int count_in(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; text && (at = strstr(at, what)) != NULL; at++) {
        count++;
    }
    return count;
}

/* A residual network trained channels-last is the one trained in rows, but for rounding (from seeds where no gate of relu is
 * so near to 0 that rounding turns it); memory guarded and poisoned. */
PLUMB_TEST(layout, residual_networks_train_alike)
{
    struct course rows, last;
    plumb_context *context = plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = 5, .strict_memory = true});
    REQUIRE(context);
    bool ran = course_run(context, &course_residual, PLUMB_F32, PLUMB_PASS_LAYOUT, NULL, &rows) == PLUMB_OK;
    ran = course_run(context, &course_residual, PLUMB_F32, 0, NULL, &last) == PLUMB_OK && ran;
    CHECK_MSG(ran, "%s", plumb_message(context));
    if (ran) {
        course_close("rows, channels-last", &course_residual, &rows, &last);
        CHECK(count_in(rows.plan, " last") == 0 && count_in(last.plan, " last") > 60);
        CHECK_MSG(count_in(last.plan, "stop_gradient") <= 5, "%s", last.plan);
    }
    course_free(&rows);
    course_free(&last);
    plumb_close(context);
}

/* Few channels: nothing wants them, and the plan is what it was. */
PLUMB_TEST(layout, lenet_stays_in_rows)
{
    struct course rows, either;
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 3});
    REQUIRE(context);
    bool ran = course_run(context, &course_lenet5, PLUMB_F32, PLUMB_PASS_LAYOUT, NULL, &rows) == PLUMB_OK;
    ran = course_run(context, &course_lenet5, PLUMB_F32, 0, NULL, &either) == PLUMB_OK && ran;
    CHECK_MSG(ran, "%s", plumb_message(context));
    CHECK(ran && strcmp(rows.plan, either.plan) == 0);
    course_free(&rows);
    course_free(&either);
    plumb_close(context);
}

/* A wish for other implementations decides over layouts, too; an order for one op is obeyed between copies. */
PLUMB_TEST(layout, forced_implementations_are_what_runs)
{
    static const struct {
        const char *implementations, *all; /* all: what every step with pictures is called */
        bool last;
    } row[] = {{"", "", true},          {"*=cpu.ref", " cpu.ref ", false}, {"*=cpu.native", " cpu.native ", false},
               {"conv2d=cpu.ref", "", true}};
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1});
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "forced");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 16, 12, 12));
    plumb_t a = plumb_variable(g, "a", PLUMB_F32, PLUMB_SHAPE(32, 16, 3, 3), NULL),
            b = plumb_variable(g, "b", PLUMB_F32, PLUMB_SHAPE(32, 32, 1, 1), NULL);
    plumb_t y = plumb_exp(g, plumb_conv2d(g, x, a, PLUMB_NONE, NULL)), z = plumb_exp(g, plumb_conv2d(g, y, b, PLUMB_NONE, NULL));
    plumb_t both[2] = {a, b}, out[3] = {z}, sum = plumb_sum(g, z, NULL, 0, false);
    REQUIRE(plumb_gradients(g, sum, both, 2, out + 1) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        plumb_compile_options o = {.size = sizeof(o), .outputs = out, .n_outputs = 3, .implementations = row[i].implementations};
        plumb_program *program = plumb_compile(g, state, &o);
        char *text = program ? plumb_program_text(program) : NULL;
        REQUIRE(text);
        CHECK_MSG((strstr(text, " last") != NULL) == row[i].last, "%s:\n%s", row[i].implementations, text);
        CHECK_MSG(i != 3 || (count_in(text, "conv2d                   cpu.ref ") == 2 && count_in(text, "stop_gradient") > 0),
                  "%s:\n%s", row[i].implementations, text);
        for (char *line = text; strncmp(line, "memory", 6) != 0; line = strchr(line, '\n') + 1) {
            CHECK_MSG(strncmp(line + 28, row[i].all, strlen(row[i].all)) == 0, "%s: %.60s", row[i].implementations, line);
        }
        plumb_text_free(context, text);
        plumb_program_free(program);
    }
    plumb_close(context);
}
