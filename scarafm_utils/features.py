"""The features of the cells of one task: each cell passes each encoder once, whatever is asked.

Where hidden states do not fit in memory, :mod:`scarafm_utils.hidden` says what is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .embeddings import check_vocabulary
from .errors import InputError, suggest
from .hidden import HiddenStates
from .model import ModelConfig
from .names import ENCODED, POOLED
from .plain_features import LEARNERS, Expression
from .tokens import measured_columns

if TYPE_CHECKING:
    import anndata as ad

    from .embeddings import EmbeddingPCA
    from .model import ScAraFM

#: Names that need an encoder; a prefix ("untrained:WM") names another one.
encoder_representations = ENCODED
#: Names that do not.
plain_representations = tuple(LEARNERS)


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
        A folder for hidden states that do not fit in memory, in a nameless file that vanishes with
        the process (:mod:`scarafm_utils.hidden` has the rule).  None: they are computed again.
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
        if bad := int((~np.isfinite(self._x.data)).sum()):
            raise InputError(
                f"{bad:,} of {self._x.nnz:,} expression values are not finite numbers: "
                "run the chapter 'preprocessing' again."
            )
        config = next((model.config for model in self.models.values()), ModelConfig())
        self._expression = Expression(
            cells, self.genes, self._x, n_bins or config.n_bins, dim or config.dim, seed
        )
        self._encoders: dict[str, HiddenStates] = {}
        self._fitted: dict[tuple, Any] = {}

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
            values = self._hidden(prefix).pooled[kind][rows]
        elif kind.startswith("PCA_") and kind in encoder_representations:
            values = self._hidden(prefix).pca_scores(int(kind[-1]), fit=fit_rows, rows=rows)
        elif kind in ("ENS", "CNN"):
            raise InputError(f"{kind} is no matrix: use dimensions() for ENS and CNNHead for CNN.")
        else:
            known = plain_representations + encoder_representations
            raise InputError(f"representation {representation!r} is not known: {suggest(kind, known)}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def dimensions(self, names: Sequence[str], *, prefix: str = "") -> Iterator[tuple[int, np.ndarray]]:
        """The embedding of the cells `names` dimension by dimension: j and (len(names), G) float32."""
        return self._hidden(prefix).dimensions(self._rows(names))

    def prepare(
        self, fits: Iterable[Sequence[str]], *, used: Iterable[Sequence[str]] | None = None, prefix: str = ""
    ) -> None:
        """Fit PCA for several sets of training cells within the one pass that also gives CLS and WM.

        Needed only for speed, where hidden states do not fit in memory.  `used` says, set by set,
        which cells' scores will be asked for; None: any.
        """
        used = used and [np.sort(self._rows(names)) for names in used]
        self._hidden(prefix).prepare([np.sort(self._rows(names)) for names in fits], used)

    def pca(self, *, fit: Sequence[str], prefix: str = "") -> EmbeddingPCA:
        """The components behind PCA_1, PCA_2 and PCA_3, learnt from the cells `fit`."""
        return self._hidden(prefix).pca(np.sort(self._rows(fit)))

    def _hidden(self, prefix: str) -> HiddenStates:
        if prefix not in self.models:
            known = ", ".join(repr(p) for p in self.models) or "none"
            raise InputError(f"no encoder has the prefix {prefix!r}: give it in models (given: {known}).")
        if prefix not in self._encoders:
            self._encoders[prefix] = HiddenStates(
                self.models[prefix],
                self.encoder_cells,
                columns=self._columns,
                x=self._x,
                memory=lambda: self._free(prefix),
                batch_size=self.batch_size,
                scratch=self.scratch,
            )
        return self._encoders[prefix]

    def _free(self, prefix: str) -> float:
        """Bytes that an encoder may hold, with what the others hold."""
        others = (e.held_bytes for name, e in self._encoders.items() if name != prefix)
        return max(0.0, self.memory_gb * 1e9 - sum(others))

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        rows = self.cells.obs_names.get_indexer(list(names))
        if (rows < 0).any():
            missing = np.asarray(names)[rows < 0]
            raise InputError(f"{len(missing)} of {len(rows)} cells are not in the task, first '{missing[0]}'.")
        return rows


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
