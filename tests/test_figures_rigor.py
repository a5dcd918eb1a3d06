"""Figures of the audit and of rigor show the table's values and say which cells they come from."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from scarafm_utils.errors import InputError
from scarafm_utils.figures_rigor import leakage_figure, planted_figure, reliability_figure, threshold_figure

DROPS = pd.DataFrame(
    {
        "label": ["s_phase", "s_phase", "hair"], "variant": ["as it stands"] * 3, "held_out": ["A", "B", "A"],
        "drop": [1.0, 2.0, 3.0], "drop_hard": [4.0, 5.0, 6.0], "drop_recentred": [1.5, 2.5, 3.5],
    }
)  # fmt: skip
LADDER = pd.DataFrame(
    {
        "log_fold_change": [0.0, 0.0, 1.0, 1.0], "protocol": ["random", "held-out pair"] * 2,
        "auroc": [0.8, 0.5, 0.9, 0.85],
    }
)  # fmt: skip
LEAK = pd.DataFrame(
    {
        "representation": ["raw", "raw", "raw", "depth"],
        "within": ["control", "stress", "the label itself", "control"], "auroc": [0.9, 0.95, 0.8, 0.6],
    }
)  # fmt: skip
CURVES = pd.DataFrame({"protocol": ["random"] * 2 + ["cross"], "stated": [0.1, 0.9, 0.9], "observed": [0.2, 0.8, 0.5]})


def drawn(figure, gid: str) -> list[tuple[list, list]]:
    """Coordinates of the lines that carry `gid`."""
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for ax in figure.axes for line in ax.get_lines() if line.get_gid() == gid
    ]  # fmt: skip


def notes(figure) -> set[str]:
    return {text.get_gid() for text in figure.texts}


def test_each_library_has_its_three_drops():
    figure = threshold_figure(DROPS, note="real cells")
    assert drawn(figure, "drop|s_phase|B")[0][0] == [2.0]
    assert drawn(figure, "drop_hard|hair|A")[0][0] == [6.0]
    assert drawn(figure, "drop_recentred|s_phase|A")[0][0] == [1.5]
    assert "real" in notes(figure) and "watermark" not in notes(figure)
    heights = [drawn(figure, f"drop|{label}|{unit}")[0][1][0] for label, unit in (("s_phase", "A"), ("hair", "A"))]
    assert heights[0] != heights[1]


def test_what_means_nothing_is_not_counted_as_ranked_the_wrong_way_round():
    below = LADDER.assign(auroc=[0.4, 0.3, 0.9, 0.85])
    assert planted_figure(below).remark == ""
    said = planted_figure(LADDER.assign(auroc=0.4)).remark
    assert said.startswith("2 of 2 fits of a planted programme lie below 0.5")
    assert leakage_figure(LEAK.assign(auroc=[0.4, 0.4, 0.8, 0.4])).remark == ""
    said = leakage_figure(LEAK.assign(auroc=[0.9, 0.9, 0.4, 0.4])).remark
    assert said.startswith("1 of 1 results for the label itself lies below 0.5")


def test_the_ladder_draws_every_fit_and_the_means():
    figure = planted_figure(pd.concat([LADDER, LADDER.assign(auroc=LADDER["auroc"] - 0.1)]), simulated=True)
    assert drawn(figure, "fits|random|0.0")[0][1] == [0.8, pytest.approx(0.7)]
    assert drawn(figure, "mean|held-out pair")[0][1] == pytest.approx([0.45, 0.8])
    assert "watermark" in notes(figure)


def test_the_label_itself_is_hollow_and_not_in_the_median():
    figure = leakage_figure(LEAK)
    assert drawn(figure, "median|raw")[0][0][0] == pytest.approx(0.925)
    assert drawn(figure, "raw|D")[0][0] == [0.8]


def test_curves_are_drawn_by_protocol_and_panel():
    figure = reliability_figure(CURVES)
    assert drawn(figure, "curve|random|")[0] == ([0.1, 0.9], [0.2, 0.8])
    two = reliability_figure(pd.concat([CURVES.assign(panel="a"), CURVES.assign(panel="b")]))
    assert len(two.axes) == 2 and drawn(two, "curve|cross|b")[0] == ([0.9], [0.5])


@pytest.mark.parametrize(
    ("draw", "table"),
    [(threshold_figure, DROPS), (planted_figure, LADDER), (leakage_figure, LEAK), (reliability_figure, CURVES)],
)
def test_an_empty_table_says_so_a_missing_column_is_refused_and_a_picture_comes_out(draw, table):
    assert any(text.get_gid() == "missing|all" for text in draw(table.iloc[:0]).axes[0].texts)
    with pytest.raises(InputError, match="needs the column"):
        draw(table.drop(columns=table.columns[1]))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure := draw(table))
    figure.savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    assert imread(buffer).std() > 0.01
