/* Writing for people and for programs: data on standard output, everything else on standard error. */
#include <errno.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

int cli_finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        int why = errno;
        fprintf(stderr, "plumb: cannot write to standard output: %s\n", strerror(why ? why : EIO));
        return code ? code : PLUMB_IO_ERROR;
    }
    return code;
}

bool cli_output_lost(void) { return fflush(stdout) != 0 || ferror(stdout); }

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value;
}

bool cli_live(FILE *to)
{
    const char *terminal = getenv("TERM");
    return isatty(fileno(to)) && terminal && strcmp(terminal, "dumb") != 0;
}

bool cli_colour(FILE *to)
{
    const char *force = getenv("CLICOLOR_FORCE");
    if (is_set("NO_COLOR")) {
        return false;
    }
    return cli_live(to) || (force && *force && strcmp(force, "0") != 0);
}

bool cli_unicode(void)
{
    static const char *const names[3] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) {
            return strstr(value, "UTF-8") || strstr(value, "utf8");
        }
    }
    return false;
}

int cli_columns(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    int64_t given;
    if (columns && cli_whole(columns, 20, 1000, &given)) {
        return (int)given;
    }
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

void json_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fprintf(to, "\\%c", c);
        } else if (c < 0x20) {
            fprintf(to, "\\u%04x", c);
        } else {
            fputc(c, to);
        }
    }
    fputc('"', to);
}

void json_number(FILE *to, double value)
{
    if (isfinite(value)) {
        fprintf(to, "%.10g", value);
    } else {
        fputs("null", to);
    }
}

void print_bytes(char to[32], int64_t bytes)
{
    static const char *const units[5] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(to, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void print_count(char to[32], int64_t count)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long)count), at = 0;
    for (int i = 0; i < n; i++) {
        to[at++] = digits[i];
        int left = n - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-') {
            to[at++] = ',';
        }
    }
    to[at] = 0;
}

void print_one_line(FILE *to, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        fputc(c < 0x20 || c == 0x7f ? '?' : c, to);
    }
    fputc('\n', to);
}
