/* Learning rates as pure functions of position, and the exponentially weighted average with its bias corrected.
 *
 * Decided here, where include/plumb/optim.h leaves room:
 * - Rules that count from 1 (sqrt_epoch, sqrt_step) take the position plus 1, since positions count from 0.
 * - Fields of 0: decay 1 (inverse), 0.95 (exponential), 0.5 (staircase); k 1; every 10 epochs. PLUMB_ZERO is zero.
 * - cosine and one_cycle need `epochs`, and stay at lr_end beyond it. one_cycle begins at lr / 25.
 * - Warm-up multiplies any rule by epoch / warmup while that is below 1; it needs fractional epochs to be useful.
 * - A schedule that makes no sense gives NaN, which plumb_set_lr refuses. */
#include "plumb/optim.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static double choose(double given, double otherwise)
{
    if (given == 0)
        return signbit(given) ? 0 : otherwise;
    return given;
}

struct position {
    double epoch;
    int64_t step;
};

typedef double curve(const plumb_schedule *s, struct position at);

static double constant(const plumb_schedule *s, struct position at)
{
    (void)at;
    return s->lr;
}

static double inverse(const plumb_schedule *s, struct position at)
{
    return s->lr / (1 + choose(s->decay, 1) * at.epoch);
}

static double exponential(const plumb_schedule *s, struct position at)
{
    return s->lr * pow(choose(s->decay, 0.95), at.epoch);
}

static double sqrt_epoch(const plumb_schedule *s, struct position at)
{
    return s->lr * choose(s->k, 1) / sqrt(at.epoch + 1);
}

static double sqrt_step(const plumb_schedule *s, struct position at)
{
    return s->lr * choose(s->k, 1) / sqrt((double)at.step + 1);
}

static double staircase(const plumb_schedule *s, struct position at)
{
    double every = choose(s->every, 10);
    return every > 0 ? s->lr * pow(choose(s->decay, 0.5), floor(at.epoch / every)) : NAN;
}

/* From `high` at 0 to `low` at 1 along half a period. */
static double half_cosine(double high, double low, double part)
{
    return low + (high - low) * (1 + cos(pi * fmin(part, 1))) / 2;
}

static double cosine(const plumb_schedule *s, struct position at)
{
    return s->epochs > 0 ? half_cosine(s->lr, s->lr_end, at.epoch / s->epochs) : NAN;
}

static double one_cycle(const plumb_schedule *s, struct position at)
{
    double part = at.epoch / s->epochs, start = s->lr / 25, peak = 0.3;
    if (!(s->epochs > 0))
        return NAN;
    if (part < peak)
        return start + (s->lr - start) * part / peak;
    return half_cosine(s->lr, s->lr_end, (part - peak) / (1 - peak));
}

static double manual(const plumb_schedule *s, struct position at)
{
    if (!s->values || s->n_values <= 0)
        return NAN;
    return s->values[at.epoch < s->n_values ? (int)at.epoch : s->n_values - 1];
}

static const struct {
    const char *name;
    curve *lr;
} rules[] = {
    {"constant", constant},     {"inverse", inverse},     {"exponential", exponential},
    {"sqrt_epoch", sqrt_epoch}, {"sqrt_step", sqrt_step}, {"staircase", staircase},
    {"cosine", cosine},         {"one_cycle", one_cycle}, {"manual", manual},
};

double plumb_schedule_lr(const plumb_schedule *schedule, double epoch, int64_t step)
{
    if (!schedule || !(epoch >= 0) || step < 0)
        return NAN;
    plumb_schedule s; /* the caller's struct may be of another size than ours: what it lacks is default */
    memset(&s, 0, sizeof s);
    memcpy(&s, schedule, schedule->size && schedule->size < sizeof s ? schedule->size : sizeof s);
    double warm = s.warmup > 0 && epoch < s.warmup ? epoch / s.warmup : 1;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, s.rule ? s.rule : "constant") == 0)
            return warm * rules[i].lr(&s, (struct position){.epoch = epoch, .step = step});
    return NAN;
}

double plumb_ewa_add(plumb_ewa *average, double x)
{
    average->v = average->beta * average->v + (1 - average->beta) * x;
    average->t++;
    return average->v / (1 - pow(average->beta, (double)average->t));
}
