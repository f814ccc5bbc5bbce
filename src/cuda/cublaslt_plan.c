/* Which algorithm computes a product. The library's heuristics are asked once for each product, with a limit of memory and
 * with what plumb_options.allow permits; the answer is kept for later processes. A kept algorithm is checked by the
 * library before it is believed.
 *
 * Decided here, where nothing is allowed: f32 is multiplied as f32; every sum is f32 (f64 for f64), that of the parts of a
 * divided inner dimension too, which are added in a fixed order in the workspace. The other ways to add parts are taken
 * out by the mask: in the output's type, and in place in the order in which parts are done. */
#include "cuda/cublaslt.h"

enum { CANDIDATES = 8, LIMIT = 32 << 20 }; /* limit: of workspace, what NVIDIA recommends for Hopper */

typedef struct choice { /* on disk */
    plumb_lt_algo algo;
    uint64_t workspace;
    uint64_t nan; /* enum plumb_lt_nan, of an epilogue with a relu */
} choice;

static int type_of(plumb_dtype dtype)
{
    return dtype == PLUMB_F64 ? PLUMB_LT_R_64F :
           dtype == PLUMB_BF16 ? PLUMB_LT_R_16BF :
           dtype == PLUMB_F16 ? PLUMB_LT_R_16F : PLUMB_LT_R_32F;
}

static int compute_of(const plumb_lt_product *product)
{
    if (product->dtype == PLUMB_F64) {
        return PLUMB_LT_COMPUTE_64F;
    }
    bool tf32 = product->dtype == PLUMB_F32 && (product->allow & PLUMB_ALLOW_TF32);
    return tf32 ? PLUMB_LT_COMPUTE_32F_FAST_TF32 : PLUMB_LT_COMPUTE_32F;
}

/* ---- descriptors ---- */

static bool make_layout(struct plumb_cublaslt *lt, const plumb_lt_product *product, const plumb_lt_matrix *matrix,
                        plumb_lt_layout *layout)
{
    int status = lt->f.cublasLtMatrixLayoutCreate(layout, type_of((plumb_dtype)product->dtype), (uint64_t)matrix->rows,
                                                  (uint64_t)matrix->columns, matrix->leading);
    if (status != PLUMB_LT_SUCCESS) {
        *layout = NULL;
        return false;
    }
    return product->batch == 1 ||
           (lt->f.cublasLtMatrixLayoutSetAttribute(*layout, PLUMB_LT_LAYOUT_BATCH_COUNT, &product->batch,
                                                   sizeof product->batch) == PLUMB_LT_SUCCESS &&
            lt->f.cublasLtMatrixLayoutSetAttribute(*layout, PLUMB_LT_LAYOUT_BATCH_STRIDE, &matrix->batch_stride,
                                                   sizeof matrix->batch_stride) == PLUMB_LT_SUCCESS);
}

static bool set(struct plumb_cublaslt *lt, plumb_lt_desc desc, int attribute, const void *value, size_t bytes)
{
    return lt->f.cublasLtMatmulDescSetAttribute(desc, attribute, value, bytes) == PLUMB_LT_SUCCESS;
}

/* A bias pointer that nobody follows tells the heuristics how the bias is aligned. */
static bool make_desc(struct plumb_cublaslt *lt, const plumb_lt_product *product, plumb_lt_desc *desc)
{
    int scale = product->dtype == PLUMB_F64 ? PLUMB_LT_R_64F : PLUMB_LT_R_32F;
    const void *bias = (const void *)(uintptr_t)product->alignment;
    if (lt->f.cublasLtMatmulDescCreate(desc, compute_of(product), scale) != PLUMB_LT_SUCCESS) {
        *desc = NULL;
        return false;
    }
    return set(lt, *desc, PLUMB_LT_DESC_TRANSA, &product->op_a, sizeof product->op_a) &&
           set(lt, *desc, PLUMB_LT_DESC_TRANSB, &product->op_b, sizeof product->op_b) &&
           set(lt, *desc, PLUMB_LT_DESC_EPILOGUE, &product->epilogue, sizeof product->epilogue) &&
           (!(product->epilogue & PLUMB_LT_EPILOGUE_BIAS) ||
            set(lt, *desc, PLUMB_LT_DESC_BIAS_POINTER, &bias, sizeof bias));
}

void plumb_lt_plan_free(void *user, void *object)
{
    struct plumb_cublaslt *lt = user;
    plumb_lt_plan *plan = object;
    const plumb_lt_layout layouts[] = {plan->a, plan->b, plan->d};
    for (int i = 0; i < 3; i++) {
        if (layouts[i]) {
            lt->f.cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
    if (plan->desc) {
        lt->f.cublasLtMatmulDescDestroy(plan->desc);
    }
    plumb_free(lt->plans.context, plan);
}

/* ---- the algorithm ---- */

static bool prefer(struct plumb_cublaslt *lt, plumb_lt_preference preference, int attribute, const void *value,
                   size_t bytes)
{
    return lt->f.cublasLtMatmulPreferenceSetAttribute(preference, attribute, value, bytes) == PLUMB_LT_SUCCESS;
}

/* Ways of computing that are taken out: bits of PLUMB_LT_PREF_IMPL_MASK. */
static uint64_t refused(const plumb_lt_product *product)
{
    uint64_t narrow = PLUMB_LT_IMPL_INPUT_16F | PLUMB_LT_IMPL_INPUT_16BF;
    uint64_t tf32 = product->allow & PLUMB_ALLOW_TF32 ? 0 : PLUMB_LT_IMPL_INPUT_TF32;
    return PLUMB_LT_IMPL_ACCUMULATOR_16F | (product->dtype == PLUMB_F32 ? narrow | tf32 : 0);
}

static uint32_t reductions(const plumb_lt_product *product)
{
    bool reduced = product->allow & PLUMB_ALLOW_REDUCED_SUMS, any_order = product->allow & PLUMB_ALLOW_NONDETERMINISTIC;
    return PLUMB_LT_REDUCTION_NONE | PLUMB_LT_REDUCTION_COMPUTE_TYPE |
           (reduced ? (uint32_t)PLUMB_LT_REDUCTION_OUTPUT_TYPE : 0) |
           (reduced && any_order ? (uint32_t)PLUMB_LT_REDUCTION_INPLACE : 0);
}

static bool fill_preference(struct plumb_cublaslt *lt, plumb_lt_preference preference, const plumb_lt_product *product)
{
    const uint64_t limit = LIMIT, impl = ~refused(product);
    const uint32_t reduction = reductions(product), alignment = (uint32_t)product->alignment;
    const int aligned[] = {PLUMB_LT_PREF_ALIGNMENT_A, PLUMB_LT_PREF_ALIGNMENT_B, PLUMB_LT_PREF_ALIGNMENT_C,
                           PLUMB_LT_PREF_ALIGNMENT_D};
    bool good = prefer(lt, preference, PLUMB_LT_PREF_WORKSPACE, &limit, sizeof limit) &&
                prefer(lt, preference, PLUMB_LT_PREF_REDUCTION, &reduction, sizeof reduction) &&
                prefer(lt, preference, PLUMB_LT_PREF_IMPL_MASK, &impl, sizeof impl);
    for (int i = 0; good && i < 4; i++) {
        good = prefer(lt, preference, aligned[i], &alignment, sizeof alignment);
    }
    return good;
}

/* The best of those that the heuristics name, which they put first. */
static bool ask(struct plumb_cublaslt *lt, const plumb_lt_product *product, plumb_lt_plan *plan)
{
    plumb_lt_result result[CANDIDATES];
    plumb_lt_preference preference = NULL;
    int count = 0;
    if (lt->f.cublasLtMatmulPreferenceCreate(&preference) != PLUMB_LT_SUCCESS) {
        return false;
    }
    bool good = fill_preference(lt, preference, product) &&
                lt->f.cublasLtMatmulAlgoGetHeuristic(lt->handle, plan->desc, plan->a, plan->b, plan->d, plan->d, preference,
                                                     CANDIDATES, result, &count) == PLUMB_LT_SUCCESS;
    lt->f.cublasLtMatmulPreferenceDestroy(preference);
    for (int i = 0; good && i < count; i++) {
        if (result[i].status == PLUMB_LT_SUCCESS && result[i].workspace <= LIMIT) {
            plan->algo = result[i].algo;
            plan->workspace = result[i].workspace;
            return true;
        }
    }
    return false;
}

/* What an earlier process was told, if the library still has it. */
static bool recall(struct plumb_cublaslt *lt, const plumb_lt_product *product, plumb_lt_plan *plan,
                   enum plumb_lt_nan *nan)
{
    const plumb_cuda_choice *kept = plumb_cuda_cache_find(&lt->cache, product, sizeof *product);
    choice c;
    plumb_lt_result result;
    if (!kept || kept->bytes != sizeof c) {
        return false;
    }
    memcpy(&c, kept->data, sizeof c);
    if (lt->f.cublasLtMatmulAlgoCheck(lt->handle, plan->desc, plan->a, plan->b, plan->d, plan->d, &c.algo, &result) !=
            PLUMB_LT_SUCCESS ||
        result.workspace > LIMIT) {
        return false;
    }
    plan->algo = c.algo;
    plan->workspace = result.workspace;
    *nan = (enum plumb_lt_nan)c.nan;
    return true;
}

static void remember(struct plumb_cublaslt *lt, const plumb_lt_product *product, const plumb_lt_plan *plan,
                     enum plumb_lt_nan nan)
{
    choice c;
    memset(&c, 0, sizeof c);
    c.algo = plan->algo;
    c.workspace = plan->workspace;
    c.nan = (uint64_t)nan;
    plumb_cuda_cache_add(&lt->cache, product, sizeof *product, &c, sizeof c);
}

/* An algorithm, by memory or by the heuristics; false: there is none, or it has a relu that may lose a NaN. */
static bool find_algorithm(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product,
                           plumb_lt_plan *plan)
{
    enum plumb_lt_nan nan = PLUMB_LT_NAN_KEPT;
    if (recall(lt, product, plan, &nan)) {
        return nan == PLUMB_LT_NAN_KEPT;
    }
    if (!ask(lt, product, plan)) {
        return false;
    }
    if (product->epilogue & PLUMB_LT_EPILOGUE_RELU) {
        nan = plumb_lt_try_nan(cuda, lt, product, plan);
    }
    if (nan != PLUMB_LT_NAN_UNKNOWN) {
        remember(lt, product, plan, nan);
    }
    return nan == PLUMB_LT_NAN_KEPT;
}

/* A plan that is not usable is kept as well: the answer would be the same. */
static plumb_lt_plan *make_plan(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product)
{
    plumb_lt_plan *plan = plumb_zalloc(lt->plans.context, sizeof *plan);
    if (!plan) {
        return NULL;
    }
    plan->usable = make_desc(lt, product, &plan->desc) && make_layout(lt, product, &product->a, &plan->a) &&
                   make_layout(lt, product, &product->b, &plan->b) && make_layout(lt, product, &product->d, &plan->d) &&
                   find_algorithm(cuda, lt, product, plan);
    return plan;
}

const plumb_lt_plan *plumb_lt_choose(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, const plumb_lt_product *product)
{
    plumb_lt_plan *plan = plumb_plans_find(&lt->plans, product, sizeof *product);
    plumb_context *context = cuda->base.context;
    bool clean = context->status == PLUMB_OK;
    if (!plan) {
        plan = plumb_cuda_enter(cuda) == PLUMB_OK ? make_plan(cuda, lt, product) : NULL;
        plan = plan && plumb_plans_add(&lt->plans, product, sizeof *product, plan) ? plan : NULL;
    }
    if (clean) {
        plumb_clear_error(context); /* what cannot be had here another implementation computes */
    }
    return plan && plan->usable ? plan : NULL;
}
