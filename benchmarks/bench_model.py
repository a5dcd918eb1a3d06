"""The encoder beside performer-pytorch: same weights, same cells, same process, interleaved.

Usage: python benchmarks/bench_model.py [--force] [--repeats N] [--cells N] [--compile]

Prints the machine, the load, the median time per cell of a forward pass and of a training step at
the paper's shape (4,054 genes, dimension 200, 3 blocks, 10 heads of 64), the ratio to
performer-pytorch, and the relative error of the embeddings.  Refuses to start where the load is
above 0.3, since numbers taken beside other jobs mean nothing; ``--force`` runs all the same and
marks the result as not quotable.  On a machine with CUDA the GPU is measured, else the CPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings

import torch
from machine import require_idle

from scarafm_utils.checkpoints import from_performer
from scarafm_utils.masked import masked_loss
from scarafm_utils.tokens import eos_id, mask_tokens, seeded_generator

SHAPE = {"dim": 200, "depth": 3, "heads": 10, "dim_head": 64}


def build(n_genes: int, device: torch.device):
    """performer-pytorch with random weights, and our model with the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from performer_pytorch import PerformerLM
    torch.manual_seed(0)
    reference = PerformerLM(
        num_tokens=8, max_seq_len=n_genes + 1, rotary_position_emb=False, attn_out_bias=True,
        feature_redraw_interval=None, **SHAPE,
    )
    reference.pos_emb.emb.weight.requires_grad_(False)
    ours = from_performer(reference.state_dict(), [str(i) for i in range(n_genes)])
    ours.auto_redraw = False
    return reference.to(device), ours.to(device)


class WithEos(torch.nn.Module):
    """The reference behind our interface: tokens (B, G) in, the extra token added."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def encode(self, tokens):
        return self.model(self._full(tokens), return_encodings=True)

    def forward(self, tokens):
        return self.model(self._full(tokens))

    def _full(self, tokens):
        return torch.nn.functional.pad(tokens.long(), (0, 1), value=eos_id(6))


def forward_pass(encode, tokens, bf16: bool, batch: int):
    """A function that embeds all cells, `batch` at a time, and returns the last embeddings."""

    def run():
        with torch.no_grad(), torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
            return torch.cat([encode(part) for part in tokens.split(batch)]).float()

    return run


def training_step(model, tokens, bf16: bool, batch: int):
    """A function that computes the gradient of the masked loss over all cells."""
    inputs, targets = mask_tokens(tokens.cpu(), p_mask=0.2, generator=seeded_generator(1))
    inputs, targets = inputs.to(tokens.device), targets.to(tokens.device)

    def run():
        model.zero_grad(set_to_none=True)
        for x, y in zip(inputs.split(batch), targets.split(batch), strict=True):
            with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
                logits = model(x)
            (masked_loss(logits, y) / len(tokens)).backward()

    return run


def cases(reference, ours, tokens, batch: int, with_compile: bool) -> dict:
    """Everything that is timed: (kind, name) → function."""
    reference = WithEos(reference)
    found = {
        ("forward", "performer-pytorch"): forward_pass(reference.encode, tokens, False, batch),
        ("forward", "float32"): forward_pass(ours.encode, tokens, False, batch),
        ("forward", "bfloat16"): forward_pass(ours.encode, tokens, True, batch),
        ("training", "performer-pytorch"): training_step(reference, tokens, False, batch),
        ("training", "float32"): training_step(ours, tokens, False, batch),
        ("training", "bfloat16"): training_step(ours, tokens, True, batch),
    }
    if with_compile:
        encode, model = torch.compile(ours.encode), torch.compile(ours)
        for name, bf16 in (("float32 compiled", False), ("bfloat16 compiled", True)):
            found["forward", name] = forward_pass(encode, tokens, bf16, batch)
            found["training", name] = training_step(model, tokens, bf16, batch)
    return found


def timed(run, device: torch.device) -> float:
    """Wall seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="run on a busy machine; the result is marked")
    parser.add_argument("--repeats", type=int, default=5, help="timings per case; the median is printed")
    parser.add_argument("--cells", type=int, default=None, help="cells per timing (default 4; on a GPU 40)")
    parser.add_argument("--batch", type=int, default=None, help="cells at once (default 1; on a GPU 20)")
    parser.add_argument("--genes", type=int, default=4054)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="torch.compile too; adds minutes")
    options = parser.parse_args()

    require_idle(force=options.force)
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    n_cells, batch = options.cells or (40 if cuda else 4), options.batch or (20 if cuda else 1)
    reference, ours = build(options.genes, device)
    tokens = torch.randint(0, 6, (n_cells, options.genes), generator=seeded_generator(0)).byte().to(device)

    with torch.no_grad():
        expected = forward_pass(WithEos(reference.eval()).encode, tokens, False, batch)()
    table = cases(reference.eval(), ours.eval(), tokens, batch, options.compile)
    errors = {}
    for (kind, name), run in table.items():  # also warms up, and compiles
        result = run()
        if kind == "forward":
            errors[name] = float((result - expected).norm() / expected.norm())
    times = {key: [] for key in table}
    for _ in range(options.repeats):
        for key, run in table.items():
            times[key].append(timed(run, device) / n_cells)

    where = torch.cuda.get_device_name() if cuda else f"{options.threads} threads"
    print(f"{where}; torch {torch.__version__}; {options.genes:,} genes, {SHAPE}")
    print(f"{n_cells} cells, {batch} at a time; medians of {options.repeats}")
    for (kind, name), seconds in times.items():
        median = statistics.median(seconds)
        ratio = statistics.median(times[kind, "performer-pytorch"]) / median
        spread = f"{min(seconds):.3f}-{max(seconds):.3f}"
        error = f"  relative error {errors[name]:.1e}" if kind == "forward" else ""
        speed = f"{median:9.4f} s/cell ({spread}){1 / median:9.2f} cells/s  ×{ratio:.2f}"
        print(f"{kind:9}{name:20}{speed}{error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
