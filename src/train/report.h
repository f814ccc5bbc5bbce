/* What the parts of the report share: the page being written, and the little that every part of it needs. */
#ifndef PLUMB_TRAIN_REPORT_H
#define PLUMB_TRAIN_REPORT_H

#include "io/number.h"
#include "plumb/report.h"
#include "train/train.h"

#define TRAIN_COLOUR "#1f77b4"
#define TEST_COLOUR "#d95f02"
#define DEV_COLOUR "#2a8a4a"

struct page {
    plumb_context *context;
    const plumb_report *r;
    const char *part;
    struct plumb_text html;
    plumb_metrics metrics;     /* where there is a confusion matrix */
    plumb_class_metrics *each; /* [classes], or NULL */
};

/* A number with so many decimals, for one call's arguments. */
struct report_number {
    char text[PLUMB_NUMBER_ROOM];
};
#define NUMBER(value, decimals) (plumb_fixed((struct report_number){{0}}.text, (value), (decimals)))

/* The page's parts; each writes one section's inside. report_tables.c: */
plumb_status plumb_report_confusion(struct page *page);
plumb_status plumb_report_classes(struct page *page);
plumb_status plumb_report_layers(struct page *page);
plumb_status plumb_report_memory(struct page *page);
plumb_status plumb_report_diagnosis(struct page *page);
/* report_pictures.c: */
plumb_status plumb_report_samples(struct page *page);
plumb_status plumb_report_mistakes(struct page *page);
plumb_status plumb_report_filters(struct page *page);
bool plumb_report_has_filters(const plumb_report *report);

#endif
