"""Predicting hidden tokens: how a forward pass runs, how well the model does, and three rivals.

Most counts are 1, and the bin of a 1 depends on the cell's depth alone, so the commonest visible
bin of a cell is a strong guess.  A model's accuracy is only worth reading beside it, and on the
tokens where that guess is wrong (``accuracy_hard``), where the guess itself scores 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from .errors import InputError
from .model import ScAraFM
from .parallel import share_of, sum_over_processes
from .tokens import TokenStore, mask_tokens, seeded_generator

if TYPE_CHECKING:
    import pandas as pd

TRAINING, VALIDATION = 6, 7  # streams of random numbers; 0 to 5 belong to tokens, gene2vec and model
BASELINES = ("commonest bin", "commonest bin of the gene", "commonest visible bin of the cell")


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a run; the defaults are the paper's.

    `micro_batch` is the number of cells in memory at once (None: chosen from free memory); the
    gradient is always that of `batch_size` cells.  `save_every` also saves after so many steps
    within an epoch.  `bf16` and `compile` fall back to float32 and to plain torch, with a
    warning, where the machine cannot do them.
    """

    epochs: int = 50
    batch_size: int = 20
    micro_batch: int | None = None
    learning_rate: float = 1e-4
    p_mask: float = 0.2
    keep_probability: float = 0.1
    patience: int = 5
    min_delta: float = 1e-3
    seed: int = 0
    bf16: bool = False
    compile: bool = False
    save_every: int | None = None

    def __post_init__(self):
        for key in ("epochs", "batch_size", "micro_batch", "learning_rate", "patience", "save_every"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise InputError(f"{key} is {value}: give a number above 0.")
        for key in ("p_mask", "keep_probability"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"{key} is {getattr(self, key)}: give a share between 0 and 1.")


DEFAULTS = PretrainConfig()


def hide(tokens: np.ndarray, *key: int, config: PretrainConfig, n_bins: int):
    """Inputs and targets of one batch; the masks depend on the seed of `config` and on `key` alone."""
    return mask_tokens(
        tokens, p_mask=config.p_mask, keep_probability=config.keep_probability, n_bins=n_bins,
        generator=seeded_generator(config.seed, *key),
    )


def masked_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over the hidden tokens: logits (B, G + 1, n_ids), targets (B, G)."""
    logits = logits[:, :-1].flatten(0, 1).float()  # (B·G, n_ids)
    return F.cross_entropy(logits, targets.to(logits.device).flatten(), ignore_index=-100, reduction="sum")


def choose_micro_batch(model: ScAraFM, config: PretrainConfig) -> int:
    """How many cells of a batch to train on at once.

    At most half of the free memory; on a CPU at most about 8,192 tokens, since small blocks stay in
    cache and are faster.  The batch is shared out evenly.
    """
    if config.micro_batch:
        return min(config.micro_batch, config.batch_size)
    device = next(model.parameters()).device
    if device.type == "cuda":
        free, most = torch.cuda.mem_get_info(device)[0], config.batch_size
    else:
        import psutil

        free, most = psutil.virtual_memory().available, max(1, 8192 // (len(model.genes) + 1))
    fitting = max(1, min(most, config.batch_size, int(free / 2 / bytes_per_cell(model))))
    return math.ceil(config.batch_size / math.ceil(config.batch_size / fitting))


def bytes_per_cell(model: ScAraFM) -> int:
    """About what one cell of a training step holds in memory, in float32 without `torch.compile`."""
    c = model.config
    features = c.n_features if c.attention == "performer" else 0
    per_token = c.depth * (4 * c.heads * features + 8 * c.heads * c.dim_head + 16 * c.dim)
    return 4 * (len(model.genes) + 1) * (per_token + 8 * c.dim)


def forward_function(
    model: ScAraFM, config: PretrainConfig, *, micro_batch: int = 1
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return tokens → logits on the model's device, in bfloat16 and compiled where asked and possible.

    Compiled code is tried on `micro_batch` cells; other numbers of cells may be compiled anew.
    """
    device = next(model.parameters()).device
    bf16 = config.bf16 and _has_bf16(device)
    if config.bf16 and not bf16:
        warnings.warn(f"bf16: this {device.type} has no bfloat16 arithmetic; float32 is used.", stacklevel=3)

    def through(run):
        def forward(tokens: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                return run(tokens.to(device, non_blocking=True))

        return forward

    if not config.compile:
        return through(model)
    compiled = through(torch.compile(model))
    reason = _failure(compiled, model, micro_batch)
    if reason:
        warnings.warn(f"compile: torch.compile failed ({reason}); plain torch is used.", stacklevel=3)
    return through(model) if reason else compiled


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def _failure(forward, model: ScAraFM, n_cells: int) -> str:
    """Why a trial of the compiled `forward` fails, in one line; empty where it works."""
    count, model.auto_redraw = model.auto_redraw, False
    try:
        forward(torch.zeros(n_cells, len(model.genes), dtype=torch.uint8))
    except (RuntimeError, OSError, ImportError) as error:
        return str(error).strip().splitlines()[0][:120]
    finally:
        model.auto_redraw = count
    return ""


def masked_batches(
    store: TokenStore, epoch: int, *, config: PretrainConfig, device: torch.device, start: int = 0
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, int]]:
    """Yield step, inputs, targets and the number of hidden tokens of an epoch, from `start` on.

    On a GPU a thread reads and masks the next batch while this one is trained on.
    """
    cuda = device.type == "cuda"

    def prepared():
        for step, tokens in store.batches(
            batch_size=config.batch_size, seed=config.seed, epoch=epoch, start=start
        ):
            pair = hide(tokens, TRAINING, epoch, step, config=config, n_bins=store.n_bins)
            n_masked = int((pair[1] >= 0).sum())
            yield step, *(t.pin_memory() if cuda else t for t in pair), n_masked

    for step, inputs, targets, n_masked in one_ahead(prepared()) if cuda else prepared():
        yield step, inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True), n_masked


def one_ahead(items: Iterable) -> Iterator:
    """Yield the same items, each made by a thread while the one before is in use."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, items, end)
            yield item


@torch.no_grad()
def evaluate(
    model: ScAraFM, val: TokenStore, *, config: PretrainConfig, micro_batch: int | None = None, forward=None
) -> dict[str, float]:
    """Loss and accuracy on hidden tokens of validation cells; the masks are the same every time.

    Returns
    -------
    val_loss
        Mean cross-entropy of the hidden tokens.
    val_accuracy
        Share of them whose bin has the highest logit.
    val_accuracy_hard
        The same over those that differ from the commonest visible non-zero bin of their cell.
    """
    micro_batch = micro_batch or choose_micro_batch(model, config)
    forward = forward or forward_function(model, config)
    sums = np.zeros(5)
    model.eval()
    for step, tokens in val.batches(batch_size=config.batch_size):
        inputs, targets = hide(tokens, VALIDATION, step, config=config, n_bins=val.n_bins)
        for part in share_of(len(tokens), micro_batch=micro_batch):
            sums += _score(forward(inputs[part]), inputs[part], targets[part], val.n_bins)
    loss, right, n, hard_right, n_hard = sum_over_processes(sums, next(model.parameters()).device)
    return {
        "val_loss": loss / max(n, 1), "val_accuracy": right / max(n, 1),
        "val_accuracy_hard": hard_right / max(n_hard, 1),
    }


def _score(logits, inputs, targets, n_bins: int) -> np.ndarray:
    """Summed loss, right, hidden, right among the hard, hard."""
    hidden = targets >= 0
    right = (logits[:, :-1].argmax(-1).cpu() == targets) & hidden
    hard = hidden & (targets != commonest_visible(inputs, targets, n_bins=n_bins)[:, None])
    counts = (right, hidden, right & hard, hard)
    return np.array([masked_loss(logits, targets).item(), *(float(c.sum()) for c in counts)])


def commonest_visible(inputs: torch.Tensor, targets: torch.Tensor, *, n_bins: int) -> torch.Tensor:
    """The commonest non-zero bin of each cell among tokens not to be predicted; ties to the lower.

    inputs, targets: (B, G) as from :func:`~scarafm_utils.tokens.mask_tokens`; returns (B,) int64,
    1 for a cell without any.
    """
    visible = inputs.long().masked_fill((targets >= 0) | (inputs >= n_bins), 0)
    counts = torch.stack([(visible == b).sum(1) for b in range(1, n_bins)], dim=1)  # (B, n_bins - 1)
    return counts.argmax(1) + 1


def masked_baselines(
    store: TokenStore, val: TokenStore, *, config: PretrainConfig = DEFAULTS, model: ScAraFM | None = None
) -> pd.DataFrame:
    """Accuracy of three guesses without a model, and of the model, on the same hidden tokens.

    The commonest non-zero bin and the commonest non-zero bin of each gene are counted on training
    cells; the commonest visible bin of the cell needs no training.

    Returns
    -------
    One row per predictor: predictor, accuracy, accuracy_hard (on hidden tokens that differ from
    the third guess, which therefore scores 0 there), n_tokens, n_hard.
    """
    import pandas as pd

    counts = bin_counts(store)  # (G, n_bins), zeros not counted
    overall = int(counts.sum(0).argmax())
    per_gene = torch.as_tensor(np.where(counts.any(1), counts.argmax(1), overall))
    sums = np.zeros((3, 4))
    for step, tokens in val.batches(batch_size=config.batch_size):
        inputs, targets = hide(tokens, VALIDATION, step, config=config, n_bins=val.n_bins)
        own = commonest_visible(inputs, targets, n_bins=val.n_bins)[:, None]
        hidden = targets >= 0
        hard = hidden & (targets != own)
        for row, guess in zip(sums, (overall, per_gene[None, :], own), strict=True):
            right = (targets == guess) & hidden
            row += [float(c.sum()) for c in (right, hidden, right & hard, hard)]
    table = pd.DataFrame({
        "predictor": BASELINES, "accuracy": sums[:, 0] / np.maximum(sums[:, 1], 1),
        "accuracy_hard": sums[:, 2] / np.maximum(sums[:, 3], 1),
        "n_tokens": sums[:, 1].astype(int), "n_hard": sums[:, 3].astype(int),
    })
    if model is not None:
        result = evaluate(model, val, config=config)
        counts = table.loc[0, ["n_tokens", "n_hard"]]
        table.loc[len(table)] = ["model", result["val_accuracy"], result["val_accuracy_hard"], *counts]
    return table


def bin_counts(store: TokenStore) -> np.ndarray:
    """How often each gene has each non-zero bin: (G, n_bins) int64, in blocks of cells."""
    counts = np.zeros((len(store.genes), store.n_bins), dtype=np.int64)
    for _, tokens in store.batches(batch_size=1024):
        for b in range(1, store.n_bins):
            counts[:, b] += (tokens == b).sum(0)
    return counts
