# The grid of one profile: preprocess → pretrain → evaluate → collect → index pages → site.
# `scarafm build` calls it under a lock; `snakemake --config profile=demo --cores 2` works too.
# The unit is (chapter, task): papermill runs one notebook, the package does the work.

import os
from pathlib import Path

from scarafm_utils.chapters import CHAPTERS, evaluation_runs, page_runs
from scarafm_utils.episodes import EPISODES
from scarafm_utils.grid import data_files, episode_files, source_files
from scarafm_utils.workspace import open_workspace, profile_path

PROFILE = config.get("profile", "demo")
paper = open_workspace(PROFILE)
SETTINGS = os.path.relpath(profile_path(PROFILE))
OUT = f"artifacts/{paper.profile.name}"
TISSUES = list(paper.profile.tissues)
RUNS = evaluation_runs(paper)  # {(chapter, slug): (task, label)}
THREADS = paper.profile.threads
CLASS = "artifacts/class"  # of the workshop, the same for every profile
PAGES = [f"{CLASS}/runs/{name}.ipynb" for name in EPISODES] if paper.profile.workshop else []


localrules:
    all,
    collect,
    site,


wildcard_constraints:
    tissue="|".join(TISSUES),


def code(wildcards_or_name):
    """The notebook of a chapter and every module it reaches: a change in any of them counts."""
    return source_files(getattr(wildcards_or_name, "chapter", wildcards_or_name))


# Every page is asked for by name: where a run is gone and the site is there, Snakemake would otherwise
# see nothing to do.
rule all:
    input:
        "_build/html/index.html",
        PAGES,
        f"{OUT}/tables/results.csv",
        [f"{OUT}/runs/{chapter}/{slug}.ipynb" for chapter, slug in page_runs(paper)],


rule preprocess:
    input:
        SETTINGS,
        paper.profile.manifest,
        code("preprocessing"),
        lambda w: data_files(paper, w.tissue),
    output:
        run=f"{OUT}/runs/preprocessing/{{tissue}}.ipynb",
        vocabulary=f"{OUT}/vocabulary/{{tissue}}.csv",
    threads: THREADS
    shell:
        "scarafm run preprocessing -p tissue={wildcards.tissue:q} -p threads={threads}"
        " --profile {PROFILE:q} --out {output.run:q}"


rule pretrain:
    input:
        SETTINGS,
        code("pretraining"),
        vocabulary=f"{OUT}/vocabulary/{{tissue}}.csv",
    output:
        run=f"{OUT}/runs/pretraining/{{tissue}}.ipynb",
        weights=f"{OUT}/checkpoints/{{tissue}}/model.safetensors",
    threads: THREADS
    shell:
        "scarafm run pretraining -p tissue={wildcards.tissue:q} -p threads={threads}"
        " --profile {PROFILE:q} --out {output.run:q}"


# One process for all maps of a tissue: the compiler behind UMAP costs more than a map.
rule maps:
    input:
        SETTINGS,
        source_files("maps"),
        weights=f"{OUT}/checkpoints/{{tissue}}/model.safetensors",
    output:
        f"{OUT}/tables/maps-{{tissue}}.csv",
    threads: THREADS
    shell:
        "scarafm maps {wildcards.tissue:q} --threads {threads} --profile {PROFILE:q}"


rule evaluate:
    input:
        SETTINGS,
        code,
        weights=lambda w: f"{OUT}/checkpoints/{CHAPTERS[w.chapter].tissue}/model.safetensors",
        maps=lambda w: f"{OUT}/tables/maps-{CHAPTERS[w.chapter].tissue}.csv",
    output:
        run=f"{OUT}/runs/{{chapter}}/{{slug}}.ipynb",
    wildcard_constraints:
        chapter="leaf_results|root_results",
        slug="(random|replicate|cross)-.+",
    params:
        task=lambda w: RUNS[w.chapter, w.slug][0],
        label=lambda w: RUNS[w.chapter, w.slug][1],
    threads: THREADS
    shell:
        "scarafm run {wildcards.chapter:q} -p task={params.task:q} -p label={params.label:q}"
        " -p threads={threads} --profile {PROFILE:q} --out {output.run:q}"


rule collect:
    input:
        SETTINGS,
        [f"{OUT}/runs/{chapter}/{slug}.ipynb" for chapter, slug in RUNS],
    output:
        f"{OUT}/tables/results.csv",
    shell:
        "scarafm collect --profile {PROFILE:q}"


rule index:
    input:
        SETTINGS,
        code,
        f"{OUT}/tables/results.csv",
        lambda w: ["book/real_numbers.csv"] if w.chapter in ("audit", "rigor") else [],
        [f"{OUT}/runs/{chapter}/{tissue}.ipynb" for chapter in ("preprocessing", "pretraining") for tissue in TISSUES],
    output:
        run=f"{OUT}/runs/{{chapter}}/index.ipynb",
    params:
        unit=lambda w: f"-p {CHAPTERS[w.chapter].unit}=all" if CHAPTERS[w.chapter].unit else "",
    shell:
        "scarafm run {wildcards.chapter:q} {params.unit} --profile {PROFILE:q} --out {output.run:q}"


rule class_data:
    input:
        "profiles/workshop.yaml",
        "data_manifest.yaml",
        source_files("workshop_data"),
    output:
        f"{CLASS}/data/facts.json",
    shell:
        "scarafm workshop-data"


rule episode:
    input:
        f"{CLASS}/data/facts.json",
        lambda w: episode_files(w.episode),
    output:
        f"{CLASS}/runs/{{episode}}.ipynb",
    wildcard_constraints:
        episode="|".join(EPISODES),
    shell:
        "scarafm episode {wildcards.episode:q} --out {output:q}"


rule site:
    input:
        PAGES,
        sorted(str(p) for p in Path("book/workshop").glob("*.md")),
        sorted(str(p) for p in Path("workshop").rglob("*") if p.is_file()),
        "_config.yml",
        "book/_toc.yml",
        "artifacts/.current",
        paper.profile.manifest,
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "LICENSE-text",
        "book/_templates/book-pdf.html",
        "book/real_numbers.csv",
        "scarafm_utils/hover.py",
        sorted(str(p) for p in Path("book").glob("*.[mb][di]*")),
        sorted(str(p) for p in Path("book/_static").rglob("*") if p.is_file() and "generated" not in p.parts),
        source_files("site"),
        [f"{OUT}/runs/{chapter}/{slug}.ipynb" for chapter, slug in page_runs(paper)],
    output:
        "_build/html/index.html",
    shell:
        "scarafm site --profile {PROFILE:q}"
