"""PyTorch training the networks that `plumb bench train` trains, on the CPU: the same layers, batches, optimiser (Adam at
1e-3) and random pictures, every epoch a new order, the gathering of batches counted. One JSON line a network.

    pytorch_cpu.py lenet5:64 resnet18-cifar:32 ... [--seconds 3] [--settings all|best|plain]

What is best differs by network, so with `all` each setting is tried for a moment and the fastest is timed: pictures
channels-last or not, compiled or not where torch.compile exists and works, one thread or all. `--settings NAME` takes one
that was found before. Set OMP_NUM_THREADS=<cores> OPENBLAS_NUM_THREADS=1 outside: with OpenBLAS's own pool beside OpenMP's
everything is several times slower."""
import argparse
import json
import os
import sys
import time

import torch
from torch import nn


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


class Block(nn.Module):
    """A row of convolutions (filters, kernel, stride) with batch norm, and the way around it."""

    def __init__(self, before, stride, row):
        super().__init__()
        layers, channels = [], before
        for filters, kernel, step in row:
            layers += [nn.Conv2d(channels, filters, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(filters),
                       nn.ReLU(inplace=True)]
            channels = filters
        self.row = nn.Sequential(*layers[:-1])
        self.around = nn.Identity()
        if stride != 1 or before != channels:
            self.around = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        return torch.relu(self.row(x) + self.around(x))


def resnet(filters, blocks, classes, large=False, bottleneck=False):
    layers = [nn.Conv2d(3, filters, 7, 2, 3, bias=False) if large else nn.Conv2d(3, filters, 3, 1, 1, bias=False),
              nn.BatchNorm2d(filters), nn.ReLU(inplace=True)] + ([nn.MaxPool2d(3, 2, 1)] if large else [])
    before = filters
    for stage, count in enumerate(blocks):
        for i in range(count):
            n, stride = filters << stage, 2 if stage and not i else 1
            row = [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)] if bottleneck else [(n, 3, stride), (n, 3, 1)]
            layers.append(Block(before, stride, row))
            before = row[-1][0]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def vgg16():
    layers, before = [], 3
    for filters in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.Conv2d(before, filters, 3, padding=1), nn.ReLU(inplace=True)] if filters else [nn.MaxPool2d(2)]
        before = filters or before
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096),
                         nn.ReLU(inplace=True), nn.Linear(4096, 1000))


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.lstm(x.flatten(1, 2))[0][:, -1])


NETWORKS = {  # what makes it, picture, classes
    "lenet5": (lenet5, (1, 28, 28), 10),
    "mlp": (mlp, (1, 28, 28), 10),
    "resnet20-cifar": (lambda: resnet(16, (3, 3, 3), 10), (3, 32, 32), 10),
    "resnet18-cifar": (lambda: resnet(64, (2, 2, 2, 2), 10), (3, 32, 32), 10),
    "resnet18": (lambda: resnet(64, (2, 2, 2, 2), 1000, True), (3, 224, 224), 1000),
    "resnet50": (lambda: resnet(64, (3, 4, 6, 3), 1000, True, True), (3, 224, 224), 1000),
    "vgg16": (vgg16, (3, 224, 224), 1000),
    "lstm": (Rows, (1, 32, 64), 10),
}


class Training:
    def __init__(self, name, batch, setting):
        make, picture, classes = NETWORKS[name]
        item = picture[0] * picture[1] * picture[2]
        torch.set_num_threads(1 if "one" in setting else THREADS)
        torch.manual_seed(1)
        self.model, self.batch = make(), batch
        self.last = "last" in setting
        if self.last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.run = torch.compile(self.model) if "compiled" in setting else self.model
        # As many examples as plumb bench train has, as floats: PyTorch would have to convert bytes in every step.
        count = max(2 * batch, min(60000, (64 << 20) // item) // batch * batch)
        self.images = torch.randn(count, *picture)
        self.labels = torch.randint(0, classes, (count,))
        self.order, self.at = None, count

    def step(self):
        if self.at >= len(self.labels):
            self.order, self.at = torch.randperm(len(self.labels)), 0
        chosen = self.order[self.at:self.at + self.batch]
        self.at += self.batch
        x = self.images[chosen]
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.run(x), self.labels[chosen])
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def samples(self, seconds, least=3):
        """Seconds of a step, sample by sample of some 0.05 s, for so long."""
        self.step()
        times, start, steps = [], time.perf_counter(), 1
        while len(times) < least or time.perf_counter() - start < seconds:
            begin = time.perf_counter()
            for _ in range(steps):
                self.step()
            passed = time.perf_counter() - begin
            if passed < 0.05 and not times:
                steps *= 2
                continue
            times.append(passed / steps)
        return sorted(times)


def settings(name):
    pictures = name.startswith(("lenet", "resnet", "vgg"))
    names = ["plain"] + (["last"] if pictures else [])
    if hasattr(torch, "compile"):
        names += [n + " compiled" for n in names]
    if name in ("lenet5", "mlp", "lstm"):
        names += [n + " one" for n in names]
    return names


def best(name, batch):
    speeds = {}
    for setting in settings(name):
        try:
            times = Training(name, batch, setting).samples(0.5, 2)
            speeds[setting] = times[len(times) // 2]
        except Exception as error:  # what does not work here is no candidate
            print("%s %s: %s" % (name, setting, str(error).splitlines()[:1]), file=sys.stderr)
    return min(speeds, key=speeds.get)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("networks", nargs="+")
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--settings", default="all")
    options = options.parse_args()
    for word in options.networks:
        name, batch = word.split(":")
        setting = best(name, int(batch)) if options.settings == "all" else options.settings
        times = Training(name, int(batch), setting).samples(options.seconds)
        median = times[len(times) // 2]
        print(json.dumps({"peer": "PyTorch", "version": torch.__version__, "model": name, "batch": int(batch),
                          "threads": torch.get_num_threads(), "setting": setting, "seconds": median,
                          "seconds_low": times[len(times) // 10], "seconds_high": times[-1 - len(times) // 10],
                          "samples": len(times), "images_per_s": int(batch) / median}), flush=True)


THREADS = int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads()
main()
