"""One data set's own columns, words and names turned into the standard ones, with every check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import InputError, suggest
from .manifest import Dataset, SourceSpec
from .readers import count_problem, find_counts
from .tenx import MEASURED

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

#: Standard obs columns that hold words; `total_counts` holds numbers.
WORDS = ("condition", "genotype", "replicate", "cell_type")


def standardize(adata: ad.AnnData, dataset: Dataset, *, spec: SourceSpec | None = None) -> ad.AnnData:
    """Give a file's cells the names, columns and checks that the rest of the package relies on.

    See `load_raw` for what comes out.  `spec` may say per sample what the file does not.
    """
    import pandas as pd

    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InputError(f"the file has {adata.n_obs} cells and {adata.n_vars} features.")
    obs = standard_obs(adata.obs, dataset, spec or SourceSpec())
    measured = _measured(adata, dataset, list(obs["sample"].cat.categories))
    result, place = _values(adata, dataset)
    if not result.var_names.equals(adata.var_names):  # counts lay in raw, which has features of its own
        if not measured.to_numpy().all():
            raise InputError(f"{place} has other features than var, which says what samples carry.")
        measured = pd.DataFrame(True, index=result.var_names, columns=measured.columns)
    obs.index = _cell_names(adata.obs_names, obs["sample"], dataset.id)
    result.obs = obs
    result.var = result.var[[c for c in result.var if not _is_measured_column(c, dataset)]]
    result.varm["measured"] = measured.to_numpy(dtype=bool)
    result.uns["dataset"] = dataset.id
    result.uns["samples"] = list(obs["sample"].cat.categories)
    result.uns["provenance"] = {"counts_in": place}
    _check_unmeasured_empty(result)
    return result


def cap_per_sample(sample: pd.Series, n: int, *, seed: int) -> np.ndarray:
    """Positions of `n` cells drawn in proportion from every sample, in their old order.

    Shares are rounded by largest remainder; where `n` allows it, each sample keeps a cell.
    """
    import numpy as np

    codes = sample.astype("category").cat.codes.to_numpy()
    sizes = np.bincount(codes)
    share = sizes * n / sizes.sum()
    take = np.floor(share).astype(int)
    if n >= len(sizes):
        take = np.maximum(take, 1)
    order = np.argsort(-(share - take), kind="stable")
    for step in range(abs(n - take.sum())):
        if take.sum() < n:
            take[order[step % len(order)]] += 1
        else:
            take[np.argmax(take)] -= 1
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(codes == c), size=k, replace=False) for c, k in enumerate(take)]
    return np.sort(np.concatenate(chosen))


def standard_obs(obs: pd.DataFrame, dataset: Dataset, spec: SourceSpec) -> pd.DataFrame:
    """The standard columns of a file's `obs`: words as categories in order of appearance.

    The index counts the cells; `standardize` names them.
    """
    import pandas as pd

    by_sample = {column for values in (spec.samples or {}).values() for column in values}
    table = pd.DataFrame(index=range(len(obs)))
    for name in (*WORDS, "sample", "total_counts"):
        if name not in by_sample and (values := _column(obs, dataset, name)) is not None:
            table[name] = _numbers(values, dataset, name) if name == "total_counts" else _words(values)
    if "sample" not in table:
        own = obs["library"].to_numpy() if "library" in obs else _derived_sample(table, dataset)
        table["sample"] = _words(own)
    if table["sample"].isna().any():
        raise InputError(f"{dataset.id}: {int(table['sample'].isna().sum())} cells have no sample.")
    if spec.samples:
        table = _add_by_sample(table, dataset, spec.samples)
    table["sample"] = _words(table["sample"].astype(str).str.replace(":", "_"))
    return table


def _column(obs: pd.DataFrame, dataset: Dataset, name: str):
    """Values of a standard column; None where the manifest names none, or none that is needed."""
    column = getattr(dataset.obs, name)
    if column is None:
        return None
    if column in obs:
        return obs[column].to_numpy()
    if not _is_needed(dataset, name) or (name == "sample" and "library" in obs):
        return None
    raise InputError(
        f"{dataset.id}: obs has no column '{column}' (found: {', '.join(map(str, obs.columns)) or 'none'}). "
        f"Set obs.{name} for this data set in the manifest."
    )


def _is_needed(dataset: Dataset, name: str) -> bool:
    """Whether a column that the manifest names must be in the file.

    Totals always, since normalisation depends on them; words that a label or a split reads; the
    rest only where the manifest's author has seen the file.  Nothing reads the words of a
    pretraining data set.
    """
    if name == "total_counts":
        return True
    if dataset.role == "pretraining":
        return False
    read = {label.column for label in dataset.labels.values()}
    return dataset.obs_known or name in read or (name == "replicate" and (dataset.n_replicates or 0) > 1)


def _words(values) -> pd.Categorical:
    """Values as text, categories in order of appearance; missing stays missing, 1.0 is '1'."""
    import pandas as pd

    codes, found = pd.factorize(pd.Series(values).astype(object))  # each word once: there are few
    text = pd.Series([_word(value) for value in found], dtype=object).reindex(codes).reset_index(drop=True)
    return pd.Series(pd.Categorical(text, categories=list(pd.unique(text.dropna()))))


def _word(value) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _numbers(values, dataset: Dataset, name: str):
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        column = getattr(dataset.obs, name)
        raise InputError(f"{dataset.id}: obs['{column}'] has values that are no counts; see obs.{name}.")
    return numbers


def _derived_sample(table: pd.DataFrame, dataset: Dataset) -> pd.Series:
    """Name libraries by condition, genotype and replicate, as far as known."""
    import pandas as pd

    parts = [table[c].astype(object).fillna("unknown").astype(str) for c in WORDS[:3] if c in table]
    if not parts:
        return _words(pd.Series([dataset.id] * len(table)))
    return _words(parts[0].str.cat(parts[1:], sep="-") if parts[1:] else parts[0])


def _add_by_sample(table: pd.DataFrame, dataset: Dataset, samples: dict[str, dict]) -> pd.DataFrame:
    """Fill standard columns from what the manifest says of each sample."""
    unknown = [s for s in table["sample"].cat.categories if s not in samples]
    if unknown:
        raise InputError(
            f"{dataset.id}: sample '{unknown[0]}' is not in the manifest, {suggest(unknown[0], samples)}."
        )
    names = table["sample"].astype(str)
    for column in dict.fromkeys(c for values in samples.values() for c in values):
        table[column] = _words(names.map(lambda s, c=column: samples[s].get(c)))
    return table


def _is_measured_column(column: str, dataset: Dataset) -> bool:
    return str(column).startswith(dataset.measured or MEASURED)


def _measured(adata: ad.AnnData, dataset: Dataset, samples: list[str]) -> pd.DataFrame:
    """Features by samples: which sample carries which feature; all True for whole annotations."""
    import pandas as pd

    prefix = dataset.measured or MEASURED
    columns = [f"{prefix}{sample}" for sample in samples]
    if not any(_is_measured_column(c, dataset) for c in adata.var):
        return pd.DataFrame(True, index=adata.var_names, columns=samples)
    if missing := [c for c in columns if c not in adata.var]:
        raise InputError(f"{dataset.id}: var has no column '{missing[0]}'; every sample needs its own.")
    return adata.var[columns].astype(bool).set_axis(samples, axis=1)


def _values(adata: ad.AnnData, dataset: Dataset) -> tuple[ad.AnnData, str]:
    """Checked counts, or log-normalised values where the manifest says so."""
    if not dataset.normalised:
        try:
            return find_counts(adata, where=dataset.counts)
        except InputError as error:
            raise InputError(
                f"{error} Say with 'counts' where they lie; normalised: true is for log1p of CP10K."
            ) from error
    return _log_values(adata), "none: log-normalised in the source"


def _log_values(adata: ad.AnnData) -> ad.AnnData:
    import anndata as ad
    import numpy as np
    import scipy.sparse as sp

    problem = count_problem(adata.X)
    if problem is None:
        raise InputError("the manifest says normalised, but X holds whole numbers: set normalised: false.")
    if "whole numbers" not in problem:
        raise InputError(f"X {problem}.")
    matrix = sp.csr_matrix(adata.X, dtype=np.float32)
    if matrix.data.max() > np.log1p(1e4) + 1e-3:
        raise InputError(f"X goes up to {matrix.data.max():g}, but log1p of counts per 10,000 ends at 9.21.")
    return ad.AnnData(X=matrix, obs=adata.obs.copy(), var=adata.var.copy(), uns={"log1p": {}})


def _cell_names(names, sample: pd.Series, dataset_id: str) -> pd.Index:
    """``<dataset>:<sample>:<barcode>``; a sample written before a barcode is not written twice."""
    import pandas as pd

    barcodes = [_barcode(name, s, dataset_id) for name, s in zip(names, sample, strict=True)]
    result = pd.Index([f"{dataset_id}:{s}:{b}" for s, b in zip(sample, barcodes, strict=True)])
    if twice := list(result[result.duplicated()].unique()[:3]):
        raise InputError(
            f"{dataset_id}: {int(result.duplicated().sum())} barcodes stand twice in one sample "
            f"(such as {', '.join(twice)}). Set obs.sample, or remove the repeated cells."
        )
    return result


def _barcode(name: str, sample: str, dataset_id: str) -> str:
    name = str(name)
    for before in (dataset_id, sample):
        if name.startswith(before):
            name = re.sub(rf"^{re.escape(before)}[^A-Za-z0-9]+", "", name) or name
    return name.replace(":", "_")


def _check_unmeasured_empty(adata: ad.AnnData) -> None:
    """A sample must not have counts of a gene it is said not to carry."""
    import numpy as np

    sample = adata.obs["sample"].to_numpy()
    for j, name in enumerate(adata.uns["samples"]):
        absent = np.flatnonzero(~adata.varm["measured"][:, j])
        if absent.size and (wrong := adata.X[sample == name][:, absent].nnz):
            raise InputError(f"sample '{name}' has {wrong:,} counts of genes it is said not to carry.")
