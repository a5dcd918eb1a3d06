"""How long a person waits: import, help, and a build in which nothing changed; medians of five.

    python benchmarks/bench_commands.py            # after `make book`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import require_idle

PROJECT = Path(__file__).resolve().parents[1]
SCARAFM = str(Path(sys.executable).with_name("scarafm"))
COMMANDS = {
    "python -c 'pass'": ([sys.executable, "-c", "pass"], None),
    "import scarafm_utils": ([sys.executable, "-c", "import scarafm_utils"], 0.3),
    "scarafm --help": ([SCARAFM, "--help"], 0.5),
    "make book, nothing changed": (["make", "book"], 20.0),
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="run although other jobs are at work")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    require_idle(force=options.force)
    for name, (command, aim) in COMMANDS.items():
        median = statistics.median(seconds(command) for _ in range(options.repeats))
        print(f"{name:28} {median:7.2f} s" + (f"   (aim: at most {aim:g} s)" if aim else ""))


if __name__ == "__main__":
    main()
