"""The paper's claims, each as a number with its estimand, computed from tidy results only.

Differences are in points of AUROC (hundredths) between rows that share everything else.
On simulated cells there is no verdict on a claim, only whether the simulated world does what
it was designed to do.  On real cells a claim is supported when at least three independent data
sets agree with it and none does not, and contradicted when at least three do not and none does;
everything else cannot be told.  Pairs that share a study count as one data set.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from .contrasts import (
    GENE_IDENTITY,
    LEARNED,
    MIN_DATASETS,
    PAIR,
    POOLED,
    TASK,
    by_representation,
    counted_as,
    curve_ends,
    difference,
    equal_sizes,
    few_cells,
    leave_one_out,
    mean_of,
    n_apart,
    of_the_paper,
    order_p,
    rows_of,
    wide,
)
from .manifest import load_manifest, matched_pairs
from .statements import STATEMENTS, Statement
from .tasks import PROTOCOLS
from .words import number_text
from .workspace import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

DESIGNED, NOT_AS_DESIGNED = "behaves as designed", "does not behave as designed"
NOT_DESIGNED = "nothing was designed for this claim"
SUPPORTED, CONTRADICTED, CANNOT_TELL = "supported", "contradicted", "cannot tell"
MISSING = "not measured in this profile"

#: Share of orders by chance above which the correlation of the last claim gets no verdict.
MAX_P = 0.05


class Unit(NamedTuple):
    """What is counted: the data set that counts as independent, the unit's name and its value."""

    dataset: str
    unit: str
    value: float


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and what the results at hand say about it.

    `estimate` is the mean over data sets of the means of their units, NaN where results are missing;
    `unit` is what is counted by `n_units`, and `units` holds every one.
    """

    name: str
    quote: str
    section: str
    estimand: str
    estimate: float
    unit: str
    n_units: int
    n_datasets: int
    verdict: str
    detail: str
    units: tuple[Unit, ...]


def assess_claims(
    results: pd.DataFrame,
    *,
    simulated: bool,
    label: str = "stress",
    metric: str = "auroc",
    fidelity: str = "paper",
) -> list[Claim]:
    """Assess every claim, in the order of the paper.

    Parameters
    ----------
    results
        Tidy results.  Rows of other labels, of other settings of `fidelity` and without a value
        are left out.
    simulated
        Whether the cells are simulated; then there is no verdict, and details give ranges only.
    metric
        Column to read: "auroc", or "auroc_hard" to see what the released metric would say.
    fidelity
        Which rows to read.  The first claim reads the rows ``matched`` always: they are the only
        ones whose protocols share their test cells.
    """
    reading = {"label": label, "metric": metric, "fidelity": fidelity}
    return [claim(results, simulated=simulated, **reading) for claim in CLAIMS]


def claims_table(claims: list[Claim]) -> pd.DataFrame:
    """One row per claim, columns as the fields of `Claim` but `units`."""
    import pandas as pd

    columns = [field.name for field in fields(Claim) if field.name != "units"]
    return pd.DataFrame([{name: getattr(claim, name) for name in columns} for claim in claims])


def counted() -> dict[str, int]:
    """Numbers for prose: claims, those the simulated compendium was designed for, and the paper's material.

    Of its downstream data sets, by its own manifest: all, those with replicates, those that can be put
    through all three protocols, and pairs that share a stress.
    """
    manifest = load_manifest(PROJECT / "data_manifest.yaml")
    downstream = [d for d in manifest.values() if d.role == "downstream"]
    pairs = [pair for tissue in ("leaf", "root") for pair in matched_pairs(manifest, tissue=tissue)]
    replicated = {d.id for d in downstream if (d.n_replicates or 0) > 1}
    return {
        "n-claims": len(STATEMENTS), "n-designed": sum(says.designed is not None for says in STATEMENTS.values()),
        "n-datasets": len(downstream), "n-with-replicates": len(replicated),
        "n-through-all": len(replicated & {source for source, _ in pairs}), "n-pairs": len(pairs) // 2,
    }  # fmt: skip


def units_table(claims: list[Claim]) -> pd.DataFrame:
    """One row per unit of each claim: `claim`, `dataset`, `unit`, `value` and its `scale`."""
    import pandas as pd

    rows = [(claim.name, *unit, STATEMENTS[claim.name].scale) for claim in claims for unit in claim.units]
    return pd.DataFrame(rows, columns=["claim", *Unit._fields, "scale"])


def spell_out(claim: Claim) -> str:
    """A claim's result in one line, for prose: estimate, what is behind it, and the verdict."""
    if not claim.units:
        return claim.verdict
    values, digits = [unit.value for unit in claim.units], scale_digits(STATEMENTS[claim.name].scale)
    counts = {"data set": claim.n_datasets, "unit": claim.n_units}
    sets, units = (f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items())
    low, high = (number_text(value, digits) for value in (min(values), max(values)))
    span = f" from {low} to {high}" if claim.n_units > 1 else ""
    return f"{estimate_text(claim)} ({sets}; {units}{span}): {claim.verdict}"


def scale_digits(scale: str) -> int:
    """Decimals that a value of a claim's scale is worth: one of points, two of an AUROC or a correlation."""
    return 1 if scale.startswith("points") else 2


def estimate_text(claim: Claim) -> str:
    """The estimate with its scale, or after the name of what it is; a dash where it was not measured."""
    scale = STATEMENTS[claim.name].scale
    words = number_text(claim.estimate, scale_digits(scale)), scale
    return " ".join(words if scale.startswith("points") else words[::-1]) if claim.units else "–"


def random_overestimates(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Random split minus replicate split on the same test cells with equally many training cells."""
    says = STATEMENTS["random_overestimates"]
    rows = rows_of(results, **{**reading, "fidelity": "matched"})
    pairs = wide(rows, "protocol", also=("test_dataset",))
    units = difference(pairs, "random", "replicate", ["test_dataset", "held_out"])
    inside = _share(units, lambda points: 20 <= points <= 30)
    return _conclude(says, units, simulated, f"{inside} of the units lie between 20 and 30 points")


def difficulty_order(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """The smaller of the two steps random → replicate → cross, with one training study."""
    says = STATEMENTS["difficulty_order"]
    rows = rows_of(results, **reading)
    rows = rows[of_the_paper(rows)]
    table = wide(rows.drop(columns=["held_out", "seed"]), "protocol", also=("train_dataset",))
    table = equal_sizes(table, PROTOCOLS)
    steps = difference(table, "random", "replicate", ["train_dataset"]).merge(
        difference(table, "replicate", "cross", ["train_dataset"]), on=["dataset", "unit"]
    )
    steps["value"] = steps[["value_x", "value_y"]].min(axis=1)
    shown = [(r.dataset, number_text(r.value_x, 1), number_text(r.value_y, 1)) for r in steps.itertuples()]
    said = "; ".join(f"{dataset}: {first} and {second}" for dataset, first, second in shown)
    return _conclude(says, steps, simulated, said)


def gene_identity_beats_pooling(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Mean of ENS, PCA_1-3 and CNN minus mean of CLS and WM."""
    says = STATEMENTS["gene_identity_beats_pooling"]
    table = by_representation(rows_of(results, **reading))
    table["gene"], table["pooled"] = mean_of(table, GENE_IDENTITY), mean_of(table, POOLED)
    table = table.dropna(subset=["gene", "pooled"])
    units = difference(table.assign(test_dataset=counted_as(table)), "gene", "pooled", TASK)
    return _conclude(says, units, simulated)


def raw_is_competitive(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Raw values minus the best learned representation within one experiment."""
    says = STATEMENTS["raw_is_competitive"]
    rows = rows_of(results, **reading)
    table = by_representation(rows[rows["protocol"].isin(["random", "replicate"])])
    table["best"] = table.reindex(columns=LEARNED).max(axis=1)
    return _conclude(says, difference(table, "raw", "best", TASK), simulated)


def cross_plateau(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Mean AUROC across experiments with all training cells."""
    says = STATEMENTS["cross_plateau"]
    rows = rows_of(results, **reading)
    rows = rows[(rows["protocol"] == "cross") & (rows["n_train"] == "all") & of_the_paper(rows)]
    units = rows.groupby(PAIR, as_index=False)["auroc"].mean()
    units.columns = ["dataset", "unit", "value"]
    lowest, highest = rows["auroc"].min(), rows["auroc"].max()
    return _conclude(says, units, simulated, f"single results from {lowest:.2f} to {highest:.2f}")


def strongest_with_few_cells(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Gene-identity representations of scAraFM minus raw, across experiments, with few cells."""
    says = STATEMENTS["strongest_with_few_cells"]
    table = by_representation(few_cells(rows_of(results, **reading)))
    table["gene"] = mean_of(table, GENE_IDENTITY)
    return _conclude(says, difference(table, "gene", "raw", PAIR), simulated)


def cnn_is_best_there(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """CNN minus the best of all other bars, across experiments, with few cells."""
    says = STATEMENTS["cnn_is_best_there"]
    rows = few_cells(rows_of(results, **reading))
    rows = rows[of_the_paper(rows)]
    rows = rows.assign(side=rows["representation"].where(rows["representation"] == "CNN", "other"))
    keys = [*PAIR, "n_train", "seed"]
    table = rows.pivot_table(index=keys, columns="side", values="auroc", aggfunc="max").reset_index()
    return _conclude(says, difference(table, "CNN", "other", PAIR), simulated)


def learned_exceed_raw_at_full_size(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """PCA_1 and ENS with an MLP minus raw with an MLP, across experiments, with all cells."""
    says = STATEMENTS["learned_exceed_raw_at_full_size"]
    rows = rows_of(results, **reading)
    rows = rows[(rows["protocol"] == "cross") & (rows["n_train"] == "all") & (rows["head"] == "MLP")]
    table = by_representation(rows)
    both = table.reindex(columns=["PCA_1", "ENS"])
    table["learned"] = both.mean(axis=1).where(both.notna().all(axis=1))
    return _conclude(says, difference(table, "learned", "raw", PAIR), simulated)


def harder_root_tasks_gain_more(results: pd.DataFrame, *, simulated: bool, **reading: str) -> Claim:
    """Correlation over root data sets of the gain from more cells with difficulty."""
    says = STATEMENTS["harder_root_tasks_gain_more"]
    rows = rows_of(results, **reading)
    rows = rows[(rows["tissue"] == "root") & of_the_paper(rows)]
    ends = curve_ends(rows)
    said = "; ".join(f"{r.Index}: {r.first:.2f} to {r.last:.2f}" for r in ends.itertuples())
    p = order_p(ends)
    return _conclude(says, leave_one_out(ends), simulated, f"{said}; by chance p = {p:.2g}", telling=p <= MAX_P)


CLAIMS = (
    random_overestimates,
    difficulty_order,
    gene_identity_beats_pooling,
    raw_is_competitive,
    cross_plateau,
    strongest_with_few_cells,
    cnn_is_best_there,
    learned_exceed_raw_at_full_size,
    harder_root_tasks_gain_more,
)


def _share(units: pd.DataFrame, condition: Callable[[float], bool]) -> str:
    return f"{sum(map(condition, units['value']))} of {len(units)}"


def _conclude(
    says: Statement, units: pd.DataFrame, simulated: bool, said: str = "", *, telling: bool = True
) -> Claim:
    """Turn values per unit into a claim; no verdict but "cannot tell" unless the results are `telling`."""
    means = units.groupby("dataset")["value"].mean() if len(units) else units["value"]
    agree = int(sum(map(says.agrees, means)))
    estimate = float(means.mean()) if len(units) else float("nan")
    mixed = 0 < agree < len(means)
    verdict = _designed(says, estimate) if simulated else _verdict(n_apart(means.index), agree, telling and not mixed)
    told = {name: getattr(says, name) for name in ("name", "quote", "section", "estimand", "unit")}
    return Claim(
        **told,
        estimate=estimate,
        n_units=len(units),
        n_datasets=len(means),
        verdict=verdict if len(units) else MISSING,
        detail=_detail(says, units, len(means), agree, simulated, said),
        units=tuple(Unit(*row) for row in units[list(Unit._fields)].itertuples(index=False)),
    )


def _designed(says: Statement, estimate: float) -> str:
    """What may be said of simulated cells: whether they do what they were made for."""
    if says.designed is None:
        return NOT_DESIGNED
    return DESIGNED if says.designed(estimate) else NOT_AS_DESIGNED


def _verdict(groups: int, agree: int, telling: bool) -> str:
    """What may be said of real cells, given how many groups of data sets share nothing."""
    if groups < MIN_DATASETS or not telling:
        return CANNOT_TELL
    return SUPPORTED if agree else CONTRADICTED


def _detail(says: Statement, units: pd.DataFrame, n_datasets: int, agree: int, simulated: bool, said: str) -> str:
    """One line: what is missing, or how many units and data sets agree; on simulated cells their range."""
    if not n_datasets:
        return f"missing: no results for '{says.estimand.split(';')[0]}'"
    if simulated:  # whether made-up cells agree with the paper says nothing
        values, digits = units["value"], scale_digits(says.scale)
        low, high = (number_text(value, digits) for value in (values.min(), values.max()))
        return f"{len(values)} units, from {low} to {high}" if len(values) > 1 else f"1 unit, {low}"
    words = f"{_share(units, says.agrees)} units and {agree} of {n_datasets} data sets agree"
    if (groups := n_apart(units["dataset"].unique())) < n_datasets:
        words += f", which share studies and count as {groups}"
    return f"{words}; {said}" if said else words
