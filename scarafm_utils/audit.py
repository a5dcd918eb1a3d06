"""The audit: what the paper says, what its released code does, and what each difference changes.

Every effect is measured with one switch moved and everything else held: the same cells, split, model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .measures import arrays_of, weighted_auroc
from .tasks import PROTOCOLS
from .words import number_text

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

    from .model import ScAraFM
    from .workspace import Workspace

#: Shares that `measured_effects` quotes, and their decimals as per cent.
_SHARES = {"tokens": 1, "cls": 1, "genes_missing": 0}
#: What two rows of the tidy results must share to differ by one switch.
SAME = ("task", "label", "representation", "head", "n_train", "seed", "held_out")
#: Resamples of the released code, share of the cells of its second version, and what is used here.
RELEASED_RESAMPLES, RELEASED_SHARE = 10, 0.1


def metric_losses(results: pd.DataFrame) -> pd.DataFrame:
    """Points of AUROC that hard labels take away, by protocol: each task weighs the same.

    Returns
    -------
    Index: protocol.  Columns: n_tasks, n_rows, auroc, auroc_hard, loss (mean over tasks, points),
    least and most (of single tasks).
    """
    import pandas as pd

    rows = results[(results["fidelity"] == "paper") & results["auroc"].notna() & results["auroc_hard"].notna()]
    rows = rows.assign(loss=100 * (rows["auroc"] - rows["auroc_hard"]))
    tasks = rows.groupby(["protocol", "task", "label"])[["auroc", "auroc_hard", "loss"]].mean()
    by = tasks.groupby("protocol")
    table = by.mean()
    table.insert(0, "n_tasks", by.size())
    table.insert(1, "n_rows", rows.groupby("protocol").size())
    table["least"], table["most"] = by["loss"].min(), by["loss"].max()
    order = [p for p in PROTOCOLS if p in table.index]
    return pd.DataFrame(table.loc[order])


def switch_effects(results: pd.DataFrame) -> pd.DataFrame:
    """What each fidelity changes, in points of AUROC, over rows that share everything else.

    A released rule can change the classes themselves, so that hard labels and scores are compared
    with the paper's rows of the same task, seed and size all the same.

    Returns
    -------
    One row per fidelity but ``paper`` and ``matched``: n_pairs, n_tasks, change and change_hard
    (means over tasks, points), least and most (change of single tasks).
    """
    import pandas as pd

    keys = [name for name in SAME if name in results]
    rows = results[results["auroc"].notna()].copy()
    rows[keys] = rows[keys].fillna("").astype(str)
    base = rows[rows["fidelity"] == "paper"].drop_duplicates(keys)
    found = []
    for name in dict.fromkeys(rows["fidelity"]):
        if name in ("paper", "matched"):
            continue
        both = rows[rows["fidelity"] == name].merge(base, on=keys, suffixes=("", "_paper"))
        for metric, column in (("auroc", "change"), ("auroc_hard", "change_hard")):
            both[column] = 100 * (both[metric] - both[f"{metric}_paper"])
        tasks = both.groupby(["task", "label"])[["change", "change_hard"]].mean()
        row = {"fidelity": name, "n_pairs": len(both), "n_tasks": len(tasks), **tasks.mean().to_dict()}
        found.append(row | {"least": tasks["change"].min(), "most": tasks["change"].max()})
    columns = ["fidelity", "n_pairs", "n_tasks", "change", "change_hard", "least", "most"]
    return pd.DataFrame(found, columns=columns).set_index("fidelity")


def bar_widths(scores: pd.DataFrame, *, seed: int, n_boot: int = 1000) -> dict[str, float]:
    """Width of the 95 % interval over test cells as the book, and as the released code, draws it.

    Returns
    -------
    ``book`` (`n_boot` resamples), ``ten`` (10 resamples) and ``tenth`` (10 resamples of a tenth of the
    cells), in points of AUROC; ``ten`` and ``tenth`` are means over 20 draws of ten.
    """
    import numpy as np

    _, truth, values = arrays_of(scores)
    rng = np.random.default_rng(seed)

    def width(resamples: int, share: float) -> float:
        size = max(2, round(share * len(truth)))
        weights = rng.multinomial(size, np.full(len(truth), 1 / len(truth)), resamples)
        low, high = np.nanquantile(weighted_auroc(truth, values, weights.astype(float)), [0.025, 0.975])
        return 100 * float(high - low)

    draws = range(20)
    return {
        "book": width(n_boot, 1.0),
        "ten": float(np.mean([width(RELEASED_RESAMPLES, 1.0) for _ in draws])),
        "tenth": float(np.mean([width(RELEASED_RESAMPLES, RELEASED_SHARE) for _ in draws])),
    }


def all_bar_widths(workspace: Workspace, results: pd.DataFrame) -> pd.DataFrame:
    """`bar_widths` of raw values with LR on all cells, one row for each task at its first seed."""
    import pandas as pd

    from .scores import read_scores

    rows = results[(results["representation"] == "raw") & (results["head"] == "LR")]
    rows = rows[(rows["fidelity"] == "paper") & (rows["n_train"].astype(str) == "all") & rows["auroc"].notna()]
    rows = rows.drop_duplicates(["tissue", "task", "label"])
    found = []
    for row in rows.itertuples():
        table, _ = read_scores(workspace.scores_dir(row.tissue) / f"{row.key}.parquet")
        own = {"seed": workspace.profile.seed, "n_boot": workspace.profile.evaluation.n_boot}
        found.append({"task": row.task, "label": row.label, **bar_widths(table, **own)})
    return pd.DataFrame(found).set_index(["task", "label"])


def released_first_replicate(obs: pd.DataFrame, *, class_key: str, replicate_key: str) -> str:
    """The replicate that the released code holds out: that of the first cell of the first class.

    Its balanced table is ordered by class, classes by alphabet, so that the "first" replicate is the
    first one met there, not the first of the data set.
    """
    first = obs[obs[class_key].astype(str) == sorted(obs[class_key].astype(str).unique())[0]]
    return str(first[replicate_key].iloc[0])


def replicate_effect(results: pd.DataFrame, units: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """AUROC of raw values with LR for the replicate held out here and the one the released code takes.

    Parameters
    ----------
    units
        Task → (the replicate held out first here, `released_first_replicate`).
    """
    import pandas as pd

    rows = results[(results["representation"] == "raw") & (results["head"] == "LR")]
    rows = rows[(rows["fidelity"] == "paper") & (rows["protocol"] == "replicate")]
    rows = rows[rows["n_train"].astype(str) == "all"]
    means = rows.groupby(["task", "held_out"])["auroc"].mean()
    found = [
        {
            "task": task, "held out here": here, "by the released code": there,
            "auroc here": means.get((task, here)), "auroc released": means.get((task, there)),
            "range over replicates": 100 * (means[task].max() - means[task].min()),
        }
        for task, (here, there) in units.items() if task in means.index.get_level_values("task")
    ]  # fmt: skip
    return pd.DataFrame(found).set_index("task") if found else pd.DataFrame()


def replicate_units(workspace: Workspace, tissue: str) -> dict[str, tuple[str, str]]:
    """For `replicate_effect`: what is held out first here and there, of each replicate task of a tissue."""
    from .experiment import CLASS, load_experiment

    grid, found = workspace.profile.tissues[tissue], {}
    for task in grid.parsed_tasks:
        if task.protocol == "replicate":
            experiment = load_experiment(workspace, tissue, task, label=grid.labels[0])
            obs = experiment.cells.obs
            there = released_first_replicate(obs, class_key=CLASS, replicate_key=experiment.held_out_key)
            found[task.name] = ("+".join(experiment.held_out[0]), there)
    return found


def encoder_switches(model: ScAraFM, cells: ad.AnnData, *, seed: int, n_cells: int = 40) -> pd.DataFrame:
    """How far the embedding of a cell moves when one rule of the released encoder is followed.

    Two rules: the extra token's id in place of MASK for a gene that was not measured (where the cells
    lack none, a tenth of their genes is hidden first), and the maximum of the keys taken over the
    whole batch, so that a cell is embedded beside other cells.

    Returns
    -------
    One row per rule: `switch`, `n_cells`, `genes_missing` (share), and the mean over cells of the
    relative change ‖a − b‖ / ‖b‖ of the hidden states of all tokens (`tokens`) and of the CLS token (`cls`).
    """
    import numpy as np
    import pandas as pd
    import torch

    from .model import ScAraFM
    from .tokens import eos_id, mask_id, tokenize

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(cells.n_obs)[:n_cells])
    tokens, mask = tokenize(cells[chosen], n_bins=model.config.n_bins), mask_id(model.config.n_bins)
    hidden = tokens.copy()
    if not (tokens == mask).any():
        hidden[:, rng.permutation(tokens.shape[1])[: max(1, tokens.shape[1] // 10)]] = mask
    as_eos = np.where(hidden == mask, eos_id(model.config.n_bins), hidden).astype(np.uint8)
    over_batch = ScAraFM(replace(model.config, key_max="batch"), model.genes)
    over_batch.load_state_dict(model.state_dict())
    alone = torch.cat([_encode(over_batch, tokens[i : i + 1]) for i in range(len(tokens))])
    pairs = {
        "extra token for a missing gene": (_encode(model, as_eos), _encode(model, hidden), (hidden == mask).mean()),
        "key maximum over the batch": (_encode(over_batch, tokens), alone, (tokens == mask).mean()),
    }
    rows = [{"switch": name, "n_cells": len(chosen), "genes_missing": share, **_moved(new, old)}
            for name, (new, old, share) in pairs.items()]  # fmt: skip
    return pd.DataFrame(rows).set_index("switch")


def _encode(model: ScAraFM, tokens: np.ndarray):
    import torch

    model.eval()
    with torch.no_grad():
        return model.encode(torch.from_numpy(tokens)).float()


def _moved(new, old) -> dict[str, float]:
    """Mean relative change over cells: of all tokens of a cell together, and of its extra token."""
    whole = (new - old).flatten(1).norm(dim=1) / old.flatten(1).norm(dim=1)
    cls = (new[:, -1] - old[:, -1]).norm(dim=1) / old[:, -1].norm(dim=1)
    return {"tokens": float(whole.mean()), "cls": float(cls.mean())}


def measured_effects(
    results: pd.DataFrame, *, bars: pd.DataFrame, encoder: pd.DataFrame, replicates: pd.DataFrame, tuning: str = ""
) -> dict[str, str]:
    """What each switch changed, in words for `differences.differences_table`: topic → text.

    Parameters
    ----------
    results
        Tidy results.
    bars, encoder, replicates
        From `all_bar_widths`, `encoder_switches` and `replicate_effect`; empty where nothing could be had.
    tuning
        What is known of random folds against folds of whole replicates.
    """
    losses, switches = metric_losses(results)["loss"], switch_effects(results)
    said = {"What is called AUROC": "points lost to hard labels: " + _listed(losses)}
    topics = {
        "released:train_90": "A tenth of the training cells", "released:global_seed": "Seed of class balancing",
        "released:labels": "Classes", "balanced_test": "Classes of a test set",
    }  # fmt: skip
    for name, row in switches.iterrows():
        if name in topics:
            change, least, most = (number_text(row[key], 1, sign=True) for key in ("change", "least", "most"))
            said[topics[str(name)]] = f"{change} points of AUROC on average, {least} to {most} by task"
    if len(bars):
        ratio = bars.div(bars["book"], axis=0).median()
        said["Error bars"] = (
            f"width against this book's, median over tasks: {ratio['ten']:.1f} and {ratio['tenth']:.1f} times"
        )
    topics = {
        "extra token for a missing gene": "Genes that a data set lacks",
        "key maximum over the batch": "Key stabiliser of FAVOR+",
    }
    for name, row in encoder.iterrows():
        tokens, cls, missing = (f"{100 * row[name]:.{n}f}\N{NO-BREAK SPACE}%" for name, n in _SHARES.items())
        moved = f"embeddings move by {tokens}, CLS by {cls}"
        hidden = f", with {missing} of the genes missing" if row["genes_missing"] else ""
        said[topics[str(name)]] = f"{moved} (mean of {row['n_cells']:.0f} cells{hidden})"
    if len(replicates):
        other = int((replicates["held out here"] != replicates["by the released code"]).sum())
        spread = replicates["range over replicates"].max()
        said["The first replicate"] = (
            f"another one in {other} of {len(replicates)} tasks; replicates differ by up to {spread:.1f} points"
        )
    if tuning:
        said["Choice of hyper-parameters"] = tuning
    return said


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{name} {number_text(value, 1)}" for name, value in values.items())
