/* Every implementation of the cpu.ref provider: one row PLUMB_IMPL(op, ref) per `const plumb_impl plumb_impl_<op>_ref`,
 * grouped by family file. Included with PLUMB_IMPL defined. */
/* softmax.c */
PLUMB_IMPL(softmax, ref)
PLUMB_IMPL(softmax_backward, ref)
PLUMB_IMPL(log_softmax, ref)
PLUMB_IMPL(log_softmax_backward, ref)
PLUMB_IMPL(hardmax, ref)
PLUMB_IMPL(cross_entropy, ref)
PLUMB_IMPL(cross_entropy_backward, ref)
/* gather.c */
PLUMB_IMPL(gather, ref)
PLUMB_IMPL(gather_backward, ref)
PLUMB_IMPL(one_hot, ref)
/* random.c */
PLUMB_IMPL(dropout, ref)
PLUMB_IMPL(random_uniform, ref)
PLUMB_IMPL(random_normal, ref)
/* update.c */
PLUMB_IMPL(sgd_update, ref)
PLUMB_IMPL(momentum_update, ref)
PLUMB_IMPL(nesterov_update, ref)
PLUMB_IMPL(adagrad_update, ref)
PLUMB_IMPL(rmsprop_update, ref)
PLUMB_IMPL(adam_update, ref)
/* matmul.c */
PLUMB_IMPL(matmul, ref)
/* conv.c */
PLUMB_IMPL(conv2d, ref)
PLUMB_IMPL(conv2d_backward_data, ref)
PLUMB_IMPL(conv2d_backward_filter, ref)
/* pool.c */
PLUMB_IMPL(max_pool2d, ref)
PLUMB_IMPL(max_pool2d_backward, ref)
PLUMB_IMPL(max_pool2d_select, ref)
PLUMB_IMPL(average_pool2d, ref)
PLUMB_IMPL(average_pool2d_backward, ref)
/* norm.c */
PLUMB_IMPL(batch_norm, ref)
PLUMB_IMPL(batch_norm_inference, ref)
PLUMB_IMPL(batch_norm_backward, ref)
