"""PyTorch training LeNet-5 on Fashion-MNIST as `plumb train` does: the same network, batch 64, Adam at 1e-3, every epoch
a new order, the gathering of batches counted. Prints one JSON line.

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


def epoch(model, optimizer, images, labels, batch):
    order = torch.randperm(len(labels))
    for first in range(0, len(labels), batch):
        chosen = order[first:first + batch]
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    torch.manual_seed(options.seed)
    images, labels = load(options.data, "train")
    mean, deviation = images.mean(), images.std()
    images = (images - mean) / deviation
    model = lenet5()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    epoch(model, optimizer, images[:6400], labels[:6400], options.batch)  # not timed: first calls are slow
    start = time.perf_counter()
    for _ in range(options.epochs):
        epoch(model, optimizer, images, labels, options.batch)
    seconds = time.perf_counter() - start
    test_images, test_labels = load(options.data, "t10k")
    with torch.no_grad():
        guesses = model((test_images - mean) / deviation).argmax(1)
    print(json.dumps({
        "version": torch.__version__, "threads": torch.get_num_threads(),
        "images_per_s": options.epochs * len(labels) / seconds,
        "test_accuracy": (guesses == test_labels).float().mean().item()}))


main()
