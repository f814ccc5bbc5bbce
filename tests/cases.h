/* Cases: what an op is tried on. A case is an op, its attributes and its inputs' shapes and kinds of values; the
 * cross-check harness varies dtype, layout and implementation, the gradient check takes the same cases in f64.
 * One file per family in tests/cases, named as the family's file in src/op. */
#ifndef PLUMB_CASES_H
#define PLUMB_CASES_H

#include "op/attr.h"

enum case_fill {
    CASE_UNIFORM,  /* in [low, high]; values nearer than 0.02 to `avoid` are moved away from it if use_avoid */
    CASE_INTEGERS, /* whole numbers in [low, high] */
    CASE_DISTINCT, /* all different, well apart (a shuffled ladder over [low, high]): for max, max-pool */
    CASE_GIVEN     /* the first shape-many doubles of `given` */
};

typedef struct case_input {
    plumb_shape shape;
    enum case_fill fill;
    double low, high; /* both 0: -2 and 2 */
    bool use_avoid;
    double avoid;
    plumb_dtype dtype; /* 0: the varied dtype of the case; else fixed (indices, masks, keys) */
    const double *given;
} case_input;

#define CASE_MAX_IN 24
typedef struct op_case {
    const plumb_op *op;
    char label[96];            /* "3x3 s2 p1 g2": unique within the op */
    _Alignas(16) unsigned char attr[512];
    int n_in;
    case_input in[CASE_MAX_IN];
    unsigned dtypes;           /* mask to vary over; 0: all floating */
    bool exact;                /* also run with small integers and tolerance 0 */
    bool no_gradient;          /* not for the gradient check (say why beside it) */
    unsigned zero_gradient;    /* bit i: the gradient of input i is truly zero in this case */
    bool mostly_zero;          /* outputs may be over 70 % zeros by nature (one-hot, masks, pooling backward) */
    plumb_status expect;       /* other than PLUMB_OK: the shape rule (or the run) must refuse with this status */
} op_case;

typedef struct case_list {
    op_case *items;
    int count, room;
} case_list;

/* Appends a copy. Aborts the test program when out of memory. */
void add_case(case_list *list, const op_case *one);
/* Beginning of a case with zeroed attributes: `attr` (op->attr_size bytes) is copied in. */
op_case make_case(const plumb_op *op, const void *attr, const char *label, ...) PLUMB_PRINTF(3, 4);
case_input floats(plumb_shape shape);                           /* uniform in [-2, 2] */
case_input floats_in(plumb_shape shape, double low, double high);
case_input floats_avoiding(plumb_shape shape, double avoid);
case_input distinct(plumb_shape shape);
case_input integers(plumb_dtype dtype, plumb_shape shape, double low, double high);

#define CASE_FAMILY(name) void cases_##name(case_list *list);
#include "cases/families.h"
#undef CASE_FAMILY

#endif
