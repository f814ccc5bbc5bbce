/* activation_backward with channels in lanes (activation_columns.c), which activation.c chooses where it can. */
#ifndef PLUMB_NATIVE_ACTIVATION_H
#define PLUMB_NATIVE_ACTIVATION_H

#include "op/op.h"

bool plumb_activation_columns_supports(const plumb_call *call);
size_t plumb_activation_columns_workspace(const plumb_call *call);
plumb_status plumb_activation_columns_run(const plumb_call *call);

#endif
