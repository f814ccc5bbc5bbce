/* What a training leaves for people and their tools: one page of HTML with everything in it, the history as lines of
 * JSON, and TensorBoard's event files. Files are written whole or not at all, but for event files, which grow. */
#ifndef PLUMB_REPORT_H
#define PLUMB_REPORT_H

#include "plumb/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is NULL or 0 is left out of the page. Nothing is kept: all is the caller's. */
typedef struct plumb_report {
    size_t size;
    const char *title;           /* NULL: "Report" */
    const char *const *settings; /* name, value, ..., NULL; those with "" are not shown */
    const plumb_epoch *history;  /* [epochs]: curves, rates, times */
    int epochs;
    const plumb_model *model;    /* layers and memory; with state and data, filters and feature maps of the first */
    plumb_state *state;          /* two-dimensional convolution */
    const plumb_optimizer *optimizer; /* the memory is that of a training step by it; NULL: of prediction */
    int64_t batch;               /* of that step; 0: 64 */
    const plumb_dataset *train;  /* examples of each class */
    const plumb_dataset *data;   /* what `evaluation` is of: confusion, rates, worst mistakes */
    const plumb_evaluation *evaluation; /* arrays that are NULL leave out what needs them */
    const char *part;            /* what `data` is called; NULL: "test" */
    const plumb_diagnosis *diagnosis;
} plumb_report;

/* One file that needs neither network nor scripts: curves are SVG, pictures PNG within it. It follows the reader's
 * choice of light or dark, and prints. The class names are the data set's. */
PLUMB_API plumb_status plumb_write_report_html(plumb_context *context, const char *path, const plumb_report *report);

/* A line of JSON for each epoch, with the keys of `plumb train --json`; what is not finite is null. */
PLUMB_API plumb_status plumb_write_history_jsonl(plumb_context *context, const char *path, const plumb_epoch *history,
                                                 int count);

/* TensorBoard's event files: TensorBoard reads every file with "tfevents" in its name in a folder given as --logdir.
 * These append to `path`, which begins with the format's version if it is new, and sync nothing: an event cut short by
 * a crash ends what TensorBoard reads of the file. `wall_time` is in seconds since 1970; 0: now. */
typedef struct plumb_scalar_event {
    const char *tag; /* "loss/train" */
    int64_t step;
    double value;    /* kept as f32 */
    double wall_time;
} plumb_scalar_event;
PLUMB_API plumb_status plumb_add_scalars(plumb_context *context, const char *path, const plumb_scalar_event *scalars,
                                         int count);
/* The scalars of one epoch: loss and accuracy of training, dev and test, rate, images a second, share of waiting; step is the
 * epoch. What is not finite is left out. */
PLUMB_API plumb_status plumb_add_epoch(plumb_context *context, const char *path, const plumb_epoch *epoch);
/* The distribution of values in 30 buckets of equal width. Values that are not finite are left out. */
PLUMB_API plumb_status plumb_add_histogram(plumb_context *context, const char *path, const char *tag, int64_t step,
                                           const float *values, int64_t count);
/* 8-bit pixels, `channels` 1 or 3, rows from the top. */
PLUMB_API plumb_status plumb_add_picture(plumb_context *context, const char *path, const char *tag, int64_t step,
                                         int width, int height, int channels, const uint8_t *pixels);

#ifdef __cplusplus
}
#endif
#endif
