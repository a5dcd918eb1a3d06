"""Figures of evidence: every unit is drawn where the table says, and nothing leaves the frame."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from scarafm_utils import figures
from scarafm_utils.claims import Claim, Unit
from scarafm_utils.statements import STATEMENTS

UNITS = (
    Unit("A", "A random:A", 12.0), Unit("A", "A replicate:A r1", -3.0), Unit("B", "B cross:A:B", 8.0),
)  # fmt: skip


def make_claim(name: str = "gene_identity_beats_pooling", units: tuple[Unit, ...] = UNITS, **changes) -> Claim:
    says = STATEMENTS[name]
    words = {"quote": says.quote, "section": says.section, "estimand": says.estimand, "unit": says.unit}
    counts = {"n_units": len(units), "n_datasets": 2}
    claim = Claim(name=name, **words, estimate=6.25, **counts, verdict="v", detail="", units=units)
    return replace(claim, **changes)


def with_gid(figure, gid: str) -> list:
    return [artist for ax in figure.axes for artist in ax.get_children() if artist.get_gid() == gid]


def fits(figure) -> bool:
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    drawn, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    inside = drawn.x1 <= width + 0.01 and drawn.y1 <= height + 0.01
    return bool(min(drawn.x0, drawn.y0) >= -0.01 and inside)


def test_every_unit_of_a_claim_is_a_dot_on_the_line_of_its_data_set():
    figure = figures.claim_figure(make_claim())
    drawn = [(dot.get_xdata()[0], round(dot.get_ydata()[0])) for dot in with_gid(figure, "unit")]
    assert drawn == [(12, 0), (-3, 0), (8, 1)]
    (estimate,) = with_gid(figure, "estimate")
    assert (estimate.get_xdata()[0], estimate.get_ydata()[0]) == (6.25, 2)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["A", "B", "mean of data sets"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_claim_of_one_protocol_names_its_units_and_fits(name):
    one = tuple(unit._replace(unit="replicate:A rep1") for unit in UNITS)
    assert fits(figures.claim_figure(make_claim(name, one)))


@pytest.mark.parametrize("name", STATEMENTS)
def test_shading_covers_what_the_words_say_as_far_as_the_axis_goes(name):
    low, high = STATEMENTS[name].said
    figure = figures.claim_figure(make_claim(name))
    (shade,) = with_gid(figure, "claimed")
    left, right = figure.axes[0].get_xlim()
    assert shade.get_x() == low
    assert shade.get_x() + shade.get_width() == pytest.approx(min(high, right))
    assert left < min(low, *(unit.value for unit in UNITS))
    assert fits(figure)


def test_a_correlation_names_what_was_left_out_and_a_score_below_chance_is_explained():
    ax = figures.claim_figure(make_claim("harder_root_tasks_gain_more")).axes[0]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert all(name.startswith("without ") for name in names[:-1]) and names[-1] == "mean"
    units = (Unit("A", "cross:A:B", 0.4), Unit("A", "cross:B:A", 0.6))
    assert figures.claim_figure(make_claim("cross_plateau", units)).remark.startswith("1 of 2 units lies below 0.5")
    assert figures.claim_figure(make_claim()).remark == ""


def test_a_claim_without_results_says_so():
    figure = figures.claim_figure(make_claim(units=(), verdict="not measured in this profile"))
    assert [t.get_text() for t in figure.axes[0].texts] == ["n/a: not measured in this profile"]


def test_claims_about_simulated_cells_carry_the_mark():
    for claim in (make_claim(), make_claim(units=())):
        assert any(t.get_gid() == "watermark" for t in figures.claim_figure(claim, simulated=True).texts)
        assert not any(t.get_gid() == "watermark" for t in figures.claim_figure(claim).texts)


def make_pairs() -> pd.DataFrame:
    places = [("leaf", "random", "A", -4), ("root", "random", "B", 2), ("leaf", "cross", "A+B", 7)]
    rows = [
        {"tissue": tissue, "protocol": protocol, "label": "stress", "independent": name, "task": f"{protocol}:{name}",
         "held_out": "", "representation": r, "difference": value, "head": head}
        for tissue, protocol, name, base in places
        for r in ("WM", "ENS", "CNN") for head, value in (("LR", base - 1), ("MLP", base + 1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_comparison_has_one_dot_for_each_unit_hollow_for_root_and_says_where_nothing_ran():
    figure = figures.comparison_figure(make_pairs())
    dots = with_gid(figure, "unit|ENS")
    assert [dot.get_xdata()[0] for dot in dots] == [-4, 2, 7]
    assert [dot.get_markerfacecolor() for dot in dots] == ["#D55E00", "white", "#D55E00"]
    assert [bar.get_xdata()[0] for bar in with_gid(figure, "median|WM")] == [-1, 7]
    assert [t.get_text() for t in with_gid(figure, "missing")] == ["n/a"], "no replicate task ran"
    assert fits(figure)


def test_simulated_comparisons_carry_the_mark():
    assert any(t.get_gid() == "watermark" for t in figures.comparison_figure(make_pairs(), simulated=True).texts)
