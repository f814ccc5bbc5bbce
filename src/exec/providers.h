/* The one place that names the providers, and the choice among their implementations. */
#ifndef PLUMB_PROVIDERS_H
#define PLUMB_PROVIDERS_H

#include "op/op.h"

/* In order of preference. */
const plumb_provider *const *plumb_providers(int *count);

/* Provider p of those that plugins add to the CPU; opens them. NULL past the end. */
const plumb_provider *plumb_added_provider(plumb_device *device, int p);

/* The first implementation that takes the call, in order of preference, after the forced choices in `forced`
 * ("conv2d=cpu.ref,*=cpu.native"; may be NULL). NULL after an error. A choice forced by an op's name is an order; one
 * forced by '*' is a wish. */
const plumb_impl *plumb_choose(const plumb_call *call, const char *forced);
/* The same in silence: NULL where plumb_choose would fail. */
const plumb_impl *plumb_would_choose(const plumb_call *call, const char *forced);
/* false: `forced` wishes ('*') for an implementation that this op has, and it is another one. */
bool plumb_is_wished(const plumb_impl *impl, plumb_device *device, const char *forced);
bool plumb_is_forced(const plumb_op *op, const char *forced); /* by its own name */
plumb_status plumb_check_forced(plumb_context *context, const char *forced); /* unknown ops or implementations */
bool plumb_device_minds_layouts(const plumb_device *device); /* has implementations that take channels-last pictures */
const plumb_impl *plumb_reference(const plumb_op *op); /* NULL: none */

#endif
