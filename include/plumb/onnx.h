/* Models in the ONNX format, read with protobuf-c: a component of its own, libplumb-onnx.a, left out of a build
 * where protobuf-c is missing. Opsets up to 22, IR versions up to 12; operators that are not known, element types other than f32,
 * f64, bf16, f16, i32, i64, u8 and bool, and sequences are refused by name.
 *
 * A model becomes a graph of plumb's own ops and a state: initialisers of floating point are its parameters, so it can be
 * trained further, saved and differentiated as any other graph. Nothing outside the file's folder is read. */
#ifndef PLUMB_ONNX_H
#define PLUMB_ONNX_H

#include "plumb/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct plumb_onnx plumb_onnx; /* a file that was read and checked; owned by its context */

/* NULL on failure: plumb_message(context) says "file: field: reason". */
PLUMB_API PLUMB_MUST_CHECK plumb_onnx *plumb_onnx_open(plumb_context *context, const char *path);
PLUMB_API void plumb_onnx_free(plumb_onnx *file);

/* What the model takes and gives, in the file's order. Initialisers are no inputs. Dimensions that the file leaves open, and
 * all of those of an output, may be PLUMB_UNKNOWN; rank -1: the file does not say the shape. */
typedef struct plumb_onnx_port {
    const char *name;
    plumb_dtype dtype;
    bool boolean; /* u8 that holds truth values */
    plumb_shape shape;
} plumb_onnx_port;
PLUMB_API int plumb_onnx_inputs(const plumb_onnx *file);
PLUMB_API int plumb_onnx_outputs(const plumb_onnx *file);
PLUMB_API plumb_status plumb_onnx_input(const plumb_onnx *file, int index, plumb_onnx_port *port);
PLUMB_API plumb_status plumb_onnx_output(const plumb_onnx *file, int index, plumb_onnx_port *port);

/* An input as it will be fed. Shapes in a graph are numbers, or depend on the symbols of its inputs: a shape that the model
 * computes from an input's *value* needs the value when the graph is made, and the graph then holds for this value alone. */
typedef struct plumb_onnx_given {
    plumb_shape shape; /* symbols may stand for dimensions that the file leaves open */
    const void *data;  /* row-major, borrowed until the graph is made; NULL: the value is not known yet */
} plumb_onnx_given;

typedef struct plumb_onnx_options {
    size_t size;
    const plumb_onnx_given *inputs; /* one for each input, in order; NULL: shapes as the file says, open dimensions PLUMB_BATCH */
    int n_inputs;
    bool frozen;                    /* parameters are not among those that training changes */
} plumb_onnx_options;

typedef struct plumb_onnx_model {
    plumb_graph *graph;
    plumb_state *state;      /* with the initialisers' values */
    const plumb_t *inputs;   /* in the file's order, as many as plumb_onnx_inputs says; they live as long as `file` */
    const plumb_t *outputs;
} plumb_onnx_model;

/* Makes the graph. On failure the message is "file: node 'name' (Op), attribute: reason" and *model is empty. The graph
 * and the state are the caller's to free, and live on without the file. */
PLUMB_API plumb_status plumb_onnx_build(plumb_onnx *file, const plumb_onnx_options *options, plumb_onnx_model *model);

/* The operators that are read: name, and the oldest and newest opset whose form is. False past the end. */
typedef struct plumb_onnx_operator {
    const char *name;
    int since, until;
} plumb_onnx_operator;
PLUMB_API bool plumb_onnx_operator_at(int index, plumb_onnx_operator *row);

#ifdef __cplusplus
}
#endif
#endif
