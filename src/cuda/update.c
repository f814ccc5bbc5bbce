/* Updates on the GPU: tensors that are packed (all of a model's, as a rule) go together, as many as the parameters of
 * a launch hold; one with other strides goes alone. */
#include "cuda/cuda.h"

/* A tensor's views in the kernel's order: p, g, two moments, p', the new moments; NULL for moments that are not. */
struct group {
    const plumb_view *view[PK_UPDATE_OPERANDS];
};

static struct group group_of(const plumb_call *call, int tensor)
{
    int slots = ((const plumb_attr_update *)call->attr)->slots;
    const plumb_view *in = &call->in[PLUMB_UPDATE_HEAD + tensor * (2 + slots)], *out = &call->out[tensor * (1 + slots)];
    struct group g = {.view = {&in[0], &in[1], NULL, NULL, &out[0], NULL, NULL}};
    for (int s = 0; s < slots; s++) {
        g.view[2 + s] = &in[2 + s];
        g.view[5 + s] = &out[1 + s];
    }
    return g;
}

static bool is_packed(const struct group *g)
{
    for (int k = 0; k < PK_UPDATE_OPERANDS; k++) {
        if (g->view[k] && !plumb_view_contiguous(g->view[k])) {
            return false;
        }
    }
    return true;
}

static pk_update_rule rule_of(const plumb_call *call)
{
    const plumb_attr_update *attr = call->attr;
    return (pk_update_rule){
        .apply = call->in[0].data,
        .lr = call->in[1].data,
        .scale = call->in[2].data,
        .step = call->in[3].data,
        .beta1 = attr->beta1,
        .beta2 = attr->beta2,
        .epsilon = attr->epsilon,
        .weight_decay = attr->weight_decay,
        .l2 = attr->l2,
        .l1 = attr->l1,
        .classic = attr->classic,
    };
}

static plumb_status launch_packed(const plumb_call *call, enum pk_update what, const pk_update_rule *rule,
                                  const pk_update_tensors *t)
{
    int dtype = (int)call->in[PLUMB_UPDATE_HEAD].dtype;
    return plumb_cuda_check(call, "plumb_k_update", plumb_k_update(plumb_cuda_stream(call), what, dtype, rule, t));
}

static plumb_status launch_strided(const plumb_call *call, enum pk_update what, const pk_update_rule *rule,
                                   const struct group *g)
{
    const plumb_view *p = g->view[0];
    pk_update_strided s = {.count = plumb_view_count(p), .rank = p->rank};
    memcpy(s.dim, p->dim, sizeof s.dim);
    for (int k = 0; k < PK_UPDATE_OPERANDS; k++) {
        if (g->view[k]) {
            s.data[k] = g->view[k]->data;
            memcpy(s.stride[k], g->view[k]->stride, sizeof s.stride[k]);
        }
    }
    return plumb_cuda_check(call, "plumb_k_update_strided",
                            plumb_k_update_strided(plumb_cuda_stream(call), what, (int)p->dtype, rule, &s));
}

static plumb_status run(const plumb_call *call, enum pk_update what)
{
    int each = 2 + ((const plumb_attr_update *)call->attr)->slots;
    int tensors = (call->n_in - PLUMB_UPDATE_HEAD) / each;
    pk_update_rule rule = rule_of(call);
    pk_update_tensors batch = {.tensors = 0};
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < tensors && !status; i++) {
        struct group g = group_of(call, i);
        if (!is_packed(&g)) {
            status = launch_strided(call, what, &rule, &g);
            continue;
        }
        batch.count[batch.tensors] = plumb_view_count(g.view[0]);
        for (int k = 0; k < PK_UPDATE_OPERANDS; k++) {
            batch.data[batch.tensors][k] = g.view[k] ? g.view[k]->data : NULL;
        }
        if (++batch.tensors == PK_UPDATE_TENSORS) {
            status = launch_packed(call, what, &rule, &batch);
            batch.tensors = 0;
        }
    }
    return status || batch.tensors == 0 ? status : launch_packed(call, what, &rule, &batch);
}

#define ROW(rule, what)                                                                                               \
    static plumb_status run_##rule(const plumb_call *call)                                                            \
    {                                                                                                                 \
        return run(call, what);                                                                                       \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##rule##_update_cuda = {                                                              \
        .op = &plumb_op_##rule##_update,                                                                              \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),                                                        \
        .run = run_##rule,                                                                                            \
    };

ROW(sgd, PK_SGD)
ROW(momentum, PK_MOMENTUM)
ROW(nesterov, PK_NESTEROV)
ROW(adagrad, PK_ADAGRAD)
ROW(rmsprop, PK_RMSPROP)
ROW(adam, PK_ADAM)
