/* Patterns around batch norm: the residual and relu behind it, and the way back through relu, whose result the residual's
 * own branch may go on with. batch_norm and batch_norm_inference begin alike (op/attr.h), so their patterns are one. */
#include "pass/fuse.h"

static plumb_attr_batch_norm *attr_of(struct plumb_fused *made)
{
    return (plumb_attr_batch_norm *)(void *)made->attr;
}

/* y + something of its shape */
bool plumb_fuse_norm_residual(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    uint32_t y = site->first->out[0], residual = site->second->in[1 - site->input], sum = site->second->out[0];
    if (site->output != 0 || site->first->n_in != 5 || residual == y || attr_of(made)->activation ||
        !plumb_shape_equal(&plumb_fused_type(site, y)->shape, &plumb_fused_type(site, residual)->shape))
        return false;
    made->in[made->n_in++] = residual;
    made->out[0] = sum;
    return plumb_fused_type(site, sum)->dtype == plumb_fused_type(site, y)->dtype;
}

bool plumb_fuse_norm_activation(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    if (site->output != 0 || attr_of(made)->activation)
        return false;
    attr_of(made)->activation = plumb_activation_of(site->second->op);
    made->out[0] = site->second->out[0];
    return true;
}

/* relu_backward (y, dy) -> d; batch_norm_backward (x, scale, mean, invstd, d) */
bool plumb_fuse_norm_backward(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    if (site->input != 4 || site->second->n_in != 5)
        return false;
    const char *name = made->name;
    *made = *site->second;
    made->name = name;
    made->in[4] = site->first->in[1];
    made->in[made->n_in++] = site->first->in[0];
    attr_of(made)->activation = plumb_activation_of(site->first->op);
    return true;
}

/* The same where others read d too: it is then the fourth result. */
bool plumb_fuse_norm_backward_residual(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    if (!plumb_fuse_norm_backward(site, made))
        return false;
    attr_of(made)->residual = 1;
    made->out[made->n_out++] = site->first->out[0];
    return true;
}
