/* The state: the named values of variables (weights, running statistics, optimiser moments, step, learning rate),
 * apart from the graphs that read them and the programs that change them. Many programs may share one state. */
#ifndef PLUMB_STATE_H
#define PLUMB_STATE_H

#include "plumb/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A state with every variable of `graph` at its initial value. More are added when programs are compiled with it. */
PLUMB_API PLUMB_MUST_CHECK plumb_state *plumb_state_new(plumb_graph *graph);
PLUMB_API void plumb_state_free(plumb_state *state);
/* Starts every value over (same seed: the same values). */
PLUMB_API plumb_status plumb_state_reset(plumb_state *state);
PLUMB_API PLUMB_MUST_CHECK plumb_state *plumb_state_clone(const plumb_state *state);

PLUMB_API int plumb_state_count(const plumb_state *state);
PLUMB_API const char *plumb_state_name(const plumb_state *state, int index); /* in order of creation */
PLUMB_API bool plumb_state_has(const plumb_state *state, const char *name);
PLUMB_API plumb_shape plumb_state_shape(const plumb_state *state, const char *name);
PLUMB_API plumb_dtype plumb_state_dtype(const plumb_state *state, const char *name);

/* Copies a whole value out of or into the state; `bytes` must be the value's size. Host memory, row-major. */
PLUMB_API plumb_status plumb_state_get(const plumb_state *state, const char *name, void *to, size_t bytes);
PLUMB_API plumb_status plumb_state_set(plumb_state *state, const char *name, const void *from, size_t bytes);
/* One-element values of any dtype. */
PLUMB_API plumb_status plumb_state_get_number(const plumb_state *state, const char *name, double *value);
PLUMB_API plumb_status plumb_state_set_number(plumb_state *state, const char *name, double value);

/* safetensors files. Saving is atomic (temporary file, sync, rename). Loading by name converts between floating
 * dtypes; with `strict` every variable of the state but the optimiser's (names with a ':') must be in the file with its
 * shape and nothing else may be; otherwise what matches is loaded. `metadata`: pairs key, value, ..., NULL. */
PLUMB_API plumb_status plumb_state_save(const plumb_state *state, const char *path, const char *const *metadata);
PLUMB_API plumb_status plumb_state_save_weights(const plumb_state *state, const char *path, const char *const *metadata); /* without optimiser values */
PLUMB_API plumb_status plumb_state_load(plumb_state *state, const char *path, bool strict);

#ifdef __cplusplus
}
#endif
#endif
