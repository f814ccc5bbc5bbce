/* Layers: ops with the variables they need, named as PyTorch names them ("conv1.weight", "conv1.bias"), and models made
 * of layers. A layer is nothing but a function that adds ops to a graph, so layers and ops mix freely:
 *
 *     plumb_t h = plumb_conv2d_layer(net, "conv1", x, .filters = 6, .kernel = {5, 5}, .padding = {2, 2});
 *     h = plumb_max_pool2d_layer(net, "pool1", plumb_relu(net, h), .window = {2, 2});
 *
 * Options left out mean the default. Asking for a name a second time shares its variables. */
#ifndef PLUMB_LAYERS_H
#define PLUMB_LAYERS_H

#include "plumb/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every layer has this form, and so may your own. `options` is the layer's option struct, or NULL for the defaults;
 * the macros below make one. `name` may be NULL for a layer without variables. */
typedef plumb_t plumb_layer_builder(plumb_graph *graph, const char *name, plumb_t x, const void *options);

#define PLUMB_LAYER_OPTIONS(kind, ...)                                                                                \
    (&(plumb_##kind##_layer_options){.size = sizeof(plumb_##kind##_layer_options), __VA_ARGS__})

typedef enum plumb_activation {
    PLUMB_LINEAR = 0,
    PLUMB_RELU,
    PLUMB_LEAKY_RELU, /* slope 0.01 */
    PLUMB_SIGMOID,
    PLUMB_TANH,
    PLUMB_ELU, /* alpha 1 */
    PLUMB_GELU,
    PLUMB_SILU,
    PLUMB_SOFTPLUS,
    PLUMB_RELU6, /* min(max(x, 0), 6) */
    PLUMB_ACTIVATION_COUNT
} plumb_activation;
PLUMB_API const char *plumb_activation_name(plumb_activation activation); /* "relu"; NULL out of range */

/* Initialisers: a zeroed `init` is He's (meant for ReLU) for weights and zeros for biases. Zeros for weights are
 * {PLUMB_INIT_CONSTANT}. `frozen` variables are left alone by training. */

/* x (N, features) -> (N, units); of more dimensions, the last one: (.., features) -> (.., units).
 * NAME.weight (units, features), NAME.bias (units). */
typedef struct plumb_linear_layer_options {
    size_t size;
    int64_t units;
    bool no_bias;
    plumb_init init, bias_init;
    plumb_activation activation;
    bool frozen;
} plumb_linear_layer_options;
#define plumb_linear_layer(graph, name, x, ...)                                                                       \
    plumb_build_linear(graph, name, x, PLUMB_LAYER_OPTIONS(linear, __VA_ARGS__))

/* x (N, C, H, W) -> (N, filters, OH, OW). NAME.weight (filters, C/groups, KH, KW), NAME.bias (filters). */
typedef struct plumb_conv2d_layer_options {
    size_t size;
    int64_t filters;
    int64_t kernel[2];        /* height, width; a width of 0 is the height */
    int64_t stride[2];        /* 0: 1; a width of 0 is the height */
    int64_t padding[2];       /* above and below, left and right */
    int64_t padding_sides[4]; /* top, left, bottom, right, instead of `padding` */
    bool same;                /* instead of both: the output is ceil(size / stride), what is odd goes below and right */
    int64_t dilation[2];      /* 0: 1; a width of 0 is the height */
    int64_t groups;           /* 0: 1 */
    bool no_bias;
    plumb_init init, bias_init;
    plumb_activation activation;
    bool frozen;
} plumb_conv2d_layer_options;
#define plumb_conv2d_layer(graph, name, x, ...)                                                                       \
    plumb_build_conv2d(graph, name, x, PLUMB_LAYER_OPTIONS(conv2d, __VA_ARGS__))

/* x (N, C, L) -> (N, filters, OL). NAME.weight (filters, C/groups, K), NAME.bias (filters). */
typedef struct plumb_conv1d_layer_options {
    size_t size;
    int64_t filters, kernel;
    int64_t stride;           /* 0: 1 */
    int64_t padding;          /* on either side */
    int64_t padding_sides[2]; /* before, after, instead of `padding` */
    bool same;                /* instead of both: the output is ceil(L / stride), what is odd goes behind */
    int64_t dilation, groups; /* 0: 1 */
    bool no_bias;
    plumb_init init, bias_init;
    plumb_activation activation;
    bool frozen;
} plumb_conv1d_layer_options;
#define plumb_conv1d_layer(graph, name, x, ...)                                                                       \
    plumb_build_conv1d(graph, name, x, PLUMB_LAYER_OPTIONS(conv1d, __VA_ARGS__))

/* x (N, C, H, W) -> (N, filters, OH, OW), as plumb_conv_transpose2d. NAME.weight (C, filters/groups, KH, KW), NAME.bias
 * (filters). */
typedef struct plumb_conv_transpose2d_layer_options {
    size_t size;
    int64_t filters;
    int64_t kernel[2];         /* height, width; a width of 0 is the height */
    int64_t stride[2];         /* 0: 1; a width of 0 is the height */
    int64_t padding[2];        /* above and below, left and right */
    int64_t output_padding[2]; /* below, right */
    int64_t dilation[2];       /* 0: 1; a width of 0 is the height */
    int64_t groups;            /* 0: 1 */
    bool no_bias;
    plumb_init init, bias_init;
    plumb_activation activation;
    bool frozen;
} plumb_conv_transpose2d_layer_options;
#define plumb_conv_transpose2d_layer(graph, name, x, ...)                                                             \
    plumb_build_conv_transpose2d(graph, name, x, PLUMB_LAYER_OPTIONS(conv_transpose2d, __VA_ARGS__))

/* x (N, C, H, W) -> (N, C, OH, OW) */
typedef struct plumb_pool2d_layer_options {
    size_t size;
    int64_t window[2];        /* 0: 2; a width of 0 is the height */
    int64_t stride[2];        /* 0: the window */
    int64_t padding[2];       /* above and below, left and right */
    int64_t padding_sides[4]; /* top, left, bottom, right, instead of `padding` */
    int64_t dilation[2];      /* max pooling only; 0: 1 */
    bool ceil_mode, exclude_padding; /* as in plumb_pool2d_options */
} plumb_pool2d_layer_options;
#define plumb_max_pool2d_layer(graph, name, x, ...)                                                                   \
    plumb_build_max_pool2d(graph, name, x, PLUMB_LAYER_OPTIONS(pool2d, __VA_ARGS__))
#define plumb_average_pool2d_layer(graph, name, x, ...)                                                               \
    plumb_build_average_pool2d(graph, name, x, PLUMB_LAYER_OPTIONS(pool2d, __VA_ARGS__))

/* x (N, C, H, W) -> (N, C, output[0], output[1]), whatever H and W */
typedef struct plumb_adaptive_pool2d_layer_options {
    size_t size;
    int64_t output[2]; /* 0: 1; a width of 0 is the height */
} plumb_adaptive_pool2d_layer_options;
#define plumb_adaptive_average_pool2d_layer(graph, name, x, ...)                                                      \
    plumb_build_adaptive_average_pool2d(graph, name, x, PLUMB_LAYER_OPTIONS(adaptive_pool2d, __VA_ARGS__))
#define plumb_adaptive_max_pool2d_layer(graph, name, x, ...)                                                          \
    plumb_build_adaptive_max_pool2d(graph, name, x, PLUMB_LAYER_OPTIONS(adaptive_pool2d, __VA_ARGS__))

/* x (N, C, ..) -> the same. NAME.weight (C) from 1, NAME.bias (C) from 0; NAME.running_mean, NAME.running_var (C),
 * frozen: training assigns them; all of x's dtype, f32 where that is bf16 or f16. A bias in the layer before is
 * redundant. */
typedef struct plumb_batch_norm_layer_options {
    size_t size;
    double epsilon, momentum; /* as in plumb_batch_norm_options */
    bool biased_running;
    bool fixed;  /* use the running statistics in training too */
    bool frozen; /* weight and bias are not trained */
    plumb_activation activation;
} plumb_batch_norm_layer_options;
#define plumb_batch_norm_layer(graph, name, x, ...)                                                                   \
    plumb_build_batch_norm(graph, name, x, PLUMB_LAYER_OPTIONS(batch_norm, __VA_ARGS__))

/* x -> the same, each example by itself: over the last `dims` dimensions, NAME.weight and NAME.bias of their shape; rms_norm has
 * no bias. */
typedef struct plumb_layer_norm_layer_options {
    size_t size;
    int dims;       /* 0: 1 */
    double epsilon; /* 0: 1e-5; PLUMB_ZERO: none */
    bool no_scale;  /* neither weight nor bias */
    bool no_bias;
    bool frozen;
    plumb_activation activation;
} plumb_layer_norm_layer_options, plumb_rms_norm_layer_options;
#define plumb_layer_norm_layer(graph, name, x, ...)                                                                   \
    plumb_build_layer_norm(graph, name, x, PLUMB_LAYER_OPTIONS(layer_norm, __VA_ARGS__))
#define plumb_rms_norm_layer(graph, name, x, ...)                                                                     \
    plumb_build_rms_norm(graph, name, x, PLUMB_LAYER_OPTIONS(rms_norm, __VA_ARGS__))

/* x (N, C, ..) -> the same: over groups of channels, or over each (instance_norm); NAME.weight (C), NAME.bias (C). PyTorch's
 * instance norm has neither unless asked: .no_scale. */
typedef struct plumb_group_norm_layer_options {
    size_t size;
    int64_t groups; /* group_norm only: at least 1 */
    double epsilon; /* 0: 1e-5; PLUMB_ZERO: none */
    bool no_scale;  /* neither weight nor bias */
    bool frozen;
    plumb_activation activation;
} plumb_group_norm_layer_options, plumb_instance_norm_layer_options;
#define plumb_group_norm_layer(graph, name, x, ...)                                                                   \
    plumb_build_group_norm(graph, name, x, PLUMB_LAYER_OPTIONS(group_norm, __VA_ARGS__))
#define plumb_instance_norm_layer(graph, name, x, ...)                                                                \
    plumb_build_instance_norm(graph, name, x, PLUMB_LAYER_OPTIONS(instance_norm, __VA_ARGS__))

/* plumb_lrn; channels 0: 5. No variables. */
typedef plumb_lrn_options plumb_lrn_layer_options;
#define plumb_lrn_layer(graph, name, x, ...) plumb_build_lrn(graph, name, x, PLUMB_LAYER_OPTIONS(lrn, __VA_ARGS__))

/* x (T, N, features) -> (T, N, units), the state of every step, or with `last` (N, units), that of the last; units is twice as
 * many where `bidirectional`, forward first. Of layer K: NAME.weight_ih_lK (gates*units, features), NAME.weight_hh_lK
 * (gates*units, units), NAME.bias_ih_lK, NAME.bias_hh_lK (gates*units), each again with _reverse at the end for the way back,
 * as in PyTorch.
 *
 *     x = plumb_embedding(net, plumb_find(net, "words"), x);
 *     x = plumb_lstm_layer(net, "lstm", x, .units = 64, .batch_first = true, .bidirectional = true, .last = true);
 */
typedef struct plumb_recurrent_layer_options {
    size_t size;
    int64_t units;
    int layers; /* one on top of the other; 0: 1 */
    bool bidirectional;
    bool batch_first; /* x is (N, T, features), the result (N, T, units) */
    bool last;        /* the state after the last step (of the way back: after the first) instead of the sequence */
    double drop;      /* dropout between layers */
    bool no_bias;
    bool relu;        /* rnn only: instead of tanh */
    plumb_init init, recurrent_init, bias_init; /* zeroed: uniform within 1 / sqrt(units) */
    bool frozen;
    plumb_t h0, c0;          /* initial states (layers*directions, N, units); PLUMB_NONE: zeros. c0: lstm only */
    plumb_t *states, *cells; /* where to write the last h (and c) of all layers, of the same shape; NULL: nowhere */
    plumb_t lengths;         /* (N), as in plumb_recurrent_options: outputs behind are 0, last states each sequence's own */
    plumb_gru_reset reset;   /* gru only */
    bool peepholes;          /* lstm only: a variable NAME.weight_peephole_l0 (3*units) of each layer and direction */
} plumb_recurrent_layer_options, plumb_rnn_layer_options, plumb_gru_layer_options, plumb_lstm_layer_options;
#define plumb_rnn_layer(graph, name, x, ...)                                                                          \
    plumb_build_rnn(graph, name, x, PLUMB_LAYER_OPTIONS(rnn, __VA_ARGS__))
#define plumb_gru_layer(graph, name, x, ...)                                                                          \
    plumb_build_gru(graph, name, x, PLUMB_LAYER_OPTIONS(gru, __VA_ARGS__))
#define plumb_lstm_layer(graph, name, x, ...)                                                                         \
    plumb_build_lstm(graph, name, x, PLUMB_LAYER_OPTIONS(lstm, __VA_ARGS__))

/* Multi-head attention (Vaswani et al. 2017), x (T, N, E) -> (T, N, E): each head attends with its E / heads features of the
 * projections. Variables as in PyTorch: NAME.in_proj_weight (3 E, E), NAME.in_proj_bias (3 E), NAME.out_proj.weight (E, E),
 * NAME.out_proj.bias (E); keys or values of other features than E: NAME.q_proj_weight, .k_proj_weight, .v_proj_weight. */
typedef struct plumb_attention_layer_options {
    size_t size;
    int64_t heads;        /* a divisor of E */
    plumb_t keys, values; /* (S, N, features); PLUMB_NONE: keys x, values the keys */
    bool batch_first;     /* x is (N, T, E), keys and values (N, S, features) */
    bool causal;
    plumb_t mask;         /* as in plumb_attention_options: u8 keeps where it is not 0, unlike PyTorch's */
    bool no_bias;
    plumb_init init, out_init, bias_init; /* zeroed: Glorot's, uniform within 1 / sqrt(E), zeros */
    bool frozen;
} plumb_attention_layer_options;
#define plumb_attention_layer(graph, name, x, ...)                                                                    \
    plumb_build_attention(graph, name, x, PLUMB_LAYER_OPTIONS(attention, __VA_ARGS__))

typedef struct plumb_dropout_layer_options {
    size_t size;
    double drop; /* probability of dropping, or */
    double keep; /* of keeping; give one of them */
} plumb_dropout_layer_options;
#define plumb_dropout_layer(graph, name, x, ...)                                                                      \
    plumb_build_dropout(graph, name, x, PLUMB_LAYER_OPTIONS(dropout, __VA_ARGS__))

typedef struct plumb_activation_layer_options {
    size_t size;
    plumb_activation activation; /* PLUMB_LINEAR: x itself */
} plumb_activation_layer_options;
#define plumb_activation_layer(graph, name, x, ...)                                                                   \
    plumb_build_activation(graph, name, x, PLUMB_LAYER_OPTIONS(activation, __VA_ARGS__))

/* y = (x - shift) * scale. NAME.shift and NAME.scale, frozen, start as 0 and 1: data decide them, and saved weights
 * carry them. They are (C, 1, ..) for pictures x (N, C, ..), and one number for everything else. */
typedef struct plumb_scaling_layer_options {
    size_t size;
    int64_t channels; /* 0: as above; 1: one number; otherwise the size of x's dimension 1 */
} plumb_scaling_layer_options;
#define plumb_scaling_layer(graph, name, x, ...)                                                                      \
    plumb_build_scaling(graph, name, x, PLUMB_LAYER_OPTIONS(scaling, __VA_ARGS__))

PLUMB_API plumb_layer_builder plumb_build_linear, plumb_build_conv2d, plumb_build_max_pool2d,
    plumb_build_average_pool2d, plumb_build_batch_norm, plumb_build_dropout, plumb_build_activation,
    plumb_build_scaling, plumb_build_rnn, plumb_build_gru, plumb_build_lstm, plumb_build_layer_norm, plumb_build_rms_norm,
    plumb_build_group_norm, plumb_build_instance_norm, plumb_build_lrn, plumb_build_adaptive_average_pool2d,
    plumb_build_adaptive_max_pool2d, plumb_build_conv1d, plumb_build_conv_transpose2d,
    plumb_build_attention;
PLUMB_API plumb_layer_builder plumb_build_flatten;             /* (N, ..) -> (N, features); no options */
PLUMB_API plumb_layer_builder plumb_build_global_average_pool; /* (N, C, H, W) -> (N, C); no options */

/* -- a row of layers -- */
typedef struct plumb_layer {
    const char *name; /* NULL: none */
    plumb_layer_builder *build;
    const void *options;
} plumb_layer;

/* Each layer is given the one before. Names become "PREFIX.NAME" (PREFIX NULL: "NAME").
 *
 *     const plumb_layer layers[] = {
 *         PLUMB_LAYER(conv2d, "conv1", .filters = 8, .kernel = {5, 5}, .activation = PLUMB_RELU),
 *         PLUMB_POOL_LAYER(max, "pool1", .window = {2, 2}),
 *         PLUMB_PLAIN_LAYER(flatten, NULL),
 *         PLUMB_LAYER(linear, "fc1", .units = 10),
 *     };
 *     logits = plumb_sequential(net, NULL, x, layers, sizeof layers / sizeof *layers);
 */
PLUMB_API plumb_t plumb_sequential(plumb_graph *graph, const char *prefix, plumb_t x, const plumb_layer *layers,
                                   size_t count);
#define PLUMB_LAYER(kind, layer_name, ...)                                                                            \
    {.name = layer_name, .build = plumb_build_##kind, .options = PLUMB_LAYER_OPTIONS(kind, __VA_ARGS__)}
#define PLUMB_POOL_LAYER(which, layer_name, ...)                                                                      \
    {.name = layer_name, .build = plumb_build_##which##_pool2d, .options = PLUMB_LAYER_OPTIONS(pool2d, __VA_ARGS__)}
#define PLUMB_PLAIN_LAYER(kind, layer_name) {.name = layer_name, .build = plumb_build_##kind, .options = NULL}

/* -- models, ready to train: pictures in, classes out -- */
typedef struct plumb_model {
    plumb_graph *graph;
    plumb_t input;  /* "image": (batch, input_shape) */
    plumb_t label;  /* "label": i32 (batch), of logits for many places (batch, rows, columns) */
    plumb_t logits; /* (batch, classes); for many places of a picture (batch, classes, rows, columns) */
    plumb_t loss;   /* softmax cross-entropy, the mean of the batch; of "..-heads" with the weighted losses of the heads */
    plumb_shape input_shape; /* of one example: (C, H, W) */
    int classes;
} plumb_model;

typedef struct plumb_model_options {
    size_t size;
    plumb_shape input_shape;     /* (C, H, W); rank 0: the model's own */
    int classes;                 /* 0: the model's own: 1000 of those for 224 x 224, else 10 */
    const int64_t *units;        /* mlp: units of each hidden layer; NULL: {128} */
    int n_units;
    plumb_activation activation; /* of hidden layers; 0: the model's own */
    plumb_init init;             /* of all weights; zeroed: He's for ReLU, Xavier's for sigmoid and tanh */
    double drop;                 /* dropout after hidden fully connected layers; 0: none */
    bool no_scaling;             /* leave out the layer "scaling" that comes first */
    double width;                /* times as many channels and hidden units, to multiples of 8; 0: 1. Not of lenet5, mlp, lstm */
    plumb_dtype dtype;           /* of pictures and weights: PLUMB_F32 (0) or PLUMB_F64 */
    bool no_local_norm;          /* alexnet-2012, googlenet-2014: without local response normalisation */
    bool convolutional;          /* lenet5, alexnet, vgg: slide over pictures of input_shape, which may be larger than the
                                    model's own, a window of the model's own size (see below) */
} plumb_model_options;

/* A convolutional form has its fully connected layers as convolutions, by the same weights of the same names and shapes, so
 * that weights trained on windows load. Its logits (batch, classes, rows, columns) are those of all windows of the model's
 * own size (plumb_model_input_shape) at multiples of the model's total stride, exactly so where no convolution pads. */

/* Builds a model by name into a graph of its own. options NULL: the defaults. On failure the message says why (an
 * unknown name is refused with the names there are), and *model is zeroed. */
PLUMB_API PLUMB_MUST_CHECK plumb_status plumb_model_build(plumb_context *context, const char *name,
                                                          const plumb_model_options *options, plumb_model *model);
PLUMB_API int plumb_model_count(void);
PLUMB_API const char *plumb_model_name(int index); /* NULL out of range */
PLUMB_API const char *plumb_model_description(int index);
PLUMB_API plumb_shape plumb_model_input_shape(int index); /* the default one; rank 0 out of range */

/* -- what a model consists of: a row for the input and for each named op on the way to `output` -- */
typedef struct plumb_summary_row {
    char name[64];
    const char *op;         /* "conv2d" */
    plumb_shape shape;      /* of what the layer gives, symbols as they are */
    int64_t activation;     /* its elements for one example */
    int64_t parameters;     /* trainable elements that are first used here */
    int64_t frozen;         /* elements that training leaves alone */
    int64_t multiply_adds;  /* of matrix products and convolutions, for one example */
} plumb_summary_row;
/* Unnamed ops (activations, reshapes, bias additions) count to the row before them, whose shape stays that of its last
 * op unless that only lays elements out anew. Returns how many rows there are (-1: an error of the graph); fills at
 * most `room`. */
PLUMB_API int plumb_summary(const plumb_graph *graph, plumb_t input, plumb_t output, plumb_summary_row *rows, int room);

#ifdef __cplusplus
}
#endif
#endif
