/* Every implementation of the cpu.native provider, in order of preference where an op has several: one row
 * PLUMB_IMPL(op, suffix) per `const plumb_impl plumb_impl_<op>_<suffix>`. Included with PLUMB_IMPL defined. */
PLUMB_IMPL(matmul, native)
