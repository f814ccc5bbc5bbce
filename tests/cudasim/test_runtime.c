/* The fake runtime: streams, events, graphs, failure injection, errors that stay, and what is counted. */
#include "control.h"
#include "samples.h"
#include "test.h"

#include <string.h>

enum { N = 64 };

static float *pinned(float first)
{
    void *p = NULL;
    OK(cudaHostAlloc(&p, N * sizeof(float), cudaHostAllocDefault));
    float *x = p;
    for (int i = 0; i < N; i++) {
        x[i] = first + (float)i;
    }
    return x;
}

static float *device(void)
{
    void *p = NULL;
    OK(cudaMalloc(&p, N * sizeof(float)));
    return p;
}

static void lazy_work_waits(void)
{
    cudaStream_t s;
    cudasim_set("streams=lazy");
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    float *x = pinned(1.0f), *y = pinned(0.0f), *d = device(), *e = device();
    OK(cudaMemcpyAsync(d, x, N * sizeof(float), cudaMemcpyHostToDevice, s));
    OK(sample_scale(s, d, e, N, 2.0f));
    OK(cudaMemcpyAsync(y, e, N * sizeof(float), cudaMemcpyDeviceToHost, s));
    CHECK(y[3] == 3.0f);
    CHECK(cudaStreamQuery(s) == cudaErrorNotReady);
    OK(cudaStreamSynchronize(s));
    CHECK(y[3] == 8.0f);
    OK(cudaStreamQuery(s));
    OK(cudaFreeHost(x));
    OK(cudaFreeHost(y));
    OK(cudaFree(d));
    OK(cudaFree(e));
    OK(cudaStreamDestroy(s));
}

static void events_order_streams(void)
{
    cudaStream_t a, b;
    cudaEvent_t done, end;
    float milliseconds = -1.0f;
    cudasim_set("streams=lazy");
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    OK(cudaEventCreate(&done));
    OK(cudaEventCreate(&end));
    float *x = pinned(1.0f), *y = pinned(0.0f), *d = device(), *e = device();
    OK(cudaMemcpyAsync(d, x, N * sizeof(float), cudaMemcpyHostToDevice, a));
    OK(cudaEventRecord(done, a));
    OK(cudaStreamWaitEvent(b, done, 0));
    OK(sample_scale(b, d, e, N, 3.0f));
    OK(cudaMemcpyAsync(y, e, N * sizeof(float), cudaMemcpyDeviceToHost, b));
    OK(cudaEventRecord(end, b));
    CHECK(cudaEventElapsedTime(&milliseconds, done, end) == cudaErrorNotReady);
    OK(cudaEventSynchronize(end));
    CHECK(y[1] == 6.0f);
    OK(cudaEventElapsedTime(&milliseconds, done, end));
    CHECK(milliseconds >= 0.0f);
    OK(cudaEventDestroy(done));
    OK(cudaEventDestroy(end));
    OK(cudaFreeHost(x));
    OK(cudaFreeHost(y));
    OK(cudaFree(d));
    OK(cudaFree(e));
    OK(cudaStreamDestroy(a));
    OK(cudaStreamDestroy(b));
    CHECK(cudasim_count().streams == 0 && cudasim_count().events == 0);
}

static void add_one(void *count) { ++*(int *)count; }

/* A captured step on two streams, replayed on changing inputs. */
static void graphs_replay(void)
{
    cudaStream_t s, side;
    cudaEvent_t fork_event, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    size_t nodes = 0;
    int turns = 0;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&fork_event, cudaEventDisableTiming));
    OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    float *x = pinned(1.0f), *y = pinned(0.0f), *d = device(), *e = device();
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemcpyAsync(d, x, N * sizeof(float), cudaMemcpyHostToDevice, s));
    OK(cudaEventRecord(fork_event, s));
    OK(cudaStreamWaitEvent(side, fork_event, 0));
    OK(sample_scale(side, d, e, N, 2.0f));
    OK(cudaEventRecord(join, side));
    OK(cudaStreamWaitEvent(s, join, 0));
    OK(cudaMemcpyAsync(y, e, N * sizeof(float), cudaMemcpyDeviceToHost, s));
    OK(cudaLaunchHostFunc(s, add_one, &turns));
    OK(cudaStreamEndCapture(s, &graph));
    CHECK(y[0] == 0.0f && turns == 0);
    OK(cudaGraphGetNodes(graph, NULL, &nodes));
    CHECK(nodes == 4);
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int turn = 1; turn < 4; turn++) {
        x[0] = (float)turn;
        OK(cudaGraphLaunch(exec, s));
        OK(cudaStreamSynchronize(s));
        CHECK(y[0] == 2.0f * (float)turn && turns == turn);
    }
    OK(cudaGraphExecDestroy(exec));
    OK(cudaEventDestroy(fork_event));
    OK(cudaEventDestroy(join));
    OK(cudaFreeHost(x));
    OK(cudaFreeHost(y));
    OK(cudaFree(d));
    OK(cudaFree(e));
    OK(cudaStreamDestroy(s));
    OK(cudaStreamDestroy(side));
    CHECK(cudasim_count().graphs == 0);
}

static void broken_capture(void)
{
    cudaStream_t s;
    cudaGraph_t graph;
    enum cudaStreamCaptureStatus status;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    CHECK(cudaStreamSynchronize(s) == cudaErrorStreamCaptureUnsupported);
    OK(cudaStreamIsCapturing(s, &status));
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
    OK(cudaStreamIsCapturing(s, &status));
    CHECK(status == cudaStreamCaptureStatusNone);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureInvalidated);
    OK(cudaGetLastError());
    OK(cudaStreamDestroy(s));
    CHECK(cudasim_count().graphs == 0);
}

/* Host code as it should be: whatever fails, all is given back. */
static cudaError_t careful(float *result)
{
    float *d = NULL, *host = NULL;
    cudaStream_t s = NULL;
    cudaEvent_t event = NULL;
    cudaError_t code = cudaMalloc((void **)&d, N * sizeof(float));
    code = code ? code : cudaMallocHost((void **)&host, N * sizeof(float));
    code = code ? code : cudaStreamCreate(&s);
    code = code ? code : cudaEventCreate(&event);
    if (!code) {
        host[0] = 4.0f;
        code = cudaMemcpyAsync(d, host, N * sizeof(float), cudaMemcpyHostToDevice, s);
    }
    code = code ? code : sample_scale(s, d, d, N, 2.0f);
    code = code ? code : cudaMemcpyAsync(host, d, N * sizeof(float), cudaMemcpyDeviceToHost, s);
    code = code ? code : cudaEventRecord(event, s);
    code = code ? code : cudaEventSynchronize(event);
    *result = code ? 0.0f : host[0];
    if (event) {
        cudaEventDestroy(event);
    }
    if (s) {
        cudaStreamDestroy(s);
    }
    cudaFree(d);
    cudaFreeHost(host);
    return code;
}

static void injected_failures(void)
{
    static const int calls[CUDASIM_CLASSES] = {9, 1, 1, 2, 1, 1, 2, 0, 1};
    float result;
    for (int which = 0; which < CUDASIM_CLASSES; which++) {
        int n = 0;
        for (;;) {
            cudasim_fail((enum cudasim_class)which, n + 1);
            cudaError_t code = careful(&result);
            CHECK((code != cudaSuccess) == cudasim_failed());
            cudasim_alive alive = cudasim_count();
            CHECK(!alive.device && !alive.pinned && !alive.streams && !alive.events);
            if (!code) {
                break;
            }
            n++;
        }
        CHECK(result == 8.0f);
        CHECK(n == calls[which]);
        cudasim_fail((enum cudasim_class)which, 0);
    }
    cudaGetLastError();
}

static void memory_limit(void)
{
    size_t available, total;
    void *p, *q;
    cudasim_set("memory=1");
    OK(cudaMalloc(&p, 600 << 10));
    CHECK(cudaMalloc(&q, 600 << 10) == cudaErrorMemoryAllocation && !q);
    OK(cudaMemGetInfo(&available, &total));
    CHECK(total == 1 << 20 && available == 424 << 10);
    OK(cudaFree(p));
    OK(cudaMalloc(&p, 0));
    CHECK(!p);
    cudasim_set("memory=4096");
    CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
}

/* A fault is kept, and the device is lost, as after a real one. */
static void lost_device(void)
{
    float *d = device();
    cudasim_set("onerror=record");
    CHECK(cudaMemset((char *)d + 4, 0, N * sizeof(float)) != cudaSuccess);
    CHECK(strcmp(cudasim_fault(), "copy-overrun") == 0);
    CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
    CHECK(cudaGetLastError() == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure);
    CHECK(sample_scale(NULL, d, d, N, 1.0f) == cudaErrorLaunchFailure);
    cudasim_reset();
    cudasim_set("onerror=abort");
    OK(cudaMemset(d, 0, N * sizeof(float)));
    OK(sample_scale(NULL, d, d, N, 1.0f));
    OK(cudaFree(d));
}

/* A fault in the midst of a block leaves the simulator able to run the next launch. */
static void recovery(void)
{
    int ones[100];
    for (int i = 0; i < 100; i++) {
        ones[i] = 1;
    }
    int *d, *out;
    OK(cudaMalloc((void **)&d, sizeof ones));
    OK(cudaMalloc((void **)&out, sizeof ones));
    OK(cudaMemcpy(d, ones, sizeof ones, cudaMemcpyHostToDevice));
    for (int turn = 0; turn < 20; turn++) {
        cudasim_set("onerror=record");
        CHECK(sample_reverse_wrong(NULL, d, out) == cudaErrorLaunchFailure);
        CHECK(strcmp(cudasim_fault(), "divergent-exit") == 0);
        CHECK(strstr(cudasim_fault_text(), "reverse_wrong") != NULL);
        cudasim_reset();
        cudasim_set("onerror=abort");
        OK(sample_counts(NULL, d, out));
        OK(cudaMemcpy(ones, out, 3 * sizeof *out, cudaMemcpyDeviceToHost));
        CHECK(ones[0] == 100 && ones[1] == 0 && ones[2] == 1);
    }
    OK(cudaFree(d));
    OK(cudaFree(out));
}

static void stream_order(void) /* stream 0 and blocking streams wait for each other; the others do not */
{
    cudaStream_t s;
    cudasim_set("streams=lazy");
    OK(cudaStreamCreate(&s));
    float *x = pinned(1.0f), *d = device(), *e = device(), y[N];
    OK(cudaMemcpyAsync(d, x, N * sizeof(float), cudaMemcpyHostToDevice, s));
    OK(sample_scale(NULL, d, e, N, 5.0f));
    OK(sample_scale(s, e, d, N, 2.0f));
    OK(cudaMemcpy(y, d, sizeof y, cudaMemcpyDeviceToHost));
    CHECK(y[1] == 20.0f);
    OK(cudaFreeHost(x));
    OK(cudaFree(d));
    OK(cudaFree(e));
    OK(cudaStreamDestroy(s));
}

static void options(void)
{
    struct cudaDeviceProp properties;
    int value = 0;
    CHECK(!cudasim_set("order=sideways") && !cudasim_set("colour=red") && !cudasim_set("order"));
    CHECK(cudasim_set("order=sequential,streams=eager,seed=1"));
    OK(cudaGetDeviceProperties(&properties, 0));
    CHECK(properties.warpSize == 32);
    CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice && cudaGetLastError() == cudaErrorInvalidDevice);
    OK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxThreadsPerBlock, 0));
    CHECK(value == 1024);
    CHECK(strcmp(cudaGetErrorName(cudaErrorLaunchFailure), "cudaErrorLaunchFailure") == 0);
    CHECK(cudasim_work().launches > 0 && cudasim_work().switches > 0);
}

void test_runtime(void)
{
    static const struct {
        const char *name;
        void (*test)(void);
    } tests[] = {{"lazy work waits", lazy_work_waits}, {"events order streams", events_order_streams},
                 {"graphs replay", graphs_replay},     {"broken capture", broken_capture},
                 {"injected failures", injected_failures}, {"memory limit", memory_limit},
                 {"lost device", lost_device},         {"recovery", recovery},
                 {"stream order", stream_order},       {"options", options}};
    for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
        cudasim_set("order=sequential,streams=eager,seed=1");
        test_run(tests[t].name, tests[t].test);
    }
}
