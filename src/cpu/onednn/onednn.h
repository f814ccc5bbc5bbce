/* oneDNN behind implementations of our ops. An op writes down its work: a primitive and how the batch is cut into chunks
 * for it; a job is that work made ready: the primitive, the reorders into the layouts it chose, and the memory objects of
 * every worker. Jobs are made while a program is planned, under the work as their key, and found again by run(), which
 * makes nothing and asks nothing. */
#ifndef PLUMB_ONEDNN_H
#define PLUMB_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>

#include "core/plans.h"
#include "cpu/native/epilogue.h"
#include "cpu/vendor.h"
#include "device/plugin.h"

typedef struct plumb_dnnl { /* of a context */
    plumb_context *context;
    dnnl_engine_t engine;
    plumb_plans jobs;
} plumb_dnnl;

enum { PLUMB_DNNL_OPERANDS = 4, PLUMB_DNNL_RANK = PLUMB_MAX_RANK };

typedef struct plumb_dnnl_operand {
    int32_t arg;  /* DNNL_ARG_... */
    int32_t view; /* which input of the call, -1: the output */
    int32_t rank, type;                                    /* of the view; DNNL's name of its dtype */
    int64_t dim[PLUMB_DNNL_RANK], stride[PLUMB_DNNL_RANK]; /* of a chunk's part; in elements */
    int64_t step;    /* bytes from a chunk's part to the next one's; 0: all chunks read the whole */
    int32_t any;     /* the primitive may choose another layout: it is reordered then */
    int32_t summed;  /* every chunk makes a whole result of f32: their sum is the result */
} plumb_dnnl_operand;

enum plumb_dnnl_kind { PLUMB_DNNL_CONV, PLUMB_DNNL_CONV_DATA, PLUMB_DNNL_CONV_FILTER, PLUMB_DNNL_MATMUL };

/* Plain bytes: zeroed before it is filled. The result is the last operand. */
typedef struct plumb_dnnl_work {
    int32_t kind, n;
    plumb_dnnl_operand operand[PLUMB_DNNL_OPERANDS];
    int64_t chunks, workers;
    int64_t stride[2], dilation[2], before[2], after[2]; /* of convolutions */
    plumb_epilogue *activate; /* of a chunk's part of the result, which is dense; NULL: nothing */
} plumb_dnnl_work;

/* Fills an operand from the call's view, in whole; false where no primitive could take it. */
bool plumb_dnnl_operand_of(const plumb_call *call, int view, int arg, plumb_dnnl_operand *operand);
/* Cuts dimension d of an operand. */
void plumb_dnnl_cut(plumb_dnnl_operand *operand, int d, int64_t chunks);

/* ---- job.c: for implementations whose `write` fills the work of a call, or answers false ---- */
typedef bool plumb_dnnl_write(const plumb_call *call, plumb_dnnl_work *work);
bool plumb_dnnl_supports(const plumb_call *call, plumb_dnnl_write *write);
size_t plumb_dnnl_workspace(const plumb_call *call, plumb_dnnl_write *write);
plumb_status plumb_dnnl_run(const plumb_call *call, plumb_dnnl_write *write);
void plumb_dnnl_job_destroy(void *dnnl, void *job); /* for the table of jobs */

#define PLUMB_DNNL_IMPL(op_, dtypes_, flags_, write_)                                                                         \
    static bool supports_##op_(const plumb_call *call) { return plumb_dnnl_supports(call, write_); }                 \
    static size_t workspace_##op_(const plumb_call *call) { return plumb_dnnl_workspace(call, write_); }             \
    static plumb_status run_##op_(const plumb_call *call) { return plumb_dnnl_run(call, write_); }                   \
    const plumb_impl plumb_impl_##op_##_onednn = {                                                                    \
        .op = &plumb_op_##op_,                                                                                        \
        .name = "cpu.onednn",                                                                                         \
        .dtypes = dtypes_,                                                                                            \
        .flags = flags_,                                                                                              \
        .supports = supports_##op_,                                                                                   \
        .workspace = workspace_##op_,                                                                                 \
        .run = run_##op_,                                                                                             \
    };

/* What follows a chunk of results, whose bias oneDNN has added; *fits: there is what it takes. */
static inline plumb_epilogue *plumb_dnnl_activation(const plumb_call *call, int activation, bool *fits)
{
    *fits = activation == PLUMB_ACTIVATION_NONE || call->out[0].dtype == PLUMB_F32;
    return *fits ? plumb_epilogue_for(call->out[0].dtype, call->isa, activation, false) : NULL;
}

/* ---- plugin.c ---- */
plumb_dnnl *plumb_dnnl_of(const plumb_call *call);
/* oneDNN asks OpenMP how many threads to use, which OpenMP answers for the thread that asks. Held at 1 around whatever we
 * let it do, on that thread alone; `release` puts back what `hold` returned. */
int plumb_dnnl_hold_threads(void);
void plumb_dnnl_release_threads(int held);

/* ---- version.c: what differs between oneDNN 2 and 3 ---- */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t plumb_dnnl_layout;
#else
typedef const dnnl_memory_desc_t *plumb_dnnl_layout;
#endif
/* The primitive of a work's chunk, its scratchpad in the caller's hands. */
dnnl_status_t plumb_dnnl_describe(dnnl_engine_t engine, const plumb_dnnl_work *work, dnnl_primitive_desc_t *made);
/* A memory object, yet without memory, of an operand as the call has it. */
dnnl_status_t plumb_dnnl_memory(dnnl_engine_t engine, const plumb_dnnl_operand *operand, dnnl_memory_t *made);

#endif
