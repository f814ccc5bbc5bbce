/* What a search leaves for people: trials.csv, best first, and trials.svg, parallel coordinates: one line for each trial
 * over an axis for each option and one for the score, the better the darker, so that one sees which values the good trials
 * share. */
#include <math.h>

#include "cli/tune.h"
#include "io/number.h"
#include "io/svg.h"

#define AXIS_GAP 150
#define TOP 80.0
#define BOTTOM 400.0

bool tune_better(const struct search *s, double a, double b)
{
    return !isnan(a) && (isnan(b) || (s->smaller ? a < b : a > b));
}

void tune_rank(const struct search *s, int *order)
{
    for (int i = 0; i < s->count; i++) {
        int at = i;
        for (; at > 0 && tune_better(s, s->trial[i].score, s->trial[order[at - 1]].score); at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

static plumb_status write_text(const struct search *s, const char *name, struct plumb_text *text)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    size_t length = text->length;
    char *data = plumb_text_take(text);
    plumb_status status = data ? plumb_write_file(s->context, path, data, length) : PLUMB_FAILED;
    plumb_free(s->context, data);
    return status;
}

plumb_status tune_write_table(const struct search *s)
{
    static int order[TRIALS_MOST];
    struct plumb_text text = {.context = s->context};
    tune_rank(s, order);
    plumb_text_add(&text, "rank,trial,state,%s,epochs,seconds", s->metric);
    for (int i = 0; i < s->space.count; i++) {
        plumb_text_add(&text, ",%s", s->space.row[i].name);
    }
    plumb_text_add(&text, "\n");
    for (int k = 0; k < s->count; k++) {
        const struct trial *t = &s->trial[order[k]];
        char room[64];
        plumb_text_add(&text, "%d,%d,%s,", k + 1, order[k], tune_state_name(t->state));
        if (!isnan(t->score)) {
            plumb_text_add(&text, "%.7g", t->score);
        }
        plumb_text_add(&text, ",%d,%.1f", t->epochs, t->seconds);
        for (int i = 0; i < s->space.count; i++) {
            plumb_text_add(&text, ",%s", t->is_default ? "" : tune_value_text(&s->space.row[i], t->value[i], room));
        }
        plumb_text_add(&text, "\n");
    }
    return write_text(s, "trials.csv", &text);
}

/* ---- the picture ---- */

struct scores {
    double low, high; /* of the middle half and better, so that one diverged trial does not press all others together */
};

static struct scores scores_of(const struct search *s, const int *order)
{
    struct scores r = {INFINITY, -INFINITY};
    int known = 0;
    while (known < s->count && !isnan(s->trial[order[known]].score)) {
        known++;
    }
    int shown = known > 4 ? (known * 3 + 3) / 4 : known;
    for (int k = 0; k < shown; k++) {
        r.low = fmin(r.low, s->trial[order[k]].score);
        r.high = fmax(r.high, s->trial[order[k]].score);
    }
    if (!(r.high > r.low)) {
        r.low = isfinite(r.low) ? r.low - 0.5 : 0;
        r.high = r.low + 1;
    }
    return r;
}

static double height_of(double position) { return BOTTOM - (BOTTOM - TOP) * fmin(fmax(position, 0), 1); }

/* 0 worst, 1 best. */
static double goodness(const struct search *s, const struct scores *r, double score)
{
    double part = (score - r->low) / (r->high - r->low);
    return fmin(fmax(s->smaller ? 1 - part : part, 0), 1);
}

static void draw_axis(const struct search *s, struct plumb_text *svg, int axis, const struct scores *r)
{
    double x = 70 + axis * AXIS_GAP;
    char top[64], bottom[64];
    const char *name = s->metric;
    snprintf(top, sizeof(top), "%.4g", s->smaller ? r->low : r->high);
    snprintf(bottom, sizeof(bottom), "%.4g", s->smaller ? r->high : r->low);
    plumb_text_add(svg, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"#666666\"/>\n", (int)x, (int)TOP, (int)x,
                   (int)BOTTOM);
    if (axis < s->space.count) {
        const struct dimension *d = &s->space.row[axis];
        name = d->name;
        snprintf(top, sizeof(top), "%.60s", "");
        snprintf(bottom, sizeof(bottom), "%.60s", "");
        if (d->range.scale == PLUMB_SEARCH_CHOICE) {
            plumb_text_add(svg, "<g stroke=\"#ffffff\" stroke-width=\"4\" paint-order=\"stroke\">\n"); /* lines lie below */
            for (int i = 0; i <= (int)d->range.high; i++) {
                plumb_svg_label(svg, x + 5, height_of(plumb_search_position(&d->range, i)) + 4, "start", 11, "#222222",
                                d->choice[i]);
            }
            plumb_text_add(svg, "</g>\n");
        } else {
            char room[64];
            snprintf(top, sizeof(top), "%.60s", tune_value_text(d, d->range.high, room));
            snprintf(bottom, sizeof(bottom), "%.60s", tune_value_text(d, d->range.low, room));
        }
    }
    plumb_svg_label(svg, x, TOP - 28, "middle", 13, "#222222", name);
    plumb_svg_label(svg, x, TOP - 10, "middle", 11, "#666666", top);
    plumb_svg_label(svg, x, BOTTOM + 18, "middle", 11, "#666666", bottom);
}

static void draw_trial(const struct search *s, struct plumb_text *svg, const struct trial *t, const struct scores *r,
                       bool best)
{
    double good = goodness(s, r, t->score);
    char number[PLUMB_NUMBER_ROOM];
    plumb_text_add(svg, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%d\" stroke-opacity=\"%s\" d=\"",
                   best ? "#d95f02" : "#1f77b4", best ? 3 : 2, plumb_fixed(number, best ? 1 : 0.15 + 0.7 * good, 2));
    for (int i = 0; i <= s->space.count; i++) {
        double y = height_of(i < s->space.count ? plumb_search_position(&s->space.row[i].range, t->value[i]) : good);
        plumb_text_add(svg, "%s%d %s ", i ? "L" : "M", 70 + i * AXIS_GAP, plumb_fixed(number, y, 1));
    }
    plumb_text_add(svg, "\"/>\n");
}

plumb_status tune_write_picture(const struct search *s)
{
    static int order[TRIALS_MOST];
    struct plumb_text svg = {.context = s->context};
    char title[200];
    tune_rank(s, order);
    struct scores r = scores_of(s, order);
    double width = 140 + s->space.count * AXIS_GAP;
    snprintf(title, sizeof(title), "%d trials by %.60s; the best in orange", s->count, s->metric);
    plumb_svg_begin(&svg, width < 420 ? 420 : width, BOTTOM + 40, title);
    plumb_svg_label(&svg, 16, 26, "start", 15, "#222222", title);
    for (int k = s->count - 1; k >= 0; k--) { /* the best last, on top */
        const struct trial *t = &s->trial[order[k]];
        if (!isnan(t->score) && !t->is_default) {
            draw_trial(s, &svg, t, &r, k == 0 || (k == 1 && s->trial[order[0]].is_default));
        }
    }
    for (int i = 0; i <= s->space.count; i++) {
        draw_axis(s, &svg, i, &r);
    }
    plumb_svg_end(&svg);
    return write_text(s, "trials.svg", &svg);
}
