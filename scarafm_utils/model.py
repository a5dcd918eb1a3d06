"""scAraFM in one file: a Performer encoder that reads a cell as one token per gene.

The architecture is scBERT's (Yang et al. 2022, doi:10.1038/s42256-022-00534-z) as scAraFM uses
it (paper, Figure 1 and section 2): token embedding plus gene embedding, pre-LayerNorm blocks of
FAVOR+ attention (Choromanski et al. 2021, "Rethinking Attention with Performers") and a
feed-forward layer, a final LayerNorm, and a linear head over the token ids.  An extra token
stands at the END of the sequence, at position G; the paper calls its embedding CLS.

Shapes: B cells, G genes, N = G + 1 tokens, d embedding size, h heads, e size of a head,
m random features.  The forward pass equals the PyPI package ``performer-pytorch`` 1.1.4 with the
same weights.  Deviation from scBERT and the released code: the key stabiliser is a maximum per
cell and head, so that a cell's embedding does not depend on its batch-mates;
``key_max="batch"`` gives the released function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .errors import InputError, suggest
from .tokens import eos_id, seeded_generator

KERNEL_EPS = 1e-4
#: Random features made at once for a cell, all heads together: what a core's cache can hold.
BLOCK_FEATURES = 1 << 19
CHOICES = {
    "attention": ("performer", "softmax"),
    "key_max": ("head", "batch"),
    "gene_emb": ("frozen", "learned"),
}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model; the defaults are the paper's (2.5 M trainable parameters).

    `nb_features` None means int(e · ln e), 266 for heads of 64.  `redraw_every` counts training
    calls between two draws of the random features.  `seed` fixes initial weights and all draws.
    """

    dim: int = 200
    depth: int = 3
    heads: int = 10
    dim_head: int = 64
    nb_features: int | None = None
    n_bins: int = 6
    attention: str = "performer"
    key_max: str = "head"
    gene_emb: str = "frozen"
    redraw_every: int = 1000
    seed: int = 0

    def __post_init__(self):
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                raise InputError(f"{key} is {getattr(self, key)!r}: {suggest(getattr(self, key), allowed)}")
        for key in ("dim", "depth", "heads", "dim_head", "redraw_every"):
            if getattr(self, key) < 1:
                raise InputError(f"{key} is {getattr(self, key)}: give a number of 1 or more.")

    @property
    def n_ids(self) -> int:
        """Bins, EOS and MASK."""
        return self.n_bins + 2

    @property
    def n_features(self) -> int:
        return self.nb_features or max(1, int(self.dim_head * math.log(self.dim_head)))


def orthogonal_features(n_rows: int, n_columns: int, *, generator: torch.Generator) -> torch.Tensor:
    """Gaussian rows made orthogonal in blocks of `n_columns`, each with a Gaussian row's length."""
    blocks = []
    for _ in range(math.ceil(n_rows / n_columns)):
        block, _ = torch.linalg.qr(torch.randn(n_columns, n_columns, generator=generator))
        blocks.append(block.T)
    lengths = torch.randn(n_rows, n_columns, generator=generator).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:n_rows] * lengths  # (m, e)


def favor_attention(q, k, v, projection, *, key_max: str):
    """Attention by positive random features, in time and memory linear in N.

    phi(q) @ (phi(k)ᵀ v) / phi(q) @ (phi(k)ᵀ 1) with phi(x) = exp(xP - |x|²/2 - max) + eps.
    The factor 1/√m of phi cancels and is left out; exp(-|x|²/2) belongs to a whole row and is
    multiplied where rows are narrow; v gets a column of ones, so that one product gives numerator
    and denominator; eps enters as sums over tokens and over features, since
    (A + eps) B = AB + eps · ΣB.  Tokens are taken in blocks, so that the features stay in cache;
    the maximum of the keys is then a running one, and sums made with an older one are rescaled.
    q, k, v: (B, h, N, e); returns (B, h, N, e).
    """
    weight = (projection * q.shape[-1] ** -0.25).T.to(q.dtype)  # (e, m)
    whole = q.is_cuda or torch.compiler.is_compiling()  # launches, and compiling, cost more than cache
    block = q.shape[2] if whole else max(1, BLOCK_FEATURES // (q.shape[1] * len(projection)))
    v = F.pad(v, (0, 1), value=1.0)  # (B, h, N, e + 1)

    context, peak = torch.zeros((), device=q.device), torch.tensor(-math.inf, device=q.device)
    for k_part, v_part in zip(k.split(block, 2), v.split(block, 2), strict=True):
        phi = k_part @ weight  # (B, h, n, m)
        new_peak = torch.maximum(peak, phi.detach().amax((-2, -1), keepdim=True))  # (B, h, 1, 1)
        phi = phi.sub_(new_peak).exp_()
        sums = phi.transpose(-2, -1) @ (row_factor(k_part) * v_part)  # (B, h, m, e + 1)
        context = context * (peak - new_peak).exp() + sums
        peak = new_peak
    if key_max == "batch":
        context = context * (peak - peak.amax()).exp()
    context = context + KERNEL_EPS * v.sum(-2, keepdim=True)
    rest = KERNEL_EPS * context.sum(-2, keepdim=True)  # (B, h, 1, e + 1)

    out = []
    for q_part in q.split(block, 2):
        phi = q_part @ weight  # (B, h, n, m)
        phi = phi.sub_(phi.detach().amax(-1, keepdim=True)).exp_()
        sums = row_factor(q_part) * (phi @ context) + rest  # (B, h, n, e + 1)
        out.append(sums[..., :-1] / sums[..., -1:])
    return torch.cat(out, dim=2)


def row_factor(x):
    """exp(-|x|²/2) of each row, scaled as the features are: (…, e) → (…, 1)."""
    return (x.float().square().sum(-1, keepdim=True) * (-0.5 / math.sqrt(x.shape[-1]))).exp().to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention whose heads need not divide d (10 × 64 = 640 for d = 200)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        inner = config.heads * config.dim_head
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)  # rows: all of q, all of k, all of v
        self.to_out = nn.Linear(inner, config.dim)
        if config.attention == "performer":
            self.register_buffer("projection", torch.zeros(config.n_features, config.dim_head))

    def forward(self, x):
        c, (B, N, _) = self.config, x.shape
        q, k, v = self.to_qkv(x).view(B, N, 3, c.heads, c.dim_head).permute(2, 0, 3, 1, 4)  # 3 × (B, h, N, e)
        if c.attention == "performer":
            out = favor_attention(q, k, v, self.projection, key_max=c.key_max)
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).reshape(B, N, -1))  # (B, N, h·e) → (B, N, d)


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.w1 = nn.Linear(config.dim, 4 * config.dim)
        self.w2 = nn.Linear(4 * config.dim, config.dim)

    def forward(self, x):
        return self.w2(F.gelu(self.w1(x)))


class Block(nn.Module):
    """One encoder block: attention and feed-forward, each on normalised input, each added."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.dim)
        self.feed_forward = FeedForward(config)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class ScAraFM(nn.Module):
    """The encoder and its head over token ids.

    Parameters
    ----------
    config
        Shape, attention and seed.
    genes
        The vocabulary, in the order of the token columns.
    gene_vectors
        (G, d) initial gene embeddings, for example from Gene2Vec; None draws them from N(0, 1).
        The extra token's row is zero.  With ``gene_emb="frozen"`` they are never trained, as in
        scBERT and the released code; the paper's text says learned (``"learned"``).

    Attributes
    ----------
    genes, blocks, norm, gene_emb
        Names; the `depth` encoder blocks; the final LayerNorm; the (G + 1, d) gene embeddings.
    auto_redraw
        True: each forward pass in training mode counts towards `redraw_every`.  A training loop
        with gradient accumulation sets it to False and calls :meth:`count_training_call`.
    """

    def __init__(self, config: ModelConfig, genes: Sequence[str], *, gene_vectors=None):
        super().__init__()
        self.config, self.genes, self.auto_redraw = config, tuple(map(str, genes)), True
        self.token_emb = nn.Embedding(config.n_ids, config.dim)
        self.gene_emb = nn.Parameter(
            torch.zeros(len(self.genes) + 1, config.dim), requires_grad=config.gene_emb == "learned"
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.to_ids = nn.Linear(config.dim, config.n_ids)
        self.register_buffer("calls_since_last_redraw", torch.tensor(0))
        self.register_buffer("redraws", torch.tensor(0))
        self._initialise()
        self._set_gene_vectors(gene_vectors)
        self._draw_projections()

    @torch.no_grad()
    def _initialise(self):
        """Torch's own initial distributions, from the seed of the config."""
        generator = seeded_generator(self.config.seed, 0)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(generator=generator)
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                for parameter in module.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)

    @torch.no_grad()
    def _set_gene_vectors(self, vectors):
        shape = (len(self.genes), self.config.dim)
        if vectors is None:
            vectors = torch.randn(shape, generator=seeded_generator(self.config.seed, 1))
        if not isinstance(vectors, torch.Tensor):  # numpy cannot hold a tensor of the meta device
            vectors = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
        if tuple(vectors.shape) != shape:
            raise InputError(
                f"gene_vectors are {tuple(vectors.shape)}: "
                f"the model has {shape[0]} genes × {shape[1]} dimensions."
            )
        self.gene_emb[:-1] = vectors.float()

    @torch.no_grad()
    def _draw_projections(self):
        if self.gene_emb.is_meta:  # shapes without numbers, for counting parameters
            return
        generator = seeded_generator(self.config.seed, 2, int(self.redraws))
        for block in self.blocks:
            if self.config.attention == "performer":
                p = block.attention.projection
                p.copy_(orthogonal_features(*p.shape, generator=generator))

    def count_training_call(self):
        """Count one call and, after `redraw_every` of them, draw new random features."""
        if self.calls_since_last_redraw >= self.config.redraw_every:
            self.redraws += 1
            self.calls_since_last_redraw.zero_()
            self._draw_projections()
        else:
            self.calls_since_last_redraw += 1

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed cells: tokens (B, G) → (B, G + 1, d), after the final LayerNorm; CLS is ``[:, G]``."""
        if self.training and self.auto_redraw:
            self.count_training_call()
        if tokens.shape[-1] != len(self.genes):
            raise InputError(f"tokens have {tokens.shape[-1]} genes: the model has {len(self.genes)}.")
        tokens = F.pad(tokens.long(), (0, 1), value=eos_id(self.config.n_bins))  # (B, N)
        x = self.token_emb(tokens) + self.gene_emb  # (B, N, d)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Predict each position's id: tokens (B, G) → logits (B, G + 1, n_ids)."""
        return self.to_ids(self.encode(tokens))


def default_device() -> torch.device:
    """The GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Number of trainable and of frozen parameters (buffers not counted)."""
    counts = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts
