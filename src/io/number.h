/* Numbers as text that files and other programs read: with a decimal point whatever the locale is. */
#ifndef PLUMB_IO_NUMBER_H
#define PLUMB_IO_NUMBER_H

#include <stddef.h>

#define PLUMB_NUMBER_ROOM 48

/* "12.50": a fixed number of decimals (at most 12). Returns `to`. */
const char *plumb_fixed(char to[PLUMB_NUMBER_ROOM], double value, int decimals);
/* "1.25e-05", "0.01": as short as `digits` significant digits (at most 17) allow. Returns `to`. */
const char *plumb_general(char to[PLUMB_NUMBER_ROOM], double value, int digits);

#endif
