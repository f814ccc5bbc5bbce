"""LAMB and Muon in NumPy and f64, from the formulas in include/plumb/optim.h: what torch_oracle.py holds ours against, where
PyTorch has none."""
import numpy as np
import torch


class Plain:
    """With the interface of torch.optim that is used."""

    def __init__(self, parameters, lr):
        self.p, self.lr, self.t, self.m, self.v = parameters[0], lr, 0, 0.0, 0.0

    def zero_grad(self):
        self.p.grad = None

    def step(self):
        self.t += 1
        with torch.no_grad():
            self.p -= torch.tensor(self.lr * self.direction(self.p.numpy(), self.p.grad.numpy()))


class Lamb(Plain):
    def direction(self, p, g):
        self.m = 0.8 * self.m + 0.2 * g
        self.v = 0.99 * self.v + 0.01 * g * g
        u = self.m / (1 - 0.8 ** self.t) / (np.sqrt(self.v / (1 - 0.99 ** self.t)) + 1e-6) + 0.02 * p
        return np.linalg.norm(p) / np.linalg.norm(u) * u


class Muon(Plain):
    def direction(self, p, g):
        self.m = 0.9 * self.m + 0.1 * g
        x = 0.1 * g + 0.9 * self.m
        x = (x if p.shape[0] <= p.shape[1] else x.T) / (np.linalg.norm(x) + 1e-7)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return max(1, p.shape[0] / p.shape[1]) ** 0.5 * (x if p.shape[0] <= p.shape[1] else x.T) + 0.02 * p
