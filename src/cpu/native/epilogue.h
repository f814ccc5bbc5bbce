/* What products do to their results before they leave the cache: the bias, and the activation. */
#ifndef PLUMB_NATIVE_EPILOGUE_H
#define PLUMB_NATIVE_EPILOGUE_H

#include "op/attr.h"

/* y[i] = activation(y[i] + bias[i * step]), i < count; NULL bias: activation(y[i]). The same arithmetic as the ops by
 * themselves, so fusing changes no bit of what they make. */
typedef void plumb_epilogue(void *y, int64_t count, const void *bias, int64_t step);
/* Of F32 or F64. NULL where there is nothing to do: no activation, and `bias` false. */
plumb_epilogue *plumb_epilogue_for(plumb_dtype dtype, int isa, int activation, bool bias);

#endif
