/* GoogLeNet (Szegedy et al. 2014) and Inception-v3 (Szegedy et al. 2015), their variables named as torchvision names them:
 * "inception3a.branch2.0.conv.weight", "Mixed_6b.branch7x7dbl_5.bn.running_var", "aux1.fc1.bias", "AuxLogits.fc.weight".
 *
 * `googlenet` is torchvision's: batch norm behind every convolution, and 3 x 3 filters where the paper has 5 x 5 (all
 * weights that are passed around have them so). `googlenet-2014` is the paper's: 5 x 5 filters, biases, local response
 * normalisation around the second and third convolution, 6,998,552 parameters. Epsilon of the norms is 0.001.
 *
 * The forms "-heads" have auxiliary classifiers in the middle, whose losses count 0.3 each in GoogLeNet and 0.4 in
 * Inception-v3, in training and in what evaluation calls the loss; the logits are those of the end alone. The average
 * before GoogLeNet's heads comes to 4 x 4 places from every size, as in torchvision; that of Inception-v3 needs pictures of
 * at least 299 x 299, without its head 75 x 75 will do. The papers train with dropout (`drop`, before the last layer, and
 * in the heads of GoogLeNet). */
#include "nn/nn.h"

#include <stdio.h>

enum from { X, LAST, BESIDE }; /* what a part reads: the module's input; the part before; what the part before reads */
enum what { CONV, AVERAGE, MAX, MAX_HALVES };

/* One part of a module: branches are rows of parts; what no other reads on from stands in the result, in this order. */
struct part {
    enum from from;
    const char *name; /* of a convolution's variables, behind the module's */
    int64_t filters;
    int64_t kernel[2];
    int64_t stride;
    bool valid;
    enum what what;
};

struct style {
    double epsilon;
    bool plain;
};

static plumb_t pooled(plumb_graph *g, plumb_t x, enum what what)
{
    if (what == AVERAGE)
        return plumb_average_pool2d_layer(g, NULL, x, .window = {3}, .stride = {1}, .padding = {1, 1});
    if (what == MAX)
        return plumb_max_pool2d_layer(g, NULL, x, .window = {3}, .stride = {1}, .padding = {1, 1}, .ceil_mode = true);
    return plumb_max_pool2d_layer(g, NULL, x, .window = {3}, .stride = {2});
}

static plumb_t conv(plumb_graph *g, const char *module, plumb_t x, const struct part *p, const struct style *style,
                    const plumb_model_options *o)
{
    char prefix[64];
    const struct plumb_block block = {.filters = plumb_wide(o, p->filters), .kernel = {p->kernel[0], p->kernel[1]},
                                      .stride = p->stride, .valid = p->valid, .activation = o->activation,
                                      .epsilon = style->epsilon, .plain = style->plain};
    snprintf(prefix, sizeof prefix, "%s%s%s.", module, *module ? "." : "", p->name);
    return plumb_conv_block(g, prefix, "conv", "bn", x, &block, o);
}

/* x (N, C, H, W) -> the branches' channels one behind the other. */
static plumb_t mixed(plumb_graph *g, const char *name, plumb_t x, const struct part *parts, int count,
                     const struct style *style, const plumb_model_options *o)
{
    plumb_t result[8], in = x, last = x;
    int n = 0;
    for (int i = 0; i < count; i++) {
        const struct part *p = &parts[i];
        in = p->from == X ? x : p->from == LAST ? last : in;
        last = p->what == CONV ? conv(g, name, in, p, style, o) : pooled(g, in, p->what);
        if (i + 1 == count || parts[i + 1].from != LAST)
            result[n++] = last;
    }
    plumb_name_next(g, name);
    x = plumb_concat(g, result, n, 1);
    plumb_name_next(g, NULL);
    return x;
}
#define MIXED(g, name, x, parts, style, o) mixed(g, name, x, parts, (int)(sizeof(parts) / sizeof *(parts)), style, o)

static plumb_t head_end(plumb_graph *g, plumb_t x, const char *name, const plumb_model_options *o)
{
    return plumb_linear_layer(g, name, x, .units = o->classes, .init = o->init);
}

/* ---- GoogLeNet ---- */

struct googlenet {
    struct style style;
    int64_t large;   /* the kernel of the third branch */
    bool local_norm, heads;
};

static plumb_t google_module(plumb_graph *g, const char *name, plumb_t x, const int64_t n[6], const struct googlenet *size,
                             const plumb_model_options *o)
{
    const struct part parts[] = {{X, .name = "branch1", .filters = n[0], .kernel = {1}},
                                 {X, .name = "branch2.0", .filters = n[1], .kernel = {1}},
                                 {LAST, .name = "branch2.1", .filters = n[2], .kernel = {3}},
                                 {X, .name = "branch3.0", .filters = n[3], .kernel = {1}},
                                 {LAST, .name = "branch3.1", .filters = n[4], .kernel = {size->large}},
                                 {X, .what = MAX},
                                 {LAST, .name = "branch4.1", .filters = n[5], .kernel = {1}}};
    return MIXED(g, name, x, parts, &size->style, o);
}

static plumb_t google_head(plumb_graph *g, const char *name, plumb_t x, const struct googlenet *size,
                           const plumb_model_options *o)
{
    const struct part small = {X, .name = "conv", .filters = 128, .kernel = {1}};
    char fc[2][16];
    for (int i = 0; i < 2; i++)
        snprintf(fc[i], sizeof fc[i], "%s.fc%d", name, i + 1);
    x = plumb_adaptive_average_pool2d_layer(g, NULL, x, .output = {4, 4});
    x = plumb_build_flatten(g, NULL, conv(g, name, x, &small, &size->style, o), NULL);
    x = plumb_linear_layer(g, fc[0], x, .units = plumb_wide(o, 1024), .init = o->init, .activation = o->activation);
    return head_end(g, plumb_drop_block(g, x, o), fc[1], o);
}

static plumb_t google_stem(plumb_graph *g, plumb_t x, const struct googlenet *size, const plumb_model_options *o)
{
    static const struct part parts[] = {{X, .name = "conv1", .filters = 64, .kernel = {7}, .stride = 2},
                                        {X, .name = "conv2", .filters = 64, .kernel = {1}},
                                        {X, .name = "conv3", .filters = 192, .kernel = {3}}};
    const plumb_lrn_layer_options norm = {.size = sizeof norm, .channels = 5, .alpha = 5e-4, .beta = 0.75, .bias = 1};
    bool norms = size->local_norm && !o->no_local_norm;
    x = conv(g, "", x, &parts[0], &size->style, o);
    x = plumb_max_pool2d_layer(g, "maxpool1", x, .window = {3}, .stride = {2}, .ceil_mode = true);
    x = norms ? plumb_build_lrn(g, "norm1", x, &norm) : x;
    x = conv(g, "", conv(g, "", x, &parts[1], &size->style, o), &parts[2], &size->style, o);
    x = norms ? plumb_build_lrn(g, "norm2", x, &norm) : x;
    return plumb_max_pool2d_layer(g, "maxpool2", x, .window = {3}, .stride = {2}, .ceil_mode = true);
}

static plumb_t build_google(plumb_graph *g, plumb_t x, const plumb_model_options *o, struct plumb_heads *heads,
                            const struct googlenet *size)
{
    static const struct {
        const char *name;
        int64_t filters[6]; /* 1 x 1; 1 x 1 before 3 x 3, 3 x 3; 1 x 1 before the large one, this; 1 x 1 behind pooling */
        int64_t pool;       /* behind it, of stride 2 */
        const char *head;   /* behind it */
    } rows[] = {{"inception3a", {64, 96, 128, 16, 32, 32}, 0, NULL},     {"inception3b", {128, 128, 192, 32, 96, 64}, 3, NULL},
                {"inception4a", {192, 96, 208, 16, 48, 64}, 0, "aux1"},  {"inception4b", {160, 112, 224, 24, 64, 64}, 0, NULL},
                {"inception4c", {128, 128, 256, 24, 64, 64}, 0, NULL},   {"inception4d", {112, 144, 288, 32, 64, 64}, 0, "aux2"},
                {"inception4e", {256, 160, 320, 32, 128, 128}, 2, NULL}, {"inception5a", {256, 160, 320, 32, 128, 128}, 0, NULL},
                {"inception5b", {384, 192, 384, 48, 128, 128}, 0, NULL}};
    heads->weight = 0.3;
    x = google_stem(g, x, size, o);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        x = google_module(g, rows[i].name, x, rows[i].filters, size, o);
        if (size->heads && rows[i].head)
            heads->logits[heads->count++] = google_head(g, rows[i].head, x, size, o);
        if (rows[i].pool)
            x = plumb_max_pool2d_layer(g, rows[i].pool == 3 ? "maxpool3" : "maxpool4", x, .window = {rows[i].pool},
                                       .stride = {2}, .ceil_mode = true);
    }
    x = plumb_build_global_average_pool(g, "avgpool", x, NULL);
    return head_end(g, plumb_drop_block(g, x, o), "fc", o);
}

/* ---- Inception-v3: modules A to E of torchvision ---- */

static const struct style v3 = {.epsilon = 1e-3};

static plumb_t module_a(plumb_graph *g, const char *name, plumb_t x, int64_t behind_pool, const plumb_model_options *o)
{
    const struct part parts[] = {{X, .name = "branch1x1", .filters = 64, .kernel = {1}},
                                 {X, .name = "branch5x5_1", .filters = 48, .kernel = {1}},
                                 {LAST, .name = "branch5x5_2", .filters = 64, .kernel = {5}},
                                 {X, .name = "branch3x3dbl_1", .filters = 64, .kernel = {1}},
                                 {LAST, .name = "branch3x3dbl_2", .filters = 96, .kernel = {3}},
                                 {LAST, .name = "branch3x3dbl_3", .filters = 96, .kernel = {3}},
                                 {X, .what = AVERAGE},
                                 {LAST, .name = "branch_pool", .filters = behind_pool, .kernel = {1}}};
    return MIXED(g, name, x, parts, &v3, o);
}

static plumb_t module_b(plumb_graph *g, const char *name, plumb_t x, const plumb_model_options *o)
{
    static const struct part parts[] = {{X, .name = "branch3x3", .filters = 384, .kernel = {3}, .stride = 2, .valid = true},
                                        {X, .name = "branch3x3dbl_1", .filters = 64, .kernel = {1}},
                                        {LAST, .name = "branch3x3dbl_2", .filters = 96, .kernel = {3}},
                                        {LAST, .name = "branch3x3dbl_3", .filters = 96, .kernel = {3}, .stride = 2, .valid = true},
                                        {X, .what = MAX_HALVES}};
    return MIXED(g, name, x, parts, &v3, o);
}

static plumb_t module_c(plumb_graph *g, const char *name, plumb_t x, int64_t inside, const plumb_model_options *o)
{
    const struct part parts[] = {{X, .name = "branch1x1", .filters = 192, .kernel = {1}},
                                 {X, .name = "branch7x7_1", .filters = inside, .kernel = {1}},
                                 {LAST, .name = "branch7x7_2", .filters = inside, .kernel = {1, 7}},
                                 {LAST, .name = "branch7x7_3", .filters = 192, .kernel = {7, 1}},
                                 {X, .name = "branch7x7dbl_1", .filters = inside, .kernel = {1}},
                                 {LAST, .name = "branch7x7dbl_2", .filters = inside, .kernel = {7, 1}},
                                 {LAST, .name = "branch7x7dbl_3", .filters = inside, .kernel = {1, 7}},
                                 {LAST, .name = "branch7x7dbl_4", .filters = inside, .kernel = {7, 1}},
                                 {LAST, .name = "branch7x7dbl_5", .filters = 192, .kernel = {1, 7}},
                                 {X, .what = AVERAGE},
                                 {LAST, .name = "branch_pool", .filters = 192, .kernel = {1}}};
    return MIXED(g, name, x, parts, &v3, o);
}

static plumb_t module_d(plumb_graph *g, const char *name, plumb_t x, const plumb_model_options *o)
{
    static const struct part parts[] = {{X, .name = "branch3x3_1", .filters = 192, .kernel = {1}},
                                        {LAST, .name = "branch3x3_2", .filters = 320, .kernel = {3}, .stride = 2, .valid = true},
                                        {X, .name = "branch7x7x3_1", .filters = 192, .kernel = {1}},
                                        {LAST, .name = "branch7x7x3_2", .filters = 192, .kernel = {1, 7}},
                                        {LAST, .name = "branch7x7x3_3", .filters = 192, .kernel = {7, 1}},
                                        {LAST, .name = "branch7x7x3_4", .filters = 192, .kernel = {3}, .stride = 2, .valid = true},
                                        {X, .what = MAX_HALVES}};
    return MIXED(g, name, x, parts, &v3, o);
}

static plumb_t module_e(plumb_graph *g, const char *name, plumb_t x, const plumb_model_options *o)
{
    static const struct part parts[] = {{X, .name = "branch1x1", .filters = 320, .kernel = {1}},
                                        {X, .name = "branch3x3_1", .filters = 384, .kernel = {1}},
                                        {LAST, .name = "branch3x3_2a", .filters = 384, .kernel = {1, 3}},
                                        {BESIDE, .name = "branch3x3_2b", .filters = 384, .kernel = {3, 1}},
                                        {X, .name = "branch3x3dbl_1", .filters = 448, .kernel = {1}},
                                        {LAST, .name = "branch3x3dbl_2", .filters = 384, .kernel = {3}},
                                        {LAST, .name = "branch3x3dbl_3a", .filters = 384, .kernel = {1, 3}},
                                        {BESIDE, .name = "branch3x3dbl_3b", .filters = 384, .kernel = {3, 1}},
                                        {X, .what = AVERAGE},
                                        {LAST, .name = "branch_pool", .filters = 192, .kernel = {1}}};
    return MIXED(g, name, x, parts, &v3, o);
}

static plumb_t v3_stem(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    static const struct part parts[] = {
        {X, .name = "Conv2d_1a_3x3", .filters = 32, .kernel = {3}, .stride = 2, .valid = true},
        {X, .name = "Conv2d_2a_3x3", .filters = 32, .kernel = {3}, .valid = true},
        {X, .name = "Conv2d_2b_3x3", .filters = 64, .kernel = {3}},
        {X, .what = MAX_HALVES},
        {X, .name = "Conv2d_3b_1x1", .filters = 80, .kernel = {1}},
        {X, .name = "Conv2d_4a_3x3", .filters = 192, .kernel = {3}, .valid = true},
        {X, .what = MAX_HALVES},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        x = parts[i].what == CONV ? conv(g, "", x, &parts[i], &v3, o) : pooled(g, x, parts[i].what);
    return x;
}

static plumb_t v3_head(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    static const struct part parts[] = {{X, .name = "conv0", .filters = 128, .kernel = {1}},
                                        {X, .name = "conv1", .filters = 768, .kernel = {5}, .valid = true}};
    x = plumb_average_pool2d_layer(g, NULL, x, .window = {5}, .stride = {3});
    for (int i = 0; i < 2; i++)
        x = conv(g, "AuxLogits", x, &parts[i], &v3, o);
    return head_end(g, plumb_build_global_average_pool(g, NULL, x, NULL), "AuxLogits.fc", o);
}

static plumb_t build_v3(plumb_graph *g, plumb_t x, const plumb_model_options *o, struct plumb_heads *heads, bool with_head)
{
    x = v3_stem(g, x, o);
    x = module_a(g, "Mixed_5b", x, 32, o);
    x = module_a(g, "Mixed_5c", x, 64, o);
    x = module_a(g, "Mixed_5d", x, 64, o);
    x = module_b(g, "Mixed_6a", x, o);
    x = module_c(g, "Mixed_6b", x, 128, o);
    x = module_c(g, "Mixed_6c", x, 160, o);
    x = module_c(g, "Mixed_6d", x, 160, o);
    x = module_c(g, "Mixed_6e", x, 192, o);
    if (with_head)
        *heads = (struct plumb_heads){.logits = {v3_head(g, x, o)}, .count = 1, .weight = 0.4};
    x = module_d(g, "Mixed_7a", x, o);
    x = module_e(g, "Mixed_7b", x, o);
    x = module_e(g, "Mixed_7c", x, o);
    x = plumb_build_global_average_pool(g, "avgpool", x, NULL);
    return head_end(g, plumb_drop_block(g, x, o), "fc", o);
}

/* ---- the models: what differs, and its row ---- */

#define INCEPTION(symbol, given_name, side, text, call)                                                               \
    static plumb_t build_##symbol(plumb_graph *g, plumb_t x, const plumb_model_options *o, struct plumb_heads *heads) \
    {                                                                                                                 \
        return call;                                                                                                  \
    }                                                                                                                 \
    const plumb_model_kind plumb_model_##symbol = {                                                                   \
        .name = given_name,                                                                                           \
        .description = text,                                                                                          \
        .input_shape = {.rank = 3, .dim = {3, side, side}},                                                           \
        .classes = 1000,                                                                                              \
        .activation = PLUMB_RELU,                                                                                     \
        .build_with_heads = build_##symbol,                                                                           \
    };
#define GOOGLENET(symbol, given_name, text, ...)                                                                      \
    static const struct googlenet size_##symbol = {__VA_ARGS__};                                                      \
    INCEPTION(symbol, given_name, 224, text, build_google(g, x, o, heads, &size_##symbol))

GOOGLENET(googlenet, "googlenet", "GoogLeNet as torchvision has it, with batch norm, 6,624,904 parameters",
          .style = {.epsilon = 1e-3}, .large = 3)
GOOGLENET(googlenet_heads, "googlenet-heads", "the same with two auxiliary classifiers, 13,004,888 parameters",
          .style = {.epsilon = 1e-3}, .large = 3, .heads = true)
GOOGLENET(googlenet_2014, "googlenet-2014", "GoogLeNet as in 2014, without batch norm, 6,998,552 parameters",
          .style = {.plain = true}, .large = 5, .local_norm = true)
GOOGLENET(googlenet_2014_heads, "googlenet-2014-heads", "the same with two auxiliary classifiers, 13,378,280 parameters",
          .style = {.plain = true}, .large = 5, .local_norm = true, .heads = true)
INCEPTION(inception_v3, "inception-v3", 299, "Inception-v3 for 299 x 299 colour pictures, 23,834,568 parameters",
          build_v3(g, x, o, heads, false))
INCEPTION(inception_v3_heads, "inception-v3-heads", 299, "the same with its auxiliary classifier, 27,161,264 parameters",
          build_v3(g, x, o, heads, true))
