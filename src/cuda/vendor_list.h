/* Every implementation of the cuda.vendor provider, in order of preference: one row PLUMB_IMPL(op, suffix) per `const
 * plumb_impl plumb_impl_<op>_<suffix>`, grouped by library. Included with PLUMB_IMPL defined. */
/* cublaslt_matmul.c */
PLUMB_IMPL(matmul, cublaslt)
