/* The cpu.native provider: kernels written for speed, chosen by the instruction set of the call. It has no
 * opinion beyond its list; whatever an implementation does not support falls to the next provider. */
#include "op/op.h"

#define PLUMB_IMPL(op, suffix) extern const plumb_impl plumb_impl_##op##_##suffix;
#include "cpu/native/list.h"
#undef PLUMB_IMPL

static const plumb_impl *const impls[] = {
#define PLUMB_IMPL(op, suffix) &plumb_impl_##op##_##suffix,
#include "cpu/native/list.h"
#undef PLUMB_IMPL
    NULL, /* not counted: lets the list be empty */
};

const plumb_provider plumb_provider_cpu_native = {
    .name = "cpu.native",
    .impls = impls,
    .count = (int)(sizeof impls / sizeof *impls) - 1,
};
