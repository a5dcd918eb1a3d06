"""Many small perceptrons trained at once, each exactly as if it were trained alone.

The weights of m networks of one shape are stacked and multiplied with batched matrix products;
gradients are written out by hand into preallocated tensors, and all weights lie end to end in one
vector, so that Adam is one pass over memory.  Every network draws its initial weights, its order
of cells and its dropout masks from a generator of its own, so that its neighbours in the stack
change nothing but round-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    a, n = architecture, len(y)
    parameters = _initial(generators, [X.shape[2], *[a.hidden] * a.depth, n_classes], X.device)
    weights, parameters = _end_to_end(parameters)
    weights.grad, gradients = _end_to_end(parameters)
    optimizer = torch.optim.Adam([weights], lr=a.learning_rate, fused=True)
    targets = torch.nn.functional.one_hot(y, n_classes).to(X)  # (n, K)
    features, first = X.flatten(0, 1), n * torch.arange(len(X), device=X.device)[:, None]
    for _ in range(a.epochs):
        for rows, masks in _epoch(generators, n, a, X.device):
            chosen = zip((first + rows).split(a.batch_size, 1), targets[rows].split(a.batch_size, 1), masks)
            for batch, wanted, mask in chosen:
                x = features.index_select(0, batch.flatten()).view(*batch.shape, -1)  # (m, B, G)
                _gradients(parameters, gradients, x, wanted, mask, a.activation)
                optimizer.step()
    return parameters


def predict_perceptron(parameters, X, *, activation: str):
    """Class probabilities (m, n, K) of features (m, n, G); no dropout."""
    for W, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        X = _activate(torch.baddbmm(b, X, W), activation)
    return torch.softmax(torch.baddbmm(parameters[-1], X, parameters[-2]), -1)


@contextmanager
def single_threads(n: int = 1) -> Iterator[Callable]:
    """A map over `n` threads in each of which torch uses one; for one thread the plain map.

    A step of a small network is too short to be shared out: two threads waiting for each other take
    longer than one, and many times longer where other work runs beside.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that start later inherit it
    try:
        if n == 1:
            yield map
        else:
            with ThreadPoolExecutor(n) as pool:
                yield pool.map
    finally:
        torch.set_num_threads(before)


def _initial(generators, widths, device):
    """torch.nn.Linear's initial distribution, uniform in ±1/√fan_in, drawn network by network."""
    parameters = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        for shape in ((fan_in, fan_out), (1, fan_out)):
            draws = torch.stack([torch.rand(shape, generator=g) for g in generators])
            parameters.append(((2 * draws - 1) / math.sqrt(fan_in)).to(device))
    return parameters


def _end_to_end(tensors):
    """One vector that holds all tensors, for an optimizer of one parameter, and the views of them in it."""
    flat = torch.cat([t.flatten() for t in tensors])
    parts = flat.split([t.numel() for t in tensors])
    return flat, [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def _epoch(generators, n: int, a: Architecture, device):
    """Yield rows (m, R) and, batch by batch, dropout masks (depth, m, B, hidden) scaled by 1 / (1 - dropout)."""
    order = torch.stack([torch.randperm(n, generator=g) for g in generators])
    keep = 1 - a.dropout
    for rows in order.split(a.batch_size * STEPS_DRAWN, 1):
        shape = (a.depth, rows.shape[1], a.hidden)
        draws = torch.stack([torch.rand(shape, generator=g) for g in generators], 1)  # (depth, m, R, hidden)
        yield rows.to(device), ((draws < keep) / keep).to(device).split(a.batch_size, 2)


def _activate(z, activation: str):
    return torch.relu(z) if activation == "relu" else torch.sigmoid(z)


def _gradients(parameters, gradients, x, targets, masks, activation: str) -> None:
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
        torch.bmm(inputs[layer].transpose(1, 2), delta, out=gradients[2 * layer])
        torch.sum(delta, 1, keepdim=True, out=gradients[2 * layer + 1])
        if layer:
            delta = (delta @ parameters[2 * layer].transpose(1, 2)) * slopes[layer - 1]
