/* The op table as an array, for those who look ops up by number or name (listings, tests, forced
 * implementations). Everyone else uses the plumb_op_<name> objects directly. */
#include "op/op.h"

#define PLUMB_OP(name) &plumb_op_##name,
static const plumb_op *const table[] = {
#include "op/table.h"
};
#undef PLUMB_OP

#define TABLE_COUNT ((int)(sizeof table / sizeof *table))

const plumb_op *plumb_op_at(int index) { return index >= 0 && index < TABLE_COUNT ? table[index] : NULL; }

const plumb_op *plumb_op_named(const char *name)
{
    for (int i = 0; name && i < TABLE_COUNT; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}
