/* Models by name: around what a model's own file builds come the same inputs, scaling, logits and loss for all, so that
 * training, evaluation and the command need to know none of them. */
#include "nn/nn.h"

#define PLUMB_MODEL(name) extern const plumb_model_kind plumb_model_##name;
#include "nn/models.h"
#undef PLUMB_MODEL

static const plumb_model_kind *const kinds[] = {
#define PLUMB_MODEL(name) &plumb_model_##name,
#include "nn/models.h"
#undef PLUMB_MODEL
};
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

static const plumb_model_kind *kind_at(int index) { return index >= 0 && index < KINDS ? kinds[index] : NULL; }

int plumb_model_count(void) { return KINDS; }
const char *plumb_model_name(int index) { return kind_at(index) ? kinds[index]->name : NULL; }
const char *plumb_model_description(int index) { return kind_at(index) ? kinds[index]->description : NULL; }
plumb_shape plumb_model_input_shape(int index) { return kind_at(index) ? kinds[index]->input_shape : PLUMB_SCALAR_SHAPE; }

static plumb_status refuse_name(plumb_context *context, const char *name)
{
    char list[1024] = "";
    size_t used = 0;
    for (int i = 0; i < KINDS && used + strlen(kinds[i]->name) + 3 < sizeof list; i++) {
        used = (size_t)(stpcpy(stpcpy(list + used, i ? ", " : ""), kinds[i]->name) - list);
    }
    return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s' is unknown; there are %s", name ? name : "", list);
}

/* Defaults for what was left open; refuses what no model can mean. */
static plumb_status settle(plumb_context *context, const plumb_model_kind *kind, plumb_model_options *o)
{
    static const int64_t one_hidden_layer[] = {128};
    if (o->input_shape.rank == 0) {
        o->input_shape = kind->input_shape;
    }
    char text[PLUMB_SHAPE_ROOM];
    plumb_shape_text(&o->input_shape, text, sizeof text);
    if (o->input_shape.rank != 3 || plumb_shape_count(&o->input_shape) < 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': pictures are %s, expected (C, H, W)", kind->name, text);
    }
    o->classes = o->classes ? o->classes : kind->classes ? kind->classes : 10;
    if (o->classes < 2) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': %d classes, expected at least 2", kind->name, o->classes);
    }
    if (!o->units) {
        o->units = one_hidden_layer;
        o->n_units = 1;
    }
    if (o->n_units < 0 || o->n_units > 1000) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': %d hidden layers, expected 0 to 1000", kind->name,
                          o->n_units);
    }
    if (!(o->width >= 0 && o->width <= 64)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': width %g, expected more than 0, at most 64", kind->name,
                          o->width);
    }
    o->dtype = o->dtype ? o->dtype : PLUMB_F32;
    if (o->dtype != PLUMB_F32 && o->dtype != PLUMB_F64) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': dtype %d, expected f32 or f64", kind->name, (int)o->dtype);
    }
    if (o->convolutional && !kind->slides) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model '%s': has no convolutional form", kind->name);
    }
    if (o->activation == PLUMB_LINEAR) {
        o->activation = kind->activation;
    }
    if (plumb_init_is_default(&o->init) && (o->activation == PLUMB_TANH || o->activation == PLUMB_SIGMOID)) {
        o->init.rule = PLUMB_INIT_XAVIER;
    }
    return PLUMB_OK;
}

static void assemble(plumb_model *model, const plumb_model_kind *kind, const plumb_model_options *o)
{
    plumb_graph *g = model->graph;
    const plumb_shape *one = &o->input_shape;
    struct plumb_heads heads = {0};
    model->input_shape = *one;
    model->classes = o->classes;
    model->input = plumb_input(g, "image", o->dtype, PLUMB_SHAPE(PLUMB_BATCH, one->dim[0], one->dim[1], one->dim[2]));
    plumb_t x = o->no_scaling ? model->input : plumb_scaling_layer(g, "scaling", model->input);
    model->logits = kind->build ? kind->build(g, x, o) : kind->build_with_heads(g, x, o, &heads);
    plumb_shape shape = plumb_shape_of(g, model->logits); /* (batch, classes), or (batch, classes, rows, columns) */
    for (int d = 1; d + 1 < shape.rank; d++) {
        shape.dim[d] = shape.dim[d + 1];
    }
    shape.rank = shape.rank > 1 ? shape.rank - 1 : 1;
    shape.dim[0] = PLUMB_BATCH;
    model->label = plumb_input(g, "label", PLUMB_I32, shape);
    plumb_name_next(g, "loss");
    model->loss = plumb_softmax_cross_entropy(g, model->logits, model->label, NULL);
    plumb_name_next(g, NULL);
    for (int i = 0; i < heads.count; i++) {
        plumb_t loss = plumb_softmax_cross_entropy(g, heads.logits[i], model->label, NULL);
        model->loss = plumb_add(g, model->loss, plumb_affine(g, loss, heads.weight, 0));
    }
}

plumb_status plumb_model_build(plumb_context *context, const char *name, const plumb_model_options *options,
                               plumb_model *model)
{
    if (!context || !model) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "model: needs a context and a place for the result");
    }
    memset(model, 0, sizeof *model);
    int index = 0;
    while (index < KINDS && !(name && strcmp(kinds[index]->name, name) == 0)) {
        index++;
    }
    if (index == KINDS) {
        return refuse_name(context, name);
    }
    plumb_model_options o;
    plumb_take_options(&o, sizeof o, options);
    plumb_status status = settle(context, kinds[index], &o);
    if (status != PLUMB_OK) {
        return status;
    }
    model->graph = plumb_graph_new(context, name);
    if (!model->graph) {
        return PLUMB_FAILED;
    }
    assemble(model, kinds[index], &o);
    status = plumb_graph_status(model->graph);
    if (status != PLUMB_OK) {
        plumb_graph_free(model->graph);
        memset(model, 0, sizeof *model);
    }
    return status;
}
