"""Fit the simulator's numbers to real cells, once, and write scarafm_utils/simulation_fit.json.

    python scripts/fit_simulation.py DATA_DIR

DATA_DIR holds `root_nuclei_10x.h5` (gene means, dispersions and zeros of one library of root
nuclei) and `SRP169576.h5ad` (library sizes, from `nCount_RNA`: its own matrix holds a quarter of
the counts).  Only the fitted numbers are committed, never the data.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc

from scarafm_utils import simulate_fit
from scarafm_utils.files import sha256_file, write_json
from scarafm_utils.simulate_fit import describe_counts, gene_statistics

COMMAND = "python scripts/fit_simulation.py DATA_DIR"
N_QUANTILES = 101
MIN_DETECTED_SHARE = 0.02
MIN_MEAN_FOR_DISPERSION = 0.1
NUCLEI, SAMPLES = "root_nuclei_10x.h5", "SRP169576.h5ad"


def quantiles(values: np.ndarray) -> list[float]:
    """`N_QUANTILES` evenly spaced quantiles, from the minimum to the maximum."""
    return [round(float(q), 4) for q in np.quantile(values, np.linspace(0, 1, N_QUANTILES))]


def read_expressed_nuclei(path: Path) -> anndata.AnnData:
    """Nuclear loci detected in at least `MIN_DETECTED_SHARE` of the nuclei."""
    adata = sc.read_10x_h5(path)
    adata = adata[:, adata.var_names.str.match(r"^AT[1-5]G\d{5}$")]
    detected = np.asarray((adata.X > 0).mean(axis=0)).ravel()
    return adata[:, detected >= MIN_DETECTED_SHARE].copy()


def fit_genes(adata: anndata.AnnData) -> dict:
    """Quantiles of log shares over genes, and of dispersions where the mean allows an estimate."""
    genes = gene_statistics(adata)
    estimable = genes["mean"] >= MIN_MEAN_FOR_DISPERSION
    return {
        "n_genes": int(adata.n_vars),
        "n_cells": int(adata.n_obs),
        "log_share_quantiles": quantiles(np.log(genes["mean"] / genes["mean"].sum())),
        "n_genes_dispersion": int(estimable.sum()),
        "dispersion_quantiles": quantiles(np.clip(genes.loc[estimable, "dispersion"], 0, None)),
    }


def fit_library_sizes(path: Path) -> dict:
    """Spread of total counts within samples, and of the samples' medians."""
    obs = anndata.read_h5ad(path, backed="r").obs
    log_total = np.log(obs["nCount_RNA"].astype(float))
    log_median = log_total.groupby(obs["Orig.ident"], observed=True).median()
    centred = log_total - obs["Orig.ident"].map(log_median).astype(float)
    return {
        "n_cells": int(len(obs)),
        "n_samples": int(len(log_median)),
        "median": round(float(np.exp(log_total.median())), 1),
        "log_ratio_quantiles": quantiles(centred.to_numpy()),
        "log_ratio_sd": round(float(centred.std()), 4),
        "log_sample_median_sd": round(float(log_median.std()), 4),
    }


def spread_of_totals(adata: anndata.AnnData) -> dict:
    """Median and log standard deviation of the totals of one library."""
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    return {"median": float(np.median(total)), "log_sd": round(float(np.log(total).std()), 4)}


def fit(folder: Path) -> dict:
    """Fit everything that `simulation_fit.json` holds."""
    nuclei = read_expressed_nuclei(folder / NUCLEI)
    reference = describe_counts(nuclei).dropna().round(4)
    return {
        "sources": {name: sha256_file(folder / name) for name in (NUCLEI, SAMPLES)},
        "genes": {"source": NUCLEI, "min_detected_share": MIN_DETECTED_SHARE, **fit_genes(nuclei)},
        "library_sizes": {"source": SAMPLES, **fit_library_sizes(folder / SAMPLES)},
        "nuclei": {"source": NUCLEI, **spread_of_totals(nuclei)},
        "reference": [[*key, value] for key, value in reference.items()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path, help="folder with the two real files")
    numbers = fit(parser.parse_args().data_dir)
    numbers["made"] = {"date": datetime.date.today().isoformat(), "command": COMMAND}
    print("wrote", write_json(Path(simulate_fit.__file__).with_name("simulation_fit.json"), numbers).name)


if __name__ == "__main__":
    main()
