"""Gene names: every way to write an Arabidopsis locus becomes one, and what was dropped is counted.

The three steps of A.1.1 are called in this order::

    adata = keep_nuclear_loci(sum_duplicate_genes(harmonize_loci(adata)))

Each returns a new AnnData that shares unchanged matrices with its input, and adds to the
report in ``uns['genes']`` (see `gene_report`).
"""

from __future__ import annotations

import functools
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

#: Below this share of recognised names the file does not speak of Arabidopsis loci.
MIN_MATCH = 0.5

_PREFIX = re.compile(r"^(?:(?:GENE|TRANSCRIPT|LOCUS)[:\-])+")
# A transcript number (.1), or the mark that make-unique functions append (-1, .1).
_LOCUS = re.compile(r"^(AT[1-5CM](?:G|TE)\d{5})(?:[.\-]\d{1,3})*$")
_LNCRNA = re.compile(r"^(ATHLNC\d+)(?:[.\-]\d{1,3})*$")
_KIND = re.compile(
    r"(?P<nuclear>AT[1-5]G\d{5})|(?P<chloroplast>ATCG\d{5})|(?P<mitochondrion>ATMG\d{5})"
    r"|(?P<lncRNA>ATHLNC\d+)|(?P<transposon>AT[1-5CM]TE\d{5})"
)


@functools.lru_cache(maxsize=1 << 17)  # all data sets, and all blocks of one, have much the same names
def locus_kind(name: str) -> str:
    """Kind of a feature name: nuclear, chloroplast, mitochondrion, lncRNA, transposon or unknown.

    >>> [locus_kind(n) for n in ("AT1G01010", "atcg00010", "AthLNC000001", "PLT1")]
    ['nuclear', 'chloroplast', 'lncRNA', 'unknown']
    """
    found = _KIND.fullmatch(str(name).upper())
    return str(found.lastgroup) if found else "unknown"


def harmonize_name(name: str, aliases: Mapping[str, str] | None = None) -> str:
    """Spell one feature name as a locus; a name that is no locus comes back unchanged.

    `aliases` maps symbols in capitals to loci; a name that already is a locus is never looked up.

    >>> harmonize_name("gene:at1g01010.2"), harmonize_name("PLT1", {"PLT1": "AT3G20840"})
    ('AT1G01010', 'AT3G20840')
    """
    bare, locus = _bare_and_locus(str(name))
    return locus or (aliases or {}).get(bare, str(name))


@functools.lru_cache(maxsize=1 << 17)
def _bare_and_locus(name: str) -> tuple[str, str | None]:
    """A name in capitals without what stands before it, and the locus it spells."""
    bare = _PREFIX.sub("", name.strip().upper())
    found = _LOCUS.match(bare) or _LNCRNA.match(bare)
    return bare, found.group(1) if found else None


def harmonize_loci(adata: ad.AnnData, *, aliases: Mapping[str, str] | None = None) -> ad.AnnData:
    """Bring feature names to the locus nomenclature (A.1.1, first step).

    Handled: letter case, ``gene:`` and ``gene-`` prefixes, transcript numbers (``.1``), the
    marks that make-unique functions append (``-1``), and symbols by `aliases`.  The names of
    the result need not be unique: `sum_duplicate_genes` comes next.  Organellar loci and
    lncRNA are recognised here and dropped by `keep_nuclear_loci`.

    Parameters
    ----------
    adata
        Cells by features, any values; matrices are shared with the result, not copied.
    aliases
        Symbol (any case) to locus.  No table is built in: symbols are ambiguous between releases.

    Returns
    -------
    AnnData
        With new ``var_names``, the old ones in ``var['source_name']``, and the counts read,
        matched, renamed, by_alias and unmatched in ``uns['genes']``.

    Raises
    ------
    InputError
        Where fewer than half of the names are recognised, with ten that are not, and where an
        alias points to something that is no locus.
    """
    table = _check_aliases(aliases or {})
    names, counts, unmatched = _spelled(tuple(adata.var_names), tuple(table.items()))
    _check_match(adata, n_names=len(names), unmatched=unmatched)
    result = _with_names(adata, names)
    if "source_name" not in result.var:
        result.var["source_name"] = [str(name) for name in adata.var_names]
    return _report(result, **counts, unmatched_examples=", ".join(unmatched[:10]))


@functools.lru_cache(maxsize=32)  # blocks of one data set have the same names
def _spelled(
    names: tuple[str, ...], aliases: tuple[tuple[str, str], ...]
) -> tuple[pd.Index, dict[str, int], list[str]]:
    """Names as loci, what `harmonize_loci` counts, and those that are no locus."""
    import pandas as pd

    table, old = dict(aliases), [str(name) for name in names]
    new = [harmonize_name(name, table) for name in old]
    unmatched = [n for n in new if locus_kind(n) == "unknown"]
    counts = {
        "read": len(old),
        "matched": len(old) - len(unmatched),
        "renamed": sum(a != b for a, b in zip(old, new, strict=True)),
        "by_alias": sum(harmonize_name(a) != b for a, b in zip(old, new, strict=True)) if table else 0,
        "unmatched": len(unmatched),
    }
    return pd.Index(new, dtype=object), counts, unmatched


def sum_duplicate_genes(adata: ad.AnnData) -> ad.AnnData:
    """Collapse features of the same name by summing their counts (A.1.1, second step).

    Order is that of first appearance; columns of ``var`` come from the first feature of a name,
    and a merged gene counts as measured in a sample where any of its features was.

    Parameters
    ----------
    adata
        Counts, (n_cells, n_features); layers are summed alike, ``raw`` is left behind.

    Returns
    -------
    AnnData
        With unique names and ``merged`` (features that went into another) in ``uns['genes']``;
        the sum of each cell is preserved.
    """
    import pandas as pd

    if adata.var_names.is_unique:
        return _report(_with_names(adata, adata.var_names), merged=0)
    codes, names = pd.factorize(adata.var_names, sort=False)
    merged = adata.n_vars - len(names)
    first = pd.Series(range(len(codes))).groupby(codes).first().to_numpy()
    result = _sum_columns(adata, codes=codes, first=first)
    return _report(result, merged=merged)


def keep_nuclear_loci(adata: ad.AnnData) -> ad.AnnData:
    """Keep canonical nuclear loci, AT1G… to AT5G… (A.1.1, third step).

    Out go chloroplast (ATC…) and mitochondrial (ATM…) loci, lncRNA (ATHLNC…), transposons and
    whatever is no locus, each in any letter case.

    Returns
    -------
    AnnData
        With ``kept`` and ``dropped_<reason>`` in ``uns['genes']``.

    Raises
    ------
    InputError
        Where nothing is left.
    """
    keep, dropped = _nuclear(tuple(adata.var_names))
    if not keep.any():
        shown = ", ".join(map(str, adata.var_names[:10]))
        raise InputError(f"{_dataset_name(adata)}: no nuclear locus among its features (found: {shown}).")
    result = _with_names(adata, adata.var_names) if keep.all() else adata[:, keep].copy()
    reasons = [kind for kind in (*_KIND.groupindex, "unknown") if kind != "nuclear"]
    return _report(result, kept=int(keep.sum()), **{f"dropped_{r}": dropped[r] for r in reasons})


@functools.lru_cache(maxsize=32)
def _nuclear(names: tuple[str, ...]) -> tuple[np.ndarray, Counter]:
    """Whether a name is a nuclear locus, (n_names,), and how many of each kind are there."""
    import numpy as np

    kinds = [locus_kind(name) for name in names]
    return np.array([kind == "nuclear" for kind in kinds], dtype=bool), Counter(kinds)


def gene_report(adata: ad.AnnData) -> dict[str, int]:
    """Counts of what the three steps did: read, matched, renamed, merged, dropped_…, kept."""
    return {k: int(v) for k, v in adata.uns.get("genes", {}).items() if k != "unmatched_examples"}


def _report(adata: ad.AnnData, **entries) -> ad.AnnData:
    adata.uns["genes"] = {**adata.uns.get("genes", {}), **entries}
    return adata


def _dataset_name(adata: ad.AnnData) -> str:
    return str(adata.uns.get("dataset", "gene names"))


def _check_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for symbol, locus in aliases.items():
        key, value = str(symbol).strip().upper(), harmonize_name(locus)
        if locus_kind(value) == "unknown":
            raise InputError(f"aliases: '{symbol}' points to '{locus}', which is no Arabidopsis locus.")
        if table.setdefault(key, value) != value:
            raise InputError(f"aliases: '{symbol}' points to both {table[key]} and {value}; keep one.")
    return table


def _check_match(adata: ad.AnnData, *, n_names: int, unmatched: list[str]) -> None:
    matched = n_names - len(unmatched)
    if n_names and matched >= MIN_MATCH * n_names:
        return
    examples = ", ".join(repr(name) for name in unmatched[:10]) or "none, there are no features"
    raise InputError(
        f"{_dataset_name(adata)}: {matched} of {n_names} feature names are Arabidopsis loci "
        f"such as AT1G01010 (at least half must be); not recognised: {examples}. "
        "Give aliases={symbol: locus}, or put locus ids into var_names."
    )


def _with_names(adata: ad.AnnData, names: pd.Index) -> ad.AnnData:
    """A new AnnData that shares the matrices of `adata` under other feature names."""
    var = adata.var.copy()
    var.index = names
    return _build(adata, X=adata.X, var=var, varm=dict(adata.varm), layers=dict(adata.layers))


def _build(adata: ad.AnnData, *, X, var, varm: dict, layers: dict) -> ad.AnnData:
    import anndata as ad

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        return ad.AnnData(
            X=X,
            obs=adata.obs.copy(),
            var=var,
            varm=varm,
            layers=layers,
            obsm=dict(adata.obsm),
            uns=dict(adata.uns),
        )


def _sum_columns(adata: ad.AnnData, *, codes: np.ndarray, first: np.ndarray) -> ad.AnnData:
    """Sum the columns that share a code; column c of the result is described by feature first[c]."""
    import numpy as np

    varm = {key: np.asarray(value)[first] for key, value in adata.varm.items()}
    if "measured" in adata.varm:
        measured = np.zeros((len(first), adata.varm["measured"].shape[1]), dtype=bool)
        np.logical_or.at(measured, codes, np.asarray(adata.varm["measured"], dtype=bool))
        varm["measured"] = measured
    layers = {key: _sum_matrix(value, codes) for key, value in adata.layers.items()}
    var = adata.var.iloc[first].copy()
    return _build(adata, X=_sum_matrix(adata.X, codes), var=var, varm=varm, layers=layers)


def _sum_matrix(matrix, codes: np.ndarray):
    """Sum the columns of `matrix` that share a code, in a type that cannot overflow."""
    import numpy as np
    import scipy.sparse as sp

    wide = np.result_type(matrix.dtype, np.int32) if matrix.dtype.kind in "biu" else np.float64
    shape = (len(codes), int(codes.max()) + 1)
    collapse = sp.csr_matrix((np.ones(len(codes), dtype=wide), (np.arange(len(codes)), codes)), shape=shape)
    summed = matrix.astype(wide) @ collapse
    summed = summed.tocsr() if sp.issparse(summed) else np.asarray(summed)
    return summed if matrix.dtype.kind in "biu" else summed.astype(matrix.dtype)
