#!/usr/bin/env python3
"""The measurements of `plumb-validate bench` made with PyTorch, under the same names: scripts/gpu-validate runs the two in
turn. Everything is captured in a CUDA graph, as Plumb does by itself, so ratios compare kernels, not launches; f32 stays
f32 (no TF32) on both sides, and data is random. --version says whether there is a PyTorch with CUDA."""
import json
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit("no PyTorch")
if not torch.cuda.is_available():
    sys.exit("PyTorch without CUDA")
if "--version" in sys.argv:
    print(torch.__version__)
    sys.exit(0)

torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True
SAMPLES = 9
WIDTHS = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def rand(*shape, dtype=torch.float32):
    return torch.rand(*shape, device="cuda").mul_(2).sub_(1).to(dtype)


def captured(step):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(name, step, amount, unit):
    """amount per run; amount 0: microseconds of a run."""
    try:
        replay = captured(step)
        runs, spent = 1, 0.0
        while spent < 0.03:
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(runs):
                replay()
            torch.cuda.synchronize()
            spent = time.perf_counter() - begin
            runs *= 2
        times = []
        for _ in range(SAMPLES):
            begin = time.perf_counter()
            for _ in range(runs):
                replay()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - begin) / runs)
        times.sort()
        low, middle, high = times[0], times[SAMPLES // 2], times[-1]
        values = (amount / high, amount / middle, amount / low) if amount else (low * 1e6, middle * 1e6, high * 1e6)
        print(json.dumps(dict(measure=name, value=values[1], low=values[0], high=values[2], unit=unit,
                              milliseconds=middle * 1e3)), flush=True)
    except Exception as error:  # one measurement that fails must not end the others
        print(json.dumps(dict(failed=name, text=str(error)[:300])), flush=True)
    torch.cuda.empty_cache()


# ---- training steps ----

def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.short = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.short = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.short(x))


def resnet18():
    layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def train(name, build, batch, *shape):
    net = build().cuda()
    x, y = torch.rand(batch, *shape, device="cuda"), torch.arange(batch, device="cuda") % 10
    adam = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True, capturable=True)

    def step():
        adam.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y).backward()
        adam.step()
    measure(f"train {name} b{batch} f32", step, batch, "images/s")


def adam_alone(tensors, each):
    """As there, the loss (a sum of products) and its gradients are part of the step."""
    weights = [rand(each).requires_grad_() for _ in range(tensors)]
    others = [rand(each) for _ in range(tensors)]
    adam = torch.optim.Adam(weights, lr=1e-6, fused=True, capturable=True)

    def step():
        adam.zero_grad(set_to_none=True)
        sum((w * g).sum() for w, g in zip(weights, others)).backward()
        adam.step()
    measure(f"adam {tensors} x {each}", step, tensors * each * 48 / 1e9, "GB/s")


# ---- single ops ----

def memory_bound(rows=65536, columns=1024):
    for width, dtype in WIDTHS.items():
        x, other = rand(rows, columns, dtype=dtype), rand(rows, columns, dtype=dtype)
        size = rows * columns * x.element_size() / 1e9
        measure(f"copy {width}", lambda: x * 1.5, 2 * size, "GB/s")
        measure(f"add {width}", lambda: x + other, 3 * size, "GB/s")
        measure(f"sum {width}", lambda: x.sum(1), size, "GB/s")
        measure(f"softmax {width}", lambda: torch.softmax(x, 1), 2 * size, "GB/s")


def products():
    for width, dtype in WIDTHS.items():
        for n in (1024, 2048, 4096, 8192):
            a, b = rand(n, n, dtype=dtype), rand(n, n, dtype=dtype)
            measure(f"matmul {n} {width}", lambda: a @ b, 2e-12 * n ** 3, "TFLOP/s")


CONVS = [(64, 64, 1, 1, 56), (64, 64, 3, 1, 56), (128, 128, 3, 2, 56), (256, 1024, 1, 1, 14), (256, 256, 3, 1, 14),
         (512, 2048, 1, 1, 7), (512, 512, 3, 1, 7)]


def convolutions(batch=64):
    for width, dtype in WIDTHS.items():
        for c, k, r, s, h in CONVS:
            x, w = rand(batch, c, h, h, dtype=dtype), rand(k, c, r, r, dtype=dtype)
            dy = torch.rand_like(F.conv2d(x, w, None, s, r // 2))

            def back(dx, dw):
                return torch.ops.aten.convolution_backward(dy, x, w, None, [s, s], [r // 2, r // 2], [1, 1], False, [0, 0],
                                                           1, [dx, dw, False])
            flops = 2e-12 * dy.numel() * c * r * r
            name = f"{c}>{k} {r}x{r}/{s} @{h} {width}"
            measure(f"conv forward {name}", lambda: F.conv2d(x, w, None, s, r // 2), flops, "TFLOP/s")
            measure(f"conv data {name}", lambda: back(True, False), flops, "TFLOP/s")
            measure(f"conv filter {name}", lambda: back(False, True), flops, "TFLOP/s")


def launches():
    x = rand(1)

    def chain(count):
        y = x
        for _ in range(count):
            y = torch.sin(y)
    for count in (1, 10, 100, 400):
        measure(f"launch graph of {count}", lambda: chain(count), 0, "us")


train("lenet5", lenet, 64, 1, 28, 28)
train("lenet5", lenet, 1024, 1, 28, 28)
train("resnet18-cifar", resnet18, 128, 3, 32, 32)
memory_bound()
products()
convolutions()
launches()
adam_alone(62, 180000)
adam_alone(1, 100000000)
