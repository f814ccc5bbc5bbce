/* Which rules there are, their defaults, and which numbers make sense.
 *
 * Decided here: a field of 0 means the default and PLUMB_ZERO, told apart by its sign, means zero. Weight decay is
 * decoupled (W -= lr * weight_decay * W) under every rule; only adamw and lamb have some by default. The formulas are in
 * src/op/update.c and include/plumb/optim.h. */
#include "optim/step.h"

#include <math.h>
#include <stdio.h>

static const struct plumb_rule rules[] = {
    {.name = "sgd", .op = &plumb_op_sgd_update, .lr = 1e-2},
    {.name = "momentum",
     .op = &plumb_op_momentum_update,
     .slots = 1,
     .slot = {"v"},
     .lr = 1e-2,
     .beta1 = 0.9,
     .uses_momentum = true},
    {.name = "nesterov",
     .op = &plumb_op_nesterov_update,
     .slots = 1,
     .slot = {"v"},
     .lr = 1e-2,
     .beta1 = 0.9,
     .uses_momentum = true},
    {.name = "adagrad",
     .op = &plumb_op_adagrad_update,
     .slots = 1,
     .slot = {"s"},
     .lr = 1e-2,
     .epsilon = 1e-8},
    {.name = "rmsprop",
     .op = &plumb_op_rmsprop_update,
     .slots = 1,
     .slot = {"s"},
     .lr = 1e-3,
     .beta2 = 0.9,
     .epsilon = 1e-8},
    {.name = "adam",
     .op = &plumb_op_adam_update,
     .slots = 2,
     .slot = {"m", "v"},
     .lr = 1e-3,
     .beta1 = 0.9,
     .beta2 = 0.999,
     .epsilon = 1e-8},
    {.name = "adamw",
     .op = &plumb_op_adam_update,
     .slots = 2,
     .slot = {"m", "v"},
     .lr = 1e-3,
     .beta1 = 0.9,
     .beta2 = 0.999,
     .epsilon = 1e-8,
     .weight_decay = 0.01},
    {.name = "lamb",
     .op = &plumb_op_adam_update,
     .slots = 2,
     .slot = {"m", "v"},
     .lr = 1e-3,
     .beta1 = 0.9,
     .beta2 = 0.999,
     .epsilon = 1e-6,
     .weight_decay = 0.01,
     .at_once = plumb_lamb_directions,
     .by_tensor = plumb_lamb_tensor},
    {.name = "muon",
     .op = &plumb_op_adam_update,
     .slots = 2,
     .slot = {"m", "v"},
     .lr = 2e-2,
     .beta1 = 0.9,
     .beta2 = 0.95,
     .epsilon = 1e-8,
     .by_tensor = plumb_muon_tensor,
     .momentum = 0.95},
};
#define RULES ((int)(sizeof rules / sizeof *rules))

const struct plumb_rule *plumb_rule_at(int index)
{
    return index >= 0 && index < RULES ? &rules[index] : NULL;
}
int plumb_optimizer_count(void) { return RULES; }

const char *plumb_optimizer_rule(int index)
{
    const struct plumb_rule *rule = plumb_rule_at(index);
    return rule ? rule->name : NULL;
}

/* Levenshtein's distance, for "did you mean". Words over 31 letters are far from everything. */
static int distance(const char *a, const char *b)
{
    int row[32], n = (int)strnlen(b, 32), m = (int)strnlen(a, 32);
    if (n > 31 || m > 31)
        return 32;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]),
                skip = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < skip ? change : skip;
        }
    }
    return row[n];
}

static const struct plumb_rule *find_rule(plumb_graph *graph, const char *name)
{
    char known[256] = "", meant[64] = "";
    int best = 3; /* more than two slips is another word */
    for (int i = 0; i < RULES; i++) {
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
        int d = distance(name, rules[i].name);
        if (d < best) {
            best = d;
            snprintf(meant, sizeof meant, " (did you mean \"%s\"?)", rules[i].name);
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", rules[i].name);
    }
    plumb_poison(graph, "optimizer: unknown rule \"%.60s\"%s; known rules: %s", name, meant, known);
    return NULL;
}

static double choose(double given, double otherwise)
{
    if (given == 0)
        return signbit(given) ? 0 : otherwise;
    return given;
}

static bool check(plumb_graph *graph, const struct plumb_recipe *r, const char *what, double value, bool good,
                  const char *need)
{
    if (!good)
        plumb_poison(graph, "optimizer '%s': %s %g must be %s", r->name, what, value, need);
    return good;
}

static bool check_recipe(plumb_graph *graph, const struct plumb_recipe *r)
{
    const plumb_attr_update *a = &r->attr;
    const char *beta1 = r->rule->uses_momentum ? "momentum" : "beta1", *size = "finite and not negative";
    const struct {
        const char *name;
        double value;
    } amount[] = {
        {"lr", r->lr}, {"weight_decay", a->weight_decay}, {"l2", a->l2},
        {"l1", a->l1}, {"clip_norm", r->clip_norm}, {"lr_others", r->lr_others},
    };
    for (size_t i = 0; i < sizeof amount / sizeof *amount; i++) {
        bool good = amount[i].value >= 0 && isfinite(amount[i].value);
        if (!check(graph, r, amount[i].name, amount[i].value, good, size))
            return false;
    }
    if (r->loss_scale != PLUMB_DYNAMIC_LOSS_SCALE &&
        !check(graph, r, "loss_scale", r->loss_scale, r->loss_scale >= 0 && isfinite(r->loss_scale),
               "positive and finite, or PLUMB_DYNAMIC_LOSS_SCALE"))
        return false;
    if (!check(graph, r, "loss_scale_every", (double)r->loss_scale_every, r->loss_scale_every > 0, "positive"))
        return false;
    if (!check(graph, r, "accumulate", (double)r->accumulate, r->accumulate > 0, "positive"))
        return false;
    if (!check(graph, r, "average", r->average, r->average >= 0 && r->average <= 1, "in [0, 1]") ||
        !check(graph, r, "momentum", r->momentum, r->momentum >= 0 && r->momentum < 1, "in [0, 1)"))
        return false;
    return check(graph, r, beta1, a->beta1, a->beta1 >= 0 && a->beta1 < 1, "in [0, 1)") &&
           check(graph, r, "beta2", a->beta2, a->beta2 >= 0 && a->beta2 < 1, "in [0, 1)") &&
           check(graph, r, "epsilon", a->epsilon,
                 r->rule->epsilon == 0 || (a->epsilon > 0 && isfinite(a->epsilon)), "above 0 and finite");
}

bool plumb_recipe_read(plumb_graph *graph, const plumb_optimizer *optimizer, struct plumb_recipe *recipe)
{
    plumb_optimizer o;
    memset(&o, 0, sizeof o);
    memset(recipe, 0, sizeof *recipe);
    if (optimizer) /* the caller's struct may be of another size than ours: what it lacks is default */
        memcpy(&o, optimizer, optimizer->size && optimizer->size < sizeof o ? optimizer->size : sizeof o);
    const struct plumb_rule *rule = find_rule(graph, o.rule ? o.rule : "adam");
    if (!rule)
        return false;
    recipe->rule = rule;
    recipe->name = o.name ? o.name : rule->name;
    recipe->lr = choose(o.lr, rule->lr);
    recipe->clip_norm = o.clip_norm;
    recipe->decay_all = o.decay_all;
    recipe->precision = o.precision;
    recipe->loss_scale = choose(o.loss_scale, o.precision == PLUMB_F16 ? PLUMB_DYNAMIC_LOSS_SCALE : 0);
    recipe->loss_scale_every = o.loss_scale_every ? o.loss_scale_every : 2000;
    recipe->skip_bad_steps = o.skip_bad_steps || recipe->loss_scale == PLUMB_DYNAMIC_LOSS_SCALE;
    recipe->per_example = o.per_example;
    recipe->average = o.average;
    recipe->accumulate = o.accumulate ? o.accumulate : 1;
    recipe->momentum = rule->momentum > 0 ? choose(o.momentum, rule->momentum) : 0;
    recipe->lr_others = rule->momentum > 0 ? choose(o.lr_others, 3e-4) : 0;
    plumb_attr_update *a = &recipe->attr;
    a->slots = rule->slots;
    a->weight_decay = choose(o.weight_decay, rule->weight_decay);
    a->l2 = choose(o.l2, 0);
    a->l1 = choose(o.l1, 0);
    /* What a rule does not use stays 0, so that equal updates have equal attributes. */
    a->beta1 = rule->beta1 > 0 ? choose(rule->uses_momentum ? o.momentum : o.beta1, rule->beta1) : 0;
    a->beta2 = rule->beta2 > 0 ? choose(o.beta2, rule->beta2) : 0;
    a->epsilon = rule->epsilon > 0 ? choose(o.epsilon, rule->epsilon) : 0;
    a->classic = rule->op == &plumb_op_momentum_update && o.classic;
    if (!*recipe->name) {
        plumb_poison(graph, "optimizer: the name is empty");
        return false;
    }
    return check_recipe(graph, recipe);
}
