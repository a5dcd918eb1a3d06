"""The manifest: the paper's numbers, and a refusal for each way to get it wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from scarafm_utils.errors import InputError
from scarafm_utils.manifest import held_out_unit, load_manifest, matched_pairs, select

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT.parent / "shared" / "data" / "datasets.tsv"


@pytest.fixture(scope="module")
def manifest():
    return load_manifest(ROOT / "data_manifest.yaml")


@pytest.fixture(scope="module")
def real_root():
    return load_manifest(ROOT / "profiles" / "real_root_manifest.yaml")


def entry(**changes):
    """A valid downstream entry; a value of ... removes the key."""
    base = {
        "tissue": "leaf",
        "role": "downstream",
        "n_cells": 10,
        "n_replicates": 1,
        "obs": {"condition": "Condition", "replicate": "Repeat", "sample": "Lib", "cell_type": "Type"},
        "labels": {"stress": {"classes": {"control": ["Normal"], "stress": ["Dry"]}}},
    }
    return {k: v for k, v in {**base, **changes}.items() if v is not ...}


def load(tmp_path, text_or_entry):
    """Load a manifest that holds one data set, A, or the given text."""
    text = text_or_entry
    if not isinstance(text, str):
        text = yaml.safe_dump({"datasets": {"A": text_or_entry}}, sort_keys=False)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_manifest(path)


# ---- the paper's numbers


def test_there_are_9_downstream_and_22_pretraining_data_sets(manifest):
    assert len(manifest) == 31
    assert [len(select(manifest, tissue=t, role="downstream")) for t in ("leaf", "root")] == [4, 5]
    assert [len(select(manifest, tissue=t, role="pretraining")) for t in ("leaf", "root")] == [11, 11]


@pytest.mark.parametrize(("tissue", "total"), [("leaf", 833_630), ("root", 877_551)])
def test_pretraining_totals_are_those_of_supplementary_table_2(manifest, tissue, total):
    assert sum(d.n_cells for d in select(manifest, tissue=tissue, role="pretraining")) == total


def test_pairs_share_a_stress_and_run_in_both_directions(manifest):
    assert set(matched_pairs(manifest, tissue="leaf")) == {
        ("ERP132245", "GSE273033"),
        ("GSE273033", "ERP132245"),
        ("GSE226826", "SRP398011"),
        ("SRP398011", "GSE226826"),
    }
    assert matched_pairs(manifest, tissue="root") == []


def test_pairs_need_a_stress_in_common(tmp_path):
    sets = {name: entry(stress=word) for name, word in zip("ABCD", (None, None, "Heat", "Cold"), strict=True)}
    manifest = load(tmp_path, yaml.safe_dump({"datasets": sets}))
    assert matched_pairs(manifest, tissue="leaf") == []


def test_the_paper_holds_replicates_out_of_two_data_sets(manifest):
    assert [i for i, d in manifest.items() if (d.n_replicates or 0) > 1] == ["GSE273033", "GSE235495"]


@pytest.mark.skipif(not TABLE.exists(), reason="the table of data sets is not beside the repository")
def test_every_entry_agrees_with_the_table_of_facts(manifest):
    rows = list(csv.DictReader(TABLE.open(encoding="utf-8"), delimiter="\t"))
    assert [r["id"] for r in rows] == list(manifest)
    for row in rows:
        d = manifest[row["id"]]
        assert (d.tissue, d.role, d.n_cells) == (row["tissue"], row["role"], int(row["n_cells"]))
        assert (d.stress or "") == row["stress"] and (d.scplantdb_id or "") == row["scplantdb_id"]
        for key in ("n_conditions", "n_genotypes", "n_replicates"):
            assert str(getattr(d, key) or "") == row[key]
        assert ";".join(d.conditions) == row["conditions"] and ";".join(d.genotypes) == row["genotypes"]
        size = d.sources["scplantdb"].bytes if "scplantdb" in d.sources else ""
        assert str(size) == row["h5ad_gz_bytes"]
        assert d.citation.removeprefix("PMID ") == (row["pmid"] or "unknown")


def test_every_word_of_a_label_is_one_of_the_data_set(manifest):
    for d in select(manifest, role="downstream"):
        words = {word for own in d.labels["stress"].classes.values() for word in own}
        if d.conditions:
            assert words == set(d.conditions), d.id
        assert len(d.labels["stress"].classes) == d.n_conditions


def test_stress_is_the_positive_class_and_unseen_words_are_said_to_be_assumed(manifest):
    assert list(manifest["SRP169576"].labels["stress"].classes.items()) == [
        ("control", ["Sucrose-"]),
        ("stress", ["Sucrose+"]),
    ]
    assert list(manifest["SRP285817"].labels["stress"].classes) == [
        "control",
        "induction_08h",
        "induction_20h",
    ]
    unseen = manifest["GSE273033"].labels["stress"]
    assert unseen.classes == {"control": ["control"], "stress": ["stress"]}
    assert unseen.assumed == ("control", "stress")
    assert manifest["ERP132245"].labels["stress"].assumed == ()


def test_every_data_set_can_be_had_in_public_and_addresses_end_in_its_id(manifest):
    for d in manifest.values():
        spec = d.sources[d.source_name("public")]
        assert spec.url or (spec.format == "manual" and spec.note)
    assert manifest["CRA002977"].sources["scplantdb"].url.endswith("/CRA002977_1.h5ad.gz")
    assert manifest["SRP247828"].sources["scplantdb"].url.endswith("/SRP247828_2.h5ad.gz")


def test_what_differs_in_a_source_replaces_what_the_data_set_says(manifest):
    d = manifest["SRP169576"]
    assert (d.measured, d.read_from("local").measured) == (None, "measured_in_")
    assert (d.normalised, d.read_from("release").normalised) == (False, True)
    assert d.read_from("release").obs.sample is None and d.read_from("public").obs == d.obs
    samples = manifest["GSE235495"].sources["geo"].samples
    assert samples["Case2"] == {"condition": "Case", "replicate": "2"}


def test_a_source_that_is_not_named_is_refused(manifest):
    with pytest.raises(InputError, match=r"SRP182008: no source 'release' .*scplantdb"):
        manifest["SRP182008"].source_name("release")
    assert manifest["SRP182008"].source_name("local") == "local"


def test_unknown_is_none_where_a_value_is_expected_and_a_word_where_text_is(manifest):
    d = manifest["GSE226826"]
    assert (d.libraries, d.conditions, d.citation, d.licence) == (None, [], "unknown", "unknown")
    assert d.sources["geo"].bytes is None and d.sources["geo"].sha256 is None


@pytest.mark.parametrize(
    ("dataset", "unit"),
    [("GSE235495", "replicate"), ("SRP169576", "library_set"), ("SRP166333", None), ("ERP132245", None)],
)
def test_what_can_be_held_out(manifest, dataset, unit):
    assert held_out_unit(manifest[dataset], "stress") == unit


def test_real_root_names_the_words_of_the_real_file(real_root):
    anndata = pytest.importorskip("anndata")
    path = TABLE.parent / "SRP169576.h5ad"
    if not path.exists():
        pytest.skip("the real cells are not beside the repository")
    d, adata = real_root["SRP169576"], anndata.read_h5ad(path, backed="r")
    columns = [c for c in (d.obs.genotype, d.obs.sample, d.obs.cell_type, d.obs.total_counts) if c]
    assert set(columns) <= set(adata.obs)
    words = {w for label in d.labels.values() for own in label.classes.values() for w in own}
    assert words <= set(adata.obs[d.obs.cell_type])
    assert {d.measured + s for s in adata.obs[d.obs.sample].unique()} == set(adata.var)
    assert [list(label.classes)[-1] for label in d.labels.values()] == [
        "s_phase",
        "lateral_root_cap",
        "root_hair",
    ]


@pytest.mark.parametrize(
    "text", ["PLT1\tAT3G20840\nWOX5\tAT3G11260\n", "symbol,locus\nPLT1,AT3G20840\n\nWOX5, AT3G11260\n"]
)
def test_gene_symbols_are_given_inline_or_in_a_table_beside_the_manifest(tmp_path, text):
    table = {"PLT1": "AT3G20840", "WOX5": "AT3G11260"}
    (tmp_path / "symbols.tsv").write_text(text)
    assert load(tmp_path, entry(aliases="symbols.tsv"))["A"].aliases == table
    assert load(tmp_path, entry(aliases=table))["A"].aliases == table
    assert load(tmp_path, entry(aliases="unknown"))["A"].aliases == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "A.aliases: no file 'symbols.tsv' beside the manifest"),
        ("PLT1\n", "symbols.tsv, line 1: expected a symbol and a locus"),
        ("PLT1\tAT3G20840\nPLT1\tAT1G20840\n", "'PLT1' stands for two loci"),
    ],
)
def test_a_bad_table_of_symbols_is_one_line(tmp_path, text, message):
    if text:
        (tmp_path / "symbols.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        load(tmp_path, entry(aliases="symbols.tsv"))


# ---- refusals


def test_a_valid_entry_loads_and_is_frozen(tmp_path):
    d = load(tmp_path, entry())["A"]
    assert d.id == "A" and d.default_label == "stress" and d.obs.replicate == "Repeat"
    with pytest.raises(ValueError, match="frozen"):
        d.n_cells = 3


LABEL = {"control": ["Normal"], "stress": ["Dry"]}
BAD = {
    "unknown key": ({"tisue": "leaf"}, r"mine.yaml: datasets.A.tisue = 'leaf': unknown key, .*'tissue'"),
    "unknown nested key": (
        {"obs": {"condition": "C", "replicat": "R"}},
        r"A.obs.replicat = 'R': .*'replicate'",
    ),
    "unknown key below a name": (
        {"labels": {"stress": {"classes": LABEL, "colum": "condition"}}},
        r"A.labels.stress.colum = 'condition': unknown key, did you mean 'column'",
    ),
    "unknown key of a source": ({"sources": {"geo": {"bites": 3}}}, r"sources.geo.bites = 3: .*'bytes'"),
    "unknown source": ({"sources": {"geos": {"url": "https://a.b/c"}}}, r"sources.geos.*did you mean 'geo'"),
    "tissue": (
        {"tissue": "leef"},
        r"A.tissue = 'leef': not known, did you mean 'leaf'\? Allowed: leaf, root",
    ),
    "role": ({"role": "training"}, r"A.role = 'training': .*Allowed: downstream, pretraining"),
    "missing key": ({"n_cells": ...}, r"datasets.A.n_cells: this key is missing"),
    "number as text": ({"n_cells": "many"}, r"A.n_cells = 'many': .*integer"),
    "no cells": ({"n_cells": 0}, r"A.n_cells = 0: .*greater than 0"),
    "a word that YAML reads as a truth": (
        {"labels": {"stress": {"classes": {"control": [False], "stress": ["Dry"]}}}},
        r"classes.control\[0\] = False: .*quote it",
    ),
    "no label": ({"labels": ...}, r"datasets.A: .*needs at least one label"),
    "one class": ({"labels": {"stress": {"classes": {"control": ["N"]}}}}, r"two classes or more"),
    "a class without words": (
        {"labels": {"stress": {"classes": {"control": [], "stress": ["D"]}}}},
        r"at least one word",
    ),
    "ambiguous words": (
        {"labels": {"stress": {"classes": {"control": ["N"], "stress": ["D", "N"]}}}},
        r"one word stands for two classes",
    ),
    "order of classes": (
        {"labels": {"stress": {"classes": {"stress": ["D"], "control": ["N"]}}}},
        r"labels.stress.classes: classes run from negative to positive: control first",
    ),
    "control in the middle": (
        {"labels": {"stress": {"classes": {"cold": ["C"], "control": ["N"], "hot": ["H"]}}}},
        r"classes run from negative to positive",
    ),
    "label without its column": (
        {"obs": {"sample": "Lib"}},
        r"label 'stress' reads 'condition', but obs.condition",
    ),
    "label of an odd column": (
        {"labels": {"stress": {"column": "sample", "classes": LABEL}}},
        r"stress.column = 'sample': .*cell_type",
    ),
    "replicates without a column": (
        {"n_replicates": 2, "obs": {"condition": "C"}},
        r"obs.replicate names no column",
    ),
    "counts": ({"counts": "layer/counts"}, r"A.counts = 'layer/counts': .*layers/<name>"),
    "address": ({"sources": {"geo": {"url": "ftp://a.b/c"}}}, r"geo.url = 'ftp://a.b/c': .*https://"),
    "path out of the folder": (
        {"sources": {"local": {"path": "../x.h5ad"}}},
        r"local.path = '../x.h5ad': .*stays inside",
    ),
    "checksum": ({"sources": {"geo": {"sha256": "abc"}}}, r"geo.sha256 = 'abc'"),
    "format": ({"sources": {"geo": {"format": "h5add"}}}, r"geo.format = 'h5add': .*did you mean 'h5ad'"),
    "own id": ({"id": "B"}, r"datasets.A.id: the name of the entry is its id"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(tmp_path, case):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, entry(**changes))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("mine.yaml: ")


def test_several_mistakes_are_counted(tmp_path):
    with pytest.raises(InputError, match=r"\(and 1 more\)$"):
        load(tmp_path, entry(tissue="leef", role="rool"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets:\n  A: {tissue: leaf, tissue: root}\n", r"mine.yaml: line 2: key 'tissue' stands twice"),
        ("datasets:\n  A: {}\n  A: {}\n", r"line 3: key 'A' stands twice"),
        ("datasets: [A]\n", "no data sets"),
        ("A: {tissue: leaf}\n", "Put them under the key 'datasets'"),
        ("", "expected keys and values"),
        ("datasets:\n  A: 3\n", r"datasets.A: expected keys and values, found 3"),
        ("datasets: {A: {\n", "not valid YAML"),
        ("datasets: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_yaml_that_is_no_manifest_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a:b", "a/b", ".hidden", "a b"])
def test_ids_are_safe_in_names_of_cells_and_files(tmp_path, name):
    text = yaml.safe_dump({"datasets": {name: entry()}})
    with pytest.raises(InputError, match="letters, digits"):
        load(tmp_path, text)


def test_a_missing_file_names_what_is_there(tmp_path):
    (tmp_path / "other.yaml").write_text("{}")
    with pytest.raises(InputError, match=r"mine.yaml: no such file .*other.yaml"):
        load_manifest(tmp_path / "mine.yaml")


def test_other_top_level_keys_are_refused(tmp_path):
    text = yaml.safe_dump({"datasets": {"A": entry()}, "dataset": {}})
    with pytest.raises(InputError, match="'dataset'.*unknown key"):
        load(tmp_path, text)


def test_a_tissue_that_does_not_exist_cannot_be_selected(manifest):
    with pytest.raises(InputError, match="tissue 'leef' is not known: did you mean 'leaf'"):
        select(manifest, tissue="leef")
    with pytest.raises(InputError, match="role 'train'"):
        select(manifest, role="train")
