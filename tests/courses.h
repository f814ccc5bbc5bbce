/* Courses: a network trained for a few steps from fixed numbers, everything it leaves behind kept, and two of them
 * compared: bit for bit where all sums are exact, by a formula where they are rounded. */
#ifndef PLUMB_TESTS_COURSES_H
#define PLUMB_TESTS_COURSES_H

#include "plumb/plumb.h"

enum { COURSE_STEPS = 5, COURSE_ENTRIES = 160 };

struct course_net {
    const char *name;
    plumb_status (*build)(plumb_context *context, plumb_dtype dtype, plumb_model *model);
    int batch;
    bool exact;    /* starts from small whole numbers; all sums of all steps are exact in f32 */
    double lr;     /* of momentum; exact: of plain descent, a power of two */
    double depth;  /* ops from input to loss */
    double terms;  /* of the longest sum, backward too: over a batch of pictures */
};
extern const struct course_net course_mlp, course_lenet5, course_residual, course_recurrent, course_exact_mlp, course_exact_conv;

struct course {
    double loss[COURSE_STEPS];
    int entries;
    struct course_entry { /* of the state, the optimiser's included */
        char name[96];
        int64_t count;
        double *begin, *end;
    } entry[COURSE_ENTRIES];
    int64_t held[COURSE_STEPS]; /* what `watch` gave after each step */
    char *plan;                 /* text of the program */
};

/* Runs it in `dtype` with some passes switched off. Whatever happens, course_free. `watch` may be NULL. */
plumb_status course_run(plumb_context *context, const struct course_net *net, plumb_dtype dtype, unsigned passes_off,
                        int64_t (*watch)(void), struct course *course);
void course_free(struct course *course);

/* Reports as failed checks what differs; `what` says whose courses they are. */
void course_same(const char *what, const struct course *a, const struct course *b);
/* Of f32 implementations: see courses.c for the bounds. Returns the worst error over its bound. */
double course_close(const char *what, const struct course_net *net, const struct course *a, const struct course *b);

#endif
