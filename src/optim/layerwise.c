/* Rules that look at a whole parameter at once, composed of ops: LAMB (You et al. 2020) and Muon (Jordan et al. 2024). The
 * formulas are in include/plumb/optim.h.
 *
 * Decided here: LAMB's directions come from one adam_update over all parameters, which starts from zeros with rate 1 and so
 * ends at minus the direction; ratio and step are a few ops for each. Muon's iteration multiplies on the shorter side:
 * (X X^T) X or X (X^T X), so nothing is transposed. Nothing is applied where the step is not: the assigns are gated. */
#include "optim/step.h"

#include <math.h>

/* ---- LAMB ---- */

void plumb_lamb_directions(struct minimizer *m, plumb_dtype dtype, plumb_t *in)
{
    plumb_graph *g = m->graph;
    plumb_attr_update attr = m->recipe.attr;
    int n = PLUMB_UPDATE_HEAD;
    attr.weight_decay = 0;
    for (int i = 0; i < m->count; i++) {
        plumb_shape shape = plumb_shape_of(g, m->parameter[i]);
        if (plumb_dtype_of(g, m->parameter[i]) != dtype)
            continue;
        in[n++] = plumb_full(g, dtype, shape, 0);
        in[n++] = m->gradient[i];
        for (int s = 0; s < 2; s++)
            in[n++] = plumb_step_variable(m, m->recipe.rule->slot[s], plumb_name_of(g, m->parameter[i]), dtype, shape, 0);
    }
    if (n == PLUMB_UPDATE_HEAD)
        return;
    in[0] = m->apply;
    in[1] = plumb_scalar(g, dtype, 1);
    in[2] = plumb_step_converted(m, m->scale, dtype);
    in[3] = m->step;
    plumb_t first = plumb_emit(g, &plumb_op_adam_update, &attr, in, n);
    for (int i = 0, out = 0; i < m->count; i++) {
        if (plumb_dtype_of(g, m->parameter[i]) != dtype)
            continue;
        m->updated[i] = plumb_output(g, first, out);
        for (int s = 0; s < 2; s++)
            plumb_assign(g, in[PLUMB_UPDATE_HEAD + out / 3 * 4 + 2 + s], plumb_output(g, first, out + 1 + s),
                         plumb_step_gate(m));
        out += 3;
    }
}

static plumb_t length(plumb_graph *g, plumb_t x) { return plumb_sqrt(g, plumb_sum_squares(g, &x, 1)); }

/* updated[i] is minus Adam's direction. */
plumb_t plumb_lamb_tensor(struct minimizer *m, int i)
{
    plumb_graph *g = m->graph;
    plumb_t p = m->parameter[i], lr = plumb_step_converted(m, m->lr, plumb_dtype_of(g, p)), u;
    double decay = m->recipe.attr.weight_decay;
    if (!plumb_step_decays(m, i))
        return plumb_add(g, p, plumb_mul(g, m->updated[i], lr));
    u = decay > 0 ? plumb_sub(g, plumb_affine(g, p, decay, 0), m->updated[i]) : plumb_neg(g, m->updated[i]);
    plumb_t of_p = length(g, p), of_u = length(g, u), zero = plumb_scalar(g, plumb_dtype_of(g, p), 0),
            one = plumb_scalar(g, plumb_dtype_of(g, p), 1);
    plumb_t ratio = plumb_where(g, plumb_equal(g, of_u, zero), one, plumb_div(g, of_p, of_u));
    ratio = plumb_where(g, plumb_equal(g, of_p, zero), one, ratio);
    return plumb_sub(g, p, plumb_mul(g, u, plumb_mul(g, lr, ratio)));
}

/* ---- Muon ---- */

enum { NEWTON_SCHULZ_STEPS = 5 };

/* About U V^T of n = U S V^T: singular values go to 0.7 .. 1.2. Rows x columns. */
static plumb_t orthogonal(plumb_graph *g, plumb_t n, bool tall)
{
    plumb_t x = plumb_div(g, n, plumb_affine(g, length(g, n), 1, 1e-7));
    for (int i = 0; i < NEWTON_SCHULZ_STEPS; i++) {
        plumb_t a = plumb_matmul(g, x, x, tall, !tall), square = plumb_matmul(g, a, a, false, false);
        plumb_t b = plumb_add(g, plumb_affine(g, a, -4.7750, 0), plumb_affine(g, square, 2.0315, 0));
        plumb_t turned = tall ? plumb_matmul(g, x, b, false, false) : plumb_matmul(g, b, x, false, false);
        x = plumb_add(g, plumb_affine(g, x, 3.4445, 0), turned);
    }
    return x;
}

plumb_t plumb_muon_tensor(struct minimizer *m, int i)
{
    plumb_graph *g = m->graph;
    plumb_t p = m->parameter[i];
    plumb_dtype dtype = plumb_dtype_of(g, p);
    plumb_shape shape = plumb_shape_of(g, p);
    int64_t count = plumb_shape_count(&shape), rows = shape.rank > 0 ? shape.dim[0] : 0;
    double beta = m->recipe.momentum, decay = m->recipe.attr.weight_decay;
    if (shape.rank < 2 || count <= 0)
        return PLUMB_NONE;
    plumb_t lr = plumb_step_converted(m, m->lr, dtype), v;
    plumb_t d = plumb_mul(g, m->gradient[i], plumb_step_converted(m, m->scale, dtype));
    plumb_t rest = plumb_affine(g, d, 1 - beta, 0);
    v = plumb_step_variable(m, "momentum", plumb_name_of(g, p), dtype, shape, 0);
    plumb_t moved = plumb_add(g, plumb_affine(g, v, beta, 0), rest);
    plumb_assign(g, v, moved, plumb_step_gate(m));
    plumb_t ahead = plumb_add(g, rest, plumb_affine(g, moved, beta, 0));
    int64_t columns = count / rows;
    plumb_t step = orthogonal(g, plumb_reshape(g, ahead, PLUMB_SHAPE(rows, columns)), rows > columns);
    double stretch = rows > columns ? sqrt((double)rows / (double)columns) : 1;
    plumb_t change = plumb_mul(g, plumb_reshape(g, step, shape), plumb_affine(g, lr, stretch, 0));
    if (decay > 0)
        change = plumb_add(g, change, plumb_mul(g, p, plumb_affine(g, lr, decay, 0)));
    return plumb_sub(g, p, change);
}
