/* Symbols become sizes: every shape rule runs again with the bound sizes, and tensors that only lent their shape to an
 * op (the "like" of reshape_like and its kin) are replaced by that shape, so that nothing is kept alive for it. */
#include "pass/pass.h"

static plumb_status bind_like(struct plumb_copy *copy, int index)
{
    const struct plumb_node *n = &copy->from->node[index];
    struct graph *to = copy->to;
    void *attr = plumb_alloc(to->context, n->op->attr_size);
    if (!attr)
        return PLUMB_FAILED;
    memcpy(attr, n->attr, n->op->attr_size);
    int n_in = n->n_in;
    if (n_in > n->op->min_in && ((plumb_attr_made *)n->attr)->shape.rank < 0) {
        const plumb_shape *lent = &to->tensor[copy->map[n->in[n_in - 1]]].type.shape;
        plumb_shape *shape = attr; /* LIKE attributes begin with it */
        memset(shape, 0, sizeof *shape);
        shape->rank = lent->rank;
        for (int i = 0; i < lent->rank; i++)
            shape->dim[i] = lent->dim[i];
        n_in--;
    }
    plumb_status status = plumb_copy_node_as(copy, index, attr, n_in);
    plumb_free(to->context, attr);
    return status;
}

plumb_status plumb_pass_bind(struct plumb_copy *copy)
{
    const struct graph *from = copy->from;
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        status = from->node[i].op->flags & PLUMB_OP_LIKE ? bind_like(copy, i) : plumb_copy_node(copy, i);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(copy);
    return status;
}
