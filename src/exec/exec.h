/* The executor's insides: state entries, plans, and what tests look at. */
#ifndef PLUMB_EXEC_H
#define PLUMB_EXEC_H

#include "exec/providers.h"
#include "pass/pass.h"

/* ---- state ---- */
struct plumb_entry {
    char *name;
    plumb_type type;
    size_t bytes;
    plumb_init init;
    bool frozen;
    void *memory; /* on the device */
};

struct state {
    plumb_context *context;
    plumb_state *handle;
    struct plumb_entry **entry;
    int n_entries, room;
};

struct state *plumb_state_get_internal(const plumb_state *handle);
struct plumb_entry *plumb_state_find(const struct state *s, const char *name);
/* The entry of this name, made with its initial value if it is new; NULL after an error (type differs, memory). */
struct plumb_entry *plumb_state_add(struct state *s, const char *name, const plumb_attr_leaf *attr);
/* Initial value of a variable, into host memory. */
plumb_status plumb_initialise(plumb_context *context, const char *name, const plumb_type *type, const plumb_init *init,
                              void *to);

/* ---- programs ---- */
enum { PLUMB_GUARD = 64 }; /* bytes laid out behind each arena buffer, and watched, under strict_memory */

struct plumb_step {
    const plumb_impl *impl;
    plumb_call call;
    int *in_buffer, *out_buffer; /* whose memory the views' data lie in */
    int workspace;               /* buffer or -1 */
};

/* Somebody who looks at each step of a program's runs, around it (plumb bench: to time it, or to compare it with the
 * reference). What they return other than PLUMB_OK ends the run; either may be NULL. A watched program runs step by step
 * also where its device could replay it. */
struct plumb_watch {
    plumb_status (*before)(void *user, int index, const struct plumb_step *step);
    plumb_status (*after)(void *user, int index, const struct plumb_step *step);
    void *user;
};

struct plumb_plan { /* a program for one binding of its symbols */
    int64_t symbols[PLUMB_SYMBOLS];
    struct graph *graph;
    plumb_graph *graph_handle;         /* freed by handle: when the context closes, the graph may go first */
    uint32_t *roots;                   /* outputs, in the order of the program's */
    struct plumb_memory_layout layout;
    struct plumb_arena arena;          /* steps and views */
    struct plumb_step *step;
    int n_steps;
    void **memory;                     /* [n_buffers] start; arena buffers are set from the shared arena */
    unsigned char *fed;                /* [n_inputs of the program] */
    uint32_t *inputs;                  /* [n_inputs] tensor of each program input, PLUMB_NO_TENSOR if not needed */
    uint64_t arena_generation;
    uint64_t last_used;
    void *captured;                    /* the whole run, on devices that can replay one; NULL: not (yet) captured */
    bool ran, uncapturable;            /* a run came through with these addresses; a capture failed */
    double flops, bytes;
};

struct program {
    plumb_context *context;
    plumb_program *handle;
    plumb_state *state;
    struct graph *source;       /* what is computed, symbols not yet bound */
    plumb_graph *source_handle;
    uint32_t serial, origin;    /* of the user's graph: ids are accepted by index */
    uint32_t *output_id, *input_id; /* indices in the user's graph */
    uint32_t *root;             /* the outputs in source */
    uint32_t *input;            /* the inputs in source */
    int n_outputs, n_inputs;
    bool effects;
    unsigned off;
    plumb_dtype precision;      /* bf16 or f16: what is computed in it instead of f32; else as written */
    char *implementations;
    int max_plans;
    struct plumb_plan **plan;
    int n_plans;
    int current;                /* plan in use, -1: not bound yet */
    int64_t symbols[PLUMB_SYMBOLS];
    bool used[PLUMB_SYMBOLS];   /* symbols that occur */
    uint64_t clock;
    const struct plumb_watch *watch; /* the watcher's own; NULL: nobody looks */
};

/* One activation arena per context: programs of a context run one at a time. */
struct plumb_exec {
    void *arena;
    int64_t bytes;
    uint64_t generation;
};
struct plumb_exec *plumb_exec_of(plumb_context *context); /* NULL when out of memory */
plumb_status plumb_exec_reserve(plumb_context *context, int64_t bytes);

struct program *plumb_program_get(const plumb_program *handle);
struct plumb_plan *plumb_plan_make(struct program *p, const int64_t *symbols); /* NULL after an error */
void plumb_watch_steps(plumb_program *program, const struct plumb_watch *watch); /* NULL: nobody from now on */
/* Adds "op=implementation " for each op of the steps, each pair once, in the order of their first step. */
plumb_status plumb_program_choices(plumb_program *program, struct plumb_text *text);
/* What plumb_program_cost adds up, of one step. */
double plumb_call_flops(const plumb_call *call);
double plumb_call_bytes(const plumb_call *call);
void plumb_plan_forget_capture(struct program *p, struct plumb_plan *plan);
void plumb_plan_free(struct program *p, struct plumb_plan *plan);
/* The plan for the bound symbols (made if needed); NULL after an error naming the symbol that is missing. */
struct plumb_plan *plumb_current_plan(struct program *p);

#endif
