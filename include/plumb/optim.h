/* Optimisers: one struct, one table row each; all parameters of a step are updated by one op. */
#ifndef PLUMB_OPTIM_H
#define PLUMB_OPTIM_H

#include "plumb/program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* rule: "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lamb", "muon". Fields a rule does not use are ignored.
 *   sgd       W -= lr g
 *   momentum  v = beta v + (1 - beta) g; W -= lr v        (classic: v = beta v + g)
 *   nesterov  V = beta V + lr grad(W - beta V); W -= V, in the form that needs g at the stored point (Sutskever 2013)
 *   adagrad   G += g^2; W -= lr g / sqrt(G + eps)                                     (Duchi et al. 2011)
 *   rmsprop   s = beta2 s + (1 - beta2) g^2; W -= lr g / (sqrt(s) + eps)              (Hinton 2012)
 *   adam      m, s bias-corrected at read-out; W -= lr m^ / (sqrt(s^) + eps)          (Kingma & Ba 2015)
 *   adamw     adam, and W -= lr * weight_decay * W                                    (Loshchilov & Hutter 2019)
 *   lamb      u = m^ / (sqrt(s^) + eps) + weight_decay W; W -= lr r u; r = |W| / |u|    (You et al. 2020)
 *   muon      v = beta v + (1 - beta) g; W -= lr sqrt(max(1, rows / columns)) NS(n) + lr weight_decay W, where
 *   n = (1 - beta) g + beta v                                                           (Jordan et al. 2024)
 *
 * lamb's r is one for each parameter, and 1 where either norm is 0 and for parameters that do not decay. muon's NS is the
 * nearest matrix with orthogonal rows or columns, about, by five steps of X = 3.4445 X - 4.7750 (X X^T) X +
 * 2.0315 (X X^T)^2 X from n / |n|; it takes weights of rank >= 2, filters (O, ...) as matrices of O rows, and leaves others
 * to adamw with rate lr_others. */
typedef struct plumb_optimizer {
    size_t size;
    const char *rule;     /* NULL: "adam" */
    const char *name;     /* keys the moments "name/m:weight"; NULL: the rule's name. Two optimisers need two names. */
    double lr;            /* 0: the rule's default (adam 1e-3, sgd 1e-2 ...). Lives in the state as "NAME/lr:". */
    double momentum;      /* beta of momentum and nesterov; 0: 0.9 (muon 0.95) */
    bool classic;         /* momentum without the (1 - beta) */
    double beta1, beta2;  /* 0: 0.9 (adam), 0.999 (adam), 0.9 (rmsprop) or 0.95 (muon's others) */
    double epsilon;       /* 0: 1e-8 (lamb 1e-6) */
    double weight_decay;  /* decoupled; adamw's and lamb's default 0.01 */
    double l2, l1;        /* lambda, added to the gradient: l2*W, l1*sign(W) (sign(0) = 0) */
    bool decay_all;       /* weight decay, L2 and L1 on biases and other rank-1 parameters too */
    double clip_norm;     /* 0: none; scales all gradients so that their global L2 norm is at most this */
    bool skip_bad_steps;  /* apply nothing in a step whose loss, gradients or new statistics are not finite */
    plumb_dtype precision;/* plumb_compile_training compiles the step in it: 0 or PLUMB_F32 as written, PLUMB_BF16,
                             PLUMB_F16 (plumb_compile_options.precision). Parameters and moments are f32 in all. */
    double loss_scale;    /* multiplies the loss while gradients are computed, and is divided out of them in the update,
                             so that small gradients are not lost in f16: a number, or PLUMB_DYNAMIC_LOSS_SCALE.
                             0: dynamic with precision PLUMB_F16, else none; PLUMB_ZERO: none */
    int64_t loss_scale_every; /* the dynamic scale doubles after so many good steps; 0: 2000 */
    bool per_example;     /* l2 and l1 are divided by the size of the batch (PLUMB_BATCH): lambda / m */
    double average;       /* beta of an average of the weights, see below; PLUMB_POLYAK: of all steps alike; 0: none */
    double lr_others;     /* muon: the rate of the other parameters beside lr's first value; both move together. 0: 3e-4 */
    int64_t accumulate;   /* runs of the program, each on a batch (PLUMB_BATCH) of its own, that make one step; 0, 1: one */
} plumb_optimizer;

/* The scale starts at 2^16 and lives in the state as "NAME/loss_scale:". A step whose gradients are not finite is skipped
 * (as with skip_bad_steps, which this implies) and halves it, down to 1; after loss_scale_every good steps in a row it
 * doubles, up to 2^24. All of this is part of the step and happens on the device; a resumed training continues as it
 * would have (Micikevicius et al. 2018, section 3.2). */
#define PLUMB_DYNAMIC_LOSS_SCALE (-1.0)
#define PLUMB_LEAST_LOSS_SCALE 1.0

/* Averaged weights (Polyak & Juditsky 1992), often better than the last ones: after each applied step
 * a = beta a + (1 - beta) W, corrected for having started at 0 (so a is W after the first); with PLUMB_POLYAK the plain
 * mean. They lie in the state as "NAME/average:PARAMETER"; this exchanges them with the parameters, for evaluation, and
 * back when it is called again. */
#define PLUMB_POLYAK 1.0
PLUMB_API plumb_status plumb_swap_average(plumb_state *state, const char *optimizer);

#define PLUMB_OPTIMIZER(rule_name, ...) (&(plumb_optimizer){.size = sizeof(plumb_optimizer), .rule = rule_name, __VA_ARGS__})
#define PLUMB_SGD(...) PLUMB_OPTIMIZER("sgd", __VA_ARGS__)
#define PLUMB_MOMENTUM(...) PLUMB_OPTIMIZER("momentum", __VA_ARGS__)
#define PLUMB_NESTEROV(...) PLUMB_OPTIMIZER("nesterov", __VA_ARGS__)
#define PLUMB_ADAGRAD(...) PLUMB_OPTIMIZER("adagrad", __VA_ARGS__)
#define PLUMB_RMSPROP(...) PLUMB_OPTIMIZER("rmsprop", __VA_ARGS__)
#define PLUMB_ADAM(...) PLUMB_OPTIMIZER("adam", __VA_ARGS__)
#define PLUMB_ADAMW(...) PLUMB_OPTIMIZER("adamw", __VA_ARGS__)
#define PLUMB_LAMB(...) PLUMB_OPTIMIZER("lamb", __VA_ARGS__)
#define PLUMB_MUON(...) PLUMB_OPTIMIZER("muon", __VA_ARGS__)

/* Appends gradients and the update of `parameters` (NULL, 0: the graph's trainable variables) as effects. */
PLUMB_API plumb_status plumb_minimize(plumb_graph *graph, plumb_t loss, const plumb_t *parameters, int count,
                                      const plumb_optimizer *optimizer);

/* With `accumulate`, gradients are added up in the state ("NAME/sum:PARAMETER", each batch's by its number of examples) and
 * the last run of a step applies their mean: what one batch of all those examples would do, if the loss is a mean over
 * examples and nothing else depends on the batch (batch norm does: its statistics are each batch's own, and so are those it
 * keeps). Clipping, L1 and L2 see the mean. A batch that skip_bad_steps or a dynamic loss scale rejects leaves all of that
 * as it was. How many runs the step under way takes is in the state, too, and may be changed before its last one, for a last
 * step with fewer; *batches is how many it has had. plumb_clear_gradients lets the next run begin a step. */
PLUMB_API plumb_status plumb_set_accumulation(plumb_state *state, const char *optimizer, int64_t batches);
PLUMB_API plumb_status plumb_get_accumulated(const plumb_state *state, const char *optimizer, int64_t *batches);
PLUMB_API plumb_status plumb_clear_gradients(plumb_state *state, const char *optimizer);

/* The whole training step as one program: forward, backward, update. The graph itself is left as it was. Outputs:
 * the loss and whatever `outputs` adds. */
PLUMB_API PLUMB_MUST_CHECK plumb_program *plumb_compile_training(plumb_graph *graph, plumb_state *state, plumb_t loss,
                                                                 const plumb_optimizer *optimizer,
                                                                 const plumb_t *outputs, int n_outputs);

/* The learning rate and the number of applied steps of an optimiser (by plumb_optimizer.name or rule). */
PLUMB_API plumb_status plumb_set_lr(plumb_state *state, const char *optimizer, double lr);
PLUMB_API plumb_status plumb_get_steps(const plumb_state *state, const char *optimizer, int64_t *steps);

PLUMB_API int plumb_optimizer_count(void);
PLUMB_API const char *plumb_optimizer_rule(int index); /* names, for help texts */

/* Learning-rate schedules as pure functions of position. `epoch` counts from 0 and may be fractional; `step` from 0.
 *   constant      lr
 *   inverse       lr / (1 + decay * epoch)
 *   exponential   lr * decay^epoch
 *   sqrt_epoch    lr * k / sqrt(epoch + 1)                   sqrt_step  lr * k / sqrt(step + 1)
 *   staircase     lr * decay^floor(epoch / every)
 *   cosine        lr_end + (lr - lr_end)(1 + cos(pi * epoch / epochs)) / 2
 *   one_cycle     up linearly from lr / 25 to lr in the first 30 % of `epochs`, down by cosine to lr_end
 * Warm-up multiplies any of them by epoch / warmup below 1. Fields of 0: decay 1 (inverse), 0.95 (exponential), 0.5
 * (staircase); k 1; every 10. What makes no sense (an unknown rule, cosine without epochs) gives NaN. */
typedef struct plumb_schedule {
    size_t size;
    const char *rule; /* NULL: "constant" */
    double lr, lr_end, decay, k, every, epochs, warmup;
    const double *values; /* rule "manual": lr of each epoch, the last one stays */
    int n_values;
} plumb_schedule;
PLUMB_API double plumb_schedule_lr(const plumb_schedule *schedule, double epoch, int64_t step); /* NaN: unknown rule */

/* Exponentially weighted average v = beta v + (1 - beta) x; read-out corrected by 1 - beta^t. */
typedef struct plumb_ewa {
    double beta, v;
    int64_t t;
} plumb_ewa;
PLUMB_API double plumb_ewa_add(plumb_ewa *average, double x); /* returns the bias-corrected average */

#ifdef __cplusplus
}
#endif
#endif
