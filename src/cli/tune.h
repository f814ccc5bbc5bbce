/* What the parts of `plumb tune` share: the space that is searched, and the trials with their journal. */
#ifndef PLUMB_CLI_TUNE_H
#define PLUMB_CLI_TUNE_H

#include "cli/cli.h"

#define SPACE_MOST OPTION_LIST_MOST
#define CHOICES_MOST 32
#define TRIALS_MOST 10000
#define EPOCHS_MOST 1000

/* One option of plumb train and where its values come from: "lr=1e-4:1e-1:log", "batch=32,64,128". */
struct dimension {
    char name[48];
    plumb_search_range range;
    const char *choice[CHOICES_MOST]; /* point into `text` */
    char text[512];
};

struct space {
    struct dimension row[SPACE_MOST];
    int count;
};
/* False after refusing, with the reason printed. */
bool tune_read_space(const struct option_list *list, struct space *space);
/* Whether the options of every training keep a part back for choices like this one. */
bool tune_keeps_dev(const char *const *option);
/* The value as the command line takes it. */
const char *tune_value_text(const struct dimension *dimension, double value, char to[64]);

enum trial_state { TRIAL_WAITING, TRIAL_RUNNING, TRIAL_DONE, TRIAL_STOPPED, TRIAL_FAILED };

struct trial {
    enum trial_state state;
    bool is_default;            /* nothing of the space is given: what train does by itself */
    double value[SPACE_MOST];
    double score;               /* the best of its epochs; NaN: none */
    double seconds, memory;     /* bytes at most; 0: not known */
    int epochs;
    float best[EPOCHS_MOST];    /* best score up to each epoch */
};

struct search {
    plumb_context *context;
    struct space space;
    const char *folder, *strategy, *metric;
    bool smaller;               /* the metric is a loss */
    int64_t seed;
    struct trial *trial;        /* [count] */
    int count;
};

bool tune_better(const struct search *search, double a, double b); /* false where a is not a number */
/* Trials from the best to the worst; those without a score last, in the order of their numbers. */
void tune_rank(const struct search *search, int *order);
const char *tune_state_name(enum trial_state state);

/* The journal: a line for each thing that happened, so that a search that was broken off goes on. `head` says what is
 * searched; a journal that says something else is refused. */
plumb_status tune_journal_open(struct search *search, const char *head);
plumb_status tune_journal_add(const struct search *search, int trial);

plumb_status tune_write_picture(const struct search *search);
plumb_status tune_write_table(const struct search *search);

/* Waits for a training to let go of its folder: one whose search was killed may take a moment to die. False: it does not. */
bool tune_await(const char *folder);

#endif
