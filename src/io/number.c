/* printf and strtod follow the locale of the program we are part of; its decimal separator becomes a point, and a point it. */
#include "io/number.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
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

bool plumb_number(const char *text, size_t length, double *value)
{
    char copy[64];
    size_t at = length > 0 && (text[0] == '-' || text[0] == '+'), digits = 0;
    for (int part = 0; part < 2; part++) {
        for (; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
            digits++;
        }
        at += part == 0 && at < length && text[at] == '.';
    }
    if (digits > 0 && at < length && (text[at] == 'e' || text[at] == 'E')) {
        size_t from = at + 1 + (at + 1 < length && (text[at + 1] == '-' || text[at + 1] == '+'));
        for (at = from; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
        }
        digits = at > from ? digits : 0;
    }
    const char *point = localeconv()->decimal_point;
    size_t wide = strlen(point);
    if (digits == 0 || at != length || length + wide > sizeof(copy)) {
        return false;
    }
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        memcpy(copy + used, text[i] == '.' ? point : text + i, text[i] == '.' ? wide : 1);
        used += text[i] == '.' ? wide : 1;
    }
    copy[used] = '\0';
    *value = strtod(copy, NULL);
    return true;
}
