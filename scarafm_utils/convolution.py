"""scBERT's convolutional head, and the learning rates it is fine-tuned with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


def cosine_restarts(
    epoch: int,
    *,
    maximum: float,
    minimum: float = 1e-6,
    cycle: int = 15,
    growth: int = 2,
    warmup: int = 5,
    gamma: float = 0.9,
) -> float:
    """Learning rate of an epoch under cosine annealing with warm restarts.

    A cycle rises linearly from `minimum` over `warmup` epochs and falls along a cosine; the part
    after the warm-up of each further cycle is `growth` times as long, and its peak `gamma` times
    as high.  As in scBERT, epoch 0 runs at `minimum` where there is a warm-up.

    >>> [round(cosine_restarts(e, maximum=1.0, minimum=0.0), 2) for e in (0, 4, 5, 10, 15, 20)]
    [0.0, 0.8, 1.0, 0.5, 0.0, 0.9]
    """
    while epoch >= cycle:
        epoch, cycle, maximum = epoch - cycle, (cycle - warmup) * growth + warmup, maximum * gamma
    if epoch < warmup:
        return minimum + (maximum - minimum) * epoch / warmup
    share = (epoch - warmup) / (cycle - warmup)
    return minimum + (maximum - minimum) * (1 + math.cos(math.pi * share)) / 2


class ConvolutionalHead(nn.Module):
    """1 × d filter → ReLU → N → 512 → 128 → classes, with ReLU and dropout between."""

    def __init__(
        self, n_tokens: int, dim: int, n_classes: int, *, dropout: float, generator: torch.Generator
    ):
        super().__init__()
        self.filter = nn.Linear(dim, 1)  # the same weights for every gene: a 1 × d convolution
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in ((n_tokens, 512), (512, 128), (128, n_classes))
        )
        self.dropout = dropout
        with torch.no_grad():
            for layer in (self.filter, *self.layers):
                for parameter in layer.parameters():
                    bound = 1 / math.sqrt(layer.in_features)
                    parameter.uniform_(-bound, bound, generator=generator)

    def masks(self, n_cells: int, *, generator: torch.Generator):
        """Dropout masks of a step, (n_cells, 512 + 128), scaled by 1 / (1 - dropout)."""
        width = sum(layer.out_features for layer in self.layers[:-1])
        kept = torch.rand(n_cells, width, generator=generator) >= self.dropout
        return (kept / (1 - self.dropout)).to(self.filter.weight.device)

    def forward(self, h, masks=None):
        """Embeddings (B, N, d) → logits (B, K); dropout only where masks are given."""
        x, start = F.relu(self.filter(h).squeeze(-1)), 0  # (B, N)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
            if masks is not None:
                x = x * masks[:, start : start + layer.out_features]
            start += layer.out_features
        return self.layers[-1](x)
