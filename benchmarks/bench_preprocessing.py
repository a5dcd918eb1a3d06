"""Preprocessing beside scanpy's usual pipeline, on the same simulated counts.

The usual way joins all data sets of a tissue, normalises the whole, and calls
``highly_variable_genes(batch_key=...)``.  Ours reads one data set at a time.  Both give the same
genes; printed are CPU seconds (other work on the machine does not enter), peak memory and ratios.

    python benchmarks/bench_preprocessing.py --datasets 8 --cells 4000 --genes 20000
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

N_TOP, N_VOCABULARY = 2000, 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=8)
    parser.add_argument("--cells", type=int, default=4000, help="cells of each data set")
    parser.add_argument("--genes", type=int, default=20000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(make_counts, Path(folder), options.datasets, options.cells, options.genes)
        rows = {way.__name__: measure(way, Path(folder)) for way in (scanpy_joined, one_at_a_time)}
    ours, theirs = rows["one_at_a_time"], rows["scanpy_joined"]
    for name, row in rows.items():
        print(f"{name:15s} {row['seconds']:8.1f} CPU s {row['peak_mb']:8.0f} MB above the imports")
    print(f"ratio (scanpy / ours): time {theirs['seconds'] / ours['seconds']:.2f}, ", end="")
    print(f"memory {theirs['peak_mb'] / ours['peak_mb']:.2f}; same genes: {theirs['genes'] == ours['genes']}")


def measure(way, *args) -> dict:
    """Run `way` in a process of its own; its result with seconds and peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_run, args=(way, args, queue))
    child.start()
    result = queue.get()
    child.join()
    return result


def _run(way, args, queue) -> None:
    import scanpy

    import scarafm_utils.preprocessing  # noqa: F401

    scanpy.settings.verbosity = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    genes = way(*args)
    seconds = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    queue.put({"seconds": seconds, "peak_mb": peak, "genes": genes})


def make_counts(folder: Path, n_datasets: int, n_cells: int, n_genes: int) -> None:
    """Sparse counts with the gene means of a log-normal, one file for each data set."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    names = [f"AT{1 + i % 5}G{i:05d}" for i in range(n_genes)]
    for k in range(n_datasets):
        rng = np.random.default_rng([0, k])
        mean = np.random.default_rng(1).lognormal(-3.5, 1.8, size=n_genes)
        rows = [sp.csr_matrix(rng.poisson(mean * rng.lognormal(0, 0.6, n_genes))) for _ in range(n_cells)]
        obs = pd.DataFrame({"sample": "s"}, index=[f"{k}:{i}" for i in range(n_cells)])
        counts = sp.vstack(rows).tocsr().astype(np.int32)
        ad.AnnData(X=counts, obs=obs, var=pd.DataFrame(index=names)).write_h5ad(folder / f"{k}.h5ad")


def scanpy_joined(folder: Path) -> list[str]:
    """The usual pipeline on all data sets at once."""
    import anndata as ad
    import scanpy as sc

    tables = {path.stem: ad.read_h5ad(path) for path in sorted(folder.glob("*.h5ad"))}
    joined = ad.concat(tables, label="dataset")
    sc.pp.normalize_total(joined, target_sum=1e4)
    sc.pp.log1p(joined)
    sc.pp.highly_variable_genes(joined, flavor="seurat", n_top_genes=N_TOP, batch_key="dataset")
    ranked = joined.var.sort_values(["highly_variable_nbatches", "dispersions_norm"], ascending=False)
    chosen = list(ranked.index[:N_VOCABULARY])
    for name in tables:
        joined[joined.obs["dataset"] == name, chosen].copy().write_h5ad(folder / f"scanpy-{name}.out")
    return sorted(chosen)


def one_at_a_time(folder: Path) -> list[str]:
    """The package's functions, in the order of `preprocess_tissue`."""
    import anndata as ad

    from scarafm_utils.genes import harmonize_loci, keep_nuclear_loci, sum_duplicate_genes
    from scarafm_utils.preprocessing import consensus_hvgs, hvg_table, normalize, to_vocabulary, write_h5ad

    tables = {}
    for path in sorted(folder.glob("*.h5ad")):
        adata = keep_nuclear_loci(sum_duplicate_genes(harmonize_loci(ad.read_h5ad(path))))
        adata = normalize(adata)
        tables[path.stem] = hvg_table(adata, n_top_genes=N_TOP)
        write_h5ad(folder / f"{path.stem}.partial", adata, compression=None)
    genes = consensus_hvgs(tables, n_top_genes=N_VOCABULARY)
    for name in tables:
        write_h5ad(folder / f"{name}.out", to_vocabulary(ad.read_h5ad(folder / f"{name}.partial"), genes))
    return sorted(genes)


if __name__ == "__main__":
    main()
