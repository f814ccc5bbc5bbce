/* The context: checks the options once, owns everything, and keeps the first error since the last clear. A later error
 * is mostly a consequence of the first, so it is kept out. */
#include "core/inside.h"

#include <stdio.h>

#include "device/plugin.h"

#define MAX_THREADS 1024

/* One line whatever file names or attributes contain. */
static void one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

plumb_status plumb_fail_v(plumb_context *context, plumb_status status, const char *format, va_list args)
{
    if (context && context->status == PLUMB_OK && status != PLUMB_OK) {
        context->status = status;
        vsnprintf(context->message, sizeof(context->message), format, args);
        one_line(context->message);
    }
    return status;
}

plumb_status plumb_fail(plumb_context *context, plumb_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    plumb_fail_v(context, status, format, args);
    va_end(args);
    return status;
}

void plumb_log_line(plumb_context *context, plumb_log_level level, const char *format, ...)
{
    if (!context || !context->options.log) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    one_line(line);
    context->options.log(context->options.log_user, level, line);
}

const char *plumb_message(const plumb_context *context)
{
    return context ? context->message : "";
}

plumb_status plumb_last_status(const plumb_context *context)
{
    return context ? context->status : PLUMB_BAD_INPUT;
}

void plumb_clear_error(plumb_context *context)
{
    if (context) {
        context->status = PLUMB_OK;
        context->message[0] = '\0';
    }
}

const char *plumb_device_name(const plumb_context *context)
{
    return context ? context->device->table->name : "";
}

int plumb_threads(const plumb_context *context)
{
    return context ? plumb_pool_size(context->pool) : 0;
}

uint64_t plumb_seed(const plumb_context *context)
{
    return context ? context->seed : 0;
}

int64_t plumb_memory_now(const plumb_context *context)
{
    return context ? context->memory_now : 0;
}

int64_t plumb_memory_peak(const plumb_context *context)
{
    return context ? context->memory_peak : 0;
}

/* A caller may be older (a shorter struct: the rest is default) or newer (what we do not know must be default). */
static const char *copy_options(plumb_options *to, const plumb_options *from)
{
    *to = (plumb_options){.size = sizeof(*to)};
    if (!from) {
        return NULL;
    }
    size_t size = from->size ? from->size : sizeof(*to);
    if (size < sizeof(from->size)) {
        return "options: size is smaller than the struct's first field";
    }
    memcpy(to, from, size < sizeof(*to) ? size : sizeof(*to));
    to->size = sizeof(*to);
    for (size_t i = sizeof(*to); i < size; i++) {
        if (((const unsigned char *)from)[i]) {
            return "options: a field is set that this version of the library does not know";
        }
    }
    if (to->threads < 0 || to->threads > MAX_THREADS) {
        return "options: threads must be 0 (automatic) to 1024";
    }
    if (to->allow & ~(unsigned)(PLUMB_ALLOW_TF32 | PLUMB_ALLOW_REDUCED_SUMS | PLUMB_ALLOW_NONDETERMINISTIC |
                                PLUMB_ALLOW_VENDOR_THREADS)) {
        return "options: allow has a bit that this version of the library does not know";
    }
    if (to->forbid & ~(unsigned)PLUMB_FORBID_WINOGRAD) {
        return "options: forbid has a bit that this version of the library does not know";
    }
    if (to->allocator && (!to->allocator->alloc || !to->allocator->free)) {
        return "options: the allocator lacks alloc or free";
    }
    return NULL;
}

/* The caller's I/O table, with the system's calls where it has none. */
static plumb_io complete_io(const plumb_io *given)
{
    plumb_io io = given ? *given : plumb_io_posix;
    io.open = io.open ? io.open : plumb_io_posix.open;
    io.read = io.read ? io.read : plumb_io_posix.read;
    io.write = io.write ? io.write : plumb_io_posix.write;
    io.sync = io.sync ? io.sync : plumb_io_posix.sync;
    io.close = io.close ? io.close : plumb_io_posix.close;
    io.rename = io.rename ? io.rename : plumb_io_posix.rename;
    io.unlink = io.unlink ? io.unlink : plumb_io_posix.unlink;
    io.list = io.list ? io.list : plumb_io_posix.list;
    return io;
}

/* "op=provider,op=provider": no empty names, one '=' each. Whether they exist is known when a program is compiled. */
static plumb_status check_choices(plumb_context *context, const char *where, const char *choices)
{
    const char *at = choices;
    while (*at) {
        size_t length = strcspn(at, ",");
        const char *equals = memchr(at, '=', length);
        if (!equals || equals == at || equals + 1 == at + length ||
            memchr(equals + 1, '=', (size_t)(at + length - equals - 1))) {
            return plumb_fail(context, PLUMB_BAD_INPUT, "%s: '%.*s' is not of the form op=implementation", where,
                              length < 100 ? (int)length : 100, at);
        }
        at += length;
        at += *at == ',';
    }
    return PLUMB_OK;
}

/* Options first: whoever looks an op up takes the first match, so they win over the environment. */
static plumb_status set_implementations(plumb_context *context, const char *from_options)
{
    const char *from_environment = getenv("PLUMB_IMPL");
    struct plumb_text text = {.context = context};
    if (from_options && check_choices(context, "implementations", from_options) != PLUMB_OK) {
        return PLUMB_BAD_INPUT;
    }
    if (from_environment && check_choices(context, "PLUMB_IMPL", from_environment) != PLUMB_OK) {
        return PLUMB_BAD_INPUT;
    }
    const char *first = from_options ? from_options : "";
    const char *second = from_environment ? from_environment : "";
    plumb_text_add(&text, "%s%s%s", first, *first && *second ? "," : "", second);
    context->implementations = plumb_text_take(&text);
    context->options.implementations = context->implementations;
    return context->implementations ? PLUMB_OK : PLUMB_FAILED;
}

/* A limit, not a demand: the same program must run on a lesser machine. */
static plumb_status set_isa(plumb_context *context, const char *limit)
{
    context->isa = plumb_isa_detect();
    if (!limit) {
        return PLUMB_OK;
    }
    for (int isa = PLUMB_ISA_SCALAR; isa < PLUMB_ISA_COUNT; isa++) {
        if (strcmp(limit, plumb_isa_name(isa)) == 0) {
            context->isa = isa < context->isa ? isa : context->isa;
            context->options.isa = plumb_isa_name(isa);
            return PLUMB_OK;
        }
    }
    return plumb_fail(context, PLUMB_BAD_INPUT,
                      "isa: '%.100s' is unknown; known are scalar, avx2, avx512, avx512_bf16", limit);
}

static plumb_status set_pool(plumb_context *context, const plumb_options *options)
{
    if (options->pool) {
        context->pool = options->pool;
        return PLUMB_OK;
    }
    const char *why = "";
    context->pool = plumb_pool_make(&context->allocator, options->threads, &why);
    if (!context->pool) {
        return plumb_fail(context, PLUMB_FAILED, "threads: %s", why);
    }
    context->owns_pool = true;
    plumb_count(context, plumb_pool_bytes(context->pool));
    return PLUMB_OK;
}

static plumb_status set_up(plumb_context *context, const plumb_options *options)
{
    const char *device = options->device ? options->device : "cpu";
    context->options.isa = NULL;
    context->options.implementations = NULL;
    context->options.device = NULL;
    if (set_implementations(context, options->implementations) != PLUMB_OK ||
        set_isa(context, options->isa) != PLUMB_OK || set_pool(context, options) != PLUMB_OK) {
        return context->status;
    }
    context->options.device = plumb_strdup(context, device);
    if (!context->options.device || plumb_device_open(context, context->options.device) != PLUMB_OK) {
        return context->status;
    }
    return PLUMB_OK;
}

static void tell(plumb_error *error, plumb_status status, const char *message)
{
    if (error) {
        error->status = status;
        snprintf(error->message, sizeof(error->message), "%s", message);
    }
}

plumb_context *plumb_open(const plumb_options *given)
{
    plumb_options options;
    const char *wrong = copy_options(&options, given);
    tell(options.error, PLUMB_OK, "");
    if (wrong) {
        tell(options.error, PLUMB_BAD_INPUT, wrong);
        return NULL;
    }
    plumb_allocator allocator = options.allocator ? *options.allocator : plumb_allocator_c;
    plumb_context *context = allocator.alloc(allocator.user, sizeof(*context));
    if (!context) {
        tell(options.error, PLUMB_FAILED, "out of memory for the context");
        return NULL;
    }
    memset(context, 0, sizeof(*context));
    context->options = options;
    context->options.error = NULL; /* the caller's; may be gone tomorrow */
    context->allocator = allocator;
    context->io = complete_io(options.io);
    context->options.allocator = &context->allocator;
    context->options.io = &context->io;
    context->seed = options.seed;
    plumb_count(context, (int64_t)sizeof(*context));
    if (set_up(context, &options) != PLUMB_OK) {
        tell(options.error, context->status, context->message);
        plumb_close(context);
        return NULL;
    }
    return context;
}

static void free_string(plumb_context *context, const char *text)
{
    plumb_free(context, (char *)(uintptr_t)text); /* ours, though the options call it const */
}

void plumb_close(plumb_context *context)
{
    if (!context) {
        return;
    }
    plumb_handles_close(context);
    if (context->exec_destroy) {
        context->exec_destroy(context, context->exec);
    }
    if (context->device) {
        plumb_additions_close(context->device);
        context->device->table->close(context->device);
    }
    if (context->owns_pool) {
        plumb_count(context, -plumb_pool_bytes(context->pool));
        plumb_pool_free(context->pool);
    }
    free_string(context, context->options.device);
    plumb_free(context, context->implementations);
    int64_t left = context->memory_now - (int64_t)sizeof(*context);
    if (left != 0) {
        plumb_log_line(context, PLUMB_LOG_WARNING, "closing: %lld bytes were not freed", (long long)left);
    }
    plumb_allocator allocator = context->allocator;
    allocator.free(allocator.user, context, sizeof(*context));
}
