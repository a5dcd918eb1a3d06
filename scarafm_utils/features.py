"""The features of the cells of one task: each cell passes each encoder once, whatever is asked.

One pass over the cells gives CLS, WM and, where they fit in memory, all hidden states; where
they do not, the second moments for PCA come from the same pass (:meth:`TaskFeatures.prepare`),
PCA scores from a second one, and ENS reads a few dimensions per pass.  Nothing is written to disk
unless a scratch folder is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .embeddings import (
    SUMMARIES,
    EmbeddingPCA,
    Moments,
    check_vocabulary,
    iter_dimensions,
    iter_hidden,
)
from .errors import InputError, suggest
from .model import ModelConfig
from .names import ENCODED, POOLED
from .plain_features import LEARNERS, Expression
from .tokens import measured_columns

if TYPE_CHECKING:
    import anndata as ad

    from .model import ScAraFM

#: Names that need an encoder; a prefix ("untrained:WM") names another one.
encoder_representations = ENCODED
#: Names that do not.
plain_representations = tuple(LEARNERS)


@dataclass(frozen=True)
class Encoded:
    """What one pass of an encoder leaves: summaries (n, d), hidden states (d, n, G) or None."""

    pooled: dict[str, np.ndarray]
    hidden: np.ndarray | None


class TaskFeatures:
    """Features of all cells of one task, by representation.

    Heads see only genes measured in every sample of the task; so do WM and PCA, since a gene
    that some samples lack tells the sample.  For the same reason the encoder sees MASK, in every
    cell alike, where any sample of the task lacks a gene: through attention the embeddings of the
    other genes would carry the pattern.

    Parameters
    ----------
    cells
        Processed cells of the task, training and test: X log-normalised, unique obs names.
    models
        Encoders by prefix: "" is the pretrained one, "untrained" and "shuffled" its controls.
    memory_gb
        What hidden states may take, in 10⁹ bytes, over all encoders.
    scratch
        A folder for hidden states that do not fit in memory: dimension-major float16 in a nameless
        file that vanishes with the process.  The rule of cost: writing and reading a number takes
        about 10 ns, computing it again 500 ns on a CPU and less than 1 ns on a GPU; so it is used
        on a CPU alone, and where no folder is given every reading is a pass of the encoder.
    dim, n_bins
        Number of features of `hvg_pca` and of the bins of `binned`; None takes those of the first
        model, else the paper's (200 and 6).
    genes
        Genes that heads may see, where `cells` are only some of the task's; None takes those
        measured in every sample that has cells here.

    Attributes
    ----------
    genes
        Index of the genes that heads see.
    encoder_cells
        The cells as encoders see them (`hide_genes`).
    """

    def __init__(
        self,
        cells: ad.AnnData,
        *,
        models: dict[str, ScAraFM] | None = None,
        memory_gb: float = 1.0,
        batch_size: int = 32,
        seed: int = 0,
        dim: int | None = None,
        n_bins: int | None = None,
        genes: Sequence[str] | None = None,
        scratch: str | Path | None = None,
    ):
        from scipy import sparse

        self.cells, self.models, self.memory_gb = cells, dict(models or {}), memory_gb
        self.batch_size, self.scratch = batch_size, scratch
        if not cells.obs_names.is_unique:
            raise InputError(f"obs name {cells.obs_names[cells.obs_names.duplicated()][0]!r} occurs twice.")
        for model in self.models.values():
            check_vocabulary(model, cells.var_names)
        seen = measured_everywhere(cells) if genes is None else cells.var_names.isin(genes)
        self._columns = np.flatnonzero(seen)
        self.genes = cells.var_names[self._columns]
        self.encoder_cells = hide_genes(cells, ~seen)
        self._x = sparse.csr_matrix(cells.X, dtype=np.float32)[:, self._columns]
        config = next((model.config for model in self.models.values()), ModelConfig())
        self._expression = Expression(
            cells, self.genes, self._x, n_bins or config.n_bins, dim or config.dim, seed
        )
        self._encoded: dict[str, Encoded] = {}
        self._fitted: dict[tuple, Any] = {}
        self._scores: dict[tuple, np.ndarray] = {}
        self._scored: set[tuple] = set()

    def matrix(self, representation: str, *, fit: Sequence[str], names: Sequence[str]) -> np.ndarray:
        """Features of the cells `names`: (len(names), p) float32, rows in the order of `names`.

        Whatever is learnt (PCA, genes of hvg_pca, cell types, mean and spread of depth) is learnt
        from the cells `fit` alone.

        Raises
        ------
        InputError
            An unknown representation, encoder or cell name; ENS and CNN, which are no matrix.
        """
        prefix, _, kind = representation.rpartition(":")
        rows, fit_rows = self._rows(names), np.sort(self._rows(fit))
        if kind in plain_representations and not prefix:
            key = (kind, fit_rows.tobytes())
            if key not in self._fitted:
                self._fitted[key] = LEARNERS[kind](self._expression, fit_rows)
            values = self._fitted[key](rows)
        elif kind in POOLED:
            values = self._encode(prefix).pooled[kind][rows]
        elif kind.startswith("PCA_") and kind in encoder_representations:
            values = self._pca_k(prefix, int(kind[-1]), fit_rows, rows)
        elif kind in ("ENS", "CNN"):
            raise InputError(f"{kind} is no matrix: use dimensions() for ENS and CNNHead for CNN.")
        else:
            known = plain_representations + encoder_representations
            raise InputError(f"representation {representation!r} is not known: {suggest(kind, known)}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def dimensions(self, names: Sequence[str], *, prefix: str = "") -> Iterator[tuple[int, np.ndarray]]:
        """The embedding of the cells `names` dimension by dimension: j and (len(names), G) float32."""
        rows = self._rows(names)
        hidden = self._encode(prefix).hidden
        if hidden is not None:
            yield from ((j, plane[rows].astype(np.float32, copy=False)) for j, plane in enumerate(hidden))
            return
        yield from iter_dimensions(
            self._model(prefix),
            self.encoder_cells[rows],
            memory_gb=self.memory_gb,
            batch_size=self.batch_size,
            genes=self._columns,
        )

    def prepare(self, fits: Iterable[Sequence[str]], *, prefix: str = "") -> None:
        """Fit PCA for several sets of training cells within the one pass that also gives CLS and WM.

        Needed only for speed, where hidden states do not fit in memory; cells that several sets
        share are counted once.
        """
        rows = [np.sort(self._rows(names)) for names in fits]
        self._fit_pcas(prefix, [r for r in rows if ("pca", prefix, r.tobytes()) not in self._fitted])

    # -- with an encoder ---------------------------------------------------------------------

    def _model(self, prefix: str) -> ScAraFM:
        if prefix not in self.models:
            known = ", ".join(repr(p) for p in self.models) or "none"
            raise InputError(f"no encoder has the prefix {prefix!r}: give it in models (given: {known}).")
        return self.models[prefix]

    def _encode(self, prefix: str) -> Encoded:
        if prefix not in self._encoded:
            self._pass(prefix, Moments([], self.cells.n_obs))
        return self._encoded[prefix]

    def _pass(self, prefix: str, moments: Moments) -> None:
        """Embed every cell once; keep CLS, WM and what fits in memory, and add to `moments`."""
        model, n, G = self._model(prefix), self.cells.n_obs, len(self.genes)
        d, row = model.config.dim, 0
        pooled: dict[str, list[np.ndarray]] = {name: [] for name in SUMMARIES}
        hidden = self._room((d, n, G), on_cpu=model.gene_emb.device.type == "cpu")
        for h in iter_hidden(model, self.encoder_cells, batch_size=self.batch_size):
            part = slice(row, row + len(h))
            h = self._task_genes(h)
            for name, summary in SUMMARIES.items():
                pooled[name].append(summary(h, self._x[part]).cpu().numpy())
            moments.add(h, part)
            if hidden is not None:
                hidden[:, part] = h[:, :-1].permute(2, 0, 1).cpu().numpy()
            row = part.stop
        summaries = {name: np.concatenate(parts) for name, parts in pooled.items()}
        self._encoded[prefix] = Encoded(summaries, hidden)

    def _room(self, shape: tuple[int, int, int], *, on_cpu: bool) -> np.ndarray | None:
        """An array for hidden states: in memory, else in the scratch folder, else None."""
        held = sum(_bytes_in_memory(e.hidden) for e in self._encoded.values())
        if held + 4 * np.prod(shape, dtype=float) <= self.memory_gb * 1e9:
            return np.empty(shape, np.float32)
        if self.scratch is None or not on_cpu:
            return None
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            return np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def _task_genes(self, h):
        """(B, G_model + 1, d) → (B, G + 1, d): the genes of the task, and the extra token last."""
        if len(self._columns) == h.shape[1] - 1:
            return h
        return h[:, np.append(self._columns, h.shape[1] - 1)]

    def _fit_pcas(self, prefix: str, fits: list[np.ndarray]) -> None:
        moments = Moments(fits, self.cells.n_obs)
        if prefix not in self._encoded:
            self._pass(prefix, moments)
        elif fits:
            for rows, h in self._embeddings(prefix, np.unique(np.concatenate(fits))):
                moments.add(h, rows)
        k = min(3, self._model(prefix).config.dim)
        for i, rows in enumerate(fits):
            self._fitted["pca", prefix, rows.tobytes()] = EmbeddingPCA(k).fit_moments(*moments.total(i))

    def _embeddings(self, prefix: str, rows: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Rows and their embeddings (B, G + 1, d), from memory or from the encoder."""
        hidden = self._encode(prefix).hidden
        parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        if hidden is None:
            stream = iter_hidden(self._model(prefix), self.encoder_cells[rows], batch_size=self.batch_size)
            yield from zip(parts, map(self._task_genes, stream), strict=True)
            return
        for part in parts:
            genes = torch.from_numpy(hidden[:, part].astype(np.float32, copy=False)).permute(1, 2, 0)
            yield part, torch.nn.functional.pad(genes, (0, 0, 0, 1))  # position G is left out of PCA

    def _pca_k(self, prefix: str, k: int, fit: np.ndarray, rows: np.ndarray):
        key = ("pca", prefix, fit.tobytes())
        if key not in self._fitted:
            self._fit_pcas(prefix, [fit])
        pca = self._fitted[key]
        if k > pca.k:
            raise InputError(f"PCA_{k} of embeddings with {pca.k} dimensions: use PCA_{pca.k}.")
        if key not in self._scores:
            self._score(prefix, key)
        return self._scores[key][rows].reshape(len(rows), -1, pca.k)[:, :, :k].reshape(len(rows), -1)

    def _score(self, prefix: str, key: tuple) -> None:
        """PCA scores of all cells under `key`, and in the same pass under other fits that wait.

        Train and test cells, three k and three heads then share them; they replace older ones.
        """
        n, width = self.cells.n_obs, len(self.genes) * self._fitted[key].k
        room = max(1, int(self.memory_gb * 1e9 // (4 * n * width)))
        waiting = [k for k in self._fitted if k[:2] == key[:2] and k != key and k not in self._scored]
        keys = [key, *waiting][:room]
        self._scores = {k: np.empty((n, width), np.float32) for k in keys}
        self._scored.update(keys)
        for part, h in self._embeddings(prefix, np.arange(n)):
            for k in keys:
                self._scores[k][part] = self._fitted[k].transform(h).cpu().numpy()

    # -- names and caches --------------------------------------------------------------------

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        rows = self.cells.obs_names.get_indexer(list(names))
        if (rows < 0).any():
            missing = np.asarray(names)[rows < 0]
            raise InputError(f"{len(missing)} of {len(rows)} cells are not in the task, first '{missing[0]}'.")
        return rows


def _bytes_in_memory(hidden: np.ndarray | None) -> int:
    return 0 if hidden is None or isinstance(hidden, np.memmap) else hidden.nbytes


def measured_everywhere(cells: ad.AnnData) -> np.ndarray:
    """Genes measured in every sample that has cells, (G,) bool."""
    present = set(cells.obs["sample"].astype(str)) if "sample" in cells.obs else set()
    masks = [genes for sample, genes in measured_columns(cells).items() if sample in present]
    everywhere = np.all(masks, axis=0) if masks else np.ones(cells.n_vars, dtype=bool)
    if not everywhere.any():
        raise InputError(f"none of {cells.n_vars} genes is measured in all {len(masks)} samples of the task.")
    return everywhere


def hide_genes(cells: ad.AnnData, hidden: np.ndarray) -> ad.AnnData:
    """Cells in which the genes `hidden`, (G,) bool, are measured in no sample: MASK in each of them alike.

    Where nothing is hidden the cells come back as they are.
    """
    import anndata as ad
    import pandas as pd

    if not hidden.any():
        return cells
    obs = pd.DataFrame({"sample": "all"}, index=cells.obs_names)
    varm = {"measured": ~hidden[:, None]}
    return ad.AnnData(cells.X, obs=obs, var=cells.var[[]], varm=varm, uns={"samples": ["all"]})
