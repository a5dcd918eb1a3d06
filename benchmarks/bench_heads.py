"""Representations and heads beside the released way, written plainly, interleaved.

Usage: python benchmarks/bench_heads.py [--force] [--repeats N] [--cells N] [--genes N] [--dim N]
       [--sizes N,N,…] [--members N] [--threads N] [--skip-xgb] [--cpu] [--only speed|memory]

The released way embeds the data set again for each training size into a float16 memory map
(n, G, d), fits scikit-learn's PCA again for each head and k, and fits the members of ENS one by
one on slices ``[:, :, j]`` with scikit-learn, XGBoost and a torch loop.  Ours is the package, with
an eighth of the dense float32 array as memory for hidden states.  Both use the same encoder, and
``embed`` is what it costs: once per training size there, once per block of dimensions here.

ENS is timed on the first ``--members`` dimensions and scaled to all of them.  The peak of memory
is that of a process that runs our whole battery, over what it takes after its imports; it is
measured at three numbers of cells and three numbers of dimensions.  Refuses to start where the
load is above 0.3; ``--force`` runs all the same and marks the result as not quotable.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import torch
from machine import require_idle
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from scarafm_utils.heads import DimensionEnsemble, make_head, sweep_ensembles
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.representations import TaskFeatures, cls_token, iter_hidden, weighted_mean

MATRICES = ("raw", "CLS", "WM", "PCA_1", "PCA_2", "PCA_3")
BATCH = 2  # small blocks win on a CPU, and their activations count as memory


def make_task(args, n_train: int):
    """Random cells with a weak signal in some genes, labels, and an encoder with random weights."""
    rng = np.random.default_rng(0)
    n = n_train + n_train // 4
    y = rng.integers(0, 2, n)
    effect = np.exp(0.5 * rng.normal(size=args.genes) * (rng.random(args.genes) < 0.15))
    counts = rng.poisson(rng.gamma(0.5, 2.0, args.genes) * effect ** y[:, None] * rng.gamma(4, 0.25, (n, 1)))
    X = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4).astype(np.float32)
    names, genes = [f"cell{i}" for i in range(n)], [f"gene{i}" for i in range(args.genes)]
    cells = ad.AnnData(sparse.csr_matrix(X), obs=pd.DataFrame(index=names), var=pd.DataFrame(index=genes))
    config = ModelConfig(dim=args.dim, depth=2, heads=4, dim_head=16)
    return cells, y, ScAraFM(config, genes).eval()


# -- the released way -----------------------------------------------------------------------------


def torch_loop(X, y, Z):
    """The released perceptron as one writes it: a module, a loader, a loop."""
    layers = [
        torch.nn.Linear(X.shape[1], 128),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(128, 2),
    ]
    network = torch.nn.Sequential(*layers)
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    optimizer, loss = torch.optim.Adam(network.parameters(), lr=1e-3), torch.nn.CrossEntropyLoss()
    for _ in range(20):
        for x, target in torch.utils.data.DataLoader(data, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            loss(network(x), target).backward()
            optimizer.step()
    with torch.no_grad():
        return network.eval()(torch.from_numpy(Z)).softmax(1).numpy()


def plain_fit(head: str, X, y, Z, threads: int):
    """Fit a head on (X, y) with the reference library and score Z."""
    if head == "MLP":
        return torch_loop(X, y, Z)
    if head == "LR":
        return LogisticRegression(C=1.0, max_iter=10_000).fit(X, y).predict_proba(Z)
    import xgboost

    model = xgboost.XGBClassifier(
        n_estimators=100, learning_rate=0.1, max_depth=3, subsample=0.8, colsample_bytree=0.8, n_jobs=threads
    )
    return model.fit(X, y).predict_proba(Z)


def released_way(args, task, clock) -> None:
    """Everything for all training sizes, part by part on the clock."""
    cells, y, model = task
    n, test = cells.n_obs, np.arange(args.cells, cells.n_obs)
    x = cells.X.toarray()
    for size in args.sizes:
        train = np.arange(size)
        with tempfile.TemporaryDirectory() as folder:
            with clock("embed"):
                stored = np.memmap(Path(folder) / "h.f16", dtype=np.float16, mode="w+", shape=(n, args.genes, args.dim))
                cls, wm, row = [], [], 0
                for h in iter_hidden(model, cells, batch_size=BATCH):
                    stored[row : row + len(h)] = h[:, :-1].numpy()
                    cls.append(cls_token(h).numpy())
                    wm.append(weighted_mean(h, x[row : row + len(h)]).numpy())
                    row += len(h)
                stored.flush()
            matrices = {"raw": x, "CLS": np.concatenate(cls), "WM": np.concatenate(wm)}
            for head in args.heads:
                for k in (1, 2, 3):
                    with clock("PCA fit"):
                        rows = stored[train].reshape(-1, args.dim).astype(np.float32)
                        pca = PCA(k).fit(rows)
                    with clock("PCA scores"):
                        parts = [pca.transform(stored[i].astype(np.float32)).ravel() for i in range(n)]
                        matrices[f"PCA_{k}"] = np.stack(parts).astype(np.float32)
                for name in MATRICES:
                    with clock(f"heads {head}"):
                        plain_fit(head, matrices[name][train], y[train], matrices[name][test], args.threads)
                for j in range(args.members):
                    with clock(f"ENS-{head}"):
                        plane = np.ascontiguousarray(stored[:, :, j], dtype=np.float32)
                        plain_fit(head, plane[train], y[train], plane[test], args.threads)


# -- ours -----------------------------------------------------------------------------------------


def pca_fits(args, task, clock) -> None:
    """Our PCA fits of all training sizes alone, from hidden states at hand as in the released way."""
    cells, _, model = task
    features = TaskFeatures(cells, models={"": model}, memory_gb=np.inf, batch_size=BATCH)
    features.matrix("CLS", fit=cells.obs_names, names=cells.obs_names)
    with clock("PCA fit"):
        features.prepare([cells.obs_names[:size] for size in args.sizes])


def our_way(args, task, clock) -> None:
    """The same with the package: the encoder's passes are on the clock where they happen.

    PCA is fitted in the pass that embeds; its scores cost passes of their own.
    """
    cells, y, model = task
    names, test = cells.obs_names, np.arange(args.cells, cells.n_obs)
    memory = cells.n_obs * args.genes * args.dim * 4 / 8e9
    features = TaskFeatures(cells, models={"": model}, memory_gb=memory, batch_size=BATCH)
    with clock("embed"):
        fits = [names[:size] for size in args.sizes]
        features.prepare(fits, used=[fit.append(names[test]) for fit in fits])
    with clock("embed"):  # every dimension is read, those to be timed are kept
        planes = [(j, X.copy()) for j, X in features.dimensions(names) if j < args.members]
    for head in args.heads:
        with clock(f"ENS-{head}"):
            jobs = [
                (DimensionEnsemble(head, seed=0, n_jobs=args.threads), np.arange(size), y[:size], test)
                for size in args.sizes
            ]
            sweep_ensembles(iter(planes), jobs)
    del planes
    for size in args.sizes:
        fit, labels = names[:size], y[:size]
        for name in MATRICES:
            with clock("PCA scores" if name.startswith("PCA") else "embed"):
                X = features.matrix(name, fit=fit, names=fit)
                Z = features.matrix(name, fit=fit, names=names[test])
            for head in args.heads:
                with clock(f"heads {head}"):
                    make_head(head, seed=0, n_jobs=args.threads).fit(X, labels).predict_proba(Z)


class Clock:
    """Adds up seconds by part: wall time, or processor time where other jobs run beside."""

    def __init__(self, *, processor_time: bool = False):
        self.seconds: dict[str, float] = {}
        self.now = time.process_time if processor_time else time.perf_counter

    def __call__(self, part: str):
        self.part = part
        return self

    def __enter__(self):
        self.start = self.now()

    def __exit__(self, *_):
        self.seconds[self.part] = self.seconds.get(self.part, 0.0) + self.now() - self.start


# -- memory ---------------------------------------------------------------------------------------


def resident(field: str) -> int:
    """Bytes of this process by /proc/self/status: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}")


def battery_alone(args) -> None:
    """Child process: run our battery once, with every head, and print its cost."""
    X = np.eye(4, dtype=np.float32)
    for head in args.heads:  # what a library loads at its first fit is an import, too
        make_head(head, seed=0).fit(X, [0, 1, 0, 1]).predict_proba(X)
    task = make_task(args, args.cells)
    next(iter_hidden(task[2], task[0][:1], batch_size=1))
    Path("/proc/self/clear_refs").write_text("5")
    base, start = resident("VmRSS"), time.perf_counter()
    our_way(args, task, Clock())
    print(json.dumps({"bytes": resident("VmHWM") - base, "seconds": time.perf_counter() - start}))


def memory_table(args) -> None:
    """Peak memory and time of our battery at three numbers of cells and of dimensions."""
    print("\ncells  dimensions  peak MB over base  share of dense float32  seconds")
    sizes = [(args.cells // share, args.dim) for share in (4, 2, 1)]
    sizes += [(args.cells, args.dim // share) for share in (4, 2)]
    for cells, dim in sizes:
        command = [sys.executable, __file__, "--child", "--cells", str(cells), "--dim", str(dim)]
        command += ["--sizes", f"{cells // 2},{cells}", "--members", str(min(2, args.members))]
        command += ["--genes", str(args.genes), "--threads", str(args.threads)]
        command += ["--skip-xgb"] if args.skip_xgb else []
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        dense = (cells + cells // 4) * args.genes * dim * 4
        peak = result["bytes"]
        print(f"{cells:5d}  {dim:10d}  {peak / 1e6:17.0f}  {peak / dense:22.2f}  {result['seconds']:7.1f}", flush=True)


# -- report ---------------------------------------------------------------------------------------


def scaled(seconds: dict[str, float], args) -> dict[str, float]:
    """Parts in seconds, ENS scaled from the members timed to all dimensions."""
    factor = args.dim / args.members
    return {part: value * (factor if part.startswith("ENS") else 1) for part, value in seconds.items()}


def report(runs: dict[str, list[dict]], args) -> None:
    medians = {
        who: {part: statistics.median(run[part] for run in found) for part in found[0]} for who, found in runs.items()
    }
    print(f"\n{'part':<14}{'released, s':>13}{'ours, s':>10}{'ratio':>8}")
    xgb = {who: sum(v for part, v in parts.items() if "XGB" in part) for who, parts in medians.items()}
    without = {who: sum(parts.values()) - xgb[who] for who, parts in medians.items()}
    for part in medians["released"]:
        line(part, medians["released"][part], medians["ours"][part])
    line("all but XGB", without["released"], without["ours"])
    if "XGB" in args.heads:
        line("all of XGB", xgb["released"], xgb["ours"])


def line(part: str, reference: float, ours: float) -> None:
    print(f"{part:<14}{reference:13.2f}{ours:10.2f}{reference / ours:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="run in spite of other jobs; not quotable")
    parser.add_argument("--cpu", action="store_true", help="processor seconds instead of wall seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("speed", "memory"), help="one of the two tables; default: both")
    parser.add_argument("--cells", type=int, default=2000, help="training cells; a quarter more are test cells")
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--sizes", default="200,500,1000,1500,2000", help="training sizes")
    parser.add_argument("--members", type=int, default=4, help="members of ENS that are timed, at most 8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-xgb", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.sizes = [min(int(size), args.cells) for size in args.sizes.split(",")]
    args.members = min(args.members, args.dim, 8)
    args.heads = ("LR", "MLP") if args.skip_xgb else ("LR", "MLP", "XGB")
    torch.set_num_threads(args.threads)
    if args.child:
        battery_alone(args)
        return
    require_idle(force=args.force)
    print(f"{args.threads} threads, {args.cells} + {args.cells // 4} cells × {args.genes} genes × "
          f"{args.dim} dimensions, sizes {args.sizes}, {args.members} members, {args.repeats} repeats")  # fmt: skip
    if args.only != "memory":
        speed_table(args)
    if args.only != "speed":
        memory_table(args)


def speed_table(args) -> None:
    """Both ways in turn, and the medians of their parts."""
    task, runs = make_task(args, args.cells), {"released": [], "ours": []}
    for _ in range(args.repeats):
        for who, way in (("released", released_way), ("ours", our_way)):
            clock = Clock(processor_time=args.cpu)
            way(args, task, clock)
            if who == "ours":
                pca_fits(args, task, clock)
            runs[who].append(scaled(clock.seconds, args))
    report(runs, args)


if __name__ == "__main__":
    main()
