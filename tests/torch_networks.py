#!/usr/bin/env python3
"""Whole networks beside PyTorch's: logits, loss, every gradient, steps of optimisers and running statistics, from the same
weights and batches, by fused and unfused programs, in training and outside it. Weights travel as safetensors files, which
the library writes and reads, and which are read and written here by the format's description.

In f64 the residual networks are built here, of the library's layers; in f32 they are the library's own, by name. What f32
may differ by follows from PyTorch's own f32: both are compared with PyTorch's f64.

    tests/torch_networks.py [--library build/lib/libplumb.so] [--seed 1]

The last line is "N passed, N failed, N skipped"; without PyTorch everything is skipped."""
import argparse
import ctypes as C
import json
import os
import struct
import sys
import tempfile

from torch_oracle import Comparison, Compile, F, Init, Library, Optimizer, Session, np, shape_of, sized, torch

F32, F64, BF16, I32 = 1, 2, 3, 5
BATCH, FUSE = -101, 1 << 6
RELU, SIGMOID, TANH = 1, 3, 4
STEPS = 4
TOLERANCE = 1e-9  # relative to the largest element; both sides compute in f64, through up to 20 layers and 4 steps
# In f32 twice PyTorch's own difference from f64 is allowed, by the norm of a tensor, or this: what is seen is 6e-6 in
# gradients, and 3e-5 in what Adam moved by elements whose gradient is hardly more than its rounding. Deep networks take one step there: in later ones some ReLU opens in f32 and not in f64, in
# PyTorch as here, and weights stray by up to 0.025 (resnet18, momentum), other ones in each. ResNet-50 in f32 opens some in
# its very first gradients (0.0017 beside PyTorch's 0.0001) and is compared in f32 outside training only; in f64 it takes
# one step, as Adam's fourth is at 9e-9.
LEAST_F32 = 1e-4


class Conv2d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("filters", C.c_int64), ("kernel", C.c_int64 * 2), ("stride", C.c_int64 * 2),
                ("padding", C.c_int64 * 2), ("padding_sides", C.c_int64 * 4), ("same", C.c_bool),
                ("dilation", C.c_int64 * 2), ("groups", C.c_int64), ("no_bias", C.c_bool), ("init", Init),
                ("bias_init", Init), ("activation", C.c_int), ("frozen", C.c_bool)]


class Linear(C.Structure):
    _fields_ = [("size", C.c_size_t), ("units", C.c_int64), ("no_bias", C.c_bool), ("init", Init), ("bias_init", Init),
                ("activation", C.c_int), ("frozen", C.c_bool)]


class Pool2d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("window", C.c_int64 * 2), ("stride", C.c_int64 * 2), ("padding", C.c_int64 * 2),
                ("padding_sides", C.c_int64 * 4), ("dilation", C.c_int64 * 2), ("ceil_mode", C.c_bool),
                ("exclude_padding", C.c_bool)]


class BatchNorm(C.Structure):
    _fields_ = [("size", C.c_size_t), ("epsilon", C.c_double), ("momentum", C.c_double), ("biased_running", C.c_bool),
                ("fixed", C.c_bool), ("frozen", C.c_bool), ("activation", C.c_int)]


class Recurrent(C.Structure):
    _fields_ = [("size", C.c_size_t), ("units", C.c_int64), ("layers", C.c_int), ("bidirectional", C.c_bool),
                ("batch_first", C.c_bool), ("last", C.c_bool), ("drop", C.c_double), ("no_bias", C.c_bool),
                ("relu", C.c_bool), ("init", Init), ("recurrent_init", Init), ("bias_init", Init), ("frozen", C.c_bool),
                ("h0", C.c_uint64), ("c0", C.c_uint64), ("states", C.c_void_p), ("cells", C.c_void_p)]


class ModelOptions(C.Structure):
    _fields_ = [("size", C.c_size_t), ("input_shape", type(shape_of(()))), ("classes", C.c_int), ("units", C.c_void_p),
                ("n_units", C.c_int), ("activation", C.c_int), ("init", Init), ("drop", C.c_double),
                ("no_scaling", C.c_bool)]


class Model(C.Structure):
    _fields_ = [("graph", C.c_void_p), ("input", C.c_uint64), ("label", C.c_uint64), ("logits", C.c_uint64),
                ("loss", C.c_uint64), ("input_shape", type(shape_of(()))), ("classes", C.c_int)]


# ---- safetensors: 8 bytes of length, a JSON header, the tensors one behind the other ----

KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def read_weights(path):
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], KINDS[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def write_weights(path, tensors):
    header, data, names = {}, b"", {np.dtype(kind): name for name, kind in KINDS.items()}
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


# ---- the library's side ----

class Network(Session):
    """A network in a context of its own: what it is made of, its state, its programs."""

    def __init__(self, library, dtype):
        super().__init__(library)
        self.dtype = dtype

    def layer(self, kind, name, x, options=None):
        return self.op("build_" + kind, C.c_char_p(name.encode()) if name else None, x,
                       C.byref(options) if options else None)

    def conv(self, name, x, filters, kernel, stride=1, padding=0, bias=False, activation=0):
        return self.layer("conv2d", name, x, sized(Conv2d, filters=filters, kernel=[kernel] * 2, stride=[stride] * 2,
                                                   padding=[padding] * 2, no_bias=not bias, activation=activation))

    def norm(self, name, x, activation=0):
        return self.layer("batch_norm", name, x, sized(BatchNorm, activation=activation))

    def linear(self, name, x, units, activation=0):
        return self.layer("linear", name, x, sized(Linear, units=units, activation=activation))

    def build(self, network, picture):
        self.image = self.op("input", b"image", self.dtype, shape_of((BATCH,) + picture))
        self.label = self.op("input", b"label", I32, shape_of((BATCH,)))
        self.logits = network.ours(self, self.image)
        self.loss = self.op("softmax_cross_entropy", self.logits, self.label, None)

    def build_by_name(self, name, picture):
        model, options = Model(), sized(ModelOptions, input_shape=shape_of(picture), classes=10, no_scaling=True)
        self.check(self.lib.plumb_model_build(self.context, name.encode(), C.byref(options), C.byref(model)) == 0)
        self.graph = C.c_void_p(model.graph)
        self.image, self.label, self.logits, self.loss = (
            C.c_uint64(t) for t in (model.input, model.label, model.logits, model.loss))

    def make_state(self):
        self.state = C.c_void_p(self.lib.plumb_state_new(self.graph))
        self.check(self.state.value)

    def save(self, path):
        self.check(self.lib.plumb_state_save_weights(self.state, path.encode(), None) == 0)

    def load(self, path):
        self.check(self.lib.plumb_state_load(self.state, path.encode(), True) == 0)

    def parameters(self):
        ids = (C.c_uint64 * 256)()
        count = self.lib.plumb_parameters(self.graph, ids, 256)
        self.lib.plumb_name_of.restype = C.c_char_p
        tensors = [C.c_uint64(i) for i in ids[:count]]
        return {self.lib.plumb_name_of(self.graph, t).decode(): t for t in tensors}

    def compile(self, outputs, training, effects=False, passes_off=0, precision=0):
        ids = (C.c_uint64 * len(outputs))(*[o.value for o in outputs])
        options = sized(Compile, n_outputs=len(outputs), training=training, effects=effects, passes_off=passes_off,
                        precision=precision)
        options.outputs = ids
        program = C.c_void_p(self.lib.plumb_compile(self.graph, self.state, C.byref(options)))
        self.check(program.value)
        return program

    def step(self, program, image, label):
        for tensor, array in ((self.image, image), (self.label, label.astype("int32"))):
            array = np.ascontiguousarray(array)
            self.check(self.lib.plumb_feed(program, tensor, array.ctypes.data_as(C.c_void_p), C.c_size_t(array.nbytes)) == 0)
        self.check(self.lib.plumb_run(program) == 0)

    def text(self, program):
        self.lib.plumb_program_text.restype = C.c_void_p
        text = C.c_void_p(self.lib.plumb_program_text(program))
        self.check(text.value)
        line = C.string_at(text.value).decode()
        self.lib.plumb_text_free(self.context, text)
        return line

    def minimize(self, rule, **fields):
        options = sized(Optimizer, rule=rule.encode(), **fields)
        self.check(self.lib.plumb_minimize(self.graph, self.loss, None, 0, C.byref(options)) == 0)


# ---- networks, of both kinds ----

class Residual:
    """As the library's: a stem, stages of blocks, the mean of the picture, one layer."""

    def __init__(self, name, filters, blocks, large=False, bottleneck=False):
        self.name, self.filters, self.blocks, self.large, self.bottleneck = name, filters, blocks, large, bottleneck
        self.deep, self.deepest = sum(blocks) > 3, sum(blocks) > 9

    def parts(self):
        """Of each block: its name, the stride of the way around it, and (filters, kernel, stride) of its convolutions."""
        for stage, blocks in enumerate(self.blocks):
            for i in range(blocks):
                n, stride = self.filters << stage, 2 if stage and not i else 1
                row = [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)] if self.bottleneck else [(n, 3, stride), (n, 3, 1)]
                yield "layer%d.%d." % (stage + 1, i), stride, row

    def stem(self):
        return (self.filters, 7, 2) if self.large else (self.filters, 3, 1)

    def ours(self, n, x):
        def unit(conv, norm, x, part, activation=0):
            filters, kernel, stride = part
            return n.norm(norm, n.conv(conv, x, filters, kernel, stride, kernel // 2), activation)
        x, before = unit("conv1", "bn1", x, self.stem(), RELU), self.filters
        if self.large:
            x = n.layer("max_pool2d", "maxpool", x, sized(Pool2d, window=[3, 3], stride=[2, 2], padding=[1, 1]))
        for name, stride, row in self.parts():
            y = x
            for i, part in enumerate(row, 1):
                y = unit("%sconv%d" % (name, i), "%sbn%d" % (name, i), y, part, RELU if i < len(row) else 0)
            if stride != 1 or before != row[-1][0]:
                x = unit(name + "downsample.0", name + "downsample.1", x, (row[-1][0], 1, stride))
            x, before = n.op("relu", n.op("add", y, x)), row[-1][0]
        return n.linear("fc", n.layer("global_average_pool", None, x), 10)

    def theirs(self, x, w, training, after):
        def unit(conv, norm, x, part):
            running = [w[norm + end] for end in (".running_mean", ".running_var")]
            if training and not after:  # PyTorch writes them in place
                running = [r.clone() for r in running]
            x = F.conv2d(x, w[conv + ".weight"], stride=part[2], padding=part[1] // 2)
            return F.batch_norm(x, *running, w[norm + ".weight"], w[norm + ".bias"], training)
        x = F.relu(unit("conv1", "bn1", x, self.stem()))
        x = F.max_pool2d(x, 3, 2, 1) if self.large else x
        for name, stride, row in self.parts():
            y = x
            for i, part in enumerate(row, 1):
                y = unit("%sconv%d" % (name, i), "%sbn%d" % (name, i), F.relu(y) if i > 1 else y, part)
            if name + "downsample.0.weight" in w:
                x = unit(name + "downsample.0", name + "downsample.1", x, (0, 1, stride))
            x = F.relu(y + x)
        return F.linear(x.mean((2, 3)), w["fc.weight"], w["fc.bias"])


class Plain:
    """Convolutions and layers with a bias, and an activation on each but the last."""

    deep = deepest = False

    def __init__(self, name, activation, function):
        self.name, self.activation, self.function = name, activation, function

    def ours(self, n, x):
        x = n.conv("conv1", x, 7, 3, 1, 1, True, self.activation)
        x = n.conv("conv2", x, 9, 3, 2, 0, True, self.activation)
        x = n.layer("flatten", None, x)
        return n.linear("fc2", n.linear("fc1", x, 21, self.activation), 10)

    def theirs(self, x, w, training, after):
        x = self.function(F.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=1))
        x = self.function(F.conv2d(x, w["conv2.weight"], w["conv2.bias"], stride=2))
        x = self.function(F.linear(x.flatten(1), w["fc1.weight"], w["fc1.bias"]))
        return F.linear(x, w["fc2.weight"], w["fc2.bias"])


class Sequences(Plain):
    """Two layers of lstm in both directions, a gru on top of them, and layers on its last state."""

    LSTM, GRU = 9, 11

    def ours(self, n, x):
        x = n.layer("lstm", "lstm", x, sized(Recurrent, units=self.LSTM, layers=2, bidirectional=True, batch_first=True))
        x = n.layer("gru", "gru", x, sized(Recurrent, units=self.GRU, batch_first=True, last=True))
        return n.linear("fc2", n.linear("fc1", x, 21, self.activation), 10)

    def theirs(self, x, w, training, after):
        def weights(name, suffixes):
            return [w["%s.%s_%s" % (name, part, suffix)] for suffix in suffixes
                    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        zeros = [torch.zeros(4, x.shape[0], self.LSTM, dtype=x.dtype)] * 2
        x = torch._VF.lstm(x, zeros, weights("lstm", ("l0", "l0_reverse", "l1", "l1_reverse")), True, 2, 0.0, training, True,
                           True)[0]
        x = torch._VF.gru(x, torch.zeros(1, x.shape[0], self.GRU, dtype=x.dtype), weights("gru", ["l0"]), True, 1, 0.0,
                          training, False, True)[1][0]
        x = self.function(F.linear(x, w["fc1.weight"], w["fc1.bias"]))
        return F.linear(x, w["fc2.weight"], w["fc2.bias"])


NETWORKS = [
    (Residual("resnet8-cifar", 16, (1, 1, 1)), (3, 16, 16), 4),
    (Residual("resnet20-cifar", 16, (3, 3, 3)), (3, 16, 16), 4),
    (Residual("resnet18-cifar", 64, (2, 2, 2, 2)), (3, 16, 16), 4),
    (Residual("resnet18", 64, (2, 2, 2, 2), True), (3, 48, 40), 4),
    (Residual("resnet50", 64, (3, 4, 6, 3), True, True), (3, 48, 40), 4),
    (Plain("plain relu", RELU, torch.relu), (3, 9, 11), 5),
    (Plain("plain sigmoid", SIGMOID, torch.sigmoid), (3, 9, 11), 5),
    (Plain("plain tanh", TANH, torch.tanh), (3, 9, 11), 5),
    (Sequences("lstm and gru", RELU, torch.relu), (8, 6), 5),
]
RULES = {
    "momentum": (dict(lr=0.05, momentum=0.9, classic=True, l2=5e-4, decay_all=True),
                 lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4)),
    # Gradients near 0 are divided by themselves and epsilon, which magnifies their roundings: more than 1e-9 by the default.
    "adam": (dict(lr=1e-3, epsilon=1e-6), lambda p: torch.optim.Adam(p, 1e-3, eps=1e-6)),
}


# ---- what is compared ----

def is_statistic(name):
    return ".running_" in name


class Theirs:
    """PyTorch's side: tensors by name from the same file."""

    def __init__(self, network, weights, dtype):
        self.network, self.dtype = network, dtype
        self.w = {name: torch.tensor(array, dtype=dtype, requires_grad=not is_statistic(name))
                  for name, array in weights.items()}

    def trained(self):
        return {name: t for name, t in self.w.items() if not is_statistic(name)}

    def forward(self, image, label, training, after=False):
        logits = self.network.theirs(torch.tensor(image, dtype=self.dtype), self.w, training, after)
        return logits, F.cross_entropy(logits, torch.tensor(label))

    def all(self, image, label, training):
        for t in self.trained().values():
            t.grad = None
        logits, loss = self.forward(image, label, training)
        loss.backward()
        result = {"logits": logits.detach(), "loss": loss.detach()}
        result.update({"gradient " + name: t.grad for name, t in self.trained().items()})
        return {name: t.double().numpy() for name, t in result.items()}

    def steps(self, make, batches):
        optimizer, losses = make(list(self.trained().values())), []
        for image, label in batches:
            optimizer.zero_grad()
            loss = self.forward(image, label, True, True)[1]
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        result = {name: t.detach().double().numpy().copy() for name, t in self.w.items()}
        result["losses"] = np.array(losses)
        return result


def our_all(n, image, label, training, passes_off):
    """Logits, loss and gradients of one batch; and what the program says it is."""
    parameters = n.parameters()
    outputs = [n.logits, n.loss] + n.gradients(n.loss, list(parameters.values()))
    program = n.compile(outputs, training, passes_off=passes_off)
    n.step(program, image, label)
    names = ["logits", "loss"] + ["gradient " + name for name in parameters]
    return {name: n.fetch(program, t) for name, t in zip(names, outputs)}, n.text(program)


def our_steps(n, rule, fields, batches, passes_off, work):
    n.minimize(rule, **fields)
    program = n.compile([n.loss], True, effects=True, passes_off=passes_off)
    losses = []
    for image, label in batches:
        n.step(program, image, label)
        losses.append(float(n.fetch(program, n.loss)))
    path = os.path.join(work, "after.safetensors")
    n.save(path)
    result = read_weights(path)
    result["losses"] = np.array(losses)
    return result


def distance(a, exact):
    size = np.linalg.norm(exact)
    return float(np.linalg.norm(np.asarray(a, dtype="float64") - exact)) / (size if size > 0 else 1.0)


class Judge(Comparison):
    def all(self, what, ours, exact, theirs=None):
        """Every tensor by name. With `theirs`, PyTorch's in the same dtype, the bound follows from it."""
        if set(ours) != set(exact):
            return self.fail(what, "has %s" % sorted(set(ours) ^ set(exact)))
        worst = 0.0
        for name in exact:
            if theirs is None:
                error = float(np.max(np.abs(ours[name] - exact[name]))) / max(1e-3, float(np.max(np.abs(exact[name]))))
                bound = TOLERANCE
            else:
                error, bound = distance(ours[name], exact[name]), max(2 * distance(theirs[name], exact[name]), LEAST_F32)
            worst = error if not error <= worst else worst
            if error <= bound:
                self.passed += 1
            else:
                self.fail("%s: %s" % (what, name), "differs by %.3g, allowed is %.3g" % (error, bound))
        print("%-60s %4d tensors, at most %.2g" % (what, len(exact), worst))

    def truth(self, what, holds):
        self.passed += bool(holds)
        if not holds:
            self.fail(what, "not so")


def start(library, network, picture, dtype, path):
    n = Network(library, dtype)
    if dtype == F32 and isinstance(network, Residual):
        n.build_by_name(network.name, picture)
    else:
        n.build(network, picture)
    n.make_state()
    if path:
        n.load(path)
    return n


def first_weights(library, network, picture, dtype, work):
    """The library's own initial weights, through a file; biases and statistics, which start alike, are made random."""
    path = os.path.join(work, "before.safetensors")
    with start(library, network, picture, dtype, None) as n:
        n.save(path)
    weights = {name: array.copy() for name, array in read_weights(path).items()}
    for name, array in weights.items():
        if array.ndim == 1:
            array += np.random.uniform(-0.3, 0.3, array.shape).astype(array.dtype)
    write_weights(path, weights)
    return path, weights


def compare(library, judge, network, picture, batch, dtype, work):
    kind = "float32" if dtype == F32 else "float64"
    image = np.random.standard_normal((STEPS, batch) + picture).astype(kind)
    label = np.random.randint(0, 10, (STEPS, batch))
    batches = list(zip(image, label))
    path, weights = first_weights(library, network, picture, dtype, work)

    def theirs(what):
        exact = what(Theirs(network, weights, torch.float64))
        return exact, what(Theirs(network, weights, torch.float32)) if dtype == F32 else None
    strays = network.deepest and dtype == F32
    for training in (False,) if strays else (True, False):
        pair = theirs(lambda t: t.all(*batches[0], training))
        for passes_off in (0, FUSE):
            what = "%s %s %s %s" % (network.name, kind, "training" if training else "evaluation",
                                    "unfused" if passes_off else "fused")
            with start(library, network, picture, dtype, path) as n:
                values, text = our_all(n, *batches[0], training, passes_off)
                judge.all(what, values, *pair)
                fuses = not passes_off and (dtype == F32 or isinstance(network, Plain))  # f64 has no norm that fuses
                judge.truth(what + ": an activation is part of another op", ("activation=" in text) == fuses)
    if strays:
        return
    steps = 1 if network.deepest or (dtype == F32 and network.deep) else STEPS
    for rule, (fields, make) in RULES.items():
        pair = theirs(lambda t: t.steps(make, batches[:steps]))
        for passes_off in (0, FUSE):
            what = "%s %s %d steps of %s %s" % (network.name, kind, steps, rule, "unfused" if passes_off else "fused")
            with start(library, network, picture, dtype, path) as n:
                judge.all(what, our_steps(n, rule, fields, batches[:steps], passes_off, work), *pair)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default="build/lib/libplumb.so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--filter", default="", help="networks whose name has this in it")
    options = parser.parse_args()
    np.random.seed(options.seed)
    torch.set_num_threads(1)
    library, judge = Library(options.library), Judge()
    with tempfile.TemporaryDirectory(prefix="plumb-torch-") as work:
        for network, picture, batch in NETWORKS:
            for dtype in (F64, F32):
                if options.filter in network.name:
                    compare(library, judge, network, picture, batch, dtype, work)
    print("PyTorch %s, seed %d" % (torch.__version__, options.seed))
    print("%d passed, %d failed, 0 skipped" % (judge.passed, judge.failed))
    return 1 if judge.failed or not judge.passed else 0


if __name__ == "__main__":
    sys.exit(main())
