"""Where the released code departs from the paper's text, one entry each: what, here, and which switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """One difference between the paper and its released code.

    `switch` names the parameter or function that moves it here; where it is empty, `why` says why
    nothing can be switched, or why it was not run.
    """

    number: int
    topic: str
    paper: str
    released: str
    here: str
    switch: str = ""
    why: str = ""


DIFFERENCES = (
    Difference(
        1, "What is called AUROC", "AUROC", "computed from hard class labels: balanced accuracy for two classes",
        "AUROC from scores; the other as auroc_hard in every row", "columns auroc, auroc_hard",
    ),
    Difference(
        2, "Error bars", "bootstrap", "10 resamples of the cells of one split; a second version draws a tenth of them",
        "percentile interval, all cells, as many resamples as the profile says", "n_boot; audit.bar_widths",
    ),
    Difference(
        3, "Order of pretraining cells", "not stated", "never shuffled: one study after another in every epoch",
        "shuffled", why="not run: it needs a second pretraining",
    ),
    Difference(
        4, "Genes that a data set lacks", "not stated", "the id of the extra token, not MASK",
        "MASK, and heads read measured genes only", "audit.encoder_switches",
    ),
    Difference(
        5, "Key stabiliser of FAVOR+", "not stated", "maximum over the whole batch: a cell depends on its batch-mates",
        "maximum per cell and head", "model.key_max: batch",
    ),
    Difference(
        6, "Numbers of the data", "GSE273033 50,797 cells; 26 data sets; 4,000 genes",
        "4,035 cells in its README; 22 data sets listed; 4,054 and 4,397 genes",
        "Supplementary Tables 1 and 2; the profile release takes the released gene lists",
        why="facts of the files, not of the analysis",
    ),
    Difference(
        7, "Masks", "20 % of the non-zero tokens", "20 % in training, 15 % in validation, drawn anew without a seed",
        "20 % in both; validation masks the same every time", "pretraining.p_mask",
        why="one share for both, so the released pair was not run",
    ),
    Difference(
        8, "A tenth of the training cells", "all training cells", "10 % set aside for validation, whatever the head",
        "all training cells", "fidelity: released:train_90",
    ),
    Difference(
        8, "Seed of class balancing", "not stated", "the seed argument is ignored, a global one is used",
        "the seed of the split", "fidelity: released:global_seed",
    ),
    Difference(
        8, "The first replicate", "the first replicate", "the first one met after class-ordered balancing",
        "the first to appear in the file, and every replicate in turn", "held_out; audit.released_first_replicate",
    ),
    Difference(
        8, "Ties of the ENS vote; the battery for CLS; root tasks by size",
        "majority vote; CLS; Supplementary Figure 3",
        "ties go to the lowest class; CLS commented out; root at full size only",
        "ties as there, AUROC from the share of votes; CLS and every size run", "vote",
        why="what was left out cannot be compared",
    ),
    Difference(
        9, "Classes", "two or three conditions", "condition and genotype, numbered by alphabet in each data set",
        "the manifest's words, stress last", "fidelity: released:labels",
    ),
    Difference(
        10, "Choice of hyper-parameters", "5-fold cross-validation",
        "random folds, so that replicates stand on both sides",
        "as the profile says: none, or either kind of folds", "tuning: none, cv, group_cv",
    ),
    Difference(
        11, "Stored embeddings", "not stated", "3 MB per cell on disk, each size and PCA computed anew",
        "nothing stored: reductions in the forward pass", why="cost only: the numbers are the same",
    ),
    Difference(
        12, "Cells of pretraining in memory", "not stated", "dense 64-bit integers, 27 and 31 GB",
        "a memory map of 8-bit tokens", why="cost only: the numbers are the same",
    ),
    Difference(
        13, "Gene embeddings; the MLP", "learned from a Gene2Vec start; scikit-learn",
        "frozen; a torch network with dropout",
        "both kinds of embedding; the released network", "model.gene_emb; heads.make_head",
        why="not run: another value of gene_emb needs a second pretraining",
    ),
    Difference(
        14, "Classes of a test set", "the text: balanced; A.2: a held-out replicate is not", "not balanced",
        "as A.2", "fidelity: balanced_test",
    ),
)  # fmt: skip


def differences_table(effects: dict[str, str]) -> pd.DataFrame:
    """The differences as rows, each with its measured effect or the reason why there is none.

    Parameters
    ----------
    effects
        Topic → what was measured; from `audit.measured_effects`.
    """
    import pandas as pd

    rows = []
    for entry in DIFFERENCES:
        effect = "; ".join(text for text in (effects.get(entry.topic, ""), entry.why) if text)
        rows.append(
            {
                "no.": entry.number,
                "topic": entry.topic,
                "paper, and released code": f"Paper: {entry.paper}. Code: {entry.released}.",
                "here": f"{entry.here} [{entry.switch}]" if entry.switch else entry.here,
                "effect": effect or "no result in this build",
            }
        )
    return pd.DataFrame(rows).set_index("no.")
