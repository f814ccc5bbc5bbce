/* What the files of the fake runtime share: one lock, the last error, the gate where the n-th call can be made to fail,
 * counts of what lives, and how work gets into a stream. */
#ifndef CUDASIM_CALLS_H
#define CUDASIM_CALLS_H

#include "queue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDASIM_ASAN
#include <sanitizer/asan_interface.h>
#endif

extern pthread_mutex_t cudasim_mutex;
extern _Thread_local cudaError_t cudasim_last_error;
extern struct CUevent_st *cudasim_events;
extern struct cudasim_counts {
    size_t events, graphs, streams;
} cudasim_counts;

void cudasim_unlock(const int *held);
cudaError_t cudasim_return(cudaError_t code);          /* remembers it as the last error */
cudaError_t cudasim_gate(enum cudasim_class which);    /* what a call of the class begins with */
cudaError_t cudasim_waited(void);                      /* what a waiting call returns: the fault that queued work came to */

/* streams.c */
struct CUstream_st *cudasim_stream_of(cudaStream_t stream);
bool cudasim_breaks_capture(void);                     /* during a capture, what cannot be captured invalidates it */
cudaError_t cudasim_put(struct CUstream_st *stream, cudasim_step *step); /* into its capture or queue; takes the step */

#define LOCK() \
    int held __attribute__((cleanup(cudasim_unlock), unused)) = pthread_mutex_lock(&cudasim_mutex); \
    cudasim_chance()

#define ENTER(which) \
    LOCK(); \
    do { \
        cudaError_t code = cudasim_gate(which); \
        if (code) { \
            return cudasim_return(code); \
        } \
    } while (0)

#endif
