/* Every implementation of the cpu.ref provider: one row PLUMB_IMPL(op, ref) per `const plumb_impl plumb_impl_<op>_ref`,
 * grouped by family file. Included with PLUMB_IMPL defined. */
