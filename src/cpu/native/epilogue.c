/* Rows of results through bias and activation (epilogue.h). f32 has a vector form for every instruction set; f64 goes
 * through the C library, as its element-wise ops do. */
#include "cpu/native/epilogue.h"
#include "cpu/native/functions.h"

/* clang-format off */
/* name, expression of x in f32 (as in elementwise.c), in f64 (as in the reference) */
#define ACTIVATIONS(X, isa, TARGET)                                                                                   \
    X(isa, TARGET, none, x, x)                                                                                        \
    X(isa, TARGET, relu, x <= 0 ? 0 : x, x <= 0 ? 0 : x)                                                              \
    X(isa, TARGET, sigmoid, native_sigmoid(x), x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)))                    \
    X(isa, TARGET, tanh, native_tanh(x), tanh(x))
/* clang-format on */

#define ROW(type, added, expression)                                                                                  \
    for (int64_t i = 0; i < count; i++) {                                                                             \
        type x = y[i] added;                                                                                          \
        y[i] = expression;                                                                                            \
    }
#define ROWS_F32(isa, TARGET, name, expression, wide)                                                                 \
    TARGET static void name##_f32_##isa(void *y_, int64_t count, const void *bias_, int64_t step)                     \
    {                                                                                                                 \
        const float *bias = bias_;                                                                                    \
        float *y = y_;                                                                                                \
        if (!bias) {                                                                                                  \
            NATIVE_LOOP ROW(float, , expression)                                                                      \
        } else if (step == 0) {                                                                                       \
            const float one = bias[0];                                                                                \
            NATIVE_LOOP ROW(float, +one, expression)                                                                  \
        } else if (step == 1) {                                                                                       \
            NATIVE_LOOP ROW(float, +bias[i], expression)                                                              \
        } else {                                                                                                      \
            ROW(float, +bias[i * step], expression)                                                                   \
        }                                                                                                             \
    }
#define EACH_F32(isa, TARGET) ACTIVATIONS(ROWS_F32, isa, TARGET)
NATIVE_EACH_ISA(EACH_F32)

#define ROWS_F64(isa, TARGET, name, narrow, expression)                                                               \
    static void name##_f64(void *y_, int64_t count, const void *bias_, int64_t step)                                  \
    {                                                                                                                 \
        const double *bias = bias_;                                                                                   \
        double *y = y_;                                                                                               \
        if (bias)                                                                                                     \
            ROW(double, +bias[i * step], expression)                                                                  \
        else                                                                                                          \
            ROW(double, , expression)                                                                                 \
    }
ACTIVATIONS(ROWS_F64, , )

plumb_epilogue *plumb_epilogue_for(plumb_dtype dtype, int isa, int activation, bool bias)
{
    plumb_epilogue *const f32[] = {NATIVE_PICK(none_f32, isa), NATIVE_PICK(relu_f32, isa),
                                   NATIVE_PICK(sigmoid_f32, isa), NATIVE_PICK(tanh_f32, isa)};
    plumb_epilogue *const f64[] = {none_f64, relu_f64, sigmoid_f64, tanh_f64};
    _Static_assert(PLUMB_ACTIVATION_RELU == 1 && PLUMB_ACTIVATION_SIGMOID == 2 && PLUMB_ACTIVATION_TANH == 3, "order");
    if (activation == PLUMB_ACTIVATION_NONE && !bias)
        return NULL;
    return dtype == PLUMB_F64 ? f64[activation] : f32[activation];
}
