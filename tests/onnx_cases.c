/* Runs ONNX's own test cases (Debian's libonnx-testdata): every model is read, given the stored inputs, and its outputs are
 * compared with the stored ones, |y - r| <= 1e-6 + 1e-5 |r|, infinities and NaN where they are expected. What is refused by
 * name is counted apart.
 *
 *     plumb-onnx-cases [--verbose] [--filter WORD] [FOLDER]      (default /usr/share/libonnx-testdata/data)
 *
 * Closing line: "N passed, N failed, N skipped"; before it how many pass at ONNX's own 1e-3 only, how many draw at random
 * and so have nothing to be compared with, and how many are refused by name, which is an answer, not a skip. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "onnx/onnx.h"
#include "plumb/plumb.h"

#define DEFAULT_FOLDER "/usr/share/libonnx-testdata/data"
#define MOST 32 /* inputs or outputs of a case */

/* What cannot agree, whatever is right. Their models must run all the same. */
static const char *const incomparable[] = {
    "test_bernoulli", /* each library draws in its own way */
    /* the stored results come of a length that is no whole number: 4 elements scaled by 0.6 count as 2.4, where there are 2 */
    "test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners"};

static bool is_incomparable(const char *name)
{
    for (size_t i = 0; i < sizeof(incomparable) / sizeof(incomparable[0]); i++) {
        if (strncmp(name, incomparable[i], strlen(incomparable[i])) == 0) {
            return true;
        }
    }
    return false;
}

enum outcome { PASSED, LOOSE, DRAWN, FAILED, REFUSED, OUTCOMES };

struct tally {
    int count[OUTCOMES];
    bool verbose;
    const char *filter;
};

struct tensor {
    struct onnx_value value;
    struct plumb_arena arena;
};

static plumb_status read_tensor(plumb_context *context, const char *path, struct tensor *t)
{
    void *data = NULL;
    size_t bytes = 0;
    *t = (struct tensor){.arena = {.context = context}};
    plumb_status status = plumb_read_file(context, path, (size_t)1 << 30, &data, &bytes);
    Onnx__Tensor *message = status ? NULL : onnx__tensor__unpack(NULL, bytes, data);
    plumb_onnx file = {.context = context, .path = (char *)(uintptr_t)path};
    if (!status) {
        status = message ? plumb_onnx_tensor(&file, &t->arena, message, "tensor", &t->value) : PLUMB_BAD_INPUT;
    }
    if (message) {
        onnx__tensor__free_unpacked(message, NULL);
    }
    plumb_free(context, data);
    return status;
}

/* The largest |y - r| / (absolute + relative |r|); infinity where one of them is not finite and the other is not the same. */
static double distance(const void *y, const struct onnx_value *r, double relative, double absolute)
{
    double worst = 0;
    for (int64_t i = 0; i < plumb_shape_count(&r->shape); i++) {
        double a = plumb_get(y, r->dtype, i), b = plumb_get(r->data, r->dtype, i);
        double d = a == b || (isnan(a) && isnan(b)) ? 0 : isfinite(a) && isfinite(b) ? fabs(a - b) / (absolute + relative * fabs(b)) : INFINITY;
        worst = d > worst ? d : worst;
    }
    return worst;
}

static enum outcome compare(plumb_program *program, plumb_t output, const struct onnx_value *wanted, char *why, size_t room)
{
    plumb_shape shape = plumb_output_shape(program, output);
    if (!plumb_shape_equal(&shape, &wanted->shape)) {
        char is[160], be[160];
        snprintf(why, room, "shape %s, expected %s", plumb_shape_text(&shape, is, sizeof(is)), plumb_shape_text(&wanted->shape, be, sizeof(be)));
        return FAILED;
    }
    size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(wanted->dtype);
    void *y = malloc(bytes + 1);
    enum outcome outcome = y && (!bytes || !plumb_fetch(program, output, y, bytes)) ? PASSED : FAILED;
    /* bf16 and f16 results are exact to their own rounding */
    double u = 2 * plumb_dtype_epsilon(wanted->dtype), relative = u > 1e-5 ? u : 1e-5;
    if (outcome == PASSED && !(distance(y, wanted, relative, 1e-6) <= 1)) {
        outcome = distance(y, wanted, 1e-3, 1e-7) <= 1 ? LOOSE : FAILED;
        snprintf(why, room, "values differ: %.3g times the bound", distance(y, wanted, relative, 1e-6));
    }
    free(y);
    return outcome;
}

static enum outcome run(plumb_context *context, const plumb_onnx_model *model, const struct tensor *in, int n_in, const struct tensor *out,
                        int n_out, char *why, size_t room)
{
    enum outcome outcome = PASSED;
    plumb_program *program = plumb_compile(model->graph, model->state,
                                           &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = model->outputs, .n_outputs = n_out});
    plumb_status status = program ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; !status && i < n_in; i++) {
        const struct onnx_value *v = &in[i].value;
        status = plumb_feed(program, model->inputs[i], v->data, (size_t)plumb_shape_count(&v->shape) * plumb_dtype_size(v->dtype));
    }
    status = status ? status : plumb_run(program);
    if (status) {
        snprintf(why, room, "%s", plumb_message(context));
        outcome = FAILED;
    }
    for (int i = 0; outcome <= LOOSE && i < n_out; i++) {
        enum outcome one = compare(program, model->outputs[i], &out[i].value, why, room);
        outcome = one > outcome ? one : outcome;
    }
    plumb_program_free(program);
    return outcome;
}

/* FOLDER/test_data_set_K/input_I.pb ... until one is missing. -1: one cannot be read. */
static int read_all(plumb_context *context, const char *folder, const char *what, int set, struct tensor *to, char *why, size_t room)
{
    char path[2048];
    for (int i = 0; i < MOST; i++) {
        snprintf(path, sizeof(path), "%.1000s/test_data_set_%d/%s_%d.pb", folder, set, what, i);
        if (access(path, R_OK) != 0) {
            return i;
        }
        if (read_tensor(context, path, &to[i])) {
            snprintf(why, room, "%s", plumb_message(context));
            return -1;
        }
    }
    return MOST;
}

static enum outcome one_set(plumb_context *context, const char *folder, int set, char *why, size_t room)
{
    struct tensor in[MOST] = {0}, out[MOST] = {0};
    char path[2048];
    snprintf(path, sizeof(path), "%.1000s/model.onnx", folder);
    plumb_onnx *file = plumb_onnx_open(context, path);
    if (!file) {
        snprintf(why, room, "%s", plumb_message(context));
        return REFUSED;
    }
    int n_in = read_all(context, folder, "input", set, in, why, room), n_out = n_in < 0 ? -1 : read_all(context, folder, "output", set, out, why, room);
    plumb_onnx_given given[MOST];
    for (int i = 0; i < n_in; i++) {
        given[i] = (plumb_onnx_given){in[i].value.shape, in[i].value.data};
    }
    plumb_onnx_model model = {.graph = NULL};
    const plumb_onnx_options options = {.size = sizeof(options), .inputs = given, .n_inputs = n_in};
    enum outcome outcome = REFUSED;
    if (n_out >= 0 && plumb_onnx_build(file, &options, &model)) {
        snprintf(why, room, "%s", plumb_message(context));
    } else if (n_out >= 0) {
        outcome = run(context, &model, in, n_in, out, n_out, why, room);
    }
    plumb_graph_free(model.graph);
    plumb_state_free(model.state);
    for (int i = 0; i < MOST; i++) {
        plumb_arena_free(&in[i].arena);
        plumb_arena_free(&out[i].arena);
    }
    return outcome;
}

static void one_case(struct tally *tally, const char *folder)
{
    static const char *const words[] = {"passed", "loose", "drawn", "FAILED", "refused"};
    char path[2048], why[1024] = "";
    enum outcome outcome = PASSED;
    for (int set = 0; outcome <= LOOSE; set++) {
        snprintf(path, sizeof(path), "%.1000s/test_data_set_%d", folder, set);
        if (access(path, R_OK) != 0) {
            if (set == 0) {
                return; /* a model that has to be downloaded */
            }
            break;
        }
        plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
        enum outcome one = context ? one_set(context, folder, set, why, sizeof(why)) : FAILED;
        outcome = one > outcome ? one : outcome;
        plumb_close(context);
    }
    if (outcome == FAILED && strncmp(why, "values", 6) == 0 && is_incomparable(strrchr(folder, '/') + 1)) {
        outcome = DRAWN;
    }
    tally->count[outcome]++;
    if (outcome == FAILED || (outcome != PASSED && tally->verbose)) {
        printf("%-8s %s: %s\n", words[outcome], strrchr(folder, '/') + 1, why);
    }
}

static int only_folders(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void walk(struct tally *tally, const char *folder)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, only_folders, alphasort);
    for (int i = 0; i < n; i++) {
        char path[2048];
        snprintf(path, sizeof(path), "%.1000s/%.255s", folder, entries[i]->d_name);
        if (strncmp(entries[i]->d_name, "test_", 5) != 0) {
            walk(tally, path);
        } else if (!tally->filter || strstr(entries[i]->d_name, tally->filter)) {
            one_case(tally, path);
        }
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    struct tally tally = {.filter = NULL};
    const char *folder = DEFAULT_FOLDER;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            tally.verbose = true;
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            tally.filter = argv[++i];
        } else {
            folder = argv[i];
        }
    }
    if (access(folder, R_OK) != 0) {
        printf("%s is not there (Debian: libonnx-testdata)\n0 passed, 0 failed, 1 skipped\n", folder);
        return 0;
    }
    walk(&tally, folder);
    printf("%d within 1e-5, %d within 1e-3 only, %d run but not comparable, %d refused by name\n", tally.count[PASSED], tally.count[LOOSE],
           tally.count[DRAWN], tally.count[REFUSED]);
    printf("%d passed, %d failed, 0 skipped\n", tally.count[PASSED] + tally.count[LOOSE], tally.count[FAILED]);
    return tally.count[FAILED] || tally.count[PASSED] == 0;
}
