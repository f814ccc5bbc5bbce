/* What the files of planted bugs share: the little that their host sides do, and the list of the bugs. */
#ifndef CUDASIM_PLANTED_H
#define CUDASIM_PLANTED_H

#include "plumb_cuda.h"

#include <stdio.h>
#include <unistd.h>

#include "samples.h"

namespace planted {

inline void say(const char *text)
{
    fprintf(stderr, "%s\n", text);
    fflush(stderr);
    _exit(3);
}

inline void need(bool right)
{
    if (!right) {
        say("wrong value");
    }
}

inline void ok(cudaError_t code)
{
    if (code != cudaSuccess) {
        say(cudaGetErrorName(code));
    }
}

inline float *device(int n)
{
    void *p = nullptr;
    ok(cudaMalloc(&p, (size_t)n * sizeof(float)));
    return static_cast<float *>(p);
}

inline float *pinned(int n)
{
    void *p = nullptr;
    ok(cudaMallocHost(&p, (size_t)n * sizeof(float)));
    return static_cast<float *>(p);
}

/* 0, 1, 2, ... */
inline float *ramp(int n)
{
    float x[1024], *d = device(n);
    for (int i = 0; i < n; i++) {
        x[i] = (float)i;
    }
    ok(cudaMemcpy(d, x, (size_t)n * sizeof(float), cudaMemcpyHostToDevice));
    return d;
}

inline float fetch(const float *d, int i)
{
    float v = 0.0f;
    ok(cudaMemcpy(&v, d + i, sizeof v, cudaMemcpyDeviceToHost));
    return v;
}

inline cudaStream_t stream()
{
    cudaStream_t s = nullptr;
    ok(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

inline void launch_and_wait(cudaError_t code)
{
    ok(code);
    ok(cudaDeviceSynchronize());
}

#define BUG(name, options, plain, asan, checker) void name();
#include "bugs.h"

enum { N = 256 };
const unsigned ALL = 0xffffffffu;

} // namespace planted

using namespace planted;

#endif
