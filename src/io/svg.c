/* SVG written by hand: a few rectangles, lines and labels, with colours that read on white and in grey print.
 * Coordinates are pixels with one decimal. */
#include "io/svg.h"

#include <math.h>
#include <stdio.h>

#include "io/number.h"

#define INK "#222222"
#define PALE "#dddddd"
#define GREY "#666666"

/* One coordinate; a buffer each, so that several fit into one call. */
struct coordinate {
    char text[PLUMB_NUMBER_ROOM];
};
#define AT(value) (plumb_fixed((struct coordinate){{0}}.text, (value), 1))

void plumb_xml_add(struct plumb_text *svg, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        switch (c) {
        case '<': plumb_text_add(svg, "&lt;"); break;
        case '>': plumb_text_add(svg, "&gt;"); break;
        case '&': plumb_text_add(svg, "&amp;"); break;
        case '"': plumb_text_add(svg, "&quot;"); break;
        default: plumb_text_add(svg, "%c", c < 0x20 ? ' ' : (char)c);
        }
    }
}

void plumb_svg_begin(struct plumb_text *svg, double width, double height, const char *description)
{
    plumb_text_add(svg, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    plumb_text_add(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%s\" height=\"%s\" viewBox=\"0 0 %s %s\" "
        "font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n",
        AT(width), AT(height), AT(width), AT(height));
    plumb_text_add(svg, "<title>");
    plumb_xml_add(svg, description);
    plumb_text_add(svg, "</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
}

void plumb_svg_begin_inline(struct plumb_text *svg, double width, double height, const char *description)
{
    plumb_text_add(svg, "<svg viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"", AT(width), AT(height));
    plumb_xml_add(svg, description);
    plumb_text_add(svg, "\">\n");
}

void plumb_svg_end(struct plumb_text *svg) { plumb_text_add(svg, "</svg>\n"); }

void plumb_svg_label(struct plumb_text *svg, double x, double y, const char *anchor, double size,
                     const char *colour, const char *text)
{
    plumb_text_add(svg, "<text x=\"%s\" y=\"%s\" font-size=\"%s\" fill=\"%s\" text-anchor=\"%s\">", AT(x),
                   AT(y), AT(size), colour, anchor);
    plumb_xml_add(svg, text);
    plumb_text_add(svg, "</text>\n");
}

static void line(struct plumb_text *svg, double x1, double y1, double x2, double y2, const char *colour,
                 double width)
{
    plumb_text_add(svg, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"%s\" stroke-width=\"%s\"/>\n",
                   AT(x1), AT(y1), AT(x2), AT(y2), colour, AT(width));
}

/* An axis: values from low to high, ticks at multiples of step. */
struct axis {
    double low, high, step;
    int decimals;
    double from, to; /* pixels */
};

/* 1, 2 or 5 times a power of ten, so that there are about `ticks` of them. */
static struct axis make_axis(double low, double high, int ticks, double from, double to)
{
    struct axis a = {.from = from, .to = to};
    if (!(high > low)) { /* one value, none, or nothing finite */
        double around = low != 0 && isfinite(low) ? fabs(low) / 10 : 0.5;
        low = isfinite(low) ? low - around : 0;
        high = isfinite(high) ? low + 2 * around : 1;
    }
    double rough = (high - low) / ticks, power = pow(10, floor(log10(rough)));
    double m = rough / power;
    a.step = power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
    a.low = floor(low / a.step + 1e-9) * a.step;
    a.high = ceil(high / a.step - 1e-9) * a.step;
    a.decimals = a.step < 1 ? (int)ceil(-log10(a.step) - 1e-9) : 0;
    return a;
}

static double place(const struct axis *a, double value)
{
    return a->from + (a->to - a->from) * (value - a->low) / (a->high - a->low);
}

static void limits(const struct plumb_chart *c, double *x_low, double *x_high, double *y_low, double *y_high)
{
    *x_low = *y_low = INFINITY;
    *x_high = *y_high = -INFINITY;
    for (int s = 0; s < c->n_series; s++) {
        for (int i = 0; i < c->series[s].count; i++) {
            double x = c->series[s].x[i], y = c->series[s].y[i];
            if (isfinite(x) && isfinite(y)) {
                *x_low = fmin(*x_low, x);
                *x_high = fmax(*x_high, x);
                *y_low = fmin(*y_low, y);
                *y_high = fmax(*y_high, y);
            }
        }
    }
}

static void draw_grid(struct plumb_text *svg, const struct plumb_chart *c, const struct axis *x,
                      const struct axis *y)
{
    char number[PLUMB_NUMBER_ROOM], text[PLUMB_NUMBER_ROOM + 2];
    int decimals = c->percent ? (y->decimals > 2 ? y->decimals - 2 : 0) : y->decimals;
    for (int i = 0; i <= (int)lrint((y->high - y->low) / y->step); i++) {
        double value = y->low + i * y->step;
        line(svg, x->from, place(y, value), x->to, place(y, value), PALE, 1);
        snprintf(text, sizeof(text), "%s%s", plumb_fixed(number, c->percent ? 100 * value : value, decimals),
                 c->percent ? "%" : "");
        plumb_svg_label(svg, x->from - 6, place(y, value) + 4, "end", 11, GREY, text);
    }
    for (int i = 0; i <= (int)lrint((x->high - x->low) / x->step); i++) {
        double value = x->low + i * x->step;
        line(svg, place(x, value), y->from, place(x, value), y->from + 4, GREY, 1);
        plumb_svg_label(svg, place(x, value), y->from + 18, "middle", 11, GREY,
                        plumb_fixed(number, value, x->decimals));
    }
    line(svg, x->from, y->from, x->to, y->from, GREY, 1);
    plumb_svg_label(svg, (x->from + x->to) / 2, y->from + 36, "middle", 12, INK, c->x_label);
    plumb_svg_label(svg, c->left + 8, c->top + 20, "start", 15, INK, c->title);
}

static void draw_series(struct plumb_text *svg, const struct plumb_series *s, const struct axis *x,
                        const struct axis *y)
{
    bool drawing = false;
    plumb_text_add(svg, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\"", s->colour);
    if (s->dash) {
        plumb_text_add(svg, " stroke-dasharray=\"%s\"", s->dash);
    }
    plumb_text_add(svg, " d=\"");
    for (int i = 0; i < s->count; i++) {
        if (isfinite(s->y[i]) && isfinite(s->x[i])) {
            plumb_text_add(svg, "%s%s %s ", drawing ? "L" : "M", AT(place(x, s->x[i])),
                           AT(place(y, s->y[i])));
            drawing = true;
        } else {
            drawing = false;
        }
    }
    plumb_text_add(svg, "\"/>\n");
    for (int i = 0; i < s->count && s->count <= 60; i++) {
        if (isfinite(s->y[i]) && isfinite(s->x[i])) {
            plumb_text_add(svg, "<circle cx=\"%s\" cy=\"%s\" r=\"3\" fill=\"%s\"/>\n", AT(place(x, s->x[i])),
                           AT(place(y, s->y[i])), s->colour);
        }
    }
}

void plumb_svg_chart(struct plumb_text *svg, const struct plumb_chart *c)
{
    double x_low, x_high, y_low, y_high;
    limits(c, &x_low, &x_high, &y_low, &y_high);
    double right = c->left + c->width - 14, bottom = c->top + c->height - 46;
    struct axis x = make_axis(x_low, x_high, 8, c->left + 54, right);
    struct axis y = make_axis(y_low, y_high, 6, bottom, c->top + 44);
    if (x.step < 1) { /* epochs are whole */
        x.step = 1;
        x.decimals = 0;
        x.low = floor(x.low);
        x.high = ceil(x.high);
    }
    draw_grid(svg, c, &x, &y);
    for (int s = 0; s < c->n_series; s++) {
        draw_series(svg, &c->series[s], &x, &y);
    }
    /* The legend stands at the right of the title, one entry beside the other. */
    double at = right;
    for (int s = c->n_series - 1; s >= 0; s--) {
        if (!c->series[s].name) {
            continue;
        }
        plumb_svg_label(svg, at, c->top + 20, "end", 12, INK, c->series[s].name);
        at -= 7.2 * (double)strlen(c->series[s].name) + 6;
        line(svg, at - 20, c->top + 16, at, c->top + 16, c->series[s].colour, 3);
        at -= 36;
    }
}

/* White to a dark blue. */
static void shade(double fraction, char to[8])
{
    double f = sqrt(fraction < 0 ? 0 : fraction > 1 ? 1 : fraction); /* so that small counts show */
    snprintf(to, 8, "#%02x%02x%02x", (unsigned)lrint(255 - f * 245), (unsigned)lrint(255 - f * 185),
             (unsigned)lrint(255 - f * 115));
}

struct matrix_place {
    double left, top, cell;
};

static void matrix_row(struct plumb_text *svg, const struct plumb_matrix *m, int row,
                       const struct matrix_place *p)
{
    char colour[8], number[PLUMB_NUMBER_ROOM], text[64];
    int64_t sum = 0;
    double y = p->top + row * p->cell;
    for (int c = 0; c < m->classes; c++) {
        sum += m->counts[(int64_t)row * m->classes + c];
    }
    plumb_svg_label(svg, p->left - 8, y + p->cell / 2 + 4, "end", 12, INK, m->names[row]);
    for (int c = 0; c < m->classes; c++) {
        int64_t count = m->counts[(int64_t)row * m->classes + c];
        double fraction = sum > 0 ? (double)count / (double)sum : 0, x = p->left + c * p->cell;
        shade(fraction, colour);
        plumb_text_add(
            svg, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"%s\" stroke=\"#ffffff\"/>\n",
            AT(x), AT(y), AT(p->cell), AT(p->cell), colour);
        if (p->cell >= 24 && count > 0) {
            snprintf(text, sizeof(text), "%lld", (long long)count);
            plumb_svg_label(svg, x + p->cell / 2, y + p->cell / 2 + 4, "middle", p->cell >= 40 ? 12 : 8,
                            fraction > 0.3 ? "#ffffff" : INK, text);
        }
    }
    if (sum > 0) {
        double recall = (double)m->counts[(int64_t)row * m->classes + row] / (double)sum;
        snprintf(text, sizeof(text), "%s%%", plumb_fixed(number, 100 * recall, 1));
        plumb_svg_label(svg, p->left + m->classes * p->cell + 8, y + p->cell / 2 + 4, "start", 12, INK, text);
    }
}

void plumb_svg_matrix(struct plumb_text *svg, const struct plumb_matrix *m)
{
    size_t longest = 1;
    for (int c = 0; c < m->classes; c++) {
        size_t length = strlen(m->names[c]);
        longest = length > longest ? length : longest;
    }
    double names = 7.5 * (double)(longest > 30 ? 30 : longest) + 16;
    double cell = m->classes <= 12 ? 46 : m->classes <= 30 ? 26 : 720.0 / m->classes;
    struct matrix_place p = {.left = names + 24, .top = names * 0.72 + 84, .cell = cell};
    double side = cell * m->classes;
    plumb_svg_begin(svg, p.left + side + 84, p.top + side + 24, m->title);
    plumb_svg_label(svg, 16, 26, "start", 15, INK, m->title);
    plumb_svg_label(svg, 16, 46, "start", 12, GREY,
                    "rows: true class; columns: predicted; right: share of the row that is right");
    for (int c = 0; c < m->classes; c++) {
        double x = p.left + (c + 0.5) * cell + 4, y = p.top - 8;
        plumb_text_add(svg, "<g transform=\"rotate(-45 %s %s)\">\n", AT(x), AT(y));
        plumb_svg_label(svg, x, y, "start", 12, INK, m->names[c]);
        plumb_text_add(svg, "</g>\n");
    }
    for (int row = 0; row < m->classes; row++) {
        matrix_row(svg, m, row, &p);
    }
    plumb_svg_end(svg);
}
