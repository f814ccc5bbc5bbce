/* RNN, GRU and LSTM. ONNX stacks directions in front and orders gates i, o, f, c and z, r, h; plumb takes one direction and i, f,
 * g, o and r, z, n, and peepholes i, o, f for i, f, o. */
#include "onnx/onnx.h"

struct layer {
    int gates;
    const int *order; /* where in ONNX's order plumb's gate k stands */
    bool cell;
    int64_t hidden;
    bool batch_first;
};

/* Of direction `d`, rows [from, from + gates * hidden) of x (directions, rows, ..), gates in plumb's order. */
static plumb_t gates_of(struct onnx_node *q, const struct layer *l, int input, int d, int64_t from)
{
    plumb_t x = onnx_in(q, input), parts[4];
    for (int k = 0; k < l->gates; k++) {
        int64_t begin[3] = {d, from + l->order[k] * l->hidden, 0};
        int64_t end[3] = {d + 1, from + (l->order[k] + 1) * l->hidden, PLUMB_END};
        parts[k] = plumb_squeeze(q->g, plumb_slice(q->g, x, begin, end, NULL), PLUMB_AXES(0));
    }
    return l->gates == 1 ? parts[0] : plumb_concat(q->g, parts, l->gates, 0);
}

/* (3 * hidden) for i, f, o of direction d, from i, o, f. */
static plumb_t peepholes_of(struct onnx_node *q, const struct layer *l, int d)
{
    static const int order[] = {0, 2, 1};
    const struct layer three = {.gates = 3, .order = order, .hidden = l->hidden};
    return onnx_has(q, 7) ? gates_of(q, &three, 7, d, 0) : PLUMB_NONE;
}

/* Initial state of direction d: (directions, N, H), or (N, directions, H). */
static plumb_t state_of(struct onnx_node *q, const struct layer *l, int input, int d)
{
    if (!onnx_has(q, input)) {
        return PLUMB_NONE;
    }
    int axis = l->batch_first ? 1 : 0;
    int64_t begin[3] = {0}, end[3] = {PLUMB_END, PLUMB_END, PLUMB_END};
    begin[axis] = d;
    end[axis] = d + 1;
    return plumb_squeeze(q->g, plumb_slice(q->g, onnx_in(q, input), begin, end, NULL), PLUMB_AXES(axis));
}

/* The standard activations of the operator, for every direction; *relu: an RNN's are Relu. */
static plumb_status activations(struct onnx_node *q, const struct layer *l, bool *relu)
{
    static const char *const standard[] = {"Sigmoid", "Tanh", "Tanh"};
    const Onnx__Attribute *a = onnx_attribute(q, "activations");
    int each = l->gates == 1 ? 1 : l->cell ? 3 : 2;
    *relu = false;
    for (size_t i = 0; a && i < a->n_strings; i++) {
        const ProtobufCBinaryData *s = &a->strings[i];
        const char *wanted = each == 1 ? "Tanh" : standard[i % (size_t)each];
        bool same = s->len == strlen(wanted) && memcmp(s->data, wanted, s->len) == 0;
        bool rectified = each == 1 && s->len == 4 && memcmp(s->data, "Relu", 4) == 0;
        if (!(same || rectified) || (i && rectified != *relu)) {
            return onnx_refuse(q, "activations", "others than the standard ones (and Relu for RNN) are not supported");
        }
        *relu = rectified;
    }
    return PLUMB_OK;
}

static plumb_status check(struct onnx_node *q, const struct layer *l, int *directions, bool *reverse)
{
    const char *direction = onnx_text(q, "direction", "forward");
    *reverse = strcmp(direction, "reverse") == 0;
    *directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    if (!*reverse && *directions == 1 && strcmp(direction, "forward") != 0) {
        return onnx_refuse(q, "direction", "'%.40s' is none of forward, reverse, bidirectional", direction);
    }
    plumb_shape x = onnx_shape(q, 0), w = onnx_shape(q, 1), r = onnx_shape(q, 2), b = onnx_shape(q, 3);
    if (x.rank != 3 || w.rank != 3 || r.rank != 3 || w.dim[0] != *directions || r.dim[0] != *directions || l->hidden != r.dim[2] ||
        w.dim[1] != l->gates * l->hidden || r.dim[1] != l->gates * l->hidden) {
        return onnx_refuse(q, "hidden_size", "%lld does not go with the shapes of W and R", (long long)l->hidden);
    }
    if (onnx_has(q, 3) && (b.rank != 2 || b.dim[0] != *directions || b.dim[1] != 2 * l->gates * l->hidden)) {
        return onnx_refuse(q, NULL, "B has another shape than (directions, %lld)", (long long)(2 * l->gates * l->hidden));
    }
    plumb_shape p = onnx_shape(q, 7);
    if (onnx_has(q, 7) && (p.rank != 2 || p.dim[0] != *directions || p.dim[1] != 3 * l->hidden)) {
        return onnx_refuse(q, NULL, "P has another shape than (directions, %lld)", (long long)(3 * l->hidden));
    }
    if (onnx_int(q, "input_forget", 0) || onnx_attribute(q, "clip")) {
        return onnx_refuse(q, onnx_attribute(q, "clip") ? "clip" : "input_forget", "is not supported");
    }
    return q->failed;
}

/* One direction's y (T, N, H) and last states. */
static void run(struct onnx_node *q, const struct layer *l, plumb_t x, int d, bool reverse, bool relu, plumb_t out[3])
{
    bool after = l->gates == 3 && onnx_int(q, "linear_before_reset", 0) != 0;
    const plumb_recurrent_options o = {.size = sizeof(o), .reverse = reverse, .relu = relu, .lengths = onnx_in(q, 4),
                                       .reset = l->gates == 3 && !after ? PLUMB_RESET_BEFORE : PLUMB_RESET_AFTER,
                                       .peepholes = l->cell ? peepholes_of(q, l, d) : PLUMB_NONE};
    plumb_t w = gates_of(q, l, 1, d, 0), r = gates_of(q, l, 2, d, 0);
    plumb_t wb = onnx_has(q, 3) ? gates_of(q, l, 3, d, 0) : PLUMB_NONE;
    plumb_t rb = onnx_has(q, 3) ? gates_of(q, l, 3, d, l->gates * l->hidden) : PLUMB_NONE;
    plumb_t h = state_of(q, l, 5, d), c = l->cell ? state_of(q, l, 6, d) : PLUMB_NONE;
    out[0] = l->cell         ? plumb_lstm(q->g, x, h, c, w, r, wb, rb, &o)
             : l->gates == 3 ? plumb_gru(q->g, x, h, w, r, wb, rb, &o)
                             : plumb_rnn(q->g, x, h, w, r, wb, rb, &o);
    out[1] = plumb_output(q->g, out[0], 1);
    out[2] = l->cell ? plumb_output(q->g, out[0], 2) : PLUMB_NONE;
}

static plumb_status recurrent(struct onnx_node *q, struct layer l)
{
    int directions = 1;
    bool reverse = false, relu = false;
    l.batch_first = onnx_int(q, "layout", 0) != 0;
    l.hidden = onnx_int(q, "hidden_size", onnx_shape(q, 2).rank == 3 ? onnx_shape(q, 2).dim[2] : 0);
    plumb_status status = check(q, &l, &directions, &reverse);
    status = status ? status : activations(q, &l, &relu);
    if (status) {
        return status;
    }
    plumb_t x = onnx_in(q, 0), part[2][3];
    x = l.batch_first ? plumb_transpose(q->g, x, (const int[]){1, 0, 2}) : x;
    for (int d = 0; d < directions; d++) {
        run(q, &l, x, d, reverse || d, relu, part[d]);
    }
    for (int k = 0; k < (l.cell ? 3 : 2); k++) {
        if (!onnx_wants(q, k)) {
            continue;
        }
        const plumb_t parts[2] = {part[0][k], part[directions - 1][k]};
        plumb_t y = plumb_stack(q->g, parts, directions, k ? 0 : 1); /* (T, D, N, H), (D, N, H) */
        if (l.batch_first) {
            y = plumb_transpose(q->g, y, k ? (const int[]){1, 0, 2} : (const int[]){2, 0, 1, 3});
        }
        onnx_out(q, k, y);
    }
    return PLUMB_OK;
}

static plumb_status rnn(struct onnx_node *q)
{
    static const int order[] = {0};
    return recurrent(q, (struct layer){.gates = 1, .order = order});
}

static plumb_status gru(struct onnx_node *q)
{
    static const int order[] = {1, 0, 2};
    return recurrent(q, (struct layer){.gates = 3, .order = order});
}

static plumb_status lstm(struct onnx_node *q)
{
    static const int order[] = {0, 2, 3, 1};
    return recurrent(q, (struct layer){.gates = 4, .order = order, .cell = true});
}

static const struct onnx_row rows[] = {
    {"GRU", 7, 0, 3, 6, gru, {NULL}, false},
    {"LSTM", 7, 0, 3, 8, lstm, {NULL}, false},
    {"RNN", 7, 0, 3, 6, rnn, {NULL}, false},
};
const struct onnx_family plumb_onnx_recurrents = {rows, sizeof(rows) / sizeof(rows[0])};
