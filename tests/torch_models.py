#!/usr/bin/env python3
"""The model zoo beside the same architectures as PyTorch modules: logits, loss and every gradient in f64, from the same
weights, in training and outside it. The modules are named as torchvision's, and weights travel by name: a name or a shape
that differs is an error. The networks are the library's own, by name, made narrow by its width.

    tests/torch_models.py [--library build/lib/libplumb.so] [--seed 1] [--filter NAME]

The last line is "N passed, N failed, N skipped"; without PyTorch everything is skipped."""
import argparse
import ctypes as C
import os
import sys
import tempfile

from torch_networks import F64, Judge, Model, Network, our_all, read_weights, write_weights
from torch_oracle import F, Init, Library, np, shape_of, sized, torch
from torch import nn

CLASSES = 7


class ModelOptions(C.Structure):
    _fields_ = [("size", C.c_size_t), ("input_shape", type(shape_of(()))), ("classes", C.c_int), ("units", C.c_void_p),
                ("n_units", C.c_int), ("activation", C.c_int), ("init", Init), ("drop", C.c_double),
                ("no_scaling", C.c_bool), ("width", C.c_double), ("dtype", C.c_int), ("no_local_norm", C.c_bool),
                ("convolutional", C.c_bool)]


class Width:
    """The rule of MobileNet-v2: multiples of 8, at least 90 %."""

    def __init__(self, times):
        self.times = times

    def __call__(self, channels):
        exact = channels * self.times
        most = max(8, int(exact + 4) // 8 * 8)
        return most + 8 if most < 0.9 * exact else most


# ---- AlexNet and VGG ----

class Alexnet(nn.Module):
    def __init__(self, w, filters=(64, 192, 384, 256, 256), groups=(1, 1, 1, 1, 1), around=2, local_norm=False):
        super().__init__()
        self.local_norm, rows, before = local_norm, [], 3
        for i, (n, group) in enumerate(zip(filters, groups)):
            kernel, stride, padding = ((11, 4, around), (5, 1, 2), (3, 1, 1))[min(i, 2)]
            rows += [nn.Conv2d(before, w(n), kernel, stride, padding, groups=group), nn.ReLU()]
            rows += [nn.MaxPool2d(3, 2)] if i in (0, 1, 4) else []
            before = w(n)
        self.features, wide = nn.Sequential(*rows), w(4096)
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(before * 36, wide), nn.ReLU(), nn.Identity(),
                                        nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, CLASSES))

    def forward(self, x):
        for i, part in enumerate(self.features):
            x = part(x)
            if self.local_norm and i in (1, 4):
                x = F.local_response_norm(x, 5, 5e-4, 0.75, 2)
        return self.classifier(F.adaptive_avg_pool2d(x, 6).flatten(1))


class Vgg(nn.Module):
    def __init__(self, w, layers, norm):
        super().__init__()
        rows, before = [], 3
        for count, n in zip(layers, (64, 128, 256, 512, 512)):
            for _ in range(count):
                rows += [nn.Conv2d(before, w(n), 3, 1, 1)] + ([nn.BatchNorm2d(w(n))] if norm else []) + [nn.ReLU()]
                before = w(n)
            rows.append(nn.MaxPool2d(2))
        self.features, wide = nn.Sequential(*rows), w(4096)
        self.classifier = nn.Sequential(nn.Linear(before * 49, wide), nn.ReLU(), nn.Identity(), nn.Linear(wide, wide), nn.ReLU(),
                                        nn.Identity(), nn.Linear(wide, CLASSES))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


# ---- residual networks ----

class Block(nn.Module):
    def __init__(self, before, n, stride, bottleneck, thin):
        super().__init__()
        rows = [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)] if bottleneck else [(n, 3, stride), (n, 3, 1)]
        self.count, self.thin, after, channels = len(rows), thin, rows[-1][0], before
        for i, (filters, kernel, step) in enumerate(rows, 1):
            setattr(self, "conv%d" % i, nn.Conv2d(channels, filters, kernel, step, kernel // 2, bias=False))
            setattr(self, "bn%d" % i, nn.BatchNorm2d(filters))
            channels = filters
        self.changes = stride != 1 or before != after
        if self.changes and not thin:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, "bn%d" % i)(getattr(self, "conv%d" % i)(F.relu(y) if i > 1 else y))
        if self.changes and self.thin:
            more = y.shape[1] - x.shape[1]
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more // 2, more - more // 2))
        elif self.changes:
            x = self.downsample(x)
        return F.relu(x + y)


class Resnet(nn.Module):
    def __init__(self, w, first, blocks, large=False, bottleneck=False, thin=False):
        super().__init__()
        n = before = w(first)
        self.large, self.stages = large, len(blocks)
        self.conv1 = nn.Conv2d(3, n, 7, 2, 3, bias=False) if large else nn.Conv2d(3, n, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n)
        for stage, count in enumerate(blocks):
            rows = []
            for i in range(count):
                rows.append(Block(before, n << stage, 2 if stage and not i else 1, bottleneck, thin))
                before = (n << stage) * (4 if bottleneck else 1)
            setattr(self, "layer%d" % (stage + 1), nn.Sequential(*rows))
        self.fc = nn.Linear(before, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1) if self.large else x
        for stage in range(self.stages):
            x = getattr(self, "layer%d" % (stage + 1))(x)
        return self.fc(x.mean((2, 3)))


# ---- GoogLeNet and Inception-v3 ----

class Unit(nn.Module):
    def __init__(self, before, after, kernel, stride=1, valid=False, plain=False):
        super().__init__()
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (0, 0) if valid else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=plain)
        self.bn = nn.Identity() if plain else nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class GoogleModule(nn.Module):
    def __init__(self, before, n, large, plain):
        super().__init__()
        self.branch1 = Unit(before, n[0], 1, plain=plain)
        self.branch2 = nn.Sequential(Unit(before, n[1], 1, plain=plain), Unit(n[1], n[2], 3, plain=plain))
        self.branch3 = nn.Sequential(Unit(before, n[3], 1, plain=plain), Unit(n[3], n[4], large, plain=plain))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Unit(before, n[5], 1, plain=plain))
        self.after = n[0] + n[2] + n[4] + n[5]

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogleHead(nn.Module):
    def __init__(self, w, before, plain):
        super().__init__()
        self.conv = Unit(before, w(128), 1, plain=plain)
        self.fc1, self.fc2 = nn.Linear(w(128) * 16, w(1024)), nn.Linear(w(1024), CLASSES)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1))))


class Googlenet(nn.Module):
    ROWS = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
            "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
            "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}
    WEIGHT = 0.3

    def __init__(self, w, plain=False, large=3):
        super().__init__()
        self.plain, before = plain, w(192)
        self.conv1, self.conv2 = Unit(3, w(64), 7, 2, plain=plain), Unit(w(64), w(64), 1, plain=plain)
        self.conv3 = Unit(w(64), before, 3, plain=plain)
        for name, n in self.ROWS.items():
            module = GoogleModule(before, [w(i) for i in n], large, plain)
            setattr(self, "inception" + name, module)
            before = module.after
            if name in ("4a", "4d"):
                setattr(self, "aux1" if name == "4a" else "aux2", GoogleHead(w, before, plain))
        self.fc = nn.Linear(before, CLASSES)

    def forward(self, x):
        def norm(y):
            return F.local_response_norm(y, 5, 5e-4, 0.75, 1) if self.plain else y
        x = norm(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
        x = F.max_pool2d(norm(self.conv3(self.conv2(x))), 3, 2, ceil_mode=True)
        heads = []
        for name in self.ROWS:
            x = getattr(self, "inception" + name)(x)
            heads += [self.aux1(x)] if name == "4a" else [self.aux2(x)] if name == "4d" else []
            x = F.max_pool2d(x, 3 if name == "3b" else 2, 2, ceil_mode=True) if name in ("3b", "4e") else x
        return [self.fc(x.mean((2, 3)))] + heads


class Branches(nn.Module):
    """Modules of Inception-v3: branches of (name, filters, kernel[, stride]); a last tuple of two units forks."""

    def __init__(self, w, before, branches, pool, behind_pool=0):
        super().__init__()
        self.branches, self.pool, self.after = [], pool, 0
        for rows in branches:
            channels, names = before, []
            for row in rows:
                fork = row if isinstance(row[0], tuple) else (row,)
                for name, filters, kernel, *stride in fork:
                    setattr(self, name, Unit(channels, w(filters), kernel, stride[0] if stride else 1, bool(stride)))
                names.append([part[0] for part in fork])
                channels = sum(w(part[1]) for part in fork)
            self.branches.append(names)
            self.after += channels
        if behind_pool:
            self.branch_pool = Unit(before, w(behind_pool), 1)
        self.after += w(behind_pool) if behind_pool else before

    def forward(self, x):
        result = []
        for names in self.branches:
            y = x
            for fork in names:
                y = torch.cat([getattr(self, name)(y) for name in fork], 1)
            result.append(y)
        if self.pool == "average":
            return torch.cat(result + [self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)
        return torch.cat(result + [F.max_pool2d(x, 3, 2)], 1)


def module_a(w, before, n):
    return Branches(w, before, [[("branch1x1", 64, 1)], [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
                                [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]], "average", n)


def module_c(w, before, n):
    across, down = (1, 7), (7, 1)
    return Branches(w, before, [[("branch1x1", 192, 1)],
                                [("branch7x7_1", n, 1), ("branch7x7_2", n, across), ("branch7x7_3", 192, down)],
                                [("branch7x7dbl_1", n, 1), ("branch7x7dbl_2", n, down), ("branch7x7dbl_3", n, across),
                                 ("branch7x7dbl_4", n, down), ("branch7x7dbl_5", 192, across)]], "average", 192)


def module_e(w, before):
    def fork(name):
        return (name + "a", 384, (1, 3)), (name + "b", 384, (3, 1))
    return Branches(w, before, [[("branch1x1", 320, 1)], [("branch3x3_1", 384, 1), fork("branch3x3_2")],
                                [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), fork("branch3x3dbl_3")]],
                    "average", 192)


class InceptionHead(nn.Module):
    def __init__(self, w, before):
        super().__init__()
        self.conv0, self.conv1 = Unit(before, w(128), 1), Unit(w(128), w(768), 5, 1, True)
        self.fc = nn.Linear(w(768), CLASSES)

    def forward(self, x):
        return self.fc(self.conv1(self.conv0(F.avg_pool2d(x, 5, 3))).mean((2, 3)))


class InceptionV3(nn.Module):
    WEIGHT = 0.4

    def __init__(self, w, head=False):
        super().__init__()
        self.head, before = head, w(192)
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Unit(3, w(32), 3, 2, True), Unit(w(32), w(32), 3, 1, True)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = Unit(w(32), w(64), 3), Unit(w(64), w(80), 1)
        self.Conv2d_4a_3x3 = Unit(w(80), before, 3, 1, True)
        makers = [("5b", lambda b: module_a(w, b, 32)), ("5c", lambda b: module_a(w, b, 64)), ("5d", lambda b: module_a(w, b, 64)),
                  ("6a", lambda b: Branches(w, b, [[("branch3x3", 384, 3, 2)],
                                                   [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3),
                                                    ("branch3x3dbl_3", 96, 3, 2)]], "max")),
                  ("6b", lambda b: module_c(w, b, 128)), ("6c", lambda b: module_c(w, b, 160)),
                  ("6d", lambda b: module_c(w, b, 160)), ("6e", lambda b: module_c(w, b, 192)),
                  ("7a", lambda b: Branches(w, b, [[("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
                                                   [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)),
                                                    ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3, 2)]], "max")),
                  ("7b", lambda b: module_e(w, b)), ("7c", lambda b: module_e(w, b))]
        self.names = [name for name, _ in makers]
        for name, make in makers:
            module = make(before)
            setattr(self, "Mixed_" + name, module)
            before = module.after
            if name == "6e" and head:
                self.AuxLogits = InceptionHead(w, before)
        self.fc = nn.Linear(before, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        x, heads = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2), []
        for name in self.names:
            x = getattr(self, "Mixed_" + name)(x)
            heads += [self.AuxLogits(x)] if name == "6e" and self.head else []
        return [self.fc(x.mean((2, 3)))] + heads


# ---- MobileNet-v2 and U-Net ----

class Inverted(nn.Module):
    def __init__(self, before, after, widen, stride):
        super().__init__()
        inside = before * widen
        def unit(a, b, kernel, step, groups):
            return nn.Sequential(nn.Conv2d(a, b, kernel, step, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(b), nn.ReLU6())
        rows = ([unit(before, inside, 1, 1, 1)] if widen > 1 else []) + [unit(inside, inside, 3, stride, inside)]
        self.conv = nn.Sequential(*rows, nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after))
        self.adds = stride == 1 and before == after

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobilenetV2(nn.Module):
    def __init__(self, w):
        super().__init__()
        before = w(32)
        def unit(a, b, kernel, stride):
            return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU6())
        rows = [unit(3, before, 3, 2)]
        for widen, n, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                                        (6, 320, 1, 1)):
            for i in range(count):
                rows.append(Inverted(before, w(n), widen, 1 if i else stride))
                before = w(n)
        self.features = nn.Sequential(*rows, unit(before, 1280, 1, 1))
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Twice(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        rows = []
        for channels in (before, after):
            rows += [nn.Conv2d(channels, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.double_conv = nn.Sequential(*rows)

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), Twice(before, after))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.up, self.conv = nn.ConvTranspose2d(before, after, 2, 2), Twice(2 * after, after)

    def forward(self, x, beside):
        return self.conv(torch.cat([beside, self.up(x)], 1))


class Unet(nn.Module):
    def __init__(self, w):
        super().__init__()
        n = [w(64 << i) for i in range(5)]
        self.inc, self.outc = Twice(3, n[0]), nn.Sequential()
        self.outc.add_module("conv", nn.Conv2d(n[0], CLASSES, 1))
        for i in range(4):
            setattr(self, "down%d" % (i + 1), Down(n[i], n[i + 1]))
            setattr(self, "up%d" % (i + 1), Up(n[4 - i], n[3 - i]))

    def forward(self, x):
        seen = [self.inc(x)]
        for i in range(4):
            seen.append(getattr(self, "down%d" % (i + 1))(seen[-1]))
        x = seen.pop()
        for i in range(4):
            x = getattr(self, "up%d" % (i + 1))(x, seen.pop())
        return self.outc(x)


# Name, module at a width, picture, width.
MODELS = [
    ("alexnet", Alexnet, (3, 96, 80), 0.125),
    ("alexnet-2012", lambda w: Alexnet(w, (96, 256, 384, 384, 256), (1, 2, 1, 2, 2), 0, True), (3, 227, 227), 0.125),
    ("vgg11-bn", lambda w: Vgg(w, (1, 1, 2, 2, 2), True), (3, 64, 48), 0.125),
    ("vgg16", lambda w: Vgg(w, (2, 2, 3, 3, 3), False), (3, 64, 48), 0.125),
    ("resnet50", lambda w: Resnet(w, 64, (3, 4, 6, 3), True, True), (3, 64, 48), 0.25),
    ("resnet20-cifar-a", lambda w: Resnet(w, 16, (3, 3, 3), thin=True), (3, 18, 16), 1),
    ("googlenet-heads", Googlenet, (3, 70, 64), 0.25),
    ("googlenet-2014-heads", lambda w: Googlenet(w, True, 5), (3, 70, 64), 0.25),
    ("inception-v3", InceptionV3, (3, 79, 91), 0.25),
    ("inception-v3-heads", lambda w: InceptionV3(w, True), (3, 299, 299), 0.125),
    ("mobilenet-v2", MobilenetV2, (3, 64, 48), 0.5),
    ("unet", Unet, (3, 48, 32), 0.125),
]


class Ours(Network):
    def __init__(self, library, name, picture, width, path):
        super().__init__(library, F64)
        model = Model()
        options = sized(ModelOptions, input_shape=shape_of(picture), classes=CLASSES, no_scaling=True, width=width, dtype=F64)
        self.check(self.lib.plumb_model_build(self.context, name.encode(), C.byref(options), C.byref(model)) == 0)
        self.graph = C.c_void_p(model.graph)
        self.image, self.label, self.logits, self.loss = (
            C.c_uint64(t) for t in (model.input, model.label, model.logits, model.loss))
        self.make_state()
        if path:
            self.load(path)

    def parameters(self):
        ids = (C.c_uint64 * 1024)()
        count = self.lib.plumb_parameters(self.graph, ids, 1024)
        self.lib.plumb_name_of.restype = C.c_char_p
        return {self.lib.plumb_name_of(self.graph, C.c_uint64(i)).decode(): C.c_uint64(i) for i in ids[:count]}


def first_weights(library, name, picture, width, work):
    """The library's own initial weights; what starts alike everywhere is made random."""
    path = os.path.join(work, "before.safetensors")
    with Ours(library, name, picture, width, None) as n:
        n.save(path)
    weights = {key: array.copy() for key, array in read_weights(path).items()}
    for array in weights.values():
        if array.ndim == 1:
            array += np.random.uniform(-0.3, 0.3, array.shape)
    write_weights(path, weights)
    return path, weights


def their_all(module, image, label, training):
    module.train(training)
    module.zero_grad()
    given = module(torch.tensor(image))
    logits = given[0] if isinstance(given, list) else given
    loss = F.cross_entropy(logits, torch.tensor(label))
    for head in given[1:] if isinstance(given, list) else []:
        loss = loss + module.WEIGHT * F.cross_entropy(head, torch.tensor(label))
    loss.backward()
    result = {"logits": logits, "loss": loss}
    result.update({"gradient " + name: p.grad for name, p in module.named_parameters()})
    return {name: t.detach().numpy().copy() for name, t in result.items()}


def compare(library, judge, name, make, picture, width, work):
    path, weights = first_weights(library, name, picture, width, work)
    module = make(Width(width)).double()
    image = np.random.standard_normal((3,) + picture)
    label = np.random.randint(0, CLASSES, (3,) + (picture[1:] if name == "unet" else ()))
    for training in (False, True):
        missing, unexpected = module.load_state_dict({k: torch.tensor(v) for k, v in weights.items()}, strict=False)
        missing = [key for key in missing if not key.endswith("num_batches_tracked")]
        if missing or unexpected:
            return judge.fail(name, "PyTorch misses %s and does not know %s" % (missing[:3], unexpected[:3]))
        exact = their_all(module, image, label, training)
        with Ours(library, name, picture, width, path) as n:
            judge.all("%s %s" % (name, "training" if training else "evaluation"), our_all(n, image, label, training, 0)[0], exact)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default="build/lib/libplumb.so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--filter", default="", help="models whose name has this in it")
    options = parser.parse_args()
    np.random.seed(options.seed)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    library, judge = Library(options.library), Judge()
    with tempfile.TemporaryDirectory(prefix="plumb-torch-") as work:
        for name, make, picture, width in MODELS:
            if options.filter in name:
                compare(library, judge, name, make, picture, width, work)
    print("PyTorch %s, seed %d" % (torch.__version__, options.seed))
    print("%d passed, %d failed, 0 skipped" % (judge.passed, judge.failed))
    return 1 if judge.failed or not judge.passed else 0


if __name__ == "__main__":
    sys.exit(main())
