/* Element-wise functions against values known from elsewhere: compositions and newer ops with their derivatives by PyTorch
 * 1.13 (f64), integers, truth values and casts by hand. Evaluated on the reference, which the cross-check then holds the
 * kernels against. And what others got wrong: a not-a-number that relu, maximum, minimum or a clamp drops. */
#include "check.h"

#include "op/attr.h"
#include "plumb/program.h"

enum { POINTS = 8 };
static const double points[POINTS] = {-4, -1.5, -0.5, -0.0, 0.25, 0.75, 2.5, 5};

static plumb_context *open_cpu(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1});
}

typedef plumb_t function(plumb_graph *g, plumb_t x);

static plumb_t number(plumb_graph *g, double value) { return plumb_scalar(g, PLUMB_F64, value); }

static plumb_t celu(plumb_graph *g, plumb_t x) { return plumb_celu(g, x, 0.7); }
static plumb_t hard_sigmoid(plumb_graph *g, plumb_t x) { return plumb_hard_sigmoid(g, x, 1.0 / 6, 0.5); }
static plumb_t thresholded_relu(plumb_graph *g, plumb_t x) { return plumb_thresholded_relu(g, x, 0.6); }
static plumb_t hard_shrink(plumb_graph *g, plumb_t x) { return plumb_shrink(g, x, 0.6, 0); }
static plumb_t soft_shrink(plumb_graph *g, plumb_t x) { return plumb_shrink(g, x, 0.6, 0.6); }
static plumb_t prelu(plumb_graph *g, plumb_t x) { return plumb_prelu(g, x, number(g, 0.3)); }
static plumb_t remainder_by(plumb_graph *g, plumb_t x) { return plumb_remainder(g, x, number(g, -1.2)); }
static plumb_t fmod_by(plumb_graph *g, plumb_t x) { return plumb_fmod(g, x, number(g, -1.2)); }
static plumb_t atan2_of(plumb_graph *g, plumb_t x) { return plumb_atan2(g, x, number(g, -1.2)); }
static plumb_t logaddexp_of(plumb_graph *g, plumb_t x) { return plumb_logaddexp(g, x, number(g, 0.4)); }

static const struct golden {
    const char *name;
    function *f;
    double y[POINTS], dx[POINTS];
} goldens[] = {
    {"selu", plumb_selu,
     {-1.7258986281898945, -1.3658143533672527, -0.69175818780287135, 0, 0.26267524683887011,
      0.78802574051661034, 2.6267524683887009, 5.2535049367774018},
     {0.032200712657482138, 0.39228498748012403, 1.0663411530445053, 1.7580993408473766, 1.0507009873554805,
      1.0507009873554805, 1.0507009873554805, 1.0507009873554805}},
    {"celu", celu,
     {-0.69769104597084264, -0.61787658373402443, -0.35732083831013284, 0, 0.25, 0.75, 2.5, 5},
     {0.003298505491122497, 0.11731916381089817, 0.48954166193890875, 1.0000000170298988, 1, 1, 1, 1}},
    {"softsign", plumb_softsign,
     {-0.80000000000000004, -0.59999999999999998, -0.33333333333333331, -0, 0.20000000000000001,
      0.42857142857142855, 0.7142857142857143, 0.83333333333333337},
     {0.040000000000000008, 0.16000000000000003, 0.44444444444444442, 1, 0.64000000000000001,
      0.32653061224489793, 0.081632653061224469, 0.027777777777777762}},
    {"hard_sigmoid", hard_sigmoid,
     {0, 0.25, 0.41666666666666669, 0.5, 0.54166666666666663, 0.625, 0.91666666666666663, 1},
     {0, 0.1666666716337204, 0.1666666716337204, 0.1666666716337204, 0.1666666716337204, 0.1666666716337204,
      0.1666666716337204, 0}},
    {"hard_swish", plumb_hard_swish,
     {-0, -0.375, -0.20833333333333334, -0, 0.13541666666666666, 0.46875, 2.2916666666666665, 5},
     {0, 0, 0.33333333333333337, 0.5, 0.58333333333333337, 0.75, 1.3333333333333335, 1}},
    {"thresholded_relu", thresholded_relu,
     {0, 0, 0, 0, 0, 0.75, 2.5, 5},
     {0, 0, 0, 0, 0, 1, 1, 1}},
    {"hard_shrink", hard_shrink,
     {-4, -1.5, 0, 0, 0, 0.75, 2.5, 5},
     {1, 1, 0, 0, 0, 1, 1, 1}},
    {"soft_shrink", soft_shrink,
     {-3.3999999999999999, -0.90000000000000002, 0, 0, 0, 0.15000000000000002, 1.8999999999999999,
      4.4000000000000004},
     {1, 1, 0, 0, 0, 1, 1, 1}},
    {"log_sigmoid", plumb_log_sigmoid,
     {-4.0181499279178094, -1.7014132779827524, -0.97407698418010669, -0.69314718055994529,
      -0.57593941987884356, -0.38687100611489994, -0.078889734292549626, -0.0067153484891180684},
     {0.98201379003790845, 0.81757447619364365, 0.62245933120185448, 0.5, 0.43782349911420188,
      0.32082130082460697, 0.07585818002124356, 0.0066928509242848563}},
    {"mish", plumb_mish,
     {-0.07259174079202535, -0.29809974216680679, -0.22074377465173001, -0, 0.16957240966381759,
      0.61001833521829341, 2.4713923045578809, 4.9995520775294056},
     {-0.053773209793480332, -0.064097815892258658, 0.28951067791351226, 0.59999999999999998,
      0.75417266772059277, 0.98575835571668802, 1.041129530131353, 1.0008002248320829}},
    {"gelu_tanh", plumb_gelu_tanh,
     {-7.0245948192271257e-05, -0.10042842301976707, -0.15428599017485606, -0, 0.149675350701685,
      0.57996055516562028, 2.4849157339100012, 4.9999997708203807},
     {-0.00033512319712218684, -0.12771079315143308, 0.13263009646535764, 0.5, 0.69535409515106039,
      0.99893825613741427, 1.0379515762126661, 1.000001546361988}},
    {"erfc", plumb_erfc,
     {1.9999999845827421, 1.9661051464753108, 1.5204998778130465, 1, 0.7236736098317631, 0.28884436634648486,
      0.00040695201744495892, 1.5374597944280349e-12},
     {-1.2698234671866558e-07, -0.11893028922362936, -0.87878257893544476, -1.1283791670955126,
      -1.0600141293761143, -0.64293106919520737, -0.0021782842303527099, -1.5670866531017336e-11}},
    {"atan", plumb_atan,
     {-1.3258176636680326, -0.98279372324732905, -0.46364760900080609, -0, 0.24497866312686414,
      0.64350110879328437, 1.1902899496825317, 1.3734007669450159},
     {0.058823529411764705, 0.30769230769230771, 0.80000000000000004, 1, 0.94117647058823528,
      0.64000000000000001, 0.13793103448275862, 0.038461538461538464}},
    {"asinh", plumb_asinh,
     {-2.0947125472611012, -1.1947632172871094, -0.48121182505960347, -0, 0.24746646154726346,
      0.69314718055994529, 1.6472311463710958, 2.3124383412727525},
     {0.24253562503633297, 0.55470019622522915, 0.89442719099991586, 1, 0.97014250014533188,
      0.80000000000000004, 0.37139067635410372, 0.19611613513818404}},
    {"tan", plumb_tan,
     {-1.1578212823495775, -14.101419947171719, -0.54630248984379048, -0, 0.25534192122103627,
      0.93159645994407247, -0.74702229723866032, -3.3805150062465859},
     {2.3405501218616198, 199.85004452649244, 1.2984464104095248, 1, 1.06519949673285, 1.8678719641803279,
      1.5580423125717253, 12.427881707458354}},
    {"exp2", plumb_exp2,
     {0.0625, 0.35355339059327379, 0.70710678118654757, 1, 1.189207115002721, 1.681792830507429,
      5.6568542494923806, 32},
     {0.04332169878499658, 0.24506453586713681, 0.49012907173427361, 0.69314718055994529, 0.82429555886596273,
      1.1657299587521543, 3.9210325738741889, 22.180709777918249}},
    {"prelu", prelu,
     {-1.2, -0.44999999999999996, -0.14999999999999999, -0, 0.25, 0.75, 2.5, 5},
     {0.29999999999999999, 0.29999999999999999, 0.29999999999999999, 0.29999999999999999, 1, 1, 1, 1}},
    {"remainder", remainder_by,
     {-0.40000000000000013, -0.30000000000000004, -0.5, -0, -0.94999999999999996, -0.44999999999999996,
      -1.0999999999999999, -0.99999999999999978},
     {1, 1, 1, 1, 1, 1, 1, 1}},
    {"fmod", fmod_by,
     {-0.40000000000000013, -0.30000000000000004, -0.5, -0, 0.25, 0.75, 0.10000000000000009, 0.20000000000000018},
     {1, 1, 1, 1, 1, 1, 1, 1}},
    {"atan2", atan2_of,
     {-1.8622531212727638, -2.2455372690184494, -2.7468015338900318, -3.1415926535897931, 2.9361972644000258,
      2.5829933382462307, 2.0183163019520665, 1.8063413075157599},
     {-0.068807339449541274, -0.32520325203252037, -0.7100591715976331, -0.83333333333333326,
      -0.79866888519134782, -0.59925093632958804, -0.15604681404421328, -0.045385779122541596}},
    {"logaddexp", logaddexp_of,
     {0.41220258460769615, 0.53938675828296068, 0.74115387473208794, 0.91301525239995251, 1.020957047789532,
      1.283382155418777, 2.615519523179755, 5.0100016520556521},
     {0.012128434984274237, 0.13010847436299786, 0.289050497374996, 0.401312339887548, 0.46257015465625045,
      0.58661757891733013, 0.89090317880438707, 0.99004819813309575}},
    {"round", plumb_round,
     {-4, -2, -0, -0, 0, 1, 2, 5},
     {0, 0, 0, 0, 0, 0, 0, 0}},
};

/* PyTorch keeps alpha and 1/6 in f32 where it differentiates, which is 8e-8 here. */
static bool is_near(double a, double b) { return fabs(a - b) <= 1e-7 * fabs(b) + 1e-15; }

PLUMB_TEST(elementwise, values_and_derivatives_as_pytorch)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (size_t k = 0; k < sizeof(goldens) / sizeof(*goldens); k++) {
        const struct golden *golden = &goldens[k];
        double y[POINTS], dx[POINTS];
        plumb_graph *g = plumb_graph_new(context, golden->name);
        plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(POINTS)), out = golden->f(g, x), d = PLUMB_NONE;
        plumb_t ones = plumb_full(g, PLUMB_F64, PLUMB_SHAPE(POINTS), 1);
        plumb_binding binding = {x, points, sizeof(points)};
        CHECK(plumb_gradients_from(g, &out, &ones, 1, &x, 1, &d) == PLUMB_OK);
        CHECK(plumb_eval(g, NULL, &binding, 1, out, y, sizeof(y)) == PLUMB_OK);
        CHECK(plumb_eval(g, NULL, &binding, 1, d, dx, sizeof(dx)) == PLUMB_OK);
        for (int i = 0; i < POINTS; i++) {
            CHECK_MSG(is_near(y[i], golden->y[i]), "%s(%g) is %.17g", golden->name, points[i], y[i]);
            CHECK_MSG(is_near(dx[i], golden->dx[i]), "d %s(%g) is %.17g", golden->name, points[i], dx[i]);
        }
        plumb_graph_free(g);
    }
    plumb_close(context);
}

/* ---- integers and truth values ---- */

static void eval(plumb_graph *g, plumb_t out, void *to, size_t bytes)
{
    CHECK_MSG(plumb_eval(g, NULL, NULL, 0, out, to, bytes) == PLUMB_OK, "%s", plumb_message(plumb_graph_context(g)));
}

#define SAME(g, out, type, ...)                                                                                       \
    do {                                                                                                              \
        const type expected_[] = {__VA_ARGS__};                                                                       \
        type is_[sizeof(expected_) / sizeof(type)] = {0};                                                             \
        eval(g, out, is_, sizeof(is_));                                                                               \
        for (size_t i_ = 0; i_ < sizeof(is_) / sizeof(type); i_++) {                                                  \
            CHECK_MSG(is_[i_] == expected_[i_], "line %d, element %zu: %g", __LINE__, i_, (double)is_[i_]);           \
        }                                                                                                             \
    } while (0)

PLUMB_TEST(elementwise, integers_as_by_hand)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "integers");
    const int32_t a_[6] = {7, -7, 7, -7, INT32_MIN, 5}, b_[6] = {3, 3, -3, -3, -1, 0};
    const int32_t base_[6] = {2, -3, 2, -1, 10, 0}, power_[6] = {10, 3, -1, -3, 10, 0};
    const uint8_t bytes_[4] = {1, 200, 255, 0}, bits_[4] = {7, 1, 8, 200};
    plumb_t a = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(6), a_), b = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(6), b_);
    plumb_t base = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(6), base_);
    plumb_t power = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(6), power_);
    plumb_t bytes = plumb_constant(g, PLUMB_U8, PLUMB_SHAPE(4), bytes_);
    plumb_t bits = plumb_constant(g, PLUMB_U8, PLUMB_SHAPE(4), bits_);
    SAME(g, plumb_fmod(g, a, b), int32_t, 1, -1, 1, -1, 0, 0);
    SAME(g, plumb_remainder(g, a, b), int32_t, 1, 2, -2, -1, 0, 0);
    SAME(g, plumb_pow(g, base, power), int32_t, 1024, -27, 0, -1, 1410065408, 1);
    SAME(g, plumb_neg(g, a), int32_t, -7, 7, -7, 7, INT32_MIN, -5);
    SAME(g, plumb_abs(g, a), int32_t, 7, 7, 7, 7, INT32_MIN, 5);
    SAME(g, plumb_sign(g, b), int32_t, 1, 1, -1, -1, -1, 0);
    SAME(g, plumb_clamp(g, a, -2.5, 6.5), int32_t, 6, -2, 6, -2, -2, 5);
    SAME(g, plumb_clamp_between(g, a, b, PLUMB_NONE), int32_t, 7, 3, 7, -3, -1, 5);
    SAME(g, plumb_bitwise_not(g, b), int32_t, -4, -4, 2, 2, 0, -1);
    SAME(g, plumb_bitwise_not(g, bytes), uint8_t, 254, 55, 0, 255);
    SAME(g, plumb_bitwise_xor(g, bytes, bits), uint8_t, 6, 201, 247, 200);
    SAME(g, plumb_shift_left(g, bytes, bits), uint8_t, 128, 144, 0, 0);
    SAME(g, plumb_shift_right(g, bytes, bits), uint8_t, 0, 100, 0, 0);
    SAME(g, plumb_shift_right(g, a, plumb_scalar(g, PLUMB_I32, 1)), int32_t, 3, -4, 3, -4, INT32_MIN / 2, 2);
    SAME(g, plumb_shift_right(g, a, plumb_scalar(g, PLUMB_I32, 40)), int32_t, 0, -1, 0, -1, -1, 0);
    SAME(g, plumb_greater(g, a, b), uint8_t, 1, 0, 1, 0, 0, 1);
    SAME(g, plumb_greater_equal(g, b, b), uint8_t, 1, 1, 1, 1, 1, 1);
    SAME(g, plumb_logical_and(g, a, b), uint8_t, 1, 1, 1, 1, 1, 0);
    SAME(g, plumb_logical_xor(g, bytes, plumb_scalar(g, PLUMB_U8, 2)), uint8_t, 0, 0, 0, 1);
    SAME(g, plumb_logical_not(g, bytes), uint8_t, 0, 0, 0, 1);
    plumb_graph_free(g);
    plumb_close(context);
}

PLUMB_TEST(elementwise, what_is_not_finite)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "not finite");
    const float x_[5] = {NAN, INFINITY, -INFINITY, 0, -3e38f};
    plumb_t x = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(5), x_), low = plumb_cast(g, x, PLUMB_F16);
    SAME(g, plumb_is_nan(g, x), uint8_t, 1, 0, 0, 0, 0);
    SAME(g, plumb_is_finite(g, x), uint8_t, 0, 0, 0, 1, 1);
    SAME(g, plumb_is_finite(g, low), uint8_t, 0, 0, 0, 1, 0);
    SAME(g, plumb_is_inf(g, x, true, true), uint8_t, 0, 1, 1, 0, 0);
    SAME(g, plumb_is_inf(g, x, true, false), uint8_t, 0, 1, 0, 0, 0);
    SAME(g, plumb_is_inf(g, x, false, true), uint8_t, 0, 0, 1, 0, 0);
    SAME(g, plumb_is_inf(g, x, false, false), uint8_t, 0, 0, 0, 0, 0);
    SAME(g, plumb_cast(g, x, PLUMB_I32), int32_t, 0, INT32_MAX, INT32_MIN, 0, INT32_MIN);
    SAME(g, plumb_cast(g, low, PLUMB_I64), int64_t, 0, INT64_MAX, INT64_MIN, 0, INT64_MIN);
    SAME(g, plumb_cast(g, x, PLUMB_U8), uint8_t, 0, 255, 0, 0, 0);
    plumb_graph_free(g);
    plumb_close(context);
}

/* TensorFlow #40072, ONNX Runtime #11010, MXNet #11115, NNlib #435, PyTorch #39846, TVM #19518: a NaN must come out. */
PLUMB_TEST(elementwise, a_nan_is_not_dropped)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "nan");
    const float x_[2] = {NAN, 1}, y_[2] = {1, NAN};
    plumb_t x = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(2), x_), y = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(2), y_);
    const struct {
        plumb_t out;
        bool nan[2];
    } rows[] = {
        {plumb_relu(g, x), {true, false}}, {plumb_leaky_relu(g, x, 0.1), {true, false}},
        {plumb_clamp(g, x, 0, 6), {true, false}}, {plumb_clamp_between(g, x, y, y), {true, true}},
        {plumb_maximum(g, x, y), {true, true}}, {plumb_minimum(g, x, y), {true, true}},
        {plumb_prelu(g, x, y), {true, false}}, {plumb_thresholded_relu(g, x, 0.5), {true, false}},
        {plumb_shrink(g, x, 0.5, 0), {true, false}}, {plumb_shrink(g, x, 0.5, 0.5), {true, false}},
        {plumb_hard_sigmoid(g, x, 0.2, 0.5), {true, false}}, {plumb_hard_swish(g, x), {true, false}},
        {plumb_fmod(g, x, y), {true, true}}, {plumb_remainder(g, x, y), {true, true}},
        {plumb_logaddexp(g, x, y), {true, true}}, {plumb_atan2(g, x, y), {true, true}},
    };
    for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
        float is[2] = {0, 0};
        eval(g, rows[k].out, is, sizeof(is));
        CHECK_MSG(!!isnan(is[0]) == rows[k].nan[0] && !!isnan(is[1]) == rows[k].nan[1], "row %zu: %g %g", k,
                  (double)is[0], (double)is[1]);
    }
    plumb_graph_free(g);
    plumb_close(context);
}

/* Rounded once: through a double, the last digit of these would be lost before they are halfway between two floats. */
PLUMB_TEST(elementwise, long_integers_are_rounded_once)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "rounding");
    const int64_t half = INT64_C(1) << 38, x_[4] = {(INT64_C(1) << 62) + half + 1, (INT64_C(1) << 62) + half,
                                                    -(INT64_C(1) << 62) - half - 1, (INT64_C(1) << 53) + 1};
    const int64_t low_[2] = {(INT64_C(1) << 62) + (INT64_C(1) << 54) + 1, (INT64_C(1) << 62) + (INT64_C(1) << 54)};
    plumb_t x = plumb_constant(g, PLUMB_I64, PLUMB_SHAPE(4), x_), low = plumb_constant(g, PLUMB_I64, PLUMB_SHAPE(2), low_);
    SAME(g, plumb_cast(g, x, PLUMB_F32), float, 0x1.000002p62f, 0x1p62f, -0x1.000002p62f, 0x1p53f);
    SAME(g, plumb_cast(g, x, PLUMB_F64), double, 0x1.000001p62, 0x1.000001p62, -0x1.000001p62, 0x1p53);
    SAME(g, plumb_cast(g, plumb_cast(g, low, PLUMB_BF16), PLUMB_F32), float, 0x1.02p62f, 0x1p62f);
    plumb_graph_free(g);
    plumb_close(context);
}
