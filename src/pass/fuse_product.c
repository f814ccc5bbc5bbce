/* Patterns around products: the bias and the activation behind one, and the way back through both. */
#include "pass/fuse.h"

/* matmul + add of one number for each column */
bool plumb_fuse_product_bias(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    const plumb_attr_matmul *attr = (const plumb_attr_matmul *)(const void *)site->first->attr;
    uint32_t product = site->first->out[0], sum = site->second->out[0], bias = site->second->in[1 - site->input];
    const plumb_shape *of_product = &plumb_fused_type(site, product)->shape, *of_bias = &plumb_fused_type(site, bias)->shape;
    if (site->first->n_in != 2 || attr->activation || of_bias->rank != 1 ||
        of_bias->dim[0] != of_product->dim[of_product->rank - 1] ||
        !plumb_shape_equal(of_product, &plumb_fused_type(site, sum)->shape))
        return false;
    made->in[made->n_in++] = bias;
    made->out[0] = sum;
    return true;
}

bool plumb_fuse_product_activation(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    plumb_attr_matmul *attr = (plumb_attr_matmul *)(void *)made->attr;
    if (attr->activation)
        return false;
    attr->activation = plumb_activation_of(site->second->op);
    made->out[0] = site->second->out[0];
    return true;
}

bool plumb_fuse_picture_activation(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    plumb_attr_conv2d *attr = (plumb_attr_conv2d *)(void *)made->attr;
    if (attr->activation)
        return false;
    attr->activation = plumb_activation_of(site->second->op);
    made->out[0] = site->second->out[0];
    return true;
}

/* The axis that a sum leaves, all others going; -1 for any other sum. */
static int axis_left(const struct plumb_fused *sum, const plumb_shape *x, const plumb_shape *y)
{
    int left = -1;
    if (y->rank != 1 || x->rank < 2)
        return -1;
    if (sum->op == &plumb_op_sum_to)
        return y->dim[0] == x->dim[x->rank - 1] ? x->rank - 1 : -1;
    const plumb_attr_reduce *attr = (const plumb_attr_reduce *)(const void *)sum->attr;
    for (int d = 0; d < x->rank; d++)
        if (!(attr->axes >> d & 1))
            left = left < 0 ? d : x->rank;
    return attr->all || attr->keep || left == x->rank ? -1 : left;
}

/* (y, dy) of the backward op, and the sum of what it makes: dy, y -> dx, dbias */
bool plumb_fuse_backward_bias(const struct plumb_fusion_site *site, struct plumb_fused *made)
{
    uint32_t dx = site->first->out[0], dbias = site->second->out[0];
    int axis = axis_left(site->second, &plumb_fused_type(site, dx)->shape, &plumb_fused_type(site, dbias)->shape);
    plumb_attr_activation attr;
    memset(&attr, 0, sizeof attr);
    attr.activation = plumb_activation_of(site->first->op);
    attr.axis = axis;
    if (axis < 0)
        return false;
    made->op = &plumb_op_activation_backward;
    memcpy(made->attr, &attr, sizeof attr);
    made->in[0] = site->first->in[1];
    made->in[1] = site->first->in[0];
    made->n_out = 2;
    made->out[1] = dbias;
    return true;
}
