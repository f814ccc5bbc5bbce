/* Options, faults and chance. A fault names the kernel, the block, the thread, the order and the seed, so that it can be
 * had again; by default it ends the program, as a sanitizer does. */
#include "inside.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDASIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

cudasim_options cudasim_option = {.strict_exit = true, .watchdog = 60, .seed = 1, .memory = (size_t)4 << 30};
cudasim_statistics cudasim_total;

static char fault_kind[64], fault_text[1024];
static uint64_t chance;

uint64_t cudasim_random(void) /* splitmix64 */
{
    uint64_t z = chance += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void cudasim_random_start(uint64_t seed) { chance = seed; }

/* The number of the word in "a|b|c", or -1. */
static int choose(const char *words, const char *value, size_t length)
{
    int n = 0;
    for (const char *word = words; word; n++) {
        const char *bar = strchr(word, '|');
        size_t size = bar ? (size_t)(bar - word) : strlen(word);
        if (size == length && !memcmp(word, value, length)) {
            return n;
        }
        word = bar ? bar + 1 : NULL;
    }
    return -1;
}

static bool set_one(const char *name, size_t name_length, const char *value, size_t length)
{
    cudasim_options *o = &cudasim_option;
    int which = choose("order|seed|streams|onerror|strictexit|watchdog|memory|leaks|lint", name, name_length), word;
    uint64_t number = strtoull(value, NULL, 10);
    switch (which) {
    case 0:
        word = choose("sequential|reversed|random", value, length);
        o->order = (enum cudasim_order)word;
        return word >= 0;
    case 1:
        o->seed = number;
        cudasim_random_start(number);
        return true;
    case 2:
        word = choose("eager|lazy|shuffle", value, length);
        o->streams = (enum cudasim_streams)word;
        return word >= 0;
    case 3:
        word = choose("abort|record", value, length);
        o->record = word == 1;
        return word >= 0;
    case 4: o->strict_exit = number != 0; return true;
    case 5: o->watchdog = (unsigned)number; return true;
    case 6: o->memory = (size_t)number << 20; return true;
    case 7: o->leaks = number != 0; return true;
    case 8: return snprintf(o->lint, sizeof o->lint, "%.*s", (int)length, value) < (int)sizeof o->lint;
    default: return false;
    }
}

bool cudasim_set(const char *options)
{
    while (*options) {
        size_t length = strcspn(options, ","), name = strcspn(options, "=");
        if (name >= length || !set_one(options, name, options + name + 1, length - name - 1)) {
            return false;
        }
        options += length + (options[length] == ',');
    }
    return true;
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *options = getenv("CUDASIM");
    if (options && !cudasim_set(options)) {
        fprintf(stderr, "cudasim: CUDASIM=%s: unknown option\n", options);
        abort();
    }
}

static void print_stack(void)
{
#ifdef CUDASIM_ASAN
    __sanitizer_print_stack_trace();
#else
    void *frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), 2);
#endif
}

void cudasim_error(const char *kind, const char *format, ...)
{
    char text[sizeof fault_text], where[256] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (cudasim_inside()) {
        cudasim_where(where, sizeof where);
    }
    if (!cudasim_option.record) {
        static const char *orders[] = {"sequential", "reversed", "random"};
        fflush(stdout);
        fprintf(stderr, "cudasim: %s: %s%s (order=%s, seed=%llu)\n", kind, text, where, orders[cudasim_option.order],
                (unsigned long long)cudasim_option.seed);
        print_stack();
        abort();
    }
    if (!fault_kind[0]) {
        snprintf(fault_kind, sizeof fault_kind, "%s", kind);
        size_t length = (size_t)snprintf(fault_text, sizeof fault_text, "%s", text);
        if (length < sizeof fault_text) {
            snprintf(fault_text + length, sizeof fault_text - length, "%s", where);
        }
    }
    if (cudasim_inside()) {
        cudasim_give_up();
    }
}

bool cudasim_lost(void) { return fault_kind[0] != 0; }
const char *cudasim_fault(void) { return fault_kind; }
const char *cudasim_fault_text(void) { return fault_text; }
cudasim_statistics cudasim_work(void) { return cudasim_total; }

void cudasim_forget_fault(void) { fault_kind[0] = fault_text[0] = 0; }
