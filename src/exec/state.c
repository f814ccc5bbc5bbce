/* The state: named values on the device, apart from graphs and programs. Files are safetensors. */
#include "exec/exec.h"
#include "io/safetensors.h"

#include <math.h>

static void free_entry(struct state *s, struct plumb_entry *e)
{
    if (!e)
        return;
    if (e->memory)
        s->context->device->table->free(s->context->device, e->memory);
    plumb_free(s->context, e->name);
    plumb_free(s->context, e);
}

static void destroy_state(void *object)
{
    struct state *s = object;
    for (int i = 0; i < s->n_entries; i++)
        free_entry(s, s->entry[i]);
    plumb_free(s->context, s->entry);
    plumb_free(s->context, s);
}

struct state *plumb_state_get_internal(const plumb_state *handle) { return plumb_handle_get(handle, PLUMB_KIND_STATE); }
void plumb_state_free(plumb_state *state) { plumb_handle_free(state, PLUMB_KIND_STATE); }

struct plumb_entry *plumb_state_find(const struct state *s, const char *name)
{
    for (int i = 0; name && i < s->n_entries; i++)
        if (strcmp(s->entry[i]->name, name) == 0)
            return s->entry[i];
    return NULL;
}

static plumb_status start_value(struct state *s, struct plumb_entry *e)
{
    void *host = plumb_alloc(s->context, e->bytes);
    if (!host)
        return PLUMB_FAILED;
    plumb_status status = plumb_initialise(s->context, e->name, &e->type, &e->init, host);
    plumb_device *device = s->context->device;
    if (status == PLUMB_OK)
        status = device->table->upload(device, e->memory, host, e->bytes);
    plumb_free(s->context, host);
    return status;
}

static struct plumb_entry *new_entry(struct state *s, const char *name, const plumb_type *type, const plumb_init *init,
                                     bool frozen)
{
    struct plumb_entry *e = plumb_zalloc(s->context, sizeof *e);
    if (!e)
        return NULL;
    plumb_device *device = s->context->device;
    e->type = *type;
    e->bytes = (size_t)plumb_shape_count(&type->shape) * plumb_dtype_size(type->dtype);
    e->init = *init;
    e->frozen = frozen;
    e->name = plumb_strdup(s->context, name);
    if (!e->name || device->table->alloc(device, e->bytes, &e->memory) != PLUMB_OK ||
        !plumb_grow(s->context, &s->entry, &s->room, s->n_entries + 1, sizeof *s->entry)) {
        free_entry(s, e);
        return NULL;
    }
    return e;
}

struct plumb_entry *plumb_state_add(struct state *s, const char *name, const plumb_attr_leaf *attr)
{
    plumb_type type = {.dtype = attr->made.dtype, .shape = attr->made.shape};
    struct plumb_entry *e = plumb_state_find(s, name);
    if (e) {
        char was[160], is[160];
        if (e->type.dtype == type.dtype && plumb_shape_equal(&e->type.shape, &type.shape))
            return e;
        plumb_fail(s->context, PLUMB_BAD_INPUT, "variable '%s': the state has it as %s %s, the graph as %s %s", name,
                   plumb_dtype_name(e->type.dtype), plumb_shape_text(&e->type.shape, was, sizeof was),
                   plumb_dtype_name(type.dtype), plumb_shape_text(&type.shape, is, sizeof is));
        return NULL;
    }
    e = new_entry(s, name, &type, &attr->init, attr->frozen);
    if (e && start_value(s, e) != PLUMB_OK) {
        free_entry(s, e);
        e = NULL;
    }
    if (e)
        s->entry[s->n_entries++] = e;
    return e;
}

static struct state *make_state(plumb_context *context)
{
    struct state *s = plumb_zalloc(context, sizeof *s);
    if (!s)
        return NULL;
    s->context = context;
    s->handle = plumb_handle_new(context, PLUMB_KIND_STATE, s, destroy_state);
    if (!s->handle) {
        plumb_free(context, s);
        return NULL;
    }
    return s;
}

plumb_state *plumb_state_new(plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return NULL;
    if (g->status != PLUMB_OK) {
        plumb_fail(g->context, g->status, "%s", g->message);
        return NULL;
    }
    struct state *s = make_state(g->context);
    for (int i = 0; s && i < g->n_nodes; i++)
        if (g->node[i].op == &plumb_op_variable && !plumb_state_add(s, g->node[i].name, g->node[i].attr)) {
            plumb_state_free(s->handle);
            return NULL;
        }
    return s ? s->handle : NULL;
}

plumb_status plumb_state_reset(plumb_state *state)
{
    struct state *s = plumb_state_get_internal(state);
    plumb_status status = s ? PLUMB_OK : PLUMB_BAD_INPUT;
    for (int i = 0; status == PLUMB_OK && i < s->n_entries; i++)
        status = start_value(s, s->entry[i]);
    return status;
}

plumb_state *plumb_state_clone(const plumb_state *state)
{
    struct state *s = plumb_state_get_internal(state);
    struct state *to = s ? make_state(s->context) : NULL;
    for (int i = 0; to && i < s->n_entries; i++) {
        const struct plumb_entry *from = s->entry[i];
        plumb_device *device = s->context->device;
        struct plumb_entry *e = new_entry(to, from->name, &from->type, &from->init, from->frozen);
        if (!e || device->table->copy(device, e->memory, from->memory, from->bytes) != PLUMB_OK) {
            free_entry(to, e);
            plumb_state_free(to->handle);
            return NULL;
        }
        to->entry[to->n_entries++] = e;
    }
    return to ? to->handle : NULL;
}

int plumb_state_count(const plumb_state *state)
{
    struct state *s = plumb_state_get_internal(state);
    return s ? s->n_entries : 0;
}

const char *plumb_state_name(const plumb_state *state, int index)
{
    struct state *s = plumb_state_get_internal(state);
    return s && index >= 0 && index < s->n_entries ? s->entry[index]->name : "";
}

static struct plumb_entry *entry_of(const plumb_state *state, const char *name)
{
    struct state *s = plumb_state_get_internal(state);
    return s ? plumb_state_find(s, name) : NULL;
}

bool plumb_state_has(const plumb_state *state, const char *name) { return entry_of(state, name) != NULL; }

plumb_shape plumb_state_shape(const plumb_state *state, const char *name)
{
    struct plumb_entry *e = entry_of(state, name);
    return e ? e->type.shape : PLUMB_SCALAR_SHAPE;
}

plumb_dtype plumb_state_dtype(const plumb_state *state, const char *name)
{
    struct plumb_entry *e = entry_of(state, name);
    return e ? e->type.dtype : PLUMB_NO_DTYPE;
}

/* The entry, or NULL after saying why: unknown name or wrong size (bytes_given: what the caller has). */
static struct plumb_entry *checked_entry(const plumb_state *state, const char *name, size_t bytes, struct state **s)
{
    *s = plumb_state_get_internal(state);
    if (!*s)
        return NULL;
    struct plumb_entry *e = plumb_state_find(*s, name);
    char shape[160];
    if (!e)
        plumb_fail((*s)->context, PLUMB_BAD_INPUT, "state: no variable is called '%s'", name ? name : "");
    else if (bytes != e->bytes) {
        plumb_fail((*s)->context, PLUMB_BAD_INPUT, "state: '%s' is %s %s, %zu bytes, not %zu", name,
                   plumb_dtype_name(e->type.dtype), plumb_shape_text(&e->type.shape, shape, sizeof shape), e->bytes, bytes);
        e = NULL;
    }
    return e;
}

plumb_status plumb_state_get(const plumb_state *state, const char *name, void *to, size_t bytes)
{
    struct state *s;
    struct plumb_entry *e = checked_entry(state, name, bytes, &s);
    return e ? s->context->device->table->download(s->context->device, to, e->memory, bytes) : PLUMB_BAD_INPUT;
}

plumb_status plumb_state_set(plumb_state *state, const char *name, const void *from, size_t bytes)
{
    struct state *s;
    struct plumb_entry *e = checked_entry(state, name, bytes, &s);
    return e ? s->context->device->table->upload(s->context->device, e->memory, from, bytes) : PLUMB_BAD_INPUT;
}

plumb_status plumb_state_get_number(const plumb_state *state, const char *name, double *value)
{
    _Alignas(8) unsigned char element[8];
    plumb_dtype dtype = plumb_state_dtype(state, name);
    plumb_status status = plumb_state_get(state, name, element, plumb_dtype_size(dtype));
    if (status == PLUMB_OK)
        *value = plumb_get(element, dtype, 0);
    return status;
}

plumb_status plumb_state_set_number(plumb_state *state, const char *name, double value)
{
    _Alignas(8) unsigned char element[8] = {0};
    plumb_dtype dtype = plumb_state_dtype(state, name);
    if (dtype != PLUMB_NO_DTYPE)
        plumb_put(element, dtype, 0, value);
    return plumb_state_set(state, name, element, plumb_dtype_size(dtype));
}

/* ---- files ---- */

static bool belongs_to_optimiser(const char *name) { return strchr(name, ':') != NULL; }

static plumb_status save(const plumb_state *state, const char *path, const char *const *metadata, bool all)
{
    struct state *s = plumb_state_get_internal(state);
    if (!s)
        return PLUMB_BAD_INPUT;
    plumb_context *c = s->context;
    struct plumb_st_entry *list = plumb_zalloc(c, sizeof *list * (size_t)(s->n_entries + 1));
    plumb_status status = list ? PLUMB_OK : PLUMB_FAILED;
    int n = 0;
    for (int i = 0; status == PLUMB_OK && i < s->n_entries; i++) {
        const struct plumb_entry *e = s->entry[i];
        if (!all && belongs_to_optimiser(e->name))
            continue;
        void *host = plumb_alloc(c, e->bytes);
        status = host ? c->device->table->download(c->device, host, e->memory, e->bytes) : PLUMB_FAILED;
        list[n++] = (struct plumb_st_entry){.name = e->name, .dtype = e->type.dtype, .shape = e->type.shape,
                                            .data = host, .bytes = e->bytes};
    }
    if (status == PLUMB_OK)
        status = plumb_st_write(c, path, list, n, metadata);
    for (int i = 0; i < n; i++)
        plumb_free(c, (void *)(uintptr_t)list[i].data);
    plumb_free(c, list);
    return status;
}

plumb_status plumb_state_save(const plumb_state *state, const char *path, const char *const *metadata)
{
    return save(state, path, metadata, true);
}

plumb_status plumb_state_save_weights(const plumb_state *state, const char *path, const char *const *metadata)
{
    return save(state, path, metadata, false);
}

static plumb_status check_names(struct state *s, const struct plumb_st_file *file, const char *path)
{
    for (int i = 0; i < s->n_entries; i++)
        if (!belongs_to_optimiser(s->entry[i]->name) && !plumb_st_find(file, s->entry[i]->name))
            return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: '%s' is missing", path, s->entry[i]->name);
    for (int i = 0; i < file->n_entries; i++)
        if (!belongs_to_optimiser(file->entries[i].name) && !plumb_state_find(s, file->entries[i].name))
            return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: '%s' is not a variable of this model", path,
                              file->entries[i].name);
    return PLUMB_OK;
}

static bool convertible(plumb_dtype from, plumb_dtype to)
{
    return from == to || (plumb_dtype_is_float(from) && plumb_dtype_is_float(to));
}

static plumb_status load_entry(struct state *s, struct plumb_entry *e, const struct plumb_st_entry *from)
{
    plumb_device *device = s->context->device;
    if (from->dtype == e->type.dtype)
        return device->table->upload(device, e->memory, from->data, e->bytes);
    void *host = plumb_alloc(s->context, e->bytes);
    if (!host)
        return PLUMB_FAILED;
    int64_t count = plumb_shape_count(&e->type.shape);
    for (int64_t i = 0; i < count; i++)
        plumb_put(host, e->type.dtype, i, plumb_get(from->data, from->dtype, i));
    plumb_status status = device->table->upload(device, e->memory, host, e->bytes);
    plumb_free(s->context, host);
    return status;
}

/* Everything is checked before anything is changed, so a refused file leaves the state as it was. */
plumb_status plumb_state_load(plumb_state *state, const char *path, bool strict)
{
    struct state *s = plumb_state_get_internal(state);
    if (!s)
        return PLUMB_BAD_INPUT;
    struct plumb_st_file file;
    plumb_status status = plumb_st_read(s->context, path, &file);
    if (status != PLUMB_OK)
        return status;
    if (strict)
        status = check_names(s, &file, path);
    for (int pass = 0; status == PLUMB_OK && pass < 2; pass++)
        for (int i = 0; status == PLUMB_OK && i < s->n_entries; i++) {
            struct plumb_entry *e = s->entry[i];
            const struct plumb_st_entry *from = plumb_st_find(&file, e->name);
            char want[160], have[160];
            bool fits = from && plumb_shape_equal(&from->shape, &e->type.shape) && convertible(from->dtype, e->type.dtype);
            if (!from || (!fits && !strict))
                continue;
            if (!fits)
                status = plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: '%s' is %s %s, the model needs %s %s", path, e->name,
                                    plumb_dtype_name(from->dtype), plumb_shape_text(&from->shape, have, sizeof have),
                                    plumb_dtype_name(e->type.dtype),
                                    plumb_shape_text(&e->type.shape, want, sizeof want));
            else if (pass == 1)
                status = load_entry(s, e, from);
        }
    plumb_st_free(s->context, &file);
    return status;
}
