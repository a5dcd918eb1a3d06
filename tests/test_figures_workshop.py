"""Figures of the class: every seed is in the histogram, and one's own is marked where it stands."""

from __future__ import annotations

import pandas as pd
import pytest

from scarafm_utils import figures_workshop
from scarafm_utils.errors import InputError
from scarafm_utils.page_fixes import _WIDE

ROWS = [(0, 0.9, 0.7, 0.6), (1, 0.95, 0.8, 0.82), (2, 0.9, 0.75, 0.5)]
TABLE = pd.DataFrame(ROWS, columns=["seed", "random", "replicate", "cross"])


def test_every_seed_is_counted_and_ones_own_is_marked():
    own = {"seed": 7, "random": 0.9, "replicate": 0.6, "cross": 0.5}
    first, second = figures_workshop.seeds_figure(TABLE, own=own).axes
    assert sum(bar.get_height() for bar in first.patches) == sum(bar.get_height() for bar in second.patches) == 3
    places = [line.get_xdata()[0] for line in first.lines]
    assert places == pytest.approx([0, 100 * (0.2 + 0.15 + 0.15) / 3, 30])


def test_a_seed_beyond_the_usual_range_is_counted_too():
    far = pd.DataFrame([(9, 0.99, 0.2, 0.9)], columns=TABLE.columns)  # steps of 79 and -70 points
    for ax in figures_workshop.seeds_figure(pd.concat([TABLE, far])).axes:
        assert sum(bar.get_height() for bar in ax.patches) == 4


def test_the_seeds_of_a_class_stand_on_those_computed_beforehand():
    room = pd.DataFrame([(s, 0.9, 0.7, 0.6) for s in range(12)], columns=TABLE.columns)
    first, _ = figures_workshop.seeds_figure(TABLE, room=room).axes
    labels = first.get_legend_handles_labels()[1]
    heights = [sum(bar.get_height() for bar in c) for c in first.containers]
    assert {"beforehand", "this room"} < set(labels) and heights == [3, 12]
    mean = next(line for line in first.lines if line.get_label() == "mean")
    assert mean.get_xdata()[0] == pytest.approx((20 + 15 + 15 + 12 * 20) / 15)
    with pytest.raises(InputError, match="needs rows"):
        figures_workshop.seeds_figure(TABLE, room=room[:0])


def test_a_table_without_a_protocol_is_refused():
    with pytest.raises(InputError, match=r"missing: \['cross'\]"):
        figures_workshop.seeds_figure(TABLE.drop(columns="cross"))


def test_a_learning_curve_has_a_line_for_each_protocol_and_says_simulated():
    rows = [{"protocol": p, "n_train": n, "auroc": 0.7} for p in ("random", "cross") for n in (50, 100)]
    figure = figures_workshop.curve_figure(pd.DataFrame(rows))
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels[:2] == ["Random split", "Cross-experiment split"]
    assert any("simulated" in text.get_text() for text in figure.texts)
    assert figure.get_size_inches()[0] * 96 <= _WIDE, "a phone shows it whole, with its legend"
    assert len(figure.legends[0].get_texts()) == 2
