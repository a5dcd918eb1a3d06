"""The encoder beside performer-pytorch: same weights, same cells, same process, interleaved.

Usage: python benchmarks/bench_model.py [--force] [--no-compile] [--repeats N] [--cells N] [--genes N]

At the paper's shape (4,054 genes, dimension 200, 3 blocks, 10 heads of 64) it prints the machine,
its rate of matrix products, and for a forward pass and a training step, in float32 and bfloat16,
plain and under torch.compile: the median time of a cell, the ratio to performer-pytorch, the
share of the machine's rate, and the relative error of the embeddings; then the memory that each
further cell of a training step takes, the time of an epoch over the root corpus, and how
fast tokens are read in shuffled order from a store that is not in the page cache.

Refuses to start where the load is above 0.3, since numbers taken beside other jobs mean nothing;
``--force`` runs all the same and marks the result as not quotable.  On a machine with CUDA the GPU is
measured, else the CPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from machine import require_idle

from scarafm_utils.checkpoints import from_performer
from scarafm_utils.masked import masked_loss
from scarafm_utils.model import default_device
from scarafm_utils.tokens import TokenStore, eos_id, mask_tokens, seeded_generator

SHAPE = {"dim": 200, "depth": 3, "heads": 10, "dim_head": 64}
ROOT_CORPUS = 877_551  # cells of Supplementary Table 2, root
STORE_CELLS = 200_000


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


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """The most FLOP/s that a product of two square matrices reaches here."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device).to(dtype)
    return 2 * n**3 / min(timed(lambda: a @ a, device) for _ in range(7))


def forward_flop(n_genes: int, n_features: int) -> float:
    """FLOP of a forward pass for one cell: projections, feed-forward and FAVOR+."""
    d, inner = SHAPE["dim"], SHAPE["heads"] * SHAPE["dim_head"]
    per_token = 2 * (4 * d * inner + 8 * d * d) + 8 * inner * n_features
    return SHAPE["depth"] * (n_genes + 1) * per_token


def bytes_per_cell(name: str, n_genes: int, device: torch.device) -> float:
    """Memory that each further cell of a training step takes; for a process that did nothing else."""
    reference, ours = build(n_genes, device)
    model = WithEos(reference) if name == "performer-pytorch" else ours
    tokens = torch.randint(0, 6, (3, n_genes), generator=seeded_generator(2)).byte().to(device)
    steps = {n: training_step(model, tokens[:n], name == "bfloat16", n) for n in (1, 3)}
    steps[1]()  # what is made once stays out of the difference
    few, many = (peak_bytes(step, device) for step in steps.values())
    return (many - few) / 2


def peak_bytes(run, device: torch.device) -> float:
    """The most memory during a call: of the GPU's allocator, else of the process (Linux only)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated()
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")
    reset.write_text("5")  # the high-water mark starts anew at what is resident now
    run()
    return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])


def reading_rate(n_genes: int) -> float:
    """Cells per second in shuffled order from a store on disk that is not in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        block = np.random.default_rng(0).integers(0, 6, (2_000, n_genes), dtype=np.uint8)
        names = [str(i) for i in range(len(block))]
        chunks = (("cells", names, block) for _ in range(STORE_CELLS // len(block)))
        store = TokenStore.write(folder, chunks, genes=[str(i) for i in range(n_genes)])
        with open(Path(folder) / "tokens.u8", "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.perf_counter()
        n = sum(len(tokens) for _, tokens in store.batches(batch_size=20, seed=0))
        return n / (time.perf_counter() - started)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="run on a busy machine; the result is marked")
    parser.add_argument("--repeats", type=int, default=5, help="timings per case; the median is printed")
    parser.add_argument("--cells", type=int, default=None, help="cells per timing (default 2; on a GPU 40)")
    parser.add_argument("--batch", type=int, default=None, help="cells at once (default 1; on a GPU 20)")
    parser.add_argument("--genes", type=int, default=4054)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile: saves two minutes")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # one case, in a process of its own
    return parser.parse_args()


def measure(options, device: torch.device) -> None:
    """Time every case and print one line for each."""
    cuda = device.type == "cuda"
    n_cells, batch = options.cells or (40 if cuda else 2), options.batch or (20 if cuda else 1)
    reference, ours = build(options.genes, device)
    tokens = torch.randint(0, 6, (n_cells, options.genes), generator=seeded_generator(0)).byte().to(device)
    rates = {bf16: matrix_rate(dtype, device) for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16))}
    flop = forward_flop(options.genes, ours.config.n_features)
    print(f"matrix products: {rates[False] / 1e9:,.0f} GFLOP/s in float32, {rates[True] / 1e9:,.0f} in bfloat16")
    print(f"{n_cells} cells, {batch} at a time; {flop / 1e9:.0f} GFLOP a cell and pass; medians of {options.repeats}")

    with torch.no_grad():
        expected = forward_pass(WithEos(reference.eval()).encode, tokens, False, batch)()
    table = cases(reference.eval(), ours.eval(), tokens, batch, not options.no_compile)
    errors = {}
    for (kind, name), run in table.items():  # also warms up, and compiles
        result = run()
        if kind == "forward":
            errors[name] = float((result - expected).norm() / expected.norm())
    times = {key: [] for key in table}
    for _ in range(options.repeats):
        for key, run in table.items():
            times[key].append(timed(run, device) / n_cells)

    for (kind, name), seconds in times.items():
        median = statistics.median(seconds)
        ratio = statistics.median(times[kind, "performer-pytorch"]) / median
        share = (1 if kind == "forward" else 3) * flop / median / rates["bfloat16" in name]
        error = f"  relative error {errors[name]:.1e}" if kind == "forward" else ""
        speed = f"{1 / median:9.2f} cells/s ({1 / max(seconds):.2f}-{1 / min(seconds):.2f})  ×{ratio:.2f}"
        print(f"{kind:9}{name:20}{speed}  {share:4.0%} of the matrix rate{error}")
    fastest = min(statistics.median(seconds) for (kind, _), seconds in times.items() if kind == "training")
    print(f"one epoch over {ROOT_CORPUS:,} cells: {ROOT_CORPUS * fastest / 60:,.1f} minutes")


def print_memory(options) -> None:
    """Print what each further cell of a training step takes, each case in a process of its own."""
    taken = {}
    for name in ("performer-pytorch", "float32", "bfloat16"):
        command = [sys.executable, __file__, "--memory", name, "--genes", str(options.genes)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        taken[name] = float(done.stdout)
        ratio = taken[name] / taken["performer-pytorch"]
        print(f"memory   {name:20}{taken[name] / 1e9:9.2f} GB a cell of a training step  ×{ratio:.2f}")


def main() -> int:
    options = parsed()
    if options.memory:
        print(bytes_per_cell(options.memory, options.genes, default_device()))
        return 0
    require_idle(force=options.force)
    torch.set_num_threads(options.threads)
    device = default_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} threads"
    print(f"{where}; torch {torch.__version__}; {options.genes:,} genes, {SHAPE}")
    rate = reading_rate(options.genes)
    print(f"reading  {rate:,.0f} cells/s of {STORE_CELLS:,} in shuffled order, not in the page cache")
    measure(options, device)
    print_memory(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
