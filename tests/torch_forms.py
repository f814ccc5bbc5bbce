#!/usr/bin/env python3
"""The second oracle for what torch_oracle.py has no room for: norms of rows, local response normalisation, convolution and
pooling in one and three dimensions, transposed, adaptive, global and by powers, unpooling, einsum and its relatives. Values
and every gradient in f64, through the public C interface.

    tests/torch_forms.py [--library build/lib/libplumb.so] [--cases 10] [--seed 1]

The last line is "N passed, N failed, N skipped"; without PyTorch everything is skipped."""
import argparse
import ctypes as C
import random
import sys

from torch_oracle import Comparison, F, Library, Pool, Session, compare, dims, normal, np, sized, torch

NONE = C.c_uint64(0)


class Conv1d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64), ("padding", C.c_int64 * 2), ("dilation", C.c_int64),
                ("groups", C.c_int64), ("flip", C.c_bool)]


class Conv3d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64 * 3), ("padding", C.c_int64 * 6), ("dilation", C.c_int64 * 3),
                ("groups", C.c_int64)]


class Transpose1d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64), ("padding", C.c_int64 * 2), ("dilation", C.c_int64),
                ("groups", C.c_int64), ("output_padding", C.c_int64), ("output_size", C.c_int64)]


class Transpose2d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64 * 2), ("padding", C.c_int64 * 4), ("dilation", C.c_int64 * 2),
                ("groups", C.c_int64), ("output_padding", C.c_int64 * 2), ("output_size", C.c_int64 * 2)]


class Transpose3d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("stride", C.c_int64 * 3), ("padding", C.c_int64 * 6), ("dilation", C.c_int64 * 3),
                ("groups", C.c_int64), ("output_padding", C.c_int64 * 3), ("output_size", C.c_int64 * 3)]


class Pool1d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("window", C.c_int64), ("stride", C.c_int64), ("padding", C.c_int64 * 2),
                ("dilation", C.c_int64), ("ceil_mode", C.c_bool), ("exclude_padding", C.c_bool)]


class Pool3d(C.Structure):
    _fields_ = [("size", C.c_size_t), ("window", C.c_int64 * 3), ("stride", C.c_int64 * 3), ("padding", C.c_int64 * 6),
                ("dilation", C.c_int64 * 3), ("ceil_mode", C.c_bool), ("exclude_padding", C.c_bool)]


class Lrn(C.Structure):
    _fields_ = [("size", C.c_size_t), ("channels", C.c_int64), ("alpha", C.c_double), ("beta", C.c_double),
                ("bias", C.c_double), ("longer_after", C.c_bool)]


def parameters(shape):
    """None, a scale, or a scale and a shift."""
    return [normal(*shape) for _ in range(random.randint(0, 2))]


def given(ids):
    """Scale and shift among a builder's arguments."""
    rest = ids[1:]
    return (rest[0] if rest else NONE, rest[1] if len(rest) > 1 else NONE)


def row_norms(library, result):
    shape = dims(random.randint(1, 4), 1, 7)
    axis = random.randrange(len(shape))
    x = normal(*shape) * 2 + random.choice([0, 10])
    eps = random.choice([1e-5, 0.1])
    arrays = [x] + parameters(shape[axis:])
    what = "%s from %d, %d parameters" % (shape, axis, len(arrays) - 1)
    compare(library, result, "layer_norm " + what, arrays,
            lambda s, i: s.op("layer_norm", i[0], *given(i), random.choice([axis, axis - len(shape)]), C.c_double(eps)),
            lambda t: F.layer_norm(t[0], shape[axis:], *t[1:], eps=eps))
    arrays = arrays[:2]
    over = tuple(range(axis, len(shape)))

    def rms(t):
        y = t[0] / torch.sqrt(torch.mean(t[0] * t[0], over, True) + eps)
        return y * t[1] if len(t) > 1 else y

    compare(library, result, "rms_norm " + what, arrays,
            lambda s, i: s.op("rms_norm", i[0], given(i)[0], axis, C.c_double(eps)), rms)
    groups, each = random.randint(1, 3), random.randint(1, 3)
    shape = (random.randint(1, 3), groups * each) + dims(random.randint(0, 3), 1, 4)
    x = normal(*shape)
    if np.prod(shape[2:]) * each > 1:  # PyTorch refuses rows of one value
        arrays = [x] + parameters((groups * each,))
        compare(library, result, "group_norm %s, %d groups, %d parameters" % (shape, groups, len(arrays) - 1), arrays,
                lambda s, i: s.op("group_norm", i[0], *given(i), C.c_int64(groups), C.c_double(eps)),
                lambda t: F.group_norm(t[0], groups, *t[1:], eps=eps))
    if np.prod(shape[2:]) > 1:
        arrays = [x] + parameters((groups * each,))
        compare(library, result, "instance_norm %s" % (shape,), arrays,
                lambda s, i: s.op("instance_norm", i[0], *given(i), C.c_double(eps)),
                lambda t: F.instance_norm(t[0], None, None, *t[1:], eps=eps))


def lrn(library, result):
    shape = (random.randint(1, 3),) + dims(random.randint(2, 4), 1, 6)
    size, alpha, beta, bias = random.randint(1, 6), random.choice([1e-4, 0.5]), random.choice([0.75, 1.2]), random.choice([1.0, 2.0])
    options = sized(Lrn, channels=size, alpha=alpha, beta=beta, bias=bias)
    compare(library, result, "lrn %s over %d" % (shape, size), [normal(*shape)],
            lambda s, i: s.op("lrn", i[0], C.byref(options)),
            lambda t: F.local_response_norm(t[0], size, alpha, beta, bias))


def convolution(rank):
    """Channels, groups, a filter's sides, strides, paddings, dilations."""
    groups = random.choice([1, 1, 2, 3])
    each = lambda low, high: [random.randint(low, high) for _ in range(rank)]
    return groups, groups * random.randint(1, 2), groups * random.randint(1, 2), each(1, 3), each(1, 3), each(0, 2), each(1, 2)


def one(values):
    return values[0]


def convolutions(library, result):
    for rank, kind, function in ((1, Conv1d, F.conv1d), (3, Conv3d, F.conv3d)):
        groups, c, o, k, stride, pad, dilation = convolution(rank)
        size = [max(1, dilation[i] * (k[i] - 1) + 1 - 2 * pad[i]) + random.randint(0, 3) for i in range(rank)]
        arrays = [normal(random.randint(1, 2), c, *size), normal(o, c // groups, *k)] + ([normal(o)] if random.random() < 0.5 else [])
        simple = one if rank == 1 else tuple
        options = sized(kind, stride=simple(stride), padding=tuple(pad + pad), dilation=simple(dilation), groups=groups)
        compare(library, result, "conv%dd %s k %s s %s p %s d %s g %d" % (rank, size, k, stride, pad, dilation, groups), arrays,
                lambda s, i: s.op("conv%dd" % rank, i[0], i[1], i[2] if len(i) > 2 else NONE, C.byref(options)),
                lambda t: function(t[0], t[1], t[2] if len(t) > 2 else None, stride, pad, dilation, groups))


def transposed(library, result):
    for rank, kind, function in ((1, Transpose1d, F.conv_transpose1d), (2, Transpose2d, F.conv_transpose2d),
                                 (3, Transpose3d, F.conv_transpose3d)):
        groups, c, o, k, stride, pad, dilation = convolution(rank)
        more = [random.randint(0, s - 1) for s in stride]
        pad = [min(p, dilation[i] * (k[i] - 1)) for i, p in enumerate(pad)]
        size = [random.randint(1, 4) for _ in range(rank)]
        least = [(size[i] - 1) * stride[i] + dilation[i] * (k[i] - 1) + 1 - 2 * pad[i] for i in range(rank)]
        if min(least) < 1:
            continue
        arrays = [normal(random.randint(1, 2), c, *size), normal(c, o // groups, *k)] + ([normal(o)] if random.random() < 0.5 else [])
        simple = one if rank == 1 else tuple
        fields = dict(stride=simple(stride), padding=tuple(pad + pad), dilation=simple(dilation), groups=groups)
        if random.random() < 0.5:
            fields["output_padding"] = simple(more)
        else:
            fields["output_size"] = simple([least[i] + more[i] for i in range(rank)])
        options = sized(kind, **fields)
        compare(library, result, "conv_transpose%dd %s k %s s %s p %s d %s g %d + %s" % (rank, size, k, stride, pad, dilation,
                                                                                       groups, more), arrays,
                lambda s, i: s.op("conv_transpose%dd" % rank, i[0], i[1], i[2] if len(i) > 2 else NONE, C.byref(options)),
                lambda t: function(t[0], t[1], t[2] if len(t) > 2 else None, stride, pad, more, groups, dilation))


def index_of(library, result, what, x, ours, theirs):
    """The i64 index that a builder writes to its last argument."""
    with Session(library) as s:
        at = C.c_uint64(0)
        ours(s, s.variable(x), C.byref(at))
        result.same(what + ": index", s.run([at])[0], theirs(torch.tensor(x)).numpy())


def pooling(library, result):
    for rank, kind, largest, average in ((1, Pool1d, F.max_pool1d, F.avg_pool1d), (3, Pool3d, F.max_pool3d, F.avg_pool3d)):
        window, stride = [random.randint(1, 3) for _ in range(rank)], [random.randint(1, 3) for _ in range(rank)]
        pad, ceil = [random.randint(0, w // 2) for w in window], random.random() < 0.5
        x = normal(random.randint(1, 2), random.randint(1, 3), *[w + random.randint(0, 4) for w in window])
        simple = one if rank == 1 else tuple
        fields = dict(window=simple(window), stride=simple(stride), padding=tuple(pad + pad), ceil_mode=ceil)
        what = "pool%dd %s window %s stride %s pad %s ceil %d" % (rank, x.shape, window, stride, pad, ceil)
        options = sized(kind, **fields)
        compare(library, result, "max " + what, [x], lambda s, i: s.op("max_pool%dd" % rank, i[0], C.byref(options), None),
                lambda t: largest(t[0], window, stride, pad, 1, ceil))
        index_of(library, result, "max " + what, x, lambda s, i, at: s.op("max_pool%dd" % rank, i, C.byref(options), at),
                 lambda t: largest(t, window, stride, pad, 1, ceil, True)[1])
        for inside in (False, True):
            excluding = sized(kind, exclude_padding=inside, **fields)
            compare(library, result, "average %d %s" % (inside, what), [x],
                    lambda s, i: s.op("average_pool%dd" % rank, i[0], C.byref(excluding)),
                    lambda t: average(t[0], window, stride, pad, ceil, not inside))


def adaptive(library, result):
    shape = dims(4, 1, 7)
    h, w = random.randint(1, 6), random.randint(1, 6)
    x = normal(*shape)
    sizes = (C.c_int64(h), C.c_int64(w))
    what = "%s to %d x %d" % (shape, h, w)
    compare(library, result, "adaptive average " + what, [x], lambda s, i: s.op("adaptive_average_pool2d", i[0], *sizes),
            lambda t: F.adaptive_avg_pool2d(t[0], (h, w)))
    compare(library, result, "adaptive max " + what, [x], lambda s, i: s.op("adaptive_max_pool2d", i[0], *sizes),
            lambda t: F.adaptive_max_pool2d(t[0], (h, w)))
    x = normal(*shape[:3])
    compare(library, result, "adaptive average 1d " + what, [x],
            lambda s, i: s.op("adaptive_average_pool1d", i[0], C.c_int64(h)), lambda t: F.adaptive_avg_pool1d(t[0], h))
    compare(library, result, "adaptive max 1d " + what, [x],
            lambda s, i: s.op("adaptive_max_pool1d", i[0], C.c_int64(h), None), lambda t: F.adaptive_max_pool1d(t[0], h))
    index_of(library, result, "adaptive max 1d " + what, x,
             lambda s, i, at: s.op("adaptive_max_pool1d", i, C.c_int64(h), at),
             lambda t: F.adaptive_max_pool1d(t, h, return_indices=True)[1])


def powers(library, result):
    shape, p = dims(4, 2, 6), random.choice([1.0, 2.0, 3.0])
    x = normal(*shape)
    window, stride = [random.randint(1, 2), random.randint(1, 2)], [random.randint(1, 3), random.randint(1, 3)]
    options = sized(Pool, window=window, stride=stride)
    by_hand = lambda t: torch.pow(F.avg_pool2d(torch.pow(torch.abs(t[0]), p), window, stride) * window[0] * window[1], 1 / p)
    compare(library, result, "lp_pool2d %s p %g window %s stride %s" % (shape, p, window, stride), [x],
            lambda s, i: s.op("lp_pool2d", i[0], C.c_double(p), C.byref(options)), by_hand)
    pad = (0, 1) if window[1] == 2 else (0, 0)
    ceil = sized(Pool, window=window, stride=stride, padding=pad + pad, ceil_mode=True)
    compare(library, result, "lp_pool2d %s p %g window %s stride %s pad %s, ceil" % (shape, p, window, stride, pad), [x],
            lambda s, i: s.op("lp_pool2d", i[0], C.c_double(p), C.byref(ceil)), lambda t: window_norms(t[0], p, window, stride, pad))
    compare(library, result, "global_lp_pool2d %s p %g" % (shape, p), [x],
            lambda s, i: s.op("global_lp_pool2d", i[0], C.c_double(p)),
            lambda t: torch.linalg.vector_norm(t[0], p, (2, 3), True))
    compare(library, result, "global_max_pool2d %s" % (shape,), [x], lambda s, i: s.op("global_max_pool2d", i[0]),
            lambda t: torch.amax(t[0], (2, 3), True))


def window_norms(x, p, window, stride, pad):
    """Norms of windows, the last of which may reach beyond the padded picture, but begins in it or in the padding before."""
    rows = []
    starts = [[a for a in range(-pad[d], x.shape[d + 2] + pad[d], stride[d])] for d in (0, 1)]
    for d in (0, 1):  # no more than it takes to reach the end
        reach = [a for a in starts[d] if a < x.shape[d + 2]]
        while len(reach) > 1 and reach[-2] + window[d] >= x.shape[d + 2] + pad[d]:
            reach.pop()
        starts[d] = reach
    for a in starts[0]:
        for b in starts[1]:
            part = x[:, :, max(a, 0):a + window[0], max(b, 0):b + window[1]]
            rows.append(torch.linalg.vector_norm(part, p, (2, 3)))
    return torch.stack(rows, -1).reshape(*x.shape[:2], len(starts[0]), len(starts[1]))


class GridSample(C.Structure):
    _fields_ = [("size", C.c_size_t), ("nearest", C.c_bool), ("outside", C.c_int), ("align_corners", C.c_bool)]


def sampling(library, result):
    n, c, h, w = dims(4, 1, 5)
    x, grid = normal(n, c, h, w), normal(n, *dims(2, 1, 4), 2) * 0.9
    for nearest in (False, True):
        for outside, name in enumerate(("zeros", "border", "reflection")):
            for corners in (False, True):
                options = sized(GridSample, nearest=nearest, outside=outside, align_corners=corners)
                mode = "nearest" if nearest else "bilinear"
                compare(library, result, "grid_sample %s at %s %s %s corners %d" % (x.shape, grid.shape, mode, name, corners),
                        [x, grid], lambda s, i: s.op("grid_sample", i[0], i[1], C.byref(options)),
                        lambda t: F.grid_sample(t[0], t[1], mode, name, corners), differentiable=[0] if nearest else [0, 1])
    size = (random.randint(1, 4), random.randint(1, 4))
    for corners in (False, True):
        compare(library, result, "affine_grid %s corners %d" % (size, corners), [normal(n, 2, 3)],
                lambda s, i: s.op("affine_grid", i[0], C.c_int64(size[0]), C.c_int64(size[1]), corners),
                lambda t: F.affine_grid(t[0], (n, 1) + size, corners))


def unpooling(library, result):
    window, stride = random.choice([((2, 2), (2, 2)), ((3, 2), (3, 2)), ((3, 3), (3, 3)), ((2, 2), (3, 3))])
    x = normal(random.randint(1, 2), random.randint(1, 3), *[random.randint(4, 9) for _ in range(2)])
    y, at = F.max_pool2d(torch.tensor(x), window, stride, return_indices=True)
    size = x.shape[2:]
    options = sized(Pool, window=window, stride=stride)
    compare(library, result, "max_unpool2d %s of %s" % (x.shape, window), [y.numpy(), at.numpy()],
            lambda s, i: s.op("max_unpool2d", i[0], i[1], C.byref(options), (C.c_int64 * 2)(*size)),
            lambda t: F.max_unpool2d(t[0], at, window, stride, output_size=size), [0])


EQUATIONS = [  # and the sizes of their operands; a..k in order
    ("ij,jk->ik", "34 45"), ("ij,kj->ik", "34 54"), ("ji,jk->ik", "43 45"), ("ji,kj->ki", "43 54"), ("bij,bjk->bik", "234 245"),
    ("bij,bkj->bik", "234 254"), ("bij,jk->bik", "234 45"), ("bhqd,bhkd->bhqk", "2345 2365"), ("bhqk,bhkd->bhqd", "2346 2365"),
    ("bqhd,bkhd->bhqk", "2435 2635"), ("i,i->", "5 5"), ("i,j->ij", "3 4"), ("i,i->i", "4 4"), ("ij,ij->ij", "34 34"),
    ("ij,ij->", "34 34"), ("ij->ji", "34"), ("ij->", "34"), ("ij->i", "34"), ("ij->j", "34"), ("ii->i", "44"), ("ii->", "44"),
    ("ii", "44"), ("iij->ij", "334"), ("iji->j", "343"), ("iijj->ij", "3344"), ("iii->i", "333"), ("iii->", "333"),
    ("bii->bi", "244"), ("...ij,...jk->...ik", "234 245"), ("...ij,jk->...ik", "2334 45"), ("i...,i...->...", "34 34"),
    ("...ii->...i", "2344"), ("...ij->...ji", "2345"), ("...,...->...", "34 4"), ("ijk,ilm,njm,nlk,abc->", "232 242 532 542 121"),
    ("ij,jk,kl->il", "34 45 56"), ("ij,jk,kl,lm->im", "23 34 45 52"), ("ij,jk", "34 45"), ("ba,cb", "34 53"), ("ab,b->a", "34 4"),
    ("a,ab,b->", "3 34 4"), ("ijk,jil->kl", "345 436"), ("ijkl,klmn->ijmn", "2345 4523"), ("abc,cd->abd", "234 45"),
    ("abcd,abde->abce", "2345 2356"), ("nc,ndc->nd", "34 354"), ("i,ij,j->", "3 34 4"), ("ij,kl->ijkl", "23 45"),
    ("ij,ik->ijk", "34 35"), ("ij,ik->jk", "34 35"), ("ij,k->", "34 5"), ("ij,jk->", "34 45"), ("ijj,jk->ik", "344 45"),
    ("ij,ij,ij->i", "34 34 34"), ("aij,ajk->aik", "134 245"), ("ij,jk->ik", "31 45"), ("ijk->kij", "234"), (" ij , jk -> ik ", "34 45"),
    ("->", ""), (",->", " "), (",i->i", " 3"), ("ij,jk->ik", "04 45"), ("ij,jk->ik", "30 05"), ("bij,bkj->bik", "034 054"),
]


def einsum(library, result):
    for equation, sizes in EQUATIONS:
        arrays = [np.asarray(normal(*[int(d) for d in size])) for size in sizes.split(" ")]
        stretched = equation == "aij,ajk->aik" or "31" in sizes  # which PyTorch 1.13 knows; its gradient is the sum
        compare(library, result, "einsum %s of %s%s" % (equation, sizes, ", stretched" if stretched else ""), arrays,
                lambda s, i: s.op("einsum", equation.encode(), (C.c_uint64 * len(i))(*[t.value for t in i]), len(i)),
                lambda t: torch.einsum(equation, *t))
    refused = ["ij,jk->iz", "ij,jk->ii", "ij->ij", "ij,jk,kl->il", "ij,j k->i.k", "ij,jk->i..k", "ijk,jk->i", "i1,jk->ik", "ij,ik->jk"]
    for equation in refused:
        with Session(library) as s:
            i = [s.variable(normal(3, 4)), s.variable(normal(4, 5))]
            try:
                s.op("einsum", equation.encode(), (C.c_uint64 * 2)(*[t.value for t in i]), 2)
                result.fail("einsum %s" % equation, "is taken")
            except RuntimeError as error:
                if "einsum" in str(error):
                    result.passed += 1
                else:
                    result.fail("einsum %s" % equation, str(error))


def products(library, result):
    m, k, n = dims(3, 1, 5)
    batch = dims(random.randint(0, 2), 1, 3)
    for a, b in (((k,), (k,)), ((k,), batch + (k, n)), (batch + (m, k), (k,))):
        compare(library, result, "matmul %s %s" % (a, b), [normal(*a), normal(*b)],
                lambda s, i: s.op("matmul", i[0], i[1], False, False), lambda t: torch.matmul(t[0], t[1]))
    compare(library, result, "dot %d" % k, [normal(k), normal(k)], lambda s, i: s.op("dot", i[0], i[1]),
            lambda t: torch.dot(t[0], t[1]))
    compare(library, result, "outer %d %d" % (m, n), [normal(m), normal(n)], lambda s, i: s.op("outer", i[0], i[1]),
            lambda t: torch.outer(t[0], t[1]))
    c = random.choice([(m, n), (n,), (m, 1), ()])
    compare(library, result, "gemm %s" % (c,), [normal(m, k), normal(k, n), np.asarray(normal(*c))],
            lambda s, i: s.op("gemm", i[0], i[1], i[2], C.c_double(0.5), C.c_double(-2), False, False),
            lambda t: 0.5 * (t[0] @ t[1]) - 2 * t[2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default="build/lib/libplumb.so")
    parser.add_argument("--cases", type=int, default=10, help="rounds of each family")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.set_num_threads(1)
    library, result = Library(options.library), Comparison()
    families = [row_norms, lrn, convolutions, transposed, pooling, adaptive, powers, sampling, unpooling, products]
    for family in families:
        before = result.passed
        for _ in range(options.cases):
            family(library, result)
        print("%-14s %5d compared equal" % (family.__name__, result.passed - before))
    before = result.passed
    einsum(library, result)
    print("%-14s %5d compared equal" % ("einsum", result.passed - before))
    print("PyTorch %s, seed %d" % (torch.__version__, options.seed))
    print("%d passed, %d failed, 0 skipped" % (result.passed, result.failed))
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
