"""Where cells come from: one data set in, counts with standard names out.

`fetch` puts a file where it can be read and `load_raw` reads it: counts detected and checked,
obs columns under the words of this project, names ``<dataset>:<sample>:<barcode>``, and which
gene each sample carries in ``varm['measured']``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .downloads import PATIENT, SILENT, Network, Watcher, download
from .errors import InputError, suggest
from .file_blocks import CellFile, open_cells
from .files import hash_of, write_json
from .hub import fetch_release
from .lockfile import checksum, read_lock
from .manifest import Dataset, SourceSpec
from .profiles import ReleaseFiles
from .readers import convert_command, rds_message
from .rows import FILE_BLOCK
from .standard import cap_per_sample, standard_obs, standardize
from .unpack import extract_tar

if TYPE_CHECKING:
    import anndata as ad

    from .simulate import Effects

SOURCES = ("simulated", "local", "public", "release")
#: Size of a simulated data set when nobody says one.
SIMULATED_CELLS, SIMULATED_GENES = 500, 400


def fetch(
    dataset: Dataset,
    *,
    source: str,
    data_dir: str | Path,
    release: ReleaseFiles | None = None,
    network: Network = PATIENT,
    watcher: Watcher = SILENT,
) -> Path:
    """Path of the file or folder that holds `dataset`; downloaded where it is not there yet.

    Parameters
    ----------
    dataset
        An entry of the manifest.
    source
        ``local`` looks in `data_dir` for ``<id>.h5ad``, ``.h5ad.gz``, ``.h5`` or a folder ``<id>``;
        ``public`` downloads from scPlantDB or GEO, ``release`` the authors' file from Hugging Face.
    data_dir
        The folder with the user's files and the downloads.
    release
        Repository and revision of the release, where a profile names others than the default.
    network
        Patience of downloads.
    watcher
        Is told how far downloads are.

    Raises
    ------
    InputError
        Where nothing is found, with the names tried; where two files claim to be the data set;
        where only an ``.rds`` is to be had, with the command that converts it; where a download
        fails (see `downloads.download`).
    """
    if source not in SOURCES:
        raise InputError(f"source '{source}' is not known: {suggest(source, SOURCES)}.")
    if source == "simulated":
        raise InputError(f"{dataset.id}: simulated cells are made by load_raw, there is no file to fetch.")
    if source == "local":
        return _local_path(dataset, Path(data_dir))
    spec = dataset.sources[dataset.source_name(source)]
    with _naming(dataset.id):
        if source == "public":
            return _public_path(dataset, spec, Path(data_dir), network, watcher)
        return _release_path(spec, Path(data_dir), release)


def load_raw(
    dataset: Dataset,
    *,
    source: str,
    data_dir: str | Path,
    seed: int = 0,
    n_cells: int | None = None,
    n_genes: int | None = None,
    effects: Effects | None = None,
    max_cells: int | None = None,
    release: ReleaseFiles | None = None,
) -> ad.AnnData:
    """Counts of one data set with standard obs columns and names.

    Parameters
    ----------
    dataset
        An entry of the manifest, which says what the file's columns and words mean.
    source
        ``simulated``, ``local``, ``public`` or ``release``.
    data_dir
        Folder with local or fetched files; not touched by ``simulated``.
    seed
        Of the simulated cells, and of the choice of cells under `max_cells`.
    n_cells, n_genes, effects
        Size and causes of a simulated data set; not used otherwise.
    max_cells
        Keep at most so many cells, drawn in proportion from every sample.
    release
        See `fetch`.

    Returns
    -------
    AnnData
        X: CSR int32 counts (n_cells, n_features), or log-normalised float32 where the manifest says
        ``normalised``.  obs: sample, and condition, genotype, replicate, cell_type, total_counts
        where known.  ``varm['measured']``: bool (n_features, n_samples), columns in ``uns['samples']``.
        ``uns['provenance']``: source, file name, checksum.

    Raises
    ------
    InputError
        Where the file is absent or damaged, holds no counts, lacks a column the manifest names,
        or has a barcode twice in one sample.
    """
    sizes = {"n_cells": n_cells, "n_genes": n_genes, "effects": effects}
    (adata,) = iter_raw(
        dataset, source=source, data_dir=data_dir, seed=seed, max_cells=max_cells, release=release,
        max_values=None, **sizes,
    )  # fmt: skip
    return adata


def iter_raw(
    dataset: Dataset,
    *,
    source: str,
    data_dir: str | Path,
    seed: int = 0,
    n_cells: int | None = None,
    n_genes: int | None = None,
    effects: Effects | None = None,
    max_cells: int | None = None,
    release: ReleaseFiles | None = None,
    max_values: int | None = FILE_BLOCK,
) -> Iterator[ad.AnnData]:
    """`load_raw` in blocks of cells, in the order of the file; see there for arguments and errors.

    `max_values` bounds the stored values of a block (None: one block).  h5ad files are read block by
    block; 10x libraries and simulated cells are one block.  Each block looks like a data set of
    its own: its samples are those of its cells, and a barcode that stands twice in two blocks has
    to be found by whoever joins them.
    """
    with _opened(
        dataset, source, data_dir, release, max_values, n_cells=n_cells, n_genes=n_genes, seed=seed, effects=effects
    ) as (file, spec, origin):
        described = dataset if source == "simulated" else dataset.read_from(source)
        origin |= {"dataset": dataset.id, "source": source, "cells_in_source": len(file.obs)}
        chosen = None
        if max_cells is not None and len(file.obs) > max_cells:
            with _naming(dataset.id):
                sample = standard_obs(file.obs, described, spec)["sample"]
            chosen = cap_per_sample(sample, max_cells, seed=seed)
            origin |= {"max_cells": max_cells, "max_cells_seed": seed}
        for rows, block in file.blocks(max_values=max_values):
            with _naming(dataset.id):
                adata = standardize(block, described, spec=spec)
            if chosen is not None:
                own = chosen[(chosen >= rows.start) & (chosen < rows.stop)] - rows.start
                adata = adata[own].copy()
            adata.uns["provenance"] = {**adata.uns["provenance"], **origin}
            if adata.n_obs or len(file.obs) == 0:
                yield adata


@contextmanager
def _opened(
    dataset: Dataset, source: str, data_dir: str | Path, release, max_values: int | None, **sizes
) -> Iterator[tuple[CellFile, SourceSpec, dict]]:
    """The cells of a data set, what the manifest says of their source, and where they come from."""
    if source == "simulated":
        adata, origin = _simulate(dataset, **sizes)
        yield CellFile(adata), SourceSpec(), origin
        return
    path = fetch(dataset, source=source, data_dir=data_dir, release=release)
    spec = dataset.sources.get(dataset.source_name(source), SourceSpec())
    with ExitStack() as stack:
        with _naming(dataset.id):
            file = stack.enter_context(open_cells(path, max_values=max_values))
        yield file, spec, _origin(path, Path(data_dir))


@contextmanager
def _naming(dataset_id: str) -> Iterator[None]:
    """Errors name the data set."""
    try:
        yield
    except InputError as error:
        raise InputError(_named(error, dataset_id)) from error


def _simulate(dataset: Dataset, *, n_cells, n_genes, seed: int, effects) -> tuple[ad.AnnData, dict]:
    from .simulate import Effects, simulate_dataset

    effects = effects or Effects()
    size = {
        "n_cells": n_cells or min(SIMULATED_CELLS, dataset.n_cells),
        "n_genes": n_genes or SIMULATED_GENES,
        "seed": seed,
    }
    adata = simulate_dataset(dataset, **size, effects=effects)
    return adata, {**size, "file": "none: simulated", "effects": hash_of(dataclasses.asdict(effects))}


def _named(error: InputError, dataset_id: str) -> str:
    text = str(error)
    return text if text.startswith(f"{dataset_id}: ") else f"{dataset_id}: {text}"


def _origin(path: Path, data_dir: Path) -> dict[str, str]:
    """What the provenance says of a file: its name, checksum, and where it came from."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        digest = hash_of({p.relative_to(path).as_posix(): checksum(p) for p in files})
    else:
        digest = checksum(path)
    entry = read_lock(data_dir).get(path.relative_to(data_dir).as_posix(), {})
    return {
        "file": path.name,
        "sha256": digest,
        **{k: entry[k] for k in ("url", "repo", "commit") if k in entry},
    }


def _public_path(
    dataset: Dataset, spec: SourceSpec, data_dir: Path, network: Network, watcher: Watcher
) -> Path:
    """Download from scPlantDB or GEO; what must be converted by hand is taken if it was."""
    if spec.format in ("rds", "manual") or spec.url is None:
        return _converted_path(dataset, spec, data_dir)
    folder = data_dir / dataset.id if spec.parts else data_dir
    patience = {"network": network, "watcher": watcher}
    path = download(spec.url, folder, size=spec.bytes, sha256=spec.sha256, **patience)
    for url in spec.parts:
        download(url, folder, **patience)
    if spec.parts:
        return folder
    return _unpacked_tar(path, data_dir / dataset.id) if path.suffix == ".tar" else path


def _unpacked_tar(archive: Path, folder: Path) -> Path:
    """The folder with the cells of an archive; unpacked again where the archive changed."""
    stamp = folder / ".from.json"
    origin = {"archive": archive.name, "sha256": checksum(archive)}
    if not stamp.exists() or json.loads(stamp.read_text(encoding="utf-8")) != origin:
        write_json(extract_tar(archive, folder) / stamp.name, origin)
    return folder


def _converted_path(dataset: Dataset, spec: SourceSpec, data_dir: Path) -> Path:
    """The file that a user made by hand, or one line that says how to make it."""
    names = [n for n in local_names(dataset) if (data_dir / n).exists()]
    if names:
        return data_dir / names[0]
    if not spec.url:
        raise InputError(f"this has no address to download from. {spec.note}")
    urls = [spec.url, *spec.parts]
    targets = [
        f"{dataset.id}/{Path(u).name.split('.')[0]}.h5ad" if spec.parts else f"{dataset.id}.h5ad"
        for u in urls
    ]
    commands = " ; ".join(convert_command(url, target) for url, target in zip(urls, targets, strict=True))
    raise InputError(
        f"only R objects are to be had, which are not read here. Download {' and '.join(urls)} into the data "
        f"folder '{data_dir.name}' and run there: {commands}"
    )


def _release_path(spec: SourceSpec, data_dir: Path, release: ReleaseFiles | None) -> Path:
    if not spec.path:
        raise InputError("the manifest names no file in the release.")
    where = {"repo": release.repo, "revision": release.revision} if release else {}
    return fetch_release([spec.path], data_dir=data_dir, **where)[0]


def _local_path(dataset: Dataset, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise InputError(f"{dataset.id}: no data folder '{data_dir.name}'. Give the one with your files.")
    spec = dataset.sources.get("local")
    names = [spec.path] if spec and spec.path else local_names(dataset)
    found = [name for name in names if (data_dir / name).exists()]
    if len(found) == 1:
        return data_dir / found[0]
    if found:
        raise InputError(f"{dataset.id}: {' and '.join(found)} are both in the data folder. Keep one.")
    rds = sorted(p.name for p in data_dir.glob(f"{dataset.id}.rds*"))
    if rds:
        raise InputError(f"{dataset.id}: {rds_message(rds[0])}")
    raise InputError(
        f"{dataset.id}: not in the data folder '{data_dir.name}' (tried {', '.join(names)}). "
        "Put it there under one of these names."
    )


def local_names(dataset: Dataset) -> list[str]:
    """Names under which a data set is looked for in a folder, in this order."""
    ids = dict.fromkeys([dataset.id, dataset.scplantdb_id or dataset.id])
    return [f"{name}{ending}" for name in ids for ending in (".h5ad", ".h5ad.gz", ".h5", "")]
