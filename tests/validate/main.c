/* plumb-validate STAGE [--device NAME] [--impl LIST] [--only PREFIX] [--small]: one stage of scripts/gpu-validate; see validate.h. The
 * last line is "N passed, N failed, N skipped"; the exit status is 0, 1 after a failure, 2 when called wrongly or
 * without the device. */
#include "validate.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- what is printed ---- */

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar((unsigned char)*text < 32 ? ' ' : *text);
    }
    putchar('"');
}

void validate_check(struct validate *v, bool ok, const char *what, const char *format, ...)
{
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("{\"check\":");
    print_text(what);
    printf(",\"ok\":%s,\"text\":", ok ? "true" : "false");
    print_text(text);
    printf("}\n");
    fflush(stdout);
    v->passed += ok;
    v->failed += !ok;
}

void validate_skip(struct validate *v, const char *what, const char *why)
{
    printf("{\"skip\":");
    print_text(what);
    printf(",\"text\":");
    print_text(why);
    printf("}\n");
    v->skipped++;
}

void validate_measure(const char *what, const double value[3], const char *unit, double milliseconds)
{
    printf("{\"measure\":");
    print_text(what);
    printf(",\"value\":%.6g,\"low\":%.6g,\"high\":%.6g,\"unit\":\"%s\",\"milliseconds\":%.6g}\n", value[1], value[0],
           value[2], unit, milliseconds);
    fflush(stdout);
}

uint64_t validate_hash(const void *data, size_t bytes, uint64_t so_far)
{
    const unsigned char *at = data;
    uint64_t hash = so_far ? so_far : 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return hash;
}

void validate_bits(struct validate *v, const char *what, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    printf("{\"bits\":");
    print_text(what);
    printf(",\"bytes\":%zu,\"hash\":\"%016llx\",\"first\":\"", bytes,
           (unsigned long long)validate_hash(data, bytes, 0));
    for (size_t i = 0; i < bytes && i < 32; i++) {
        printf("%02x", at[i]);
    }
    printf("\"}\n");
    v->passed++;
}

plumb_context *validate_open(struct validate *v, const char *device)
{
    plumb_error error = {.message = ""};
    plumb_context *context =
        plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = device, .seed = 7, .error = &error,
                                    .forbid = PLUMB_FORBID_WINOGRAD, /* the CPU is to be exact on whole numbers */
                                    .implementations = strcmp(device, v->device) == 0 ? v->impl : NULL});
    if (!context) {
        validate_check(v, false, "the device opens", "%s", error.message);
    }
    return context;
}

/* ---- which stage ---- */

static const struct {
    const char *name;
    void (*run)(struct validate *v);
} stages[] = {{"assumptions", validate_assumptions},
              {"huge", validate_huge},
              {"determinism", validate_determinism},
              {"training", validate_training},
              {"bench", validate_bench}};

int main(int argc, char **argv)
{
    struct validate v = {.device = "cuda"};
    void (*run)(struct validate *) = NULL;
    bool known = argc > 1;
    for (int i = 1; i < argc && known; i++) {
        const char *more = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--small") == 0) {
            v.small = true;
        } else if (strcmp(argv[i], "--device") == 0 && more) {
            v.device = argv[++i];
        } else if (strcmp(argv[i], "--impl") == 0 && more) {
            v.impl = argv[++i];
        } else if (strcmp(argv[i], "--only") == 0 && more) {
            v.only = argv[++i];
        } else {
            known = false;
            for (size_t k = 0; k < sizeof stages / sizeof *stages; k++) {
                if (!run && strcmp(argv[i], stages[k].name) == 0) {
                    run = stages[k].run;
                    known = true;
                }
            }
        }
    }
    plumb_error error = {.message = ""};
    plumb_context *context =
        run && known ? plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = v.device, .error = &error}) : NULL;
    if (!context) {
        fprintf(stderr, "plumb-validate: %s\n",
                error.message[0] ? error.message
                                 : "assumptions, huge, determinism, training or bench, and options, see tests/validate/main.c");
        return 2;
    }
    plumb_close(context);
    run(&v);
    printf("%lld passed, %lld failed, %lld skipped\n", (long long)v.passed, (long long)v.failed, (long long)v.skipped);
    return v.failed > 0 || v.passed == 0;
}
