/* Correct kernels give correct values, in every order of threads and under every policy of streams. */
#include "control.h"
#include "samples.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static cudaStream_t stream;

/* Device memory that holds a copy of `from`, or what the simulator fills it with. */
static void *device(const void *from, size_t bytes)
{
    void *p = NULL;
    OK(cudaMalloc(&p, bytes));
    if (from) {
        OK(cudaMemcpyAsync(p, from, bytes, cudaMemcpyHostToDevice, stream));
    }
    return p;
}

static void fetch(void *to, const void *from, size_t bytes)
{
    OK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
}

static void ramp(float *x, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = (float)(i % 13 - 6);
    }
}

static void scale(void)
{
    float x[1000], y[1000];
    ramp(x, 1000);
    float *dx = device(x, sizeof x), *dy = device(NULL, sizeof y);
    OK(cudaMemsetAsync(dy, 0xFF, sizeof y, stream)); /* the last stays so, and is looked at */
    OK(sample_scale(stream, dx, dy, 999, 2.0f));
    fetch(y, dy, sizeof y);
    CHECK(y[998] == 2.0f * x[998] && isnan(y[999]));
    OK(sample_scale4(stream, dx, dy, 1000, 3.0f));
    fetch(y, dy, sizeof y);
    int wrong = 0;
    for (int i = 0; i < 1000; i++) {
        wrong += y[i] != 3.0f * x[i];
    }
    CHECK(!wrong);
    OK(cudaFree(dx));
    OK(cudaFree(dy));
}

static void gather(void)
{
    float x[300], y[100];
    ramp(x, 300);
    float *dx = device(x, sizeof x), *dy = device(NULL, sizeof y);
    OK(sample_gather(stream, (sample_view){dx + 299, 100, -3}, dy));
    fetch(y, dy, sizeof y);
    CHECK(y[0] == x[299] && y[99] == x[2]);
    OK(cudaFree(dx));
    OK(cudaFree(dy));
}

static void sums(void)
{
    float x[1500], parts[6], total;
    double expected = 0.0, sum = 0.0;
    for (int i = 0; i < 1500; i++) {
        x[i] = (float)(i % 7);
        expected += x[i];
    }
    unsigned zero = 0;
    float *dx = device(x, sizeof x), *dparts = device(NULL, sizeof parts), *dtotal = device(NULL, sizeof total);
    unsigned *ddone = device(&zero, sizeof zero);
    OK(sample_block_sums(stream, dx, dparts, 1500));
    fetch(parts, dparts, sizeof parts);
    for (int i = 0; i < 6; i++) {
        sum += parts[i];
    }
    CHECK(sum == expected);
    for (int turn = 0; turn < 2; turn++) {
        OK(sample_total(stream, dx, dparts, ddone, dtotal, 1500));
        fetch(&total, dtotal, sizeof total);
        CHECK((double)total == expected);
    }
    OK(cudaFree(dx));
    OK(cudaFree(dparts));
    OK(cudaFree(dtotal));
    OK(cudaFree(ddone));
}

static void matmul(void)
{
    enum { M = 20, N = 33, K = 17 };
    static float a[M * K], b[K * N], c[M * N];
    ramp(a, M * K);
    ramp(b, K * N);
    float *da = device(a, sizeof a), *db = device(b, sizeof b), *dc = device(NULL, sizeof c);
    OK(sample_matmul(stream, da, db, dc, M, N, K));
    fetch(c, dc, sizeof c);
    int wrong = 0;
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            float sum = 0.0f;
            for (int k = 0; k < K; k++) {
                sum += a[i * K + k] * b[k * N + j];
            }
            wrong += c[i * N + j] != sum;
        }
    }
    CHECK(!wrong);
    OK(cudaFree(da));
    OK(cudaFree(db));
    OK(cudaFree(dc));
}

static void integers(void)
{
    int x[77], y[77];
    unsigned char bytes[5000];
    unsigned counts[256];
    for (int i = 0; i < 77; i++) {
        x[i] = i;
    }
    for (int i = 0; i < 5000; i++) {
        bytes[i] = (unsigned char)(i * 7);
    }
    int *dx = device(x, sizeof x), *dy = device(NULL, sizeof y);
    unsigned char *dbytes = device(bytes, sizeof bytes);
    unsigned *dcounts = device(NULL, sizeof counts);
    OK(sample_reverse(stream, dx, dy, 77));
    fetch(y, dy, sizeof y);
    CHECK(y[0] == 76 && y[76] == 0);
    OK(cudaMemsetAsync(dcounts, 0, sizeof counts, stream));
    OK(sample_histogram(stream, dbytes, dcounts, 5000));
    fetch(counts, dcounts, sizeof counts);
    unsigned sum = 0;
    for (int i = 0; i < 256; i++) {
        sum += counts[i];
    }
    CHECK(sum == 5000 && counts[0] == 20);
    OK(cudaFree(dx));
    OK(cudaFree(dy));
    OK(cudaFree(dbytes));
    OK(cudaFree(dcounts));
}

static void warp(void)
{
    int out[32][16], *d = device(NULL, sizeof out), wrong = 0;
    OK(sample_warp(stream, d));
    fetch(out, d, sizeof out);
    for (int i = 0; i < 32; i++) {
        const int expected[16] = {5,
                                  (i & ~7) + 1,
                                  i < 3 ? i : i - 3,
                                  i % 4 < 1 ? i : i - 1,
                                  i + 30 > 31 ? i : i + 30,
                                  i % 4 + 2 > 3 ? i : i + 2,
                                  i ^ 1,
                                  (int)0x49249249u,
                                  1,
                                  0,
                                  (int)(0x11111111u << i % 4),
                                  496,
                                  -7,
                                  31,
                                  i < 16 ? 45 : -1,
                                  32 + 31 + 4};
        wrong += memcmp(out[i], expected, sizeof expected) != 0;
    }
    CHECK(!wrong);
    OK(cudaFree(d));
}

static void halves(void)
{
    unsigned short x[70], y[70];
    double sum;
    for (int i = 0; i < 70; i++) {
        x[i] = 0x3C00; /* 1 */
    }
    x[69] = 0xC100; /* -2.5 */
    void *dx = device(x, sizeof x), *dy = device(NULL, sizeof y);
    double *dsum = device(NULL, sizeof sum);
    OK(sample_halves(stream, dx, dy, dsum, 70));
    fetch(y, dy, sizeof y);
    fetch(&sum, dsum, sizeof sum);
    CHECK(y[0] == 0x3F80 && y[69] == 0xC020);
    CHECK(sum == 66.5);
    OK(cudaFree(dx));
    OK(cudaFree(dy));
    OK(cudaFree(dsum));
}

static void blocks(void)
{
    int x[100], out[288], wrong = 0;
    float last;
    for (int i = 0; i < 100; i++) {
        x[i] = i;
    }
    int *dx = device(x, sizeof x), *dout = device(NULL, sizeof out);
    OK(sample_counts(stream, dx, dout));
    fetch(out, dout, 3 * sizeof *out);
    CHECK(out[0] == 99 && out[1] == 1 && out[2] == 1);
    OK(sample_indices(stream, dout));
    fetch(out, dout, sizeof out);
    for (int i = 0; i < 288; i++) {
        wrong += out[i] != i;
    }
    CHECK(!wrong);
    float *dlast = device(NULL, sizeof last);
    OK(sample_large_shared(stream, dlast, 100 << 10));
    fetch(&last, dlast, sizeof last);
    CHECK(last == 25599.0f);
    CHECK(sample_large_shared(stream, dlast, 300 << 10) == cudaErrorInvalidValue);
    OK(cudaFree(dx));
    OK(cudaFree(dout));
    OK(cudaFree(dlast));
}

void test_kernels(void)
{
    static const char *const ways[] = {"order=sequential,streams=eager", "order=reversed,streams=lazy",
                                       "order=random,seed=1,streams=lazy", "order=random,seed=2,streams=shuffle"};
    static const struct {
        const char *name;
        void (*test)(void);
    } tests[] = {{"scale", scale},   {"gather", gather}, {"sums", sums},     {"matmul", matmul},
                 {"integers", integers}, {"warp", warp},     {"halves", halves}, {"blocks", blocks}};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        cudasim_set(ways[w]);
        OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
            char name[128];
            snprintf(name, sizeof name, "%s (%s)", tests[t].name, ways[w]);
            test_run(name, tests[t].test);
        }
        OK(cudaStreamDestroy(stream));
    }
    cudasim_set("order=sequential,streams=eager,seed=1");
}
