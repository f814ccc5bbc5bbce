/* Winograd's kernels for any CPU: four lanes, which every 64-bit machine has. */
#include "cpu/native/winograd.h"

#define VB 16
#define ROWS 6
#define NAME(x) portable_##x
#define TABLE winograd_kernels_portable
#include "cpu/native/winograd_kernels.h"
