/* What a launcher does with an element type it has no kernel for: it launches nothing and says cudaErrorInvalidValue.
 * The library asks for none such, so nothing else gets there. */
#include "check.h"
#include "launch.h"

#define REFUSED(call) CHECK((call) == cudaErrorInvalidValue)

enum { UNKNOWN = 99 };

PLUMB_TEST(launchers, refuse_unknown_types)
{
    const pk_walk w = {.count = 1, .rank = 1, .dim = {1}};
    REFUSED(plumb_k_unary(NULL, PK_EXP, UNKNOWN, 0, 0, &w));
    REFUSED(plumb_k_unary(NULL, PK_EXP, PK_I32, 0, 0, &w));
    REFUSED(plumb_k_unary(NULL, PK_AFFINE, UNKNOWN, 0, 0, &w));
    REFUSED(plumb_k_binary(NULL, PK_ADD, UNKNOWN, 0, 0, &w));
    REFUSED(plumb_k_binary(NULL, PK_LESS, UNKNOWN, 0, 0, &w));
    REFUSED(plumb_k_binary(NULL, PK_ATAN2, PK_I32, 0, 0, &w));
    REFUSED(plumb_k_binary(NULL, PK_RELU_BACKWARD, PK_U8, 0, 0, &w));
    REFUSED(plumb_k_cast(NULL, UNKNOWN, PK_F32, &w));
    REFUSED(plumb_k_cast(NULL, PK_F32, UNKNOWN, &w));
    REFUSED(plumb_k_where(NULL, 3, &w));
    REFUSED(plumb_k_fill(NULL, UNKNOWN, 0, &w));
    REFUSED(plumb_k_move(NULL, 3, &w, &w));
    const pk_turn turn = {.rest = w, .rows = 1, .columns = 1};
    REFUSED(plumb_k_turn(NULL, 3, &turn));
    REFUSED(plumb_k_fold(NULL, PK_SUM, UNKNOWN, &w, &w, 0, 1, NULL, 0, 1));
    REFUSED(plumb_k_fold_finish(NULL, PK_SUM, UNKNOWN, &w, 1, 1, NULL));
    const pk_lanes lanes = {.walk = w, .n = 1};
    REFUSED(plumb_k_softmax(NULL, PK_SOFTMAX, PK_I32, &lanes));
    const pk_cross_entropy entropy = {.logits = {.dtype = PK_I32, .dim = {1, 1}}};
    REFUSED(plumb_k_cross_entropy(NULL, &entropy));
    REFUSED(plumb_k_cross_entropy_backward(NULL, &entropy));
    const pk_gather gather = {.w = w, .n = 1, .indices = w, .index_dtype = PK_I32};
    REFUSED(plumb_k_gather(NULL, 3, &gather));
    REFUSED(plumb_k_one_hot(NULL, PK_I32, UNKNOWN, 0, 1, 0, &w));
    const pk_random_of random = {.x = w, .y = w};
    REFUSED(plumb_k_random(NULL, PK_UNIFORM, PK_I32, &random));
    const pk_update_tensors tensors = {.tensors = 1, .count = {1}};
    const pk_update_rule rule = {.epsilon = 1};
    REFUSED(plumb_k_update(NULL, PK_SGD, PK_I32, &rule, &tensors));
    const pk_matmul product = {.batch = w, .rows = 1, .columns = 1, .inner = 1};
    REFUSED(plumb_k_matmul(NULL, PK_I32, &product));
    const pk_conv conv = {.groups = 1, .rows = 1, .pixels = {1, 1, 1}, .taps = {1, 1, 1}, .splits = 1, .part = 16};
    REFUSED(plumb_k_conv2d(NULL, PK_I32, &conv));
    REFUSED(plumb_k_conv2d_filter(NULL, PK_I32, &conv, NULL));
    const pk_pooling pool = {.n = 1, .c = 1, .h = 1, .w = 1, .oh = 1, .ow = 1};
    REFUSED(plumb_k_pool2d(NULL, PK_MAX_POOL, PK_I32, &pool));
    const pk_norm norm = {.channels = 1, .count = 1, .chunks = 1, .chunk = 1, .width = 1, .vectors = PK_F32};
    REFUSED(plumb_k_batch_norm(NULL, PK_I32, &norm));
    REFUSED(plumb_k_batch_norm_inference(NULL, PK_I32, &norm));
    REFUSED(plumb_k_batch_norm_backward(NULL, PK_I32, &norm));
    const pk_cell cell = {.batch = 1, .units = 1};
    REFUSED(plumb_k_cell(NULL, PK_I32, &cell));
    const pk_cell_back cell_back = {.batch = 1, .units = 1};
    REFUSED(plumb_k_cell_back(NULL, PK_I32, &cell_back));
    const pk_rows rows = {.row = 1};
    REFUSED(plumb_k_column_sums(NULL, PK_I32, &rows, NULL, 1, 1));
    const pk_back back = {.channels = 1, .count = 1, .chunks = 1, .chunk = 1, .width = 1};
    REFUSED(plumb_k_activation_backward(NULL, PK_I32, &back));
}
