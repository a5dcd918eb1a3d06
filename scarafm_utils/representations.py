"""What a head sees of a cell: raw values, summaries of the encoder's output, and controls.

The encoder's output for n cells is n × (G + 1) × d numbers, 7 to 220 GB per data set at the
paper's size.  It is never written down: CLS and WM are taken batch by batch, PCA needs one d × d
second moment of the training cells, and ENS reads a few dimensions at a time.  The pieces are in
:mod:`scarafm_utils.embeddings`; :mod:`scarafm_utils.features` puts them together for the cells
of one task; what needs no encoder is in :mod:`scarafm_utils.plain_features`.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from .embeddings import EmbeddingPCA, check_vocabulary, cls_token, iter_dimensions, iter_hidden, weighted_mean
from .features import TaskFeatures, encoder_representations, plain_representations
from .model import ScAraFM

__all__ = [
    "EmbeddingPCA",
    "TaskFeatures",
    "check_vocabulary",
    "cls_token",
    "control_models",
    "encoder_representations",
    "iter_dimensions",
    "iter_hidden",
    "plain_representations",
    "weighted_mean",
]


def control_models(model: ScAraFM, *, seed: int) -> dict[str, ScAraFM]:
    """Encoders that show what pretraining adds.

    Returns
    -------
    "untrained"
        The same architecture with new initial weights; frozen gene vectors are inputs and stay.
    "shuffled"
        The same weights with the gene embeddings dealt out to other genes.
    """
    vectors = model.gene_emb[:-1].detach().cpu() if model.config.gene_emb == "frozen" else None
    untrained = ScAraFM(replace(model.config, seed=seed), model.genes, gene_vectors=vectors)
    shuffled = copy.deepcopy(model)
    order = np.random.default_rng(seed).permutation(len(model.genes))
    with torch.no_grad():
        shuffled.gene_emb[:-1] = model.gene_emb[torch.from_numpy(order).to(model.gene_emb.device)]
    return {"untrained": untrained.to(model.gene_emb.device).eval(), "shuffled": shuffled.eval()}
