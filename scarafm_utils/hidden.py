"""Hidden states of the cells of one task under one encoder: kept, spilled or computed again.

One pass over the cells gives the summaries (CLS, WM), the second moments for PCA and as much of the
hidden states as fits in memory.  What does not fit is computed again: PCA scores in a second pass,
ENS a block of dimensions per pass.  Nothing is written to disk unless a scratch folder is given.

The rule of cost, for n cells, G genes and d dimensions, in this order:

1. 4 n G d bytes fit in memory: kept in float32, no further pass.
2. 2 n G d bytes fit: kept in float16, as the released code stores them; no further pass.
3. The encoder is on a CPU and there is a scratch folder: spilled, dimension-major float16; no further
   pass.  Writing and reading a number takes about 10 ns, computing it again 500 ns on a CPU and less
   than 1 ns on a GPU, so that a GPU never spills.
4. Else the first pass keeps the first ⌊memory / 2 n G⌋ dimensions, and each further block of as many
   is one more pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .embeddings import SUMMARIES, EmbeddingPCA, Moments, iter_dimensions, iter_hidden, keep_dimensions
from .errors import InputError

if TYPE_CHECKING:
    import anndata as ad
    from scipy import sparse

    from .model import ScAraFM


class HiddenStates:
    """What an encoder makes of cells, read in whatever way its summaries, PCA and ENS need.

    Cells are rows of `cells` throughout.

    Parameters
    ----------
    model, cells
        The encoder, and the cells as it is to see them.
    columns
        Positions of the genes that heads see; all else is left out of WM, PCA and ENS.
    x
        (n, G) log-normalised expression of those genes.
    memory
        Gives the bytes that may be held now.
    scratch
        A folder for what does not fit, in a nameless file that vanishes with the process; or None.
    """

    def __init__(
        self,
        model: ScAraFM,
        cells: ad.AnnData,
        *,
        columns: np.ndarray,
        x: sparse.csr_matrix,
        memory: Callable[[], float],
        batch_size: int,
        scratch: str | Path | None,
    ):
        self.model, self.cells, self.columns, self.x = model, cells, columns, x
        self.memory, self.batch_size, self.scratch = memory, batch_size, scratch
        self._pooled: dict[str, np.ndarray] | None = None
        self._kept = np.empty((0, 0, 0), np.float32)  # the first dimensions, (m ≤ d, n, G)
        self._pcas: dict[bytes, EmbeddingPCA] = {}
        self._uses: dict[bytes, np.ndarray] = {}
        self._scores: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        self._scored: set[bytes] = set()

    @property
    def held_bytes(self) -> int:
        """Memory that kept dimensions take."""
        return 0 if isinstance(self._kept, np.memmap) else self._kept.nbytes

    @property
    def pooled(self) -> dict[str, np.ndarray]:
        """Summaries by name, (n, d) each; the first call embeds the cells."""
        if self._pooled is None:
            self.prepare([])
        return self._pooled

    def dimensions(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The cells `rows` dimension by dimension: j and (len(rows), G) float32."""
        if self._pooled is None:
            self.prepare([])
        held = len(self._kept)
        for j in range(held):
            yield j, self._kept[j][rows].astype(np.float32, copy=False)
        if held < self.model.config.dim:
            self._let_go()
            yield from iter_dimensions(
                self.model,
                self.cells[rows],
                memory_gb=self.memory() / 1e9,
                batch_size=self.batch_size,
                genes=self.columns,
                start=held,
                dtype=np.float16,
            )

    def prepare(self, fits: list[np.ndarray], used: list[np.ndarray] | None = None) -> None:
        """Fit PCA on each of several sets of cells, in the pass that gives the summaries where it is to come.

        Cells that several sets share are counted once.  `used` says, set by set, whose scores will be
        asked for; None: anybody's.
        """
        everybody = np.arange(self.cells.n_obs)
        for fit, rows in zip(fits, used or [everybody] * len(fits), strict=True):
            key = fit.tobytes()
            self._uses[key] = np.union1d(self._uses.get(key, rows), rows)
        new = list({fit.tobytes(): fit for fit in fits if fit.tobytes() not in self._pcas}.values())
        moments = Moments(new, self.cells.n_obs)
        if self._pooled is None:
            self._embed(moments)
        elif new:
            for rows, h in self._embeddings(np.unique(np.concatenate(new))):
                moments.add(h, rows)
        k = min(3, self.model.config.dim)
        for i, fit in enumerate(new):
            self._pcas[fit.tobytes()] = EmbeddingPCA(k).fit_moments(*moments.total(i))

    def pca(self, fit: np.ndarray) -> EmbeddingPCA:
        """The components learnt from the cells at the positions `fit`, sorted."""
        if fit.tobytes() not in self._pcas:
            self.prepare([fit])
        return self._pcas[fit.tobytes()]

    def pca_scores(self, k: int, *, fit: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores (len(rows), G·k) of the cells `rows` on components fitted on the cells `fit`, sorted."""
        key, most = fit.tobytes(), self.pca(fit).k
        if k > most:
            raise InputError(f"PCA_{k} of embeddings with {most} dimensions: use PCA_{most}.")
        if key not in self._scores or (self._scores[key][0][rows] < 0).any():
            self._score(key, rows)
        where, values = self._scores[key]
        return values[where[rows]].reshape(len(rows), -1, most)[:, :, :k].reshape(len(rows), -1)

    def _embed(self, moments: Moments) -> None:
        """Embed every cell once; keep summaries and what fits in memory, and add to `moments`."""
        pooled: dict[str, list[np.ndarray]] = {name: [] for name in SUMMARIES}
        self._kept, row = self._room(), 0
        for h in iter_hidden(self.model, self.cells, batch_size=self.batch_size):
            part, h = slice(row, row + len(h)), self._task_genes(h)
            for name, summary in SUMMARIES.items():
                pooled[name].append(np.array(summary(h, self.x[part]).cpu()))  # a view would keep all of h
            moments.add(h, part)
            keep_dimensions(self._kept, part, h[:, :-1])
            row = part.stop
        self._pooled = {name: np.concatenate(parts) for name, parts in pooled.items()}

    def _room(self) -> np.ndarray:
        """An array for the first dimensions, by the rule of cost."""
        d, plane, free = self.model.config.dim, (self.cells.n_obs, len(self.columns)), self.memory()
        for dtype in (np.float32, np.float16):
            if np.dtype(dtype).itemsize * d * plane[0] * plane[1] <= free:
                return np.empty((d, *plane), dtype)
        if self.scratch is None or self.model.gene_emb.device.type != "cpu":
            return np.empty((int(free // (2 * plane[0] * plane[1])), *plane), np.float16)
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            return np.memmap(file, dtype=np.float16, mode="w+", shape=(d, *plane))

    def _let_go(self) -> None:
        """Free an incomplete set of dimensions: the pass that follows needs its room."""
        if len(self._kept) < self.model.config.dim:
            self._kept = np.empty((0, 0, 0), np.float32)

    def _task_genes(self, h):
        """(B, G_model + 1, d) → (B, G + 1, d): the genes of the task, and the extra token last."""
        if len(self.columns) == h.shape[1] - 1:
            return h
        return h[:, np.append(self.columns, h.shape[1] - 1)]

    def _embeddings(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Rows and their embeddings (B, G + 1, d), from memory or from the encoder."""
        parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        if len(self._kept) < self.model.config.dim:
            self._let_go()
            stream = iter_hidden(self.model, self.cells[rows], batch_size=self.batch_size)
            yield from zip(parts, map(self._task_genes, stream), strict=True)
            return
        for part in parts:
            genes = torch.from_numpy(self._kept[:, part].astype(np.float32, copy=False)).permute(1, 2, 0)
            yield part, torch.nn.functional.pad(genes, (0, 0, 0, 1))  # position G is left out of PCA

    def _score(self, key: bytes, rows: np.ndarray) -> None:
        """Scores under `key` of the cells `rows` and of all that it is to be used for.

        As many other fits as fit in memory are scored in the same pass.  Train and test cells, three
        k and three heads then share the scores; they replace older ones.
        """
        self._uses[key] = np.union1d(self._uses.get(key, rows), rows)
        width, room = len(self.columns) * self._pcas[key].k, self.memory()
        self._scores = {}
        for k in (key, *(k for k in self._uses if k != key and k not in self._scored)):
            room -= 4 * width * len(self._uses[k])
            if k == key or room >= 0:
                where = np.full(self.cells.n_obs, -1)
                where[self._uses[k]] = np.arange(len(self._uses[k]))
                self._scores[k] = where, np.empty((len(self._uses[k]), width), np.float32)
        self._scored.update(self._scores)
        for part, h in self._embeddings(np.unique(np.concatenate([self._uses[k] for k in self._scores]))):
            for k, (where, values) in self._scores.items():
                mine = where[part] >= 0
                values[where[part][mine]] = self._pcas[k].transform(h).cpu().numpy()[mine]
