/* What the parts of the ONNX importer share: values by name, the node that is being translated, and the row of the table that
 * says how. A builder function reads its node's inputs and attributes through the helpers below and adds ops through the
 * public builders, so an operator is one row and a function of a few lines.
 *
 * A value is in the graph, or known on the host, or both. What is computed from known values alone is computed at once
 * (in a graph of its own, by plumb_eval), so shapes that models compute from shapes are numbers when they are needed. */
#ifndef PLUMB_ONNX_INTERNAL_H
#define PLUMB_ONNX_INTERNAL_H

#include <stdio.h>

#include "core/core.h"
#include "onnx.pb-c.h"
#include "plumb/onnx.h"
#include "plumb/ops.h"
#include "plumb/program.h"

#define ONNX_OLDEST 6 /* opsets */
#define ONNX_NEWEST 22
#define ONNX_MAX_ELEMENTS ((int64_t)1 << 31) /* of one value */
#define ONNX_FOLD_ELEMENTS ((int64_t)1 << 20) /* larger ones are left to the graph */

struct onnx_value {
    const char *name;
    plumb_dtype dtype;
    plumb_shape shape;
    bool boolean;
    const void *data;            /* known on the host; NULL: not */
    plumb_t tensor;              /* in the graph; PLUMB_NONE: not yet */
    const Onnx__Tensor *initial; /* an initialiser that was not looked at yet */
    bool parameter;              /* of floating point: becomes a variable when it is used */
    int input;                   /* which input of the model, or -1 */
};

struct plumb_onnx {
    plumb_context *context;
    plumb_onnx *handle;
    char *path;
    Onnx__Model *model;
    ProtobufCAllocator allocator;
    int64_t held, limit;  /* bytes of the unpacked model */
    int64_t opset, ir;
    int n_inputs;
    const Onnx__ValueInfo **inputs; /* those that are no initialisers */
    plumb_t *ids;         /* of inputs, then outputs, of the last graph made */
};

struct onnx_build {
    plumb_onnx *file;
    plumb_context *context;
    const plumb_onnx_options *options;
    plumb_graph *graph;
    struct plumb_arena arena;
    struct onnx_value **values; /* open addressing by name */
    size_t room;                /* a power of two */
    struct onnx_value **inputs;
};

struct onnx_row;
struct onnx_node {
    struct onnx_build *build;
    plumb_context *context;
    plumb_graph *g; /* the model's, or one for folding */
    bool folding;
    int opset;
    const Onnx__Node *node;
    const struct onnx_row *row;
    int n_in, n_out;
    struct onnx_value **in; /* NULL: left out */
    struct onnx_value *out; /* [n_out]: tensor, or data with dtype and shape, to fill */
    plumb_status failed;    /* what a helper refused */
};

struct onnx_row {
    const char *name;
    int since, until; /* opsets; until 0: the newest that is read */
    int min_in, max_in; /* max_in -1: any number */
    plumb_status (*build)(struct onnx_node *q);
    union {
        plumb_t (*one)(plumb_graph *g, plumb_t x);
        plumb_t (*two)(plumb_graph *g, plumb_t a, plumb_t b);
        plumb_t (*reduce)(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
    } with;
    bool unfolded; /* never folded: draws, or keeps its own account of what is known */
};

struct onnx_family {
    const struct onnx_row *rows;
    int count;
};
#define ONNX_FAMILY(name) extern const struct onnx_family plumb_onnx_##name;
#define ONNX_FAMILIES                                                                                                 \
    ONNX_FAMILY(elements) ONNX_FAMILY(binary) ONNX_FAMILY(shapes) ONNX_FAMILY(moves) ONNX_FAMILY(reductions) ONNX_FAMILY(convs)    \
    ONNX_FAMILY(pools) ONNX_FAMILY(norms) ONNX_FAMILY(lookups) ONNX_FAMILY(losses) ONNX_FAMILY(recurrents) ONNX_FAMILY(random)
ONNX_FAMILIES
#undef ONNX_FAMILY

/* ---- files (file.c, scan.c, tensor.c, external.c) ---- */
/* Walks the wire format before protobuf-c does: lengths, field numbers and how deep graphs lie in graphs, which protobuf-c
 * would follow by recursion. NULL, or why the file is refused; *offset says where. */
const char *plumb_onnx_scan(const uint8_t *data, size_t bytes, size_t *offset);
/* The dtype of an ONNX element type; PLUMB_NO_DTYPE where there is none. */
plumb_dtype plumb_onnx_dtype(int32_t type, bool *boolean);
const char *plumb_onnx_type_name(int32_t type);
/* A tensor's value into memory of the arena. `what`: how messages call it. */
plumb_status plumb_onnx_tensor(const plumb_onnx *file, struct plumb_arena *arena, const Onnx__Tensor *tensor, const char *what,
                               struct onnx_value *value);
/* Reads `bytes` bytes of what the tensor's entries name, which must lie in the model's folder. `to` NULL: only
 * looks whether they could be read. */
plumb_status plumb_onnx_external(const plumb_onnx *file, const Onnx__Tensor *tensor, const char *what, void *to, size_t bytes);
plumb_onnx *plumb_onnx_get(const plumb_onnx *handle);

/* ---- values (value.c) ---- */
/* The value of this name, or NULL; `add`: a new one, or NULL where there is one already (or memory ran out). */
struct onnx_value *plumb_onnx_find(struct onnx_build *b, const char *name);
struct onnx_value *plumb_onnx_add(struct onnx_build *b, const char *name);
/* Reads an initialiser that was not looked at yet. */
plumb_status plumb_onnx_settle(struct onnx_build *b, struct onnx_value *value);
/* Its tensor in the model's graph. */
plumb_t plumb_onnx_place(struct onnx_build *b, struct onnx_value *value);
/* Its bytes on the host: computed from what is given where they are not known. */
plumb_status plumb_onnx_evaluate(struct onnx_build *b, struct onnx_value *value);
/* The state of the graph's variables, with the initialisers' values. NULL on failure. */
plumb_state *plumb_onnx_state(struct onnx_build *b);

/* ---- the node at hand (node.c) ---- */
/* "file: node 'name' (Op), attribute: reason"; attribute NULL: left out. Returns PLUMB_BAD_INPUT. */
plumb_status onnx_refuse(const struct onnx_node *q, const char *attribute, const char *format, ...) PLUMB_PRINTF(3, 4);
bool onnx_has(const struct onnx_node *q, int input);
plumb_t onnx_in(struct onnx_node *q, int input); /* in the graph; PLUMB_NONE where left out or failed */
plumb_shape onnx_shape(const struct onnx_node *q, int input);
plumb_dtype onnx_dtype(const struct onnx_node *q, int input);
void onnx_out(struct onnx_node *q, int output, plumb_t tensor); /* outputs that nobody asked for are forgotten */
bool onnx_wants(const struct onnx_node *q, int output);
/* The value of an input as whole or other numbers: computed if it has to be. A refusal where it depends on what is not known, or
 * has more than `room` elements. */
plumb_status onnx_whole(struct onnx_node *q, int input, int64_t *to, int room, int *count);
plumb_status onnx_numbers(struct onnx_node *q, int input, double *to, int room, int *count);
/* Attributes; the defaults where they are missing. Of the wrong kind: refused, which the node remembers. */
const Onnx__Attribute *onnx_attribute(const struct onnx_node *q, const char *name);
int64_t onnx_int(struct onnx_node *q, const char *name, int64_t otherwise);
double onnx_float(struct onnx_node *q, const char *name, double otherwise);
const char *onnx_text(struct onnx_node *q, const char *name, const char *otherwise);
/* -1: not there. */
int onnx_ints(struct onnx_node *q, const char *name, int64_t *to, int room);
/* The axis within [0, rank), or -1 after a refusal. */
int onnx_axis(struct onnx_node *q, int64_t axis, int rank);
/* Axes from the attribute `axes`, or from an input (where the opset is at least `by_input`), checked. *count -1: not given. */
plumb_status onnx_axes(struct onnx_node *q, int input, int by_input, int rank, int axes[PLUMB_MAX_RANK], int *count);
/* What the translation came to: PLUMB_OK, or the graph's error with the node's name before it. */
plumb_status onnx_done(struct onnx_node *q, plumb_status status);

#endif
