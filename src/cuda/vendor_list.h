/* Every implementation of the cuda.vendor provider, in order of preference: one row PLUMB_IMPL(op, suffix) per `const
 * plumb_impl plumb_impl_<op>_<suffix>`, grouped by library. Included with PLUMB_IMPL defined. */
/* cublaslt_matmul.c */
PLUMB_IMPL(matmul, cublaslt)
/* cudnn_conv.c */
PLUMB_IMPL(conv2d, cudnn)
PLUMB_IMPL(conv2d_backward_data, cudnn)
PLUMB_IMPL(conv2d_backward_filter, cudnn)
/* cudnn_pool.c */
PLUMB_IMPL(average_pool2d, cudnn)
PLUMB_IMPL(average_pool2d_backward, cudnn)
/* cudnn_norm.c */
PLUMB_IMPL(batch_norm, cudnn)
PLUMB_IMPL(batch_norm_backward, cudnn)
