/* The real cuDNN, where it is installed, without a GPU: it makes descriptors, asks its heuristics and finalises plans for a
 * device that is only described to it. So the graphs our provider writes are judged by the library itself, up to the point
 * where they would run; and the simulator's fake is held against it, error by error.
 *
 * Closing line: "N passed, N failed, N skipped"; one skip where there is no cuDNN of version 9.8 or later. */
#include "cudnn.h"
#include "cuda/cudnn.h"
#include "plumb/plumb.h"

#include <dlfcn.h>

/* As the library writes it down: a Hopper GPU. */
static const char device_text[] =
    "{\"version\":1,\"cudaDeviceId\":0,\"deviceName\":\"described\",\"deviceVer\":900,\"driverVer\":13000,\"isTccDriver\":0,"
    "\"l2CacheSize\":62914560,\"maxCtasPerSM\":32,\"maxRegistersPerSM\":65536,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":232448,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,"
    "\"memClockRateKHz\":3201000,\"multiProcessorCount\":132,\"pciDeviceId\":9013,\"regsPerBlock\":65536,"
    "\"reservedSharedMemoryPerBlock\":1024,\"smClockRateKHz\":1980000,\"supportCoopLaunch\":1,"
    "\"totalGlobalMem\":150000000000,\"warpSize\":32,\"maxBlockSize\":[1024,1024,64],"
    "\"maxGridSize\":[2147483647,65535,65535]}";
enum { DESCRIBES = 90800, MIXED = -1 };

static struct plumb_cuda device;
static plumb_cudnn library;
static int passed, failed;

static void expect(bool good, const char *what, const char *more)
{
    passed += good;
    failed += !good;
    if (!good) {
        printf("FAILED %s: %s\n", what, more);
    }
}

/* ---- the library ---- */

static bool open_library(plumb_context *context)
{
    static const char *const places[] = {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9",
                                         "/usr/local/cuda/lib/libcudnn.so.9"};
    void *file = NULL;
    for (int i = 0; i < 3 && !file; i++) {
        file = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
    }
    struct plumb_cudnn_api *api = &library.api;
    if (!file) {
        return false;
    }
#define LOOK_UP(name) *(void **)&api->name = dlsym(file, #name)
    LOOK_UP(cudnnGetVersion);
    LOOK_UP(cudnnGetErrorString);
    LOOK_UP(cudnnBackendCreateDescriptor);
    LOOK_UP(cudnnBackendDestroyDescriptor);
    LOOK_UP(cudnnBackendFinalize);
    LOOK_UP(cudnnBackendSetAttribute);
    LOOK_UP(cudnnBackendGetAttribute);
    if (!api->cudnnGetVersion || api->cudnnGetVersion() < DESCRIBES || api->cudnnGetVersion() >= CD_NEXT) {
        return false;
    }
    library.context = context;
    setenv("PLUMB_CACHE_DIR", "", 1); /* choices are kept in this process only */
    plumb_cuda_cache_open(&library.cache, context, "cudnn", "described");
    plumb_plans_open(&library.plans, context, plumb_cudnn_plan_free, &library);
    device.base.context = context;
    device.vendor[PLUMB_CUDA_CUDNN].tried = true;
    device.vendor[PLUMB_CUDA_CUDNN].state = &library;
    printf("cuDNN %zu\n", api->cudnnGetVersion());
    return true;
}

static void close_library(plumb_cudnn_bag *bag)
{
    plumb_plans_close(&library.plans);
    plumb_cuda_cache_close(&library.cache);
    plumb_cudnn_empty(bag);
}

/* ---- graphs of our implementations ---- */

#define PLUMB_IMPL(op, suffix) extern const plumb_impl plumb_impl_##op##_##suffix;
#include "cuda/vendor_list.h"
#undef PLUMB_IMPL

struct made { /* a call */
    plumb_view in[8], out[8];
    plumb_call call;
};

static void add_view(struct made *m, bool output, plumb_dtype dtype, bool last, const int64_t dim[4])
{
    plumb_view *v = output ? &m->out[m->call.n_out++] : &m->in[m->call.n_in++];
    *v = (plumb_view){.dtype = dtype, .rank = 4};
    memcpy(v->dim, dim, sizeof *dim * 4);
    plumb_view_pack(v);
    if (last) {
        v->stride[1] = 1;
        v->stride[3] = dim[1];
        v->stride[2] = dim[3] * dim[1];
    }
}

static void add_vector(struct made *m, bool output, plumb_dtype dtype, int64_t size)
{
    plumb_view *v = output ? &m->out[m->call.n_out++] : &m->in[m->call.n_in++];
    *v = (plumb_view){.dtype = dtype, .rank = 1, .dim = {size}, .stride = {1}};
}

static plumb_cudnn_plan *found;

static void see(void *user, const void *key, size_t bytes, void *plan)
{
    (void)user, (void)key, (void)bytes;
    found = plan;
}

/* Whether the library makes a plan, and that it has no objection to the graph as such. */
static void try(struct made *m, const plumb_impl *impl, const void *attr, unsigned allow, int want, const char *what)
{
    char text[256];
    library.context->options.allow = allow;
    m->call.context = library.context;
    m->call.device = &device.base;
    m->call.op = impl->op;
    m->call.name = "";
    m->call.attr = attr;
    m->call.in = m->in;
    m->call.out = m->out;
    found = NULL;
    bool taken = impl->supports(&m->call);
    plumb_plans_visit(&library.plans, see, NULL);
    snprintf(text, sizeof text, "%s %s, %s: %s", impl->op->name, plumb_dtype_name(m->in[0].dtype), what,
             !found ? "no plan" : taken ? "taken" : found->reason);
    expect(found && strncmp(found->reason, "the graph", 9) != 0, text, "the graph is good");
    expect(want == MIXED || taken == want, text, want ? "it should be taken" : "it should be declined");
    printf("%-70s engine %lld, workspace %lld\n", text, taken ? (long long)found->choice.engine : -1LL,
           taken ? (long long)found->workspace : 0LL);
    plumb_cudnn_choice choice = found ? found->choice : (plumb_cudnn_choice){.engine = 0};
    plumb_plans_close(&library.plans);
    found = NULL;
    bool again = impl->supports(&m->call); /* the engine and its knobs, made again as after a start from the cache */
    plumb_plans_visit(&library.plans, see, NULL);
    expect(again == taken && (!taken || (found->cached && memcmp(&choice, &found->choice, sizeof choice) == 0)), text,
           "its choice can be made again");
    plumb_plans_close(&library.plans);
}

static const plumb_dtype floats[] = {PLUMB_F32, PLUMB_F64, PLUMB_BF16, PLUMB_F16};

/* x (4, 16, 12, 12) by w (32, 16 / groups, 3, 3). */
static void try_convolutions(const plumb_attr_conv2d *attr, int64_t height, int want, const char *what)
{
    const int64_t x[] = {4, 16, 12, 12}, w[] = {32, 16 / attr->groups, 3, 3}, y[] = {4, 32, height, 12};
    for (int i = 0; i < 4; i++) {
        for (int last = 0; last < 2; last++) {
            const plumb_dtype t = floats[i];
            char text[100];
            snprintf(text, sizeof text, "%s, %s", what, last ? "channels-last" : "rows");
            struct made forward = {.call = {.n_in = 0}}, data = forward, filter = forward;
            add_view(&forward, false, t, last, x);
            add_view(&forward, false, t, last, w);
            add_view(&forward, true, t, last, y);
            try(&forward, &plumb_impl_conv2d_cudnn, attr, 0, want, text);
            add_view(&data, false, t, last, y);
            add_view(&data, false, t, last, w);
            add_view(&data, true, t, last, x);
            try(&data, &plumb_impl_conv2d_backward_data_cudnn, attr, 0, want, text);
            add_view(&filter, false, t, last, x);
            add_view(&filter, false, t, last, y);
            add_view(&filter, true, t, last, w);
            try(&filter, &plumb_impl_conv2d_backward_filter_cudnn, attr, 0, want, text);
            forward.call.n_in = 2;
            add_vector(&forward, false, t, 32);
            try(&forward, &plumb_impl_conv2d_cudnn, attr, 0, want, "with bias");
        }
    }
}

static void try_activations(void)
{
    static const char *const names[] = {"no activation", "relu", "sigmoid", "tanh"};
    const int64_t x[] = {4, 16, 12, 12}, w[] = {32, 16, 3, 3}, y[] = {4, 32, 12, 12};
    plumb_attr_conv2d attr = {.stride = {1, 1}, .dilation = {1, 1}, .padding = {1, 1, 1, 1}, .groups = 1};
    for (int i = 0; i < 16; i++) {
        struct made m = {.call = {.n_in = 0}};
        attr.activation = i / 4;
        add_view(&m, false, floats[i % 4], true, x);
        add_view(&m, false, floats[i % 4], true, w);
        add_vector(&m, false, floats[i % 4], 32);
        add_view(&m, true, floats[i % 4], true, y);
        /* a smooth activation needs an engine compiled at run time, which needs a driver, or the plain one */
        try(&m, &plumb_impl_conv2d_cudnn, &attr, 0, attr.activation < PLUMB_ACTIVATION_SIGMOID ? 1 : MIXED,
            names[attr.activation]);
    }
}

static void try_pooling(void)
{
    const int64_t x[] = {2, 8, 9, 8}, y[] = {2, 8, 5, 4};
    plumb_attr_pool2d attr = {.window = {3, 2}, .stride = {2, 2}, .padding = {1, 0, 1, 0}, .dilation = {1, 1}};
    for (int i = 0; i < 16; i++) {
        struct made forward = {.call = {.n_in = 0}}, backward = forward;
        bool last = i / 4 % 2;
        attr.exclude_padding = i / 8;
        add_view(&forward, false, floats[i % 4], last, x);
        add_view(&forward, true, floats[i % 4], last, y);
        add_view(&backward, false, floats[i % 4], last, y);
        add_view(&backward, true, floats[i % 4], last, x);
        /* channels-last needs an engine compiled at run time */
        try(&forward, &plumb_impl_average_pool2d_cudnn, &attr, 0, last ? MIXED : 1, last ? "channels-last" : "rows");
        try(&backward, &plumb_impl_average_pool2d_backward_cudnn, &attr, 0, last ? MIXED : 1,
            last ? "channels-last" : "rows");
    }
}

/* All engines for these need a driver: the library knows the graphs, and offers none. */
static void try_norms(void)
{
    const int64_t x[] = {8, 32, 14, 14};
    plumb_attr_batch_norm attr = {.epsilon = 1e-5, .momentum = 0.1};
    for (int i = 0; i < 6; i++) {
        static const plumb_dtype types[] = {PLUMB_F32, PLUMB_BF16, PLUMB_F16};
        struct made forward = {.call = {.n_in = 0}}, backward = forward;
        bool last = i / 3;
        add_view(&forward, false, types[i % 3], last, x);
        add_view(&forward, true, types[i % 3], last, x);
        add_view(&backward, false, types[i % 3], last, x);
        add_view(&backward, true, types[i % 3], last, x);
        for (int k = 0; k < 4; k++) {
            add_vector(&forward, false, PLUMB_F32, 32);
            add_vector(&forward, true, PLUMB_F32, 32);
            add_vector(&backward, k == 3, PLUMB_F32, 32);
        }
        add_view(&backward, false, types[i % 3], last, x);
        add_vector(&backward, true, PLUMB_F32, 32);
        try(&forward, &plumb_impl_batch_norm_cudnn, &attr, 0, MIXED, last ? "channels-last" : "rows");
        try(&backward, &plumb_impl_batch_norm_backward_cudnn, &attr, 0, MIXED, last ? "channels-last" : "rows");
    }
}

/* ---- errors, beside the fake ---- */

static void fake_table(struct plumb_cudnn_api *api)
{
    const struct {
        const char *name;
        void *at;
    } rows[] = {{"cudnnBackendCreateDescriptor", &api->cudnnBackendCreateDescriptor},
                {"cudnnBackendDestroyDescriptor", &api->cudnnBackendDestroyDescriptor},
                {"cudnnBackendFinalize", &api->cudnnBackendFinalize},
                {"cudnnBackendSetAttribute", &api->cudnnBackendSetAttribute},
                {"cudnnBackendGetAttribute", &api->cudnnBackendGetAttribute}};
    for (int i = 0; i < 5; i++) {
        for (int k = 0; cudasim_fake_cudnn.functions[k].name; k++) {
            if (strcmp(cudasim_fake_cudnn.functions[k].name, rows[i].name) == 0) {
                memcpy(rows[i].at, &cudasim_fake_cudnn.functions[k].function, sizeof(void *));
            }
        }
    }
}

struct said {
    unsigned status[64];
    int count;
};

static void say(struct said *said, unsigned status)
{
    said->status[said->count++] = status;
}

static plumb_cudnn_descriptor tensor(const struct plumb_cudnn_api *api, plumb_cudnn_bag *bag, struct said *said,
                                     const int64_t dim[4], const int64_t stride[4], int64_t alignment)
{
    const uint32_t type = CD_FLOAT;
    const int64_t id = bag->count + 1;
    plumb_cudnn_descriptor d = plumb_cudnn_new(bag, CD_TENSOR);
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_DATA_TYPE, CD_TYPE_DATA_TYPE, 1, &type));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_DIMENSIONS, CD_TYPE_INT64, 4, dim));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_STRIDES, CD_TYPE_INT64, 4, stride));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_UNIQUE_ID, CD_TYPE_INT64, 1, &id));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_BYTE_ALIGNMENT, CD_TYPE_INT64, 1, &alignment));
    say(said, api->cudnnBackendFinalize(d));
    return d;
}

/* Every mistake that the library notices and does not come to harm by. */
static void make_mistakes(const struct plumb_cudnn_api *api, struct said *said)
{
    static const int64_t x[] = {2, 3, 8, 8}, sx[] = {192, 64, 8, 1}, w[] = {4, 3, 3, 3}, sw[] = {27, 9, 3, 1},
                         y[] = {2, 4, 8, 8}, sy[] = {256, 64, 8, 1}, wrong[] = {2, 4, 7, 8}, negative[] = {-192, 64, 8, 1};
    static const int64_t two = 2, ones[] = {1, 1};
    static const uint32_t number = 0, cross = CD_CROSS_CORRELATION;
    static const float one = 1, zero = 0;
    plumb_cudnn_bag bag = {.api = api};
    plumb_cudnn_descriptor d = plumb_cudnn_new(&bag, CD_TENSOR), got = NULL;
    int64_t count;
    say(said, api->cudnnBackendFinalize(d)); /* nothing is set */
    say(said, api->cudnnBackendSetAttribute(d, CD_CONVOLUTION_COMP_TYPE, CD_TYPE_DATA_TYPE, 1, &number));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_UNIQUE_ID, CD_TYPE_FLOAT, 1, &one));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_UNIQUE_ID, CD_TYPE_INT64, 2, x));
    say(said, api->cudnnBackendSetAttribute(d, CD_TENSOR_DIMENSIONS, CD_TYPE_INT64, 0, x));
    tensor(api, &bag, said, x, negative, 16);
    tensor(api, &bag, said, x, sx, 3);
    tensor(api, &bag, said, x, sx, 0);
    plumb_cudnn_descriptor tx = tensor(api, &bag, said, x, sx, 16), tw = tensor(api, &bag, said, w, sw, 16),
                           ty = tensor(api, &bag, said, y, sy, 16), bad = tensor(api, &bag, said, wrong, sy, 4);
    say(said, api->cudnnBackendSetAttribute(tx, CD_TENSOR_DIMENSIONS, CD_TYPE_INT64, 4, y)); /* it is final */
    say(said, api->cudnnBackendFinalize(tx));
    plumb_cudnn_descriptor conv = plumb_cudnn_new(&bag, CD_CONVOLUTION);
    say(said, api->cudnnBackendFinalize(conv));
    say(said, api->cudnnBackendSetAttribute(conv, CD_CONVOLUTION_CONV_MODE, CD_TYPE_INT64, 1, &two));
    say(said, api->cudnnBackendSetAttribute(conv, CD_CONVOLUTION_COMP_TYPE, CD_TYPE_DATA_TYPE, 1, &number));
    say(said, api->cudnnBackendSetAttribute(conv, CD_CONVOLUTION_CONV_MODE, CD_TYPE_CONVOLUTION_MODE, 1, &cross));
    say(said, api->cudnnBackendSetAttribute(conv, CD_CONVOLUTION_SPATIAL_DIMS, CD_TYPE_INT64, 1, &two));
    static const unsigned pairs[] = {CD_CONVOLUTION_DILATIONS, CD_CONVOLUTION_FILTER_STRIDES, CD_CONVOLUTION_PRE_PADDINGS,
                                     CD_CONVOLUTION_POST_PADDINGS};
    for (int i = 0; i < 4; i++) {
        say(said, api->cudnnBackendSetAttribute(conv, pairs[i], CD_TYPE_INT64, 2, ones));
    }
    say(said, api->cudnnBackendFinalize(conv));
    for (int good = 0; good < 2; good++) {
        plumb_cudnn_descriptor op = plumb_cudnn_new(&bag, CD_OPERATION_CONVOLUTION_FORWARD);
        say(said, api->cudnnBackendFinalize(op));
        plumb_cudnn_set_descriptor(&bag, op, CD_CONVOLUTION_FORWARD_CONV_DESC, conv);
        plumb_cudnn_set_descriptor(&bag, op, CD_CONVOLUTION_FORWARD_X, tx);
        plumb_cudnn_set_descriptor(&bag, op, CD_CONVOLUTION_FORWARD_W, tw);
        plumb_cudnn_set_descriptor(&bag, op, CD_CONVOLUTION_FORWARD_Y, good ? ty : bad);
        plumb_cudnn_set(&bag, op, CD_CONVOLUTION_FORWARD_ALPHA, CD_TYPE_FLOAT, 1, &one);
        plumb_cudnn_set(&bag, op, CD_CONVOLUTION_FORWARD_BETA, CD_TYPE_FLOAT, 1, &zero);
        say(said, bag.status);
        say(said, api->cudnnBackendFinalize(op));
    }
    plumb_cudnn_descriptor pack = plumb_cudnn_new(&bag, CD_VARIANT_PACK);
    const void *data[] = {x, y, w};
    say(said, api->cudnnBackendSetAttribute(pack, CD_VARIANT_PACK_UNIQUE_IDS, CD_TYPE_INT64, 2, x));
    say(said, api->cudnnBackendSetAttribute(pack, CD_VARIANT_PACK_DATA_POINTERS, CD_TYPE_VOID_PTR, 3, data));
    say(said, api->cudnnBackendSetAttribute(pack, CD_VARIANT_PACK_WORKSPACE, CD_TYPE_VOID_PTR, 1, data));
    say(said, api->cudnnBackendFinalize(pack));
    say(said, api->cudnnBackendSetAttribute(pack, CD_VARIANT_PACK_UNIQUE_IDS, CD_TYPE_INT64, 3, x));
    say(said, api->cudnnBackendFinalize(pack));
    say(said, api->cudnnBackendSetAttribute(pack, CD_VARIANT_PACK_UNIQUE_IDS, CD_TYPE_INT64, 3, x));
    d = plumb_cudnn_new(&bag, CD_ENGINECFG);
    say(said, api->cudnnBackendGetAttribute(d, CD_ENGINECFG_ENGINE, CD_TYPE_BACKEND_DESCRIPTOR, 1, &count, &got));
    plumb_cudnn_empty(&bag);
}

static void compare_mistakes(void)
{
    struct plumb_cudnn_api fake = {.cudnnGetVersion = NULL};
    struct said real = {.count = 0}, faked = real;
    fake_table(&fake);
    make_mistakes(&library.api, &real);
    make_mistakes(&fake, &faked);
    for (int i = 0; i < real.count; i++) {
        char text[80];
        snprintf(text, sizeof text, "call %d: the library says %u", i, real.status[i]);
        expect(real.status[i] == faked.status[i], text, "the fake says otherwise");
    }
}

int main(void)
{
    plumb_context *context = plumb_open(NULL);
    if (!context || !open_library(context)) {
        printf("no cuDNN of version 9.8 or later\n0 passed, 0 failed, 1 skipped\n");
        plumb_close(context);
        return 0;
    }
    plumb_cudnn_bag bag = {.api = &library.api};
    library.target = plumb_cudnn_new(&bag, CD_DEVICEPROP);
    plumb_cudnn_set(&bag, library.target, CD_DEVICEPROP_JSON_REPRESENTATION, CD_TYPE_CHAR, sizeof device_text, device_text);
    plumb_cudnn_finalize(&bag, library.target);
    expect(bag.status == CD_SUCCESS, "the described device", "it is taken");
    plumb_attr_conv2d attr = {.stride = {1, 1}, .dilation = {1, 1}, .padding = {1, 1, 1, 1}, .groups = 1};
    try_convolutions(&attr, 12, 1, "plain");
    attr.flip = 1;
    try_convolutions(&attr, 12, MIXED, "turned");
    attr.flip = 0;
    attr.groups = 2;
    try_convolutions(&attr, 12, MIXED, "two groups");
    attr.groups = 1;
    attr.padding[0] = 0;
    try_convolutions(&attr, 11, MIXED, "asymmetric padding");
    try_activations();
    try_pooling();
    try_norms();
    compare_mistakes();
    close_library(&bag);
    plumb_close(context);
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
