/* The progress line: rewritten in place on a terminal, nothing elsewhere (the table of epochs is enough there). */
#include "cli/cli.h"

static double last_shown; /* seconds; the line is not rewritten more often than people can read */
static bool shown;

void progress_show(const plumb_progress *p)
{
    double now = plumb_seconds();
    if (!cli_live(stderr) || (now - last_shown < 0.1 && p->step < p->steps)) {
        return;
    }
    last_shown = now;
    shown = true;
    double left =
        p->images_per_s > 0 && p->step > 0
            ? p->seconds / (double)p->step * (double)(p->steps - p->step + (p->epochs - p->epoch) * p->steps)
            : 0;
    char text[160], bar[64];
    int n = snprintf(text, sizeof(text),
                     " %3d%%  loss %.4f  accuracy %.4f  %.0f images/s  wait %.1f%%  ETA %d:%02d",
                     (int)(100 * p->step / p->steps), p->loss, p->accuracy, p->images_per_s,
                     100 * p->data_wait, (int)left / 60, (int)left % 60);
    char epoch[32];
    int head = snprintf(epoch, sizeof(epoch), "epoch %d/%d ", p->epoch, p->epochs);
    int room = cli_columns() - n - head - 4;
    room = room > 40 ? 40 : room;
    int done = room > 0 ? (int)(p->step * room / p->steps) : 0;
    for (int i = 0; i < room; i++) {
        bar[i] = i < done ? '=' : i == done ? '>' : ' ';
    }
    bar[room > 0 ? room : 0] = 0;
    const char *on = cli_colour(stderr) ? "\033[36m" : "", *off = cli_colour(stderr) ? "\033[0m" : "";
    if (room > 4) {
        fprintf(stderr, "\r\033[K%s[%s%s%s]%s", epoch, on, bar, off, text);
    } else {
        fprintf(stderr, "\r\033[K%s%.*s", epoch, cli_columns() - head - 1, text);
    }
    fflush(stderr);
}

void progress_clear(void)
{
    if (shown) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        shown = false;
    }
}
