/* One-pass optimiser updates in f32: all tensors of the op are cut into pieces of a fixed size, one run of the pool
 * goes over all pieces, and each piece reads p, g and the moments once and writes p and the moments once. The formulas are
 * those of src/op/update.c; their constants are made in double. */
#include "cpu/native/vector.h"
#include "op/attr.h"

#include <math.h>

enum { PIECE = 8192 };

struct update_terms {
    float lr, scale, l1, l2, decay;            /* decay = lr * weight_decay */
    float beta1, rest1, beta2, rest2, epsilon; /* rest = 1 - beta; momentum: what g is multiplied by */
    float correct1, correct2;                  /* 1 / (1 - beta^t) of Adam */
};

/* One piece: new values to p_out, a_out, b_out, which may be p, a, b. */
struct update_piece {
    const float *p, *g, *a, *b;
    float *p_out, *a_out, *b_out;
    int64_t n;
};

typedef void update_kernel(const struct update_terms *t, const struct update_piece *piece);

/* What every rule begins with: the gradient with its scale, L2 and L1. */
NATIVE_INLINE float whole_gradient(const struct update_terms *t, float p, float g)
{
    float sign = (p > 0 ? 1.0f : 0.0f) - (p < 0 ? 1.0f : 0.0f);
    return t->scale * g + t->l2 * p + t->l1 * sign;
}

/* Each rule: new moments in *a and *b, returns the step. */
NATIVE_INLINE float step_sgd(const struct update_terms *t, float g, float *a, float *b)
{
    (void)a;
    (void)b;
    return t->lr * g;
}

NATIVE_INLINE float step_momentum(const struct update_terms *t, float g, float *a, float *b)
{
    (void)b;
    *a = t->beta1 * *a + t->rest1 * g;
    return t->lr * *a;
}

NATIVE_INLINE float step_nesterov(const struct update_terms *t, float g, float *a, float *b)
{
    (void)b;
    *a = t->beta1 * *a + t->lr * g;
    return t->lr * g + t->beta1 * *a;
}

NATIVE_INLINE float step_adagrad(const struct update_terms *t, float g, float *a, float *b)
{
    (void)b;
    *a += g * g;
    return t->lr * g / sqrtf(*a + t->epsilon);
}

NATIVE_INLINE float step_rmsprop(const struct update_terms *t, float g, float *a, float *b)
{
    (void)b;
    *a = t->beta2 * *a + t->rest2 * (g * g);
    return t->lr * g / (sqrtf(*a) + t->epsilon);
}

NATIVE_INLINE float step_adam(const struct update_terms *t, float g, float *a, float *b)
{
    *a = t->beta1 * *a + t->rest1 * g;
    *b = t->beta2 * *b + t->rest2 * (g * g);
    return t->lr * (*a * t->correct1) / (sqrtf(*b * t->correct2) + t->epsilon);
}

/* The loops differ in how many moments they carry, so that no rule touches memory it does not have. */
#define UPDATE_LOOP(rule, slots, isa, TARGET)                                                                \
    TARGET static void update_##rule##_##isa(const struct update_terms *terms,                               \
                                             const struct update_piece *piece)                               \
    {                                                                                                        \
        const struct update_terms t = *terms;                                                                \
        const struct update_piece q = *piece;                                                                \
        NATIVE_LOOP                                                                                          \
        for (int64_t i = 0; i < q.n; i++) {                                                                  \
            float p = q.p[i], g = whole_gradient(&t, p, q.g[i]);                                             \
            float a = slots > 0 ? q.a[i] : 0, b = slots > 1 ? q.b[i] : 0;                                    \
            float step = step_##rule(&t, g, &a, &b);                                                         \
            q.p_out[i] = p - step - t.decay * p;                                                             \
            if (slots > 0)                                                                                   \
                q.a_out[i] = a;                                                                              \
            if (slots > 1)                                                                                   \
                q.b_out[i] = b;                                                                              \
        }                                                                                                    \
    }
#define UPDATE_WRAPPERS(isa, TARGET)                                                                         \
    UPDATE_LOOP(sgd, 0, isa, TARGET)                                                                         \
    UPDATE_LOOP(momentum, 1, isa, TARGET)                                                                    \
    UPDATE_LOOP(nesterov, 1, isa, TARGET)                                                                    \
    UPDATE_LOOP(adagrad, 1, isa, TARGET)                                                                     \
    UPDATE_LOOP(rmsprop, 1, isa, TARGET)                                                                     \
    UPDATE_LOOP(adam, 2, isa, TARGET)
NATIVE_EACH_ISA(UPDATE_WRAPPERS)

/* ---- work ---- */

struct update_work {
    const plumb_call *call;
    struct update_terms terms;
    update_kernel *kernel;
    const int64_t *first; /* [tensors + 1] number of the first piece of each tensor */
    int tensors, slots;
    bool apply;
};

static int tensor_count(const plumb_call *call)
{
    return (call->n_in - PLUMB_UPDATE_HEAD) / (2 + ((const plumb_attr_update *)call->attr)->slots);
}

static size_t workspace(const plumb_call *call) { return sizeof(int64_t) * (size_t)(tensor_count(call) + 1); }

static const float *piece_in(const plumb_view *view, int64_t at) { return (const float *)view->data + at; }
static float *piece_out(const plumb_view *view, int64_t at) { return (float *)view->data + at; }

/* The last tensor whose first piece is not beyond `piece`. Empty tensors have no pieces and are passed over. */
static int tensor_of(const struct update_work *w, int64_t piece)
{
    int low = 0, high = w->tensors;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (w->first[middle] <= piece)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void update_chunk(void *user, int64_t chunk, int worker)
{
    const struct update_work *w = user;
    (void)worker;
    int tensor = tensor_of(w, chunk), slots = w->slots;
    const plumb_view *in = &w->call->in[PLUMB_UPDATE_HEAD + tensor * (2 + slots)];
    const plumb_view *out = &w->call->out[tensor * (1 + slots)];
    int64_t at = (chunk - w->first[tensor]) * PIECE, left = plumb_view_count(in) - at;
    int64_t n = left < PIECE ? left : PIECE;
    if (!w->apply) {
        for (int k = 0; k <= slots; k++)
            memmove(piece_out(&out[k], at), piece_in(&in[k ? k + 1 : 0], at), sizeof(float) * (size_t)n);
        return;
    }
    struct update_piece piece = {
        .p = piece_in(&in[0], at), .g = piece_in(&in[1], at), .p_out = piece_out(&out[0], at), .n = n};
    if (slots > 0) {
        piece.a = piece_in(&in[2], at);
        piece.a_out = piece_out(&out[1], at);
    }
    if (slots > 1) {
        piece.b = piece_in(&in[3], at);
        piece.b_out = piece_out(&out[2], at);
    }
    w->kernel(&w->terms, &piece);
}

static struct update_terms read_terms(const plumb_call *call)
{
    const plumb_attr_update *a = call->attr;
    float lr = *(const float *)call->in[1].data;
    double t = (double)*(const int64_t *)call->in[3].data + 1;
    return (struct update_terms){
        .lr = lr,
        .scale = *(const float *)call->in[2].data,
        .l1 = (float)a->l1,
        .l2 = (float)a->l2,
        .decay = (float)((double)lr * a->weight_decay),
        .beta1 = (float)a->beta1,
        .rest1 = a->classic ? 1 : (float)(1 - a->beta1),
        .beta2 = (float)a->beta2,
        .rest2 = (float)(1 - a->beta2),
        .epsilon = (float)a->epsilon,
        .correct1 = (float)(1 / (1 - pow(a->beta1, t))),
        .correct2 = (float)(1 / (1 - pow(a->beta2, t))),
    };
}

static plumb_status run(const plumb_call *call, update_kernel *kernel)
{
    int64_t *first = call->workspace;
    struct update_work w = {.call = call,
                            .terms = read_terms(call),
                            .kernel = kernel,
                            .first = first,
                            .tensors = tensor_count(call),
                            .slots = ((const plumb_attr_update *)call->attr)->slots,
                            .apply = *(const uint8_t *)call->in[0].data != 0};
    first[0] = 0;
    for (int i = 0; i < w.tensors; i++)
        first[i + 1] =
            first[i] +
            (plumb_view_count(&call->in[PLUMB_UPDATE_HEAD + i * (2 + w.slots)]) + PIECE - 1) / PIECE;
    plumb_pool_run(call->pool, first[w.tensors], update_chunk, &w);
    return PLUMB_OK;
}

static bool supports(const plumb_call *call)
{
    bool good = call->in[PLUMB_UPDATE_HEAD].dtype == PLUMB_F32;
    for (int i = PLUMB_UPDATE_HEAD; i < call->n_in; i++)
        good = good && plumb_view_contiguous(&call->in[i]);
    for (int i = 0; i < call->n_out; i++)
        good = good && plumb_view_contiguous(&call->out[i]);
    return good;
}

#define UPDATE_IMPL(name_)                                                                                   \
    static plumb_status run_##name_(const plumb_call *call)                                                  \
    {                                                                                                        \
        return run(call, NATIVE_PICK(update_##name_, call->isa));                                            \
    }                                                                                                        \
    const plumb_impl plumb_impl_##name_##_update_native = {.op = &plumb_op_##name_##_update,                 \
                                                           .name = "cpu.native",                             \
                                                           .dtypes = PLUMB_BIT(PLUMB_F32),                   \
                                                           .supports = supports,                             \
                                                           .workspace = workspace,                           \
                                                           .run = run_##name_}

UPDATE_IMPL(sgd);
UPDATE_IMPL(momentum);
UPDATE_IMPL(nesterov);
UPDATE_IMPL(adagrad);
UPDATE_IMPL(rmsprop);
UPDATE_IMPL(adam);
