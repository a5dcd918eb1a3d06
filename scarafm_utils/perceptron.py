"""Many small perceptrons trained at once, each exactly as if it were trained alone.

The weights of m networks of one shape are stacked and multiplied with batched matrix products;
gradients are written out by hand into preallocated tensors, which halves the time of a step at
this size.  Every network draws its initial weights, its order of cells and its dropout masks
from a generator of its own, so that its neighbours in the stack change nothing but round-off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

#: Steps whose dropout masks are drawn at once.
STEPS_DRAWN = 64


@dataclass(frozen=True)
class Architecture:
    """Shape and training of one network; the paper's released grid holds these settings."""

    hidden: int = 128
    depth: int = 1
    dropout: float = 0.2
    learning_rate: float = 1e-3
    activation: str = "relu"
    epochs: int = 20
    batch_size: int = 16


def train_perceptrons(X, y, *, n_classes: int, seeds: Sequence[int], architecture: Architecture):
    """Train one network per slice of `X` by Adam on the mean cross-entropy of each batch.

    Parameters
    ----------
    X
        (m, n, G) float32 tensor: the features of each network; all share the labels `y`.
    y
        (n,) int64 class numbers.
    seeds
        m seeds, one per network.

    Returns
    -------
    Weights and biases in turn, layer by layer: tensors (m, fan_in, fan_out) and (m, 1, fan_out),
    on the device of `X`.
    """
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    a = architecture
    parameters = _initial(generators, [X.shape[2], *[a.hidden] * a.depth, n_classes], X.device)
    for p in parameters:
        p.grad = torch.empty_like(p)
    optimizer = torch.optim.Adam(parameters, lr=a.learning_rate, fused=True)
    targets = torch.nn.functional.one_hot(y, n_classes).to(X)  # (n, K)
    for _ in range(a.epochs):
        for rows, masks in _epoch(generators, len(y), a, X.device):
            batch = torch.stack([x[r] for x, r in zip(X, rows, strict=True)])  # (m, B, G)
            _gradients(parameters, batch, targets[rows], masks, a.activation)
            optimizer.step()
    return [p.detach() for p in parameters]


def predict_perceptron(parameters, X, *, activation: str):
    """Class probabilities (m, n, K) of features (m, n, G); no dropout."""
    for W, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        X = _activate(torch.baddbmm(b, X, W), activation)
    return torch.softmax(torch.baddbmm(parameters[-1], X, parameters[-2]), -1)


def _initial(generators, widths, device):
    """torch.nn.Linear's initial distribution, uniform in ±1/√fan_in, drawn network by network."""
    parameters = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        for shape in ((fan_in, fan_out), (1, fan_out)):
            draws = torch.stack([torch.rand(shape, generator=g) for g in generators])
            parameters.append(((2 * draws - 1) / math.sqrt(fan_in)).to(device).requires_grad_())
    return parameters


def _epoch(generators, n: int, a: Architecture, device):
    """Yield rows (m, B) and dropout masks (depth, m, B, hidden), each scaled by 1 / (1 - dropout)."""
    order = torch.stack([torch.randperm(n, generator=g) for g in generators])
    keep, chunk = 1 - a.dropout, a.batch_size * STEPS_DRAWN
    for first in range(0, n, chunk):
        rows = order[:, first : first + chunk].to(device)  # (m, R)
        shape = (a.depth, rows.shape[1], a.hidden)
        draws = torch.stack([torch.rand(shape, generator=g) for g in generators], 1)  # (depth, m, R, hidden)
        masks = ((draws < keep) / keep).to(device)
        for start in range(0, rows.shape[1], a.batch_size):
            step = slice(start, start + a.batch_size)
            yield rows[:, step], masks[:, :, step]


def _activate(z, activation: str):
    return torch.relu(z) if activation == "relu" else torch.sigmoid(z)


@torch.no_grad()
def _gradients(parameters, x, targets, masks, activation: str) -> None:
    """Fill the gradients of the mean cross-entropy of one batch, network by network."""
    inputs, slopes = [x], []
    for layer, mask in enumerate(masks):
        W, b = parameters[2 * layer : 2 * layer + 2]
        out = _activate(torch.baddbmm(b, inputs[-1], W), activation)
        slopes.append(mask * (out > 0) if activation == "relu" else mask * out * (1 - out))
        inputs.append(out * mask)
    probability = torch.softmax(torch.baddbmm(parameters[-1], inputs[-1], parameters[-2]), -1)
    delta = (probability - targets) / x.shape[1]  # (m, B, K)
    for layer in reversed(range(len(inputs))):
        W, b = parameters[2 * layer : 2 * layer + 2]
        torch.bmm(inputs[layer].transpose(1, 2), delta, out=W.grad)
        torch.sum(delta, 1, keepdim=True, out=b.grad)
        if layer:
            delta = (delta @ W.transpose(1, 2)) * slopes[layer - 1]
