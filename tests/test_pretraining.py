"""Training is the same run however it was interrupted, cut into micro-batches or shared out."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scarafm_utils import masked, parallel
from scarafm_utils.checkpoints import from_performer
from scarafm_utils.errors import InputError
from scarafm_utils.masked import commonest_visible, hide
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.pretraining import (
    PretrainConfig,
    choose_micro_batch,
    evaluate,
    load_checkpoint,
    load_released_checkpoint,
    masked_baselines,
    pretrain,
    pretrain_tissue,
    read_checkpoint_facts,
    save_checkpoint,
)
from scarafm_utils.tokens import TokenStore

N_GENES = 12
GENES = [f"AT1G{i:05d}" for i in range(N_GENES)]
CONFIG = PretrainConfig(epochs=3, batch_size=8, learning_rate=0.01, min_delta=0.0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpus(n=60) -> TokenStore:
    """Cells whose non-zero bin is mostly the same, as where most counts are 1."""
    rng = np.random.default_rng(0)
    own = rng.integers(1, 6, (n, 1))
    tokens = np.where(rng.random((n, N_GENES)) < 0.8, own, rng.integers(1, 6, (n, N_GENES)))
    tokens[rng.random((n, N_GENES)) < 0.3] = 0
    return TokenStore.from_array(tokens, genes=GENES)


def new_model(**change) -> ScAraFM:
    shape = {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4, "redraw_every": 5}
    return ScAraFM(ModelConfig(**shape | change), GENES)


def run(folder, config=CONFIG, *, store=None, model=None, **options):
    train, val = corpus().split(val_fraction=0.2, seed=0)
    model, store = model or new_model(), store or train
    return pretrain(model, store, val=val, config=config, checkpoint_dir=folder, **options)


def test_training_beats_chance_and_writes_what_it_says(tmp_path):
    model = new_model()
    lines = []
    history = run(tmp_path, PretrainConfig(epochs=12, batch_size=8, learning_rate=0.01), model=model,
                  report=lines.append)
    assert list(history) == ["epoch", "train_loss", "val_loss", "val_accuracy", "val_accuracy_hard"]
    assert history["val_loss"].iloc[-1] < 0.95 * np.log(5)
    steps = 48 // 8
    assert [status.cells for status in lines[: steps + 1]] == [8, 16, 24, 32, 40, 48, 48]
    assert [status.epoch for status in lines if status.row] == history["epoch"].tolist()
    assert float(lines[steps - 1].loss) == pytest.approx(history["train_loss"][0])
    assert len(pd.read_csv(tmp_path / "cost.csv")) == len(history)
    best = load_checkpoint(tmp_path)
    _, val = corpus().split(val_fraction=0.2, seed=0)
    result = evaluate(best, val, config=CONFIG)
    assert result["val_loss"] == pytest.approx(history["val_loss"].min(), rel=1e-6)
    assert torch.equal(best.token_emb.weight, model.token_emb.weight)
    facts = read_checkpoint_facts(tmp_path)
    assert facts["corpus_real"] is False
    assert facts["epoch"] == history["epoch"][history["val_loss"].idxmin()]


class Interrupted(TokenStore):
    """A store that stops the process at one of its reads."""

    reads_left = 0

    def __getitem__(self, rows):
        type(self).reads_left -= 1
        if type(self).reads_left == 0:
            raise KeyboardInterrupt
        return super().__getitem__(rows)


@pytest.mark.parametrize(("stop_at", "save_every"), [(1, None), (9, None), (14, 2), (18, 3)])
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, stop_at, save_every):
    config = dataclasses.replace(CONFIG, save_every=save_every)
    expected = run(tmp_path / "whole", config)
    train, _ = corpus().split(val_fraction=0.2, seed=0)
    Interrupted.reads_left = stop_at
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", config, store=Interrupted(**vars(train)))
    pd.testing.assert_frame_equal(run(tmp_path / "cut", config), expected, check_exact=True)
    for name in ("model.safetensors", "model.json", "last.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(("function", "call"), [("save_progress", 2), ("sum_gradients", 10)])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path, function, call):
    """SIGKILL between the second best checkpoint and the state that belongs to it, and within a step."""
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
import torch, test_pretraining as t
from scarafm_utils import pretraining
torch.set_num_threads(1)
original, calls = pretraining.{function}, []
def killed(*arguments):
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
pretraining.{function} = killed
t.run(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "cut")], check=False)
    assert done.returncode == -9
    assert read_checkpoint_facts(tmp_path / "cut")["epoch"] == (2 if function == "save_progress" else 1)
    expected = run(tmp_path / "whole")
    pd.testing.assert_frame_equal(run(tmp_path / "cut"), expected, check_exact=True)
    for name in ("model.safetensors", "last.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("lost", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("stop_at", [None, 16])
def test_the_best_weights_come_back_where_their_file_is_gone(tmp_path, lost, stop_at):
    """Snakemake removes the declared output of a job that was killed; what was learnt stays."""
    expected = run(tmp_path / "a")
    if stop_at:
        train, _ = corpus().split(val_fraction=0.2, seed=0)
        Interrupted.reads_left = stop_at
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", store=Interrupted(**vars(train)))
    else:
        run(tmp_path / "b")
    (tmp_path / "b" / lost).unlink()
    steps = []
    pd.testing.assert_frame_equal(run(tmp_path / "b", report=steps.append), expected, check_exact=True)
    assert {status.epoch for status in steps} == ({3} if stop_at else set())
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_finished_run_is_not_trained_again_and_can_be_made_longer(tmp_path):
    short = run(tmp_path / "a", dataclasses.replace(CONFIG, epochs=1))
    stamp = (tmp_path / "a" / "last.safetensors").stat().st_mtime_ns
    pd.testing.assert_frame_equal(run(tmp_path / "a", dataclasses.replace(CONFIG, epochs=1)), short)
    assert (tmp_path / "a" / "last.safetensors").stat().st_mtime_ns == stamp
    pd.testing.assert_frame_equal(run(tmp_path / "a"), run(tmp_path / "b"), check_exact=True)


def test_another_run_in_the_folder_is_refused_or_replaced(tmp_path):
    run(tmp_path)
    other = dataclasses.replace(CONFIG, p_mask=0.3)
    with pytest.raises(InputError, match=r"another p_mask \(there 0.2, now 0.3\)"):
        run(tmp_path, other)
    with pytest.raises(InputError, match="another model.dim"):
        run(tmp_path, model=new_model(dim=6))
    with pytest.raises(InputError, match="another corpus"):
        run(tmp_path, store=corpus().subset(range(40)))
    replaced = run(tmp_path, other, restart=True)
    assert replaced["train_loss"].notna().all()


def test_micro_batches_do_not_change_the_run(tmp_path):
    whole = run(tmp_path / "8", dataclasses.replace(CONFIG, micro_batch=8))
    parts = run(tmp_path / "3", dataclasses.replace(CONFIG, micro_batch=3))
    pd.testing.assert_frame_equal(whole, parts, check_exact=False, rtol=1e-4)


@pytest.mark.parametrize(("n", "world", "micro_batch"), [(20, 3, 2), (7, 2, 3), (2, 4, 1), (8, 1, 8)])
def test_the_processes_share_each_batch_out(monkeypatch, n, world, micro_batch):
    cells = []
    for rank in range(world):
        monkeypatch.setattr(parallel, "rank_and_world", lambda rank=rank: (rank, world))
        parts = [list(range(n))[part] for part in parallel.share_of(n, micro_batch=micro_batch)]
        assert all(0 < len(part) <= micro_batch for part in parts)
        cells += [cell for part in parts for cell in part]
    assert sorted(cells) == list(range(n))


def test_one_step_is_adam_on_the_mean_over_hidden_tokens(tmp_path):
    """One batch, one epoch: the same step with torch's own loss."""
    train, val = corpus().split(val_fraction=0.2, seed=0)
    config = PretrainConfig(epochs=1, batch_size=len(train), learning_rate=0.01)
    expected, trained = new_model(), new_model()
    (_, tokens), = train.batches(batch_size=len(train), seed=0, epoch=0)
    inputs, targets = hide(tokens, masked.TRAINING, 0, 0, config=config, n_bins=6)
    loss = torch.nn.functional.cross_entropy(expected.train()(inputs)[:, :-1].transpose(1, 2), targets)
    optimizer = torch.optim.Adam([p for p in expected.parameters() if p.requires_grad], lr=0.01)
    loss.backward()
    optimizer.step()
    history = pretrain(trained, train, val=val, config=config, checkpoint_dir=tmp_path)
    assert history["train_loss"][0] == pytest.approx(float(loss.detach()), rel=1e-5)
    for (name, ours), theirs in zip(trained.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_early_stopping_waits_for_patience(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=30, learning_rate=1e-9, min_delta=1e-3, patience=2)
    history = run(tmp_path, config)
    assert len(history) == 3  # the first sets the mark, two do not move it
    assert np.allclose(history["train_loss"], history["val_loss"], rtol=0.2)  # of each epoch alone


def test_features_are_redrawn_by_batch_and_not_by_micro_batch(tmp_path):
    models = [new_model(redraw_every=4), new_model(redraw_every=4)]
    for model, micro_batch in zip(models, (8, 2), strict=True):
        config = dataclasses.replace(CONFIG, epochs=1, micro_batch=micro_batch)
        run(tmp_path / str(micro_batch), config, model=model)
        assert int(model.redraws) == 1  # 48 cells in batches of 8: six calls
        assert model.auto_redraw
    assert torch.equal(*(m.blocks[0].attention.projection for m in models))


def test_micro_batch_follows_free_memory(monkeypatch):
    import psutil

    model, config = new_model(), PretrainConfig(batch_size=20)
    assert choose_micro_batch(model, config) == 20
    assert choose_micro_batch(model, dataclasses.replace(config, micro_batch=3)) == 3
    memory = type("Memory", (), {"available": 14 * masked.bytes_per_cell(model)})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert choose_micro_batch(model, config) == 7  # seven fit in half of it; 20 = 7 + 7 + 6


def test_baselines_by_hand():
    """Two cells, three genes, everything hidden or nothing."""
    inputs = torch.tensor([[7, 2, 2, 3], [7, 0, 7, 7]], dtype=torch.uint8)
    targets = torch.tensor([[3, -100, -100, -100], [4, -100, -100, 5]])
    assert commonest_visible(inputs, targets, n_bins=6).tolist() == [2, 1]
    kept = torch.tensor([[3, 3, 2, 2, 2]], dtype=torch.uint8)
    seen = torch.tensor([[-100, -100, 2, 2, -100]])
    assert commonest_visible(kept, seen, n_bins=6).tolist() == [3]


def test_baselines_on_a_corpus_whose_answers_are_known():
    """Every cell has one bin: the third guess is always right; a gene's commonest bin half the time."""
    own = np.repeat([1, 2], 40)[:, None]
    cells = TokenStore.from_array(np.broadcast_to(own, (80, N_GENES)), genes=GENES)
    train, val = cells.subset(range(5, 80)), cells.subset([*range(5), *range(40, 45)])
    table = masked_baselines(train, val, model=new_model()).set_index("predictor")
    assert table.loc["commonest visible bin of the cell", "accuracy"] == 1
    assert (table["n_hard"] == 0).all()
    for guess in ("commonest bin", "commonest bin of the gene"):
        assert table.loc[guess, "accuracy"] == pytest.approx(0.5, abs=0.2)
    table = masked_baselines(*corpus().split(val_fraction=0.2, seed=0)).set_index("predictor")
    assert table.loc["commonest visible bin of the cell", "accuracy_hard"] == 0
    assert table["accuracy"].idxmax() == "commonest visible bin of the cell"


def test_batches_made_by_a_thread_are_the_same_and_its_failures_arrive():
    batches = [(step, cells.tolist()) for step, cells in corpus().batches(batch_size=7, seed=3)]
    again = masked.one_ahead(corpus().batches(batch_size=7, seed=3))
    assert [(step, cells.tolist()) for step, cells in again] == batches
    train, _ = corpus().split(val_fraction=0.2, seed=0)
    Interrupted.reads_left, seen = 4, []
    with pytest.raises(KeyboardInterrupt):
        for step, _ in masked.one_ahead(Interrupted(**vars(train)).batches(batch_size=8)):
            seen.append(step)
    assert seen == [0, 1, 2]


def test_validation_masks_are_fixed():
    _, val = corpus().split(val_fraction=0.2, seed=0)
    model = new_model()
    assert evaluate(model, val, config=CONFIG) == evaluate(model, val, config=CONFIG)
    other = dataclasses.replace(CONFIG, seed=1)
    assert evaluate(model, val, config=CONFIG) != evaluate(model, val, config=other)


def test_options_that_the_machine_cannot_do_are_said(tmp_path, monkeypatch):
    def no_compiler(*_, **__):
        def call(*_):
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found\nmore")
        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(masked, "_has_bf16", lambda device: False)
    with pytest.warns(UserWarning) as said:
        history = run(tmp_path / "a", dataclasses.replace(CONFIG, epochs=1, bf16=True, compile=True))
    messages = " ".join(str(w.message) for w in said)
    assert "no bfloat16 arithmetic; float32 is used" in messages
    assert "no working C++ compiler found); plain torch is used" in messages
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = run(tmp_path / "b", dataclasses.replace(CONFIG, epochs=1))
    pd.testing.assert_frame_equal(history, plain, check_exact=True)


def test_bfloat16_trains_to_about_the_same_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(masked, "_has_bf16", lambda device: True)
    low = run(tmp_path / "a", dataclasses.replace(CONFIG, bf16=True))
    full = run(tmp_path / "b")
    assert np.allclose(low["val_loss"], full["val_loss"], rtol=0.05)
    assert not np.array_equal(low["val_loss"], full["val_loss"])


def test_a_corpus_that_is_not_the_models_is_refused(tmp_path):
    other = TokenStore.from_array(np.ones((4, N_GENES)), genes=GENES[::-1])
    with pytest.raises(InputError, match="names and order must be the same"):
        run(tmp_path, store=other)
    with pytest.raises(InputError, match="p_mask is 2"):
        PretrainConfig(p_mask=2)
    with pytest.raises(InputError, match="batch_size is 0"):
        PretrainConfig(batch_size=0)


def test_a_checkpoint_comes_back_exactly(tmp_path):
    model = new_model(key_max="batch")
    save_checkpoint(model, tmp_path, corpus_real=True, profile="demo", note="x")
    back = load_checkpoint(tmp_path)
    assert back.config == model.config
    assert back.genes == model.genes
    assert not back.training
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in model.state_dict().items())
    facts = read_checkpoint_facts(tmp_path)
    assert (facts["corpus_real"], facts["profile"], facts["note"], facts["seed"]) == (True, "demo", "x", 0)
    assert facts["versions"]["torch"] == str(torch.__version__)
    first = (tmp_path / "model.safetensors").read_bytes()
    save_checkpoint(model, tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == first
    assert load_checkpoint(tmp_path / "other.safetensors").genes == model.genes


def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model.safetensors is missing"):
        load_checkpoint(tmp_path)
    save_checkpoint(new_model(), tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(facts | {"weights_sha256": "0"}))
    with pytest.raises(InputError, match="checksum differs"):
        load_checkpoint(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(facts | {"genes": GENES[:-1]}))
    with pytest.raises(InputError, match="does not fit"):
        load_checkpoint(tmp_path)


def performer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from performer_pytorch import PerformerLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PerformerLM(
            num_tokens=8, max_seq_len=N_GENES + 1, dim=20, depth=2, heads=4, dim_head=8,
            rotary_position_emb=False, attn_out_bias=True,
        ).eval()


def released_file(path, model, **change):
    """A file laid out like the authors': prefixes of torch.compile, scBERT's name of the counter."""
    state = {}
    for key, value in model.state_dict().items():
        if not key.startswith("performer.proj_updater.instance."):
            state["_orig_mod." + key.replace("proj_updater.", "")] = value
    state |= change
    torch.save({
        "epoch": 17, "model_state_dict": {k: v for k, v in state.items() if v is not None},
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "scheduler_state_dict": {},
        "losses": [np.float64(1.5), 0.7], "model_args": {"dim": 20},
    }, path)
    return path


def test_released_weights_compute_what_they_did(tmp_path, capsys):
    reference = performer()
    path = released_file(tmp_path / "best_model_17.pth", reference)
    pd.DataFrame({"gene_name": GENES}).to_csv(tmp_path / "consensus_hvg.csv")
    model = load_released_checkpoint(path, tmp_path / "consensus_hvg.csv", out=tmp_path / "converted")
    said = capsys.readouterr().out
    assert "12 genes" in said
    assert "consensus_hvg.csv" in said
    assert "key_max='batch'" in said
    assert model.config == ModelConfig(dim=20, depth=2, heads=4, dim_head=8, nb_features=16, key_max="batch")
    tokens = torch.as_tensor(corpus()[:4])
    full = torch.cat([tokens.long(), torch.full((4, 1), 6)], dim=1)
    head = load_released_checkpoint(path, GENES, key_max="head")
    with torch.no_grad():
        theirs = reference(full)
        assert float((head(tokens) - theirs).norm() / theirs.norm()) < 1e-5
        assert float((model(tokens) - theirs).norm() / theirs.norm()) > 1e-5
        converted = load_checkpoint(tmp_path / "converted")
        assert torch.equal(converted(tokens), model(tokens))
    assert read_checkpoint_facts(tmp_path / "converted")["corpus_real"] is True


def test_performers_own_file_is_read_too():
    reference = performer()
    model = from_performer(reference.state_dict(), GENES)
    assert torch.equal(model.gene_emb, reference.pos_emb.emb.weight)


def test_released_files_that_do_not_fit_are_refused(tmp_path):
    path = released_file(tmp_path / "b.pth", performer())
    with pytest.raises(InputError, match="made for 12 genes .* 11 genes were given"):
        load_released_checkpoint(path, GENES[1:])
    missing = {"_orig_mod.performer.net.layers.1.0.fn.to_k.weight": None}
    with pytest.raises(InputError, match=r"34 of the 35 weights needed, missing .*layers.1.0.fn.to_k.weight"):
        load_released_checkpoint(released_file(tmp_path / "c.pth", performer(), **missing), GENES)
    more = {"head.bias": torch.zeros(1)}
    with pytest.raises(InputError, match="35 weights expected, 1 more found: head.bias"):
        load_released_checkpoint(released_file(tmp_path / "d.pth", performer(), **more), GENES)
    pd.DataFrame({"gene_name": [GENES[1], GENES[0], *GENES[2:]]}).to_csv(tmp_path / "consensus_hvg.csv")
    with pytest.raises(InputError, match="at position 0 'AT1G00000' was given, the file has 'AT1G00001'"):
        load_released_checkpoint(path, GENES)
    pd.DataFrame({"gene_name": GENES[:5]}).to_csv(tmp_path / "consensus_hvg.csv")
    with pytest.raises(InputError, match="12 genes were given, consensus_hvg.csv has 5"):
        load_released_checkpoint(path, GENES)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_pickle_that_wants_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": {"x": Harmful()}}, "a.pth")
    with pytest.raises(InputError, match=r"a.pth: refused.*it wants to run \w+\.mkdir"):
        load_released_checkpoint("a.pth", GENES)
    Path("b.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(InputError, match=r"b.pth: refused"):
        load_released_checkpoint("b.pth", GENES)
    Path("c.pth").write_bytes(b"not a pickle")
    with pytest.raises(InputError, match=r"c.pth: refused"):
        load_released_checkpoint("c.pth", GENES)
    assert not Path("harm").exists()
    torch.save({"weights": {}}, "d.pth")
    with pytest.raises(InputError, match=r"no 'model_state_dict' \(found: weights\)"):
        load_released_checkpoint("d.pth", GENES)


@pytest.fixture
def workspace(tmp_path):
    """The demo profile with twelve genes, and twenty processed cells in each leaf pretraining set."""
    import anndata as ad

    from scarafm_utils.manifest import load_manifest
    from scarafm_utils.profiles import load_profile
    from scarafm_utils.workspace import PROJECT, Workspace

    profile = load_profile(PROJECT / "profiles" / "demo.yaml")
    space = Workspace(profile, load_manifest(PROJECT / profile.manifest), tmp_path)
    space.vocabulary_path("leaf").parent.mkdir(parents=True)
    pd.DataFrame({"gene": GENES}).to_csv(space.vocabulary_path("leaf"), index=False)
    for number, dataset in enumerate(space.datasets("leaf", role="pretraining")):
        rng = np.random.default_rng(number)
        obs = pd.DataFrame({"sample": "s"}, index=[f"{dataset.id}:s:{i}" for i in range(20)])
        adata = ad.AnnData(rng.exponential(1.5, (20, N_GENES)).astype("f4"), obs, pd.DataFrame(index=GENES))
        adata.X[:, 1] = adata.X[:, 0]
        adata.varm["measured"] = np.ones((N_GENES, 1), dtype=bool)
        adata.uns["samples"] = np.array(["s"])
        space.processed_path("leaf", dataset.id).parent.mkdir(parents=True, exist_ok=True)
        adata.write_h5ad(space.processed_path("leaf", dataset.id))
    return space


def test_a_tissue_is_pretrained_from_its_processed_data_sets(workspace):
    history = pretrain_tissue(workspace, "leaf")
    folder = workspace.checkpoint_dir("leaf")
    assert {p.name for p in folder.iterdir()} >= {
        "model.safetensors", "model.json", "history.csv", "baselines.csv", "cost.csv", "corpus.csv",
        "gene2vec.txt",
    }
    written = pd.read_csv(folder / "history.csv")
    pd.testing.assert_frame_equal(written, history)
    assert list(history.columns[-3:]) == ["baseline_commonest", "baseline_gene", "baseline_cell"]
    table = pd.read_csv(folder / "corpus.csv")
    datasets = workspace.datasets("leaf", role="pretraining")
    assert table["dataset"].tolist() == [d.id for d in datasets]
    assert (table["training"] + table["validation"] == 20).all()
    facts = read_checkpoint_facts(folder)
    assert (facts["corpus_real"], facts["profile"], facts["tissue"]) == (False, "demo", "leaf")
    assert facts["genes"] == GENES
    assert facts["gene2vec_coverage"] == 1
    before = (folder / "model.safetensors").read_bytes()
    pd.testing.assert_frame_equal(pretrain_tissue(workspace, "leaf"), history)
    assert (folder / "model.safetensors").read_bytes() == before


def test_the_command_trains_what_the_notebook_would(workspace, monkeypatch, capsys):
    from scarafm_utils import run_commands
    from scarafm_utils import workspace as workspaces

    monkeypatch.setattr(workspaces, "open_workspace", lambda profile: workspace)
    run_commands.pretrain("leaf", profile="demo")
    assert capsys.readouterr().out.startswith("done: leaf, ")
    weights = workspace.checkpoint_dir("leaf") / "model.safetensors"
    commanded = weights.read_bytes()
    weights.unlink()  # as Snakemake does before it runs the notebook
    pretrain_tissue(workspace, "leaf")
    assert weights.read_bytes() == commanded
    with pytest.raises(InputError, match="no tissue 'leave': did you mean 'leaf'"):
        run_commands.pretrain("leave", profile="demo")


def test_a_tissue_without_data_or_vocabulary_is_refused(workspace):
    with pytest.raises(InputError, match="Run the chapter 'preprocessing' first"):
        pretrain_tissue(workspace, "root")
    grid = workspace.profile.tissues["leaf"].model_copy(update={"pretraining": []})
    profile = workspace.profile.model_copy(update={"tissues": {"leaf": grid}})
    with pytest.raises(InputError, match="names no pretraining data for leaf"):
        pretrain_tissue(dataclasses.replace(workspace, profile=profile), "leaf")


def test_released_weights_become_the_checkpoint_of_a_release_profile(workspace, tmp_path, monkeypatch):
    from scarafm_utils import hub
    from scarafm_utils.profiles import ReleaseFiles

    path = released_file(tmp_path / "best_model_17.pth", performer())
    asked = []

    def fetch(patterns, **where):
        asked.append((patterns, where["repo"]))
        return [path]

    monkeypatch.setattr(hub, "fetch_release", fetch)
    release = ReleaseFiles(repo="lab/weights", weights={"leaf": "w/*.pth"}, vocabulary={"leaf": "x.csv"})
    profile = workspace.profile.model_copy(update={"source": "release", "release": release})
    history = pretrain_tissue(dataclasses.replace(workspace, profile=profile), "leaf")
    assert asked == [(["w/*.pth"], "lab/weights")]
    assert history["epoch"].tolist() == [17]
    assert history["val_loss"].isna().all()
    facts = read_checkpoint_facts(workspace.checkpoint_dir("leaf"))
    assert (facts["corpus_real"], facts["converted_from"]) == (True, "best_model_17.pth")
    assert facts["genes"] == GENES


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
import torch, test_pretraining as t
from scarafm_utils import pretraining
torch.set_num_threads(1)
with pretraining.processes():
    history, rank = t.run(sys.argv[1]), pretraining.rank_and_world()[0]
    history.to_json(sys.argv[1] + f"-{{rank}}.json", double_precision=15)
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([*command, str(script), str(tmp_path / "two")], check=True, capture_output=True)
    expected = run(tmp_path / "one")
    for rank in (0, 1):
        found = pd.read_json(tmp_path / f"two-{rank}.json")
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=False, rtol=1e-5)
