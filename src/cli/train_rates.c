/* plumb train --find-lr: looks for a rate and shows the curve. Nothing is trained. */
#include <math.h>

#include "cli/train.h"

static void print_found(const struct train_run *r, const plumb_rate_search *s)
{
    if (r->o->common.json) {
        printf("{\"done\":true,\"steps\":%d,\"steepest\":", s->count);
        json_number(stdout, s->steepest);
        printf(",\"least\":");
        json_number(stdout, s->least);
        printf("}\n");
        return;
    }
    printf("%9s  %10s  %10s\n", "rate", "loss", "averaged");
    for (int i = 0; i < s->count; i++) {
        if (i % 5 == 0 || i == s->count - 1) {
            printf("%9.3g  %10.4f  %10.4f\n", s->lr[i], s->loss[i], s->smooth[i]);
        }
    }
    if (isnan(s->steepest)) {
        printf("\nthe loss falls at no rate from %.3g on\n", s->lr[0]);
    } else {
        printf("\nthe loss falls fastest at a rate of %.3g and is least at %.3g\n", s->steepest, s->least);
    }
    if (r->o->out) {
        printf("%s: rates.csv, rates.svg\n", r->o->out);
    }
}

static plumb_status write_curve(const struct train_run *r, const plumb_rate_search *s)
{
    char path[4200], title[160];
    snprintf(path, sizeof(path), "%s/rates.csv", r->o->out);
    plumb_status status = plumb_write_rates_csv(r->context, path, s);
    snprintf(path, sizeof(path), "%s/rates.svg", r->o->out);
    snprintf(title, sizeof(title), "%.40s on %.60s: loss by rate", r->o->model, r->o->set.data);
    return status ? status : plumb_write_rates_svg(r->context, path, title, s);
}

plumb_status train_find_rate(struct train_run *r)
{
    enum { STEPS = 100 };
    double lr[STEPS], loss[STEPS], smooth[STEPS];
    plumb_rate_search s = {.size = sizeof(s), .steps = STEPS, .lr = lr, .loss = loss, .smooth = smooth};
    plumb_status status = plumb_find_rate(&r->model, r->state, r->train, &r->recipe.fit, &s);
    if (!status && s.count == 0) {
        status = plumb_fail(r->context, PLUMB_NUMERIC, "rate search: the loss is not finite before the first step");
    }
    if (!status && r->o->out) {
        status = write_curve(r, &s);
    }
    if (!status) {
        print_found(r, &s);
    }
    return status;
}
