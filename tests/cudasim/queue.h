/* Streams, events and graphs of the fake runtime: runtime.c has the calls, queue.c decides when queued work runs. */
#ifndef CUDASIM_QUEUE_H
#define CUDASIM_QUEUE_H

#include "clock.h"
#include "inside.h"

enum cudasim_step_kind { STEP_KERNEL, STEP_COPY, STEP_FILL, STEP_HOST, STEP_RECORD, STEP_WAIT, STEP_FREE, STEP_VENDOR };

/* The closure of a launch; graphs and queues share it. */
typedef struct cudasim_work_item {
    cudasim_kernel kernel;
    int references;
} cudasim_work_item;

typedef struct cudasim_step {
    struct cudasim_step *next;
    enum cudasim_step_kind kind;
    cudasim_work_item *work;          /* KERNEL; VENDOR, of which only the closure and its functions are used */
    char *to;                         /* COPY, FILL, FREE */
    const char *from;                 /* COPY */
    char *snapshot;                   /* COPY: owned; what a pageable source held at the call */
    size_t bytes, rows, pitch_to, pitch_from;
    int value;                        /* FILL */
    cudaHostFn_t function;            /* HOST */
    void *data;
    struct CUevent_st *event;         /* RECORD, WAIT */
    uint64_t generation;
    cudasim_clock clock;              /* what it comes after, but for its stream and events */
} cudasim_step;

typedef struct cudasim_steps {
    cudasim_step *first, **last; /* last: where the next goes */
    size_t count;
} cudasim_steps;

struct CUstream_st {
    struct CUstream_st *next;
    cudasim_steps steps;
    bool blocking, running;
    int priority, slot;
    cudasim_clock clock;        /* what the next step comes after */
    struct CUgraph_st *capture; /* that it is captured into */
    bool origin, broken;        /* the capture began here; it was invalidated */
    enum cudaStreamCaptureMode mode;
};

struct CUevent_st {
    struct CUevent_st *next;
    uint64_t recorded, done; /* generations */
    struct CUstream_st *stream;
    struct CUgraph_st *capture;
    bool timing, dead;
    int references; /* steps that name it */
    double time;
    cudasim_clock clock; /* of the last record that ran */
};

struct CUgraph_st {
    struct CUgraph_st *next;
    cudasim_steps steps;
};

struct CUgraphExec_st {
    struct CUgraph_st graph;
};

extern struct CUstream_st cudasim_legacy; /* stream 0; the list of all begins here */

void cudasim_steps_start(cudasim_steps *steps);
void cudasim_step_free(cudasim_step *step);
void cudasim_steps_clear(cudasim_steps *steps);
cudasim_step *cudasim_step_new(enum cudasim_step_kind kind);
/* Copies of all steps, added to `to`; false when memory is out. */
bool cudasim_steps_copy(cudasim_steps *to, const cudasim_steps *from);
void cudasim_step_add(cudasim_steps *steps, cudasim_step *step); /* takes it */
void cudasim_event_release(struct CUevent_st *event);

/* Queues a step, in order with stream 0, and runs what the policy says. Takes the step. */
void cudasim_submit(struct CUstream_st *stream, cudasim_step *step);
void cudasim_drain(struct CUstream_st *stream);
/* The same, by a call that waits: the host knows then that the work is over. */
void cudasim_wait(struct CUstream_st *stream);
void cudasim_wait_all(void);
void cudasim_drain_event(struct CUevent_st *event, uint64_t generation);
void cudasim_chance(void); /* under streams=shuffle: some queued work runs */

#endif
