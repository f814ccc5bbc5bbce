/* The patterns of the pass `fuse`, tried in this order: (first op, op that reads its result, plumb_fuse_<function> that
 * makes one of the two). What comes out may be the first or second of another row, so a chain is a row for each link.
 * Include with PLUMB_FUSION defined. */
/* fuse_product.c */
PLUMB_FUSION(matmul, add, product_bias)
PLUMB_FUSION(matmul, relu, product_activation)
PLUMB_FUSION(matmul, sigmoid, product_activation)
PLUMB_FUSION(matmul, tanh, product_activation)
PLUMB_FUSION(conv2d, relu, picture_activation)
PLUMB_FUSION(conv2d, sigmoid, picture_activation)
PLUMB_FUSION(conv2d, tanh, picture_activation)
PLUMB_FUSION(relu_backward, sum, backward_bias)
PLUMB_FUSION(relu_backward, sum_to, backward_bias)
PLUMB_FUSION(sigmoid_backward, sum, backward_bias)
PLUMB_FUSION(sigmoid_backward, sum_to, backward_bias)
PLUMB_FUSION(tanh_backward, sum, backward_bias)
PLUMB_FUSION(tanh_backward, sum_to, backward_bias)
/* fuse_norm.c */
PLUMB_FUSION(batch_norm, add, norm_residual)
PLUMB_FUSION(batch_norm, relu, norm_activation)
PLUMB_FUSION(batch_norm_inference, add, norm_residual)
PLUMB_FUSION(batch_norm_inference, relu, norm_activation)
PLUMB_FUSION(relu_backward, batch_norm_backward, norm_backward)
PLUMB_FUSION(relu_backward, batch_norm_backward, norm_backward_residual)
