"""Attention and CTC beside PyTorch's, in f64: values and gradients, for torch_oracle.py, of which this is a part."""
import ctypes as C
import random

from torch_oracle import F, Init, Session, compare, dims, normal, np, sized, torch


class Attention(C.Structure):
    _fields_ = [("size", C.c_size_t), ("scale", C.c_double), ("causal", C.c_bool), ("mask", C.c_uint64)]


class Ctc(C.Structure):
    _fields_ = [("size", C.c_size_t), ("blank", C.c_int64), ("zero_infinity", C.c_bool), ("reduce", C.c_int)]


def composed(t, scale, causal, mask):
    """softmax(scale q k' + mask) v; rows that see nothing are 0, as decided."""
    s = t[0] @ t[1].transpose(-1, -2) * scale
    if mask is not None:
        s = s.masked_fill(mask == 0, -np.inf) if mask.dtype == torch.uint8 else s + mask
    if causal:
        s = s.masked_fill(~torch.ones(s.shape[-2:], dtype=torch.bool).tril(), -np.inf)
    blind = torch.isinf(s).all(-1, keepdim=True)
    return torch.softmax(s.masked_fill(blind, 0), -1).masked_fill(blind, 0) @ t[2]


def attention(library, result):
    n, h = dims(2, 1, 3)
    t, s, d, e = dims(4, 1, 6)
    arrays = [normal(n, h, t, d), normal(n, h, s, d), normal(n, h, s, e)]
    kind, causal, scale = random.choice(["", "added", "u8"]), random.random() < 0.4, random.choice([0, 0.3, 2.0])
    shape = tuple(x if random.random() < 0.6 else 1 for x in (n, h, t, s))[random.randint(0, 2):]
    if kind == "added":
        arrays.append(normal(*shape))
    elif kind:
        arrays.append(np.random.randint(0, 3, shape).astype("uint8"))

    def ours(session, i):
        options = sized(Attention, scale=scale, causal=causal, mask=i[3].value if kind else 0)
        return session.op("attention", *i[:3], C.byref(options))
    compare(library, result, "attention %s keys %d %s %s causal %d" % (arrays[0].shape, s, kind, shape, causal), arrays, ours,
            lambda x: composed(x, scale or d ** -0.5, causal, x[3] if kind else None),
            differentiable=[0, 1, 2] + ([3] if kind == "added" else []))


def ctc(library, result):
    steps, n, c = random.randint(1, 12), random.randint(1, 4), random.randint(2, 5)
    labels = random.randint(1, 4)
    blank = random.randrange(c)
    others = [k for k in range(c) if k != blank]
    targets = np.random.choice(others, (n, labels)).astype("int64")
    lengths, used = np.random.randint(0, labels + 1, n), np.random.randint(1, steps + 1, n)
    joined = random.random() < 0.3
    given = np.concatenate([targets[i, :lengths[i]] for i in range(n)]) if joined else targets
    if given.size == 0:
        return
    for reduce, name in enumerate(("mean", "sum", "none")):
        def ours(s, i, reduce=reduce):
            options = sized(Ctc, blank=blank, zero_infinity=True, reduce=reduce)
            return s.op("ctc_loss", s.op("log_softmax", i[0], 2), *i[1:], C.byref(options))
        compare(library, result, "ctc %s T %d %s lengths %s of %s blank %d joined %d" %
                (name, steps, targets.tolist(), lengths, used, blank, joined),
                [normal(steps, n, c) * 2, given, used, lengths], ours,
                lambda t, name=name: F.ctc_loss(F.log_softmax(t[0], 2), t[1], t[2], t[3], blank, name, True),
                differentiable=[0])


def infeasible(library, result):
    """Without zero_infinity PyTorch's loss is infinite, too."""
    options = sized(Ctc, reduce=2)
    compare(library, result, "ctc infeasible", [normal(3, 2, 3), np.array([[1, 1, 2], [1, 2, 2]]), np.array([3, 3]), np.array([3, 1])],
            lambda s, i: s.op("ctc_loss", s.op("log_softmax", i[0], 2), *i[1:], C.byref(options)),
            lambda t: F.ctc_loss(F.log_softmax(t[0], 2), t[1], t[2], t[3], 0, "none"), differentiable=[])


class AttentionLayer(C.Structure):
    _fields_ = [("size", C.c_size_t), ("heads", C.c_int64), ("keys", C.c_uint64), ("values", C.c_uint64),
                ("batch_first", C.c_bool), ("causal", C.c_bool), ("mask", C.c_uint64), ("no_bias", C.c_bool), ("init", Init),
                ("out_init", Init), ("bias_init", Init), ("frozen", C.c_bool)]


def layer(library, result):
    """nn.MultiheadAttention of the same weights, which the library finds by their names."""
    heads, n, t, s = dims(4, 1, 4)
    embed, first, biased = heads * random.randint(1, 3), random.random() < 0.5, random.random() < 0.7
    cross, apart = random.random() < 0.5, random.random() < 0.4
    keys, values = (embed + 1, embed + 2) if cross and apart else (embed, embed)
    module = torch.nn.MultiheadAttention(embed, heads, bias=biased, kdim=keys, vdim=values, batch_first=first, dtype=torch.float64)
    parameters = {name: p for name, p in module.named_parameters()}
    for p in parameters.values():
        torch.nn.init.normal_(p)

    def sequence(length, features):
        return normal(*((n, length, features) if first else (length, n, features)))
    arrays = [sequence(t, embed)] + ([sequence(s, keys), sequence(s, values)] if cross else [])
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    theirs = module(*(tensors if cross else tensors * 3))[0]
    weight = normal(*theirs.shape)
    (theirs * torch.tensor(weight)).sum().backward()
    what = "attention layer %s heads %d keys %s batch_first %d biased %d" % (arrays[0].shape, heads, cross and (s, keys), first, biased)
    with Session(library) as session:
        try:
            ids = [session.variable(a) for a in arrays]
            options = sized(AttentionLayer, heads=heads, batch_first=first, no_bias=not biased)
            if cross:
                options.keys, options.values = ids[1].value, ids[2].value
            y = session.op("build_attention", C.c_char_p(b"a"), ids[0], C.byref(options))
            for name, p in parameters.items():
                whole = b"a." + name.encode()
                session.values.append((whole, p.detach().numpy()))
                ids.append(session.op("find", C.c_char_p(whole)))
            loss = session.op("sum", session.op("mul", y, session.variable(weight)), None, 0, False)
            ours = session.run([y] + session.gradients(loss, ids))
        except RuntimeError as error:
            result.fail(what, str(error))
            return
    result.same(what, ours[0], theirs.detach().numpy())
    for tensor, value, k in zip(tensors + list(parameters.values()), ours[1:], range(99)):
        result.same("%s: gradient %d" % (what, k), value, tensor.grad.numpy())


families = [attention, layer, ctc, infeasible]
