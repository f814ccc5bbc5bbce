/* Vector pictures for people: line charts and confusion matrices as self-contained SVG text. */
#ifndef PLUMB_IO_SVG_H
#define PLUMB_IO_SVG_H

#include "core/core.h"

struct plumb_series {
    const char *name, *colour; /* "#1f77b4"; name NULL: not in the legend */
    const double *x, *y;       /* [count]; a y that is not finite leaves a gap */
    int count;
    const char *dash;          /* "5 3"; NULL: a solid line */
};

struct plumb_chart {
    const char *title, *x_label;
    double left, top, width, height; /* of the whole chart on the page, with its labels */
    bool percent;                    /* y values are fractions, shown as per cent */
    const struct plumb_series *series;
    int n_series;
};

struct plumb_matrix {
    const char *title;
    const int64_t *counts;    /* (classes, classes): true class, predicted class */
    const char *const *names; /* [classes] */
    int classes;
};

/* Adds text escaped for XML and HTML, also within quotes. */
void plumb_xml_add(struct plumb_text *xml, const char *text);
void plumb_svg_begin(struct plumb_text *svg, double width, double height, const char *description);
/* The same as part of a page: no background, as wide as the page lets it be; ended by plumb_svg_end, too. */
void plumb_svg_begin_inline(struct plumb_text *svg, double width, double height, const char *description);
void plumb_svg_end(struct plumb_text *svg);
/* Text escaped for XML; anchor is "start", "middle" or "end". */
void plumb_svg_label(struct plumb_text *svg, double x, double y, const char *anchor, double size,
                     const char *colour, const char *text);
void plumb_svg_chart(struct plumb_text *svg, const struct plumb_chart *chart);
/* The whole picture, page included. */
void plumb_svg_matrix(struct plumb_text *svg, const struct plumb_matrix *matrix);

#endif
