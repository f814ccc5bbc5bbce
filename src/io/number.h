/* Numbers as text that files and other programs read: with a decimal point whatever the locale is. */
#ifndef PLUMB_IO_NUMBER_H
#define PLUMB_IO_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

#define PLUMB_NUMBER_ROOM 48

/* "12.50": a fixed number of decimals (at most 12). Returns `to`. */
const char *plumb_fixed(char to[PLUMB_NUMBER_ROOM], double value, int decimals);
/* "1.25e-05", "0.01": as short as `digits` significant digits (at most 17) allow. Returns `to`. */
const char *plumb_general(char to[PLUMB_NUMBER_ROOM], double value, int digits);
/* All of `text` as a decimal number, "-12", "+.5", "1.5e-3": neither blanks nor names nor hexadecimal, at most 60
 * characters. Beyond the range of double it is infinite or 0. */
bool plumb_number(const char *text, size_t length, double *value);

#endif
