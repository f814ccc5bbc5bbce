/* What the readers want of a context and no more: messages. The real one would bring devices, and with them everything. */
#include <stdio.h>

#include "core/core.h"

plumb_status plumb_fail_v(plumb_context *context, plumb_status status, const char *format, va_list args)
{
    if (context->status == PLUMB_OK) {
        context->status = status;
        vsnprintf(context->message, sizeof(context->message), format, args);
    }
    return status;
}

plumb_status plumb_fail(plumb_context *context, plumb_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    plumb_fail_v(context, status, format, args);
    va_end(args);
    return status;
}
