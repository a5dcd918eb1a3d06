"""Score files: one row per test cell, under a name that changes with anything that made it.

Metrics, intervals and figures are computed from these files, never by fitting again.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import atomic_path, code_digest, hash_of

if TYPE_CHECKING:
    import pandas as pd

#: Columns before the ``score:<class>`` ones.
COLUMNS = ("obs_name", "y_true", "sample", "replicate", "cell_type", "n_counts")

#: Modules that say what is asked for, not how it is computed.
DECLARATIVE = frozenset(
    {"errors", "files", "config", "manifest", "tasks", "profiles", "workspace", "scores", "measures"}
)

PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "torch", "xgboost-cpu", "xgboost", "anndata")
_META = b"scarafm"


def score_key(params: dict) -> str:
    """Name a score file by everything that it depends on.

    Parameters
    ----------
    params
        JSON-like: the configuration, checksums of inputs and checkpoint, `code_behind`.

    Returns
    -------
    Twenty hexadecimal digits; equal parameters have equal keys whatever their order.
    """
    return hash_of(params)


def code_behind(module: str) -> str:
    """Hash the source of `module` and of every module of this package that it imports.

    The import statements are followed, so that a module split in two needs no list kept by
    hand.  Modules that only declare (manifest, profiles, workspace) or only read scores are
    left out: what they contribute is among the parameters.
    """
    return code_digest(*_reached(module))


@lru_cache
def _reached(module: str) -> tuple[str, ...]:
    folder, found, waiting = Path(__file__).parent, set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in DECLARATIVE or not (folder / f"{name}.py").exists():
            continue
        found.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                waiting += [node.module] if node.module else [alias.name for alias in node.names]
    return tuple(sorted(found))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute scores, as far as installed."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_scores(path: str | Path, table: pd.DataFrame, metadata: dict) -> Path:
    """Write one configuration's scores as parquet, atomically.

    Parameters
    ----------
    table
        The columns of `COLUMNS`, then one ``score:<class>`` per class in label order.
    metadata
        JSON-like: all parameters, `fit_seconds`, `peak_memory_mb`, versions.  Stored in the
        file, with a digest over table and metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise InputError(f"A table of scores lacks {', '.join(lacking)} (found: {', '.join(table.columns)}).")
    text = json.dumps(metadata, sort_keys=True, default=str)
    stored = json.dumps({"metadata": text, "digest": _digest(table, text)})
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _META: stored.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary, write_page_checksum=True)
    return Path(path)


def read_scores(path: str | Path) -> tuple[pd.DataFrame, dict]:
    """Read a score file and its metadata.

    Raises
    ------
    InputError
        The file is absent, cut short, or differs from what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.exists():
        raise InputError(f"No score file {path.name}. Run the task's chapter first.")
    try:
        arrow = pq.read_table(path, page_checksum_verification=True)
        stored = json.loads(arrow.schema.metadata[_META])
        table, text = arrow.to_pandas(), stored["metadata"]
        if stored["digest"] != _digest(table, text):
            raise ValueError("its digest does not match")
        return table, json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"Score file {path.name} is damaged ({reason}). Delete it and run the task again."
        ) from None


def stored(path: Path, compute: Callable[[], tuple[pd.DataFrame, dict]]) -> tuple[pd.DataFrame, dict]:
    """Read a score file; compute and write it where it is absent or damaged (with a warning)."""
    if path.exists():
        try:
            return read_scores(path)
        except InputError as error:
            warnings.warn(f"{error} It is computed again now.", stacklevel=2)
    table, facts = compute()
    write_scores(path, table, facts)
    return read_scores(path)


def _digest(table: pd.DataFrame, text: str) -> str:
    """Hash the values of a table and the text of its metadata."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes().hex()
    return hash_of([list(table.columns), rows, text])
