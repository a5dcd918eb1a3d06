"""Tables of the pretraining chapter: parameters, what differs from scBERT, accuracy by bin, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .tables import ABSENT

if TYPE_CHECKING:
    import pandas as pd

    from .profiles import Profile
    from .workspace import Workspace

#: Genes of the released vocabularies, and the parameters that the released README gives in millions.
RELEASED_GENES = {"leaf": 4054, "root": 4397}
STATED = {"trainable": "2.5 M", "frozen (gene embeddings)": "0.8 M"}


def tissues_of(workspace: Workspace, tissue: str = "all") -> list[str]:
    """The tissues that a page is about: one, or all of the profile."""
    return list(workspace.profile.tissues) if tissue == "all" else [tissue]


def read_stored(workspace: Workspace, name: str, tissue: str = "all") -> pd.DataFrame:
    """A table that pretraining stored beside the checkpoints, with a column `tissue`.

    `name` is ``history``, ``baselines``, ``guesses``, ``ones``, ``corpus`` or ``cost``.  A tissue whose
    weights were fetched has a history only; where no tissue has the table, it is empty.
    """
    import pandas as pd

    parts = [pd.DataFrame()]
    for one in tissues_of(workspace, tissue):
        folder = workspace.checkpoint_dir(one)
        if not (folder / "history.csv").exists():
            raise InputError(f"no training history for tissue '{one}': run the chapter 'pretraining' first")
        if (folder / f"{name}.csv").exists():
            parts.append(pd.read_csv(folder / f"{name}.csv", dtype={"guess": str}).assign(tissue=one))
    return pd.concat(parts, ignore_index=True)


def parameter_table(workspace: Workspace, tissue: str = "all") -> pd.DataFrame:
    """Trainable and frozen parameters: of each checkpoint, at the paper's shape, and as released.

    The paper's shape is counted on torch's meta device, which holds shapes and no numbers.
    """
    import pandas as pd

    from .checkpoints import read_checkpoint_facts

    rows = {}
    for one in tissues_of(workspace, tissue):
        facts = read_checkpoint_facts(workspace.checkpoint_dir(one))
        rows[f"{one}, this checkpoint"] = _counted(len(facts["genes"]), facts["config"])
    for one, n_genes in RELEASED_GENES.items():
        rows[f"{one}, the paper's shape, counted here"] = _counted(n_genes, {})
    rows["the released model, as its authors state"] = STATED
    columns = ["genes", "dimensions", "blocks", *STATED]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype(object)
    return table.where(table.notna(), ABSENT)


def _counted(n_genes: int, config: dict) -> dict[str, str]:
    import torch

    from .model import ModelConfig, ScAraFM, count_parameters

    with torch.device("meta"):
        model = ScAraFM(ModelConfig(**config), range(n_genes))
    counts = count_parameters(model)
    numbers = (n_genes, model.config.dim, model.config.depth, counts["trainable"], counts["frozen"])
    return dict(zip(("genes", "dimensions", "blocks", *STATED), (f"{n:,}" for n in numbers), strict=True))


def difference_table(profile: Profile) -> pd.DataFrame:
    """What differs between scBERT's code, the released code of scAraFM, and this build of the book.

    The first two columns say what stands in the two repositories; the last is read from the profile.
    A profile that takes the released weights trains nothing, and its last column says what it would do.
    """
    import pandas as pd

    m, p = profile.model, profile.pretraining
    key_max = {"head": "maximum of each cell and head: no effect of batch-mates", "batch": "as both"}
    gene_init = {"gene2vec": "Gene2Vec of this corpus", "random": "random"}
    dash = ABSENT
    rows = {
        "encoder blocks": ("6", "3", str(m.depth)),
        "expression scale": ("log2 of 1 + counts per 10,000", "natural logarithm", "natural logarithm"),
        "token ids": ("bins 0 to 5, MASK", "bins 0 to 5, extra token, MASK = padding", _ids(m.n_bins)),
        "extra token": ("id 0, a bin", "id of its own", "id of its own"),
        "attention": ("FAVOR+", "FAVOR+", {"performer": "FAVOR+", "softmax": "exact softmax"}[m.attention]),
        "stabiliser of the keys": (*["maximum over batch and heads"] * 2, key_max[m.key_max]),
        "gene embeddings": (*["Gene2Vec, frozen"] * 2, f"{gene_init[m.gene_init]}, {m.gene_emb}"),
        "genes not measured": ("0, as if not expressed", "extra token's id when embedding", "MASK"),
        "can be hidden": ("tokens above 0", "tokens above 0, and the extra token", "tokens above 0"),
        "hidden, training / validation": ("15 % / 15 %", "20 % / 15 %", f"{100 * p.p_mask:g} % / {100 * p.p_mask:g} %"),
        "validation masks": (*["new ones each epoch"] * 2, "the same in every epoch"),
        "order of the cells": ("drawn with replacement", "one study after another, never shuffled", "shuffled"),
        "cells of one step": ("3 × 60 on each GPU", "20", str(p.batch_size)),
        "learning rate (Adam)": ("0.0001, cosine restarts", "0.0001, constant", f"{p.learning_rate:g}, constant"),
        "epochs": ("100", "up to 50, stop after 5 without gain", f"up to {p.epochs}, stop after {p.patience}"),
        "gradient clipping": ("norm 100", dash, "none"),
        "corpus in memory": ("sparse", "dense int64, 27 to 31 GB", "one byte a token, mapped from disk"),
    }  # fmt: skip
    columns = ["scBERT's code", "released code", f"here (profile {profile.name})"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("what")


def _ids(n_bins: int) -> str:
    return f"bins 0 to {n_bins - 1}, extra token, MASK"


def baseline_table(workspace: Workspace, tissue: str = "all") -> pd.DataFrame:
    """Accuracy on hidden tokens of the model and of three guesses, and on tokens where the third is wrong."""
    table = read_stored(workspace, "baselines", tissue)
    return table.set_index(["tissue", "predictor"]).round(3) if len(table) else table


def ones_share(ones: pd.DataFrame) -> pd.DataFrame:
    """From an `ones_table` with tissues: how many values, and how many tokens above 0, are a count of one."""
    import pandas as pd

    columns = {}
    for tissue, part in ones.groupby("tissue", sort=False) if len(ones) else []:
        seen = part[part["bin_of_one"] > 0]  # elsewhere a one is token 0, which is never hidden
        shares = part["ones"].sum() / part["values"].sum(), seen["ones"].sum() / part["tokens"].sum()
        columns[tissue] = {
            "cells": f"{part['cells'].sum():,}",
            "values above 0": f"{part['values'].sum():,}",
            "values that are a count of one": f"{100 * shares[0]:.0f} %",
            "tokens above 0": f"{part['tokens'].sum():,}",
            "tokens that are a count of one": f"{100 * shares[1]:.0f} %",
        }
    return pd.DataFrame(columns)


def neighbour_rows(workspace: Workspace, tissue: str = "all") -> pd.DataFrame:
    """The `neighbour_table` of each tissue, with how many genes of its vocabulary have a vector."""
    import pandas as pd

    from .gene_neighbours import neighbour_table, read_gene_vectors

    parts = {}
    for one in tissues_of(workspace, tissue):
        found = read_gene_vectors(workspace, one)
        parts[f"{one} ({len(found.genes):,} of {found.n_vocabulary:,} genes)"] = neighbour_table(found)
    return pd.concat(parts, names=["tissue (genes with a vector)"])


def agreement_rows(workspace: Workspace, tissue: str = "all") -> pd.DataFrame:
    """The `agreement_table` of each tissue."""
    import pandas as pd

    from .gene_neighbours import agreement_table

    parts = {one: agreement_table(workspace, one) for one in tissues_of(workspace, tissue)}
    return pd.concat(parts, names=["tissue"]).round(3)


def cost_table(workspace: Workspace, tissue: str = "all") -> pd.DataFrame:
    """What training took: cells, epochs, speed, memory and hardware; empty where nothing was trained."""
    import pandas as pd

    from .checkpoints import read_checkpoint_facts

    cost, corpus = (read_stored(workspace, name, tissue) for name in ("cost", "corpus"))
    columns = {}
    for one in tissues_of(workspace, tissue) if len(cost) else []:
        spent, cells = cost[cost["tissue"] == one], corpus[corpus["tissue"] == one]
        facts = read_checkpoint_facts(workspace.checkpoint_dir(one))
        columns[one] = {
            "corpus": "real cells" if facts["corpus_real"] else "simulated cells",
            "data sets": len(cells),
            "training cells": f"{cells['training'].sum():,}",
            "validation cells": f"{cells['validation'].sum():,}",
            "epochs run (kept)": f"{spent['epoch'].max()} ({facts['epoch']})",
            "seconds": f"{spent['seconds'].sum():,.1f}",
            "training cells per second (median of epochs)": f"{spent['cells_per_second'].median():,.1f}",
            "cells in memory at once": ", ".join(map(str, spent["micro_batch"].unique())),
            "peak memory (MB)": f"{spent['peak_memory_mb'].max():,.0f}",
            "device": "; ".join(sorted({_device(*used) for used in zip(spent["device"], spent["threads"])})),
        }
    return pd.DataFrame(columns)


def _device(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' * (threads > 1)}"
