/* Where a step's time goes: each op of a program is timed over some runs, and the medians are added up by op and
 * implementation, or listed one by one. Op by op means that a device has to finish each before the next begins, and that
 * two clocks are read around each: the sum is somewhat more than the step takes when nobody looks. */
#include "cli/bench.h"

/* One step of the program, or several of one op and implementation. */
struct part {
    const struct plumb_step *step;
    int index, count;
    double seconds, flops, bytes;
};

struct watcher {
    plumb_context *context;
    int room, runs, run;
    const struct plumb_step **step; /* [room] */
    double *seconds;                /* [room][runs] */
    double began;
};

static plumb_status begin_step(void *user, int index, const struct plumb_step *step)
{
    struct watcher *w = user;
    if (index >= w->room) {
        return plumb_fail(w->context, PLUMB_BAD_INPUT, "bench: more than %d steps", w->room);
    }
    w->step[index] = step;
    w->began = plumb_seconds();
    return PLUMB_OK;
}

static plumb_status end_step(void *user, int index, const struct plumb_step *step)
{
    struct watcher *w = user;
    plumb_device *device = step->call.device;
    plumb_status status = device->table->sync ? device->table->sync(device) : PLUMB_OK;
    if (w->run < w->runs) {
        w->seconds[(size_t)index * (size_t)w->runs + (size_t)w->run] = plumb_seconds() - w->began;
    }
    return status;
}

static int by_time(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* The steps as parts; those of one op and implementation as one unless each is wanted. Returns how many. */
static int add_up(struct watcher *w, bool nodes, struct part *parts)
{
    int count = 0;
    for (int i = 0; i < w->room && w->step[i]; i++) {
        const struct plumb_step *s = w->step[i];
        int at = 0;
        while (at < count && (nodes || parts[at].step->impl != s->impl)) {
            at++;
        }
        if (at == count) {
            parts[count++] = (struct part){.step = s, .index = i};
        }
        parts[at].count++;
        parts[at].seconds += bench_median(w->seconds + (size_t)i * (size_t)w->runs, w->runs);
        parts[at].flops += plumb_call_flops(&s->call);
        parts[at].bytes += plumb_call_bytes(&s->call);
    }
    if (!nodes) {
        qsort(parts, (size_t)count, sizeof(*parts), by_time);
    }
    return count;
}

const char *bench_shapes(const plumb_call *call, char *to, size_t room)
{
    size_t used = 0;
    to[0] = 0;
    for (int k = 0; k < call->n_in + call->n_out && k < 6 && used < room; k++) {
        char shape[160];
        plumb_shape s = {.rank = call->in[k].rank};
        memcpy(s.dim, call->in[k].dim, sizeof(s.dim));
        int wrote = snprintf(to + used, room - used, "%s%s", k == call->n_in ? "-> " : "",
                             plumb_shape_text(&s, shape, sizeof(shape)));
        used += wrote > 0 ? (size_t)wrote : 0;
        if (used + 1 < room) {
            to[used++] = ' ';
            to[used] = 0;
        }
    }
    return to;
}

static void print_part(const struct part *p, double whole, bool nodes, bool json)
{
    const struct plumb_step *s = p->step;
    char shapes[512] = "";
    if (nodes) {
        bench_shapes(&s->call, shapes, sizeof(shapes));
    }
    if (json) {
        printf("{\"bench\":\"profile\",\"op\":\"%s\",\"implementation\":\"%s\",\"steps\":%d", s->call.op->name,
               s->impl->name, p->count);
        if (nodes) {
            printf(",\"index\":%d,\"name\":", p->index);
            json_text(stdout, s->call.name);
            printf(",\"shapes\":\"%s\"", shapes);
        }
        printf(",\"seconds\":");
        json_number(stdout, p->seconds);
        printf(",\"share\":");
        json_number(stdout, p->seconds / whole);
        printf(",\"gflops\":");
        json_number(stdout, p->flops / p->seconds / 1e9);
        printf(",\"gb_per_s\":");
        json_number(stdout, p->bytes / p->seconds / 1e9);
        printf("}\n");
        return;
    }
    printf("%4d %-24s %-20s %10.4f %6.1f%% %9.1f %9.1f", nodes ? p->index : p->count, s->call.op->name,
           s->impl->name, 1e3 * p->seconds, 100 * p->seconds / whole, p->flops / p->seconds / 1e9,
           p->bytes / p->seconds / 1e9);
    printf(nodes ? "  %s %s\n" : "\n", s->call.name, shapes);
}

static void print_all(struct watcher *w, struct part *parts, double whole, bool nodes, bool json)
{
    int count = add_up(w, nodes, parts);
    double inside = 0;
    if (!json) {
        printf("%4s %-24s %-20s %10s %7s %9s %9s%s\n", nodes ? "" : "n", "op", "implementation", "ms", "share",
               "GFLOP/s", "GB/s", nodes ? "  name and shapes" : "");
    }
    for (int i = 0; i < count; i++) {
        print_part(&parts[i], whole, nodes, json);
        inside += parts[i].seconds;
    }
    if (json) {
        printf("{\"bench\":\"profile\",\"step_seconds\":");
        json_number(stdout, whole);
        printf(",\"between_seconds\":");
        json_number(stdout, whole - inside);
        printf("}\n");
        return;
    }
    printf("%4s %-45s %10.4f %6.1f%%   loader, fetching, clocks\n%4s %-45s %10.4f %6.1f%%   median of %d runs\n", "",
           "between the ops", 1e3 * (whole - inside), 100 * (whole - inside) / whole, "", "step", 1e3 * whole, 100.0,
           w->runs);
}

plumb_status bench_profile(plumb_context *context, plumb_program *program, plumb_status (*step)(void *user), void *user,
                           int runs, bool nodes, bool json)
{
    enum { ROOM = 8192, WARM = 3 };
    struct watcher w = {.context = context, .room = ROOM, .runs = runs};
    const struct plumb_watch watch = {begin_step, end_step, &w};
    struct part *parts = plumb_alloc(context, ROOM * sizeof(*parts));
    double *whole = plumb_alloc(context, (size_t)runs * sizeof(double));
    w.step = plumb_zalloc(context, ROOM * sizeof(*w.step));
    w.seconds = plumb_alloc(context, ROOM * (size_t)runs * sizeof(double));
    plumb_status status = parts && whole && w.step && w.seconds ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; !status && i < WARM; i++) {
        status = step(user);
    }
    plumb_watch_steps(program, &watch);
    for (; !status && w.run < runs; w.run++) {
        double begin = plumb_seconds();
        status = step(user);
        whole[w.run] = plumb_seconds() - begin;
    }
    plumb_watch_steps(program, NULL);
    if (!status) {
        print_all(&w, parts, bench_median(whole, runs), nodes, json);
    }
    plumb_free(context, parts);
    plumb_free(context, whole);
    plumb_free(context, w.step);
    plumb_free(context, w.seconds);
    return status;
}
