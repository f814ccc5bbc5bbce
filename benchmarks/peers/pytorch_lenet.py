"""PyTorch training LeNet-5 on Fashion-MNIST as `plumb train` does: the same network, batch 64, Adam at 1e-3, every epoch
a new order, the gathering of batches counted. Times some seconds of it and prints one JSON line.

Set the threads outside: OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1 is the best setting on two cores (with OpenBLAS's own
pool beside OpenMP's it is several times slower)."""
import argparse
import gzip
import json
import time

import numpy
import torch
from torch import nn


def read_idx(path, header):
    with gzip.open(path) as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=header)


def load(folder, part):
    images = read_idx(f"{folder}/{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read_idx(f"{folder}/{part}-labels-idx1-ubyte.gz", 8)
    return torch.from_numpy(images.astype(numpy.float32)), torch.from_numpy(labels.astype(numpy.int64))


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def train(model, optimizer, images, labels, batch, seconds):
    """Steps for so long, epoch after epoch; returns images per second."""
    seen, start = 0, time.perf_counter()
    while True:
        order = torch.randperm(len(labels))
        for first in range(0, len(labels), batch):
            chosen = order[first:first + batch]
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            seen += len(chosen)
            passed = time.perf_counter() - start
            if passed >= seconds:
                return seen / passed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    torch.manual_seed(options.seed)
    images, labels = load(options.data, "train")
    images = (images - images.mean()) / images.std()
    model = lenet5()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    train(model, optimizer, images, labels, options.batch, 1)  # not counted: first calls are slow
    speed = train(model, optimizer, images, labels, options.batch, options.seconds)
    print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(), "images_per_s": speed}))


main()
