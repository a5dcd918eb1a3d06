"""Score files: what goes in comes out, damage is noticed, and the key notices every change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from scarafm_utils import scores as module
from scarafm_utils.errors import InputError
from scarafm_utils.scores import code_behind, read_scores, score_key, versions, write_scores


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    p = rng.random(200)
    return pd.DataFrame(
        {
            "obs_name": [f"A:s1:{i}" for i in range(200)],
            "y_true": np.where(rng.random(200) < 0.5, "control", "stress"),
            "sample": "s1",
            "replicate": None,
            "cell_type": pd.Series(["mesophyll", None] * 100, dtype=object),
            "n_counts": rng.integers(100, 900, 200).astype(float),
            "score:control": 1 - p,
            "score:stress": p,
        }
    )


def test_what_goes_in_comes_out(tmp_path, table):
    metadata = {"seed": 1, "fit_seconds": 0.25, "n_train": "all", "genes": ["a", "b"]}
    path = write_scores(tmp_path / "leaf" / "abc.parquet", table, metadata)
    read, found = read_scores(path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert found == metadata
    assert [p.name for p in path.parent.iterdir()] == ["abc.parquet"]


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_noticed(tmp_path, table, cut):
    path = write_scores(tmp_path / "abc.parquet", table, {"seed": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(InputError, match=r"abc\.parquet is damaged"):
        read_scores(path)


def test_any_changed_byte_of_a_value_is_noticed(tmp_path, table):
    path = write_scores(tmp_path / "abc.parquet", table, {"seed": 1})
    content = path.read_bytes()
    for position in np.linspace(100, len(content) * 0.6, 20).astype(int):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            read, _ = read_scores(path)
        except InputError:
            continue
        pd.testing.assert_frame_equal(read, table, check_dtype=False)  # a byte that carries no value


def test_values_exchanged_by_another_writer_are_noticed(tmp_path, table):
    path = write_scores(tmp_path / "abc.parquet", table, {"seed": 1})
    arrow = pq.read_table(path)
    swapped = arrow.set_column(7, "score:stress", arrow["score:control"])
    pq.write_table(swapped.replace_schema_metadata(arrow.schema.metadata), path)
    with pytest.raises(InputError, match="its digest does not match"):
        read_scores(path)


def test_a_file_of_another_origin_is_damaged_and_an_absent_one_absent(tmp_path, table):
    table.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="damaged"):
        read_scores(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="No score file none.parquet"):
        read_scores(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="lacks n_counts"):
        write_scores(tmp_path / "x.parquet", table.drop(columns="n_counts"), {})


def test_the_key_ignores_order_and_notices_values():
    assert score_key({"a": 1, "b": "all"}) == score_key({"b": "all", "a": 1})
    keys = {score_key({"n_train": n, "seed": s}) for n in (100, "100", "all") for s in (0, 1)}
    assert len(keys) == 6


def test_the_code_behind_follows_imports_and_notices_a_change(tmp_path, monkeypatch):
    modules = {"a": "from .b import x\n", "b": "from . import c\nfrom .errors import y\n", "c": "z = 1\n"}
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "errors.py").write_text("y = 1\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "scores.py"))
    monkeypatch.setattr("scarafm_utils.files.__file__", str(tmp_path / "files.py"))
    module._reached.cache_clear()
    assert module._reached("a") == ("a", "b", "c")
    before = code_behind("a")
    (tmp_path / "errors.py").write_text("y = 2\n")
    assert code_behind("a") == before
    (tmp_path / "c.py").write_text("z = 2\n")
    assert code_behind("a") != before
    module._reached.cache_clear()


def test_versions_name_what_computes():
    assert {"python", "numpy", "scikit-learn"} <= set(versions())
