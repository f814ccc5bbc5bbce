/* Random ops on the GPU: the numbers of the attributes become those of the kernel as in src/cpu/ref/random.c. */
#include "cuda/cuda.h"

#include <math.h>

static pk_random_of random_of(const plumb_call *call, const plumb_view *key)
{
    const plumb_attr_random *attr = call->attr;
    return (pk_random_of){
        .y = plumb_cuda_walk_in_order(&call->out[0]),
        .key = key->data,
        .key_step = key->stride[0],
        .stream = attr->stream,
        .a = attr->a,
        .b = attr->b,
    };
}

static plumb_status launch(const plumb_call *call, enum pk_random what, const pk_random_of *r)
{
    return plumb_cuda_check(call, "plumb_k_random",
                            plumb_k_random(plumb_cuda_stream(call), what, (int)call->out[0].dtype, r));
}

/* Words are compared instead of the numbers word * 2^-32: both sides are exact. */
static plumb_status run_dropout(const plumb_call *call)
{
    double drop = ((const plumb_attr_random *)call->attr)->a;
    pk_random_of r = random_of(call, &call->in[1]);
    r.x = plumb_cuda_walk_in_order(&call->in[0]);
    r.least = (uint64_t)ceil(drop * 0x1p32);
    r.a = 1 / (1 - drop);
    return launch(call, PK_DROPOUT, &r);
}

static plumb_status run_random_uniform(const plumb_call *call)
{
    const plumb_attr_random *attr = call->attr;
    double low = attr->a, high = attr->b;
    pk_random_of r = random_of(call, &call->in[0]);
    r.b = high - low;
    r.high = high;
    r.below = fmax(low, high - 1.5 * plumb_dtype_epsilon(call->out[0].dtype) * fabs(high));
    return launch(call, PK_UNIFORM, &r);
}

static plumb_status run_random_normal(const plumb_call *call)
{
    pk_random_of r = random_of(call, &call->in[0]);
    return launch(call, PK_NORMAL, &r);
}

static plumb_status run_random_bernoulli(const plumb_call *call)
{
    pk_random_of r = random_of(call, &call->in[0]);
    r.least = (uint64_t)ceil(r.a * 0x1p32);
    return launch(call, PK_BERNOULLI, &r);
}

static plumb_status run_random_integers(const plumb_call *call)
{
    pk_random_of r = random_of(call, &call->in[0]);
    r.least = (uint64_t)(r.b - r.a);
    return launch(call, PK_INTEGERS, &r);
}

static plumb_status run_bernoulli(const plumb_call *call)
{
    pk_random_of r = random_of(call, &call->in[1]);
    r.x = plumb_cuda_walk_in_order(&call->in[0]);
    return launch(call, PK_BERNOULLI_OF, &r);
}

#define ROW(op_name, which_dtypes)                                                                                    \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = (which_dtypes),                                                                                     \
        .run = run_##op_name,                                                                                         \
    };

ROW(dropout, PLUMB_FLOATS)
ROW(random_uniform, PLUMB_FLOATS)
ROW(random_normal, PLUMB_FLOATS)
ROW(random_bernoulli, PLUMB_FLOATS)
ROW(random_integers, PLUMB_INTS)
ROW(bernoulli, PLUMB_FLOATS)
