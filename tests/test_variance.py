"""Variance components: by hand, known components drawn again and again, and statsmodels' REML."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from scarafm_utils.errors import InputError
from scarafm_utils.variance import COMPONENTS, variance_components, variance_table


def draw(
    seed: int, *, library: float, split: float, fit: float, test: float = 0.0, overlap: float = 1.0,
    shape: tuple[int, int, int] = (4, 4, 3), keep: float = 1.0,
) -> pd.DataFrame:  # fmt: skip
    """Scores with known standard deviations at every level; `keep` drops rows at random."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape).reshape(3, -1)
    table = pd.DataFrame(dict(zip(("unit", "split", "seed"), places, strict=True)))
    shared = [np.sqrt(library**2 + overlap * test**2), np.sqrt(split**2 + (1 - overlap) * test**2)]
    effects = rng.normal(scale=shared[0], size=shape[0])[:, None, None]
    effects = effects + rng.normal(scale=shared[1], size=shape[:2])[:, :, None] + rng.normal(scale=fit, size=shape)
    table = table.assign(auroc=0.8 + effects.ravel(), test_variance=test**2)
    return table[(rng.random(len(table)) < keep) | (table["seed"] == 0)]


def components(table: pd.DataFrame, **settings) -> pd.Series:
    return variance_components(table, **settings).set_index("component")["variance"]


def test_a_case_by_hand():
    """Units r1 and r2, two splits each, two seeds each; variances within are all worked out on paper."""
    values = [0.70, 0.74, 0.80, 0.84, 0.50, 0.54, 0.60, 0.64]
    rows = [(u, k, s) for u in ("r1", "r2") for k in (0, 1) for s in (0, 1)]
    table = pd.DataFrame(rows, columns=["unit", "split", "seed"]).assign(auroc=values)
    found = components(table)
    seed = 0.0008  # variance of (.70, .74) and of every other pair
    split = 0.005 - seed / 2  # of the means .72 and .82, and of .52 and .62
    library = 0.02 - 0.005 / 2  # of the means .77 and .57
    assert found.tolist() == pytest.approx([library, split, seed, 0])


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_known_components_are_found_in_balanced_and_unbalanced_designs(keep):
    known = {"library": 0.06, "split": 0.03, "fit": 0.02, "shape": (3000, 4, 3)}
    found = components(draw(1, keep=keep, **known))
    assert found[list(COMPONENTS[:3])].tolist() == pytest.approx([0.0036, 0.0009, 0.0004], rel=0.08)


@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
def test_test_sampling_is_taken_out_of_the_levels_that_it_hides_in(overlap):
    known = {"library": 0.05, "split": 0.02, "fit": 0.01, "test": 0.04, "overlap": overlap}
    found = components(draw(1, shape=(3000, 4, 3), **known), overlap=overlap)
    assert found["library"] == pytest.approx(0.0025, rel=0.1)
    assert found["split"] == pytest.approx(0.0004, rel=0.15)
    assert found["test sampling"] == pytest.approx(0.0016)


def test_a_balanced_design_gives_the_components_of_restricted_maximum_likelihood():
    table = draw(3, library=0.06, split=0.03, fit=0.02, shape=(8, 5, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser's last step
        model = MixedLM.from_formula(
            "auroc ~ 1", groups="unit", re_formula="1", vc_formula={"split": "0 + C(split)"}, data=table
        )
        fitted = model.fit(reml=True, method="nm")
    expected = [fitted.cov_re.iloc[0, 0], fitted.vcomp[0], fitted.scale]
    assert components(table)[list(COMPONENTS[:3])].tolist() == pytest.approx(expected, rel=0.01)


def test_a_level_with_one_group_has_no_component_and_shares_add_up():
    found = variance_components(draw(0, library=0, split=0.05, fit=0.01, shape=(1, 6, 3))).set_index("component")
    assert np.isnan(found.loc["library", "variance"]) and np.isnan(found.loc["library", "share"])
    assert found["share"].sum() == pytest.approx(1)
    assert found["n"].tolist() == [1, 6, 18, 18]
    found = variance_components(draw(0, library=0.05, split=0.02, fit=0, shape=(5, 3, 1)))["variance"]
    assert found.isna().tolist() == [False, False, True, False]


def test_a_negative_estimate_stays_visible_and_counts_nothing():
    table = draw(1, library=0, split=0, fit=0.05, shape=(3, 3, 3))
    found = pd.concat([variance_components(draw(i, library=0, split=0, fit=0.05)) for i in range(15)])
    negative = found[found["variance"] < 0]
    assert len(negative) > 4 and (negative["sd"] == 0).all() and (negative["share"] == 0).all()
    assert variance_components(table)["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"unit": ["a"], "seed": [0], "auroc": [0.5]}), "need split for every fit"),
        (pd.DataFrame({"unit": ["a"], "split": [0], "seed": [0], "auroc": [np.nan]}), "need auroc for every fit"),
    ],
)
def test_fits_without_a_place_or_a_value_are_refused(table, words):
    with pytest.raises(InputError, match=words):
        variance_components(table)


def test_the_table_of_a_page_has_a_row_for_each_task_in_points():
    one = draw(1, library=0.05, split=0.02, fit=0.01, shape=(3, 3, 3)).assign(task="replicate:A")
    other = draw(2, library=0, split=0.02, fit=0.01, shape=(1, 3, 3)).assign(task="random:A")
    failed = other.iloc[:1].assign(auroc=np.nan)
    repeats = pd.concat([one, other, failed]).assign(label="stress", overlap=0.5)
    table = variance_table(repeats)
    assert table.index.names == ["task"] and table["fits"].tolist() == [27, 9]
    assert table["units"].tolist() == [3, 1] and np.isnan(table["library (SD, points)"].iloc[1])
    expected = variance_components(one, overlap=0.5).set_index("component")["sd"] * 100
    found = table.iloc[0][[f"{name} (SD, points)" for name in COMPONENTS]]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.051)
    assert variance_table(repeats.assign(label="hair")).index.names == ["task", "label"]
    assert variance_table(repeats.head(0)).empty
