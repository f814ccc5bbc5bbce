/* Which provider computes an op: decided when a program is compiled, never per call. */
#include "exec/providers.h"

#include <stdio.h>

extern const plumb_provider plumb_provider_cpu_native, plumb_provider_cpu_ref;

const plumb_provider *const *plumb_providers(int *count)
{
    static const plumb_provider *const list[] = {&plumb_provider_cpu_native, &plumb_provider_cpu_ref};
    *count = (int)(sizeof list / sizeof *list);
    return list;
}

const plumb_impl *plumb_reference(const plumb_op *op)
{
    for (int i = 0; i < plumb_provider_cpu_ref.count; i++)
        if (plumb_provider_cpu_ref.impls[i]->op == op)
            return plumb_provider_cpu_ref.impls[i];
    return NULL;
}

static bool takes(const plumb_impl *impl, const plumb_call *call)
{
    const char *kind = call->device->table->kind;
    size_t n = strlen(kind);
    return impl->op == call->op && strncmp(impl->name, kind, n) == 0 && impl->name[n] == '.' &&
           impl->dtypes & PLUMB_BIT(plumb_call_dtype(call)) && (!impl->supports || impl->supports(call));
}

/* One "op=implementation" of the list; returns the rest. */
static const char *next_choice(const char *at, char op[64], char impl[64])
{
    size_t n = strcspn(at, ","), equal = strcspn(at, "=");
    op[0] = impl[0] = 0;
    if (equal < n && equal < 64 && n - equal - 1 < 64) {
        memcpy(op, at, equal);
        op[equal] = 0;
        memcpy(impl, at + equal + 1, n - equal - 1);
        impl[n - equal - 1] = 0;
    }
    return at[n] ? at + n + 1 : at + n;
}

static bool find_forced(const char *forced, const char *op, char impl[64])
{
    char name[64];
    for (const char *at = forced; at && *at;) {
        at = next_choice(at, name, impl);
        if (strcmp(name, op) == 0)
            return true;
    }
    return false;
}

static const plumb_impl *search(const plumb_call *call, const char *name)
{
    int count;
    const plumb_provider *const *list = plumb_providers(&count);
    for (int p = 0; p < count; p++)
        for (int i = 0; i < list[p]->count; i++) {
            const plumb_impl *impl = list[p]->impls[i];
            if ((!name || strcmp(impl->name, name) == 0) && takes(impl, call))
                return impl;
        }
    return NULL;
}

static void describe_inputs(const plumb_call *call, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < call->n_in && used + 64 < room; i++) {
        char shape[128];
        plumb_shape s = {.rank = call->in[i].rank};
        memcpy(s.dim, call->in[i].dim, sizeof s.dim);
        int n = snprintf(text + used, room - used, "%s%s %s", i ? ", " : "", plumb_dtype_name(call->in[i].dtype),
                         plumb_shape_text(&s, shape, sizeof shape));
        used += n > 0 ? (size_t)n : 0;
    }
}

const plumb_impl *plumb_choose(const plumb_call *call, const char *forced)
{
    char name[64];
    const plumb_impl *impl = NULL;
    if (find_forced(forced, call->op->name, name)) {
        impl = search(call, name);
        if (!impl)
            plumb_call_fail(call, PLUMB_BAD_INPUT, "the forced implementation %s does not take this call", name);
        return impl;
    }
    if (find_forced(forced, "*", name))
        impl = search(call, name);
    if (!impl)
        impl = search(call, NULL);
    if (!impl) {
        char text[512];
        describe_inputs(call, text, sizeof text);
        plumb_call_fail(call, PLUMB_BAD_INPUT, "no implementation on device %s for (%s)", call->device->table->name, text);
    }
    return impl;
}

static bool known_impl(const char *op, const char *name)
{
    int count;
    const plumb_provider *const *list = plumb_providers(&count);
    for (int p = 0; p < count; p++)
        for (int i = 0; i < list[p]->count; i++)
            if ((strcmp(op, "*") == 0 || strcmp(list[p]->impls[i]->op->name, op) == 0) &&
                strcmp(list[p]->impls[i]->name, name) == 0)
                return true;
    return false;
}

plumb_status plumb_check_forced(plumb_context *context, const char *forced)
{
    char op[64], name[64];
    for (const char *at = forced; at && *at;) {
        at = next_choice(at, op, name);
        if (!op[0] || !name[0])
            return plumb_fail(context, PLUMB_BAD_INPUT, "implementations: '%s' is not of the form op=name,op=name", forced);
        if (strcmp(op, "*") != 0 && !plumb_op_named(op))
            return plumb_fail(context, PLUMB_BAD_INPUT, "implementations: no op is called '%s'", op);
        if (!known_impl(op, name))
            return plumb_fail(context, PLUMB_BAD_INPUT, "implementations: '%s' has no implementation '%s'", op, name);
    }
    return PLUMB_OK;
}
