/* What tells a plugin of this very build from one of another. A plugin carries its own copy of the core's code and works on
 * the core's structs with it: contexts, pools, memory, devices, calls, attributes. Versions change seldom and sizes miss
 * what is only moved, so it is a hash of the sources that define these structs (CMakeLists.txt lists them). */
#include "device/plugin.h"

#include "shared_hash.h"

const char *plumb_shared_hash(void)
{
    return PLUMB_SHARED_HASH;
}
