"""Moved thresholds: worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.measures import metrics
from scarafm_utils.thresholds import drop_summary, recentred_accuracy, shift_drops


def scores(truth: list[int], score: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"y_true": np.where(truth, "b", "a"), "score:b": score})
    return table.assign(**{"score:a": 1 - table["score:b"]})[["y_true", "score:a", "score:b"]]


def test_a_moved_threshold_costs_hard_labels_everything_and_the_recentred_nothing():
    shifted = scores([0, 0, 1, 1], [0.6, 0.7, 0.8, 0.9])
    assert metrics(shifted).loc[0, ["auroc", "auroc_hard"]].tolist() == [1.0, 0.5]
    assert recentred_accuracy(shifted) == 1.0
    assert recentred_accuracy(scores([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])) == 0.5
    three = shifted.assign(**{"score:c": 0.0})
    with pytest.raises(InputError, match="two classes"):
        recentred_accuracy(three)


def test_drops_are_taken_from_the_random_split_of_the_same_cells_where_there_is_one():
    def row(variant, protocol, held_out, auroc, hard, recentred):
        names = ["label", "variant", "protocol", "held_out", "auroc", "auroc_hard", "recentred"]
        return dict(zip(names, ("x", variant, protocol, held_out, auroc, hard, recentred), strict=True))

    shift = pd.DataFrame(
        [
            row("as it stands", "random", None, 0.9, 0.8, 0.8),
            row("as it stands", "replicate", "A", 0.8, 0.6, 0.75),
            row("as it stands", "replicate", "B", 0.9, 0.8, 0.8),
            row("same test cells", "random", "A", 0.85, 0.7, 0.7),
            row("same test cells", "replicate", "A", 0.8, 0.6, 0.7),
        ]
    )
    drops = shift_drops(shift)
    assert drops["drop"].tolist() == pytest.approx([10, 0, 5])
    assert drops["drop_hard"].tolist() == pytest.approx([20, 0, 10])
    assert drops["threshold"].tolist() == pytest.approx([15, 0, 10])
    table = drop_summary(drops)
    row = table.loc[("as it stands", "x"), ["libraries", "drop", "threshold most"]]
    assert row.tolist() == pytest.approx([2, 5, 15])
