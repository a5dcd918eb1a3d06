"""Preprocessing a tissue beside the usual way with scanpy, on the same simulated files.

Usage: python benchmarks/bench_preprocessing.py [--force] [--cells N] [--datasets N] [--genes N]
       [--detected N] [--threads N] [--scratch FOLDER]

The usual way reads all data sets, joins them, normalises the whole, calls
``highly_variable_genes(batch_key=…)`` and writes each data set's vocabulary.  Ours is
``preprocess_tissue`` as the book calls it, with every check, the checksum of the files and reports:
one data set after the other, and beside that with as many at once as there are cores (``--threads``).
Both sides write uncompressed files and give the same genes.

Each side runs in a process of its own; its peak is the largest memory after its imports, over what
it held then.  Ours is also run on a quarter and on half of the cells, which shows whether time and
memory grow with them.  The aim is 200,000 cells (``--cells 200000``: 2.4 GB of files, 4.8 GB while
it runs, about 10 GB of memory for scanpy).  Refuses to start where the load is above 0.3; ``--force``
runs all the same and marks the result as not quotable.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import require_idle

N_TOP, N_VOCABULARY, N_PROGRAMMES, BLOCK = 2000, 4000, 8, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20_000, help="cells of all data sets together")
    parser.add_argument("--datasets", type=int, default=5)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--detected", type=int, default=1500, help="genes detected in a cell, about")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of ours, the second time")
    parser.add_argument("--scratch", type=Path, help="where the files go; a temporary folder by default")
    parser.add_argument("--skip-scanpy", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        return run_side(args.side[0], Path(args.side[1]), args.threads)
    require_idle(force=args.force)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        compare(Path(folder), args)


def compare(folder: Path, args) -> None:
    """Ours at three sizes, scanpy at the largest."""
    rows = []
    for share in (0.25, 0.5, 1):
        n_cells = int(share * args.cells / args.datasets)
        detected = make_files(folder / "data", args.datasets, n_cells, args.genes, args.detected)
        print(f"{args.datasets} data sets of {n_cells:,} cells x {args.genes:,} genes, {detected:,.0f} detected")
        rows = [report("ours", folder, threads) for threads in sorted({1, args.threads})]
    if not args.skip_scanpy:
        theirs = report("scanpy", folder)
        for ours in rows:
            print_ratios(ours, theirs)


def print_ratios(ours: dict, theirs: dict) -> None:
    """How many times longer than ours, and larger, the usual way is."""
    print(f"scanpy / ours with {ours['threads']} thread(s):")
    for until in theirs["seconds"]:
        ratios = [theirs[kind][until] / ours[kind]["all"] for kind in ("seconds", "cpu_seconds")]
        print(f"  scanpy until '{until}' / ours, all: time {ratios[0]:.2f}, CPU time {ratios[1]:.2f}")
    print(f"  memory: {theirs['peak_gb'] / ours['peak_gb']:.1f}; same genes: {ours['genes'] == theirs['genes']}")


def report(side: str, folder: Path, threads: int = 1) -> dict:
    """Run one side in a fresh process and print what it says."""
    command = [sys.executable, __file__, "--side", side, str(folder), "--threads", str(threads)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    times = ", ".join(f"{k} {v:.1f} s (CPU {found['cpu_seconds'][k]:.1f})" for k, v in found["seconds"].items())
    print(f"  {side:6s} {threads} thread(s): {times}; peak {found['peak_gb']:.2f} GB", flush=True)
    return {**found, "threads": threads}


def run_side(side: str, folder: Path, threads: int) -> None:
    """Time one side after its imports and print its seconds, peak and genes."""
    import scanpy

    import scarafm_utils.preprocessing
    import scarafm_utils.sources  # noqa: F401

    scanpy.settings.verbosity = 0
    workspace = open_tissue(folder, threads) if side == "ours" else None
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before, start, cpu, marks, cpu_marks = resident("VmRSS"), time.perf_counter(), time.process_time(), {}, {}

    def mark(name: str) -> None:
        marks[name], cpu_marks[name] = time.perf_counter() - start, time.process_time() - cpu

    genes = ours(workspace, mark) if side == "ours" else usual_way(folder, mark)
    peak = resident("VmHWM") - before
    print(json.dumps({"seconds": marks, "cpu_seconds": cpu_marks, "peak_gb": peak / 1e9, "genes": genes}))


def resident(what: str) -> int:
    """Bytes of this process by /proc/self/status: VmRSS now, VmHWM at its peak."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0])


def make_files(folder: Path, n_datasets: int, n_cells: int, n_genes: int, detected: int) -> float:
    """Counts of cells that follow one of a few programmes; one file for each data set.

    Returns the mean number of genes detected in a cell of the last.
    """
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = [f"AT{1 + i % 5}G{i:05d}" for i in range(n_genes)]
    common = np.random.default_rng(1).normal(0, 1.5, n_genes)
    for k in range(n_datasets):
        rng = np.random.default_rng([0, k])
        tables = [alias(common + rng.normal(0, 0.8, n_genes)) for _ in range(N_PROGRAMMES)]
        blocks = [draw_cells(rng, tables, BLOCK, n_genes, detected) for _ in range(-(-n_cells // BLOCK))]
        counts = sp.vstack(blocks, format="csr")[:n_cells]
        obs = pd.DataFrame({"sample": [f"s{i % 4}" for i in range(n_cells)]}, index=[f"c{i}" for i in range(n_cells)])
        cells = ad.AnnData(X=counts, obs=obs, var=pd.DataFrame(index=names))
        cells.write_h5ad(folder / f"D{k}.h5ad")
    return counts.nnz / n_cells


def alias(log_share: np.ndarray) -> np.ndarray:
    """A list in which each gene stands as often as its share asks: drawing from it is one look-up."""
    share = np.exp(log_share - log_share.max())
    return np.repeat(np.arange(len(share), dtype=np.int32), np.ceil(4e6 * share / share.sum()).astype(int))


def draw_cells(rng, tables: list[np.ndarray], n_cells: int, n_genes: int, detected: int):
    """Draw `n_cells` cells with twice as many counts as genes wanted: CSR float32."""
    import scipy.sparse as sp

    totals = rng.poisson(rng.lognormal(np.log(1.4 * detected), 0.4, n_cells))
    keys = []
    for cells, table in zip(np.array_split(np.arange(n_cells), len(tables)), tables, strict=True):
        cell = np.repeat(cells.astype(np.int32), totals[cells])
        keys.append(cell * np.int32(n_genes) + table[rng.integers(len(table), size=len(cell))])
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    starts = np.searchsorted(found, np.arange(n_cells + 1) * n_genes)
    return sp.csr_matrix((counts.astype(np.float32), found % n_genes, starts), shape=(n_cells, n_genes))


def open_tissue(folder: Path, threads: int = 1):
    """A workspace of local leaf pretraining data sets: what the book has for each profile."""
    from scarafm_utils.manifest import Dataset, ObsColumns
    from scarafm_utils.workspace import Workspace, open_workspace

    base = open_workspace("demo").profile
    grid = base.tissues["leaf"].model_copy(update={"tasks": [], "pretraining": "all"})
    changes = {"n_top_genes": N_TOP, "n_vocabulary": N_VOCABULARY}
    settings = base.preprocessing.model_copy(update=changes)
    changes = {"source": "local", "tissues": {"leaf": grid}, "preprocessing": settings, "threads": threads}
    profile = base.model_copy(update=changes)
    described = {"tissue": "leaf", "role": "pretraining", "n_cells": 1, "obs": ObsColumns(sample="sample")}
    names = sorted(path.stem for path in (folder / "data").glob("*.h5ad"))
    return Workspace(profile, {name: Dataset(id=name, **described) for name in names}, folder)


def ours(workspace, mark) -> list[str]:
    import pandas as pd

    from scarafm_utils.preprocessing import preprocess_tissue

    preprocess_tissue(workspace, "leaf")
    mark("all")
    return sorted(pd.read_csv(workspace.vocabulary_path("leaf"))["gene"])


def usual_way(folder: Path, mark) -> list[str]:
    """All data sets at once, as tutorials do it."""
    import anndata as ad
    import scanpy as sc

    tables = {path.stem: ad.read_h5ad(path) for path in sorted((folder / "data").glob("*.h5ad"))}
    joined = ad.concat(tables, label="dataset", index_unique=":")
    names = list(tables)
    del tables
    sc.pp.normalize_total(joined, target_sum=1e4)
    sc.pp.log1p(joined)
    mark("normalised")
    sc.pp.highly_variable_genes(joined, flavor="seurat", n_top_genes=N_TOP, batch_key="dataset")
    mark("variable genes")
    ranked = joined.var.sort_values(["highly_variable_nbatches", "dispersions_norm"], ascending=False)
    chosen = list(ranked.index[:N_VOCABULARY])
    for name in names:
        joined[joined.obs["dataset"] == name, chosen].copy().write_h5ad(folder / f"{name}.out")
    mark("all")
    return sorted(chosen)


if __name__ == "__main__":
    main()
