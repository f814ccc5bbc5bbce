"""Recurrent layers beside PyTorch's, in f64: stacks of layers in both directions with lengths and initial states beside its
modules on packed sequences, and the forms it does not have beside their formulas, differentiated by it. Values and
gradients, for torch_oracle.py, of which this is a part."""
import ctypes as C
import random

from torch_oracle import Init, Recurrent, Session, compare, dims, normal, np, shape_of, sized, torch


class RecurrentLayer(C.Structure):
    _fields_ = [("size", C.c_size_t), ("units", C.c_int64), ("layers", C.c_int), ("bidirectional", C.c_bool),
                ("batch_first", C.c_bool), ("last", C.c_bool), ("drop", C.c_double), ("no_bias", C.c_bool),
                ("relu", C.c_bool), ("init", Init), ("recurrent_init", Init), ("bias_init", Init), ("frozen", C.c_bool),
                ("h0", C.c_uint64), ("c0", C.c_uint64), ("states", C.POINTER(C.c_uint64)), ("cells", C.POINTER(C.c_uint64)),
                ("lengths", C.c_uint64), ("reset", C.c_int), ("peepholes", C.c_bool)]


def run_module(module, x, states, lengths, batch_first):
    """y, and the last states, one behind the other."""
    given = tuple(states) if len(states) > 1 else states[0]
    if lengths is None:
        y, last = module(x, given)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first, False)
        y, last = module(packed, given)
        y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first, total_length=x.shape[1 if batch_first else 0])[0]
    return [y, *(last if len(states) > 1 else [last])]


def recurrent_layers(library, result):
    """nn.RNN, nn.GRU and nn.LSTM of the same weights, which the library finds by their names."""
    kind = random.choice(["rnn", "gru", "lstm"])
    steps, n, features, units = random.randint(1, 6), *dims(3, 1, 5)
    layers, both, first, biased = random.randint(1, 3), *(random.random() < 0.5 for _ in range(3))
    relu, rows = kind == "rnn" and random.random() < 0.4, layers * (1 + both)
    extra = {"nonlinearity": "relu"} if relu else {}
    module = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](
        features, units, layers, biased, first, 0.0, both, dtype=torch.float64, **extra)
    parameters = dict(module.named_parameters())
    for p in parameters.values():
        torch.nn.init.normal_(p)
    lengths = [random.randint(1, steps) for _ in range(n)] if random.random() < 0.6 else None
    arrays = [normal(*((n, steps, features) if first else (steps, n, features)))]
    arrays += [normal(rows, n, units) for _ in range(2 if kind == "lstm" else 1)]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    theirs = run_module(module, tensors[0], tensors[1:], lengths, first)
    weights = [normal(*z.shape) for z in theirs]
    sum((z * torch.tensor(w)).sum() for z, w in zip(theirs, weights)).backward()
    what = "%s %s units %d layers %d both %d lengths %s biased %d" % (kind, arrays[0].shape, units, layers, both, lengths, biased)
    with Session(library) as session:
        try:
            ids = [session.variable(a) for a in arrays]
            states = [(C.c_uint64 * 1)() for _ in arrays[1:]]
            options = sized(RecurrentLayer, units=units, layers=layers, bidirectional=both, batch_first=first,
                            no_bias=not biased, relu=relu, h0=ids[1].value, states=states[0])
            if kind == "lstm":
                options.c0, options.cells = ids[2].value, states[1]
            if lengths is not None:
                options.lengths = session.variable(np.array(lengths, dtype=random.choice(["int32", "int64"]))).value
            y = [session.op("build_" + kind, C.c_char_p(b"a"), ids[0], C.byref(options))]
            y += [C.c_uint64(s[0]) for s in states]
            for name, p in parameters.items():
                whole = b"a." + name.encode()
                session.values.append((whole, p.detach().numpy()))
                ids.append(session.op("find", C.c_char_p(whole)))
            loss = None
            for output, w in zip(y, weights):
                part = session.op("sum", session.op("mul", output, session.variable(w)), None, 0, False)
                loss = part if loss is None else session.op("add", loss, part)
            ours = session.run(y + session.gradients(loss, ids))
        except RuntimeError as error:
            result.fail(what, str(error))
            return
    for k, z in enumerate(theirs):
        result.same("%s: output %d" % (what, k), ours[k], z.detach().numpy())
    for tensor, value, k in zip(tensors + list(parameters.values()), ours[len(theirs):], range(99)):
        result.same("%s: gradient %d" % (what, k), value, tensor.grad.numpy())


def gru_step(x, h, w_ih, w_hh, b_ih, b_hh, reset):
    """One step of a gru whose reset gate comes before the product, or of one without."""
    gates = 2 if reset == 2 else 3
    a, u, b = (w_ih @ x + b_ih).chunk(gates), w_hh.chunk(gates), b_hh.chunk(gates)
    r = torch.sigmoid(a[0] + u[0] @ h + b[0]) if gates > 2 else 1
    z = torch.sigmoid(a[-2] + u[-2] @ h + b[-2])
    return (1 - z) * torch.tanh(a[-1] + u[-1] @ (r * h) + b[-1]) + z * h


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh, peepholes):
    i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    p = peepholes.chunk(3)
    c = torch.sigmoid(f + p[1] * c) * c + torch.sigmoid(i + p[0] * c) * torch.tanh(g)
    return torch.sigmoid(o + p[2] * c) * torch.tanh(c), c


def recurrent_forms(library, result):
    """Resets before the product, none at all, and peepholes, example by example with lengths of 0 to all."""
    steps, n, features, units = random.randint(1, 5), *dims(3, 1, 4)
    for reset, gates, states in ((1, 3, 1), (2, 2, 1), (0, 4, 2)):
        reverse, biased = random.random() < 0.5, random.random() < 0.7
        lengths = [random.randint(0, steps) for _ in range(n)]
        arrays = [normal(steps, n, features)] + [normal(n, units) for _ in range(states)]
        arrays += [normal(gates * units, features), normal(gates * units, units)]
        arrays += [normal(gates * units) for _ in range(2)] if biased else []
        arrays += [normal(3 * units)] if states > 1 else []
        kind = "lstm" if states > 1 else "gru"

        def ours(s, i):
            options = sized(Recurrent, reverse=reverse, reset=reset)
            options.lengths = s.variable(np.array(lengths, dtype=random.choice(["int32", "int64"]))).value
            options.peepholes = i[-1].value if states > 1 else 0
            weights = list(i[:1 + states + (4 if biased else 2)]) + [C.c_uint64(0)] * (0 if biased else 2)
            y = s.op(kind, *weights, C.byref(options))
            rows = [s.op("reshape", s.op("output", y, 1 + k), shape_of((1, n, units))) for k in range(states)]
            return s.op("concat", (C.c_uint64 * (1 + states))(y.value, *[r.value for r in rows]), 1 + states, 0)

        def theirs(t):
            w = list(t[1 + states:3 + states])
            w += list(t[3 + states:5 + states]) if biased else [torch.zeros(gates * units, dtype=torch.float64)] * 2
            y, last = [[torch.zeros(units, dtype=torch.float64)] * n for _ in range(steps)], []
            for k in range(n):
                state = [t[1 + j][k] for j in range(states)]
                order = range(lengths[k])
                for step in reversed(order) if reverse else order:
                    x = t[0][step, k]
                    state = list(lstm_step(x, *state, *w, t[-1])) if states > 1 else [gru_step(x, state[0], *w, reset)]
                    y[step][k] = state[0]
                last.append(state)
            rows = [torch.stack(row) for row in y] + [torch.stack([state[j] for state in last]) for j in range(states)]
            return torch.stack(rows)
        compare(library, result, "%s reset %d %s units %d reverse %d biases %d lengths %s" %
                (kind, reset, arrays[0].shape, units, reverse, biased, lengths), arrays, ours, theirs)


families = [recurrent_layers, recurrent_forms]
