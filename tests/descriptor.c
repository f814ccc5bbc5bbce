/* See opfuzz.h: descriptors are bred from the cases of their op. Attributes are never invented, for nobody but the op knows
 * what its words mean: they are those of a known case, or each word that of one of two; sizes are, and so are layouts. */
#include "opfuzz.h"

#include <stdio.h>

static int64_t below(struct dice *dice, int64_t n)
{
    return (int64_t)(dice_next(dice) % (uint64_t)n);
}

static bool chance(struct dice *dice, int percent)
{
    return below(dice, 100) < percent;
}

/* ---- sizes ---- */

static int64_t any_size(struct dice *dice)
{
    static const int64_t sizes[] = {0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33};
    return sizes[below(dice, sizeof sizes / sizeof *sizes)];
}

/* Values that are given by hand must suffice, and belong to their shape. */
static bool is_given(const op_case *one, int input)
{
    return one->in[input].fill == CASE_GIVEN;
}

static plumb_shape *lent_shape(op_case *one)
{
    return one->op->flags & (PLUMB_OP_LIKE | PLUMB_OP_DTYPE) ? &((plumb_attr_made *)(void *)one->attr)->shape : NULL;
}

static void replace_in(plumb_shape *shape, int64_t from, int64_t to)
{
    for (int d = 0; d < shape->rank; d++) {
        shape->dim[d] = shape->dim[d] == from ? to : shape->dim[d];
    }
}

/* A size becomes another wherever it is: what belongs together stays together, mostly. */
static void replace_size(op_case *one, int64_t from, int64_t to)
{
    for (int i = 0; i < one->n_in; i++) {
        if (!is_given(one, i)) {
            replace_in(&one->in[i].shape, from, to);
        }
    }
    plumb_shape *lent = lent_shape(one);
    if (lent && lent->rank > 0 && lent->rank <= PLUMB_MAX_RANK) {
        replace_in(lent, from, to);
    }
}

/* Some size of some input; false: there is none. */
static bool pick_size(const op_case *one, struct dice *dice, int *input, int *d)
{
    if (one->n_in == 0) {
        return false;
    }
    *input = (int)below(dice, one->n_in);
    const plumb_shape *shape = &one->in[*input].shape;
    if (shape->rank == 0 || is_given(one, *input)) {
        return false;
    }
    *d = (int)below(dice, shape->rank);
    return true;
}

static void insert_dimension(plumb_shape *shape, int at, int64_t size)
{
    if (shape->rank < 6 && at <= shape->rank) {
        memmove(&shape->dim[at + 1], &shape->dim[at], (size_t)(shape->rank - at) * sizeof shape->dim[0]);
        shape->dim[at] = size;
        shape->rank++;
    }
}

static void remove_dimension(plumb_shape *shape, int at)
{
    if (at < shape->rank) {
        memmove(&shape->dim[at], &shape->dim[at + 1], (size_t)(shape->rank - at - 1) * sizeof shape->dim[0]);
        shape->rank--;
    }
}

static void change_ranks(op_case *one, struct dice *dice)
{
    bool more = chance(dice, 60);
    int at = (int)below(dice, 4);
    int64_t size = below(dice, 4);
    int only = chance(dice, 30) && one->n_in > 0 ? (int)below(dice, one->n_in) : -1;
    for (int i = 0; i < one->n_in; i++) {
        if (is_given(one, i) || (only >= 0 && i != only)) {
            continue;
        }
        if (more) {
            insert_dimension(&one->in[i].shape, at, size);
        } else {
            remove_dimension(&one->in[i].shape, at);
        }
    }
}

static void change_sizes(op_case *one, struct dice *dice)
{
    for (int64_t n = below(dice, 4); n > 0; n--) {
        int input, d;
        if (!pick_size(one, dice, &input, &d)) {
            continue;
        }
        int64_t *size = &one->in[input].shape.dim[d], to = any_size(dice);
        if (chance(dice, 85)) {
            replace_size(one, *size, to);
        } else {
            *size = chance(dice, 50) ? 1 : to;
        }
    }
    if (chance(dice, 12)) {
        change_ranks(one, dice);
    }
}

/* ---- attributes ---- */

/* Eight bytes at a time, so that numbers stay whole; those of a shape in front, which is the result's, stay together. */
static void cross_attributes(op_case *one, const op_case *other, struct dice *dice)
{
    size_t from = lent_shape(one) ? sizeof(plumb_attr_made) : 0;
    from = from < one->op->attr_size ? (from + 7) / 8 * 8 : one->op->attr_size;
    for (size_t at = from; at + 8 <= one->op->attr_size; at += 8) {
        if (chance(dice, 50)) {
            memcpy(one->attr + at, other->attr + at, 8);
        }
    }
}

/* Attributes go with the values that the inputs are drawn from: tanh's way back takes no result beyond 1. */
static bool draws_alike(const op_case *a, const op_case *b)
{
    bool alike = a->n_in == b->n_in && a->exact == b->exact;
    for (int i = 0; alike && i < a->n_in; i++) {
        const case_input *x = &a->in[i], *y = &b->in[i];
        alike = x->fill == y->fill && x->low == y->low && x->high == y->high && x->dtype == y->dtype &&
                x->use_avoid == y->use_avoid && x->avoid == y->avoid;
    }
    return alike;
}

/* ---- layouts ---- */

static enum layout any_layout(struct dice *dice)
{
    static const enum layout layouts[] = {LAYOUT_CONTIGUOUS, LAYOUT_CONTIGUOUS, LAYOUT_TRANSPOSED, LAYOUT_SLICED,
                                          LAYOUT_ODD, LAYOUT_REVERSED, LAYOUT_CHANNELS_LAST};
    return layouts[below(dice, sizeof layouts / sizeof *layouts)];
}

static void choose_layouts(struct descriptor *d, struct dice *dice)
{
    bool plain = chance(dice, 25), last = chance(dice, 20), over = chance(dice, 15);
    d->how = (struct arrangement){.name = "random"};
    for (int i = 0; i < CASE_MAX_IN; i++) {
        enum layout layout = any_layout(dice);
        d->how.in[i] = plain || over ? LAYOUT_CONTIGUOUS : last ? LAYOUT_CHANNELS_LAST : layout;
        if (d->values == VALUES_FLAT && chance(dice, 70) && !over) {
            d->how.in[i] = LAYOUT_BROADCAST;
        }
    }
    for (int k = 0; k < TRIAL_MAX_OUT; k++) {
        enum layout layout = any_layout(dice);
        d->how.out[k] = plain || over ? LAYOUT_CONTIGUOUS : last ? LAYOUT_CHANNELS_LAST : layout;
    }
    d->how.in_place = over ? ~0u : 0;
}

/* ---- a descriptor ---- */

static plumb_dtype any_dtype(unsigned mask, struct dice *dice)
{
    int dtype;
    do {
        dtype = 1 + (int)below(dice, PLUMB_DTYPE_COUNT - 1);
    } while (!(mask & PLUMB_BIT(dtype)));
    return (plumb_dtype)dtype;
}

void descriptor_make(struct descriptor *d, const struct opfuzz_cases *cases, struct dice *dice)
{
    const op_case *a = &cases->items[below(dice, cases->count)], *b = &cases->items[below(dice, cases->count)];
    memset(d, 0, sizeof *d);
    d->one = *a;
    snprintf(d->one.label, sizeof d->one.label, "random");
    if (!draws_alike(a, b)) {
        b = a;
    }
    if (chance(dice, 25)) {
        memcpy(d->one.attr, b->attr, sizeof d->one.attr);
    } else if (chance(dice, 40)) {
        cross_attributes(&d->one, b, dice);
    }
    change_sizes(&d->one, dice);
    d->dtype = any_dtype(a->dtypes ? a->dtypes : PLUMB_FLOATS, dice);
    int64_t kind = below(dice, 10);
    d->values = kind == 0 ? VALUES_NAN : kind == 1 ? VALUES_FLAT : kind <= 3 && a->exact ? VALUES_EXACT : VALUES_NORMAL;
    d->values = d->values == VALUES_EXACT && !plumb_dtype_is_float(d->dtype) ? VALUES_NORMAL : d->values;
    d->isa = chance(dice, 60) ? INT32_MAX : (int)below(dice, PLUMB_ISA_AVX512 + 1);
    choose_layouts(d, dice);
}

static double count_of(const plumb_shape *shape)
{
    double count = 1;
    for (int d = 0; d < shape->rank; d++) {
        count *= (double)shape->dim[d];
    }
    return count;
}

bool descriptor_is_small(const struct trial *trial, double most_operations)
{
    enum { MOST_ELEMENTS = 20000 };
    for (int i = 0; i < trial->n_in + trial->n_out; i++) {
        const plumb_type *type = i < trial->n_in ? &trial->in[i] : &trial->out[i - trial->n_in];
        if (!(count_of(&type->shape) <= MOST_ELEMENTS)) {
            return false;
        }
    }
    return !(trial->operations > most_operations);
}

void descriptor_fit_in_place(const struct trial *trial, struct descriptor *d)
{
    d->how.in_place &= trial_in_place(trial);
}

/* ---- simpler ---- */

bool descriptor_shrink(struct descriptor *d, int step)
{
    enum { TARGETS = 4 }; /* what a size may become: 0, 1, half, one less */
    int sizes = 0;
    for (int i = 0; i < d->one.n_in; i++) {
        for (int k = 0; k < d->one.in[i].shape.rank; k++, sizes++) {
            if (step / TARGETS == sizes) {
                int64_t size = d->one.in[i].shape.dim[k];
                const int64_t to[TARGETS] = {0, 1, size / 2, size - 1};
                int64_t target = to[step % TARGETS];
                if (size > 0 && target < size && !is_given(&d->one, i)) {
                    replace_size(&d->one, size, target);
                }
                return true;
            }
        }
    }
    step -= sizes * TARGETS;
    if (step < d->one.n_in + TRIAL_MAX_OUT) {
        enum layout *layout = step < d->one.n_in ? &d->how.in[step] : &d->how.out[step - d->one.n_in];
        *layout = LAYOUT_CONTIGUOUS;
        return true;
    }
    d->how.in_place = 0;
    return step == d->one.n_in + TRIAL_MAX_OUT;
}

void descriptor_text(const struct descriptor *d, char *to, size_t room)
{
    static const char *const values[] = {"values", "flat", "exact", "NaN"};
    size_t at = 0;
#define ADD(...) at += (size_t)snprintf(to + (at < room ? at : room - 1), at < room ? room - at : 1, __VA_ARGS__)
    ADD("%s %s %s", d->one.op->name, plumb_dtype_name(d->dtype), values[d->values]);
    for (int i = 0; i < d->one.n_in; i++) {
        const plumb_shape *shape = &d->one.in[i].shape;
        ADD("%s", i ? "," : " ");
        for (int k = 0; k < shape->rank; k++) {
            ADD("%s%lld", k ? "x" : "", (long long)shape->dim[k]);
        }
        ADD("%s%s%s", shape->rank ? "" : "scalar", d->how.in[i] ? " " : "", d->how.in[i] ? layout_name(d->how.in[i]) : "");
    }
    ADD(" -> %s%s isa %s", layout_name(d->how.out[0]), d->how.in_place ? " in place" : "",
        d->isa > PLUMB_ISA_AVX512 ? "best" : plumb_isa_name(d->isa));
    for (size_t word = 0; word + 4 <= d->one.op->attr_size; word += 4) {
        uint32_t value;
        memcpy(&value, d->one.attr + word, sizeof value);
        if (value) {
            ADD(" [%zu]=%#x", word, value);
        }
    }
#undef ADD
}
