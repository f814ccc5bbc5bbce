#!/usr/bin/env python3
"""A second oracle: PyTorch in f64 on the CPU, when it is installed. Random shapes and attributes; values and every
gradient are compared, and the parameters after five steps of each optimiser. The library is driven through its public
C interface by ctypes, so this is also a test of calling it from another language.

    tests/torch_oracle.py [--only FAMILY] [--library build/lib/libplumb.so] [--cases 40] [--seed 1]

The last line is "N passed, N failed, N skipped"; without PyTorch everything is skipped."""
import argparse
import ctypes as C
import random
import sys

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from plain_optimizers import Lamb, Muon
except ImportError:
    print("torch_oracle: PyTorch or NumPy is not installed; nothing was compared")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

F32, F64, I32, I64, U8 = 1, 2, 5, 6, 7
DTYPES = {"float64": F64, "int64": I64, "int32": I32, "uint8": U8, "float32": F32}
TOLERANCE = 1e-10  # relative to the largest element; both sides compute in f64


class Shape(C.Structure):
    _fields_ = [("rank", C.c_int), ("dim", C.c_int64 * 8)]


class Init(C.Structure):
    _fields_ = [("rule", C.c_int), ("a", C.c_double), ("b", C.c_double), ("fan_in", C.c_int64), ("fan_out", C.c_int64)]


class VariableOptions(C.Structure):
    _fields_ = [("size", C.c_size_t), ("init", Init), ("frozen", C.c_bool)]


class Conv(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64 * 2), ("padding", C.c_int64 * 4),
                ("dilation", C.c_int64 * 2), ("groups", C.c_int64), ("flip", C.c_bool)]


class Pool(C.Structure):
    _fields_ = [("size", C.c_size_t), ("window", C.c_int64 * 2), ("stride", C.c_int64 * 2), ("padding", C.c_int64 * 4),
                ("dilation", C.c_int64 * 2), ("ceil_mode", C.c_bool), ("exclude_padding", C.c_bool)]


class BatchNorm(C.Structure):
    _fields_ = [("size", C.c_size_t), ("epsilon", C.c_double), ("momentum", C.c_double), ("biased_running", C.c_bool),
                ("fixed", C.c_bool)]


class Recurrent(C.Structure):
    _fields_ = [("size", C.c_size_t), ("reverse", C.c_bool), ("relu", C.c_bool), ("reset", C.c_int), ("lengths", C.c_uint64),
                ("peepholes", C.c_uint64)]


class Resize(C.Structure):
    _fields_ = [("size", C.c_size_t), ("mode", C.c_int), ("coordinates", C.c_int), ("nearest", C.c_int),
                ("cubic_a", C.c_double), ("exclude_outside", C.c_bool), ("sizes", C.POINTER(C.c_int64)),
                ("scales", C.POINTER(C.c_double)), ("crop", C.POINTER(C.c_double)), ("extrapolation", C.c_double)]


class Nms(C.Structure):
    _fields_ = [("size", C.c_size_t), ("most", C.c_int64), ("overlap", C.c_double), ("score", C.c_double),
                ("use_score", C.c_bool), ("inclusive", C.c_bool), ("centre", C.c_bool)]


class Roi(C.Structure):
    _fields_ = [("size", C.c_size_t), ("height", C.c_int64), ("width", C.c_int64), ("scale", C.c_double),
                ("sampling", C.c_int64), ("aligned", C.c_bool), ("max", C.c_bool)]


class Loss(C.Structure):
    _fields_ = [("size", C.c_size_t), ("reduce", C.c_int), ("weights", C.c_uint64), ("class_weights", C.c_uint64),
                ("ignore_index", C.c_int64), ("use_ignore_index", C.c_bool), ("label_smoothing", C.c_double),
                ("delta", C.c_double), ("pos_weight", C.c_uint64), ("margin", C.c_double), ("squared", C.c_bool),
                ("gamma", C.c_double), ("alpha", C.c_double), ("log_targets", C.c_bool)]


class Compile(C.Structure):
    _fields_ = [("size", C.c_size_t), ("outputs", C.POINTER(C.c_uint64)), ("n_outputs", C.c_int),
                ("training", C.c_bool), ("effects", C.c_bool), ("passes_off", C.c_uint),
                ("implementations", C.c_char_p), ("max_bindings", C.c_int), ("precision", C.c_int)]


class Optimizer(C.Structure):
    _fields_ = [("size", C.c_size_t), ("rule", C.c_char_p), ("name", C.c_char_p), ("lr", C.c_double),
                ("momentum", C.c_double), ("classic", C.c_bool), ("beta1", C.c_double), ("beta2", C.c_double),
                ("epsilon", C.c_double), ("weight_decay", C.c_double), ("l2", C.c_double), ("l1", C.c_double),
                ("decay_all", C.c_bool), ("clip_norm", C.c_double), ("skip_bad_steps", C.c_bool), ("precision", C.c_int),
                ("loss_scale", C.c_double), ("loss_scale_every", C.c_int64), ("per_example", C.c_bool),
                ("average", C.c_double), ("lr_others", C.c_double)]


def sized(kind, **fields):
    made = kind(size=C.sizeof(kind))
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            getattr(made, name)[:] = value
        else:
            setattr(made, name, value)
    return made


def shape_of(dims):
    return Shape(len(dims), (C.c_int64 * 8)(*dims))


class Library:
    def __init__(self, path):
        lib = C.CDLL(path)
        pointers = ["plumb_open", "plumb_graph_new", "plumb_state_new", "plumb_compile", "plumb_compile_training"]
        for name in pointers:
            getattr(lib, name).restype = C.c_void_p
        lib.plumb_message.restype = C.c_char_p
        self.lib = lib

    def __getattr__(self, name):
        """A builder: graph and ids first, then whatever is given, as 64-bit ids, ints, doubles, bools or structs."""
        function = getattr(self.lib, "plumb_" + name)
        return function


class Session:
    """One graph, its state and programs, closed together."""

    def __init__(self, library):
        self.lib = library.lib
        self.context = C.c_void_p(self.lib.plumb_open(None))
        self.graph = C.c_void_p(self.lib.plumb_graph_new(self.context, b"oracle"))
        self.count = 0
        self.values = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.plumb_close(self.context)

    def check(self, ok):
        if not ok:
            raise RuntimeError(self.lib.plumb_message(self.context).decode())

    def op(self, name, *arguments):
        function = getattr(self.lib, "plumb_" + name)
        function.restype = C.c_uint64
        result = function(self.graph, *arguments)
        self.check(result != 0)
        return C.c_uint64(result)

    def variable(self, array):
        self.count += 1
        name = b"v%d" % self.count
        options = sized(VariableOptions)
        tensor = self.op("variable", name, DTYPES[str(array.dtype)], shape_of(array.shape), C.byref(options))
        self.values.append((name, np.ascontiguousarray(array)))
        return tensor

    def start(self):
        self.state = C.c_void_p(self.lib.plumb_state_new(self.graph))
        self.check(self.state.value)
        self.store()

    def store(self):
        for name, array in self.values:
            data = array.ctypes.data_as(C.c_void_p)
            self.check(self.lib.plumb_state_set(self.state, name, data, C.c_size_t(array.nbytes)) == 0)

    def read(self, index):
        name, array = self.values[index]
        to = np.empty_like(array)
        self.check(self.lib.plumb_state_get(self.state, name, to.ctypes.data_as(C.c_void_p), C.c_size_t(to.nbytes)) == 0)
        return to

    def gradients(self, loss, wrt):
        ids = (C.c_uint64 * len(wrt))(*[w.value for w in wrt])
        d = (C.c_uint64 * len(wrt))()
        self.lib.plumb_gradients.restype = C.c_int
        self.check(self.lib.plumb_gradients(self.graph, loss, ids, len(wrt), d) == 0)
        return [C.c_uint64(x) for x in d]

    def run(self, outputs, training=True, effects=False):
        ids = (C.c_uint64 * len(outputs))(*[o.value for o in outputs])
        options = sized(Compile, n_outputs=len(outputs), training=training, effects=effects)
        options.outputs = ids
        self.start()
        program = C.c_void_p(self.lib.plumb_compile(self.graph, self.state, C.byref(options)))
        self.check(program.value)
        self.check(self.lib.plumb_run(program) == 0)
        return [self.fetch(program, o) for o in outputs]

    def fetch(self, program, tensor):
        self.lib.plumb_output_shape.restype = Shape
        shape = self.lib.plumb_output_shape(program, tensor)
        self.lib.plumb_dtype_of.restype = C.c_int
        kinds = {value: name for name, value in DTYPES.items()}
        array = np.empty(shape.dim[: shape.rank], dtype=kinds[self.lib.plumb_dtype_of(self.graph, tensor)])
        data = array.ctypes.data_as(C.c_void_p)
        self.check(self.lib.plumb_fetch(program, tensor, data, C.c_size_t(array.nbytes)) == 0)
        return array


class Comparison:
    def __init__(self):
        self.passed = self.failed = 0

    def same(self, what, ours, theirs):
        theirs = np.asarray(theirs)
        if ours.shape != theirs.shape:
            return self.fail(what, "shape %s, PyTorch has %s" % (ours.shape, theirs.shape))
        if theirs.size == 0:
            self.passed += 1
            return
        finite = np.isfinite(theirs)
        if not np.array_equal(np.isnan(theirs), np.isnan(ours)) or not np.array_equal(
                np.where(finite, 0, np.nan_to_num(theirs)), np.where(finite, 0, np.nan_to_num(ours))):
            return self.fail(what, "NaN or infinity elsewhere")
        size = max(1e-3, float(np.max(np.abs(np.where(finite, theirs, 0)))))
        error = float(np.max(np.abs(np.where(finite, ours.astype("float64") - theirs.astype("float64"), 0)))) / size
        if not error <= TOLERANCE:
            return self.fail(what, "differs by %.3g of the largest element" % error)
        self.passed += 1

    def fail(self, what, why):
        self.failed += 1
        print("FAILED %s: %s" % (what, why))


def compare(library, result, what, arrays, ours, theirs, differentiable=None):
    """ours(session, ids) -> id, theirs(tensors) -> tensor; value, and gradients of a random weighting of it."""
    differentiable = range(len(arrays)) if differentiable is None else differentiable
    with Session(library) as s:
        try:
            ids = [s.variable(a) for a in arrays]
            y = ours(s, ids)
            tensors = [torch.tensor(a, requires_grad=i in differentiable) for i, a in enumerate(arrays)]
            z = theirs(tensors)
            weight = np.asarray(np.random.standard_normal(tuple(z.shape)), dtype="float64")
            outputs = [y]
            if differentiable:
                product = s.op("mul", y, s.variable(weight))
                loss = s.op("sum", product, None, 0, False)
                outputs += s.gradients(loss, [ids[i] for i in differentiable])
                (z * torch.tensor(weight)).sum().backward()
            values = s.run(outputs)
        except RuntimeError as error:
            result.fail(what, str(error))
            return
    result.same(what, values[0], z.detach().numpy())
    for i, value in zip(differentiable, values[1:]):
        gradient = tensors[i].grad
        result.same("%s: gradient %d" % (what, i), value,
                    np.zeros(arrays[i].shape) if gradient is None else gradient.numpy())


def normal(*shape):
    return np.random.standard_normal(shape)


def dims(rank, low=1, high=6):
    return tuple(random.randint(low, high) for _ in range(rank))


UNARY = {
    "neg": torch.neg, "abs": torch.abs, "exp": torch.exp, "square": torch.square, "sin": torch.sin, "cos": torch.cos,
    "erf": torch.erf, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu, "silu": F.silu,
    "softplus": F.softplus, "reciprocal": torch.reciprocal,
}
POSITIVE = {"log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt}
BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
          "minimum": torch.minimum}


def elementwise(library, result):
    shape = dims(random.randint(0, 4))
    for name, function in UNARY.items():
        compare(library, result, "%s %s" % (name, shape), [normal(*shape) * 3 if shape else np.array(0.7)],
                lambda s, i, n=name: s.op(n, i[0]), lambda t, f=function: f(t[0]))
    for name, function in POSITIVE.items():
        compare(library, result, "%s %s" % (name, shape), [np.asarray(np.abs(normal(*shape)) + 0.1)],
                lambda s, i, n=name: s.op(n, i[0]), lambda t, f=function: f(t[0]))
    slope = random.uniform(0.01, 0.5)
    x = np.asarray(normal(*shape))
    compare(library, result, "leaky_relu", [x], lambda s, i: s.op("leaky_relu", i[0], C.c_double(slope)),
            lambda t: F.leaky_relu(t[0], slope))
    compare(library, result, "elu", [x], lambda s, i: s.op("elu", i[0], C.c_double(slope)), lambda t: F.elu(t[0], slope))
    compare(library, result, "clamp", [x], lambda s, i: s.op("clamp", i[0], C.c_double(-0.5), C.c_double(0.8)),
            lambda t: torch.clamp(t[0], -0.5, 0.8))


def broadcasting(library, result):
    full = dims(random.randint(1, 4))
    a = tuple(d if random.random() < 0.6 else 1 for d in full)
    b = tuple(d if random.random() < 0.6 else 1 for d in full)[random.randint(0, len(full)):]
    for name, function in BINARY.items():
        compare(library, result, "%s %s %s" % (name, a, b), [np.asarray(normal(*a)), np.asarray(normal(*b)) + 0.0],
                lambda s, i, n=name: s.op(n, i[0], i[1]), lambda t, f=function: f(t[0], t[1]))


def reductions(library, result):
    shape = dims(random.randint(1, 4))
    axes = random.sample(range(len(shape)), random.randint(1, len(shape)))
    keep = random.random() < 0.5
    list_ = (C.c_int * len(axes))(*[a - len(shape) if random.random() < 0.5 else a for a in axes])
    functions = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
    for name, function in functions.items():
        compare(library, result, "%s %s over %s" % (name, shape, axes), [normal(*shape)],
                lambda s, i, n=name: s.op(n, i[0], list_, len(axes), keep),
                lambda t, f=function: f(t[0], dim=axes, keepdim=keep))
    x = normal(*shape)
    for p in (0.0, 1.0, 2.0, 3.5, float("inf"), float("-inf")):
        compare(library, result, "norm %g %s over %s" % (p, shape, axes), [x],
                lambda s, i, p=p: s.op("norm", i[0], C.c_double(p), list_, len(axes), keep),
                lambda t, p=p: torch.linalg.vector_norm(t[0], p, dim=axes, keepdim=keep) + 0 * t[0].sum())
    count = int(np.prod([shape[a] for a in axes]))
    for less in (0, 1) if count > 1 else (0,):
        compare(library, result, "variance %d %s over %s" % (less, shape, axes), [x + 5],
                lambda s, i, n=less: s.op("variance", i[0], list_, len(axes), n, keep),
                lambda t, n=less: torch.var(t[0], dim=axes, correction=n, keepdim=keep))
        compare(library, result, "deviation %d %s over %s" % (less, shape, axes), [x + 5],
                lambda s, i, n=less: s.op("deviation", i[0], list_, len(axes), n, keep),
                lambda t, n=less: torch.std(t[0], dim=axes, correction=n, keepdim=keep))
    compare(library, result, "log_sum_exp %s over %s" % (shape, axes), [x * 40],
            lambda s, i: s.op("log_sum_exp", i[0], list_, len(axes), keep),
            lambda t: torch.logsumexp(t[0], dim=axes, keepdim=keep))
    axis = random.randrange(len(shape))
    holes = np.where(np.random.random(shape) < 0.3, 0, x)
    compare(library, result, "prod %s axis %d" % (shape, axis), [holes],
            lambda s, i: s.op("prod", i[0], (C.c_int * 1)(axis), 1, keep), lambda t: torch.prod(t[0], axis, keepdim=keep))
    compare(library, result, "prod %s" % (shape,), [x], lambda s, i: s.op("prod", i[0], None, 0, False),
            lambda t: torch.prod(t[0]))
    for name, function in {"any": torch.any, "all": torch.all}.items():
        compare(library, result, "%s %s axis %d" % (name, shape, axis), [holes],
                lambda s, i, n=name: s.op(n, i[0], (C.c_int * 1)(axis), 1, keep),
                lambda t, f=function: f(t[0] != 0, axis, keep).to(torch.uint8), differentiable=[])
    for name, function in {"argmax": torch.argmax, "argmin": torch.argmin}.items():
        compare(library, result, "%s %s axis %d" % (name, shape, axis), [x],
                lambda s, i, n=name: s.op(n, i[0], axis, keep), lambda t, f=function: f(t[0], axis, keep),
                differentiable=[])
    for name, function in {"softmax": F.softmax, "log_softmax": F.log_softmax}.items():
        compare(library, result, "%s %s axis %d" % (name, shape, axis), [normal(*shape) * 5],
                lambda s, i, n=name: s.op(n, i[0], axis), lambda t, f=function: f(t[0], dim=axis))


def along(library, result):
    shape = dims(random.randint(1, 4))
    axis = random.randrange(len(shape))
    x = normal(*shape)
    holes = np.where(np.random.random(shape) < 0.2, 0, x)
    compare(library, result, "cumsum %s axis %d" % (shape, axis), [x],
            lambda s, i: s.op("cumsum", i[0], axis - len(shape), False, False), lambda t: torch.cumsum(t[0], axis))
    compare(library, result, "cumsum %s axis %d, reverse" % (shape, axis), [x],
            lambda s, i: s.op("cumsum", i[0], axis, False, True),
            lambda t: torch.flip(torch.cumsum(torch.flip(t[0], [axis]), axis), [axis]))
    compare(library, result, "cumprod %s axis %d" % (shape, axis), [holes], lambda s, i: s.op("cumprod", i[0], axis),
            lambda t: torch.cumprod(t[0], axis))
    odd = np.where(np.random.random(shape) < 0.2, np.nan, np.round(x))
    for down in (False, True):
        compare(library, result, "sort %s axis %d %d" % (shape, axis, down), [x],
                lambda s, i: s.op("sort", i[0], axis, down), lambda t: torch.sort(t[0], axis, down)[0])
        compare(library, result, "argsort with ties and NaN %s axis %d %d" % (shape, axis, down), [odd],
                lambda s, i: s.op("argsort", i[0], axis, down),
                lambda t: torch.sort(t[0], dim=axis, descending=down, stable=True)[1], differentiable=[])
        k = random.randint(1, shape[axis])
        for part in range(2):
            compare(library, result, "top_k %d %s axis %d smallest %d" % (k, shape, axis, down), [x],
                    lambda s, i: s.op("output", s.op("top_k", i[0], C.c_int64(k), axis, down), part),
                    lambda t: torch.topk(t[0], k, axis, not down)[part], differentiable=[] if part else [0])


def products(library, result):
    m, k, n = dims(3, 1, 9)
    batch = dims(random.randint(0, 2), 1, 3)
    ta, tb = random.random() < 0.5, random.random() < 0.5
    a = normal(*batch, *((k, m) if ta else (m, k)))
    b = normal(*(batch if random.random() < 0.5 else ()), *((n, k) if tb else (k, n)))
    compare(library, result, "matmul %s %s %d%d" % (a.shape, b.shape, ta, tb), [a, b],
            lambda s, i: s.op("matmul", i[0], i[1], ta, tb),
            lambda t: torch.matmul(t[0].transpose(-1, -2) if ta else t[0], t[1].transpose(-1, -2) if tb else t[1]))


def convolutions(library, result):
    groups = random.choice([1, 1, 1, 2, 3])
    c, o = groups * random.randint(1, 3), groups * random.randint(1, 3)
    kernel, stride, dilation = dims(2, 1, 4), dims(2, 1, 3), dims(2, 1, 2)
    pad = tuple(random.randint(0, 2) for _ in range(4))  # top, left, bottom, right
    h, w = (dilation[i] * (kernel[i] - 1) + 1 + random.randint(0, 6) for i in range(2))
    x, f = normal(random.randint(1, 3), c, h, w), normal(o, c // groups, *kernel)
    arrays = [x, f] + ([normal(o)] if random.random() < 0.5 else [])
    options = sized(Conv, stride=stride, padding=pad, dilation=dilation, groups=groups)
    what = "conv2d x%s w%s stride %s pad %s dilation %s groups %d" % (x.shape, f.shape, stride, pad, dilation, groups)

    def theirs(t):
        padded = F.pad(t[0], (pad[1], pad[3], pad[0], pad[2]))
        return F.conv2d(padded, t[1], t[2] if len(t) > 2 else None, stride=stride, dilation=dilation, groups=groups)
    compare(library, result, what, arrays,
            lambda s, i: s.op("conv2d", i[0], i[1], i[2] if len(i) > 2 else C.c_uint64(0), C.byref(options)), theirs)


def pooling(library, result):
    window, stride = dims(2, 1, 4), dims(2, 1, 4)
    pad = tuple(random.randint(0, k // 2) for k in window)
    ceil = random.random() < 0.5
    x = normal(random.randint(1, 3), random.randint(1, 3), window[0] + random.randint(0, 7), window[1] + random.randint(0, 7))
    sides = (pad[0], pad[1], pad[0], pad[1])
    options = sized(Pool, window=window, stride=stride, padding=sides, ceil_mode=ceil)
    what = "pool x%s window %s stride %s pad %s ceil %d" % (x.shape, window, stride, pad, ceil)
    compare(library, result, "max " + what, [x], lambda s, i: s.op("max_pool2d", i[0], C.byref(options)),
            lambda t: F.max_pool2d(t[0], window, stride, pad, ceil_mode=ceil))
    for inside in (False, True):
        average = sized(Pool, window=window, stride=stride, padding=sides, ceil_mode=ceil, exclude_padding=inside)
        compare(library, result, "average %d %s" % (inside, what), [x],
                lambda s, i, a=average: s.op("average_pool2d", i[0], C.byref(a)),
                lambda t, inside=inside: F.avg_pool2d(t[0], window, stride, pad, ceil, not inside))


def batch_norm(library, result):
    c = random.randint(1, 4)
    x = normal(random.randint(2, 4), c, *dims(2, 1, 4)) * 2 + 1
    arrays = [x, normal(c), normal(c), normal(c), np.abs(normal(c)) + 0.5]
    for training in (True, False):
        options = sized(BatchNorm, epsilon=1e-4, momentum=0.3, fixed=not training)
        compare(library, result, "batch_norm %s training %d" % (x.shape, training), arrays,
                lambda s, i: s.op("batch_norm", *i, C.byref(options)),
                lambda t: F.batch_norm(t[0], t[3].detach().clone(), t[4].detach().clone(), t[1], t[2], training, 0.3, 1e-4),
                differentiable=range(3))


def recurrent(library, result):
    """y and the last states of each kind, one behind the other; torch goes backwards over a flipped sequence."""
    steps, n, features, units = random.randint(1, 7), *dims(3, 1, 6)
    reverse, biased = random.random() < 0.5, random.random() < 0.7
    kinds = {"rnn": (1, 1, torch._VF.rnn_tanh), "relu": (1, 1, torch._VF.rnn_relu), "gru": (3, 1, torch._VF.gru),
             "lstm": (4, 2, torch._VF.lstm)}
    for name, (gates, states, function) in kinds.items():
        weights = [normal(gates * units, features), normal(gates * units, units)]
        weights += [normal(gates * units) for _ in range(2)] if biased else []
        arrays = [normal(steps, n, features)] + [normal(n, units) for _ in range(states)] + weights
        options = sized(Recurrent, reverse=reverse, relu=name == "relu")

        def ours(s, i, name=name, states=states, options=options):
            none = [C.c_uint64(0)] * (0 if biased else 2)
            y = s.op("rnn" if name == "relu" else name, *i, *none, C.byref(options))
            rows = [s.op("reshape", s.op("output", y, 1 + k), shape_of((1, n, units))) for k in range(states)]
            both = (C.c_uint64 * (1 + states))(y.value, *[r.value for r in rows])
            return s.op("concat", both, 1 + states, 0)

        def theirs(t, states=states, function=function):
            x = t[0].flip(0) if reverse else t[0]
            start = [state[None] for state in t[1:1 + states]]
            y, *last = function(x, start if states > 1 else start[0], t[1 + states:], biased, 1, 0.0, False, False, False)
            return torch.cat([y.flip(0) if reverse else y] + last)
        compare(library, result, "%s x%s units %d reverse %d biases %d" % (name, arrays[0].shape, units, reverse, biased),
                arrays, ours, theirs)


def losses(library, result):
    n, c = dims(2, 2, 7)
    logits, labels = normal(n, c) * 3, np.random.randint(0, c, n)
    weights = np.abs(normal(c)) + 0.1
    smoothing = random.choice([0.0, 0.0, 0.1, 0.4])
    ignore = int(labels[0]) if random.random() < 0.5 else -100
    weighted = random.random() < 0.5
    for reduce, name in enumerate(("mean", "sum", "none")):
        def ours(s, i, reduce=reduce):
            options = sized(Loss, reduce=reduce, label_smoothing=smoothing, ignore_index=ignore, use_ignore_index=True)
            if weighted:
                options.class_weights = i[2].value
            return s.op("softmax_cross_entropy", i[0], i[1], C.byref(options))
        if np.all(labels == ignore) and name == "mean":
            continue  # PyTorch says NaN, we say 0
        compare(library, result, "cross_entropy (%d, %d) %s smoothing %g ignore %d weighted %d" %
                (n, c, name, smoothing, ignore, weighted), [logits, labels] + ([weights] if weighted else []), ours,
                lambda t, name=name: F.cross_entropy(t[0], t[1], t[2].detach() if weighted else None, reduction=name,
                                                     ignore_index=ignore, label_smoothing=smoothing), differentiable=[0])
    target, prediction = np.random.random((n, c)), normal(n, c) * 2
    pairs = {
        "bce_with_logits": lambda t: F.binary_cross_entropy_with_logits(t[0], t[1]),
        "squared_error": lambda t: F.mse_loss(t[0], t[1]),
        "absolute_error": lambda t: F.l1_loss(t[0], t[1]),
        "huber_error": lambda t: F.huber_loss(t[0], t[1]),
    }
    for name, function in pairs.items():
        compare(library, result, name, [prediction, target], lambda s, i, k=name: s.op(k, i[0], i[1], None), function,
                differentiable=[0])
    compare(library, result, "bce", [np.random.random((n, c)) * 0.98 + 0.01, target],
            lambda s, i: s.op("bce", i[0], i[1], None), lambda t: F.binary_cross_entropy(t[0], t[1]), differentiable=[0])


def lookups(library, result):
    table = normal(*dims(2, 1, 6))
    indices = np.random.randint(0, table.shape[0], dims(random.randint(1, 3), 1, 4))
    compare(library, result, "embedding %s %s" % (table.shape, indices.shape), [table, indices],
            lambda s, i: s.op("embedding", i[0], i[1]), lambda t: F.embedding(t[1], t[0]), differentiable=[0])


def int64s(values):
    return (C.c_int64 * len(values))(*values)


def ints(values):
    return (C.c_int * len(values))(*values)


def padding(library, result):
    """NumPy says which element every position stands for."""
    shape = dims(random.randint(1, 5), 2, 5)
    x = normal(*shape)
    for mode, name in enumerate(("constant", "reflect", "edge", "wrap")):
        sides = [(random.randint(0, 7), random.randint(0, 7)) if random.random() < 0.6 else (0, 0) for _ in shape]
        crops = [random.randint(0, d - 1) if random.random() < 0.2 else 0 for d in shape]
        whole = np.arange(x.size).reshape(shape)
        if name == "wrap":  # NumPy before 1.25 goes around wrongly
            grown = whole[np.ix_(*[np.arange(-side[0], d + side[1]) % d for d, side in zip(shape, sides)])]
        else:
            grown = np.pad(whole, sides, name, **(dict(constant_values=-1) if mode == 0 else {}))
        index = grown[tuple(slice(crop, None) for crop in crops)]
        before = [side[0] - crop for side, crop in zip(sides, crops)]

        def theirs(t, index=index):
            flat = t[0].reshape(-1)[torch.tensor(index.reshape(-1) * (index.reshape(-1) >= 0))].reshape(index.shape)
            return torch.where(torch.tensor(index >= 0), flat, torch.tensor(2.5, dtype=torch.float64))
        compare(library, result, "pad %s %s %s cropped %s" % (name, shape, sides, crops), [x],
                lambda s, i, mode=mode, before=before, sides=sides: s.op(
                    "pad", i[0], int64s(before), int64s([side[1] for side in sides]), mode, C.c_double(2.5)), theirs)


def scattering(library, result):
    shape = dims(random.randint(1, 4), 2, 5)
    axis = random.randrange(len(shape))
    x, wide = normal(*shape), list(shape)
    wide[axis] = random.randint(1, 8)
    indices = np.random.randint(0, shape[axis], wide)
    compare(library, result, "gather_elements %s %s" % (shape, axis), [x, indices - shape[axis] * np.random.randint(0, 2, wide)],
            lambda s, i: s.op("gather_elements", i[0], i[1], axis), lambda t: torch.gather(t[0], axis, t[1] % shape[axis]),
            differentiable=[0])
    for reduce, name in ((1, "sum"), (2, "prod"), (3, "amax"), (4, "amin")):
        compare(library, result, "scatter_elements %s %s %s" % (shape, axis, name), [x, indices, normal(*wide)],
                lambda s, i, reduce=reduce: s.op("scatter_elements", i[0], i[1], i[2], axis, reduce),
                lambda t, name=name: t[0].scatter_reduce(axis, t[1], t[2], name, include_self=True), differentiable=[0, 2])
    order = np.argsort(np.random.random(shape), axis=axis)  # no two on one element: torch does not say which stays
    compare(library, result, "scatter_elements %s" % (shape,), [x, order, normal(*shape)],
            lambda s, i: s.op("scatter_elements", i[0], i[1], i[2], axis, 0),
            lambda t: t[0].scatter(axis, t[1], t[2]), differentiable=[0, 2])
    k = random.randint(1, len(shape))
    tuples = np.stack([np.random.randint(0, d, (3, 2)) for d in shape[:k]], axis=-1)
    updates = normal(3, 2, *shape[k:])

    def at(t):
        return tuple(t[1][..., d] for d in range(k))
    compare(library, result, "gather_nd %s %d" % (shape, k), [x, tuples], lambda s, i: s.op("gather_nd", i[0], i[1], 0),
            lambda t: t[0][at(t)], differentiable=[0])
    compare(library, result, "scatter_nd %s %d add" % (shape, k), [x, tuples, updates],
            lambda s, i: s.op("scatter_nd", i[0], i[1], i[2], 1),
            lambda t: t[0].index_put(at(t), t[2], accumulate=True), differentiable=[0, 2])


def arranging(library, result):
    shape = dims(random.randint(1, 5), 1, 4)
    x, axis = normal(*shape), random.randrange(len(shape))
    times = [random.choice([1, 1, 2, 3]) for _ in shape]
    axes = random.sample(range(len(shape)), random.randint(1, len(shape)))
    shift = random.randint(-9, 9)
    compare(library, result, "tile %s %s" % (shape, times), [x], lambda s, i: s.op("tile", i[0], int64s(times)),
            lambda t: t[0].repeat(*times))
    compare(library, result, "flip %s %s" % (shape, axes), [x], lambda s, i: s.op("flip", i[0], ints(axes), len(axes)),
            lambda t: t[0].flip(axes))
    compare(library, result, "roll %s %d %d" % (shape, shift, axis), [x],
            lambda s, i: s.op("roll", i[0], C.c_int64(shift), axis), lambda t: t[0].roll(shift, axis))
    compare(library, result, "unsqueeze and squeeze", [x],
            lambda s, i: s.op("squeeze", s.op("unsqueeze", i[0], ints([axis, -1]), 2), ints([-1]), 1),
            lambda t: t[0].unsqueeze(axis))
    matrix, k = normal(*dims(random.randint(2, 4), 1, 5)), random.randint(-3, 3)
    compare(library, result, "triu %s %d" % (matrix.shape, k), [matrix], lambda s, i: s.op("triu", i[0], C.c_int64(k)),
            lambda t: t[0].triu(k))
    compare(library, result, "tril %s %d" % (matrix.shape, k), [matrix], lambda s, i: s.op("tril", i[0], C.c_int64(k)),
            lambda t: t[0].tril(k))
    b, c = random.randint(1, 3), random.randint(1, 3)
    n, h, w = dims(3, 1, 3)
    deep, broad = normal(n, c * b * b, h, w), normal(n, c, h * b, w * b)
    block = C.c_int64(b)
    compare(library, result, "depth_to_space crd", [deep], lambda s, i: s.op("depth_to_space", i[0], block, True),
            lambda t: F.pixel_shuffle(t[0], b))
    compare(library, result, "space_to_depth crd", [broad], lambda s, i: s.op("space_to_depth", i[0], block, True),
            lambda t: F.pixel_unshuffle(t[0], b))
    compare(library, result, "depth_to_space dcr", [deep], lambda s, i: s.op("depth_to_space", i[0], block, False),
            lambda t: t[0].reshape(n, b, b, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b))
    compare(library, result, "space_to_depth dcr", [broad], lambda s, i: s.op("space_to_depth", i[0], block, False),
            lambda t: t[0].reshape(n, c, h, b, w, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h, w))
    made = {
        "arange": (lambda s: s.op("arange", F64, C.c_double(-1.5), C.c_double(k + 2.0), C.c_double(0.75)),
                   torch.arange(-1.5, max(k + 2.0, -1.5), 0.75, dtype=torch.float64)),
        "linspace": (lambda s: s.op("linspace", F64, C.c_double(k), C.c_double(7.3), C.c_int64(b * 4)),
                     torch.linspace(k, 7.3, b * 4, dtype=torch.float64)),
        "eye": (lambda s: s.op("eye", F64, C.c_int64(h + 1), C.c_int64(w + 2), C.c_int64(k)),
                torch.tensor(np.eye(h + 1, w + 2, k))),
    }
    for name, (ours, theirs) in made.items():
        compare(library, result, name, [], lambda s, i, ours=ours: ours(s), lambda t, theirs=theirs: theirs)


def resize_matrix(n, m, scale, mode, coordinates, rounding, a, exclude):
    """How much of each element of x is in each of the result: the formulas of ONNX's Resize, one dimension."""
    matrix = np.zeros((m, n))
    for o in range(m):
        x = {0: (o + 0.5) / scale - 0.5, 1: (o + 0.5) / scale - 0.5 if m > 1 else 0.0,
             2: o * (n - 1) / (m - 1) if m > 1 else 0.0, 3: o / scale}[coordinates]
        left = int(np.floor(x))
        if mode == 0:
            taps = {[int(np.ceil(x - 0.5)), int(np.floor(x + 0.5)), left, int(np.ceil(x))][rounding]: 1.0}
        elif mode == 1:
            taps = {left: 1 - (x - left), left + 1: x - left}
        else:
            def cubic(d):
                return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1 if d <= 1 else a * (d ** 3 - 5 * d ** 2 + 8 * d - 4)
            taps = {left + k: cubic(abs(x - left - k)) for k in (-1, 0, 1, 2)}
        if exclude and mode:
            taps = {i: w for i, w in taps.items() if 0 <= i < n}
            taps = {i: w / sum(taps.values()) for i, w in taps.items()}
        for i, w in taps.items():
            matrix[o, min(max(i, 0), n - 1)] += w
    return torch.tensor(matrix)


def resizing(library, result):
    spatial = random.randint(1, 3)
    shape = dims(2, 1, 2) + dims(spatial, 1, 6)
    x, sizes = normal(*shape), [-1, -1] + [random.randint(1, 9) for _ in range(spatial)]
    for mode in range(3):
        coordinates, rounding = random.randint(0, 3), random.randint(0, 3)
        exclude, a = random.random() < 0.3, random.choice([-0.75, -0.5])
        options = sized(Resize, mode=mode, coordinates=coordinates, nearest=rounding, cubic_a=a, exclude_outside=exclude)
        given = int64s(sizes)
        options.sizes = given
        matrices = [resize_matrix(n, m, m / n, mode, coordinates, rounding, a, exclude)
                    for n, m in zip(shape[2:], sizes[2:])]

        def theirs(t, matrices=matrices):
            y = t[0]
            for d, matrix in enumerate(matrices):
                y = torch.movedim(torch.tensordot(y, matrix, ([2 + d], [1])), -1, 2 + d)
            return y
        compare(library, result, "resize %s to %s mode %d coordinates %d rounding %d" %
                (shape, sizes, mode, coordinates, rounding), [x], lambda s, i: s.op("resize", i[0], C.byref(options)), theirs)
    name = {1: "linear", 2: "bilinear", 3: "trilinear"}[spatial]
    for kind in [name, "nearest"] + (["bicubic"] if spatial == 2 else []):
        corners = random.random() < 0.5 and kind != "nearest"
        options = sized(Resize, mode={"nearest": 0, "bicubic": 2}.get(kind, 1), nearest=2,
                        coordinates=3 if kind == "nearest" else 2 if corners else 0)
        # Nearest minds the scale in one direction and the sizes in the other in PyTorch 1.13: of these they agree.
        scale = 2.0 if kind == "nearest" else random.choice([0.5, 1.5, 2.0, 2.3])
        by = (C.c_double * len(shape))(0, 0, *[scale] * spatial)
        if all(int(n * scale) > 0 for n in shape[2:]):
            options.scales = by
            compare(library, result, "interpolate %s %s by %g corners %d" % (kind, shape, scale, corners), [x],
                    lambda s, i: s.op("resize", i[0], C.byref(options)),
                    lambda t, kind=kind: F.interpolate(t[0], scale_factor=scale, mode=kind, recompute_scale_factor=False,
                                                       align_corners=None if kind == "nearest" else corners))


def overlap_of(a, b, kind):
    """Of one box and another, by hand; kind 0: IoU, 1: GIoU, 2: DIoU."""
    inner = [max(0.0, min(a[2 + k], b[2 + k]) - max(a[k], b[k])) for k in (0, 1)]
    hull = [max(a[2 + k], b[2 + k]) - min(a[k], b[k]) for k in (0, 1)]
    shared = inner[0] * inner[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    iou = shared / union
    if kind == 1:
        return iou - (hull[0] * hull[1] - union) / (hull[0] * hull[1])
    apart = [(a[k] + a[2 + k] - b[k] - b[2 + k]) / 2 for k in (0, 1)]
    return iou - (apart[0] ** 2 + apart[1] ** 2) / (hull[0] ** 2 + hull[1] ** 2) if kind == 2 else iou


def corner_boxes(*shape):
    low = np.random.random(shape + (2,)) * 4
    return np.concatenate([low, low + np.random.random(shape + (2,)) * 4 + 0.1], axis=-1)


def suppressed(boxes, scores, most, overlap, score, inclusive):
    rows = []
    for n in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            order = [i for i in np.argsort(-scores[n, c], kind="stable") if scores[n, c, i] > score]
            kept = []
            for i in order:
                seen = [overlap_of(boxes[n, j], boxes[n, i], 0) for j in kept]
                if len(kept) < most and not any(v >= overlap if inclusive else v > overlap for v in seen):
                    kept.append(i)
            rows += [[n, c, i] for i in kept]
    total = scores.shape[0] * scores.shape[1] * min(most, scores.shape[2])
    return np.array(rows + [[-1] * 3] * (total - len(rows)), dtype="int64").reshape(total, 3), len(rows)


def aligned_mean(x, roi, options):
    """One box, every bin from the definition, differentiable in x."""
    h, w = x.shape[1:]
    shift = 0.5 if options.aligned else 0.0
    x1, y1, x2, y2 = [v * options.scale - shift for v in roi]
    wide, tall = (x2 - x1, y2 - y1) if options.aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
    bw, bh = wide / options.width, tall / options.height
    nw = options.sampling or int(np.ceil(bw))
    nh = options.sampling or int(np.ceil(bh))

    def at(v, u):
        if not (-1 <= v <= h and -1 <= u <= w):
            return x[:, 0, 0] * 0
        v, u = min(max(v, 0.0), h - 1.0), min(max(u, 0.0), w - 1.0)
        i, j = min(int(v), max(h - 2, 0)), min(int(u), max(w - 2, 0))
        a, b, k, m = v - i, u - j, min(i + 1, h - 1), min(j + 1, w - 1)
        return (1 - a) * ((1 - b) * x[:, i, j] + b * x[:, i, m]) + a * ((1 - b) * x[:, k, j] + b * x[:, k, m])
    bins = []
    for p in range(options.height):
        for q in range(options.width):
            samples = [at(y1 + p * bh + (a + 0.5) * bh / nh, x1 + q * bw + (b + 0.5) * bw / nw)
                       for a in range(nh) for b in range(nw)]
            stacked = torch.stack(samples)
            bins.append(stacked.amax(0) if options.max else stacked.mean(0))
    return torch.stack(bins, dim=1).reshape(x.shape[0], options.height, options.width)


def detection(library, result):
    a, b = corner_boxes(random.randint(1, 4)), corner_boxes(random.randint(1, 4))
    for kind in range(4):
        compare(library, result, "box_overlap %d" % kind, [a[:, None], b],
                lambda s, i, kind=kind: s.op("box_overlap", i[0], i[1], kind),
                lambda t, kind=kind: torch.stack([torch.stack([overlap_of_tensors(p, q, kind) for q in t[1]])
                                                  for p in t[0][:, 0]]))
    pair, weights = corner_boxes(len(a)), (C.c_double * 4)(10, 10, 5, 5)

    def encoded(t):
        size, wide = t[1][:, 2:] - t[1][:, :2], t[0][:, 2:] - t[0][:, :2]
        shift = (t[0][:, :2] + t[0][:, 2:] - t[1][:, :2] - t[1][:, 2:]) / 2 / size
        return torch.cat([10 * shift, 5 * torch.log(wide / size)], dim=1)
    compare(library, result, "box_encode", [a, pair], lambda s, i: s.op("box_encode", i[0], i[1], weights), encoded)
    compare(library, result, "decode what was encoded", [a, pair],
            lambda s, i: s.op("box_decode", s.op("box_encode", i[0], i[1], weights), i[1], weights, C.c_double(9)),
            lambda t: t[0] + 0 * t[1])
    h, w, n = dims(3, 1, 3)
    cells, sizes = normal(n, h, w, 2, 4), np.random.random((2, 2))

    def decoded(t):
        x = (torch.sigmoid(t[0][..., 0]) + torch.arange(w)[None, None, :, None]) / w
        y = (torch.sigmoid(t[0][..., 1]) + torch.arange(h)[None, :, None, None]) / h
        return torch.stack([x, y, torch.exp(t[0][..., 2]) * t[1][:, 0], torch.exp(t[0][..., 3]) * t[1][:, 1]], dim=-1)
    compare(library, result, "box_decode_cells", [cells, sizes], lambda s, i: s.op("box_decode_cells", i[0], i[1]), decoded)
    objects, classes = random.randint(1, 5), random.randint(0, 3)
    boxes, labels = np.random.random((n, objects, 4)) * 0.98 + 0.02, np.random.randint(-1, max(classes, 1), (n, objects))
    compare(library, result, "box_encode_cells", [boxes, labels, sizes + 0.05],
            lambda s, i: s.op("box_encode_cells", i[0], i[1], i[2], C.c_int64(h), C.c_int64(w), C.c_int64(classes)),
            lambda t: torch.tensor(cells_of(boxes, labels, sizes + 0.05, h, w, classes)), differentiable=[])
    ratios, areas = (C.c_double * 2)(0.5, 2), (C.c_double * 2)(8, 16)
    wanted = [[x * 4 + 2 - s / r ** 0.5 / 2, y * 4 + 2 - s * r ** 0.5 / 2, x * 4 + 2 + s / r ** 0.5 / 2, y * 4 + 2 + s * r ** 0.5 / 2]
              for y in range(h) for x in range(w) for r in (0.5, 2) for s in (8, 16)]
    compare(library, result, "anchors", [], lambda s, i: s.op("anchors", F64, C.c_int64(h), C.c_int64(w), C.c_double(4),
                                                              C.c_double(0.5), areas, 2, ratios, 2),
            lambda t: torch.tensor(wanted, dtype=torch.float64))

    boxes, scores = corner_boxes(n, 7), np.round(np.random.random((n, 2, 7)), 1)
    most, overlap, inclusive = random.randint(1, 7), random.choice([0.1, 0.3, 0.5]), random.random() < 0.5
    options = sized(Nms, most=most, overlap=overlap, score=0.2, use_score=True, inclusive=inclusive)
    rows, count = suppressed(boxes, scores, most, overlap, 0.2, inclusive)
    for which, want in ((0, rows), (1, np.array(count))):
        compare(library, result, "non_max_suppression", [boxes, scores],
                lambda s, i, which=which: s.op("output", s.op("non_max_suppression", i[0], i[1], C.byref(options)), which),
                lambda t, want=want: torch.tensor(want), differentiable=[])
    x, k = normal(n, 2, random.randint(2, 7), random.randint(2, 7)), random.randint(1, 3)
    rois, batch = corner_boxes(k) - 1, np.random.randint(0, n, k)
    for largest in (False, True):
        roi = sized(Roi, height=random.randint(1, 3), width=random.randint(1, 3), scale=random.choice([0.5, 1.0]),
                    sampling=random.randint(1, 3) if largest else random.randint(0, 3), aligned=random.random() < 0.5, max=largest)
        compare(library, result, "roi_align max %d" % largest, [x, rois, batch],
                lambda s, i: s.op("roi_align", i[0], i[1], i[2], C.byref(roi)),
                lambda t: torch.stack([aligned_mean(t[0][m], r, roi) for r, m in zip(rois, batch)]), differentiable=[0])


def overlap_of_tensors(a, b, kind):
    """overlap_of, with gradients."""
    inner = torch.relu(torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]))
    hull = torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])
    shared = inner.prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
    iou = shared / union
    if kind == 1:
        return iou - (hull.prod() - union) / hull.prod()
    apart = (a[:2] + a[2:] - b[:2] - b[2:]) / 2
    if kind < 2:
        return iou
    centred = iou - apart.square().sum() / hull.square().sum()
    if kind == 2:
        return centred
    turn = torch.atan((a[2] - a[0]) / (a[3] - a[1])) - torch.atan((b[2] - b[0]) / (b[3] - b[1]))
    unlike = 4 / np.pi ** 2 * turn ** 2
    return centred - (unlike / (1 - iou + unlike + 1e-300)).detach() * unlike


def cells_of(boxes, labels, sizes, h, w, classes):
    """The targets of a grid of cells, object by object."""
    wanted = np.zeros((len(boxes), h, w, len(sizes), 5 + classes))
    for n, (some, kinds) in enumerate(zip(boxes, labels)):
        for (x, y, bw, bh), label in zip(some, kinds):
            if label < 0:
                continue
            shared = [min(bw, s[0]) * min(bh, s[1]) for s in sizes]
            k = int(np.argmax([v / (bw * bh + s[0] * s[1] - v) for v, s in zip(shared, sizes)]))
            i, j = min(int(y * h), h - 1), min(int(x * w), w - 1)
            one_hot = [1.0 if c == label else 0.0 for c in range(classes)]
            wanted[n, i, j, k] = [1, x * w - j, y * h - i, np.log(bw / sizes[k][0]), np.log(bh / sizes[k][1])] + one_hot
    return wanted


def optimizers(library, result):
    """Five steps on sum((W x - t)^2); the parameters must follow PyTorch's."""
    lr = random.choice([0.01, 0.1])
    decay = random.choice([0.0, 0.05])
    rules = {
        "sgd": (dict(), lambda p: torch.optim.SGD(p, lr)),
        "momentum": (dict(momentum=0.8, classic=True), lambda p: torch.optim.SGD(p, lr, momentum=0.8)),
        "nesterov": (dict(momentum=0.8), lambda p: torch.optim.SGD(p, lr, momentum=0.8, nesterov=True)),
        "adagrad": (dict(epsilon=1e-30), lambda p: torch.optim.Adagrad(p, lr, eps=1e-30)),  # eps stands elsewhere
        "rmsprop": (dict(beta2=0.95), lambda p: torch.optim.RMSprop(p, lr, alpha=0.95)),
        "adam": (dict(beta1=0.8, beta2=0.99), lambda p: torch.optim.Adam(p, lr, betas=(0.8, 0.99))),
        "adamw": (dict(weight_decay=decay or -0.0), lambda p: torch.optim.AdamW(p, lr, weight_decay=decay)),
        "lamb": (dict(beta1=0.8, beta2=0.99, weight_decay=0.02), lambda p: Lamb(p, lr)),
        "muon": (dict(momentum=0.9, weight_decay=0.02), lambda p: Muon(p, lr)),
    }
    rows = random.randint(1, 7)
    w, x, t = normal(rows, 4), normal(4, 5), normal(rows, 5)
    for rule, (options, make) in rules.items():
        with Session(library) as s:
            ids = [s.variable(a) for a in (w, x, t)]
            for frozen in ids[1:]:
                s.lib.plumb_set_frozen(s.graph, frozen, True)
            error = s.op("sub", s.op("matmul", ids[0], ids[1], False, False), ids[2])
            loss = s.op("sum", s.op("square", error), None, 0, False)
            s.start()
            o = sized(Optimizer, rule=rule.encode(), lr=lr, **options)
            program = C.c_void_p(s.lib.plumb_compile_training(s.graph, s.state, loss, C.byref(o), None, 0))
            s.check(program.value)
            parameter = torch.tensor(w, requires_grad=True)
            optimizer = make([parameter])
            for step in range(5):
                s.check(s.lib.plumb_run(program) == 0)
                optimizer.zero_grad()
                torch.square(parameter @ torch.tensor(x) - torch.tensor(t)).sum().backward()
                optimizer.step()
                result.same("%s step %d" % (rule, step + 1), s.read(0), parameter.detach().numpy())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default="build/lib/libplumb.so")
    parser.add_argument("--cases", type=int, default=40, help="rounds of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one family")
    options = parser.parse_args()
    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.set_num_threads(1)
    library, result = Library(options.library), Comparison()
    import torch_losses
    import torch_recurrent
    import torch_sequences
    families = [elementwise, broadcasting, reductions, along, products, convolutions, pooling, batch_norm, recurrent, losses,
                lookups, padding, scattering, arranging, resizing, detection, optimizers]
    families += torch_losses.families + torch_sequences.families + torch_recurrent.families
    for family in [f for f in families if options.only in (None, f.__name__)]:
        before = result.passed
        for _ in range(options.cases):
            family(library, result)
        print("%-14s %5d compared equal" % (family.__name__, result.passed - before))
    print("PyTorch %s, seed %d" % (torch.__version__, options.seed))
    print("%d passed, %d failed, 0 skipped" % (result.passed, result.failed))
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
