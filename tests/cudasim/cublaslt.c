/* A fake of cuBLASLt: see fakes.h. Matrices are stored by columns. Strict where the library is, and stricter where it leaves
 * things undefined: an algorithm is good only for the product it was named for, with pointers aligned as was promised and
 * the workspace it asked for. Long sums are divided into parts that are added through the workspace, as real ones are, in
 * the type of the output where that is allowed: so a mask that allows too much shows in the numbers. */
#include "fakes.h"

#include "cuda/cublaslt_abi.h"

enum { HANDLE = 0x4c740001, DESC, LAYOUT, PREFERENCE };
enum { DIVIDED = 64, PARTS = 4, WORKSPACE_START = 256 }; /* divided: inner sizes from there on are */
#define ALGORITHM 0x676f6c61u

typedef struct desc { /* without padding, and so is layout: they are compared bytewise */
    const void *bias;
    int compute, scale, op_a, op_b, epilogue, unused;
} desc;

typedef struct layout {
    int type, batch;
    uint64_t rows, columns;
    int64_t leading, batch_stride;
} layout;

typedef struct preference {
    uint64_t workspace, impl;
    uint32_t reduction, alignment[4];
} preference;

/* ---- handles and descriptors ---- */

static size_t version(void)
{
    return (size_t)cudasim_fake_version("cublaslt");
}

static plumb_lt_status create(const char *function, void **object, size_t bytes, uint32_t kind)
{
    *object = cudasim_fake_fails(function) ? NULL : cudasim_fake_new(bytes, kind);
    return *object ? PLUMB_LT_SUCCESS : PLUMB_LT_ALLOC_FAILED;
}

static plumb_lt_status destroy(const char *function, void *object, uint32_t kind)
{
    if (!cudasim_fake_is(object, kind)) {
        cudasim_error("bad-vendor", "%s of what is none of its objects", function);
        return PLUMB_LT_INVALID_VALUE;
    }
    cudasim_fake_delete(object);
    return PLUMB_LT_SUCCESS;
}

static plumb_lt_status handle_create(plumb_lt_handle *handle)
{
    return create("cublasLtCreate", handle, 1, HANDLE);
}

static plumb_lt_status handle_destroy(plumb_lt_handle handle)
{
    return destroy("cublasLtDestroy", handle, HANDLE);
}

static plumb_lt_status desc_create(plumb_lt_desc *object, int compute, int scale)
{
    plumb_lt_status status = create("cublasLtMatmulDescCreate", object, sizeof(desc), DESC);
    if (status == PLUMB_LT_SUCCESS) {
        *(desc *)*object = (desc){.compute = compute, .scale = scale, .epilogue = PLUMB_LT_EPILOGUE_DEFAULT};
    }
    return status;
}

static plumb_lt_status desc_destroy(plumb_lt_desc object)
{
    return destroy("cublasLtMatmulDescDestroy", object, DESC);
}

static plumb_lt_status layout_create(plumb_lt_layout *object, int type, uint64_t rows, uint64_t columns, int64_t leading)
{
    plumb_lt_status status = create("cublasLtMatrixLayoutCreate", object, sizeof(layout), LAYOUT);
    if (status == PLUMB_LT_SUCCESS) {
        *(layout *)*object = (layout){.type = type, .batch = 1, .rows = rows, .columns = columns, .leading = leading};
    }
    return status;
}

static plumb_lt_status layout_destroy(plumb_lt_layout object)
{
    return destroy("cublasLtMatrixLayoutDestroy", object, LAYOUT);
}

static plumb_lt_status preference_create(plumb_lt_preference *object)
{
    plumb_lt_status status = create("cublasLtMatmulPreferenceCreate", object, sizeof(preference), PREFERENCE);
    if (status == PLUMB_LT_SUCCESS) {
        *(preference *)*object = (preference){.impl = UINT64_MAX, .reduction = 7, .alignment = {256, 256, 256, 256}};
    }
    return status;
}

static plumb_lt_status preference_destroy(plumb_lt_preference object)
{
    return destroy("cublasLtMatmulPreferenceDestroy", object, PREFERENCE);
}

/* ---- attributes ---- */

struct field {
    int attribute;
    size_t at, bytes;
};
#define FIELD(attribute, structure, member) {attribute, offsetof(structure, member), sizeof(((structure *)0)->member)}

static const struct field desc_fields[] = {
    FIELD(PLUMB_LT_DESC_TRANSA, desc, op_a),
    FIELD(PLUMB_LT_DESC_TRANSB, desc, op_b),
    FIELD(PLUMB_LT_DESC_EPILOGUE, desc, epilogue),
    FIELD(PLUMB_LT_DESC_BIAS_POINTER, desc, bias),
};
static const struct field layout_fields[] = {
    FIELD(PLUMB_LT_LAYOUT_BATCH_COUNT, layout, batch),
    FIELD(PLUMB_LT_LAYOUT_BATCH_STRIDE, layout, batch_stride),
};
static const struct field preference_fields[] = {
    FIELD(PLUMB_LT_PREF_WORKSPACE, preference, workspace),
    FIELD(PLUMB_LT_PREF_REDUCTION, preference, reduction),
    FIELD(PLUMB_LT_PREF_IMPL_MASK, preference, impl),
    FIELD(PLUMB_LT_PREF_ALIGNMENT_A, preference, alignment[0]),
    FIELD(PLUMB_LT_PREF_ALIGNMENT_B, preference, alignment[1]),
    FIELD(PLUMB_LT_PREF_ALIGNMENT_C, preference, alignment[2]),
    FIELD(PLUMB_LT_PREF_ALIGNMENT_D, preference, alignment[3]),
};

static plumb_lt_status set(const char *function, void *object, uint32_t kind, const struct field *fields, size_t count,
                           int attribute, const void *value, size_t bytes)
{
    if (cudasim_fake_fails(function)) {
        return PLUMB_LT_INTERNAL_ERROR;
    }
    for (size_t i = 0; i < count && value && cudasim_fake_is(object, kind); i++) {
        if (fields[i].attribute == attribute && fields[i].bytes == bytes) {
            memcpy((char *)object + fields[i].at, value, bytes);
            return PLUMB_LT_SUCCESS;
        }
    }
    return PLUMB_LT_INVALID_VALUE;
}

#define SET(function, object, kind, fields) \
    set(function, object, kind, fields, sizeof fields / sizeof *fields, attribute, value, bytes)

static plumb_lt_status desc_set(plumb_lt_desc object, int attribute, const void *value, size_t bytes)
{
    return SET("cublasLtMatmulDescSetAttribute", object, DESC, desc_fields);
}

static plumb_lt_status layout_set(plumb_lt_layout object, int attribute, const void *value, size_t bytes)
{
    return SET("cublasLtMatrixLayoutSetAttribute", object, LAYOUT, layout_fields);
}

static plumb_lt_status preference_set(plumb_lt_preference object, int attribute, const void *value, size_t bytes)
{
    return SET("cublasLtMatmulPreferenceSetAttribute", object, PREFERENCE, preference_fields);
}

/* ---- what is a product, and what can be computed ---- */

typedef struct problem {
    desc desc;
    layout a, b, c, d;
} problem;

static plumb_lt_status read_problem(plumb_lt_desc desc_object, plumb_lt_layout a, plumb_lt_layout b, plumb_lt_layout c,
                                    plumb_lt_layout d, problem *p)
{
    if (!cudasim_fake_is(desc_object, DESC) || !cudasim_fake_is(a, LAYOUT) || !cudasim_fake_is(b, LAYOUT) ||
        !cudasim_fake_is(c, LAYOUT) || !cudasim_fake_is(d, LAYOUT)) {
        return PLUMB_LT_INVALID_VALUE;
    }
    memset(p, 0, sizeof *p);
    memcpy(&p->desc, desc_object, sizeof p->desc);
    memcpy(&p->a, a, sizeof p->a);
    memcpy(&p->b, b, sizeof p->b);
    memcpy(&p->c, c, sizeof p->c);
    memcpy(&p->d, d, sizeof p->d);
    return PLUMB_LT_SUCCESS;
}

static size_t size_of(int type)
{
    return type == PLUMB_LT_R_64F ? 8 : type == PLUMB_LT_R_32F ? 4 : 2;
}

static bool types_are_known(const problem *p)
{
    bool same = p->a.type == p->b.type && p->a.type == p->c.type && p->a.type == p->d.type;
    int scale = p->a.type == PLUMB_LT_R_64F ? PLUMB_LT_R_64F : PLUMB_LT_R_32F;
    bool compute = p->a.type == PLUMB_LT_R_64F ? p->desc.compute == PLUMB_LT_COMPUTE_64F :
                   p->desc.compute == PLUMB_LT_COMPUTE_32F ||
                       (p->a.type == PLUMB_LT_R_32F && p->desc.compute == PLUMB_LT_COMPUTE_32F_FAST_TF32);
    bool epilogue = p->desc.epilogue == PLUMB_LT_EPILOGUE_DEFAULT || p->desc.epilogue == PLUMB_LT_EPILOGUE_RELU ||
                    p->desc.epilogue == PLUMB_LT_EPILOGUE_BIAS || p->desc.epilogue == PLUMB_LT_EPILOGUE_RELU_BIAS;
    return same && compute && p->desc.scale == scale && epilogue &&
           (p->desc.epilogue == PLUMB_LT_EPILOGUE_DEFAULT || p->a.type != PLUMB_LT_R_64F);
}

static uint64_t inner_of(const problem *p) { return p->desc.op_a == PLUMB_LT_OP_N ? p->a.columns : p->a.rows; }

static bool layout_is_sound(const layout *l, int batch, bool written)
{
    return l->rows > 0 && l->columns > 0 && l->leading >= (int64_t)l->rows && l->batch == batch &&
           (batch == 1 || l->batch_stride > 0 || (l->batch_stride == 0 && !written));
}

static plumb_lt_status check_problem(const problem *p)
{
    bool a_plain = p->desc.op_a == PLUMB_LT_OP_N, b_plain = p->desc.op_b == PLUMB_LT_OP_N;
    uint64_t m = a_plain ? p->a.rows : p->a.columns, n = b_plain ? p->b.columns : p->b.rows;
    uint64_t k = b_plain ? p->b.rows : p->b.columns;
    if (k != inner_of(p) || p->d.rows != m || p->d.columns != n || memcmp(&p->c, &p->d, sizeof p->c) != 0 ||
        !layout_is_sound(&p->a, p->d.batch, false) || !layout_is_sound(&p->b, p->d.batch, false) ||
        !layout_is_sound(&p->d, p->d.batch, true) || ((p->desc.epilogue & PLUMB_LT_EPILOGUE_BIAS) && !p->desc.bias)) {
        return PLUMB_LT_INVALID_VALUE;
    }
    return types_are_known(p) ? PLUMB_LT_SUCCESS : PLUMB_LT_NOT_SUPPORTED;
}

/* ---- algorithms: data[0] ALGORITHM, [1] checksum of the product, [2] alignment, [3] how parts are added ---- */

static uint64_t sum_of(const problem *p)
{
    problem same = *p;
    same.desc.bias = NULL;
    return plumb_crc32c(0, &same, sizeof same);
}

static size_t workspace_of(const problem *p, uint64_t reduction)
{
    size_t part = reduction == PLUMB_LT_REDUCTION_OUTPUT_TYPE ? size_of(p->d.type) : size_of(p->desc.scale);
    return reduction == PLUMB_LT_REDUCTION_NONE ? 0 : PARTS * part * p->d.rows * p->d.columns * (size_t)p->d.batch;
}

/* Whatever is the least exact that is allowed. */
static uint64_t reduction_of(const problem *p, const preference *wish)
{
    static const uint64_t order[] = {PLUMB_LT_REDUCTION_OUTPUT_TYPE, PLUMB_LT_REDUCTION_COMPUTE_TYPE};
    for (int i = 0; i < 2 && inner_of(p) >= DIVIDED; i++) {
        if ((wish->reduction & order[i]) && workspace_of(p, order[i]) <= wish->workspace) {
            return order[i];
        }
    }
    return PLUMB_LT_REDUCTION_NONE;
}

static uint32_t least_alignment(const preference *wish)
{
    uint32_t least = wish->alignment[0];
    for (int i = 1; i < 4; i++) {
        least = wish->alignment[i] < least ? wish->alignment[i] : least;
    }
    return least;
}

static plumb_lt_status heuristic(plumb_lt_handle handle, plumb_lt_desc desc_object, plumb_lt_layout a, plumb_lt_layout b,
                                 plumb_lt_layout c, plumb_lt_layout d, plumb_lt_preference wish, int wanted,
                                 plumb_lt_result *results, int *found)
{
    problem p;
    *found = 0;
    if (cudasim_fake_fails("cublasLtMatmulAlgoGetHeuristic")) {
        return PLUMB_LT_INTERNAL_ERROR;
    }
    if (!cudasim_fake_is(handle, HANDLE) || !cudasim_fake_is(wish, PREFERENCE) || wanted < 1 ||
        read_problem(desc_object, a, b, c, d, &p) != PLUMB_LT_SUCCESS) {
        return PLUMB_LT_INVALID_VALUE;
    }
    plumb_lt_status status = check_problem(&p);
    if (status != PLUMB_LT_SUCCESS) {
        return status;
    }
    memset(results, 0, sizeof *results);
    uint64_t reduction = reduction_of(&p, wish);
    results->algo = (plumb_lt_algo){{ALGORITHM, sum_of(&p), least_alignment(wish), reduction}};
    results->workspace = workspace_of(&p, reduction);
    results->waves = 1;
    *found = 1;
    return PLUMB_LT_SUCCESS;
}

static bool algorithm_is_for(const plumb_lt_algo *algo, const problem *p)
{
    return algo && algo->data[0] == ALGORITHM && algo->data[1] == sum_of(p) && algo->data[3] <= 4;
}

static plumb_lt_status check(plumb_lt_handle handle, plumb_lt_desc desc_object, plumb_lt_layout a, plumb_lt_layout b,
                             plumb_lt_layout c, plumb_lt_layout d, const plumb_lt_algo *algo, plumb_lt_result *result)
{
    problem p;
    if (cudasim_fake_fails("cublasLtMatmulAlgoCheck")) {
        return PLUMB_LT_INTERNAL_ERROR;
    }
    if (!cudasim_fake_is(handle, HANDLE) || read_problem(desc_object, a, b, c, d, &p) != PLUMB_LT_SUCCESS ||
        check_problem(&p) != PLUMB_LT_SUCCESS || !algorithm_is_for(algo, &p)) {
        return PLUMB_LT_INVALID_VALUE;
    }
    memset(result, 0, sizeof *result);
    result->algo = *algo;
    result->workspace = workspace_of(&p, algo->data[3]);
    return PLUMB_LT_SUCCESS;
}

/* ---- computing ---- */

typedef struct work {
    problem p;
    uint64_t reduction;
    double alpha, beta;
    const char *a, *b, *c;
    char *d, *workspace;
} work;

static plumb_dtype dtype_of(int type)
{
    return type == PLUMB_LT_R_64F ? PLUMB_F64 :
           type == PLUMB_LT_R_16F ? PLUMB_F16 :
           type == PLUMB_LT_R_16BF ? PLUMB_BF16 : PLUMB_F32;
}

/* f32 with 10 bits of mantissa. */
static double tf32(double value)
{
    union {
        float f;
        uint32_t u;
    } x = {.f = (float)value};
    x.u = x.f == x.f ? (x.u + 0x1000u) & ~0x1fffu : x.u;
    return (double)x.f;
}

static double element(const work *w, const layout *l, const char *data, int op, uint64_t row, uint64_t column, int batch)
{
    int64_t at = op == PLUMB_LT_OP_N ? (int64_t)row + (int64_t)column * l->leading
                                     : (int64_t)column + (int64_t)row * l->leading;
    double value = cudasim_fake_get(data, dtype_of(l->type), at + batch * l->batch_stride);
    return w->p.desc.compute == PLUMB_LT_COMPUTE_32F_FAST_TF32 ? tf32(value) : value;
}

/* The sum over [from, to), in the type of the computation. */
static double sum(const work *w, uint64_t row, uint64_t column, int batch, uint64_t from, uint64_t to)
{
    const problem *p = &w->p;
    float narrow = 0;
    double wide = 0;
    for (uint64_t k = from; k < to; k++) {
        double a = element(w, &p->a, w->a, p->desc.op_a, row, k, batch);
        double b = element(w, &p->b, w->b, p->desc.op_b, k, column, batch);
        narrow += (float)a * (float)b;
        wide += a * b;
    }
    return p->desc.compute == PLUMB_LT_COMPUTE_64F ? wide : (double)narrow;
}

static double sum_in_parts(const work *w, uint64_t row, uint64_t column, int batch)
{
    const problem *p = &w->p;
    plumb_dtype type = dtype_of(w->reduction == PLUMB_LT_REDUCTION_OUTPUT_TYPE ? p->d.type : p->desc.scale);
    uint64_t inner = inner_of(p), each = (inner + PARTS - 1) / PARTS;
    int64_t at = (int64_t)(((uint64_t)batch * p->d.columns + column) * p->d.rows + row) * PARTS;
    for (uint64_t i = 0; i < PARTS; i++) {
        uint64_t from = i * each < inner ? i * each : inner, to = from + each < inner ? from + each : inner;
        cudasim_fake_put(w->workspace, type, at + (int64_t)i, sum(w, row, column, batch, from, to));
    }
    char total[8];
    plumb_put(total, type, 0, 0);
    for (int i = 0; i < PARTS; i++) {
        plumb_put(total, type, 0, plumb_get(total, type, 0) + cudasim_fake_get(w->workspace, type, at + i));
    }
    return plumb_get(total, type, 0);
}

/* Versions before 13 lose a NaN in their relu: no document says that the library does not. */
static double relu(double value)
{
    bool loses = version() < 130000;
    return value < 0 || (loses && !(value > 0)) ? 0 : value;
}

static double finish(const work *w, double value, uint64_t row)
{
    const desc *how = &w->p.desc;
    if (how->epilogue & PLUMB_LT_EPILOGUE_BIAS) {
        value += cudasim_fake_get(how->bias, dtype_of(w->p.d.type), (int64_t)row);
    }
    return how->epilogue & PLUMB_LT_EPILOGUE_RELU ? relu(value) : value;
}

static void run(void *closure)
{
    const work *w = closure;
    const problem *p = &w->p;
    plumb_dtype type = dtype_of(p->d.type);
    for (int batch = 0; batch < p->d.batch; batch++) {
        for (uint64_t column = 0; column < p->d.columns; column++) {
            for (uint64_t row = 0; row < p->d.rows; row++) {
                int64_t at = (int64_t)row + (int64_t)column * p->d.leading + batch * p->d.batch_stride;
                double value = w->alpha * (w->reduction == PLUMB_LT_REDUCTION_NONE ?
                                               sum(w, row, column, batch, 0, inner_of(p)) :
                                               sum_in_parts(w, row, column, batch));
                value += w->beta == 0 ? 0 : w->beta * cudasim_fake_get(w->c, type, at);
                cudasim_fake_put(w->d, type, at, finish(w, value, row));
            }
        }
    }
}

/* Bytes from the first to beyond the last element. */
static size_t extent(const layout *l)
{
    int64_t last = (int64_t)l->rows - 1 + ((int64_t)l->columns - 1) * l->leading + (l->batch - 1) * l->batch_stride;
    return (size_t)(last + 1) * size_of(l->type);
}

static bool pointers_are_sound(const problem *p, const plumb_lt_algo *algo, const work *w, size_t workspace_bytes)
{
    uintptr_t all = (uintptr_t)w->a | (uintptr_t)w->b | (uintptr_t)w->c | (uintptr_t)w->d;
    size_t needed = workspace_of(p, algo->data[3]), element_bytes = size_of(p->d.type);
    bool bias = p->desc.epilogue & PLUMB_LT_EPILOGUE_BIAS;
    all |= bias ? (uintptr_t)p->desc.bias : 0;
    if (all & (algo->data[2] - 1)) {
        return false;
    }
    if (needed > workspace_bytes || (needed && ((uintptr_t)w->workspace & (WORKSPACE_START - 1)))) {
        return false;
    }
    bool reachable = cudasim_fake_on_device(w->a, extent(&p->a)) && cudasim_fake_on_device(w->b, extent(&p->b)) &&
                     cudasim_fake_on_device(w->d, extent(&p->d)) &&
                     (!bias || cudasim_fake_on_device(p->desc.bias, p->d.rows * element_bytes)) &&
                     (!needed || cudasim_fake_on_device(w->workspace, needed));
    if (!reachable) { /* a real one would fault or write elsewhere */
        cudasim_error("bad-vendor", "cublasLtMatmul: an operand is not, or not wholly, in device memory");
    }
    return reachable;
}

static double read_scale(const void *value, int type)
{
    double wide;
    float narrow;
    memcpy(&narrow, value, sizeof narrow);
    if (type == PLUMB_LT_R_64F) {
        memcpy(&wide, value, sizeof wide);
        return wide;
    }
    return (double)narrow;
}

static plumb_lt_status matmul(plumb_lt_handle handle, plumb_lt_desc desc_object, const void *alpha, const void *a,
                              plumb_lt_layout a_layout, const void *b, plumb_lt_layout b_layout, const void *beta,
                              const void *c, plumb_lt_layout c_layout, void *d, plumb_lt_layout d_layout,
                              const plumb_lt_algo *algo, void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    work w = {.a = a, .b = b, .c = c, .d = d, .workspace = workspace};
    if (cudasim_fake_fails("cublasLtMatmul")) {
        return PLUMB_LT_EXECUTION_FAILED;
    }
    if (!cudasim_fake_is(handle, HANDLE) || !alpha || !beta ||
        read_problem(desc_object, a_layout, b_layout, c_layout, d_layout, &w.p) != PLUMB_LT_SUCCESS ||
        check_problem(&w.p) != PLUMB_LT_SUCCESS || !algorithm_is_for(algo, &w.p) ||
        !pointers_are_sound(&w.p, algo, &w, workspace_bytes)) {
        return PLUMB_LT_INVALID_VALUE;
    }
    w.reduction = algo->data[3];
    w.alpha = read_scale(alpha, w.p.desc.scale);
    w.beta = read_scale(beta, w.p.desc.scale);
    work *closure = malloc(sizeof *closure);
    if (!closure) {
        return PLUMB_LT_ALLOC_FAILED;
    }
    *closure = w;
    return cudasim_fake_work(stream, run, closure) == cudaSuccess ? PLUMB_LT_SUCCESS : PLUMB_LT_EXECUTION_FAILED;
}

#define FUNCTION(name, function) {#name, (cudasim_any_function *)function}
const cudasim_fake cudasim_fake_cublaslt = {
    .name = "cublaslt",
    .soname = "libcublasLt.so",
    .version = 130100,
    .functions = {FUNCTION(cublasLtGetVersion, version),
                  FUNCTION(cublasLtCreate, handle_create),
                  FUNCTION(cublasLtDestroy, handle_destroy),
                  FUNCTION(cublasLtMatmulDescCreate, desc_create),
                  FUNCTION(cublasLtMatmulDescDestroy, desc_destroy),
                  FUNCTION(cublasLtMatmulDescSetAttribute, desc_set),
                  FUNCTION(cublasLtMatrixLayoutCreate, layout_create),
                  FUNCTION(cublasLtMatrixLayoutDestroy, layout_destroy),
                  FUNCTION(cublasLtMatrixLayoutSetAttribute, layout_set),
                  FUNCTION(cublasLtMatmulPreferenceCreate, preference_create),
                  FUNCTION(cublasLtMatmulPreferenceDestroy, preference_destroy),
                  FUNCTION(cublasLtMatmulPreferenceSetAttribute, preference_set),
                  FUNCTION(cublasLtMatmulAlgoGetHeuristic, heuristic),
                  FUNCTION(cublasLtMatmulAlgoCheck, check),
                  FUNCTION(cublasLtMatmul, matmul)},
};
