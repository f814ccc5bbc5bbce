/* The fake of cuDNN in three files: cudnn.c has its functions, cudnn_check.c what they refuse, cudnn_run.c computes. */
#ifndef CUDASIM_CUDNN_H
#define CUDASIM_CUDNN_H

#include "cuda/cudnn_abi.h"
#include "fakes.h"

enum { FAKE_DIMS = 4, FAKE_TENSORS = 16, FAKE_OPS = 4, FAKE_ROLES = 12 };

/* What an engine does that the rules of numerics may forbid: results then differ, so that a test sees it was used. */
enum fake_habit { HABIT_NONE, HABIT_TF32, HABIT_REDUCED_SUMS, HABIT_NONDETERMINISTIC, HABIT_SLOPPY };

typedef struct fake_tensor {
    int64_t id, dim[FAKE_DIMS], stride[FAKE_DIMS];
    uint32_t dtype;
    bool is_virtual, by_value;
    void *data; /* while it is executed */
    float number;
} fake_tensor;

typedef struct fake_op {
    uint32_t type;            /* of the operation's descriptor */
    uint32_t mode, compute;
    int64_t before[2], after[2], stride[2], extent[2];
    int tensor[FAKE_ROLES];   /* by order of the attributes, see cudnn.c; -1: none */
} fake_op;

typedef struct fake_graph {
    int n_tensors, n_ops;
    fake_tensor tensor[FAKE_TENSORS];
    fake_op op[FAKE_OPS];
} fake_graph;

/* A closure in one block. */
typedef struct fake_work {
    fake_graph graph;
    enum fake_habit habit;
    void *workspace;
    size_t workspace_bytes; /* all of it is written */
} fake_work;

void cudasim_cudnn_compute(void *fake_work_closure);
size_t cudasim_cudnn_size(uint32_t dtype);
/* The bytes from a tensor's first element to its last. */
size_t cudasim_cudnn_extent(const fake_tensor *t);

/* Roles of the norm operations, in the order of their attributes. */
enum { FWD_X, FWD_SCALE, FWD_BIAS, FWD_RUNNING_MEAN, FWD_RUNNING_VAR, FWD_Y, FWD_MEAN, FWD_SPREAD, FWD_NEW_MEAN, FWD_NEW_VAR,
       FWD_EPSILON, FWD_FACTOR };
enum { BWD_X, BWD_SCALE, BWD_MEAN, BWD_SPREAD, BWD_DY, BWD_DX, BWD_DSCALE, BWD_DBIAS };

/* ---- cudnn_check.c: descriptors, what may be done with them ---- */

enum {
    HANDLE = 0x63640001, DESCRIPTOR = 0x63640002,
    NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NULL_POINTER = 2002, NOT_FINALIZED = 2004, SHAPE_MISMATCH = 2008,
    ATTRIBUTE_TYPE = 2010, NOT_SUPPORTED = 3000, INTERNAL = 4000, EXECUTION = 5000,
    MOST_VALUES = 16, MOST_BYTES = 128, KNOB = 2, KNOB_MOST = 3
};

struct cudnnContext {
    cudaStream_t stream;
};

struct fake_value {
    unsigned attribute;
    int64_t count; /* 0: not set */
    unsigned char bytes[MOST_BYTES];
};

struct fake_descriptor {
    unsigned type;
    bool finalised;
    struct fake_value value[MOST_VALUES];
    /* what finalising found out */
    fake_graph *graph; /* of an operation graph, an engine ... and all after it */
    unsigned wants;    /* of an operation graph */
    int engine;
    int64_t knob; /* of a configuration; -1: none */
};

enum { SET = 1, NEEDED = 2, READ = 4 }; /* READ only after finalising */

struct fake_rule {
    unsigned type, attribute, element;
    int least, most;
    unsigned how;
};

/* NULL: there is no descriptor, or attribute of it, of that type. */
const struct fake_rule *cudasim_cudnn_rule(unsigned type, unsigned attribute);
bool cudasim_cudnn_known(unsigned type);
size_t cudasim_cudnn_element(unsigned type);
struct fake_value *cudasim_cudnn_value(struct fake_descriptor *d, unsigned attribute); /* NULL: not set */
int64_t cudasim_cudnn_integer(struct fake_descriptor *d, unsigned attribute, int at);
void *cudasim_cudnn_pointer(struct fake_descriptor *d, unsigned attribute, int at);
/* What finalising finds. */
unsigned cudasim_cudnn_check(struct fake_descriptor *d);

struct fake_engine {
    int note, behavior; /* -1: none */
    enum fake_habit habit;
    unsigned takes;
    int64_t workspace;
    bool fails; /* when its plan is finalised */
};
extern const struct fake_engine cudasim_cudnn_engines[];
bool cudasim_cudnn_takes(int engine, const struct fake_descriptor *graph);

#endif
