/* Opening a context from the common options, one-line errors, and models from files. */
#include <stdarg.h>

#include "cli/cli.h"
#include "io/safetensors.h"

int cli_refuse(const char *command, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "plumb %s: ", command);
    print_one_line(stderr, text);
    return PLUMB_BAD_INPUT;
}

int cli_fail(const char *command, const plumb_context *context, plumb_status status)
{
    const char *message = context ? plumb_message(context) : "";
    progress_clear();
    fflush(stdout);
    fprintf(stderr, "plumb %s: ", command);
    print_one_line(stderr, *message ? message : plumb_status_name(status));
    return (int)status;
}

static void log_line(void *user, plumb_log_level level, const char *line)
{
    (void)user;
    if (level >= PLUMB_LOG_INFO) { /* which device "auto" chose is one */
        progress_clear();
        fprintf(stderr, level == PLUMB_LOG_WARNING ? "warning: " : "plumb: ");
        print_one_line(stderr, line);
    }
}

/* A word of a list, and what it sets. */
struct bit {
    const char *word;
    unsigned bit;
};
static const struct bit allowed[] = {{"tf32", PLUMB_ALLOW_TF32},
                                     {"reduced-sums", PLUMB_ALLOW_REDUCED_SUMS},
                                     {"nondeterministic", PLUMB_ALLOW_NONDETERMINISTIC},
                                     {"vendor-threads", PLUMB_ALLOW_VENDOR_THREADS},
                                     {NULL, 0}};
static const struct bit forbidden[] = {{"winograd", PLUMB_FORBID_WINOGRAD}, {NULL, 0}};

/* The bits of "word,word", none of NULL. false: a word is not known, which was said. */
static bool read_bits(const char *option, const char *list, const struct bit *words, unsigned *bits)
{
    *bits = 0;
    for (const char *at = list; at && *at;) {
        size_t length = strcspn(at, ","), i = 0;
        while (words[i].word && (strlen(words[i].word) != length || memcmp(words[i].word, at, length) != 0)) {
            i++;
        }
        if (!words[i].word) {
            fprintf(stderr, "plumb: --%s: ", option);
            for (i = 0; words[i].word; i++) {
                fprintf(stderr, "%s%s", i ? ", " : "", words[i].word);
            }
            fprintf(stderr, " %s known, but got ", i > 1 ? "are" : "is");
            print_one_line(stderr, list);
            return false;
        }
        *bits |= words[i].bit;
        at += length;
        at += *at == ',';
    }
    return true;
}

plumb_context *cli_open(const struct common_options *common, int *code)
{
    plumb_error error = {0};
    if (common->device && strcmp(common->device, "null") == 0 && !common->only_plans) {
        fprintf(stderr, "plumb: device 'null' plans but computes nothing; it serves plumb summary\n");
        *code = PLUMB_BAD_INPUT;
        return NULL;
    }
    unsigned allow, forbid;
    if (!read_bits("allow", common->allow, allowed, &allow) ||
        !read_bits("forbid", common->forbid, forbidden, &forbid)) {
        *code = PLUMB_BAD_INPUT;
        return NULL;
    }
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options),
                                                         .device = common->device,
                                                         .seed = (uint64_t)common->seed,
                                                         .threads = (int)common->threads,
                                                         .implementations = common->implementations,
                                                         .isa = common->isa,
                                                         .allow = allow,
                                                         .forbid = forbid,
                                                         .log = log_line,
                                                         .error = &error});
    if (!context) {
        fprintf(stderr, "plumb: ");
        print_one_line(stderr, error.message);
        *code = (int)error.status;
    }
    return context;
}

const char *cli_model_name(int index) { return index < plumb_model_count() ? plumb_model_name(index) : NULL; }

const char *cli_part_name(int index)
{
    static const char *const parts[2] = {"test", "train"};
    return index < 2 ? parts[index] : NULL;
}

static const plumb_dtype precisions[] = {PLUMB_F32, PLUMB_BF16, PLUMB_F16};
#define PRECISIONS ((int)(sizeof(precisions) / sizeof(precisions[0])))

const char *cli_precision_name(int index) { return index < PRECISIONS ? plumb_dtype_name(precisions[index]) : NULL; }

plumb_dtype cli_precision(const char *name)
{
    int i = 0;
    while (i < PRECISIONS - 1 && strcmp(cli_precision_name(i), name) != 0) {
        i++;
    }
    return precisions[i];
}

static const char *model_of_user(const void *user, int index)
{
    (void)user;
    return cli_model_name(index);
}

bool cli_pick_model(const char *command, const char *word, const char **model, int *code)
{
    if (word && *model) {
        *code = cli_refuse(command, "the model is given twice: %s and --model %s", word, *model);
        return false;
    }
    for (int i = 0; word && cli_model_name(i); i++) {
        if (strcmp(cli_model_name(i), word) == 0) {
            *model = cli_model_name(i);
        }
    }
    if (word && !*model) {
        const char *near = cli_nearest(word, model_of_user, NULL);
        *code = cli_refuse(command, "model '%s' is not known%s%s%s (plumb %s --help lists what is)", word,
                           near ? "; did you mean " : "", near ? near : "", near ? "?" : "", command);
        return false;
    }
    *model = *model ? *model : "lenet5";
    return true;
}

/* ---- models from files ---- */

/* "1,28,28" */
static bool read_shape(const char *text, plumb_shape *shape)
{
    shape->rank = 0;
    while (shape->rank < 3) {
        char *end;
        long long size = strtoll(text, &end, 10);
        if (end == text || size < 1 || size > 1 << 20) {
            return false;
        }
        shape->dim[shape->rank++] = size;
        if (*end == 0) {
            break;
        }
        if (*end != ',') {
            return false;
        }
        text = end + 1;
    }
    return shape->rank == 3;
}

/* What the file says of its model; what it does not say stays as it is. */
static plumb_status read_metadata(plumb_context *context, const char *path, struct loaded_model *loaded,
                                  plumb_model_options *options)
{
    struct plumb_st_file file;
    plumb_status status = plumb_st_read(context, path, &file);
    if (status) {
        return status;
    }
    const char *name = plumb_st_metadata(&file, "model"), *classes = plumb_st_metadata(&file, "classes");
    const char *input = plumb_st_metadata(&file, "input");
    int64_t number = 0;
    if (name) {
        snprintf(loaded->name, sizeof(loaded->name), "%.63s", name);
    }
    if (classes && !cli_whole(classes, 2, 256, &number)) {
        status =
            plumb_fail(context, PLUMB_BAD_INPUT,
                       "%s: __metadata__, classes: '%.20s' is not a number from 2 to 256", path, classes);
    }
    if (!status && input && !read_shape(input, &options->input_shape)) {
        status = plumb_fail(context, PLUMB_BAD_INPUT, "%s: __metadata__, input: '%.40s' is not like 1,28,28",
                            path, input);
    }
    options->classes = (int)number;
    plumb_st_free(context, &file);
    return status;
}

plumb_status cli_load_model(plumb_context *context, const char *path, const char *model,
                            struct loaded_model *loaded)
{
    plumb_model_options options = {.size = sizeof(options)};
    memset(loaded, 0, sizeof(*loaded));
    plumb_status status = read_metadata(context, path, loaded, &options);
    if (!status && model) {
        snprintf(loaded->name, sizeof(loaded->name), "%.63s", model);
    }
    if (!status && !loaded->name[0]) {
        status = plumb_fail(context, PLUMB_BAD_INPUT,
                            "%s: __metadata__ does not name the model; give it with --model", path);
    }
    if (!status) {
        status = plumb_model_build(context, loaded->name, &options, &loaded->model);
    }
    if (!status) {
        loaded->state = plumb_state_new(loaded->model.graph);
        status = loaded->state ? plumb_state_load(loaded->state, path, true) : plumb_last_status(context);
    }
    return status;
}
