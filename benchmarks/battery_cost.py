"""What the paper's whole leaf and root battery would cost on one GPU with 24 GB: a derivation, no measurement.

Usage: python benchmarks/battery_cost.py [--tflops T] [--gb-per-s B] [--launch-us L] [--xgb-us U]
       [--xgb-ns N] [--cores N] [--memory-gb M] [--cnn-epochs E] [--tuning cv|none]

Work is counted from the manifest's numbers of cells and the profile `paper`; the machine is a few
numbers that stand in the table.  Two of them are assumed, for want of a GPU:

- ``tflops``: what the encoder sustains (a quarter of 120 bfloat16 TFLOP/s; on a CPU ours sustains
  half of what matrix products alone reach).
- ``gb_per_s``: what a matrix-vector product reads (two thirds of 900 GB/s).

The others were measured on a CPU (LOG.md):

- ``launch_us``: to start one small operation of torch, which bounds the many steps of a perceptron
  on a GPU; members of an ensemble share them (`STACK_BYTES`), settings of a grid do not.
- ``xgb_us`` for each gene and tree, and ``xgb_ns`` for each cell besides: XGBoost's histograms on one
  core at depth 3.  Depth 6 takes `DEEPER` times as long.

An ensemble has 200 members.  LR reads its matrix twice per step of L-BFGS.  Tuning multiplies the
heads on matrices by settings × 5 folds × 0.8 + 1, and every fit by what the grid's mean setting
costs; ensembles take the settings of raw values.  Threads of XGB count as if none ever waited.
Replicate tasks are counted as if all cells but the test cells were trained on: an upper bound.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import mean

from scarafm_utils.ensemble import STACK_BYTES
from scarafm_utils.heads import GRIDS
from scarafm_utils.workspace import open_workspace

GENES = {"leaf": 4054, "root": 4397}
GFLOP_PER_CELL = 37.0  # forward, 4,055 tokens, 3 blocks
DIM, FOLDS, LR_STEPS, EPOCHS, BATCH, HIDDEN = 200, 5, 60, 20, 16, 128
OPERATIONS, PER_LAYER = 10, 8  # small operations of one step of a perceptron, and of each hidden layer
DEEPER = 4.0  # XGB at depth 6 over depth 3, measured: 3.6 with 1,000 cells, 4.2 with 4,000
MATRICES = {"raw": 1, "CLS": 0, "WM": 0, "PCA_1": 1, "PCA_2": 2, "PCA_3": 3}  # columns per gene; 0: DIM in all


@dataclass
class Work:
    """Seconds by part."""

    encoder: float = 0.0
    lr: float = 0.0
    mlp: float = 0.0
    xgb: float = 0.0
    cnn: float = 0.0

    def add(self, other: Work) -> None:
        for part, seconds in vars(other).items():
            setattr(self, part, getattr(self, part) + seconds)


def tuning_factor(head: str) -> float:
    """Fits of the grid's folds, in fits of the whole training set, and the last fit."""
    settings = math.prod(len(values) for values in GRIDS[head].values())
    return settings * FOLDS * (FOLDS - 1) / FOLDS + 1


def task_cost(n_all: int, genes: int, sizes: list, n_test: int, args) -> Work:
    """One task: embedding in passes, heads on six matrices, three ensembles, CNN, at every size."""
    work, n = Work(), n_all + n_test
    held = int(args.memory_gb * 1e9 // (2 * n * genes))
    passes = max(1, math.ceil(DIM / held)) + 1  # blocks of ENS, and the scores of PCA
    work.encoder = passes * n * GFLOP_PER_CELL * genes / 4054 / 1e3 / args.tflops
    for size in sizes:
        size = n_all if size == "all" else size
        widths = [columns * genes or DIM for columns in MATRICES.values()]
        work.add(heads_cost(size, widths, args, tuned=True))
        work.add(heads_cost(size, [genes] * DIM, args, tuned=False))
        seconds = args.cnn_epochs * size * 2.5 * GFLOP_PER_CELL * genes / 4054 / 1e3 / args.tflops
        work.cnn += seconds  # forward of all blocks, backward through the last two
    return work


def heads_cost(size: int, widths: list[int], args, *, tuned: bool) -> Work:
    """LR, MLP and XGB on matrices (size, width), one fit each or the whole grid."""
    grid = args.tuning == "cv"
    cells, factor = size * sum(widths), {h: tuning_factor(h) if tuned and grid else 1.0 for h in GRIDS}
    stack = 1 if tuned else max(1, STACK_BYTES // (4 * size * widths[0]))
    steps = math.ceil(size / BATCH) * EPOCHS * math.ceil(len(widths) / stack)
    operations = OPERATIONS + PER_LAYER * (mean(GRIDS["MLP"]["depth"]) if grid else 1)
    flops = 6 * cells * HIDDEN * (1.5 if grid else 1) * EPOCHS / 1e12 / args.tflops
    trees = mean(GRIDS["XGB"]["trees"]) * (1 + DEEPER) / 2 if grid else 100
    return Work(
        lr=factor["LR"] * LR_STEPS * 2 * 4 * cells / 1e9 / args.gb_per_s,
        mlp=factor["MLP"] * (steps * operations * args.launch_us / 1e6 + flops),
        xgb=factor["XGB"] * trees * (args.xgb_us / 1e6 * sum(widths) + args.xgb_ns / 1e9 * cells) / args.cores,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=30.0)
    parser.add_argument("--gb-per-s", type=float, default=600.0)
    parser.add_argument("--launch-us", type=float, default=7.5)
    parser.add_argument("--xgb-us", type=float, default=10.0)
    parser.add_argument("--xgb-ns", type=float, default=4.5)
    parser.add_argument("--tuning", choices=("cv", "none"), default="cv")
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--memory-gb", type=float, default=32.0, help="of the host, for hidden states")
    parser.add_argument("--cnn-epochs", type=int, default=20, help="epochs until early stopping")
    args = parser.parse_args()
    workspace, total = open_workspace("paper"), Work()
    print("assumed: " + ", ".join(f"{name} {value}" for name, value in vars(args).items()))
    print(f"{'task':<34}{'cells':>8}" + "".join(f"{part:>10}" for part in vars(total)) + "   hours each")
    for tissue, grid in workspace.profile.tissues.items():
        for name in grid.tasks:
            train = workspace.manifest[name.split(":")[1]].n_cells
            n_test = min(workspace.profile.evaluation.max_test, train // 5)
            n_all = train if name.startswith("cross") else train - n_test  # classes taken as balanced
            sizes = [n for n in workspace.profile.evaluation.n_train if n == "all" or n <= n_all]
            work = task_cost(n_all, GENES[tissue], sizes, n_test, args)
            print(f"{name:<34}{n_all:8d}" + "".join(f"{s / 3600:10.2f}" for s in vars(work).values()))
            total.add(work)
    print(f"{'all':<42}" + "".join(f"{s / 3600:10.1f}" for s in vars(total).values()))
    hours = {part: s / 3600 for part, s in vars(total).items()}
    print(f"{sum(hours.values()):.0f} hours in all, of which {hours['xgb']:.0f} are XGB on {args.cores} cores")


if __name__ == "__main__":
    main()
