/* How variables start: values depend on (seed, name, element) only, so neither the order of creation nor threads nor
 * devices change them. He 2015, Glorot & Bengio 2010, Saxe et al. 2014. */
#include "exec/exec.h"

#include <math.h>

enum { INIT_STEP = 0 };

struct source {
    uint64_t seed;
    uint32_t stream;
};

/* Streams of variables are hashes with the top bit set; those of a graph's random ops count up from 1. */
static struct source source_of(plumb_context *context, const char *name)
{
    uint64_t h = plumb_hash(name);
    return (struct source){.seed = plumb_seed(context), .stream = (uint32_t)(h ^ (h >> 32)) | 0x80000000u};
}

static double normal(const struct source *s, int64_t i)
{
    return plumb_normal_of_word(plumb_random_word(s->seed, s->stream, INIT_STEP, i));
}

/* Most weights, on all threads: each draw makes four of them. */
struct drawing {
    struct source source;
    plumb_dtype dtype;
    void *to;
    int64_t count;
    double a, b;
    bool flat; /* uniform in [a, b), or a where they are equal; else normal with mean a and deviation b */
};
enum { DRAW_CHUNK = 1 << 14 };

static void draw_chunk(void *user, int64_t chunk, int worker)
{
    const struct drawing *d = user;
    int64_t end = (chunk + 1) * DRAW_CHUNK < d->count ? (chunk + 1) * DRAW_CHUNK : d->count;
    (void)worker;
    for (int64_t i = chunk * DRAW_CHUNK; i < end; i += 4) {
        uint32_t word[4] = {0};
        if (!d->flat || d->a != d->b)
            plumb_philox(d->source.seed, d->source.stream, INIT_STEP, (uint32_t)(i >> 2), word);
        for (int64_t k = i; k < end && k < i + 4; k++)
            plumb_put(d->to, d->dtype, k,
                      d->flat ? d->a == d->b ? d->a : d->a + (d->b - d->a) * plumb_uniform_of_word(word[k & 3])
                              : d->a + d->b * plumb_normal_of_word(word[k & 3]));
    }
}

/* (O, I, ...): fan_in = I * ..., fan_out = O * ...; a vector counts its elements both ways. */
static void fans(const plumb_shape *shape, const plumb_init *init, double *in, double *out)
{
    int64_t field = 1;
    for (int i = 2; i < shape->rank; i++)
        field *= shape->dim[i];
    int64_t first = shape->rank > 0 ? shape->dim[0] : 1, second = shape->rank > 1 ? shape->dim[1] : first;
    *in = (double)(init->fan_in > 0 ? init->fan_in : second * field);
    *out = (double)(init->fan_out > 0 ? init->fan_out : first * field);
    if (*in < 1)
        *in = 1;
    if (*out < 1)
        *out = 1;
}

/* Rows of a (rows, columns) matrix made orthonormal by modified Gram-Schmidt; the shorter side is orthonormal. */
static plumb_status orthogonal(plumb_context *context, const struct source *s, const plumb_shape *shape, double gain,
                               plumb_dtype dtype, void *to)
{
    int64_t count = plumb_shape_count(shape), rows = shape->rank ? shape->dim[0] : 1;
    int64_t columns = rows ? count / rows : 0;
    bool wide = columns >= rows;
    int64_t n = wide ? rows : columns, length = wide ? columns : rows; /* n vectors of `length` */
    double *v = plumb_alloc(context, sizeof *v * (size_t)(count ? count : 1));
    if (!v)
        return PLUMB_FAILED;
    for (int64_t i = 0; i < count; i++)
        v[i] = normal(s, i);
    for (int64_t i = 0; i < n; i++) {
        double *a = v + i * length, norm = 0;
        for (int pass = 0; pass < 2; pass++) /* twice is enough */
            for (int64_t j = 0; j < i; j++) {
                double dot = 0;
                for (int64_t k = 0; k < length; k++)
                    dot += a[k] * v[j * length + k];
                for (int64_t k = 0; k < length; k++)
                    a[k] -= dot * v[j * length + k];
            }
        for (int64_t k = 0; k < length; k++)
            norm += a[k] * a[k];
        norm = norm > 0 ? 1 / sqrt(norm) : 0;
        for (int64_t k = 0; k < length; k++)
            a[k] *= norm;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < length; k++)
            plumb_put(to, dtype, wide ? i * columns + k : k * columns + i, gain * v[i * length + k]);
    plumb_free(context, v);
    return PLUMB_OK;
}

plumb_status plumb_initialise(plumb_context *context, const char *name, const plumb_type *type, const plumb_init *init,
                              void *to)
{
    int64_t count = plumb_shape_count(&type->shape);
    struct source s = source_of(context, name);
    double in, out, a = init->a, b = init->b;
    fans(&type->shape, init, &in, &out);
    if (strcmp(name, PLUMB_KEY_NAME) == 0) {
        uint64_t key[2] = {plumb_seed(context), 0};
        memcpy(to, key, sizeof key);
        return PLUMB_OK;
    }
    bool flat = false;
    switch (init->rule) {
    case PLUMB_INIT_ZEROS: a = b = 0; flat = true; break;
    case PLUMB_INIT_CONSTANT: b = a; flat = true; break;
    case PLUMB_INIT_NORMAL: break;
    case PLUMB_INIT_HE: a = 0; b = sqrt(2 / in); break;
    case PLUMB_INIT_XAVIER: a = 0; b = sqrt(1 / in); break;
    case PLUMB_INIT_GLOROT: a = 0; b = sqrt(2 / (in + out)); break;
    case PLUMB_INIT_UNIFORM: flat = true; break;
    case PLUMB_INIT_HE_UNIFORM: b = sqrt(6 / in); a = -b; flat = true; break;
    case PLUMB_INIT_GLOROT_UNIFORM: b = sqrt(6 / (in + out)); a = -b; flat = true; break;
    case PLUMB_INIT_ORTHOGONAL: return orthogonal(context, &s, &type->shape, a == 0 ? 1 : a, type->dtype, to);
    default: return plumb_fail(context, PLUMB_BAD_INPUT, "variable '%s': unknown initialiser %d", name, (int)init->rule);
    }
    struct drawing d = {.source = s, .dtype = type->dtype, .to = to, .count = count, .a = a, .b = b, .flat = flat};
    plumb_pool_run(context->pool, (count + DRAW_CHUNK - 1) / DRAW_CHUNK, draw_chunk, &d);
    return PLUMB_OK;
}
