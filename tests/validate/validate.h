/* What the stages of plumb-validate share. The program asks a CUDA device what only a GPU can answer, or rehearses the
 * questions on the simulator (cudasim-validate). A stage prints one JSON object a line, a check or a measurement each;
 * scripts/gpu-validate runs the stages and collects the lines. */
#ifndef PLUMB_TESTS_VALIDATE_H
#define PLUMB_TESTS_VALIDATE_H

#include "core/core.h"
#include "plumb/plumb.h"

struct validate {
    const char *device; /* "cuda" */
    const char *only;   /* bench: measurements whose name begins so; NULL: all */
    const char *impl;   /* implementations forced on the device, as in plumb_options; NULL: what is chosen */
    bool small;         /* sizes that the simulator gets through */
    int64_t passed, failed, skipped;
};

plumb_context *validate_open(struct validate *v, const char *device);

/* {"check":what,"ok":...,"text":...} */
void validate_check(struct validate *v, bool ok, const char *what, const char *format, ...) PLUMB_PRINTF(4, 5);
void validate_skip(struct validate *v, const char *what, const char *why);
/* {"measure":what,"value":..,"low":..,"high":..,"unit":..,"milliseconds":..} */
void validate_measure(const char *what, const double value[3], const char *unit, double milliseconds);
/* {"bits":what,"hash":...,"first":...}: to be compared with what another device says. */
void validate_bits(struct validate *v, const char *what, const void *data, size_t bytes);
uint64_t validate_hash(const void *data, size_t bytes, uint64_t so_far);

/* The stages. */
void validate_assumptions(struct validate *v);
void validate_huge(struct validate *v);
void validate_determinism(struct validate *v);
void validate_training(struct validate *v);
void validate_bench(struct validate *v);

#endif
