/* Cases of matmul: every pair of transpositions over plain and batched products, broadcasting of the leading
 * dimensions both ways, dimensions of size 1 and 0, the shapes of real layers, bias and activations, and what must be
 * refused. */
#include "cases.h"

#include <stdio.h>

static op_case product(plumb_shape a, plumb_shape b, int transpose_a, int transpose_b, const char *label)
{
    plumb_attr_matmul attr;
    memset(&attr, 0, sizeof attr);
    attr.transpose_a = transpose_a;
    attr.transpose_b = transpose_b;
    op_case one = make_case(&plumb_op_matmul, &attr, "%s%s%s", label, transpose_a ? " At" : "",
                            transpose_b ? " Bt" : "");
    one.n_in = 2;
    one.in[0] = floats(a);
    one.in[1] = floats(b);
    one.exact = true;
    return one;
}

static plumb_shape swapped(plumb_shape shape, bool swap)
{
    int64_t last = shape.dim[shape.rank - 1];
    if (swap) {
        shape.dim[shape.rank - 1] = shape.dim[shape.rank - 2];
        shape.dim[shape.rank - 2] = last;
    }
    return shape;
}

/* All four ways of storing the operands of one product; a and b as they multiply. */
static void all_ways(case_list *list, plumb_shape a, plumb_shape b, bool gradient, const char *label)
{
    for (int way = 0; way < 4; way++) {
        op_case one = product(swapped(a, way & 1), swapped(b, way & 2), way & 1, way >> 1, label);
        if (plumb_shape_count(&a) == 0 && a.dim[a.rank - 1] > 0) {
            one.zero_gradient = 2; /* no rows: nothing depends on b */
        } else if (plumb_shape_count(&b) == 0 && b.dim[b.rank - 2] > 0) {
            one.zero_gradient = 1; /* no columns: nothing depends on a */
        }
        one.mostly_zero = a.dim[a.rank - 1] == 0; /* sums of nothing */
        one.no_gradient =
            !gradient; /* too large for difference quotients; the same classes are there in small */
        add_case(list, &one);
    }
}

static void refused(case_list *list, plumb_shape a, plumb_shape b, int ta, int tb, const char *label)
{
    op_case one = product(a, b, ta, tb, label);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

/* With what the pass `fuse` puts behind a product, every way of storing the operands in turn. */
static void fused(case_list *list, plumb_shape a, plumb_shape b, bool gradient, const char *label)
{
    static const char *const names[] = {"", ", relu", ", sigmoid", ", tanh"};
    int way = 0;
    for (int bias = 0; bias < 2; bias++) {
        for (int activation = 0; activation < 4; activation++, way = (way + 1) % 4) {
            if (!bias && activation == PLUMB_ACTIVATION_NONE) {
                continue;
            }
            op_case one = product(swapped(a, way & 1), swapped(b, way & 2), way & 1, way >> 1, label);
            snprintf(one.label + strlen(one.label), sizeof one.label - strlen(one.label), "%s%s", bias ? ", bias" : "",
                     names[activation]);
            plumb_attr_matmul attr;
            memcpy(&attr, one.attr, sizeof attr);
            attr.activation = activation;
            memcpy(one.attr, &attr, sizeof attr);
            if (bias) {
                one.in[one.n_in++] = floats(PLUMB_SHAPE(b.dim[b.rank - 1]));
            }
            one.exact = activation <= PLUMB_ACTIVATION_RELU;
            one.no_gradient = !gradient;
            one.zero_gradient = plumb_shape_count(&a) == 0 ? 7 : 0;
            bool few = a.dim[a.rank - 2] * b.dim[b.rank - 1] < 32; /* relu may cut nearly all of them */
            one.mostly_zero = (few && activation == PLUMB_ACTIVATION_RELU) ||
                              (a.dim[a.rank - 1] == 0 && activation != PLUMB_ACTIVATION_SIGMOID);
            add_case(list, &one);
        }
    }
}

static void refused_behind(case_list *list, plumb_shape bias, int activation, const char *label)
{
    op_case one = product(PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 5), 0, 0, label);
    plumb_attr_matmul attr;
    memset(&attr, 0, sizeof attr);
    attr.activation = activation;
    memcpy(one.attr, &attr, sizeof attr);
    one.in[one.n_in++] = floats(bias);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_matmul(case_list *list)
{
    all_ways(list, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 5), true, "3x4x5");
    all_ways(list, PLUMB_SHAPE(1, 1), PLUMB_SHAPE(1, 1), true, "1x1x1");
    all_ways(list, PLUMB_SHAPE(1, 7), PLUMB_SHAPE(7, 1), true, "inner product");
    all_ways(list, PLUMB_SHAPE(7, 1), PLUMB_SHAPE(1, 6), true, "outer product");
    all_ways(list, PLUMB_SHAPE(1, 9), PLUMB_SHAPE(9, 6), true, "row times matrix");
    all_ways(list, PLUMB_SHAPE(6, 9), PLUMB_SHAPE(9, 1), true, "matrix times column");
    all_ways(list, PLUMB_SHAPE(2, 3, 4), PLUMB_SHAPE(2, 4, 5), true, "batch 2");
    all_ways(list, PLUMB_SHAPE(3, 2, 4), PLUMB_SHAPE(4, 5), true, "stack times matrix");
    all_ways(list, PLUMB_SHAPE(2, 4), PLUMB_SHAPE(3, 4, 5), true, "matrix times stack");
    all_ways(list, PLUMB_SHAPE(1, 3, 4), PLUMB_SHAPE(3, 4, 2), true, "stretched a");
    all_ways(list, PLUMB_SHAPE(3, 1, 2, 4), PLUMB_SHAPE(1, 2, 4, 3), true, "both stretched");
    all_ways(list, PLUMB_SHAPE(2, 1, 2, 3, 2), PLUMB_SHAPE(3, 1, 2, 4), true, "rank 5 times rank 4");
    all_ways(list, PLUMB_SHAPE(0, 4), PLUMB_SHAPE(4, 5), true, "no rows");
    all_ways(list, PLUMB_SHAPE(3, 0), PLUMB_SHAPE(0, 5), true, "empty inner dimension");
    all_ways(list, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 0), true, "no columns");
    all_ways(list, PLUMB_SHAPE(0, 2, 3), PLUMB_SHAPE(3, 2), true, "no batch");
    all_ways(list, PLUMB_SHAPE(0, 2, 3), PLUMB_SHAPE(1, 3, 2), true, "no batch, stretched");
    all_ways(list, PLUMB_SHAPE(17, 33), PLUMB_SHAPE(33, 19), false, "17x33x19");
    all_ways(list, PLUMB_SHAPE(2, 400), PLUMB_SHAPE(400, 120), false, "LeNet 400 to 120");
    all_ways(list, PLUMB_SHAPE(3, 120), PLUMB_SHAPE(120, 84), false, "LeNet 120 to 84");
    all_ways(list, PLUMB_SHAPE(5, 84), PLUMB_SHAPE(84, 10), false, "LeNet 84 to 10");
    all_ways(list, PLUMB_SHAPE(65, 130), PLUMB_SHAPE(130, 67), false, "past every block size");
    all_ways(list, PLUMB_SHAPE(4, 1000), PLUMB_SHAPE(1000, 3), false, "long sums");
    all_ways(list, PLUMB_SHAPE(3, 4100), PLUMB_SHAPE(4100, 19), false, "sums cut in parts");
    all_ways(list, PLUMB_SHAPE(9, 5, 7), PLUMB_SHAPE(9, 7, 6), false, "batch 9");
    all_ways(list, PLUMB_SHAPE(2, 17, 33), PLUMB_SHAPE(2, 33, 19), false, "batch 2 of 17x33x19");
    all_ways(list, PLUMB_SHAPE(9, 1024), PLUMB_SHAPE(1024, 70), false, "rows that fall on each other in a cache");
    op_case deep = product(PLUMB_SHAPE(17, 1100), PLUMB_SHAPE(1100, 61), 0, 0, "several passes over a large matrix");
    deep.no_gradient = true;
    add_case(list, &deep);

    fused(list, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 5), true, "3x4x5");
    fused(list, PLUMB_SHAPE(6, 9), PLUMB_SHAPE(9, 1), true, "matrix times column");
    fused(list, PLUMB_SHAPE(1, 9), PLUMB_SHAPE(9, 6), true, "row times matrix");
    fused(list, PLUMB_SHAPE(3, 2, 4), PLUMB_SHAPE(4, 5), true, "stack times matrix");
    fused(list, PLUMB_SHAPE(2, 4), PLUMB_SHAPE(3, 4, 5), true, "matrix times stack");
    fused(list, PLUMB_SHAPE(3, 0), PLUMB_SHAPE(0, 5), true, "empty inner dimension");
    fused(list, PLUMB_SHAPE(0, 4), PLUMB_SHAPE(4, 5), true, "no rows");
    fused(list, PLUMB_SHAPE(5, 84), PLUMB_SHAPE(84, 10), false, "LeNet 84 to 10");
    fused(list, PLUMB_SHAPE(33, 70), PLUMB_SHAPE(70, 35), false, "33x70x35");
    fused(list, PLUMB_SHAPE(65, 130), PLUMB_SHAPE(130, 67), false, "past every block size");
    fused(list, PLUMB_SHAPE(7, 1100), PLUMB_SHAPE(1100, 40), false, "several passes");
    fused(list, PLUMB_SHAPE(2, 4100), PLUMB_SHAPE(4100, 5), false, "sums cut in parts");
    fused(list, PLUMB_SHAPE(8, 3, 11), PLUMB_SHAPE(8, 11, 7), false, "batch 8");

    refused_behind(list, PLUMB_SHAPE(4), PLUMB_ACTIVATION_NONE, "bias of another size");
    refused_behind(list, PLUMB_SHAPE(1, 5), PLUMB_ACTIVATION_NONE, "bias of rank 2");
    refused_behind(list, PLUMB_SHAPE(5), 4, "activation 4");
    refused_behind(list, PLUMB_SHAPE(5), -1, "activation -1");
    for (int way = 0; way < 4; way++) {
        refused(list, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(5, 6), way & 1, way >> 1, "inner dimensions differ");
        refused(list, PLUMB_SHAPE(2, 3, 3), PLUMB_SHAPE(4, 3, 3), way & 1, way >> 1, "batches differ");
    }
    refused(list, PLUMB_SHAPE(3), PLUMB_SHAPE(3, 4), 0, 0, "rank 1 times matrix");
    refused(list, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4), 0, 0, "matrix times rank 1");
    refused(list, PLUMB_SCALAR_SHAPE, PLUMB_SHAPE(4, 4), 0, 0, "scalar");
    op_case mixed = product(PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 5), 0, 0, "integers");
    mixed.dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_U8);
    mixed.expect = PLUMB_BAD_INPUT;
    add_case(list, &mixed);
    mixed = product(PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4, 5), 0, 0, "dtypes differ");
    mixed.in[1].dtype = PLUMB_F64;
    mixed.dtypes = PLUMB_BIT(PLUMB_F32);
    mixed.expect = PLUMB_BAD_INPUT;
    add_case(list, &mixed);
}
