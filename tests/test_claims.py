"""Claims: estimates worked out by hand, verdicts by their rules, and no number without results."""

from __future__ import annotations

import math
import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scarafm_utils import claims as module
from scarafm_utils.claims import CLAIMS, Claim, assess_claims, claims_table, units_table
from scarafm_utils.contrasts import order_p
from scarafm_utils.statements import STATEMENTS

PAPER = Path(__file__).resolve().parents[2] / "shared" / "paper"


def row(task: str, auroc: float, representation: str = "raw", **changes) -> dict:
    protocol, *datasets = task.split(":")
    base = {
        "tissue": "leaf", "task": task, "protocol": protocol, "train_dataset": datasets[0],
        "test_dataset": datasets[-1], "label": "stress", "held_out": None, "representation": representation,
        "head": "LR", "n_train": "all", "seed": 0, "fidelity": "paper", "tuning": "none", "vote": "majority",
        "auroc": auroc, "auroc_hard": auroc - 0.1,
    }  # fmt: skip
    return base | changes


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows or [row("random:A", np.nan)])


def matched(dataset: str, held_out: str, random: float, replicate: float, **changes) -> list[dict]:
    same = {"held_out": held_out, "fidelity": "matched"} | changes
    return [
        row(f"replicate:{dataset}", value, protocol=protocol, **same)
        for protocol, value in (("random", random), ("replicate", replicate))
    ]


def test_random_minus_replicate_by_hand():
    results = table(
        *matched("A", "r1", 0.95, 0.70),
        *matched("A", "r2", 0.90, 0.75), *matched("A", "r2", 0.90, 0.79, seed=1),
        row("random:A", 0.99), row("replicate:A", 0.5, held_out="r1"),  # other test cells: not used
    )  # fmt: skip
    claim = module.random_overestimates(results, simulated=True)
    assert claim.estimate == pytest.approx((25 + (15 + 11) / 2) / 2)
    assert (claim.n_units, claim.n_datasets, claim.verdict) == (2, 1, "behaves as designed")
    assert claim.detail == "2 units, from 13.0 to 25.0"
    real = module.random_overestimates(results, simulated=False)
    assert "2 of 2 units" in real.detail and "1 of 2 of the units lie between 20 and 30" in real.detail


def test_a_random_row_meets_only_the_replicate_row_with_the_same_settings():
    pair = matched("A", "r1", 0.9, 0.7)
    pair[1]["n_train"] = 100
    assert math.isnan(module.random_overestimates(table(*pair), simulated=False).estimate)


def test_one_data_set_never_supports_a_claim_and_three_do():
    rows = [*matched("A", "r1", 0.9, 0.7), *matched("A", "r2", 0.9, 0.7), *matched("A", "r3", 0.9, 0.7)]
    assert module.random_overestimates(table(*rows), simulated=False).verdict == "cannot tell"
    rows += matched("B", "r1", 0.9, 0.8) + matched("C", "r1", 0.9, 0.85)
    claim = module.random_overestimates(table(*rows), simulated=False)
    assert (claim.verdict, claim.n_datasets, claim.n_units) == ("supported", 3, 5)
    assert claim.estimate == pytest.approx((20 + 10 + 5) / 3), "each data set weighs the same"
    rows += matched("D", "r1", 0.8, 0.85)
    assert module.random_overestimates(table(*rows), simulated=False).verdict == "cannot tell"


@pytest.mark.parametrize(("n_datasets", "verdict"), [(2, "cannot tell"), (3, "contradicted")])
def test_the_rule_reversed_contradicts(n_datasets, verdict):
    rows = [row for name in "ABC"[:n_datasets] for row in matched(name, "r1", 0.7, 0.7)]
    claim = module.random_overestimates(table(*rows), simulated=False)
    assert (claim.verdict, claim.estimate) == (verdict, 0)


@pytest.mark.parametrize(
    ("cross", "estimate", "verdict"), [(0.6, 10, "behaves as designed"), (0.8, -10, "does not behave as designed")]
)
def test_the_order_is_as_strong_as_its_weaker_step(cross, estimate, verdict):
    results = table(
        row("random:A", 0.9), row("replicate:A", 0.7, held_out="r1"), row("cross:A:B", cross),
        row("random:B", 0.9), row("cross:B:A", 0.1),  # B has no replicates: no unit
        *(row(t, 0.5, "depth") for t in ("random:A", "replicate:A", "cross:A:B")),  # no bar of the paper
    )  # fmt: skip
    claim = module.difficulty_order(results, simulated=True)
    assert claim.estimate == pytest.approx(estimate)
    assert (claim.n_units, claim.verdict) == (1, verdict)


def test_the_order_of_two_protocols_has_no_unit_and_is_no_error():
    results = table(row("random:A", 0.9), row("replicate:A", 0.7, held_out="r1"))
    assert module.difficulty_order(results, simulated=True).n_units == 0


def test_the_order_is_taken_with_equally_many_training_cells():
    tasks = ("random:A", "replicate:A", "cross:A:B")
    equal = [row(task, value, n_train=100) for task, value in zip(tasks, (0.8, 0.7, 0.6))]
    every = [row(task, value) for task, value in zip(tasks, (0.9, 0.4, 0.6))]  # all: other numbers of cells
    claim = module.difficulty_order(table(*equal, *every), simulated=True)
    assert claim.estimate == pytest.approx(10)
    assert module.difficulty_order(table(*every), simulated=True).estimate == pytest.approx(-20)


def test_gene_identity_against_pooling_by_hand():
    task = "random:A"
    results = table(
        row(task, 0.8, "ENS"), row(task, 0.9, "PCA_1"), row(task, 0.6, "CLS"), row(task, 0.7, "WM"),
        row(task, 0.95, "CNN", head="CNN"), row(task, 0.75, "WM", head="MLP"),
        row(task, 0.2, "untrained:WM"), row("cross:A:B", 0.6, "ENS"),
    )  # fmt: skip
    claim = module.gene_identity_beats_pooling(results, simulated=False)
    assert claim.estimate == pytest.approx((20 + 20) / 2)  # LR: 85 - 65; MLP: CNN 95 - 75
    assert (claim.n_units, claim.verdict) == (1, "cannot tell")


def test_both_directions_of_two_pairs_alone_are_two_data_sets():
    tasks = ("cross:A:B", "cross:B:A", "cross:C:D", "cross:D:C")
    rows = [row(task, value, name) for task in tasks for name, value in (("ENS", 0.8), ("WM", 0.6))]
    claim = module.gene_identity_beats_pooling(table(*rows), simulated=False)
    assert (claim.n_units, claim.n_datasets, claim.verdict) == (4, 2, "cannot tell")
    rows += [row("random:B", value, name) for name, value in (("ENS", 0.8), ("WM", 0.6))]
    claim = module.gene_identity_beats_pooling(table(*rows), simulated=False)
    assert {unit.dataset for unit in claim.units} == {"B", "C+D"}, "no study counts twice"


def test_raw_meets_the_best_learned_representation_within_one_experiment():
    results = table(
        row("random:A", 0.80), row("random:A", 0.81, "PCA_2"), row("random:A", 0.5, "CLS"),
        row("replicate:A", 0.7, held_out="r1"), row("replicate:A", 0.75, "ENS", held_out="r1"),
        row("cross:A:B", 0.1), row("cross:A:B", 0.9, "ENS"),
    )  # fmt: skip
    claim = module.raw_is_competitive(results, simulated=False)
    assert claim.estimate == pytest.approx((-1 - 5) / 2)
    assert "1 of 2 units" in claim.detail


def test_the_plateau_counts_both_directions_of_a_pair_as_one_data_set():
    results = table(
        row("cross:A:B", 0.6), row("cross:A:B", 0.7, "ENS"), row("cross:B:A", 0.8),
        row("cross:A:B", 0.2, n_train=100),
    )  # fmt: skip
    claim = module.cross_plateau(results, simulated=True)
    assert claim.estimate == pytest.approx((0.65 + 0.8) / 2)
    assert (claim.n_units, claim.n_datasets, claim.verdict) == (2, 1, "behaves as designed")


def test_few_cells_are_1000_to_5000_or_the_two_smallest_sizes():
    def rows(sizes):
        learned = [row("cross:A:B", v, "ENS", n_train=n) for n, v in zip(sizes, (0.7, 0.6, 0.5, 0.4))]
        return learned + [row("cross:A:B", 0.5, n_train=n) for n in sizes]

    paper = module.strongest_with_few_cells(table(*rows([500, 1000, 5000, 20000])), simulated=False)
    assert paper.estimate == pytest.approx((10 + 0) / 2)
    small = module.strongest_with_few_cells(table(*rows([50, 100, 200, "all"])), simulated=False)
    assert small.estimate == pytest.approx((20 + 10) / 2)


def test_cnn_against_the_best_of_all_others():
    results = table(
        row("cross:A:B", 0.64, "CNN", head="CNN", n_train=1000), row("cross:A:B", 0.65, "ENS", n_train=1000),
        row("cross:A:B", 0.60, "raw", head="XGB", n_train=1000), row("cross:A:B", 0.9, "depth", n_train=1000),
    )  # fmt: skip
    claim = module.cnn_is_best_there(results, simulated=False)
    assert claim.estimate == pytest.approx(-1)


@pytest.mark.parametrize(
    ("pairs", "verdict", "counted"),
    [
        (["A:B", "A:C", "B:C"], "cannot tell", ", which share studies and count as 1"),
        (["A:B", "C:D", "E:F"], "supported", ""),
        (["A:B", "C:D", "E:F", "F:G"], "supported", ", which share studies and count as 3"),
    ],
)
def test_pairs_that_share_a_study_are_no_evidence_of_their_own(pairs, verdict, counted):
    results = table(*(row(f"cross:{pair}", 0.65) for pair in pairs))
    claim = module.cross_plateau(results, simulated=False)
    assert (claim.verdict, claim.n_datasets) == (verdict, len(pairs))
    assert f"of {len(pairs)} data sets agree{counted};" in claim.detail


def test_learned_at_full_size_needs_both_representations():
    rows = [row("cross:A:B", 0.6, head="MLP"), row("cross:A:B", 0.65, "PCA_1", head="MLP")]
    claim = module.learned_exceed_raw_at_full_size(table(*rows), simulated=False)
    assert claim.verdict == "not measured in this profile"
    rows.append(row("cross:A:B", 0.61, "ENS", head="MLP"))
    assert module.learned_exceed_raw_at_full_size(table(*rows), simulated=False).estimate == pytest.approx(3)


def test_harder_root_tasks_gain_more_is_a_correlation_over_data_sets():
    rows = []
    for name, first, last in (("A", 0.95, 0.97), ("B", 0.8, 0.87), ("C", 0.6, 0.75), ("D", 0.5, 0.7)):
        rows += [row(f"random:{name}", v, tissue="root", n_train=n) for n, v in ((100, first), ("all", last))]
        rows.append(row(f"random:{name}", 0.1, "depth", tissue="root", n_train=100))
    claim = module.harder_root_tasks_gain_more(table(*rows), simulated=False)
    assert claim.estimate > 0.9
    assert (claim.n_units, claim.n_datasets, claim.verdict) == (4, 4, "cannot tell")
    assert "A: 0.95 to 0.97" in claim.detail
    assert "by chance p = 0.083" in claim.detail  # two of the 24 orders of four data sets
    assert math.isnan(module.harder_root_tasks_gain_more(table(*rows[:6]), simulated=False).estimate)


def test_a_correlation_needs_more_data_sets_than_agreement_does():
    ends = pd.DataFrame({"first": [0.95, 0.8, 0.6, 0.5, 0.7], "last": [0.97, 0.87, 0.75, 0.7, 0.82]})
    rows = [
        row(f"random:{name}", value, tissue="root", n_train=n)
        for name, (first, last) in zip("ABCDE", ends.itertuples(index=False))
        for n, value in ((100, first), ("all", last))
    ]
    gain, difficulty = ends["last"] - ends["first"], -(ends["last"] + ends["first"])
    orders = [abs(np.corrcoef(gain, difficulty.iloc[list(o)])[0, 1]) for o in permutations(range(5))]
    assert order_p(ends) == np.mean(np.array(orders) >= np.corrcoef(gain, difficulty)[0, 1] - 1e-9) < 0.05
    assert module.harder_root_tasks_gain_more(table(*rows), simulated=False).verdict == "supported"


def test_an_estimate_says_what_it_is_a_number_of():
    results = table(*matched("A", "r1", 0.95, 0.70), row("cross:A:B", 0.6))
    shown = [module.estimate_text(claim) for claim in assess_claims(results, simulated=True)]
    assert shown[0] == "25.0 points of AUROC" and shown[4] == "AUROC 0.60"
    assert shown[1] == "–", "missing is shown as missing"


def test_the_papers_material_is_counted_from_its_manifest():
    assert list(module.counted().values()) == [9, 3, 9, 2, 1, 2]


def test_units_are_listed_and_spelt_out():
    results = table(*matched("A", "r1", 0.95, 0.70), *matched("B", "r1", 0.9, 0.8), *matched("B", "r2", 0.9, 0.7))
    claim = module.random_overestimates(results, simulated=False)
    assert [(u.dataset, u.unit, round(u.value, 6)) for u in claim.units] == [
        ("A", "A r1", 25), ("B", "B r1", 10), ("B", "B r2", 20),
    ]  # fmt: skip
    said = "20.0 points of AUROC (2 data sets; 3 units from 10.0 to 25.0): cannot tell"
    assert module.spell_out(claim) == said
    listed = units_table(assess_claims(results, simulated=False))
    assert listed[listed["claim"] == "random_overestimates"]["value"].tolist() == pytest.approx([25, 10, 20])


@pytest.mark.parametrize("simulated", [True, False])
def test_without_results_every_claim_says_missing(simulated):
    for claim in assess_claims(table(), simulated=simulated):
        assert math.isnan(claim.estimate) and claim.n_units == 0
        assert claim.detail.startswith("missing")
        assert claim.verdict == "not measured in this profile" == module.spell_out(claim)


def test_simulated_cells_get_no_verdict_and_real_ones_only_two():
    rng = np.random.default_rng(0)
    tasks = [f"{p}:{d}" for p in ("random", "replicate") for d in "ABCD"] + ["cross:A:B", "cross:C:D"]
    rows = [
        row(t, rng.random(), r, head=h, n_train=n, tissue=tissue, held_out="r1" if "rep" in t else None)
        for t in tasks for r in ("raw", "CLS", "WM", "ENS", "PCA_1", "CNN") for n in (1000, "all")
        for tissue in ("leaf", "root") for h in (("CNN",) if r == "CNN" else ("LR", "MLP"))
    ]  # fmt: skip
    rows += [r for d in "ABCD" for r in matched(d, "r1", rng.random(), rng.random())]
    made = assess_claims(table(*rows), simulated=True)
    assert {c.verdict for c in made} <= {module.DESIGNED, module.NOT_AS_DESIGNED, module.NOT_DESIGNED}
    assert all(re.fullmatch(r"1 unit, \S+|\d+ units, from \S+ to \S+", c.detail) for c in made)
    designed = {c.name for c in made if c.verdict != "nothing was designed for this claim"}
    assert designed == {"random_overestimates", "difficulty_order", "cross_plateau"}
    assert {c.verdict for c in assess_claims(table(*rows), simulated=False)} <= {
        "supported", "contradicted", "cannot tell",
    }  # fmt: skip
    assert not any(math.isnan(c.estimate) for c in made)


def test_results_read_from_csv_give_the_same_claims(tmp_path):
    rows = table(*matched("A", "r1", 0.9, 0.7), row("cross:A:B", 0.6, n_train=100), row("cross:A:B", 0.6))
    rows.to_csv(tmp_path / "r.csv", index=False)
    read = pd.read_csv(tmp_path / "r.csv")
    before, after = (claims_table(assess_claims(r, simulated=True)) for r in (rows, read))
    pd.testing.assert_frame_equal(before, after)


def test_another_label_and_another_metric():
    results = table(*matched("A", "r1", 0.9, 0.7, label="hair"), *matched("A", "r1", 0.9, 0.6))
    assert module.random_overestimates(results, simulated=False).estimate == pytest.approx(30)
    assert module.random_overestimates(results, simulated=False, label="hair").estimate == pytest.approx(20)
    results["auroc_hard"] = [0.9, 0.8, 0.9, 0.5]
    hard = module.random_overestimates(results, simulated=False, metric="auroc_hard")
    assert hard.estimate == pytest.approx(40)


def test_a_claim_is_frozen_and_each_statement_has_its_function():
    claim = assess_claims(table(), simulated=True)[0]
    with pytest.raises(AttributeError):
        claim.estimate = 1.0
    assert [f.__name__ for f in CLAIMS] == list(STATEMENTS)
    assert [*claims_table([claim]).columns, "units"] == list(Claim.__dataclass_fields__)


def test_quotations_stand_in_the_paper():
    files = list(PAPER.glob("*.txt")) if PAPER.is_dir() else []
    if not files:
        pytest.skip("the paper's text is not beside the repository")
    text = " ".join(files[0].read_text(encoding="utf-8").split())
    for says in STATEMENTS.values():
        assert says.quote in says.sentence, says.quote
        assert f". {says.sentence.removesuffix(' …')}" in text, says.sentence
        assert says.sentence.endswith((" …", ".")), "a cut is shown"


def test_every_claim_has_a_section_of_the_chapter_with_its_quotation_and_its_figure():
    chapter = (Path(__file__).resolve().parents[1] / "notebooks" / "06_claims.md").read_text(encoding="utf-8")
    for name, says in STATEMENTS.items():
        assert says.quote in chapter and f"{{glue:text}}`{name}`" in chapter, name
        assert f'figures.claim_figure(found["{name}"]' in chapter, name
