/* What every part of the library stands on: the context, errors, memory, handles, threads, files, numbers.
 * Nothing here knows of graphs, ops or devices' insides. */
#ifndef PLUMB_CORE_H
#define PLUMB_CORE_H

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plumb/base.h"
#include "plumb/context.h"

struct plumb_device;

/* ---- context ---- */

/* A handle is the address of a cell plus the cell's generation in the low bits (cells are 64-byte aligned). Cells live
 * as long as the context and are reused first-freed-first, so a stale handle meets another generation. */
enum plumb_kind {
    PLUMB_KIND_FREE = 0, PLUMB_KIND_GRAPH = 0x6701, PLUMB_KIND_STATE, PLUMB_KIND_PROGRAM, PLUMB_KIND_OTHER,
    PLUMB_KIND_DATASET, PLUMB_KIND_LOADER, PLUMB_KIND_CHECKPOINTS
};

struct plumb_cell {
    uint32_t kind;
    uint32_t generation; /* 0..63, bumped when freed */
    plumb_context *context;
    void *object;
    void (*destroy)(void *object); /* called by plumb_close for what is still alive */
    struct plumb_cell *next, *previous; /* list of live cells (newest first), or of free cells (FIFO) */
};

struct plumb_context {
    plumb_options options;     /* strings copied */
    plumb_allocator allocator;
    plumb_io io;
    plumb_status status;       /* first error since the last clear */
    char message[1024];
    uint64_t seed;
    int isa;                   /* enum plumb_isa */
    plumb_pool *pool;
    bool owns_pool;
    struct plumb_device *device;
    char *implementations;     /* forced choices: options, then PLUMB_IMPL */
    uint32_t graph_serial;     /* last serial given to a graph */
    int64_t memory_now, memory_peak; /* host bytes through plumb_alloc; devices add theirs */
    struct plumb_cell *live, *free_first, *free_last;
    struct plumb_slab *slabs;  /* where cells lie */
    void *exec;                /* the executor's per-context data (arena); freed through exec_destroy */
    void (*exec_destroy)(plumb_context *context, void *exec);
};

/* Records the first error of the context and returns `status`. Later errors before a clear are kept out. */
plumb_status plumb_fail(plumb_context *context, plumb_status status, const char *format, ...) PLUMB_PRINTF(3, 4);
plumb_status plumb_fail_v(plumb_context *context, plumb_status status, const char *format, va_list args);
void plumb_log_line(plumb_context *context, plumb_log_level level, const char *format, ...) PLUMB_PRINTF(3, 4);

/* Handles. plumb_handle_new returns NULL when out of memory (object is not destroyed then). plumb_handle_get returns
 * the object, or NULL after recording "stale or wrong handle" in the cell's context; NULL in gives NULL out. */
void *plumb_handle_new(plumb_context *context, enum plumb_kind kind, void *object, void (*destroy)(void *object));
void *plumb_handle_get(const void *handle, enum plumb_kind kind);
plumb_context *plumb_handle_context(const void *handle); /* also of a stale handle */
void plumb_handle_free(const void *handle, enum plumb_kind kind); /* destroys the object; stale or NULL: nothing */

/* ---- memory: sizes are remembered, every byte is counted, NULL on failure (and the failure is recorded) ---- */
void *plumb_alloc(plumb_context *context, size_t bytes); /* not zeroed, 64-byte aligned; 0 bytes gives a valid pointer */
void *plumb_zalloc(plumb_context *context, size_t bytes);
void *plumb_realloc(plumb_context *context, void *memory, size_t bytes); /* keeps the common prefix */
void plumb_free(plumb_context *context, void *memory);                   /* NULL is fine */
char *plumb_strdup(plumb_context *context, const char *text);
/* a * b without overflow: false if it does not fit in a positive int64. */
bool plumb_mul_size(int64_t a, int64_t b, int64_t *product);

/* Arena: many small allocations, freed together. */
struct plumb_arena {
    plumb_context *context;
    struct plumb_arena_block *blocks;
};
void *plumb_arena_alloc(struct plumb_arena *arena, size_t bytes); /* zeroed, 16-byte aligned; NULL when out of memory */
char *plumb_arena_strdup(struct plumb_arena *arena, const char *text);
void plumb_arena_free(struct plumb_arena *arena);

/* A vector that grows: grows `*items` (of `size` bytes each) to hold at least `need`. false when out of memory. */
bool plumb_grow(plumb_context *context, void *items_pointer, int *room, int need, size_t size);

/* Growing text. After an allocation failure text->failed is set and further calls do nothing. */
struct plumb_text {
    plumb_context *context;
    char *data;
    size_t length, room;
    bool failed;
};
void plumb_text_add(struct plumb_text *text, const char *format, ...) PLUMB_PRINTF(2, 3);
char *plumb_text_take(struct plumb_text *text); /* the string (caller frees with plumb_free), NULL if failed */

/* ---- shapes ---- */
/* Number of elements; -1 if a dimension is symbolic or negative, or the product overflows. Rank 0 gives 1. */
int64_t plumb_shape_count(const plumb_shape *shape);
bool plumb_shape_equal(const plumb_shape *a, const plumb_shape *b);
/* "(N, 3, ?, 5)" into `to` (at least 128 bytes useful); returns `to`. */
const char *plumb_shape_text(const plumb_shape *shape, char *to, size_t room);
static inline bool plumb_is_symbol(int64_t dim) { return dim <= PLUMB_BATCH && dim > PLUMB_BATCH - PLUMB_SYMBOLS; }
static inline int plumb_symbol_index(int64_t symbol) { return (int)(PLUMB_BATCH - symbol); }

/* ---- threads ---- */
/* Runs body(user, chunk, worker) for every chunk in [0, chunks), threads claiming chunks one by one; returns when all
 * are done. `worker` < plumb_pool_size tells workspaces apart. The number of chunks must depend on shapes alone, never
 * on the number of threads. Denormals are flushed to zero inside; the caller's floating-point mode is restored. One
 * context uses the pool at a time (others wait their turn). */
int plumb_pool_size(const plumb_pool *pool);
void plumb_pool_run(plumb_pool *pool, int64_t chunks, void (*body)(void *user, int64_t chunk, int worker), void *user);
int plumb_cpu_count(void); /* CPUs this process may run on */

/* ---- CPU kernels' instruction set ---- */
enum plumb_isa { PLUMB_ISA_SCALAR = 0, PLUMB_ISA_AVX2, PLUMB_ISA_AVX512, PLUMB_ISA_AVX512_BF16, PLUMB_ISA_COUNT };
/* The best this CPU and OS have. AVX2 means AVX2 and FMA; AVX512 means F, BW, DQ, VL; AVX512_BF16 that and vdpbf16ps. */
int plumb_isa_detect(void);
const char *plumb_isa_name(int isa);

/* ---- numbers ---- */
/* IEEE 754 binary16 and bfloat16: round to nearest even, NaN stays NaN (quiet), overflow to infinity. */
float plumb_f32_of_f16(uint16_t half);
uint16_t plumb_f16_of_f32(float value);
uint16_t plumb_f16_of_f64(double value); /* rounds once, not through f32 */
static inline float plumb_f32_of_bf16(uint16_t bits)
{
    union { uint32_t u; float f; } x = {.u = (uint32_t)bits << 16};
    return x.f;
}
uint16_t plumb_bf16_of_f32(float value);
uint16_t plumb_bf16_of_f64(double value);
double plumb_dtype_epsilon(plumb_dtype dtype); /* unit roundoff u: 2^-24 for f32, 2^-53, 2^-8 bf16, 2^-11 f16; 0 for integers */

/* Element `index` of an array of `dtype` as a double, and back (integers: toward zero, saturating, NaN to 0; i64 beyond
 * 2^53 loses bits). */
double plumb_get(const void *data, plumb_dtype dtype, int64_t index);
void plumb_put(void *data, plumb_dtype dtype, int64_t index, double value);

/* Philox4x32-10 (Salmon et al. 2011), keyed by seed; the counter is (step, stream, block). Element e of a random tensor
 * is word e % 4 of block e / 4. Equal on every device. */
void plumb_philox(uint64_t seed, uint32_t stream, uint64_t step, uint32_t block, uint32_t out[4]);
static inline uint32_t plumb_random_word(uint64_t seed, uint32_t stream, uint64_t step, int64_t element)
{
    uint32_t out[4];
    plumb_philox(seed, stream, step, (uint32_t)(element >> 2), out);
    return out[element & 3];
}
double plumb_uniform_of_word(uint32_t word); /* in [0, 1): word * 2^-32 */
double plumb_normal_of_word(uint32_t word);  /* standard normal: inverse distribution function by a shared polynomial */
uint64_t plumb_hash(const char *text);       /* FNV-1a, 64 bits */
uint32_t plumb_crc32c(uint32_t crc, const void *data, size_t bytes);

/* ---- files, through the context's I/O table; errors name the file ---- */
/* Reads a regular file whole (followed by one 0 byte not counted in *bytes). Refuses directories, FIFOs, devices, and
 * files over `limit`. Free with plumb_free. */
plumb_status plumb_read_file(plumb_context *context, const char *path, size_t limit, void **data, size_t *bytes);
/* The same of a file that must not be a symbolic link. */
plumb_status plumb_read_no_link(plumb_context *context, const char *path, size_t limit, void **data, size_t *bytes);
/* Writes to a temporary file beside `path` ("path.tmp.PID"), syncs, renames, syncs the folder; on failure the old file is
 * untouched. */
plumb_status plumb_write_file(plumb_context *context, const char *path, const void *data, size_t bytes);
/* The same, and before the rename what was written is read again and compared. */
plumb_status plumb_write_verified(plumb_context *context, const char *path, const void *data, size_t bytes);
plumb_status plumb_remove_file(plumb_context *context, const char *path);
/* Calls each(to, name) for what is in the folder, in any order. */
plumb_status plumb_list_folder(plumb_context *context, const char *path, void (*each)(void *to, const char *name), void *to);
/* Makes the folder and those above it; there already is fine. With an I/O table of the caller's, which has no word for
 * this, nothing is done. */
plumb_status plumb_make_folder(plumb_context *context, const char *path);

/* A folder that one process has for itself as long as it holds `folder/lock`, which says who that is. The operating
 * system lets go of it however the process ends. With an I/O table of the caller's nothing is locked. */
struct plumb_lock {
    char *path; /* NULL: nothing is held */
    int fd;
};
/* PLUMB_BAD_INPUT, naming the process and when it began, if another has it. */
plumb_status plumb_lock_folder(plumb_context *context, const char *folder, struct plumb_lock *lock);
void plumb_unlock_folder(plumb_context *context, struct plumb_lock *lock);
double plumb_seconds(void); /* monotonic clock */

#endif
