/* The runtime's calls for graphs: capture, instantiation, launch. */
#include "calls.h"

static struct CUgraph_st *graphs;

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    ENTER(CUDASIM_GRAPH);
    struct CUstream_st *s = cudasim_stream_of(stream);
    if (s == &cudasim_legacy || s->capture) {
        return cudasim_return(s->capture ? cudaErrorIllegalState : cudaErrorStreamCaptureUnsupported);
    }
    struct CUgraph_st *graph = calloc(1, sizeof *graph);
    if (!graph) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&graph->steps);
    s->capture = graph;
    s->origin = true;
    s->broken = false;
    s->mode = mode;
    return cudaSuccess;
}

static void graph_free(struct CUgraph_st *graph)
{
    cudasim_steps_clear(&graph->steps);
    free(graph);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    LOCK();
    struct CUstream_st *s = cudasim_stream_of(stream);
    *out = NULL;
    if (!s->capture || !s->origin) {
        return cudasim_return(s->capture ? cudaErrorStreamCaptureUnmatched : cudaErrorIllegalState);
    }
    struct CUgraph_st *graph = s->capture;
    cudaError_t code = cudasim_gate(CUDASIM_GRAPH); /* the capture ends even when this call fails */
    for (struct CUstream_st *each = &cudasim_legacy; each; each = each->next) {
        if (each->capture == graph) {
            code = !code && each->broken ? cudaErrorStreamCaptureInvalidated : code;
            each->capture = NULL;
            each->origin = each->broken = false;
        }
    }
    for (struct CUevent_st *e = cudasim_events; e; e = e->next) {
        e->capture = e->capture == graph ? NULL : e->capture;
    }
    if (code) {
        graph_free(graph);
        return cudasim_return(code);
    }
    graph->next = graphs;
    graphs = graph;
    cudasim_counts.graphs++;
    *out = graph;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    LOCK();
    const struct CUstream_st *s = cudasim_stream_of(stream);
    *status = !s->capture ? cudaStreamCaptureStatusNone
              : s->broken ? cudaStreamCaptureStatusInvalidated
                          : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    LOCK();
    if (nodes) { /* only their number is known */
        return cudasim_return(cudaErrorInvalidValue);
    }
    *count = graph->steps.count;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    ENTER(CUDASIM_GRAPH);
    struct CUgraphExec_st *exec = calloc(1, sizeof *exec);
    if (!exec) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&exec->graph.steps);
    if (!cudasim_steps_copy(&exec->graph.steps, &graph->steps)) {
        cudasim_steps_clear(&exec->graph.steps);
        free(exec);
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudasim_counts.graphs++;
    *out = exec;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    return cudaGraphInstantiate(out, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    (void)exec;
    (void)stream;
    ENTER(CUDASIM_GRAPH);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    ENTER(CUDASIM_LAUNCH);
    cudasim_steps steps;
    cudasim_steps_start(&steps);
    if (!cudasim_steps_copy(&steps, &exec->graph.steps)) {
        cudasim_steps_clear(&steps);
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    cudaError_t code = cudaSuccess;
    for (cudasim_step *step = steps.first, *next; step; step = next) {
        next = step->next;
        cudaError_t one = cudasim_put(cudasim_stream_of(stream), step);
        code = code ? code : one;
    }
    return code ? code : cudasim_waited();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    LOCK();
    cudasim_steps_clear(&exec->graph.steps);
    free(exec);
    cudasim_counts.graphs--;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    LOCK();
    struct CUgraph_st **link = &graphs;
    while (*link && *link != graph) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-graph", "cudaGraphDestroy of what is no graph");
        return cudasim_return(cudaErrorInvalidValue);
    }
    *link = graph->next;
    graph_free(graph);
    cudasim_counts.graphs--;
    return cudaSuccess;
}
