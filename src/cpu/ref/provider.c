/* The cpu.ref provider: for every op one implementation written to be read. It computes in double with any
 * strides and is what all other implementations are checked against, so clarity outranks speed here. */
#include "op/op.h"

#define PLUMB_IMPL(op, suffix) extern const plumb_impl plumb_impl_##op##_##suffix;
#include "cpu/ref/list.h"
#undef PLUMB_IMPL

static const plumb_impl *const impls[] = {
#define PLUMB_IMPL(op, suffix) &plumb_impl_##op##_##suffix,
#include "cpu/ref/list.h"
#undef PLUMB_IMPL
    NULL, /* not counted: lets the list be empty */
};

const plumb_provider plumb_provider_cpu_ref = {
    .name = "cpu.ref",
    .impls = impls,
    .count = (int)(sizeof impls / sizeof *impls) - 1,
};
