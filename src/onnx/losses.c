/* The two losses of ONNX. */
#include "onnx/onnx.h"

static plumb_status options_of(struct onnx_node *q, plumb_loss_options *o)
{
    static const char *const names[] = {"mean", "sum", "none"};
    const char *name = onnx_text(q, "reduction", "mean");
    int reduce = 0;
    while (reduce < 3 && strcmp(name, names[reduce]) != 0) {
        reduce++;
    }
    if (reduce == 3) {
        return onnx_refuse(q, "reduction", "'%.40s' is none of none, sum, mean", name);
    }
    *o = (plumb_loss_options){.size = sizeof(*o), .reduce = (plumb_reduce)reduce, .class_weights = onnx_in(q, 2),
                              .ignore_index = onnx_int(q, "ignore_index", 0),
                              .use_ignore_index = onnx_attribute(q, "ignore_index") != NULL};
    return PLUMB_OK;
}

static plumb_status nll(struct onnx_node *q)
{
    plumb_loss_options o;
    plumb_status status = options_of(q, &o);
    if (!status) {
        onnx_out(q, 0, plumb_nll(q->g, onnx_in(q, 0), onnx_in(q, 1), &o));
    }
    return status;
}

static plumb_status cross_entropy(struct onnx_node *q)
{
    plumb_loss_options o;
    plumb_status status = options_of(q, &o);
    if (!status) {
        plumb_t x = onnx_in(q, 0);
        onnx_out(q, 0, plumb_softmax_cross_entropy(q->g, x, onnx_in(q, 1), &o));
        if (onnx_wants(q, 1)) {
            onnx_out(q, 1, plumb_log_softmax(q->g, x, 1));
        }
    }
    return status;
}

static const struct onnx_row rows[] = {
    {"NegativeLogLikelihoodLoss", 12, 0, 2, 3, nll, {NULL}, false},
    {"SoftmaxCrossEntropyLoss", 12, 0, 2, 3, cross_entropy, {NULL}, false},
};
const struct onnx_family plumb_onnx_losses = {rows, sizeof(rows) / sizeof(rows[0])};
