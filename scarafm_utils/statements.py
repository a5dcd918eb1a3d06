"""What the paper claims, in a few of its own words, and what would have to be measured.

`claims` computes each; here stand the words only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

#: Points of AUROC below which raw values count as competitive, and two bars as tied.
COMPETITIVE, TIED = 2.0, 1.0

#: Where AUROC stops rising across experiments, in the paper's words.
PLATEAU = (0.55, 0.75)


@dataclass(frozen=True)
class Statement:
    """A quotation with its sentence and section, the estimand, and what would agree with it.

    `sentence` starts where the paper's sentence does; " …" at its end says that it goes on there.
    `agrees` says whether a value of the estimand agrees with the paper; `designed` whether it is
    what the simulated compendium was designed to give (None: it was designed for no such thing).
    `said` is the range of values that the words stand for, and `scale` what these are values of.
    """

    name: str
    quote: str
    sentence: str
    section: str
    estimand: str
    unit: str
    agrees: Callable[[float], bool]
    said: tuple[float, float]
    scale: str = "points of AUROC"
    designed: Callable[[float], bool] | None = None


#: One sentence of the paper that makes two claims.
_FEW_CELLS = (
    "Within this harder regime, scAraFM representations provide the most robust signal in the low-data region "
    "(~1k–5k training cells), where baseline features degrade more sharply (Supplementary Figure 2), and the "
    "CNN+MLP head achieves the best or tied-best AUROC."
)

STATEMENTS = {
    says.name: says
    for says in (
        Statement(
            name="random_overestimates",
            quote="random splits can overestimate performance by 20–30 AUROC points",
            sentence="For single experiment settings, we find that random splits can overestimate performance "
            "by 20–30 AUROC points compared to replicate-held-out evaluation and across independent experiments …",
            section="Abstract",
            estimand="random minus replicate, points of AUROC; same data set, representation, head, "
            "number of training cells and the same test cells; the verdict is about the sign",
            unit="held-out replicate or set of libraries",
            agrees=lambda points: points > 0,
            said=(20, 30),
            designed=lambda points: points > 10,
        ),
        Statement(
            name="difficulty_order",
            quote="random > replicate > cross-experiment",
            sentence="The consistent difficulty gradient (random > replicate > cross-experiment) indicates that "
            "within-dataset scores may be inflated by study-specific effects …",
            section="4 Discussion",
            estimand="the smaller of two steps, random minus replicate and replicate minus cross, points "
            "of AUROC; same training study, representation, head and number of training cells (all cells only "
            "where a study has no other size); test cells differ",
            unit="training study",
            agrees=lambda points: points > 0,
            said=(0, inf),
            designed=lambda points: points > 0,
        ),
        Statement(
            name="gene_identity_beats_pooling",
            quote="gene-identity-preserving features consistently outperform pooled summaries",
            sentence="Across representation strategies, gene-identity-preserving features consistently outperform "
            "pooled summaries, even when the latter are derived from pretrained transformers.",
            section="Abstract",
            estimand="mean of ENS, PCA_1 to PCA_3 and CNN minus mean of CLS and WM, points of AUROC; same task, "
            "head and number of training cells (CNN stands beside MLP, as in the paper's figures)",
            unit="task and held-out replicate",
            agrees=lambda points: points > 0,
            said=(0, inf),
        ),
        Statement(
            name="raw_is_competitive",
            quote="simple baselines using raw reads remain competitive or superior",
            sentence="Notably, simple baselines using raw reads remain competitive or superior to learned embeddings "
            "under single-experiment scenarios …",
            section="Abstract",
            estimand="raw minus the best learned representation (the best on these test cells, so a "
            f"strict rival), points of AUROC; random and replicate; competitive: above −{COMPETITIVE:g} points",
            unit="task and held-out replicate",
            agrees=lambda points: points > -COMPETITIVE,
            said=(-COMPETITIVE, inf),
        ),
        Statement(
            name="cross_plateau",
            quote="AUROC plateaus around 0.55–0.75",
            sentence="Under cross-experiment transfer, AUROC plateaus around 0.55–0.75 …",
            section="3.1 Leaf tissue",
            estimand="AUROC of cross-experiment tasks with all training cells; mean over representations "
            "and heads",
            unit="direction of a pair",
            agrees=lambda auroc: PLATEAU[0] <= auroc <= PLATEAU[1],
            said=PLATEAU,
            scale="AUROC",
            designed=lambda auroc: PLATEAU[0] <= auroc <= PLATEAU[1],
        ),
        Statement(
            name="strongest_with_few_cells",
            quote="most robust signal in the low-data region",
            sentence=_FEW_CELLS,
            section="3.1 Leaf tissue",
            estimand="mean of ENS, PCA_1 to PCA_3 and CNN minus raw, points of AUROC; cross tasks with 1,000 to "
            "5,000 training cells (without such sizes: the two smallest); same head and number of training cells",
            unit="direction of a pair",
            agrees=lambda points: points > 0,
            said=(0, inf),
        ),
        Statement(
            name="cnn_is_best_there",
            quote="the CNN+MLP head achieves the best or tied-best AUROC",
            sentence=_FEW_CELLS,
            section="3.1 Leaf tissue",
            estimand="CNN minus the best other representation and head, points of AUROC; cross tasks with "
            f"1,000 to 5,000 training cells (without such sizes: the two smallest); tied: at least −{TIED:g} point",
            unit="direction of a pair",
            agrees=lambda points: points >= -TIED,
            said=(-TIED, inf),
        ),
        Statement(
            name="learned_exceed_raw_at_full_size",
            quote="exceed raw baselines",
            sentence="At full training scale, scAraFM-derived features (PCA_1, ENS with an MLP head) exceed raw "
            "baselines; gains are incremental rather than transformative, but most consistent under "
            "distribution shift.",
            section="3.1 Leaf tissue",
            estimand="mean of PCA_1 and ENS minus raw, points of AUROC; head MLP, cross tasks, all "
            "training cells",
            unit="direction of a pair",
            agrees=lambda points: points > 0,
            said=(0, inf),
        ),
        Statement(
            name="harder_root_tasks_gain_more",
            quote="harder tasks showing steeper gains",
            sentence="Training-size sweeps (Supplementary Figure 3) reveal dataset-dependent scaling, with harder "
            "tasks showing steeper gains while easier tasks saturate quickly.",
            section="3.2 Root tissue",
            estimand="correlation over root data sets of gain with difficulty; gain: AUROC with all cells minus "
            "AUROC with the fewest; difficulty: minus the mean of these two, so that noise in one of them does not "
            "make the correlation; mean of the correlations without one data set each; a verdict only where at "
            "most one in twenty ways to pair gains with difficulties would correlate as strongly",
            unit="root data set left out",
            agrees=lambda correlation: correlation > 0,
            said=(0, 1),
            scale="correlation",
        ),
    )
}
