"""The model is performer-pytorch's function, cell by cell."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from scarafm_utils import model as model_module
from scarafm_utils.checkpoints import from_performer
from scarafm_utils.errors import InputError
from scarafm_utils.model import (
    ModelConfig,
    ScAraFM,
    count_parameters,
    favor_attention,
    orthogonal_features,
    row_factor,
)
from scarafm_utils.tokens import eos_id, seeded_generator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from performer_pytorch import PerformerLM

N_GENES = 37
SHAPE = {"dim": 20, "depth": 3, "heads": 4, "dim_head": 8}
GENES = [f"AT1G{i:05d}" for i in range(N_GENES)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def distance(a, b) -> float:
    return float((a - b).norm() / b.norm())


def reference_and_ours(seed=0, **shape):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reference = PerformerLM(
            num_tokens=8, max_seq_len=N_GENES + 1, rotary_position_emb=False, attn_out_bias=True,
            **SHAPE | shape,
        )
    return reference.eval(), from_performer(reference.state_dict(), GENES).eval()


def some_tokens(n=5, seed=0) -> torch.Tensor:
    return torch.randint(0, 6, (n, N_GENES), generator=seeded_generator(seed)).to(torch.uint8)


def with_eos(tokens):
    return torch.cat([tokens.long(), torch.full((len(tokens), 1), eos_id(6))], dim=1)


@pytest.mark.parametrize("block", [400, 1 << 19])
def test_logits_equal_performer_pytorch(block, monkeypatch):
    monkeypatch.setattr(model_module, "BLOCK_FEATURES", block)
    reference, ours = reference_and_ours()
    tokens = some_tokens()
    with torch.no_grad():
        assert distance(ours(tokens), reference(with_eos(tokens))) < 1e-5


@pytest.mark.parametrize("shape", [{"heads": 2, "dim_head": 16, "nb_features": 7}, {"depth": 1, "dim": 24}])
def test_embeddings_equal_performer_pytorch_in_other_shapes(shape):
    reference, ours = reference_and_ours(seed=1, **shape)
    tokens = some_tokens(3)
    with torch.no_grad():
        theirs = reference(with_eos(tokens), return_encodings=True)
        assert distance(ours.encode(tokens), theirs) < 1e-5


@pytest.mark.parametrize("block", [400, 1 << 19])
def test_every_gradient_equals_performer_pytorch(block, monkeypatch):
    monkeypatch.setattr(model_module, "BLOCK_FEATURES", block)
    reference, _ = reference_and_ours()
    ours = from_performer(reference.state_dict(), GENES)
    ours.gene_emb.requires_grad_(True)
    tokens = some_tokens()
    for model, inputs in ((ours, tokens), (reference, with_eos(tokens))):
        logits = model(inputs)
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    theirs = from_performer({k: _gradient(reference, k, v) for k, v in reference.state_dict().items()}, GENES)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert distance(parameter.grad, expected[name].data) < 1e-5, name


def _gradient(model, key, value):
    found = dict(model.named_parameters()).get(key)
    return found.grad if found is not None else value


@pytest.mark.parametrize("block", [1, 200, 1 << 19])
def test_key_max_batch_is_the_released_function(block, monkeypatch):
    """One maximum over batch and heads, eps inside: written out with the plain formula."""
    monkeypatch.setattr(model_module, "BLOCK_FEATURES", block)
    q, k, v = torch.randn(3, 2, 3, 11, 8, generator=seeded_generator(5)).unbind(0)
    projection = orthogonal_features(16, 8, generator=seeded_generator(6))

    def phi(x, peak):
        dash = torch.einsum("bhnd,md->bhnm", x * 8**-0.25, projection)
        diagonal = (x**2).sum(-1, keepdim=True) / 2 * 8**-0.5
        return 16**-0.5 * (torch.exp(dash - diagonal - peak(dash)) + 1e-4)

    queries = phi(q, lambda dash: dash.amax(-1, keepdim=True))
    keys = phi(k, lambda dash: dash.max())
    weights = torch.einsum("bhnm,bhlm->bhnl", queries, keys)
    expected = torch.einsum("bhnl,bhld->bhnd", weights / weights.sum(-1, keepdim=True), v)
    ours = favor_attention(q, k, v, projection, key_max="batch")
    assert distance(ours, expected) < 1e-5
    assert distance(favor_attention(q, k, v, projection, key_max="head"), expected) > 1e-5


def test_the_whole_model_with_key_max_batch_is_the_released_function(monkeypatch):
    """performer-pytorch with scBERT's stabiliser in place of its own: a maximum over everything."""
    import performer_pytorch.performer_pytorch as package

    def kernel(data, *, projection_matrix, is_query, eps=1e-4, **_):
        x = data * data.shape[-1] ** -0.25
        dash = x @ projection_matrix.T
        peak = dash.amax(-1, keepdim=True) if is_query else dash.amax()
        return len(projection_matrix) ** -0.5 * ((dash - x.square().sum(-1, keepdim=True) / 2 - peak).exp() + eps)

    reference, head = reference_and_ours()
    ours = from_performer(reference.state_dict(), GENES, key_max="batch").eval()
    tokens = some_tokens()
    with torch.no_grad():
        own = reference(with_eos(tokens))
        monkeypatch.setattr(package, "softmax_kernel", kernel)
        released = reference(with_eos(tokens))
        assert distance(ours(tokens), released) < 1e-5
        assert distance(head(tokens), own) < 1e-5
        assert distance(own, released) > 1e-5


def test_attention_weighs_values_by_hand():
    """Equal keys weigh equally, whatever the query: the mean of the values."""
    q, v = torch.tensor([[[[1.0, -2.0], [0.5, 3.0]]]]), torch.tensor([[[[1.0, 0.0], [3.0, 8.0]]]])
    projection = orthogonal_features(5, 2, generator=seeded_generator(0))
    out = favor_attention(q, torch.ones_like(q), v, projection, key_max="head")
    assert torch.allclose(out, torch.tensor([2.0, 4.0]).expand_as(out), atol=1e-5)


def test_a_cell_does_not_depend_on_its_batch_mates():
    _, ours = reference_and_ours()
    tokens = some_tokens(9)
    with torch.no_grad():
        together = ours.encode(tokens)
        alone = torch.cat([ours.encode(cell[None]) for cell in tokens])
        assert distance(together, alone) < 1e-6
        released = dataclasses.replace(ours.config, key_max="batch")
        for block in ours.blocks:
            block.attention.config = released
        batch = ours.encode(tokens)
        assert distance(batch, torch.cat([ours.encode(cell[None]) for cell in tokens])) > 1e-6


def test_random_features_approach_softmax_attention():
    q, k, v = torch.randn(3, 1, 2, 30, 8, generator=seeded_generator(7)).mul(0.5).unbind(0)
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    few, many = (
        distance(favor_attention(q, k, v, projection, key_max="head"), exact)
        for projection in (orthogonal_features(m, 8, generator=seeded_generator(8)) for m in (16, 4096))
    )
    assert many < 0.12 < few


def test_rows_of_random_features_are_orthogonal_in_blocks():
    rows = orthogonal_features(20, 8, generator=seeded_generator(0))
    gram = rows[:8] @ rows[:8].T
    assert torch.allclose(gram, torch.diag(gram.diagonal()), atol=1e-4)
    assert rows.shape == (20, 8)
    lengths = orthogonal_features(20_000, 8, generator=seeded_generator(1)).square().sum(1)
    assert float(lengths.mean()) == pytest.approx(8, abs=0.1)


def test_softmax_attention_is_an_option():
    config = ModelConfig(**SHAPE, attention="softmax")
    model = ScAraFM(config, GENES).eval()
    assert "projection" not in "".join(model.state_dict())
    assert model(some_tokens(2)).shape == (2, N_GENES + 1, 8)
    x, attention = torch.randn(2, 9, 20, generator=seeded_generator(3)), model.blocks[0].attention
    q, k, v = (x @ part.T for part in attention.to_qkv.weight.split(32))  # 4 heads of 8
    heads = [
        torch.softmax(q[..., i : i + 8] @ k[..., i : i + 8].transpose(1, 2) / 8**0.5, -1) @ v[..., i : i + 8]
        for i in range(0, 32, 8)
    ]
    expected = attention.to_out(torch.cat(heads, -1))
    assert distance(attention(x).detach(), expected.detach()) < 1e-5


@pytest.mark.parametrize("shape", [{}, {"dim": 200, "heads": 10, "dim_head": 64}])
def test_bfloat16_within_a_hundredth(shape):
    reference, ours = reference_and_ours(**shape)
    tokens = some_tokens()
    with torch.no_grad():
        exact = reference(with_eos(tokens), return_encodings=True)
        assert distance(ours.encode(tokens), exact) < 1e-5
        with torch.autocast("cpu", torch.bfloat16):
            assert distance(ours.encode(tokens).float(), exact) < 1e-2


def test_the_row_factor_is_what_the_kernel_takes_from_the_length():
    x = torch.tensor([[3.0, 4.0, 0.0, 0.0]])  # |x|² = 25, scaled by 4^(-1/4) twice: 12.5
    assert float(row_factor(x)) == pytest.approx(np.exp(-12.5 / 2), rel=1e-5)


def test_same_seed_same_bytes_and_no_global_seed():
    def build(seed):
        return ScAraFM(ModelConfig(**SHAPE, seed=seed), GENES)

    torch.manual_seed(1)
    first = build(3)
    torch.manual_seed(2)
    second, other = build(3).state_dict(), build(4)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())
    assert not torch.equal(other.token_emb.weight, first.token_emb.weight)
    tokens = some_tokens()
    assert torch.equal(first.eval()(tokens), first(tokens))


def test_features_are_redrawn_after_so_many_training_calls_as_in_performer_pytorch():
    model = ScAraFM(ModelConfig(**SHAPE, redraw_every=3), GENES)
    first, tokens = model.blocks[0].attention.projection.clone(), some_tokens(1)
    changed = []
    for _ in range(5):
        model(tokens)
        changed.append(not torch.equal(first, model.blocks[0].attention.projection))
    assert changed == [False, False, False, True, True]
    model.eval()(tokens)
    assert int(model.calls_since_last_redraw) == 1
    again = ScAraFM(ModelConfig(**SHAPE, redraw_every=3), GENES)
    for _ in range(4):
        again(tokens)
    assert torch.equal(again.blocks[0].attention.projection, model.blocks[0].attention.projection)


def test_gene_embeddings_are_frozen_and_the_extra_token_has_none():
    vectors = np.arange(N_GENES * 20, dtype=np.float32).reshape(N_GENES, 20)
    model = ScAraFM(ModelConfig(**SHAPE), GENES, gene_vectors=vectors)
    assert not model.gene_emb.requires_grad
    assert torch.equal(model.gene_emb[:-1], torch.as_tensor(vectors))
    assert not model.gene_emb[-1].any()
    assert ScAraFM(ModelConfig(**SHAPE, gene_emb="learned"), GENES).gene_emb.requires_grad


def test_the_papers_model_has_the_papers_size():
    attention = 3 * 200 * 640 + 640 * 200 + 200
    feed_forward = 200 * 800 + 800 + 800 * 200 + 200
    by_hand = 8 * 200 + 3 * (attention + feed_forward + 4 * 200) + 2 * 200 + 200 * 8 + 8
    counts = count_parameters(ScAraFM(ModelConfig(), range(4054)))
    assert counts == {"trainable": by_hand, "frozen": 4055 * 200}
    assert 2.5e6 < by_hand < 2.51e6
    assert ModelConfig().n_features == 266


def test_a_model_on_the_meta_device_has_the_same_shapes_and_takes_no_memory():
    with torch.device("meta"):
        empty = ScAraFM(ModelConfig(**SHAPE), GENES)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    assert count_parameters(empty) == count_parameters(ScAraFM(ModelConfig(**SHAPE), GENES))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"key_max": "heads"}, "did you mean 'head'"), ({"attention": "flash"}, "performer, softmax"),
     ({"dim": 0}, "dim is 0")],
)
def test_a_wrong_config_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        ModelConfig(**SHAPE | change)


def test_a_wrong_number_of_genes_is_refused():
    model = ScAraFM(ModelConfig(**SHAPE), GENES)
    with pytest.raises(InputError, match=f"36 genes: the model has {N_GENES}"):
        model(some_tokens()[:, 1:])
    with pytest.raises(InputError, match="37 genes × 20"):
        ScAraFM(ModelConfig(**SHAPE), GENES, gene_vectors=np.zeros((3, 20)))
