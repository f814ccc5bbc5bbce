/* When queued work runs. Lazily: only when a call of the program waits for it, so that a forgotten wait gives the
 * program old data every time. By chance: at any call, as much as chance says, streams overtaking each other. At once:
 * as the simplest program expects. A step that waits for an event first runs the event's stream up to the record. */
#include "queue.h"

#include "checker.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct CUstream_st cudasim_legacy = {.blocking = true, .steps = {.last = &cudasim_legacy.steps.first}};

void cudasim_steps_start(cudasim_steps *steps)
{
    steps->first = NULL;
    steps->last = &steps->first;
    steps->count = 0;
}

cudasim_step *cudasim_step_new(enum cudasim_step_kind kind)
{
    cudasim_step *step = calloc(1, sizeof *step);
    if (step) {
        step->kind = kind;
    }
    return step;
}

void cudasim_event_release(struct CUevent_st *event)
{
    if (event && --event->references == 0 && event->dead) {
        free(event);
    }
}

void cudasim_step_free(cudasim_step *step)
{
    if (step->work && --step->work->references == 0) {
        step->work->kernel.destroy(step->work->kernel.closure);
        free(step->work);
    }
    cudasim_event_release(step->event);
    free(step->snapshot);
    free(step);
}

void cudasim_steps_clear(cudasim_steps *steps)
{
    while (steps->first) {
        cudasim_step *step = steps->first;
        steps->first = step->next;
        cudasim_step_free(step);
    }
    cudasim_steps_start(steps);
}

void cudasim_step_add(cudasim_steps *steps, cudasim_step *step)
{
    step->next = NULL;
    *steps->last = step;
    steps->last = &step->next;
    steps->count++;
}

bool cudasim_steps_copy(cudasim_steps *to, const cudasim_steps *from)
{
    for (const cudasim_step *step = from->first; step; step = step->next) {
        cudasim_step *copy = malloc(sizeof *copy);
        if (!copy) {
            return false;
        }
        *copy = *step;
        if (copy->work) {
            copy->work->references++;
        }
        if (copy->event) {
            copy->event->references++;
        }
        cudasim_step_add(to, copy);
    }
    return true;
}

/* ---- running ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void run_copy(const cudasim_step *step)
{
    const char *from = step->snapshot ? step->snapshot : step->from;
    size_t pitch = step->snapshot ? step->bytes : step->pitch_from;
    for (size_t row = 0; row < step->rows; row++) {
        cudasim_check_copy(step->to + row * step->pitch_to, from + row * pitch, step->bytes);
        memmove(step->to + row * step->pitch_to, from + row * pitch, step->bytes);
    }
}

static void run_fill(const cudasim_step *step)
{
    for (size_t row = 0; row < step->rows; row++) {
        cudasim_check_fill(step->to + row * step->pitch_to, step->bytes);
        memset(step->to + row * step->pitch_to, step->value, step->bytes);
    }
}

/* Kernels, work of vendors' libraries, copies and fills: device memory is open, and the clocks know of the work. */
static void run_work(struct CUstream_st *stream, const cudasim_step *step)
{
    cudasim_open();
    cudasim_work_begins(stream->slot, &stream->clock);
    if (step->kind == STEP_KERNEL) {
        cudasim_run(&step->work->kernel);
    } else if (step->kind == STEP_VENDOR) {
        cudasim_check_vendor(true);
        step->work->kernel.invoke(step->work->kernel.closure);
        cudasim_check_vendor(false);
    } else if (step->kind == STEP_COPY) {
        run_copy(step);
    } else {
        run_fill(step);
    }
    cudasim_work_ends(stream->slot, &stream->clock);
    cudasim_close();
}

static void run_step(struct CUstream_st *stream, cudasim_step *step)
{
    if (cudasim_lost() && step->kind != STEP_RECORD && step->kind != STEP_FREE) {
        return; /* the device is lost: nothing runs on it any more */
    }
    cudasim_block *block;
    cudasim_clock_join(&stream->clock, &step->clock);
    switch (step->kind) {
    case STEP_KERNEL:
    case STEP_VENDOR:
    case STEP_COPY:
    case STEP_FILL: run_work(stream, step); break;
    case STEP_HOST: step->function(step->data); break;
    case STEP_RECORD:
        step->event->done = step->generation;
        step->event->time = now();
        step->event->clock = stream->clock;
        break;
    case STEP_WAIT:
        cudasim_drain_event(step->event, step->generation);
        cudasim_clock_join(&stream->clock, &step->event->clock);
        break;
    case STEP_FREE:
        block = cudasim_block_at(step->to, false);
        if (block) {
            cudasim_block_free(block);
        }
        break;
    }
}

static void run_first(struct CUstream_st *stream)
{
    cudasim_step *step = stream->steps.first;
    stream->running = true;
    run_step(stream, step);
    stream->running = false;
    stream->steps.first = step->next;
    stream->steps.count--;
    if (!stream->steps.first) {
        stream->steps.last = &stream->steps.first;
    }
    cudasim_step_free(step);
}

/* Runs steps while there are any and, where an event is given, until it has happened. Device memory stays open from one
 * kernel or copy to the next, for opening and closing it takes longer than most of them; what the host does, or another
 * stream, happens with closed memory. */
static void run_while(struct CUstream_st *stream, const struct CUevent_st *event, uint64_t generation)
{
    bool open = false;
    while (stream->steps.first && (!event || event->done < generation)) {
        enum cudasim_step_kind kind = stream->steps.first->kind;
        bool wanted = kind != STEP_HOST && kind != STEP_WAIT && kind != STEP_FREE;
        if (wanted != open) {
            open = wanted;
            (open ? cudasim_open : cudasim_close)();
        }
        run_first(stream);
    }
    if (open) {
        cudasim_close();
    }
}

void cudasim_drain(struct CUstream_st *stream)
{
    if (!stream->running) { /* a host function may not wait for its own stream */
        run_while(stream, NULL, 0);
    }
}

void cudasim_wait(struct CUstream_st *stream)
{
    cudasim_drain(stream);
    cudasim_clock_join(&cudasim_host_clock, &stream->clock);
}

void cudasim_wait_all(void)
{
    for (struct CUstream_st *s = &cudasim_legacy; s; s = s->next) {
        cudasim_wait(s);
    }
}

void cudasim_drain_event(struct CUevent_st *event, uint64_t generation)
{
    if (event->stream && !event->stream->running) {
        run_while(event->stream, event, generation);
    }
}

void cudasim_chance(void)
{
    if (cudasim_option.streams != CUDASIM_SHUFFLE) {
        return;
    }
    for (struct CUstream_st *s = &cudasim_legacy; s; s = s->next) {
        while (s->steps.first && !s->running && cudasim_random() % 3 == 0) {
            run_first(s);
        }
    }
}

/* Stream 0 and the streams that block with it wait for each other: what was queued before is done before. */
static void order_with_legacy(const struct CUstream_st *stream, cudasim_clock *clock)
{
    if (stream == &cudasim_legacy) {
        for (struct CUstream_st *s = cudasim_legacy.next; s; s = s->next) {
            if (s->blocking) {
                cudasim_drain(s);
                cudasim_clock_join(clock, &s->clock);
            }
        }
    } else if (stream->blocking) {
        cudasim_drain(&cudasim_legacy);
        cudasim_clock_join(clock, &cudasim_legacy.clock);
    }
}

void cudasim_submit(struct CUstream_st *stream, cudasim_step *step)
{
    step->clock = cudasim_host_clock;
    order_with_legacy(stream, &step->clock);
    cudasim_step_add(&stream->steps, step);
    if (cudasim_option.streams == CUDASIM_EAGER) {
        cudasim_drain(stream);
    }
    cudasim_chance();
}
