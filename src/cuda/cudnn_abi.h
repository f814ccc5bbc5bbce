/* What we use of cuDNN 9's backend API, declared by ourselves: so Plumb builds without NVIDIA's headers, and the library is
 * opened at run time. The numbers are the library's ABI, which stays within a major version; tests/cudasim/cudnn_abi.c compares
 * each of them, and every signature, with the toolkit's header at compile time where there is one.
 *
 * The API knows descriptors only: made by type, filled with attributes, finalised, then read or executed. */
#ifndef PLUMB_CUDNN_ABI_H
#define PLUMB_CUDNN_ABI_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cudnnContext;
typedef void *plumb_cudnn_descriptor;

enum { /* status */
    CD_SUCCESS = 0
};

enum { /* oldest version that is used: 9.0.0, in the library's own counting */
    CD_OLDEST = 90000,
    CD_NEXT = 100000 /* a new major version may change any number below */
};

enum plumb_cudnn_dtype {
    CD_FLOAT = 0,
    CD_DOUBLE = 1,
    CD_HALF = 2,
    CD_BFLOAT16 = 9
};

enum plumb_cudnn_type { /* of a descriptor */
    CD_POINTWISE = 0,
    CD_CONVOLUTION = 1,
    CD_ENGINE = 2,
    CD_ENGINECFG = 3,
    CD_ENGINEHEUR = 4,
    CD_EXECUTION_PLAN = 5,
    CD_KNOB_CHOICE = 7,
    CD_OPERATION_CONVOLUTION_FORWARD = 10,
    CD_OPERATION_CONVOLUTION_BACKWARD_FILTER = 11,
    CD_OPERATION_CONVOLUTION_BACKWARD_DATA = 12,
    CD_OPERATION_POINTWISE = 13,
    CD_OPERATIONGRAPH = 15,
    CD_VARIANT_PACK = 16,
    CD_TENSOR = 17,
    CD_RESAMPLE = 24,
    CD_OPERATION_RESAMPLE_FWD = 25,
    CD_OPERATION_RESAMPLE_BWD = 26,
    CD_OPERATION_NORM_FORWARD = 29,
    CD_OPERATION_NORM_BACKWARD = 30,
    CD_DEVICEPROP = 38 /* since 9.8, and only for planning without a device */
};

enum plumb_cudnn_value { /* type of an attribute's elements */
    CD_TYPE_HANDLE = 0,
    CD_TYPE_DATA_TYPE = 1,
    CD_TYPE_BOOLEAN = 2,
    CD_TYPE_INT64 = 3,
    CD_TYPE_FLOAT = 4,
    CD_TYPE_DOUBLE = 5,
    CD_TYPE_VOID_PTR = 6,
    CD_TYPE_CONVOLUTION_MODE = 7,
    CD_TYPE_HEUR_MODE = 8,
    CD_TYPE_KNOB_TYPE = 9,
    CD_TYPE_NUMERICAL_NOTE = 11,
    CD_TYPE_POINTWISE_MODE = 14,
    CD_TYPE_BACKEND_DESCRIPTOR = 15,
    CD_TYPE_BEHAVIOR_NOTE = 19,
    CD_TYPE_RESAMPLE_MODE = 21,
    CD_TYPE_PADDING_MODE = 22,
    CD_TYPE_CHAR = 24,
    CD_TYPE_NORM_MODE = 27,
    CD_TYPE_NORM_FWD_PHASE = 28
};

enum plumb_cudnn_attribute {
    CD_POINTWISE_MODE = 0,
    CD_POINTWISE_MATH_PREC = 1,
    CD_CONVOLUTION_COMP_TYPE = 100,
    CD_CONVOLUTION_CONV_MODE = 101,
    CD_CONVOLUTION_DILATIONS = 102,
    CD_CONVOLUTION_FILTER_STRIDES = 103,
    CD_CONVOLUTION_POST_PADDINGS = 104,
    CD_CONVOLUTION_PRE_PADDINGS = 105,
    CD_CONVOLUTION_SPATIAL_DIMS = 106,
    CD_ENGINEHEUR_MODE = 200,
    CD_ENGINEHEUR_OPERATION_GRAPH = 201,
    CD_ENGINEHEUR_RESULTS = 202,
    CD_ENGINEHEUR_DEVICEPROP = 204,
    CD_ENGINECFG_ENGINE = 300,
    CD_ENGINECFG_KNOB_CHOICES = 302,
    CD_EXECUTION_PLAN_HANDLE = 400,
    CD_EXECUTION_PLAN_ENGINE_CONFIG = 401,
    CD_EXECUTION_PLAN_WORKSPACE_SIZE = 402,
    CD_EXECUTION_PLAN_DEVICEPROP = 407,
    CD_KNOB_CHOICE_KNOB_TYPE = 600,
    CD_KNOB_CHOICE_KNOB_VALUE = 601,
    CD_CONVOLUTION_FORWARD_ALPHA = 700,
    CD_CONVOLUTION_FORWARD_BETA = 701,
    CD_CONVOLUTION_FORWARD_CONV_DESC = 702,
    CD_CONVOLUTION_FORWARD_W = 703,
    CD_CONVOLUTION_FORWARD_X = 704,
    CD_CONVOLUTION_FORWARD_Y = 705,
    CD_CONVOLUTION_BWD_DATA_ALPHA = 706,
    CD_CONVOLUTION_BWD_DATA_BETA = 707,
    CD_CONVOLUTION_BWD_DATA_CONV_DESC = 708,
    CD_CONVOLUTION_BWD_DATA_W = 709,
    CD_CONVOLUTION_BWD_DATA_DX = 710,
    CD_CONVOLUTION_BWD_DATA_DY = 711,
    CD_CONVOLUTION_BWD_FILTER_ALPHA = 712,
    CD_CONVOLUTION_BWD_FILTER_BETA = 713,
    CD_CONVOLUTION_BWD_FILTER_CONV_DESC = 714,
    CD_CONVOLUTION_BWD_FILTER_DW = 715,
    CD_CONVOLUTION_BWD_FILTER_X = 716,
    CD_CONVOLUTION_BWD_FILTER_DY = 717,
    CD_POINTWISE_PW_DESCRIPTOR = 750,
    CD_POINTWISE_XDESC = 751,
    CD_POINTWISE_BDESC = 752,
    CD_POINTWISE_YDESC = 753,
    CD_OPERATIONGRAPH_HANDLE = 800,
    CD_OPERATIONGRAPH_OPS = 801,
    CD_TENSOR_BYTE_ALIGNMENT = 900,
    CD_TENSOR_DATA_TYPE = 901,
    CD_TENSOR_DIMENSIONS = 902,
    CD_TENSOR_STRIDES = 903,
    CD_TENSOR_UNIQUE_ID = 906,
    CD_TENSOR_IS_VIRTUAL = 907,
    CD_TENSOR_IS_BY_VALUE = 908,
    CD_VARIANT_PACK_UNIQUE_IDS = 1000,
    CD_VARIANT_PACK_DATA_POINTERS = 1001,
    CD_VARIANT_PACK_WORKSPACE = 1003,
    CD_ENGINE_OPERATION_GRAPH = 1300,
    CD_ENGINE_GLOBAL_INDEX = 1301,
    CD_ENGINE_NUMERICAL_NOTE = 1303,
    CD_ENGINE_BEHAVIOR_NOTE = 1305,
    CD_ENGINE_DEVICEPROP = 1307,
    CD_RESAMPLE_MODE = 1700,
    CD_RESAMPLE_COMP_TYPE = 1701,
    CD_RESAMPLE_SPATIAL_DIMS = 1702,
    CD_RESAMPLE_POST_PADDINGS = 1703,
    CD_RESAMPLE_PRE_PADDINGS = 1704,
    CD_RESAMPLE_STRIDES = 1705,
    CD_RESAMPLE_WINDOW_DIMS = 1706,
    CD_RESAMPLE_PADDING_MODE = 1708,
    CD_RESAMPLE_FWD_XDESC = 1710,
    CD_RESAMPLE_FWD_YDESC = 1711,
    CD_RESAMPLE_FWD_DESC = 1716,
    CD_RESAMPLE_BWD_DXDESC = 1720,
    CD_RESAMPLE_BWD_DYDESC = 1721,
    CD_RESAMPLE_BWD_DESC = 1725,
    CD_NORM_FWD_MODE = 2000,
    CD_NORM_FWD_PHASE = 2001,
    CD_NORM_FWD_XDESC = 2002,
    CD_NORM_FWD_MEAN_DESC = 2003,
    CD_NORM_FWD_INV_VARIANCE_DESC = 2004,
    CD_NORM_FWD_SCALE_DESC = 2005,
    CD_NORM_FWD_BIAS_DESC = 2006,
    CD_NORM_FWD_EPSILON_DESC = 2007,
    CD_NORM_FWD_EXP_AVG_FACTOR_DESC = 2008,
    CD_NORM_FWD_INPUT_RUNNING_MEAN_DESC = 2009,
    CD_NORM_FWD_INPUT_RUNNING_VAR_DESC = 2010,
    CD_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC = 2011,
    CD_NORM_FWD_OUTPUT_RUNNING_VAR_DESC = 2012,
    CD_NORM_FWD_YDESC = 2013,
    CD_NORM_BWD_MODE = 2100,
    CD_NORM_BWD_XDESC = 2101,
    CD_NORM_BWD_MEAN_DESC = 2102,
    CD_NORM_BWD_INV_VARIANCE_DESC = 2103,
    CD_NORM_BWD_DYDESC = 2104,
    CD_NORM_BWD_SCALE_DESC = 2105,
    CD_NORM_BWD_DSCALE_DESC = 2107,
    CD_NORM_BWD_DBIAS_DESC = 2108,
    CD_NORM_BWD_DXDESC = 2109,
    CD_DEVICEPROP_JSON_REPRESENTATION = 2702
};

enum { /* values of attributes */
    CD_TRUE_CONVOLUTION = 0, /* the filter is turned */
    CD_CROSS_CORRELATION = 1,
    CD_POINTWISE_ADD = 0,
    CD_POINTWISE_RELU_FWD = 100,
    CD_POINTWISE_TANH_FWD = 101,
    CD_POINTWISE_SIGMOID_FWD = 102,
    CD_AVGPOOL_INCLUDE_PADDING = 2,
    CD_AVGPOOL_EXCLUDE_PADDING = 4,
    CD_ZERO_PAD = 0,
    CD_BATCH_NORM = 2,
    CD_NORM_FWD_TRAINING = 1,
    CD_HEUR_MODE_FALLBACK = 2,
    CD_HEUR_MODE_A = 3
};

enum plumb_cudnn_numerical_note {
    CD_NOTE_TENSOR_CORE = 0,
    CD_NOTE_DOWN_CONVERT_INPUTS = 1,
    CD_NOTE_REDUCED_PRECISION_REDUCTION = 2,
    CD_NOTE_FFT = 3,
    CD_NOTE_NONDETERMINISTIC = 4,
    CD_NOTE_WINOGRAD = 5,
    CD_NOTE_WINOGRAD_TILE_4x4 = 6,
    CD_NOTE_WINOGRAD_TILE_6x6 = 7,
    CD_NOTE_WINOGRAD_TILE_13x13 = 8,
    CD_NOTE_STRICT_NAN_PROP = 9
};

enum plumb_cudnn_behavior_note {
    CD_BEHAVIOR_RUNTIME_COMPILATION = 0,
    CD_BEHAVIOR_INT8_FILTER_REORDER = 1,
    CD_BEHAVIOR_INT8_BIAS_REORDER = 2,
    CD_BEHAVIOR_CUDA_GRAPH_NATIVE = 3,
    CD_BEHAVIOR_CUBLASLT = 4
};

/* The library's functions, each named as there. Its enumerations have no negative values: unsigned in C's ABI. */
struct plumb_cudnn_api {
    size_t (*cudnnGetVersion)(void);
    const char *(*cudnnGetErrorString)(unsigned status);
    unsigned (*cudnnCreate)(struct cudnnContext **handle);
    unsigned (*cudnnDestroy)(struct cudnnContext *handle);
    unsigned (*cudnnSetStream)(struct cudnnContext *handle, cudaStream_t stream);
    unsigned (*cudnnBackendCreateDescriptor)(unsigned type, plumb_cudnn_descriptor *descriptor);
    unsigned (*cudnnBackendDestroyDescriptor)(plumb_cudnn_descriptor descriptor);
    unsigned (*cudnnBackendFinalize)(plumb_cudnn_descriptor descriptor);
    unsigned (*cudnnBackendSetAttribute)(plumb_cudnn_descriptor descriptor, unsigned attribute, unsigned type,
                                         int64_t count, const void *elements);
    unsigned (*cudnnBackendGetAttribute)(plumb_cudnn_descriptor const descriptor, unsigned attribute, unsigned type,
                                         int64_t room, int64_t *count, void *elements);
    unsigned (*cudnnBackendExecute)(struct cudnnContext *handle, plumb_cudnn_descriptor plan,
                                    plumb_cudnn_descriptor pack);
};

#endif
