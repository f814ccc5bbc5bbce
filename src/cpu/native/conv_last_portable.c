/* Inner kernels over channels-last pictures for any CPU: four lanes, which every 64-bit machine has. */
#define VB 16
#define FEW 6
#define SOME 6
#define MANY 0
#define TABLE plumb_last_portable
#include "cpu/native/conv_last_kernels.h"
