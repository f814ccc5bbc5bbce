/* printf follows the locale of the program we are part of; what it wrote as the decimal separator becomes a point. */
#include "io/number.h"

#include <stdio.h>
#include <string.h>

static const char *with_point(char *to)
{
    size_t used = strspn(to, "-0123456789");
    /* Separators of some locales take several bytes: everything up to the next digit is the separator. */
    size_t separator = strcspn(to + used, "0123456789e");
    if (to[used] && separator > 0 && !(to[used] >= 'a' && to[used] <= 'z')) {
        to[used] = '.';
        memmove(to + used + 1, to + used + separator, strlen(to + used + separator) + 1);
    }
    return to;
}

const char *plumb_fixed(char to[PLUMB_NUMBER_ROOM], double value, int decimals)
{
    /* Beyond 1e20 fixed notation would not fit, and nobody wants to read it. */
    if (!(value < 1e20 && value > -1e20)) {
        return plumb_general(to, value, 6);
    }
    snprintf(to, PLUMB_NUMBER_ROOM, "%.*f", decimals < 0 ? 0 : decimals > 12 ? 12 : decimals, value);
    return with_point(to);
}

const char *plumb_general(char to[PLUMB_NUMBER_ROOM], double value, int digits)
{
    snprintf(to, PLUMB_NUMBER_ROOM, "%.*g", digits < 1 ? 1 : digits > 17 ? 17 : digits, value);
    return with_point(to);
}
