/* Plumb: the words every other header uses: export marks, status codes, element types, shapes, tensor ids.
 *
 * Nothing in this library aborts, exits or prints. A function that can fail returns a plumb_status or a null handle;
 * plumb_message(context) then says in one line what was wrong, naming file, field or op and the shapes involved. */
#ifndef PLUMB_BASE_H
#define PLUMB_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PLUMB_VERSION_MAJOR 0
#define PLUMB_VERSION_MINOR 1
#define PLUMB_VERSION_PATCH 0

#if defined(__GNUC__)
#define PLUMB_API __attribute__((visibility("default")))
#define PLUMB_MUST_CHECK __attribute__((warn_unused_result))
#define PLUMB_PRINTF(string, first) __attribute__((__format__(__printf__, string, first)))
#else
#define PLUMB_API
#define PLUMB_MUST_CHECK
#define PLUMB_PRINTF(string, first)
#endif

/* The values are also the exit codes of the `plumb` command. */
typedef enum plumb_status {
    PLUMB_OK = 0,
    PLUMB_FAILED = 1,       /* a check did not hold (gradient check, comparison), or memory ran out */
    PLUMB_BAD_INPUT = 2,    /* the caller's arguments, graph or file contents are wrong */
    PLUMB_DEVICE_ERROR = 3, /* the device is missing or failed */
    PLUMB_NUMERIC = 4,      /* not-a-number or infinity where a finite value is needed */
    PLUMB_IO_ERROR = 5      /* the operating system refused a read, write, sync or rename */
} plumb_status;

/* "1.2.3" of the library that is running (the macros above are of the headers compiled against). */
PLUMB_API const char *plumb_version(void);
PLUMB_API const char *plumb_status_name(plumb_status status);

/* Element types. The values are stable: they are part of the ABI. */
typedef enum plumb_dtype {
    PLUMB_NO_DTYPE = 0,
    PLUMB_F32 = 1,
    PLUMB_F64 = 2,
    PLUMB_BF16 = 3,
    PLUMB_F16 = 4,
    PLUMB_I32 = 5,
    PLUMB_I64 = 6,
    PLUMB_U8 = 7, /* also the type of truth values: 0 or 1 */
    PLUMB_DTYPE_COUNT = 8
} plumb_dtype;

PLUMB_API size_t plumb_dtype_size(plumb_dtype dtype);      /* bytes; 0 for an invalid dtype */
PLUMB_API const char *plumb_dtype_name(plumb_dtype dtype); /* "f32"; "?" for an invalid dtype */
PLUMB_API bool plumb_dtype_is_float(plumb_dtype dtype);

/* A logical shape. Images are N, C, H, W and filters O, I, H, W, as PyTorch, ONNX and cuDNN name them.
 * Rank 0 is a scalar; a dimension may be 0. Negative values are symbols, bound when a program is compiled. */
#define PLUMB_MAX_RANK 8

typedef struct plumb_shape {
    int rank;
    int64_t dim[PLUMB_MAX_RANK];
} plumb_shape;

#define PLUMB_SHAPE(...)                                                                                              \
    ((plumb_shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})
#define PLUMB_SCALAR_SHAPE ((plumb_shape){.rank = 0, .dim = {0}})

/* Symbolic dimensions: equal symbols are equal sizes. PLUMB_UNKNOWN is a size computed from a symbol; it becomes a
 * number once the symbols are bound. PLUMB_INFER is accepted by reshape only. */
#define PLUMB_INFER ((int64_t)-1)
#define PLUMB_UNKNOWN ((int64_t)-2)
#define PLUMB_BATCH ((int64_t)-101)
#define PLUMB_TIME ((int64_t)-102)
#define PLUMB_HEIGHT ((int64_t)-103)
#define PLUMB_WIDTH ((int64_t)-104)
#define PLUMB_SYMBOLS 4 /* symbols are PLUMB_BATCH, PLUMB_BATCH - 1, ... */

/* A tensor of a graph: an id, not an allocation. 0 is "no tensor" and poisons what it is given to. */
typedef uint64_t plumb_t;
#define PLUMB_NONE ((plumb_t)0)

/* Option structs: zeroed fields mean "the default". Where zero is a meaningful choice other than the default, pass
 * PLUMB_ZERO, which computes as zero but is told apart by its sign. `size` is sizeof the struct as the caller was
 * compiled (0: the struct of version 0.1), so structs may grow without breaking callers. */
#define PLUMB_ZERO (-0.0)

/* Opaque objects, all owned by their context: freeing the context frees everything, freeing earlier is optional.
 * A handle carries a generation, so using one after its object was freed is an error, not a crash (the context itself
 * must still be open). */
typedef struct plumb_context plumb_context;
typedef struct plumb_graph plumb_graph;
typedef struct plumb_state plumb_state;
typedef struct plumb_program plumb_program;
typedef struct plumb_pool plumb_pool;

#ifdef __cplusplus
}
#endif
#endif
