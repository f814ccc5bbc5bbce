/* Which provider computes an op: decided when a program is compiled, never per call. */
#include "device/plugin.h"
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

/* A plugin has its own copy of the table: rows are the same op if they have the same name. */
static bool same_op(const plumb_op *a, const plumb_op *b)
{
    return a == b || strcmp(a->name, b->name) == 0;
}

/* Provider p of those that a device can use: its plugin's come after the core's. NULL past the end. */
static const plumb_provider *provider_at(const plumb_device *device, int p)
{
    int count;
    const plumb_provider *const *list = plumb_providers(&count);
    if (p < count)
        return list[p];
    return device->plugin && p - count < device->plugin->n_providers ? device->plugin->providers[p - count] : NULL;
}

static bool runs_on(const plumb_impl *impl, const plumb_device *device)
{
    size_t n = strlen(device->table->kind);
    return strncmp(impl->name, device->table->kind, n) == 0 && impl->name[n] == '.';
}

const plumb_provider *plumb_added_provider(plumb_device *device, int p)
{
    for (int i = 0; i < PLUMB_ADDITIONS; i++) {
        const plumb_addition *addition = plumb_addition_find(device, i);
        const plumb_plugin *plugin = addition ? addition->plugin : NULL;
        if (plugin && p < plugin->n_providers)
            return plugin->providers[p];
        p -= plugin ? plugin->n_providers : 0;
    }
    return NULL;
}

/* What has implementations with names like this one, "cpu.onednn"; it is opened. NULL: nothing has. */
static const plumb_addition *addition_of(plumb_device *device, const char *impl)
{
    const plumb_addition *addition = NULL;
    for (int i = 0; i < PLUMB_ADDITIONS && strncmp(impl, "cpu.", 4) == 0 && !addition; i++) {
        size_t n = strlen(plumb_addition_name(i));
        if (strncmp(impl + 4, plumb_addition_name(i), n) == 0 && (!impl[4 + n] || impl[4 + n] == '.'))
            addition = plumb_addition_find(device, i);
    }
    return addition;
}

static bool takes(const plumb_impl *impl, const plumb_call *call)
{
    return same_op(impl->op, call->op) && runs_on(impl, call->device) &&
           impl->dtypes & PLUMB_BIT(plumb_call_dtype(call)) && plumb_impl_fits(impl, call) &&
           (!impl->supports || impl->supports(call));
}

bool plumb_device_minds_layouts(const plumb_device *device)
{
    const plumb_provider *provider;
    for (int p = 0; (provider = provider_at(device, p)) != NULL; p++)
        for (int i = 0; i < provider->count; i++)
            if (provider->impls[i]->flags & (PLUMB_IMPL_ANY_LAYOUT | PLUMB_IMPL_WANTS_LAST) &&
                runs_on(provider->impls[i], device))
                return true;
    return false;
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

static const plumb_impl *search_provider(const plumb_provider *provider, const plumb_call *call, const char *name)
{
    for (int i = 0; i < provider->count; i++)
        if ((!name || strcmp(provider->impls[i]->name, name) == 0) && takes(provider->impls[i], call))
            return provider->impls[i];
    return NULL;
}

/* What plugins add is taken by its name only. */
static const plumb_impl *search(const plumb_call *call, const char *name)
{
    const plumb_provider *provider;
    const plumb_impl *impl = NULL;
    for (int p = 0; !impl && (provider = provider_at(call->device, p)) != NULL; p++)
        impl = search_provider(provider, call, name);
    const plumb_addition *added = !impl && name ? addition_of(call->device, name) : NULL;
    for (int p = 0; added && added->plugin && !impl && p < added->plugin->n_providers; p++)
        impl = search_provider(added->plugin->providers[p], call, name);
    return impl;
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

const plumb_impl *plumb_would_choose(const plumb_call *call, const char *forced)
{
    char name[64];
    if (find_forced(forced, call->op->name, name))
        return search(call, name);
    const plumb_impl *wished = find_forced(forced, "*", name) ? search(call, name) : NULL;
    return wished ? wished : search(call, NULL);
}

static bool lists(const plumb_provider *provider, const char *op, const char *name)
{
    for (int i = 0; i < provider->count; i++)
        if ((strcmp(op, "*") == 0 || strcmp(provider->impls[i]->op->name, op) == 0) &&
            strcmp(provider->impls[i]->name, name) == 0)
            return true;
    return false;
}

static bool known_impl(plumb_device *device, const char *op, const char *name)
{
    const plumb_provider *provider;
    for (int p = 0; (provider = provider_at(device, p)) != NULL; p++)
        if (lists(provider, op, name))
            return true;
    const plumb_addition *added = addition_of(device, name);
    for (int p = 0; added && added->plugin && p < added->plugin->n_providers; p++)
        if (lists(added->plugin->providers[p], op, name))
            return true;
    return false;
}

bool plumb_is_wished(const plumb_impl *impl, plumb_device *device, const char *forced)
{
    char name[64];
    if (find_forced(forced, impl->op->name, name) || !find_forced(forced, "*", name))
        return true;
    return strcmp(impl->name, name) == 0 || !known_impl(device, impl->op->name, name);
}

bool plumb_is_forced(const plumb_op *op, const char *forced)
{
    char name[64];
    return find_forced(forced, op->name, name);
}

const plumb_impl *plumb_choose(const plumb_call *call, const char *forced)
{
    char name[64];
    const plumb_impl *impl = plumb_would_choose(call, forced);
    if (!impl && find_forced(forced, call->op->name, name)) {
        plumb_call_fail(call, PLUMB_BAD_INPUT, "the forced implementation %s does not take this call", name);
    } else if (!impl) {
        char text[512];
        describe_inputs(call, text, sizeof text);
        plumb_call_fail(call, PLUMB_BAD_INPUT, "no implementation on device %s for (%s)", call->device->table->name, text);
    }
    return impl;
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
        if (known_impl(context->device, op, name))
            continue;
        const plumb_addition *added = addition_of(context->device, name);
        bool absent = added && !added->plugin;
        return plumb_fail(context, PLUMB_BAD_INPUT, "implementations: '%s' has no implementation '%s'%s%s", op, name,
                          absent ? ": " : "", absent ? added->text : "");
    }
    return PLUMB_OK;
}
