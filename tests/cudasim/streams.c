/* The runtime's calls for streams and events. */
#include "calls.h"

struct CUevent_st *cudasim_events;

/* ---- streams ---- */

struct CUstream_st *cudasim_stream_of(cudaStream_t stream)
{
    return stream == 0 || stream == cudaStreamLegacy ? &cudasim_legacy : stream;
}

bool cudasim_breaks_capture(void)
{
    bool any = false;
    for (struct CUstream_st *s = &cudasim_legacy; s; s = s->next) {
        if (s->capture && s->origin && s->mode != cudaStreamCaptureModeRelaxed) {
            s->broken = any = true;
        }
    }
    return any;
}

cudaError_t cudasim_put(struct CUstream_st *stream, cudasim_step *step)
{
    if (stream == &cudasim_legacy) {
        for (struct CUstream_st *s = cudasim_legacy.next; s; s = s->next) {
            if (s->capture && s->blocking) {
                s->broken = true;
                cudasim_step_free(step);
                return cudasim_return(cudaErrorStreamCaptureImplicit);
            }
        }
    }
    if (!stream->capture) {
        cudasim_submit(stream, step);
        return cudaSuccess;
    }
    if (stream->broken) {
        cudasim_step_free(step);
        return cudasim_return(cudaErrorStreamCaptureInvalidated);
    }
    cudasim_step_add(&stream->capture->steps, step);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority)
{
    ENTER(CUDASIM_STREAM);
    struct CUstream_st *s = calloc(1, sizeof *s);
    if (!s) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&s->steps);
    s->blocking = !(flags & cudaStreamNonBlocking);
    s->priority = priority;
    s->slot = cudasim_slot_take();
    s->next = cudasim_legacy.next;
    cudasim_legacy.next = s;
    cudasim_counts.streams++;
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    return cudaStreamCreateWithPriority(out, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0); }

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    LOCK();
    struct CUstream_st **link = &cudasim_legacy.next;
    while (*link && *link != stream) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-stream", "cudaStreamDestroy of what is no stream");
        return cudasim_return(cudaErrorInvalidResourceHandle);
    }
    cudasim_drain(stream);
    *link = stream->next;
    for (struct CUevent_st *e = cudasim_events; e; e = e->next) {
        if (e->stream == stream) {
            e->stream = NULL;
        }
    }
    cudasim_slot_give(stream->slot);
    free(stream);
    cudasim_counts.streams--;
    return cudasim_waited();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    ENTER(CUDASIM_SYNC);
    struct CUstream_st *s = cudasim_stream_of(stream);
    if (s->capture) {
        s->broken = true;
        return cudasim_return(cudaErrorStreamCaptureUnsupported);
    }
    if (s == &cudasim_legacy) {
        for (struct CUstream_st *other = cudasim_legacy.next; other; other = other->next) {
            if (other->blocking) {
                cudasim_wait(other);
            }
        }
    }
    cudasim_wait(s);
    return cudasim_waited();
}

cudaError_t cudaDeviceSynchronize(void)
{
    ENTER(CUDASIM_SYNC);
    if (cudasim_breaks_capture()) {
        return cudasim_return(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_wait_all();
    return cudasim_waited();
}

cudaError_t cudaDeviceReset(void) { return cudaDeviceSynchronize(); }

/* A program that asks in a loop must come to an end: what was asked for runs after the answer. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    ENTER(CUDASIM_SYNC);
    bool busy = cudasim_stream_of(stream)->steps.first != NULL;
    if (busy) {
        cudasim_drain(cudasim_stream_of(stream));
    } else {
        cudasim_wait(cudasim_stream_of(stream));
    }
    return busy ? cudaErrorNotReady : cudasim_waited();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    ENTER(CUDASIM_LAUNCH);
    cudasim_step *step = cudasim_step_new(STEP_HOST);
    if (!step) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    step->function = function;
    step->data = data;
    return cudasim_put(cudasim_stream_of(stream), step);
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    ENTER(CUDASIM_EVENT);
    struct CUevent_st *e = calloc(1, sizeof *e);
    if (!e) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    e->timing = !(flags & cudaEventDisableTiming);
    e->references = 1;
    e->next = cudasim_events;
    cudasim_events = e;
    cudasim_counts.events++;
    *out = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    LOCK();
    struct CUevent_st **link = &cudasim_events;
    while (*link && *link != event) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-event", "cudaEventDestroy of what is no event");
        return cudasim_return(cudaErrorInvalidResourceHandle);
    }
    *link = event->next;
    cudasim_counts.events--;
    event->dead = true;
    cudasim_event_release(event);
    return cudasim_lost() ? cudasim_return(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    ENTER(CUDASIM_EVENT);
    struct CUstream_st *s = cudasim_stream_of(stream);
    event->capture = s->capture;
    if (s->capture) { /* captured work runs in the order of capture, which keeps all its dependencies */
        return s->broken ? cudasim_return(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
    }
    cudasim_step *step = cudasim_step_new(STEP_RECORD);
    if (!step) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudasim_drain_event(event, event->recorded); /* an earlier record in another stream comes first */
    step->event = event;
    event->references++;
    step->generation = ++event->recorded;
    event->stream = s;
    return cudasim_put(s, step);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_EVENT);
    struct CUstream_st *s = cudasim_stream_of(stream);
    if (event->capture) {
        if (s->capture && s->capture != event->capture) {
            s->broken = true;
            return cudasim_return(cudaErrorStreamCaptureIsolation);
        }
        s->capture = event->capture;
        return cudaSuccess;
    }
    if (s->capture) {
        s->broken = true;
        return cudasim_return(cudaErrorStreamCaptureIsolation);
    }
    cudasim_step *step = cudasim_step_new(STEP_WAIT);
    if (!step) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    step->event = event;
    event->references++;
    step->generation = event->recorded;
    return cudasim_put(s, step);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    ENTER(CUDASIM_SYNC);
    if (event->capture) {
        cudasim_breaks_capture();
        return cudasim_return(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_drain_event(event, event->recorded);
    cudasim_clock_join(&cudasim_host_clock, &event->clock);
    return cudasim_waited();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    ENTER(CUDASIM_SYNC);
    bool busy = event->done < event->recorded;
    cudasim_drain_event(event, event->recorded);
    if (!busy) {
        cudasim_clock_join(&cudasim_host_clock, &event->clock);
    }
    return busy ? cudaErrorNotReady : cudasim_waited();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    ENTER(CUDASIM_EVENT);
    if (!from->timing || !to->timing || !from->recorded || !to->recorded) {
        return cudasim_return(cudaErrorInvalidResourceHandle);
    }
    if (from->done < from->recorded || to->done < to->recorded) {
        return cudaErrorNotReady;
    }
    *milliseconds = (float)(to->time - from->time);
    return cudaSuccess;
}
