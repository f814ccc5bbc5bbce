#!/usr/bin/env python3
"""Makes the golden vectors: what Debian's PyTorch 1.13.1 computes in f64, so that every build is held against it without
PyTorch. tests/test_golden.c reads them.

    tests/golden/make.py            writes vectors.safetensors and vectors.sha256 beside itself
    tests/golden/make.py --check    compares what it would write with what is there: the same vectors, values within
                                    1e-13 (another CPU's PyTorch rounds otherwise), and the file has its hash

A vector NNNN is a line of metadata, "OP SHAPES SET" as `plumb bench op` takes them ("-": no attributes), and tensors
NNNN.in0.., NNNN.out0.., NNNN.val0.. (outputs without a gradient), NNNN.grad0..: the gradients of the sum over all
NNNN.out, each element times a weight (see weights()). Input values are exact in f32, so that f32 is asked the same
question. "optimizer RULE SET" has the parameter before and after each of five steps on sum((W x - t)^2). To add an op, add
a row to one of the lists, or a function, and run this; attributes are known by their rows in src/cli/bench_spec.c."""
import hashlib
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
FILE, HASH = os.path.join(HERE, "vectors.safetensors"), os.path.join(HERE, "vectors.sha256")
dice = np.random.RandomState(20220322)
vectors, tensors = {}, {}


# ---- values ----

def floats(*shape, low=-2.0, high=2.0, away=None):
    """Exact in f32; none within 0.05 of a kink at `away`."""
    x = np.asarray(dice.uniform(low, high, shape))
    if away is not None:
        x = np.where(np.abs(x - away) < 0.05, x + 0.125, x)
    return x.astype(np.float32).astype(np.float64)


def distinct(*shape):
    count = int(np.prod(shape))
    return (dice.permutation(count).reshape(shape) - count / 2) / 8.0


def dims(rank, low=1, high=4):
    return tuple(int(d) for d in dice.randint(low, high + 1, rank))


def pick(*choices):
    return choices[dice.randint(len(choices))]


def weights(shape, output):
    count = int(np.prod(shape))
    i = np.arange(count)
    return torch.tensor(((i * 7 + 3 + output) % 11 - 5) / 8 + 1 / 16).reshape(tuple(shape))


# ---- vectors ----

def shape_text(array):
    return ("x".join(map(str, array.shape)) or "scalar") + (":i64" if array.dtype == np.int64 else "")


def set_text(**attributes):
    def value(v):
        if isinstance(v, (tuple, list)):
            return "x".join(map(str, v))
        return str(int(v)) if isinstance(v, bool) else repr(v) if isinstance(v, float) else str(v)
    return ",".join(f"{k}={value(v)}" for k, v in attributes.items()) or "-"


def keep(line, arrays):
    name = f"{len(vectors):04d}"
    vectors[name] = line
    for key, array in arrays.items():
        tensors[f"{name}.{key}"] = array


def vector(op, inputs, function, differentiable=None, **attributes):
    """function(tensors) -> a tensor, or a tuple with None for outputs that PyTorch has not."""
    differentiable = range(len(inputs)) if differentiable is None else differentiable
    given = [torch.tensor(x, requires_grad=i in differentiable and x.dtype == np.float64) for i, x in enumerate(inputs)]
    outputs = function(given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    arrays = {f"in{i}": x for i, x in enumerate(inputs)}
    loss = 0
    for k, y in enumerate(outputs):
        if y is not None:
            arrays[f"{'out' if y.requires_grad else 'val'}{k}"] = y.detach().numpy().copy()
            loss = loss + (y * weights(y.shape, k)).sum() if y.requires_grad else loss
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        loss.backward()
        for i in differentiable:
            if given[i].requires_grad:
                arrays[f"grad{i}"] = np.zeros(inputs[i].shape) if given[i].grad is None else given[i].grad.numpy().copy()
    keep(f"{op} {','.join(map(shape_text, inputs))} {set_text(**attributes)}", arrays)


# ---- element-wise ----

UNARY = {  # name: function, low, high, kink
    "neg": (torch.neg, -3, 3, None), "abs": (torch.abs, -3, 3, 0), "sign": (torch.sign, -3, 3, 0),
    "exp": (torch.exp, -4, 4, None), "expm1": (torch.expm1, -2, 2, None), "log": (torch.log, 0.1, 9, None),
    "log1p": (torch.log1p, -0.8, 5, None), "sqrt": (torch.sqrt, 0.1, 9, None), "rsqrt": (torch.rsqrt, 0.1, 9, None),
    "square": (torch.square, -3, 3, None), "reciprocal": (torch.reciprocal, 0.3, 4, None),
    "sin": (torch.sin, -9, 9, None), "cos": (torch.cos, -9, 9, None), "erf": (torch.erf, -3, 3, None),
    "sigmoid": (torch.sigmoid, -6, 6, None), "tanh": (torch.tanh, -4, 4, None), "relu": (torch.relu, -2, 2, 0),
    "gelu": (F.gelu, -4, 4, None), "silu": (F.silu, -6, 6, None), "softplus": (F.softplus, -8, 8, None),
}


def elementwise():
    for name, (function, low, high, kink) in UNARY.items():
        for n in range(24):
            x = floats(*dims(n % 5), low=low, high=high, away=kink)
            vector(name, [x], lambda t, f=function: f(t[0]))
    for _ in range(24):
        a, b = round(float(dice.uniform(0.01, 0.9)), 3), round(float(dice.uniform(-1, 1)), 3)
        shape = dims(dice.randint(1, 4))
        vector("leaky_relu", [floats(*shape, away=0)], lambda t: F.leaky_relu(t[0], a), a=a)
        vector("elu", [floats(*shape, away=0)], lambda t: F.elu(t[0], a), a=a)
        vector("affine", [floats(*shape)], lambda t: a * t[0] + b, a=a, b=b)
        x = floats(*shape)
        x = np.where(np.abs(np.abs(x) - 1) < 0.05, 0.5, x)
        vector("clamp", [x], lambda t: torch.clamp(t[0], -1.0, 1.0), a=-1.0, b=1.0)
        vector("huber", [x], lambda t: F.huber_loss(t[0], torch.zeros_like(t[0]), reduction="none", delta=1.0), a=1.0)


BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
          "minimum": torch.minimum, "pow": torch.pow}


def broadcasting():
    for name, function in BINARY.items():
        for n in range(30):
            full = dims(n % 4 + 1)
            a = tuple(d if dice.rand() < 0.7 else 1 for d in full)
            b = tuple(d if dice.rand() < 0.7 else 1 for d in full)[dice.randint(len(full) + 1):]
            x, y = floats(*a), floats(*b)
            if name == "pow":
                x = np.abs(x) + 0.25
            elif name == "div":
                y = np.where(y < 0, y - 0.25, y + 0.25)
            vector(name, [x.astype(np.float32).astype(np.float64), y.astype(np.float32).astype(np.float64)],
                   lambda t, f=function: f(t[0], t[1]))


# ---- reductions and what is built on them ----

def reductions():
    functions = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
    for name, function in functions.items():
        for n in range(24):
            shape = dims(n % 4 + 1)
            axes = sorted(int(a) for a in dice.choice(len(shape), dice.randint(1, len(shape) + 1), replace=False))
            keep_dims = bool(n % 2)
            vector(name, [distinct(*shape)], lambda t, f=function: f(t[0], dim=axes, keepdim=keep_dims), axes=axes,
                   keep=keep_dims)
    for name, function in {"softmax": F.softmax, "log_softmax": F.log_softmax}.items():
        for n in range(24):
            shape = dims(n % 4 + 1)
            axis = int(dice.randint(len(shape)))
            vector(name, [floats(*shape, low=-6, high=6)], lambda t, f=function: f(t[0], dim=axis), axis=axis)


def products():
    for n in range(100):
        m, k, c = dims(3, 1, 5)
        ta, tb, batch = bool(n & 1), bool(n & 2), dims(n % 3, 1, 2)
        a = floats(*batch, *((k, m) if ta else (m, k)))
        b = floats(*(batch if n & 4 else ()), *((c, k) if tb else (k, c)))
        arrays = [a, b] + ([floats(c)] if n % 5 == 0 else [])
        vector("matmul", arrays, lambda t: torch.matmul(t[0].transpose(-1, -2) if ta else t[0],
                                                        t[1].transpose(-1, -2) if tb else t[1])
               + (t[2] if len(t) > 2 else 0), transpose_a=ta, transpose_b=tb)


# ---- pictures ----

def convolutions():
    for n in range(200):
        groups = pick(1, 1, 2, 3)
        c, o = groups * dice.randint(1, 3), groups * dice.randint(1, 3)
        kernel, stride, dilation = dims(2, 1, 3), dims(2, 1, 3), dims(2, 1, 2)
        pad = tuple(int(p) for p in dice.randint(0, 3, 4))  # top, left, bottom, right
        h, w = (max(1, dilation[i] * (kernel[i] - 1) + 1 + int(dice.randint(0, 3))) for i in range(2))
        arrays = [floats(int(dice.randint(1, 3)), c, h, w), floats(o, c // groups, *kernel)] + ([floats(o)] if n % 2 else [])

        def theirs(t):
            return F.conv2d(F.pad(t[0], (pad[1], pad[3], pad[0], pad[2])), t[1], t[2] if len(t) > 2 else None,
                            stride=stride, dilation=dilation, groups=groups)
        vector("conv2d", arrays, theirs, stride=stride, padding=pad, dilation=dilation, groups=groups)


def pooling():
    for n in range(70):
        window, stride = dims(2, 1, 3), dims(2, 1, 3)
        pad = tuple(int(dice.randint(0, k // 2 + 1)) for k in window)
        ceil = bool(n % 3 == 0)
        shape = (*dims(2, 1, 2), window[0] + int(dice.randint(0, 4)), window[1] + int(dice.randint(0, 4)))
        options = dict(window=window, stride=stride, padding=pad * 2, ceil_mode=ceil)
        vector("max_pool2d", [distinct(*shape)],
               lambda t: (F.max_pool2d(t[0], window, stride, pad, ceil_mode=ceil), None), **options)
        for inside in (False, True):
            vector("average_pool2d", [floats(*shape)],
                   lambda t, inside=inside: F.avg_pool2d(t[0], window, stride, pad, ceil, not inside),
                   exclude_padding=inside, **options)


def batch_norm():
    for n in range(80):
        c = int(dice.randint(1, 4))
        x = floats(int(dice.randint(2, 4)), c, *dims(2, 1, 3), low=-1, high=3)
        arrays = [x, floats(c), floats(c), floats(c), floats(c, low=0.5, high=2)]
        if n % 2:
            def train(t):
                mean, var = t[3].detach().clone(), t[4].detach().clone()
                y = F.batch_norm(t[0], mean, var, t[1], t[2], True, 0.25, 1e-3)
                return y, None, None, mean, var
            vector("batch_norm", arrays, train, differentiable=range(3), epsilon=1e-3, momentum=0.25)
        else:
            vector("batch_norm_inference", arrays, lambda t: F.batch_norm(t[0], t[3], t[4], t[1], t[2], False, 0.25, 1e-3),
                   differentiable=range(3), epsilon=1e-3, momentum=0.25)


# ---- sequences, lookups, losses ----

def recurrent():
    kinds = {"rnn": (1, 1, torch._VF.rnn_tanh), "relu": (1, 1, torch._VF.rnn_relu), "gru": (3, 1, torch._VF.gru),
             "lstm": (4, 2, torch._VF.lstm)}
    # Reverse is PyTorch's over a flipped sequence.
    for name, (gates, states, function) in kinds.items():
        for n in range(40):
            steps, batch, features, units = dims(4, 1, 3)
            reverse, biased = bool(n & 1), n % 3 > 0
            arrays = [floats(steps, batch, features)] + [floats(batch, units) for _ in range(states)]
            arrays += [floats(gates * units, features), floats(gates * units, units)]
            arrays += [floats(gates * units) for _ in range(2)] if biased else []

            def theirs(t):
                x = t[0].flip(0) if reverse else t[0]
                start = [state[None] for state in t[1:1 + states]]
                y, *last = function(x, start if states > 1 else start[0], t[1 + states:], biased, 1, 0.0, False, False,
                                    False)
                return (y.flip(0) if reverse else y, *[state[0] for state in last])
            extra = {"activation": "relu"} if name == "relu" else {}
            vector("rnn" if name == "relu" else name, arrays, theirs, reverse=reverse, **extra)


def lookups():
    for n in range(60):
        shape = dims(n % 3 + 1)
        axis = int(dice.randint(len(shape)))
        indices = np.asarray(dice.randint(0, shape[axis], dims(n % 2 + 1)), dtype=np.int64)

        def theirs(t):
            taken = torch.index_select(t[0], axis, t[1].reshape(-1))
            return taken.reshape(shape[:axis] + indices.shape + shape[axis + 1:])
        vector("gather", [floats(*shape), indices], theirs, differentiable=[0], axis=axis)
    for n in range(30):
        arrays = [floats(*dims(2)) for _ in range(n % 3 + 1)]
        arrays = [np.ascontiguousarray(np.resize(a, (a.shape[0], arrays[0].shape[1]))) for a in arrays]
        vector("concat", arrays, lambda t: torch.cat(t, 0), axis=0)


def losses():
    for n in range(60):
        rows, classes = dims(2, 2, 5)
        smoothing = pick(0.0, 0.1, 0.4)
        arrays = [floats(rows, classes, low=-4, high=4), np.asarray(dice.randint(0, classes, rows), dtype=np.int64)]
        if n % 2:
            arrays.append(floats(classes, low=0.2, high=2))
        vector("cross_entropy", arrays,
               lambda t: (F.cross_entropy(t[0], t[1], t[2].detach() if n % 2 else None, reduction="none",
                                          label_smoothing=smoothing), None), differentiable=[0], label_smoothing=smoothing)
    builders = {
        "bce_with_logits": (F.binary_cross_entropy_with_logits, -4, 4), "bce": (F.binary_cross_entropy, 0.05, 0.95),
        "squared_error": (F.mse_loss, -2, 2), "absolute_error": (F.l1_loss, -2, 2), "huber_error": (F.huber_loss, -3, 3),
    }
    for name, (function, low, high) in builders.items():
        for n in range(16):
            shape = dims(n % 3 + 1)
            vector(name, [floats(*shape, low=low, high=high), floats(*shape, low=0, high=1)],
                   lambda t, f=function: f(t[0], t[1]), differentiable=[0])


# ---- optimisers ----

def optimizers():
    for n in range(16):
        lr, b1, b2 = pick(0.01, 0.1), pick(0.5, 0.8, 0.9), pick(0.9, 0.99)
        decay = pick(0.01, 0.05)
        rules = {
            "sgd": (dict(), lambda p: torch.optim.SGD(p, lr)),
            "momentum": (dict(momentum=b1, classic=True), lambda p: torch.optim.SGD(p, lr, momentum=b1)),
            "nesterov": (dict(momentum=b1), lambda p: torch.optim.SGD(p, lr, momentum=b1, nesterov=True)),
            "rmsprop": (dict(beta2=b2), lambda p: torch.optim.RMSprop(p, lr, alpha=b2)),
            "adam": (dict(beta1=b1, beta2=b2), lambda p: torch.optim.Adam(p, lr, betas=(b1, b2))),
            "adamw": (dict(beta1=b1, beta2=b2, weight_decay=decay),
                      lambda p: torch.optim.AdamW(p, lr, betas=(b1, b2), weight_decay=decay)),
        }
        for rule, (options, make) in rules.items():
            rows, inner, columns = dims(3, 1, 3)
            w, x, t = floats(rows, inner), floats(inner, columns), floats(rows, columns)
            parameter = torch.tensor(w, requires_grad=True)
            optimizer = make([parameter])
            arrays = {"in0": w, "in1": x, "in2": t}
            for step in range(5):
                optimizer.zero_grad()
                torch.square(parameter @ torch.tensor(x) - torch.tensor(t)).sum().backward()
                optimizer.step()
                arrays[f"out{step}"] = parameter.detach().numpy().copy()
            keep(f"optimizer {rule} {set_text(lr=lr, **options)}", arrays)


# ---- ops that came later: behind the others, so that these stay what they were ----

LATER_UNARY = {
    "tan": (torch.tan, -1.4, 1.4, None), "asin": (torch.asin, -0.95, 0.95, None), "acos": (torch.acos, -0.95, 0.95, None),
    "atan": (torch.atan, -5, 5, None), "sinh": (torch.sinh, -4, 4, None), "cosh": (torch.cosh, -4, 4, None),
    "asinh": (torch.asinh, -9, 9, None), "acosh": (torch.acosh, 1.1, 9, None), "atanh": (torch.atanh, -0.95, 0.95, None),
    "erfc": (torch.erfc, -3, 3, None), "mish": (F.mish, -6, 6, None),
}
LATER_BINARY = {"fmod": torch.fmod, "remainder": torch.remainder, "atan2": torch.atan2, "logaddexp": torch.logaddexp}


def later_elementwise():
    for name, (function, low, high, kink) in LATER_UNARY.items():
        for n in range(10):
            vector(name, [floats(*dims(n % 5), low=low, high=high, away=kink)], lambda t, f=function: f(t[0]))
    for n in range(10):
        x = floats(*dims(n % 5), low=-4, high=4)
        vector("gelu_tanh", [x], lambda t: F.gelu(t[0], approximate="tanh"))
        x = np.where(np.abs(x - np.round(x)) < 0.05, x + 0.125, x)
        for name in ("floor", "ceil", "round", "trunc"):
            vector(name, [x], lambda t, f=getattr(torch, name): f(t[0]))
    for name, function in LATER_BINARY.items():
        for n in range(16):
            full = dims(n % 4 + 1)
            x, y = floats(*full), floats(*[d if dice.rand() < 0.7 else 1 for d in full], low=0.4, high=1.9)
            if name in ("fmod", "remainder"):  # clear of where a multiple begins
                x = np.round(x / y) * y + np.where(dice.rand(*x.shape) < 0.5, 0.3, 0.6) * y
            vector(name, [x.astype(np.float32).astype(np.float64), y], lambda t, f=function: f(t[0], t[1]))
    for n in range(16):
        shape = (*dims(2), *dims(n % 3))
        slopes = floats(shape[1], *[1] * (len(shape) - 2))
        vector("prelu", [floats(*shape, away=0), slopes], lambda t: F.prelu(t[0], t[1].reshape(-1)))


def later_reductions():
    def axes_of(shape):
        return sorted(int(a) for a in dice.choice(len(shape), dice.randint(1, len(shape) + 1), replace=False))
    functions = {
        "abs_sum": lambda t, axes, keep_dims: t.abs().sum(axes, keep_dims),
        "square_sum": lambda t, axes, keep_dims: t.square().sum(axes, keep_dims),
        "log_sum_exp": lambda t, axes, keep_dims: torch.logsumexp(t, axes, keep_dims),
    }
    for name, function in functions.items():
        for n in range(16):
            shape, keep_dims = dims(n % 4 + 1), bool(n % 2)
            axes = axes_of(shape)
            vector(name, [floats(*shape, away=0)], lambda t, f=function: f(t[0], axes, keep_dims), axes=axes, keep=keep_dims)
    for n in range(16):
        shape, keep_dims = dims(n % 4 + 1, 2, 4), bool(n % 2)
        axes = axes_of(shape)
        vector("variance", [floats(*shape)], lambda t: torch.var(t[0], axes, unbiased=bool(n & 2), keepdim=keep_dims), axes=axes,
               keep=keep_dims, correction=n >> 1 & 1)
        axis = int(dice.randint(len(shape)))
        vector("prod", [floats(*shape)], lambda t: torch.prod(t[0], axis, keep_dims), axes=[axis], keep=keep_dims)
        vector("cumsum", [floats(*shape)],
               lambda t: torch.flip(torch.cumsum(torch.flip(t[0], [axis]), axis), [axis]) if n & 1 else torch.cumsum(t[0], axis),
               axis=axis, reverse=bool(n & 1))
        down = bool(n & 2)
        vector("sort", [distinct(*shape)], lambda t: (torch.sort(t[0], axis, down)[0], None), axis=axis, descending=down)
        k = int(dice.randint(1, shape[axis] + 1))
        vector("top_k", [distinct(*shape)], lambda t: (torch.topk(t[0], k, axis, down)[0], None), k=k, axis=axis, descending=down)


def later_norms():
    for n in range(24):
        rows, channels, places = int(dice.randint(1, 4)), int(dice.randint(2, 5)), int(dice.randint(1, 4))
        arrays = [floats(rows, channels, places)] + [floats(channels) for _ in range(n % 3)]

        def affine(t, y):
            y = y * t[1][None, :, None] if len(t) > 1 else y
            return y + t[2][None, :, None] if len(t) > 2 else y
        vector("layer_norm", arrays, lambda t: (affine(t, F.layer_norm(t[0], (channels, places), eps=0.01)), None, None),
               epsilon=0.01)
        vector("rms_norm", arrays[:2],
               lambda t: (affine(t[:2], t[0] / torch.sqrt(t[0].square().mean((1, 2), True) + 0.01)), None), epsilon=0.01)
        groups = pick(1, 2)
        arrays = [floats(rows, 2 * groups, places)] + [floats(2 * groups) for _ in range(n % 3)]
        vector("group_norm", arrays, lambda t: (F.group_norm(t[0], groups, *t[1:], eps=0.01), None, None), groups=groups,
               epsilon=0.01)
        size = int(dice.randint(1, 5))
        vector("lrn", [floats(rows, channels, places)], lambda t: F.local_response_norm(t[0], size, 0.5, 0.8, 1.5),
               before=size // 2, after=(size - 1) // 2, scale=0.5 / size, beta=0.8, bias=1.5)


def later_places():
    for n in range(24):
        shape = dims(n % 3 + 1, 2, 4)
        axis = int(dice.randint(len(shape)))
        fewer = tuple(int(dice.randint(1, d + 1)) for d in shape)
        index = np.asarray(dice.randint(0, shape[axis], fewer), dtype=np.int64)
        x = floats(*shape)
        vector("gather_elements", [x, index], lambda t: torch.gather(t[0], axis, t[1]), differentiable=[0], axis=axis)
        vector("scatter_elements", [x, index, floats(*fewer)], lambda t: torch.scatter_add(t[0], axis, t[1], t[2]),
               differentiable=[0, 2], axis=axis, reduce=1)
        at = np.stack([dice.randint(0, d, 3) for d in shape], -1).astype(np.int64)
        vector("gather_nd", [x, at], lambda t: t[0][tuple(t[1].T)], differentiable=[0])
        k, upper = int(dice.randint(-2, 3)), bool(n & 1)
        square = floats(*dims(n % 2), *dims(2))
        vector("triangle", [square], lambda t: torch.triu(t[0], k) if upper else torch.tril(t[0], k), k=k, upper=upper)


def later_sequences():
    for n in range(40):
        batch, heads, queries, keys, width, values = dims(6, 1, 4)
        causal, scale = n % 4 == 1, pick(0.5, 0.7)
        arrays = [floats(batch, heads, queries, width), floats(batch, heads, keys, width), floats(batch, heads, keys, values)]
        arrays += [floats(batch, heads, queries, keys)] if n % 4 == 2 else []

        def theirs(t):
            scores = scale * t[0] @ t[1].transpose(-1, -2) + (t[3] if len(t) > 3 else 0)
            if causal:
                scores = scores.masked_fill(torch.ones(queries, keys).triu(1).bool(), -np.inf)
            return torch.softmax(scores, -1) @ t[2], torch.logsumexp(scores, -1)
        vector("attention", arrays, theirs, scale=scale, causal=causal)
    for n in range(20):
        batch, classes, longest = int(dice.randint(1, 3)), int(dice.randint(2, 5)), int(dice.randint(1, 3))
        steps = 2 * longest + int(dice.randint(0, 3))
        targets = np.asarray(dice.randint(1, classes, (batch, longest)), dtype=np.int64)
        lengths = np.asarray(dice.randint(1, longest + 1, batch), dtype=np.int64)
        log_p = torch.log_softmax(torch.tensor(floats(steps, batch, classes)), -1).numpy().astype(np.float32).astype(np.float64)
        # PyTorch's gradient is that of the logits before log_softmax: none is kept
        vector("ctc_loss", [log_p, targets, np.full(batch, steps, dtype=np.int64), lengths],
               lambda t: F.ctc_loss(*t, reduction="none").detach(), differentiable=[])


# ---- the file ----

def encoded():
    header, at = {"__metadata__": vectors}, 0
    kinds = {np.dtype(np.float64): "F64", np.dtype(np.int64): "I64"}
    for name, array in tensors.items():
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in tensors.values())


def decoded(data):
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    lines = header.pop("__metadata__")
    kinds = {"F64": np.float64, "I64": np.int64}
    return lines, {name: np.frombuffer(data[8 + size + e["data_offsets"][0]:8 + size + e["data_offsets"][1]],
                                       kinds[e["dtype"]]).reshape(e["shape"]) for name, e in header.items()}


def check(data):
    failed = 0
    there = open(FILE, "rb").read()
    lines, arrays = decoded(there)
    if hashlib.sha256(there).hexdigest() != open(HASH).read().split()[0]:
        print("FAIL tests/golden/vectors.safetensors has another hash than vectors.sha256 says")
        failed += 1
    if lines != vectors or list(arrays) != list(tensors):
        print("FAIL the generator makes other vectors than are there: run tests/golden/make.py")
        failed += 1
    for name, array in tensors.items():
        size = np.max(np.abs(array), initial=1e-3)
        if name not in arrays or arrays[name].shape != array.shape or not np.all(np.abs(arrays[name] - array) <= 1e-13 * size):
            print("FAIL", name, vectors[name[:4]])
            failed += 1
    print(f"{len(vectors) - min(failed, len(vectors))} passed, {failed} failed, 0 skipped")
    return failed > 0


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for make in (elementwise, broadcasting, reductions, products, convolutions, pooling, batch_norm, recurrent, lookups,
                 losses, optimizers, later_elementwise, later_reductions, later_norms, later_places, later_sequences):
        make()
    data = encoded()
    assert all(np.all(np.isfinite(a)) for a in tensors.values()) and len(data) < 8 << 20
    if sys.argv[1:] == ["--check"]:
        return check(data)
    open(FILE, "wb").write(data)
    open(HASH, "w").write(f"{hashlib.sha256(data).hexdigest()}  vectors.safetensors\n")
    print(f"{len(vectors)} vectors, {len(data)} bytes, PyTorch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
