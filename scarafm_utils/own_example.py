"""Two small simulated studies as somebody else would store them: an example for one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import write_text
from .hdf5_files import write_h5ad
from .manifest import load_manifest
from .simulate import simulate_dataset
from .workspace import PROJECT

if TYPE_CHECKING:
    import anndata as ad

#: File name → the data set of the manifest whose structure it takes.
STUDIES = {"study_a": "GSE273033", "study_b": "ERP132245"}

_RENAMED = {"condition": "treatment", "replicate": "rep", "sample": "library", "cell_type": "annotation"}

_ENTRY = """
  {name}:
    tissue: leaf
    role: downstream
    n_cells: {n_cells}
    stress: drought
    n_conditions: 2
    n_replicates: {n_replicates}
    libraries: {n_libraries}
    citation: "simulated: an example"
    obs: {{condition: treatment, {replicate}sample: library, cell_type: annotation}}
    labels:
      stress:
        column: condition
        classes:
          control: {control}
          stress: {stress}
    sources:
      local: {{path: {name}.h5ad, format: h5ad}}
"""


def write_example(folder: Path, *, n_cells: int = 400, n_genes: int = 400, seed: int = 8) -> list[Path]:
    """Write two simulated drought studies as h5ad files with column names of their own, and a manifest.

    Parameters
    ----------
    folder
        Made when missing.
    n_cells, n_genes
        Size of each study.
    seed
        Of the simulation.

    Returns
    -------
    The files: one for each study, then the manifest that describes both.

    Raises
    ------
    InputError
        One of the files is there already.
    """
    paths = [folder / f"{name}.h5ad" for name in STUDIES] + [folder / "example_manifest.yaml"]
    if there := [path.name for path in paths if path.exists()]:
        raise InputError(f"{there[0]} is there already: remove it, or name another folder")
    try:
        entries = [_write_study(path, d, n_cells, n_genes, seed) for path, d in zip(paths, STUDIES.values())]
        text = "# Two simulated studies; data_manifest.yaml explains every key at its top.\n\ndatasets:\n"
        write_text(paths[-1], text + "".join(entries))
    except InputError:
        for path in paths:  # all of them or none: a second try must not find some there
            path.unlink(missing_ok=True)
        raise
    return paths


def _write_study(path: Path, dataset_id: str, n_cells: int, n_genes: int, seed: int) -> str:
    """Write one study; return its entry of the manifest."""
    cells = _as_of_another_lab(dataset_id, n_cells, n_genes, seed)
    write_h5ad(path, cells, compression="gzip")
    return _entry(path.stem, cells)


def _as_of_another_lab(dataset_id: str, n_cells: int, n_genes: int, seed: int) -> ad.AnnData:
    dataset = load_manifest(PROJECT / "data_manifest.yaml")[dataset_id]
    cells = simulate_dataset(dataset, n_cells=n_cells, n_genes=n_genes, seed=seed)
    names = {getattr(dataset.obs, k): v for k, v in _RENAMED.items() if getattr(dataset.obs, k)}
    cells.obs = cells.obs[list(names)].rename(columns=names)
    return cells


def _entry(name: str, cells: ad.AnnData) -> str:
    obs = cells.obs
    words = list(dict.fromkeys(obs["treatment"].astype(str)))
    replicates = obs["rep"].nunique() if "rep" in obs else 1
    return _ENTRY.format(
        name=name, n_cells=cells.n_obs, n_replicates=replicates, n_libraries=obs["library"].nunique(),
        replicate="replicate: rep, " if replicates > 1 else "",
        control=f'["{words[0]}"]', stress="[" + ", ".join(f'"{w}"' for w in words[1:]) + "]",
    )  # fmt: skip
