/* What the sub-commands share: option tables that drive both parsing and --help, output that notices when nobody
 * listens, and the way a model gets from its name or its file into memory. */
#ifndef PLUMB_CLI_H
#define PLUMB_CLI_H

#include <stdio.h>

#include "core/core.h"
#include "plumb/plumb.h"

#define CLI_SOME(array) (array), (int)(sizeof(array) / sizeof((array)[0]))

/* ---- options (options.c) ---- */

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_WHOLE, OPTION_NUMBER, OPTION_NAME, OPTION_LIST };

/* An option that may be given several times: texts in the order given. */
#define OPTION_LIST_MOST 16
struct option_list {
    const char *item[OPTION_LIST_MOST];
    int count;
};

struct option_row {
    const char *name;     /* "epochs": given as --epochs N or --epochs=N */
    const char *argument; /* "N"; NULL for a flag */
    const char *help;
    enum option_kind kind;
    void *to;             /* bool, const char *, int64_t, double, const char *, struct option_list */
    double low, high;     /* of numbers, both included */
    const char *(*names)(int index); /* OPTION_NAME: what may be given, NULL past the end */
};

struct command {
    const char *name, *argument, *summary; /* argument: "[INDEX]", "RUN...", or "" */
    int (*run)(int argc, char **argv);
};

#define WORDS_MOST 32

struct option_set {
    const struct command *command;
    const struct option_row *rows;
    int count;
    const char **positional; /* NULL: none is taken; one, or WORDS_MOST where command->argument ends in "..." */
    const char *notes;       /* printed after the options; may be NULL */
};

#define OPTIONS_MOST 128
/* 0: go on; otherwise the program is done and *code is its exit code (--help, or a bad argument named in one line). */
int cli_parse(const struct option_set *set, int argc, char **argv, int *code);
/* The options' values as text, but for those of `without` (NULL at its end): name, value, ..., NULL, each to be freed, as is
 * the array. NULL: out of memory. */
char **cli_settings(const struct option_row *rows, int count, const char *const *without);
void cli_settings_free(char **settings);
/* "word" or the nearest of names, if it is near; else NULL. */
const char *cli_nearest(const char *word, const char *(*name)(const void *user, int index), const void *user);
bool cli_whole(const char *text, double low, double high, int64_t *value);
bool cli_number(const char *text, double low, double high, double *value);

/* ---- what most commands take (common.c) ---- */

struct common_options {
    const char *device, *implementations, *isa, *allow, *forbid;
    int64_t threads, seed;
    bool json;
    bool only_plans; /* nothing is computed, so the null device will do */
};
#define COMMON_DEFAULTS ((struct common_options){.seed = 1})
#define COMMON_ROWS(common)                                                                                           \
    {"device", "NAME", "cpu (default), cuda, cuda:N, auto", OPTION_TEXT, &(common).device, 0, 0, NULL},                \
    {"threads", "N", "threads to use (default: as many as the process may; results do not depend on it)",            \
     OPTION_WHOLE, &(common).threads, 1, 1024, NULL},                                                                 \
    COMMON_REST(common)
#define COMMON_REST(common) /* what is never a list */                                                                \
    {"seed", "N", "of weights, order and dropout (default 1)", OPTION_WHOLE, &(common).seed, 0, 9e15, NULL},          \
    {"impl", "LIST", "force implementations: conv2d=cpu.ref,*=cpu.native", OPTION_TEXT, &(common).implementations, 0, \
     0, NULL},                                                                                                        \
    {"isa", "NAME", "limit CPU kernels: scalar, avx2, avx512, avx512_bf16", OPTION_TEXT, &(common).isa, 0, 0, NULL},           \
    {"allow", "LIST", "what vendors' libraries may do: tf32,reduced-sums,nondeterministic,vendor-threads (nothing)", \
     OPTION_TEXT, &(common).allow, 0, 0, NULL},                                                                       \
    {"forbid", "LIST", "what CPU kernels must not do: winograd (3x3 convolutions, faster, about twice the rounding)", \
     OPTION_TEXT, &(common).forbid, 0, 0, NULL},                                                                      \
    {"json", NULL, "machine-readable output, one JSON object a line", OPTION_FLAG, &(common).json, 0, 0, NULL}

/* ---- data sets (data.c) ---- */

struct data_options {
    const char *data, *split, *label;
    double max_bad, dev;
    int64_t height, width;
    bool grey;
    bool has_dev; /* found out by cli_check_data: --dev, or a split in three */
};
#define DATA_KINDS "fashion-mnist (default); a folder of IDX files, CIFAR's, CSV, npz or pictures by class; a .csv or .npz file"
/* How a set is read. */
#define DATA_ROWS(set)                                                                                                \
    {"max-bad", "SHARE", "of examples that may be corrupt, which are then left out (default 0: the first ends it)",  \
     OPTION_NUMBER, &(set).max_bad, 0, 1, NULL},                                                                      \
    {"label", "COLUMN", "of a CSV file: name or number from 0 (default: label, or the last)", OPTION_TEXT,           \
     &(set).label, 0, 0, NULL},                                                                                       \
    {"height", "N", "scale pictures of a folder to this height and --width", OPTION_WHOLE, &(set).height, 1, 65536,  \
     NULL},                                                                                                           \
    {"width", "N", "", OPTION_WHOLE, &(set).width, 1, 65536, NULL},                                                   \
    {"grey", NULL, "read pictures of a folder as grey", OPTION_FLAG, &(set).grey, 0, 0, NULL}
/* Refuses what cannot be meant; false with *code set. */
bool cli_check_data(const char *command, struct data_options *set, int *code);
plumb_dataset *cli_find_data(plumb_context *context, const struct data_options *set, const char *part, int classes);
/* The parts of a training: the set's own, or a --split of its training part; dev: NULL where there is none. */
plumb_status cli_load_data(plumb_context *context, const struct data_options *set, int classes, plumb_dataset **train,
                           plumb_dataset **dev, plumb_dataset **test);

/* NULL after printing why; *code is then the exit code. */
plumb_context *cli_open(const struct common_options *common, int *code);
/* Prints "plumb COMMAND: message" (one line) and returns the status as exit code. */
int cli_fail(const char *command, const plumb_context *context, plumb_status status);
int cli_refuse(const char *command, const char *format, ...) PLUMB_PRINTF(2, 3); /* returns 2 */

const char *cli_model_name(int index);
const char *cli_part_name(int index); /* "train", "test" */
const char *cli_precision_name(int index); /* "f32", "bf16", "f16" */
plumb_dtype cli_precision(const char *name);
/* A model as plain argument or as option; lenet5 if neither. False after refusing, with *code set. */
bool cli_pick_model(const char *command, const char *word, const char **model, int *code);

/* A trained model read from its file: the graph by the file's own metadata, or by `model` if that is not NULL. */
struct loaded_model {
    plumb_model model;
    plumb_state *state;
    char name[64];
};
plumb_status cli_load_model(plumb_context *context, const char *path, const char *model, struct loaded_model *loaded);

/* ---- what a run leaves in its folder (run_folder.c) ---- */

struct finished_run {
    const char *folder, *title;
    const char *const *settings; /* of all options: name, value, ..., NULL; "": not given */
    const plumb_model *model;
    plumb_state *state;
    plumb_dataset *train, *test;
    const plumb_epoch *history;
    int epochs;
    const plumb_evaluation *evaluation; /* of test */
    const plumb_optimizer *optimizer;
    int64_t batch;
};
/* Writes report.html, history.jsonl, settings.json and what TensorBoard shows of the weights. */
plumb_status cli_write_run(plumb_context *context, const struct finished_run *run);
/* Makes the folder; one that is there is fine. `option` is named in messages. */
plumb_status cli_make_folder(plumb_context *context, const char *option, const char *path);
/* Adds an epoch to the folder's event file; the first epoch of a training starts the file anew. */
plumb_status cli_log_epoch(plumb_context *context, const char *folder, const plumb_epoch *epoch);

/* A run read back from its folder. */
struct run_record {
    const char *path;
    struct json_t *settings; /* an object; may be empty */
    plumb_epoch *history;
    int epochs;
};
plumb_status cli_read_run(plumb_context *context, const char *path, struct run_record *record);
void cli_free_run(plumb_context *context, struct run_record *record);

/* ---- output (output.c) ---- */

/* Flushes standard output; what could not be written makes `code` 5 (unless it is worse than 0 already). */
int cli_finish(int code);
bool cli_output_lost(void);  /* true once standard output refused something */
bool cli_colour(FILE *to);   /* a terminal that wants colours: NO_COLOR, TERM=dumb and CLICOLOR_FORCE are heard */
bool cli_live(FILE *to);     /* a terminal on which a line may be rewritten */
bool cli_unicode(void);
int cli_columns(void);
void json_text(FILE *to, const char *text);     /* quoted and escaped */
void json_number(FILE *to, double value);       /* null when not finite */
void print_bytes(char to[32], int64_t bytes);   /* "12.3 MiB" */
void print_count(char to[32], int64_t count);   /* "61,706" */
void print_one_line(FILE *to, const char *text);/* control characters shown as '?' */

/* ---- progress (progress.c) ---- */
void progress_show(const plumb_progress *progress);
void progress_clear(void);

/* ---- the commands ---- */
int command_train(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_tune(int argc, char **argv);
int command_summary(int argc, char **argv);
int command_gradcheck(int argc, char **argv);
int command_ops(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_data(int argc, char **argv);
int command_bench(int argc, char **argv);
const struct command *cli_command(const char *name);
const struct command *cli_command_at(int index);

#endif
