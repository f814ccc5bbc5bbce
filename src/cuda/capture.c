/* A whole run captured as a CUDA graph: what costs a launch each the first time costs one the next times. Only what a
 * run launches is captured; feeding and fetching lie outside. */
#include "cuda/cuda.h"

plumb_status plumb_cuda_capture_begin(plumb_device *device)
{
    struct plumb_cuda *cuda = (struct plumb_cuda *)device;
    plumb_status status = plumb_cuda_enter(cuda);
    return status != PLUMB_OK ? status
                              : plumb_cuda_fail(cuda, "beginning a capture",
                                                cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
}

/* Ends the capture in any case: a stream left capturing could do nothing else. */
plumb_status plumb_cuda_capture_end(plumb_device *device, void **captured)
{
    struct plumb_cuda *cuda = (struct plumb_cuda *)device;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t ready = NULL;
    cudaError_t code = cudaStreamEndCapture(cuda->stream, &graph);
    if (code == cudaSuccess) {
        code = cudaGraphInstantiateWithFlags(&ready, graph, 0);
    }
    if (graph) {
        cudaGraphDestroy(graph);
    }
    *captured = code == cudaSuccess ? ready : NULL;
    return plumb_cuda_fail(cuda, "capturing a run", code);
}

plumb_status plumb_cuda_replay(plumb_device *device, void *captured)
{
    struct plumb_cuda *cuda = (struct plumb_cuda *)device;
    plumb_status status = plumb_cuda_enter(cuda);
    return status != PLUMB_OK ? status
                              : plumb_cuda_fail(cuda, "replaying a run", cudaGraphLaunch(captured, cuda->stream));
}

/* Work queued from it may still run; the runtime keeps what it needs until then. */
void plumb_cuda_capture_free(plumb_device *device, void *captured)
{
    (void)device;
    if (captured) {
        cudaGraphExecDestroy(captured);
    }
}
