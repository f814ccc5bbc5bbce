/* doctor: what was found on this machine, which version, what is off and why. Never fails for something optional. */
#include <jansson.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include "cli/cli.h"
#include "device/plugin.h"

struct finding {
    const char *what, *state; /* "ok", "off", "missing" */
    char text[768]; /* an error of the loader names files */
};

struct findings {
    struct finding row[32];
    int count;
};

static void found(struct findings *f, const char *what, const char *state, const char *format, ...)
    PLUMB_PRINTF(4, 5);
static void found(struct findings *f, const char *what, const char *state, const char *format, ...)
{
    struct finding *row = &f->row[f->count < 31 ? f->count++ : 31];
    va_list args;
    va_start(args, format);
    vsnprintf(row->text, sizeof(row->text), format, args);
    va_end(args);
    row->what = what;
    row->state = state;
}

static void look_at_machine(struct findings *f, plumb_context *context)
{
    struct utsname name;
    char memory[32];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    if (uname(&name) == 0) {
        found(f, "system", "ok", "%s %s, %s", name.sysname, name.release, name.machine);
    }
    print_bytes(memory, (int64_t)pages * page);
    found(f, "cpu", "ok", "%d threads in use, %d allowed to this process, %s of memory",
          plumb_threads(context), plumb_cpu_count(), memory);
    found(f, "isa", "ok", "%s in use, %s is the best this machine has", plumb_isa_name(context->isa),
          plumb_isa_name(plumb_isa_detect()));
    found(f, "winograd", context->options.forbid & PLUMB_FORBID_WINOGRAD ? "off" : "ok",
          "3x3 convolutions where it is faster; --forbid winograd halves their rounding error in f32");
}

/* What the device uses beside its own kernels, if it is there. */
static void look_at_vendors(struct findings *f, plumb_device *device)
{
    plumb_device_library library;
    for (int i = 0; device->table->library && device->table->library(device, i, &library); i++) {
        found(f, library.name, library.used ? "ok" : "off", "%s", library.text);
    }
}

/* Opened as a program would open it, so that the reason told is the one a program would meet. */
static void look_at_cuda(struct findings *f)
{
    plumb_error error = {.status = PLUMB_OK};
    plumb_device_info info;
    plumb_context *gpu = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1,
                                                     .error = &error});
    if (gpu && gpu->device->table->info(gpu->device, &info) == PLUMB_OK) {
        char memory[32];
        print_bytes(memory, info.memory_total);
        found(f, "cuda", "ok", "%s, %s of memory", info.name, memory);
        look_at_vendors(f, gpu->device);
    } else {
        found(f, "cuda", "off", "%s; %s", gpu ? plumb_message(gpu) : error.message,
              access("/dev/nvidia0", F_OK) == 0 ? "an NVIDIA device is present but not used"
                                                : "and no NVIDIA device is visible");
    }
    plumb_close(gpu);
}

/* What plugins add to the CPU's implementations. */
static void look_at_additions(struct findings *f, plumb_device *device)
{
    for (int i = 0; plumb_addition_name(i); i++) {
        const plumb_addition *addition = plumb_addition_find(device, i);
        if (addition) {
            found(f, plumb_addition_name(i), addition->plugin ? "ok" : "off", "%s", addition->text);
        }
    }
}

static void look_at_devices(struct findings *f, plumb_context *context)
{
    plumb_device_info info;
    if (context->device->table->info(context->device, &info) == PLUMB_OK) {
        found(f, "device", "ok", "%s: %s", plumb_device_name(context), info.name);
    }
    look_at_additions(f, context->device);
    look_at_cuda(f);
}

static void look_at_libraries(struct findings *f)
{
    found(f, "plumb", "ok", "%s (headers %d.%d.%d)", plumb_version(), PLUMB_VERSION_MAJOR,
          PLUMB_VERSION_MINOR, PLUMB_VERSION_PATCH);
    found(f, "zlib", "ok", "%s (built with %s)", zlibVersion(), ZLIB_VERSION);
    found(f, "jansson", "ok", "%s (built with %s)", jansson_version_str(), JANSSON_VERSION);
    found(f, "providers", "ok", "cpu.native, cpu.ref; plumb ops lists their ops");
}

static void look_at_data(struct findings *f)
{
    char folder[4096];
    if (plumb_dataset_where("fashion-mnist", folder, sizeof(folder))) {
        found(f, "fashion-mnist", "ok", "%.200s", folder);
    } else {
        found(f, "fashion-mnist", "missing",
              "install the package dataset-fashion-mnist, or set PLUMB_DATA, or use --data DIR");
    }
    const char *forced = getenv("PLUMB_IMPL");
    if (forced && *forced) {
        found(f, "PLUMB_IMPL", "ok", "%.200s", forced);
    }
}

static void print_findings(const struct findings *f, bool json)
{
    bool colour = cli_colour(stdout);
    for (int i = 0; i < f->count; i++) {
        const struct finding *row = &f->row[i];
        if (json) {
            printf("{\"what\":");
            json_text(stdout, row->what);
            printf(",\"state\":");
            json_text(stdout, row->state);
            printf(",\"text\":");
            json_text(stdout, row->text);
            printf("}\n");
        } else {
            const char *on = !colour ? "" : strcmp(row->state, "ok") == 0 ? "\033[32m" : "\033[33m";
            printf("%-14s %s%-8s%s %s\n", row->what, on, row->state, colour ? "\033[0m" : "", row->text);
        }
    }
}

int command_doctor(int argc, char **argv)
{
    struct common_options common = COMMON_DEFAULTS;
    common.only_plans = true;
    const struct option_row rows[] = {COMMON_ROWS(common)};
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("doctor"), CLI_SOME(rows), NULL, NULL}, argc, argv,
                  &code)) {
        return code;
    }
    plumb_context *context = cli_open(&common, &code);
    if (!context) {
        return code;
    }
    struct findings f = {.count = 0};
    look_at_libraries(&f);
    look_at_machine(&f, context);
    look_at_devices(&f, context);
    look_at_data(&f);
    print_findings(&f, common.json);
    plumb_close(context);
    return 0;
}
