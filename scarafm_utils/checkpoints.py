"""Checkpoints: safetensors and a JSON beside it, and the way in for the authors' own weights.

A checkpoint is a folder (or a name ending in ``.safetensors``) with ``model.safetensors`` and
``model.json``: configuration, gene order, profile, seed, versions, and whether the corpus was
real.  Nothing here is ever unpickled except the authors' file, and that with `weights_only`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from . import __version__
from .errors import InputError
from .files import atomic_path, sha256_file, write_json
from .model import ModelConfig, ScAraFM

#: How an encoder that may meet real cells is had.
REAL_WEIGHTS = "train one on real cells (chapter 'pretraining') or use the authors' (profile 'release')"
DROPPED = "performer.proj_updater.instance."
COUNTER = "performer.calls_since_last_redraw"
RENAMED = {"performer.proj_updater.calls_since_last_redraw": COUNTER}
BLOCK = {
    "norm1.weight": "0.norm.weight", "norm1.bias": "0.norm.bias",
    "attention.to_out.weight": "0.fn.to_out.weight", "attention.to_out.bias": "0.fn.to_out.bias",
    "attention.projection": "0.fn.fast_attention.projection_matrix",
    "norm2.weight": "1.norm.weight", "norm2.bias": "1.norm.bias",
    "feed_forward.w1.weight": "1.fn.fn.w1.weight", "feed_forward.w1.bias": "1.fn.fn.w1.bias",
    "feed_forward.w2.weight": "1.fn.fn.w2.weight", "feed_forward.w2.bias": "1.fn.fn.w2.bias",
}
TOP = {
    "token_emb.weight": "token_emb.weight", "gene_emb": "pos_emb.emb.weight",
    "norm.weight": "norm.weight", "norm.bias": "norm.bias",
    "to_ids.weight": "to_out.weight", "to_ids.bias": "to_out.bias",
    "calls_since_last_redraw": COUNTER,
}
QKV = tuple(f"0.fn.to_{name}.weight" for name in "qkv")


def _files(path: str | Path) -> tuple[Path, Path]:
    path = Path(path)
    weights = path if path.suffix == ".safetensors" else path / "model.safetensors"
    return weights, weights.with_suffix(".json")


def save_checkpoint(
    model: ScAraFM, path: str | Path, *, corpus_real: bool = False, profile: str | None = None,
    seed: int | None = None, **facts,
) -> Path:
    """Write ``model.safetensors``, then ``model.json``, each whole or not at all.

    Parameters
    ----------
    corpus_real
        Whether the model was trained on real cells.  Real data never meets a checkpoint where
        this is False.
    facts
        Further JSON-like entries for ``model.json``.

    Returns
    -------
    The path of the weights.
    """
    weights, description = _files(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(weights) as temporary:
        save_file(state, temporary)
    write_json(description, {
        **facts, "config": dataclasses.asdict(model.config), "genes": list(model.genes),
        "corpus_real": corpus_real, "profile": profile, "weights_sha256": sha256_file(weights),
        "seed": model.config.seed if seed is None else seed,
        "versions": _versions(),
    })
    return weights


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(), "scarafm_utils": __version__, "torch": str(torch.__version__),
    }


def read_checkpoint_facts(path: str | Path) -> dict:
    """Read ``model.json``: config, genes, corpus_real, profile, seed, versions, weights_sha256."""
    weights, description = _files(path)
    for file in (weights, description):
        if not file.exists():
            raise InputError(f"no checkpoint: {file.name} is missing. Run the chapter 'pretraining' first.")
    return json.loads(description.read_text())


def usable_checkpoint(
    path: str | Path, genes: Sequence[str], *, simulated: bool
) -> tuple[str | None, str]:
    """Checksum of the weights at `path`, or None and the reason why these cells may not meet them.

    Parameters
    ----------
    genes
        Of the cells, in order.
    simulated
        Whether the cells are simulated: real ones never meet weights from a simulated corpus.
    """
    try:
        facts = read_checkpoint_facts(path)
    except InputError as error:
        return None, str(error) if simulated else f"no encoder is here: {REAL_WEIGHTS}"
    if not facts["corpus_real"] and not simulated:
        return None, f"the encoder was trained on simulated cells and never meets real ones: {REAL_WEIGHTS}"
    if list(facts["genes"]) != list(genes):
        return None, (
            f"the encoder knows {len(facts['genes'])} genes, not these {len(genes)} in "
            "this order; run the chapter 'pretraining' again"
        )
    return facts["weights_sha256"], ""


def load_checkpoint(path: str | Path, *, device: str | torch.device = "cpu") -> ScAraFM:
    """Load a model written by :func:`save_checkpoint`, in evaluation mode, on `device`.

    Raises
    ------
    InputError
        Where a file is missing, the weights do not match their checksum, or a tensor is missing
        or has another shape.
    """
    weights, _ = _files(path)
    facts = read_checkpoint_facts(path)
    if sha256_file(weights) != facts["weights_sha256"]:
        raise InputError(f"{weights.name}: checksum differs from model.json. Make the checkpoint again.")
    model = ScAraFM(ModelConfig(**facts["config"]), facts["genes"])
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{weights.name}: does not fit its model.json ({_one_line(error)}).") from error
    return model.to(device).eval()


def load_released_checkpoint(
    path: str | Path, genes: Sequence[str] | str | Path, *, key_max: str = "batch",
    consensus: str | Path | None = None, out: str | Path | None = None,
) -> ScAraFM:
    """Load the authors' ``best_model_*.pth`` and say in one line what was assumed.

    The file is read with ``weights_only=True``: it can hold tensors and plain data, no code.
    Weights carry no gene names, so the order cannot be proven: during the authors' pretraining
    it was that of their first h5ad file, and it is taken to be that of ``consensus_hvg.csv``.

    Parameters
    ----------
    genes
        The vocabulary in order, or the path of ``consensus_hvg.csv`` (column gene_name).
    key_max
        "batch" is the function the released weights were trained with; "head" makes a cell
        independent of its batch-mates.
    consensus
        ``consensus_hvg.csv``, to compare `genes` with; by default the one beside the weights,
        where there is one.
    out
        Where given, the model is also written there as safetensors and JSON.

    Raises
    ------
    InputError
        Where the file wants to run code, lacks weights, or has another number or order of genes.
    """
    path = Path(path)
    beside = path.with_name("consensus_hvg.csv")
    names = read_consensus(genes) if isinstance(genes, (str, Path)) else [str(g) for g in genes]
    if consensus is not None or beside.exists():
        _check_order(names, read_consensus(consensus or beside))
    content = _read_released(path)
    model = from_performer(content["model_state_dict"], names, key_max=key_max, name=path.name)
    order = "the order of consensus_hvg.csv, which the weights cannot prove"
    print(f"{path.name}: {len(names):,} genes, in {order}; key_max='{key_max}'.")
    if out is not None:
        save_checkpoint(
            model, out, corpus_real=True, profile="release", converted_from=path.name, gene_order=order,
            epoch=content.get("epoch"),
        )
    return model.eval()


def read_consensus(path: str | Path) -> list[str]:
    """Gene names of a ``consensus_hvg.csv`` in its order."""
    import pandas as pd

    table = pd.read_csv(path)
    if "gene_name" not in table:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"{Path(path).name}: no column 'gene_name' (found: {found}).")
    return table["gene_name"].astype(str).tolist()


def _check_order(genes: Sequence[str], consensus: Sequence[str]) -> None:
    if len(genes) != len(consensus):
        raise InputError(f"{len(genes)} genes were given, consensus_hvg.csv has {len(consensus)}.")
    for position, (ours, theirs) in enumerate(zip(genes, consensus, strict=True)):
        if ours != theirs:
            raise InputError(
                f"gene order differs from consensus_hvg.csv: at position {position} {ours!r} was given, "
                f"the file has {theirs!r}. Give the genes in the file's order."
            )


def _read_released(path: Path) -> dict:
    """What a ``.pth`` holds, where it is plain data with a state dict."""
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to run {wanted.group(1)}" if wanted else _one_line(error)
        raise InputError(f"{path.name}: refused, since it is not plain weights ({reason}).") from error
    if not isinstance(content, dict) or "model_state_dict" not in content:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path.name}: no 'model_state_dict' (found: {found}).")
    return content


def _harmless() -> list:
    """Types beside tensors that a training script may have stored: numbers and arguments, no code."""
    scalar = np.float64(0).__reduce__()[0]
    return [argparse.Namespace, scalar, np.dtype, *(type(np.dtype(code)) for code in ("f8", "f4", "i8"))]


def from_performer(
    state: dict, genes: Sequence[str], *, key_max: str = "head", name: str = "state dict"
) -> ScAraFM:
    """Build a model from weights named as in ``performer-pytorch`` or in the released checkpoints."""
    state = {re.sub(r"^(_orig_mod\.|module\.)+", "", key): value for key, value in state.items()}
    state = {RENAMED.get(k, k): v for k, v in state.items() if not k.startswith(DROPPED)}
    state.setdefault(COUNTER, torch.tensor(0))
    depth = len({k.split(".")[3] for k in state if k.startswith("performer.net.layers.")})
    layers = [f"performer.net.layers.{i}." for i in range(depth)]
    needed = [*TOP.values(), *(p + k for p in layers for k in (*BLOCK.values(), *QKV))]
    _check_keys(state, needed, name)
    _check_gene_count(state, genes, name)
    model = ScAraFM(_config_of(state, depth, key_max), genes)
    ours = {k: state[v] for k, v in TOP.items()} | {"redraws": torch.tensor(0)}
    for i, prefix in enumerate(layers):
        ours |= {f"blocks.{i}.{k}": state[prefix + v] for k, v in BLOCK.items()}
        ours[f"blocks.{i}.attention.to_qkv.weight"] = torch.cat([state[prefix + k] for k in QKV])
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        raise InputError(f"{name}: shapes do not go together ({_one_line(error)}).") from error
    return model


def _check_keys(state: dict, needed: list[str], name: str) -> None:
    missing = [key for key in needed if key not in state]
    extra = sorted(set(state) - set(needed))
    if missing or not any(key.startswith("performer.net.") for key in needed):
        first = missing[0] if missing else "performer.net.layers.0"
        raise InputError(
            f"{name}: {len(needed) - len(missing)} of the {len(needed)} weights needed, missing {first}. "
            "Is it a scAraFM pretraining checkpoint?"
        )
    if extra:
        raise InputError(f"{name}: {len(needed)} weights expected, {len(extra)} more found: {extra[0]} …")


def _check_gene_count(state: dict, genes: Sequence[str], name: str) -> None:
    rows = state["pos_emb.emb.weight"].shape[0]
    if rows != len(genes) + 1:
        raise InputError(
            f"{name}: made for {rows - 1} genes (and the extra token), {len(genes)} genes were given."
        )


def _config_of(state: dict, depth: int, key_max: str) -> ModelConfig:
    first = "performer.net.layers.0."
    n_features, dim_head = state[first + "0.fn.fast_attention.projection_matrix"].shape
    n_ids, dim = state["token_emb.weight"].shape
    heads = state[first + QKV[0]].shape[0] // dim_head
    return ModelConfig(
        dim=dim, depth=depth, heads=heads, dim_head=dim_head, nb_features=n_features,
        n_bins=n_ids - 2, key_max=key_max,
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
